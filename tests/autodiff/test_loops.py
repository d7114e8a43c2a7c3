"""The derivative of a loop is a loop: equal to that of the turns written out, at any length, on every backend that compiles it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ir.loop_programs import random_loops
from ir.programs import random_weights
from passes.test_lowering_loops import squared

import dlc
from dlc import backend as backends
from dlc.autodiff import gradient
from dlc.backend import EmitOptions
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Program, walk
from dlc.ir.verify import verify
from dlc.passes.sizes import at_sizes, with_sizes
from dlc.runtime.compile import emitted, lower
from dlc.runtime.interpret import run
from dlc.types.dims import Dim

HEADER = "model S(d: int = 3)(x: [B, T, d], h: [B, d]) -> loss: []\n    where 0 <= T\n"
BODIES = {
    "carried": """
        param w: [d, d] = normal(0.5)
        scan xt in x with c = h {
            c = tanh(xt + c @ w)
        }
        return sum(c * c)""",
    "stacked, with layers and what is captured": """
        scan xt in x with c = h {
            c = (xt |> linear(d) as a) * sigmoid(c |> linear(d) as b) + h
            yield ys = exp(c) * xt
        }
        return sum(ys * ys) + sum(c)""",
    "backwards, with a counter and two states": """
        scan t, xt in enumerate(x) backwards with c = h, n = h {
            n = n * 0.5 + c
            c = tanh(xt * cast(t, float) + c) * n
            yield ys = c + max(n, -1, keepdims=true)
        }
        return sum(ys * ys) + sum(c) + sum(n)""",
    "states that change places": """
        scan xt in x with c = h, n = h * 2.0 {
            c, n = n * xt, c + xt
        }
        return sum(c * n)""",
    "one value, carried and handed out twice": """
        scan xt in x with c = h {
            c = c * xt
            yield ys = c
            yield zs = c
        }
        return sum(ys * zs) + sum(c)""",
    "a scan in a scan": """
        scan xt in x with c = h {
            scan i in range(3) with e = c {
                e = tanh(e * 0.7 + xt) + c * 0.1
                yield zs = e * h
            }
            c = e + sum(zs, 0)
            yield ys = c
        }
        return sum(ys * ys)""",
    "integers carried beside": """
        scan xt in x with c = h, n = 0 {
            n = n + 1
            c = c * xt / cast(n, float)
            yield ys = where(xt > 0.0, c, 0.0)
        }
        return sum(ys) + sum(c)""",
    "a state that does not come in": """
        scan xt in x with c = zeros([B, d]) {
            c = c * 0.5 + xt
        }
        return sum(c * c) + sum(h)""",
    "stopped": """
        scan xt in x with c = h {
            c = stop_gradient(c) * xt + c
        }
        return sum(c * c)""",
    "lstm": """
        y, a, c = lstm(4, layers=2, bidirectional=true)(x) as cell
        return sum(y * y) + sum(c) + sum(h)""",
    "gru layers in a loop": """
        for i in range(2) as l {
            x, e = gru(d)(x) as cell
        }
        return sum(x * x) + sum(h)""",
}


def program(name: str) -> tuple[Program, dict[str, np.ndarray]]:
    model = dlc.loads(f"{HEADER} {{{BODIES[name]}\n}}")["S"]
    return model.program, model.initial_weights(0)


def arrays(length: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(length)
    return {
        "x": rng.standard_normal((2, length, 3)).astype(np.float32),
        "h": rng.standard_normal((2, 3)).astype(np.float32),
    }


def everything(program: Program) -> list[str]:
    return [*(each.path for each in program.parameters), *(each.name for each in program.main.inputs)]


@pytest.mark.parametrize("name", BODIES)
def test_loops_stay_loops(name: str) -> None:
    """Also of length 1 and 0."""
    whole, weights = program(name)
    derived = verify(gradient(whole, everything(whole)))
    loops = [Loop.of(op) for op in walk(derived.main.body) if op.op == LOOP]
    assert any(each.count == loops[0].count and each.backwards != loops[0].backwards for each in loops[1:])
    for length in (4, 1, 0):
        given = arrays(length)
        found = run(derived, weights, given, precision="f64")
        flat = gradient(at_sizes(whole, {"B": 2, "T": length}), everything(whole))
        assert not any(op.op == LOOP for op in walk(flat.main.body))
        expected = run(flat, weights, given, precision="f64")
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-12, atol=1e-12, err_msg=f"{key}, {length}")


def ran(whole: Program, weights: dict[str, Any], given: dict[str, Any], backend: str) -> dict[str, Any]:
    found = backends.find(backend)
    artifact = emitted(lower(whole, found), found, EmitOptions(name="derived", training=True))
    return found.load(artifact, weights)(**given)


@pytest.mark.parametrize("backend", ["onnx", pytest.param("tvm", marks=pytest.mark.slow)])
@pytest.mark.parametrize("sized", [True, False], ids=["known sizes", "any sizes"])
@pytest.mark.parametrize("name", BODIES)
def test_backends_compile_them(name: str, sized: bool, backend: str) -> None:
    whole, weights = program(name)
    given = arrays(4)
    derived = gradient(with_sizes(whole, {"B": 2, "T": 4}) if sized else whole, everything(whole))
    expected = run(derived, weights, given, precision="f64")
    found = ran(derived, weights, given, backend)
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-4, err_msg=key)


def floats(whole: Program) -> list[str]:
    pairs = zip(whole.main.outputs, whole.main.output_types, strict=True)
    return [name for (name, _), type in pairs if type.is_float]


LENGTH = Dim.symbol("T")


@pytest.mark.parametrize("seed", [each for each in range(32) if floats(random_loops(each, LENGTH))])
def test_random_loops(seed: int) -> None:
    """Nested, over numbers and sizes, with parameters of their own or shared."""
    before = random_loops(seed, LENGTH)
    whole = squared(before, floats(before)[0])
    names = [*(each.name for each in whole.main.inputs if each.type.is_float)]
    names += [each.path for each in whole.parameters]
    derived = verify(gradient(whole, names))
    rng, weights = np.random.default_rng(seed), random_weights(whole)
    for length in (3, 0):
        sizes = {name: length if name == "T" else 2 for name in whole.main.dims}
        inputs = {
            each.name: rng.standard_normal([axis.evaluate(sizes) for axis in each.type.axes])
            for each in whole.main.inputs
        }
        found = run(derived, weights, inputs, precision="f64")
        expected = run(gradient(at_sizes(whole, sizes), names), weights, inputs, precision="f64")
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-9, atol=1e-9, err_msg=key)
