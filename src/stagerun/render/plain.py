"""Plain text: the format that people pipe into CI logs and files, line by line, never redrawn."""

from typing import Final

from stagerun import events, wording
from stagerun.render import lines
from stagerun.render.output import Output
from stagerun.view import RunView


_STEP_PERCENT: Final = 10.0
_STEP_SECONDS: Final = 1.0
_LONGEST_SILENCE: Final = 10.0


class _Pace:
    """Decides which ticks become lines: 10 % and 1 s since the last, or 10 s, and the end."""

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.shown_on = begun
        self.percent = 0.0
        self.held: events.ProgressMoved | None = None

    def wants(self, event: events.ProgressMoved, now: float) -> bool:
        waited = now - self.shown_on
        if event.ended:
            # A loop inside another one may run a thousand times.
            return event.depth == 0 or waited >= _STEP_SECONDS
        step = (event.percent or 0.0) - self.percent
        return waited >= _LONGEST_SILENCE or (step >= _STEP_PERCENT and waited >= _STEP_SECONDS)

    def shown(self, event: events.ProgressMoved, now: float) -> None:
        self.shown_on = now
        self.percent = event.percent or 0.0
        self.held = None


class Plain:
    """Writes a run, and the runs it chains to, as plain text."""

    def __init__(self, output: Output, *, timestamps: bool = False) -> None:
        self._output = output
        self._timestamps = timestamps
        self._separator = "·" if output.unicode else "-"
        self._now = 0.0
        self._view: RunView | None = None
        self._pace: _Pace | None = None
        self._status: events.StatusChanged | None = None
        self._status_shown_on = 0.0

    def update(self, entry: events.Entry, view: RunView) -> None:
        self.refresh(entry.time)
        if isinstance(entry.event, events.StageLeft | events.RunFinished):
            self._let_go()
        self._view = view
        match entry.event:
            case events.LogLine() as line:
                self._line(lines.logged(line))
            case events.ProgressMoved() as progress:
                self._move(progress, view)
            case events.StatusChanged() as status:
                self._hold_status(status)
            case events.RunCreated():
                self._line(lines.opening(view, self._separator))
            case events.StageEntered() as event:
                self._line(lines.entered(view, event))
                self._pace = None
            case events.StageLeft() as event:
                self._line(lines.left(view, event))
            case events.RunFinished():
                self._end(view)
            case _:
                pass  # the opening, the ending or the plan of a resume tells it

    def refresh(self, now: float) -> None:
        self._now = now
        if self._status is not None and now - self._status_shown_on >= _STEP_SECONDS:
            self._show_status()

    def close(self) -> None:
        """Nothing is held back: every line is out."""

    def _move(self, event: events.ProgressMoved, view: RunView) -> None:
        if self._pace is None:
            self._pace = _Pace(self._now - event.seconds)
        if self._pace.wants(event, self._now):
            self._line(lines.progress(view, event))
            self._pace.shown(event, self._now)
        elif not event.ended:
            self._pace.held = event
        if event.ended and event.depth == 0:
            self._pace = None

    def _hold_status(self, status: events.StatusChanged) -> None:
        self._status = status
        if status.level not in ("debug", "info") or self._now - self._status_shown_on >= _STEP_SECONDS:
            self._show_status()

    def _show_status(self) -> None:
        assert self._status is not None
        assert self._view is not None
        self._line(lines.status(self._view, self._status))
        self._status, self._status_shown_on = None, self._now

    def _let_go(self) -> None:
        """Show what was held back, before the lines that close the stage."""
        if self._status is not None:
            self._show_status()
        if self._pace is not None and self._pace.held is not None and self._view is not None:
            self._line(lines.progress(self._view, self._pace.held))
        self._pace = None

    def _end(self, view: RunView) -> None:
        for line in (*lines.error(view), *lines.result(view), lines.ending(view)):
            self._line(line)
        if way_on := lines.way_on(view):
            self._line(way_on)

    def _line(self, text: str) -> None:
        if self._timestamps:
            text = f"{wording.timestamp(self._now)} {text}"
        self._output.write(text.rstrip() + "\n")
