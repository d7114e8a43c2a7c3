"""Every landmark spec against its public implementation: weights loaded by name give its outputs on every backend, in
training mode where it differs, the gradients are its gradients, and the sizes are the published ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import haste
import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import dlc
from dlc.analysis.measure import count, flops
from dlc.runtime.compile import emit, find_backend, weight_map
from dlc.runtime.gradients import backend_gradients, cotangents, meant_gradients
from dlc.runtime.interpret import bind_dims, run
from dlc.runtime.verify import compared_gradients, difference
from dlc.runtime.weights import load_weights
from reference import builders, diffusion, gans, language, multimodal, pictures  # noqa: F401 (these enter their references)
from reference.cases import CASES, Case
from reference.small import model_of

RUNS = [(case, backend) for case in CASES for backend in case.backends]
TOLERANCE = 1e-5  # of the largest output: the references' own f32 error is up to 3.2e-6

# Those that ship, one of each at the same settings, whose gradients the public network does not give.
DERIVED = list(
    {
        (case.spec, case.model, str(case.settings)): case
        for case in CASES
        if not case.gradients and case.ships
    }.values()
)
BY_JAX = {"seq2seq_attention", "mamba", "mixtral", "gat", "stylegan2_discriminator"}


# A case holds dicts, so that what is made from it is kept by its name.
_kept: dict[tuple[str, str], Any] = {}


def kept(what: str, case: Case, make: Callable[[Case], Any]) -> Any:
    key = (what, case.name)
    if key not in _kept:
        _kept[key] = make(case)
    return _kept[key]


def small_model(case: Case) -> Any:
    return kept("model", case, model_of)


@cache
def reference(name: str) -> Any:
    return builders.build(name)


def arrays(case: Case) -> dict[str, np.ndarray]:
    given = reference(case.reference).arrays()
    return {ours: given[theirs] for ours, theirs in case.inputs.items()}


def weights(case: Case) -> dict[str, np.ndarray]:
    return kept("weights", case, _weights)  # type: ignore[no-any-return]


def _weights(case: Case) -> dict[str, np.ndarray]:
    model = small_model(case)
    return load_weights(model.program, reference(case.reference).weights(), weight_map(model, case.weights))


def compare(
    found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], names: Mapping[str, str]
) -> float:
    return max(difference(found[ours], expected[theirs])[1] for ours, theirs in names.items())


@pytest.mark.slow
@pytest.mark.parametrize(("case", "backend"), RUNS, ids=[f"{case}-{backend}" for case, backend in RUNS])
def test_outputs_are_the_references(case: Case, backend: str) -> None:
    found = compiled(case, backend)(**arrays(case))
    expected, _ = reference(case.reference).run()
    assert compare(found, expected, case.outputs) <= TOLERANCE


def compiled(case: Case, backend: str) -> Any:
    def make(case: Case) -> Any:
        # Of machine code the least effort: what it costs goes down by half, and kernels have tests of their own.
        target = haste.TVM if backend == "tvm" else ""
        return small_model(case).compile(backend, weights=weights(case), target=target)

    return kept(backend, case, make) if backend == "torch" else make(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if "torch" in case.backends], ids=str)
def test_flops_are_what_torch_counts(case: Case) -> None:
    """The counter sees no fused attention, recurrence or whole layer on a CPU: those are taken apart for it."""
    program, given, run = small_model(case).program, arrays(case), compiled(case, "torch")
    sizes = bind_dims(program.main, [given[value.name] for value in program.main.inputs], given)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        for each in run.native.parameters():
            each.requires_grad_(False)
        apart = sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False)
        with apart[0], apart[1], FlopCounterMode(display=False) as counter:
            run(**given)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    assert flops(program, sizes).constant == counter.get_total_flops()


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case.training], ids=str)
def test_training_mode_is_the_references(case: Case) -> None:
    """Batch statistics, auxiliary heads: the meaning in training mode, by the NumPy reference and by torch and jax."""
    expected, _ = builders.build(case.reference).run(training=True)
    names = case.training_outputs or case.outputs
    program = small_model(case).training_program
    meaning = run(program, weights(case), arrays(case), precision="f64")
    assert compare(meaning, expected, names) <= case.training_tolerance
    for name in ("torch", "jax"):
        found = training_outputs(case, name)
        assert compare(found, meaning, {ours: ours for ours in names}) <= case.training_tolerance, name


def training_outputs(case: Case, name: str) -> dict[str, np.ndarray]:
    """The outputs of the emitted training program of a backend."""
    model = small_model(case)
    backend = find_backend(name, usable=True)
    artifact = emit(model, name, optimize=1, precision="f32", target="", training=True)
    runnable = backend.load(artifact, weights(case))
    native = runnable.native
    if name == "torch":
        native.train()
    return runnable(**arrays(case))


@pytest.mark.slow
@pytest.mark.parametrize("case", DERIVED, ids=str)
def test_gradients_are_those_of_the_rules(case: Case) -> None:
    """The derivative of every network, by torch; by jax where what it makes of one is its own: loops, experts, segments, filters.
    XLA takes seconds for each, and `dlc verify specs/*/*.dl --small --grad` has all of them by both."""
    model, values, given = small_model(case), weights(case), arrays(case)
    pulls = cotangents(model.program, values, given, seed=0)
    expected = meant_gradients(model.program, values, given, pulls)
    for backend in ("torch", "jax") if case.name in BY_JAX else ("torch",):
        for row in compared_gradients(model, backend, values, given, pulls, expected, TOLERANCE):
            # What a spec says in f32 is rounded there: 6e-8 of a frequency is 6e-5 of an angle at time 1000.
            most = 1e-4 if case.name == "sd3" else TOLERANCE
            assert row.relative <= most, row


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case.gradients], ids=str)
def test_gradients_are_the_references(case: Case) -> None:
    """Those of a sum of all outputs' elements, each with a weight of its own, by torch and jax."""
    outputs, _ = reference(case.reference).run()
    rng = np.random.default_rng(0)
    pulls = {
        ours: rng.standard_normal(outputs[theirs].shape).astype(np.float32)
        for ours, theirs in case.outputs.items()
        if outputs[theirs].dtype.kind == "f"
    }
    expected = reference_gradients(case, pulls)
    largest = max(np.abs(each).max() for each in expected.values())
    for backend in ("torch", "jax"):
        found = backend_gradients(small_model(case), backend, weights(case), arrays(case), pulls)
        for path, gradient in found.items():
            # One that is zero in theory, such as that of a key's bias, has no scale of its own.
            scale = max(np.abs(expected[path]).max(), 1e-2 * largest)
            assert np.abs(gradient - expected[path]).max() <= TOLERANCE * scale, (backend, path)


def reference_gradients(case: Case, pulls: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The gradients of the public network, under the spec's names."""
    built = builders.build(case.reference)
    network = built.model.requires_grad_(True)
    outputs = builders.flat(built.call(network, built.inputs))
    total = sum((outputs[case.outputs[name]] * torch.from_numpy(each)).sum() for name, each in pulls.items())
    total.backward()
    found = {name: np.zeros(each.shape, np.float32) for name, each in network.state_dict().items()}
    found |= {name: each.grad.numpy() for name, each in network.named_parameters() if each.grad is not None}
    model = small_model(case)
    return load_weights(model.program, found, weight_map(model, case.weights))


@pytest.mark.parametrize("case", [case for case in CASES if case.full], ids=str)
def test_sizes_are_the_published_ones(case: Case) -> None:
    spec = dlc.load(case.path)
    for name, expected in case.full:
        assert count(spec[name].program) == expected, name


@pytest.mark.parametrize("case", [case for case in CASES if case.weights], ids=str)
def test_weights_blocks_invert(case: Case) -> None:
    """What is written through the block is read back through it as it was."""
    rules = weight_map(small_model(case), case.weights)
    assert rules is not None
    values = weights(case)
    written = rules.backward(values)
    back = rules.forward(written)
    assert set(back) == set(values)
    for name, array in back.items():
        np.testing.assert_array_equal(array, values[name], err_msg=name)
