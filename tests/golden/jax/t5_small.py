# T5 of t5_small.dl (digest 0f8a203fce0ec274), written by dlc 0.1.0.
"""One table serves the input of both stacks and, scaled down, the output. `attention_mask` is
1 at words, 0 at padding.

    params = init(jax.random.key(0))
    outputs = apply(params, input_ids, decoder_input_ids)

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


@dataclass(frozen=True)
class Config:
    """The static parameters."""

    layers: int = 6
    d: int = 512
    heads: int = 8
    head: int = 64
    ff: int | None = None
    vocab: int = 32128
    buckets: int = 32
    furthest: int = 128
    p: float = 0.1

    def __post_init__(self) -> None:
        if self.ff is None:
            object.__setattr__(self, "ff", 4 * self.d)
        if not 0.0 <= self.p <= 1.0:
            raise ValueError(f"0.0 <= p <= 1.0 must hold, but p is {self.p}")
        if self.buckets % 4 != 0:
            raise ValueError(f"buckets % 4 == 0 must hold, but buckets is {self.buckets}")


CONFIG = Config()


def init_layers(init: Callable[[Array], Any], key: Array, count: int) -> Any:
    """Equal layers as one tree for `lax.scan`: they stand along the first axis of every leaf."""
    return jax.vmap(init)(jax.random.split(key, count))


def split(key: Array | None, count: int) -> Sequence[Array | None]:
    """Keys for several draws; none where no key is given, as outside of training."""
    return [None] * count if key is None else list(jax.random.split(key, count))


def layer_keys(key: Array | None, count: int) -> Array | None:
    """A key for each of several layers, if one is given."""
    return None if key is None else jax.random.split(key, count)


def linear(params: Params, x: Array) -> Array:
    """x @ weight.T + bias."""
    y = x @ params["weight"].T
    return y + params["bias"] if "bias" in params else y


def rms_norm(params: Params, x: Array, *, eps: float = 1e-6) -> Array:
    """x over its root mean square along the last axis, scaled."""
    return x * lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + eps) * params["weight"]


def dropout(x: Array, *, p: float = 0.5, training: bool = False, key: Array | None = None) -> Array:
    """Zeroes a share p of the elements in training, and scales the others by 1 / (1 - p)."""
    if not training or p == 0:
        return x
    if key is None:
        raise ValueError("dropout needs a key in training")
    kept = jax.random.bernoulli(key, 1 - p, x.shape)
    return jnp.where(kept, x / (1 - p), 0) if p < 1 else jnp.zeros_like(x)


def bucket(distance: Array, edges: Array, *, count: int) -> Array:
    """The bucket of a distance >= 0, out of `count`: one bucket each for the near ones, then ever
    wider ones on a logarithmic scale up to `furthest`. The edges are integers that the compiler
    computes, so no rounding decides.

    distance: i64[T, T], edges: i64[count - count // 2 - 1] -> i64[T, T]
    """
    return jnp.minimum(distance, count // 2) + jnp.sum(distance[..., None] >= edges, axis=-1)


def relative_bias(
    params: Params, x: Array, *, both_ways: bool, buckets: int, furthest: int
) -> Array:
    """T5 has no other sense of place than this: each head learns a number per distance, which is
    added to its scores. An encoder tells left from right; a decoder sees the left only.

    x: [B, T, n0] -> [heads, T, T]
    """
    T = x.shape[1]
    offset = jnp.arange(T) - jnp.arange(T)[:, None]  # i64[T, T]
    if both_ways:
        edges = jnp.array(
            [
                math.ceil(
                    buckets
                    // 2
                    // 2
                    * (furthest / (buckets // 2 // 2)) ** (k / (buckets // 2 - buckets // 2 // 2))
                )
                for k in range(1, buckets // 2 - buckets // 2 // 2)
            ]
        )  # i64[buckets // 2 - buckets // 4 - 1]
        index = bucket(jnp.abs(offset), edges, count=buckets // 2)
        index = index + buckets // 2 * (offset > 0).astype(int)
    else:
        edges = jnp.array(
            [
                math.ceil(
                    buckets // 2 * (furthest / (buckets // 2)) ** (k / (buckets - buckets // 2))
                )
                for k in range(1, buckets - buckets // 2)
            ]
        )  # i64[buckets - buckets // 2 - 1]
        index = bucket(jnp.maximum(-offset, 0), edges, count=buckets)
    return params["relative_attention_bias"]["weight"][index].transpose(2, 0, 1)


def dot_product_attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array,
    bias: Array | None = None,
    *,
    scale: float | None = None,
) -> Array:
    """softmax(q k^T * scale + bias) v over the last two axes (Vaswani et al., 2017).

    q: [B, heads, T, e], k: [B, kv_heads, U, e], v: [B, kv_heads, U, f], mask: bool[B, *M, U],
    bias: [*N, T, U]
    -> [B, heads, T, f]
    """
    e = q.shape[3]
    scores = q @ k.mT * (1 / math.sqrt(e) if scale is None else scale)  # [B, heads, T, U]
    if bias is not None:
        scores = scores + bias
    scores = jnp.where(mask, scores, -jnp.inf)
    if bias is not None:
        unseen = jnp.max(scores, axis=-1, keepdims=True) == -jnp.inf  # bool[B, heads, T, 1]
        y = jnp.where(unseen, 0.0, jax.nn.softmax(jnp.where(unseen, 0.0, scores), axis=-1)) @ v
    else:
        mask = jnp.any(mask, axis=-1, keepdims=True)  # bool[B, *M, 1]
        y = jnp.where(mask, jax.nn.softmax(scores, axis=-1), 0.0) @ v
    return y


def dot_product_attention_2(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    bias: Array | None = None,
    *,
    scale: float | None = None,
) -> Array:
    """softmax(q k^T * scale + bias) v over the last two axes (Vaswani et al., 2017).

    q: [B, heads, T, e], k: [B, kv_heads, U, e], v: [B, kv_heads, U, f], mask: bool[T, U],
    bias: [*N, T, U]
    -> [B, heads, T, f]
    """
    e = q.shape[3]
    scores = q @ k.mT * (1 / math.sqrt(e) if scale is None else scale)  # [B, heads, T, U]
    if bias is not None:
        scores = scores + bias
        if mask is not None:
            scores = jnp.where(mask, scores, -jnp.inf)
        unseen = jnp.max(scores, axis=-1, keepdims=True) == -jnp.inf  # bool[B, heads, T, 1]
        y = jnp.where(unseen, 0.0, jax.nn.softmax(jnp.where(unseen, 0.0, scores), axis=-1)) @ v
    else:
        y = jax.nn.softmax(scores, axis=-1) @ v
    return y


def attention(
    params: Params,
    x: Array,
    memory: Array,
    causal_mask: Array | None = None,
    bias: Array | None = None,
    mask: Array | None = None,
    *,
    heads: int,
    head: int,
    causal: bool = False,
) -> Array:
    """Scores are not divided by the root of the head size; the initial values make up for it.

    x: [B, T, d], memory: [B, S, d], causal_mask: bool[T, S], bias: [heads, T, S],
    mask: bool[B, 1, 1, S]
    -> [B, T, d]
    """
    B, T, _ = x.shape
    S = memory.shape[1]
    q = linear(params["q"], x).reshape(B, T, heads, head).swapaxes(1, 2)  # [B, heads, T, head]
    k = linear(params["k"], memory).reshape(B, S, heads, head).swapaxes(1, 2)  # [B, heads, S, head]
    v = linear(params["v"], memory).reshape(B, S, heads, head).swapaxes(1, 2)
    if mask is not None:
        y = dot_product_attention(q, k, v, mask, bias, scale=1.0)
    elif bias is not None:
        if causal:
            if causal_mask is None:
                raise ValueError("causal_mask must be given")
            y = dot_product_attention_2(q, k, v, causal_mask, bias, scale=1.0)
        else:
            y = dot_product_attention_2(q, k, v, bias=bias, scale=1.0)
    else:
        y = dot_product_attention_2(q, k, v, scale=1.0)
    return linear(params["o"], y.swapaxes(1, 2).reshape(B, T, heads * head))


def feed_forward(
    params: Params, x: Array, *, p: float, training: bool = False, key: Array | None = None
) -> Array:
    """x: [B, T, d] -> [B, T, d]"""
    x = dropout(jax.nn.relu(linear(params["wi"], x)), p=p, training=training, key=key)  # [B, T, ff]
    return linear(params["wo"], x)


def encoder_block(
    params: Params,
    x: Array,
    bias: Array,
    mask: Array | None = None,
    *,
    heads: int,
    head: int,
    p: float,
    training: bool = False,
    key: Array | None = None,
) -> Array:
    """x: [B, S, d], bias: [heads, S, S], mask: bool[B, 1, 1, S] -> [B, S, d]"""
    keys = split(key, 3)
    y = rms_norm(params["layer"]["0"]["layer_norm"], x)
    y = attention(
        params["layer"]["0"]["SelfAttention"], y, y, bias=bias, mask=mask, heads=heads, head=head
    )
    x = x + dropout(y, p=p, training=training, key=keys[0])
    y = rms_norm(params["layer"]["1"]["layer_norm"], x)
    y = feed_forward(params["layer"]["1"]["DenseReluDense"], y, p=p, training=training, key=keys[1])
    return x + dropout(y, p=p, training=training, key=keys[2])


def encoder(
    params: Params,
    x: Array,
    mask: Array | None = None,
    *,
    layers: int,
    heads: int,
    head: int,
    buckets: int,
    furthest: int,
    p: float,
    training: bool = False,
    key: Array | None = None,
) -> Array:
    """All blocks of a stack share one bias. The checkpoints keep it in the first block.

    x: [B, S, d], mask: bool[B, 1, 1, S] -> [B, S, d]
    """
    keys = split(key, 2)
    bias = relative_bias(
        params["relative_bias"], x, both_ways=True, buckets=buckets, furthest=furthest
    )  # [heads, S, S]

    def turn(x: Array, inputs: Any) -> tuple[Array, None]:
        layer, key = inputs
        x = encoder_block(
            layer, x, bias, mask, heads=heads, head=head, p=p, training=training, key=key
        )
        return x, None

    x, _ = lax.scan(turn, x, (params["block"], layer_keys(keys[0], layers)))
    x = rms_norm(params["final_layer_norm"], x)
    return dropout(x, p=p, training=training, key=keys[1])


def decoder_block(
    params: Params,
    x: Array,
    memory: Array,
    bias: Array,
    causal_mask: Array,
    mask: Array | None = None,
    *,
    heads: int,
    head: int,
    p: float,
    training: bool = False,
    key: Array | None = None,
) -> Array:
    """x: [B, T, d], memory: [B, S, d], bias: [heads, T, T], causal_mask: bool[T, T],
    mask: bool[B, 1, 1, S]
    -> [B, T, d]
    """
    keys = split(key, 4)
    y = rms_norm(params["layer"]["0"]["layer_norm"], x)
    y = attention(
        params["layer"]["0"]["SelfAttention"],
        y,
        y,
        causal_mask,
        bias,
        heads=heads,
        head=head,
        causal=True,
    )
    x = x + dropout(y, p=p, training=training, key=keys[0])
    y = rms_norm(params["layer"]["1"]["layer_norm"], x)
    y = attention(
        params["layer"]["1"]["EncDecAttention"], y, memory, mask=mask, heads=heads, head=head
    )
    x = x + dropout(y, p=p, training=training, key=keys[1])
    y = rms_norm(params["layer"]["2"]["layer_norm"], x)
    y = feed_forward(params["layer"]["2"]["DenseReluDense"], y, p=p, training=training, key=keys[2])
    return x + dropout(y, p=p, training=training, key=keys[3])


def decoder(
    params: Params,
    x: Array,
    memory: Array,
    mask: Array | None = None,
    *,
    layers: int,
    heads: int,
    head: int,
    buckets: int,
    furthest: int,
    p: float,
    training: bool = False,
    key: Array | None = None,
) -> Array:
    """x: [B, T, d], memory: [B, S, d], mask: bool[B, 1, 1, S] -> [B, T, d]"""
    T = x.shape[1]
    keys = split(key, 2)
    bias = relative_bias(
        params["relative_bias"], x, both_ways=False, buckets=buckets, furthest=furthest
    )  # [heads, T, T]
    causal_mask = jnp.tri(T, T, dtype=bool)  # bool[T, T]

    def turn(x: Array, inputs: Any) -> tuple[Array, None]:
        layer, key = inputs
        x = decoder_block(
            layer,
            x,
            memory,
            bias,
            causal_mask,
            mask,
            heads=heads,
            head=head,
            p=p,
            training=training,
            key=key,
        )
        return x, None

    x, _ = lax.scan(turn, x, (params["block"], layer_keys(keys[0], layers)))
    x = rms_norm(params["final_layer_norm"], x)
    return dropout(x, p=p, training=training, key=keys[1])


def init_embedding(key: Array, count: int, d: int, dtype: DTypeLike, *, std: float) -> Params:
    """Initial parameters of `embedding`."""
    return {
        "weight": std * jax.random.normal(key, (count, d), dtype),
    }


def init_relative_bias(key: Array, *, heads: int, buckets: int, d: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `RelativeBias`."""
    return {
        "relative_attention_bias": init_embedding(key, buckets, heads, dtype, std=1 / math.sqrt(d)),
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


def init_attention(
    key: Array, *, d: int, heads: int, head: int, t5_d: int, dtype: DTypeLike
) -> Params:
    """Initial parameters of `Attention`."""
    keys = jax.random.split(key, 4)
    return {
        "q": init_linear(keys[0], d, heads * head, dtype, std=1 / math.sqrt(d * head)),
        "k": init_linear(keys[1], d, heads * head, dtype, std=1 / math.sqrt(t5_d)),
        "v": init_linear(keys[2], d, heads * head, dtype, std=1 / math.sqrt(t5_d)),
        "o": init_linear(keys[3], heads * head, d, dtype, std=1 / math.sqrt(heads * head)),
    }


def init_feed_forward(key: Array, *, d: int, ff: int, t5_d: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `FeedForward`."""
    keys = jax.random.split(key, 2)
    return {
        "wi": init_linear(keys[0], d, ff, dtype, std=1 / math.sqrt(t5_d)),
        "wo": init_linear(keys[1], ff, d, dtype, std=1 / math.sqrt(ff)),
    }


def init_encoder_block(
    key: Array, *, d: int, heads: int, head: int, ff: int, t5_d: int, dtype: DTypeLike
) -> Params:
    """Initial parameters of `EncoderBlock`."""
    keys = jax.random.split(key, 2)
    return {
        "layer": {
            "0": {
                "layer_norm": init_rms_norm(d, dtype),
                "SelfAttention": init_attention(
                    keys[0], d=d, heads=heads, head=head, t5_d=t5_d, dtype=dtype
                ),
            },
            "1": {
                "layer_norm": init_rms_norm(d, dtype),
                "DenseReluDense": init_feed_forward(keys[1], d=d, ff=ff, t5_d=t5_d, dtype=dtype),
            },
        },
    }


def init_encoder(
    key: Array,
    *,
    layers: int,
    d: int,
    heads: int,
    head: int,
    ff: int,
    buckets: int,
    t5_d: int,
    dtype: DTypeLike,
) -> Params:
    """Initial parameters of `Encoder`."""
    keys = jax.random.split(key, 2)
    return {
        "relative_bias": init_relative_bias(
            keys[0], heads=heads, buckets=buckets, d=t5_d, dtype=dtype
        ),
        "block": init_layers(
            partial(init_encoder_block, d=d, heads=heads, head=head, ff=ff, t5_d=t5_d, dtype=dtype),
            keys[1],
            layers,
        ),
        "final_layer_norm": init_rms_norm(d, dtype),
    }


def init_decoder_block(
    key: Array, *, d: int, heads: int, head: int, ff: int, t5_d: int, dtype: DTypeLike
) -> Params:
    """Initial parameters of `DecoderBlock`."""
    keys = jax.random.split(key, 3)
    return {
        "layer": {
            "0": {
                "layer_norm": init_rms_norm(d, dtype),
                "SelfAttention": init_attention(
                    keys[0], d=d, heads=heads, head=head, t5_d=t5_d, dtype=dtype
                ),
            },
            "1": {
                "layer_norm": init_rms_norm(d, dtype),
                "EncDecAttention": init_attention(
                    keys[1], d=d, heads=heads, head=head, t5_d=t5_d, dtype=dtype
                ),
            },
            "2": {
                "layer_norm": init_rms_norm(d, dtype),
                "DenseReluDense": init_feed_forward(keys[2], d=d, ff=ff, t5_d=t5_d, dtype=dtype),
            },
        },
    }


def init_decoder(
    key: Array,
    *,
    layers: int,
    d: int,
    heads: int,
    head: int,
    ff: int,
    buckets: int,
    t5_d: int,
    dtype: DTypeLike,
) -> Params:
    """Initial parameters of `Decoder`."""
    keys = jax.random.split(key, 2)
    return {
        "relative_bias": init_relative_bias(
            keys[0], heads=heads, buckets=buckets, d=t5_d, dtype=dtype
        ),
        "block": init_layers(
            partial(init_decoder_block, d=d, heads=heads, head=head, ff=ff, t5_d=t5_d, dtype=dtype),
            keys[1],
            layers,
        ),
        "final_layer_norm": init_rms_norm(d, dtype),
    }


def init(key: Array, config: Config = CONFIG, dtype: DTypeLike = jnp.float32) -> Params:
    """Initial parameters."""
    keys = jax.random.split(key, 3)
    return {
        "shared": init_embedding(keys[0], config.vocab, config.d, dtype, std=1.0),
        "encoder": init_encoder(
            keys[1],
            layers=config.layers,
            d=config.d,
            heads=config.heads,
            head=config.head,
            ff=config.ff,
            buckets=config.buckets,
            t5_d=config.d,
            dtype=dtype,
        ),
        "decoder": init_decoder(
            keys[2],
            layers=config.layers,
            d=config.d,
            heads=config.heads,
            head=config.head,
            ff=config.ff,
            buckets=config.buckets,
            t5_d=config.d,
            dtype=dtype,
        ),
    }


def apply(
    params: Params,
    input_ids: Array,
    decoder_input_ids: Array,
    attention_mask: Array | None = None,
    *,
    config: Config = CONFIG,
    training: bool = False,
    key: Array | None = None,
) -> Array:
    """One table serves the input of both stacks and, scaled down, the output. `attention_mask` is
    1 at words, 0 at padding.

    input_ids: i64[B, S], decoder_input_ids: i64[B, T], attention_mask: i64[B, S]
    -> logits: [B, T, vocab]
    """
    keys = split(key, 4)
    mask = (attention_mask != 0)[:, None, None] if attention_mask is not None else None
    src = dropout(params["shared"]["weight"][input_ids], p=config.p, training=training, key=keys[0])
    tgt = dropout(
        params["shared"]["weight"][decoder_input_ids], p=config.p, training=training, key=keys[1]
    )  # [B, T, d]
    memory = encoder(
        params["encoder"],
        src,
        mask,
        layers=config.layers,
        heads=config.heads,
        head=config.head,
        buckets=config.buckets,
        furthest=config.furthest,
        p=config.p,
        training=training,
        key=keys[2],
    )
    x = decoder(
        params["decoder"],
        tgt,
        memory,
        mask,
        layers=config.layers,
        heads=config.heads,
        head=config.head,
        buckets=config.buckets,
        furthest=config.furthest,
        p=config.p,
        training=training,
        key=keys[3],
    )
    return x / math.sqrt(config.d) @ params["shared"]["weight"].T


# What checkpoints call parts that have another place here; layers by their number.
PATHS: dict[str, Any] = {
    "encoder.block": lambda i: f"block.{i}",
    "encoder.relative_bias": "block.0.layer.0.SelfAttention",
    "decoder.block": lambda i: f"block.{i}",
    "decoder.relative_bias": "block.0.layer.0.SelfAttention",
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
