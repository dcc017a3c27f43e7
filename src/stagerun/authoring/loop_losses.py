"""What a loop with a key gathers outside of its state: a resumed run skips items, so a part of that would be missing.

It is found in the source of the recipe. Only what is sure to be gathered counts: it begins empty or as a plain value
before the loop, or is an attribute, changes inside, and is read after it. Or it is the list of the items, and they are
changed in place.
"""

import ast
from collections.abc import Iterator
from functools import cache
from types import CodeType
from typing import Final

from stagerun.authoring import loop_source
from stagerun.authoring.loop_source import Loop, Loss, all_read, assigned, places, read, within


_FILLS: Final = frozenset({"add", "append", "appendleft", "extend", "insert", "setdefault", "update"})
_EMPTY: Final = frozenset({"Counter", "OrderedDict", "bytearray", "defaultdict", "deque", "dict", "list", "set"})
_PLAIN: Final = (ast.Constant, ast.Dict, ast.DictComp, ast.List, ast.ListComp, ast.Set, ast.SetComp)


@cache
def lost(code: CodeType, line: int) -> Loss | None:
    """Return what the `for` statement at that line of `code` gathers outside of its state, or None."""
    found = loop_source.find(code, line)
    if found is None:
        return None
    function, loop = found
    gathered = (_changed(loop) - _begun_elsewhere(function, loop)) & _read_after(function, loop)
    gathered |= _changed_in_place(loop) & _read_after(function, loop, but="len")
    name = min(gathered - _in_state(function, loop), default=None)
    why = "a resumed run lacks what skipped items put into it; keep it in state=, or use p.map(key=)"
    return Loss(f"changes {name}", why) if name is not None else None


def _changed(loop: Loop) -> set[str]:
    """Return what the body of the loop sets or adds to."""
    changed = {name for each in loop.body for name, _, _ in assigned(each)}
    for node in within(loop.body):
        match node:
            case ast.AugAssign(target=ast.Subscript(value=place) | place):
                changed |= read(place)
            case ast.Call(func=ast.Attribute(value=place, attr=call)) if call in _FILLS:
                changed |= read(place)
            case ast.Subscript(value=place, ctx=ast.Store()):
                changed |= read(place)
            case _:
                pass
    items = all_read(loop.target)
    return {each for each in changed if each.partition(".")[0] not in items}


def _changed_in_place(loop: Loop) -> set[str]:
    """Return the name of the list whose items the loop changes (`row["price"] = 1`, `row.tags.append("new")`)."""
    call, items = loop.iter, all_read(loop.target)
    if not (isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Name)):
        return set()
    for node in within(loop.body):
        match node:
            case ast.Subscript(value=place, ctx=ast.Store()) | ast.Attribute(value=place, ctx=ast.Store()):
                changed = _root(place)
            case ast.Call(func=ast.Attribute(value=place, attr=call_)) if call_ in _FILLS:
                changed = _root(place)
            case _:
                continue
        if changed in items:
            return {call.args[0].id}
    return set()


def _root(place: ast.expr) -> str | None:
    """Return the variable at the beginning of `row["tags"].first`."""
    while isinstance(place, ast.Subscript | ast.Attribute):
        place = place.value
    return place.id if isinstance(place, ast.Name) else None


def _begun_elsewhere(function: ast.AST, loop: Loop) -> set[str]:
    """Return what the loop may get from elsewhere: all but attributes, plain values and empty collections before it."""
    begun = {
        name: isinstance(value, _PLAIN)
        or (isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in _EMPTY)
        for name, value, line in assigned(function)
        if line < loop.lineno
    }
    return {name for name in _changed(loop) if not begun.get(name, "." in name)}


def _read_after(function: ast.AST, loop: Loop, but: str = "") -> set[str]:
    """Return what is read after the loop and before it is set anew; what the function `but` is given does not count."""
    end = loop.end_lineno or loop.lineno
    apart = {
        node.args[0]
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == but and node.args
    }
    anew = dict(_set_after(function, end))
    loads = (node for node in places(function) if isinstance(node.ctx, ast.Load) and node not in apart)
    return {
        name for node in loads if node.lineno > end for name in read(node) if node.lineno <= anew.get(name, node.lineno)
    }


def _set_after(function: ast.AST, end: int) -> Iterator[tuple[str, int]]:
    """Yield names and the first line after `end` that sets them, the later lines first."""
    lines = [(name, line) for name, _, line in assigned(function) if line > end]
    for node in ast.walk(function):
        if isinstance(node, loop_source.LOOPS) and node.lineno > end:
            lines += [(name, node.lineno) for name in all_read(node.target)]
    return iter(sorted(lines, key=lambda each: -each[1]))


def _in_state(function: ast.AST, loop: Loop) -> set[str]:
    """Return what is the loop's state, and what was put into it before."""
    call = loop.iter
    given = [each.value for each in call.keywords if each.arg == "state"] if isinstance(call, ast.Call) else []
    names = set[str]().union(*map(all_read, given))
    return names.union(*(all_read(value) for name, value, _ in assigned(function) if name in names))
