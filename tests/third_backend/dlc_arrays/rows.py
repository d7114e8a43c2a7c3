"""How NumPy says each op: rows of text over the op's operands and attributes. Functions without `np.` stand in `library.py`."""

from __future__ import annotations

from collections.abc import Mapping

from dlc.emit.rows import OPERATORS
from dlc.ops.gaps import Gap

DTYPES: Mapping[str, str] = {
    "f64": "np.float64", "f32": "np.float32", "f16": "np.float16", "i64": "np.int64", "i32": "np.int32",
    "i16": "np.int16", "i8": "np.int8", "u8": "np.uint8", "bool": "np.bool_",
}  # fmt: skip

ROWS: Mapping[str, str] = {
    **OPERATORS,
    # elementwise
    **{
        name: f"np.{name}({{x}})"
        for name in ["exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tan", "tanh"]
    },
    **{name: f"np.{name}({{x}})" for name in ["floor", "ceil", "round", "abs", "sign", "isnan", "isfinite"]},
    **{name: f"np.{name}({{a}}, {{b}})" for name in ("minimum", "maximum")},
    "atan": "np.arctan({x})",
    "rsqrt": "1 / np.sqrt({x})",
    "sigmoid": "sigmoid({x})",
    "erf": "erf({x})",
    "where": "np.where({condition}, {a}, {b})",
    # reduction; sums of small integers are no wider than they
    **{name: f"{{x}}.{name}(axis={{axis}}, keepdims={{keepdims}})" for name in ["max", "min", "any", "all"]},
    **{name: f"{{x}}.{name}({{axis}}, {{dtype}}, keepdims={{keepdims}})" for name in ("sum", "prod")},
    **{name: f"{{x}}.{name}({{axis}}, {{dtype}})" for name in ("cumsum", "cumprod")},
    **{name: f"{{x}}.{name}(axis={{axis}}, keepdims={{keepdims}})" for name in ("argmax", "argmin")},
    # shape
    "permute": "{x}.transpose({axes})",
    "flip": "np.flip({x}, {axes})",
    # indexing
    "take": "{x}.take({index}, axis={axis})",
    "take_along": "np.take_along_axis({x}, {index}, axis={axis})",
    "scatter": "scattered({x}, {index}, {values}, {axis}, None)",
    "scatter_add": "scattered({x}, {index}, {values}, {axis}, np.add)",
    "scatter_max": "scattered({x}, {index}, {values}, {axis}, np.maximum)",
    "update_slice": "updated({x}, {values}, {start}, {axis})",
    "argsort": "order({x}, {axis}, {descending})",
    "top_k": "top_k({x}, {k}, {axis})",
    # neural
    "conv": "conv({x}, {w}, {stride}, {padding}, {dilation}, {groups})",
    "max_pool": "max_pool({x}, {kernel}, {stride}, {padding}, {ceil})",
    "avg_pool": "avg_pool({x}, {kernel}, {stride}, {padding}, {ceil}, {count_padding})",
    # gradient
    "stop_gradient": "{x}",
}

COMPOSITES: Mapping[str, str] = {
    "var": "{x}.var(axis={neat_axis}, keepdims={keepdims}, ddof={correction})",
    "tril": "np.tril({x}, {diagonal})",
    "triu": "np.triu({x}, {diagonal})",
    "outer": "np.outer({a}, {b})",
    "square": "np.square({x})",
}

DEFAULTS: Mapping[str, str] = {"keepdims": "False", "ddof": "0"}
RESERVED = frozenset({"np", "math", "params", "i", "apply", "Params"})

DRAWS = ("normal", "uniform", "truncated_normal", "orthogonal", "randint")
GAPS: Mapping[str, Gap] = {
    **dict.fromkeys(DRAWS, Gap("it draws nothing")),
    "update": Gap("it runs forward only"),
    "conv_transpose": Gap("its library has no such function yet"),
}
