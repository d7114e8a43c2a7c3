"""Dtypes that numbers are stored in, and what they are computed in: f8 in f32, i4 in i8.

No framework computes in these, but for an op here and there. Here each op is computed in the wider dtype and its result is rounded
back, which is what the reference does; backends only cast such numbers and move them about. Those of i4 are kept a byte to a number:
the program has i8 in its place, and what may have left 4 bits wraps around.

Before:

    model Net(%x: f8e4m3[2], %n: i4[2]) -> (y: %y, m: %m) {
        %s: f8e4m3[2] = add(%x, %x)
        %y: f8e4m3[2] = mul(%s, %x)
        %m: i4[2] = mul(%n, %n)
    }

After:

    model Net(%x: f8e4m3[2], %n: i8[2]) -> (y: %y, m: %m) {
        %x_2: f32[2] = cast(%x) {dtype="f32"}
        %s_2: f32[2] = add(%x_2, %x_2)
        %s: f8e4m3[2] = cast(%s_2) {dtype="f8e4m3"}
        %s_3: f32[2] = cast(%s) {dtype="f32"}
        %y_2: f32[2] = mul(%s_3, %x_2)
        %y: f8e4m3[2] = cast(%y_2) {dtype="f8e4m3"}
        %m_2: i8[2] = mul(%n, %n)
        %half: i8[] = const() {value=8}
        %whole: i8[] = const() {value=16}
        %m_3: i8[2] = add(%m_2, %half)
        %m_4: i8[2] = mod(%m_3, %whole)
        %m: i8[2] = sub(%m_4, %half)
    }
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from dlc import ops
from dlc.diagnostics import Span
from dlc.ir.nodes import Attr, Function, Op, Param, Parameter, Program, Region, Value, walk
from dlc.ir.splice import Names
from dlc.once import once
from dlc.records import dataclass, field, replace
from dlc.types.tensor import COMPUTED_IN, STORED, TensorType, holds

SMALL, BYTE = "i4", COMPUTED_IN["i4"]
FLOATS: Mapping[str, str] = {each: COMPUTED_IN[each] for each in sorted(STORED - {SMALL})}

MOVES = frozenset(
    ("broadcast", "concat", "full", "permute", "reshape", "slice", "stop_gradient", "take", "where")
)
"""What backends do with any dtype."""
CLOSED = MOVES | frozenset(
    (
        "argsort", "flip", "max", "maximum", "min", "minimum", "mod", "scatter", "scatter_max", "sign", "take_along", "top_k", "update_slice",
    )
)  # fmt: skip
"""What gives numbers of i4 where it is given such."""

T = TypeVar("T", Value, Param, Parameter)


def with_stored(program: Program) -> Program:
    """The program with what its dtypes for storage hold computed in wider ones."""
    parameters = tuple(map(in_bytes, program.parameters))
    functions = {name: _computed(each) for name, each in program.functions.items()}
    return replace(program, functions=functions, parameters=parameters)


@once
def stores(function: Function) -> bool:
    """Whether a function has values in a dtype for storage."""
    held = (value.type.dtype for op in walk(function.body) for value in _defined(op))
    given = (each.type.dtype for each in function.inputs)
    return any(dtype in STORED for dtype in (*given, *(each.type.dtype for each in function.params), *held))


def _defined(op: Op) -> tuple[Value, ...]:
    return (*op.outputs, *op.region.args) if op.region else op.outputs


@once
def _computed(function: Function) -> Function:
    if not stores(function):
        return function
    body = tuple(_Widening(Names.of(function), function.types()).body(function.body))
    inputs, params = tuple(map(in_bytes, function.inputs)), tuple(map(in_bytes, function.params))
    return replace(function, inputs=inputs, params=params, body=body)


def in_bytes(value: T) -> T:
    """What is i4 as i8."""
    return value if value.type.dtype != SMALL else replace(value, type=value.type.with_dtype(BYTE))


@dataclass(slots=True)
class _Widening:
    """A body at work: `types` are those of before, `wide` its floats in f32, `numbers` the names of 8 and 16."""

    names: Names
    types: Mapping[str, TensorType]
    wide: dict[str, str] = field(default_factory=dict)
    numbers: list[str] = field(default_factory=list)
    small: set[str] = field(default_factory=set)  # values filled with a number that i4 has

    def body(self, body: Iterable[Op]) -> Iterator[Op]:
        for op in body:
            if op.op in ("full", "const") and _is_small(op):
                self.small.add(op.out.name)
            if op.region is not None:
                yield replace(op, region=self._region(op.region), outputs=tuple(map(in_bytes, op.outputs)))
            elif op.callee or not ops.known(op.op):
                yield replace(op, outputs=tuple(map(in_bytes, op.outputs)))
            else:
                yield from self._of_op(op)

    def _region(self, region: Region) -> Region:
        inner = _Widening(self.names, self.types, dict(self.wide), list(self.numbers), set(self.small))
        return Region(tuple(map(in_bytes, region.args)), tuple(inner.body(region.body)), region.results)

    def _of_op(self, op: Op) -> Iterator[Op]:
        if op.op == "cast":
            yield from self._of_cast(op)
        elif self._moves(op) or not self._is_of_floats(op):
            yield from self._wrapped(op)
        else:
            yield from self._in_f32(op)

    def _of_cast(self, op: Op) -> Iterator[Op]:
        """One of f8 to anything but f32 reads the number in f32."""
        (name,) = op.inputs
        source = self.types[name].dtype
        if source in FLOATS and op.out.type.dtype != FLOATS[source]:
            yield from self._widened(name, op.span)
            op = op.renamed(self.wide)
        if source == BYTE and op.out.type.dtype == SMALL:
            yield from self._wrap(name, in_bytes(op.out), op.span)
        else:
            yield from self._wrapped(op)

    def _moves(self, op: Op) -> bool:
        """Whether backends do it in any dtype: not with infinity as a number of f8, which has none."""
        value = op.attr("value")
        return op.op in MOVES and not (isinstance(value, float) and math.isinf(value))

    def _is_of_floats(self, op: Op) -> bool:
        read = (self.types[name].dtype for name in op.inputs if name)
        return any(dtype in FLOATS for dtype in (*read, *(each.type.dtype for each in op.outputs)))

    def _in_f32(self, op: Op) -> Iterator[Op]:
        for name in dict.fromkeys(op.inputs):
            yield from self._widened(name, op.span)
        outputs = tuple(map(self._wide_result, op.outputs))
        attrs = _with_dtype(op, FLOATS)
        yield replace(op.renamed(self.wide), outputs=outputs, attrs=attrs)
        for wide, value in zip(outputs, op.outputs, strict=True):
            if wide != value:
                yield _cast(wide.name, value, op.span)

    def _widened(self, name: str, span: Span) -> Iterator[Op]:
        if not name or name in self.wide or self.types[name].dtype not in FLOATS:
            return
        out = self._in(self.types[name].dtype, name)
        self.wide[name] = out.name
        yield _cast(name, out, span)

    def _wide_result(self, value: Value) -> Value:
        dtype = value.type.dtype
        return self._in(dtype, value.name) if dtype in FLOATS else value

    def _in(self, dtype: str, name: str) -> Value:
        """Another value of a name, in what its dtype is computed in."""
        return Value(self.names.fresh(name), self.types[name].with_dtype(FLOATS[dtype]))

    def _wrapped(self, op: Op) -> Iterator[Op]:
        """An op whose results of i4 are i8, and wrap around where they may have left 4 bits."""
        is_closed = self._is_closed(op)
        made = tuple(in_bytes(each) if is_closed else self._free(each) for each in op.outputs)
        yield replace(op, outputs=made, attrs=_with_dtype(op, {SMALL: BYTE}))
        for free, value in zip(made, op.outputs, strict=True):
            if free.name != value.name:
                yield from self._wrap(free.name, in_bytes(value), op.span)

    def _free(self, value: Value) -> Value:
        if value.type.dtype != SMALL:
            return value
        return Value(self.names.fresh(value.name), value.type.with_dtype(BYTE))

    def _is_closed(self, op: Op) -> bool:
        if op.op in ("full", "pad"):
            return _is_small(op)
        if op.op == "cast":
            (name,) = op.inputs
            return name in self.small or (name in self.types and self.types[name].dtype in (SMALL, "bool"))
        return op.op in CLOSED

    def _wrap(self, free: str, out: Value, span: Span) -> Iterator[Op]:
        """From -8 to 7: what is left of 16, of 8 more."""
        if not self.numbers:
            self.numbers = [self.names.fresh(name) for name in ("half", "whole")]
            for name, value in zip(self.numbers, (8, 16), strict=True):
                yield Op("const", (), (Value(name, TensorType(BYTE, ())),), (("value", value),))
        half, whole = self.numbers
        up, rest = (Value(self.names.fresh(out.name), out.type) for _ in range(2))
        yield Op("add", (free, half), (up,), span=span)
        yield Op("mod", (up.name, whole), (rest,), span=span)
        yield Op("sub", (rest.name, half), (out,), span=span)


def _is_small(op: Op) -> bool:
    """Whether the number that an op fills with is one of i4."""
    value = op.attr("value")
    return isinstance(value, int | float) and holds(SMALL, value)


def _with_dtype(op: Op, others: Mapping[str, str]) -> tuple[tuple[str, Attr], ...]:
    """The attributes, with another `dtype` where it is one of these."""
    return tuple((key, others.get(str(each), each) if key == "dtype" else each) for key, each in op.attrs)


def _cast(name: str, out: Value, span: Span) -> Op:
    return Op("cast", (name,), (out,), (("dtype", out.type.dtype),), span=span)
