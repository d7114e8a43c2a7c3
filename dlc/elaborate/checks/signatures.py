"""The headers of modules, fns and train blocks by themselves: names used once, static types that there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dlc.diagnostics import Diagnostic, did_you_mean
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.spelling import axes_text, words
from dlc.elaborate.base.units import Definition, Unit
from dlc.elaborate.state.callee import is_size
from dlc.syntax import ast
from dlc.types.tensor import DTYPES

STATIC = ("int", "float", "bool", "str", "dtype", "dim", "module", "fn", "list", "tuple")
_FOREIGN = {
    "integer": "int", "number": "float", "real": "float", "double": "float", "boolean": "bool", "string": "str",
    "callable": "fn", "function": "fn", "layer": "module", "size": "int", "shape": "list", "array": "list",
}  # fmt: skip


def check_signatures(unit: Unit) -> Iterator[Diagnostic]:
    """All that is wrong with the headers of a file's items."""
    for item in unit.file.items:
        match item:
            case ast.ModuleDef():
                yield from _names(item.name, (*item.static, *item.inputs))
                yield from _names(item.name, item.outputs)
                yield from _static_types(unit, item.static)
                yield from _static_inputs(unit, item.inputs)
                for stmt in item.body:
                    if isinstance(stmt, ast.Entry):
                        yield from _entry(unit, item, stmt)
            case ast.FnDef():
                yield from _names(item.name, item.params)
                yield from _static_types(unit, (each for each in item.params if _is_named(unit, each)))
            case ast.Train():
                yield from _names(item.name, item.static)
                yield from _static_types(unit, item.static)


def _entry(unit: Unit, module: ast.ModuleDef, entry: ast.Entry) -> Iterator[Diagnostic]:
    static, name = entry.static or (), f"{module.name}.{entry.name}"
    yield from _names(name, (*static, *entry.inputs))
    yield from _names(name, entry.outputs)
    yield from _static_types(unit, static)
    yield from _static_inputs(unit, entry.inputs)
    taken = {each.name for each in module.static}
    for each in static:
        if each.name in taken:
            where = f"among the parameters of `{module.name}`, which its entries see"
            yield problems.DEFINED_TWICE.at(
                each.span, name=each.name, where=where, help="rename one of the two"
            )
        if isinstance(each.type, ast.NamedTypeExpr) and each.type.name == "module":
            message = "an entry takes no module: its parts are those of the model"
            help = f"give it to the model: `{module.name}({each.name}: module, …)`"
            yield problems.BAD_TYPE.at(each.type.span, message=message, help=help)


def _names(owner: str, fields: Iterable[ast.Field]) -> Iterator[Diagnostic]:
    seen: set[str] = set()
    for each in fields:
        if each.name in seen:
            where = f"among the parameters of `{owner}`"
            yield problems.DEFINED_TWICE.at(
                each.span, name=each.name, where=where, help="rename one of the two"
            )
        seen.add(str(each.name) if each.name is not None else "")
        seen.discard("")


def _is_named(unit: Unit, item: ast.Field) -> bool:
    """Whether a parameter of an fn has a static type: a single word that is no group."""
    if not isinstance(item.type, ast.NamedTypeExpr):
        return False
    found = unit.names.get(item.type.name)
    return not (isinstance(found, Definition) and isinstance(found.node, ast.GroupDef))


def _static_types(unit: Unit, fields: Iterable[ast.Field]) -> Iterator[Diagnostic]:
    for item in fields:
        yield from _static_type(item.type)


def _static_inputs(unit: Unit, fields: Iterable[ast.Field]) -> Iterator[Diagnostic]:
    """Static values among the inputs. Without a default, the input's type is told to be none where the body is checked."""
    fields = tuple(fields)
    for item in fields:
        if item.default is None and is_size(item):
            yield from _size(item, fields)
        elif item.default is not None and _is_named(unit, item) and isinstance(item.type, ast.NamedTypeExpr):
            message = f"`{item.type.name}` is a static type, and an input is a tensor"
            help = f"it belongs into the first list: `({item.name}: {item.type.name} = …)`"
            yield problems.BAD_TYPE.at(item.type.span, message=message, help=help)


def _size(item: ast.Field, fields: Iterable[ast.Field]) -> Iterator[Diagnostic]:
    """A size among the inputs is of no tensor there: those that are need not be given."""
    for other in fields:
        axes = other.type.axes if isinstance(other.type, ast.TensorTypeExpr | ast.GroupTypeExpr) else ()
        if str(item.name) in words(axes_text(axes)):
            message = f"`{item.name}` is a size of `{other.name}`, and needs no input of its own"
            yield problems.BAD_TYPE.at(item.span, message=message)
            return


def _static_type(type: ast.TypeExpr | None) -> Iterator[Diagnostic]:
    match type:
        case None:
            return
        case ast.NamedTypeExpr(name, args):
            if name not in STATIC:
                message = f"there is no static type `{name}`"
                yield problems.BAD_TYPE.at(type.span, message=message, help=_help(name))
            for each in args:
                yield from _static_type(each)
        case _:
            message = "a tensor's type stands among the inputs, not among the static values"
            yield problems.BAD_TYPE.at(
                type.span, message=message, help="inputs are the second list: `(x: [B, d])`"
            )


def _help(name: str) -> str:
    if name in DTYPES:
        return "a number is an `int` or a `float`, and a dtype itself a `dtype`"
    meant = _FOREIGN.get(name.lower())
    return (
        f"did you mean `{meant}`?"
        if meant
        else did_you_mean(name, STATIC) or f"static types are {', '.join(STATIC)}"
    )
