"""Batch norm after a convolution or linear layer becomes part of its weights, in inference.

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
    module batch_norm_1(%x: [B, 4]) -> (y: %y)
        source batch_norm
        library
        buffer running_mean: [4]
        buffer running_var: [4]
    {
        %mean: [4] = param() {path="running_mean"}
        %centred: [B, 4] = sub(%x, %mean)
        %var: [4] = param() {path="running_var"}
        %eps: [] = const() {value=1e-05}
        %padded: [4] = add(%var, %eps)
        %scale: [4] = rsqrt(%padded)
        %y: [B, 4] = mul(%centred, %scale)
    }
    model Net(%x: [B, 3]) -> (y: %y)
        child fc: linear_1
        child norm: batch_norm_1
    {
        %h: [B, 4] = linear(%x) {out=4, bias=false} @ fc -> linear_1 [B=B]
        %y: [B, 4] = batch_norm(%h) {eps=1e-05, momentum=0.1, affine=false} @ norm -> batch_norm_1 [B=B]
    }

After:

    prepare folded_weight_1(%weight: [4, 3], %running_var: [4]) -> (result: %mul)
        source folded_weight
    {
        %const: [] = const() {value=1e-05}
        %add: [4] = add(%running_var, %const)
        %rsqrt: [4] = rsqrt(%add)
        %reshape: [4, 1] = reshape(%rsqrt) {shape=[4, 1]}
        %mul: [4, 3] = mul(%weight, %reshape)
    }
    prepare folded_bias_1(%running_var: [4], %running_mean: [4]) -> (result: %neg)
        source folded_bias
    {
        %const: [] = const() {value=1e-05}
        %add: [4] = add(%running_var, %const)
        %rsqrt: [4] = rsqrt(%add)
        %mul: [4] = mul(%running_mean, %rsqrt)
        %neg: [4] = neg(%mul)
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
    module batch_norm_1(%x: [B, 4]) -> (y: %y)
        source batch_norm
        library
        buffer running_mean: [4]
        buffer running_var: [4]
    {
        %mean: [4] = param() {path="running_mean"}
        %centred: [B, 4] = sub(%x, %mean)
        %var: [4] = param() {path="running_var"}
        %eps: [] = const() {value=1e-05}
        %padded: [4] = add(%var, %eps)
        %scale: [4] = rsqrt(%padded)
        %y: [B, 4] = mul(%centred, %scale)
    }
    model Net(%x: [B, 3]) -> (y: %y)
        prepared fc_folded_weight: [4, 3] = folded_weight_1(fc.weight, norm.running_var)
        prepared fc_folded_bias: [4] = folded_bias_1(norm.running_var, norm.running_mean)
        child fc: linear_1
        child norm: batch_norm_1
    {
        %weight: [4, 3] = param() {path="fc_folded_weight"}
        %turned: [3, 4] = permute(%weight) {axes=[1, 0]}
        %y_2: [B, 4] = matmul(%x, %turned)
        %fc_folded_bias: [4] = param() {path="fc_folded_bias"}
        %y: [B, 4] = add(%y_2, %fc_folded_bias)
    }
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

from dlc.ir.builder import Builder
from dlc.ir.index import has_index
from dlc.ir.nodes import Function, Fused, Op, Param, Program, Value
from dlc.ir.splice import Draws, Splice, dims_of, has_paths, prefixed, statics_of
from dlc.passes.base import use_counts
from dlc.passes.fused import Fusing, with_static
from dlc.passes.prepared import Inputs, read, sibling
from dlc.records import dataclass, replace
from dlc.types.tensor import TensorType
from dlc.types.traced import as_float

# Layers that are linear in their weights, whose first axis is the output's channels.
LAYERS = frozenset({"conv1d", "conv2d", "conv3d", "linear"})


@dataclass(frozen=True, slots=True)
class NormFolding:
    """Needs library calls (before `decompose`); leaves functions of training alone. A layer is folded where
    nothing but the batch norm reads it. Adds `prepared` parameters; the layer's and the norm's own stay. With `as_layers` a layer
    with a bias takes the place of both."""

    name: str = "norm-folding"
    as_layers: bool = False

    def run(self, program: Program) -> Program:
        return _Folder.program(program, as_layers=self.as_layers)


@dataclass(frozen=True)
class _Pair:
    """A layer's call and a batch norm that reads it, one of so many readers."""

    layer: Op
    norm: Op
    inside: Function
    norm_function: Function
    readers: int

    @property
    def eps(self) -> float:
        return as_float(self.norm.attr("eps"))  # type: ignore[arg-type]

    @cached_property
    def weight(self) -> Param:
        return next(param for param in self.inside.params if param.name == "weight")

    @property
    def channels(self) -> TensorType:
        return self.weight.type.with_axes(self.weight.type.axes[:1])

    @cached_property
    def has_bias(self) -> bool:
        return any(param.name == "bias" for param in self.inside.params)

    @cached_property
    def affine(self) -> bool:
        return any(param.name == "weight" for param in self.norm_function.params)

    def sources(self, names: Iterable[str]) -> tuple[list[str], Inputs]:
        """Paths and types of what a prepared tensor is computed from."""
        path = {"weight": self.layer.path, "bias": self.layer.path}
        types = {"weight": self.weight.type}
        paths = [prefixed(path.get(name, self.norm.path), _LOCAL.get(name, name)) for name in names]
        return paths, [(name, types.get(name, self.channels)) for name in names]


def _same_axis(pair: _Pair) -> bool:
    """A norm's channels are axis 1, a linear layer's the last one."""
    return pair.layer.op != "linear" or pair.layer.out.type.rank == 2


def _same_turn(pair: _Pair) -> bool:
    """A prepared tensor belongs to one turn of a repeat."""
    return has_index(pair.layer.path) == has_index(pair.norm.path)


def _own_paths(pair: _Pair) -> bool:
    return not any(each.callee and has_paths((each,)) for each in pair.inside.body)


# When a pair can be folded. The tests have a program for each that it alone refuses.
CONDITIONS: dict[str, Callable[[_Pair], bool]] = {
    "read_once": lambda pair: pair.readers == 1,
    "same_axis": _same_axis,
    "same_turn": _same_turn,
    "own_paths": _own_paths,
}

# Names of a prepare function's inputs that are called otherwise in the norm.
_LOCAL = {"gamma": "weight", "beta": "bias"}


class _Folder(Fusing):
    @cached_property
    def uses(self) -> Mapping[str, int]:
        return use_counts(self.function)

    def rewritten(self, body: Iterable[Op], loop: Op | None) -> tuple[Op, ...]:
        result: list[Op] = []
        layers: dict[str, Op] = {}
        folded: set[str] = set()
        for op in body:
            op = self.within(op, loop)
            pair = self._pair(layers, op)
            if pair is not None and (not self.as_layers or self.layers.may_go(pair.layer.path, op.path)):
                folded.add(pair.layer.out.name)
                result += self._folded(pair, loop)
                continue
            if op.op in LAYERS and op.callee:
                layers[op.out.name] = op
            result.append(op)
        return tuple(op for op in result if not (op.outputs and op.out.name in folded))

    def _pair(self, layers: Mapping[str, Op], op: Op) -> _Pair | None:
        """The layer that this batch norm can be folded into."""
        layer = layers.get(op.inputs[0]) if op.op == "batch_norm" and op.callee else None
        if layer is None:
            return None
        functions = self.prepare.program.functions
        pair = _Pair(layer, op, functions[layer.callee], functions[op.callee], self.uses[layer.out.name])
        return pair if all(holds(pair) for holds in CONDITIONS.values()) else None

    def _folded(self, pair: _Pair, loop: Op | None) -> list[Op]:
        """The layer's body on prepared weights, and the prepared bias added where the layer had none."""
        if self.as_layers:
            return [self._layer(pair, loop)]
        paths = self._prepared(pair, loop)
        layer, inside, out = pair.layer, pair.inside, pair.norm.out
        values = {inside.inputs[0].name: layer.inputs[0]}
        result = inside.outputs[0][1]
        if pair.has_bias:
            values[result] = out.name
        splice = Splice(
            self.names,
            Draws(),
            values,
            dims_of(layer),
            lambda path: paths.get(path, prefixed(layer.path, path)),
            statics=statics_of(layer),
        )
        ops = splice.body(inside.body)
        if pair.has_bias:
            return ops
        builder = self.builder
        builder.span = pair.norm.span
        bias = read(builder, paths["bias"], pair.channels)
        ones = (1,) * (out.type.rank - 2)
        shaped = builder.reshape(bias, (pair.channels.axes[0], *ones)) if ones else bias
        ops += builder.body
        return [*ops, Op("add", (values[result], shaped.name), (out,), span=pair.norm.span)]

    def _layer(self, pair: _Pair, loop: Op | None) -> Op:
        """One layer with a bias in the place of both."""
        function = self.layer(pair.inside, pair.channels.axes[0], bias=True)
        self._prepared(pair, loop)
        parts = (pair.layer.path, pair.norm.path)
        fused = Fused("folded", parts, pair.eps, pair.affine, pair.has_bias)
        self.layers.put(pair.layer.path, function.name, fused)
        call = with_static(pair.layer, bias=True)
        return replace(call, outputs=pair.norm.outputs, callee=function.name, span=pair.norm.span)

    def _prepared(self, pair: _Pair, loop: Op | None) -> dict[str, str]:
        """Paths of the prepared weight and bias."""
        scaled = ["running_var", *(["gamma"] if pair.affine else [])]
        shifted = ["running_mean", *(["bias"] if pair.has_bias else []), *(["beta"] if pair.affine else [])]
        return {
            "weight": self._param(pair, "weight", ["weight", *scaled], loop),
            "bias": self._param(pair, "bias", [*scaled, *shifted], loop),
        }

    def _param(self, pair: _Pair, name: str, needed: Sequence[str], loop: Op | None) -> str:
        def make(builder: Builder, *values: Value) -> Value:
            return _MAKE[name](builder, pair.eps, dict(zip(needed, values, strict=True)))

        sources, inputs = pair.sources(needed)
        function = self.prepare.get(f"folded_{name}", inputs, make)
        path = pair.layer.path
        path = f"{path}.{name}" if self.as_layers else sibling(path, f"folded_{name}")
        return self.added.add(path, sources, function, loop)


def _scale(b: Builder, eps: float, values: Mapping[str, Value]) -> Value:
    scale = b.op("rsqrt", b.add(values["running_var"], eps))
    return b.mul(scale, values["gamma"]) if "gamma" in values else scale


def _weight(b: Builder, eps: float, values: Mapping[str, Value]) -> Value:
    weight, scale = values["weight"], _scale(b, eps, values)
    return b.mul(weight, b.reshape(scale, (scale.type.axes[0], *(1 for _ in weight.type.axes[1:]))))


def _bias(b: Builder, eps: float, values: Mapping[str, Value]) -> Value:
    centre = values["running_mean"]
    if "bias" in values:
        centre = b.sub(centre, values["bias"])
    moved = b.mul(centre, _scale(b, eps, values))
    return b.sub(values["beta"], moved) if "beta" in values else b.neg(moved)


_MAKE = {"weight": _weight, "bias": _bias}
