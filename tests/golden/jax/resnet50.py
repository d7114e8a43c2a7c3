# ResNet50 of resnet.dl (digest 1861bdb4513a02e4), written by dlc 0.1.0.
"""ResNet

    params, state = init(jax.random.key(0))
    outputs, state = apply(params, state, x)

Under `jax.jit`: `static_argnames=("config", "training")`.
"""

import math
from dataclasses import dataclass
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
        if self.bottleneck and len(self.depths) < 1:
            raise ValueError(
                "not bottleneck or len(depths) >= 1 must hold, "
                f"but bottleneck is {self.bottleneck} and depths is {self.depths}"
            )
        if len(self.widths) < len(self.depths):
            raise ValueError(
                "len(widths) >= len(depths) must hold, "
                f"but widths is {self.widths} and depths is {self.depths}"
            )
        if not all(each >= 1 for each in self.depths):
            raise ValueError(
                f"all(each >= 1 for each in depths) must hold, but depths is {self.depths}"
            )


CONFIG = Config()


def in_two_trees(layers: dict[str, tuple[Params, State]]) -> tuple[Params, State]:
    """Parameters of layers by their names, and their state."""
    params = {name: each for name, (each, _) in layers.items()}
    return params, {name: each for name, (_, each) in layers.items()}


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


def layer(
    params: Params,
    state: State,
    x: Array,
    *,
    depth: int,
    s: int,
    bottleneck_: bool,
    training: bool = False,
) -> tuple[Array, State]:
    """A stage of ResNet, under `layer{…}`.

    x: [B, channels, H, W]
    -> [B, _, (H - 1) // (2 if s > 0 else 1) + 1, (W - 1) // (2 if s > 0 else 1) + 1]
    """
    state = dict(state)
    for i in range(depth):
        if bottleneck_:
            x, state[str(i)] = bottleneck(
                params[str(i)],
                state[str(i)],
                x,
                stride=2 if s > 0 and i == 0 else 1,
                training=training,
            )
        else:
            x, state[str(i)] = basic_block(
                params[str(i)],
                state[str(i)],
                x,
                stride=2 if s > 0 and i == 0 else 1,
                training=training,
            )
    return x, state


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


def init_layer(
    key: Array, *, depth: int, s: int, bottleneck: bool, channels: int, width: int, dtype: DTypeLike
) -> tuple[Params, State]:
    """Initial parameters and state of `Layer`."""
    keys = jax.random.split(key, 2)
    params: Params = {}
    state: State = {}
    if bottleneck:
        more_params, more_state = in_two_trees(
            {
                str(i): init_bottleneck(
                    each,
                    inputs=channels if i == 0 else 4 * width,
                    width=width,
                    stride=2 if s > 0 and i == 0 else 1,
                    dtype=dtype,
                )
                for i, each in enumerate(jax.random.split(keys[0], depth))
            }
        )
        params |= more_params
        state |= more_state
    else:
        more_params, more_state = in_two_trees(
            {
                str(i): init_basic_block(
                    each,
                    inputs=channels if i == 0 else width,
                    width=width,
                    stride=2 if s > 0 and i == 0 else 1,
                    dtype=dtype,
                )
                for i, each in enumerate(jax.random.split(keys[1], depth))
            }
        )
        params |= more_params
        state |= more_state
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
    keys = jax.random.split(key, 3)
    params: Params = {}
    state: State = {}
    params["conv1"] = init_conv2d(keys[0], 3, config.stem, 7, dtype)
    params["bn1"], state["bn1"] = init_batch_norm(config.stem, dtype)
    more_params, more_state = in_two_trees(
        {
            f"layer{s + 1}": init_layer(
                each,
                depth=config.depths[s],
                s=s,
                bottleneck=config.bottleneck,
                channels=(
                    config.stem
                    if s == 0
                    else 4 * config.widths[s - 1]
                    if config.bottleneck
                    else config.widths[s - 1]
                ),
                width=config.widths[s],
                dtype=dtype,
            )
            for s, each in enumerate(jax.random.split(keys[1], len(config.depths)))
        }
    )
    params |= more_params
    state |= more_state
    params["fc"] = init_linear(
        keys[2],
        (
            4 * config.widths[len(config.depths) - 1]
            if config.bottleneck
            else (config.stem, *config.widths)[len(config.depths)]
        ),
        config.classes,
        dtype,
    )
    return params, state


def apply(
    params: Params, state: State, x: Array, *, config: Config = CONFIG, training: bool = False
) -> tuple[Array, State]:
    """x: [B, 3, H, W] -> logits: [B, classes]"""
    state = dict(state)
    x = conv2d(params["conv1"], x, stride=2, padding=3)  # [B, stem, (H + 1) // 2, (W + 1) // 2]
    x, state["bn1"] = batch_norm(params["bn1"], state["bn1"], x, training=training)
    x = jax.nn.relu(x)
    x = max_pool2d(x, 3, stride=2, padding=1)  # [B, stem, (H + 3) // 4, (W + 3) // 4]
    for s in range(len(config.depths)):
        x, state[f"layer{s + 1}"] = layer(
            params[f"layer{s + 1}"],
            state[f"layer{s + 1}"],
            x,
            depth=config.depths[s],
            s=s,
            bottleneck_=config.bottleneck,
            training=training,
        )
    return linear(params["fc"], jnp.mean(x, axis=(2, 3))), state


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


def from_flat(flat: Params, config: Config = CONFIG) -> tuple[Params, State]:
    """What `init` gives, of parameters by their paths in checkpoints."""
    params, state = jax.eval_shape(lambda key: init(key, config), jax.random.key(0))
    return arranged(params, flat), arranged(state, flat)


def to_flat(params: Params, path: str = "") -> Params:
    """Parameters by their paths in checkpoints."""
    flat: Params = {}
    for name, value in params.items():
        if isinstance(value, dict):
            flat |= to_flat(value, f"{path}{name}.")
        else:
            flat[path + name] = value
    return flat
