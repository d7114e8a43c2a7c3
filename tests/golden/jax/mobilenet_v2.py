# MobileNetV2 of mobilenet_v2.dl (digest f2f8f628cf6999f7), written by dlc 0.1.0.
"""`width` thins or widens all layers alike.

    params, state = init(jax.random.key(0))
    outputs, state = apply(params, state, x)

Under `jax.jit`: `static_argnames=("config", "training")`.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

Params = dict[str, Any]
State = dict[str, Any]


def divisible(channels: float) -> int:
    """Channels are multiples of 8, and by rounding lose no more than a tenth."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near if near >= 0.9 * channels else near + 8


@dataclass(frozen=True)
class Config:
    """The static parameters."""

    width: float = 1.0
    classes: int = 1000
    p: float = 0.2

    def __post_init__(self) -> None:
        if divisible(32 * self.width) == divisible(16 * self.width):
            raise ValueError(
                "divisible(32 * width) != divisible(16 * width) must hold, "
                f"but width is {self.width}"
            )
        if not 0.0 <= self.p <= 1.0:
            raise ValueError(f"0.0 <= p <= 1.0 must hold, but p is {self.p}")


CONFIG = Config()


def init_layers(init: Callable[[Array], Any], key: Array, count: int) -> Any:
    """Equal layers as one tree for `lax.scan`: they stand along the first axis of every leaf."""
    return jax.vmap(init)(jax.random.split(key, count))


def linear(params: Params, x: Array) -> Array:
    """x @ weight.T + bias."""
    y = x @ params["weight"].T
    return y + params["bias"] if "bias" in params else y


def dropout(x: Array, *, p: float = 0.5, training: bool = False, key: Array | None = None) -> Array:
    """Zeroes a share p of the elements in training, and scales the others by 1 / (1 - p)."""
    if not training or p == 0:
        return x
    if key is None:
        raise ValueError("dropout needs a key in training")
    kept = jax.random.bernoulli(key, 1 - p, x.shape)
    return jnp.where(kept, x / (1 - p), 0) if p < 1 else jnp.zeros_like(x)


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


def grouped_conv(
    params: Params, x: Array, *, groups: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Array:
    """Convolution of x: [B, c, ...] in groups of channels with weight: [out, c / groups, ...]."""
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    y = grouped_convolve(x, params["weight"], groups=groups, **options)
    return y + params["bias"].reshape(-1, *(1,) * (x.ndim - 2)) if "bias" in params else y


def grouped_convolve(
    x: Array, w: Array, *, groups: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Array:
    """Convolution of x: [B, c, ...] in groups of channels with w: [out, c / groups, ...].

    Where each channel is a group, XLA on a CPU is many times faster with a sum over the places of
    the kernel.
    """
    axes = x.ndim - 2
    borders = ((padding, padding),) * axes

    def convolved(x: Array, w: Array) -> Array:
        names = "DHW"[-axes:]
        y = lax.conv_general_dilated(
            jnp.moveaxis(x, 1, -1),
            jnp.moveaxis(w, (0, 1), (-1, -2)),
            window_strides=(stride,) * axes,
            padding=borders,
            rhs_dilation=(dilation,) * axes,
            dimension_numbers=(f"N{names}C", f"{names}IO", f"N{names}C"),
            feature_group_count=groups,
        )
        return jnp.moveaxis(y, -1, 1)

    def summed(x: Array, w: Array) -> Array:
        x = jnp.pad(x, ((0, 0), (0, 0), *borders))
        sizes = zip(x.shape[2:], w.shape[2:], strict=True)
        reach = [size - dilation * (k - 1) for size, k in sizes]

        def term(*place: int) -> Array:
            starts = [dilation * at for at in place]
            windows = [slice(at, at + size, stride) for at, size in zip(starts, reach, strict=True)]
            return x[:, :, *windows] * w[:, 0, *place].reshape(-1, *(1,) * axes)

        return sum(itertools.starmap(term, itertools.product(*map(range, w.shape[2:]))))

    if groups == x.shape[1] == w.shape[0]:
        return lax.platform_dependent(x, w, cpu=summed, default=convolved)
    return convolved(x, w)


def batch_norm(
    params: Params,
    state: State,
    x: Array,
    *,
    eps: float = 1e-5,
    momentum: float = 0.1,
    training: bool = False,
) -> tuple[Array, State]:
    """Normalises each channel over the batch and the space (Ioffe and Szegedy, 2015): by batch
    statistics in training, by running ones otherwise.

    x: [B, C, S0, S1] -> [B, C, S0, S1]
    """
    state = dict(state)
    B, _, S0, S1 = x.shape
    running_mean = state["running_mean"]  # [C]
    running_var = state["running_var"]
    if training:
        m = jnp.mean(x, axis=(0, 2, 3))
        v = jnp.var(x, axis=(0, 2, 3))
        unbiased = v * (B * S0 * S1 / max(B * S0 * S1 - 1.0, 1.0))
        num_batches_tracked = state["num_batches_tracked"]  # i64[]
        state["running_mean"] = lax.stop_gradient(running_mean * (1.0 - momentum) + m * momentum)
        state["running_var"] = lax.stop_gradient(
            running_var * (1.0 - momentum) + unbiased * momentum
        )
        state["num_batches_tracked"] = num_batches_tracked + 1
        running_mean, running_var = m, v
    y = (x - running_mean[:, None, None]) * lax.rsqrt(running_var[:, None, None] + eps)
    return y * params["weight"][:, None, None] + params["bias"][:, None, None], state


def conv_norm_relu(
    params: Params,
    state: State,
    x: Array,
    *,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    training: bool = False,
) -> tuple[Array, State]:
    """x: [B, C, H, W] -> [B, out, (H - 1) // stride + 1, (W - 1) // stride + 1]"""
    state = dict(state)
    x = grouped_conv(params["0"], x, stride=stride, padding=kernel // 2, groups=groups)
    x, state["1"] = batch_norm(params["1"], state["1"], x, training=training)
    return jax.nn.relu6(x), state


def inverted_residual(
    params: Params,
    state: State,
    x: Array,
    *,
    inputs: int,
    expand: int,
    stride: int,
    training: bool = False,
) -> tuple[Array, State]:
    """Wide inside, narrow outside: a 1x1 convolution expands, a depthwise 3x3 filters each channel
    by itself, and a 1x1 projects back. No activation after the projection, as it would lose
    what a narrow layer can't spare.

    x: [B, inputs, H, W] -> [B, out, (H - 1) // stride + 1, (W - 1) // stride + 1]
    """
    state = jax.tree.map(lambda leaf: leaf, state)
    y, state["conv"]["0"] = conv_norm_relu(
        params["conv"]["0"],
        state["conv"]["0"],
        x,
        kernel=3,
        stride=stride,
        groups=expand * inputs,
        training=training,
    )
    y = conv2d(params["conv"]["1"], y)
    y, state["conv"]["2"] = batch_norm(
        params["conv"]["2"], state["conv"]["2"], y, training=training
    )
    return y, state


def inverted_residual_2(
    params: Params,
    state: State,
    x: Array,
    *,
    inputs: int,
    out: int,
    expand: int,
    stride: int,
    training: bool = False,
) -> tuple[Array, State]:
    """Wide inside, narrow outside: a 1x1 convolution expands, a depthwise 3x3 filters each channel
    by itself, and a 1x1 projects back.

    x: [B, inputs, H, W] -> [B, out, (H - 1) // stride + 1, (W - 1) // stride + 1]
    """
    state = jax.tree.map(lambda leaf: leaf, state)
    y, state["conv"]["0"] = conv_norm_relu(
        params["conv"]["0"], state["conv"]["0"], x, kernel=1, training=training
    )  # [B, expand * inputs, H, W]
    y, state["conv"]["1"] = conv_norm_relu(
        params["conv"]["1"],
        state["conv"]["1"],
        y,
        kernel=3,
        stride=stride,
        groups=expand * inputs,
        training=training,
    )
    y = conv2d(params["conv"]["2"], y)
    y, state["conv"]["3"] = batch_norm(
        params["conv"]["3"], state["conv"]["3"], y, training=training
    )
    if stride == 1 and inputs == out:
        y = x + y
    return y, state


def init_conv2d(
    key: Array, inputs: int, out: int, kernel: int, dtype: DTypeLike, *, groups: int = 1
) -> Params:
    """Initial parameters of `conv2d`."""
    std = math.sqrt(2 / (kernel**2 * out))
    return {
        "weight": std * jax.random.normal(key, (out, inputs // groups, kernel, kernel), dtype),
    }


def init_batch_norm(channels: int, dtype: DTypeLike) -> tuple[Params, State]:
    """Initial parameters and state of `batch_norm`."""
    params: Params = {}
    state: State = {}
    state["running_mean"] = jnp.zeros((channels,), dtype)
    state["running_var"] = jnp.ones((channels,), dtype)
    state["num_batches_tracked"] = jnp.zeros((), int)
    params["weight"] = jnp.ones((channels,), dtype)
    params["bias"] = jnp.zeros((channels,), dtype)
    return params, state


def init_conv_norm_relu(
    key: Array, *, C: int, out: int, kernel: int, groups: int, dtype: DTypeLike
) -> tuple[Params, State]:
    """Initial parameters and state of `ConvNormRelu`."""
    params: Params = {}
    state: State = {}
    params["0"] = init_conv2d(key, C, out, kernel, dtype, groups=groups)
    params["1"], state["1"] = init_batch_norm(out, dtype)
    return params, state


def init_inverted_residual(
    key: Array, *, inputs: int, out: int, expand: int, dtype: DTypeLike
) -> tuple[Params, State]:
    """Initial parameters and state of `InvertedResidual`."""
    keys = jax.random.split(key, 2)
    params: Params = {"conv": {}}
    state: State = {"conv": {}}
    params["conv"]["0"], state["conv"]["0"] = init_conv_norm_relu(
        keys[0], C=inputs, out=expand * inputs, kernel=3, groups=expand * inputs, dtype=dtype
    )
    params["conv"]["1"] = init_conv2d(keys[1], expand * inputs, out, 1, dtype)
    params["conv"]["2"], state["conv"]["2"] = init_batch_norm(out, dtype)
    return params, state


def init_inverted_residual_2(
    key: Array, *, inputs: int, out: int, expand: int, dtype: DTypeLike
) -> tuple[Params, State]:
    """Initial parameters and state of `InvertedResidual`."""
    keys = jax.random.split(key, 3)
    params: Params = {"conv": {}}
    state: State = {"conv": {}}
    params["conv"]["0"], state["conv"]["0"] = init_conv_norm_relu(
        keys[0], C=inputs, out=expand * inputs, kernel=1, groups=1, dtype=dtype
    )
    params["conv"]["1"], state["conv"]["1"] = init_conv_norm_relu(
        keys[1],
        C=expand * inputs,
        out=expand * inputs,
        kernel=3,
        groups=expand * inputs,
        dtype=dtype,
    )
    params["conv"]["2"] = init_conv2d(keys[2], expand * inputs, out, 1, dtype)
    params["conv"]["3"], state["conv"]["3"] = init_batch_norm(out, dtype)
    return params, state


def init_linear(key: Array, inputs: int, out: int, dtype: DTypeLike, *, std: float) -> Params:
    """Initial parameters of `linear`."""
    return {
        "weight": std * jax.random.normal(key, (out, inputs), dtype),
        "bias": jnp.zeros((out,), dtype),
    }


def init(
    key: Array, config: Config = CONFIG, dtype: DTypeLike = jnp.float32
) -> tuple[Params, State]:
    """Initial parameters and state."""
    keys = jax.random.split(key, 15)
    params: Params = {"features": {}, "classifier": {}}
    state: State = {"features": {}}
    params["features"]["0"], state["features"]["0"] = init_conv_norm_relu(
        keys[0], C=3, out=divisible(32 * config.width), kernel=3, groups=1, dtype=dtype
    )
    params["features"]["1"], state["features"]["1"] = init_inverted_residual(
        keys[1],
        inputs=divisible(32 * config.width),
        out=divisible(16 * config.width),
        expand=1,
        dtype=dtype,
    )
    params["features"]["2"], state["features"]["2"] = init_inverted_residual_2(
        keys[2],
        inputs=divisible(16 * config.width),
        out=divisible(24 * config.width),
        expand=6,
        dtype=dtype,
    )
    params["features"]["3"], state["features"]["3"] = init_inverted_residual_2(
        keys[3],
        inputs=divisible(24 * config.width),
        out=divisible(24 * config.width),
        expand=6,
        dtype=dtype,
    )
    params["features"]["4"], state["features"]["4"] = init_inverted_residual_2(
        keys[4],
        inputs=divisible(24 * config.width),
        out=divisible(32 * config.width),
        expand=6,
        dtype=dtype,
    )
    params["features"]["5:"], state["features"]["5:"] = init_layers(
        partial(
            init_inverted_residual_2,
            inputs=divisible(32 * config.width),
            out=divisible(32 * config.width),
            expand=6,
            dtype=dtype,
        ),
        keys[5],
        2,
    )
    params["features"]["7"], state["features"]["7"] = init_inverted_residual_2(
        keys[6],
        inputs=divisible(32 * config.width),
        out=divisible(64 * config.width),
        expand=6,
        dtype=dtype,
    )
    params["features"]["8:"], state["features"]["8:"] = init_layers(
        partial(
            init_inverted_residual_2,
            inputs=divisible(64 * config.width),
            out=divisible(64 * config.width),
            expand=6,
            dtype=dtype,
        ),
        keys[7],
        3,
    )
    params["features"]["11"], state["features"]["11"] = init_inverted_residual_2(
        keys[8],
        inputs=divisible(64 * config.width),
        out=divisible(96 * config.width),
        expand=6,
        dtype=dtype,
    )
    params["features"]["12:"], state["features"]["12:"] = init_layers(
        partial(
            init_inverted_residual_2,
            inputs=divisible(96 * config.width),
            out=divisible(96 * config.width),
            expand=6,
            dtype=dtype,
        ),
        keys[9],
        2,
    )
    params["features"]["14"], state["features"]["14"] = init_inverted_residual_2(
        keys[10],
        inputs=divisible(96 * config.width),
        out=divisible(160 * config.width),
        expand=6,
        dtype=dtype,
    )
    params["features"]["15:"], state["features"]["15:"] = init_layers(
        partial(
            init_inverted_residual_2,
            inputs=divisible(160 * config.width),
            out=divisible(160 * config.width),
            expand=6,
            dtype=dtype,
        ),
        keys[11],
        2,
    )
    params["features"]["17"], state["features"]["17"] = init_inverted_residual_2(
        keys[12],
        inputs=divisible(160 * config.width),
        out=divisible(320 * config.width),
        expand=6,
        dtype=dtype,
    )
    params["features"]["18"], state["features"]["18"] = init_conv_norm_relu(
        keys[13],
        C=divisible(320 * config.width),
        out=divisible(1280 * max(1.0, config.width)),
        kernel=1,
        groups=1,
        dtype=dtype,
    )
    params["classifier"]["1"] = init_linear(
        keys[14], divisible(1280 * max(1.0, config.width)), config.classes, dtype, std=0.01
    )
    return params, state


def apply(
    params: Params,
    state: State,
    x: Array,
    *,
    config: Config = CONFIG,
    training: bool = False,
    key: Array | None = None,
) -> tuple[Array, State]:
    """`width` thins or widens all layers alike. x: [B, 3, H, W] -> logits: [B, classes]"""
    state = jax.tree.map(lambda leaf: leaf, state)
    x, state["features"]["0"] = conv_norm_relu(
        params["features"]["0"], state["features"]["0"], x, kernel=3, stride=2, training=training
    )
    x, state["features"]["1"] = inverted_residual(
        params["features"]["1"],
        state["features"]["1"],
        x,
        inputs=divisible(32 * config.width),
        expand=1,
        stride=1,
        training=training,
    )
    x, state["features"]["2"] = inverted_residual_2(
        params["features"]["2"],
        state["features"]["2"],
        x,
        inputs=divisible(16 * config.width),
        out=divisible(24 * config.width),
        expand=6,
        stride=2,
        training=training,
    )
    x, state["features"]["3"] = inverted_residual_2(
        params["features"]["3"],
        state["features"]["3"],
        x,
        inputs=divisible(24 * config.width),
        out=divisible(24 * config.width),
        expand=6,
        stride=1,
        training=training,
    )
    x, state["features"]["4"] = inverted_residual_2(
        params["features"]["4"],
        state["features"]["4"],
        x,
        inputs=divisible(24 * config.width),
        out=divisible(32 * config.width),
        expand=6,
        stride=2,
        training=training,
    )

    def turn(x: Array, inputs: Any) -> tuple[Array, State]:
        layer, layer_state = inputs
        x, layer_state = inverted_residual_2(
            layer,
            layer_state,
            x,
            inputs=divisible(32 * config.width),
            out=divisible(32 * config.width),
            expand=6,
            stride=1,
            training=training,
        )
        return x, layer_state

    x, state["features"]["5:"] = lax.scan(
        turn, x, (params["features"]["5:"], state["features"]["5:"])
    )
    x, state["features"]["7"] = inverted_residual_2(
        params["features"]["7"],
        state["features"]["7"],
        x,
        inputs=divisible(32 * config.width),
        out=divisible(64 * config.width),
        expand=6,
        stride=2,
        training=training,
    )

    def turn_2(x: Array, inputs: Any) -> tuple[Array, State]:
        layer, layer_state = inputs
        x, layer_state = inverted_residual_2(
            layer,
            layer_state,
            x,
            inputs=divisible(64 * config.width),
            out=divisible(64 * config.width),
            expand=6,
            stride=1,
            training=training,
        )
        return x, layer_state

    x, state["features"]["8:"] = lax.scan(
        turn_2, x, (params["features"]["8:"], state["features"]["8:"])
    )
    x, state["features"]["11"] = inverted_residual_2(
        params["features"]["11"],
        state["features"]["11"],
        x,
        inputs=divisible(64 * config.width),
        out=divisible(96 * config.width),
        expand=6,
        stride=1,
        training=training,
    )

    def turn_3(x: Array, inputs: Any) -> tuple[Array, State]:
        layer, layer_state = inputs
        x, layer_state = inverted_residual_2(
            layer,
            layer_state,
            x,
            inputs=divisible(96 * config.width),
            out=divisible(96 * config.width),
            expand=6,
            stride=1,
            training=training,
        )
        return x, layer_state

    x, state["features"]["12:"] = lax.scan(
        turn_3, x, (params["features"]["12:"], state["features"]["12:"])
    )
    x, state["features"]["14"] = inverted_residual_2(
        params["features"]["14"],
        state["features"]["14"],
        x,
        inputs=divisible(96 * config.width),
        out=divisible(160 * config.width),
        expand=6,
        stride=2,
        training=training,
    )

    def turn_4(x: Array, inputs: Any) -> tuple[Array, State]:
        layer, layer_state = inputs
        x, layer_state = inverted_residual_2(
            layer,
            layer_state,
            x,
            inputs=divisible(160 * config.width),
            out=divisible(160 * config.width),
            expand=6,
            stride=1,
            training=training,
        )
        return x, layer_state

    x, state["features"]["15:"] = lax.scan(
        turn_4, x, (params["features"]["15:"], state["features"]["15:"])
    )
    x, state["features"]["17"] = inverted_residual_2(
        params["features"]["17"],
        state["features"]["17"],
        x,
        inputs=divisible(160 * config.width),
        out=divisible(320 * config.width),
        expand=6,
        stride=1,
        training=training,
    )
    x, state["features"]["18"] = conv_norm_relu(
        params["features"]["18"], state["features"]["18"], x, kernel=1, training=training
    )
    x = dropout(jnp.mean(x, axis=(2, 3)), p=config.p, training=training, key=key)
    return linear(params["classifier"]["1"], x), state


# What checkpoints call parts that have another place here; layers by their number.
PATHS: dict[str, Any] = {
    "features.5:": lambda i: f"{i + 5}",
    "features.8:": lambda i: f"{i + 8}",
    "features.12:": lambda i: f"{i + 12}",
    "features.15:": lambda i: f"{i + 15}",
}


def filled(like: Params, flat: Params, place: str = "", path: str = "") -> Params:
    """A tree of the same form as `like`, of parameters by their paths in checkpoints."""
    tree: Params = {}
    for name, value in like.items():
        here = f"{place}.{name}" if place else name
        label = PATHS.get(here, name)
        prefix = f"{path}." if path else ""
        if callable(label):
            one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), value)
            count = max((leaf.shape[0] for leaf in jax.tree.leaves(value)), default=0)
            layers = [filled(one, flat, here, prefix + label(i)) for i in range(count)]
            tree[name] = stack_layers(layers) if layers else empty(value)
        elif isinstance(value, dict):
            tree[name] = filled(value, flat, here, prefix + label)
        else:
            tree[name] = jnp.asarray(flat[prefix + label])
    return tree


def empty(like: Params) -> Params:
    """No layers, of the form that they would have."""
    layers: Params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    return layers


def one_layer(layers: Params, index: int) -> Params:
    """One of equal layers, which stand along the first axis of every leaf."""
    one: Params = jax.tree.map(lambda leaf: leaf[index], layers)
    return one


def stack_layers(layers: Sequence[Params]) -> Params:
    """Equal layers as one tree for `lax.scan`: they stand along the first axis of every leaf."""
    stacked: Params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
    return stacked


def from_flat(flat: Params, config: Config = CONFIG) -> tuple[Params, State]:
    """What `init` gives, of parameters by their paths in checkpoints."""
    params, state = jax.eval_shape(lambda key: init(key, config), jax.random.key(0))
    return filled(params, flat), filled(state, flat)


def to_flat(params: Params, place: str = "", path: str = "") -> Params:
    """Parameters by their paths in checkpoints, each layer by itself."""
    flat: Params = {}
    for name, value in params.items():
        here = f"{place}.{name}" if place else name
        label = PATHS.get(here, name)
        prefix = f"{path}." if path else ""
        if callable(label):
            count = max((leaf.shape[0] for leaf in jax.tree.leaves(value)), default=0)
            for i in range(count):
                flat |= to_flat(one_layer(value, i), here, prefix + label(i))
        elif isinstance(value, dict):
            flat |= to_flat(value, here, prefix + label)
        else:
            flat[prefix + label] = value
    return flat
