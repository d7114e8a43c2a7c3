"""Specs as emitted JAX code: results and gradients against the reference, training, style."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dlc_jax import BACKEND
from dlc_jax.load import module
from jax_programs import CASES, Case, emitted, inputs_of, program_of, weights_of

import dlc
from dlc.autodiff import gradient, gradient_name
from dlc.backend import Artifact, EmitOptions
from dlc.diagnostics import SpecError
from dlc.ir.builder import Builder
from dlc.ir.nodes import Program, Value
from dlc.ir.splice import Names
from dlc.runtime.compile import lower
from dlc.runtime.interpret import run
from dlc.runtime.prepare import prepare
from dlc.types.facts import Facts

jax = pytest.importorskip("jax")

QUICK = ("GPT2", "T5", "LeNet5", "ResNet")
by_model = pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.id, marks=() if case.model in QUICK else pytest.mark.slow) for case in CASES],
)


def close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("level", [1, 2])
@by_model
def test_results(case: Case, level: int) -> None:
    program = program_of(case, level)
    weights, inputs = weights_of(program), inputs_of(program, case.dims)
    expected = run(case.load().program, weights, inputs)
    found = BACKEND.load(emitted(case, level), prepare(program, weights))(**inputs)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        close(found[name], value)


def weighted(program: Program) -> Program:
    """The program with one output: the sum of its outputs times further inputs."""
    main = program.main
    b = Builder(Facts(main.facts), names=Names.of(main).fresh)
    types = zip(main.outputs, main.output_types, strict=True)
    outputs = {name: Value(value, type) for (name, value), type in types}
    weights = [Value(f"weight_{name}", value.type) for name, value in outputs.items()]
    total: Value | None = None
    for value, weight in zip(outputs.values(), weights, strict=True):
        part = b.sum(b.mul(value, weight), range(value.type.rank))
        total = part if total is None else b.add(total, part)
    assert total is not None
    inputs = (*main.inputs, *weights)
    changed = replace(main, inputs=inputs, outputs=(("loss", total.name),), body=(*main.body, *b.body))
    return program.with_functions({**program.functions, main.name: changed})


@by_model
def test_gradients(case: Case) -> None:
    """JAX's derivatives of the emitted code against dlc's of the program."""
    from dlc_jax.grad import gradients

    program = program_of(case)
    weights, inputs = weights_of(program), inputs_of(program, case.dims)
    rng = np.random.default_rng(3)
    cotangents = {
        name: rng.standard_normal(np.shape(value)).astype(np.float32)
        for name, value in run(program, weights, inputs).items()
    }
    found = gradients(emitted(case), weights, inputs, cotangents)
    given = {f"weight_{name}": value for name, value in cotangents.items()}
    expected = run(gradient(weighted(case.load().program)), weights, {**inputs, **given})
    assert found.keys() == {each.path for each in program.parameters if each.trainable}
    for path, value in found.items():
        close(value, expected[gradient_name(path)], 2e-5)


def test_buffers_get_new_values() -> None:
    case = next(case for case in CASES if case.model == "ResNet")
    program = program_of(case, training=True)
    weights, inputs = weights_of(program), inputs_of(program, case.dims)
    updates: dict[str, np.ndarray] = {}
    expected = run(program, weights, inputs, updates=updates)
    runnable: Any = BACKEND.load(emitted(case, training=True), weights)
    close(runnable(**inputs)["logits"], expected["logits"], 1e-4)
    assert runnable.updates.keys() == updates.keys()
    for path, value in updates.items():
        close(runnable.updates[path], value, 1e-4)


def test_dropout_takes_a_key() -> None:
    case = next(case for case in CASES if case.model == "Transformer")
    program = program_of(case, training=True)
    weights, inputs = weights_of(program), inputs_of(program, case.dims)
    runnable: Any = BACKEND.load(emitted(case, training=True), weights)
    first, again, other = (runnable(key=key, **inputs)["logits"] for key in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@by_model
def test_initial_parameters(case: Case) -> None:
    program = program_of(case)
    made = jax.eval_shape(partial(initial, emitted(case)))
    assert {path: value.shape for path, value in made.items()} == {
        each.path: each.type.shape for each in program.parameters
    }


def initial(artifact: Artifact, seed: int = 0) -> dict[str, Any]:
    """The emitted initial values by path."""
    found = module(artifact)
    trees = found.init(jax.random.key(seed))
    trees = trees if isinstance(trees, tuple) else (trees,)
    return {path: value for tree in trees for path, value in found.to_flat(tree).items()}


def test_initial_values_are_those_of_the_spec() -> None:
    """Standard deviations of large parameters, which have another seed than the reference's."""
    case = CASES[0]
    made = initial(emitted(case), seed=1)
    for path, value in weights_of(program_of(case)).items():
        if value.size > 1000:
            assert float(np.std(made[path])) == pytest.approx(
                0.02 / (6**0.5 if "c_proj" in path else 1), rel=0.1
            )
        elif value.ndim == 1:
            assert np.all(
                np.asarray(made[path])
                == (1.0 if path.endswith(("_1.weight", "_2.weight", "f.weight")) else 0.0)
            )


@pytest.mark.parametrize("precision", ["bf16", "f64"])
def test_precisions(precision: str) -> None:
    case = CASES[0]
    program = program_of(case)
    weights, inputs = weights_of(program), inputs_of(program, case.dims)
    artifact = BACKEND.emit(program, EmitOptions(name="gpt2", precision=precision))
    found = BACKEND.load(artifact, weights)(**inputs)["logits"]
    expected = run(program, weights, inputs, precision="f64")["logits"]
    assert found.dtype == run(program, weights, inputs, precision=precision)["logits"].dtype
    close(found.astype(np.float64), expected, 1e-6 if precision == "f64" else 0.1)
    assert not jax.config.jax_enable_x64


def test_emission_needs_no_jax() -> None:
    """Emission in a process where importing JAX fails, twice, to the same bytes."""
    script = (
        "import sys; sys.modules['jax'] = None; from jax_programs import CASES, emitted;"
        "[sys.stdout.write(emitted(case).files[case.model.lower() + '.py']) for case in CASES[:2]]"
    )
    folder = str(Path(__file__).parent)
    runs = [
        subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, check=True).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert b"def apply(" in runs[0]


def test_native_is_pure() -> None:
    case = CASES[0]
    program = program_of(case)
    weights, inputs = weights_of(program), inputs_of(program, case.dims)
    runnable = BACKEND.load(emitted(case), weights)
    params, apply = runnable.native
    before = jax.tree.map(np.asarray, params)
    first, again = apply(params, inputs["tokens"]), apply(params, inputs["tokens"])
    np.testing.assert_array_equal(first, again)
    jax.tree.map(np.testing.assert_array_equal, params, before)
    assert jax.jit(apply)(params, inputs["tokens"]).shape == first.shape
    with pytest.raises(TypeError, match="inputs missing"):
        runnable()


AWKWARD = """
# \"Quotes\", \\\\backslashes and \"\"\"three\"\"\" in a comment.
model Awkward(d: int = 4)(x: [B, d], key: [B, d], params: [B, d]) -> (lax: [B, d], lambda: [B, d]) {
    for i in range(3) {
        x = x |> linear(d) as "q[__import__(os)];{i}" |> relu
    }
    for i in range(3) as "w(j){i}" {
        x = x |> linear(d) as fc |> layer_norm as ln
    }
    relu = x * key
    Array = relu + params
    return Array, x |> linear(d) as "a-b:c"
}
"""


def test_names_of_a_spec_stay_names() -> None:
    model = dlc.loads(AWKWARD)["Awkward"]()
    program = lower(model.program, BACKEND)
    artifact = BACKEND.emit(program, EmitOptions())
    weights, inputs = weights_of(program), inputs_of(program, {})
    found = BACKEND.load(artifact, weights)(**inputs)
    for name, value in run(program, weights, inputs).items():
        close(found[name], value)
    assert initial(artifact).keys() == weights.keys()


LINTED = [(case, level, training) for case in CASES for level in (1, 2) for training in (False, True)]


def test_emitted_code_is_formatted(tmp_path: Path) -> None:
    for case, level, training in LINTED:
        if level == 1 or not training:
            ((_, source),) = emitted(case, level, training).files.items()
            assert isinstance(source, str)
            (tmp_path / f"{case.model.lower()}_{level}_{training}.py").write_text(source)
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--line-length", "100", str(tmp_path)]
    subprocess.run([*ruff, "check", "--select", "E,F,I,B,UP,SIM,RUF", *options], check=True)
    subprocess.run([*ruff, "format", "--diff", *options], check=True)


REQUIRES = """
module Part(d: int)(x: [B, d]) -> [B, d] {
    require all(x < 9.0), "too large"
    return x |> linear(d) as fc
}

model Asks(d: int = 4, context: int = 8)(x: [B, d]) -> [B, d]
    where B <= context, B % 2 == 0
{
    for i in range(3) as layer { x = x |> Part(d) }
    return x
}
"""


def test_what_a_spec_requires_is_checked() -> None:
    model = dlc.loads(REQUIRES)["Asks"]
    runnable = model.compile("jax")
    right = np.ones((2, 4), np.float32)
    expected = run(model.program, model.initial_weights(), {"x": right})
    np.testing.assert_allclose(runnable(x=right)["output"], expected["output"], rtol=1e-5, atol=1e-6)
    params, _ = runnable.native
    emitted_module = module(model.emit("jax"))
    for wrong, message in (
        (np.full((2, 4), 10.0, np.float32), "too large"),
        (np.ones((10, 4), np.float32), "B must be at most 8, not 10"),
        (np.ones((3, 4), np.float32), "B must be a multiple of 2, not 3"),
    ):
        with pytest.raises((ValueError, jax.errors.JaxRuntimeError), match=message):
            jax.block_until_ready(emitted_module.apply(params, wrong))
            jax.effects_barrier()
        with pytest.raises((ValueError, SpecError), match=r"too large|B"):
            runnable(x=wrong)
    wrong = np.stack([right, np.full((2, 4), 10.0, np.float32)])

    def loss(params: Any, x: Any) -> Any:
        return emitted_module.apply(params, x).sum()

    for way in (
        loss,
        jax.jit(loss),
        jax.checkpoint(loss),
        jax.grad(loss),
        jax.jit(jax.grad(jax.checkpoint(loss))),
    ):
        jax.block_until_ready(way(params, right))
        jax.block_until_ready(jax.vmap(way, (None, 0))(params, wrong[:1]))
        with pytest.raises((ValueError, jax.errors.JaxRuntimeError), match="too large"):
            jax.block_until_ready(jax.vmap(way, (None, 0))(params, wrong))
            jax.effects_barrier()
    with pytest.raises(ValueError, match="too large"):
        emitted_module.require(np.array(False), "too large")


def test_a_model_without_floats_to_read_a_dtype_of() -> None:
    """Neither parameters nor inputs say what `float` is: the precision does."""
    model = dlc.loads(
        "model M()(t: i64[B]) -> (one: [B, 4], two: [B]) {\n"
        "    return cast(one_hot(t, 4), float), zeros([B])\n}"
    )["M"]
    for precision in ("f32", "bf16", "f64"):
        outputs = model.compile("jax", precision=precision)(t=np.array([1, 3]))
        np.testing.assert_array_equal(outputs["one"].astype(float), np.eye(4)[[1, 3]])
        assert outputs["two"].dtype.itemsize == {"f32": 4, "bf16": 2, "f64": 8}[precision]
    assert dlc.verify(model, backends=("jax",)).agree
