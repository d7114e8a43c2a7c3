# Llama of llama3_8b.dl, written by a test.
"""Llama

Parameters are a flat dict, keyed by the paths of the spec: `apply(init(key), ...)`.
"""

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


def rms_norm(params: Params, x: Array, *, eps: float = 1e-6) -> Array:
    """x over its root mean square along the last axis, scaled."""
    return x * lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + eps) * params["weight"]


def rope_tables(positions: Array, freqs: Array) -> tuple[Array, Array]:
    """Cosines and sines of every position's angles, in f32: one angle for each of the frequencies.

    positions: i64[T], freqs: [64] -> cos: [T, 64], sin: [T, 64]
    """
    angles = positions.astype(jnp.float32)[:, None] * freqs  # [T, 64]
    return jnp.cos(angles), jnp.sin(angles)


def apply_rope(x: Array, cos: Array, sin: Array) -> Array:
    """Rotates pairs of features by the angles whose cosines and sines are given: pairs (i, i +
    e/2), as in Llama's published weights, or neighbours where `interleaved`.

    x: [B, _, T, 128], cos: [T, 64], sin: [T, 64] -> [B, _, T, 128]
    """
    a, b = jnp.split(x, 2, axis=-1)  # [B, _, T, 64]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def frequencies() -> Array:
    """Frequencies of the rotations: pair i of a head's numbers turns by base ** (-2i / e) per
    position. Llama 3.1 stretches the slow ones by `factor`, so that positions past the trained
    context look like ones within it: turns that complete more than `high` times in the original
    context stay, those that complete less than `low` times are slowed, and in between it
    blends.

    -> [64]
    """
    plain = 1.0 / 500000.0 ** (0.015625 * jnp.arange(64, dtype=jnp.float32))  # [64]
    turns = 1303.7972938088067 * plain
    keep = jnp.clip((turns - 1.0) / 3.0, 0.0, 1.0)
    return plain * (keep + (1.0 - keep))


def dot_product_attention(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """softmax(q k^T * scale + bias) v over the last two axes (Vaswani et al., 2017).

    q: [B, 32, T, 128], k: [B, 8, T, 128], v: [B, 8, T, 128], mask: bool[T, T] -> [B, 32, T, 128]
    """
    B, _, T, _ = q.shape
    k = jnp.broadcast_to(k[:, :, None], (B, 8, 4, T, 128)).reshape(B, 32, T, 128)  # [B, 32, T, 128]
    v = jnp.broadcast_to(v[:, :, None], (B, 8, 4, T, 128)).reshape(B, 32, T, 128)
    scores = q @ k.mT * 0.08838834764831843  # [B, 32, T, T]
    scores = jnp.where(mask, scores, -jnp.inf)
    return jax.nn.softmax(scores, axis=-1) @ v


def mlp(params: Params, x: Array) -> Array:
    """A gate decides, number by number, how much of the other half passes (SwiGLU; Shazeer, 2020).

    x: [B, T, d] -> [B, T, d]
    """
    gate = jax.nn.silu(linear(params["gate_proj"], x))  # [B, T, ff]
    up = linear(params["up_proj"], x)
    return linear(params["down_proj"], gate * up)


def attention(
    params: Params,
    x: Array,
    cos: Array,
    sin: Array,
    causal_mask: Array,
    *,
    heads: int,
    kv_heads: int,
) -> Array:
    """Grouped queries: several heads share one head of keys and values, which makes the cache of a
    long text small.

    x: [B, T, d], cos: [T, 64], sin: [T, 64], causal_mask: bool[T, T] -> [B, T, d]
    """
    B, T, _ = x.shape
    q = linear(params["q_proj"], x).reshape(B, T, heads, -1).swapaxes(1, 2)
    k = linear(params["k_proj"], x).reshape(B, T, kv_heads, -1).swapaxes(1, 2)
    v = linear(params["v_proj"], x).reshape(B, T, kv_heads, -1).swapaxes(1, 2)
    y = dot_product_attention(apply_rope(q, cos, sin), apply_rope(k, cos, sin), v, causal_mask)
    return linear(params["o_proj"], y.swapaxes(1, 2).reshape(B, T, -1))


def block(
    params: Params,
    x: Array,
    cos: Array,
    sin: Array,
    causal_mask: Array,
    *,
    heads: int,
    kv_heads: int,
) -> Array:
    """x: [B, T, d], cos: [T, 64], sin: [T, 64], causal_mask: bool[T, T] -> [B, T, d]"""
    y = rms_norm(params["input_layernorm"], x, eps=1e-5)
    x = x + attention(params["self_attn"], y, cos, sin, causal_mask, heads=heads, kv_heads=kv_heads)
    y = mlp(params["mlp"], rms_norm(params["post_attention_layernorm"], x, eps=1e-5))
    return x + y


def init(key: Array) -> Params:
    """Initial parameters and buffers, by path."""
    keys = iter(jax.random.split(key, 226))
    params: Params = {}
    params["model.embed_tokens.weight"] = 0.02 * jax.random.normal(
        next(keys), (128256, 4096), jnp.float32
    )
    for i in range(32):
        params[f"model.layers.{i}.input_layernorm.weight"] = jnp.ones((4096,), jnp.float32)
        params[f"model.layers.{i}.self_attn.q_proj.weight"] = 0.02 * jax.random.normal(
            next(keys), (4096, 4096), jnp.float32
        )
        params[f"model.layers.{i}.self_attn.k_proj.weight"] = 0.02 * jax.random.normal(
            next(keys), (1024, 4096), jnp.float32
        )
        params[f"model.layers.{i}.self_attn.v_proj.weight"] = 0.02 * jax.random.normal(
            next(keys), (1024, 4096), jnp.float32
        )
        params[f"model.layers.{i}.self_attn.o_proj.weight"] = 0.02 * jax.random.normal(
            next(keys), (4096, 4096), jnp.float32
        )
        params[f"model.layers.{i}.post_attention_layernorm.weight"] = jnp.ones((4096,), jnp.float32)
        params[f"model.layers.{i}.mlp.gate_proj.weight"] = 0.02 * jax.random.normal(
            next(keys), (14336, 4096), jnp.float32
        )
        params[f"model.layers.{i}.mlp.up_proj.weight"] = 0.02 * jax.random.normal(
            next(keys), (14336, 4096), jnp.float32
        )
        params[f"model.layers.{i}.mlp.down_proj.weight"] = 0.02 * jax.random.normal(
            next(keys), (4096, 14336), jnp.float32
        )
    params["model.norm.weight"] = jnp.ones((4096,), jnp.float32)
    params["lm_head.weight"] = 0.02 * jax.random.normal(next(keys), (128256, 4096), jnp.float32)
    return params


def stack(params: Params) -> Params:
    """A tree with the layers of loops stacked, for `forward`: made once for many calls."""
    tree = nest(params)
    tree["model"]["layers"]["0:32"] = stack_layers(
        tree["model"]["layers"][str(i)] for i in range(32)
    )
    return tree


def forward(params: Params, tokens: Array) -> Array:
    """`apply` on what `stack` gives. tokens: i64[B, T] -> logits: [B, T, 128256]"""
    T = tokens.shape[1]
    if T > 8192:
        raise ValueError(f"T must be at most 8192, not {T}")
    x = params["model"]["embed_tokens"]["weight"][tokens]  # [B, T, 4096]
    freqs = frequencies()  # [64]
    positions = jnp.arange(T)  # i64[T]
    cos, sin = rope_tables(positions, freqs)  # [T, 64]
    causal_mask = jnp.tri(T, T, dtype=bool)  # bool[T, T]

    def turn(x: Array, layer: Params) -> tuple[Array, None]:
        return block(layer, x, cos, sin, causal_mask, heads=32, kv_heads=8), None

    x, _ = lax.scan(turn, x, params["model"]["layers"]["0:32"])
    x = rms_norm(params["model"]["norm"], x, eps=1e-5)
    return linear(params["lm_head"], x)


def apply(params: Params, tokens: Array) -> Array:
    """tokens: i64[B, T] -> logits: [B, T, 128256]"""
    return forward(stack(params), tokens)
