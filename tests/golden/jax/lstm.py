# LSTM of rnn_lm.dl (digest 688d50a9500485d8), written by dlc 0.1.0.
"""An LSTM keeps a second state, the cell, which gates let words be added to and taken from.
Nothing else touches it, so gradients reach far back.

    params = init(jax.random.key(0))
    outputs = apply(params, tokens)

Under `jax.jit`: `static_argnames=("config", "training")`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

Params = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """The static parameters."""

    d: int = 200
    hidden: int = 200
    vocab: int = 33278
    p: float = 0.2

    def __post_init__(self) -> None:
        if not 0.0 <= self.p <= 1.0:
            raise ValueError(f"0.0 <= p <= 1.0 must hold, but p is {self.p}")
        if self.hidden < 1:
            raise ValueError(f"hidden >= 1 must hold, but hidden is {self.hidden}")


CONFIG = Config()


class LSTMOutputs(NamedTuple):
    logits: Array
    h: Array
    c: Array


def split(key: Array | None, count: int) -> Sequence[Array | None]:
    """Keys for several draws; none where no key is given, as outside of training."""
    return [None] * count if key is None else list(jax.random.split(key, count))


def linear(params: Params, x: Array) -> Array:
    """x @ weight.T + bias."""
    y = x @ params["weight"].T
    return y + params["bias"] if "bias" in params else y


def dropout(x: Array, *, p: float = 0.5, training: bool = False, key: Array | None = None) -> Array:
    """Zeroes a share p of the elements in training, and scales the others by 1 / (1 - p)."""
    if not training or p == 0:
        return x
    if key is None:
        raise ValueError("dropout needs a key in training")
    kept = jax.random.bernoulli(key, 1 - p, x.shape)
    return jnp.where(kept, x / (1 - p), 0) if p < 1 else jnp.zeros_like(x)


def lstm_along(x: Array, weight: Array, h: Array, c: Array) -> tuple[Array, Array, Array]:
    """x: [B, T, k], weight: [k, o], h: [B, o], c: [B, n] -> y: [B, T, n], h: [B, o], c: [B, n]"""

    def step(carry: tuple[Array, Array], xt: Array) -> tuple[tuple[Array, Array], Array]:
        h, c = carry
        i, f, g, o = jnp.split(xt + h @ weight.T, 4, axis=-1)  # [B, k // 4]
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    (h, c), y = lax.scan(step, (h, c), x.swapaxes(0, 1))  # [B, o], [B, n], [T, B, n]
    y = y.swapaxes(0, 1)  # [B, T, n]
    return y, h, c


def lstm(
    params: Params,
    x: Array,
    h: Array | None = None,
    c: Array | None = None,
    *,
    hidden: int,
    dropout_rate: float = 0.0,
    training: bool = False,
    key: Array | None = None,
) -> tuple[Array, Array, Array]:
    """A long short-term memory over x: [B, T, i] (Hochreiter and Schmidhuber, 1997); arguments and
    results are those of `rnn`, and the cell states `c`. With `proj`, what a step hands on and
    out is projected to so many features (Sak et al., 2014).

    x: [B, T, i], h: [L, B, o], c: [L, B, hidden]
    -> y: [B, T, hidden], h: [2, B, hidden], c: [2, B, hidden]
    """
    B = x.shape[0]
    gates = x @ params["weight_ih_l0"].T  # [B, T, 4 * hidden]
    gates = gates + (params["bias_ih_l0"] + params["bias_hh_l0"])
    if h is not None:
        h0 = h[0]  # [B, o]
        c0 = c[0]  # [B, hidden]
    else:
        h0 = jnp.zeros((B, hidden), x.dtype)  # [B, hidden]
        c0 = jnp.zeros((B, hidden), x.dtype)
    y, h1, c1 = lstm_along(gates, params["weight_hh_l0"], h0, c0)
    x_2 = dropout(y, p=dropout_rate, training=training, key=key)
    gates = x_2 @ params["weight_ih_l1"].T
    gates = gates + (params["bias_ih_l1"] + params["bias_hh_l1"])
    if h is not None:
        h0 = h[1]  # [B, o]
        c0 = c[1]
    else:
        h0 = jnp.zeros((B, hidden), x.dtype)  # [B, hidden]
        c0 = jnp.zeros((B, hidden), x.dtype)
    y, h1_2, c1_2 = lstm_along(gates, params["weight_hh_l1"], h0, c0)
    return y, jnp.stack([h1, h1_2]), jnp.stack([c1, c1_2])


def init_embedding(key: Array, count: int, d: int, dtype: DTypeLike, *, bound: float) -> Params:
    """Initial parameters of `embedding`."""
    return {
        "weight": bound * jax.random.uniform(key, (count, d), dtype, -1.0),
    }


def init_lstm(key: Array, inputs: int, hidden: int, dtype: DTypeLike) -> Params:
    """Initial parameters of `lstm`."""
    bound = 1 / math.sqrt(hidden)
    keys = jax.random.split(key, 8)
    return {
        "weight_ih_l0": jax.random.uniform(keys[0], (4 * hidden, inputs), dtype, -bound, bound),
        "weight_hh_l0": jax.random.uniform(keys[1], (4 * hidden, hidden), dtype, -bound, bound),
        "bias_ih_l0": jax.random.uniform(keys[2], (4 * hidden,), dtype, -bound, bound),
        "bias_hh_l0": jax.random.uniform(keys[3], (4 * hidden,), dtype, -bound, bound),
        "weight_ih_l1": jax.random.uniform(keys[4], (4 * hidden, hidden), dtype, -bound, bound),
        "weight_hh_l1": jax.random.uniform(keys[5], (4 * hidden, hidden), dtype, -bound, bound),
        "bias_ih_l1": jax.random.uniform(keys[6], (4 * hidden,), dtype, -bound, bound),
        "bias_hh_l1": jax.random.uniform(keys[7], (4 * hidden,), dtype, -bound, bound),
    }


def init_linear(key: Array, inputs: int, out: int, dtype: DTypeLike, *, bound: float) -> Params:
    """Initial parameters of `linear`."""
    return {
        "weight": bound * jax.random.uniform(key, (out, inputs), dtype, -1.0),
        "bias": jnp.zeros((out,), dtype),
    }


def init(key: Array, config: Config = CONFIG, dtype: DTypeLike = jnp.float32) -> Params:
    """Initial parameters."""
    keys = jax.random.split(key, 3)
    return {
        "encoder": init_embedding(keys[0], config.vocab, config.d, dtype, bound=0.1),
        "rnn": init_lstm(keys[1], config.d, config.hidden, dtype),
        "decoder": init_linear(keys[2], config.hidden, config.vocab, dtype, bound=0.1),
    }


def apply(
    params: Params,
    tokens: Array,
    h: Array | None = None,
    c: Array | None = None,
    *,
    config: Config = CONFIG,
    training: bool = False,
    key: Array | None = None,
) -> LSTMOutputs:
    """An LSTM keeps a second state, the cell, which gates let words be added to and taken from.
    Nothing else touches it, so gradients reach far back.

    tokens: i64[B, T], h: [2, B, hidden], c: [2, B, hidden]
    -> logits: [B, T, vocab], h: [2, B, hidden], c: [2, B, hidden]
    """
    keys = split(key, 3)
    x = dropout(params["encoder"]["weight"][tokens], p=config.p, training=training, key=keys[0])
    y, last, cell = lstm(
        params["rnn"],
        x,
        h,
        c,
        hidden=config.hidden,
        dropout_rate=config.p,
        training=training,
        key=keys[1],
    )  # [B, T, hidden], [2, B, hidden], [2, B, hidden]
    y = dropout(y, p=config.p, training=training, key=keys[2])
    return LSTMOutputs(logits=linear(params["decoder"], y), h=last, c=cell)


def arranged(like: Params, flat: Params, path: str = "") -> Params:
    """A tree of the same form as `like`, of parameters by their paths in checkpoints."""
    tree: Params = {}
    for name, value in like.items():
        part = path + name
        if isinstance(value, dict):
            tree[name] = arranged(value, flat, f"{part}.")
        else:
            tree[name] = jnp.asarray(flat[part])
    return tree


def from_flat(flat: Params, config: Config = CONFIG) -> Params:
    """What `init` gives, of parameters by their paths in checkpoints."""
    return arranged(jax.eval_shape(lambda key: init(key, config), jax.random.key(0)), flat)


def to_flat(params: Params, path: str = "") -> Params:
    """Parameters by their paths in checkpoints."""
    flat: Params = {}
    for name, value in params.items():
        if isinstance(value, dict):
            flat |= to_flat(value, f"{path}{name}.")
        else:
            flat[path + name] = value
    return flat
