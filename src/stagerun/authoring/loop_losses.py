"""What a loop with a key gathers outside of its state: a resumed run skips items, so a part of that would be missing.

It is found in the source of the recipe. Only what is sure to be gathered counts: a variable that begins empty or as a
plain value before the loop, or a number in an attribute of an object that is made in this run. The loop adds to it, or
sets it for some items, and it is read after the loop. Or it is the list of the items, and they are changed in place.
"""

import ast
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from types import CodeType
from typing import Final

from stagerun.authoring import loop_source
from stagerun.authoring.loop_source import (
    Binding,
    Loop,
    Loss,
    bindings_in,
    called_in,
    end_of,
    line_of,
    name_of,
    names_in,
    root_of,
    within,
)


_FILLS: Final = frozenset({"add", "append", "appendleft", "extend", "insert", "setdefault", "update"})
_EMPTY: Final = frozenset({"Counter", "OrderedDict", "bytearray", "defaultdict", "deque", "dict", "list", "set"})
_PLAIN: Final = (ast.Constant, ast.Dict, ast.DictComp, ast.List, ast.ListComp, ast.Set, ast.SetComp)

_COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SCOPES: Final = (*loop_source.FUNCTIONS, *_COMPREHENSIONS, ast.Lambda, ast.ClassDef)


@cache
def lost(code: CodeType, line: int) -> Loss | None:
    """Return what the `for` statement at that line of `code` gathers outside of its state, or None."""
    found = loop_source.find(code, line)
    try:
        return _lost(*found) if found is not None else None
    except RecursionError:  # an expression of a thousand parts
        return None


def _lost(function: ast.AST, loop: Loop) -> Loss | None:
    nodes = [*_own(function)]
    inside = [node for node in nodes if loop.lineno <= line_of(node) <= end_of(loop.body[-1])]
    after = [node for node in nodes if line_of(node) > end_of(loop.body[-1])]
    bindings = [*bindings_in(nodes)]
    state = _in_state(nodes, bindings)

    before = [each for each in bindings if each[2] < loop.lineno]
    if gathered := _gathered(inside, before) & _read(after) - state:
        why = "a resumed run lacks what skipped items put into it; keep it in state=, or use p.map(key=)"
        return Loss(f"changes {', '.join(sorted(gathered))}", why)
    if in_place := _changed_in_place(loop, inside) & _read(after, but="len") - state:
        why = "a resumed run has skipped items as they were; use the results of p.map(key=)"
        return Loss(f"changes the items of {in_place.pop()}", why)
    return None


@cache
def may_lose(code: CodeType, line: int) -> bool:
    """Return False if the `for` statement at that line of `code` surely changes nothing but what it sets itself."""
    if (found := loop_source.find(code, line)) is None:
        return True
    function, loop = found
    inside = {*within([loop.target, *loop.body])}
    own = {node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    if _changed_in_place(loop, inside) or any(_reaches_out(node, own) for node in inside):
        return True
    outside = [node for node in ast.walk(function) if node not in inside]
    read = {node.id for node in outside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return not own.isdisjoint(read) or any(isinstance(node, ast.Global | ast.Nonlocal) for node in outside)


def _reaches_out(node: ast.AST, own: set[str]) -> bool:
    """Return True for what changes an object that may be used elsewhere, or hands over to who may."""
    match node:
        case ast.Subscript(value=place, ctx=ast.Store()):
            return name_of(place) not in own
        case ast.Call(func=ast.Attribute(value=place, attr=call)) if call in _FILLS:
            return name_of(place) not in own
        case ast.Attribute(ctx=ast.Store()) | ast.Yield():
            return True
        case _:
            return False


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function in their order, without the variables of functions, classes and the like in it."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if isinstance(child, _SCOPES):
            own = _variables(child)
            yield from (each for each in _own(child) if root_of(name_of(each)) not in own)
        else:
            yield from _own(child)


def _variables(scope: ast.AST) -> set[str]:
    inside = [*ast.walk(scope)]
    bound = {node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return bound | {node.arg for node in inside if isinstance(node, ast.arg)}


def _gathered(inside: Collection[ast.AST], before: Iterable[Binding]) -> set[str]:
    """Return what the loop adds to, if it began before the loop and not elsewhere, and does not begin anew inside."""
    begun = {name: value for name, value, _ in before}
    kept = {*_kept(inside)}
    anew = {name for name, _, line in bindings_in(inside) if (name, line) not in kept}
    gathered = {name for name, _ in kept if _is_plain(begun.get(name))}
    for place, counts in _added_to(inside):
        name = name_of(place)
        made = counts and name not in begun and _is_made(root_of(name), begun)
        if place in inside and (made or _is_plain(begun.get(name))):
            gathered.add(name)
    return {name for name in gathered if anew.isdisjoint((name, root_of(name)))}


def _kept(inside: Iterable[ast.AST]) -> Iterator[tuple[str, int]]:
    """Yield what some items set for those after the loop, with the line: a flag, or the largest so far."""
    for test in inside:
        if isinstance(test, ast.If):
            for node in within([*test.body, *test.orelse]):
                match node:
                    case ast.Assign(targets=[ast.Name(name)], value=value) if isinstance(
                        value, ast.Constant
                    ) or name in names_in(test.test):
                        yield name, node.lineno
                    case _:
                        pass


def _added_to(inside: Iterable[ast.AST]) -> Iterator[tuple[ast.AST, bool]]:
    """Yield what is added to, and True for what counts instead of holding something."""
    for node in inside:
        match node:
            case ast.AugAssign(target=place):
                yield place, True
            case ast.Assign(targets=[place], value=value) if name_of(place) in names_in(value):
                yield place, True
            case ast.Call(func=ast.Attribute(value=place, attr=call)) if call in _FILLS:
                yield place, False
            case ast.Subscript(value=place, slice=key, ctx=ast.Store()) if not isinstance(key, ast.Constant):
                yield place, False
            case _:
                pass


def _is_plain(value: ast.expr | None) -> bool:
    return isinstance(value, _PLAIN) or called_in(value) in _EMPTY


def _is_made(name: str, begun: dict[str, ast.expr | None]) -> bool:
    """Return True for an object of this run alone: one that came from a database may be stored there."""
    return name == "self" or called_in(begun.get(name))[:1].isupper()


def _changed_in_place(loop: Loop, inside: Iterable[ast.AST]) -> set[str]:
    """Return the name of the list whose items the loop changes (`row["price"] = 1`, `row.update(price=1)`)."""
    written, other = set[str](), set[str]()
    for node in inside:
        match node:
            case ast.Subscript(ctx=ast.Store()):
                written.add(name_of(node))
            case ast.Call(func=ast.Attribute(value=place, attr=call)) if call in _FILLS:
                written.add(name_of(place))
            case ast.Name(ctx=ast.Store()) if line_of(node) > end_of(loop.iter):
                other.add(node.id)
            case _:
                pass
    match loop.iter:
        case ast.Call(args=[ast.Name(rows), *_]) if names_in(loop.target) & (written - other):
            return {rows}
        case _:
            return set()


def _read(after: Iterable[ast.AST], but: str | None = None) -> set[str]:
    """Return what is read before it is bound to something else, apart from what is only given to the function `but`."""
    nodes = [*after]
    until = {name: line for name, _, line in reversed([*bindings_in(nodes)])}
    apart = {node.args[0] for node in nodes if isinstance(node, ast.Call) and node.args and called_in(node) == but}
    read = [node for node in nodes if isinstance(getattr(node, "ctx", None), ast.Load) and node not in apart]
    return {name for node in read if (name := name_of(node)) and line_of(node) <= until.get(name, line_of(node))}


def _in_state(nodes: Iterable[ast.AST], bindings: Iterable[Binding]) -> set[str]:
    """Return what is the state of a loop, and what was put into one."""
    states = [node.value for node in nodes if isinstance(node, ast.keyword) and node.arg == "state"]
    names = set[str]().union(*map(names_in, states))
    return names.union(*(names_in(value) for name, value, _ in bindings if name in names))
