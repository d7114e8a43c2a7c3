# ViT_B16 of vit.dl, written by a test.
"""Each patch of the image becomes one token, and a learnt class token in front of them
collects the answer. Attention has no sense of place, so each position has a vector of its
own.

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


def dot_product_attention(q: Array, k: Array, v: Array) -> Array:
    """softmax(q k^T * scale + bias) v over the last two axes (Vaswani et al., 2017).

    q: [B, 12, 197, 64], k: [B, 12, 197, 64], v: [B, 12, 197, 64] -> [B, 12, 197, 64]
    """
    scores = q @ k.mT * 0.125  # [B, 12, 197, 197]
    return jax.nn.softmax(scores, axis=-1) @ v


def multihead_attention(params: Params, q: Array, k: Array, v: Array) -> Array:
    """PyTorch's nn.MultiheadAttention, batch first: one packed input projection, its parts in the
    order q, k, v.

    q: [B, 197, 768], k: [B, 197, 768], v: [B, 197, 768] -> [B, 197, 768]
    """
    query, key, value = jnp.split(params["in_proj_weight"], 3, axis=0)  # [768, 768]
    query = q @ query.T  # [B, 197, 768]
    key = k @ key.T
    value = v @ value.T
    query_2, key_2, value_2 = jnp.split(params["in_proj_bias"], 3, axis=0)  # [768]
    query = query + query_2
    key = key + key_2
    value = value + value_2
    query = query.reshape(-1, 197, 12, 64).swapaxes(1, 2)  # [B, 12, 197, 64]
    key = key.reshape(-1, 197, 12, 64).swapaxes(1, 2)
    value = value.reshape(-1, 197, 12, 64).swapaxes(1, 2)
    y = dot_product_attention(query, key, value).swapaxes(1, 2).reshape(-1, 197, 768)
    return linear(params["out_proj"], y)


def encoder_block(params: Params, x: Array) -> Array:
    """Norm first: each half adds to a stream that nothing else touches, which keeps deep stacks
    trainable.

    x: [B, 197, d] -> [B, 197, d]
    """
    y = layer_norm(params["ln_1"], x, eps=1e-6)
    x = x + multihead_attention(params["self_attention"], y, y, y)
    y = linear(params["mlp"]["0"], layer_norm(params["ln_2"], x, eps=1e-6))  # [B, 197, mlp]
    return x + linear(params["mlp"]["3"], jax.nn.gelu(y, approximate=False))


def init_conv2d(key: Array, path: str, shape: tuple[int, ...]) -> Params:
    """Initial parameters of `conv2d`, from the shape of its weight."""
    std = 1 / math.sqrt(math.prod(shape[1:]))
    return {
        f"{path}.weight": std * jax.random.normal(key, shape, jnp.float32),
        f"{path}.bias": jnp.zeros(shape[:1], jnp.float32),
    }


def init_layer_norm(path: str, shape: tuple[int, ...]) -> Params:
    """Initial parameters of `layer_norm`, from the shape of its weight."""
    return {
        f"{path}.weight": jnp.ones(shape, jnp.float32),
        f"{path}.bias": jnp.zeros(shape, jnp.float32),
    }


def init_multihead_attention(key: Array, path: str, shape: tuple[int, ...]) -> Params:
    """Initial parameters of `multihead_attention`, from the shape of its in_proj_weight."""
    bound = math.sqrt(6 / sum(shape))
    return {
        f"{path}.in_proj_weight": jax.random.uniform(key, shape, jnp.float32, -bound, bound),
        f"{path}.in_proj_bias": jnp.zeros(shape[:1], jnp.float32),
    }


def init_linear(key: Array, path: str, shape: tuple[int, ...]) -> Params:
    """Initial parameters of `linear`, from the shape of its weight."""
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    return {
        f"{path}.weight": jax.random.uniform(key, shape, jnp.float32, -bound, bound),
        f"{path}.bias": jnp.zeros(shape[:1], jnp.float32),
    }


def init_linear_2(key: Array, path: str, shape: tuple[int, ...]) -> Params:
    """Initial parameters of `linear`, from the shape of its weight."""
    bound = math.sqrt(6 / sum(shape))
    keys = jax.random.split(key, 2)
    return {
        f"{path}.weight": jax.random.uniform(keys[0], shape, jnp.float32, -bound, bound),
        f"{path}.bias": 1e-6 * jax.random.normal(keys[1], shape[:1], jnp.float32),
    }


def init(key: Array) -> Params:
    """Initial parameters and buffers, by path."""
    keys = iter(jax.random.split(key, 50))
    params: Params = {}
    params["class_token"] = jnp.zeros((1, 1, 768), jnp.float32)
    params["encoder.pos_embedding"] = 0.02 * jax.random.normal(
        next(keys), (1, 197, 768), jnp.float32
    )
    params |= init_conv2d(next(keys), "conv_proj", (768, 3, 16, 16))
    for i in range(12):
        params |= init_layer_norm(f"encoder.layers.encoder_layer_{i}.ln_1", (768,))
        params |= init_multihead_attention(
            next(keys), f"encoder.layers.encoder_layer_{i}.self_attention", (2304, 768)
        )
        params |= init_linear(
            next(keys), f"encoder.layers.encoder_layer_{i}.self_attention.out_proj", (768, 768)
        )
        params |= init_layer_norm(f"encoder.layers.encoder_layer_{i}.ln_2", (768,))
        params |= init_linear_2(next(keys), f"encoder.layers.encoder_layer_{i}.mlp.0", (3072, 768))
        params |= init_linear_2(next(keys), f"encoder.layers.encoder_layer_{i}.mlp.3", (768, 3072))
    params |= init_layer_norm("encoder.ln", (768,))
    params["heads.head.weight"] = jnp.zeros((1000, 768), jnp.float32)
    params["heads.head.bias"] = jnp.zeros((1000,), jnp.float32)
    return params


def stack(params: Params) -> Params:
    """A tree with the layers of loops stacked, for `forward`: made once for many calls."""
    tree = nest(params)
    tree["encoder"]["layers"]["encoder_layer_0:12"] = stack_layers(
        tree["encoder"]["layers"][f"encoder_layer_{i}"] for i in range(12)
    )
    return tree


def forward(params: Params, x: Array) -> Array:
    """`apply` on what `stack` gives. x: [B, 3, 224, 224] -> logits: [B, 1000]"""
    B = x.shape[0]
    x = conv2d(params["conv_proj"], x, stride=16).transpose(0, 2, 3, 1)  # [B, 14, 14, 768]
    x = x.reshape(-1, 196, 768)  # [B, 196, 768]
    y = jnp.broadcast_to(params["class_token"], (B, 1, 768))  # [B, 1, 768]
    x = jnp.concatenate([y, x], axis=1) + params["encoder"]["pos_embedding"]  # [B, 197, 768]
    x, _ = lax.scan(
        lambda x, layer: (encoder_block(layer, x), None),
        x,
        params["encoder"]["layers"]["encoder_layer_0:12"],
    )
    x = layer_norm(params["encoder"]["ln"], x, eps=1e-6)
    return linear(params["heads"]["head"], x[:, 0])


def apply(params: Params, x: Array) -> Array:
    """Each patch of the image becomes one token, and a learnt class token in front of them
    collects the answer. Attention has no sense of place, so each position has a vector of its
    own.

    x: [B, 3, 224, 224] -> logits: [B, 1000]
    """
    return forward(stack(params), x)
