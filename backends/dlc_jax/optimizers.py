"""Optimizers by the names that specs give them, as optax transformations without the learning rate, which the
training loop gives with every step. Numbers follow PyTorch's: where epsilon stands, how weight decay is
coupled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import optax

Args = Mapping[str, Any]


def make(name: str, args: Args) -> optax.GradientTransformation:
    """From gradients to steps that are to be scaled by the rate and subtracted."""
    return OPTIMIZERS[name](args)


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


OPTIMIZERS: Mapping[str, Callable[[Args], optax.GradientTransformation]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
    "lion": _lion,
}
