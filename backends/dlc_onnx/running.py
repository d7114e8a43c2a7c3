"""Running products: ONNX has one only from opset 26 on, and onnxruntime's Scan fails over nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlc.ir.nodes import Op
from dlc.ops.arrays import numpy_dtype
from dlc.types.dims import Dim
from dlc_onnx.body import tensor
from dlc_onnx.rows import TYPES
from dlc_onnx.saying import Writer
from dlc_onnx.template import Ref


def cumprod(w: Writer, op: Op) -> Ref:
    (x,), axis = op.inputs, op.integer("axis")
    return running_product(w, w.value(x), axis, w.type(x).axes[axis])


def running_product(w: Writer, x: Ref, axis: int, size: Dim) -> Ref:
    """A Loop in which the reach of every product doubles, along an axis of a size."""
    dtype = w.body.dtypes[x]
    wide = w.body.wider_for("Pad").get(dtype, dtype)
    count = w.sizes.size(size)
    more = w.body.one("Greater", w.sizes.scalar(size), 1)
    carried = (w.body.cast(x, wide), w.body.ints([1]), count)
    loop = w.body.node("Loop", "", more, *carried, outputs=3, dtype=wide, body=doubling(axis, wide))
    return w.body.cast(loop[0], dtype)


def doubling(axis: int, dtype: str) -> Any:
    """y[i] becomes y[i] * y[i - reach], and the reach twice itself, while it is less than the count (Hillis and Steele)."""
    from onnx import helper, numpy_helper

    def value(name: str, dtype: str, rank: int | None) -> Any:
        return helper.make_tensor_value_info(name, TYPES[dtype], None if rank is None else [1] * rank)

    array = np.array([0, axis, 2])
    constants = [
        numpy_helper.from_array(array[i : i + 1], name) for i, name in enumerate(("zero", "axis", "two"))
    ]
    constants.append(tensor(np.ones((), numpy_dtype(dtype)), dtype, "one"))
    node = helper.make_node
    nodes = [
        node("Neg", ["reach"], ["end"]),
        node("Slice", ["y", "zero", "end", "axis"], ["front"]),
        node("Concat", ["reach", "zero"], ["pads"], axis=0),
        node("Pad", ["front", "pads", "one", "axis"], ["moved"]),
        node("Mul", ["y", "moved"], ["product"]),
        node("Mul", ["reach", "two"], ["further"]),
        node("Less", ["further", "count"], ["is_less"]),
        node("Squeeze", ["is_less"], ["more"]),
        node("Identity", ["count"], ["same"]),
    ]
    inputs = [value("turn", "i64", 0), value("going", "bool", 0), value("y", dtype, None)]
    inputs += [value("reach", "i64", 1), value("count", "i64", 1)]
    outputs = [value("more", "bool", 0), value("product", dtype, None)]
    outputs += [value("further", "i64", 1), value("same", "i64", 1)]
    return helper.make_graph(nodes, "doubling", inputs, outputs, initializer=constants)
