"""Tensors made from static values and sizes: several names for `full`, and what is written with `arange`."""

from __future__ import annotations

import math
from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Builtin, Tensor, type_name
from dlc.elaborate.builtins.call import Call, builtin, check_count
from dlc.elaborate.names.origins import here
from dlc.elaborate.tensors.constants import as_dtype, table
from dlc.elaborate.tensors.operators import cast, lift
from dlc.elaborate.types.static import in_range
from dlc.ops.calls import REQUIRED
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.opaque import is_closed
from dlc.types.terms import origin_free, term
from dlc.types.traced import Term, as_float


def _creation_dtype(call: Call, default: str) -> str:
    return call.dtype("dtype") if call["dtype"] is not None else default


def _arange(call: Call) -> Tensor:
    start, stop = call["start"], call["stop"]
    if stop is None:
        start, stop = 0, start
        if isinstance(stop, Tensor):
            call.fail(
                problems.NOT_STATIC, "start", what="the size of `arange`", found=f"a tensor {stop.type}"
            )
    dtype = _creation_dtype(call, "i64")
    step = call["step"]
    integers = all(isinstance(each, int | Dim) for each in (start, stop, step))
    if not integers:
        return _fractional_arange(
            call, start, stop, step, dtype if call["dtype"] is not None else call.body.context.float_dtype
        )
    result = call.emit("arange", start=Dim.of(start), stop=Dim.of(stop), step=call.integer("step"))
    return cast(call.body, call.node, result, dtype)


def _fractional_arange(call: Call, start: Any, stop: Any, step: Any, dtype: str) -> Tensor:
    for key, value in (("start", start), ("stop", stop), ("step", step)):
        if not isinstance(value, int | float):
            call.fail(
                problems.STATIC_TYPE,
                key,
                callee="arange",
                name=key,
                expected="a number",
                found=type_name(value),
            )
    if step == 0 or not math.isfinite((stop - start) / step):
        call.fail(
            problems.STATIC_ERROR, "step", message=f"`arange` can't count from {start} to {stop} by {step}"
        )
    count = max(0, math.ceil((stop - start) / step))
    check_count(call, "this constant", count)
    values = [start + i * step for i in range(count)]
    told = None
    if not origin_free([start, stop, step]):
        turns = _term("call", "ceil", _term("/", _term("-", stop, start), step))
        told = _term("for", _term("+", start, _term("*", _I, step)), "i", _term("call", "range", turns))
    return table(call.body, call.node, values, dtype, call.node.span, told=told)


def _linspace(call: Call) -> Tensor:
    start, stop, n = call.number("start"), call.number("stop"), call.integer("n")
    check_count(call, "this constant", n)
    values = [start + (stop - start) * i / max(n - 1, 1) for i in range(n)]
    dtype = _creation_dtype(call, call.body.context.float_dtype)
    told = None
    if not origin_free([start, stop, n]):
        step = _term("/", _term("*", _term("-", stop, start), _I), _term("call", "max", _term("-", n, 1), 1))
        told = _term("for", _term("+", start, step), "i", _term("call", "range", n))
    return table(call.body, call.node, values, dtype, call.node.span, told=told)


_I = Term("each", ("i",))


def _term(op: str, *args: Any) -> Term:
    """A term of terms and static values; names stay."""
    return Term(op, tuple(each if isinstance(each, str) else term(each) for each in args))


def _filled(name: str, value: float) -> Builtin:
    def body(call: Call) -> Tensor:
        dtype = _creation_dtype(call, call.body.context.float_dtype)
        return call.emit("full", shape=call.sizes("sizes"), value=as_dtype(value, dtype), dtype=dtype)

    return builtin(name, {"sizes": REQUIRED, "dtype": None}, body)


def _full(call: Call) -> Tensor:
    value = call["value"]
    if isinstance(value, Tensor):
        return call.emit("broadcast", value, shape=call.sizes("sizes"))
    default = (
        "bool"
        if isinstance(value, bool)
        else "i64"
        if isinstance(value, int)
        else call.body.context.float_dtype
    )
    dtype = _creation_dtype(call, default)
    return call.emit(
        "full",
        shape=call.sizes("sizes"),
        value=as_dtype(
            in_range(
                call.body.report,
                call.spans["value"],
                value if isinstance(value, bool) else call.number("value"),
                dtype,
            ),
            dtype,
        ),
        dtype=dtype,
    )


def _like(name: str) -> Builtin:
    def body(call: Call) -> Tensor:
        x = call.tensor("x")
        dtype = _creation_dtype(call, x.type.dtype)
        if name == "normal_like":
            return call.emit("normal", shape=x.type.axes, dtype=dtype)
        value = as_dtype(1.0 if name == "ones_like" else 0.0, dtype)
        return call.emit("full", shape=x.type.axes, value=value, dtype=dtype)

    return builtin(name, {"x": REQUIRED, "dtype": None}, body)


def _eye(call: Call) -> Tensor:
    n = call.size("n")
    rows = call.emit("reshape", call.emit("arange", start=Dim.of(0), stop=n), shape=(n, 1))
    columns = call.emit("arange", start=Dim.of(0), stop=n)
    same = call.emit("eq", rows, columns)
    dtype = _creation_dtype(call, call.body.context.float_dtype)
    return same if dtype == "bool" else call.emit("cast", same, hints=("eye",), dtype=dtype)


def _bernoulli(call: Call) -> Tensor:
    draw = call.emit("uniform", shape=call.sizes("sizes"), dtype="f32")
    return call.emit("lt", draw, lift(call.body, call.node, as_float(call.number("p")), "f32"))


def _tensor_constant(call: Call) -> Tensor:
    value = call["values"]
    dtype = None if call["dtype"] is None else call.dtype("dtype")
    return table(call.body, call.node, value, dtype, call.spans["values"], told=_told(call))


def _told(call: Call) -> Term | None:
    """The expression of a constant's values, where it depends on static parameters."""
    if not call.body.context.session.traced or not isinstance(call.node, ast.Call):
        return None
    written = [each.value for each in call.node.args if each.name in (None, "values")]
    told = here(call.body, written[0]) if written else None
    return None if told is None or is_closed(told) else told


BUILTINS: tuple[Builtin, ...] = (
    builtin("arange", {"start": REQUIRED, "stop": None, "step": 1, "dtype": None}, _arange),
    builtin("linspace", {"start": REQUIRED, "stop": REQUIRED, "n": REQUIRED, "dtype": None}, _linspace),
    _filled("zeros", 0.0),
    _filled("ones", 1.0),
    builtin("full", {"sizes": REQUIRED, "value": REQUIRED, "dtype": None}, _full),
    *(_like(name) for name in ("zeros_like", "ones_like", "normal_like")),
    builtin("eye", {"n": REQUIRED, "dtype": None}, _eye),
    builtin("bernoulli", {"sizes": REQUIRED, "p": REQUIRED}, _bernoulli),
    builtin("tensor", {"values": REQUIRED, "dtype": None}, _tensor_constant),
)
