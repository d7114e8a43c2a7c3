"""Optimizers by the names that specs give them, as optax transformations without the learning rate, which the
training loop gives with every step. Numbers follow PyTorch's: where epsilon stands, how weight decay is
coupled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Args = Mapping[str, Any]
Tree = Any


def make(name: str, args: Args) -> optax.GradientTransformation:
    """From gradients to steps that are to be scaled by the rate and subtracted."""
    return _MAKERS[name](args)


def _decay(args: Args) -> optax.GradientTransformation:
    return optax.add_decayed_weights(args["weight_decay"])


def _sgd(args: Args) -> optax.GradientTransformation:
    if not args["momentum"]:
        return _decay(args)
    return optax.chain(_decay(args), optax.trace(args["momentum"], args["nesterov"]))


def _adam(args: Args) -> optax.GradientTransformation:
    return optax.chain(_decay(args), optax.scale_by_adam(*args["betas"], eps=args["eps"]))


def _adamw(args: Args) -> optax.GradientTransformation:
    return optax.chain(optax.scale_by_adam(*args["betas"], eps=args["eps"]), _decay(args))


def _lion(args: Args) -> optax.GradientTransformation:
    """Chen et al., "Symbolic discovery of optimization algorithms", 2023."""
    return optax.chain(optax.scale_by_lion(*args["betas"]), _decay(args))


class Moments(NamedTuple):
    """Adafactor's: the step, and per parameter (row, column) or (moment,)."""

    count: Any
    moments: dict[str, tuple[Any, ...]]


def _adafactor(args: Args) -> optax.GradientTransformation:
    """Shazeer and Stern, "Adafactor", 2018, algorithm 5 without momentum; factored are the last two axes.
    Without a rate the steps are scaled by the paper's relative rate."""
    relative = _relative() if args["relative"] else optax.identity()
    return optax.chain(_factored(args), _decay(args), relative)


def _factored(args: Args) -> optax.GradientTransformation:
    def init(params: Tree) -> Moments:
        return Moments(jnp.zeros((), jnp.int32), {path: _zeros(each) for path, each in params.items()})

    def update(gradients: Tree, state: Moments, params: Tree = None) -> tuple[Tree, Moments]:
        count = state.count + 1
        keep = 1 - count.astype(jnp.float32) ** -args["decay"]
        moments = {
            path: _second_moments(each, state.moments[path], keep, args["eps"])
            for path, each in gradients.items()
        }
        updates = {
            path: _clipped(_scaled(each, moments[path]), args["clip"]) for path, each in gradients.items()
        }
        return updates, Moments(count, moments)

    return optax.GradientTransformation(init, update)


def _zeros(parameter: Any) -> tuple[Any, ...]:
    if parameter.ndim < 2:
        return (jnp.zeros_like(parameter),)
    return jnp.zeros(parameter.shape[:-1]), jnp.zeros((*parameter.shape[:-2], parameter.shape[-1]))


def _second_moments(gradient: Any, old: tuple[Any, ...], keep: Any, eps: float) -> tuple[Any, ...]:
    square = gradient * gradient + eps
    new = (square,) if len(old) == 1 else (square.mean(-1), square.mean(-2))
    return tuple(before * keep + now * (1 - keep) for before, now in zip(old, new, strict=True))


def _scaled(gradient: Any, moments: tuple[Any, ...]) -> Any:
    if len(moments) == 1:
        return gradient * jax.lax.rsqrt(moments[0])
    row, column = moments
    share = row / row.mean(-1, keepdims=True)
    return gradient * jax.lax.rsqrt(share)[..., None] * jax.lax.rsqrt(column)[..., None, :]


def _clipped(update: Any, clip: float) -> Any:
    return update / jnp.maximum(_rms(update) / clip, 1.0)


def _rms(tensor: Any) -> Any:
    return jnp.sqrt(jnp.mean(jnp.square(tensor)))


def _relative() -> optax.GradientTransformation:
    def update(updates: Tree, count: Any, params: Tree = None) -> tuple[Tree, Any]:
        rate = jnp.minimum(jax.lax.rsqrt((count + 1).astype(jnp.float32)), 1e-2)
        scaled = {path: each * jnp.maximum(_rms(params[path]), 1e-3) * rate for path, each in updates.items()}
        return scaled, count + 1

    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)


def _muon(args: Args) -> optax.GradientTransformation:
    """Jordan et al., "Muon: an optimizer for hidden layers", 2024."""
    mass = args["momentum"]

    def init(params: Tree) -> Tree:
        return {path: jnp.zeros_like(each) for path, each in params.items()}

    def update(gradients: Tree, momenta: Tree, params: Tree = None) -> tuple[Tree, Tree]:
        new = {path: momenta[path] * mass + each * (1 - mass) for path, each in gradients.items()}
        ahead = {path: each * (1 - mass) + new[path] * mass for path, each in gradients.items()}
        directions = ahead if args["nesterov"] else new
        updates = {
            path: orthogonal(each.reshape(each.shape[0], -1), args["steps"]).reshape(each.shape)
            for path, each in directions.items()
        }
        return updates, new

    return optax.chain(optax.GradientTransformation(init, update), _decay(args))


def orthogonal(matrix: Any, steps: int) -> Any:
    """About U V^T of the matrix's U S V^T, larger where it has more rows than columns."""
    rows, columns = matrix.shape
    x = matrix.T if rows > columns else matrix
    x = x / (jnp.linalg.norm(x) + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.T if rows > columns else x) * max(1.0, rows / columns) ** 0.5


_MAKERS: Mapping[str, Callable[[Args], optax.GradientTransformation]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
    "lion": _lion,
    "adafactor": _adafactor,
    "muon": _muon,
}
