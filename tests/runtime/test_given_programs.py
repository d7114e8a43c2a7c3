"""A program that a tool made goes back into a model."""

from __future__ import annotations

import json

import numpy as np
import pytest

import dlc
from dlc.diagnostics import SpecError
from dlc.ir.nodes import Program
from dlc.ir.read import parse_program
from dlc.ir.schema import from_json
from dlc.ir.text import print_program
from dlc.ir.verify import IRError
from dlc.records import replace

SPEC = "model Net(d: int = 4)(x: [B, d]) -> y: [B, 2] {\n    return tanh(x |> linear(2) as fc)\n}\n"


def replaced(program: Program, name: str, by: str) -> Program:
    """The program with one op in place of another, by way of JSON."""
    from dlc.ir.schema import to_json

    return from_json(json.loads(json.dumps(to_json(program)).replace(f'"{name}"', f'"{by}"')))


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_it_is_compared_and_compiled(backend: str) -> None:
    model = dlc.loads(SPEC)["Net"]
    changed = model.with_program(replaced(model.program, "tanh", "sin"))
    assert dlc.verify(changed, backends=(backend,)).agree
    weights = model.initial_weights(0)
    x = np.full((1, 4), 3.0, np.float32)
    plain, other = (each.compile(backend, weights=weights)(x=x)["y"] for each in (model, changed))
    inner = x @ weights["fc.weight"].T + weights["fc.bias"]
    np.testing.assert_allclose(plain, np.tanh(inner), rtol=1e-5)
    np.testing.assert_allclose(other, np.sin(inner), rtol=1e-5)


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
def test_a_function_of_the_library_with_another_body(backend: str) -> None:
    """What a backend says by the function's name is what the library means by it, and not this."""
    model = dlc.loads("model Net()(x: [B, 4]) -> y: [B, 4] { return x |> relu |> softmax }")["Net"]
    text = print_program(model.program)
    changed = model.with_program(parse_program(text.replace("value=0.0", "value=0.5", 1)))
    assert {name for name, each in changed.program.functions.items() if each.library} == {"softmax"}
    same = model.with_program(parse_program(text)).program
    assert {name for name, each in same.functions.items() if each.library} == {"relu", "softmax"}
    x = np.array([[1.0, 0.3, -1.0, 0.5]], np.float32)
    kept = np.exp(np.where(x <= 0.5, 0.0, x))
    np.testing.assert_allclose(changed.compile(backend)(x=x)["y"], kept / kept.sum(), rtol=1e-5)


def test_what_does_not_go_is_told() -> None:
    model = dlc.loads(SPEC)["Net"]
    changed = model.with_program(model.program)
    for wrong in (lambda: changed(d=5), lambda: changed.with_inputs("z"), lambda: changed.training_program):
        with pytest.raises(SpecError, match="with_program"):
            wrong()
    program, main = model.program, model.program.main
    first, *others = program.parameters
    wrong_type = replace(first, type=replace(first.type, dtype="floatx"))
    for bad, said in (
        (replace(program, entry="nowhere"), "the entry function does not exist"),
        (replace(program, parameters=(wrong_type, *others)), f"`{first.path}` is listed as floatx"),
        (
            program.with_functions({**program.functions, main.name: replace(main, outputs=())}),
            "has no outputs",
        ),
        (
            program.with_functions({**program.functions, main.name: replace(main, kind="fn")}),
            "of the kind fn",
        ),
    ):
        with pytest.raises(IRError, match=said):
            model.with_program(bad)
