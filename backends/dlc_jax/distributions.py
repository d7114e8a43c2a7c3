"""How `jax.random` draws from a distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dlc.emit.forms import call
from dlc.emit.initial import Form
from dlc.emit.origins import expression, said
from dlc.emit.tree import Binary, Call, Expr, Num, Unary, Word
from dlc.types.dims import Dim
from dlc.types.terms import as_dim
from dlc.types.traced import Term, as_float, leaf

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
    value = as_float(value)
    term = leaf(value)
    return said(value) if term.op == "const" else _simple(term)


Factors = tuple[float, list[Term], list[Term]]
"""A plain factor, what it is multiplied by, and what it is divided by."""


def _simple(term: Term) -> Expr:
    found = _squared(term)
    if found is None or found[1] or not found[2]:
        return expression(term)
    factor, _, below = found
    under = _product(below)
    if math.isclose(factor, 1.0, rel_tol=1e-9):
        return Binary("/", Word("1"), call("math.sqrt", under))
    square = round(factor)
    if square in range(2, 25) and math.isclose(factor, square, rel_tol=1e-9):
        return call("math.sqrt", Binary("/", Word(str(square)), under))
    root = round(math.sqrt(factor), 4)
    if math.isclose(math.sqrt(factor), root, rel_tol=1e-9):
        return Binary("/", Num(root), call("math.sqrt", under))
    return expression(term)


def _product(terms: Sequence[Term]) -> Expr:
    whole = [as_dim(each) for each in terms]
    sizes = [each for each in whole if each is not None]
    if len(sizes) == len(terms):
        return expression(Term("dim", (math.prod(sizes, start=Dim.of(1)),)))
    first, *rest = map(expression, terms)
    for each in rest:
        first = Binary("*", first, each)
    return first


def _squared(term: Term) -> Factors | None:
    """The square of a product of numbers and roots."""
    match term:
        case Term("const", (value,)) if isinstance(value, int | float):
            return float(value) ** 2, [], []
        case Term("neg", (inner,)):
            return _squared(inner)
        case Term("call", ("sqrt", inner)):
            return _factors(inner)
        case Term("*" | "/", (a, b)):
            return _combined(term.op, _squared(a), _squared(b))
    return None


def _factors(term: Term) -> Factors:
    match term:
        case Term("const", (value,)) if isinstance(value, int | float):
            return float(value), [], []
        case Term("*" | "/", (a, b)):
            return _combined(term.op, _factors(a), _factors(b)) or (1.0, [term], [])
    return 1.0, [term], []


def _combined(op: str, a: Factors | None, b: Factors | None) -> Factors | None:
    if a is None or b is None or (op == "/" and b[0] == 0):
        return None
    by, above, below = b if op == "*" else (1 / b[0], b[2], b[1])
    return a[0] * by, [*a[1], *above], [*a[2], *below]
