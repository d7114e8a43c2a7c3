"""Linear layers that read the same value become one product, in inference: queries, keys and values; gate and
up.

Before:

    module linear_1(%x: [B, 3]) -> (y: %y)
        source linear
        library
        param weight: [4, 3]
    {
        %weight: [4, 3] = param() {path="weight"}
        %turned: [3, 4] = permute(%weight) {axes=[1, 0]}
        %y: [B, 4] = matmul(%x, %turned)
    }
    model Net(%x: [B, 3]) -> (q: %q, k: %k)
        child q: linear_1
        child k: linear_1
    {
        %q: [B, 4] = linear(%x) {out=4, bias=false} @ q -> linear_1 [B=B]
        %k: [B, 4] = linear(%x) {out=4, bias=false} @ k -> linear_1 [B=B]
    }

After:

    prepare merged_weight_1(%weight: [4, 3], %weight_2: [4, 3]) -> (result: %concat)
        source merged_weight
    {
        %concat: [8, 3] = concat(%weight, %weight_2) {axis=0}
    }
    module linear_1(%x: [B, 3]) -> (y: %y)
        source linear
        library
        param weight: [4, 3]
    {
        %weight: [4, 3] = param() {path="weight"}
        %turned: [3, 4] = permute(%weight) {axes=[1, 0]}
        %y: [B, 4] = matmul(%x, %turned)
    }
    model Net(%x: [B, 3]) -> (q: %q, k: %k)
        prepared q_k_weight: [8, 3] = merged_weight_1(q.weight, k.weight)
        child q: linear_1
        child k: linear_1
    {
        %q_k_weight: [8, 3] = param() {path="q_k_weight"}
        %permute: [3, 8] = permute(%q_k_weight) {axes=[1, 0]}
        %matmul: [B, 8] = matmul(%x, %permute)
        %q: [B, 4] = slice(%matmul) {start=[0, 0], stop=[B, 4], step=[1, 1]}
        %k: [B, 4] = slice(%matmul) {start=[0, 4], stop=[B, 8], step=[1, 1]}
    }
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from dlc.ir.builder import Builder
from dlc.ir.index import has_index
from dlc.ir.nodes import Function, Fused, Op, Program, Value
from dlc.ir.splice import prefixed
from dlc.passes.fused import Fusing, joined_path, with_static
from dlc.passes.prepared import read
from dlc.records import dataclass, replace
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType


@dataclass(frozen=True, slots=True)
class ParallelLinears:
    """Needs library calls (before `decompose`); leaves functions of training alone. Merges layers of one
    parent with the same operand that all have a bias, or all none. Adds `prepared` parameters; the layers'
    own stay. With `as_layers` one layer takes the place of them."""

    name: str = "parallel-linears"
    as_layers: bool = False

    def run(self, program: Program) -> Program:
        return _Joiner.program(program, as_layers=self.as_layers)


class _Joiner(Fusing):
    def rewritten(self, body: Iterable[Op], loop: Op | None) -> tuple[Op, ...]:
        body = tuple(body)
        groups = _groups(body)
        if self.as_layers:
            groups = {name: group for name, group in groups.items() if self._may_be_layer(group)}
        merged = {op.out.name for group in groups.values() for op in group}
        result: list[Op] = []
        for op in body:
            name = op.out.name if op.outputs else ""
            if op.region is not None:
                result.append(self.within(op, loop))
            elif name in groups:
                result += self._merged(groups[name], loop)
            elif name not in merged:
                result.append(op)
        return tuple(result)

    def _may_be_layer(self, group: Sequence[Op]) -> bool:
        plain = all(param.kind == "param" for op in group for param in self._inside(op).params)
        return plain and self.layers.may_go(*(op.path for op in group))

    def _merged(self, group: Sequence[Op], loop: Op | None) -> list[Op]:
        if self.as_layers:
            return self._layer(group, loop)
        builder = self.builder
        builder.span = group[0].span
        x = Value(group[0].inputs[0], self._operand(group[0]))
        weight = self._param(builder, group, "weight", loop)
        y = builder.matmul(x, builder.permute(weight, (1, 0)))
        if group[0].attr("bias"):
            y = builder.add(y, self._param(builder, group, "bias", loop))
        return [*builder.body, *_slices(y, group)]

    def _layer(self, group: Sequence[Op], loop: Op | None) -> list[Op]:
        """One layer in the place of all."""
        first, bias = group[0], bool(group[0].attr("bias"))
        out = sum((op.out.type.axes[-1] for op in group[1:]), first.out.type.axes[-1])
        own = next(param.type for param in self._inside(first).params if param.name == "weight").axes[0]
        there = Dim(out.terms, own.origin)
        function = self.layer(self._inside(first), there, bias=bias)
        paths = tuple(op.path for op in group)
        path = self.layers.free(joined_path(paths))
        for name in ("weight", "bias") if bias else ("weight",):
            self._prepared(group, f"{path}.{name}", name, loop)
        self.layers.put(path, function.name, Fused("joined", paths))
        axes = (*first.out.type.axes[:-1], out)
        y = Value(self.names.fresh(first.op), first.out.type.with_axes(axes))
        call = replace(with_static(first, out=out.constant), outputs=(y,), callee=function.name, path=path)
        return [call, *_slices(y, group)]

    def _operand(self, op: Op) -> TensorType:
        return self._inside(op).inputs[0].type.substitute(dict(op.dims))

    def _inside(self, op: Op) -> Function:
        return self.prepare.program.functions[op.callee]

    def _param(self, builder: Builder, group: Sequence[Op], name: str, loop: Op | None) -> Value:
        path = f"{_joined([op.path for op in group])}_{name}"
        path, type = self._prepared(group, path, name, loop)
        return read(builder, path, type)

    def _prepared(self, group: Sequence[Op], path: str, name: str, loop: Op | None) -> tuple[str, TensorType]:
        """The layers' weights or biases, one after another, as a prepared parameter: its path and type."""
        types = [next(p.type for p in self._inside(op).params if p.name == name) for op in group]
        function = self.prepare.get(
            f"merged_{name}",
            [(name, type) for type in types],
            lambda b, *values: b.op("concat", *values, axis=0),
        )
        sources = [prefixed(op.path, name) for op in group]
        return self.added.add(path, sources, function, loop), function.output_types[0]


# What layers must have in common to be one product. The tests have a program for each that it alone refuses.
ALIKE: dict[str, Callable[[Op], object]] = {
    "operand": lambda op: op.inputs[0],
    "bias": lambda op: op.attr("bias"),
    "turn": lambda op: has_index(op.path),
}


def _groups(body: Sequence[Op]) -> dict[str, list[Op]]:
    """Calls of `linear` to merge, by the result of the first of them."""
    found: dict[tuple[object, ...], dict[str, Op]] = {}
    for op in body:
        if op.op == "linear" and op.callee and op.path and op.out.type.rank > 1:
            parent = op.path.rpartition(".")[0]
            key = (parent, *(each(op) for each in ALIKE.values()))
            found.setdefault(key, {}).setdefault(op.path, op)
    return {ops[0].out.name: ops for group in found.values() if len(ops := list(group.values())) > 1}


def _joined(paths: Sequence[str]) -> str:
    """The names of instances of one parent in one path."""
    parent = paths[0].rpartition(".")[0]
    return prefixed(parent, "_".join(path.rpartition(".")[2] for path in paths))


def _slices(y: Value, group: Sequence[Op]) -> Iterable[Op]:
    """Each layer's part of the last axis, under the name that its result had."""
    leading = y.type.axes[:-1]
    steps = (1,) * y.type.rank
    start = Dim.of(0)
    for op in group:
        stop = start + op.out.type.axes[-1]
        bounds = (
            ("start", (*(Dim.of(0) for _ in leading), start)),
            ("stop", (*leading, stop)),
            ("step", steps),
        )
        yield Op("slice", (y.name,), (op.out,), bounds, span=op.span)
        start = stop
