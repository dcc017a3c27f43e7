"""What around a loop with a key undoes the work of items that count as finished.

It is found in the source of the recipe: what the loop fills is emptied before it, which a resumed run does again; or
it is kept open until the loop is over, and what is not written or committed yet is lost with a run that fails.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from types import CodeType
from typing import Final

from stagerun.authoring import loop_source
from stagerun.authoring.loop_source import Loop, Loss, begun_from, bindings_in, end_of, name_of, names_in, within, withs


_GONE: Final = frozenset({"rmtree", "unlink", "remove"})
_NEW: Final = frozenset({"write_text", "write_bytes"})
_RUN: Final = frozenset({"execute", "executemany", "executescript"})
_COMMITS: Final = frozenset({"atomic", "begin", "begin_nested", "commit", "transaction"})
_AUTOMATIC: Final = frozenset({"autocommit", "isolation_level"})
_EMPTIES: Final = re.compile(
    r"""\b(?:delete\s+from|drop\s+table(?:\s+if\s+exists)?|truncate(?:\s+table)?)\s+["`]?([\w.]+)(?!.*\bwhere\b)""",
    re.IGNORECASE | re.DOTALL,
)
_FILLS: Final = re.compile(r"""\b(?:into|update)\s+["`]?([\w.]+)""", re.IGNORECASE)

_WHY: Final = {
    "emptied": "a resumed run empties it again, and skips the items that filled it; empty it in a p.step",
    "anew": "a resumed run lacks what skipped items put into it; write it after a p.map(key=), or use no key",
    "uncommitted": (
        "a run that fails loses what finished items have written, and a resumed run skips them; "
        "commit at the end of each item or batch"
    ),
    "buffered": (
        "a run that is killed loses what finished items have written, and a resumed run skips them; "
        "flush it at the end of each item"
    ),
}


@cache
def undone(code: CodeType, line: int) -> Loss | None:
    """Return what is wrong around the `for` statement at that line of `code`, or None."""
    found = loop_source.find(code, line)
    if found is None:
        return None
    for look, what, why in (
        (_emptied, "fills {}, which is emptied before it", "emptied"),
        (_written_anew, "writes to {}, which is opened to be written anew", "anew"),
        (_uncommitted, "changes a database by {}, and does not commit each time", "uncommitted"),
        (_buffered, "writes to {}, which keeps lines back", "buffered"),
    ):
        if (name := min(look(*found), default=None)) is not None:
            return Loss(what.format(name), _WHY[why])
    return None


def _emptied(function: ast.AST, loop: Loop) -> set[str]:
    """Return what is emptied before the loop, always, and filled in it."""
    before = [node for each in _before(function, loop) for node in within(each)]
    added, used = _added(function, loop), begun_from(function, set().union(*map(_names, loop.body)))
    found = set[str]()
    for node in before:
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name("shutil" | "os"), attr=call), args=[place, *_]):
                found |= _names(place) & used if call in _GONE else set()
            case ast.Call(func=ast.Name("rmtree"), args=[place, *_]):
                found |= _names(place) & used
            case ast.Call(func=ast.Attribute(value=place, attr="unlink")):
                found |= _names(place) & used
            case ast.Call(func=ast.Attribute(value=place, attr=call)) if call in _NEW:
                found |= _names(place) & added
            case ast.Call() if _mode(node).startswith("w"):
                found |= _names(_opened(node)) & added
            case _:
                pass
    return found | (_tables(before, _EMPTIES) & _tables([*within(loop.body)], _FILLS))


def _before(function: ast.AST, loop: Loop) -> Iterator[list[ast.AST]]:
    """Yield the statements before the loop that are executed whenever it is."""
    body: list[ast.stmt] = getattr(function, "body", [])
    while body:
        around = next((each for each in body if each.lineno <= loop.lineno <= (each.end_lineno or 0)), None)
        for each in body:
            if each.lineno < loop.lineno and each is not around:
                yield from _always(each)
        if around is None or around is loop:
            return
        bodies = (getattr(around, field, []) for field in ("body", "orelse", "finalbody"))
        body = next((each for each in bodies if any(loop in ast.walk(part) for part in each)), [])


def _always(statement: ast.stmt) -> Iterator[list[ast.AST]]:
    if isinstance(statement, ast.Expr | ast.Assign | ast.AnnAssign):
        yield [statement]
    elif isinstance(statement, ast.With | ast.AsyncWith | ast.Try):
        if isinstance(statement, ast.With | ast.AsyncWith):
            yield [item.context_expr for item in statement.items]
        for each in statement.body:
            yield from _always(each)


def _added(function: ast.AST, loop: Loop) -> set[str]:
    """Return the files that the loop opens to write behind what they hold."""
    opened = [_opened(node) for node in within(loop.body) if isinstance(node, ast.Call) and _mode(node)[:1] == "a"]
    return begun_from(function, set[str]().union(*map(_names, opened)))


def _tables(nodes: list[ast.AST], what: re.Pattern[str]) -> set[str]:
    """Return the tables of which `what` is said in the texts of the nodes."""
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {table for text in texts for each in text.split(";") for table in what.findall(each)}


def _written_anew(function: ast.AST, loop: Loop) -> set[str]:
    return {name for name, mode, _ in _files(function, loop) if mode[:1] == "w"}


def _buffered(function: ast.AST, loop: Loop) -> set[str]:
    flushed = _called_on(loop, frozenset({"flush"}))
    return {name for name, mode, at_once in _files(function, loop) if mode[:1] == "a" and not at_once} - flushed


def _files(function: ast.AST, loop: Loop) -> Iterator[tuple[str, str, bool]]:
    """Yield the files that the loop uses and that are opened before it: name, mode, True if that says how to buffer."""
    used = begun_from(function, set().union(*map(names_in, loop.body)))
    opened = [(name_of(each.optional_vars), each.context_expr) for each in withs(function, loop)]
    opened += [(name, value) for name, value, line in bindings_in(ast.walk(function)) if value and line < loop.lineno]
    for name, call in opened:
        if isinstance(call, ast.Call) and name in used:
            yield name, _mode(call), any(each.arg == "buffering" for each in call.keywords)


def _uncommitted(function: ast.AST, loop: Loop) -> set[str]:
    """Return what changes a database in the loop, in a transaction that goes on behind an item."""
    if any(isinstance(node, ast.keyword) and node.arg in _AUTOMATIC for node in ast.walk(function)):
        return set()
    changed = {
        name_of(node.func.value)
        for node in within(loop.body)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _RUN
        if not _only_reads(node)
    } - {""}
    if not changed or _commits(loop):
        return set()
    later = any(each.lineno > end_of(loop) for each in _calls(function, frozenset({"commit"})))
    around = {
        name
        for item in withs(function, loop)
        for name in (names_in(item.context_expr) | (names_in(item.optional_vars) if item.optional_vars else set()))
    }
    return {each for each in changed if later or begun_from(function, {each}) & around}


def _commits(loop: Loop) -> bool:
    """Return True if each item ends its transaction: by a commit, not only now and then, or by a `with`."""
    rarely = {
        node
        for each in within(loop.body)
        if isinstance(each, ast.If) and any(isinstance(part, ast.Mod) for part in ast.walk(each.test))
        for node in ast.walk(each)
    }
    by_with = any(isinstance(each, ast.With | ast.AsyncWith) for each in within(loop.body))
    return by_with or any(call not in rarely for each in loop.body for call in _calls(each, _COMMITS))


def _only_reads(call: ast.Call) -> bool:
    match call.args:
        case [ast.Constant(value=str() as text), *_]:
            return text.lstrip()[:6].upper() in ("SELECT", "PRAGMA")
        case _:
            return False


def _calls(node: ast.AST, names: frozenset[str]) -> Iterator[ast.Call]:
    for each in ast.walk(node):
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) and each.func.attr in names:
            yield each


def _called_on(loop: Loop, names: frozenset[str]) -> set[str]:
    calls = (call for each in loop.body for call in _calls(each, names))
    return {name_of(call.func.value) for call in calls if isinstance(call.func, ast.Attribute)} - {""}


def _mode(call: ast.Call) -> str:
    """Return the mode of an `open(...)`, or nothing for another call."""
    match call:
        case ast.Call(func=ast.Name("open"), args=[_, ast.Constant(value=str() as mode), *_]):
            return mode
        case ast.Call(func=ast.Attribute(attr="open"), args=[ast.Constant(value=str() as mode), *_]):
            return mode
        case ast.Call(func=ast.Name("open") | ast.Attribute(attr="open"), keywords=keywords):
            modes = [each.value for each in keywords if each.arg == "mode"]
            return next((str(each.value) for each in modes if isinstance(each, ast.Constant)), "")
        case _:
            return ""


def _opened(call: ast.Call) -> ast.expr:
    return call.func.value if isinstance(call.func, ast.Attribute) else call.args[0]


def _names(node: ast.AST) -> set[str]:
    """Return the variables and the texts of a piece of code: either can name a file."""
    texts = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))
    return names_in(node) | {each for each in texts if isinstance(each, str) and len(each) > 2}
