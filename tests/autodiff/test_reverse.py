"""Reverse mode on whole programs. The rules of the ops are tested in tests/ops."""

from __future__ import annotations

import re
import textwrap
import time
from typing import Any

import numpy as np
import pytest

from dlc import ops
from dlc.autodiff import NotDifferentiable, gradient, reverse
from dlc.ir.builder import Builder
from dlc.ir.nodes import Function, Op, Program, Value, walk
from dlc.ir.text import parse_program
from dlc.ir.verify import verify
from dlc.ops.definition import op
from dlc.runtime.interpret import run
from dlc.types.tensor import TensorType

NET = """
entry Net

parameter fc.weight: [4, 4] = zeros_44 of dense
parameter spare: [3] = zeros_3
frozen parameter scale: [4] = zeros_4
buffer seen: [] = zeros_0

init zeros_44() -> (v: %v) {
    %v: [4, 4] = full() {shape=[4, 4], value=0.0, dtype="float"}
}

init zeros_4() -> (v: %v) {
    %v: [4] = full() {shape=[4], value=0.0, dtype="float"}
}

init zeros_3() -> (v: %v) {
    %v: [3] = full() {shape=[3], value=0.0, dtype="float"}
}

init zeros_0() -> (v: %v) {
    %v: [] = full() {shape=[], value=0.0, dtype="float"}
}

fn square_1(%x: [N, 4]) -> (y: %y)
    library
{
    %y: [N, 4] = mul(%x, %x)
}

module dense(%x: [N, 4]) -> (y: %y)
    param weight: [4, 4] = zeros_44
{
    %w: [4, 4] = param() {path="weight"}
    %y: [N, 4] = matmul(%x, %w)
}

model Net(%x: [B, T, 4], %unused: [B, 2]) -> (loss: %loss, best: %best)
    training
    param spare: [3] = zeros_3
    frozen param scale: [4] = zeros_4
    buffer seen: [] = zeros_0
    child fc: dense
{
    %flat: [B*T, 4] = reshape(%x) {shape=[B*T, 4]}
    %h: [B*T, 4] = loop(%flat) {count=3, start=0, step=1} do (%c: [B*T, 4]) {
        %d: [B*T, 4] = call(%c) @ fc -> dense [N=B*T]
        %e: [B*T, 4] = tanh(%d)
        yield %e
    }
    %s: [4] = param() {path="scale"}
    %scaled: [B*T, 4] = mul(%h, %s)
    %w: [4, 4] = param() {path="fc.weight"}
    %out: [B*T, 4] = matmul(%scaled, %w)
    %best: i64[B*T] = argmax(%out) {axis=1, keepdims=false}
    %held: [B*T, 4] = stop_gradient(%out)
    %squared: [B*T, 4] = square(%out) -> square_1 [N=B*T]
    %sum: [B*T, 4] = add(%squared, %held)
    %loss: [] = sum(%sum) {axis=[0, 1], keepdims=false}
    update(%loss) {path="seen"}
}
"""


def values(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    weights = {
        "fc.weight": rng.normal(size=(4, 4)),
        "spare": np.zeros(3),
        "scale": rng.normal(size=4),
        "seen": np.zeros(()),
    }
    return weights, {"x": rng.normal(size=(2, 3, 4)), "unused": np.zeros((2, 2))}


def numeric(x: np.ndarray, w: np.ndarray, scale: np.ndarray, held: np.ndarray) -> float:
    h = x.reshape(-1, 4)
    for _ in range(3):
        h = np.tanh(h @ w)
    return float((((h * scale) @ w) ** 2 + held).sum())


def test_shared_parameters_repeats_and_calls() -> None:
    program = verify(gradient(verify(parse_program(NET)), ["fc.weight", "x", "scale"]))
    weights, inputs = values(np.random.default_rng(0))
    updates: dict[str, Any] = {}
    found = run(program, weights, inputs, precision="f64", updates=updates)
    assert list(found) == ["loss", "best", "fc.weight.grad", "x.grad", "scale.grad"]
    assert updates["seen"] == found["loss"]
    args = [inputs["x"], weights["fc.weight"], weights["scale"], np.zeros(1)]
    for position, name in enumerate(("x", "fc.weight", "scale")):
        expected = np.zeros_like(args[position])
        for place in np.ndindex(expected.shape):
            moved = [[*args], [*args]]
            for sign, each in zip((1e-6, -1e-6), moved, strict=True):
                each[position] = each[position].copy()
                each[position][place] += sign
            expected[place] = (numeric(*moved[0]) - numeric(*moved[1])) / 2e-6
        np.testing.assert_allclose(found[f"{name}.grad"], expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_by_default_what_can_be_trained() -> None:
    program = gradient(parse_program(NET))
    assert [name for name, _ in program.main.outputs] == ["loss", "best", "fc.weight.grad", "spare.grad"]


def test_what_the_loss_does_not_depend_on_has_a_gradient_of_zeros() -> None:
    program = gradient(parse_program(NET), ["spare", "unused", "seen"])
    weights, inputs = values(np.random.default_rng(0))
    found = run(program, weights, inputs)
    for name, shape in (("spare", (3,)), ("unused", (2, 2)), ("seen", ())):
        np.testing.assert_array_equal(found[f"{name}.grad"], np.zeros(shape))
    types = program.main.types()
    assert str(types[dict(program.main.outputs)["unused.grad"]]) == "[B, 2]"


def test_unknown_names_and_losses_that_are_none() -> None:
    program = parse_program(NET)
    with pytest.raises(KeyError, match=r"fc\.bias"):
        gradient(program, ["fc.bias"])
    with pytest.raises(NotDifferentiable, match=r"float scalar, not of i64\[B\*T\]"):
        gradient(program, ["x"], of="best")


def test_an_op_without_a_rule_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    ops.known("add")  # loads the table
    monkeypatch.setattr(ops, "_defined", dict(ops._defined))
    monkeypatch.setattr(ops, "_added", set(ops._added))
    ops.define(op("mystery(x: [*S]) -> [*S]", "Unknown.", lambda x: x))
    text = "entry N\n\nmodel N(%x: []) -> (y: %y) {\n    %y: [] = mystery(%x)\n}\n"
    with pytest.raises(NotDifferentiable, match="`mystery` has no derivative"):
        gradient(parse_program(text), ["x"])


def test_a_gradient_has_a_gradient() -> None:
    text = "%e: [3] = sin(%x)\n    %y: [] = sum(%e) {axis=[0], keepdims=false}"
    first = gradient(parse_program(f"entry N\n\nmodel N(%x: [3]) -> (y: %y) {{\n    {text}\n}}\n"), ["x"])
    main = first.main
    b = Builder()
    grad = dict(main.outputs)["x.grad"]
    total = b.sum(Value(grad, main.types()[grad]), (0,))
    renamed = Op("sum", (grad,), (Value("total", total.type),), b.body[-1].attrs)
    twice = Function("N", "N", "model", main.inputs, (("total", "total"),), (*main.body, renamed))
    second = gradient(Program({"N": twice}, "N"), ["x"])
    x = np.array([0.3, 1.0, -2.0])
    np.testing.assert_allclose(run(second, {}, {"x": x}, precision="f64")["x.grad"], -np.sin(x))


def test_the_example_of_the_documentation() -> None:
    before, after = (
        parse_program("entry Net\n\n" + textwrap.dedent(part.partition(":\n\n")[2]))
        for part in re.findall(
            r"^(?:Before|After).*?^    }$", reverse.__doc__ or "", re.MULTILINE | re.DOTALL
        )
    )
    assert gradient(before, ["x"]) == after


def residual(blocks: int) -> Program:
    b = Builder()
    x = Value("x", TensorType.of("float", (2, 4)))
    h = x
    for _ in range(blocks):
        h = b.add(h, b.op("tanh", b.mul(h, 0.1)))
    loss = b.sum(h, (0, 1))
    main = Function("main", "Residual", "model", (x,), (("loss", loss.name),), tuple(b.body))
    return Program({"main": main}, "main")


def seconds(blocks: int) -> float:
    begin = time.process_time()
    program = residual(blocks)
    list(walk(program.main.body))
    program.main.types()
    derived = gradient(program, ["x"])
    run(derived, {}, {"x": np.ones((2, 4))})
    return time.process_time() - begin


def test_time_is_linear_in_depth() -> None:
    seconds(50)  # imports and caches
    short, long = (min(seconds(blocks) for _ in range(3)) for blocks in (250, 2000))
    assert long < 8 * short * 3
