"""Reading a log by line number, and searching it: in pages, so that a long log never fills the memory."""

import re
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import dropwhile, islice, takewhile
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from stagerun import events
from stagerun.journal import rows
from stagerun.journal.reading import damaged
from stagerun.journal.rows import Nonsense
from stagerun.outline import SPACING, LogLine, Outline
from stagerun.states import TERMINAL, RunState
from stagerun.text import json_text


if TYPE_CHECKING:
    from stagerun.journal.store import Row, Store

_PAGE: Final = 500  # rows read at a time; each may hold many lines
# What is stored for a resume may be as large as 16 MiB, and is not for people.
_KINDS: Final = tuple(kind for kind, event in events.EVENTS.items() if not issubclass(event, events.Stored))
_LOG: Final = events.Log.kind
_OUTLINED: Final = (_LOG, events.StageEntered.kind, events.StageLeft.kind)
_LINE_END: Final = "\\n"  # as JSON writes it
_ESCAPE: Final = "\\u"
_COLOUR: Final = r"\x1b\[[0-9;:]*m"
_decode: Final = msgspec.json.Decoder(events.Log).decode


class Wanted(Struct, frozen=True):
    """What is searched for: lines with `text`, upper or lower case, of `levels`, or of any if that is empty."""

    text: str
    levels: Collection[str] = ()

    def fits(self, level: str, line: str) -> bool:
        fits = not self.levels or level in self.levels
        return fits and self.text.casefold() in re.sub(_COLOUR, "", line).casefold()

    def visible_in(self) -> Callable[[str], bool]:
        """Return a quick look at the JSON of a log row, False only if none of its lines can match."""
        text, signs = self.text.casefold(), [f'"level":"{level}"' for level in self.levels]
        plain = text.isascii() and text.isprintable() and not {'"', "\\", "/"} & {*text}

        def seen(data: str) -> bool:
            if signs and not any(sign in data for sign in signs):
                return False
            # What JSON, colours or letters outside ASCII may have changed is looked at line by line.
            return not plain or text in data.lower() or _ESCAPE in data or not data.isascii()

        return seen


class Hits(Struct, frozen=True):
    """Where a search found something.

    Attributes:
        total: how many lines match.
        lines: the numbers of the first of them.

    """

    total: int
    lines: Sequence[int]


class Ended(Struct, frozen=True):
    """A run that is over, in short.

    Attributes:
        run: its id.
        state: how it ended.
        seconds: how long it took.

    """

    run: int
    state: RunState
    seconds: float


class Pages:
    """The logs of the journal's runs by line number. Every method raises JournalError if the file can't be read."""

    def __init__(self, store: "Store") -> None:
        self._store = store

    def news(self, run: int, after: int) -> "Iterator[Row]":
        """Yield seq, time, kind and data of a run's events after number `after`, without stored values."""
        return self._scan(run, after, _KINDS)

    @contextmanager
    def sound(self, run: int) -> Iterator[None]:
        """Let the block decode rows of a run; RunDamaged if what they hold makes no sense."""
        try:
            yield
        except Nonsense as error:
            raise damaged(self._store, run, error) from None

    def extend(self, run: int, outline: Outline) -> None:
        """Bring `outline` up to date with the journal."""
        with self.sound(run):
            for row in self._scan(run, outline.seq, _OUTLINED):
                if row["kind"] == _LOG:
                    outline.add_lines(row["seq"], row["time"], count_of(row["data"]))
                elif (entry := rows.to_entry(run, row)) is not None:
                    outline.add(entry)

    def lines(self, run: int, outline: Outline, first: int, last: int) -> list[LogLine]:
        """Return lines `first` to `last` of a log; it reads from the mark before, not from the beginning."""
        number, seq = outline.mark_before(first)
        numbered = self._numbered(run, seq, number)
        return list(takewhile(lambda line: line.number <= last, dropwhile(lambda line: line.number < first, numbered)))

    def all_lines(self, run: int) -> Iterator[LogLine]:
        """Yield every line of a log."""
        return self._numbered(run, 0, 1)

    def search(self, run: int, wanted: Wanted, most: int) -> Hits:
        """Look through a whole log; the first `most` lines that match are returned by their numbers."""
        total, lines = 0, list[int]()
        for number in self._matching(run, wanted, 1, 0):
            total += 1
            lines += [number] if total <= most else []
        return Hits(total, lines)

    def hits_after(self, run: int, outline: Outline, wanted: Wanted, line: int, most: int) -> list[int]:
        """Return the numbers of the first `most` lines after `line` that match."""
        number, seq = outline.mark_before(line + 1)
        found = dropwhile(lambda hit: hit <= line, self._matching(run, wanted, number, seq))
        return list(islice(found, most))

    def hits_before(self, run: int, outline: Outline, wanted: Wanted, line: int, most: int) -> list[int]:
        """Return the numbers of the last `most` lines before `line` that match."""
        found, stretch = list[int](), SPACING
        end = min(line, outline.lines + 1)
        while end > 1 and len(found) < most:
            number, seq = outline.mark_before(max(1, end - stretch))
            matching = takewhile(lambda hit, end=end: hit < end, self._matching(run, wanted, number, seq))  # type: ignore[misc]
            found = [*deque(matching, maxlen=most - len(found)), *found]
            end, stretch = number, 2 * stretch
        return found

    def _matching(self, run: int, wanted: Wanted, number: int, after: int) -> Iterator[int]:
        """Yield the numbers of the lines after event `after` that match; the first line has `number`."""
        may_match = wanted.visible_in()
        with self.sound(run):
            for row in self._scan(run, after, (_LOG,)):
                data = row["data"]
                if not may_match(data):
                    number += count_of(data)
                    continue
                log = log_of(data)
                yield from (place for place, line in enumerate(log.lines, number) if wanted.fits(log.level, line))
                number += len(log.lines)

    def last_ended(self, target: str, limit: int) -> list[Ended]:
        """Return the newest runs of `target` that are over, oldest first."""
        sql = self._store.newest([state for state in RunState if state in TERMINAL], ["target = :target"])
        found = self._store.rows(sql, {"target": target, "limit": limit, "skip": 0})
        sound = [row for row in reversed(found) if isinstance(row["seconds"], int | float)]
        return [Ended(row["id"], RunState(row["state"]), row["seconds"]) for row in sound]

    def cancelled_by(self, run: int) -> str | None:
        """Return who asked for the end of a run, or None."""
        found = self._store.rows("SELECT requested_by FROM cancel_requests WHERE run_id = ?", (run,))
        return found[0]["requested_by"] if found else None

    def close(self) -> None:
        self._store.close()

    def _numbered(self, run: int, after: int, number: int) -> Iterator[LogLine]:
        """Yield the lines after event `after`; the first has `number`."""
        with self.sound(run):
            for row in self._scan(run, after, (_LOG,)):
                for line in lines_of(row, number):
                    yield line
                    number = line.number + 1

    def _scan(self, run: int, after: int, kinds: Sequence[str]) -> "Iterator[Row]":
        marks = ", ".join("?" * len(kinds))
        sql = f"""
            SELECT seq, time, kind, data FROM events WHERE run_id = ? AND seq > ? AND kind IN ({marks})
            ORDER BY seq LIMIT {_PAGE}"""  # noqa: S608 - only marks
        while found := self._store.rows(sql, (run, after, *kinds)):
            yield from found
            if len(found) < _PAGE:
                return
            after = found[-1]["seq"]


def is_log(row: "Row") -> bool:
    return bool(row["kind"] == _LOG)


def lines_of(row: "Row", first: int) -> Iterator[LogLine]:
    """Yield the lines of a log row, the first of which has the number `first`."""
    log, seq, time = log_of(row["data"]), row["seq"], row["time"]
    for place, text in enumerate(log.lines):
        yield LogLine(first + place, seq + place, time, log.level, log.stream, text)


def count_of(data: str) -> int:
    """Return how many lines a log row holds."""
    return log_of(data).text.count("\n") + 1 if _LINE_END in data else 1


def log_of(data: str) -> events.Log:
    try:
        return _decode(data)
    except msgspec.DecodeError:  # lone surrogates
        try:
            log: events.Log = json_text.loads(data, events.Log)
        except ValueError as error:
            raise Nonsense("events.data", str(error)) from None
        return log
