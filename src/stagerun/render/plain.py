"""Plain text: the format that people pipe into CI logs and files, line by line, never redrawn."""

from collections.abc import Iterable, Sequence
from typing import Final

from stagerun import events
from stagerun.render.dialect import Command, Dialect
from stagerun.render.output import Output
from stagerun.render.recent import Recent
from stagerun.sinks import Sink
from stagerun.states import StageState
from stagerun.text import sentences, wording
from stagerun.text.masking import Masker
from stagerun.text.paint import Paint
from stagerun.view import RunView


_STEP_PERCENT: Final = 10.0
_STEP_SECONDS: Final = 1.0
_LONGEST_SILENCE: Final = 10.0
_HEARTBEAT: Final = 60.0
_CLOSING: Final = frozenset({events.StageLeft, events.RunFinished})


class _Pace:
    """Decides which ticks become lines: 10 % and 1 s after the last line, or 10 s after it, and the end."""

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.shown_on = begun
        self.percent = 0.0
        self.held: events.ProgressMoved | None = None

    def wants(self, event: events.ProgressMoved, now: float) -> bool:
        if event.ended and event.depth == 0:
            return True
        waited = now - self.shown_on
        step = (event.share or 0.0) - self.percent
        return waited >= _LONGEST_SILENCE or (step >= _STEP_PERCENT and waited >= _STEP_SECONDS)

    def shown(self, event: events.ProgressMoved, now: float) -> None:
        self.shown_on = now
        self.percent = event.share or 0.0
        self.held = None


class Plain(Sink):
    """Writes a run, and the runs it chains to, as plain text.

    Args:
        output: the stream to write to.
        timestamps: True for a time before each line.
        dialect: the dialect of the CI system.
        colour: True if the CI system shows colours.
        masker: the secrets to register with the CI system.

    """

    def __init__(
        self,
        output: Output,
        *,
        timestamps: bool = False,
        dialect: Dialect | None = None,
        colour: bool = False,
        masker: Masker | None = None,
    ) -> None:
        self._output = output
        self._timestamps = timestamps
        self._dialect = dialect or Dialect()
        self._colour = colour
        self._paint = Paint(colour=colour, unicode=output.unicode)
        self._masker = masker or Masker()
        self._registered = 0
        self._separator = "·" if output.unicode else "-"
        self._now = 0.0
        self._told_on = 0.0
        self._blocks = 0
        self._recent = Recent()
        self._view: RunView | None = None
        self._pace: _Pace | None = None
        self._status: events.StatusChanged | None = None
        self._status_shown_on = 0.0
        self._redrawn_on: float | None = None
        self._redrawn = ""
        self._opening: Sequence[str] = ()  # of a link: what is said of the run before it comes first

    def update(self, entry: events.Entry, view: RunView) -> None:
        self.refresh(entry.time)
        event = entry.event
        if self._opening:
            self._open()
        if type(event) in _CLOSING:
            self._let_go()
        self._view = view
        match event:
            case events.Log():
                self._recent.add(event)
                self._say(sentences.logged(event, keep_colour=self._colour))
            case events.Pulse():
                self._take_pulse(event, view)
            case events.Fact():
                self._take_fact(event, view)

    def _take_pulse(self, event: events.Pulse, view: RunView) -> None:
        match event:
            case events.ProgressMoved():
                self._move(event, view)
            case events.StatusChanged():
                self._hold_status(event)
            case events.LineRedrawn():
                self._show_redrawn(self._now)
            case _:
                pass

    def _take_fact(self, event: events.Fact, view: RunView) -> None:
        match event:
            case events.RunStarted():
                self._status = None  # it said what the run waited for
            case events.RunCreated():
                self._announce(view)
            case events.StageEntered():
                self._enter(event, view)
            case events.StageLeft():
                self._leave(event, view)
            case events.StageTakenOver():
                self._take_over(event, view)
            case events.RunFinished():
                self._end(view)
            case _:
                pass  # the opening, the ending or the plan of a resume shows it

    def afterword(self, log: events.Log) -> None:
        self._say(sentences.logged(log, keep_colour=self._colour))

    def refresh(self, now: float) -> None:
        self._now = now
        if self._redrawn_on is not None:
            self._show_redrawn(now)
        if self._status is not None and now - self._status_shown_on >= _LONGEST_SILENCE:
            self._show_status()
        if self._view is None or self._view.end is not None:
            return
        if self._dialect.heartbeat and now - self._told_on >= _HEARTBEAT:
            self._open()
            self._write([self._dialect.own(sentences.silence(self._view, now))])

    def close(self) -> None:
        self._open()
        self._fold(self._dialect.closed())

    def _announce(self, view: RunView) -> None:
        self._register()
        self._opening = tuple(self._dialect.opening(sentences.opening(view, self._separator)))
        if view.plan.chained_from is None:
            self._open()

    def _open(self) -> None:
        if self._opening:
            opening, self._opening = self._opening, ()
            self._write(opening)

    def _register(self) -> None:
        """Register the secrets with the CI system, unless the output is a file: it would keep them."""
        secrets = self._masker.values[self._registered :]
        self._registered += len(secrets)
        if not self._output.is_file():
            self._write(self._dialect.register(secrets))

    def _enter(self, event: events.StageEntered, view: RunView) -> None:
        title = sentences.tag(view, event.stage, event.index)
        if self._blocks == 0:
            self._fold([*self._dialect.entered(view, title, self._now), *self._dialect.moved(view)])
        else:
            self._write(self._dialect.entered_inside(title))
        self._blocks += 1
        self._pace = None
        self._status_shown_on = 0.0

    def _leave(self, event: events.StageLeft, view: RunView) -> None:
        outcome = self._paint(sentences.outcome(view, event), wording.COLOURS[event.state])
        self._blocks -= 1
        if self._blocks == 0:
            self._fold(self._dialect.left(view, event, outcome, self._now))
            if self._dialect.hides:
                self._recent.clear()
        else:
            self._write(self._dialect.left_inside(outcome))

    def _take_over(self, event: events.StageTakenOver, view: RunView) -> None:
        outcome = self._paint(sentences.taken_over(view, event), wording.COLOURS[StageState.DONE])
        self._write([*self._dialect.left_inside(outcome), *self._dialect.moved(view)])

    def _move(self, event: events.ProgressMoved, view: RunView) -> None:
        if self._pace is None:
            self._pace = _Pace(self._now - event.seconds)
        if self._pace.wants(event, self._now):
            self._say([sentences.progress(view, event)])
            self._write(self._dialect.moved(view))
            self._pace.shown(event, self._now)
        elif not event.ended:
            self._pace.held = event
        if event.ended and event.depth == 0:
            self._pace = None
        if event.ended and self._status is not None and self._status.depth > event.depth:
            self._status = None  # it is over with its loop

    def _hold_status(self, status: events.StatusChanged) -> None:
        self._status = status
        if status.level not in ("debug", "info") or self._now - self._status_shown_on >= _LONGEST_SILENCE:
            self._show_status()

    def _show_status(self) -> None:
        assert self._status is not None
        assert self._view is not None
        self._say([sentences.status(self._view, self._status)])
        self._status, self._status_shown_on = None, self._now

    def _show_redrawn(self, now: float) -> None:
        """Show a line that is being drawn anew, if it has been for long enough and has changed."""
        redrawn = self._view.redrawn if self._view is not None else None
        if redrawn is None:
            self._redrawn_on, self._redrawn = None, ""
        elif self._redrawn_on is None:
            self._redrawn_on = now
        elif now - self._redrawn_on >= _LONGEST_SILENCE and redrawn.line != self._redrawn:
            self._redrawn_on, self._redrawn = now, redrawn.line
            self._say([sentences.redrawn(redrawn)])

    def _let_go(self) -> None:
        """Show what was held back, before the lines that close the stage."""
        if self._status is not None:
            self._show_status()
        if self._pace is not None and self._pace.held is not None and self._view is not None:
            self._say([sentences.progress(self._view, self._pace.held)])
        self._pace = None

    def _end(self, view: RunView) -> None:
        self._blocks = 0
        ending = self._paint(sentences.ending(view), wording.COLOURS[view.state])
        error = sentences.error(view, above=self._recent.lines)
        self._fold(self._dialect.ended(view, (*error, *sentences.result(view)), ending))
        if left_out := sentences.not_entered(view):
            self._write([self._paint(self._dialect.own(left_out), "yellow")])
        if hint := sentences.resume_hint(view):
            self._write([self._dialect.own(hint)])

    def _say(self, told: Iterable[str]) -> None:
        self._write(map(self._dialect.recipe, told))

    def _write(self, told: Iterable[str]) -> None:
        stamp = f"{wording.timestamp(self._now)} " if self._timestamps else ""
        text = "".join([f"{line if type(line) is Command else (stamp + line).rstrip()}\n" for line in told])
        if text:
            self._output.write(text)
            self._told_on = self._now

    def _fold(self, told: Iterable[str]) -> None:
        """Write lines that open or close a fold; if a signal ends the process inside it, the farewell closes it."""
        self._write(told)
        end = self._dialect.fold_end
        self._output.farewell = f"\n{end}\n".encode() if end else b""
