"""The derivative of layers is layers: what it costs does not grow with their number, and it is that of the layers written out."""

from __future__ import annotations

from collections.abc import Iterable

import ml_dtypes
import numpy as np
import pytest
from autodiff.test_loops import arrays, ran
from passes.test_lowering_loops import squared

import dlc
from dlc.autodiff import gradient, pullback
from dlc.autodiff.step import narrowed
from dlc.ir.loops import LOOP, Loop
from dlc.ir.needed import only
from dlc.ir.nodes import Op, Program, walk
from dlc.ir.verify import verify
from dlc.passes.lower import unroll
from dlc.passes.recompute import Recompute
from dlc.runtime.interpret import run

BF16 = ml_dtypes.bfloat16
HEADER = """
module Layer(p: int = 2)(x: [B, T, d]) -> [B, T, d] {
    return x + (x |> layer_norm as ln |> linear(p * d) as up |> gelu |> linear(d) as down)
}
module Cell()(x: [B, T, d], h: [B, d]) -> [B, T, d] {
    w = linear(d)
    scan xt in x with c = h {
        c = tanh(w(c) + xt)
        yield y = c
    }
    return y
}
module Scaled()(x: [B, T, d], scale: [d]) -> [B, T, d] {
    param own: [d] = normal
    return tanh(x * scale + own)
}
module Counted()(x: [B, T, d]) -> [B, T, d] {
    buffer seen: [d] = constant(1.5)
    x = tanh((x |> linear(d)) * seen)
    update seen = seen * 0.5 + mean(x, [0, 1])
    return x
}
model S(d: int = 3, n: int = 4)(x: [B, T, d], h: [B, d]) -> loss: []
    where 1 <= T, n >= 0
"""
BODIES = {
    "layers": """
        for i in range(n) as h { x = x |> Layer() }
        return sum(x * x) + sum(h)""",
    "layers of two kinds, and what goes on beside": """
        skip = x
        for i in range(n) as h {
            x = x |> Layer() as a
            skip = skip * 0.5 + (x |> linear(d, bias=false) as b)
        }
        return sum(x * skip) + sum(h)""",
    "backwards": """
        for i in range(n, 0, -1) as "b{i}" { x = x |> Layer() }
        return sum(x * x) + sum(h)""",
    "a parameter of all layers, and one of each": """
        param scale: [d] = constant(0.7)
        for i in range(n) as h { x = x |> Scaled()(scale) }
        return sum(x * scale) + sum(h)""",
    "one layer, again and again": """
        layer = Layer()
        for i in range(n) { x = layer(x) }
        return sum(x * x) + sum(h)""",
    "the index is read": """
        for i in range(n) as h { x = (x |> Layer()) / (1.0 + i) }
        return sum(x * x) + sum(h)""",
    "scans in layers": """
        for i in range(n) as h { x = x + (x |> Cell()(h) as cell) }
        return sum(x * x)""",
    "layers in scans": """
        layers = []
        for i in range(n) as l {
            layer = Layer(1)
            layers = layers + [layer]
        }
        scan xt in x with c = h {
            y = c[:, none]
            for each in layers { y = each(y) }
            c = tanh(y[:, 0] + xt)
        }
        return sum(c * c)""",
    "layers handed out": """
        norms = []
        for i in range(n) as h {
            x = x |> Layer()
            norms = norms + [sum(x * x)]
        }
        return sum(stack(norms) * stack(norms)) * 1e-3 + sum(x) + sum(h)""",
    "twice through the same layers": """
        layers = []
        for i in range(n) as l {
            layer = Layer()
            layers = layers + [layer]
        }
        for layer in layers { x = layer(x) }
        for layer in layers { x = layer(x) }
        return sum(x * x) + sum(h)""",
    "buffers that change": """
        for i in range(n) as h { x = x |> Counted() }
        return sum(x * x) + sum(h)""",
    "integers beside": """
        count = 1
        for i in range(n) as h {
            x = x |> Layer()
            count = count + i
        }
        return sum(x) * count + sum(h)""",
}


def program(name: str, n: int = 4) -> tuple[Program, dict[str, np.ndarray]]:
    model = dlc.loads(f"{HEADER} {{{BODIES[name]}\n}}")["S"](n=n)
    return model.training_program, model.initial_weights(0)


def everything(whole: Program) -> list[str]:
    return [*(each.path for each in whole.parameters if each.trainable), "x", "h"]


def close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-9, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("name", BODIES)
def test_equal_to_layers_written_out(name: str) -> None:
    whole, weights = program(name)
    given = arrays(5)
    derived = verify(gradient(whole, everything(whole)))
    written_out = gradient(unroll(whole), everything(whole))
    close(run(derived, weights, given, precision="f64"), run(written_out, weights, given, precision="f64"))


@pytest.mark.parametrize("name", BODIES)
def test_of_the_derivative(name: str) -> None:
    """At second order: the derivative of a scalar of the first one."""
    whole, weights = program(name, 3)
    given, wrt = arrays(3), everything(whole)

    def second(whole: Program) -> Program:
        first = squared(gradient(whole, ["x"]), "x.grad")
        (loss, *_) = first.main.outputs
        alone = first.with_functions({**first.functions, first.entry: only(first.main, [loss[1]])})
        return verify(gradient(alone, wrt))

    close(
        run(second(whole), weights, given, precision="f64"),
        run(second(unroll(whole)), weights, given, precision="f64"),
    )


# What is no loop in the program, since its turns differ, is none in the derivative.
# Where layers are read twice, their gradients are added one by one.
OTHERS = ("layers in scans", "the index is read", "integers beside", "twice through the same layers")
TURNS = [each for each in BODIES if each not in OTHERS]


@pytest.mark.parametrize("name", TURNS)
def test_costs_the_same_at_any_depth(name: str) -> None:
    """But for the slices that the parameters' own gradients are."""
    few, many = (computing(pullback(program(name, n)[0])) for n in (6, 60))
    assert few == many


def test_what_turns_compute_alike_stands_before_them() -> None:
    """A mask is made once, and no turn keeps one."""
    text = """
    model S(n: int = 5)(x: [T, 4]) -> [] {
        for i in range(n) as h {
            seen = arange(T)[:, none] >= arange(4)[none, :]
            x = where(seen, x |> linear(4) as fc, x)
        }
        return sum(x)
    }"""
    derived = pullback(dlc.loads(text)["S"](n=5).training_program)
    turns = loops(derived.main.body)
    assert [op.op for op in walk(derived.main.body)].count("ge") == 1
    assert not any(op.op == "ge" for loop in turns for op in walk(loop.body))
    assert not any(each.out.type.dtype == "bool" for loop in turns for each in loop.stacked)


def computing(derived: Program) -> list[str]:
    return [op.op for op in walk(derived.main.body) if op.op not in ("slice", "reshape", "full")]


def loops(body: Iterable[Op]) -> list[Loop]:
    return [Loop.of(op) for op in walk(body) if op.op == LOOP]


def test_nothing_is_computed_for_frozen_layers() -> None:
    """Where only some layers are trained, these are written out, and the way back ends with the first of them."""
    whole, _ = program("layers", 6)
    last = [each.path for each in whole.parameters if each.path.startswith("h.5.")]
    derived = gradient(whole, last)
    assert not loops(derived.main.body)
    everywhere = gradient(unroll(whole), everything(whole))
    assert len(derived.main.body) < 0.6 * len(everywhere.main.body)


@pytest.mark.parametrize("name", BODIES)
def test_in_another_precision(name: str) -> None:
    """Parameters in f32, the network in bf16: reads and updates in loops are cast as well."""
    whole, weights = program(name)
    given = {key: value.astype(BF16) for key, value in arrays(5).items()}

    def found(whole: Program) -> dict[str, np.ndarray]:
        derived = verify(narrowed(gradient(whole, everything(whole)), "bf16"))
        assert {each.type.dtype for each in derived.parameters} == {"f32"}
        return {key: np.asarray(value, np.float64) for key, value in run(derived, weights, given).items()}

    expected = found(unroll(whole))
    for key, value in found(whole).items():
        error = np.linalg.norm(value - expected[key])
        assert error <= 0.02 * np.linalg.norm(expected[key]), key


@pytest.mark.parametrize("backend", ["onnx", pytest.param("tvm", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", BODIES)
def test_backends_compile_them(name: str, backend: str) -> None:
    whole, weights = program(name)
    given = arrays(5)
    derived = gradient(whole, everything(whole))
    expected = run(derived, weights, given, precision="f64")
    for key, value in ran(derived, weights, given, backend).items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-3, atol=1e-4, err_msg=key)


@pytest.mark.parametrize("name", BODIES)
def test_computed_again(name: str) -> None:
    """The same numbers, with nothing kept of a turn but what it was given."""
    whole, weights = program(name)
    given = arrays(5)
    again = Recompute().run(whole)
    derived = verify(gradient(again, everything(whole)))
    expected = run(gradient(whole, everything(whole)), weights, given, precision="f64")
    close(run(derived, weights, given, precision="f64"), expected)


def kept(derived: Program) -> list[int]:
    """How many values each loop keeps of its turns for the way back."""
    return [len(each.stacked) for each in loops(derived.main.body) if not each.shared and not each.backwards]


def test_what_is_kept() -> None:
    whole, _ = program("layers")
    plain, again = (kept(gradient(each, everything(whole))) for each in (whole, Recompute().run(whole)))
    assert again == [1]  # what a layer is given
    assert plain[0] > 5


def test_what_is_drawn_is_kept() -> None:
    text = """
        module Layer()(x: [B, d]) -> [B, d] {
            return exp(x |> linear(d)) * normal([B, d])
        }
        model S(d: int = 3)(x: [B, d]) -> loss: [] {
            for i in range(4) as h { x = x + (x |> Layer()) }
            return sum(x * x)
        }"""
    model = dlc.loads(text)["S"]
    whole, weights = model.training_program, model.initial_weights(0)
    given = {"x": arrays(1)["h"]}

    def found(whole: Program) -> dict[str, np.ndarray]:
        return run(gradient(whole), weights, given, rng=np.random.default_rng(3), precision="f64")

    assert kept(gradient(Recompute().run(whole))) == [2]
    close(found(Recompute().run(whole)), found(whole))


def test_layers_that_change_buffers_are_kept() -> None:
    whole, _ = program("buffers that change")
    assert Recompute().run(whole) == whole
