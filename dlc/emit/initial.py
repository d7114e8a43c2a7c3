"""Initial values as the distributions that they are, found in the functions that draw them.

`0.16 * uniform - 0.08` is uniform between -0.08 and 0.08, which a backend may then know by a better name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from dlc.ir.nodes import Function, Op
from dlc.records import dataclass, replace
from dlc.types.dims import Dim
from dlc.types.fans import fan_sizes, with_fans
from dlc.types.tensor import TensorType
from dlc.types.terms import evaluate, names, origin_of, said, term
from dlc.types.traced import Term, TracedFloat, as_float, leaf

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Form:
    """A distribution: `scale * draw + shift`, where draw is "constant" (nothing, so only shift counts),
    "normal", "uniform" in [0, 1), "truncated_normal" within `low` and `high`, or "orthogonal"."""

    draw: str
    scale: float = 0.0
    shift: float = 0.0
    low: float = 0.0
    high: float = 0.0
    by_shape: bool = True
    """Whether the tensor's shape may decide its numbers: not where the spec says them."""
    end: float | None = None
    """Of a uniform distribution that was computed with: the end, which is `shift + scale` as well."""
    product: tuple[Form, float] | None = None
    """A distribution by shape and a factor of which it is the product: `kaiming_uniform / 2`."""

    @property
    def top(self) -> float:
        """The end of a uniform distribution: as the spec gives it, where `scale` is known as the difference of both ends."""
        if self.end is not None:
            return self.end
        origin, end = origin_of(self.scale), self.shift + self.scale
        if isinstance(origin, Term) and origin.op == "-" and origin.args[1] == leaf(self.shift):
            return TracedFloat(float(end), origin.args[0])
        return end

    def times(self, factor: float) -> Form:
        scale = factor if self.scale == 1.0 else self.scale * factor
        shift = self.shift * factor if self.shift else 0.0
        whole, before = self.product or (self, 1.0)
        return replace(
            self,
            scale=scale,
            shift=shift,
            end=self.top * factor if self._has_ends else None,
            product=(whole, before * factor if self.product else factor) if by_fan(self) else None,
        )

    def plus(self, term: float) -> Form:
        end = self.top + term if self._has_ends else None
        return replace(self, shift=self.shift + term if self.shift else term, end=end, product=None)

    @property
    def _has_ends(self) -> bool:
        return self.draw == "uniform" and self.shift != 0.0

    def with_numbers(self, change: Callable[[float], float]) -> Form:
        end = None if self.end is None else change(self.end)
        return replace(self, scale=change(self.scale), shift=change(self.shift), end=end)

    def close(self, other: Form) -> bool:
        mine, theirs = (self.scale, self.shift), (other.scale, other.shift)
        same = (self.draw, self.low, self.high) == (other.draw, other.low, other.high)
        return same and all(
            math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12) for a, b in zip(mine, theirs, strict=True)
        )


def recognise(function: Function) -> Form | None:
    """The distribution that an init function draws from; None for any other expression."""
    forms: dict[str, Form] = {}
    if function.inputs:
        return None
    for op in function.body:
        form = _form(op, forms)
        if form is None or len(op.outputs) != 1:
            return None
        forms[op.out.name] = form
    found = forms.get(function.outputs[0][1])
    if found is None or by_fan(found):
        return found
    told = function.recipe and not function.recipe.startswith(("xavier", "kaiming"))
    # What begins as one of several copies has the fans of that one, said by its sizes.
    sized = any(names(each) for each in (found.scale, found.shift))
    return replace(found, by_shape=False) if told or sized else found


def in_sizes(form: Form, type: TensorType) -> Form:
    """The same with the tensor's fans said by its sizes."""
    return _sized(form, [said(axis) for axis in type.axes])


def at_shape(form: Form, shape: Shape) -> Form:
    """The same with its numbers at this shape: those it has may be of another parameter, which the spec says alike."""
    found = _sized(form, [Dim.of(size) for size in shape])

    def here(value: float) -> float:
        return float(evaluate(value.origin, {})) if isinstance(value, TracedFloat) else value

    return found.with_numbers(here) if by_fan(form) else form


def _sized(form: Form, sizes: Sequence[Dim]) -> Form:
    """The same with the fans of a tensor of these sizes."""
    if not by_fan(form):
        return form
    known = fan_sizes(sizes)

    def here(value: float) -> float:
        return (
            TracedFloat(float(value), with_fans(value.origin, known))
            if isinstance(value, TracedFloat)
            else value
        )

    return form.with_numbers(here)


def by_fan(form: Form) -> bool:
    """Whether the spec says a number of it by the tensor's shape."""
    return any(term(each).holds("fan") for each in (form.scale, form.shift))


def _form(op: Op, forms: Mapping[str, Form]) -> Form | None:
    inputs = [forms[name] for name in op.inputs if name]
    match op.op, inputs:
        case (("full" | "const"), _):
            value = op.attr("value")
            return Form("constant", shift=as_float(value)) if isinstance(value, int | float) else None
        case (("normal" | "uniform" | "orthogonal"), _):
            return Form(op.op, 1.0)
        case "truncated_normal", _:
            low, high = op.attr("low"), op.attr("high")
            assert isinstance(low, int | float) and isinstance(high, int | float)
            return Form("truncated_normal", 1.0, low=float(low), high=float(high))
        case (("cast" | "broadcast"), [only]):
            return only
        case "neg", [only]:
            return only.times(-1.0)
        case (("mul" | "add" | "sub" | "div"), [a, b]):
            return _combined(op.op, a, b)
    return None


def _combined(op: str, a: Form, b: Form) -> Form | None:
    if b.draw != "constant":
        if a.draw != "constant" or op not in ("mul", "add"):
            return None
        a, b = b, a
    term = b.shift
    if a.draw == "orthogonal" and op in ("add", "sub") and term != 0.0:
        return None  # no framework draws that by itself
    match op:
        case "mul":
            return a.times(term)
        case "div":
            return a.times(1.0 / term) if term else None
        case "add":
            return a.plus(term)
    return a.plus(-term)


def close_forms(a: Form | None, b: Form | None) -> bool:
    return a is not None and b is not None and a.close(b)


def fans(shape: Shape) -> tuple[int, int]:
    """How many numbers go into and come out of one place of a kernel, [out, in, ...]: fan_in and fan_out."""
    field = math.prod(shape[2:])
    return (max(1, shape[1] * field), max(1, shape[0] * field)) if len(shape) > 1 else (1, 1)
