"""Scans are `lax.scan`, of whatever length."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from dlc_jax import BACKEND
from dlc_jax.load import module
from scan_cases import CASES, Case, differences, model
from test_jax_specs import weighted

import dlc
from dlc.autodiff import gradient, gradient_name
from dlc.backend import EmitOptions
from dlc.runtime.compile import lower
from dlc.runtime.interpret import run

jax = pytest.importorskip("jax")
jnp = jax.numpy

X = {"x": (2, "T", 3)}
SOURCES = (
    "nested",
    "in layers, each with its own",
    "gru with a mask",
    "lstm with a projection",
)


def emitted(text: str, name: str = "M") -> ModuleType:
    return module(dlc.loads(text)[name].emit("jax"))


@pytest.mark.parametrize("name", CASES)
def test_the_reference_at_every_length(name: str) -> None:
    differences(CASES[name], lambda model, weights: model.compile("jax", weights=weights))


def test_sources_run_under_jit_and_are_formatted_and_linted(tmp_path: Path) -> None:
    """As they are written, with parameters that their own `init` makes."""
    for name in SOURCES:
        found = CASES[name].model
        artifact = found.emit("jax")
        ((_, source),) = artifact.files.items()
        (tmp_path / f"{name.replace(' ', '_').replace(',', '')}.py").write_text(str(source))
        made, inputs, weights = module(artifact), CASES[name].arrays(5), found.initial_weights(seed=0)
        params = made.from_flat(weights) if weights else {}
        assert not weights or jax.tree.structure(made.init(jax.random.key(0))) == jax.tree.structure(params)
        given = {value.name: inputs.get(value.name) for value in found.program.main.inputs}
        absent = {"h": None} if name == "gru with a mask" else {}
        outputs = jax.tree.leaves(jax.jit(made.apply)(params, **given, **absent))
        for each, wanted in zip(outputs, run(found.program, weights, inputs).values(), strict=True):
            np.testing.assert_allclose(each, wanted, rtol=1e-4, atol=1e-5, err_msg=name)
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--no-cache", "--line-length", "100", str(tmp_path)]
    subprocess.run([*ruff, "check", "--select", "E,F,I,B,UP,SIM,RUF", *options], check=True)
    subprocess.run([*ruff, "format", "--check", *options], check=True)


@pytest.mark.parametrize(
    "name", ["in layers, each with its own", "gru with a mask", "lstm with a projection"]
)
def test_gradients(name: str) -> None:
    """Of a length that is known, where dlc's own derivative takes the steps one by one."""
    from dlc_jax.grad import gradients

    found = Case(CASES[name].text.replace(" T", " 4"), CASES[name].inputs, CASES[name].masks).model
    program = lower(found.program, BACKEND)
    weights, inputs = found.initial_weights(seed=0), CASES[name].arrays(4)
    rng = np.random.default_rng(3)
    cotangents = {
        key: rng.standard_normal(np.shape(value)).astype(np.float32)
        for key, value in run(program, weights, inputs).items()
    }
    given = {f"weight_{key}": value for key, value in cotangents.items()}
    expected = run(gradient(weighted(found.program)), weights, {**inputs, **given})
    for path, value in gradients(BACKEND.emit(program, EmitOptions()), weights, inputs, cotangents).items():
        np.testing.assert_allclose(value, expected[gradient_name(path)], rtol=1e-4, atol=1e-5, err_msg=path)


# --- precision ----------------------------------------------------------------------------------------------------

PRECISIONS: dict[str, Case] = {
    **{name: CASES[name] for name in ("gru with a mask", "lstm", "selective_scan")},
    "a weight to begin with": Case(
        model("param start: [3] = ones\nscan xt in x with h = start + start { h = h * 0.5 + sum(xt, axis=0) }\nreturn h"), X
    ),
    "a weight in f32": Case(
        model(
            "param start: f32[3] = ones\nscan i in range(4) with h = start, g = start { h = h * 0.5 + cast(i, f32)\n    g = g * start }\n"
            "return x + cast(h + g, float)"
        ),
        X,
    ),
    "zeros in f32": Case(
        model(
            "param rate: f32[3] = ones\nscan xt in x with h = zeros([B, 3], dtype=f32) { h = exp(-rate) * h + cast(xt, f32) }\n"
            "return cast(h, float)"
        ),
        X,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PRECISIONS)
def test_parameters_in_bf16(name: str) -> None:
    """All leaves, those too that the spec wants in f32; inputs in bf16, or, where no weights are multiplied with them, in f32."""
    case = PRECISIONS[name]
    found = case.model
    program = lower(found.program, BACKEND)
    made = module(BACKEND.emit(program, EmitOptions()))
    weights, inputs = found.initial_weights(seed=0), case.arrays(4)
    params = made.from_flat(weights) if weights else {}
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    given = [jnp.asarray(inputs[each.name]) for each in program.main.inputs]
    narrow = [each.astype(jnp.bfloat16) if each.dtype == np.float32 else each for each in given]
    wanted = run(found.program, weights, inputs)
    leaves = jax.tree.leaves(made.apply(half, *narrow))
    for each, value in zip(leaves, wanted.values(), strict=True):
        assert each.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(each, np.float32), value, rtol=0.1, atol=0.1)
    if name not in CASES:
        assert {each.dtype for each in jax.tree.leaves(jax.eval_shape(made.apply, half, *given))} == {
            np.dtype(np.float32)
        }


# --- state and keys -----------------------------------------------------------------------------------------------

STATEFUL = """
module Cell()(x: [B, 3], h: [B, 3]) -> [B, 3] { return tanh(x + h) |> batch_norm as bn }

model M(layers: int = 2)(x: [B, T, 3]) -> [B, 3] {
    for i in range(layers) as h {
        scan xt in x with h = zeros([B, 3]) {
            h = tanh(h + (xt |> linear(3) as fc |> batch_norm as bn))
            yield hs = h
        }
        x = x + hs
    }
    cell = Cell() as cell
    scan xt in x with last = zeros([B, 3]) { last = cell(xt, last) }
    return last
}
"""


def test_buffers_go_from_step_to_step() -> None:
    """Of a layer of a loop, and of an instance that all steps share."""
    found = dlc.loads(STATEFUL)["M"]
    weights = found.initial_weights(seed=0)
    x = np.random.default_rng(0).normal(size=(4, 3, 3)).astype(np.float32)
    updates: dict[str, np.ndarray] = {}
    expected = run(found.training_program, weights, {"x": x}, updates=updates)["output"]
    made = emitted(STATEFUL)
    params, state = made.from_flat(weights)
    before = jax.tree.map(np.asarray, state)
    y, new = jax.jit(made.apply, static_argnames="training")(params, state, x, training=True)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    flat = made.to_flat(new)
    assert updates.keys() <= flat.keys() and int(flat["cell.bn.num_batches_tracked"]) == 3
    for path, value in updates.items():
        np.testing.assert_allclose(flat[path], value, rtol=1e-4, atol=1e-5, err_msg=path)
    jax.tree.map(np.testing.assert_array_equal, state, before)
    y, same = made.apply(params, state, x)
    jax.tree.map(np.testing.assert_array_equal, same, before)
    np.testing.assert_allclose(y, run(found.program, weights, {"x": x})["output"], rtol=1e-4, atol=1e-5)


def test_every_step_draws_anew() -> None:
    body = "scan i in range(5) { yield n = normal([3]) + x }\nreturn n"
    made = emitted(model(body, "x: [3]"))
    found = made.apply({}, jnp.zeros(3), key=jax.random.key(0))
    assert len(np.unique(found)) == 15
    np.testing.assert_array_equal(found, made.apply({}, jnp.zeros(3), key=jax.random.key(0)))


def test_steps_need_a_key_in_training_alone() -> None:
    made = emitted(model("scan xt in x { yield y = dropout(0.5)(xt) }\nreturn y"))
    x = jnp.ones((2, 4, 3))
    np.testing.assert_array_equal(made.apply({}, x), x)
    kept = np.asarray(made.apply({}, x, training=True, key=jax.random.key(1)))
    assert set(np.unique(kept)) == {0.0, 2.0} and len({each.tobytes() for each in kept.swapaxes(0, 1)}) == 4
    with pytest.raises(ValueError, match="needs a key"):
        made.apply({}, x, training=True)


def test_an_initial_value_may_be_a_scan() -> None:
    text = """
fn decays(n: int) -> [n] {
    scan i in range(n) with a = ones([]) {
        a = a * 0.5
        yield all = a
    }
    return all
}

model M(n: int = 4)(x: [B, n]) -> [B, n] {
    param rate: [n] = decays(n)
    return x * rate
}
"""
    params = emitted(text).init(jax.random.key(0))
    np.testing.assert_allclose(params["rate"], 0.5 ** np.arange(1, 5))
