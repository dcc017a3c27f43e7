"""The parameters of an operation as its source says them, for who must not import the recipe.

Annotations and defaults are evaluated only if they are made of names of Python's own types, of `Meta` and of enums and
aliases in the same file. Any other type is known by its written name alone.
"""

import ast
import enum
import importlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from stagerun.authoring import params
from stagerun.authoring.finding import Listed
from stagerun.authoring.params import MISSING, SETTINGS, Parameter
from stagerun.errors import RecipeError
from stagerun.text.secrets import Secret


_MODULES: Final = frozenset(
    {"datetime", "decimal", "enum", "msgspec", "pathlib", "typing", "typing_extensions", "uuid"}
)
_BUILTINS: Final = {each.__name__: each for each in (str, int, float, bool, list, tuple)}
_NODES: Final = (ast.Attribute, ast.BinOp, ast.BitOr, ast.Constant, ast.List, ast.Load, ast.Name, ast.Subscript)
_MORE_NODES: Final = (ast.Tuple, ast.UnaryOp, ast.USub, ast.keyword)
# What a default or a bound may call: it makes a value and does nothing else.
_CALLED: Final = frozenset({"Meta", "Path", "timedelta", "date", "datetime", "Decimal", "UUID", "Secret"})

_Scope = dict[str, Any]


def parameters(operation: Listed) -> list[Parameter]:
    """Return the parameters of an operation, those of its bases in the same file first."""
    tree = ast.parse(operation.source.read_bytes())
    scope = _scope(tree)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    return list(_declared(classes[operation.target.rpartition(":")[2]], classes, scope).values())


def _declared(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef], scope: _Scope) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for base in reversed(node.bases):
        if isinstance(base, ast.Name) and base.id in classes and classes[base.id] is not node:
            found |= _declared(classes[base.id], classes, scope)
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            name = each.target.id
            if not name.startswith("_") and name not in SETTINGS and "ClassVar" not in ast.unparse(each.annotation):
                found[name] = _parameter(name, each, scope)
    return found


def _parameter(name: str, node: ast.AnnAssign, scope: _Scope) -> Parameter:
    default: Any = MISSING
    if node.value is not None:
        try:
            default = _value(node.value, scope)
        except _Unknown:
            default = None
    try:
        given = {} if default is MISSING else {name: default}
        owner = type("Source", (), {"__annotations__": {name: _hint(node.annotation, scope)}, **given})
        return params.declare(owner, frozenset(), frozenset())[name]
    except (_Unknown, RecipeError):
        return Parameter(name=name, type=type(ast.unparse(node.annotation), (), {}), default=default)


class _Unknown(Exception):
    """An expression that is not evaluated."""


def _hint(node: ast.expr, scope: _Scope) -> Any:
    """Return the type that an annotation means, also one in quotes; never a text, which Python would execute."""
    try:
        written = node.value if isinstance(node, ast.Constant) else None
        hint = _value(ast.parse(written, mode="eval").body if isinstance(written, str) else node, scope)
    except (SyntaxError, ValueError):
        raise _Unknown from None
    if isinstance(hint, str):
        raise _Unknown
    return hint


def _value(node: ast.expr, scope: _Scope) -> Any:
    """Return the value of an expression; `_Unknown` unless it is made of what is known and does nothing."""
    for each in ast.walk(node):
        called = isinstance(each, ast.Call) and ast.unparse(each.func).rpartition(".")[2] in _CALLED
        if not (called or isinstance(each, (*_NODES, *_MORE_NODES))):
            raise _Unknown
    try:
        return eval(compile(ast.Expression(node), "", "eval"), {"__builtins__": {}}, scope)  # noqa: S307 - see above
    except Exception:
        raise _Unknown from None


def _scope(tree: ast.Module) -> _Scope:
    """Return the names of a module that mean a type."""
    scope: _Scope = dict(_BUILTINS)
    for node in tree.body:
        match node:
            case ast.Import():
                modules = {each.asname or each.name: each.name for each in node.names if each.name in _MODULES}
                scope |= {name: importlib.import_module(module) for name, module in modules.items()}
            case ast.ImportFrom(module=str(module), level=0):
                scope |= _imported(module, node.names)
            case ast.ClassDef():
                scope |= _enum(node, scope)
            case ast.Assign(targets=[ast.Name(id=name)]):
                scope.pop(name, None)
                with suppress(_Unknown):
                    scope[name] = _value(node.value, scope)
            case _:
                pass
    return scope


def _imported(module: str, names: Sequence[ast.alias]) -> _Scope:
    """Return what `from module import names` binds, as far as it can be a type of a parameter."""
    if module == "stagerun":
        names = [each for each in names if each.name == Secret.__name__]
    elif module not in _MODULES:
        return {}
    there = importlib.import_module(module)
    return {each.asname or each.name: getattr(there, each.name) for each in names if hasattr(there, each.name)}


def _enum(node: ast.ClassDef, scope: _Scope) -> _Scope:
    """Return the enum that a class statement binds if all its values are written down, else nothing."""
    try:
        bases = [_value(base, scope) for base in node.bases]
        members = {
            target.id: ast.literal_eval(each.value)
            for each in node.body
            if isinstance(each, ast.Assign)
            for target in each.targets
            if isinstance(target, ast.Name)
        }
        if not bases or not issubclass(bases[-1], enum.Enum):
            return {}
        return {node.name: bases[-1](node.name, members, type=bases[0] if len(bases) > 1 else None)}
    except (_Unknown, ValueError, TypeError):
        return {}
