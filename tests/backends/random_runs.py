"""Random programs run by backends, and compared with what the ops' NumPy references say."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from random_text import LARGEST, Input, Program

import dlc
from dlc import backend as backends
from dlc.autodiff import gradient_name, pullback
from dlc.ir import nodes
from dlc.passes.sizes import at_sizes
from dlc.runtime.checked import Checked
from dlc.runtime.compile import emit, lower
from dlc.runtime.gradients import cotangents
from dlc.runtime.indices import IndexCheck
from dlc.runtime.interpret import bind_dims, run
from dlc.runtime.prepare import prepare

Arrays = dict[str, np.ndarray]
BACKENDS = ("torch", "jax", "onnx", "tvm")
CLOSE = 2e-5
ROUNDED = 50
"""How many times what rounding does to the reference in f32 it may do to a backend."""
SPECIAL = (float("nan"), float("inf"), float("-inf"), -0.0)


@dataclass(frozen=True)
class Fault:
    """What is wrong: by whom, what kind, and where."""

    backend: str
    kind: str
    text: str

    @property
    def like(self) -> tuple[str, str]:
        return self.backend, self.kind


@dataclass(frozen=True)
class Refused(Exception):
    code: str
    message: str


def loaded(program: Program) -> Any:
    """The model. Raises Refused where the checker finds something."""
    try:
        model = dlc.loads(program.text())["M"]
        assert model.program
    except dlc.SpecError as error:
        raise Refused(error.diagnostics[0].code, error.diagnostics[0].message) from None
    return model


def bindings(program: Program, most: int, longest: int = 0) -> list[dict[str, int]]:
    """Sizes to run it at: the least, ones, and others up to 3; then each alone as long as `longest`."""
    names, low = list(program.dims), program.dims
    every = [
        dict(zip(names, sizes, strict=True))
        for sizes in itertools.product(range(LARGEST + 1), repeat=len(names))
    ]
    allowed = [each for each in every if all(each[name] >= low[name] for name in names)]
    random.Random(program.seed).shuffle(allowed)
    first = [dict(low), dict.fromkeys(names, LARGEST)]
    others = [each for each in allowed if each not in first]
    long = [{**{each: max(low[each], 1) for each in names}, name: longest} for name in names if longest]
    return [*first, *others][:most] + long


def given(program: Program, sizes: Mapping[str, int]) -> Arrays:
    """Values of the inputs at some sizes: multiples of a quarter, integers from 0 to 3."""
    rng = np.random.default_rng([program.seed, *sizes.values()])
    return {each.name: _values(rng, each, sizes) for each in program.inputs}


def _values(rng: np.random.Generator, each: Input, sizes: Mapping[str, int]) -> np.ndarray:
    shape = tuple(n.evaluate(sizes) for n in each.type.axes)
    if each.type.dtype == "bool":
        return rng.random(shape) < 0.6
    if each.type.dtype == "i64":
        return rng.integers(0, 4, shape)
    x = np.asarray(rng.integers(-8, 9, shape) / 4, np.float32)
    if each.spoiled and x.size:
        x[rng.random(shape) < 0.2] = rng.choice(SPECIAL)
    return x


def weights(model: Any) -> Arrays:
    """Values of the parameters: multiples of a quarter; of variances positive ones."""
    made = {}
    for i, each in enumerate(model.program.parameters):
        shape = tuple(n.evaluate({}) for n in each.type.axes)
        rng = np.random.default_rng([7, i])
        low = 1 if each.path.endswith("running_var") else -6
        value = rng.integers(low, 7, shape) / 4
        made[each.path] = np.asarray(value, np.float32) if each.type.is_float else np.zeros(shape, np.int64)
    return made


@dataclass
class Case:
    """A program at some sizes, and what is right: values by name, or the code of a diagnostic."""

    sizes: dict[str, int]
    inputs: Arrays
    code: str = ""
    values: Arrays | None = None
    wide: Arrays | None = None
    cotangents: Arrays | None = None
    gradients: Arrays | None = None
    wide_gradients: Arrays | None = None


def cases(
    program: Program, model: Any, values: Arrays, most: int, gradients: bool, longest: int = 0
) -> Iterator[Case]:
    """What the references say. They can't fail where the checker found nothing."""
    check = IndexCheck(model.program, values)
    main = model.program.main

    def nothing(**inputs: Any) -> Arrays:
        """Outputs of the right shapes."""
        dims = bind_dims(main, [inputs[each.name] for each in main.inputs], inputs)
        pairs = zip(main.outputs, main.output_types, strict=True)
        return {name: np.zeros(tuple(each.evaluate(dims) for each in type.axes)) for (name, _), type in pairs}

    looked_at = Checked(nothing, model.program, check)
    for sizes in bindings(program, most, longest):
        case = Case(sizes, given(program, sizes))
        with np.errstate(all="ignore"):
            try:
                looked_at(**case.inputs)
            except dlc.SpecError as error:
                case.code = error.diagnostics[0].code
                yield case
                continue
            case.values = run(model.program, values, case.inputs)
            case.wide = run(model.program, values, case.inputs, precision="f64")
            if gradients and all(np.isfinite(each).all() for each in case.values.values()):
                _differentiate(case, model.program, values)
        yield case


def _differentiate(case: Case, program: nodes.Program, values: Arrays) -> None:
    case.cotangents = cotangents(program, values, case.inputs, 0)
    if not case.cotangents or not values:
        return
    arrays = [case.inputs[each.name] for each in program.main.inputs]
    derived = pullback(at_sizes(program, bind_dims(program.main, arrays, case.inputs)))
    known = {**case.inputs, **{gradient_name(name): each for name, each in case.cotangents.items()}}
    inputs = {each.name: known[each.name] for each in derived.main.inputs}
    case.gradients = run(derived, values, inputs)
    case.wide_gradients = run(derived, values, inputs, precision="f64")


def difference(found: Any, expected: np.ndarray, wide: np.ndarray) -> str:
    """In words; "" where there is none but by rounding."""
    found = np.asarray(found)
    if found.dtype != expected.dtype:
        return f"dtype {found.dtype} for {expected.dtype}"
    if found.shape != expected.shape:
        return f"shape {found.shape} for {expected.shape}"
    if not found.size:
        return ""
    if found.dtype.kind not in "fV":
        return "" if np.array_equal(found, expected) else _told(found, expected)
    a, b, w = (np.asarray(each, np.float64) for each in (found, expected, wide))
    if not np.array_equal(np.isfinite(b), np.isfinite(w)):
        return ""  # too large for f32: what comes of it is rounding's
    finite = np.isfinite(b)
    scale = np.abs(w[finite]).max(initial=1.0)
    step = {"float16": 2e-3}.get(found.dtype.name, CLOSE) * scale
    with np.errstate(all="ignore"):
        off = np.where(
            finite, np.abs(a - w) > step + ROUNDED * np.abs(b - w).max(initial=0.0, where=finite), False
        )
        odd = ~finite & ~((a == b) | (np.isnan(a) & np.isnan(b)))
    wrong = off | odd | (np.isfinite(a) != finite)
    return _told(found, expected) if wrong.any() else ""


def _told(found: np.ndarray, expected: np.ndarray) -> str:
    return f"{found.tolist()} for {expected.tolist()}"


def faults(
    program: Program,
    names: Sequence[str],
    *,
    most: int = 3,
    gradients: bool = True,
    longest: int = 0,
    count: Callable[[str], None] = lambda _: None,
) -> Iterator[Fault]:
    """All that is wrong with a program. Raises Refused."""
    try:
        model = loaded(program)
    except Refused as refused:
        if refused.code == "E0999":
            yield Fault("check", "E0999", refused.message)
            return
        raise
    except Exception as error:
        yield Fault("check", type(error).__name__, repr(error)[:600])
        return
    values = weights(model)
    try:
        known = list(cases(program, model, values, most, gradients, longest))
    except Exception as error:
        yield Fault("reference", type(error).__name__, repr(error)[:600])
        return
    for case in known:
        count(case.code or "run")
    for name in names:
        try:
            yield from backend_faults(program, model, name, values, known)
        except dlc.SpecError as error:
            if error.diagnostics[0].code == "E0802":
                count(f"{name} E0802")
                continue
            yield Fault(name, error.diagnostics[0].code, str(error)[:600])
        except Exception as error:
            yield Fault(name, type(error).__name__, repr(error)[:900])


def backend_faults(
    program: Program, model: Any, name: str, values: Arrays, known: Sequence[Case]
) -> Iterator[Fault]:
    backend = backends.find(name)
    optimize = 1 + program.seed % 2
    functions = backend.keeps_functions and program.seed % 3 == 0
    artifact = emit(model, name, optimize=optimize, functions=functions, read=program.seed % 4 < 2)
    ready = values if backend.prepares else prepare(lower(model.program, backend, optimize), values)
    check = IndexCheck(model.program, values)
    runnable = Checked(backend.load(artifact, ready), model.program, check)
    for case in known:
        yield from _outputs(name, runnable, case)
    if optimize > 1:
        artifact = emit(model, name, read=False)
    for case in known:
        if backend.has("gradients") and case.gradients:
            yield from _gradients(name, backend, artifact, values, case)


def _outputs(name: str, runnable: Any, case: Case) -> Iterator[Fault]:
    try:
        found = runnable(**case.inputs)
    except dlc.SpecError as error:
        code = error.diagnostics[0].code
        if code != case.code:
            yield Fault(name, f"{code} for {case.code or 'values'}", f"{case.sizes}: {error}")
        return
    except Exception as error:
        yield Fault(name, f"running {type(error).__name__}", f"{case.sizes}: {repr(error)[:900]}")
        return
    assert case.values is not None and case.wide is not None
    for key, expected in case.values.items():
        if told := difference(found[key], expected, case.wide[key]):
            yield Fault(name, "dtype" if told.startswith("dtype") else "value", f"{case.sizes} {key}: {told}")


def _gradients(name: str, backend: Any, artifact: Any, values: Arrays, case: Case) -> Iterator[Fault]:
    assert case.gradients is not None and case.wide_gradients is not None
    try:
        found = backend.gradients(artifact, values, case.inputs, case.cotangents)
    except Exception as error:
        yield Fault(name, f"gradient {type(error).__name__}", f"{case.sizes}: {repr(error)[:900]}")
        return
    largest = max(
        (np.abs(each[np.isfinite(each)]).max(initial=0.0) for each in case.wide_gradients.values()),
        default=0.0,
    )
    spoiled = not all(np.isfinite(each).all() for each in case.inputs.values())
    for path, expected in case.gradients.items():
        wide = case.wide_gradients[path]
        narrow = np.asarray(found[path], np.float64)
        if spoiled and np.isnan(narrow).any():
            continue  # 0 times infinity, where the rule of an op knows that there is no slope
        if (
            np.isfinite(narrow).all()
            and np.isfinite(wide).all()
            and np.abs(narrow - wide).max(initial=0.0) <= 50 * CLOSE * max(largest, 1)
        ):
            continue
        if told := difference(found[path], np.asarray(expected, np.float32), wide):
            yield Fault(name, "gradient", f"{case.sizes} {path}: {told}")


def shrunk(
    program: Program, names: Sequence[str], fault: Fault, tries: int = 400, longest: int = 0
) -> tuple[Program, Fault]:
    """A smaller program with a fault of the same kind."""
    left = tries
    progress = True
    while progress and left > 0:
        progress = False
        for smaller in program.smaller():
            left -= 1
            if left <= 0:
                break
            if len(smaller.text()) >= len(program.text()):
                continue
            again = same_fault(smaller, names, fault, longest)
            if again is not None:
                program, fault, progress = smaller, again, True
                break
    return program, fault


def same_fault(program: Program, names: Sequence[str], fault: Fault, longest: int = 0) -> Fault | None:
    wanted = [name for name in names if name == fault.backend]
    try:
        found = faults(program, wanted, most=8, gradients="gradient" in fault.kind, longest=longest)
        return next((each for each in found if each.like == fault.like), None)
    except Refused:
        return None
