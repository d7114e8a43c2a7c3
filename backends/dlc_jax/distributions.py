"""Initial values as the distributions that they are, found in the functions that draw them.

`0.16 * uniform - 0.08` is uniform between -0.08 and 0.08, which for a kernel of 3*7*7 inputs is 1 /
sqrt(fan_in): what a person would have written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from dlc.emit.python import number
from dlc.ir.nodes import Function, Op

# Draws, and numbers everywhere: their attributes that shape the values.
BASES: Mapping[str, tuple[str, ...]] = {
    "normal": (),
    "uniform": (),
    "truncated_normal": ("low", "high"),
    "full": ("value",),
}
Shape = tuple[int, ...]


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


def recognise(function: Function) -> Distribution | None:
    """The distribution that a function of an initial value draws from; None if it is none of those known."""
    consts = {op.out.name: float(str(op.attr("value"))) for op in function.body if _is_number(op)}
    made = [op for op in function.body if op.op in BASES]
    if len(made) != 1:
        return None
    (base,) = made
    scale, shift = 1.0, 0.0
    names = {base.out.name}
    for op in function.body[function.body.index(base) + 1 :]:
        if op.out.name in consts:
            continue
        step = _affine(op, names, consts)
        if step is None:
            return None
        scale, shift = scale * step[0], shift * step[0] + step[1]
        names.add(op.out.name)
    return _named(base, scale, shift) if function.outputs[0][1] in names else None


def _is_number(op: Op) -> bool:
    return op.op == "const" and not op.out.type.rank


def _affine(op: Op, names: set[str], consts: Mapping[str, float]) -> tuple[float, float] | None:
    """Factor and summand of an operation with a number."""
    if op.op == "cast":
        return 1.0, 0.0
    if len(op.inputs) != 2:
        return None
    a, b = op.inputs
    c = consts.get(b if a in names else a)
    if c is None:
        return None
    forward = a in names
    match op.op:
        case "mul":
            return c, 0.0
        case "add":
            return 1.0, c
        case "sub":
            return (1.0, -c) if forward else (-1.0, c)
        case "div" if forward:
            return 1.0 / c, 0.0
    return None


def _named(base: Op, scale: float, shift: float) -> Distribution:
    values = [float(str(base.attr(name))) for name in BASES[base.op]]
    match base.op:
        case "full":
            return Distribution("constant", shift=scale * values[0] + shift)
        case "uniform" if math.isclose(scale, -2 * shift):
            return Distribution("uniform", Scale(scale / 2))
        case "uniform":
            return Distribution("span", bounds=(shift, scale + shift))
        case "normal":
            return Distribution("normal", Scale(scale), shift)
    return Distribution("truncated_normal", Scale(scale), shift, (values[0], values[1]))


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
