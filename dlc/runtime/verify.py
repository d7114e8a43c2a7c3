"""Proof that backends agree: the same weights and inputs through each, compared with the meaning of the program.

The reference is the NumPy interpreter in f64, so that a difference says which backend is off. Gradients have the derivative of the
same program as theirs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc import arguments
from dlc.arguments import takes
from dlc.autodiff import NotDifferentiable
from dlc.backend import Backend, EmitOptions, every
from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems
from dlc.ir.nodes import Function, Program
from dlc.passes.dead_code import DeadCode
from dlc.passes.lower import decompose
from dlc.passes.stored import with_stored
from dlc.passes.wide_constants import in_precision
from dlc.runtime import expectation, promises
from dlc.runtime.checked import InputCheck
from dlc.runtime.compile import (
    PRECISIONS,
    compile_model,
    emitted,
    find_backend,
    installed,
    model_weights,
    others,
)
from dlc.runtime.drawn import Drawn
from dlc.runtime.gradients import backend_gradients, cotangents, meant_gradients
from dlc.runtime.indices import IndexCheck
from dlc.runtime.inputs import random_inputs
from dlc.runtime.interpret import CheckFailed, run
from dlc.runtime.reported import number
from dlc.runtime.weights import generic_weights
from dlc.spec import MODEL, Model, all_sources

Array = NDArray[Any]
TOLERANCES = {"f64": 1e-9, "f32": 1e-5, "f16": 5e-3, "bf16": 5e-2}
"""What rounding does to the outputs of deep networks, relative to the largest element."""

# A gradient is measured by its own largest element, or this part of the network's largest one where it is smaller than that …
SMALLEST = 1e-3
# … and by the network's largest one itself where it is zero but for rounding, in f64: that of a key's bias, which softmax undoes.
ZERO = 1e-9
# How far, in tolerances, rounding may take what is right: a gradient where a maximum or a kink falls to the other side.
ROUNDED = 1e3
# The same of a gradient that is compared once more in f64: where one maximum of few falls to the other side, that is percents.
FLIPPED = 1e4
# How often more than the NumPy reference itself, computed in the same precision, a backend may be off: what is summed in another order.
ROUNDING = 10.0


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a backend's tensor is from the reference: `relative` is the largest difference over the largest element. A gradient
    that f32 rounds is compared in the `precision` f64 once more."""

    backend: str
    name: str
    kind: str  # "output", "gradient", or "expected"
    absolute: float
    relative: float
    precision: str = "f32"
    where: str = ""
    """Of what was expected: the place of the largest difference, and both values there."""
    rounding: float = 0.0
    """Of an output past the tolerance: how far off, relative, the reference is when it is computed in the backend's precision."""


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` found. `parted` names, per backend past the tolerance, the first module whose result differs; `failed` are the
    backends that could not be compared, and why."""

    model: str
    tolerance: float
    differences: tuple[Difference, ...]
    parted: Mapping[str, str]
    sizes: Mapping[str, tuple[int, ...]]
    expect_tolerance: float = 0.0
    failed: Mapping[str, SpecError] = field(default_factory=dict)
    constant: Mapping[str, float] = field(default_factory=dict)
    """Outputs of several numbers that are all one: to agree on such shows little."""
    beyond: Mapping[str, int] = field(default_factory=dict)
    """Outputs of which some elements, so many, are beyond the precision by the ops' meaning: backends agree on which."""

    def __repr__(self) -> str:
        backends = ", ".join(dict.fromkeys((*(each.backend for each in self.differences), *self.failed)))
        return f"<Report on {self.model}: {backends} {'agree' if self.agree else 'disagree'}>"

    def __str__(self) -> str:
        return self.text()

    @property
    def agree(self) -> bool:
        return bool(self.differences) and not self.failed and all(map(self._is_small, self.differences))

    def _is_small(self, each: Difference) -> bool:
        return each.relative <= (
            self.expect_tolerance if each.kind == "expected" else _allowed(each, self.tolerance)
        )

    @property
    def _expected(self) -> list[Difference]:
        return [each for each in self.differences if each.kind == "expected"]

    def to_json(self) -> dict[str, Any]:
        rows = [
            {
                "backend": d.backend,
                "name": d.name,
                "kind": d.kind,
                "absolute": number(d.absolute),
                "relative": number(d.relative),
                "precision": d.precision,
                **({"where": d.where} if d.kind == "expected" else {}),
                **({"rounding": number(d.rounding)} if d.rounding else {}),
            }
            for d in self.differences
        ]
        return {
            "model": self.model,
            "agree": self.agree,
            "tolerance": self.tolerance,
            **({"expect_tolerance": self.expect_tolerance} if self._expected else {}),
            "differences": rows,
            "parted": dict(self.parted),
            **({"failed": self._failures()} if self.failed else {}),
            **({"constant": dict(self.constant)} if self.constant else {}),
            **({"beyond": dict(self.beyond)} if self.beyond else {}),
        }

    def _failures(self) -> dict[str, Any]:
        return {name: [each.to_json() for each in error.diagnostics] for name, error in self.failed.items()}

    def text(self) -> str:
        lines = [part for each in self._expected for part in (self._line(each), f"       {each.where}")]
        own = [each for each in self.differences if each.kind != "expected"]
        backends = list(dict.fromkeys(each.backend for each in own))
        for backend in backends:
            for kind in ("output", "gradient"):
                rows = [each for each in self.differences if each.backend == backend and each.kind == kind]
                if kind == "gradient" and rows:
                    worst = max(rows, key=lambda each: each.relative)
                    lines.append(
                        self._line(replace(worst, name=f"{len(rows)} gradients, worst {worst.name}"))
                    )
                elif kind == "output":
                    lines += [self._line(each) for each in rows]
            if backend in self.parted:
                lines.append(f"       they part first at {self.parted[backend]}")
        for name, error in self.failed.items():
            lines += (f"FAIL {name:6} can't be compared", str(error))
        for name, value in self.constant.items():
            what = f"every element of `{name}` is {value:g} here, so that to agree on it shows little"
            lines.append(f"note {what}: other inputs or another --seed may show more")
        for name, count in self.beyond.items():
            places = f"{count} {'element' if count == 1 else 'elements'}"
            lines.append(f"note {places} of `{name}` overflow in this precision, by the ops' meaning too")
        verdict = "all backends agree" if all(map(self._is_small, own)) else "the backends disagree"
        if self.failed:
            others = [verdict.replace("all", "the other", 1)] if own else []
            verdict = ", ".join([f"{', '.join(self.failed)} can't be compared", *others])
        lines.append(f"{self.model}: {verdict} (tolerance {self.tolerance:g} relative)")
        if self._expected:
            same = all(map(self._is_small, self._expected))
            verdict = "the outputs are those expected" if same else "the outputs are not those expected"
            lines.append(f"{self.model}: {verdict} (tolerance {self.expect_tolerance:g} relative)")
        return "\n".join(lines)

    def _line(self, each: Difference) -> str:
        mark = "ok  " if self._is_small(each) else "FAIL"
        name = each.name if each.precision == "f32" else f"{each.name}, in {each.precision}"
        line = f"{mark} {each.backend:6} {name}: largest difference {each.absolute:.2e}, relative {each.relative:.2e}"
        return line + (f" (the reference rounds by {each.rounding:.2e})" if each.rounding else "")


def difference(found: Array, expected: Array) -> tuple[float, float]:
    """Largest absolute difference, and that over the largest element of `expected`; of integers 1 at least, as `are_whole` says."""
    if found.shape != expected.shape:
        return float("inf"), float("inf")
    if not expected.size:
        return 0.0, 0.0
    found, expected = np.asarray(found), np.asarray(expected)
    absolute = float(np.max(expectation.gaps(found, expected)))
    scale = largest(expected.astype(np.float64))
    relative = absolute / scale if scale else absolute
    return absolute, max(relative, 1.0) if absolute and expectation.are_whole(found, expected) else relative


def largest(array: Array) -> float:
    """Of the finite elements, without their signs; 0 where there is none."""
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max()) if finite.size else 0.0


@takes(
    model=MODEL,
    backends=arguments.optional(arguments.names("backends")),
    gradients=arguments.flag,
    tolerance=arguments.optional(arguments.number),
    weights=arguments.WEIGHTS,
    through=arguments.THROUGH,
    seed=arguments.natural,
    dims=arguments.optional(arguments.sizes),
    inputs=arguments.optional(arguments.arrays("inputs")),
    optimize=arguments.natural,
    precision=arguments.PRECISION,
    expect=arguments.optional(arguments.tensors("outputs")),
)
def verify(
    model: Model,
    *,
    backends: tuple[str, ...] | None = None,
    gradients: bool = False,
    tolerance: float | None = None,
    weights: str | os.PathLike[str] | Mapping[str, Array] | None = None,
    through: str | None = None,
    seed: int = 0,
    dims: Mapping[str, int] | None = None,
    inputs: Mapping[str, Array] | None = None,
    optimize: int = 1,
    precision: str = "f32",
    expect: str | os.PathLike[str] | Mapping[str, Array] | None = None,
) -> Report:
    """Run a model on every installed backend (or those named) with the same weights and inputs, and compare.

    `precision` is what the backends compute in. `expect` are the outputs of the published model for these weights and inputs, which
    the meaning of the ops is compared with. Without a `tolerance` it is that of the precision, and of the dtype of what is expected.

    What the model draws at random is drawn once, from the seed, and given to all. Without `weights` they are the seeded initial ones, constants among them disturbed, so that no branch is dead.

    Raises SpecError for a backend that is not there, weights that do not fit, or a `require` that the inputs violate, or an index outside its
    axis."""
    names = _computing(backends, precision)
    inputs = {name: np.asarray(each) for name, each in (inputs or {}).items()}
    found_backends = [find_backend(name, usable=True) for name in names]
    if gradients and precision != "f32":
        raise _bad("gradients are compared in f32", "leave out --grad, or --precision")
    able = _differentiating(found_backends, asked=backends is not None) if gradients else []
    program = model.program
    values = (
        generic_weights(program, seed)
        if weights is None and through is None
        else model_weights(model, weights, through, seed)
    )
    wanted = {} if expect is None else expectation.read(program, expect, weights, inputs)
    given = {**random_inputs(program, dims, seed, inputs), **inputs}
    drawn = Drawn.of(in_precision(program, precision))
    if drawn.draws:  # the same everywhere: inputs, made from the seed
        model, program = model.with_program(drawn.program), drawn.program
        given = dict(drawn.completed(given, (seed,)))
    given = InputCheck(program, IndexCheck(program, values, "f64", all_sources(model.spec.project)))(given)
    expected = _meaning(program, values, given)
    most = TOLERANCES[precision] if tolerance is None else tolerance
    found = [_expected_difference(name, expected[name], array) for name, array in wanted.items()]
    parted: dict[str, str] = {}
    narrow: dict[str, Array] = {}
    failed: dict[str, SpecError] = {}
    for name in names:
        try:
            runnable = compile_model(model, name, weights=values, optimize=optimize, precision=precision)
            outputs = runnable(**given)
        except SpecError as error:
            _note(failed, name, error, names)
            continue
        rows = [Difference(name, key, "output", *difference(outputs[key], expected[key])) for key in expected]
        if any(not row.relative <= most for row in rows):
            narrow = narrow or run(program, values, given, precision=precision)
            rows = [
                row if row.relative <= most else _rounded_alike(row, outputs, expected, narrow)
                for row in rows
            ]
        found += rows
        if any(not row.relative <= _allowed(row, most) for row in rows):
            parted[name] = first_difference(model, name, values, given, most, precision)
    if gradients and (able := [name for name in able if name not in failed]):
        found += _gradients(model, able, values, given, seed, most)
    draws = {each.input.name for each in drawn.draws}
    sizes = {name: tuple(np.shape(value)) for name, value in given.items() if name not in draws}
    of_file = max((TOLERANCES[expectation.precision_of(each)] for each in wanted.values()), default=0.0)
    least = of_file if tolerance is None else tolerance
    constant = dict(_constant(expected))
    beyond = {name: count for name, array in narrow.items() if (count := _beyond(array, expected[name]))}
    return Report(model.name, most, tuple(found), parted, sizes, least, failed, constant, beyond)


def _constant(outputs: Mapping[str, Array]) -> Iterator[tuple[str, float]]:
    """The outputs of floats of which all are the same number."""
    for name, array in outputs.items():
        if array.size > 1 and array.dtype.kind == "f" and np.all(array == array.flat[0]):
            yield name, float(array.flat[0])


def _note(failed: dict[str, SpecError], name: str, error: SpecError, names: Sequence[str]) -> None:
    """A backend that can't be compared does not keep the others from it; the only one raises what it says."""
    if len(names) == 1:
        raise error
    failed[name] = error


def _expected_difference(name: str, found: Array, wanted: Array) -> Difference:
    absolute, relative, where = expectation.compared(found, wanted)
    return Difference("", name, "expected", absolute, relative, where=where)


def _computing(asked: tuple[str, ...] | None, precision: str) -> tuple[str, ...]:
    """The backends that are asked for, or those that are here and compute in a precision. Raises SpecError where there is none."""
    if precision not in PRECISIONS:
        raise _bad(f"there is no precision `{precision}`: it is one of {', '.join(PRECISIONS)}")
    names = asked or tuple(name for name in installed() if precision in find_backend(name).precisions)
    if not names:
        reason = "none is installed" + (f" that computes in {precision}" if installed() else "")
        raise SpecError([problems.NO_BACKEND.at(NO_SPAN, name="any", reason=reason)])
    return tuple(names)


def _bad(message: str, help: str = "") -> SpecError:
    return SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message, help=help)])


def _meaning(program: Program, values: Mapping[str, Array], given: Mapping[str, Array]) -> dict[str, Array]:
    """What the ops say, in f64."""
    try:
        return run(program, values, given, precision="f64")
    except (CheckFailed, IndexError) as error:  # an index beyond its table is as little the backends' fault
        help = "give inputs that meet it: --input NAME=FILE.npy, or `inputs=` in Python"
        raise SpecError([problems.REQUIRE_FAILED.at(NO_SPAN, message=str(error), help=help)]) from None


def _rounded_alike(
    row: Difference, outputs: Mapping[str, Array], expected: Mapping[str, Array], narrow: Mapping[str, Array]
) -> Difference:
    """An output beside what the ops give when they are computed in the backend's precision as they are said (`narrow`): where that is
    beyond the precision the backend has to be, too, and elsewhere it tells how much is rounding."""
    mine, meant = narrow[row.name], expected[row.name]
    if mine.shape == meant.shape:
        meant = np.where(np.isfinite(mine), meant, mine)
    absolute, relative = difference(outputs[row.name], meant)
    rounding = difference(mine, meant)[1]
    return replace(
        row, absolute=absolute, relative=relative, rounding=rounding if np.isfinite(rounding) else 0.0
    )


def _beyond(narrow: Array, expected: Array) -> int:
    """How many elements a precision has no number for."""
    return int(np.sum(np.isfinite(expected) & ~np.isfinite(narrow)))


def _allowed(each: Difference, tolerance: float) -> float:
    return max(tolerance, min(ROUNDING * each.rounding, ROUNDED * tolerance))


def _differentiating(found: Sequence[Backend], *, asked: bool) -> list[str]:
    """The backends whose gradients are compared: all that are `asked` for by name, else those that give some. Raises
    SpecError where that is none, or one that is asked for gives none."""
    able = [each for each in every() if each.has("gradients")]
    for backend in found if asked else ():
        if not backend.has("gradients"):
            raise backend.lacks("gives no gradients", others("give some", able))
    names = [backend.name for backend in found if backend.has("gradients")]
    if not names:
        message = "none of the backends that are installed gives gradients"
        raise SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message, help=others("give some", able))])
    return names


def _gradients(
    model: Model,
    able: Sequence[str],
    values: Mapping[str, Array],
    given: Mapping[str, Array],
    seed: int,
    tolerance: float,
) -> list[Difference]:
    """Gradients of sum(output * cotangent) for every parameter, compared with their meaning."""
    weights = cotangents(model.program, values, given, seed)
    try:
        expected = meant_gradients(model.program, values, given, weights)
    except NotDifferentiable as error:  # an op of the user's own, without a rule
        return _gradients_of_each_other(model, able, values, given, weights, error)
    rows: list[Difference] = []
    for name in able:
        rows += compared_gradients(model, name, values, given, weights, expected, tolerance)
    return rows


def compared_gradients(
    model: Model,
    backend: str,
    values: Mapping[str, Array],
    given: Mapping[str, Array],
    weights: Mapping[str, Array],
    expected: Mapping[str, Array],
    tolerance: float,
) -> list[Difference]:
    """How far a backend's gradients of sum(output * weight) are from those expected: in f32, and in f64 where f32 alone may be the
    reason that they are past the tolerance."""
    found = backend_gradients(model, backend, values, given, weights)
    rows = gradient_differences(backend, found, expected)
    if not _rounded(rows, tolerance) or "f64" not in find_backend(backend).precisions:
        return rows
    wide = backend_gradients(model, backend, values, given, weights, precision="f64")
    again = gradient_differences(backend, wide, expected, "f64")
    return [row if row.relative <= tolerance else other for row, other in zip(rows, again, strict=True)]


def gradient_differences(
    backend: str, found: Mapping[str, Array], expected: Mapping[str, Array], precision: str = "f32"
) -> list[Difference]:
    """How far each parameter's gradient is from the expected one, relative to what it is to be measured by."""
    whole = max(map(largest, expected.values()), default=0.0)
    rows = []
    for path, gradient in expected.items():
        absolute, _ = difference(found[path], gradient)
        own = largest(gradient)
        scale = whole if own <= ZERO * whole else max(own, SMALLEST * whole)
        relative = absolute / scale if scale else absolute
        rows.append(Difference(backend, path, "gradient", absolute, relative, precision))
    return rows


def _rounded(rows: Sequence[Difference], tolerance: float) -> bool:
    """Whether all that is past the tolerance is so little past it that rounding may be the reason."""
    past = [row.relative for row in rows if not row.relative <= tolerance]
    return bool(past) and max(past) <= FLIPPED * tolerance


def _gradients_of_each_other(
    model: Model,
    able: Sequence[str],
    values: Mapping[str, Array],
    given: Mapping[str, Array],
    weights: Mapping[str, Array],
    error: NotDifferentiable,
) -> list[Difference]:
    """Those of backends compared with the first one's. Raises SpecError where there is one only."""
    if len(able) < 2:
        message = f"{error.message}: gradients can be compared between two backends only, and here {able[0]} alone gives some"
        raise SpecError([problems.BAD_OPTION.at(error.span, message=message)])
    first = backend_gradients(model, able[0], values, given, weights)
    rows: list[Difference] = []
    for name in able[1:]:
        found = backend_gradients(model, name, values, given, weights)
        rows += gradient_differences(f"{name}~{able[0]}", found, first)
    return rows


# --- the first module where they part ------------------------------------------------------------------------------


def first_difference(
    model: Model,
    backend: str,
    values: Mapping[str, Array],
    given: Mapping[str, Array],
    tolerance: float,
    precision: str = "f32",
) -> str:
    """The first operation of the entry function whose result a backend gets wrong, found by bisection on its body."""
    program = model.program
    points = _cut_points(program.main)
    low, high = 0, len(points)
    while low < high:
        middle = (low + high) // 2
        if _agrees_up_to(model, backend, program, points[middle], values, given, tolerance, precision):
            low = middle + 1
        else:
            high = middle
    if low >= len(points):
        return "the last operation"
    op = next(each for each in program.main.body if any(value.name == points[low] for value in each.outputs))
    what = f"`{op.path}` ({program.functions[op.callee].source})" if op.callee else f"`{op.op}`"
    return f"{what}, line {op.span.line}"


def _cut_points(function: Function) -> list[str]:
    """Results of the entry's operations, in order."""
    return [
        value.name
        for op in function.body
        if op.op not in ("param", "const", "update", "require")
        for value in op.outputs
    ]


def _agrees_up_to(
    model: Model,
    backend_name: str,
    program: Program,
    point: str,
    values: Mapping[str, Array],
    given: Mapping[str, Array],
    tolerance: float,
    precision: str,
) -> bool:
    main = replace(program.main, outputs=(("point", point),))
    cut = replace(program, functions={**program.functions, main.name: main})
    cut = DeadCode().run(cut)
    backend = find_backend(backend_name, usable=True)
    expected = run(cut, values, given, precision="f64")["point"]
    lowered = with_stored(decompose(in_precision(cut, precision), backend.is_native, backend.filled))
    artifact = emitted(lowered, backend, EmitOptions(name=model.identifier, precision=precision))
    runnable = promises.runnable_of(backend_name, backend.load(artifact, values))
    outputs = promises.arrays_of(backend_name, runnable(**given), ["point"], "output")
    return difference(outputs["point"], expected)[1] <= tolerance
