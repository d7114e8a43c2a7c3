"""How JAX says each op: tables of rows, whose slots are the op's operands and attributes by name
(`{axis}` counts from 0, `{neat_axis}` is -1 for the last one and None for all).

What a row can't say is a method in `methods.py`; layers and windows that are worth a function of their own
are written out in `library.py`, from which emitted modules copy what they use.
"""

from __future__ import annotations

from collections.abc import Mapping

from dlc.emit.arguments import Functions
from dlc.emit.rows import OPERATORS, by_name
from dlc.ops.gaps import Gap

# Integers of the spec are i64; without x64, JAX's own integers are 32 bits wide, which `int` stands for
# either way.
DTYPES: Mapping[str, str] = {
    "f64": "jnp.float64", "f32": "jnp.float32", "f16": "jnp.float16", "bf16": "jnp.bfloat16",
    "f8e4m3": "jnp.float8_e4m3fn", "f8e5m2": "jnp.float8_e5m2", "i64": "int", "i32": "jnp.int32",
    "i16": "jnp.int16", "i8": "jnp.int8", "u8": "jnp.uint8", "bool": "bool",
}  # fmt: skip

# Primitive ops. Elementwise ones take Python numbers as operands too.
ROWS: Mapping[str, str] = {
    **OPERATORS,
    # elementwise
    "exp": "jnp.exp({x})",
    "expm1": "jnp.expm1({x})",
    "log": "jnp.log({x})",
    "log1p": "jnp.log1p({x})",
    "sqrt": "jnp.sqrt({x})",
    "rsqrt": "lax.rsqrt({x})",
    "sin": "jnp.sin({x})",
    "cos": "jnp.cos({x})",
    "tan": "jnp.tan({x})",
    "atan": "jnp.arctan({x})",
    "tanh": "jnp.tanh({x})",
    "sigmoid": "jax.nn.sigmoid({x})",
    "erf": "lax.erf({x})",
    "floor": "jnp.floor({x})",
    "ceil": "jnp.ceil({x})",
    "round": "jnp.round({x})",
    "sign": "jnp.sign({x})",
    "isnan": "jnp.isnan({x})",
    "isfinite": "jnp.isfinite({x})",
    "minimum": "jnp.minimum({a}, {b})",
    "maximum": "jnp.maximum({a}, {b})",
    "where": "jnp.where({condition}, {a}, {b})",
    # reduction
    "sum": "jnp.sum({x}, axis={neat_axis}, keepdims={keepdims})",
    "max": "jnp.max({x}, axis={neat_axis}, keepdims={keepdims})",
    "min": "jnp.min({x}, axis={neat_axis}, keepdims={keepdims})",
    "prod": "jnp.prod({x}, axis={neat_axis}, keepdims={keepdims})",
    "any": "jnp.any({x}, axis={neat_axis}, keepdims={keepdims})",
    "all": "jnp.all({x}, axis={neat_axis}, keepdims={keepdims})",
    "argmax": "jnp.argmax({x}, axis={neat_axis}, keepdims={keepdims})",
    "argmin": "jnp.argmin({x}, axis={neat_axis}, keepdims={keepdims})",
    "cumsum": "jnp.cumsum({x}, axis={neat_axis})",
    "cumprod": "jnp.cumprod({x}, axis={neat_axis})",
    # shape
    "flip": "jnp.flip({x}, {neat_axes})",
    # indexing
    "take_along": "jnp.take_along_axis({x}, {index}, axis={neat_axis})",
    "update_slice": "lax.dynamic_update_slice_in_dim({x}, {values}, {start}, {neat_axis})",
    "argsort": "jnp.argsort({x}, axis={neat_axis}, descending={descending})",
    # random; `{key}` is a key of its own
    "normal": "jax.random.normal({key}, {shape}, {dtype})",
    "uniform": "jax.random.uniform({key}, {shape}, {dtype})",
    "truncated_normal": "jax.random.truncated_normal({key}, {low}, {high}, {shape}, {dtype})",
    "randint": "jax.random.randint({key}, {shape}, {low}, {high})",
    "orthogonal": "jax.nn.initializers.orthogonal()({key}, {shape}, {dtype})",
    # neural
    "conv_transpose": (
        "uneven_conv_transpose({x}, {w}, stride={stride}, padding={padding}, output_padding={output_padding}, "
        "dilation={dilation}, groups={groups})"
    ),
    "max_pool": "max_pool({x}, {kernel}, stride={stride}, padding={padding}, ceil={ceil})",
    "avg_pool": (
        "avg_pool({x}, {kernel}, stride={stride}, padding={padding}, ceil={ceil}, "
        "count_padding={count_padding})"
    ),
    # gradient
    "stop_gradient": "lax.stop_gradient({x})",
}

# Composites of the standard library that JAX has a name for. Their operands are those of the definition in
# `dlc/std`;
# an attribute's slot is its value.
COMPOSITES: Mapping[str, str] = {
    "relu": "jax.nn.relu({x})",
    "relu6": "jax.nn.relu6({x})",
    "elu": "jax.nn.elu({x}, {alpha})",
    "celu": "jax.nn.celu({x}, {alpha})",
    "selu": "jax.nn.selu({x})",
    "silu": "jax.nn.silu({x})",
    "mish": "jax.nn.mish({x})",
    "softsign": "jax.nn.soft_sign({x})",
    "softplus": "jax.nn.softplus({x})",
    "hardswish": "jax.nn.hard_swish({x})",
    "hardsigmoid": "jax.nn.hard_sigmoid({x})",
    "log_sigmoid": "jax.nn.log_sigmoid({x})",
    "glu": "jax.nn.glu({x}, axis={neat_axis})",
    "softmax": "jax.nn.softmax({x}, axis={neat_axis})",
    "log_softmax": "jax.nn.log_softmax({x}, axis={neat_axis})",
    "logsumexp": "jax.nn.logsumexp({x}, axis={neat_axis}, keepdims={keepdims})",
    "mean": "jnp.mean({x}, axis={neat_axis}, keepdims={keepdims})",
    "var": "jnp.var({x}, axis={neat_axis}, keepdims={keepdims}, ddof={correction})",
    "square": "jnp.square({x})",
    "isinf": "jnp.isinf({x})",
    "tril": "jnp.tril({x}, k={diagonal})",
    "triu": "jnp.triu({x}, k={diagonal})",
    "segment_sum": "jax.ops.segment_sum({x}, {ids}, {count})",
    "segment_max": "jax.ops.segment_max({x}, {ids}, {count})",
    "segment_min": "jax.ops.segment_min({x}, {ids}, {count})",
}

# Composites that become functions of the emitted module, made from their definitions. Others are written out
# where they stand.
FUNCTIONS: frozenset[str] = frozenset(
    (
        "attention", "leaky_relu", "batch_norm", "contrastive", "conv3d", "conv_transpose2d", "cosine_similarity",
        "cross_entropy", "drop_path", "dropout", "group_norm", "instance_norm", "kl_div",
        "local_response_norm", "multihead_attention", "nll", "pixel_shuffle", "apply_rope",
        "causal_mask", "rope_tables", "linear_scan", "selective_scan", "copies", "mixture", "routed", "spectral_norm", "weight_norm",
        "rnn", "gru", "lstm", "rnn_cell", "gru_cell", "lstm_cell", "_rnn_along", "_gru_along", "_lstm_along",
        "affine_grid", "grid_sample",
        "random_horizontal_flip", "random_vertical_flip", "random_crop", "_part", "random_shift", "random_affine", "color_jitter",
        "random_grayscale", "gaussian_noise", "random_erasing", "cutout", "spec_augment", "token_dropout", "mixup", "cutmix",
    )
)  # fmt: skip

# Keyword arguments that are left out where they have these values.
DEFAULTS: Mapping[str, str] = {
    "axis": "None", "keepdims": "False", "descending": "False", "ceil": "False", "ddof": "0",
    "groups": "1", "count_padding": "True", "k": "0",
}  # fmt: skip

# Further names, which names say no more of a value than an operation's.
PLAIN: frozenset[str] = frozenset(
    (
        "global_avg_pool",
        "norm",
        "normalize",
        "one_hot",
        "outer",
        "rope",
        "lerp",
        "output",
        "table",
    )
)

# Names that are no variables.
RESERVED: frozenset[str] = frozenset(
    (
        "jax",
        "jnp",
        "lax",
        "math",
        "partial",
        "Array",
        "Params",
        "State",
        "Config",
        "CONFIG",
        "DTypeLike",
        "PATHS",
    )
)

# What this backend lacks, with the reason.
GAPS: Mapping[str, Gap] = {}

# Static parameters may be functions: those of the library that JAX has as such.
CALLABLES = Functions(
    "Callable[[Array], Array]",
    {"gelu": "partial(jax.nn.gelu, approximate=False)", **dict(by_name(ROWS, COMPOSITES))},
)
