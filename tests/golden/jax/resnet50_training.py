# ResNet50 of resnet.dl, written by a test.
"""ResNet

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


def flatten(tree: Params, prefix: str = "") -> Params:
    """The inverse of `nest`."""
    flat: Params = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def stack_layers(layers: Iterable[Params]) -> Params:
    """Equal layers' parameters as one tree for `lax.scan`: layers are every leaf's first axis."""
    stacked: Params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
    return stacked


def unstack_layers(layers: Params, paths: Iterable[str]) -> Params:
    """What `lax.scan` has stacked, by the layers' paths."""
    return {path: jax.tree.map(lambda leaf, i=i: leaf[i], layers) for i, path in enumerate(paths)}


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


def max_pool2d(x: Array, kernel: int, *, stride: int, padding: int = 0) -> Array:
    """The greatest element of each window of x: [B, c, H, W]."""
    return lax.reduce_window(
        x,
        -jnp.inf,
        lax.max,
        window_dimensions=(1, 1, kernel, kernel),
        window_strides=(1, 1, stride, stride),
        padding=((0, 0), (0, 0), (padding, padding), (padding, padding)),
    )


def batch_norm(params: Params, x: Array) -> tuple[Array, Params]:
    """Normalises each channel over the batch and the space (Ioffe and Szegedy, 2015): by batch
    statistics in training, by running ones otherwise.

    x: [B, _, _, _] -> [B, _, _, _]
    """
    B, _, S0, S1 = x.shape
    m = jnp.mean(x, axis=(0, 2, 3))  # [_]
    v = jnp.var(x, axis=(0, 2, 3))
    unbiased = v * (B * S0 * S1 / max(B * S0 * S1 - 1.0, 1.0))
    running_mean = lax.stop_gradient(params["running_mean"] * 0.9 + m * 0.1)
    running_var = lax.stop_gradient(params["running_var"] * 0.9 + unbiased * 0.1)
    num_batches_tracked = params["num_batches_tracked"] + 1  # i64[]
    y = (x - m[:, None, None]) * lax.rsqrt(v[:, None, None] + 1e-5)
    y = y * params["weight"][:, None, None] + params["bias"][:, None, None]
    updates = {
        "running_mean": running_mean,
        "running_var": running_var,
        "num_batches_tracked": num_batches_tracked,
    }
    return y, updates


def shortcut(params: Params, x: Array, *, stride: int) -> tuple[Array, Params]:
    """Where a block changes the shape of its input, a 1x1 convolution gives the shortcut the same
    shape.

    x: [B, _, H, W] -> [B, out, _, _]
    """
    x, new_1 = batch_norm(params["1"], conv2d(params["0"], x, stride=stride))
    return x, {"1": new_1}


def bottleneck(params: Params, x: Array) -> tuple[Array, Params]:
    """Narrow, 3x3, wide again: the expensive convolution runs on a quarter of the channels.

    x: [B, inputs, H, W] -> [B, inputs, H, W]
    """
    y, bn1 = batch_norm(params["bn1"], conv2d(params["conv1"], x))  # [B, width, H, W]
    y, bn2 = batch_norm(params["bn2"], conv2d(params["conv2"], jax.nn.relu(y), padding=1))
    y, bn3 = batch_norm(params["bn3"], conv2d(params["conv3"], jax.nn.relu(y)))  # [B, inputs, H, W]
    return jax.nn.relu(x + y), {"bn1": bn1, "bn2": bn2, "bn3": bn3}


def bottleneck_2(params: Params, x: Array, *, stride: int) -> tuple[Array, Params]:
    """Narrow, 3x3, wide again: the expensive convolution runs on a quarter of the channels.

    x: [B, inputs, H, W] -> [B, 4 * width, _, _]
    """
    y, bn1 = batch_norm(params["bn1"], conv2d(params["conv1"], x))  # [B, width, H, W]
    y = conv2d(params["conv2"], jax.nn.relu(y), stride=stride, padding=1)
    y, bn2 = batch_norm(params["bn2"], y)
    y, bn3 = batch_norm(params["bn3"], conv2d(params["conv3"], jax.nn.relu(y)))
    x, downsample = shortcut(params["downsample"], x, stride=stride)
    updates = {"bn1": bn1, "bn2": bn2, "bn3": bn3, "downsample": downsample}
    return jax.nn.relu(x + y), updates


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
    keys = iter(jax.random.split(key, 54))
    params: Params = {}
    params |= init_conv2d(next(keys), "conv1", (64, 3, 7, 7))
    params |= init_batch_norm("bn1", (64,))
    params |= init_conv2d(next(keys), "layer1.0.conv1", (64, 64, 1, 1))
    params |= init_batch_norm("layer1.0.bn1", (64,))
    params |= init_conv2d(next(keys), "layer1.0.conv2", (64, 64, 3, 3))
    params |= init_batch_norm("layer1.0.bn2", (64,))
    params |= init_conv2d(next(keys), "layer1.0.conv3", (256, 64, 1, 1))
    params |= init_batch_norm("layer1.0.bn3", (256,))
    params |= init_conv2d(next(keys), "layer1.0.downsample.0", (256, 64, 1, 1))
    params |= init_batch_norm("layer1.0.downsample.1", (256,))
    for i in range(1, 3):
        params |= init_conv2d(next(keys), f"layer1.{i}.conv1", (64, 256, 1, 1))
        params |= init_batch_norm(f"layer1.{i}.bn1", (64,))
        params |= init_conv2d(next(keys), f"layer1.{i}.conv2", (64, 64, 3, 3))
        params |= init_batch_norm(f"layer1.{i}.bn2", (64,))
        params |= init_conv2d(next(keys), f"layer1.{i}.conv3", (256, 64, 1, 1))
        params |= init_batch_norm(f"layer1.{i}.bn3", (256,))
    params |= init_conv2d(next(keys), "layer2.0.conv1", (128, 256, 1, 1))
    params |= init_batch_norm("layer2.0.bn1", (128,))
    params |= init_conv2d(next(keys), "layer2.0.conv2", (128, 128, 3, 3))
    params |= init_batch_norm("layer2.0.bn2", (128,))
    params |= init_conv2d(next(keys), "layer2.0.conv3", (512, 128, 1, 1))
    params |= init_batch_norm("layer2.0.bn3", (512,))
    params |= init_conv2d(next(keys), "layer2.0.downsample.0", (512, 256, 1, 1))
    params |= init_batch_norm("layer2.0.downsample.1", (512,))
    for i in range(1, 4):
        params |= init_conv2d(next(keys), f"layer2.{i}.conv1", (128, 512, 1, 1))
        params |= init_batch_norm(f"layer2.{i}.bn1", (128,))
        params |= init_conv2d(next(keys), f"layer2.{i}.conv2", (128, 128, 3, 3))
        params |= init_batch_norm(f"layer2.{i}.bn2", (128,))
        params |= init_conv2d(next(keys), f"layer2.{i}.conv3", (512, 128, 1, 1))
        params |= init_batch_norm(f"layer2.{i}.bn3", (512,))
    params |= init_conv2d(next(keys), "layer3.0.conv1", (256, 512, 1, 1))
    params |= init_batch_norm("layer3.0.bn1", (256,))
    params |= init_conv2d(next(keys), "layer3.0.conv2", (256, 256, 3, 3))
    params |= init_batch_norm("layer3.0.bn2", (256,))
    params |= init_conv2d(next(keys), "layer3.0.conv3", (1024, 256, 1, 1))
    params |= init_batch_norm("layer3.0.bn3", (1024,))
    params |= init_conv2d(next(keys), "layer3.0.downsample.0", (1024, 512, 1, 1))
    params |= init_batch_norm("layer3.0.downsample.1", (1024,))
    for i in range(1, 6):
        params |= init_conv2d(next(keys), f"layer3.{i}.conv1", (256, 1024, 1, 1))
        params |= init_batch_norm(f"layer3.{i}.bn1", (256,))
        params |= init_conv2d(next(keys), f"layer3.{i}.conv2", (256, 256, 3, 3))
        params |= init_batch_norm(f"layer3.{i}.bn2", (256,))
        params |= init_conv2d(next(keys), f"layer3.{i}.conv3", (1024, 256, 1, 1))
        params |= init_batch_norm(f"layer3.{i}.bn3", (1024,))
    params |= init_conv2d(next(keys), "layer4.0.conv1", (512, 1024, 1, 1))
    params |= init_batch_norm("layer4.0.bn1", (512,))
    params |= init_conv2d(next(keys), "layer4.0.conv2", (512, 512, 3, 3))
    params |= init_batch_norm("layer4.0.bn2", (512,))
    params |= init_conv2d(next(keys), "layer4.0.conv3", (2048, 512, 1, 1))
    params |= init_batch_norm("layer4.0.bn3", (2048,))
    params |= init_conv2d(next(keys), "layer4.0.downsample.0", (2048, 1024, 1, 1))
    params |= init_batch_norm("layer4.0.downsample.1", (2048,))
    for i in range(1, 3):
        params |= init_conv2d(next(keys), f"layer4.{i}.conv1", (512, 2048, 1, 1))
        params |= init_batch_norm(f"layer4.{i}.bn1", (512,))
        params |= init_conv2d(next(keys), f"layer4.{i}.conv2", (512, 512, 3, 3))
        params |= init_batch_norm(f"layer4.{i}.bn2", (512,))
        params |= init_conv2d(next(keys), f"layer4.{i}.conv3", (2048, 512, 1, 1))
        params |= init_batch_norm(f"layer4.{i}.bn3", (2048,))
    params |= init_linear(next(keys), "fc", (1000, 2048))
    return params


def stack(params: Params) -> Params:
    """A tree with the layers of loops stacked, for `forward`: made once for many calls."""
    tree = nest(params)
    tree["layer1"]["1:3"] = stack_layers(tree["layer1"][str(i)] for i in range(1, 3))
    tree["layer2"]["1:4"] = stack_layers(tree["layer2"][str(i)] for i in range(1, 4))
    tree["layer3"]["1:6"] = stack_layers(tree["layer3"][str(i)] for i in range(1, 6))
    tree["layer4"]["1:3"] = stack_layers(tree["layer4"][str(i)] for i in range(1, 3))
    return tree


def forward(params: Params, x: Array) -> tuple[Array, Params]:
    """`apply` on what `stack` gives. x: [B, 3, H, W] -> logits: [B, 1000]"""
    x, bn1 = batch_norm(params["bn1"], conv2d(params["conv1"], x, stride=2, padding=3))
    x = jax.nn.relu(x)
    x = max_pool2d(x, 3, stride=2, padding=1)  # [B, 64, (H + 3) // 4, (W + 3) // 4]
    x, layer1_0 = bottleneck_2(params["layer1"]["0"], x, stride=1)
    x, new = lax.scan(lambda x, layer: bottleneck(layer, x), x, params["layer1"]["1:3"])
    x, layer2_0 = bottleneck_2(params["layer2"]["0"], x, stride=2)
    x, new_2 = lax.scan(lambda x, layer: bottleneck(layer, x), x, params["layer2"]["1:4"])
    x, layer3_0 = bottleneck_2(params["layer3"]["0"], x, stride=2)
    x, new_3 = lax.scan(lambda x, layer: bottleneck(layer, x), x, params["layer3"]["1:6"])
    x, layer4_0 = bottleneck_2(params["layer4"]["0"], x, stride=2)
    x, new_4 = lax.scan(lambda x, layer: bottleneck(layer, x), x, params["layer4"]["1:3"])
    updates = {
        "bn1": bn1,
        "layer1.0": layer1_0,
        **unstack_layers(new, [f"layer1.{i}" for i in range(1, 3)]),
        "layer2.0": layer2_0,
        **unstack_layers(new_2, [f"layer2.{i}" for i in range(1, 4)]),
        "layer3.0": layer3_0,
        **unstack_layers(new_3, [f"layer3.{i}" for i in range(1, 6)]),
        "layer4.0": layer4_0,
        **unstack_layers(new_4, [f"layer4.{i}" for i in range(1, 3)]),
    }
    return linear(params["fc"], jnp.mean(x, axis=(2, 3))), flatten(updates)


def apply(params: Params, x: Array) -> tuple[Array, Params]:
    """x: [B, 3, H, W] -> logits: [B, 1000]"""
    return forward(stack(params), x)
