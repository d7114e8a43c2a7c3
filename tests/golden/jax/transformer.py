# Transformer of transformer.dl (digest d19ded5e5d03b06a), written by dlc 0.1.0.
"""One table of words serves as input of both sides and as output. `attention_mask` is 1 at
words and 0 at padding. The prediction for position t sees the target up to t, so the
decoder's input is the target shifted by one.

    params, state = init(jax.random.key(0))
    outputs, state = apply(params, state, input_ids, decoder_input_ids)

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

    layers: int = 6
    d: int = 512
    heads: int = 8
    ff: int | None = None
    vocab: int = 37000
    context: int = 512
    p: float = 0.1

    def __post_init__(self) -> None:
        if self.ff is None:
            object.__setattr__(self, "ff", 4 * self.d)
        if self.d % 2 != 0:
            raise ValueError(f"d % 2 == 0 must hold, but d is {self.d}")
        if not 0.0 <= self.p <= 1.0:
            raise ValueError(f"0.0 <= p <= 1.0 must hold, but p is {self.p}")
        if self.d % self.heads != 0:
            raise ValueError(
                f"d % heads == 0 must hold, but d is {self.d} and heads is {self.heads}"
            )


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


def layer_norm(params: Params, x: Array, *, eps: float = 1e-5) -> Array:
    """x with mean 0 and variance 1 over its last axis, scaled and shifted."""
    mean = jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.var(x, axis=-1, keepdims=True)
    y = (x - mean) * lax.rsqrt(variance + eps) * params["weight"]
    return y + params["bias"] if "bias" in params else y


def dropout(x: Array, *, p: float = 0.5, training: bool = False, key: Array | None = None) -> Array:
    """Zeroes a share p of the elements in training, and scales the others by 1 / (1 - p)."""
    if not training or p == 0:
        return x
    if key is None:
        raise ValueError("dropout needs a key in training")
    kept = jax.random.bernoulli(key, 1 - p, x.shape)
    return jnp.where(kept, x / (1 - p), 0) if p < 1 else jnp.zeros_like(x)


def positions(state: State, x: Array) -> Array:
    """Adds the table of positions. It is never trained, but saved: checkpoints carry it.

    x: [B, T, d] -> [B, T, d]
    """
    T = x.shape[1]
    return x + state["weight"][:T]


def dot_product_attention(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """softmax(q k^T * scale + bias) v over the last two axes (Vaswani et al., 2017).

    q: [B, heads, T, e], k: [B, kv_heads, U, e], v: [B, kv_heads, U, f], mask: bool[B, *M, U]
    -> [B, heads, T, f]
    """
    e = q.shape[3]
    scores = q @ k.mT * (1 / math.sqrt(e))  # [B, heads, T, U]
    scores = jnp.where(mask, scores, -jnp.inf)
    y = jnp.where(jnp.any(mask, axis=-1, keepdims=True), jax.nn.softmax(scores, axis=-1), 0.0)
    return y @ v


def dot_product_attention_2(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
    """softmax(q k^T * scale + bias) v over the last two axes (Vaswani et al., 2017).

    q: [B, heads, T, e], k: [B, kv_heads, U, e], v: [B, kv_heads, U, f], mask: bool[T, U]
    -> [B, heads, T, f]
    """
    e = q.shape[3]
    scores = q @ k.mT * (1 / math.sqrt(e))  # [B, heads, T, U]
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf)
        mask = jnp.any(mask, axis=-1, keepdims=True)  # bool[T, 1]
        y = jnp.where(mask, jax.nn.softmax(scores, axis=-1), 0.0) @ v
    else:
        y = jax.nn.softmax(scores, axis=-1) @ v
    return y


def attention(
    params: Params,
    x: Array,
    memory: Array,
    mask: Array | None = None,
    causal_mask: Array | None = None,
    *,
    d: int,
    heads: int,
    causal: bool = False,
) -> Array:
    """Several attentions side by side: queries come from `x`, keys and values from `memory`.
    `mask` is true where a key may be seen; `causal` hides the positions to come.

    x: [B, T, d], memory: [B, S, d], mask: bool[B, 1, 1, S], causal_mask: bool[T, S] -> [B, T, d]
    """
    B, T, _ = x.shape
    S = memory.shape[1]
    q = linear(params["q_proj"], x).reshape(B, T, heads, d // heads).swapaxes(1, 2)
    k = linear(params["k_proj"], memory).reshape(B, S, heads, d // heads).swapaxes(1, 2)
    v = linear(params["v_proj"], memory).reshape(B, S, heads, d // heads).swapaxes(1, 2)
    if mask is not None:
        y = dot_product_attention(q, k, v, mask)
    elif causal:
        if causal_mask is None:
            raise ValueError("causal_mask must be given")
        y = dot_product_attention_2(q, k, v, causal_mask)
    else:
        y = dot_product_attention_2(q, k, v)
    return linear(params["out_proj"], y.swapaxes(1, 2).reshape(B, T, d))


def encoder_layer(
    params: Params,
    x: Array,
    mask: Array | None = None,
    *,
    d: int,
    heads: int,
    p: float,
    training: bool = False,
    key: Array | None = None,
) -> Array:
    """The norm stands behind each sum ("post-norm"), as in the paper.

    x: [B, S, d], mask: bool[B, 1, 1, S] -> [B, S, d]
    """
    keys = split(key, 2)
    y = attention(params["self_attn"], x, x, mask, d=d, heads=heads)
    x = x + dropout(y, p=p, training=training, key=keys[0])
    x = layer_norm(params["self_attn_layer_norm"], x)
    y = jax.nn.relu(linear(params["fc1"], x))  # [B, S, ff]
    x = x + dropout(linear(params["fc2"], y), p=p, training=training, key=keys[1])
    return layer_norm(params["final_layer_norm"], x)


def encoder(
    params: Params,
    x: Array,
    mask: Array | None = None,
    *,
    layers: int,
    d: int,
    heads: int,
    p: float,
    training: bool = False,
    key: Array | None = None,
) -> Array:
    """x: [B, S, d], mask: bool[B, 1, 1, S] -> [B, S, d]"""

    def turn(x: Array, inputs: Any) -> tuple[Array, None]:
        layer, key = inputs
        x = encoder_layer(layer, x, mask, d=d, heads=heads, p=p, training=training, key=key)
        return x, None

    x, _ = lax.scan(turn, x, (params["layers"], layer_keys(key, layers)))
    return x


def decoder_layer(
    params: Params,
    x: Array,
    memory: Array,
    causal_mask: Array,
    mask: Array | None = None,
    *,
    d: int,
    heads: int,
    p: float,
    training: bool = False,
    key: Array | None = None,
) -> Array:
    """x: [B, T, d], memory: [B, S, d], causal_mask: bool[T, T], mask: bool[B, 1, 1, S]
    -> [B, T, d]
    """
    keys = split(key, 3)
    y = attention(params["self_attn"], x, x, causal_mask=causal_mask, d=d, heads=heads, causal=True)
    x = x + dropout(y, p=p, training=training, key=keys[0])
    x = layer_norm(params["self_attn_layer_norm"], x)
    y = attention(params["encoder_attn"], x, memory, mask, d=d, heads=heads)
    x = x + dropout(y, p=p, training=training, key=keys[1])
    x = layer_norm(params["encoder_attn_layer_norm"], x)
    y = jax.nn.relu(linear(params["fc1"], x))  # [B, T, ff]
    x = x + dropout(linear(params["fc2"], y), p=p, training=training, key=keys[2])
    return layer_norm(params["final_layer_norm"], x)


def decoder(
    params: Params,
    x: Array,
    memory: Array,
    mask: Array | None = None,
    *,
    layers: int,
    d: int,
    heads: int,
    p: float,
    training: bool = False,
    key: Array | None = None,
) -> Array:
    """x: [B, T, d], memory: [B, S, d], mask: bool[B, 1, 1, S] -> [B, T, d]"""
    T = x.shape[1]
    causal_mask = jnp.tri(T, T, dtype=bool)  # bool[T, T]

    def turn(x: Array, inputs: Any) -> tuple[Array, None]:
        layer, key = inputs
        x = decoder_layer(
            layer, x, memory, causal_mask, mask, d=d, heads=heads, p=p, training=training, key=key
        )
        return x, None

    x, _ = lax.scan(turn, x, (params["layers"], layer_keys(key, layers)))
    return x


def encoder_decoder(
    params: Params,
    src: Array,
    tgt: Array,
    attention_mask: Array | None = None,
    *,
    layers: int = 6,
    d: int = 512,
    heads: int = 8,
    p: float = 0.1,
    training: bool = False,
    key: Array | None = None,
) -> Array:
    """The two stacks on vectors, without words: what `torch.nn.Transformer` holds, which ends both
    stacks in one more norm.

    src: [B, S, d], tgt: [B, T, d], attention_mask: i64[B, S] -> y: [B, T, d]
    """
    keys = split(key, 2)
    mask = (attention_mask != 0)[:, None, None] if attention_mask is not None else None
    memory = encoder(
        params["encoder"],
        src,
        mask,
        layers=layers,
        d=d,
        heads=heads,
        p=p,
        training=training,
        key=keys[0],
    )
    y = decoder(
        params["decoder"],
        tgt,
        memory,
        mask,
        layers=layers,
        d=d,
        heads=heads,
        p=p,
        training=training,
        key=keys[1],
    )
    return y


def sinusoids(*, dtype: DTypeLike, length: int, d: int) -> Array:
    """Sines and cosines of the position, at wavelengths from 2 pi to 20,000 pi: a shift by k
    positions is a rotation, the same everywhere. Sines first, then cosines, as the authors'
    code and Marian have it; the paper interleaves them.

    -> [length, d]
    """
    angles = 10000.0 ** (2 / d * jnp.arange(d // 2, dtype=dtype))  # [d // 2]
    angles = jnp.arange(length, dtype=dtype)[:, None] / angles  # [length, d // 2]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def initial_weight(*, dtype: DTypeLike, context: int, d: int) -> Array:
    """-> value: [context, d]"""
    return sinusoids(dtype=dtype, length=context, d=d)


def init_embedding(key: Array, count: int, d: int, dtype: DTypeLike, *, std: float) -> Params:
    """Initial parameters of `embedding`."""
    return {
        "weight": std * jax.random.normal(key, (count, d), dtype),
    }


def init_positions(*, d: int, context: int, dtype: DTypeLike) -> State:
    """Initial state of `Positions`."""
    return {
        "weight": initial_weight(context=context, d=d, dtype=dtype),
    }


def init_linear(key: Array, inputs: int, out: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `linear`."""
    bound = math.sqrt(6 / (inputs + out))
    return {
        "weight": jax.random.uniform(key, (out, inputs), dtype, -bound, bound),
        "bias": jnp.zeros((out,), dtype),
    }


def init_attention(key: Array, *, d: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `Attention`."""
    keys = jax.random.split(key, 4)
    return {
        "q_proj": init_linear(keys[0], d, d, dtype),
        "k_proj": init_linear(keys[1], d, d, dtype),
        "v_proj": init_linear(keys[2], d, d, dtype),
        "out_proj": init_linear(keys[3], d, d, dtype),
    }


def init_layer_norm(d: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `layer_norm`."""
    return {
        "weight": jnp.ones((d,), dtype),
        "bias": jnp.zeros((d,), dtype),
    }


def init_linear_2(key: Array, inputs: int, out: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `linear`."""
    bound = 1 / math.sqrt(inputs)
    keys = jax.random.split(key, 2)
    return {
        "weight": jax.random.uniform(keys[0], (out, inputs), dtype, -bound, bound),
        "bias": jax.random.uniform(keys[1], (out,), dtype, -bound, bound),
    }


def init_encoder_layer(key: Array, *, d: int, ff: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `EncoderLayer`."""
    keys = jax.random.split(key, 3)
    return {
        "self_attn": init_attention(keys[0], d=d, dtype=dtype),
        "self_attn_layer_norm": init_layer_norm(d, dtype),
        "fc1": init_linear_2(keys[1], d, ff, dtype),
        "fc2": init_linear_2(keys[2], ff, d, dtype),
        "final_layer_norm": init_layer_norm(d, dtype),
    }


def init_encoder(key: Array, *, layers: int, d: int, ff: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `Encoder`."""
    return {
        "layers": init_layers(partial(init_encoder_layer, d=d, ff=ff, dtype=dtype), key, layers),
    }


def init_decoder_layer(key: Array, *, d: int, ff: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `DecoderLayer`."""
    keys = jax.random.split(key, 4)
    return {
        "self_attn": init_attention(keys[0], d=d, dtype=dtype),
        "self_attn_layer_norm": init_layer_norm(d, dtype),
        "encoder_attn": init_attention(keys[1], d=d, dtype=dtype),
        "encoder_attn_layer_norm": init_layer_norm(d, dtype),
        "fc1": init_linear_2(keys[2], d, ff, dtype),
        "fc2": init_linear_2(keys[3], ff, d, dtype),
        "final_layer_norm": init_layer_norm(d, dtype),
    }


def init_decoder(key: Array, *, layers: int, d: int, ff: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `Decoder`."""
    return {
        "layers": init_layers(partial(init_decoder_layer, d=d, ff=ff, dtype=dtype), key, layers),
    }


def init_encoder_decoder(key: Array, *, layers: int, d: int, ff: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `EncoderDecoder`."""
    keys = jax.random.split(key, 2)
    return {
        "encoder": init_encoder(keys[0], layers=layers, d=d, ff=ff, dtype=dtype),
        "decoder": init_decoder(keys[1], layers=layers, d=d, ff=ff, dtype=dtype),
    }


def init(
    key: Array, config: Config = CONFIG, dtype: DTypeLike = jnp.float32
) -> tuple[Params, State]:
    """Initial parameters and state."""
    keys = jax.random.split(key, 2)
    params: Params = {}
    state: State = {"model": {"encoder": {}, "decoder": {}}}
    state["final_logits_bias"] = jnp.zeros((1, config.vocab), dtype)
    state["model"]["encoder"]["embed_positions"] = init_positions(
        d=config.d, context=config.context, dtype=dtype
    )
    state["model"]["decoder"]["embed_positions"] = init_positions(
        d=config.d, context=config.context, dtype=dtype
    )
    params["model"] = init_encoder_decoder(
        keys[1], layers=config.layers, d=config.d, ff=config.ff, dtype=dtype
    )
    params["model"]["shared"] = init_embedding(
        keys[0], config.vocab, config.d, dtype, std=1 / math.sqrt(config.d)
    )
    return params, state


def apply(
    params: Params,
    state: State,
    input_ids: Array,
    decoder_input_ids: Array,
    attention_mask: Array | None = None,
    *,
    config: Config = CONFIG,
    training: bool = False,
    key: Array | None = None,
) -> tuple[Array, State]:
    """One table of words serves as input of both sides and as output. `attention_mask` is 1 at
    words and 0 at padding. The prediction for position t sees the target up to t, so the
    decoder's input is the target shifted by one.

    input_ids: i64[B, S], decoder_input_ids: i64[B, T], attention_mask: i64[B, S]
    -> logits: [B, T, vocab]
    """
    S = input_ids.shape[1]
    T = decoder_input_ids.shape[1]
    if config.context < S:
        raise ValueError(f"S must be at most {config.context}, not {S}")
    if config.context < T:
        raise ValueError(f"T must be at most {config.context}, not {T}")
    keys = split(key, 3)
    src = math.sqrt(config.d) * params["model"]["shared"]["weight"][input_ids]  # [B, S, d]
    src = positions(state["model"]["encoder"]["embed_positions"], src)
    src = dropout(src, p=config.p, training=training, key=keys[0])
    tgt = math.sqrt(config.d) * params["model"]["shared"]["weight"][decoder_input_ids]  # [B, T, d]
    tgt = positions(state["model"]["decoder"]["embed_positions"], tgt)
    tgt = dropout(tgt, p=config.p, training=training, key=keys[1])
    x = encoder_decoder(
        params["model"],
        src,
        tgt,
        attention_mask,
        layers=config.layers,
        d=config.d,
        heads=config.heads,
        p=config.p,
        training=training,
        key=keys[2],
    )
    return x @ params["model"]["shared"]["weight"].T + state["final_logits_bias"], state


# What checkpoints call parts that have another place here; layers by their number.
PATHS: dict[str, Any] = {
    "model.encoder.layers": lambda i: f"layers.{i}",
    "model.decoder.layers": lambda i: f"layers.{i}",
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
