"""Who reads a resumable loop: what takes items ahead, collects them, or pairs them anew makes a resumed run wrong."""

import os
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Final

from stagerun.errors import RecipeError


_LIBRARY: Final = os.path.dirname(os.__file__) + os.sep  # noqa: PTH120 - importing pathlib takes long
_COMPREHENSIONS: Final = ("<listcomp>", "<setcomp>", "<dictcomp>")
_GENERATORS: Final = 0x20 | 0x200  # CO_GENERATOR and CO_ASYNC_GENERATOR of `inspect`, which is slow to import


def check(
    key: str,
    frame: FrameType,
    items: object,
    *,
    skips: bool,
    goes_on: Callable[[Any], bool],
    warn: Callable[[str], None],
) -> None:
    """Raise RecipeError if the loop `key` is read in a way that is wrong in a resumed run; warn if it may be.

    Args:
        key: the loop's.
        frame: the code that asks for its first item.
        items: the loop's iterator, or None if it is not known.
        skips: True if this run skips items.
        goes_on: tells whether an iterator is that of a resumable loop.
        warn: writes a warning.

    """
    code = frame.f_code
    where = f"{code.co_filename}, line {frame.f_lineno}"
    if code.co_flags & _GENERATORS:
        warn(
            f"loop {key!r} is read by the generator {code.co_name} ({where}); if it reads ahead, a resumed "
            "run leaves items out: use p.batches, or p.map(key=)"
        )
    elif code.co_name in _COMPREHENSIONS or not _is_for_statement(frame):
        raise RecipeError(
            f"loop {key!r} is not read by a for statement ({where}): what is collected would be incomplete "
            "in a resumed run",
            "use a for statement with state=, or p.map(key=), which stores results",
        )
    elif (pairing := _pairing(code, items, goes_on)) is not None:
        what = f"{pairing} around loop {key!r} begins anew in a resumed run ({where})"
        hint = f"put it inside: p.track({pairing}(...), key=...)"
        if skips:
            raise RecipeError(what, f"{hint}, and run its stage again: stagerun resume --from STAGE")
        warn(f"{what}; {hint}")


def _is_for_statement(frame: FrameType) -> bool:
    """Return True if a for statement that is not one of Python's library is about to take the next item."""
    import opcode

    # `async for` waits at SEND, as every `await` does.
    # Those of Python's library collect: `Executor.map` takes all items before the first one is finished.
    file = frame.f_code.co_filename
    collects = file.startswith(_LIBRARY) and "-packages" not in file.removeprefix(_LIBRARY)
    code, at = frame.f_code.co_code, frame.f_lasti
    while at > 0 and opcode.opname[code[at]] == "CACHE":  # a loop that Python 3.12 has specialised stands behind it
        at -= 2
    return not collects and opcode.opname[code[at]] in ("FOR_ITER", "SEND")


def _pairing(code: CodeType, items: object, goes_on: Callable[[Any], bool]) -> str | None:
    """Return "enumerate" or "zip" if `code` pairs `items` by that, and the pairs would not go on where they do."""
    if items is None or {"enumerate", "zip"}.isdisjoint(code.co_names):  # to look at all objects takes long
        return None
    import gc

    for each in gc.get_referrers(items):
        if isinstance(each, enumerate):
            return "enumerate"
        # A zip has its iterators in a tuple.
        anew = isinstance(each, tuple) and not all(map(goes_on, each))
        if anew and any(isinstance(around, zip) for around in gc.get_referrers(each)):
            return "zip"
    return None
