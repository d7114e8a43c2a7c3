"""What people bring from elsewhere: names, arguments and values of PyTorch, Keras and Python, and what they are here."""

from __future__ import annotations

import math
from typing import Any

from dlc.diagnostics import did_you_mean, suggestion

# Names of functions and values.
NAMES = {
    "True": "the language writes `true`",
    "False": "the language writes `false`",
    "None": "the language writes `none`",
    "self": "a module's parts are its own names; there is no `self` before them",
    "torch": "ops have no prefix: `relu(x)`, `x |> softmax`",
    "np": "ops have no prefix: `relu(x)`, `x |> softmax`",
    "jnp": "ops have no prefix: `relu(x)`, `x |> softmax`",
    "nn": "layers have no prefix: `linear(10)`, `conv2d(64, 3)`",
    "F": "ops have no prefix: `relu(x)`, `x |> softmax`",
    "Linear": "did you mean `linear`?",
    "Conv2d": "did you mean `conv2d`?",
    "dense": "did you mean `linear`?",
    "Dense": "did you mean `linear`?",
    "fc": "did you mean `linear`?",
    "conv": "did you mean `conv2d`?",
    "batchnorm": "did you mean `batch_norm`?",
    "layernorm": "did you mean `layer_norm`?",
    "view": "did you mean `reshape`?",
    "cat": "did you mean `concat`?",
    "maxpool": "did you mean `max_pool`?",
    "max_pool2d": "did you mean `max_pool`?",
    "avg_pool2d": "did you mean `avg_pool`?",
    "matmul": "write `a @ b`",
    "bmm": "write `a @ b`",
    "mm": "write `a @ b`",
    "masked_fill": "write `where(mask, value, x)`",
    "gather": "did you mean `take_along`?",
    "index_select": "did you mean `take`?",
    "expand": "did you mean `broadcast`?",
    "unsqueeze": "index with `none`: `x[:, none]`",
    "swish": "did you mean `silu`?",
    "Sequential": "layers are joined by pipes: `x |> linear(20) |> relu |> linear(2)`",
    "accuracy": "write `mean(argmax(logits, axis=-1) == target)`",
    "pass": "leave it out: a block may be empty, `{ }`",
    "break": "a loop always runs to its end",
    "continue": "a loop always runs to its end; `if i != 3 { … }` leaves a turn out",
    "param": "a parameter is declared by a statement: `param NAME: [sizes] = zeros`",
    "Parameter": "a parameter is declared by a statement: `param NAME: [sizes] = zeros`",
    "randn": "did you mean `normal`?",
    "rand": "did you mean `uniform`?",
    "glorot_uniform": "did you mean `xavier_uniform`?",
    "glorot_normal": "did you mean `xavier_normal`?",
    "he_uniform": "did you mean `kaiming_uniform`?",
    "he_normal": "did you mean `kaiming_normal`?",
    "trunc_normal": "did you mean `truncated_normal`?",
    "trunc_normal_": "did you mean `truncated_normal`?",
    "CrossEntropyLoss": "did you mean `cross_entropy`?",
    "MSELoss": "did you mean `mse`?",
    "L1Loss": "did you mean `l1`?",
    **{
        name: f"did you mean `{ours}`?"
        for ours, theirs in {
            "mse": "mse_loss mean_squared_error",
            "l1": "l1_loss mae mean_absolute_error",
            "nll": "nll_loss NLLLoss",
            "kl_div": "kl_divergence kl_div_loss KLDivLoss",
            "bce_with_logits": "binary_cross_entropy_with_logits binary_cross_entropy BCELoss sigmoid_cross_entropy",
            "cross_entropy": "sparse_categorical_crossentropy categorical_crossentropy softmax_cross_entropy",
            "attention": "scaled_dot_product_attention sdpa",
            "resize": "interpolate upsample Upsample",
            "clamp": "clip clip_by_value",
            "stop_gradient": "detach",
            "segment_sum": "index_add",
            "scatter_add": "scatter_add_ scatter_nd",
            "tensor": "array asarray",
            "outer": "ger",
            "permute": "moveaxis movedim",
            "transpose": "swapaxes swapdims",
            "repeat": "repeat_interleave",
            "broadcast": "broadcast_to expand_as",
            "one_hot": "to_categorical",
            "mean": "average avg reduce_mean",
            "sum": "reduce_sum",
            "max": "amax reduce_max",
            "categorical": "multinomial",
            "concat": "concatenate hstack vstack",
        }.items()
        for name in theirs.split()
    },
    **{
        name: f"write `{written}`"
        for name, written in {
            "dot": "sum(a * b)",
            "expand_dims": "x[:, none]",
            "add": "a + b",
            "sub": "a - b",
            "subtract": "a - b",
            "mul": "a * b",
            "multiply": "a * b",
            "div": "a / b",
            "divide": "a / b",
            "floor_divide": "a // b",
            "remainder": "a % b",
            "fmod": "a % b",
            "neg": "-x",
            "negative": "-x",
            "eq": "a == b",
            "equal": "a == b",
            "ne": "a != b",
            "not_equal": "a != b",
            "lt": "a < b",
            "less": "a < b",
            "le": "a <= b",
            "gt": "a > b",
            "greater": "a > b",
            "ge": "a >= b",
            "logical_and": "a and b",
            "logical_or": "a or b",
            "logical_not": "not a",
            "nan_to_num": "where(isnan(x), 0.0, x)",
            "t": "x.T",
            "bincount": "segment_sum(ones([n]), ids, count)",
        }.items()
    },
    "Identity": "leave it out: what is computed is a value already",
    "nonzero": "a size that hangs on data is none: keep all places, with a mask",
    "unique": "a size that hangs on data is none: keep all places, with a mask",
    "masked_select": "a size that hangs on data is none: keep all places, with a mask",
    "print": "nothing is printed while compiling: `dlc check --types` shows every type",
}

# dtypes.
DTYPES = {
    "float32": "f32", "float16": "f16", "float64": "f64", "bfloat16": "bf16", "int64": "i64", "int32": "i32", "int16": "i16",
    "int8": "i8", "uint8": "u8", "long": "i64", "half": "f16", "double": "f64", "boolean": "bool", "fp32": "f32", "fp16": "f16",
}  # fmt: skip
NAMES |= {name: f"did you mean `{dtype}`?" for name, dtype in DTYPES.items()}

# Reductions.
REDUCTIONS = {
    "average": "mean",
    "avg": "mean",
    "maximum": "max",
    "minimum": "min",
    "product": "prod",
    "add": "sum",
}

# Arguments that have another name here.
RENAMED = {
    "dim": "axis", "dims": "axes", "keepdim": "keepdims", "out_features": "out", "out_channels": "out", "units": "out",
    "filters": "out", "kernel_size": "kernel", "strides": "stride", "num_heads": "heads", "n_heads": "heads",
    "num_embeddings": "count", "embedding_dim": "d", "num_groups": "groups", "hidden_size": "hidden", "num_layers": "layers",
    "is_causal": "causal", "attn_mask": "mask", "rate": "p", "negative_slope": "slope", "label_smoothing": "smoothing",
    "ignore_index": "ignore", "epsilon": "eps", "approx": "approximate", "learning_rate": "lr", "batch_size": "batch",
    "beta": "betas", "decay": "weight_decay",
}  # fmt: skip

# Arguments that there is no need for.
_NEEDLESS = {
    "in_features": "the input's size is inferred: leave it out",
    "in_channels": "the input's channels are inferred: leave them out",
    "input_size": "the input's size is inferred: leave it out",
    "embed_dim": "the input's size is inferred: leave it out",
    "num_features": "the input's channels are inferred: leave them out",
    "num_channels": "the input's channels are inferred: leave them out",
    "normalized_shape": "the sizes are inferred; `axes=2` normalises over the last two",
    "activation": "an activation is a stage of its own: `… |> relu`",
    "inplace": "nothing is changed in place",
    "device": "the backend decides where the model runs",
    "requires_grad": "`param … frozen` is never trained",
    "use_bias": "did you mean `bias`?",
    "name": "a part is named by `as`: `linear(8) as fc`",
    "shuffle": "training data are always shuffled",
}

# What is written behind a point.
ATTRIBUTES = {
    "shape": "name the sizes in the type: `x: [B, T, d]`, or bind them: `y: [B, n] = x`",
    "size": "name the sizes in the type: `x: [B, T, d]`, or bind them: `y: [B, n] = x`",
    "dim": "the number of axes is that of the type",
    "ndim": "the number of axes is that of the type",
    "dtype": "a type says its dtype: `f32[B, T]`",
    "view": "write `reshape(x, [sizes])`",
    "reshape": "write `reshape(x, [sizes])`",
    "permute": 'write `permute(x, [0, 2, 1])`, or `rearrange(x, "B T d -> B d T")`',
    "repeat": "write `tile(x, [counts])`",
    **{name: f"write `{name}(x, axis=1)`" for name in ("sum", "mean", "max", "min", "softmax", "argmax")},
    "contiguous": "there is no need for it: leave it out",
    "unsqueeze": "index with `none`: `x[:, none]`",
    "masked_fill": "write `where(mask, value, x)`",
    "expand": "write `broadcast(x, [sizes])`",
    "detach": "write `stop_gradient(x)`",
    "item": "a tensor's value is known only when the network runs",
    "to": "the backend decides where the model runs; `cast(x, bf16)` changes the dtype",
    "cuda": "the backend decides where the model runs",
    "float": "write `cast(x, float)`",
    "long": "write `cast(x, i64)`",
    "backward": "`minimize …` differentiates and updates",
    "step": "`optimizer = …` says how to update; no call is needed",
    "zero_grad": "`minimize …` differentiates and updates; no call is needed",
    "parameters": "an optimizer updates every network of the block; `freeze` keeps parameters fixed",
    "append": "a list grows by `+`: `xs = xs + [x]`",
    "extend": "a list grows by `+`: `xs = xs + ys`",
    "forward": "apply it: `fc(x)`",
}

# Calls whose second tensor lands in another argument.
TWICE = {
    "concat": "the tensors come in a list: `concat([a, b], axis=1)`",
    "stack": "the tensors come in a list: `stack([a, b], axis=1)`",
}

_SIZES = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d")


def argument(name: str, parameters: list[str]) -> str:
    """Help for an argument that the callee does not have."""
    own = "axis" if name == "dims" and "axes" not in parameters else RENAMED.get(name)
    if own in parameters:
        return f"did you mean `{own}`?"
    near = did_you_mean(name, parameters)
    return near or _NEEDLESS.get(suggestion(name, _NEEDLESS), "")


# Calls with more arguments than there are parameters.
SOURCES = {
    **dict.fromkeys(
        ("mnist", "fashion_mnist", "fashionmnist", "emnist"),
        "files of MNIST and its kin are read by `idx`; `digits` are 1,797 small ones that come with dlc",
    ),
    **dict.fromkeys(
        ("cifar10", "cifar100", "cifar", "imagenet", "imagefolder", "image_folder"),
        "a folder of pictures is read by `images`, arrays by `npz`",
    ),
    **dict.fromkeys(("dataloader", "dataset", "tensordataset"), "arrays in memory come by `arrays(batch=…)`"),
}
SURPLUS = {
    **dict.fromkeys(("reshape", "broadcast"), "the sizes come in a list: `reshape(x, [B, -1])`"),
    "permute": "the axes come in a list: `permute(x, [0, 2, 1])`",
    **dict.fromkeys(("zeros", "ones", "normal", "uniform"), "the sizes come in a list: `zeros([B, d])`"),
    "stack": "the tensors come in a list: `stack([a, b])`",
    "concat": "the tensors come in a list: `concat([a, b])`",
    **{name: f"more than three numbers come in a list: `{name}([a, b, c, d])`" for name in ("min", "max")},
}


def missing(callee: str, name: str, *, is_op: bool) -> str:
    """Help for a tensor that a call lacks."""
    if callee == "multihead_attention":
        return "self-attention is `multihead_attention(heads)(x, x, x)`"
    return f"`{callee}` is an op: write `{callee}(x)` or `x |> {callee}`" if is_op else ""


# Names behind the prefix of another library, such as `nn.CrossEntropyLoss`.
PREFIXES = frozenset(
    {"nn", "F", "torch", "np", "jnp", "math", "tf", "keras", "layers", "einops", "numpy", "jax", "optim"}
)
PREFIXED = {
    "Sequential": "layers are joined by pipes: `x |> linear(20) |> relu |> linear(2)`",
    "ModuleList": "parts are made where they are applied: `for i in range(n) as layers { x = x |> Block(d) }`",
    "Module": "a part is written `module Name(…)(…) -> … { }`",
    "Parameter": "a parameter is declared by `param NAME: [sizes] = initial`",
    "Identity": "leave it out",
    "CrossEntropyLoss": "write `cross_entropy(logits, target)`",
    "NLLLoss": "write `nll(…)`",
    "MSELoss": "write `mse(x, target)`",
    "L1Loss": "write `l1(x, target)`",
    "BCEWithLogitsLoss": "write `bce_with_logits(logits, target)`",
    "LSTM": "write `lstm(hidden)`",
    "GRU": "write `gru(hidden)`",
    "RNN": "write `rnn(hidden)`",
}  # fmt: skip


def fact(callee: str, text: str) -> str:
    """Help for a fact of the library that a call violates."""
    if "eps" in text and callee.endswith("_norm"):
        return "the input's channels are inferred: leave them out"
    return ""


def static(callee: str, name: str, expected: str, value: Any) -> str:
    """Help for a static argument of the wrong type."""
    if callee in _SIZES and name == "bias" and isinstance(value, int):
        return (
            f"the input's size is inferred: `{callee}({value})`"
            if callee == "linear"
            else "the input's channels are inferred"
        )
    if expected == "an int" and isinstance(value, float) and math.isfinite(value):
        return (
            f"write `{int(value)}`, or divide by `//`"
            if value == int(value)
            else "sizes are whole numbers: divide by `//`"
        )
    return ""
