"""What a loop with a key gathers outside of its state: a resumed run skips items, so a part of that would be missing.

It is found in the source of the recipe. Only what is sure to be gathered counts: it begins empty or as a plain value
before the loop, changes inside, and is read after it. Or it is the list of the items, and they are changed in place, or
a file that is written anew around the loop.
"""

import ast
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from types import CodeType
from typing import Final


_FILLS: Final = frozenset({"add", "append", "appendleft", "extend", "insert", "setdefault", "update"})
_EMPTY: Final = frozenset({"Counter", "OrderedDict", "bytearray", "defaultdict", "deque", "dict", "list", "set"})
_MODES: Final = ("w", "wb", "wt", "w+")
_PLAIN: Final = (ast.Constant, ast.Dict, ast.DictComp, ast.List, ast.ListComp, ast.Set, ast.SetComp)

_LOOPS: Final = (ast.For, ast.AsyncFor)
_Loop = ast.For | ast.AsyncFor


@cache
def lost(code: CodeType, line: int) -> str | None:
    """Return the variable that the `for` statement at that line of `code` gathers outside of its state, or None."""
    for function in ast.walk(_tree(code.co_filename)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name == code.co_name:
            for loop in ast.walk(function):
                if isinstance(loop, _LOOPS) and loop.lineno <= line <= (loop.iter.end_lineno or line):
                    gathered = _changed(loop) & _begun(function, loop) & _read_after(function, loop)
                    gathered |= _changed_in_place(loop) & _read_after(function, loop, but="len")
                    gathered |= _written_anew(function, loop)
                    return min(gathered - _in_state(function, loop), default=None)
    return None


def _tree(file: str) -> ast.AST:
    try:
        return ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])  # typed into a shell, or changed since


def _changed(loop: _Loop) -> set[str]:
    """Return the names that the body of the loop adds to, without those that begin anew for each item."""
    changed = set[str]()
    for node in chain.from_iterable(map(ast.walk, loop.body)):
        match node:
            case ast.AugAssign(target=ast.Name(name) | ast.Subscript(value=ast.Name(name))):
                changed.add(name)
            case ast.Call(func=ast.Attribute(value=ast.Name(name), attr=call)) if call in _FILLS:
                changed.add(name)
            case ast.Subscript(value=ast.Name(name), ctx=ast.Store()):
                changed.add(name)
            case _:
                pass
    return changed - {node.id for node in _names(loop.target)} - {name for name, _, _ in _assigned(loop)}


def _changed_in_place(loop: _Loop) -> set[str]:
    """Return the name of the list whose items the loop writes into (`row["price"] = 1`)."""
    call, items = loop.iter, {node.id for node in _names(loop.target)}
    if not (isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Name)):
        return set()
    for node in chain.from_iterable(map(ast.walk, loop.body)):
        match node:
            case ast.Subscript(value=ast.Name(item), ctx=ast.Store()) if item in items:
                return {call.args[0].id}
            case _:
                pass
    return set()


def _written_anew(function: ast.AST, loop: _Loop) -> set[str]:
    """Return the files that the loop uses and that a `with` around it opens with the mode "w"."""
    used = {node.id for each in loop.body for node in _names(each)}
    return {
        file
        for node in ast.walk(function)
        if isinstance(node, ast.With) and any(each is loop for each in ast.walk(node))
        for item in node.items
        for file in _emptied(item) & used
    }


def _emptied(item: ast.withitem) -> set[str]:
    match item:
        case ast.withitem(
            context_expr=ast.Call(func=ast.Name("open") | ast.Attribute(attr="open"), args=args, keywords=keywords),
            optional_vars=ast.Name(name),
        ):
            modes = [*args, *(each.value for each in keywords if each.arg == "mode")]
            return {name} if any(isinstance(each, ast.Constant) and each.value in _MODES for each in modes) else set()
        case _:
            return set()


def _begun(function: ast.AST, loop: _Loop) -> set[str]:
    """Return the names that are plain values or empty collections before the loop."""
    return {
        name
        for name, value, line in _assigned(function)
        if line < loop.lineno
        and (
            isinstance(value, _PLAIN)
            or (isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in _EMPTY)
        )
    }


def _read_after(function: ast.AST, loop: _Loop, but: str = "") -> set[str]:
    """Return the names that are read after the loop, apart from what is only given to the function `but`."""
    end = loop.end_lineno or loop.lineno
    apart = {
        node.args[0]
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == but and node.args
    }
    read = (node for node in _names(function) if isinstance(node.ctx, ast.Load) and node not in apart)
    return {node.id for node in read if node.lineno > end}


def _in_state(function: ast.AST, loop: _Loop) -> set[str]:
    """Return the names of the loop's state, and of what was put into it before."""
    call = loop.iter
    given = [each.value for each in call.keywords if each.arg == "state"] if isinstance(call, ast.Call) else []
    names = {node.id for each in given for node in _names(each)}
    return names | {node.id for name, value, _ in _assigned(function) if name in names for node in _names(value)}


def _assigned(function: ast.AST) -> Iterator[tuple[str, ast.expr, int]]:
    """Yield the names that `name = value` and `one, two = value, value` set in a function, with value and line."""
    for node in ast.walk(function):
        match node:
            case (
                ast.Assign(targets=[ast.Name(name)], value=value)
                | ast.AnnAssign(target=ast.Name(name), value=ast.expr() as value)
            ):
                yield name, value, node.lineno
            case ast.Assign(targets=[ast.Tuple(names)], value=ast.Tuple(values)):
                yield from (
                    (each.id, value, node.lineno)
                    for each, value in zip(names, values, strict=False)
                    if isinstance(each, ast.Name)
                )
            case _:
                pass


def _names(node: ast.AST) -> Iterator[ast.Name]:
    return (each for each in ast.walk(node) if isinstance(each, ast.Name))
