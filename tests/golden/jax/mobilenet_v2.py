# MobileNetV2 of mobilenet_v2.dl, written by a test.
"""`width` thins or widens all layers alike.

Parameters are a flat dict, keyed by the paths of the spec: `apply(init(key), ...)`.
"""

import math
from collections.abc import Iterable
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


def stack_layers(layers: Iterable[Params]) -> Params:
    """Equal layers' parameters as one tree for `lax.scan`: layers are every leaf's first axis."""
    stacked: Params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
    return stacked


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


def batch_norm(params: Params, x: Array) -> Array:
    """Normalises each channel over the batch and the space (Ioffe and Szegedy, 2015): by batch
    statistics in training, by running ones otherwise.

    x: [B, _, _, _] -> [B, _, _, _]
    """
    y = lax.rsqrt(params["running_var"][:, None, None] + 1e-5)  # [_, 1, 1]
    y = (x - params["running_mean"][:, None, None]) * y
    return y * params["weight"][:, None, None] + params["bias"][:, None, None]


def conv_norm_relu(params: Params, x: Array, *, stride: int, groups: int, padding: int) -> Array:
    """x: [B, _, H, W] -> [B, out, _, _]"""
    x = conv2d(params["0"], x, stride=stride, padding=padding, groups=groups)
    return jax.nn.relu6(batch_norm(params["1"], x))


def inverted_residual(params: Params, x: Array) -> Array:
    """Wide inside, narrow outside: a 1x1 convolution expands, a depthwise 3x3 filters each channel
    by itself, and a 1x1 projects back. No activation after the projection, as it would lose
    what a narrow layer can't spare.

    x: [B, inputs, H, W] -> [B, out, H, W]
    """
    y = conv_norm_relu(params["conv"]["0"], x, stride=1, groups=32, padding=1)
    return batch_norm(params["conv"]["2"], conv2d(params["conv"]["1"], y))


def inverted_residual_2(params: Params, x: Array, *, inputs: int, stride: int) -> Array:
    """Wide inside, narrow outside: a 1x1 convolution expands, a depthwise 3x3 filters each channel
    by itself, and a 1x1 projects back.

    x: [B, inputs, H, W] -> [B, out, _, _]
    """
    y = conv_norm_relu(params["conv"]["0"], x, stride=1, groups=1, padding=0)
    y = conv_norm_relu(params["conv"]["1"], y, stride=stride, groups=6 * inputs, padding=1)
    return batch_norm(params["conv"]["3"], conv2d(params["conv"]["2"], y))


def inverted_residual_3(params: Params, x: Array, *, inputs: int) -> Array:
    """Wide inside, narrow outside: a 1x1 convolution expands, a depthwise 3x3 filters each channel
    by itself, and a 1x1 projects back.

    x: [B, inputs, H, W] -> [B, inputs, H, W]
    """
    y = conv_norm_relu(params["conv"]["0"], x, stride=1, groups=1, padding=0)
    y = conv_norm_relu(params["conv"]["1"], y, stride=1, groups=6 * inputs, padding=1)
    y = batch_norm(params["conv"]["3"], conv2d(params["conv"]["2"], y))  # [B, inputs, H, W]
    return x + y


def init_conv2d(key: Array, path: str, shape: tuple[int, ...]) -> Params:
    """Initial parameters of `conv2d`, from the shape of its weight."""
    std = math.sqrt(2 / (shape[0] * math.prod(shape[2:])))
    return {
        f"{path}.weight": std * jax.random.normal(key, shape, jnp.float32),
    }


def init_batch_norm(path: str, shape: tuple[int, ...]) -> Params:
    """Initial parameters of `batch_norm`, from the shape of its running_mean."""
    return {
        f"{path}.running_mean": jnp.zeros(shape, jnp.float32),
        f"{path}.running_var": jnp.ones(shape, jnp.float32),
        f"{path}.num_batches_tracked": jnp.zeros((), int),
        f"{path}.weight": jnp.ones(shape, jnp.float32),
        f"{path}.bias": jnp.zeros(shape, jnp.float32),
    }


def init(key: Array) -> Params:
    """Initial parameters and buffers, by path."""
    keys = iter(jax.random.split(key, 53))
    params: Params = {}
    params |= init_conv2d(next(keys), "features.0.0", (32, 3, 3, 3))
    params |= init_batch_norm("features.0.1", (32,))
    params |= init_conv2d(next(keys), "features.1.conv.0.0", (32, 1, 3, 3))
    params |= init_batch_norm("features.1.conv.0.1", (32,))
    params |= init_conv2d(next(keys), "features.1.conv.1", (16, 32, 1, 1))
    params |= init_batch_norm("features.1.conv.2", (16,))
    params |= init_conv2d(next(keys), "features.2.conv.0.0", (96, 16, 1, 1))
    params |= init_batch_norm("features.2.conv.0.1", (96,))
    params |= init_conv2d(next(keys), "features.2.conv.1.0", (96, 1, 3, 3))
    params |= init_batch_norm("features.2.conv.1.1", (96,))
    params |= init_conv2d(next(keys), "features.2.conv.2", (24, 96, 1, 1))
    params |= init_batch_norm("features.2.conv.3", (24,))
    params |= init_conv2d(next(keys), "features.3.conv.0.0", (144, 24, 1, 1))
    params |= init_batch_norm("features.3.conv.0.1", (144,))
    params |= init_conv2d(next(keys), "features.3.conv.1.0", (144, 1, 3, 3))
    params |= init_batch_norm("features.3.conv.1.1", (144,))
    params |= init_conv2d(next(keys), "features.3.conv.2", (24, 144, 1, 1))
    params |= init_batch_norm("features.3.conv.3", (24,))
    params |= init_conv2d(next(keys), "features.4.conv.0.0", (144, 24, 1, 1))
    params |= init_batch_norm("features.4.conv.0.1", (144,))
    params |= init_conv2d(next(keys), "features.4.conv.1.0", (144, 1, 3, 3))
    params |= init_batch_norm("features.4.conv.1.1", (144,))
    params |= init_conv2d(next(keys), "features.4.conv.2", (32, 144, 1, 1))
    params |= init_batch_norm("features.4.conv.3", (32,))
    for i in range(5, 7):
        params |= init_conv2d(next(keys), f"features.{i}.conv.0.0", (192, 32, 1, 1))
        params |= init_batch_norm(f"features.{i}.conv.0.1", (192,))
        params |= init_conv2d(next(keys), f"features.{i}.conv.1.0", (192, 1, 3, 3))
        params |= init_batch_norm(f"features.{i}.conv.1.1", (192,))
        params |= init_conv2d(next(keys), f"features.{i}.conv.2", (32, 192, 1, 1))
        params |= init_batch_norm(f"features.{i}.conv.3", (32,))
    params |= init_conv2d(next(keys), "features.7.conv.0.0", (192, 32, 1, 1))
    params |= init_batch_norm("features.7.conv.0.1", (192,))
    params |= init_conv2d(next(keys), "features.7.conv.1.0", (192, 1, 3, 3))
    params |= init_batch_norm("features.7.conv.1.1", (192,))
    params |= init_conv2d(next(keys), "features.7.conv.2", (64, 192, 1, 1))
    params |= init_batch_norm("features.7.conv.3", (64,))
    for i in range(8, 11):
        params |= init_conv2d(next(keys), f"features.{i}.conv.0.0", (384, 64, 1, 1))
        params |= init_batch_norm(f"features.{i}.conv.0.1", (384,))
        params |= init_conv2d(next(keys), f"features.{i}.conv.1.0", (384, 1, 3, 3))
        params |= init_batch_norm(f"features.{i}.conv.1.1", (384,))
        params |= init_conv2d(next(keys), f"features.{i}.conv.2", (64, 384, 1, 1))
        params |= init_batch_norm(f"features.{i}.conv.3", (64,))
    params |= init_conv2d(next(keys), "features.11.conv.0.0", (384, 64, 1, 1))
    params |= init_batch_norm("features.11.conv.0.1", (384,))
    params |= init_conv2d(next(keys), "features.11.conv.1.0", (384, 1, 3, 3))
    params |= init_batch_norm("features.11.conv.1.1", (384,))
    params |= init_conv2d(next(keys), "features.11.conv.2", (96, 384, 1, 1))
    params |= init_batch_norm("features.11.conv.3", (96,))
    for i in range(12, 14):
        params |= init_conv2d(next(keys), f"features.{i}.conv.0.0", (576, 96, 1, 1))
        params |= init_batch_norm(f"features.{i}.conv.0.1", (576,))
        params |= init_conv2d(next(keys), f"features.{i}.conv.1.0", (576, 1, 3, 3))
        params |= init_batch_norm(f"features.{i}.conv.1.1", (576,))
        params |= init_conv2d(next(keys), f"features.{i}.conv.2", (96, 576, 1, 1))
        params |= init_batch_norm(f"features.{i}.conv.3", (96,))
    params |= init_conv2d(next(keys), "features.14.conv.0.0", (576, 96, 1, 1))
    params |= init_batch_norm("features.14.conv.0.1", (576,))
    params |= init_conv2d(next(keys), "features.14.conv.1.0", (576, 1, 3, 3))
    params |= init_batch_norm("features.14.conv.1.1", (576,))
    params |= init_conv2d(next(keys), "features.14.conv.2", (160, 576, 1, 1))
    params |= init_batch_norm("features.14.conv.3", (160,))
    for i in range(15, 17):
        params |= init_conv2d(next(keys), f"features.{i}.conv.0.0", (960, 160, 1, 1))
        params |= init_batch_norm(f"features.{i}.conv.0.1", (960,))
        params |= init_conv2d(next(keys), f"features.{i}.conv.1.0", (960, 1, 3, 3))
        params |= init_batch_norm(f"features.{i}.conv.1.1", (960,))
        params |= init_conv2d(next(keys), f"features.{i}.conv.2", (160, 960, 1, 1))
        params |= init_batch_norm(f"features.{i}.conv.3", (160,))
    params |= init_conv2d(next(keys), "features.17.conv.0.0", (960, 160, 1, 1))
    params |= init_batch_norm("features.17.conv.0.1", (960,))
    params |= init_conv2d(next(keys), "features.17.conv.1.0", (960, 1, 3, 3))
    params |= init_batch_norm("features.17.conv.1.1", (960,))
    params |= init_conv2d(next(keys), "features.17.conv.2", (320, 960, 1, 1))
    params |= init_batch_norm("features.17.conv.3", (320,))
    params |= init_conv2d(next(keys), "features.18.0", (1280, 320, 1, 1))
    params |= init_batch_norm("features.18.1", (1280,))
    params["classifier.1.weight"] = 0.01 * jax.random.normal(next(keys), (1000, 1280), jnp.float32)
    params["classifier.1.bias"] = jnp.zeros((1000,), jnp.float32)
    return params


def stack(params: Params) -> Params:
    """A tree with the layers of loops stacked, for `forward`: made once for many calls."""
    tree = nest(params)
    tree["features"]["5:7"] = stack_layers(tree["features"][str(i)] for i in range(5, 7))
    tree["features"]["8:11"] = stack_layers(tree["features"][str(i)] for i in range(8, 11))
    tree["features"]["12:14"] = stack_layers(tree["features"][str(i)] for i in range(12, 14))
    tree["features"]["15:17"] = stack_layers(tree["features"][str(i)] for i in range(15, 17))
    return tree


def forward(params: Params, x: Array) -> Array:
    """`apply` on what `stack` gives. x: [B, 3, H, W] -> logits: [B, 1000]"""
    x = conv_norm_relu(params["features"]["0"], x, stride=2, groups=1, padding=1)
    x = inverted_residual(params["features"]["1"], x)  # [B, 16, (H + 1) // 2, (W + 1) // 2]
    x = inverted_residual_2(params["features"]["2"], x, inputs=16, stride=2)
    x = inverted_residual_3(params["features"]["3"], x, inputs=24)
    x = inverted_residual_2(params["features"]["4"], x, inputs=24, stride=2)
    x, _ = lax.scan(
        lambda x, layer: (inverted_residual_3(layer, x, inputs=32), None),
        x,
        params["features"]["5:7"],
    )
    x = inverted_residual_2(params["features"]["7"], x, inputs=32, stride=2)
    x, _ = lax.scan(
        lambda x, layer: (inverted_residual_3(layer, x, inputs=64), None),
        x,
        params["features"]["8:11"],
    )
    x = inverted_residual_2(params["features"]["11"], x, inputs=64, stride=1)
    x, _ = lax.scan(
        lambda x, layer: (inverted_residual_3(layer, x, inputs=96), None),
        x,
        params["features"]["12:14"],
    )
    x = inverted_residual_2(params["features"]["14"], x, inputs=96, stride=2)
    x, _ = lax.scan(
        lambda x, layer: (inverted_residual_3(layer, x, inputs=160), None),
        x,
        params["features"]["15:17"],
    )
    x = inverted_residual_2(params["features"]["17"], x, inputs=160, stride=1)
    x = conv_norm_relu(params["features"]["18"], x, stride=1, groups=1, padding=0)
    return linear(params["classifier"]["1"], jnp.mean(x, axis=(2, 3)))


def apply(params: Params, x: Array) -> Array:
    """`width` thins or widens all layers alike. x: [B, 3, H, W] -> logits: [B, 1000]"""
    return forward(stack(params), x)
