#!/bin/sh
# `make demo`: start a run, kill it in the middle of its work, and go on where it stopped.
set -eu
cd "$(dirname "$0")/.."
stagerun=${STAGERUN:-.venv/bin/stagerun}
pid=$(mktemp)

say() { printf '\n# %s\n$ %s\n' "$1" "$2"; }

# Kill the run with that process id once it has done a third of its work.
kill_in_the_middle() {
    until "$stagerun" status --json 2>/dev/null | grep -Eq "\"percent\":(3[3-9]|[4-9][0-9]).*\"pid\":$1,"; do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.3
    done
    kill -KILL "$1"
}

say "Read the source of Python's standard library. Somebody will kill this run." "stagerun run stdlib:Index"
(
    until [ -s "$pid" ]; do sleep 0.1; done
    kill_in_the_middle "$(cat "$pid")"
) &
killer=$!
sh -c 'echo $$ >"$1" && exec "$0" run stdlib:Index' "$stagerun" "$pid" || true
wait "$killer"
rm "$pid"
if [ -t 1 ]; then # what is killed can't give the terminal back
    stty sane
    printf '\033[?25h\033[3B\n'
fi

say "What does the journal know?" "stagerun status"
"$stagerun" status
say "Go on. What was read is not read again." "stagerun resume"
"$stagerun" resume
say "And afterwards?" "stagerun history --limit 3"
"$stagerun" history --limit 3
