# LeNet5 of lenet5.dl (digest b5089771c1627326), written by dlc 0.1.0.
"""Convolutions share their weights over the image, so a stroke is recognised wherever it
stands; pooling lets it move a little. 28x28 digits are padded by 2, to the 32x32 of the
paper.

    params = init(jax.random.key(0))
    outputs = apply(params, x)

Under `jax.jit`: `static_argnames="config"`.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

Params = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """The static parameters."""

    classes: int = 10


CONFIG = Config()


def linear(params: Params, x: Array) -> Array:
    """x @ weight.T + bias."""
    y = x @ params["weight"].T
    return y + params["bias"] if "bias" in params else y


def conv2d(
    params: Params,
    x: Array,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Array:
    """Convolution of x: [B, c, H, W] with weight: [out, c, h, w].

    On a CPU, XLA is faster with channels last.
    """
    y = lax.conv_general_dilated(
        x.transpose(0, 2, 3, 1),
        params["weight"].transpose(2, 3, 1, 0),
        window_strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    y = y + params["bias"] if "bias" in params else y
    return y.transpose(0, 3, 1, 2)


def avg_pool2d(x: Array, kernel: int, *, stride: int, padding: int = 0) -> Array:
    """The mean of each window of x: [B, c, H, W]; the border counts as zeros."""
    total = lax.reduce_window(
        x,
        0.0,
        lax.add,
        window_dimensions=(1, 1, kernel, kernel),
        window_strides=(1, 1, stride, stride),
        padding=((0, 0), (0, 0), (padding, padding), (padding, padding)),
    )
    return total / kernel**2


def init_conv2d(
    key: Array, inputs: int, out: int, kernel: int, dtype: DTypeLike, *, groups: int = 1
) -> Params:
    """Initial parameters of `conv2d`."""
    bound = 1 / math.sqrt(kernel**2 * (inputs // groups))
    keys = jax.random.split(key, 2)
    return {
        "weight": jax.random.uniform(
            keys[0], (out, inputs // groups, kernel, kernel), dtype, -bound, bound
        ),
        "bias": jax.random.uniform(keys[1], (out,), dtype, -bound, bound),
    }


def init_linear(key: Array, inputs: int, out: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `linear`."""
    bound = 1 / math.sqrt(inputs)
    keys = jax.random.split(key, 2)
    return {
        "weight": jax.random.uniform(keys[0], (out, inputs), dtype, -bound, bound),
        "bias": jax.random.uniform(keys[1], (out,), dtype, -bound, bound),
    }


def init(key: Array, config: Config = CONFIG, dtype: DTypeLike = jnp.float32) -> Params:
    """Initial parameters."""
    keys = jax.random.split(key, 5)
    return {
        "conv1": init_conv2d(keys[0], 1, 6, 5, dtype),
        "conv2": init_conv2d(keys[1], 6, 16, 5, dtype),
        "fc1": init_linear(keys[2], 400, 120, dtype),
        "fc2": init_linear(keys[3], 120, 84, dtype),
        "fc3": init_linear(keys[4], 84, config.classes, dtype),
    }


def apply(params: Params, x: Array, *, config: Config = CONFIG) -> Array:
    """Convolutions share their weights over the image, so a stroke is recognised wherever it
    stands; pooling lets it move a little. 28x28 digits are padded by 2, to the 32x32 of the
    paper.

    x: [B, 1, 28, 28] -> logits: [B, classes]
    """
    B = x.shape[0]
    x = avg_pool2d(jnp.tanh(conv2d(params["conv1"], x, padding=2)), 2, stride=2)  # [B, 6, 14, 14]
    x = avg_pool2d(jnp.tanh(conv2d(params["conv2"], x)), 2, stride=2).reshape(B, 400)  # [B, 400]
    x = jnp.tanh(linear(params["fc1"], x))  # [B, 120]
    return linear(params["fc3"], jnp.tanh(linear(params["fc2"], x)))


def arranged(like: Params, flat: Params, path: str = "") -> Params:
    """A tree of the same form as `like`, of parameters by their paths in checkpoints."""
    tree: Params = {}
    for name, value in like.items():
        part = path + name
        if isinstance(value, dict):
            tree[name] = arranged(value, flat, f"{part}.")
        else:
            tree[name] = jnp.asarray(flat[part])
    return tree


def from_flat(flat: Params, config: Config = CONFIG) -> Params:
    """What `init` gives, of parameters by their paths in checkpoints."""
    return arranged(jax.eval_shape(lambda key: init(key, config), jax.random.key(0)), flat)


def to_flat(params: Params, path: str = "") -> Params:
    """Parameters by their paths in checkpoints."""
    flat: Params = {}
    for name, value in params.items():
        if isinstance(value, dict):
            flat |= to_flat(value, f"{path}{name}.")
        else:
            flat[path + name] = value
    return flat
