"""Names that need no TVM: dtypes of the IR as NumPy and TVM call them, and the operations that have rows."""

from __future__ import annotations

from collections.abc import Mapping

NUMPY: Mapping[str, str] = {
    "float": "float32", "f64": "float64", "f32": "float32", "f16": "float16", "bf16": "bfloat16", "i64": "int64",
    "i32": "int32", "i16": "int16", "i8": "int8", "u8": "uint8", "bool": "bool", "f8e4m3": "float8_e4m3fn",
    "f8e5m2": "float8_e5m2", "i4": "int4",
}  # fmt: skip

# The operations of `dlc_tvm.rows`; a test keeps the two equal.
NATIVE = frozenset({
    "abs", "add", "all", "any", "arange", "argmax", "argmin", "argsort", "avg_pool", "broadcast", "cast", "ceil", "concat", "conv",
    "conv_transpose", "cos", "cumprod", "cumsum", "div", "einsum", "eq", "erf", "exp", "expm1", "flip", "floor", "floordiv", "full",
    "ge", "gt", "isfinite", "isnan", "le", "log", "log1p", "logical_and", "logical_not", "logical_or", "lt", "matmul", "max",
    "max_pool", "maximum", "min", "minimum", "mod", "mul", "ne", "neg", "pad", "permute", "pow", "prod", "relu", "reshape",
    "round", "rsqrt", "scatter", "scatter_add", "sigmoid", "sign", "sin", "size", "slice", "softmax", "sqrt", "stop_gradient",
    "sub", "sum", "take", "take_along", "tan", "tanh", "top_k", "update_slice", "where",
    "const", "param", "require", "update", "call", "repeat", "normal", "uniform", "randint",
})  # fmt: skip
