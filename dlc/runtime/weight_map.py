"""`weights` blocks: how a published checkpoint's tensors map to a model's parameters, and back.

Rules apply in order, each to the names that the ones before left. `forward` turns a checkpoint's tensors into the model's,
`backward` the model's into the checkpoint's, by the inverse rules in reverse order."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from dlc.diagnostics import NO_SPAN, Span, SpecError, did_you_mean
from dlc.diagnostics import training as problems
from dlc.elaborate.base.name_patterns import fill, match
from dlc.elaborate.checks.weight_shapes import beside, rule_options
from dlc.elaborate.checks.weights import model_of
from dlc.elaborate.programs.elaborator import Elaborator
from dlc.syntax import ast

if TYPE_CHECKING:
    from dlc.spec import Spec

Array = NDArray[Any]
Tensors = dict[str, Array]
_PIECE = re.compile(r"(\*\*|\*|\{\w+\})")


@dataclass(frozen=True, slots=True)
class Rule:
    """One statement: what it does, its patterns left and right of `->`, its options."""

    action: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    options: tuple[tuple[str, Any], ...]
    span: Span

    def option(self, name: str, default: Any = None) -> Any:
        return dict(self.options).get(name, default)


@dataclass(frozen=True, slots=True)
class WeightMap:
    """A `weights` block."""

    name: str
    rules: tuple[Rule, ...]

    @staticmethod
    def of(item: ast.Weights, options: Sequence[Mapping[str, Any]]) -> WeightMap:
        """A block with the values of each rule's options (`dlc.elaborate.checks.weight_shapes.rule_options`)."""
        rules = tuple(
            Rule(
                each.action,
                tuple(source.value for source in each.sources),
                tuple(target.value for target in each.targets),
                tuple(given.items()),
                each.span,
            )
            for each, given in zip(item.rules, options, strict=True)
        )
        return WeightMap(item.name, rules)

    @staticmethod
    def at(spec: Spec, name: str, static: Mapping[str, Any] | None) -> WeightMap:
        """The block of that name of a spec's file, for a model with these static parameters; None for the defaults of the block's
        own. Raises SpecError if there is none, and for options that have no value."""
        item = spec.unit.names.get(name)
        if not isinstance(item, ast.Weights):
            known = spec.weights
            help = did_you_mean(name, known) or (f"it has {', '.join(known)}" if known else "it has none")
            message = f"{spec.unit.path} has no weights block `{name}`"
            raise SpecError([problems.WEIGHTS_RULE.at(NO_SPAN, message=message, help=help)])
        unit = spec.unit.own(name)
        if static is None:
            static = model_of(Elaborator(spec.project), unit, item).settings
        options, wrong = rule_options(spec.project, unit, item, static)
        if wrong:
            spec.fail(*wrong)
        return WeightMap.of(item, options)

    def forward(self, tensors: Mapping[str, Array]) -> Tensors:
        """A checkpoint's tensors under the model's names. Raises SpecError where a rule can't be applied."""
        current = dict(tensors)
        for rule in self.rules:
            current = _FORWARD[rule.action](rule, current)
        return current

    def backward(self, tensors: Mapping[str, Array]) -> Tensors:
        """The model's tensors under the checkpoint's names."""
        current = dict(tensors)
        for rule in reversed(self.rules):
            current = _BACKWARD[rule.action](rule, current)
        return current


def _fail(rule: Rule, message: str, help: str = "") -> NoReturn:
    raise SpecError([problems.WEIGHTS_RULE.at(rule.span, message=message, help=help)])


# --- patterns --------------------------------------------------------------------------------------------------


def _fill(rule: Rule, pattern: str, captured: Mapping[str, str]) -> str:
    """A pattern with its stars and named pieces filled in."""
    try:
        return fill(pattern, captured)
    except KeyError as error:
        _fail(rule, f'a piece of "{pattern}" ({error}) has no partner on the other side')


def _renamed(rule: Rule, tensors: Tensors, change: Callable[[str], str]) -> Tensors:
    result: Tensors = {}
    for name, array in tensors.items():
        new = change(name)
        if new in result:
            _fail(rule, f"two tensors would be called `{new}`")
        result[new] = array
    return result


def _some(rule: Rule, pattern: str, tensors: Tensors) -> list[tuple[str, dict[str, str]]]:
    found = [(name, captured) for name in tensors if (captured := match(pattern, name)) is not None]
    if not found:
        _fail(rule, f'"{pattern}" matches no tensor', did_you_mean(pattern, tensors))
    return found


# --- rules -----------------------------------------------------------------------------------------------------


def _strip(rule: Rule, tensors: Tensors) -> Tensors:
    prefix = rule.sources[0]
    return _renamed(rule, tensors, lambda name: name.removeprefix(prefix))


def _unstrip(rule: Rule, tensors: Tensors) -> Tensors:
    return _renamed(rule, tensors, lambda name: rule.sources[0] + name)


def _rename_by(rule: Rule, tensors: Tensors, left: str, right: str) -> Tensors:
    def change(name: str) -> str:
        captured = match(left, name)
        return name if captured is None else _fill(rule, right, captured)

    return _renamed(rule, tensors, change)


def _rename(rule: Rule, tensors: Tensors) -> Tensors:
    return _rename_by(rule, tensors, rule.sources[0], rule.targets[0])


def _unrename(rule: Rule, tensors: Tensors) -> Tensors:
    return _rename_by(rule, tensors, rule.targets[0], rule.sources[0])


def _transpose(rule: Rule, tensors: Tensors) -> Tensors:
    result = dict(tensors)
    for pattern in rule.sources:
        for name in [each for each in tensors if match(pattern, each) is not None]:
            if result[name].ndim < 2:
                _fail(rule, f"`{name}` has fewer than two axes, so it can't be transposed")
            result[name] = np.swapaxes(result[name], -1, -2)
    return result


def _ignore(rule: Rule, tensors: Tensors) -> Tensors:
    return {name: a for name, a in tensors.items() if all(match(p, name) is None for p in rule.sources)}


def _keep(rule: Rule, tensors: Tensors) -> Tensors:
    """What was ignored can't be made again."""
    return tensors


def _join(rule: Rule, tensors: Tensors, parts: tuple[str, ...], whole: str) -> Tensors:
    result = dict(tensors)
    for _, captured in _some(rule, parts[0], tensors):
        names = [_fill(rule, part, captured) for part in parts]
        missing = [name for name in names if name not in result]
        if missing:
            _fail(rule, f"`{missing[0]}` is not there to be joined", did_you_mean(missing[0], result))
        if len({*names}) < len(names):
            _fail(rule, "a part is named twice: it can be in the whole only once")
        axis = rule.option("axis", 0)
        for name in names:
            _check_axis(rule, name, tensors[name], axis)
            if beside(tensors[name].shape, axis) != beside(tensors[names[0]].shape, axis):
                pair = f"`{names[0]}` is {[*tensors[names[0]].shape]} and `{name}` {[*tensors[name].shape]}"
                _fail(rule, f"{pair}: they have to agree but for axis {axis}")
        joined = np.concatenate([result.pop(name) for name in names], axis=axis)
        result[_fill(rule, whole, captured)] = joined
    return result


def _check_axis(rule: Rule, name: str, array: Array, axis: int) -> None:
    if not -array.ndim <= axis < array.ndim:
        _fail(rule, f"`{name}` is {[*array.shape]}: it has no axis {axis}")


def _cut(rule: Rule, tensors: Tensors, whole: str, parts: tuple[str, ...]) -> Tensors:
    result = dict(tensors)
    axis, sizes = rule.option("axis", 0), rule.option("sizes")
    if len({*parts}) < len(parts):
        _fail(rule, "a part is named twice: one of both would be lost")
    for name, captured in _some(rule, whole, tensors):
        array = result.pop(name)
        _check_axis(rule, name, array, axis)
        if sizes is not None and sum(sizes) != array.shape[axis]:
            told = f"`{name}` has {array.shape[axis]} along axis {axis}, and `sizes` are {sum(sizes)} in sum"
            _fail(rule, told)
        if sizes is None and array.shape[axis] % len(parts):
            _fail(
                rule,
                f"axis {axis} of `{name}` does not cut into {len(parts)} equal parts",
                "say how: `sizes=[…]`",
            )
        cuts = len(parts) if sizes is None else np.cumsum(sizes)[:-1].tolist()
        for part, piece in zip(parts, np.split(array, cuts, axis=axis), strict=True):
            result[_fill(rule, part, captured)] = piece
    return result


def _concat(rule: Rule, tensors: Tensors) -> Tensors:
    return _join(rule, tensors, rule.sources, rule.targets[0])


def _unconcat(rule: Rule, tensors: Tensors) -> Tensors:
    return _cut(rule, tensors, rule.targets[0], rule.sources)


def _split(rule: Rule, tensors: Tensors) -> Tensors:
    return _cut(rule, tensors, rule.sources[0], rule.targets)


def _unsplit(rule: Rule, tensors: Tensors) -> Tensors:
    return _join(rule, tensors, rule.targets, rule.sources[0])


def _stack(rule: Rule, tensors: Tensors) -> Tensors:
    """One tensor of those that differ in one named piece, in the order of its number."""
    result = dict(tensors)
    key = _counted(rule)
    groups: dict[str, dict[int, str]] = {}
    for name, captured in _some(rule, rule.sources[0], tensors):
        whole = _fill(rule, rule.targets[0], captured)
        if not captured[key].isdigit():
            _fail(rule, f"`{captured[key]}` in `{name}` is no number to count by")
        groups.setdefault(whole, {})[int(captured[key])] = name
    for whole, members in groups.items():
        if sorted(members) != list(range(len(members))):
            _fail(rule, f"the tensors of `{whole}` are not numbered from 0 on without a gap")
        result[whole] = np.stack([result.pop(members[i]) for i in range(len(members))])
    return result


def _counted(rule: Rule) -> str:
    """The piece that `stack` counts along: the one that its right side does not have."""
    kept = _PIECE.findall(rule.targets[0])
    named = (piece for piece in _PIECE.findall(rule.sources[0]) if piece.startswith("{"))
    key = next((piece[1:-1] for piece in named if piece not in kept), "")
    if not key:
        _fail(
            rule, "`stack` needs a named piece that its right side does not have, such as {e}, to count along"
        )
    return key


def _unstack(rule: Rule, tensors: Tensors) -> Tensors:
    result = dict(tensors)
    key = _counted(rule)
    for name, captured in _some(rule, rule.targets[0], tensors):
        for i, each in enumerate(result.pop(name)):
            result[_fill(rule, rule.sources[0], {**captured, key: str(i)})] = each
    return result


def _added(rule: Rule, tensors: Tensors, by: float) -> Tensors:
    return _computed(rule, tensors, lambda array: array + by)


def _scaled(rule: Rule, tensors: Tensors, by: float) -> Tensors:
    return _computed(rule, tensors, lambda array: array * by)


def _computed(rule: Rule, tensors: Tensors, compute: Callable[[Array], Array]) -> Tensors:
    """With what the patterns match computed in f64, and rounded once."""
    result = dict(tensors)
    for pattern in rule.sources:
        for name, _ in _some(rule, pattern, tensors):
            array = result[name]
            if array.dtype.kind not in "fV":
                _fail(rule, f"`{name}` holds {array.dtype}, and a rule that computes takes floats")
            result[name] = compute(array.astype(np.float64)).astype(array.dtype)
    return result


def _weight_norm(rule: Rule, tensors: Tensors) -> Tensors:
    """Lengths times directions: the norms are those of what lies along all axes but one."""
    result = dict(tensors)
    length, direction = rule.sources
    for name, captured in _some(rule, direction, tensors):
        other = _fill(rule, length, captured)
        if other not in result:
            _fail(rule, f"`{other}` is not there beside `{name}`", did_you_mean(other, result))
        v, g = result.pop(name), result.pop(other)
        norms = _norms(rule, name, v)
        if g.size != norms.size:
            _fail(rule, f"`{other}` is {list(g.shape)}, and `{name}` has {norms.size} lengths")
        whole = v.astype(np.float64) * (g.astype(np.float64).reshape(norms.shape) / norms)
        result[_fill(rule, rule.targets[0], captured)] = whole.astype(v.dtype)
    return result


def _unweight_norm(rule: Rule, tensors: Tensors) -> Tensors:
    """The tensor itself as directions, and their norms: of all that give it, those that PyTorch begins with."""
    result = dict(tensors)
    length, direction = rule.sources
    for name, captured in _some(rule, rule.targets[0], tensors):
        whole = result.pop(name)
        result[_fill(rule, length, captured)] = _norms(rule, name, whole).astype(whole.dtype)
        result[_fill(rule, direction, captured)] = whole
    return result


def _norms(rule: Rule, name: str, array: Array) -> Array:
    axis = rule.option("axis", 0)
    if not -array.ndim <= axis < array.ndim:
        _fail(rule, f"`{name}` is {list(array.shape)}: it has no axis {axis}")
    rest = tuple(i for i in range(array.ndim) if i != axis % array.ndim)
    norms: Array = np.sqrt(np.sum(array.astype(np.float64) ** 2, axis=rest, keepdims=True))
    return norms


def _sides(rule: Rule) -> tuple[str, str]:
    """The name pattern and the einops pattern of a `rearrange` rule."""
    if len(rule.sources) == 2:
        return rule.sources[0], rule.sources[1]
    # The short form holds both in one string: a name, then the pattern.
    name, _, pattern = rule.sources[0].partition(" ")
    return name, pattern


def _rearrange_by(rule: Rule, tensors: Tensors, reverse: bool) -> Tensors:
    name, pattern = _sides(rule)
    left, arrow, right = pattern.partition("->")
    if not arrow:
        _fail(rule, "`rearrange` needs a pattern with `->`")
    if reverse:
        left, right = right, left
    result = dict(tensors)
    for each, _ in _some(rule, name, tensors):
        result[each] = _einops(rule, result[each], left, right)
    return result


def _axes(text: str) -> list[list[str]]:
    """The names in each axis of a pattern; `1` is an axis that has none."""
    groups = (group.strip("() ").split() for group in re.findall(r"\([^)]*\)|\S+", text))
    return [[name for name in group if name != "1"] for group in groups]


def _einops(rule: Rule, array: Array, left: str, right: str) -> Array:
    """`(h e two) d -> (h two e) d` on an array, sizes of names from the options."""
    before, after = _axes(left), _axes(right)
    sizes: dict[str, int] = {name: value for name, value in rule.options if isinstance(value, int)}
    if len(before) != array.ndim:
        _fail(rule, f"the pattern has {len(before)} axes, the tensor {array.ndim}")
    for names, size in zip(before, array.shape, strict=True):
        unknown = [name for name in names if name not in sizes]
        known = int(np.prod([sizes[name] for name in names if name in sizes]))
        if len(unknown) > 1 or (unknown and size % known) or (not unknown and known != size):
            _fail(rule, f"the sizes of the pattern do not fit an axis of {size}", "give them: `h=32`")
        if unknown:
            sizes[unknown[0]] = size // known
    order = [name for names in before for name in names]
    target = [name for names in after for name in names]
    if sorted(order) != sorted(target):
        _fail(rule, "both sides of the pattern must have the same names")
    array = array.reshape([sizes[name] for name in order]).transpose([order.index(name) for name in target])
    return array.reshape([int(np.prod([sizes[name] for name in names])) for names in after])


_FORWARD: dict[str, Callable[[Rule, Tensors], Tensors]] = {
    "strip": _strip,
    "rename": _rename,
    "transpose": _transpose,
    "ignore": _ignore,
    "concat": _concat,
    "split": _split,
    "stack": _stack,
    "rearrange": lambda rule, tensors: _rearrange_by(rule, tensors, reverse=False),
    "offset": lambda rule, tensors: _added(rule, tensors, rule.option("by")),
    "scale": lambda rule, tensors: _scaled(rule, tensors, rule.option("by")),
    "weight_norm": _weight_norm,
}
_BACKWARD: dict[str, Callable[[Rule, Tensors], Tensors]] = {
    "strip": _unstrip,
    "rename": _unrename,
    "transpose": _transpose,
    "ignore": _keep,
    "concat": _unconcat,
    "split": _unsplit,
    "stack": _unstack,
    "rearrange": lambda rule, tensors: _rearrange_by(rule, tensors, reverse=True),
    "offset": lambda rule, tensors: _added(rule, tensors, -rule.option("by")),
    "scale": lambda rule, tensors: _scaled(rule, tensors, 1 / rule.option("by")),
    "weight_norm": _unweight_norm,
}
