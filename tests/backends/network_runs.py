"""What is asked of a random network, on each backend."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from dlc_jax.load import module as jax_module
from dlc_torch.load import module_of as torch_module
from haste import TVM
from random_networks import LARGE, Network

import dlc
from dlc import backend as backends
from dlc.runtime.checked import Checked
from dlc.runtime.compile import emit, lower
from dlc.runtime.indices import IndexCheck
from dlc.runtime.inputs import random_inputs
from dlc.runtime.interpret import CheckFailed, run
from dlc.runtime.prepare import prepare

TOLERANCES = {"f32": 2e-4, "f16": 3e-2, "bf16": 2e-1}
Arrays = dict[str, Any]


class Case:
    """A model with weights, and what the references say of it at some sizes."""

    def __init__(self, made: Network, model: Any) -> None:
        self.zero, self.shifted = made.zero, "i64) - 1, axis" in made.text
        self.program = model.program
        self.weights = model.initial_weights(0)

    def sizes(self) -> Iterator[dict[str, int]]:
        yield {"B": 2, "T": 5}
        yield {"B": 1, "T": 1}
        if self.zero:
            yield {"B": 2, "T": 0}
            yield {"B": 0, "T": 3}

    def inputs(self, sizes: Mapping[str, int], seed: int = 0) -> Arrays:
        known = dict(sizes) | ({"G": 3} if "G" in self.program.main.given_sizes else {})
        given = random_inputs(self.program, known, seed)
        rng = np.random.default_rng(seed)
        if "places" in given:  # those of a network that goes one back are from 1 to T
            low, high = (1, min(4, sizes["T"]) + 1) if self.shifted else (0, 5)
            dtype = given["places"].dtype
            given["places"] = rng.integers(low, max(high, low + 1), given["places"].shape).astype(dtype)
        if "graph" in given:
            given["graph"] = rng.integers(0, 3, given["graph"].shape)
        return given


def runnable(model: Any, weights: Arrays, name: str, *, checked: bool = True, **options: Any) -> Any:
    backend = backends.find(name)
    target = {"target": TVM} if name == "tvm" else {}
    artifact = emit(model, name, **target, **options)
    ready = (
        weights
        if backend.prepares
        else prepare(lower(model.program, backend, options.get("optimize", 1)), weights)
    )
    found = backend.load(artifact, ready)
    return Checked(found, model.program, IndexCheck(model.program, weights)) if checked else found


def differs(found: Mapping[str, Any], expected: Mapping[str, Any], tolerance: float) -> str:
    for key, theirs in expected.items():
        mine = np.asarray(found[key])
        if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
            return f"{key}: {mine.dtype}{mine.shape} for {theirs.dtype}{theirs.shape}"
        a, b = mine.astype(np.float64), theirs.astype(np.float64)
        if not np.array_equal(np.isfinite(a), np.isfinite(b)) or not np.array_equal(np.isnan(a), np.isnan(b)):
            return f"{key}: {mine} for {theirs}"
        known = np.isfinite(b)
        scale = max(np.abs(b[known]).max(initial=0.0), 1e-6)
        off = np.abs(a[known] - b[known]).max(initial=0.0) / scale
        if off > tolerance:
            return f"{key} is off by {off:.2g}: {mine} for {theirs}"
    return ""


def outputs(made: Network, model: Any, name: str) -> Iterator[str]:
    """At several sizes, as the interpreter says; functions of the model, and levels, in turn."""
    case = Case(made, model)
    options: dict[str, Any] = {"optimize": 1 + made.seed % 2}
    if backends.find(name).keeps_functions:
        options["functions"] = made.seed % 3 == 0
    network = runnable(model, case.weights, name, **options)
    for sizes in case.sizes():
        given = case.inputs(sizes)
        with np.errstate(all="ignore"):
            expected = run(model.program, case.weights, given)
        if told := differs(network(**given), expected, TOLERANCES["f32"]):
            yield f"{sizes}: {told}"


def entries(made: Network, model: Any, name: str) -> Iterator[str]:
    if made.entry:
        entry = dlc.loads(made.text)["M.refine"](n=3)
        yield from outputs(Network(made.seed, made.text, (), made.zero), entry, name)


def optional(made: Network, model: Any, name: str) -> Iterator[str]:
    if "mask" in made.text:
        yield from outputs(made, model.with_inputs("mask"), name)


def precisions(made: Network, model: Any, name: str) -> Iterator[str]:
    """What low precision makes of it; the reference says how far rounding goes."""
    case = Case(made, model)
    for precision in set(backends.find(name).precisions) & {"f16", "bf16"}:
        try:
            network = runnable(model, case.weights, name, precision=precision)
        except dlc.SpecError as error:
            if error.diagnostics[0].code != "E0802":
                raise
            continue
        given = case.inputs({"B": 2, "T": 5})
        exact = run(model.program, case.weights, given, precision="f64")
        low = run(model.program, case.weights, given, precision=precision)
        rounding = max(_off(low[key], exact[key]) for key in exact)
        found = network(**given)
        for key, theirs in exact.items():
            mine = np.asarray(found[key])
            if mine.dtype != low[key].dtype:
                yield f"{precision} {key}: {mine.dtype} for {low[key].dtype}"
            elif not (off := _off(mine, theirs)) <= TOLERANCES[precision] + 10 * rounding:
                yield f"{precision} {key} is off by {off:.2g}, rounding by {rounding:.2g}"


def _off(mine: Any, theirs: Any) -> float:
    a, b = np.asarray(mine).astype(np.float64), np.asarray(theirs, np.float64)
    return float(np.abs(a - b).max(initial=0.0) / max(np.abs(b).max(initial=0.0), 1e-3))


def places(made: Network, model: Any, name: str) -> Iterator[str]:
    """A wrong place is refused with the same code by all, and by artifacts of ONNX and TVM also without dlc."""
    if not made.computed:
        return
    case = Case(made, model)
    given = case.inputs({"B": 2, "T": 5})
    given["places"] = np.full_like(given["places"], LARGE)
    wrong = [given]
    if "places + 1" in made.text:
        wrong.append(given | {"places": np.full_like(given["places"], -1 if "//" in made.text else -2)})
    check = IndexCheck(model.program, case.weights)
    for each in wrong:
        try:
            check(each)
            continue  # inside after all
        except dlc.SpecError as error:
            assert error.diagnostics[0].code == "E0710", error
        for checked in (True, *([False] if name in ("onnx", "tvm") else [])):
            network = runnable(model, case.weights, name, checked=checked)
            try:
                network(**each)
            except (dlc.SpecError, CheckFailed):
                continue
            except Exception as error:
                if checked or "indices element out of data bounds" not in str(error):
                    yield f"a wrong place ({checked=}): {error!r}"
                continue
            yield f"a wrong place is taken ({checked=})"


def arguments(made: Network, model: Any, name: str) -> Iterator[str]:
    """Emitted PyTorch and JAX, made with other arguments, are the model at these settings."""
    if name not in ("torch", "jax") or not model.program.parameters:
        return
    artifact = model.emit(name)
    scope = vars((torch_module if name == "torch" else jax_module)(artifact))
    kind = scope["M"] if name == "torch" else scope.get("Config")
    taken = set(inspect.signature(kind).parameters) if kind else set()
    for change in made.settings:
        settings = {key: value for key, value in change.items() if key in taken}
        other = Case(made, model(**settings))
        given = other.inputs({"B": 2, "T": 5}) | ({"mask": None} if "mask" in made.text else {})
        frozen = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
        try:
            found = (_torch if name == "torch" else _jax)(scope, kind, frozen, other, given)
        except ValueError as error:
            if "must h" in str(error):  # what makes another network of it is refused
                continue
            raise
        with np.errstate(all="ignore"):
            present = {key: each for key, each in given.items() if each is not None}
            expected = run(other.program, other.weights, present)
        found = found if isinstance(found, tuple) else (found,)
        if told := differs(dict(zip(expected, found, strict=True)), expected, TOLERANCES["f32"]):
            yield f"{settings}: {told}"


def _torch(scope: Any, kind: Any, settings: Arrays, case: Case, given: Arrays) -> Any:
    import torch

    module = kind(**settings).eval()
    module.load_state_dict({path: torch.from_numpy(np.array(value)) for path, value in case.weights.items()})
    tensors = {
        key: int(each) if key == "G" else each if each is None else torch.from_numpy(each)
        for key, each in given.items()
    }
    with torch.no_grad():
        found = module(*tensors.values()) if isinstance(module, torch.nn.Sequential) else module(**tensors)
    return tuple(each.numpy() for each in found) if isinstance(found, tuple) else found.numpy()


def _jax(scope: Any, kind: Any, settings: Arrays, case: Case, given: Arrays) -> Any:
    import jax

    config = (kind(**settings),) if kind else ()
    trees = scope["from_flat"](case.weights, *config)
    named = {"config": config[0]} if config else {}
    stateful = any(each.kind == "buffer" for each in case.program.parameters)
    inputs = {key: int(each) if key == "G" else each for key, each in given.items()}
    with jax.default_matmul_precision("highest"):
        found = scope["apply"](*(trees if isinstance(trees, tuple) else (trees,)), **inputs, **named)
    found = found[0] if stateful else found
    return tuple(map(np.asarray, found)) if isinstance(found, tuple) else np.asarray(found)


def gradients(made: Network, model: Any, name: str) -> Iterator[str]:
    if name in ("torch", "jax"):
        given = Case(made, model).inputs({"B": 2, "T": 5})
        report = dlc.verify(model, backends=(name,), gradients=True, inputs=given)
        if not report.agree:
            yield str(report)


CHECKS: dict[str, Callable[[Network, Any, str], Iterator[str]]] = {
    "outputs": outputs, "entries": entries, "optional": optional, "precisions": precisions, "places": places,
    "arguments": arguments, "gradients": gradients,
}  # fmt: skip


def faults(
    made: Network, names: Sequence[str], checks: Sequence[str], counts: Counter[str] | None = None
) -> Iterator[str]:
    """All that is wrong with a network. One that the checker refuses has no faults, unless it is dlc's own."""
    try:
        model = dlc.loads(made.text)["M"]
        assert model.program
    except dlc.SpecError as error:
        code = error.diagnostics[0].code
        if counts is not None:
            counts[f"refused {code}: {error.diagnostics[0].message[:80]}"] += 1
        if code == "E0999":
            yield str(error)
        return
    for name in names:
        for check in checks:
            try:
                yield from (f"{name}, {check}: {told}" for told in CHECKS[check](made, model, name))
            except dlc.SpecError as error:
                if error.diagnostics[0].code != "E0802":
                    yield f"{name}, {check}: {error}"
                elif counts is not None:
                    counts[f"{name} E0802 {error.diagnostics[0].message[:80]}"] += 1
            except Exception as error:
                yield f"{name}, {check}: {error!r}"[:1500]
