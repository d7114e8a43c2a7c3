# LeNet5 of lenet5.dl, written by a test.
"""Convolutions share their weights over the image, so a stroke is recognised wherever it
stands; pooling lets it move a little. 28x28 digits are padded by 2, to the 32x32 of the
paper.

Parameters are a flat dict, keyed by the paths of the spec: `apply(init(key), ...)`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

Params = dict[str, Any]


def nest(params: Params) -> Params:
    """{"h.0.ln.weight": w} as {"h": {"0": {"ln": {"weight": w}}}}."""
    tree: Params = {}
    for path, value in params.items():
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


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
    groups: int = 1,
) -> Array:
    """Convolution of x: [B, c, H, W] with weight: [out, c / groups, h, w].

    On a CPU, XLA is faster with channels last.
    """
    y = lax.conv_general_dilated(
        x.transpose(0, 2, 3, 1),
        params["weight"].transpose(2, 3, 1, 0),
        window_strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
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


def init_conv2d(key: Array, path: str, shape: tuple[int, ...]) -> Params:
    """Initial parameters of `conv2d`, from the shape of its weight."""
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    keys = jax.random.split(key, 2)
    return {
        f"{path}.weight": jax.random.uniform(keys[0], shape, jnp.float32, -bound, bound),
        f"{path}.bias": jax.random.uniform(keys[1], shape[:1], jnp.float32, -bound, bound),
    }


def init_linear(key: Array, path: str, shape: tuple[int, ...]) -> Params:
    """Initial parameters of `linear`, from the shape of its weight."""
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    keys = jax.random.split(key, 2)
    return {
        f"{path}.weight": jax.random.uniform(keys[0], shape, jnp.float32, -bound, bound),
        f"{path}.bias": jax.random.uniform(keys[1], shape[:1], jnp.float32, -bound, bound),
    }


def init(key: Array) -> Params:
    """Initial parameters and buffers, by path."""
    keys = iter(jax.random.split(key, 5))
    params: Params = {}
    params |= init_conv2d(next(keys), "conv1", (6, 1, 5, 5))
    params |= init_conv2d(next(keys), "conv2", (16, 6, 5, 5))
    params |= init_linear(next(keys), "fc1", (120, 400))
    params |= init_linear(next(keys), "fc2", (84, 120))
    params |= init_linear(next(keys), "fc3", (10, 84))
    return params


def apply(params: Params, x: Array) -> Array:
    """Convolutions share their weights over the image, so a stroke is recognised wherever it
    stands; pooling lets it move a little. 28x28 digits are padded by 2, to the 32x32 of the
    paper.

    x: [B, 1, 28, 28] -> logits: [B, 10]
    """
    params = nest(params)
    x = avg_pool2d(jnp.tanh(conv2d(params["conv1"], x, padding=2)), 2, stride=2)  # [B, 6, 14, 14]
    x = avg_pool2d(jnp.tanh(conv2d(params["conv2"], x)), 2, stride=2).reshape(-1, 400)  # [B, 400]
    x = jnp.tanh(linear(params["fc1"], x))  # [B, 120]
    return linear(params["fc3"], jnp.tanh(linear(params["fc2"], x)))
