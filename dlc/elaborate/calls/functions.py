"""Calling fns and instances: types bound to the caller's, facts proved, the body elaborated once per instantiation.

A body is elaborated in its own dims: sizes that are numbers at the call are numbers inside, every other name stays
symbolic. So one function serves all calls with the same static values and known sizes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from dlc.diagnostics import Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.handles import flat, mapped
from dlc.elaborate.base.project import library_definition
from dlc.elaborate.base.trees import snake_case
from dlc.elaborate.base.units import Definition, entries
from dlc.elaborate.base.values import GroupValue, Instance, Method, Poison, Tensor
from dlc.elaborate.calls import lent, module_arguments, moved
from dlc.elaborate.calls.arguments import Given, bind_static_arguments, match_arguments, note_names
from dlc.elaborate.calls.binding import bind_inputs
from dlc.elaborate.calls.facts import prove_facts
from dlc.elaborate.calls.placing import place
from dlc.elaborate.calls.sizes import outward
from dlc.elaborate.reports.report import Silent
from dlc.elaborate.state.body import Body
from dlc.elaborate.state.callee import Bound, Callee, way_in
from dlc.elaborate.state.emission import Emission
from dlc.elaborate.tensors.operators import emit
from dlc.elaborate.types.static import check_static
from dlc.ir.nodes import Function, Op, Value, walk
from dlc.records import replace
from dlc.syntax import ast
from dlc.types.tensor import TensorType

# --- entry points ----------------------------------------------------------------------------------------------


def call_fn(body: Body, definition: Definition, args: Given, node: ast.Node) -> Any:
    """Call an `fn`: its parameters are static where their type says so, tensors otherwise."""
    fn = definition.node
    assert isinstance(fn, ast.FnDef)
    parameters = [str(each.name) for each in fn.params]
    bound = match_arguments(body.report, definition.name, parameters, args, node.span)
    note_names(body, definition, fn.params, args)
    static_fields, inputs, given = [], [], Given(rest=False, terms=args.terms)
    for item in fn.params:
        name = str(item.name)
        value = bound.get(name)
        if is_static_field(item, value[0] if value else None):
            static_fields.append(item)
            if value is not None:
                given.named[name] = value
        else:
            inputs.append(item)
    static, terms = bind_static_arguments(body, definition, tuple(static_fields), given, node.span)
    places = {name: span for name, (_, span) in bound.items()}
    callee = Callee(definition, static, tuple(inputs), fn.outputs, fn.where, fn.body, places=places)
    callee.terms = terms
    return _call(body, callee, bound, node, path="")


def is_static_field(item: ast.Field, value: Any) -> bool:
    if isinstance(item.type, ast.NamedTypeExpr):
        return not isinstance(value, GroupValue)
    return item.type is None and not isinstance(value, Tensor | GroupValue) and value is not None


def apply_instance(
    body: Body,
    instance: Instance,
    args: Given,
    node: ast.Node,
    label: ast.Label | None = None,
    method: Method | None = None,
) -> Any:
    """Apply an instance, or a method of it, to tensors."""
    if instance.path is None and instance.label is None and label is not None:
        instance.label = label
    entry = "" if method is None else method.entry
    callee = way_in(instance.definition, instance.static, entry)
    if method is not None:
        callee.static |= method.static or {}
        callee.terms |= method.terms
    header: Any = entries(instance.definition)[entry] if entry else instance.definition.node
    parameters = [str(each.name) for each in header.inputs]
    bound = match_arguments(body.report, callee.name, parameters, args, node.span)
    note_names(body, instance.definition, header.inputs, args)
    written = {} if method is None else method.places
    callee.places = {**instance.places, **written, **{name: span for name, (_, span) in bound.items()}}
    for item in callee.sizes:
        _give_size(body, callee, item, bound, args, node)
    order = moved.to_own(body, callee, bound, node)
    call = _standing if instance.standing else _call
    results = call(body, callee, bound, node, instance=instance)
    return results if order is None else moved.back(body, results, order, node)


def _standing(
    body: Body, callee: Callee, bound: dict[str, tuple[Any, Span]], node: ast.Node, instance: Instance
) -> Any:
    """What a network gives that is not trained here: in its own mode, and without a gradient where it is one that is trained."""
    with body.context.session.mode(training=body.context.session.training and instance.trains):
        results = _call(body, callee, bound, node, instance=instance)
    if instance.standing == "eval":
        return mapped(results, partial(_constant, body, node))
    return results


def _constant(body: Body, node: ast.Node, value: Tensor) -> Tensor:
    return emit(body, node, "stop_gradient", value) if value.type.is_float else value


def _give_size(
    body: Body,
    callee: Callee,
    item: ast.Field,
    given: dict[str, tuple[Any, Span]],
    args: Given,
    node: ast.Node,
) -> None:
    """Take a size from the arguments for tensors to the static ones."""
    name = str(item.name)
    if name not in given:
        body.report.fail(problems.MISSING_ARGUMENT, node.span, callee=callee.name, name=name)
    value, span = given.pop(name)
    if isinstance(value, Poison):
        raise Silent
    callee.static[name] = check_static(body.report, callee.name, item, value, span)
    if args.terms.get(span) is not None:
        callee.terms[name] = args.terms[span]


# --- the call --------------------------------------------------------------------------------------------------


def _call(
    body: Body,
    callee: Callee,
    given: dict[str, tuple[Any, Span]],
    node: ast.Node,
    *,
    path: str = "",
    instance: Instance | None = None,
) -> Any:
    bound = bind_inputs(body, callee, given, node)
    prove_facts(body, callee, bound, node)
    if instance is not None and instance.is_outline:
        return _outlined(body, callee, bound, node)
    made = body.instantiate(replace(callee, static=bound.static), bound, node)
    if made.broken:
        raise Silent
    if not made.function:
        return outward(made.static_result, bound.terms(callee.static))
    operands = _flat_operands(bound.values)
    outputs: list[Value] = []
    function = body.context.session.functions[made.function]
    results = _results(body.emission, callee, made.results, bound.terms(callee.static), outputs, node)
    if borrowed := lent.instances(callee.static):
        tensors = [name for name in operands if name]
        terms = bound.terms(callee.static)
        return lent.inline(body, function, instance, borrowed, tensors, outputs, bound.names, terms, results)
    if instance is not None:
        if instance.path == "" and instance.owner is body:
            _share_parts(body, function)
        path = place(body, instance, made.function)
    op = Op(
        op=callee.definition.name if callee.definition.library else "call",
        inputs=operands,
        outputs=tuple(outputs),
        attrs=module_arguments.attributes(callee.static, body.context.session.traced),
        callee=made.function,
        path=path,
        dims=tuple((name, bound.names[name]) for name in function.dims if name in bound.names),
        span=node.span,
        given=(
            *({**instance.terms, **callee.terms} if instance is not None else callee.terms).items(),
            *(module_arguments.terms(callee.static) if body.context.session.traced else ()),
        ),
        names=_operand_names(bound.values) if bound.traced else (),
        known=tuple(bound.sizes.items()),
    )
    body.emission.builder.append(op)
    return results


def _outlined(body: Body, callee: Callee, bound: Bound, node: ast.Node) -> Any:
    """What the main computation calls of its own entries, where it runs for what it declares: the results' types, and the parts."""
    session = body.context.session
    with session.outline(callee.definition):
        made = body.instantiate(replace(callee, static=bound.static), bound, node)
        function = session.functions.get(made.function)
    if made.broken or function is None:
        raise Silent
    _share_parts(body, function)
    return _results(body.emission, callee, made.results, bound.terms(callee.static), [], node)


def _share_parts(body: Body, function: Function) -> None:
    """Let the parts of another way into the module, which this body goes, be its own: they are the same."""
    calls = {(op.path, op.callee): op for op in walk(function.body) if op.callee and op.path}
    for child in function.children:
        call = child.call or calls.get((child.path, child.function))
        own = replace(child, call=call if body.context.session.traced else None)
        if child.path:
            body.emission.children.setdefault(f"{child.path}:{child.function}", own)


def _results(
    emission: Emission,
    callee: Callee,
    results: Any,
    names: Mapping[str, Any],
    outputs: list[Value],
    node: ast.Node,
) -> Any:
    """Handles for the results, with fresh values appended to `outputs`."""
    match results:
        case None:
            return None
        case TensorType():
            hint = (
                "y"
                if callee.definition.library or not callee.is_module
                else snake_case(callee.definition.name)
            )
            type = simplified(emission, results.substitute(names))
            value = Value(emission.builder.fresh(_hint(callee, hint)), type)
            outputs.append(value)
            return Tensor(value, node.span, callee.name)
        case tuple():
            return tuple(_results(emission, callee, each, names, outputs, node) for each in results)
        case list():
            return [_results(emission, callee, each, names, outputs, node) for each in results]
        case GroupValue(definition, members):
            made = [(name, _results(emission, callee, each, names, outputs, node)) for name, each in members]
            return GroupValue(definition, tuple(made))
    raise AssertionError(results)


def simplified(emission: Emission, type: TensorType) -> TensorType:
    """A type with the sizes that the caller's facts make simpler: `8*((H + 7)//8)` is H where H % 8 == 0."""
    if all(axis.constant is not None or str(axis).isidentifier() for axis in type.axes):
        return type
    return TensorType(type.dtype, tuple(emission.facts.simplify(axis) for axis in type.axes))


def _hint(callee: Callee, default: str) -> str:
    return snake_case(callee.definition.name) if callee.definition.library else default


def _flat_operands(values: dict[str, Any]) -> tuple[str, ...]:
    names: list[str] = []
    for value in values.values():
        names += [each.name for each in flat(value)] if value is not None else [""]
    return tuple(names)


def _operand_names(values: dict[str, Any]) -> tuple[str, ...]:
    """For each flat operand the input that it is: `x`, `batch.edges`."""
    names: list[str] = []
    for name, value in values.items():
        names += _parts(name, value) if value is not None else [name]
    return tuple(names)


def _parts(name: str, value: Any) -> list[str]:
    match value:
        case GroupValue(_, members):
            return [part for key, each in members for part in _parts(f"{name}.{key}", each)]
        case tuple() | list():
            return [part for i, each in enumerate(value) for part in _parts(f"{name}_{i}", each)]
    return [name]


def call_library(body: Body, node: ast.Node, name: str, *tensors: Any, **static: Any) -> Tensor:
    """Call a standard `fn` from here."""
    definition = library_definition(name)
    assert definition is not None, name
    given = Given(
        [(each, node.span) for each in tensors], {key: (value, node.span) for key, value in static.items()}
    )
    result: Tensor = call_fn(body, definition, given, node)
    return result
