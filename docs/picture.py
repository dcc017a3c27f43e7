"""Draws docs/terminal.svg, the picture in the README: `python docs/picture.py`."""

import io
import re
from pathlib import Path

from rich.console import Console
from rich.text import Text

from stagerun import events
from stagerun.render import frame
from stagerun.states import StageState
from stagerun.view import begin, fold


WIDTH = 84


def main() -> None:
    """Fold a run as it stands in the middle of its second stage, and draw what the terminal shows then."""
    plan = events.RunCreated(
        target="stdlib:Index",
        recipe="stdlib",
        operation="Index",
        stages=("Scan", "Parse", "Save"),
        owner="alice",
        expected={"Scan": 0.4, "Parse": 4.1, "Save": 1.5},
    )
    happened: list[tuple[float, events.Event]] = [
        (0.0, events.RunStarted()),
        (0.0, events.StageEntered(stage="Scan", index=0)),
        (0.4, events.StageLeft(stage="Scan", index=0, state=StageState.DONE, seconds=0.4)),
        (0.4, events.StageEntered(stage="Parse", index=1)),
        (2.6, events.ProgressMoved(done=912, total=1689, percent=54.0, unit="file", seconds=2.2)),
    ]
    view = begin(events.Entry(42, 1, 0.0, plan))
    for seq, (time, event) in enumerate(happened, start=2):
        view = fold(view, events.Entry(42, seq, time, event))

    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text("$ stagerun run stdlib:Index", style="dim"))
    console.print(Text("[1/3] Scan", style="cyan"))
    console.print(Text("found 1,689 files in /usr/lib/python3.11"))
    console.print(Text("✓ [1/3] Scan: done in 0.4s", style="green"))
    for line in frame.running(view, 2.6, WIDTH, unicode=True):
        console.print(line, soft_wrap=True)
    svg = console.export_svg(title="stagerun", unique_id="stagerun")
    # A picture in a README loads no fonts from elsewhere.
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL).replace("Fira Code, monospace", "monospace")
    Path(__file__).with_name("terminal.svg").write_text(svg)


if __name__ == "__main__":
    main()
