"""Sizes of 0: where a spec states that they may be, empty in, empty out, on every backend; where it does not, one refusal, wherever
the size comes from."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dlc
from dlc import backend as backends
from dlc.runtime.inputs import random_inputs
from dlc.runtime.interpret import CheckFailed, run

SMALL = "layers=1, d=16, heads=2, vocab=20, context=16"
CASES = {
    "gpt2": ("language/gpt2", f"GPT2({SMALL})", "i64[B, T]", "0 <= B, T <= 16"),
    "llama": ("language/llama3_8b", f"Llama({SMALL}, ff=32, kv_heads=1)", "i64[B, T]", "0 <= B, T <= 16"),
    "lenet": ("vision/lenet5", "LeNet5()", "[B, 1, 28, 28]", "0 <= B"),
}
BACKENDS = ("torch", "jax", "onnx", "tvm")


def _model(name: str) -> dlc.Model:
    """A network that ships, as part of a model that says which sizes may be 0."""
    file, call, type, facts = CASES[name]
    head = f'from "dlc:{file}" import {call.partition("(")[0]}'
    model = f"model M()(x: {type}) -> _\n    where {facts}\n{{\n    return x |> {call} as net\n}}"
    found = dlc.loads(f"{head}\n\n{model}\n")["M"]
    assert isinstance(found, dlc.Model)
    return found


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
@pytest.mark.parametrize("name", CASES)
def test_empty_in_empty_out(name: str, backend: str) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    model = _model(name)
    weights = model.initial_weights(seed=0)
    compiled = model.compile(backend, weights=weights)
    for rows in (0, 2):
        given = random_inputs(model.program, {"B": rows})
        expected = run(model.program, weights, given)
        found = compiled(**given)
        for each, value in expected.items():
            np.testing.assert_allclose(found[each], value, rtol=1e-3, atol=1e-4, err_msg=each)


# Each of these has a value only where T is not 0, as the prover assumed: a longest axis, a branch, a number.
UNSTATED = """
model M()(x: [B, T]) -> (_, [max(T, 1)], _)
{
    y = x
    if T > 0 { y = y + 1.0 }
    return max(y, 1), zeros([max(T, 1)]), x * (1 / T)
}
"""
X = np.zeros((2, 0), np.float32)
REFUSED = r"E0804.*T >= 1 \(with B = 2, T = 0\)\n.*`where 0 <= T`"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_runnable_refuses_what_is_not_stated(backend: str) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    compiled = dlc.loads(UNSTATED)["M"].compile(backend)
    with pytest.raises(dlc.SpecError, match=REFUSED):
        compiled(x=X)
    assert compiled(x=np.zeros((2, 1), np.float32))["output_1"].shape == (1,)


def test_so_do_all_other_ways_in(tmp_path: Path) -> None:
    model = dlc.loads(UNSTATED)["M"]
    for way in (
        lambda: model.summary(B=2, T=0),
        lambda: dlc.verify(model, backends=("torch",), dims={"B": 2, "T": 0}),
        lambda: dlc.verify(model, backends=("torch",), inputs={"x": X}),
    ):
        with pytest.raises(dlc.SpecError, match=REFUSED):
            way()
    with pytest.raises(CheckFailed, match="M needs T >= 1, and T = 0"):
        run(model.program, {}, {"x": X})


@pytest.mark.parametrize("command", ["summary", "verify", "run --backend torch --random"])
def test_so_does_the_command_line(tmp_path: Path, command: str) -> None:
    (tmp_path / "m.dl").write_text(UNSTATED)
    name, *options = command.split()
    line = [sys.executable, "-m", "dlc", name, str(tmp_path / "m.dl"), *options, "--dims", "B=2,T=0"]
    told = subprocess.run(line, capture_output=True, text=True)
    assert told.returncode == 1
    assert re.search(REFUSED, told.stderr + told.stdout)


SIZES = "model M()(x: [N, 2], t: i64[N], G: dim, H: dim) -> _\n    where 0 <= H\n{\n    return segment_sum(x, t, G), zeros([H])\n}\n"


def test_files_say_it() -> None:
    """What ONNX's manifest asks, and what TVM's library checks in any language."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tvm")
    model = dlc.loads(SIZES)["M"]
    facts = model.emit("onnx").meta["facts"]
    assert facts == [["0", "<=", "H"], ["N", ">=", "1"], ["G", ">=", "1"]]
    given = {"x": np.ones((1, 2), np.float32), "t": np.zeros(1, np.int64)}
    for name in ("onnx", "tvm"):
        loaded = backends.find(name).load(model.emit(name), {})
        assert loaded(**given, G=1, H=0)["output_1"].shape == (0,)
        with pytest.raises((CheckFailed, dlc.SpecError), match="G >= 1"):
            loaded(**given, G=0, H=0)


def test_tvms_library_checks_sizes_that_are_inputs() -> None:
    import tvm

    loaded = backends.find("tvm").load(dlc.loads(SIZES)["M"].emit("tvm"), {})
    tensors = [tvm.runtime.tensor(each) for each in (np.ones((1, 2), np.float32), np.zeros(1, np.int64))]
    for wrong in ((-1, 0), (0, 0), (1, -1)):
        with pytest.raises(ValueError, match="must hold"):
            loaded.native.run(*tensors, sizes=wrong)
