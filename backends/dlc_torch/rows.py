"""How PyTorch says each op: tables of rows, whose slots are the op's operands and attributes by name
(`{axis}` counts from 0, `{neat_axis}` is -1 for the last one).

What a row can't say is a function in `shapes.py`, `neural.py` or `methods.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from dlc.emit.arguments import Functions
from dlc.emit.names import TURN
from dlc.emit.rows import OPERATORS, by_name
from dlc.ops.gaps import Gap

DTYPES: Mapping[str, str] = {
    "f64": "torch.float64", "f32": "torch.float32", "f16": "torch.float16", "bf16": "torch.bfloat16",
    "f8e4m3": "torch.float8_e4m3fn", "f8e5m2": "torch.float8_e5m2", "i64": "torch.int64", "i32":
    "torch.int32", "i16": "torch.int16", "i8": "torch.int8", "u8": "torch.uint8", "bool":
    "torch.bool",
}  # fmt: skip

# Conversions that have a method of their own.
CASTS: Mapping[str, str] = {
    "f32": "{x}.float()", "f64": "{x}.double()", "f16": "{x}.half()", "bf16": "{x}.bfloat16()", "i64":
    "{x}.long()", "bool": "{x}.bool()",
}  # fmt: skip

# Primitive ops on tensors. Elementwise ones take Python numbers as operands too.
ROWS: Mapping[str, str] = {
    **OPERATORS,
    # elementwise
    "exp": "torch.exp({x})",
    "expm1": "torch.expm1({x})",
    "log": "torch.log({x})",
    "log1p": "torch.log1p({x})",
    "sqrt": "torch.sqrt({x})",
    "rsqrt": "torch.rsqrt({x})",
    "sin": "torch.sin({x})",
    "cos": "torch.cos({x})",
    "tan": "torch.tan({x})",
    "atan": "torch.atan({x})",
    "tanh": "torch.tanh({x})",
    "sigmoid": "torch.sigmoid({x})",
    "erf": "torch.erf({x})",
    "floor": "torch.floor({x})",
    "ceil": "torch.ceil({x})",
    "round": "torch.round({x})",
    "abs": "{x}.abs()",
    "isnan": "{x}.isnan()",
    "isfinite": "{x}.isfinite()",
    # reduction
    "argmax": "{x}.argmax(dim={neat_axis}, keepdim={keepdims})",
    "argmin": "{x}.argmin(dim={neat_axis}, keepdim={keepdims})",
    "cumsum": "{x}.cumsum(dim={neat_axis})",
    "cumprod": "{x}.cumprod(dim={neat_axis})",
    # indexing
    "take_along": "{x}.gather({neat_axis}, {index})",
    "scatter": "{x}.scatter({neat_axis}, {index}, {values})",
    "scatter_add": "{x}.scatter_add({neat_axis}, {index}, {values})",
    "scatter_max": '{x}.scatter_reduce({neat_axis}, {index}, {values}, "amax")',
    "argsort": "{x}.argsort(dim={neat_axis}, descending={descending}, stable=True)",
    "flip": "{x}.flip({neat_axes})",
    # gradient
    "stop_gradient": "{x}.detach()",
}
NARROW = ("f16", "bf16")

# Composites of the standard library that PyTorch has a name for. Their operands are those of the definition
# in `dlc/std`; an attribute's slot is its value.
COMPOSITES: Mapping[str, str] = {
    # activations
    "relu": "F.relu({x})",
    "relu6": "F.relu6({x})",
    "leaky_relu": "F.leaky_relu({x}, {slope})",
    "elu": "F.elu({x}, alpha={alpha})",
    "celu": "F.celu({x}, alpha={alpha})",
    "selu": "F.selu({x})",
    "gelu": "F.gelu({x}, approximate={approximate})",
    "silu": "F.silu({x})",
    "mish": "F.mish({x})",
    "softsign": "F.softsign({x})",
    "softplus": "F.softplus({x})",
    "hardswish": "F.hardswish({x})",
    "hardsigmoid": "F.hardsigmoid({x})",
    "log_sigmoid": "F.logsigmoid({x})",
    "glu": "F.glu({x}, dim={neat_axis})",
    "softmax": "F.softmax({x}, dim={neat_axis})",
    "log_softmax": "F.log_softmax({x}, dim={neat_axis})",
    # arithmetic
    "isinf": "{x}.isinf()",
    "square": "{x}.square()",
    "lerp": "torch.lerp({a}, {b}, {weight})",
    "outer": "torch.outer({a}, {b})",
    "tril": "{x}.tril(diagonal={diagonal})",
    "triu": "{x}.triu(diagonal={diagonal})",
    "normalize": "F.normalize({x}, dim={neat_axis}, eps={eps})",
    # images
    "pixel_shuffle": "F.pixel_shuffle({x}, {r})",
    "local_response_norm": "F.local_response_norm({x}, {size}, alpha={alpha}, beta={beta}, k={k})",
    "grid_sample": "F.grid_sample({x}, {grid}, mode={mode}, padding_mode={padding_mode}, align_corners={align_corners})",
    # losses
    "bce_with_logits": "F.binary_cross_entropy_with_logits({logits}, {target}, reduction={reduction})",
    "mse": "F.mse_loss({x}, {target}, reduction={reduction})",
    "l1": "F.l1_loss({x}, {target}, reduction={reduction})",
    "smooth_l1": "F.smooth_l1_loss({x}, {target}, beta={beta}, reduction={reduction})",
    "huber": "F.huber_loss({x}, {target}, delta={delta}, reduction={reduction})",
    "kl_div": "F.kl_div({logs}, {target}, reduction={reduction})",
}

# The library's layers with parameters that PyTorch has: how is said in `neural.py`.
LAYERS = (
    "linear", "embedding", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "batch_norm", "layer_norm", "rms_norm", "group_norm", "instance_norm",
    "multihead_attention", "spectral_norm",
)  # fmt: skip

# Functions of the library that change what is seen at random. PyTorch has them in torchvision only, and for one image at a time.
AUGMENTATIONS = (
    "random_horizontal_flip", "random_vertical_flip", "random_crop", "_part", "random_shift", "random_affine", "color_jitter",
    "random_grayscale", "gaussian_noise", "random_erasing", "cutout", "spec_augment", "token_dropout", "mixup", "cutmix",
)  # fmt: skip

# Functions that are layers as well, for `nn.Sequential`.
MODULES: Mapping[str, str] = {
    "F.relu": "nn.ReLU",
    "F.relu6": "nn.ReLU6",
    "F.leaky_relu": "nn.LeakyReLU",
    "F.elu": "nn.ELU",
    "F.celu": "nn.CELU",
    "F.selu": "nn.SELU",
    "F.gelu": "nn.GELU",
    "F.silu": "nn.SiLU",
    "F.mish": "nn.Mish",
    "F.softsign": "nn.Softsign",
    "F.softplus": "nn.Softplus",
    "F.hardswish": "nn.Hardswish",
    "F.hardsigmoid": "nn.Hardsigmoid",
    "F.logsigmoid": "nn.LogSigmoid",
    "F.softmax": "nn.Softmax",
    "F.log_softmax": "nn.LogSoftmax",
    "torch.tanh": "nn.Tanh",
    "torch.sigmoid": "nn.Sigmoid",
    "F.dropout": "nn.Dropout",
    "F.max_pool1d": "nn.MaxPool1d",
    "F.max_pool2d": "nn.MaxPool2d",
    "F.max_pool3d": "nn.MaxPool3d",
    "F.avg_pool1d": "nn.AvgPool1d",
    "F.avg_pool2d": "nn.AvgPool2d",
    "F.avg_pool3d": "nn.AvgPool3d",
}

# Static parameters that are functions make layers: those of the library that PyTorch has as such.
CALLABLES = Functions(
    "Callable[[], nn.Module]",
    {
        "gelu": "nn.GELU",
        **{name: MODULES[each] for name, each in by_name(ROWS, COMPOSITES) if each in MODULES},
    },
)

# A plain function is given such a layer that was made, or a function.
AS_FUNCTIONS: Mapping[str, str] = {layer: function for function, layer in MODULES.items()}
FUNCTION = "Callable[[Tensor], Tensor]"

# Keyword arguments that are left out where they have these values.
DEFAULTS: Mapping[str, str] = {
    "keepdim": "False", "descending": "False", "approximate": '"none"', "reduction": '"mean"',
    "diagonal": "0", "mode": '"bilinear"', "padding_mode": '"zeros"',
}  # fmt: skip

# Names that are no variables.
NO_LABEL = "NO_LABEL"
RESERVED = frozenset(
    {"self", "torch", "nn", "math", "F", "Tensor", "range", "zip", "super", TURN, "_", "recomputed", NO_LABEL}
)

FUSED = frozenset(("adam", "adamw"))
"""Optimizers of PyTorch's own that step fused: a third of the time on a CPU. Of SGD's there is less to gain."""

# What this backend lacks, with the reason.
GAPS: Mapping[str, Gap] = {}
