# BERT of bert.dl (digest d2b9a89893b8277b), written by dlc 0.1.0.
"""A vector per token, and one for the whole text, read off its first token ([CLS]).
`token_type_ids` tells the first sentence (0) from the second (1); `attention_mask` is 1 at
tokens and 0 at padding.

    params = init(jax.random.key(0))
    outputs = apply(params, input_ids)

Under `jax.jit`: `static_argnames=("config", "training")`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

Params = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """The static parameters."""

    layers: int = 12
    d: int = 768
    heads: int = 12
    ff: int | None = None
    vocab: int = 30522
    context: int = 512
    types: int = 2
    p: float = 0.1

    def __post_init__(self) -> None:
        if self.ff is None:
            object.__setattr__(self, "ff", 4 * self.d)
        if not 0.0 <= self.p <= 1.0:
            raise ValueError(f"0.0 <= p <= 1.0 must hold, but p is {self.p}")
        if self.d % self.heads != 0:
            raise ValueError(
                f"d % heads == 0 must hold, but d is {self.d} and heads is {self.heads}"
            )


CONFIG = Config()


class BERTOutputs(NamedTuple):
    last_hidden_state: Array
    pooler_output: Array


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


def dot_product_attention(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
    """softmax(q k^T * scale + bias) v over the last two axes (Vaswani et al., 2017).

    q: [B, heads, T, e], k: [B, kv_heads, T, e], v: [B, kv_heads, T, f], mask: bool[B, *M, T]
    -> [B, heads, T, f]
    """
    e = q.shape[3]
    scores = q @ k.mT * (1 / math.sqrt(e))  # [B, heads, T, T]
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf)
        mask = jnp.any(mask, axis=-1, keepdims=True)  # bool[B, *M, 1]
        y = jnp.where(mask, jax.nn.softmax(scores, axis=-1), 0.0) @ v
    else:
        y = jax.nn.softmax(scores, axis=-1) @ v
    return y


def self_attention(
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
    """Every position sees every other, except padding. Residual sums are normalised after the
    addition.

    x: [B, T, d], mask: bool[B, 1, 1, T] -> [B, T, d]
    """
    B, T, _ = x.shape
    q = linear(params["self"]["query"], x).reshape(B, T, heads, d // heads)
    q = q.swapaxes(1, 2)  # [B, heads, T, d // heads]
    k = linear(params["self"]["key"], x).reshape(B, T, heads, d // heads).swapaxes(1, 2)
    v = linear(params["self"]["value"], x).reshape(B, T, heads, d // heads)
    v = v.swapaxes(1, 2)  # [B, heads, T, d // heads]
    y = dot_product_attention(q, k, v, mask).swapaxes(1, 2).reshape(B, T, d)  # [B, T, d]
    y = dropout(linear(params["output"]["dense"], y), p=p, training=training, key=key)
    return layer_norm(params["output"]["LayerNorm"], x + y, eps=1e-12)


def layer(
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
    """x: [B, T, d], mask: bool[B, 1, 1, T] -> [B, T, d]"""
    keys = split(key, 2)
    x = self_attention(
        params["attention"], x, mask, d=d, heads=heads, p=p, training=training, key=keys[0]
    )
    y = jax.nn.gelu(linear(params["intermediate"]["dense"], x), approximate=False)  # [B, T, ff]
    y = dropout(linear(params["output"]["dense"], y), p=p, training=training, key=keys[1])
    return layer_norm(params["output"]["LayerNorm"], x + y, eps=1e-12)


def init_embedding(key: Array, count: int, d: int, dtype: DTypeLike, *, std: float) -> Params:
    """Initial parameters of `embedding`."""
    return {
        "weight": std * jax.random.normal(key, (count, d), dtype),
    }


def init_layer_norm(d: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `layer_norm`."""
    return {
        "weight": jnp.ones((d,), dtype),
        "bias": jnp.zeros((d,), dtype),
    }


def init_linear(key: Array, inputs: int, out: int, dtype: DTypeLike, *, std: float) -> Params:
    """Initial parameters of `linear`."""
    return {
        "weight": std * jax.random.normal(key, (out, inputs), dtype),
        "bias": jnp.zeros((out,), dtype),
    }


def init_self_attention(key: Array, *, d: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `SelfAttention`."""
    keys = jax.random.split(key, 4)
    return {
        "self": {
            "query": init_linear(keys[0], d, d, dtype, std=0.02),
            "key": init_linear(keys[1], d, d, dtype, std=0.02),
            "value": init_linear(keys[2], d, d, dtype, std=0.02),
        },
        "output": {
            "dense": init_linear(keys[3], d, d, dtype, std=0.02),
            "LayerNorm": init_layer_norm(d, dtype),
        },
    }


def init_layer(key: Array, *, d: int, ff: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `Layer`."""
    keys = jax.random.split(key, 3)
    return {
        "attention": init_self_attention(keys[0], d=d, dtype=dtype),
        "intermediate": {"dense": init_linear(keys[1], d, ff, dtype, std=0.02)},
        "output": {
            "dense": init_linear(keys[2], ff, d, dtype, std=0.02),
            "LayerNorm": init_layer_norm(d, dtype),
        },
    }


def init(key: Array, config: Config = CONFIG, dtype: DTypeLike = jnp.float32) -> Params:
    """Initial parameters."""
    keys = jax.random.split(key, 5)
    return {
        "embeddings": {
            "word_embeddings": init_embedding(keys[0], config.vocab, config.d, dtype, std=0.02),
            "position_embeddings": init_embedding(
                keys[1], config.context, config.d, dtype, std=0.02
            ),
            "token_type_embeddings": init_embedding(
                keys[2], config.types, config.d, dtype, std=0.02
            ),
            "LayerNorm": init_layer_norm(config.d, dtype),
        },
        "encoder": {
            "layer": init_layers(
                partial(init_layer, d=config.d, ff=config.ff, dtype=dtype), keys[3], config.layers
            ),
        },
        "pooler": {"dense": init_linear(keys[4], config.d, config.d, dtype, std=0.02)},
    }


def apply(
    params: Params,
    input_ids: Array,
    token_type_ids: Array | None = None,
    attention_mask: Array | None = None,
    *,
    config: Config = CONFIG,
    training: bool = False,
    key: Array | None = None,
) -> BERTOutputs:
    """A vector per token, and one for the whole text, read off its first token ([CLS]).
    `token_type_ids` tells the first sentence (0) from the second (1); `attention_mask` is 1 at
    tokens and 0 at padding.

    input_ids: i64[B, T], token_type_ids: i64[B, T], attention_mask: i64[B, T]
    -> last_hidden_state: [B, T, d], pooler_output: [B, d]
    """
    B, T = input_ids.shape
    if config.context < T:
        raise ValueError(f"T must be at most {config.context}, not {T}")
    keys = split(key, 2)
    if token_type_ids is None:
        token_type_ids = jnp.zeros((B, T), int)
    mask = (attention_mask != 0)[:, None, None] if attention_mask is not None else None
    x = params["embeddings"]["position_embeddings"]["weight"][jnp.arange(T)]  # [T, d]
    y = params["embeddings"]["token_type_embeddings"]["weight"][token_type_ids]  # [B, T, d]
    x = params["embeddings"]["word_embeddings"]["weight"][input_ids] + x + y
    x = layer_norm(params["embeddings"]["LayerNorm"], x, eps=1e-12)
    x = dropout(x, p=config.p, training=training, key=keys[0])

    def turn(x: Array, inputs: Any) -> tuple[Array, None]:
        one, key = inputs
        x = layer(
            one, x, mask, d=config.d, heads=config.heads, p=config.p, training=training, key=key
        )
        return x, None

    x, _ = lax.scan(turn, x, (params["encoder"]["layer"], layer_keys(keys[1], config.layers)))
    pooled = jnp.tanh(linear(params["pooler"]["dense"], x[:, 0]))  # [B, d]
    return BERTOutputs(last_hidden_state=x, pooler_output=pooled)


# What checkpoints call parts that have another place here; layers by their number.
PATHS: dict[str, Any] = {
    "encoder.layer": lambda i: f"layer.{i}",
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
