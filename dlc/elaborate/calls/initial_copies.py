"""Initial values of many copies of a parameter at once, along a first axis: each as one alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlc import ops
from dlc.elaborate.calls.initial import with_settings
from dlc.elaborate.state.body import Session
from dlc.elaborate.state.kept import Initial
from dlc.elaborate.state.scope import Scope
from dlc.ir.builder import Builder
from dlc.ir.nodes import Function, Op, Value
from dlc.ir.splice import Draws, Names, Splice
from dlc.records import replace
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.fans import fan_sizes, with_fans
from dlc.types.tensor import TensorType
from dlc.types.terms import names, said, untraced
from dlc.types.traced import TracedFloat

# Each element comes out as it does alone, or is drawn by itself: many copies are one larger draw.
_EACH = frozenset(("normal", "uniform", "truncated_normal", "randint", "full", "const", "cast"))


def stacked_initial(session: Session, one: str, count: Dim) -> str:
    """The function of the initial value of `count` copies, each as the function `one` says."""
    return _entered(session, replace(_copies(session.functions[one], count), recipe=""), count)


def moved_initial(
    session: Session,
    one: str,
    type: TensorType,
    scope: Scope,
    terms: Mapping[str, Any] | None,
    body: str,
    count: Dim | None = None,
) -> str:
    """The function of an initial value whose numbers come to stand in another `body`, of `count` copies if there are several.
    `scope` is that of the body, `type` that of one copy in its terms, and `terms` are the numbers there, None if none of the
    names in it is known."""
    found = replace(_moved(session.functions[one], type, terms), scope=body if session.traced else "")
    if count is not None:
        found = replace(_copies(found, count), recipe="")
    return _entered(session, with_settings(found, scope) if session.traced else found, count)


def _entered(session: Session, found: Function, count: Dim | None) -> str:
    key = repr(
        ("stacked", found.body, found.outputs, found.static, found.scope, count and said(count), found.recipe)
    )
    name = session.initials.get(key)
    if name is None:
        name = session.unique("init")
        session.initials[key] = name
        session.functions[name] = replace(found, name=name)
    session.asked(Initial(key, session.functions[name]))
    return name


def _moved(function: Function, type: TensorType, terms: Mapping[str, Any] | None) -> Function:
    """The function in the terms of another body: fans are those of one copy."""
    if terms is not None:
        splice = Splice(
            Names(), Draws(), {value: value for value in function.types()}, terms, str, statics=terms
        )
        function = replace(function, body=tuple(splice.body(function.body)))
    own = fan_sizes([said(axis) for axis in type.axes])
    return replace(function, body=tuple(_told(op, type, own, terms is None) for op in function.body))


def _told(op: Op, type: TensorType, own: Mapping[str, Dim], forget: bool) -> Op:
    def told(value: Any) -> Any:
        if isinstance(value, tuple):
            return type.axes if value == type.axes else tuple(map(told, value))
        if isinstance(value, TracedFloat):
            origin = with_fans(value.origin, own)
            return float(value) if forget and names(origin) - fan_names else TracedFloat(float(value), origin)
        return untraced(value) if forget else value

    fan_names = names([*own.values()])
    outputs = tuple(
        Value(each.name, each.type.with_axes(type.axes)) if each.type.axes == type.axes else each
        for each in op.outputs
    )
    return replace(op, outputs=outputs, attrs=tuple((key, told(value)) for key, value in op.attrs))


def _copies(function: Function, count: Dim) -> Function:
    families = ops.families()
    if all(op.op in _EACH or families.get(op.op) == "elementwise" for op in function.body):
        return replace(function, body=tuple(_wider(op, count) for op in function.body))
    return _one_by_one(function, count)


def _wider(op: Op, count: Dim) -> Op:
    def wider(value: Value) -> Value:
        return (
            Value(value.name, value.type.with_axes((count, *value.type.axes))) if value.type.rank else value
        )

    attrs = tuple(
        (key, (count, *value) if key == "shape" and isinstance(value, tuple) and value else value)
        for key, value in op.attrs
    )
    return replace(op, outputs=tuple(map(wider, op.outputs)), attrs=attrs)


def _one_by_one(function: Function, count: Dim) -> Function:
    """A loop that makes one after another, for what depends on the whole of one: an orthogonal matrix."""
    builder = Builder(Facts())
    builder.span = function.span
    (_, result), *_ = function.outputs

    def turn(inner: Builder) -> list[Value]:
        inner.body += function.body
        return [Value(result, function.types()[result])]

    (whole,) = builder.loop(int(count.constant or 0), turn, stacked=(0,))
    return replace(function, body=tuple(builder.body), outputs=(("value", whole.name),))
