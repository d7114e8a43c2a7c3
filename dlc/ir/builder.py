"""Building function bodies: an op at a time, each result's type inferred from the op's definition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dlc.diagnostics import NO_SPAN, Span
from dlc.ir.loops import INDEX_TYPE, Carried, Loop, Sliced, Stacked, with_axis, without_axis
from dlc.ir.nodes import Attr, Op, Value
from dlc.ops import added, get
from dlc.ops.definition import OpError
from dlc.ops.signature import MISSING
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType
from dlc.types.traced import as_float

RANK_LIMIT = 32
"""Axes of a tensor: NumPy has 64 of them at most, and compilers take minutes for thousands."""

Operand = Value | int | float | bool | None


class Builder:
    """Appends ops to a body. Value names are made unique with a running number; `hint` makes them readable.

    Elementwise ops take Python numbers beside tensors: they become constants of the tensor's dtype. Raises OpError
    where operands do not fit."""

    def __init__(self, facts: Facts | None = None, *, names: Callable[[str], str] | None = None) -> None:
        self.facts = facts or Facts()
        self.body: list[Op] = []
        self.span: Span = NO_SPAN
        self._used: dict[str, int] = {}
        self._draws = 0
        if names is not None:
            self.fresh = names  # type: ignore[assignment, method-assign]

    def fresh(self, hint: str) -> str:
        """A name that this body has not used: `hint`, or `hint_2`, `hint_3`, …"""
        count = self._used.get(hint, 0) + 1
        self._used[hint] = count
        name = hint if count == 1 else f"{hint}_{count}"
        if count > 1 and name in self._used:
            return self.fresh(hint)
        self._used.setdefault(name, 1)
        return name

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is appended meanwhile is not kept, neither operations nor their names."""
        body, used = self.body, dict(self._used)
        self.body = []
        try:
            yield
        finally:
            self.body, self._used = body, used

    def append(self, op: Op) -> None:
        self.body.append(op)

    def op(self, name: str, *operands: Operand, hint: str = "", **attrs: Attr) -> Value:
        """Append the op `name` and give its only result. Missing attributes take their defaults."""
        return self.ops(name, *operands, hints=(hint,) if hint else (), **attrs)[0]

    def ops(
        self, name: str, *operands: Operand, hints: Sequence[str] = (), **attrs: Attr
    ) -> tuple[Value, ...]:
        """Append the op `name` and give all its results."""
        definition = get(name)
        values = self._values(operands)
        filled: dict[str, Attr] = {}
        for attribute in definition.signature.attributes:
            value = attrs.pop(attribute.name, attribute.default)
            if value is MISSING:
                raise TypeError(f"op {name} needs the attribute {attribute.name}")
            filled[attribute.name] = _freeze(value)
        if attrs:
            raise TypeError(f"op {name} has no attribute {', '.join(attrs)}")
        operand_types = [None if v is None else v.type for v in values]
        try:
            types = definition.result_types(self.facts, operand_types, filled)
        except Exception as error:
            if name in added():
                place = f" at {self.span.file}:{self.span}" if self.span.line else ""
                error.add_note(f"in `{name}`{place}")
            raise
        most = max((type.rank for type in types), default=0)
        if most > RANK_LIMIT:
            raise OpError(f"`{name}` would give {most:,} axes: a tensor has {RANK_LIMIT} at most")
        if definition.random:
            filled["draw"] = self.draw()
        outputs = tuple(
            Value(self.fresh(hints[i] if i < len(hints) else name), type) for i, type in enumerate(types)
        )
        inputs = tuple("" if value is None else value.name for value in values)
        self.append(Op(name, inputs, outputs, tuple(filled.items()), span=self.span))
        return outputs

    def draw(self) -> int:
        """An identity for the next draw of randomness, so that two draws are never taken for one."""
        self._draws += 1
        return self._draws

    def loop(
        self,
        count: int | Dim,
        body: Callable[..., Sequence[Value]],
        carried: Sequence[Value] = (),
        sequences: Sequence[tuple[Value, int]] = (),
        stacked: Sequence[int] = (),
        *,
        index: bool = False,
        start: int | Dim = 0,
        step: int = 1,
        backwards: bool = False,
        shared: bool = True,
    ) -> tuple[Value, ...]:
        """Append a loop and give its results: the last carried values, then the stacked ones.

        `carried` are the first values of what is carried, `sequences` stand with the axis that they are read along.
        `body(inner, *args)` appends a turn to the builder `inner`; args are the index (an i64 scalar, if wanted), the
        carried values and a slice of each sequence. It gives the next carried values, then what is stacked along the axes
        `stacked`. `dlc.ir.loops` says what the rest means."""
        inner = Builder(self.facts, names=self.fresh)
        inner.draw, inner.span = self.draw, self.span  # type: ignore[method-assign]
        counter = Value(self.fresh("i"), INDEX_TYPE) if index else None
        held = [Value(self.fresh(each.name), each.type) for each in carried]
        slices = [Value(self.fresh(each.name), without_axis(each.type, axis)) for each, axis in sequences]
        results = body(inner, *([counter] if counter else []), *held, *slices)
        ends, items = results[: len(held)], results[len(held) :]
        op = Loop(
            count=count,
            body=tuple(inner.body),
            carried=tuple(
                Carried(first.name, arg, end.name, Value(self.fresh(end.name), arg.type))
                for first, arg, end in zip(carried, held, ends, strict=True)
            ),
            sequences=tuple(
                Sliced(source.name, axis, arg) for (source, axis), arg in zip(sequences, slices, strict=True)
            ),
            stacked=tuple(
                Stacked(item.name, axis, Value(self.fresh(item.name), with_axis(item.type, axis, count)))
                for item, axis in zip(items, stacked, strict=True)
            ),
            index=counter,
            start=start,
            step=step,
            backwards=backwards,
            shared=shared,
            span=self.span,
        ).op()
        self.append(op)
        return op.outputs

    def const(self, value: Attr, dtype: str, shape: tuple[int, ...] = (), hint: str = "const") -> Value:
        """A constant: a number, or nested tuples of numbers with the given shape."""
        out = Value(self.fresh(hint), TensorType.of(dtype, shape))
        self.append(Op("const", (), (out,), (("value", _freeze(value)),), span=self.span))
        return out

    def size(self, dim: Dim | int, dtype: str = "i64") -> Value:
        """A dim's size as a scalar tensor; a constant where it is known."""
        dim = Dim.of(dim)
        if dim.constant is not None:
            return self.const(
                as_float(dim.constant) if dtype.startswith(("f", "bf")) else dim.constant, dtype
            )
        value = self.op("size", dim=dim)
        return value if dtype == "i64" else self.op("cast", value, dtype=dtype)

    def _values(self, operands: Sequence[Operand]) -> list[Value | None]:
        dtype = next((each.type.dtype for each in reversed(operands) if isinstance(each, Value)), "float")
        values: list[Value | None] = []
        for each in operands:
            if isinstance(each, bool | int | float):
                each = self.const(as_float(each) if TensorType(dtype, ()).is_float else each, dtype)
            values.append(each)
        return values

    # Shorthands for what derivative rules and passes write most.

    def add(self, a: Operand, b: Operand) -> Value:
        return self.op("add", a, b)

    def sub(self, a: Operand, b: Operand) -> Value:
        return self.op("sub", a, b)

    def mul(self, a: Operand, b: Operand) -> Value:
        return self.op("mul", a, b)

    def div(self, a: Operand, b: Operand) -> Value:
        return self.op("div", a, b)

    def neg(self, a: Operand) -> Value:
        return self.op("neg", a)

    def exp(self, a: Operand) -> Value:
        return self.op("exp", a)

    def matmul(self, a: Operand, b: Operand) -> Value:
        return self.op("matmul", a, b)

    def where(self, condition: Operand, a: Operand, b: Operand) -> Value:
        return self.op("where", condition, a, b)

    def reshape(self, a: Operand, shape: Sequence[int | Dim]) -> Value:
        return self.op("reshape", a, shape=tuple(Dim.of(size) for size in shape))

    def broadcast(self, a: Operand, shape: Sequence[int | Dim]) -> Value:
        return self.op("broadcast", a, shape=tuple(Dim.of(size) for size in shape))

    def permute(self, a: Operand, axes: Sequence[int]) -> Value:
        return self.op("permute", a, axes=tuple(axes))

    def sum(self, a: Operand, axis: Sequence[int], keepdims: bool = False) -> Value:
        return self.op("sum", a, axis=tuple(axis), keepdims=keepdims)

    def cast(self, a: Value, dtype: str) -> Value:
        return a if a.type.dtype == dtype else self.op("cast", a, dtype=dtype)


def _freeze(value: object) -> Attr:
    if isinstance(value, list | tuple):
        return tuple(_freeze(each) for each in value)
    return value  # type: ignore[return-value]
