"""What loops mean, told by NumPy, and that backends run those with a number of turns and refuse the others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from ir.loop_programs import FORMS, random_loops
from ir.programs import random_inputs, random_weights

from dlc import backend as backends
from dlc.backend import Artifact, Backend, EmitOptions, Runnable
from dlc.diagnostics import SpecError
from dlc.ir.loops import LOOP
from dlc.ir.nodes import Op, Program
from dlc.ir.text import parse_program, print_program
from dlc.runtime.compile import lower
from dlc.runtime.interpret import run
from dlc.types.dims import Dim

T = Dim.symbol("T")
RNG = np.random.default_rng(0)


def interpreted(
    program: Program, weights: dict[str, np.ndarray], **inputs: np.ndarray
) -> dict[str, np.ndarray]:
    return run(program, weights, inputs, precision="f64")


def recurrence(x: np.ndarray, h: np.ndarray, bias: np.ndarray, decay: np.ndarray) -> list[np.ndarray]:
    found = []
    for t in range(x.shape[1]):
        h = h * decay + x[:, t] + bias
        found.append(h)
    return found


@pytest.mark.parametrize("length", [0, 1, 5])
def test_a_recurrence_over_a_size(length: int) -> None:
    x, h, bias, decay = (RNG.normal(size=shape) for shape in ((2, length, 4), (2, 4), (4,), (4,)))
    found = interpreted(FORMS["scan"], {"decay": decay}, x=x, h0=h, bias=bias)
    states = recurrence(x, h, bias, decay)
    np.testing.assert_allclose(found["last"], states[-1] if length else h)
    assert found["all"].shape == (2, length, 4)
    for t, state in enumerate(states):
        np.testing.assert_allclose(found["all"][:, t], state)


def test_a_counter_starts_at_a_size_and_goes_down() -> None:
    found = interpreted(FORMS["counter"], {}, x=np.zeros(3))
    assert found["total"] == 3 + 1 - 1 - 3
    assert found["squares"].tolist() == [9, 1, 1, 9]
    assert found["squares"].dtype == np.int64


def test_going_backwards_changes_the_order_of_turns_only() -> None:
    weights = {f"h.{i}.weight": RNG.normal(size=4) for i in (5, 7, 9)}
    g, seen = RNG.normal(size=(2, 4)), RNG.normal(size=(3, 2, 4))
    found = interpreted(FORMS["backwards"], weights, g=g, seen=seen)
    for position in (2, 1, 0):
        np.testing.assert_allclose(found["w"][:, position], (g * seen[position]).sum(0))
        g = g * weights[f"h.{5 + 2 * position}.weight"]
    np.testing.assert_allclose(found["g"], g)


def test_a_recurrence_in_a_layer_uses_the_layers_parameters() -> None:
    weights = {f"rnn.{i}.weight": RNG.normal(size=4) for i in (1, 2)}
    x, h0 = RNG.normal(size=(3, 2, 4)), RNG.normal(size=(2, 4))
    found = interpreted(FORMS["layers"], weights, x=x, h0=h0)["y"]
    for weight in weights.values():
        h, states = h0, []
        for row in x:
            h = np.tanh((h + row) * weight)
            states.append(h)
        x = np.stack(states)
    np.testing.assert_allclose(found, x)


def test_no_turns_leave_what_is_carried() -> None:
    x = RNG.normal(size=(2, 4))
    found = interpreted(FORMS["none"], {}, x=x, s=np.zeros((2, 0), np.int64))
    assert (found["all"].shape, found["ids"].shape, found["ids"].dtype) == ((2, 0, 4), (2, 0), np.int64)
    np.testing.assert_array_equal(found["y"], x)


@pytest.mark.parametrize("seed", range(20))
def test_a_size_and_its_number_mean_the_same(seed: int) -> None:
    """3 is the value of T among the tests' sizes."""
    made = random_loops(seed, T)
    known = parse_program(print_program(made).replace("count=T", "count=3").replace("T", "3"))
    weights, inputs = random_weights(made), random_inputs(made)
    expected, found = run(made, weights, inputs), run(known, weights, inputs)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


LOOPED = """
entry Net

model Net(%x: [B, 3, 4], %h0: [B, 4]) -> (last: %last, all: %all, n: %n)
{
    %last: [B, 4], %all: [B, 4, 3], %n: i64[3] = loop(%h0, %x)
        {count=3, start=2, step=1, sequences=[1], stacked=[2, 0], index=true, backwards=true, shared=true}
        do (%i: i64[], %h: [B, 4], %xt: [B, 4]) {
        %sum: [B, 4] = add(%h, %xt)
        %next: [B, 4] = tanh(%sum)
        %square: i64[] = mul(%i, %i)
        yield %next, %next, %square
    }
}
"""


@pytest.mark.parametrize("name", ["torch", "jax", "onnx", "tvm"])
def test_backends_run_loops_of_a_number_of_turns(name: str) -> None:
    pytest.importorskip(name)
    backend, made = backends.find(name), parse_program(LOOPED)
    x, h0 = RNG.normal(size=(2, 3, 4)).astype("f4"), RNG.normal(size=(2, 4)).astype("f4")
    expected = run(made, {}, {"x": x, "h0": h0})
    runnable = backend.load(backend.emit(lower(made, backend, 1), EmitOptions()), {})
    found = runnable(x=x, h0=h0)
    assert found["n"].tolist() == [4, 9, 16]
    for output in ("last", "all"):
        np.testing.assert_allclose(found[output], expected[output], rtol=1e-5, atol=1e-6)


class Straight(Backend):
    """A backend without loops."""

    name = "straight"

    def is_native(self, op: Op) -> bool:
        return op.op != LOOP

    def emit(self, program: Program, options: EmitOptions) -> Artifact:
        raise NotImplementedError

    def load(self, artifact: Artifact, weights: Mapping[str, np.ndarray], device: str = "") -> Runnable:
        raise NotImplementedError


@pytest.mark.parametrize("level", [0, 2])
def test_backends_without_loops_refuse_those_over_a_size(level: int) -> None:
    with pytest.raises(SpecError) as caught:
        lower(FORMS["layers"], Straight(), level)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "E0802"
    assert "the backend `straight` can't do `loop`: its count, T, is known only" in diagnostic.message
