"""What can happen to a run, each event a frozen record.

A fact is committed to the journal before it is shown. A pulse (a log line, a status, a tick of progress) may be shown
first and is written in batches. The Entry around an event holds its time and number.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple, TypeAlias, get_args

from msgspec import UNSET, Meta, Struct, UnsetType, field

from stagerun.states import RunState, StageState


LINE_LIMIT: Final = 64 * 1024  # characters of a log line; the rest is cut
LARGEST: Final = 2**63 - 1  # the largest integer of a database
LATEST: Final = 253_402_214_400  # the last day of the year 9999, in seconds since 1970

# What a field may hold. It is checked when an event is read, not when it is made.
Moment: TypeAlias = Annotated[float, Meta(ge=0, le=LATEST)]  # seconds since 1970
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=LATEST)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=LARGEST)]
Id: TypeAlias = Annotated[int, Meta(ge=1, le=LARGEST)]
ExitCode: TypeAlias = Annotated[int, Meta(ge=0, le=255)]
Signal: TypeAlias = Annotated[str, Meta(pattern=r"^SIG[A-Z0-9]{2,12}$")]
Level: TypeAlias = Literal["debug", "info", "warning", "error", "critical"]


class Program(Struct, frozen=True, kw_only=True):
    """The program that made a run fail.

    Attributes:
        command: the command as it was announced.
        outcome: how it ended, in words: "ended with exit code 2".
        tail: the last lines of its output.
        notes: the notes of the exception: which item of a `p.map` it was, and what the recipe has added.

    """

    command: str
    outcome: str
    tail: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Failure(Struct, frozen=True, kw_only=True):
    """Why a run did not succeed.

    Attributes:
        type: the exception's class, or "" if the message says it all: after `p.error`, or for a time limit.
        message: its message.
        stage: the stage it happened in, or None.
        traceback: the frames of the recipe as Python prints them, or None.
        file: the file of the recipe's innermost frame, or None.
        line: the line in `file`, or None.
        program: the program that failed if it alone is the reason, else None.

    """

    type: str
    message: str
    stage: str | None = None
    traceback: str | None = None
    file: str | None = None
    line: Count | None = None
    program: Program | None = None


class Worker(Struct, frozen=True, kw_only=True):
    """The process that a recipe works in at another place."""

    host: str
    pid: Count


class Fact(Struct, frozen=True):
    """An event that is durable before it is shown. `kind` is its name in the journal and in JSON output."""

    kind: ClassVar[str]


class Pulse(Struct, frozen=True):
    """An event that may be shown before it is written. A power cut may lose the newest ones."""

    kind: ClassVar[str]


class RunCreated(Fact, frozen=True, kw_only=True):
    """The whole plan of a run: everything needed to draw it without its recipe.

    Attributes:
        target: what was asked for ("orders:Import").
        recipe: the module or file part of the target.
        operation: the class.
        source: path of the recipe's file, or None.
        source_hash: SHA-256 of that file, or None.
        params: parameter name -> JSON value; secrets are "***".
        stages: the declared stages in order.
        owner: who runs it.
        host, boot_id, pid_namespace, pid, process_started: the process (see `identity.Process`).
        chained_from: the run that handed over to this one, or None.
        resumed_from: the run that this one continues, or None.
        root: the first run of the lineage, or None if it is this run.
        attempt: 1 for a first run, one more for each resume.
        expected: stage -> seconds, the median of earlier successful runs; empty if there are none.
        done_before: the stages that earlier runs of the lineage have finished.
        inherited: key -> [run, seq] of the newest event stored under it; a resumed run takes over all that is stored
            under that key.
        project: the project's root folder when the lineage began, or "" if unknown.
        folder: the working folder when the lineage began, relative to `project` if it is inside; "" if unknown.
        work: a random text that all attempts of a lineage share; "" if unknown.
        place: where the recipe works, as it was asked for with `--on`; None in the process itself.
        tags: what its runs can be found by, sorted.
        once: a name under which only one run, with its chain and its resumes, may succeed; None for any number.

    """

    kind: ClassVar[str] = "run_created"
    target: str
    recipe: str
    operation: str
    stages: tuple[str, ...]
    owner: str
    source: str | None = None
    source_hash: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    host: str = ""
    boot_id: str = ""
    pid_namespace: str = ""
    pid: Count = 0
    process_started: Seconds = 0.0
    chained_from: Id | None = None
    resumed_from: Id | None = None
    root: Id | None = None
    attempt: Id = 1
    expected: Mapping[str, Seconds] = field(default_factory=dict)
    done_before: tuple[str, ...] = ()
    inherited: Mapping[str, tuple[Id, Count]] = field(default_factory=dict)
    project: str = ""
    folder: str = ""
    work: str = ""
    place: str | None = None
    tags: tuple[str, ...] = ()
    once: str | None = None


class RunStarted(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """The recipe begins. `worker` is the process that it works in, or None if that is the run's own."""

    kind: ClassVar[str] = "run_started"
    worker: Worker | None = None


class StageEntered(Fact, frozen=True, kw_only=True):
    """A block was entered. `index` is its declared position, or None for a block that is not declared."""

    kind: ClassVar[str] = "stage_entered"
    stage: str
    index: Count | None


class StageLeft(Fact, frozen=True, kw_only=True):
    """A block was left after `seconds`; `skipped` is why there was nothing to do in it, or None."""

    kind: ClassVar[str] = "stage_left"
    stage: str
    index: Count | None
    state: StageState
    seconds: Seconds
    skipped: str | None = None


class StageTakenOver(Fact, frozen=True, kw_only=True):
    """A step was not called, because `run` had finished it: its stage is done without being entered."""

    kind: ClassVar[str] = "stage_taken_over"
    stage: str
    index: Count | None
    run: Id


class ResultSet(Fact, frozen=True, kw_only=True):
    """The recipe set its result, a JSON object."""

    kind: ClassVar[str] = "result_set"
    result: Mapping[str, Any]


class Stored(Fact, frozen=True, kw_only=True):
    """Something is stored under a key, for a run that resumes this one.

    Attributes:
        key: unique in the run.
        stage: the declared stage that was entered last, or None before the first.
        inside: the key of the call or loop whose work it is a part of, or None.
        item: the position of the item of the loop `inside` that it belongs to, or None if `inside` is not a loop.

    """

    key: str
    stage: str | None = None
    inside: str | None = None
    item: Count | None = None


class CheckpointStored(Stored, frozen=True, kw_only=True):
    """The value of a call.

    Attributes:
        value: JSON values.
        call: the method of `p` that made it: "checkpoint", "step" or "sh".
        typed: True if the recipe stated the type of the value; None if unknown.
        mark: the fingerprint of what it was called with, or None.

    """

    kind: ClassVar[str] = "checkpoint_stored"
    value: Any
    call: str = "checkpoint"
    typed: bool | None = None
    mark: int | None = None


class PositionReached(Stored, frozen=True, kw_only=True):
    """The first items of a loop are finished.

    Attributes:
        position: how many.
        total: how many there are, or None if unknown; equal to `position` once the loop is finished.
        state: the loop's `state` after these items, or None if it has none.
        marks: positions and fingerprints of some items, by which a resumed run knows that it gets the same ones.
        stages: the declared stages that were entered in it so far.
        error: what `p.error` said of these items; left out if it said nothing.

    """

    kind: ClassVar[str] = "position_reached"
    position: Count
    total: Count | None = None
    state: Mapping[str, Any] | None = None
    marks: tuple[tuple[int, int], ...] = ()
    stages: tuple[str, ...] = ()
    error: str | UnsetType = UNSET


class ResultsStored(Stored, frozen=True, kw_only=True):
    """Some items of a map are finished.

    Attributes:
        part: how many such events of the key came before, in this run and in those that it resumes.
        total: how many items there are, or None if unknown.
        items: the positions of the finished items.
        marks: their fingerprints, None for an item that has none.
        values: their results.
        error: what `p.error` said while it ran; left out if it said nothing.

    """

    kind: ClassVar[str] = "results_stored"
    part: Count
    total: Count | None
    items: tuple[Count, ...]
    marks: tuple[int | None, ...]
    values: tuple[Any, ...]
    error: str | UnsetType = UNSET


class RunFinished(Fact, frozen=True, kw_only=True):
    """The run is over.

    Attributes:
        state: a terminal state.
        seconds: from start to end, by a monotonic clock.
        exit_code: the exit code of the run.
        signal: the name of the signal that ended it, or None.
        error: why it did not succeed, or None.
        chained_to: the run that it handed over to, or None.

    """

    kind: ClassVar[str] = "run_finished"
    state: RunState
    seconds: Seconds
    exit_code: ExitCode
    signal: Signal | None = None
    error: Failure | None = None
    chained_to: Id | None = None


class Log(Pulse, frozen=True):
    """A log line, or several that arrived together: each has its own number, and the entry's is the first.

    Attributes:
        text: the lines as they arrived, joined by line ends; the displays make them safe.
        level: "debug", "info", "warning", "error" or "critical".
        stream: their source ("stdout", "stderr", a logger's name), or None for `p.log`.

    """

    kind: ClassVar[str] = "log"
    text: str
    level: Level = "info"
    stream: str | None = None

    @property
    def lines(self) -> list[str]:
        return self.text.split("\n")


class StatusChanged(Pulse, frozen=True):
    """The one-line status. Only the newest matters; `depth` is how many loops are around it: it is over with them."""

    kind: ClassVar[str] = "status"
    text: str
    level: Level = "info"
    depth: Count = 0


class LineRedrawn(Pulse, frozen=True):
    """A line that is being drawn anew, as progress bars do it, as it is now; blank once it is gone.

    Only the newest matters. When the line gets its end, a log line holds its last state.
    """

    kind: ClassVar[str] = "line_redrawn"
    line: str
    stream: str | None = None


class Counted(Struct, frozen=True, kw_only=True):
    """How far one loop has got.

    Attributes:
        done: items finished, or None if only a percentage is known.
        total: the number of items, or None if unknown.
        percent: 0 to 100, or None if unknown.
        label: what is counted, or None if the recipe gave no name.
        unit: one item, in the singular.
        skipped: items that an earlier run had finished, included in `done`.
        seconds: since counting began.

    """

    done: Count | None = None
    total: Count | None = None
    percent: Annotated[float, Meta(ge=0, le=100)] | None = None
    label: str | None = None
    unit: str = "item"
    skipped: Count = 0
    seconds: Seconds = 0.0


class ProgressMoved(Counted, Pulse, frozen=True, kw_only=True):
    """How far the work has got: the innermost loop, and those around it.

    Attributes:
        depth: 0 for an outermost loop, one more for each loop around it.
        ended: True for the last tick of a loop.
        around: the loops around it, outermost first.

    """

    kind: ClassVar[str] = "progress"
    depth: Count = 0
    ended: bool = False
    around: tuple[Counted, ...] = ()

    @property
    def share(self) -> float | None:
        """How much is done of all these loops together, 0 to 100; None if one of them has no known end."""
        percent = self.percent
        for loop in reversed(self.around):
            if percent is None or not loop.total:
                return None
            percent = min(100.0, 100.0 * ((loop.done or 0) + percent / 100) / loop.total)
        return percent


Event: TypeAlias = (
    RunCreated
    | RunStarted
    | StageEntered
    | StageLeft
    | StageTakenOver
    | ResultSet
    | CheckpointStored
    | PositionReached
    | ResultsStored
    | RunFinished
    | Log
    | StatusChanged
    | LineRedrawn
    | ProgressMoved
)


class Entry(NamedTuple):
    """An event with its place: the run, a number that increases along the run, and the time (seconds since 1970).

    Log lines that arrived together take one number each; `seq` is that of the first.
    """

    run: int
    seq: int
    time: float
    event: Event


class Recalled(NamedTuple):
    """What an earlier `run` of the lineage stored."""

    run: int
    stored: CheckpointStored | PositionReached | ResultsStored


EVENTS: Final[Mapping[str, type[Event]]] = {event.kind: event for event in get_args(Event)}
