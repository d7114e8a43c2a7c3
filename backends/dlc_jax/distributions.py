"""How `jax.random` draws from a distribution."""

from __future__ import annotations

import math

from dlc.emit.forms import call
from dlc.emit.initial import Form
from dlc.emit.origins import said
from dlc.emit.roots import simple
from dlc.emit.tree import Binary, Call, Expr, Num, Unary, Word

SCALES = {
    "uniform": "bound",
    "normal": "std",
    "truncated_normal": "std",
    "orthogonal": "gain",
    "constant": "value",
}


def is_symmetric(form: Form) -> bool:
    return form.draw == "uniform" and math.isclose(form.scale, -2 * form.shift, rel_tol=1e-12)


def scale_of(form: Form) -> float:
    """The number that tells one distribution from another of its kind: a standard deviation, a bound, a constant."""
    if form.draw == "constant":
        return form.shift
    return -form.shift if is_symmetric(form) else form.scale


def draws(form: Form) -> bool:
    return form.draw != "constant"


def drawn(form: Form, key: Expr, shape: Expr, dtype: Expr, scale: Expr) -> Expr:
    """The source of a draw; `scale` says `scale_of(form)`."""
    match form.draw:
        case "constant":
            if isinstance(scale, Num) and scale.value in (0, 1):
                return call("jnp.ones" if scale.value else "jnp.zeros", shape, dtype)
            return call("jnp.full", shape, scale, dtype)
        case "uniform" if is_symmetric(form):
            if isinstance(scale, Num | Word):
                return call("jax.random.uniform", key, shape, dtype, Unary("-", scale), scale)
            return Binary("*", scale, call("jax.random.uniform", key, shape, dtype, Num(-1.0)))
        case "uniform":
            bounds = (form.shift, form.shift + form.scale)
            return call("jax.random.uniform", key, shape, dtype, *map(number, bounds))
        case "normal":
            draw = call("jax.random.normal", key, shape, dtype)
        case "orthogonal":
            draw = Call(call("jax.nn.initializers.orthogonal"), (key, shape, dtype))
        case _:
            bounds = (form.low, form.high)
            draw = call("jax.random.truncated_normal", key, *map(number, bounds), shape, dtype)
    scaled = draw if scale == Num(1.0) else Binary("*", scale, draw)
    return Binary("+", scaled, number(form.shift)) if form.shift else scaled


def number(value: float) -> Expr:
    """A number by where it comes from. Constants that rules for kernels carry along are put together: `sqrt(2 / fan)`."""
    return said(simple(value))
