# ResNet50 of resnet.dl (digest 1861bdb4513a02e4), written by dlc 0.1.0.
"""ResNet

    params, state = init(jax.random.key(0))
    outputs, state = apply(params, state, x)

Under `jax.jit`: `static_argnames=("config", "training")`.
"""

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


@dataclass(frozen=True)
class Config:
    """The static parameters."""

    depths: tuple[int, ...] = (3, 4, 6, 3)
    bottleneck: bool = True
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem: int = 64
    classes: int = 1000

    def __post_init__(self) -> None:
        if len(self.depths) != 4:
            raise ValueError(f"depths must have length 4, not {len(self.depths)}")
        if len(self.widths) != 4:
            raise ValueError(f"widths must have length 4, not {len(self.widths)}")
        if any(each < 1 for each in self.depths):
            raise ValueError(f"each of depths must be at least 1, but depths is {self.depths}")


CONFIG = Config()


def init_layers(init: Callable[[Array], Any], key: Array, count: int) -> Any:
    """Equal layers as one tree for `lax.scan`: they stand along the first axis of every leaf."""
    return jax.vmap(init)(jax.random.split(key, count))


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


def shortcut(
    params: Params, state: State, x: Array, *, stride: int, training: bool = False
) -> tuple[Array, State]:
    """Where a block changes the shape of its input, a 1x1 convolution gives the shortcut the same
    shape.

    x: [B, C, H, W] -> [B, out, (H - 1) // stride + 1, (W - 1) // stride + 1]
    """
    state = dict(state)
    x = conv2d(params["0"], x, stride=stride)
    x, state["1"] = batch_norm(params["1"], state["1"], x, training=training)
    return x, state


def bottleneck(
    params: Params, state: State, x: Array, *, stride: int, training: bool = False
) -> tuple[Array, State]:
    """Narrow, 3x3, wide again: the expensive convolution runs on a quarter of the channels.

    x: [B, inputs, H, W] -> [B, 4 * width, (H - 1) // stride + 1, (W - 1) // stride + 1]
    """
    state = dict(state)
    y = conv2d(params["conv1"], x)  # [B, width, H, W]
    y, state["bn1"] = batch_norm(params["bn1"], state["bn1"], y, training=training)
    y = conv2d(params["conv2"], jax.nn.relu(y), stride=stride, padding=1)
    y, state["bn2"] = batch_norm(params["bn2"], state["bn2"], y, training=training)
    y = conv2d(params["conv3"], jax.nn.relu(y))
    y, state["bn3"] = batch_norm(params["bn3"], state["bn3"], y, training=training)
    if "downsample" in params:
        x, state["downsample"] = shortcut(
            params["downsample"], state["downsample"], x, stride=stride, training=training
        )
    return jax.nn.relu(x + y), state


def basic_block(
    params: Params, state: State, x: Array, *, stride: int, training: bool = False
) -> tuple[Array, State]:
    """Two 3x3 convolutions: ResNet-18 and -34.

    x: [B, inputs, H, W] -> [B, width, (H - 1) // stride + 1, (W - 1) // stride + 1]
    """
    state = dict(state)
    y = conv2d(params["conv1"], x, stride=stride, padding=1)
    y, state["bn1"] = batch_norm(params["bn1"], state["bn1"], y, training=training)
    y = conv2d(params["conv2"], jax.nn.relu(y), padding=1)
    y, state["bn2"] = batch_norm(params["bn2"], state["bn2"], y, training=training)
    if "downsample" in params:
        x, state["downsample"] = shortcut(
            params["downsample"], state["downsample"], x, stride=stride, training=training
        )
    return jax.nn.relu(x + y), state


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


def init_shortcut(key: Array, *, C: int, out: int, dtype: DTypeLike) -> tuple[Params, State]:
    """Initial parameters and state of `Shortcut`."""
    params: Params = {}
    state: State = {}
    params["0"] = init_conv2d(key, C, out, 1, dtype)
    params["1"], state["1"] = init_batch_norm(out, dtype)
    return params, state


def init_bottleneck(
    key: Array, *, inputs: int, width: int, stride: int, dtype: DTypeLike
) -> tuple[Params, State]:
    """Initial parameters and state of `Bottleneck`."""
    keys = jax.random.split(key, 4)
    params: Params = {}
    state: State = {}
    params["conv1"] = init_conv2d(keys[0], inputs, width, 1, dtype)
    params["bn1"], state["bn1"] = init_batch_norm(width, dtype)
    params["conv2"] = init_conv2d(keys[1], width, width, 3, dtype)
    params["bn2"], state["bn2"] = init_batch_norm(width, dtype)
    params["conv3"] = init_conv2d(keys[2], width, 4 * width, 1, dtype)
    params["bn3"], state["bn3"] = init_batch_norm(4 * width, dtype)
    if stride != 1 or inputs != 4 * width:
        params["downsample"], state["downsample"] = init_shortcut(
            keys[3], C=inputs, out=4 * width, dtype=dtype
        )
    return params, state


def init_basic_block(
    key: Array, *, inputs: int, width: int, stride: int, dtype: DTypeLike
) -> tuple[Params, State]:
    """Initial parameters and state of `BasicBlock`."""
    keys = jax.random.split(key, 3)
    params: Params = {}
    state: State = {}
    params["conv1"] = init_conv2d(keys[0], inputs, width, 3, dtype)
    params["bn1"], state["bn1"] = init_batch_norm(width, dtype)
    params["conv2"] = init_conv2d(keys[1], width, width, 3, dtype)
    params["bn2"], state["bn2"] = init_batch_norm(width, dtype)
    if stride != 1 or inputs != width:
        params["downsample"], state["downsample"] = init_shortcut(
            keys[2], C=inputs, out=width, dtype=dtype
        )
    return params, state


def init_linear(key: Array, inputs: int, out: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `linear`."""
    bound = 1 / math.sqrt(inputs)
    bias_bound = 1 / math.sqrt(inputs) if inputs > 0 else 0.0
    keys = jax.random.split(key, 2)
    return {
        "weight": jax.random.uniform(keys[0], (out, inputs), dtype, -bound, bound),
        "bias": jax.random.uniform(keys[1], (out,), dtype, -bias_bound, bias_bound),
    }


def init(
    key: Array, config: Config = CONFIG, dtype: DTypeLike = jnp.float32
) -> tuple[Params, State]:
    """Initial parameters and state."""
    keys = jax.random.split(key, 18)
    params: Params = {"layer1": {}, "layer2": {}, "layer3": {}, "layer4": {}}
    state: State = {"layer1": {}, "layer2": {}, "layer3": {}, "layer4": {}}
    params["conv1"] = init_conv2d(keys[0], 3, config.stem, 7, dtype)
    params["bn1"], state["bn1"] = init_batch_norm(config.stem, dtype)
    if config.bottleneck:
        params["layer1"]["0"], state["layer1"]["0"] = init_bottleneck(
            keys[1], inputs=config.stem, width=config.widths[0], stride=1, dtype=dtype
        )
        params["layer1"]["1:"], state["layer1"]["1:"] = init_layers(
            partial(
                init_bottleneck,
                inputs=4 * config.widths[0],
                width=config.widths[0],
                stride=1,
                dtype=dtype,
            ),
            keys[3],
            config.depths[0] - 1,
        )
        params["layer2"]["0"], state["layer2"]["0"] = init_bottleneck(
            keys[5], inputs=4 * config.widths[0], width=config.widths[1], stride=2, dtype=dtype
        )
        params["layer2"]["1:"], state["layer2"]["1:"] = init_layers(
            partial(
                init_bottleneck,
                inputs=4 * config.widths[1],
                width=config.widths[1],
                stride=1,
                dtype=dtype,
            ),
            keys[7],
            config.depths[1] - 1,
        )
        params["layer3"]["0"], state["layer3"]["0"] = init_bottleneck(
            keys[9], inputs=4 * config.widths[1], width=config.widths[2], stride=2, dtype=dtype
        )
        params["layer3"]["1:"], state["layer3"]["1:"] = init_layers(
            partial(
                init_bottleneck,
                inputs=4 * config.widths[2],
                width=config.widths[2],
                stride=1,
                dtype=dtype,
            ),
            keys[11],
            config.depths[2] - 1,
        )
        params["layer4"]["0"], state["layer4"]["0"] = init_bottleneck(
            keys[13], inputs=4 * config.widths[2], width=config.widths[3], stride=2, dtype=dtype
        )
        params["layer4"]["1:"], state["layer4"]["1:"] = init_layers(
            partial(
                init_bottleneck,
                inputs=4 * config.widths[3],
                width=config.widths[3],
                stride=1,
                dtype=dtype,
            ),
            keys[15],
            config.depths[3] - 1,
        )
    else:
        params["layer1"]["0"], state["layer1"]["0"] = init_basic_block(
            keys[2], inputs=config.stem, width=config.widths[0], stride=1, dtype=dtype
        )
        params["layer1"]["1:"], state["layer1"]["1:"] = init_layers(
            partial(
                init_basic_block,
                inputs=config.widths[0],
                width=config.widths[0],
                stride=1,
                dtype=dtype,
            ),
            keys[4],
            config.depths[0] - 1,
        )
        params["layer2"]["0"], state["layer2"]["0"] = init_basic_block(
            keys[6], inputs=config.widths[0], width=config.widths[1], stride=2, dtype=dtype
        )
        params["layer2"]["1:"], state["layer2"]["1:"] = init_layers(
            partial(
                init_basic_block,
                inputs=config.widths[1],
                width=config.widths[1],
                stride=1,
                dtype=dtype,
            ),
            keys[8],
            config.depths[1] - 1,
        )
        params["layer3"]["0"], state["layer3"]["0"] = init_basic_block(
            keys[10], inputs=config.widths[1], width=config.widths[2], stride=2, dtype=dtype
        )
        params["layer3"]["1:"], state["layer3"]["1:"] = init_layers(
            partial(
                init_basic_block,
                inputs=config.widths[2],
                width=config.widths[2],
                stride=1,
                dtype=dtype,
            ),
            keys[12],
            config.depths[2] - 1,
        )
        params["layer4"]["0"], state["layer4"]["0"] = init_basic_block(
            keys[14], inputs=config.widths[2], width=config.widths[3], stride=2, dtype=dtype
        )
        params["layer4"]["1:"], state["layer4"]["1:"] = init_layers(
            partial(
                init_basic_block,
                inputs=config.widths[3],
                width=config.widths[3],
                stride=1,
                dtype=dtype,
            ),
            keys[16],
            config.depths[3] - 1,
        )
    params["fc"] = init_linear(
        keys[17],
        4 * config.widths[3] if config.bottleneck else config.widths[3],
        config.classes,
        dtype,
    )
    return params, state


def apply(
    params: Params, state: State, x: Array, *, config: Config = CONFIG, training: bool = False
) -> tuple[Array, State]:
    """x: [B, 3, H, W] -> logits: [B, classes]"""
    state = jax.tree.map(lambda leaf: leaf, state)
    x = conv2d(params["conv1"], x, stride=2, padding=3)  # [B, stem, (H + 1) // 2, (W + 1) // 2]
    x, state["bn1"] = batch_norm(params["bn1"], state["bn1"], x, training=training)
    x = jax.nn.relu(x)
    x = max_pool2d(x, 3, stride=2, padding=1)  # [B, stem, (H + 3) // 4, (W + 3) // 4]
    if config.bottleneck:
        x, state["layer1"]["0"] = bottleneck(
            params["layer1"]["0"], state["layer1"]["0"], x, stride=1, training=training
        )  # [B, 4 * widths[0], (H + 3) // 4, (W + 3) // 4]
        x, state["layer1"]["1:"] = lax.scan(
            lambda x, layer: bottleneck(*layer, x, stride=1, training=training),
            x,
            (params["layer1"]["1:"], state["layer1"]["1:"]),
        )
        x, state["layer2"]["0"] = bottleneck(
            params["layer2"]["0"], state["layer2"]["0"], x, stride=2, training=training
        )  # [B, 4 * widths[1], (H + 7) // 8, (W + 7) // 8]
        x, state["layer2"]["1:"] = lax.scan(
            lambda x, layer: bottleneck(*layer, x, stride=1, training=training),
            x,
            (params["layer2"]["1:"], state["layer2"]["1:"]),
        )
        x, state["layer3"]["0"] = bottleneck(
            params["layer3"]["0"], state["layer3"]["0"], x, stride=2, training=training
        )
        x, state["layer3"]["1:"] = lax.scan(
            lambda x, layer: bottleneck(*layer, x, stride=1, training=training),
            x,
            (params["layer3"]["1:"], state["layer3"]["1:"]),
        )
        x, state["layer4"]["0"] = bottleneck(
            params["layer4"]["0"], state["layer4"]["0"], x, stride=2, training=training
        )
        x, state["layer4"]["1:"] = lax.scan(
            lambda x, layer: bottleneck(*layer, x, stride=1, training=training),
            x,
            (params["layer4"]["1:"], state["layer4"]["1:"]),
        )
    else:
        x, state["layer1"]["0"] = basic_block(
            params["layer1"]["0"], state["layer1"]["0"], x, stride=1, training=training
        )  # [B, widths[0], (H + 3) // 4, (W + 3) // 4]
        x, state["layer1"]["1:"] = lax.scan(
            lambda x, layer: basic_block(*layer, x, stride=1, training=training),
            x,
            (params["layer1"]["1:"], state["layer1"]["1:"]),
        )
        x, state["layer2"]["0"] = basic_block(
            params["layer2"]["0"], state["layer2"]["0"], x, stride=2, training=training
        )  # [B, widths[1], (H + 7) // 8, (W + 7) // 8]
        x, state["layer2"]["1:"] = lax.scan(
            lambda x, layer: basic_block(*layer, x, stride=1, training=training),
            x,
            (params["layer2"]["1:"], state["layer2"]["1:"]),
        )
        x, state["layer3"]["0"] = basic_block(
            params["layer3"]["0"], state["layer3"]["0"], x, stride=2, training=training
        )  # [B, widths[2], (H + 15) // 16, (W + 15) // 16]
        x, state["layer3"]["1:"] = lax.scan(
            lambda x, layer: basic_block(*layer, x, stride=1, training=training),
            x,
            (params["layer3"]["1:"], state["layer3"]["1:"]),
        )
        x, state["layer4"]["0"] = basic_block(
            params["layer4"]["0"], state["layer4"]["0"], x, stride=2, training=training
        )  # [B, widths[3], (H + 31) // 32, (W + 31) // 32]
        x, state["layer4"]["1:"] = lax.scan(
            lambda x, layer: basic_block(*layer, x, stride=1, training=training),
            x,
            (params["layer4"]["1:"], state["layer4"]["1:"]),
        )
    return linear(params["fc"], jnp.mean(x, axis=(2, 3))), state


# What checkpoints call parts that have another place here; layers by their number.
PATHS: dict[str, Any] = {
    "layer1.1:": lambda i: f"{i + 1}",
    "layer2.1:": lambda i: f"{i + 1}",
    "layer3.1:": lambda i: f"{i + 1}",
    "layer4.1:": lambda i: f"{i + 1}",
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
