# T5 of t5_small.dl, written by a test.
"""One table serves the input of both stacks and, scaled down, the output. `attention_mask` is
1 at words, 0 at padding.

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


def stack_shared(layers: Iterable[Params]) -> Params:
    """The same for layers some of which hold further parameters: what all of them have."""
    first, *rest = (flatten(layer) for layer in layers)
    shared = [path for path in first if all(path in layer for layer in rest)]
    stacked = {path: [first[path], *(layer[path] for layer in rest)] for path in shared}
    return nest({path: jnp.stack(leaves) for path, leaves in stacked.items()})


def linear(params: Params, x: Array) -> Array:
    """x @ weight.T + bias."""
    y = x @ params["weight"].T
    return y + params["bias"] if "bias" in params else y


def rms_norm(params: Params, x: Array, *, eps: float = 1e-6) -> Array:
    """x over its root mean square along the last axis, scaled."""
    return x * lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + eps) * params["weight"]


def bucket(distance: Array, edges: Array, *, count: int) -> Array:
    """The bucket of a distance >= 0, out of `count`: one bucket each for the near ones, then ever
    wider ones on a logarithmic scale up to `furthest`. The edges are integers that the compiler
    computes, so no rounding decides.

    distance: i64[T, T], edges: i64[_] -> i64[T, T]
    """
    index = jnp.minimum(distance, count // 2) + jnp.sum(
        (distance[..., None] >= edges).astype(int), axis=-1
    )
    return index


def relative_bias(params: Params, x: Array) -> Array:
    """T5 has no other sense of place than this: each head learns a number per distance, which is
    added to its scores. An encoder tells left from right; a decoder sees the left only.

    x: [B, T, 512] -> [heads, T, T]
    """
    T = x.shape[1]
    offset = jnp.arange(T) - jnp.arange(T)[:, None]  # i64[T, T]
    edges = jnp.array([12, 16, 23, 32, 46, 64, 91])  # i64[7]
    index = bucket(jnp.abs(offset), edges, count=16) + 16 * (offset > 0).astype(int)
    return params["relative_attention_bias"]["weight"][index].transpose(2, 0, 1)


def relative_bias_2(params: Params, x: Array) -> Array:
    """T5 has no other sense of place than this: each head learns a number per distance, which is
    added to its scores.

    x: [B, T, 512] -> [heads, T, T]
    """
    T = x.shape[1]
    offset = jnp.arange(T) - jnp.arange(T)[:, None]  # i64[T, T]
    edges = jnp.array([19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113])  # i64[15]
    index = bucket(jnp.maximum(-offset, 0), edges, count=32)
    return params["relative_attention_bias"]["weight"][index].transpose(2, 0, 1)


def dot_product_attention(q: Array, k: Array, v: Array, bias: Array) -> Array:
    """softmax(q k^T * scale + bias) v over the last two axes (Vaswani et al., 2017).

    q: [B, 8, T, 64], k: [B, 8, U, 64], v: [B, 8, U, 64], bias: [8, T, U] -> [B, 8, T, 64]
    """
    scores_2 = q @ k.mT + bias  # [B, 8, T, U]
    return jax.nn.softmax(scores_2, axis=-1) @ v


def dot_product_attention_2(q: Array, k: Array, v: Array, mask: Array, bias: Array) -> Array:
    """softmax(q k^T * scale + bias) v over the last two axes (Vaswani et al., 2017).

    q: [B, 8, T, 64], k: [B, 8, U, 64], v: [B, 8, U, 64], mask: bool[T, U], bias: [8, T, U]
    -> [B, 8, T, 64]
    """
    scores_2 = q @ k.mT + bias  # [B, 8, T, U]
    scores_3 = jnp.where(mask, scores_2, -jnp.inf)
    return jax.nn.softmax(scores_3, axis=-1) @ v


def dot_product_attention_3(q: Array, k: Array, v: Array) -> Array:
    """softmax(q k^T * scale + bias) v over the last two axes (Vaswani et al., 2017).

    q: [B, 8, T, 64], k: [B, 8, U, 64], v: [B, 8, U, 64] -> [B, 8, T, 64]
    """
    return jax.nn.softmax(q @ k.mT, axis=-1) @ v


def feed_forward(params: Params, x: Array) -> Array:
    """x: [B, T, d] -> [B, T, d]"""
    return linear(params["wo"], jax.nn.relu(linear(params["wi"], x)))


def attention(params: Params, x: Array, memory: Array, bias: Array, *, heads: int) -> Array:
    """Scores are not divided by the root of the head size; the initial values make up for it.

    x: [B, T, d], memory: [B, S, d], bias: [heads, T, S] -> [B, T, d]
    """
    B, T, _ = x.shape
    S = memory.shape[1]
    q = linear(params["q"], x).reshape(B, T, heads, -1).swapaxes(1, 2)  # [B, heads, T, head]
    k = linear(params["k"], memory).reshape(B, S, heads, -1).swapaxes(1, 2)  # [B, heads, S, head]
    v = linear(params["v"], memory).reshape(B, S, heads, -1).swapaxes(1, 2)
    y = dot_product_attention(q, k, v, bias).swapaxes(1, 2).reshape(B, T, -1)  # [B, T, d]
    return linear(params["o"], y)


def attention_2(
    params: Params, x: Array, memory: Array, bias: Array, causal_mask: Array, *, heads: int
) -> Array:
    """Scores are not divided by the root of the head size; the initial values make up for it.

    x: [B, T, d], memory: [B, S, d], bias: [heads, T, S], causal_mask: bool[T, S] -> [B, T, d]
    """
    B, T, _ = x.shape
    S = memory.shape[1]
    q = linear(params["q"], x).reshape(B, T, heads, -1).swapaxes(1, 2)  # [B, heads, T, head]
    k = linear(params["k"], memory).reshape(B, S, heads, -1).swapaxes(1, 2)  # [B, heads, S, head]
    v = linear(params["v"], memory).reshape(B, S, heads, -1).swapaxes(1, 2)
    y = dot_product_attention_2(q, k, v, causal_mask, bias).swapaxes(1, 2).reshape(B, T, -1)
    return linear(params["o"], y)


def attention_3(params: Params, x: Array, memory: Array, *, heads: int) -> Array:
    """Scores are not divided by the root of the head size; the initial values make up for it.

    x: [B, T, d], memory: [B, S, d] -> [B, T, d]
    """
    B, T, _ = x.shape
    S = memory.shape[1]
    q = linear(params["q"], x).reshape(B, T, heads, -1).swapaxes(1, 2)  # [B, heads, T, head]
    k = linear(params["k"], memory).reshape(B, S, heads, -1).swapaxes(1, 2)  # [B, heads, S, head]
    v = linear(params["v"], memory).reshape(B, S, heads, -1).swapaxes(1, 2)
    y = dot_product_attention_3(q, k, v).swapaxes(1, 2).reshape(B, T, -1)  # [B, T, d]
    return linear(params["o"], y)


def encoder_block(params: Params, x: Array, bias: Array, *, heads: int) -> Array:
    """x: [B, S, d], bias: [heads, S, S] -> [B, S, d]"""
    y = rms_norm(params["layer"]["0"]["layer_norm"], x)
    x = x + attention(params["layer"]["0"]["SelfAttention"], y, y, bias, heads=heads)
    y = rms_norm(params["layer"]["1"]["layer_norm"], x)
    y = feed_forward(params["layer"]["1"]["DenseReluDense"], y)
    return x + y


def decoder_block(
    params: Params, x: Array, memory: Array, bias: Array, causal_mask: Array, *, heads: int
) -> Array:
    """x: [B, T, d], memory: [B, S, d], bias: [heads, T, T], causal_mask: bool[T, T] -> [B, T, d]"""
    y = rms_norm(params["layer"]["0"]["layer_norm"], x)
    x = x + attention_2(params["layer"]["0"]["SelfAttention"], y, y, bias, causal_mask, heads=heads)
    y = rms_norm(params["layer"]["1"]["layer_norm"], x)
    x = x + attention_3(params["layer"]["1"]["EncDecAttention"], y, memory, heads=heads)
    y = rms_norm(params["layer"]["2"]["layer_norm"], x)
    y = feed_forward(params["layer"]["2"]["DenseReluDense"], y)
    return x + y


def encoder(params: Params, x: Array, *, heads: int) -> Array:
    """All blocks of a stack share one bias. The checkpoints keep it in the first block.

    x: [B, S, d] -> [B, S, d]
    """
    bias = relative_bias(params["block"]["0"]["layer"]["0"]["SelfAttention"], x)  # [heads, S, S]
    x, _ = lax.scan(
        lambda x, layer: (encoder_block(layer, x, bias, heads=heads), None),
        x,
        params["block"]["0:6"],
    )
    return rms_norm(params["final_layer_norm"], x)


def decoder(params: Params, x: Array, memory: Array, *, heads: int) -> Array:
    """x: [B, T, d], memory: [B, S, d] -> [B, T, d]"""
    T = x.shape[1]
    bias = relative_bias_2(params["block"]["0"]["layer"]["0"]["SelfAttention"], x)  # [heads, T, T]
    causal_mask = jnp.tri(T, T, dtype=bool)  # bool[T, T]

    def turn(x: Array, layer: Params) -> tuple[Array, None]:
        return decoder_block(layer, x, memory, bias, causal_mask, heads=heads), None

    x, _ = lax.scan(turn, x, params["block"]["0:6"])
    return rms_norm(params["final_layer_norm"], x)


def init_linear(key: Array, path: str, shape: tuple[int, ...]) -> Params:
    """Initial parameters of `linear`, from the shape of its weight."""
    std = 1 / math.sqrt(math.prod(shape[1:]))
    return {
        f"{path}.weight": std * jax.random.normal(key, shape, jnp.float32),
    }


def init(key: Array) -> Params:
    """Initial parameters and buffers, by path."""
    keys = iter(jax.random.split(key, 99))
    params: Params = {}
    params["shared.weight"] = jax.random.normal(next(keys), (32128, 512), jnp.float32)
    params["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = (
        0.044194173824159216 * jax.random.normal(next(keys), (32, 8), jnp.float32)
    )
    params["encoder.block.0.layer.0.layer_norm.weight"] = jnp.ones((512,), jnp.float32)
    params["encoder.block.0.layer.0.SelfAttention.q.weight"] = (
        0.005524271728019902 * jax.random.normal(next(keys), (512, 512), jnp.float32)
    )
    params |= init_linear(next(keys), "encoder.block.0.layer.0.SelfAttention.k", (512, 512))
    params |= init_linear(next(keys), "encoder.block.0.layer.0.SelfAttention.v", (512, 512))
    params |= init_linear(next(keys), "encoder.block.0.layer.0.SelfAttention.o", (512, 512))
    params["encoder.block.0.layer.1.layer_norm.weight"] = jnp.ones((512,), jnp.float32)
    params |= init_linear(next(keys), "encoder.block.0.layer.1.DenseReluDense.wi", (2048, 512))
    params |= init_linear(next(keys), "encoder.block.0.layer.1.DenseReluDense.wo", (512, 2048))
    for i in range(1, 6):
        params[f"encoder.block.{i}.layer.0.layer_norm.weight"] = jnp.ones((512,), jnp.float32)
        params[f"encoder.block.{i}.layer.0.SelfAttention.q.weight"] = (
            0.005524271728019902 * jax.random.normal(next(keys), (512, 512), jnp.float32)
        )
        params |= init_linear(next(keys), f"encoder.block.{i}.layer.0.SelfAttention.k", (512, 512))
        params |= init_linear(next(keys), f"encoder.block.{i}.layer.0.SelfAttention.v", (512, 512))
        params |= init_linear(next(keys), f"encoder.block.{i}.layer.0.SelfAttention.o", (512, 512))
        params[f"encoder.block.{i}.layer.1.layer_norm.weight"] = jnp.ones((512,), jnp.float32)
        params |= init_linear(
            next(keys), f"encoder.block.{i}.layer.1.DenseReluDense.wi", (2048, 512)
        )
        params |= init_linear(
            next(keys), f"encoder.block.{i}.layer.1.DenseReluDense.wo", (512, 2048)
        )
    params["encoder.final_layer_norm.weight"] = jnp.ones((512,), jnp.float32)
    params["decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = (
        0.044194173824159216 * jax.random.normal(next(keys), (32, 8), jnp.float32)
    )
    params["decoder.block.0.layer.0.layer_norm.weight"] = jnp.ones((512,), jnp.float32)
    params["decoder.block.0.layer.0.SelfAttention.q.weight"] = (
        0.005524271728019902 * jax.random.normal(next(keys), (512, 512), jnp.float32)
    )
    params |= init_linear(next(keys), "decoder.block.0.layer.0.SelfAttention.k", (512, 512))
    params |= init_linear(next(keys), "decoder.block.0.layer.0.SelfAttention.v", (512, 512))
    params |= init_linear(next(keys), "decoder.block.0.layer.0.SelfAttention.o", (512, 512))
    params["decoder.block.0.layer.1.layer_norm.weight"] = jnp.ones((512,), jnp.float32)
    params["decoder.block.0.layer.1.EncDecAttention.q.weight"] = (
        0.005524271728019902 * jax.random.normal(next(keys), (512, 512), jnp.float32)
    )
    params |= init_linear(next(keys), "decoder.block.0.layer.1.EncDecAttention.k", (512, 512))
    params |= init_linear(next(keys), "decoder.block.0.layer.1.EncDecAttention.v", (512, 512))
    params |= init_linear(next(keys), "decoder.block.0.layer.1.EncDecAttention.o", (512, 512))
    params["decoder.block.0.layer.2.layer_norm.weight"] = jnp.ones((512,), jnp.float32)
    params |= init_linear(next(keys), "decoder.block.0.layer.2.DenseReluDense.wi", (2048, 512))
    params |= init_linear(next(keys), "decoder.block.0.layer.2.DenseReluDense.wo", (512, 2048))
    for i in range(1, 6):
        params[f"decoder.block.{i}.layer.0.layer_norm.weight"] = jnp.ones((512,), jnp.float32)
        params[f"decoder.block.{i}.layer.0.SelfAttention.q.weight"] = (
            0.005524271728019902 * jax.random.normal(next(keys), (512, 512), jnp.float32)
        )
        params |= init_linear(next(keys), f"decoder.block.{i}.layer.0.SelfAttention.k", (512, 512))
        params |= init_linear(next(keys), f"decoder.block.{i}.layer.0.SelfAttention.v", (512, 512))
        params |= init_linear(next(keys), f"decoder.block.{i}.layer.0.SelfAttention.o", (512, 512))
        params[f"decoder.block.{i}.layer.1.layer_norm.weight"] = jnp.ones((512,), jnp.float32)
        params[f"decoder.block.{i}.layer.1.EncDecAttention.q.weight"] = (
            0.005524271728019902 * jax.random.normal(next(keys), (512, 512), jnp.float32)
        )
        params |= init_linear(
            next(keys), f"decoder.block.{i}.layer.1.EncDecAttention.k", (512, 512)
        )
        params |= init_linear(
            next(keys), f"decoder.block.{i}.layer.1.EncDecAttention.v", (512, 512)
        )
        params |= init_linear(
            next(keys), f"decoder.block.{i}.layer.1.EncDecAttention.o", (512, 512)
        )
        params[f"decoder.block.{i}.layer.2.layer_norm.weight"] = jnp.ones((512,), jnp.float32)
        params |= init_linear(
            next(keys), f"decoder.block.{i}.layer.2.DenseReluDense.wi", (2048, 512)
        )
        params |= init_linear(
            next(keys), f"decoder.block.{i}.layer.2.DenseReluDense.wo", (512, 2048)
        )
    params["decoder.final_layer_norm.weight"] = jnp.ones((512,), jnp.float32)
    return params


def stack(params: Params) -> Params:
    """A tree with the layers of loops stacked, for `forward`: made once for many calls."""
    tree = nest(params)
    tree["encoder"]["block"]["0:6"] = stack_shared(
        tree["encoder"]["block"][str(i)] for i in range(6)
    )
    tree["decoder"]["block"]["0:6"] = stack_shared(
        tree["decoder"]["block"][str(i)] for i in range(6)
    )
    return tree


def forward(params: Params, input_ids: Array, decoder_input_ids: Array) -> Array:
    """`apply` on what `stack` gives.

    input_ids: i64[B, S], decoder_input_ids: i64[B, T] -> logits: [B, T, 32128]
    """
    src = params["shared"]["weight"][input_ids]  # [B, S, 512]
    tgt = params["shared"]["weight"][decoder_input_ids]  # [B, T, 512]
    memory = encoder(params["encoder"], src, heads=8)
    x = decoder(params["decoder"], tgt, memory, heads=8)
    return x / 22.627416997969522 @ params["shared"]["weight"].T


def apply(params: Params, input_ids: Array, decoder_input_ids: Array) -> Array:
    """One table serves the input of both stacks and, scaled down, the output. `attention_mask` is
    1 at words, 0 at padding.

    input_ids: i64[B, S], decoder_input_ids: i64[B, T] -> logits: [B, T, 32128]
    """
    return forward(stack(params), input_ids, decoder_input_ids)
