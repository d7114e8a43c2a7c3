"""Composites of the standard library that ONNX has nodes for, where a row can't say it.

A saying gives None where ONNX's node means something else than the definition: then the definition is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from dlc.ir.nodes import Attr, Op
from dlc.ir.splice import prefixed
from dlc.ops.axes import axes_from_zero
from dlc.types.dims import Dim
from dlc_onnx.methods import ints, rows_by_matrix, spatial
from dlc_onnx.saying import Say, Writer
from dlc_onnx.template import Ref

Lookup = Callable[[str], Any]
FLOATS = ("f32", "f64", "f16", "bf16")


def lookup(w: Writer, op: Op) -> Lookup:
    """What the names in a row stand for: the op's operands, its attributes, its parameters."""
    scope: dict[str, Any] = dict(op.attrs)
    if op.inputs and op.inputs[0]:
        scope.update(axes_from_zero(op, w.type(op.inputs[0]).rank))
    scope.update(zip(operand_names(w, op), w.operands(op), strict=False))
    scope["xs"] = w.operands(op)

    def find(name: str) -> Any:
        return scope[name] if name in scope else w.parameter(prefixed(op.path, name))

    return find


def operand_names(w: Writer, op: Op) -> list[str]:
    """The names of an op's operands in its definition."""
    if not op.callee:
        from dlc import ops

        return [each.name for each in ops.get(op.op).signature.operands]
    names = iter(w.callee(op).inputs)
    return [next(names).name if given else "" for given in op.inputs]


def weights(w: Writer, op: Op, *names: str) -> list[Ref]:
    """The layer's parameters of these names, as far as it has them."""
    own = {param.name for param in w.callee(op).params}
    return [w.parameter(prefixed(op.path, name)) for name in names if name in own]


def flag(value: Attr) -> int:
    return int(value is True)


def number(value: Attr) -> float:
    assert isinstance(value, int | float)
    return float(value)


# Linear maps and convolutions


def linear(w: Writer, op: Op) -> Ref:
    """Gemm for matrices; else MatMul with the weight turned, which onnxruntime does once."""
    x = w.value(op.inputs[0])
    weight, *bias = weights(w, op, "weight", "bias")
    if w.type(op.inputs[0]).rank == 2:
        return w.body.one("Gemm", x, weight, *bias, transB=1)
    turned = w.body.one("Transpose", weight, perm=[1, 0])
    product = rows_by_matrix(w, op, x, turned)
    return w.body.one("Add", product, *bias) if bias else product


def conv(w: Writer, op: Op) -> Ref | None:
    return convolution(w, op, "conv", "Conv")


def conv_transpose(w: Writer, op: Op) -> Ref | None:
    return convolution(w, op, "conv_transpose", "ConvTranspose")


def convolution(w: Writer, op: Op, inner: str, kind: str) -> Ref | None:
    """Conv with its bias; strides and padding as the definition's body has them, one entry per axis."""
    body = w.callee(op).body
    found = next((each for each in body if each.op == inner), None)
    if found is None or any(each.op not in _CONVOLUTION for each in body):
        return None
    attrs = spatial(found)
    if inner == "conv_transpose":
        attrs["output_padding"] = ints(found.attr("output_padding"))
    return w.body.one(kind, *w.operands(op), *weights(w, op, "weight", "bias"), **attrs)


# All that the body of a convolution's definition may hold, if one node is to say it.
_CONVOLUTION = frozenset({"conv", "conv_transpose", "param", "add", "reshape"})


# Normalisation


def batch_norm(w: Writer, op: Op) -> Ref | None:
    if w.callee(op).training or op.attr("affine") is not True:
        return None
    own = weights(w, op, "weight", "bias", "running_mean", "running_var")
    return w.body.one("BatchNormalization", *w.operands(op), *own, epsilon=op.attr("eps"))


def layer_norm(w: Writer, op: Op) -> Ref | None:
    axes = op.attr("axes")
    return normalization(w, op, "LayerNormalization", axis=-axes) if isinstance(axes, int) else None


def rms_norm(w: Writer, op: Op) -> Ref | None:
    return normalization(w, op, "RMSNormalization", axis=-1)


def instance_norm(w: Writer, op: Op) -> Ref | None:
    return normalization(w, op, "InstanceNormalization") if w.type(op.inputs[0]).rank > 2 else None


def normalization(w: Writer, op: Op, kind: str, **attrs: Any) -> Ref | None:
    """A node whose scale is no option, so that only layers with `affine` are said by it; onnxruntime has none over nothing."""
    axis = attrs.get("axis", 2)
    if op.attr("affine") is not True or not w.sizes.are_positive(w.type(op.inputs[0]).axes[axis:]):
        return None
    return w.body.one(
        kind, *w.operands(op), *weights(w, op, "weight", "bias"), epsilon=op.attr("eps"), **attrs
    )


def local_response_norm(w: Writer, op: Op) -> Ref | None:
    """LRN, whose window has a middle only where its size is odd; onnxruntime has it for images."""
    size = op.attr("size")
    if not isinstance(size, int) or size % 2 == 0 or w.type(op.inputs[0]).rank != 4:
        return None
    attrs: dict[str, Any] = {
        "alpha": number(op.attr("alpha")),
        "beta": number(op.attr("beta")),
        "bias": number(op.attr("k")),
    }
    return w.body.one("LRN", *w.operands(op), size=size, **attrs)


# Activations and reductions


def gelu(w: Writer, op: Op) -> Ref | None:
    approximate = op.attr("approximate")
    if approximate not in ("none", "tanh"):
        return None
    return w.body.one("Gelu", *w.operands(op), approximate=approximate)


def clamp(w: Writer, op: Op) -> Ref | None:
    """Clip; a bound that is none is left out. One that is a size is what the body says."""
    if any(isinstance(op.attr(each), Dim) for each in ("min", "max")):
        return None
    # Without a bound, onnxruntime's own is the largest number there is, to which it brings what is infinite.
    open_ends = (-inf, inf) if w.type(op.inputs[0]).is_float else ("", "")
    given = zip((op.attr("min"), op.attr("max")), open_ends, strict=True)
    bounds: list[Any] = [end if bound is None else number(bound) for bound, end in given]
    return w.body.one("Clip", *w.operands(op), *bounds)


def triangle(w: Writer, op: Op) -> Ref:
    """The diagonal may be a size."""
    place = op.attr("diagonal")
    assert isinstance(place, int | Dim)
    diagonal = w.sizes.scalar(Dim.of(place))
    return w.body.one("Trilu", w.value(op.inputs[0]), diagonal, upper=int(op.op == "triu"))


def mean(w: Writer, op: Op) -> Ref | None:
    return reduction(w, op, "ReduceMean")


def logsumexp(w: Writer, op: Op) -> Ref | None:
    return reduction(w, op, "ReduceLogSumExp")


def reduction(w: Writer, op: Op, kind: str) -> Ref | None:
    """A reduction over an axis, several, or all; left to the definition over no axis, and where there may be no elements: ONNX
    Runtime's mean of nothing is 0, and of what is empty along another axis it keeps the shape."""
    type = w.type(op.inputs[0])
    axis = op.attr("axis")
    axes = list(range(type.rank)) if axis is None else [axis] if isinstance(axis, int) else ints(axis)
    if type.dtype not in FLOATS or not axes or not is_filled(w, op.inputs[0]):
        return None
    return w.body.one(kind, *w.operands(op), axes, keepdims=flag(op.attr("keepdims")))


def is_filled(w: Writer, name: str) -> bool:
    """Whether a value surely has elements."""
    return w.sizes.are_positive(w.type(name).axes)


def global_avg_pool(w: Writer, op: Op) -> Ref | None:
    rank = w.type(op.inputs[0]).rank
    if rank < 3 or not is_filled(w, op.inputs[0]):
        return None
    return w.body.one("ReduceMean", *w.operands(op), range(2, rank), keepdims=0)


def resize(w: Writer, op: Op) -> Ref | None:
    """Resize, as far as it means the same: its places in mode "nearest" are rounded as PyTorch's only at whole scales, and its
    `antialias` is another filter."""
    mode, scales = op.text("mode"), _scales(w, op)
    # onnxruntime takes no size of 0.
    if not w.sizes.are_positive((*w.type(op.inputs[0]).axes, *(() if scales else op.out.type.axes))):
        return None
    whole = bool(scales) and all(scale.is_integer() for scale in scales)
    if mode == "nearest" and whole and max(scales) <= EXACT_TIMES:
        how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor", "mode": "nearest"}
    elif mode in _SMOOTH and not op.attr("antialias") and (mode != "trilinear" or whole or not scales):
        how = {
            **_SMOOTH[mode],
            "coordinate_transformation_mode": "align_corners" if op.attr("align_corners") else "half_pixel",
        }
    else:
        return None
    rank = w.type(op.inputs[0]).rank
    if scales:
        return w.body.one(
            "Resize", *w.operands(op), "", w.body.const((1.0, 1.0, *scales), "f32", (rank,)), **how
        )
    return w.body.one("Resize", *w.operands(op), "", "", w.sizes.vector(op.out.type.axes), **how)


def grid_sample(w: Writer, op: Op) -> Ref | None:
    """GridSample, which onnxruntime has in f32 and f64, for what is not empty."""
    if not all(is_filled(w, name) for name in op.inputs) or w.type(op.inputs[0]).dtype not in ("f32", "f64"):
        return None
    how = {"mode": {"bilinear": "linear"}.get(op.text("mode"), op.text("mode"))}
    aligned = int(bool(op.attr("align_corners")))
    return w.body.one(
        "GridSample", *w.operands(op), **how, padding_mode=op.text("padding_mode"), align_corners=aligned
    )


def _scales(w: Writer, op: Op) -> tuple[float, ...]:
    """The scale of each axis; none where sizes are given."""
    scale, axes = op.attr("scale"), w.type(op.inputs[0]).rank - 2
    if scale is None:
        return ()
    return tuple(map(number, scale)) if isinstance(scale, tuple) else (number(scale),) * axes


_SMOOTH: Mapping[str, Mapping[str, Any]] = {
    "linear": {"mode": "linear"},
    "bilinear": {"mode": "linear"},
    "trilinear": {"mode": "linear"},
    "bicubic": {"mode": "cubic", "cubic_coeff_a": -0.75},
}
# Up to this scale i // scale is the element that PyTorch's rounding finds too (`dlc/elaborate/builtins/resizing.py`).
EXACT_TIMES = 40


# Attention


def attention(w: Writer, op: Op) -> Ref | None:
    """Attention over [B, heads, T, e], as far as it means the same: ONNX counts a causal query's place from the start, so
    queries and keys must be as many; a window, and a bias beside a mask, it does not know. onnxruntime takes no empty operand.

    A query whose mask lets it see no key at all gets 0 from onnxruntime, too."""
    q, k, v, mask, bias = op.inputs
    types = [w.type(name) for name in (q, k, v)]
    causal = op.attr("causal") is True
    square = types[0].axes[-2] == types[1].axes[-2]
    other = op.attr("window") is not None or op.attr("softcap") is not None or (mask and bias)
    if any(type.rank != 4 for type in types) or other or (causal and not square):
        return None
    if not all(is_filled(w, name) for name in (q, k, v)):
        return None
    operands = [w.value(name) for name in (q, k, v)]
    if mask or bias:
        operands.append(scores_alike(w, mask or bias, types[0].axes[-2], types[1].axes[-2]))
    attrs: dict[str, Any] = {"is_causal": int(causal)}
    if op.attr("scale") is not None:
        attrs["scale"] = number(op.attr("scale"))
    return w.body.one("Attention", *operands, **attrs)


def scores_alike(w: Writer, name: str, queries: Dim, keys: Dim) -> Ref:
    """A mask or bias with four axes, the last two those of the scores: onnxruntime broadcasts only the others."""
    axes = w.type(name).axes
    if len(axes) == 4 and axes[-2:] == (queries, keys):
        return w.value(name)
    one = Dim.of(1)
    return w.body.one("Expand", w.value(name), w.sizes.vector((one, one, queries, keys)))


LAYERS: Mapping[str, Say] = {
    "linear": linear,
    "conv1d": conv,
    "conv2d": conv,
    "conv3d": conv,
    "conv_transpose1d": conv_transpose,
    "conv_transpose2d": conv_transpose,
    "conv_transpose3d": conv_transpose,
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "instance_norm": instance_norm,
    "local_response_norm": local_response_norm,
    "gelu": gelu,
    "clamp": clamp,
    "tril": triangle,
    "triu": triangle,
    "mean": mean,
    "logsumexp": logsumexp,
    "global_avg_pool": global_avg_pool,
    "resize": resize,
    "grid_sample": grid_sample,
    "attention": attention,
}
