"""Calls: of modules (which make instances), instances, fns, ops, and through pipes."""

from __future__ import annotations

from typing import Any

from dlc.diagnostics import Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.units import Definition, own_statics
from dlc.elaborate.base.values import (
    Builtin,
    GroupValue,
    Instance,
    Method,
    Poison,
    PresetRef,
    Tensor,
    type_name,
)
from dlc.elaborate.calls import functions
from dlc.elaborate.calls.arguments import Given, bind_static_arguments, given, match_arguments
from dlc.elaborate.calls.binding import fit_members
from dlc.elaborate.calls.placing import no_parameters
from dlc.elaborate.names import lookup as names
from dlc.elaborate.names.origins import by_parameter
from dlc.elaborate.reports.report import Silent
from dlc.elaborate.state.body import Body
from dlc.records import replace
from dlc.syntax import ast

# --- the three ways in: a call, a pipe, a label ------------------------------------------------------------------


def call(body: Body, node: ast.Call, label: ast.Label | None = None) -> Any:
    callee = _callee(body, node.callee)
    args = given(body, _name_of(node.callee, callee), node.args)
    before = len(body.emission.builder.body)
    return by_parameter(body, node.callee, before, apply(body, callee, args, node, label))


def _callee(body: Body, node: ast.Expr) -> Any:
    if isinstance(node, ast.Name):
        value = names.callable_named(body, node.id, node.span)
    else:
        value = body.evaluate(node)
    if isinstance(value, Poison):
        raise Silent
    return value


def _name_of(node: ast.Expr, callee: Any) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(callee, Instance):
        return callee.definition.name
    return str(getattr(callee, "name", "this"))


def apply(body: Body, callee: Any, args: Given, node: ast.Node, label: ast.Label | None = None) -> Any:
    """Call a value with evaluated arguments."""
    match callee:
        case Builtin():
            return _made_by(callee.expand(body, node, args), callee.name, node.span)
        case Definition(node=ast.FnDef()):
            return functions.call_fn(body, callee, args, node)
        case Definition(node=ast.ModuleDef()):
            return make_instance(body, callee, args, node, label)
        case Definition(node=ast.GroupDef()):
            return _make_group(body, callee, args, node)
        case PresetRef():
            return _settle(body, callee, args, node, label)
        case Instance():
            return functions.apply_instance(body, callee, args, node, label)
        case Method() if callee.is_recipe:
            return _settle_entry(body, callee, args, node)
        case Method():
            return functions.apply_instance(body, callee.instance, args, node, label, callee)
        case Poison():
            raise Silent
    place = node.callee.span if isinstance(node, ast.Call) else node.span
    help = (
        "apply its parts one after another: `for layer in layers { x = layer(x) }`"
        if isinstance(callee, list)
        else ""
    )
    body.report.fail(problems.NOT_CALLABLE, place, name=_text(node), what=type_name(callee), help=help)


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


def labeled(body: Body, node: ast.Labeled) -> Any:
    """`value as label`: names the instance that the call makes."""
    inner = node.value
    if isinstance(inner, ast.Call):
        if isinstance(inner.callee, ast.Call):  # Attention(d)(x) as attn: the label belongs to the instance
            callee = _callee(body, inner.callee)
            if isinstance(callee, Instance) and callee.path is None:
                callee.label = node.label
            return apply(
                body, callee, given(body, _name_of(inner.callee, callee), inner.args), inner, node.label
            )
        return call(body, inner, node.label)
    if isinstance(inner, ast.Pipe):
        return pipe(body, inner, node.label)
    value = body.evaluate(inner)
    if _is_module(value):  # `norm = layer_norm as ln_1`: empty parentheses may be left out
        return apply(body, value, Given(), inner, node.label)
    if isinstance(value, Instance) and value.path is None:
        value.label = node.label
    elif isinstance(value, Tensor):
        what = "a label names a layer or module, and this is a tensor"
        body.report.fail(problems.MISPLACED, node.label.span, what=what, help="bind it to a name: `y = …`")
    return value


def pipe(body: Body, node: ast.Pipe, label: ast.Label | None = None) -> Any:
    """`x |> stage`."""
    stage = node.stage
    if isinstance(stage, ast.Labeled):
        label = stage.label
        stage = stage.value
    value = body.evaluate(node.value)
    first = (value, stage.span if isinstance(node.value, ast.Pipe) else node.value.span)
    before = len(body.emission.builder.body)
    if not isinstance(stage, ast.Call):
        callee = _callee(body, stage)
        return by_parameter(body, stage, before, _into(body, callee, first, Given(), stage, label))
    callee = _callee(body, stage.callee)
    args = given(body, _name_of(stage.callee, callee), stage.args)
    return by_parameter(body, stage.callee, before, _into(body, callee, first, args, stage, label))


def _is_module(value: Any) -> bool:
    return isinstance(value, PresetRef) or (
        isinstance(value, Definition) and isinstance(value.node, ast.ModuleDef)
    )


def _into(
    body: Body, callee: Any, first: tuple[Any, Span], args: Given, node: ast.Expr, label: ast.Label | None
) -> Any:
    if _is_module(callee) or (isinstance(callee, Method) and callee.is_recipe):
        tensor = next((span for each, span in args.values() if isinstance(each, Tensor | GroupValue)), None)
        if tensor is not None and not args.rest:
            help = f"further tensors come in a second call: `x |> {callee.name}(…)(y)`"
            body.report.fail(problems.STATIC_AND_TENSOR, tensor, callee=callee.name, help=help)
        instance = apply(body, callee, args, node, label)
        return apply(body, instance, Given([first]), node, label)
    if not isinstance(callee, Builtin | Definition | Instance | Method):
        body.report.fail(problems.BAD_PIPE, node.span, what=f"`{_text(node)}` is {type_name(callee)}")
    return apply(body, callee, replace(args, positional=[first, *args.positional]), node, label)


# --- instances and static arguments ------------------------------------------------------------------------------


def make_instance(
    body: Body, definition: Definition, args: Given, node: ast.Node, label: ast.Label | None
) -> Instance:
    module = definition.node
    assert isinstance(module, ast.ModuleDef)
    tensor = next((span for each, span in args.values() if isinstance(each, Tensor | GroupValue)), None)
    if tensor is not None:
        made = f"{definition.name}({'…' if module.static else ''})"
        help = f"write `{made}(x)` or `x |> {made}`"
        bound = node.callee.id if isinstance(node, ast.Call) and isinstance(node.callee, ast.Name) else ""
        if bound and body.scope.names.get(bound) is definition:
            help = f"`{bound}` is the module itself; make a part of it: `{bound} = {definition.name}(…)`"
        body.report.fail(problems.STATIC_AND_TENSOR, tensor, callee=definition.name, help=help)
    static, terms = bind_static_arguments(body, definition, module.static, args, node.span)
    if body.context.kind == "fn" and any(isinstance(each, ast.ParamStmt) for each in module.body):
        no_parameters(body, definition.name, node.span)
    body.context.session.project.instantiated.setdefault(definition, static)
    return Instance(
        definition,
        static,
        node.span,
        label,
        owner=body,
        loops=tuple(body.scope.loops),
        scope=body.scope,
        places=_places(module.static, args),
        terms=terms,
    )


def _settle_entry(body: Body, method: Method, args: Given, node: ast.Node) -> Method:
    """`vae.sample(steps=20)`: the entry with its static arguments."""
    instance, fields = method.instance, own_statics(method.instance.definition, method.entry)
    tensor = next((span for each, span in args.values() if isinstance(each, Tensor | GroupValue)), None)
    if tensor is not None:
        help = f"write `{method.written}(x)` or `x |> {method.written}`"
        body.report.fail(problems.STATIC_AND_TENSOR, tensor, callee=method.name, help=help)
    static, terms = bind_static_arguments(
        body, instance.definition, fields, args, node.span, callee=method.name, around=instance.static
    )
    return replace(method, static=static, terms=terms, places=_places(fields, args))


def _places(fields: tuple[ast.Field, ...], args: Given) -> dict[str, Span]:
    """Where static arguments are written, by parameter."""
    positional = zip((str(each.name) for each in fields), args.positional, strict=False)
    return {name: span for name, (_, span) in (*positional, *args.named.items())}


def _settle(body: Body, preset: PresetRef, args: Given, node: ast.Node, label: ast.Label | None) -> Any:
    """A preset is called like its model; further arguments override its settings."""
    for name, value in preset.given.items():
        if name not in args.named:
            args.named[name] = (value, node.span)
    return make_instance(body, preset.definition, args, node, label)


def _make_group(body: Body, definition: Definition, args: Given, node: ast.Node) -> GroupValue:
    group = definition.node
    assert isinstance(group, ast.GroupDef)
    members = [str(each.name) for each in group.fields]
    bound = match_arguments(body.report, definition.name, members, args, node.span)
    for name in members:
        if name not in bound:
            note = [f"{definition.name}({', '.join(members)})"]
            body.report.fail(
                problems.MISSING_ARGUMENT, node.span, callee=definition.name, name=name, notes=note
            )
    return fit_members(body, definition, bound)
