"""Calls: of modules (which make instances), instances, fns, ops, and through pipes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import field, replace
from functools import partial
from typing import Any, NoReturn

from dlc.diagnostics import Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate import habits, names
from dlc.elaborate.frame import ElabError, Frame, Silent
from dlc.elaborate.origin import within
from dlc.elaborate.values import (
    Builtin,
    Definition,
    Dtype,
    GroupValue,
    Instance,
    Method,
    Poison,
    PresetRef,
    Tensor,
    show,
    type_name,
)
from dlc.records import dataclass
from dlc.syntax import ast
from dlc.types.dims import Dim


@dataclass(slots=True)
class Given:
    """Evaluated arguments: (value, span) by position and by name. `rest` is true for `f(...)`."""

    positional: list[tuple[Any, Span]] = field(default_factory=list)
    named: dict[str, tuple[Any, Span]] = field(default_factory=dict)
    rest: bool = False
    names: dict[str, Span] = field(default_factory=dict)  # where the name of an argument stands

    def values(self) -> Iterable[tuple[Any, Span]]:
        return [*self.positional, *self.named.values()]


def given(frame: Frame, callee: str, args: Iterable[ast.Arg]) -> Given:

    result = Given()
    broken = False
    for arg in args:
        if isinstance(arg.value, ast.Ellipsis_) and arg.name is None:
            result.rest = True
            continue
        if arg.name is not None:
            if arg.name in result.names:
                frame.fail(problems.GIVEN_TWICE, arg.span, name=arg.name, callee=callee)
            result.names[arg.name] = arg.span.inside(0, len(arg.name))
        value = frame.guarded(partial(_boxed, frame, arg.value))
        if value is None:
            broken = True
            continue
        if arg.name is None:
            result.positional.append((value[0], arg.value.span))
        else:
            result.named[arg.name] = (value[0], arg.value.span)
    if broken:
        raise Silent
    return result


def _boxed(frame: Frame, node: ast.Expr) -> tuple[Any]:
    """A value in a tuple, so that `none` differs from what failed."""
    from dlc.elaborate.expressions import evaluate

    return (evaluate(frame, node),)


# --- the three ways in: a call, a pipe, a label ------------------------------------------------------------------


def call(frame: Frame, node: ast.Call, label: ast.Label | None = None) -> Any:
    callee = _callee(frame, node.callee)
    return apply(frame, callee, given(frame, _name_of(node.callee, callee), node.args), node, label)


def _callee(frame: Frame, node: ast.Expr) -> Any:
    from dlc.elaborate.expressions import evaluate

    if isinstance(node, ast.Name):
        value = names.callable_named(frame, node.id, node.span)
    else:
        value = evaluate(frame, node)
    if isinstance(value, Poison):
        raise Silent
    return value


def _name_of(node: ast.Expr, callee: Any) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(callee, Instance):
        return callee.definition.name
    return str(getattr(callee, "name", "this"))


def apply(frame: Frame, callee: Any, args: Given, node: ast.Node, label: ast.Label | None = None) -> Any:
    """Call a value with evaluated arguments."""
    from dlc.elaborate import functions

    match callee:
        case Builtin():
            return _made_by(callee.expand(frame, node, args), callee.name, node.span)
        case Definition(node=ast.FnDef()):
            return functions.call_fn(frame, callee, args, node)
        case Definition(node=ast.ModuleDef()):
            return make_instance(frame, callee, args, node, label)
        case Definition(node=ast.GroupDef()):
            return _make_group(frame, callee, args, node)
        case PresetRef():
            return _settle(frame, callee, args, node, label)
        case Instance():
            return functions.apply_instance(frame, callee, args, node, label)
        case Method(instance, entry):
            return functions.apply_instance(frame, instance, args, node, label, entry)
        case Poison():
            raise Silent
    place = node.callee.span if isinstance(node, ast.Call) else node.span
    frame.fail(problems.NOT_CALLABLE, place, name=_text(node), what=type_name(callee))


def _made_by(value: Any, name: str, span: Span) -> Any:
    """A result that carries the name of the op that the text calls, not of the primitive that made it last."""
    if isinstance(value, Tensor) and value.made_at == span:
        return replace(value, made_by=name)
    if isinstance(value, tuple) and all(isinstance(each, Tensor) for each in value):
        return tuple(_made_by(each, name, span) for each in value)
    return value


def _text(node: ast.Node) -> str:
    match node:
        case ast.Call(callee=ast.Name(id)) | ast.Name(id):
            return id
        case ast.Call(callee=ast.Attribute(name=name)) | ast.Attribute(name=name):
            return name
    return "this"


def labeled(frame: Frame, node: ast.Labeled) -> Any:
    """`value as label`: names the instance that the call makes."""
    from dlc.elaborate.expressions import evaluate

    inner = node.value
    if isinstance(inner, ast.Call):
        if isinstance(inner.callee, ast.Call):  # Attention(d)(x) as attn: the label belongs to the instance
            callee = _callee(frame, inner.callee)
            if isinstance(callee, Instance) and callee.path is None:
                callee.label = node.label
            return apply(
                frame, callee, given(frame, _name_of(inner.callee, callee), inner.args), inner, node.label
            )
        return call(frame, inner, node.label)
    if isinstance(inner, ast.Pipe):
        return pipe(frame, inner, node.label)
    value = evaluate(frame, inner)
    if _is_module(value):  # `norm = layer_norm as ln_1`: empty parentheses may be left out
        return apply(frame, value, Given(), inner, node.label)
    if isinstance(value, Instance) and value.path is None:
        value.label = node.label
    elif isinstance(value, Tensor):
        what = "a label names a layer or module, and this is a tensor"
        frame.fail(problems.MISPLACED, node.label.span, what=what, help="bind it to a name: `y = …`")
    return value


def pipe(frame: Frame, node: ast.Pipe, label: ast.Label | None = None) -> Any:
    """`x |> stage`."""
    from dlc.elaborate.expressions import evaluate

    stage = node.stage
    if isinstance(stage, ast.Labeled):
        label = stage.label
        stage = stage.value
    value = evaluate(frame, node.value)
    first = (value, stage.span if isinstance(node.value, ast.Pipe) else node.value.span)
    if not isinstance(stage, ast.Call):
        callee = _callee(frame, stage)
        return _into(frame, callee, first, Given(), stage, label)
    callee = _callee(frame, stage.callee)
    args = given(frame, _name_of(stage.callee, callee), stage.args)
    return _into(frame, callee, first, args, stage, label)


def _is_module(value: Any) -> bool:
    return isinstance(value, PresetRef) or (
        isinstance(value, Definition) and isinstance(value.node, ast.ModuleDef)
    )


def _into(
    frame: Frame, callee: Any, first: tuple[Any, Span], args: Given, node: ast.Expr, label: ast.Label | None
) -> Any:
    if _is_module(callee):
        tensor = next((span for each, span in args.values() if isinstance(each, Tensor | GroupValue)), None)
        if tensor is not None and not args.rest:
            help = f"further tensors come in a second call: `x |> {callee.name}(…)(y)`"
            frame.fail(problems.STATIC_AND_TENSOR, tensor, callee=callee.name, help=help)
        instance = apply(frame, callee, args, node, label)
        return apply(frame, instance, Given([first]), node, label)
    if not isinstance(callee, Builtin | Definition | Instance | Method):
        frame.fail(problems.BAD_PIPE, node.span, what=f"`{_text(node)}` is {type_name(callee)}")
    return apply(frame, callee, Given([first, *args.positional], args.named, args.rest), node, label)


# --- instances and static arguments ------------------------------------------------------------------------------


def make_instance(
    frame: Frame, definition: Definition, args: Given, node: ast.Node, label: ast.Label | None
) -> Instance:
    module = definition.node
    assert isinstance(module, ast.ModuleDef)
    tensor = next((span for each, span in args.values() if isinstance(each, Tensor | GroupValue)), None)
    if tensor is not None:
        help = f"write `{definition.name}(…)(x)` or `x |> {definition.name}(…)`"
        bound = node.callee.id if isinstance(node, ast.Call) and isinstance(node.callee, ast.Name) else ""
        if bound and frame.env.get(bound) is definition:
            help = f"`{bound}` is the module itself; make a part of it: `{bound} = {definition.name}(…)`"
        frame.fail(problems.STATIC_AND_TENSOR, tensor, callee=definition.name, help=help)
    static = bind_static_arguments(frame, definition, module.static, args, node.span)
    if frame.kind == "fn" and any(isinstance(each, ast.ParamStmt) for each in module.body):
        no_parameters(frame, definition.name, node.span)
    frame.elaborator.project.instantiated.setdefault(definition, static)
    parameters = [str(each.name) for each in module.static]
    places = {
        name: span
        for name, (_, span) in (*zip(parameters, args.positional, strict=False), *args.named.items())
    }
    return Instance(
        definition, static, node.span, label, frame=frame, loops=tuple(frame.loops), places=places
    )


def no_parameters(frame: Frame, layer: str, span: Span) -> NoReturn:
    """A part with parameters stands in an fn."""
    what = f"`{layer}` has parameters, and `{frame.name}` is an fn, which has none"
    help = f"make it a module: `module {frame.name}(…)(x: …) -> …`"
    frame.fail(problems.MISPLACED, span, what=what, help=help)


def _settle(frame: Frame, preset: PresetRef, args: Given, node: ast.Node, label: ast.Label | None) -> Any:
    """A preset is called like its model; further arguments override its settings."""
    for name, value in preset.static:
        if name not in args.named:
            args.named[name] = (value, node.span)
    return make_instance(frame, preset.definition, args, node, label)


def bind_static_arguments(
    frame: Frame, definition: Definition, fields: tuple[ast.Field, ...], args: Given, span: Span
) -> dict[str, Any]:
    """Static arguments by parameter name, in declared order, defaults evaluated."""
    parameters = [str(each.name) for each in fields]
    bound = match_arguments(frame, definition.name, parameters, args, span)
    inner = frame.elaborator.static_frame(definition.unit, definition.library, chain=frame.chain)
    within(frame, inner, definition.name, span, {})
    static: dict[str, Any] = {}
    later = [str(each.name) for each in fields]
    for item in fields:
        name = later.pop(0)
        if name in bound:
            value, where = bound[name]
        elif args.rest and name in frame.env:
            value, where = frame.env[name], span
        elif item.default is not None:
            value, where = _default(inner, definition, item, later), item.span
        else:
            help = (
                "" if args.rest or name not in frame.env else "pass it, or write `...` to take it from here"
            )
            note = [f"{definition.name}({', '.join(parameters)})"]
            frame.fail(
                problems.MISSING_ARGUMENT, span, callee=definition.name, name=name, help=help, notes=note
            )
        if isinstance(value, Poison):
            raise Silent
        static[name] = inner.env[name] = check_static(frame, definition.name, item, value, where)
    return static


def _default(inner: Frame, definition: Definition, item: ast.Field, later: list[str]) -> Any:
    from dlc.elaborate.expressions import evaluate

    assert item.default is not None
    running = inner.elaborator.project.defaults
    if item in running:
        cycle = f"the default of `{item.name}` of `{definition.name}`"
        inner.fail(problems.LET_CYCLE, item.default.span, name=item.name, cycle=cycle)
    running.append(item)
    try:
        return evaluate(inner, item.default)
    except ElabError as error:
        told = error.diagnostic
        name = next((each for each in (str(item.name), *later) if f"`{each}`" in told.message), "")
        if told.code != problems.UNKNOWN_NAME.code or not name:
            raise
        help = "a default may use the parameters before it" + (
            f"; `{name}` stands behind it" if later else ""
        )
        raise ElabError(replace(told, help=help, fixes=())) from None
    finally:
        running.pop()


def match_arguments(
    frame: Frame, callee: str, parameters: list[str], args: Given, span: Span
) -> dict[str, tuple[Any, Span]]:
    """Arguments by parameter name; unknown, doubled and surplus ones are errors."""
    if len(args.positional) > len(parameters):
        expected = f"{len(parameters)} argument" + ("" if len(parameters) == 1 else "s")
        extra = args.positional[len(parameters)][1]
        frame.fail(
            problems.TOO_MANY_ARGUMENTS,
            extra,
            callee=callee,
            expected=expected if parameters else "no arguments",
            found=len(args.positional),
            notes=[f"{callee}({', '.join(parameters)})"],
            help=habits.SURPLUS.get(callee, ""),
        )
    bound = dict(zip(parameters, args.positional, strict=False))
    _known_names(frame, callee, parameters, args)
    for name, value in args.named.items():
        if name in bound:
            note = [f"{callee}({', '.join(parameters)})"]
            help = habits.TWICE.get(callee, "")
            frame.fail(
                problems.GIVEN_TWICE,
                args.names.get(name, value[1]),
                callee=callee,
                name=name,
                notes=note,
                help=help,
            )
        bound[name] = value
    return bound


def _known_names(frame: Frame, callee: str, parameters: list[str], args: Given) -> None:
    """Report every argument whose name the callee does not have."""
    wrong = [name for name in args.named if name not in parameters]
    for name in wrong:
        help = habits.argument(name, parameters) or (
            f"`{callee}` takes no arguments" if not parameters else ""
        )
        note = [f"{callee}({', '.join(parameters)})"]
        place = args.names.get(name, args.named[name][1])
        frame.report(problems.UNKNOWN_ARGUMENT, place, callee=callee, name=name, help=help, notes=note)
    if wrong:
        raise Silent


_CHECKS: dict[str, Any] = {
    "int": lambda v: isinstance(v, int | Dim) and not isinstance(v, bool),
    "dim": lambda v: isinstance(v, int | Dim) and not isinstance(v, bool),
    "float": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "bool": lambda v: isinstance(v, bool),
    "str": lambda v: isinstance(v, str),
    "dtype": lambda v: isinstance(v, Dtype),
    "module": lambda v: isinstance(v, Instance | PresetRef) or _is_definition(v, ast.ModuleDef),
    "fn": lambda v: isinstance(v, Builtin | Instance | Method) or _is_definition(v, ast.FnDef),
    "sizes": lambda v: isinstance(v, int | Dim | list | tuple) and not isinstance(v, bool),
    "any": lambda v: True,
}


def _is_definition(value: Any, kind: type) -> bool:
    return isinstance(value, Definition) and isinstance(value.node, kind)


def check_static(frame: Frame, callee: str, item: ast.Field, value: Any, span: Span) -> Any:
    """The value, if it is of the parameter's static type (an int is also a float)."""
    if value is None and (
        isinstance(item.default, ast.NoneLit) or (item.default is None and item.type is None)
    ):
        return value
    if isinstance(value, Dim) and value.constant is not None:
        value = value.constant
    if not fits(item.type, value):
        expected = type_text(item.type)
        if isinstance(value, Tensor):
            what = f"`{item.name}` of `{callee}`"
            frame.fail(problems.NOT_STATIC, span, what=what, found=f"a tensor {value.type}")
        found = (
            f"{type_name(value)} ({show(value)})"
            if isinstance(value, int | float | str)
            else type_name(value)
        )
        help = habits.static(callee, str(item.name), expected, value)
        frame.fail(
            problems.STATIC_TYPE,
            span,
            callee=callee,
            name=item.name,
            expected=expected,
            found=found,
            help=help,
        )
    wants_float = isinstance(item.type, ast.NamedTypeExpr) and item.type.name == "float"
    if wants_float and isinstance(value, int):
        from dlc.elaborate.operators import in_range

        in_range(frame, span, value, "float")
    return float(value) if wants_float and isinstance(value, int) else value


def fits(node: ast.TypeExpr | None, value: Any) -> bool:
    match node:
        case ast.NamedTypeExpr("list", args):
            return (
                isinstance(value, list | tuple) and all(fits(args[0], each) for each in value)
                if args
                else True
            )
        case ast.NamedTypeExpr("tuple", args):
            if not isinstance(value, list | tuple):
                return False
            return not args or (len(args) == len(value) and all(map(fits, args, value)))
        case ast.NamedTypeExpr(name, ()):
            check = _CHECKS.get(name)
            return bool(check is None or check(value))
    return True


def type_text(node: ast.TypeExpr | None) -> str:
    match node:
        case ast.NamedTypeExpr("sizes"):
            return "an int or a list of ints"
        case ast.NamedTypeExpr(name, ()):
            return _ARTICLES.get(name, f"a {name}")
        case ast.NamedTypeExpr(name, args):
            return f"a {name}[{', '.join(_inner_text(each) for each in args)}]"
    return "a value"


_ARTICLES = {"int": "an int", "str": "a string", "fn": "an fn"}


def _inner_text(node: ast.TypeExpr) -> str:
    match node:
        case ast.NamedTypeExpr(name, args):
            return f"{name}[{', '.join(map(_inner_text, args))}]" if args else name
    return "…"


STATIC_TYPES = (
    "int",
    "float",
    "bool",
    "str",
    "dtype",
    "dim",
    "module",
    "fn",
    "list",
    "tuple",
    "sizes",
    "any",
)


def entries(definition: Definition) -> dict[str, ast.Entry]:
    """The further ways into a module."""
    body = definition.node.body if isinstance(definition.node, ast.ModuleDef) else ()
    return {item.name: item for item in body if isinstance(item, ast.Entry)}


def _make_group(frame: Frame, definition: Definition, args: Given, node: ast.Node) -> GroupValue:
    from dlc.elaborate import functions

    group = definition.node
    assert isinstance(group, ast.GroupDef)
    members = [str(each.name) for each in group.fields]
    bound = match_arguments(frame, definition.name, members, args, node.span)
    for name in members:
        if name not in bound:
            note = [f"{definition.name}({', '.join(members)})"]
            frame.fail(problems.MISSING_ARGUMENT, node.span, callee=definition.name, name=name, notes=note)
    return functions.fit_members(frame, definition, bound)


def snake_case(name: str) -> str:
    """`SwiGLU` -> `swi_glu`, `MLP` -> `mlp`."""
    spaced = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", spaced)
    return spaced.lower()
