"""How `jax.random` draws from a distribution, and the scale of a draw in terms of a kernel's shape.

Uniform between -0.08 and 0.08 is 1 / sqrt(fan_in) for a kernel of 3*7*7 inputs: what a person would have written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from dlc.emit.initial import Shape, recognise
from dlc.emit.python import number
from dlc.ir.nodes import Function


@dataclass(frozen=True, slots=True)
class Scale:
    """A standard deviation or bound: a number, or `rule`, an expression over the `fan` of the layer's
    kernel."""

    value: float
    rule: str = ""
    fan: str = ""


@dataclass(frozen=True, slots=True)
class Distribution:
    """`kind` is normal, truncated_normal (`scale` times the draw, plus `shift`), uniform (between -scale
    and scale), span (uniform between `bounds`), or constant (`shift`)."""

    kind: str
    scale: Scale = Scale(1.0)
    shift: float = 0.0
    bounds: tuple[float, float] = (0.0, 1.0)

    @property
    def draws(self) -> bool:
        return self.kind != "constant"

    def expression(self, key: str, shape: str, dtype: str, scale: str) -> str:
        """The source of a draw; `scale` stands for the scale's number."""
        low, high = map(number, self.bounds)
        match self.kind:
            case "constant" if self.shift in (0, 1):
                return f"jnp.{'ones' if self.shift else 'zeros'}({shape}, {dtype})"
            case "constant":
                return f"jnp.full({shape}, {number(self.shift)}, {dtype})"
            case "uniform":
                minus = f"-({scale})" if " " in scale else f"-{scale}"
                return f"jax.random.uniform({key}, {shape}, {dtype}, {minus}, {scale})"
            case "span":
                return f"jax.random.uniform({key}, {shape}, {dtype}, {low}, {high})"
            case "normal":
                draw = f"jax.random.normal({key}, {shape}, {dtype})"
            case _:
                draw = f"jax.random.truncated_normal({key}, {low}, {high}, {shape}, {dtype})"
        scaled = draw if scale == "1.0" else f"({scale}) * {draw}" if " " in scale else f"{scale} * {draw}"
        return f"{scaled} + {number(self.shift)}" if self.shift else scaled


def distribution(function: Function) -> Distribution | None:
    """The distribution that a function of an initial value draws from; None if it is none of those known."""
    form = recognise(function)
    if form is None:
        return None
    match form.draw:
        case "constant":
            return Distribution("constant", shift=form.shift)
        case "uniform" if math.isclose(form.scale, -2 * form.shift):
            return Distribution("uniform", Scale(form.scale / 2))
        case "uniform":
            return Distribution("span", bounds=(form.shift, form.scale + form.shift))
        case "normal":
            return Distribution("normal", Scale(form.scale), form.shift)
        case "truncated_normal":
            bounds = form.low, form.high
            return Distribution("truncated_normal", Scale(form.scale), form.shift, bounds)
    return None


FANS: Mapping[str, Callable[[Shape], int]] = {
    "math.prod(shape[1:])": lambda shape: math.prod(shape[1:]),
    "shape[0] * math.prod(shape[2:])": lambda shape: shape[0] * math.prod(shape[2:]),
    "sum(shape)": lambda shape: sum(shape) if len(shape) == 2 else 0,
}
RULES: Mapping[str, Callable[[int], float]] = {
    "1 / math.sqrt({fan})": lambda fan: 1 / math.sqrt(fan),
    "math.sqrt(2 / {fan})": lambda fan: math.sqrt(2 / fan),
    "math.sqrt(6 / {fan})": lambda fan: math.sqrt(6 / fan),
}


def customary(distribution: Distribution, kernel: Shape) -> Iterator[Scale]:
    """The scale in terms of the kernel's shape, for each of the customary rules that gives it."""
    if distribution.kind not in ("uniform", "normal") or len(kernel) < 2:
        return
    value = distribution.scale.value
    for rule, function in RULES.items():
        for fan, count in FANS.items():
            if count(kernel) and math.isclose(value, function(count(kernel)), rel_tol=1e-12):
                yield Scale(value, rule, fan)


def scale_text(scale: Scale, kernel: Shape | None = None) -> str:
    """The scale's expression: over `shape`, or with the numbers of `kernel`."""
    if not scale.rule:
        return number(scale.value)
    if kernel is not None:
        return scale.rule.format(fan=FANS[scale.fan](kernel))
    grouped = f"({scale.fan})" if " * " in scale.fan and "/ {fan}" in scale.rule else scale.fan
    return scale.rule.format(fan=grouped)
