"""Calling fns and instances: types bound to the caller's, facts proved, the body elaborated once per instantiation.

A body is elaborated in its own dims: sizes that are numbers at the call are numbers inside, every other name stays
symbolic. So one function serves all calls with the same static values and known sizes."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Any

from dlc.diagnostics import Diagnostic, Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate import conditions, habits, lent, paths
from dlc.elaborate.calls import (
    Given,
    bind_static_arguments,
    check_static,
    entries,
    match_arguments,
    no_parameters,
    snake_case,
)
from dlc.elaborate.failures import described, spelled
from dlc.elaborate.frame import ElabError, Frame, Silent
from dlc.elaborate.operators import cast, lift
from dlc.elaborate.origin import within
from dlc.elaborate.types import WrittenType, axes_text, declared_dtype, rank_help, written_type
from dlc.elaborate.values import (
    Definition,
    GroupValue,
    Instance,
    Poison,
    Tensor,
    attribute,
    frozen,
    settings,
    show,
    type_name,
    unapplied,
)
from dlc.ir.nodes import Child, Op, Value
from dlc.records import dataclass
from dlc.syntax import ast
from dlc.types.axes import AxisError, Binding, Lookup, evaluate_axis
from dlc.types.dims import Dim
from dlc.types.facts import Relation
from dlc.types.tensor import TensorType


@dataclass(slots=True)
class Callee:
    """What is called: its header, and the static values it is called with."""

    definition: Definition
    static: dict[str, Any]
    inputs: tuple[ast.Field, ...]
    outputs: tuple[ast.Field, ...]
    where: tuple[ast.Expr, ...]
    body: tuple[ast.Stmt, ...]
    entry: str = ""
    places: dict[str, Span] = field(default_factory=dict)  # of the arguments that were written at the call

    @property
    def name(self) -> str:
        return f"{self.definition.name}.{self.entry}" if self.entry else self.definition.name

    @property
    def is_module(self) -> bool:
        return isinstance(self.definition.node, ast.ModuleDef)


@dataclass(slots=True)
class Bound:
    """Tensor arguments matched to inputs: values by input name (None where absent), and the dims they bind, in the
    caller's terms and in the callee's."""

    values: dict[str, Any] = field(default_factory=dict)
    outer: dict[str, Dim | tuple[Dim, ...]] = field(default_factory=dict)
    inner: dict[str, Dim | tuple[Dim, ...]] = field(default_factory=dict)
    names: dict[str, Dim] = field(default_factory=dict)  # callee symbol -> caller's size
    written: dict[tuple[str, int], WrittenType] = field(default_factory=dict)
    types: dict[str, list[TensorType]] = field(default_factory=dict)
    known: Lookup = lambda name: None
    float_dtype: str = "float"


@dataclass(slots=True)
class Instantiation:
    """An elaborated function: its IR name and its results, by structure: a type, None, or a tuple or group of them."""

    function: str
    results: Any
    broken: bool = False
    static_result: Any = None
    needs: tuple[Relation, ...] = ()
    """What a body of the library took from the facts of its first caller, and every other must prove."""


# --- entry points ----------------------------------------------------------------------------------------------


def call_fn(frame: Frame, definition: Definition, args: Given, node: ast.Node) -> Any:
    """Call an `fn`: its parameters are static where their type says so, tensors otherwise."""
    fn = definition.node
    assert isinstance(fn, ast.FnDef)
    parameters = [str(each.name) for each in fn.params]
    bound = match_arguments(frame, definition.name, parameters, args, node.span)
    static_fields, inputs, given = [], [], Given(rest=False)
    for item in fn.params:
        name = str(item.name)
        value = bound.get(name)
        if is_static_field(item, value[0] if value else None):
            static_fields.append(item)
            if value is not None:
                given.named[name] = value
        else:
            inputs.append(item)
    static = bind_static_arguments(frame, definition, tuple(static_fields), given, node.span)
    places = {name: span for name, (_, span) in bound.items()}
    callee = Callee(definition, static, tuple(inputs), fn.outputs, fn.where, fn.body, places=places)
    return _call(frame, callee, bound, node, path="")


def is_static_field(item: ast.Field, value: Any) -> bool:
    if isinstance(item.type, ast.NamedTypeExpr):
        return not isinstance(value, GroupValue)
    return item.type is None and not isinstance(value, Tensor | GroupValue) and value is not None


def apply_instance(
    frame: Frame,
    instance: Instance,
    args: Given,
    node: ast.Node,
    label: ast.Label | None = None,
    entry: str = "",
) -> Any:
    """Apply an instance to tensors."""
    if instance.path is None and instance.label is None and label is not None:
        instance.label = label
    module = instance.definition.node
    assert isinstance(module, ast.ModuleDef)
    header: Any = entries(instance.definition)[entry] if entry else module
    callee = Callee(
        instance.definition, instance.static, header.inputs, header.outputs, header.where, header.body, entry
    )
    parameters = [str(each.name) for each in header.inputs]
    bound = match_arguments(frame, callee.name, parameters, args, node.span)
    callee.places = {**instance.places, **{name: span for name, (_, span) in bound.items()}}
    return _call(frame, callee, bound, node, instance=instance)


# --- the call --------------------------------------------------------------------------------------------------


def _call(
    frame: Frame,
    callee: Callee,
    given: dict[str, tuple[Any, Span]],
    node: ast.Node,
    *,
    path: str = "",
    instance: Instance | None = None,
) -> Any:
    bound = _bind(frame, callee, given, node)
    _prove_facts(frame, callee, bound, node)
    made = frame.elaborator.instantiate(frame, callee, bound, node)
    if made.broken:
        raise Silent
    if not made.function:
        return made.static_result
    operands = _flat_operands(bound.values)
    outputs: list[Value] = []
    function = frame.elaborator.functions[made.function]
    results = _results(frame, callee, made.results, bound.names, outputs, node)
    if borrowed := lent.instances(callee.static):
        tensors = [name for name in operands if name]
        return lent.inline(frame, function, instance, borrowed, tensors, outputs, bound.names, results)
    if instance is not None:
        path = place(frame, instance, made.function)
    op = Op(
        op=callee.definition.name if callee.definition.library else "call",
        inputs=operands,
        outputs=tuple(outputs),
        attrs=tuple((key, attribute(value)) for key, value in callee.static.items()),
        callee=made.function,
        path=path,
        dims=tuple((name, bound.names[name]) for name in function.dims if name in bound.names),
        span=node.span,
    )
    frame.builder.append(op)
    return results


def place(frame: Frame, instance: Instance, function: str) -> str:
    """Enter the instance into the function that owns it; "" where it has no parameters and so no path."""
    known = function in instance.functions.values()
    instance.functions[function] = function
    if not frame.elaborator.has_parameters(function):
        return ""
    owner = instance.frame or frame
    if owner.kind == "fn":
        no_parameters(owner, instance.definition.name, instance.span)
    path = paths.instance_path(frame, instance)
    if not known:
        owner.elaborator.claim(owner, instance, path, function)
    owner.children.setdefault(f"{path}:{function}", Child(path, function))
    return path


def _results(
    frame: Frame, callee: Callee, results: Any, names: dict[str, Dim], outputs: list[Value], node: ast.Node
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
            type = simplified(frame, results.substitute(names))
            value = Value(frame.builder.fresh(_hint(callee, hint)), type)
            outputs.append(value)
            return Tensor(value, node.span, callee.name)
        case tuple():
            return tuple(_results(frame, callee, each, names, outputs, node) for each in results)
        case GroupValue(definition, members):
            made = [(name, _results(frame, callee, each, names, outputs, node)) for name, each in members]
            return GroupValue(definition, tuple(made))
    raise AssertionError(results)


def simplified(frame: Frame, type: TensorType) -> TensorType:
    """A type with the sizes that the caller's facts make simpler: `8*((H + 7)//8)` is H where H % 8 == 0."""
    if all(axis.constant is not None or str(axis).isidentifier() for axis in type.axes):
        return type
    return TensorType(type.dtype, tuple(frame.facts.simplify(axis) for axis in type.axes))


def _hint(callee: Callee, default: str) -> str:
    return snake_case(callee.definition.name) if callee.definition.library else default


def _flat_operands(values: dict[str, Any]) -> tuple[str, ...]:
    names: list[str] = []
    for value in values.values():
        names += [each.name for each in flat(value)] if value is not None else [""]
    return tuple(names)


def flat(value: Any) -> list[Tensor]:
    """The tensors of a value: a tensor, a group, or a tuple of them."""
    match value:
        case Tensor():
            return [value]
        case GroupValue(_, members):
            return [tensor for _, each in members for tensor in flat(each)]
        case tuple() | list():
            return [tensor for each in value for tensor in flat(each)]
    return []


# --- binding arguments to inputs -------------------------------------------------------------------------------


def _bind(frame: Frame, callee: Callee, given: dict[str, tuple[Any, Span]], node: ast.Node) -> Bound:
    bound = Bound()
    static = {name: _dim(value) for name, value in callee.static.items()}
    lets = frame.elaborator.let_dims(callee.definition.unit)
    binding = Binding(lambda name: static.get(name) or lets(name), frame.facts)
    if callee.definition.library and not callee.is_module:
        bound.float_dtype = _float_dtype(callee, given)
    for item in callee.inputs:
        name = str(item.name)
        if name not in given:
            if item.default is None:
                help = habits.missing(callee.name, name, is_op=not callee.is_module and not given)
                frame.fail(problems.MISSING_ARGUMENT, node.span, callee=callee.name, name=name, help=help)
            bound.values[name] = None
            continue
        value, span = given[name]
        if isinstance(value, Poison):
            raise Silent
        if value is None and item.default is not None:
            bound.values[name] = None
            continue
        written = written_type(frame, callee.definition.unit, item.type, span)
        try:
            bound.values[name] = _fit(frame, callee, item, written, value, binding, bound.float_dtype, span)
        except ElabError as error:
            raise ElabError(_with_others(frame, error.diagnostic, bound, written)) from None
        _remember(frame, bound, name, written)
    bound.known = binding.known
    bound.outer = dict(binding.dims)
    _rename(callee, bound)
    bound.types = inner_types(bound)
    return bound


def _with_others(
    frame: Frame, diagnostic: Diagnostic, bound: Bound, written: WrittenType | None
) -> Diagnostic:
    """A shape that does not fit is shown beside the inputs that bound the same names."""
    if diagnostic.code != problems.INPUT_SHAPE.code or written is None:
        return diagnostic
    names = set(conditions.words(axes_text(written.axes)))
    notes = []
    for (name, i), other in bound.written.items():
        if names & set(conditions.words(axes_text(other.axes))):
            tensor = flat(bound.values[name])[i]
            notes.append(described(frame, tensor) + (f", for `{name}`" if tensor.name != name else ""))
    return replace(diagnostic, notes=(*notes, *diagnostic.notes))


def _remember(frame: Frame, bound: Bound, name: str, written: WrittenType | None) -> None:
    if written is None:
        return
    parts = written.members(frame) if written.group is not None else [written]
    bound.written.update(((name, i), part) for i, part in enumerate(parts) if part is not None)


def _float_dtype(callee: Callee, given: dict[str, tuple[Any, Span]]) -> str:
    """A library fn computes in the float dtype of its operands: the explicit one, if any has one."""
    for item in callee.inputs:
        value = given.get(str(item.name), (None, None))[0]
        wants_float = isinstance(item.type, ast.TensorTypeExpr) and item.type.dtype is None
        if wants_float and isinstance(value, Tensor) and value.type.is_float and value.type.dtype != "float":
            return value.type.dtype
    return "float"


def _dim(value: Any) -> Dim | None:
    return Dim.of(value) if isinstance(value, int | Dim) and not isinstance(value, bool) else None


def _fit(
    frame: Frame,
    callee: Callee,
    item: ast.Field,
    written: WrittenType | None,
    value: Any,
    binding: Binding,
    float_dtype: str,
    span: Span,
) -> Any:
    node = ast.Node(span=span)
    if isinstance(value, int | float | Dim) and not isinstance(value, bool):
        rankless = (
            written is None or written.axes == () or (written.axes and isinstance(written.axes[0], ast.Star))
        )
        if written is None or (written.group is None and rankless and not isinstance(value, bool)):
            wanted = "any" if written is None else declared_dtype(written, float_dtype)
            value = lift(frame, node, value, float_dtype if wanted == "any" else wanted)
    if written is not None and written.group is not None:
        return _fit_group(frame, callee, item, written, value, binding, float_dtype, span)
    if not isinstance(value, Tensor):
        help = unapplied(value)
        frame.fail(
            problems.NOT_A_TENSOR, span, callee=callee.name, name=item.name, found=type_name(value), help=help
        )
    if written is None:
        return value
    value = _fit_dtype(frame, callee, item, written, value, float_dtype, span)
    try:
        binding.match(written.axes, value.type.axes)
    except AxisError as error:
        _shape_error(frame, callee, item, written, value, error, span)
    return value


def _fit_dtype(
    frame: Frame,
    callee: Callee,
    item: ast.Field,
    written: WrittenType,
    value: Tensor,
    float_dtype: str,
    span: Span,
) -> Tensor:
    wanted, found = declared_dtype(written, float_dtype), value.type.dtype
    if wanted == found or (written.any_dtype and wanted == "any"):
        return value
    if (wanted == "float" and value.type.is_float) or (
        float_dtype != "float" and wanted == float_dtype and value.type.is_float
    ):
        return cast(frame, ast.Node(span=span), value, wanted)
    help = _swapped(callee, value, found) or f"convert it: `cast({spelled(frame, value)}, {wanted})`"
    message = f"`{callee.name}` takes `{item.name}` as {wanted}, not {found}"
    frame.fail(problems.DTYPE, span, message=message, notes=[described(frame, value)], help=help)


def _swapped(callee: Callee, value: Tensor, found: str) -> str:
    """Help where whole numbers come first, as predictions, and another input of the callee wants whole numbers."""
    names = [str(each.name) for each in callee.inputs]
    if (
        found == "i64"
        and names[:2] == ["logits", "target"]
        and callee.definition.library
        and "." not in value.name
    ):
        return "predictions come first, what they should be after them: `cross_entropy(logits, target)`"
    return ""


def _shape_error(
    frame: Frame,
    callee: Callee,
    item: ast.Field,
    written: WrittenType,
    value: Tensor,
    error: AxisError,
    span: Span,
) -> None:
    expected = f"{written.dtype or ''}[{axes_text(written.axes)}]"
    notes = [described(frame, value)]
    frame.fail(
        problems.INPUT_SHAPE,
        span,
        callee=callee.name,
        name=item.name,
        expected=expected,
        reason=error.message,
        notes=notes,
        help=error.help or rank_help(written, value.type.rank, spelled(frame, value)),
    )


def _fit_group(
    frame: Frame,
    callee: Callee,
    item: ast.Field,
    written: WrittenType,
    value: Any,
    binding: Binding,
    float_dtype: str,
    span: Span,
) -> Any:
    if not isinstance(value, GroupValue) or value.definition is not written.group:
        frame.fail(problems.NOT_A_TENSOR, span, callee=callee.name, name=item.name, found=type_name(value))
    members = []
    for field_, member in zip(written.members(frame), value.members, strict=True):
        inner = ast.Field(f"{item.name}.{member[0]}", None, span=span)
        members.append((member[0], _fit(frame, callee, inner, field_, member[1], binding, float_dtype, span)))
    return GroupValue(value.definition, tuple(members))


def fit_members(frame: Frame, definition: Definition, given: dict[str, tuple[Any, Span]]) -> GroupValue:
    """A group made of tensors, each checked against the type of its member: the same names are the same sizes."""
    group = definition.node
    assert isinstance(group, ast.GroupDef)
    callee = Callee(definition, {}, group.fields, (), (), ())
    binding = Binding(frame.elaborator.let_dims(definition.unit), frame.facts)
    written = WrittenType(None, group.axes, definition).members(frame)
    members = []
    for item, type in zip(group.fields, written, strict=True):
        value, span = given[str(item.name)]
        if isinstance(value, Poison):
            raise Silent
        members.append((str(item.name), _fit(frame, callee, item, type, value, binding, "float", span)))
    return GroupValue(definition, tuple(members))


def _rename(callee: Callee, bound: Bound) -> None:
    """The callee's own dims: numbers stay numbers, names become its own symbols. An axis of a `*S` that has the size of a named
    dim at the call is that dim; in the library, so is another named dim of that size (self-attention's U is T)."""
    stars = {name: size for name, size in bound.outer.items() if isinstance(size, tuple)}
    for name, size in bound.outer.items():
        if isinstance(size, Dim):
            same = (
                [key for key, other in bound.names.items() if other == size]
                if callee.definition.library
                else []
            )
            bound.inner[name] = Dim.symbol(same[0]) if same else _own(name, size, bound.names)
    for name, axes in stars.items():
        bound.inner[name] = _free_axes(bound, axes, name)


def _own(name: str, size: Dim, names: dict[str, Dim]) -> Dim:
    if size.constant is not None:
        return size
    names[name] = size
    return Dim.symbol(name)


# --- facts -----------------------------------------------------------------------------------------------------


def _prove_facts(frame: Frame, callee: Callee, bound: Bound, node: ast.Node) -> None:
    """Every `where` of the callee must follow from what the caller knows."""
    if not callee.where:
        return
    inner = frame.elaborator.static_frame(
        callee.definition.unit, callee.definition.library, chain=frame.chain
    )
    within(frame, inner, callee.name, node.span, callee.places)
    inner.env.update(callee.static)
    inner.env.update({name: value for name, value in bound.values.items() if value is None})
    inner.dims.update(bound.outer)
    inner.facts = frame.facts
    for condition in [part for each in callee.where for part in conditions.parts(each)]:
        for relation in conditions.relations(inner, condition):
            holds = relation if isinstance(relation, bool) else frame.facts.decide(relation)
            if holds is True:
                continue
            problem = problems.FACT_VIOLATED if holds is False else problems.FACT_UNPROVED
            told = f"`where {relation}`" if not isinstance(relation, bool) and holds is None else ""
            fact = conditions.text(condition)
            frame.fail(
                problem,
                _fact_place(callee, fact, node.span) if holds is False else node.span,
                callee=callee.name,
                fact=fact,
                notes=[*_where_notes(callee, bound, fact)],
                help=f"state it here: {told}" if told else habits.fact(callee.name, fact),
            )


def _fact_place(callee: Callee, fact: str, call: Span) -> Span:
    """The argument that a fact speaks of, where it is one; else the call."""
    words = conditions.words(fact)
    places = {callee.places[name] for name in words if name in callee.static and name in callee.places}
    return places.pop() if len(places) == 1 else call


def _where_notes(callee: Callee, bound: Bound, fact: str) -> list[str]:
    """The values of the names that a fact speaks of."""
    words = set(conditions.words(fact))
    known = {**callee.static, **{name: size for name, size in bound.outer.items() if isinstance(size, Dim)}}
    shown = {name: value for name, value in known.items() if name in words and show(value) != name}
    return [f"with {settings(shown)}"] if shown else []


def key_of(callee: Callee, bound: Bound, training: bool) -> Any:
    """What makes two calls the same instantiation."""
    types = tuple((name, tuple(map(str, bound.types.get(name, ())))) for name in bound.values)
    sizes = tuple(sorted((name, size) for name, size in bound.inner.items()))
    return (
        callee.definition,
        callee.entry,
        frozen(callee.static),
        types,
        _hashable(sizes),
        bound.float_dtype,
        training,
    )


def _hashable(sizes: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        (name, str(size) if isinstance(size, Dim) else tuple(map(str, size))) for name, size in sizes
    )


def inner_types(bound: Bound) -> dict[str, list[TensorType]]:
    """The types of the inputs in the callee's own dims, by input name."""
    types: dict[str, list[TensorType]] = {}
    for name, value in bound.values.items():
        for i, tensor in enumerate(flat(value)):
            written = bound.written.get((name, i))
            axes = _written_axes(bound, written, tensor) if written else _free_axes(bound, tensor.type.axes)
            types.setdefault(name, []).append(TensorType(tensor.type.dtype, axes))
    return types


def _written_axes(bound: Bound, written: WrittenType, tensor: Tensor) -> tuple[Dim, ...]:
    axes: list[Dim] = []
    for pattern in written.axes:
        if isinstance(pattern, ast.Star):
            star = bound.inner.get(pattern.name, ())
            axes += star if isinstance(star, tuple) else (star,)
        elif isinstance(pattern, ast.Wildcard):
            axes += _free_axes(bound, (tensor.type.axes[len(axes)],))
        else:
            axes.append(evaluate_axis(pattern, lambda name: bound.inner.get(name, bound.known(name))))
    return tuple(axes)


def _free_axes(bound: Bound, axes: tuple[Dim, ...], star: str = "n") -> tuple[Dim, ...]:
    """Axes that the callee gives no name: a known number stays, anything else becomes a dim of its own."""
    result = []
    for axis in axes:
        if axis.constant is not None:
            result.append(axis)
            continue
        same = next((name for name, size in bound.names.items() if size == axis), None)
        if same is None:
            symbol = next(iter(axis.symbols))
            taken = symbol in bound.names or isinstance(bound.outer.get(symbol), Dim)
            plain = symbol if axis == Dim.symbol(symbol) and not taken else ""
            same = plain or next(f"{star}{i}" for i in range(1000) if f"{star}{i}" not in bound.names)
            bound.names[same] = axis
        result.append(Dim.symbol(same))
    return tuple(result)


__all__ = ["Bound", "Callee", "Instantiation", "apply_instance", "call_fn", "check_static", "flat", "key_of"]
