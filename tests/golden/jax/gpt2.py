# GPT2 of gpt2.dl (digest 07d097e8d5473bf3), written by dlc 0.1.0.
"""Scores of the next token at every position.

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

    layers: int = 12
    d: int = 768
    heads: int = 12
    vocab: int = 50257
    context: int = 1024

    def __post_init__(self) -> None:
        if self.d % self.heads != 0:
            raise ValueError(
                f"d % heads == 0 must hold, but d is {self.d} and heads is {self.heads}"
            )


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


def dot_product_attention(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """softmax(q k^T * scale + bias) v over the last two axes (Vaswani et al., 2017).

    q: [B, heads, T, e], k: [B, kv_heads, T, e], v: [B, kv_heads, T, f], mask: bool[T, T]
    -> [B, heads, T, f]
    """
    e = q.shape[3]
    scores = q @ k.mT * (1 / math.sqrt(e))  # [B, heads, T, T]
    scores = jnp.where(mask, scores, -jnp.inf)
    return jax.nn.softmax(scores, axis=-1) @ v


def attention(params: Params, x: Array, causal_mask: Array, *, d: int, heads: int) -> Array:
    """Each position gathers from those before it. Queries, keys and values come from one matrix.

    x: [B, T, d], causal_mask: bool[T, T] -> [B, T, d]
    """
    B, T, _ = x.shape
    x = linear(params["c_attn"], x).reshape(B, T, 3, heads, d // heads)
    q, k, v = x.transpose(2, 0, 3, 1, 4)  # [B, heads, T, d // heads]
    y = dot_product_attention(q, k, v, causal_mask).swapaxes(1, 2).reshape(B, T, d)  # [B, T, d]
    return linear(params["c_proj"], y)


def mlp(params: Params, x: Array) -> Array:
    """Each position by itself: widen, bend, narrow. GPT-2 computes gelu by its tanh approximation.

    x: [B, T, d] -> [B, T, d]
    """
    return linear(params["c_proj"], jax.nn.gelu(linear(params["c_fc"], x)))


def block(params: Params, x: Array, causal_mask: Array, *, d: int, heads: int) -> Array:
    """Norms stand inside the residual branches ("pre-norm"), so the sum runs through all layers
    untouched.

    x: [B, T, d], causal_mask: bool[T, T] -> [B, T, d]
    """
    y = attention(params["attn"], layer_norm(params["ln_1"], x), causal_mask, d=d, heads=heads)
    x = x + y
    return x + mlp(params["mlp"], layer_norm(params["ln_2"], x))


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


def init_attention(key: Array, *, d: int, layers: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `Attention`."""
    keys = jax.random.split(key, 2)
    return {
        "c_attn": init_linear(keys[0], d, 3 * d, dtype, std=0.02),
        "c_proj": init_linear(keys[1], d, d, dtype, std=0.02 / math.sqrt(2 * layers)),
    }


def init_mlp(key: Array, *, d: int, layers: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `MLP`."""
    keys = jax.random.split(key, 2)
    return {
        "c_fc": init_linear(keys[0], d, 4 * d, dtype, std=0.02),
        "c_proj": init_linear(keys[1], 4 * d, d, dtype, std=0.02 / math.sqrt(2 * layers)),
    }


def init_block(key: Array, *, d: int, layers: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `Block`."""
    keys = jax.random.split(key, 2)
    return {
        "ln_1": init_layer_norm(d, dtype),
        "attn": init_attention(keys[0], d=d, layers=layers, dtype=dtype),
        "ln_2": init_layer_norm(d, dtype),
        "mlp": init_mlp(keys[1], d=d, layers=layers, dtype=dtype),
    }


def init(key: Array, config: Config = CONFIG, dtype: DTypeLike = jnp.float32) -> Params:
    """Initial parameters."""
    keys = jax.random.split(key, 3)
    return {
        "wte": init_embedding(keys[0], config.vocab, config.d, dtype, std=0.02),
        "wpe": init_embedding(keys[1], config.context, config.d, dtype, std=0.02),
        "h": init_layers(
            partial(init_block, d=config.d, layers=config.layers, dtype=dtype),
            keys[2],
            config.layers,
        ),
        "ln_f": init_layer_norm(config.d, dtype),
    }


def apply(params: Params, tokens: Array, *, config: Config = CONFIG) -> Array:
    """Scores of the next token at every position. tokens: i64[B, T] -> logits: [B, T, vocab]"""
    T = tokens.shape[1]
    if config.context < T:
        raise ValueError(f"T must be at most {config.context}, not {T}")
    x = params["wte"]["weight"][tokens] + params["wpe"]["weight"][jnp.arange(T)]  # [B, T, d]
    causal_mask = jnp.tri(T, T, dtype=bool)  # bool[T, T]

    def turn(x: Array, layer: Params) -> tuple[Array, None]:
        return block(layer, x, causal_mask, d=config.d, heads=config.heads), None

    x, _ = lax.scan(turn, x, params["h"])
    x = layer_norm(params["ln_f"], x)
    return x @ params["wte"]["weight"].T


# What checkpoints call parts that have another place here; layers by their number.
PATHS: dict[str, Any] = {
    "h": lambda i: f"h.{i}",
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
