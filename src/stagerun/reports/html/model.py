"""What the templates draw: pure functions that turn a view and the outline of its log into steps, folds and gaps."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from msgspec import Struct

from stagerun.outline import Fold, LogLine, Outline
from stagerun.reports import command_line
from stagerun.states import RESUMABLE, TERMINAL, RunState, StageState
from stagerun.text import estimates, json_text, sentences, wording
from stagerun.view import RunView, StageView


BLOCK: Final = 200  # lines of one list: a browser lays out only the lists in sight
_MOST_BARS: Final = 60  # visits of one stage that are drawn apart
_LEAST: Final = 0.008  # share of the time axis that the shortest visit takes: it has to be seen
_SHORT: Final = 200  # a log of so many lines is shown open when all went well


class Bar(Struct, frozen=True):
    """One visit of a stage on the run's time axis, in seconds; `going` if it is not over."""

    start: float
    width: float
    state: StageState
    going: bool


class Step(Struct, frozen=True, kw_only=True):
    """One stage of the stepper.

    Attributes:
        name: as declared.
        number: its declared position, from 1.
        state: its current state.
        seconds: time in it, None if it was never entered.
        since: when it was entered, if it is going on.
        before: seconds of its finished visits.
        usual: the seconds that it usually takes, or None.
        visits: how often it was entered.
        fold: the number of the fold that its name leads to, or None.
        taken_over: the run that it was taken over from, or None.
        skipped: why there was nothing to do in it, or None.
        bars: its visits.

    """

    name: str
    number: int
    state: StageState
    seconds: float | None
    since: float | None
    before: float
    usual: float | None
    visits: int
    fold: int | None
    taken_over: int | None
    skipped: str | None
    bars: Sequence[Bar]


class Gap(Struct, frozen=True):
    """Lines that are not in the page."""

    first: int
    last: int

    @property
    def lines(self) -> int:
        return self.last - self.first + 1


class Part(Struct, frozen=True):
    """A fold as it is shown: lists of lines, and gaps between them."""

    fold: Fold
    state: StageState | None
    shown: bool
    pieces: Sequence[Gap | Sequence[LogLine]]


class Links(Struct, frozen=True, kw_only=True):
    """The runs around a run.

    Attributes:
        before: runs of its chain before it, oldest first.
        after: runs of its chain after it.
        more_before, more_after: True if the chain goes on in that direction.
        resumed_by: the run that resumed it, or None.
        previous: the run of the same operation to compare with, or None.
        cancelled_by: who asked for its end while it still runs, or None.

    """

    before: Sequence[RunView] = ()
    after: Sequence[RunView] = ()
    more_before: bool = False
    more_after: bool = False
    resumed_by: RunView | None = None
    previous: RunView | None = None
    cancelled_by: str | None = None


class Page(Struct, frozen=True, kw_only=True):
    """A run with everything that its page shows.

    Attributes:
        view: the run.
        outline: the outline of its log.
        lines: the lines that are in the page, in order.
        now: the time in seconds since 1970.
        links: the runs around it.
        prefix: goes before every id, so that several runs fit into one document.
        progress_on: when the progress was told, None for now.
        wanted: the line that was asked for, or None.
        acting: True if the page can start and stop runs.

    """

    view: RunView
    outline: Outline
    lines: Sequence[LogLine]
    now: float
    links: Links = Links()
    prefix: str = ""
    progress_on: float | None = None
    wanted: int | None = None
    acting: bool = True

    @property
    def live(self) -> bool:
        return self.view.state not in TERMINAL

    @property
    def can_resume(self) -> bool:
        return self.view.state in RESUMABLE and self.links.resumed_by is None

    @property
    def steps(self) -> list[Step]:
        return list(_steps(self))

    @property
    def span(self) -> float:
        """The length of the time axis in seconds."""
        view = self.view
        usual = sum(view.plan.expected.values()) if self.live else 0.0
        return max(view.elapsed(self.now), usual, 0.001)

    @property
    def parts(self) -> list[Part]:
        return list(_parts(self))

    @property
    def working_on(self) -> str:
        """The innermost open block, or the operation."""
        return sentences.working_on(self.view) or self.view.plan.operation

    @property
    def rows(self) -> list[tuple[str, str]]:
        """Name and value of each entry of the result."""
        return [(name, _text(value)) for name, value in (self.view.result_context or {}).items()]

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """Name and value of each parameter that is set."""
        return parameters(self.view)

    @property
    def command(self) -> str:
        """The command line that starts a run like this one."""
        return command_line.repeat(self.view)

    @property
    def comparison(self) -> list[tuple[str, float | None, float | None]]:
        """Each stage with its seconds in this run and in the one before."""
        if self.live or self.links.previous is None:
            return []
        before = {stage.name: stage for stage in self.links.previous.stages}
        return [(stage.name, _took(stage), _took(before.get(stage.name))) for stage in self.view.stages]

    @property
    def title(self) -> str:
        """`✗ Publish · orders:Import #42`, for the tab."""
        view = self.view
        word = view.active.name if view.active else wording.state_word(view.state)
        return f"{SIGNS[view.state]} {word} · {view.plan.target} #{view.id}"

    @property
    def left(self) -> float | None:
        """The seconds until all of it is over, as far as earlier runs and the pace tell."""
        return estimates.left(self.view, self.told_on)

    @property
    def levels(self) -> list[tuple[str, float | None]]:
        """Text and percentage of each loop, outermost first, if there are several."""
        work = self.view.progress
        if work is None or not work.around:
            return []
        shares = [100 * (loop.done or 0) / loop.total if loop.total else loop.percent for loop in self.view.loops]
        return list(zip(wording.counted(work, "\n").split("\n"), shares, strict=False))

    @property
    def told_on(self) -> float:
        """When the progress was told."""
        return self.now if self.progress_on is None else self.progress_on

    @property
    def spoken(self) -> str:
        """What a screen reader says when a stage or the run changes."""
        view = self.view
        if view.state in TERMINAL:
            return sentences.ending(view)
        if view.active is not None:
            return f"stage {view.current_stage + 1} of {len(view.stages)}: {view.active.name}"
        return f"run {view.id} is {wording.state_word(view.state)}"


def parameters(view: RunView) -> list[tuple[str, str]]:
    """Return name and value of each parameter of a run that is set."""
    return [
        (name.replace("_", "-"), _text(value)) for name, value in view.plan.params.items() if value not in (None, [])
    ]


SIGNS: Final[Mapping[RunState, str]] = {
    RunState.PENDING: "○",
    RunState.RUNNING: "●",
    RunState.SUCCEEDED: "✓",
    RunState.FAILED: "✗",
    RunState.CANCELLED: "⊘",
    RunState.TIMED_OUT: "✗",
    RunState.CRASHED: "✗",
}
LOOKS: Final[Mapping[RunState | StageState | None, str]] = {
    RunState.PENDING: "pending",
    RunState.RUNNING: "active",
    RunState.SUCCEEDED: "done",
    RunState.FAILED: "failed",
    RunState.CANCELLED: "cancelled",
    RunState.TIMED_OUT: "failed",
    RunState.CRASHED: "failed",
    **{state: str(state) for state in StageState},
    None: "none",
}


def blocks(lines: Iterable[LogLine]) -> Iterator[list[LogLine]]:
    """Yield lines that follow one another as lists; a list ends where the next one of BLOCK lines begins."""
    block = list[LogLine]()
    for line in lines:
        if block and (line.number != block[-1].number + 1 or (line.number - 1) % BLOCK == 0):
            yield block
            block = []
        block.append(line)
    if block:
        yield block


def in_folds(outline: Outline, lines: Sequence[LogLine]) -> Iterator[tuple[Fold, list[LogLine]]]:
    """Yield the folds that hold `lines`, each with its own."""
    for _, group in groupby(((outline.fold_of(line.number), line) for line in lines), key=lambda pair: pair[0].number):
        pairs = list(group)
        yield pairs[0][0], [line for _, line in pairs]


def pieces(fold: Fold, lines: Sequence[LogLine]) -> list[Gap | Sequence[LogLine]]:
    """Return the lists and gaps that make up a fold of which only `lines` are in the page."""
    found, expected = list[Gap | Sequence[LogLine]](), fold.first
    for block in blocks(lines):
        if block[0].number > expected:
            found.append(Gap(expected, block[0].number - 1))
        found.append(block)
        expected = block[-1].number + 1
    if expected <= fold.last:
        found.append(Gap(expected, fold.last))
    return found


def shown_state(fold: Fold, view: RunView) -> StageState | None:
    """Return the state of a fold; a process that died could not leave its block."""
    died = fold.state is StageState.ACTIVE and view.state in TERMINAL
    return StageState.FAILED if died else fold.state


def _parts(page: Page) -> Iterator[Part]:
    within = {fold.number: lines for fold, lines in in_folds(page.outline, page.lines)}
    place = sentences.ended_in(page.view)
    last_of_place = next((fold.number for fold in reversed(page.outline.folds) if fold.name == place), None)
    for fold in page.outline.folds:
        state = shown_state(fold, page.view)
        match page.view.state:
            case RunState.SUCCEEDED:
                shown = page.outline.lines <= _SHORT
            case RunState.PENDING | RunState.RUNNING:
                shown = fold.number in within or fold is page.outline.folds[-1]
            case _:
                shown = fold.number == (last_of_place or page.outline.folds[-1].number)
        shown = shown or (page.wanted is not None and fold.first <= page.wanted <= fold.last)
        yield Part(fold, state, shown, pieces(fold, within.get(fold.number, [])))


def _steps(page: Page) -> Iterator[Step]:
    view, now = page.view, page.now
    visits: dict[int, list[Fold]] = {}
    for fold in page.outline.folds:
        if fold.index is not None:
            visits.setdefault(fold.index, []).append(fold)
    for position, stage in enumerate(view.stages):
        folds = visits.get(position, [])
        going = stage.state is StageState.ACTIVE
        yield Step(
            name=stage.name,
            number=position + 1,
            state=stage.state,
            seconds=stage.elapsed(now) if stage.visits else None,
            since=stage.entered_on if going else None,
            before=stage.seconds,
            usual=view.plan.expected.get(stage.name),
            visits=stage.visits,
            fold=folds[-1].number if folds else None,
            taken_over=stage.from_run,
            skipped=stage.skipped,
            bars=_bars([fold for fold in folds if not fold.goes_on], page),
        )


def _bars(folds: Sequence[Fold], page: Page) -> list[Bar]:
    view, bars, span = page.view, list[Bar](), page.span
    begun = view.started_on or view.created_on
    for fold in folds:
        state = shown_state(fold, view)
        assert state is not None
        until = page.now if view.finished_on is None else view.finished_on
        width = fold.seconds if fold.seconds is not None else max(0.0, until - fold.entered_on)
        going = state is StageState.ACTIVE
        width = max(width, span * _LEAST)
        bars.append(Bar(max(0.0, min(fold.entered_on - begun, span - width)), width, state, going))
    while len(bars) > _MOST_BARS:
        bars = [*map(_joined, bars[:-1:2], bars[1::2]), *bars[len(bars) // 2 * 2 :]]
    return bars


def _joined(first: Bar, second: Bar) -> Bar:
    return Bar(first.start, second.start + second.width - first.start, second.state, second.going)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json_text.dumps(value)


def _took(stage: StageView | None) -> float | None:
    return stage.seconds if stage is not None and stage.visits else None
