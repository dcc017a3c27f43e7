"""What a loop with a key gathers outside of its state: a resumed run skips items, so a part of that would be missing.

It is found in the source of the recipe. Only what is sure to be gathered counts: it begins empty or as a plain value
before the loop, or is an attribute, changes inside, and is read after it. Or it is the list of the items, and they are
changed in place, or a file that is written anew around the loop.
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

_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_LOOPS: Final = (ast.For, ast.AsyncFor)
_Loop = ast.For | ast.AsyncFor


@cache
def lost(code: CodeType, line: int) -> str | None:
    """Return the variable that the `for` statement at that line of `code` gathers outside of its state, or None."""
    around = [*_around(_tree(code.co_filename), line)]
    functions = [node for node in around if isinstance(node, _FUNCTIONS) and node.name == code.co_name]
    loops = [node for node in around if isinstance(node, _LOOPS) and line <= (node.iter.end_lineno or line)]
    if not functions or not loops:
        return None
    function, loop = functions[-1], loops[-1]
    gathered = (_changed(loop) - _begun_elsewhere(function, loop)) & _read_after(function, loop)
    gathered |= _changed_in_place(loop) & _read_after(function, loop, but="len")
    gathered |= _written_anew(function, loop)
    return min(gathered - _in_state(function, loop), default=None)


@cache
def _tree(file: str) -> ast.AST:
    try:
        return ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])  # typed into a shell, or changed since


def _around(node: ast.AST, line: int) -> Iterator[ast.AST]:
    """Yield the nodes in which a line stands, the outer ones first."""
    for child in ast.iter_child_nodes(node):
        if getattr(child, "lineno", line) <= line <= (getattr(child, "end_lineno", line) or line):
            yield child
            yield from _around(child, line)


def _changed(loop: _Loop) -> set[str]:
    """Return what the body of the loop adds to, without what begins anew for each item."""
    changed = set[str]()
    for node in chain.from_iterable(map(ast.walk, loop.body)):
        match node:
            case ast.AugAssign(target=ast.Subscript(value=place) | place):
                changed |= _read(place)
            case ast.Call(func=ast.Attribute(value=place, attr=call)) if call in _FILLS:
                changed |= _read(place)
            case ast.Subscript(value=place, ctx=ast.Store()):
                changed |= _read(place)
            case ast.Assign(targets=[place], value=value) if _read(place) <= _all_read(value):
                changed |= _read(place)
            case _:
                pass
    anew = {name for name, value, _ in _assigned(loop) if name not in _all_read(value)}
    items = _all_read(loop.target)
    return {each for each in changed - anew if each.partition(".")[0] not in items}


def _changed_in_place(loop: _Loop) -> set[str]:
    """Return the name of the list whose items the loop writes into (`row["price"] = 1`)."""
    call, items = loop.iter, _all_read(loop.target)
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
    """Return the files that a `with` around the loop opens with "w", and that it uses, also by a `writer(file)`."""
    used = set[str]().union(*(_all_read(each) for each in loop.body))
    used.update(*(_all_read(value) for name, value, _ in _assigned(function) if name in used))
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


def _begun_elsewhere(function: ast.AST, loop: _Loop) -> set[str]:
    """Return what the loop may get from elsewhere: all but attributes, plain values and empty collections before it."""
    begun = {
        name: isinstance(value, _PLAIN)
        or (isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in _EMPTY)
        for name, value, line in _assigned(function)
        if line < loop.lineno
    }
    return {name for name in _changed(loop) if not begun.get(name, "." in name)}


def _read_after(function: ast.AST, loop: _Loop, but: str = "") -> set[str]:
    """Return what is read after the loop, apart from what is only given to the function `but`."""
    end = loop.end_lineno or loop.lineno
    apart = {
        node.args[0]
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == but and node.args
    }
    read = (node for node in _places(function) if isinstance(node.ctx, ast.Load) and node not in apart)
    return set[str]().union(*(_read(node) for node in read if node.lineno > end))


def _in_state(function: ast.AST, loop: _Loop) -> set[str]:
    """Return what is the loop's state, and what was put into it before."""
    call = loop.iter
    given = [each.value for each in call.keywords if each.arg == "state"] if isinstance(call, ast.Call) else []
    names = set[str]().union(*map(_all_read, given))
    return names.union(*(_all_read(value) for name, value, _ in _assigned(function) if name in names))


def _assigned(function: ast.AST) -> Iterator[tuple[str, ast.expr, int]]:
    """Yield what `name = value` and `one, two = value, value` set in a function, with value and line."""
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Tuple(places)], value=ast.Tuple(values)):
                pairs = zip(places, values, strict=False)
            case ast.Assign(targets=[place], value=value) | ast.AnnAssign(target=place, value=ast.expr() as value):
                pairs = zip([place], [value], strict=True)
            case _:
                continue
        yield from ((name, value, node.lineno) for place, value in pairs for name in _read(place))


def _places(node: ast.AST) -> Iterator[ast.Name | ast.Attribute]:
    return (each for each in ast.walk(node) if isinstance(each, ast.Name | ast.Attribute))


def _read(node: ast.AST) -> set[str]:
    """Return `total` for a variable and `self.total` for an attribute of one, and nothing for anything else."""
    match node:
        case ast.Name(name):
            return {name}
        case ast.Attribute(value=ast.Name(name), attr=attribute):
            return {f"{name}.{attribute}"}
        case _:
            return set()


def _all_read(node: ast.AST) -> set[str]:
    return set[str]().union(*map(_read, _places(node)))
