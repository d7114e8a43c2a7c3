"""Names that need no TVM: the dtypes of the IR as TVM calls them, and the operations that this backend says itself."""

from __future__ import annotations

from collections.abc import Mapping

from dlc import ops
from dlc.ir.nodes import Op
from dlc.ops.gaps import EVERY, Gap

TVM: Mapping[str, str] = {
    "f64": "float64", "f32": "float32", "f16": "float16", "bf16": "bfloat16", "i64": "int64", "i32": "int32",
    "i16": "int16", "i8": "int8", "u8": "uint8", "bool": "bool", "f8e4m3": "float8_e4m3fn",
    "f8e5m2": "float8_e5m2",
}  # fmt: skip

# What the IR consists of; `dlc_tvm.emit` says these.
STRUCTURAL = frozenset({"call", "const", "loop", "param", "require", "update"})

# Draws are inputs of the library: the runtime makes them as the reference would.
DRAWS = frozenset({"normal", "orthogonal", "randint", "truncated_normal", "uniform"})

# The operations of `dlc_tvm.rows`; a test keeps the two equal.
ROWS = frozenset({
    "abs", "add", "all", "any", "arange", "argmax", "argmin", "argsort", "atan", "avg_pool", "broadcast", "cast", "ceil",
    "concat", "conv", "conv_transpose", "cos", "cumprod", "cumsum", "div", "einsum", "eq", "erf", "exp", "expm1",
    "flip", "floor", "floordiv", "full", "ge", "group_norm", "gt", "isfinite", "isnan", "layer_norm", "le", "log",
    "log1p", "log_softmax", "logical_and", "logical_not", "logical_or", "lt", "matmul", "max", "max_pool", "maximum",
    "mean", "min", "minimum", "mod", "mul", "ne", "neg", "pad", "permute", "pow", "prod", "relu", "reshape",
    "rms_norm", "round", "rsqrt", "scatter", "scatter_add", "scatter_max", "sigmoid", "sign", "sin", "size", "slice", "softmax",
    "sqrt", "stop_gradient", "sub", "sum", "take", "take_along", "tan", "tanh", "top_k", "update_slice", "where",
})  # fmt: skip

NATIVE = ROWS | STRUCTURAL | DRAWS

# What this backend lacks, with the reason.
GAPS: Mapping[str, Gap] = {
    EVERY: Gap("TVM reads 0 of it as another number", frozenset({"f8e4m3", "f8e5m2"})),
}


def is_native(op: Op) -> bool:
    if op.op == "loop":  # turns with parameters of their own are written out
        return bool(op.attr("shared"))
    return op.op in NATIVE or ops.row(op.op, "tvm") is not None
