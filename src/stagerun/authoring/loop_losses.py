"""What a loop with a key gathers outside of its state: a resumed run skips items, so a part of that would be missing.

It is found in the source of the recipe. Only what is sure to be gathered counts: a variable that begins empty or as a
plain value before the loop, or a number in an attribute of an object that is made in this run. The loop adds to it, and
it is read after the loop. Or it is the list of the items, and they are changed in place, or a file that a `with` around
the loop writes anew.
"""

import ast
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Final, TypeAlias


_FILLS: Final = frozenset({"add", "append", "appendleft", "extend", "insert", "setdefault", "update"})
_EMPTY: Final = frozenset({"Counter", "OrderedDict", "bytearray", "defaultdict", "deque", "dict", "list", "set"})
_MODES: Final = ("w", "wb", "wt", "w+")
_PLAIN: Final = (ast.Constant, ast.Dict, ast.DictComp, ast.List, ast.ListComp, ast.Set, ast.SetComp)

_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SCOPES: Final = (*_FUNCTIONS, *_COMPREHENSIONS, ast.Lambda, ast.ClassDef)

_Binding: TypeAlias = tuple[str, ast.expr | None, int]  # a name, its value if that is known, and the line


@cache
def lost(code: CodeType, line: int) -> list[str]:
    """Return the variables that the `for` statement at that line of `code` gathers outside of its state, in order."""
    try:
        return sorted(_lost(code, line))
    except RecursionError:  # an expression of a thousand parts
        return []


def _lost(code: CodeType, line: int) -> set[str]:
    around = [*_around(_tree(code.co_filename), line)]
    if (found := _found(around, code, line)) is None:
        return set()
    nodes, loop = [*_own(found[0])], found[1]
    inside = [node for node in nodes if loop.lineno <= _line(node) <= _end(loop.body[-1])]
    after = [node for node in nodes if _line(node) > _end(loop.body[-1])]
    bindings = [*_bindings(nodes)]

    gathered = _gathered(inside, [each for each in bindings if each[2] < loop.lineno]) & _read(after)
    gathered |= _changed_in_place(loop, inside) & _read(after, but="len")
    gathered |= _written_anew(around, inside, bindings)
    return gathered - _in_state(nodes, bindings)


@cache
def may_lose(code: CodeType, line: int) -> bool:
    """Return False if the `for` statement at that line of `code` surely changes nothing but what it sets itself."""
    try:
        found = _found(_around(_tree(code.co_filename), line), code, line)
    except RecursionError:
        found = None
    if found is None:
        return True
    function, loop = found
    inside = {node for part in (loop.target, *loop.body) for node in ast.walk(part)}
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
            return _name(place) not in own
        case ast.Call(func=ast.Attribute(value=place, attr=call)) if call in _FILLS:
            return _name(place) not in own
        case ast.Attribute(ctx=ast.Store()) | ast.Yield():
            return True
        case _:
            return False


def _found(around: Iterable[ast.AST], code: CodeType, line: int) -> tuple[ast.AST, ast.For | ast.AsyncFor] | None:
    """Return the function that has this code, and its `for` statement at that line; `around` are the nodes there."""
    nodes = [*around]
    functions = [node for node in nodes if isinstance(node, _FUNCTIONS) and node.name == code.co_name]
    loops = [node for node in nodes if isinstance(node, ast.For | ast.AsyncFor) and line <= _end(node.iter)]
    return (functions[-1], loops[-1]) if functions and loops else None


@cache
def _tree(file: str) -> ast.AST:
    try:
        return ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])  # typed into a shell, or changed since


def _around(node: ast.AST, line: int) -> Iterator[ast.AST]:
    """Yield the nodes in which a line stands, the outer ones first."""
    for child in ast.iter_child_nodes(node):
        if getattr(child, "lineno", line) <= line <= _end(child, line):
            yield child
            yield from _around(child, line)


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function in their order, without the variables of functions, classes and the like in it."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if isinstance(child, _SCOPES):
            own = _variables(child)
            yield from (each for each in _own(child) if _root(_name(each)) not in own)
        else:
            yield from _own(child)


def _variables(scope: ast.AST) -> set[str]:
    inside = [*ast.walk(scope)]
    bound = {node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return bound | {node.arg for node in inside if isinstance(node, ast.arg)}


def _bindings(nodes: Iterable[ast.AST]) -> Iterator[_Binding]:
    """Yield what is bound to something else, whatever it was before."""
    values = dict[ast.AST, ast.expr]()
    for node in nodes:
        match node:
            case ast.Assign(targets=[ast.Tuple(places)], value=ast.Tuple(of_places)):
                values.update(zip(places, of_places, strict=False))
            case ast.Assign(targets=[place], value=value) | ast.AnnAssign(target=place, value=ast.expr() as value):
                values[place] = value
            case ast.AugAssign(target=place) | ast.AnnAssign(target=place):
                values[place] = place  # not bound to something else
            case ast.Name(ctx=ast.Store()) | ast.Attribute(ctx=ast.Store()) | ast.MatchAs(name=str()):
                if (name := _name(node)) not in _names(values.get(node)):
                    yield name, values.get(node), _line(node)
            case _:
                pass


def _gathered(inside: Collection[ast.AST], before: Iterable[_Binding]) -> set[str]:
    """Return what the loop adds to, if it began before the loop and not elsewhere, and does not begin anew inside."""
    begun = {name: value for name, value, _ in before}
    tests = [node for node in inside if isinstance(node, ast.If)]
    anew = {name for name, _, line in _bindings(inside) if not any(_is_emptied(name, line, each) for each in tests)}
    gathered = set[str]()
    for place, counts in _added_to(inside):
        name = _name(place)
        made = counts and name not in begun and _is_made(_root(name), begun)
        if place in inside and (made or _is_plain(begun.get(name))) and anew.isdisjoint((name, _root(name))):
            gathered.add(name)
    return gathered


def _is_emptied(name: str, line: int, test: ast.If) -> bool:
    """Return True for `if len(batch) == 500: batch = []`: what is not full at the end is used after the loop."""
    return name in _names(test.test) and _end(test.test) < line <= _end(test)


def _added_to(inside: Iterable[ast.AST]) -> Iterator[tuple[ast.AST, bool]]:
    """Yield what is added to, and True for what counts instead of holding something."""
    for node in inside:
        match node:
            case ast.AugAssign(target=place):
                yield place, True
            case ast.Assign(targets=[place], value=value) if _name(place) in _names(value):
                yield place, True
            case ast.Call(func=ast.Attribute(value=place, attr=call)) if call in _FILLS:
                yield place, False
            case ast.Subscript(value=place, slice=key, ctx=ast.Store()) if not isinstance(key, ast.Constant):
                yield place, False
            case _:
                pass


def _is_plain(value: ast.expr | None) -> bool:
    return isinstance(value, _PLAIN) or _called(value) in _EMPTY


def _is_made(name: str, begun: dict[str, ast.expr | None]) -> bool:
    """Return True for an object of this run alone: one that came from a database may be stored there."""
    return name == "self" or _called(begun.get(name))[:1].isupper()


def _called(value: ast.expr | None) -> str:
    """Return the name of the function or class that a value is a call of."""
    match value:
        case ast.Call(func=ast.Name(name) | ast.Subscript(value=ast.Name(name))):
            return name
        case _:
            return ""


def _changed_in_place(loop: ast.For | ast.AsyncFor, inside: Iterable[ast.AST]) -> set[str]:
    """Return the name of the list whose items the loop writes into (`row["price"] = 1`)."""
    match loop.iter:
        case ast.Call(args=[ast.Name(rows), *_]):
            stored = [node for node in inside if isinstance(getattr(node, "ctx", None), ast.Store)]
            written = {_name(node) for node in stored if isinstance(node, ast.Subscript)}
            other = {_name(node) for node in stored if isinstance(node, ast.Name) and _line(node) > _end(loop.iter)}
            return {rows} if _names(loop.target) & (written - other) else set()
        case _:
            return set()


def _written_anew(around: Iterable[ast.AST], inside: Iterable[ast.AST], bindings: Iterable[_Binding]) -> set[str]:
    """Return the files that a `with` around the loop opens with "w", and that it uses, also by a `writer(file)`."""
    used = set[str]().union(*map(_names, inside))
    used |= {each for name, value, _ in bindings if name in used for each in _names(value)}
    return {
        file for node in around if isinstance(node, ast.With) for item in node.items for file in _emptied(item) & used
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


def _read(after: Iterable[ast.AST], but: str | None = None) -> set[str]:
    """Return what is read before it is bound to something else, apart from what is only given to the function `but`."""
    nodes = [*after]
    until = {name: line for name, _, line in reversed([*_bindings(nodes)])}
    apart = {node.args[0] for node in nodes if isinstance(node, ast.Call) and node.args and _called(node) == but}
    read = [node for node in nodes if isinstance(getattr(node, "ctx", None), ast.Load) and node not in apart]
    return {name for node in read if (name := _name(node)) and _line(node) <= until.get(name, _line(node))}


def _in_state(nodes: Iterable[ast.AST], bindings: Iterable[_Binding]) -> set[str]:
    """Return what is the state of a loop, and what was put into one."""
    states = [node.value for node in nodes if isinstance(node, ast.keyword) and node.arg == "state"]
    names = set[str]().union(*map(_names, states))
    return names.union(*(_names(value) for name, value, _ in bindings if name in names))


def _names(value: ast.AST | None) -> set[str]:
    return {name for node in ast.walk(value) if (name := _name(node))} if value is not None else set()


def _name(node: ast.AST | None) -> str:
    """Return `total` for a variable and what it holds, `self.total` for an attribute of one, "" for anything else."""
    match node:
        case ast.Name(name) | ast.MatchAs(name=str(name)):
            return name
        case ast.Attribute(value=ast.Name(name), attr=attribute):
            return f"{name}.{attribute}"
        case ast.Subscript(value=inner):
            return _name(inner)
        case _:
            return ""


def _root(name: str) -> str:
    return name.partition(".")[0]


def _line(node: ast.AST) -> int:
    return getattr(node, "lineno", 0)


def _end(node: ast.AST, instead: int = 0) -> int:
    return getattr(node, "end_lineno", None) or instead
