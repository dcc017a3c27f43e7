"""The source of a loop: the function and the `for` statement of a line, and the names in a piece of code."""

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from types import CodeType
from typing import Final, NamedTuple, TypeAlias


_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
LOOPS: Final = (ast.For, ast.AsyncFor)
Loop: TypeAlias = ast.For | ast.AsyncFor


class Loss(NamedTuple):
    """What a resumed run of a loop lacks: what the loop does, and why that is wrong, with what to do."""

    what: str
    why: str


@cache
def find(code: CodeType, line: int) -> tuple[ast.AST, Loop] | None:
    """Return the function of `code` and its `for` statement at that line, or None if there is no source of them."""
    nodes = [*_around(_tree(code.co_filename), line)]
    functions = [node for node in nodes if isinstance(node, _FUNCTIONS) and node.name == code.co_name]
    loops = [node for node in nodes if isinstance(node, LOOPS) and line <= (node.iter.end_lineno or line)]
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
        if getattr(child, "lineno", line) <= line <= (getattr(child, "end_lineno", line) or line):
            yield child
            yield from _around(child, line)


def assigned(function: ast.AST) -> Iterator[tuple[str, ast.expr, int]]:
    """Yield what `name = value` and `one, two = value, value` set in a function, with value and line."""
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Tuple(targets)], value=ast.Tuple(values)):
                pairs = zip(targets, values, strict=False)
            case ast.Assign(targets=[place], value=value) | ast.AnnAssign(target=place, value=ast.expr() as value):
                pairs = zip([place], [value], strict=True)
            case _:
                continue
        yield from ((name, value, node.lineno) for place, value in pairs for name in read(place))


def places(node: ast.AST) -> Iterator[ast.Name | ast.Attribute]:
    return (each for each in ast.walk(node) if isinstance(each, ast.Name | ast.Attribute))


def read(node: ast.AST) -> set[str]:
    """Return `total` for a variable and `self.total` for an attribute of one, and nothing for anything else."""
    match node:
        case ast.Name(name):
            return {name}
        case ast.Attribute(value=ast.Name(name), attr=attribute):
            return {f"{name}.{attribute}"}
        case _:
            return set()


def all_read(node: ast.AST) -> set[str]:
    return set[str]().union(*map(read, places(node)))


def within(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield the nodes and all their parts."""
    return chain.from_iterable(map(ast.walk, nodes))


def begun_from(function: ast.AST, names: set[str]) -> set[str]:
    """Return the names, and those that the values of these were made of: `file` for `writer = csv.writer(file)`."""
    made = {name: all_read(value) for name, value, _ in assigned(function)}
    found, left = set[str](), names
    while left:
        found |= left
        left = set[str]().union(*(made.get(name, ()) for name in left)) - found
    return found
