# ViT_B16 of vit.dl (digest 7a2912b323602ea0), written by dlc 0.1.0.
"""Each patch of the image becomes one token, and a learnt class token in front of them
collects the answer. Attention has no sense of place, so each position has a vector of its
own.

    params = init(jax.random.key(0))
    outputs = apply(params, x)

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


@dataclass(frozen=True)
class Config:
    """The static parameters."""

    size: int = 224
    patch: int = 16
    layers: int = 12
    d: int = 768
    heads: int = 12
    mlp: int | None = None
    classes: int = 1000

    def __post_init__(self) -> None:
        if self.mlp is None:
            object.__setattr__(self, "mlp", 4 * self.d)
        if self.size % self.patch != 0:
            raise ValueError(
                f"size % patch == 0 must hold, but size is {self.size} and patch is {self.patch}"
            )
        if self.d % self.heads != 0:
            raise ValueError(
                f"d % heads == 0 must hold, but d is {self.d} and heads is {self.heads}"
            )
        if self.heads < 1:
            raise ValueError(f"heads >= 1 must hold, but heads is {self.heads}")


CONFIG = Config()


def init_layers(init: Callable[[Array], Any], key: Array, count: int) -> Any:
    """Equal layers as one tree for `lax.scan`: they stand along the first axis of every leaf."""
    return jax.vmap(init)(jax.random.split(key, count))


def linear(params: Params, x: Array) -> Array:
    """x @ weight.T + bias."""
    y = x @ params["weight"].T
    return y + params["bias"] if "bias" in params else y


def layer_norm(params: Params, x: Array, *, eps: float = 1e-5) -> Array:
    """x with mean 0 and variance 1 over its last axis, scaled and shifted."""
    mean = jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.var(x, axis=-1, keepdims=True)
    y = (x - mean) * lax.rsqrt(variance + eps) * params["weight"]
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


def dot_product_attention(q: Array, k: Array, v: Array) -> Array:
    """softmax(q k^T * scale + bias) v over the last two axes (Vaswani et al., 2017).

    q: [B, heads, T, e], k: [B, kv_heads, U, e], v: [B, kv_heads, U, f] -> [B, heads, T, f]
    """
    e = q.shape[3]
    scores = q @ k.mT * (1 / math.sqrt(e))  # [B, heads, T, U]
    return jax.nn.softmax(scores, axis=-1) @ v


def multihead_attention(params: Params, q: Array, k: Array, v: Array, *, heads: int) -> Array:
    """PyTorch's nn.MultiheadAttention, batch first: one packed input projection, its parts in the
    order q, k, v.

    q: [B, T, d], k: [B, U, d], v: [B, U, d] -> [B, T, d]
    """
    _, T, d = q.shape
    U = k.shape[1]
    query, key_2, value = jnp.split(params["in_proj_weight"], 3, axis=0)  # [d, d]
    query = q @ query.T  # [B, T, d]
    key_2 = k @ key_2.T  # [B, U, d]
    value = v @ value.T
    query_2, key_3, value_2 = jnp.split(params["in_proj_bias"], 3, axis=0)  # [d]
    query = query + query_2
    key_2 = key_2 + key_3
    value = value + value_2
    query = query.reshape(-1, T, heads, d // heads).swapaxes(1, 2)  # [B, heads, T, d // heads]
    key_2 = key_2.reshape(-1, U, heads, d // heads).swapaxes(1, 2)  # [B, heads, U, d // heads]
    value = value.reshape(-1, U, heads, d // heads).swapaxes(1, 2)
    y = dot_product_attention(query, key_2, value).swapaxes(1, 2).reshape(-1, T, d)  # [B, T, d]
    return linear(params["out_proj"], y)


def encoder_block(params: Params, x: Array, *, heads: int) -> Array:
    """Norm first: each half adds to a stream that nothing else touches, which keeps deep stacks
    trainable.

    x: [B, T, d] -> [B, T, d]
    """
    y = layer_norm(params["ln_1"], x, eps=1e-6)
    x = x + multihead_attention(params["self_attention"], y, y, y, heads=heads)
    y = linear(params["mlp"]["0"], layer_norm(params["ln_2"], x, eps=1e-6))  # [B, T, mlp]
    return x + linear(params["mlp"]["3"], jax.nn.gelu(y, approximate=False))


def init_conv2d(
    key: Array, inputs: int, out: int, kernel: int, dtype: DTypeLike, *, groups: int = 1
) -> Params:
    """Initial parameters of `conv2d`."""
    std = 1 / math.sqrt(kernel**2 * (inputs // groups))
    return {
        "weight": std * jax.random.normal(key, (out, inputs // groups, kernel, kernel), dtype),
        "bias": jnp.zeros((out,), dtype),
    }


def init_layer_norm(d: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `layer_norm`."""
    return {
        "weight": jnp.ones((d,), dtype),
        "bias": jnp.zeros((d,), dtype),
    }


def init_linear(key: Array, inputs: int, out: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `linear`."""
    bound = 1 / math.sqrt(inputs)
    return {
        "weight": jax.random.uniform(key, (out, inputs), dtype, -bound, bound),
        "bias": jnp.zeros((out,), dtype),
    }


def init_multihead_attention(key: Array, *, d: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `multihead_attention`."""
    bound = math.sqrt(6 / (4 * d))
    keys = jax.random.split(key, 2)
    return {
        "in_proj_weight": jax.random.uniform(keys[0], (3 * d, d), dtype, -bound, bound),
        "in_proj_bias": jnp.zeros((3 * d,), dtype),
        "out_proj": init_linear(keys[1], d, d, dtype),
    }


def init_linear_with_std(
    key: Array, inputs: int, out: int, dtype: DTypeLike, *, std: float
) -> Params:
    """Initial parameters of `linear`."""
    bound = math.sqrt(6 / (inputs + out))
    keys = jax.random.split(key, 2)
    return {
        "weight": jax.random.uniform(keys[0], (out, inputs), dtype, -bound, bound),
        "bias": std * jax.random.normal(keys[1], (out,), dtype),
    }


def init_encoder_block(key: Array, *, d: int, mlp: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `EncoderBlock`."""
    keys = jax.random.split(key, 3)
    return {
        "ln_1": init_layer_norm(d, dtype),
        "self_attention": init_multihead_attention(keys[0], d=d, dtype=dtype),
        "ln_2": init_layer_norm(d, dtype),
        "mlp": {
            "0": init_linear_with_std(keys[1], d, mlp, dtype, std=1e-6),
            "3": init_linear_with_std(keys[2], mlp, d, dtype, std=1e-6),
        },
    }


def init_linear_without_key(inputs: int, out: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `linear`."""
    return {
        "weight": jnp.zeros((out, inputs), dtype),
        "bias": jnp.zeros((out,), dtype),
    }


def init(key: Array, config: Config = CONFIG, dtype: DTypeLike = jnp.float32) -> Params:
    """Initial parameters."""
    keys = jax.random.split(key, 3)
    return {
        "class_token": jnp.zeros((1, 1, config.d), dtype),
        "encoder": {
            "pos_embedding": 0.02
            * jax.random.normal(
                keys[0], (1, (config.size // config.patch) ** 2 + 1, config.d), dtype
            ),
            "layers": {
                "encoder_layer": init_layers(
                    partial(init_encoder_block, d=config.d, mlp=config.mlp, dtype=dtype),
                    keys[2],
                    config.layers,
                ),
            },
            "ln": init_layer_norm(config.d, dtype),
        },
        "conv_proj": init_conv2d(keys[1], 3, config.d, config.patch, dtype),
        "heads": {"head": init_linear_without_key(config.d, config.classes, dtype)},
    }


def apply(params: Params, x: Array, *, config: Config = CONFIG) -> Array:
    """Each patch of the image becomes one token, and a learnt class token in front of them
    collects the answer. Attention has no sense of place, so each position has a vector of its
    own.

    x: [B, 3, size, size] -> logits: [B, classes]
    """
    B = x.shape[0]
    x = conv2d(params["conv_proj"], x, stride=config.patch).transpose(0, 2, 3, 1)
    x = x.reshape(-1, (config.size // config.patch) ** 2, config.d)  # [B, (size // patch) ** 2, d]
    y = jnp.broadcast_to(params["class_token"], (B, 1, config.d))  # [B, 1, d]
    x = jnp.concatenate([y, x], axis=1) + params["encoder"]["pos_embedding"]
    x, _ = lax.scan(
        lambda x, layer: (encoder_block(layer, x, heads=config.heads), None),
        x,
        params["encoder"]["layers"]["encoder_layer"],
    )
    x = layer_norm(params["encoder"]["ln"], x, eps=1e-6)
    return linear(params["heads"]["head"], x[:, 0])


# What checkpoints call parts that have another place here; layers by their number.
PATHS: dict[str, Any] = {
    "encoder.layers.encoder_layer": lambda i: f"encoder_layer_{i}",
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


def from_flat(flat: Params, config: Config = CONFIG) -> Params:
    """What `init` gives, of parameters by their paths in checkpoints."""
    return filled(jax.eval_shape(lambda key: init(key, config), jax.random.key(0)), flat)


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
