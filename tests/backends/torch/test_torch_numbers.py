"""What the emitted code computes, against the ops' NumPy references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from backends.torch.cases import CASES, Case, emitted, inputs, weights
from dlc_torch import BACKEND
from dlc_torch.grad import gradients
from dlc_torch.load import build, parameters_of
from gaps import failing_at_gaps

import dlc
from dlc import ops
from dlc.backend import EmitOptions
from dlc.ops import samples
from dlc.runtime import interpret
from dlc.runtime.compile import lower
from dlc.runtime.prepare import prepare

SAMPLES = [(each, i) for each in ops.all_ops() for i in range(len(each.samples))]


@pytest.mark.parametrize(("op", "i"), SAMPLES, ids=[f"{op.name}-{i}" for op, i in SAMPLES])
@pytest.mark.filterwarnings("ignore:mean is more than 2 std")
def test_ops(op: ops.OpDef, i: int) -> None:
    program = samples.program(op, op.samples[i])
    arrays = samples.arrays(op, op.samples[i])
    given = {f"x{k}": array for k, array in enumerate(arrays) if array is not None}
    with failing_at_gaps(BACKEND, program):
        found = BACKEND.load(BACKEND.emit(program, EmitOptions()), {})(**given)
        expected = interpret.run(program, {}, given, rng=np.random.default_rng(0))
        for name, value in expected.items():
            assert (found[name].shape, found[name].dtype) == (value.shape, value.dtype)
            if not op.random:
                np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_specs(case: Case, level: int) -> None:
    program = case.program()
    values, given = weights(program, case.scale), inputs(program, case.dims)
    runnable = BACKEND.load(emitted(program, level), prepare(lower(program, BACKEND, level), values))
    found, expected = runnable(**given), interpret.run(program, values, given)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.abs(found[name] - value).max() <= 1e-5 * np.abs(value).max()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_names_in_checkpoints_are_the_specs_paths(case: Case) -> None:
    program = case.program()
    module = BACKEND.load(emitted(program), weights(program)).native
    shapes = {each.path: each.type.shape for each in program.parameters}
    assert {path: tuple(tensor.shape) for path, tensor in module.state_dict().items()} == shapes
    trainable = {each.path for each in program.parameters if each.kind == "param"}
    assert parameters_of(module).keys() == trainable


@pytest.mark.parametrize("precision", ["bf16", "f64"])
@pytest.mark.parametrize(
    "case", [each for each in CASES if each.model in ("GPT2", "ResNet", "Llama")], ids=str
)
def test_precision(case: Case, precision: str) -> None:
    program = case.program()
    values, given = weights(program), inputs(program, case.dims)
    found = BACKEND.load(emitted(program, precision=precision), values)(**given)
    expected = interpret.run(program, values, given, precision="f64")
    for name, value in expected.items():
        assert found[name].dtype.name == {"bf16": "bfloat16", "f64": "float64"}[precision]
        error = np.abs(found[name].astype(np.float64) - value).max() / np.abs(value).max()
        assert error <= {"bf16": 0.03, "f64": 1e-6}[precision]


def test_training_mode_updates_buffers() -> None:
    case = next(each for each in CASES if each.model == "Tracked")
    program = case.program(training=True)
    values, given = weights(program), inputs(program, case.dims)
    updates: dict[str, np.ndarray] = {}
    expected = interpret.run(program, values, given, updates=updates)
    runnable = BACKEND.load(emitted(program, training=True), values)
    np.testing.assert_allclose(runnable(**given)["output"], expected["output"], rtol=1e-6)
    state = runnable.native.state_dict()
    np.testing.assert_allclose(state["moving.average"], updates["moving.average"], rtol=1e-6)


def test_drop_path_follows_the_mode() -> None:
    """Rows of a branch are kept, scaled, or dropped as a whole in training, and untouched otherwise."""
    body = "param gain: [] = 1.0\n    return drop_path(0.25)(x) * gain"
    spec = dlc.loads(f"model M()(x: [B, 3, 5]) -> [B, 3, 5] {{\n    {body}\n}}\n")
    network = spec["M"].compile("torch").native
    x = torch.ones(200, 3, 5)
    assert torch.equal(network.eval()(x), x)
    torch.manual_seed(0)
    rows = network.train()(x).flatten(1)
    assert torch.equal(rows.amin(dim=1), rows.amax(dim=1))
    assert sorted({round(value, 5) for value in rows[:, 0].tolist()}) == [0.0, round(1 / 0.75, 5)]
    assert 25 < int((rows[:, 0] == 0).sum()) < 80


def test_batch_norm_in_training() -> None:
    case = next(each for each in CASES if each.model == "ResNet")
    program = case.program(training=True)
    values, given = weights(program), inputs(program, case.dims)
    updates: dict[str, np.ndarray] = {}
    expected = interpret.run(program, values, given, updates=updates)["logits"]
    runnable = BACKEND.load(emitted(program, training=True), values)
    np.testing.assert_allclose(runnable(**given)["logits"], expected, rtol=1e-4, atol=1e-4)
    state = runnable.native.state_dict()
    for path, value in updates.items():
        np.testing.assert_allclose(state[path], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", [each for each in CASES if each.model in ("MLP", "GPT2", "ResNet")], ids=str)
def test_gradients_are_slopes(case: Case) -> None:
    program = case.program()
    values, given = weights(program), inputs(program, case.dims)
    artifact = emitted(program, precision="f64")
    rng = np.random.default_rng(2)
    outputs = BACKEND.load(artifact, values)(**given)
    cotangents = {name: rng.normal(size=value.shape) for name, value in outputs.items()}
    found = gradients(artifact, values, given, cotangents)
    assert found.keys() == {each.path for each in program.parameters if each.trainable}

    direction = {path: rng.normal(size=value.shape) for path, value in found.items()}

    def loss(step: float) -> float:
        moved = {path: value + step * direction.get(path, 0.0) for path, value in values.items()}
        result = BACKEND.load(artifact, moved)(**given)
        return sum(float((result[name] * cotangents[name]).sum()) for name in result)

    slope = sum(float((found[path] * direction[path]).sum()) for path in found)
    assert slope == pytest.approx((loss(1e-6) - loss(-1e-6)) / 2e-6, rel=1e-4)


def test_initial_values_follow_the_spec() -> None:
    case = next(each for each in CASES if each.model == "GPT2")
    torch.manual_seed(0)
    module = build(case.emitted())
    state = module.state_dict()  # type: ignore[attr-defined]
    assert state["h.0.attn.c_attn.weight"].std().item() == pytest.approx(0.02, rel=0.05)
    assert state["h.1.mlp.c_proj.weight"].std().item() == pytest.approx(0.02 / 2, rel=0.05)
    assert state["h.0.mlp.c_fc.bias"].abs().max().item() == 0.0
    assert state["ln_f.weight"].min().item() == 1.0


def test_initial_values_that_are_no_distribution() -> None:
    case = next(each for each in CASES if each.model == "Stack")
    state = build(case.emitted()).state_dict()  # type: ignore[attr-defined]
    np.testing.assert_allclose(state["fc.1.bias"], np.arange(32) / 32)


def test_loading_leaves_global_state_alone() -> None:
    program = CASES[0].program()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    BACKEND.load(emitted(program), weights(program))
    assert torch.equal(before, torch.get_rng_state())


def test_missing_and_misshapen_weights_are_named() -> None:
    program = CASES[0].program()
    values = weights(program)
    artifact = emitted(program)
    path = next(iter(values))
    with pytest.raises(KeyError, match=path):
        BACKEND.load(artifact, {key: value for key, value in values.items() if key != path})
    with pytest.raises(KeyError, match="extra"):
        BACKEND.load(artifact, {**values, "extra": np.ones(1)})
    with pytest.raises(ValueError, match=path):
        BACKEND.load(artifact, {**values, path: np.ones((1, 1))})


def test_dlpack_goes_in() -> None:
    case = CASES[0]
    program = case.program()
    runnable = BACKEND.load(emitted(program), weights(program))
    given = inputs(program, case.dims)
    tensors = {name: torch.from_numpy(value) for name, value in given.items()}
    for name, value in runnable(**given).items():
        np.testing.assert_array_equal(runnable(**tensors)[name], value)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_everything_is_made_on_the_inputs_device(case: Case) -> None:
    """On the meta device a tensor from anywhere else is an error."""
    program = case.program()
    runnable = BACKEND.load(emitted(program), weights(program), device="meta")
    given = {name: torch.from_numpy(value) for name, value in inputs(program, case.dims).items()}
    assert {result.device.type for result in runnable.forward(given).values()} == {"meta"}
