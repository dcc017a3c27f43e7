"""The display for a terminal: a live region at the bottom, log lines above it, drawn ten times a second."""

import io
from typing import Final

from msgspec.structs import replace
from rich.console import Console
from rich.text import Text

from stagerun import events
from stagerun.machine.terminal import Terminal
from stagerun.render import frame
from stagerun.render.dialect import Dialect
from stagerun.render.output import Output
from stagerun.render.recent import Recent
from stagerun.sinks import Sink
from stagerun.states import StageState
from stagerun.text import estimates, sentences
from stagerun.text.paint import Paint
from stagerun.text.wording import COLOURS
from stagerun.view import RunView


_MOST_ABOVE: Final = 256 * 1024  # characters that wait for the next frame
_ERASE: Final = "\r \x1b[J\r"  # the blank: at the top left, tmux takes an erase for a request to keep what is there
_DONE: Final = StageState.DONE
_LEVEL_STYLES: Final = {"warning": "33", "error": "31", "critical": "1;31", "debug": "2"}


class Live(Sink):
    """Draws a run, and the runs it chains to, on a terminal.

    Between two frames the cursor is in the first column of the region's first line. The region is then everything
    below the cursor, even if the terminal rewraps lines after a resize or echoes keys.
    """

    def __init__(self, output: Output, *, colour: bool, dialect: Dialect | None = None) -> None:
        self._output = output
        self._dialect = dialect or Dialect()
        self._terminal = Terminal(output.fileno())
        output.leaving = self._terminal.give_back
        self._colour = colour
        self._console = Console(
            file=io.StringIO(),
            force_terminal=True,
            color_system="auto" if colour else None,
            no_color=not colour,
            width=output.width(),
            markup=False,
            emoji=False,
            highlight=False,
            legacy_windows=False,
        )
        self._view: RunView | None = None
        self._now = self._counted_on = 0.0
        self._above: list[str] = []
        self._headers: list[str] = []
        self._paint = Paint(colour=colour, unicode=output.unicode)
        self._recent = Recent()
        self._waiting = 0
        self._drawn = False
        self._suspended = False

    def update(self, entry: events.Entry, view: RunView) -> None:
        self._view, self._now = view, entry.time
        match entry.event:
            case events.Log() as log:
                self._recent.add(log)
                self._tell_headers()
                self._above += map(self._dialect.guard, self._logged(log))
                self._waiting += len(log.text)
                if self._waiting > _MOST_ABOVE:
                    self.refresh(entry.time)
            case events.ProgressMoved():
                self._counted_on = entry.time
            case events.StageEntered() as event:
                self._headers.append(self._paint(sentences.tag(view, event.stage, event.index), "cyan"))
            case events.StageLeft() as event:
                self._leave(event, view)
            case events.StageTakenOver() as event:
                self._end_block(sentences.taken_over(view, event), _DONE)
            case events.RunFinished():
                self._finish(view)
            case _:
                pass  # the next frame shows it

    def _leave(self, event: events.StageLeft, view: RunView) -> None:
        silent = bool(self._headers)
        if silent:
            self._headers.pop()  # one line tells it all
        if not silent or len(view.stages) <= frame.MANY or event.seconds >= frame.SLOW or event.state is not _DONE:
            self._end_block(sentences.outcome(view, event), event.state)

    def _end_block(self, outcome: str, state: StageState) -> None:
        self._tell_headers()
        self._above.append(self._dialect.guard(self._paint(f"{self._paint.symbols[state]} {outcome}", COLOURS[state])))

    def _tell_headers(self) -> None:
        """Show the headers of the open blocks that have said nothing so far."""
        if self._headers:
            self._above += map(self._dialect.guard, self._headers)
            self._headers.clear()

    def afterword(self, log: events.Log) -> None:
        self._above += map(self._dialect.guard, self._logged(log))
        if self._view is not None and self._view.end is not None:
            self._output.write(self._lifted())

    def refresh(self, now: float) -> None:
        if self._terminal.stop_wanted:
            self._leave_terminal()
            self._terminal.stop()
        if self._view is None or self._view.end is not None or self._suspended or self._terminal.stopping:
            return
        if not self._terminal.take():
            self._drawn = False  # what is below the cursor now belongs to the shell
            self._output.write(self._lifted())
            return
        width, view = self._output.width(), self._view
        if view.progress is not None:
            view = replace(view, progress=estimates.slowed(view.progress, max(0.0, now - self._counted_on)))
        region = self._painted(frame.running(view, now, width, unicode=self._output.unicode))
        # Without wrapping a line takes one row, even if a character is wider than we think. The cursor is hidden only
        # while it moves, so that a kill leaves it visible.
        back = f"\x1b[{len(region) - 1}A" if len(region) > 1 else ""
        drawn = "\x1b[?7l" + "\n".join(region) + f"\r{back}\x1b[?7h"
        self._output.write(f"\x1b[?25l{self._lifted()}{drawn}\x1b[?25h")
        self._drawn = True

    def suspend(self) -> None:
        self._leave_terminal()
        self._suspended = True

    def resume(self) -> None:
        self._suspended = False

    def close(self) -> None:
        self._leave_terminal()
        self._terminal.close()

    def _leave_terminal(self) -> None:
        self._output.write(self._lifted())
        self._drawn = False
        self._terminal.give_back()

    def _finish(self, view: RunView) -> None:
        self._headers.clear()  # a process that died could not leave its blocks
        last = frame.finished(view, self._output.width(), unicode=self._output.unicode, above=self._recent.lines)
        self._output.write(self._lifted() + "".join(line + "\n" for line in self._painted(last)))
        self._drawn = False

    def _lifted(self) -> str:
        """Return the text that replaces the region by the waiting lines."""
        above, self._above, self._waiting = self._above, [], 0
        return (_ERASE if self._drawn else "") + "".join(line + "\n" for line in above)

    def _painted(self, told: list[Text]) -> list[str]:
        with self._console.capture() as captured:
            for line in told:
                self._console.print(line, soft_wrap=True)
        return [self._dialect.guard(line) for line in captured.get().splitlines()]

    def _logged(self, event: events.Log) -> list[str]:
        style = _LEVEL_STYLES.get(event.level)
        if style is None or not self._colour:
            return sentences.logged(event, keep_colour=self._colour)
        return [f"\x1b[{style}m{line}\x1b[0m" for line in sentences.logged(event)]
