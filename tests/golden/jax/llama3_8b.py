# Llama of llama3_8b.dl (digest b29767e1db50a891), written by dlc 0.1.0.
"""Llama

    params = init(jax.random.key(0))
    outputs = apply(params, tokens)

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

    layers: int = 32
    d: int = 4096
    heads: int = 32
    kv_heads: int = 8
    ff: int = 14336
    vocab: int = 128256
    context: int = 8192
    base: float = 500000.0
    factor: float = 1.0
    original: int = 8192
    eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.d % self.heads != 0:
            raise ValueError(
                f"d % heads == 0 must hold, but d is {self.d} and heads is {self.heads}"
            )
        if self.heads % self.kv_heads != 0:
            raise ValueError(
                "heads % kv_heads == 0 must hold, "
                f"but heads is {self.heads} and kv_heads is {self.kv_heads}"
            )


CONFIG = Config()


def init_layers(init: Callable[[Array], Any], key: Array, count: int) -> Any:
    """Equal layers as one tree for `lax.scan`: they stand along the first axis of every leaf."""
    return jax.vmap(init)(jax.random.split(key, count))


def linear(params: Params, x: Array) -> Array:
    """x @ weight.T + bias."""
    y = x @ params["weight"].T
    return y + params["bias"] if "bias" in params else y


def rms_norm(params: Params, x: Array, *, eps: float = 1e-6) -> Array:
    """x over its root mean square along the last axis, scaled."""
    return x * lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + eps) * params["weight"]


def clamp(x: Array, min: float = -jnp.inf, max: float = jnp.inf) -> Array:
    """x between two bounds. Its derivative at a bound is 1, where that of `jnp.clip` is a half."""
    x = jnp.where(x < min, min, x)
    return jnp.where(x > max, max, x)


def frequencies(
    *, e: int, base: float, factor: float, original: int, low: float = 1.0, high: float = 4.0
) -> Array:
    """Frequencies of the rotations: pair i of a head's numbers turns by base ** (-2i / e) per
    position. Llama 3.1 stretches the slow ones by `factor`, so that positions past the trained
    context look like ones within it: turns that complete more than `high` times in the original
    context stay, those that complete less than `low` times are slowed, and in between it
    blends.

    -> [e // 2]
    """
    plain = 1.0 / base ** (2 / e * jnp.arange(e // 2, dtype=jnp.float32))  # [e // 2]
    turns = original / (2 * math.pi) * plain
    keep = clamp((turns - low) / (high - low), 0.0, 1.0)
    return plain * (keep + (1.0 - keep) / factor)


def rope_tables(positions: Array, freqs: Array) -> tuple[Array, Array]:
    """Cosines and sines of every position's angles, in f32: one angle for each of the frequencies.

    positions: i64[T], freqs: [pairs] -> cos: [T, pairs], sin: [T, pairs]
    """
    angles = positions.astype(jnp.float32)[:, None] * freqs  # [T, pairs]
    return jnp.cos(angles), jnp.sin(angles)


def apply_rope(x: Array, cos: Array, sin: Array) -> Array:
    """Rotates pairs of features by the angles whose cosines and sines are given: pairs (i, i +
    e/2), as in Llama's published weights, or neighbours where `interleaved`.

    x: [B, heads, T, e], cos: [T, pairs], sin: [T, pairs] -> [B, heads, T, e]
    """
    c = cos.astype(x.dtype)
    s = sin.astype(x.dtype)
    a, b = jnp.split(x, 2, axis=-1)  # [B, heads, T, e // 2]
    return jnp.concatenate([a * c - b * s, b * c + a * s], axis=-1)


def dot_product_attention(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """softmax(q k^T * scale + bias) v over the last two axes (Vaswani et al., 2017).

    q: [B, heads, T, e], k: [B, kv_heads, T, e], v: [B, kv_heads, T, f], mask: bool[T, T]
    -> [B, heads, T, f]
    """
    B, heads, T, e = q.shape
    kv_heads = k.shape[1]
    f = v.shape[3]
    if heads != kv_heads:
        k = k[:, :, None]  # [B, kv_heads, 1, T, e]
        k = jnp.broadcast_to(k, (B, kv_heads, heads // kv_heads, T, e))
        k = k.reshape(B, heads, T, e)  # [B, heads, T, e]
        v = v[:, :, None]  # [B, kv_heads, 1, T, f]
        v = jnp.broadcast_to(v, (B, kv_heads, heads // kv_heads, T, f))
        v = v.reshape(B, heads, T, f)  # [B, heads, T, f]
    scores = q @ k.mT * (1 / math.sqrt(e))  # [B, heads, T, T]
    scores = jnp.where(mask, scores, -jnp.inf)
    return jax.nn.softmax(scores, axis=-1) @ v


def attention(
    params: Params,
    x: Array,
    cos: Array,
    sin: Array,
    causal_mask: Array,
    *,
    d: int,
    heads: int,
    kv_heads: int,
) -> Array:
    """Grouped queries: several heads share one head of keys and values, which makes the cache of a
    long text small.

    x: [B, T, d], cos: [T, d // (2 * heads)], sin: [T, d // (2 * heads)], causal_mask: bool[T, T]
    -> [B, T, d]
    """
    B, T, _ = x.shape
    q = linear(params["q_proj"], x).reshape(B, T, heads, d // heads).swapaxes(1, 2)
    k = linear(params["k_proj"], x).reshape(B, T, kv_heads, d // heads).swapaxes(1, 2)
    v = linear(params["v_proj"], x).reshape(B, T, kv_heads, d // heads).swapaxes(1, 2)
    y = dot_product_attention(apply_rope(q, cos, sin), apply_rope(k, cos, sin), v, causal_mask)
    return linear(params["o_proj"], y.swapaxes(1, 2).reshape(B, T, d))


def mlp(params: Params, x: Array) -> Array:
    """A gate decides, number by number, how much of the other half passes (SwiGLU; Shazeer, 2020).

    x: [B, T, d] -> [B, T, d]
    """
    gate = jax.nn.silu(linear(params["gate_proj"], x))  # [B, T, ff]
    up = linear(params["up_proj"], x)
    return linear(params["down_proj"], gate * up)


def block(
    params: Params,
    x: Array,
    cos: Array,
    sin: Array,
    causal_mask: Array,
    *,
    d: int,
    heads: int,
    kv_heads: int,
    eps: float,
) -> Array:
    """x: [B, T, d], cos: [T, d // (2 * heads)], sin: [T, d // (2 * heads)],
    causal_mask: bool[T, T]
    -> [B, T, d]
    """
    y = rms_norm(params["input_layernorm"], x, eps=eps)
    y = attention(
        params["self_attn"], y, cos, sin, causal_mask, d=d, heads=heads, kv_heads=kv_heads
    )
    x = x + y
    x = x + mlp(params["mlp"], rms_norm(params["post_attention_layernorm"], x, eps=eps))
    return x


def init_embedding(key: Array, count: int, d: int, dtype: DTypeLike, *, std: float) -> Params:
    """Initial parameters of `embedding`."""
    return {
        "weight": std * jax.random.normal(key, (count, d), dtype),
    }


def init_rms_norm(d: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `rms_norm`."""
    return {
        "weight": jnp.ones((d,), dtype),
    }


def init_linear(key: Array, inputs: int, out: int, dtype: DTypeLike, *, std: float) -> Params:
    """Initial parameters of `linear`."""
    return {
        "weight": std * jax.random.normal(key, (out, inputs), dtype),
    }


def init_attention(key: Array, *, d: int, heads: int, kv_heads: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `Attention`."""
    keys = jax.random.split(key, 4)
    return {
        "q_proj": init_linear(keys[0], d, d, dtype, std=0.02),
        "k_proj": init_linear(keys[1], d, kv_heads * (d // heads), dtype, std=0.02),
        "v_proj": init_linear(keys[2], d, kv_heads * (d // heads), dtype, std=0.02),
        "o_proj": init_linear(keys[3], d, d, dtype, std=0.02),
    }


def init_mlp(key: Array, *, d: int, ff: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `MLP`."""
    keys = jax.random.split(key, 3)
    return {
        "gate_proj": init_linear(keys[0], d, ff, dtype, std=0.02),
        "up_proj": init_linear(keys[1], d, ff, dtype, std=0.02),
        "down_proj": init_linear(keys[2], ff, d, dtype, std=0.02),
    }


def init_block(
    key: Array, *, d: int, heads: int, kv_heads: int, ff: int, dtype: DTypeLike
) -> Params:
    """Initial parameters of `Block`."""
    keys = jax.random.split(key, 2)
    return {
        "input_layernorm": init_rms_norm(d, dtype),
        "self_attn": init_attention(keys[0], d=d, heads=heads, kv_heads=kv_heads, dtype=dtype),
        "post_attention_layernorm": init_rms_norm(d, dtype),
        "mlp": init_mlp(keys[1], d=d, ff=ff, dtype=dtype),
    }


def init(key: Array, config: Config = CONFIG, dtype: DTypeLike = jnp.float32) -> Params:
    """Initial parameters."""
    keys = jax.random.split(key, 3)
    return {
        "model": {
            "embed_tokens": init_embedding(keys[0], config.vocab, config.d, dtype, std=0.02),
            "layers": init_layers(
                partial(
                    init_block,
                    d=config.d,
                    heads=config.heads,
                    kv_heads=config.kv_heads,
                    ff=config.ff,
                    dtype=dtype,
                ),
                keys[1],
                config.layers,
            ),
            "norm": init_rms_norm(config.d, dtype),
        },
        "lm_head": init_linear(keys[2], config.d, config.vocab, dtype, std=0.02),
    }


def apply(params: Params, tokens: Array, *, config: Config = CONFIG) -> Array:
    """tokens: i64[B, T] -> logits: [B, T, vocab]"""
    T = tokens.shape[1]
    if config.context < T:
        raise ValueError(f"T must be at most {config.context}, not {T}")
    x = params["model"]["embed_tokens"]["weight"][tokens]  # [B, T, d]
    freqs = frequencies(
        e=config.d // config.heads, base=config.base, factor=config.factor, original=config.original
    )  # [d // (2 * heads)]
    positions = jnp.arange(T)  # i64[T]
    cos, sin = rope_tables(positions, freqs)  # [T, d // (2 * heads)]
    causal_mask = jnp.tri(T, T, dtype=bool)  # bool[T, T]

    def turn(x: Array, layer: Params) -> tuple[Array, None]:
        x = block(
            layer,
            x,
            cos,
            sin,
            causal_mask,
            d=config.d,
            heads=config.heads,
            kv_heads=config.kv_heads,
            eps=config.eps,
        )
        return x, None

    x, _ = lax.scan(turn, x, params["model"]["layers"])
    x = rms_norm(params["model"]["norm"], x, eps=config.eps)
    return linear(params["lm_head"], x)


# What checkpoints call parts that have another place here; layers by their number.
PATHS: dict[str, Any] = {
    "model.layers": lambda i: f"layers.{i}",
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
