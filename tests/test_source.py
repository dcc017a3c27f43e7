"""What the source of a recipe says of its operations, read without importing it, is what an import says."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Final

import pytest

from stagerun.authoring import finding, source
from stagerun.authoring.finding import Recipe
from stagerun.reports import operations


RECIPE: Final = """
import datetime as dt
import msgspec
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from uuid import UUID
from msgspec import Meta
from stagerun import LiveOperation, Progress, Secret

class Colour(Enum):
    RED = "red"
    BLUE = "blue"

class Size(StrEnum):
    BIG = "big"

Region = Literal["eu", "us"]
Port = Annotated[int, Meta(ge=1, lt=65536)]

class Base(LiveOperation):
    source: Annotated[Path, "the file to read"]
    limit: int = 1000

class Import(Base):
    stages = ["Load"]
    kept: ClassVar[int] = 1
    _hidden: int = 1
    timeout: int = 5
    limit: int = 5
    ratio: float = 0.5
    dry: bool = False
    day: dt.date | None = None
    span: dt.timedelta = dt.timedelta(minutes=5)
    price: Decimal = Decimal("1.5")
    key: "UUID | None" = None
    colour: Colour = Colour.RED
    size: Size = Size.BIG
    region: Region = "eu"
    level: Literal[1, 2] = 2
    port: Port = 80
    pages: Annotated[list[Annotated[int, msgspec.Meta(multiple_of=2)]], Meta(min_length=1)] = (2,)
    token: Secret | None = None
    folder: Path = Path("out")

    def run(self, p: Progress) -> None: ...
"""


def _read(folder: Path, text: str) -> Recipe:
    file = folder / "shop.py"
    file.write_text(text)
    return finding.read(file, "shop")


def test_the_parameters_are_those_of_the_imported_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (listed,) = _read(tmp_path, RECIPE).operations
    spec = importlib.util.spec_from_file_location("shop", listed.source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "shop", module)
    spec.loader.exec_module(module)

    declared = list(module.Import.parameters.values())

    assert list(operations.parameters(source.parameters(listed))) == list(operations.parameters(declared))


EVIL: Final = "__import__('pathlib').Path('made').touch()"


@pytest.mark.parametrize(
    ("annotation", "default", "known"),
    [
        ("Other", "", None),
        ("Other | None", "None", None),
        ("int", "compute()", None),
        ("str", "open('made', 'w').name", None),
        (f'"{EVIL}"', "", None),
        (f'Annotated["{EVIL}", 1]', "", None),
        (EVIL, "1", 1),
        ("str", "'a' * 10 ** 10", None),
        ("list[Other]", "()", []),
    ],
)
def test_what_is_not_known_is_a_type_by_its_written_name_and_is_never_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, annotation: str, default: str, known: object
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "from typing import Annotated\nfrom stagerun import LiveOperation\nfrom shop import Other\n"
    text += (
        f"class Op(LiveOperation):\n    x: {annotation}{' = ' * bool(default)}{default}\n    def run(self, p): ...\n"
    )
    (listed,) = _read(tmp_path, text).operations

    (parameter,) = operations.parameters(source.parameters(listed))

    assert parameter["type"].replace('"', "'") == annotation.lower().replace('"', "'")
    assert (parameter["default"], parameter["required"]) == (known, not default)
    assert not Path("made").exists()


def test_a_recipe_is_read_with_its_title_its_coroutines_and_what_breaks_it(tmp_path: Path) -> None:
    text = '"""What we sell.\n\nMore."""\nfrom stagerun import LiveOperation\nclass Op(LiveOperation):\n    '
    good = _read(tmp_path, f"{text}async def run(self, p): ...\n")
    bad = _read(tmp_path, "def run(:\n")

    assert (good.title, [each.target for each in good.operations]) == ("What we sell.", ["shop:Op"])
    assert bad == Recipe(name="shop", file=tmp_path / "shop.py", broken="invalid syntax", line=1)


def test_a_pipe_is_no_recipe_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")

    assert finding.read(tmp_path / "pipe.py", "pipe").broken == "it is a pipe"
