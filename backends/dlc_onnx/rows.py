"""How ONNX says each op: tables of rows, in the notation of `template.py`.

A row names the op's operands and attributes; a call makes a node, keywords are its attributes, numbers become
constants. What a row can't say is a method in `methods.py` (primitive ops) or `layers.py` (composites).
"""

from __future__ import annotations

from collections.abc import Mapping

from dlc.ops.gaps import Gap
from dlc.types.tensor import COMPUTED_IN

# RMSNormalization and Attention need 23; onnxruntime 1.31 runs up to 26.
OPSET = 23
# Functions of a model carry their types since IR version 10.
IR_VERSION = 10
# The domain of the model's own functions.
DOMAIN = "dlc"

# onnx.TensorProto's numbers for our dtypes.
TYPES: Mapping[str, int] = {
    "f32": 1, "u8": 2, "i8": 3, "i16": 5, "i32": 6, "i64": 7, "bool": 9, "f16": 10, "f64": 11, "bf16": 16,
    "f8e4m3": 17, "f8e5m2": 19,
}  # fmt: skip
DTYPES: Mapping[int, str] = {number: dtype for dtype, number in TYPES.items()}

# Dtypes that onnxruntime's CPU kernels only move about, and what they are computed in: results are rounded back after
# every node, which is what the reference does. (It does the same for f16 by itself.)
WIDER: Mapping[str, str] = {dtype: wider for dtype, wider in COMPUTED_IN.items() if dtype != "f16"}

# Floats of 8 bits, and what they are computed in.
EIGHT_BITS: Mapping[str, str] = {
    dtype: wider for dtype, wider in COMPUTED_IN.items() if dtype.startswith("f8")
}

# Integers narrower than i32, and what ONNX calls tensors of them.
NARROW_INTS: Mapping[str, str] = {"i16": "tensor(int16)", "i8": "tensor(int8)", "u8": "tensor(uint8)"}

# Further gaps of single kinds of node: onnxruntime has no kernel. What ONNX itself does not define for narrow integers needs
# no entry (`body.undefined`).
WIDER_IN: Mapping[str, Mapping[str, str]] = {
    "ArgMax": {"i16": "i32"},
    "ArgMin": {"i16": "i32"},
    "Clip": {"i16": "i32"},
    "Concat": EIGHT_BITS,
    "Einsum": {"i16": "i32", "i8": "i32", "u8": "i32"},
    "Max": {"i16": "i32"},
    "Min": {"i16": "i32"},
    "Pad": {"i16": "i32"},
    "ScatterElements": {"f16": "f32"},
    "Squeeze": EIGHT_BITS,
    "Trilu": {"i16": "i32", "i8": "i32", "u8": "i32"},
    "Unsqueeze": EIGHT_BITS,
    "Where": {"i16": "i32"},
}

# Ops that move elements without computing: any dtype will do.
MOVES = frozenset(
    {"Cast", "Concat", "Constant", "Identity", "Reshape", "Shape", "Squeeze", "Transpose", "Unsqueeze"}
)

# Primitive ops.
ROWS: Mapping[str, str] = {
    # elementwise
    "exp": "Exp(x)",
    # Exact near 0, where exp(x) - 1 cancels: the error of u = exp(x) is that of log(u) (Kahan).
    "expm1": "u = Exp(x); d = u - 1.0; Where(Abs(x) < 0.5, Where(u == 1.0, x, d * x / Log(u)), d)",
    "log": "Log(x)",
    "log1p": "u = x + 1.0; Where(Abs(x) < 0.5, Where(u == 1.0, x, Log(u) * x / (u - 1.0)), Log(u))",
    "sqrt": "Sqrt(x)",
    "rsqrt": "Reciprocal(Sqrt(x))",
    "sin": "Sin(x)",
    "cos": "Cos(x)",
    "tan": "Tan(x)",
    "atan": "Atan(x)",
    "tanh": "Tanh(x)",
    "sigmoid": "Sigmoid(x)",
    "erf": "Erf(x)",
    "floor": "Floor(x)",
    "ceil": "Ceil(x)",
    "round": "Round(x)",
    "neg": "-x",
    "abs": "Abs(x)",
    "sign": "Sign(x)",
    "isnan": "IsNaN(x)",
    "isfinite": "~(IsInf(x) | IsNaN(x))",
    "logical_not": "~x",
    "add": "a + b",
    "sub": "a - b",
    "mul": "a * b",
    "div": "a / b",
    # C's rest has the sign of a; Python's that of b.
    "mod": "r = Mod(a, b, fmod=1); Where((r != 0.0) & ((r < 0.0) ^ (b < 0.0)), r + b, r)",
    "floordiv": (
        "r = Mod(a, b, fmod=1); q = Round((a - r) / b);"
        "Where(b == 0.0, a / b, Where((r != 0.0) & ((r < 0.0) ^ (b < 0.0)), q - 1.0, q))"
    ),
    "pow": "Pow(a, b)",
    "minimum": "Min(a, b)",
    "maximum": "Max(a, b)",
    "eq": "a == b",
    "ne": "~(a == b)",
    "lt": "a < b",
    "le": "a <= b",
    "gt": "a > b",
    "ge": "a >= b",
    "logical_and": "a & b",
    "logical_or": "a | b",
    "where": "Where(condition, a, b)",
    # reduction
    "sum": "ReduceSum(x, axis, keepdims=keepdims, noop_with_empty_axes=1)",
    "prod": "ReduceProd(x, axis, keepdims=keepdims, noop_with_empty_axes=1)",
    # ReduceMax is not defined over nothing; a count of the true ones is.
    "any": "ReduceSum(Cast(x, to=INT32), axis, keepdims=keepdims, noop_with_empty_axes=1) > 0",
    "all": "ReduceSum(Cast(~x, to=INT32), axis, keepdims=keepdims, noop_with_empty_axes=1) == 0",
    "argmax": "ArgMax(x, axis=axis, keepdims=keepdims)",
    "argmin": "ArgMin(x, axis=axis, keepdims=keepdims)",
    "cumsum": "CumSum(x, axis)",
    # contraction
    # shape
    "permute": "Transpose(x, perm=axes)",
    "concat": "Concat(*xs, axis=axis)",
    # indexing
    "take": "Gather(x, index, axis=axis)",
    "take_along": "GatherElements(x, index, axis=axis)",
    "scatter": "ScatterElements(x, index, values, axis=axis)",
    "scatter_add": "ScatterElements(x, index, values, axis=axis, reduction='add')",
    "scatter_max": "ScatterElements(x, index, values, axis=axis, reduction='max')",
    # gradient
    "stop_gradient": "x",
}

# Where the result is of integers.
INTEGER_ROWS: Mapping[str, str] = {
    "mod": "Mod(a, b)",
    "floordiv": "(a - Mod(a, b)) / b",
    "max": "ReduceMax(x, axis, keepdims=keepdims, noop_with_empty_axes=1)",
    "min": "ReduceMin(x, axis, keepdims=keepdims, noop_with_empty_axes=1)",
}

# The place of the first nan where there is one, else what follows.
_FIRST_NAN = "n = IsNaN(x); Where(ReduceMax(n, [axis], keepdims=keepdims), ArgMax(Cast(n, to=INT32), axis=axis, keepdims=keepdims),"

# Of floats, by what the first operand or the result is: onnxruntime passes over nan in ReduceMax, ArgMax and TopK; the reference
# does not.
FLOAT_ROWS: Mapping[str, str] = {
    "max": (
        "m = ReduceMax(x, axis, keepdims=keepdims, noop_with_empty_axes=1);"
        "Where(ReduceMax(IsNaN(x), axis, keepdims=keepdims, noop_with_empty_axes=1), nan, m)"
    ),
    "min": (
        "m = ReduceMin(x, axis, keepdims=keepdims, noop_with_empty_axes=1);"
        "Where(ReduceMax(IsNaN(x), axis, keepdims=keepdims, noop_with_empty_axes=1), nan, m)"
    ),
    "argmax": _FIRST_NAN + "ArgMax(x, axis=axis, keepdims=keepdims))",
    "argmin": _FIRST_NAN + "ArgMin(x, axis=axis, keepdims=keepdims))",
    "scatter_max": (
        "m = ScatterElements(x, index, values, axis=axis, reduction='max');"
        "n = ScatterElements(Cast(IsNaN(x), to=INT32), index, Cast(IsNaN(values), to=INT32), axis=axis, reduction='max');"
        "Where(n > 0, nan, m)"
    ),
}

# Of bools, which onnxruntime has no Where and no order for.
BOOL_ROWS: Mapping[str, str] = {
    "where": "(condition & a) | (~condition & b)",
    "lt": "~a & b",
    "le": "~a | b",
    "gt": "a & ~b",
    "ge": "a | ~b",
}

# Products of nothing, which onnxruntime refuses, gets the shape of wrong, or dies of.
PRODUCTS = frozenset({"matmul", "einsum"})

# Ops whose result is of another dtype: the operand's counts.
BY_OPERAND = frozenset({"argmax", "argmin", "lt", "le", "gt", "ge"})

# Composites of the standard library. Their operands are those of the definition in `dlc/std`, and its parameters.
COMPOSITES: Mapping[str, str] = {
    "relu": "Relu(x)",
    "relu6": "Clip(x, 0.0, 6.0)",
    "leaky_relu": "LeakyRelu(x, alpha=slope)",
    "celu": "Celu(x, alpha=alpha)",
    "elu": "Elu(x, alpha=alpha)",
    "selu": "Selu(x, alpha=1.6732632423543772, gamma=1.0507009873554805)",
    "silu": "x * Sigmoid(x)",
    "mish": "Mish(x)",
    "softsign": "Softsign(x)",
    "softplus": "Softplus(x)",
    "log_sigmoid": "-Softplus(-x)",
    "hardsigmoid": "HardSigmoid(x, alpha=1/6, beta=0.5)",
    "hardswish": "HardSwish(x)",
    "softmax": "Softmax(x, axis=axis)",
    "log_softmax": "LogSoftmax(x, axis=axis)",
    "square": "x * x",
    "isinf": "IsInf(x)",
    "embedding": "Gather(weight, index, axis=0)",
    "pixel_shuffle": "DepthToSpace(x, blocksize=r, mode='CRD')",
}

# What this backend lacks, with the reason.
_NO_KERNEL = Gap("onnxruntime has no kernel for it", frozenset({"f64"}))
GAPS: Mapping[str, Gap] = dict.fromkeys(
    ("tan", "atan", "erf", "conv", "conv_transpose", "avg_pool"), _NO_KERNEL
)
