"""Options of the rules of a `weights` block as values, and whether they fit the shapes of the model's parameters.

The rules are followed backwards from the parameters, as in `weights.py`, with shapes: what a rule joins or cuts has to have the sizes
that the model gives it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlc.diagnostics import Diagnostic, Span
from dlc.diagnostics import training as problems
from dlc.elaborate.base.name_patterns import fill, match, pieces
from dlc.elaborate.base.project import Project
from dlc.elaborate.base.units import Unit
from dlc.elaborate.base.values import show
from dlc.elaborate.programs.elaborator import Elaborator
from dlc.elaborate.state.body import static_body
from dlc.elaborate.state.scope import Scope
from dlc.elaborate.types.static import plain
from dlc.syntax import ast
from dlc.types.terms import untraced

Options = Mapping[str, Any]
Shape = tuple[int, ...]
Shapes = dict[str, Shape | None]
"""By name; None for one that is not known."""


def rule_options(
    project: Project, unit: Unit, item: ast.Weights, static: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[Diagnostic]]:
    """The options of each rule, in which the model's static parameters stand for what they are here; and what is wrong with them."""
    session = Elaborator(project)
    body = static_body(session, unit)
    body.scope = Scope(dict(static))
    values: list[dict[str, Any]] = []
    found: list[Diagnostic] = []
    for rule in item.rules:
        here: dict[str, Any] = {}
        for option in rule.options:
            value = body.report.guarded(lambda option=option: (body.evaluate(option.value),))  # type: ignore[misc]
            if value is None:
                continue
            here[str(option.name)] = _plain(value[0])
            if wrong := _wrong(rule, str(option.name), here[str(option.name)]):
                found.append(problems.WEIGHTS_RULE.at(option.value.span, message=wrong))
        values.append(here)
    return values, [*session.diagnostics, *found]


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return untraced(plain(value))


def _wrong(rule: ast.WeightRule, name: str, value: Any) -> str:
    """What is wrong with the value of an option."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if name == "sizes":
        parts = len(rule.targets if rule.action == "split" else rule.sources)
        fits = isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)
        if not fits or len(value) != parts:
            return f"`sizes` is a list of {parts} sizes, one for each part, not {show(value)}"
    elif name == "by":
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            return f"`by` is a number, not {show(value)}"
        if rule.action == "scale" and value == 0:
            return "a scale of 0 can't be undone"
    elif not whole:
        return f"`{name}` is a whole number, not {show(value)}"
    return ""


# --- shapes ------------------------------------------------------------------------------------------------------


def check_shapes(
    item: ast.Weights, options: Sequence[Options], shapes: Mapping[str, Shape | None]
) -> Iterator[Diagnostic]:
    """What does not fit the shapes of the model's parameters."""
    current: Shapes = dict(shapes)
    for rule, given in zip(reversed(item.rules), reversed(options), strict=True):
        try:
            current = _BEFORE.get(rule.action, _same)(rule, given, current)
        except _Misfit as error:
            yield problems.WEIGHTS_RULE.at(error.span, message=error.message, help=error.help)
            return


class _Misfit(Exception):
    def __init__(self, span: Span, message: str, help: str = "") -> None:
        self.span, self.message, self.help = span, message, help


def _same(rule: ast.WeightRule, given: Options, shapes: Shapes) -> Shapes:
    return shapes


def _strip(rule: ast.WeightRule, given: Options, shapes: Shapes) -> Shapes:
    return {rule.sources[0].value + name: shape for name, shape in shapes.items()}


def _rename(rule: ast.WeightRule, given: Options, shapes: Shapes) -> Shapes:
    def before(name: str) -> str:
        captured = match(rule.targets[0].value, name)
        return name if captured is None else fill(rule.sources[0].value, captured)

    return {before(name): shape for name, shape in shapes.items()}


def _transpose(rule: ast.WeightRule, given: Options, shapes: Shapes) -> Shapes:
    result = dict(shapes)
    for pattern in rule.sources:
        for name in [each for each in shapes if match(pattern.value, each) is not None]:
            shape = shapes[name]
            if shape is not None and len(shape) < 2:
                message = f"`{name}` is {list(shape)}: it has fewer than two axes, so it can't be transposed"
                raise _Misfit(pattern.span, message)
            result[name] = shape and (*shape[:-2], shape[-1], shape[-2])
    return result


def _rearrange(rule: ast.WeightRule, given: Options, shapes: Shapes) -> Shapes:
    """What its axes were is not followed."""
    return {
        name: None if match(rule.sources[0].value, name) is not None else shape
        for name, shape in shapes.items()
    }


def _split(rule: ast.WeightRule, given: Options, shapes: Shapes) -> Shapes:
    """Parts become the whole: each has the size that is cut off for it."""
    result = dict(shapes)
    for _, captured in _matching(rule.targets[0], shapes):
        names = [fill(each.value, captured) for each in rule.targets]
        parts = [result.pop(name, None) for name in names]
        result[fill(rule.sources[0].value, captured)] = _joined(rule, given, names, parts)
    return result


def _joined(
    rule: ast.WeightRule, given: Options, names: Sequence[str], parts: Sequence[Shape | None]
) -> Shape | None:
    known = [each for each in parts if each is not None]
    if len(known) < len(parts):
        return None
    axis = _axis(rule, given, names[0], known[0])
    for name, shape in zip(names, known, strict=True):
        if beside(shape, axis) != beside(known[0], axis):
            pair = f"`{names[0]}` is {list(known[0])} and `{name}` {list(shape)}"
            raise _Misfit(rule.span, f"{pair}: parts of one tensor agree but for axis {axis}")
    sizes = [each[axis] for each in known]
    wanted = given.get("sizes")
    if wanted is None and len(set(sizes)) > 1:
        told = ", ".join(f"`{name}` {size}" for name, size in zip(names, sizes, strict=True))
        message = f"without `sizes` the parts are equal, and along axis {axis} of the model's {told}"
        raise _Misfit(rule.span, message, f"say how: `sizes={sizes}`")
    for name, size, own in zip(names, sizes, wanted or sizes, strict=True):
        if size != own:
            message = f"`{name}` has {size} along axis {axis}, and `sizes` says {own}"
            raise _Misfit(_place(rule, "sizes"), message)
    return (*known[0][:axis], sum(sizes), *known[0][axis + 1 :])


def beside(shape: Shape, axis: int) -> tuple[int, ...]:
    """What parts of one tensor that lie along an axis agree in: how many axes they have, and the sizes of the others."""
    axis %= len(shape)
    return (len(shape), *shape[:axis], *shape[axis + 1 :])


def _concat(rule: ast.WeightRule, given: Options, shapes: Shapes) -> Shapes:
    """The whole becomes its parts, which have to be known to write them: equal ones without `sizes`."""
    result = dict(shapes)
    for name, captured in _matching(rule.targets[0], shapes):
        shape, count = result.pop(name), len(rule.sources)
        sizes: list[int | None] = list(given.get("sizes", [None] * count))
        axis = 0
        if shape is not None:
            axis = _axis(rule, given, name, shape)
            sizes = _cut(rule, name, axis, shape[axis], given.get("sizes"), count)
        for part, size in zip(rule.sources, sizes, strict=True):
            own = None if shape is None or size is None else (*shape[:axis], size, *shape[axis + 1 :])
            result[fill(part.value, captured)] = own
    return result


def _cut(
    rule: ast.WeightRule, name: str, axis: int, whole: int, sizes: list[int] | None, count: int
) -> list[int | None]:
    if sizes is None:
        return [whole // count if whole % count == 0 else None] * count
    if sum(sizes) != whole:
        message = f"`{name}` has {whole} along axis {axis}, and `sizes` are {sum(sizes)} in sum"
        raise _Misfit(_place(rule, "sizes"), message)
    return list(sizes)


def _stack(rule: ast.WeightRule, given: Options, shapes: Shapes) -> Shapes:
    result = dict(shapes)
    (counted,) = set(pieces(rule.sources[0].value)) - set(pieces(rule.targets[0].value))
    for name, captured in _matching(rule.targets[0], shapes):
        shape = result.pop(name)
        if shape == ():
            message = f"`{name}` is a single number: nothing is stacked in it"
            raise _Misfit(rule.targets[0].span, message)
        for i in range(1 if shape is None else shape[0]):
            part = fill(rule.sources[0].value, {**captured, counted: str(i)})
            result[part] = None if shape is None else shape[1:]
    return result


def _weight_norm(rule: ast.WeightRule, given: Options, shapes: Shapes) -> Shapes:
    result = dict(shapes)
    length, direction = rule.sources
    for name, captured in _matching(rule.targets[0], shapes):
        shape = result.pop(name)
        axis = 0 if shape is None else _axis(rule, given, name, shape)
        lengths = shape and tuple(size if i == axis else 1 for i, size in enumerate(shape))
        result[fill(length.value, captured)] = lengths
        result[fill(direction.value, captured)] = shape
    return result


def _matching(pattern: ast.Str, shapes: Shapes) -> list[tuple[str, dict[str, str]]]:
    found = ((name, match(pattern.value, name)) for name in shapes)
    return [(name, captured) for name, captured in found if captured is not None]


def _axis(rule: ast.WeightRule, given: Options, name: str, shape: Shape) -> int:
    axis = int(given.get("axis", 0))
    if not -len(shape) <= axis < len(shape):
        message = f"`{name}` is {list(shape)}: it has no axis {axis}"
        raise _Misfit(_place(rule, "axis"), message)
    return axis % len(shape)


def _place(rule: ast.WeightRule, option: str) -> Span:
    return next((each.value.span for each in rule.options if each.name == option), rule.span)


_BEFORE = {
    "strip": _strip,
    "rename": _rename,
    "transpose": _transpose,
    "rearrange": _rearrange,
    "split": _split,
    "concat": _concat,
    "stack": _stack,
    "weight_norm": _weight_norm,
}
