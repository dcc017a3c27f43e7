"""The display for a terminal: a live region at the bottom, log lines above it, drawn at most ten times a second."""

from typing import Final, TextIO, cast

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live as Region
from rich.segment import Segment

from stagerun import events
from stagerun.render import frame, lines
from stagerun.render.output import Output
from stagerun.untrusted import neutralise
from stagerun.view import RunView


_LEVEL_STYLES: Final = {"warning": "33", "error": "31", "critical": "1;31", "debug": "2"}


class _Block:
    """Lines that are safe already, given to Rich as one piece: it must not wrap, parse or measure them."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment(self._text)


class Live:
    """Draws a run, and the runs it chains to, on a terminal."""

    def __init__(self, output: Output, *, colour: bool) -> None:
        self._output = output
        self._colour = colour
        self._console = Console(
            file=cast("TextIO", output),
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
        self._now = 0.0
        self._above: list[str] = []
        self._region: Region | None = None
        self._drawn: list[int] = []

    def update(self, entry: events.Entry, view: RunView) -> None:
        self._view, self._now = view, entry.time
        match entry.event:
            case events.LogLine() as line:
                self._above.append(self._logged(line))
            case events.StageEntered(index=None) as event:
                self._above.append(lines.entered(view, event))
            case events.StageLeft(index=None) as event:
                self._above.append(lines.left(view, event))
            case events.RunFinished():
                self._finish(view)
            case _:
                pass  # the next frame shows it

    def refresh(self, now: float) -> None:
        self._now = now
        self._follow_width(self._output.width())
        if self._region is None:
            self._region = Region(
                console=self._console,
                get_renderable=self._frame,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
                vertical_overflow="crop",
            )
            self._region.start()
        if self._above:
            self._scroll()
        else:
            self._region.refresh()

    def close(self) -> None:
        self._lift()

    def _frame(self) -> Group:
        if self._view is None:
            return Group()
        drawn = frame.running(self._view, self._now, self._console.width, unicode=self._output.unicode)
        self._drawn = [line.cell_len for line in drawn]
        return Group(*drawn)

    def _follow_width(self, width: int) -> None:
        if width < self._console.width and self._region is not None:
            # The terminal has wrapped the old frame: go to where its last line would be, and clear below.
            wrapped = sum(max(0, length - 1) // width for length in self._drawn)
            self._output.write(f"\x1b[{wrapped}A\x1b[J" if wrapped else "")
        self._console.width = width

    def _scroll(self) -> None:
        text = "\n".join(self._above) + "\n"
        self._above.clear()
        self._console.print(_Block(text), soft_wrap=True, end="")

    def _lift(self) -> None:
        """Take the live region away; what scrolls stays."""
        if self._region is not None:
            self._region.stop()
            self._region = None
        if self._above:
            self._scroll()

    def _finish(self, view: RunView) -> None:
        self._follow_width(self._output.width())
        self._lift()
        for line in frame.finished(view, self._console.width, unicode=self._output.unicode):
            self._console.print(line, soft_wrap=True)

    def _logged(self, event: events.LogLine) -> str:
        style = _LEVEL_STYLES.get(event.level)
        if style is None or not self._colour:
            text = neutralise(event.line, keep_colour=self._colour)
            return text if style is None or event.level == "debug" else f"{event.level}: {text}"
        return f"\x1b[{style}m{lines.logged(event)}\x1b[0m"
