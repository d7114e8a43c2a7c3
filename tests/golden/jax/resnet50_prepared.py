# ResNet50 of resnet.dl (digest 1861bdb4513a02e4), written by dlc 0.1.0.
"""ResNet

    params, state = init(jax.random.key(0))
    params = prepare(params, state)
    outputs, state = apply(params, state, x)

Under `jax.jit`: `static_argnames="config"`.
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


def convolve2d(
    x: Array,
    w: Array,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Array:
    """Convolution of x: [B, c, H, W] with w: [out, c, h, w].

    On a CPU, XLA is faster with channels last.
    """
    y = lax.conv_general_dilated(
        x.transpose(0, 2, 3, 1),
        w.transpose(2, 3, 1, 0),
        window_strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
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


def shortcut(params: Params, x: Array, *, stride: int) -> Array:
    """Where a block changes the shape of its input, a 1x1 convolution gives the shortcut the same
    shape.

    x: [B, C, H, W] -> [B, out, (H - 1) // stride + 1, (W - 1) // stride + 1]
    """
    y = convolve2d(x, params["0_folded_weight"], stride=stride)
    return y + params["0_folded_bias"][:, None, None]


def bottleneck(params: Params, x: Array, *, stride: int) -> Array:
    """Narrow, 3x3, wide again: the expensive convolution runs on a quarter of the channels.

    x: [B, inputs, H, W] -> [B, 4 * width, (H - 1) // stride + 1, (W - 1) // stride + 1]
    """
    y = convolve2d(x, params["conv1_folded_weight"])  # [B, width, H, W]
    y = jax.nn.relu(y + params["conv1_folded_bias"][:, None, None])
    y = convolve2d(y, params["conv2_folded_weight"], stride=stride, padding=1)
    y = jax.nn.relu(y + params["conv2_folded_bias"][:, None, None])
    y = convolve2d(y, params["conv3_folded_weight"])
    y = y + params["conv3_folded_bias"][:, None, None]
    if "downsample" in params:
        x = shortcut(params["downsample"], x, stride=stride)
    return jax.nn.relu(x + y)


def basic_block(params: Params, x: Array, *, stride: int) -> Array:
    """Two 3x3 convolutions: ResNet-18 and -34.

    x: [B, inputs, H, W] -> [B, width, (H - 1) // stride + 1, (W - 1) // stride + 1]
    """
    y = convolve2d(x, params["conv1_folded_weight"], stride=stride, padding=1)
    y = jax.nn.relu(y + params["conv1_folded_bias"][:, None, None])
    y = convolve2d(y, params["conv2_folded_weight"], padding=1)
    y = y + params["conv2_folded_bias"][:, None, None]
    if "downsample" in params:
        x = shortcut(params["downsample"], x, stride=stride)
    return jax.nn.relu(x + y)


def folded_weight(weight: Array, running_var: Array, gamma: Array) -> Array:
    return weight * (lax.rsqrt(running_var + 1e-5) * gamma)[:, None, None, None]


def folded_bias(running_var: Array, gamma: Array, running_mean: Array, beta: Array) -> Array:
    return beta - running_mean * (lax.rsqrt(running_var + 1e-5) * gamma)


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


def init_shortcut(key: Array, *, dtype: DTypeLike) -> tuple[Params, State]:
    """Initial parameters and state of `Shortcut`."""
    params: Params = {}
    state: State = {}
    params["0"] = init_conv2d(key, 3, 64, 7, dtype)
    params["1"], state["1"] = init_batch_norm(64, dtype)
    return params, state


def init_bottleneck(
    key: Array, *, inputs: int, width: int, stride: int, dtype: DTypeLike
) -> tuple[Params, State]:
    """Initial parameters and state of `Bottleneck`."""
    keys = jax.random.split(key, 4)
    params: Params = {}
    state: State = {}
    params["conv1"] = init_conv2d(keys[0], 3, 64, 7, dtype)
    params["bn1"], state["bn1"] = init_batch_norm(64, dtype)
    params["conv2"] = init_conv2d(keys[1], 3, 64, 7, dtype)
    params["bn2"], state["bn2"] = init_batch_norm(64, dtype)
    params["conv3"] = init_conv2d(keys[2], 3, 64, 7, dtype)
    params["bn3"], state["bn3"] = init_batch_norm(64, dtype)
    if stride != 1 or inputs != 4 * width:
        params["downsample"], state["downsample"] = init_shortcut(keys[3], dtype=dtype)
    return params, state


def init_basic_block(
    key: Array, *, inputs: int, width: int, stride: int, dtype: DTypeLike
) -> tuple[Params, State]:
    """Initial parameters and state of `BasicBlock`."""
    keys = jax.random.split(key, 3)
    params: Params = {}
    state: State = {}
    params["conv1"] = init_conv2d(keys[0], 3, 64, 7, dtype)
    params["bn1"], state["bn1"] = init_batch_norm(64, dtype)
    params["conv2"] = init_conv2d(keys[1], 3, 64, 7, dtype)
    params["bn2"], state["bn2"] = init_batch_norm(64, dtype)
    if stride != 1 or inputs != width:
        params["downsample"], state["downsample"] = init_shortcut(keys[2], dtype=dtype)
    return params, state


def init_linear(key: Array, inputs: int, out: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `linear`."""
    bound = 1 / math.sqrt(inputs)
    keys = jax.random.split(key, 2)
    return {
        "weight": jax.random.uniform(keys[0], (out, inputs), dtype, -bound, bound),
        "bias": jax.random.uniform(keys[1], (out,), dtype, -bound, bound),
    }


def init(
    key: Array, config: Config = CONFIG, dtype: DTypeLike = jnp.float32
) -> tuple[Params, State]:
    """Initial parameters and state."""
    keys = jax.random.split(key, 18)
    params: Params = {"layer1": {}, "layer2": {}, "layer3": {}, "layer4": {}}
    state: State = {"layer1": {}, "layer2": {}, "layer3": {}, "layer4": {}}
    params["conv1"] = init_conv2d(keys[0], 3, 64, 7, dtype)
    params["bn1"], state["bn1"] = init_batch_norm(64, dtype)
    if config.bottleneck:
        params["layer1"]["0"], state["layer1"]["0"] = init_bottleneck(
            keys[1], inputs=64, width=config.widths[0], stride=1, dtype=dtype
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
            keys[2], inputs=64, width=config.widths[0], stride=1, dtype=dtype
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


def prepare_shortcut(params: Params, state: State) -> Params:
    """The parameters that `apply` reads: what is computed of others once is in their place."""
    params = dict(params)
    params["0_folded_weight"] = folded_weight(
        params["0"]["weight"], state["1"]["running_var"], params["1"]["weight"]
    )
    params["0_folded_bias"] = folded_bias(
        state["1"]["running_var"],
        params["1"]["weight"],
        state["1"]["running_mean"],
        params["1"]["bias"],
    )
    del params["0"], params["1"]
    return params


def prepare_bottleneck(params: Params, state: State) -> Params:
    """The parameters that `apply` reads: what is computed of others once is in their place."""
    params = dict(params)
    params["conv1_folded_weight"] = folded_weight(
        params["conv1"]["weight"], state["bn1"]["running_var"], params["bn1"]["weight"]
    )
    params["conv1_folded_bias"] = folded_bias(
        state["bn1"]["running_var"],
        params["bn1"]["weight"],
        state["bn1"]["running_mean"],
        params["bn1"]["bias"],
    )
    params["conv2_folded_weight"] = folded_weight(
        params["conv2"]["weight"], state["bn2"]["running_var"], params["bn2"]["weight"]
    )
    params["conv2_folded_bias"] = folded_bias(
        state["bn2"]["running_var"],
        params["bn2"]["weight"],
        state["bn2"]["running_mean"],
        params["bn2"]["bias"],
    )
    params["conv3_folded_weight"] = folded_weight(
        params["conv3"]["weight"], state["bn3"]["running_var"], params["bn3"]["weight"]
    )
    params["conv3_folded_bias"] = folded_bias(
        state["bn3"]["running_var"],
        params["bn3"]["weight"],
        state["bn3"]["running_mean"],
        params["bn3"]["bias"],
    )
    del params["conv1"], params["bn1"], params["conv2"], params["bn2"], params["conv3"]
    del params["bn3"]
    if "downsample" in params:
        params["downsample"] = prepare_shortcut(params["downsample"], state["downsample"])
    return params


def prepare(params: Params, state: State) -> Params:
    """The parameters that `apply` reads: what is computed of others once is in their place."""
    params = jax.tree.map(lambda leaf: leaf, params)
    params["conv1_folded_weight"] = folded_weight(
        params["conv1"]["weight"], state["bn1"]["running_var"], params["bn1"]["weight"]
    )
    params["conv1_folded_bias"] = folded_bias(
        state["bn1"]["running_var"],
        params["bn1"]["weight"],
        state["bn1"]["running_mean"],
        params["bn1"]["bias"],
    )
    del params["conv1"], params["bn1"]
    if "0" in params["layer1"]:
        params["layer1"]["0"] = prepare_bottleneck(params["layer1"]["0"], state["layer1"]["0"])
    if "1:" in params["layer1"]:
        params["layer1"]["1:"] = jax.vmap(prepare_bottleneck)(
            params["layer1"]["1:"], state["layer1"]["1:"]
        )
    if "0" in params["layer2"]:
        params["layer2"]["0"] = prepare_bottleneck(params["layer2"]["0"], state["layer2"]["0"])
    if "1:" in params["layer2"]:
        params["layer2"]["1:"] = jax.vmap(prepare_bottleneck)(
            params["layer2"]["1:"], state["layer2"]["1:"]
        )
    if "0" in params["layer3"]:
        params["layer3"]["0"] = prepare_bottleneck(params["layer3"]["0"], state["layer3"]["0"])
    if "1:" in params["layer3"]:
        params["layer3"]["1:"] = jax.vmap(prepare_bottleneck)(
            params["layer3"]["1:"], state["layer3"]["1:"]
        )
    if "0" in params["layer4"]:
        params["layer4"]["0"] = prepare_bottleneck(params["layer4"]["0"], state["layer4"]["0"])
    if "1:" in params["layer4"]:
        params["layer4"]["1:"] = jax.vmap(prepare_bottleneck)(
            params["layer4"]["1:"], state["layer4"]["1:"]
        )
    return params


def apply(
    params: Params, state: State, x: Array, *, config: Config = CONFIG
) -> tuple[Array, State]:
    """x: [B, 3, H, W] -> logits: [B, classes]"""
    y = convolve2d(x, params["conv1_folded_weight"], stride=2, padding=3)
    x = jax.nn.relu(y + params["conv1_folded_bias"][:, None, None])
    x = max_pool2d(x, 3, stride=2, padding=1)  # [B, 64, (H + 3) // 4, (W + 3) // 4]
    if config.bottleneck:
        x = bottleneck(params["layer1"]["0"], x, stride=1)
        x, _ = lax.scan(
            lambda x, layer: (bottleneck(layer, x, stride=1), None), x, params["layer1"]["1:"]
        )
        x = bottleneck(params["layer2"]["0"], x, stride=2)
        x, _ = lax.scan(
            lambda x, layer: (bottleneck(layer, x, stride=1), None), x, params["layer2"]["1:"]
        )
        x = bottleneck(params["layer3"]["0"], x, stride=2)
        x, _ = lax.scan(
            lambda x, layer: (bottleneck(layer, x, stride=1), None), x, params["layer3"]["1:"]
        )
        x = bottleneck(params["layer4"]["0"], x, stride=2)
        x, _ = lax.scan(
            lambda x, layer: (bottleneck(layer, x, stride=1), None), x, params["layer4"]["1:"]
        )
    else:
        x = basic_block(params["layer1"]["0"], x, stride=1)
        x, _ = lax.scan(
            lambda x, layer: (basic_block(layer, x, stride=1), None), x, params["layer1"]["1:"]
        )
        x = basic_block(params["layer2"]["0"], x, stride=2)
        x, _ = lax.scan(
            lambda x, layer: (basic_block(layer, x, stride=1), None), x, params["layer2"]["1:"]
        )
        x = basic_block(params["layer3"]["0"], x, stride=2)
        x, _ = lax.scan(
            lambda x, layer: (basic_block(layer, x, stride=1), None), x, params["layer3"]["1:"]
        )
        x = basic_block(params["layer4"]["0"], x, stride=2)
        x, _ = lax.scan(
            lambda x, layer: (basic_block(layer, x, stride=1), None), x, params["layer4"]["1:"]
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
