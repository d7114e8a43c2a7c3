"""Initial values that are computed of parameters above them, and with numbers of the body."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import dlc
from dlc.ir.read import parse_program
from dlc.ir.schema import from_json, to_json
from dlc.ir.text import print_program

TEXT = """
module Lin(out: int)(x: [B, i]) -> [B, out] {
    bound = 1 / sqrt(i)
    param weight: [out, i] = uniform(-bound, bound)
    param w2: [out, i] = kaiming_uniform(a=sqrt(5)) / 2
    param g: [out, 1] = norm(weight, axis=1, keepdims=true) as deep.g
    buffer b0: [out] = sum(w2, axis=1) / out
    param half: [out, i] = weight / 2 + g
    return x @ (weight * g + w2 + half).T + b0
}

model M(d: int = 4)(x: [B, d]) -> [B, d] {
    init "lin.1.weight" = ones
    for i in range(2) {
        x = x |> Lin(d) as lin
    }
    param a: [d] = normal
    param b: [d] = a * 2
    return x * a + b
}
"""


@pytest.fixture(scope="module")
def model() -> dlc.Model:
    spec = dlc.loads(TEXT, name="begin.dl")
    assert not spec.check()
    found: dlc.Model = spec["M"]
    return found


def _consistent(values: dict[str, Any]) -> None:
    for i in range(2):
        at = f"lin.{i}."
        weight = np.asarray(values[at + "weight"])
        norm = np.linalg.norm(weight, axis=1, keepdims=True)
        np.testing.assert_allclose(values[at + "deep.g"], norm, rtol=1e-6)
        np.testing.assert_allclose(values[at + "half"], weight / 2 + norm, rtol=1e-6)
        np.testing.assert_allclose(values[at + "b0"], np.asarray(values[at + "w2"]).sum(1) / 4, atol=1e-6)
        assert 0 < np.abs(values[at + "w2"]).max() <= 0.25
    assert np.abs(values["lin.0.weight"]).max() <= 0.5
    assert (np.asarray(values["lin.1.weight"]) == 1).all()
    np.testing.assert_array_equal(values["b"], 2 * np.asarray(values["a"]))


def test_dlc_computes_them(model: dlc.Model) -> None:
    _consistent(model.initial_weights(seed=3))


def _loaded(model: dlc.Model, backend: str, folder: Path) -> ModuleType:
    model.emit(backend).write(folder)
    spec = importlib.util.spec_from_file_location(f"begin_{backend}", folder / "m.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_emitted_torch_does(model: dlc.Model, tmp_path: Path) -> None:
    made = _loaded(model, "torch", tmp_path).M()
    _consistent({name: each.numpy() for name, each in made.state_dict().items()})
    text = (tmp_path / "m.py").read_text()
    assert (
        "self.w2 = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(out, i), a=math.sqrt(5)) * 0.5)" in text
    )


def test_emitted_jax_does(model: dlc.Model, tmp_path: Path) -> None:
    import jax

    module = _loaded(model, "jax", tmp_path)
    params, state = module.init(jax.random.key(0))
    _consistent({**module.to_flat(params), **module.to_flat(state)})
    assert "0.5 / math.sqrt(i) * jax.random.uniform" in " ".join((tmp_path / "m.py").read_text().split())


def test_the_ir_says_of_what(model: dlc.Model) -> None:
    program = model.program
    for again in (parse_program(print_program(program)), from_json(to_json(program))):
        sources = {each.path: each.sources for each in again.parameters}
        assert sources["lin.1.half"] == ("lin.1.weight", "lin.1.deep.g") and sources["a"] == ()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "param a: [4] = sum(x, axis=0)",
            "an initial value can't depend on `x`: it is there before any input",
        ),
        (
            "param a: [4] = ones\n    a = a * 2\n    param b: [4] = a",
            "an initial value can't depend on `a`: it is there before any input",
        ),
    ],
)
def test_other_tensors_can_not_be_read(body: str, message: str) -> None:
    (found,) = dlc.loads(f"model M()(x: [B, 4]) -> _ {{\n    {body}\n    return x + a\n}}\n").check()
    assert (found.code, found.message) == ("E0504", message)


def test_copies_can_not() -> None:
    text = """
module Twice(d: int)(x: [B, d]) -> [B, d] {
    param a: [d] = normal
    param b: [d] = a * 2
    return x * a + b
}
model M()(x: [3, B, 4]) -> _ { return x |> copies(Twice(4), 3) as towers }
"""
    (found,) = dlc.loads(text).check()
    assert "`b` begins with a value computed of another parameter" in found.message
