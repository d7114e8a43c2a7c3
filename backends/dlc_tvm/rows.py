"""How each operation is said in Relax: a row is a function of its operands, and of its attributes by name."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping

from tvm import tirx
from tvm.relax import op as R

from dlc_tvm import elementwise as each
from dlc_tvm import layers, reductions, shapes, windows
from dlc_tvm.elementwise import broadcasting, pointwise, simple, wide
from dlc_tvm.emission import Row
from dlc_tvm.reductions import reduce, reduce_bools, scan

# As TVM calls them too; those of the first line are computed in f32 where an operand is a narrow float.
COMPUTED = "exp log sqrt rsqrt sin cos tan atan tanh sigmoid erf isnan isfinite"
PLAIN = "floor ceil abs logical_not logical_and logical_or where"

ELEMENTWISE: Mapping[str, Row] = {
    **{name: wide(simple(getattr(R, name))) for name in COMPUTED.split()},
    **{name: simple(getattr(R, name)) for name in PLAIN.split()},
    "expm1": wide(pointwise("expm1", each.expm1)),
    "log1p": wide(pointwise("log1p", each.log1p)),
    "round": pointwise("round", tirx.nearbyint),
    "sign": pointwise("sign", each.sign),
    "neg": each.negative,
    "add": broadcasting(R.add),
    "sub": broadcasting(R.subtract),
    "mul": broadcasting(R.multiply),
    "div": each.divide,
    "pow": each.by_dtype(wide(broadcasting(R.power)), each.int_pow),
    "floordiv": each.by_dtype(wide(pointwise("floordiv", each.float_floordiv)), each.FLOORDIV),
    "mod": each.by_dtype(wide(pointwise("mod", each.float_mod)), each.MOD),
    "minimum": each.extreme(R.minimum),
    "maximum": each.extreme(R.maximum),
    "eq": each.compared(R.equal),
    "ne": each.not_equal,
    "lt": each.compared(R.less),
    "le": each.compared(R.less_equal),
    "gt": each.compared(R.greater),
    "ge": each.compared(R.greater_equal),
    "cast": each.cast,
    "stop_gradient": lambda e, x: x,
}

REDUCTIONS: Mapping[str, Row] = {
    "sum": wide(reductions.total),
    "prod": wide(reduce(R.prod, 1)),
    "max": reductions.extreme(R.max, operator.gt, -math.inf),
    "min": reductions.extreme(R.min, operator.lt, math.inf),
    "any": reduce_bools(R.max, False),
    "all": reduce_bools(R.min, True),
    "argmax": reductions.choice(operator.gt, -math.inf),
    "argmin": reductions.choice(operator.lt, math.inf),
    "cumsum": wide(scan(R.cumsum)),
    "cumprod": wide(scan(R.cumprod)),
    "matmul": reductions.matmul,
    "einsum": reductions.einsum,
    "mean": reductions.mean,
}

SHAPES: Mapping[str, Row] = {
    "reshape": shapes.reshape,
    "permute": lambda e, x, axes: R.permute_dims(x, list(axes)),
    "broadcast": shapes.broadcast,
    "concat": shapes.concat,
    "slice": shapes.slice_,
    "pad": shapes.pad,
    "flip": shapes.flip,
    "take": shapes.take,
    "take_along": lambda e, x, index, axis: R.gather_elements(x, index, axis=axis),
    "scatter": lambda e, x, index, values, axis: R.scatter_elements(x, index, values, axis=axis),
    "scatter_add": lambda e, x, index, values, axis: R.scatter_elements(
        x, index, values, axis=axis, reduction="add"
    ),
    "scatter_max": shapes.scatter_max,
    "update_slice": shapes.update_slice,
    "top_k": shapes.top_k,
    "argsort": shapes.argsort,
    "arange": shapes.arange,
    "full": shapes.full,
    "size": shapes.size,
}

LAYERS: Mapping[str, Row] = {
    "conv": windows.conv,
    "conv_transpose": windows.conv_transpose,
    "max_pool": windows.max_pool,
    "avg_pool": windows.avg_pool,
    "relu": layers.relu,
    "softmax": wide(layers.softmax),
    "log_softmax": wide(layers.log_softmax),
    "layer_norm": layers.layer_norm,
    "rms_norm": layers.rms_norm,
    "group_norm": layers.group_norm,
}

ROWS: Mapping[str, Row] = {**ELEMENTWISE, **REDUCTIONS, **SHAPES, **LAYERS}
