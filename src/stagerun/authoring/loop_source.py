"""The source of a loop: its function and its `for` statement, and the names in a piece of code."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from types import CodeType
from typing import Final, NamedTuple, TypeAlias


FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)

Loop: TypeAlias = ast.For | ast.AsyncFor
Binding: TypeAlias = tuple[str, ast.expr | None, int]  # a name, its value if that is known, and the line


class Loss(NamedTuple):
    """What a resumed run of a loop lacks: what the loop does, and why that is wrong, with what to do."""

    what: str
    why: str


@cache
def find(code: CodeType, line: int) -> tuple[ast.AST, Loop] | None:
    """Return the function of `code` and its `for` statement at that line, or None if there is no source of them."""
    try:
        nodes = [*_around(_tree(code.co_filename), line)]
    except RecursionError:  # an expression of a thousand parts
        return None
    functions = [node for node in nodes if isinstance(node, FUNCTIONS) and node.name == code.co_name]
    loops = [node for node in nodes if isinstance(node, ast.For | ast.AsyncFor) and line <= end_of(node.iter)]
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
        if getattr(child, "lineno", line) <= line <= end_of(child, line):
            yield child
            yield from _around(child, line)


def withs(function: ast.AST, loop: Loop) -> Iterator[ast.withitem]:
    """Yield what the `with` statements around a loop hold open."""
    for node in ast.walk(function):
        if isinstance(node, ast.With | ast.AsyncWith) and any(each is loop for each in ast.walk(node)):
            yield from node.items


def within(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield the nodes and all their parts."""
    return chain.from_iterable(map(ast.walk, nodes))


def bindings_in(nodes: Iterable[ast.AST]) -> Iterator[Binding]:
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
                if (bound := name_of(node)) not in names_in(values.get(node)):
                    yield bound, values.get(node), line_of(node)
            case _:
                pass


def begun_from(function: ast.AST, of: set[str]) -> set[str]:
    """Return the names, and those that their values were made of: `file` for `writer = csv.writer(file)`."""
    made = {bound: names_in(value) for bound, value, _ in bindings_in(ast.walk(function))}
    found, left = set[str](), of
    while left:
        found |= left
        left = set[str]().union(*(made.get(each, ()) for each in left)) - found
    return found


def called_in(value: ast.expr | None) -> str:
    """Return the name of the function or class that a value is a call of."""
    match value:
        case ast.Call(func=ast.Name(name) | ast.Subscript(value=ast.Name(name))):
            return name
        case _:
            return ""


def names_in(value: ast.AST | None) -> set[str]:
    return {each for node in ast.walk(value) if (each := name_of(node))} if value is not None else set()


def name_of(node: ast.AST | None) -> str:
    """Return `total` for a variable and what it holds, `self.total` for an attribute of one, "" for anything else."""
    match node:
        case ast.Name(own) | ast.MatchAs(name=str(own)):
            return own
        case ast.Attribute(value=ast.Name(own), attr=attribute):
            return f"{own}.{attribute}"
        case ast.Subscript(value=inner):
            return name_of(inner)
        case _:
            return ""


def root_of(of: str) -> str:
    """Return `self` for `self.total`."""
    return of.partition(".")[0]


def line_of(node: ast.AST) -> int:
    return getattr(node, "lineno", 0)


def end_of(node: ast.AST, instead: int = 0) -> int:
    return getattr(node, "end_lineno", None) or instead
