"""`stagerun completion SHELL`: the script that lets a shell complete commands, options, operations and runs.

The script calls `stagerun completion SHELL -- WORD...` with the words of the line up to the cursor, and gets a line for
each candidate: the word, a tab, its description. The word `:` asks the shell to complete the names of files.
No recipe is imported for it.
"""

from typing import Final

import click

from stagerun.commands.help import help_option
from stagerun.commands.printing import print_document, print_lines
from stagerun.commands.surroundings import Surroundings, pass_surroundings
from stagerun.commands.types import Word
from stagerun.errors import StagerunError, UsageError
from stagerun.text import suggestions


_FILES: Final = ":\tfiles"

# Bash splits words at colons and equals signs, so the line is split here, and what stands before one is cut off again.
# The bash of macOS, 3.2, has no compopt.
_BASH: Final = """\
_stagerun() {
    local line=${COMP_LINE:0:COMP_POINT} words word description
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    local cut="" last=${words[${#words[@]}-1]}
    if [[ $last == *[:=]* ]]; then cut=${last%"${last##*[:=]}"}; fi
    COMPREPLY=()
    while IFS=$'\\t' read -r word description; do
        if [[ $word == : ]]; then
            compopt -o default 2>/dev/null
            continue
        fi
        if [[ $word == *[[:space:]]* ]]; then printf -v word %q "$word"; fi
        if [[ $COMP_TYPE == 63 && -n $description ]]; then
            COMPREPLY+=("${word#"$cut"}  ($description)")
        else
            COMPREPLY+=("${word#"$cut"}")
        fi
    done < <(stagerun completion bash -- "${words[@]:1}" 2>/dev/null)
    # Of a single candidate the description must not be typed.
    if [[ ${#COMPREPLY[@]} == 1 ]]; then COMPREPLY[0]=${COMPREPLY[0]%%  (*}; fi
}
complete -o nosort -F _stagerun stagerun 2>/dev/null || complete -F _stagerun stagerun
"""
_ZSH: Final = """\
#compdef stagerun
_stagerun() {
    local -a found shown
    local line word files="" width=0
    while IFS= read -r line; do
        word=${line%%$'\\t'*}
        if [[ $word == : ]]; then
            files=1
        else
            found+=("$word")
            shown+=("$line")
            (( ${#word} > width )) && width=${#word}
        fi
    done < <(stagerun completion zsh -- "${(@)words[2,CURRENT]}" 2>/dev/null)
    shown=("${(@)shown/(#m)*$'\\t'/${(r:width + 2:)${MATCH%$'\\t'}}-- }")
    (( ${#found} )) && compadd -U -l -V stagerun -d shown -a found
    [[ -n $files ]] && _files
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _stagerun "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
    compdef _stagerun stagerun
fi
"""
_FISH: Final = """\
function __stagerun
    set -l words (commandline -opc) (commandline -ct)
    for line in (stagerun completion fish -- $words[2..] 2>/dev/null)
        if string match -q ':*' -- $line
            __fish_complete_path (commandline -ct)
        else
            echo -- $line
        end
    end
end
complete -c stagerun -f -k -a '(__stagerun)'
"""
_SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


_HELP: Final = """Print the script that lets bash, zsh or fish complete a command line.

\b
bash: eval "$(stagerun completion bash)"    in ~/.bashrc
zsh:  eval "$(stagerun completion zsh)"     in ~/.zshrc
fish: stagerun completion fish | source     in ~/.config/fish/config.fish
"""


@click.command("completion", help=_HELP)
@click.argument("shell", type=Word(list(_SCRIPTS)))
@click.argument("words", nargs=-1)
@help_option
@pass_surroundings
@click.pass_context
def command(ctx: click.Context, here: Surroundings, /, *, shell: str, words: tuple[str, ...]) -> None:
    if shell not in _SCRIPTS:
        raise UsageError(f"there is no completion for {shell!r}", suggestions.hint(shell, _SCRIPTS, "shells"))
    if not words:
        print_document(_SCRIPTS[shell])
        return
    print_lines(here, _candidates(ctx, here, words))


def _candidates(ctx: click.Context, here: Surroundings, words: tuple[str, ...]) -> list[str]:
    from click.shell_completion import ShellComplete

    *before, incomplete = words
    option = incomplete.partition("=")[0] + "=" if incomplete.startswith("-") and "=" in incomplete else ""
    root = ctx.find_root().command
    try:
        found = ShellComplete(root, {"obj": here}, "stagerun", "").get_completions(list(before), incomplete)
    except (StagerunError, click.ClickException):  # a line that is wrong has no continuation
        return []
    plain = [f"{option}{each.value}\t{each.help or ''}".rstrip("\t") for each in found if each.type == "plain"]
    return plain + [_FILES] * (len(plain) < len(found))
