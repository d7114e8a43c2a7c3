# Transformer of transformer.dl, written by a test.
"""One table of words serves as input of both sides and as output. `attention_mask` is 1 at
words and 0 at padding. The prediction for position t sees the target up to t, so the
decoder's input is the target shifted by one.

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


def sinusoids() -> Array:
    """Sines and cosines of the position, at wavelengths from 2 pi to 20,000 pi: a shift by k
    positions is a rotation, the same everywhere. Sines first, then cosines, as the authors'
    code and Marian have it; the paper interleaves them.

    -> [512, 512]
    """
    angles = 10000.0 ** (0.00390625 * jnp.arange(256, dtype=jnp.float32))  # [256]
    angles = jnp.arange(512, dtype=jnp.float32)[:, None] / angles  # [512, 256]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def positions(params: Params, x: Array) -> Array:
    """Adds the table of positions. It is never trained, but saved: checkpoints carry it.

    x: [B, T, context] -> [B, T, context]
    """
    T = x.shape[1]
    return x + params["weight"][:T]


def dropout(x: Array, key: Array) -> Array:
    """Zeroes a share p of the elements in training, and scales the others by 1 / (1 - p)
    (Srivastava et al., 2014).

    x: [B, _, 512] -> [B, _, 512]
    """
    B, S, _ = x.shape
    kept = jax.random.uniform(key, (B, S, 512), jnp.float32) < 0.9  # bool[B, _, 512]
    return jnp.where(kept, x / 0.9, 0.0)


def dot_product_attention(q: Array, k: Array, v: Array) -> Array:
    """softmax(q k^T * scale + bias) v over the last two axes (Vaswani et al., 2017).

    q: [B, 8, T, 64], k: [B, 8, U, 64], v: [B, 8, U, 64] -> [B, 8, T, 64]
    """
    scores = q @ k.mT * 0.125  # [B, 8, T, U]
    return jax.nn.softmax(scores, axis=-1) @ v


def dot_product_attention_2(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """softmax(q k^T * scale + bias) v over the last two axes (Vaswani et al., 2017).

    q: [B, 8, T, 64], k: [B, 8, U, 64], v: [B, 8, U, 64], mask: bool[T, U] -> [B, 8, T, 64]
    """
    scores = q @ k.mT * 0.125  # [B, 8, T, U]
    scores = jnp.where(mask, scores, -jnp.inf)
    return jax.nn.softmax(scores, axis=-1) @ v


def attention(params: Params, x: Array, memory: Array, *, heads: int) -> Array:
    """Several attentions side by side: queries come from `x`, keys and values from `memory`.
    `mask` is true where a key may be seen; `causal` hides the positions to come.

    x: [B, T, d], memory: [B, S, d] -> [B, T, d]
    """
    B, T, _ = x.shape
    S = memory.shape[1]
    q = linear(params["q_proj"], x).reshape(B, T, heads, -1).swapaxes(1, 2)
    k = linear(params["k_proj"], memory).reshape(B, S, heads, -1).swapaxes(1, 2)
    v = linear(params["v_proj"], memory).reshape(B, S, heads, -1).swapaxes(1, 2)
    y = dot_product_attention(q, k, v).swapaxes(1, 2).reshape(B, T, -1)  # [B, T, d]
    return linear(params["out_proj"], y)


def attention_2(
    params: Params, x: Array, memory: Array, causal_mask: Array, *, heads: int
) -> Array:
    """Several attentions side by side: queries come from `x`, keys and values from `memory`.
    `mask` is true where a key may be seen; `causal` hides the positions to come.

    x: [B, T, d], memory: [B, S, d], causal_mask: bool[T, S] -> [B, T, d]
    """
    B, T, _ = x.shape
    S = memory.shape[1]
    q = linear(params["q_proj"], x).reshape(B, T, heads, -1).swapaxes(1, 2)
    k = linear(params["k_proj"], memory).reshape(B, S, heads, -1).swapaxes(1, 2)
    v = linear(params["v_proj"], memory).reshape(B, S, heads, -1).swapaxes(1, 2)
    y = dot_product_attention_2(q, k, v, causal_mask).swapaxes(1, 2).reshape(B, T, -1)  # [B, T, d]
    return linear(params["out_proj"], y)


def encoder_layer(params: Params, x: Array, key: Array, *, heads: int) -> Array:
    """The norm stands behind each sum ("post-norm"), as in the paper. x: [B, S, d] -> [B, S, d]"""
    keys = jax.random.split(key, 2)
    x = x + dropout(attention(params["self_attn"], x, x, heads=heads), keys[0])
    x = layer_norm(params["self_attn_layer_norm"], x)
    y = jax.nn.relu(linear(params["fc1"], x))  # [B, S, ff]
    x = x + dropout(linear(params["fc2"], y), keys[1])
    return layer_norm(params["final_layer_norm"], x)


def decoder_layer(
    params: Params, x: Array, memory: Array, causal_mask: Array, key: Array, *, heads: int
) -> Array:
    """x: [B, T, d], memory: [B, S, d], causal_mask: bool[T, T] -> [B, T, d]"""
    keys = jax.random.split(key, 3)
    x = x + dropout(attention_2(params["self_attn"], x, x, causal_mask, heads=heads), keys[0])
    x = layer_norm(params["self_attn_layer_norm"], x)
    x = x + dropout(attention(params["encoder_attn"], x, memory, heads=heads), keys[1])
    x = layer_norm(params["encoder_attn_layer_norm"], x)
    y = jax.nn.relu(linear(params["fc1"], x))  # [B, T, ff]
    x = x + dropout(linear(params["fc2"], y), keys[2])
    return layer_norm(params["final_layer_norm"], x)


def encoder(params: Params, x: Array, key: Array, *, heads: int) -> Array:
    """x: [B, S, d] -> [B, S, d]"""

    def turn(x: Array, inputs: tuple[Params, Array]) -> tuple[Array, None]:
        layer, key = inputs
        return encoder_layer(layer, x, key, heads=heads), None

    x, _ = lax.scan(turn, x, (params["layers"]["0:6"], jax.random.split(key, 6)))
    return x


def decoder(params: Params, x: Array, memory: Array, key: Array, *, heads: int) -> Array:
    """x: [B, T, d], memory: [B, S, d] -> [B, T, d]"""
    T = x.shape[1]
    causal_mask = jnp.tri(T, T, dtype=bool)  # bool[T, T]

    def turn(x: Array, inputs: tuple[Params, Array]) -> tuple[Array, None]:
        layer, key = inputs
        return decoder_layer(layer, x, memory, causal_mask, key, heads=heads), None

    x, _ = lax.scan(turn, x, (params["layers"]["0:6"], jax.random.split(key, 6)))
    return x


def encoder_decoder(params: Params, src: Array, tgt: Array, key: Array, *, heads: int) -> Array:
    """The two stacks on vectors, without words: what `torch.nn.Transformer` holds, which ends both
    stacks in one more norm.

    src: [B, S, d], tgt: [B, T, d] -> y: [B, T, d]
    """
    keys = jax.random.split(key, 2)
    memory = encoder(params["encoder"], src, keys[0], heads=heads)
    return decoder(params["decoder"], tgt, memory, keys[1], heads=heads)


def init_embedding(key: Array, path: str, shape: tuple[int, ...]) -> Params:
    """Initial parameters of `embedding`, from the shape of its weight."""
    std = 1 / math.sqrt(math.prod(shape[1:]))
    return {
        f"{path}.weight": std * jax.random.normal(key, shape, jnp.float32),
    }


def init_linear(key: Array, path: str, shape: tuple[int, ...]) -> Params:
    """Initial parameters of `linear`, from the shape of its weight."""
    bound = math.sqrt(6 / sum(shape))
    return {
        f"{path}.weight": jax.random.uniform(key, shape, jnp.float32, -bound, bound),
        f"{path}.bias": jnp.zeros(shape[:1], jnp.float32),
    }


def init_layer_norm(path: str, shape: tuple[int, ...]) -> Params:
    """Initial parameters of `layer_norm`, from the shape of its weight."""
    return {
        f"{path}.weight": jnp.ones(shape, jnp.float32),
        f"{path}.bias": jnp.zeros(shape, jnp.float32),
    }


def init_linear_2(key: Array, path: str, shape: tuple[int, ...]) -> Params:
    """Initial parameters of `linear`, from the shape of its weight."""
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    keys = jax.random.split(key, 2)
    return {
        f"{path}.weight": jax.random.uniform(keys[0], shape, jnp.float32, -bound, bound),
        f"{path}.bias": jax.random.uniform(keys[1], shape[:1], jnp.float32, -bound, bound),
    }


def init(key: Array) -> Params:
    """Initial parameters and buffers, by path."""
    keys = iter(jax.random.split(key, 97))
    params: Params = {}
    params["final_logits_bias"] = jnp.zeros((1, 37000), jnp.float32)
    params |= init_embedding(next(keys), "model.shared", (37000, 512))
    params["model.encoder.embed_positions.weight"] = sinusoids()
    params["model.decoder.embed_positions.weight"] = sinusoids()
    for i in range(6):
        params |= init_linear(next(keys), f"model.encoder.layers.{i}.self_attn.q_proj", (512, 512))
        params |= init_linear(next(keys), f"model.encoder.layers.{i}.self_attn.k_proj", (512, 512))
        params |= init_linear(next(keys), f"model.encoder.layers.{i}.self_attn.v_proj", (512, 512))
        params |= init_linear(
            next(keys), f"model.encoder.layers.{i}.self_attn.out_proj", (512, 512)
        )
        params |= init_layer_norm(f"model.encoder.layers.{i}.self_attn_layer_norm", (512,))
        params |= init_linear_2(next(keys), f"model.encoder.layers.{i}.fc1", (2048, 512))
        params |= init_linear_2(next(keys), f"model.encoder.layers.{i}.fc2", (512, 2048))
        params |= init_layer_norm(f"model.encoder.layers.{i}.final_layer_norm", (512,))
    for i in range(6):
        params |= init_linear(next(keys), f"model.decoder.layers.{i}.self_attn.q_proj", (512, 512))
        params |= init_linear(next(keys), f"model.decoder.layers.{i}.self_attn.k_proj", (512, 512))
        params |= init_linear(next(keys), f"model.decoder.layers.{i}.self_attn.v_proj", (512, 512))
        params |= init_linear(
            next(keys), f"model.decoder.layers.{i}.self_attn.out_proj", (512, 512)
        )
        params |= init_layer_norm(f"model.decoder.layers.{i}.self_attn_layer_norm", (512,))
        params |= init_linear(
            next(keys), f"model.decoder.layers.{i}.encoder_attn.q_proj", (512, 512)
        )
        params |= init_linear(
            next(keys), f"model.decoder.layers.{i}.encoder_attn.k_proj", (512, 512)
        )
        params |= init_linear(
            next(keys), f"model.decoder.layers.{i}.encoder_attn.v_proj", (512, 512)
        )
        params |= init_linear(
            next(keys), f"model.decoder.layers.{i}.encoder_attn.out_proj", (512, 512)
        )
        params |= init_layer_norm(f"model.decoder.layers.{i}.encoder_attn_layer_norm", (512,))
        params |= init_linear_2(next(keys), f"model.decoder.layers.{i}.fc1", (2048, 512))
        params |= init_linear_2(next(keys), f"model.decoder.layers.{i}.fc2", (512, 2048))
        params |= init_layer_norm(f"model.decoder.layers.{i}.final_layer_norm", (512,))
    return params


def stack(params: Params) -> Params:
    """A tree with the layers of loops stacked, for `forward`: made once for many calls."""
    tree = nest(params)
    tree["model"]["encoder"]["layers"]["0:6"] = stack_layers(
        tree["model"]["encoder"]["layers"][str(i)] for i in range(6)
    )
    tree["model"]["decoder"]["layers"]["0:6"] = stack_layers(
        tree["model"]["decoder"]["layers"][str(i)] for i in range(6)
    )
    return tree


def forward(params: Params, input_ids: Array, decoder_input_ids: Array, key: Array) -> Array:
    """`apply` on what `stack` gives.

    input_ids: i64[B, S], decoder_input_ids: i64[B, T] -> logits: [B, T, 37000]
    """
    S = input_ids.shape[1]
    T = decoder_input_ids.shape[1]
    if S > 512:
        raise ValueError(f"S must be at most 512, not {S}")
    if T > 512:
        raise ValueError(f"T must be at most 512, not {T}")
    keys = jax.random.split(key, 3)
    src = 22.627416997969522 * params["model"]["shared"]["weight"][input_ids]  # [B, S, 512]
    src = dropout(positions(params["model"]["encoder"]["embed_positions"], src), keys[0])
    tgt = 22.627416997969522 * params["model"]["shared"]["weight"][decoder_input_ids]  # [B, T, 512]
    tgt = dropout(positions(params["model"]["decoder"]["embed_positions"], tgt), keys[1])
    x = encoder_decoder(params["model"], src, tgt, keys[2], heads=8)
    return x @ params["model"]["shared"]["weight"].T + params["final_logits_bias"]


def apply(params: Params, input_ids: Array, decoder_input_ids: Array, key: Array) -> Array:
    """One table of words serves as input of both sides and as output. `attention_mask` is 1 at
    words and 0 at padding. The prediction for position t sees the target up to t, so the
    decoder's input is the target shifted by one.

    input_ids: i64[B, S], decoder_input_ids: i64[B, T] -> logits: [B, T, 37000]
    """
    return forward(stack(params), input_ids, decoder_input_ids, key)
