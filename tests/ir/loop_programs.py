"""Programs with loops in all their forms: written out, and random ones from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dlc.ir.builder import Builder
from dlc.ir.index import mark
from dlc.ir.loops import with_axis
from dlc.ir.nodes import Function, Op, Param, Program, Value
from dlc.types.dims import Dim
from dlc.types.facts import Relation
from dlc.types.tensor import TensorType
from ir.programs import ROW, VECTOR, program

# A recurrence over a size: a sequence along axis 1, a captured value, a parameter that all turns share.
SCAN = """
entry Net
model Net(%x: [B, T, 4], %h0: [B, 4], %bias: [4]) -> (last: %last, all: %all)
    where T >= 0
    param decay: [4]
{
    %last: [B, 4], %all: [B, T, 4] = loop(%h0, %x) {count=T, start=0, step=1, sequences=[1], stacked=[1], shared=true}
        do (%h: [B, 4], %xt: [B, 4]) {
        %decay: [4] = param() {path="decay"}
        %kept: [B, 4] = mul(%h, %decay)
        %sum: [B, 4] = add(%kept, %xt)
        %next: [B, 4] = add(%sum, %bias)
        yield %next, %next
    }
}
"""

# The counter alone, n turns of it.
COUNTER = """
entry Net
model Net(%x: [B]) -> (total: %total, squares: %squares)
{
    %zero: i64[] = const() {value=0}
    %total: i64[], %squares: i64[B + 1] = loop(%zero)
        {count=B + 1, start=B, step=-2, stacked=[0], index=true, shared=true} do (%i: i64[], %sum: i64[]) {
        %square: i64[] = mul(%i, %i)
        %next: i64[] = add(%sum, %i)
        yield %next, %square
    }
}
"""

# Layers, from the last to the first, beside what the way forwards gave each of them: a derivative's form.
BACKWARDS = """
entry Net
model Net(%g: [B, 4], %seen: [3, B, 4]) -> (g: %first, w: %w)
    param h.5.weight: [4]
    param h.7.weight: [4]
    param h.9.weight: [4]
{
    %first: [B, 4], %w: [4, 3] = loop(%g, %seen)
        {count=3, start=5, step=2, sequences=[0], stacked=[1], backwards=true} do (%d: [B, 4], %y: [B, 4]) {
        %weight: [4] = param() {path="h.{i}.weight"}
        %product: [B, 4] = mul(%d, %y)
        %part: [4] = sum(%product) {axis=[0], keepdims=false}
        %next: [B, 4] = mul(%d, %weight)
        yield %next, %part
    }
}
"""

# A recurrence in every layer: the inner loop's "{i}" is the layer's.
LAYERS = """
entry Net
module Cell(%c: [B, 4]) -> (y: %y)
    param weight: [4]
{
    %weight: [4] = param() {path="weight"}
    %m: [B, 4] = mul(%c, %weight)
    %y: [B, 4] = tanh(%m)
}

model Net(%x: [T, B, 4], %h0: [B, 4]) -> (y: %y)
    child rnn.{i}: Cell times 2 from 1 by 1
{
    %y: [T, B, 4] = loop(%x) {count=2, start=1, step=1} do (%z: [T, B, 4]) {
        %last: [B, 4], %all: [T, B, 4] = loop(%h0, %z)
            {count=T, start=0, step=1, sequences=[0], stacked=[0], shared=true} do (%h: [B, 4], %zt: [B, 4]) {
            %sum: [B, 4] = add(%h, %zt)
            %next: [B, 4] = call(%sum) @ rnn.{i} -> Cell [B=B]
            yield %next, %next
        }
        yield %all
    }
}
"""

# No turns: what is carried stays, what is stacked is empty.
NONE = """
entry Net
model Net(%x: [B, 4], %s: i64[B, 0]) -> (y: %y, all: %all, ids: %ids)
{
    %y: [B, 4], %all: [B, 0, 4], %ids: i64[B, 0] = loop(%x, %s)
        {count=0, start=0, step=1, sequences=[1], stacked=[1, 1], shared=true} do (%h: [B, 4], %id: i64[B]) {
        %next: [B, 4] = neg(%h)
        yield %next, %next, %id
    }
}
"""

FORMS = {
    "scan": program(SCAN),
    "counter": program(COUNTER),
    "backwards": program(BACKWARDS),
    "layers": program(LAYERS),
    "none": program(NONE),
}


def random_loops(seed: int, count: int | Dim) -> Program:
    """A program of some loops within one another and one behind the other, the outer ones of `count` turns."""
    return _Maker(np.random.default_rng(seed), count).program()


@dataclass
class _Maker:
    rng: np.random.Generator
    count: int | Dim
    inputs: list[Value] = field(default_factory=list)
    params: dict[str, Param] = field(default_factory=dict)

    def program(self) -> Program:
        b = Builder()
        self.input(b, "x", ROW)
        self.input(b, "clock", with_axis(TensorType("float", ()), 0, self.count))
        results = [value for _ in range(2) for value in self.loop(b, self.count, [self.inputs[0]], 0, ())]
        main = Function(
            name="Net",
            source="Net",
            kind="model",
            inputs=tuple(self.inputs),
            outputs=tuple((f"y{i}", value.name) for i, value in enumerate(results)),
            body=tuple(b.body),
            params=tuple(self.params.values()),
            facts=(Relation(Dim.of(self.count), ">=", Dim.of(0)),),
        )
        return Program({"Net": main}, "Net")

    def input(self, b: Builder, name: str, type: TensorType) -> Value:
        value = Value(b.fresh(name), type)
        self.inputs.append(value)
        return value

    def flip(self) -> bool:
        return bool(self.rng.random() < 0.5)

    def loop(
        self, b: Builder, count: int | Dim, pool: list[Value], depth: int, indices: Sequence[int]
    ) -> tuple[Value, ...]:
        """`indices` are those that `{i}` has here, in the loops around."""
        start, step = int(self.rng.integers(0, 3)), int(self.rng.integers(1, 3))
        shared = isinstance(count, Dim) or self.flip()
        own = indices if shared or isinstance(count, Dim) else [start + step * i for i in range(count)]
        axes = [int(self.rng.integers(0, 3)) for _ in range(self.rng.integers(0, 3))]
        sequences = [(self.input(b, "s", with_axis(ROW, axis, count)), axis) for axis in axes]
        carried = [self.any(pool) for _ in range(self.rng.integers(0, 3))]
        index, backwards = self.flip(), self.flip()
        stacks: list[int] = []

        def body(inner: Builder, *args: Value) -> list[Value]:
            rows = [*pool, *args[index:]]
            if index:
                rows.append(inner.mul(rows[0], inner.cast(args[0], "float")))
            for _ in range(3):
                rows.append(self.step(inner, rows, depth, own))
            items = [self.item(inner, rows[-1 - i]) for i in range(self.rng.integers(0, 3))]
            stacks.extend(int(self.rng.integers(0, item.type.rank + 1)) for item in items)
            return [*(self.any(rows[len(pool) :]) for _ in carried), *items]

        return b.loop(
            count,
            body,
            carried,
            sequences,
            stacks,
            index=index,
            start=start,
            step=step,
            backwards=backwards,
            shared=shared,
        )

    def any(self, pool: list[Value]) -> Value:
        return pool[self.rng.integers(0, len(pool))]

    def item(self, b: Builder, row: Value) -> Value:
        return b.sum(row, (1,)) if self.flip() else row

    def step(self, b: Builder, pool: list[Value], depth: int, indices: Sequence[int]) -> Value:
        kind = self.rng.integers(0, 4)
        if kind == 0 and depth < 2:
            made = self.loop(b, int(self.rng.integers(0, 3)), pool, depth + 1, indices)
            rows = [value for value in made if value.type == ROW]
            return b.op("tanh", self.any(rows or pool))
        if kind == 1:
            return b.op("tanh", b.add(self.any(pool), self.any(pool)))
        if kind == 2:
            return b.op("sin", b.sub(self.any(pool), self.any(pool)))
        return b.mul(self.any(pool), self.param(b, indices))

    def param(self, b: Builder, indices: Sequence[int]) -> Value:
        paths = [f"w.{index}" for index in indices] or ["v"]
        self.params.update((path, Param(path, VECTOR)) for path in paths)
        out = Value(b.fresh("w"), VECTOR)
        b.append(Op("param", (), (out,), (("path", f"w.{mark()}" if indices else "v"),)))
        return out
