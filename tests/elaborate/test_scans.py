"""`scan`: what a turn reads, carries and hands out, and what it refuses. Values are compared with loops written in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dlc
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import walk
from dlc.ir.verify import verify
from dlc.runtime.interpret import run

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 5, 3)).astype(np.float32)


def results(text: str, training: bool = False, **inputs: Any) -> list[np.ndarray]:
    model = dlc.loads(text)["M"]
    program = model.training_program if training else model.program
    verify(program)
    return list(run(program, model.initial_weights(seed=0), inputs).values())


def result(text: str, **inputs: Any) -> np.ndarray:
    (found,) = results(text, **inputs)
    return found


def model(body: str, inputs: str = "x: [B, T, d]", outputs: str = "_") -> str:
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
    return f"model M()({inputs}) -> {outputs} {{\n{lines}\n}}\n"


SUM = """
scan xt in x{along} with h = zeros([{sizes}]) {{
    h = h + xt
    yield hs = h
}}
return hs
"""


@pytest.mark.parametrize(
    ("along", "sizes", "axis"),
    [
        ("", "B, d", 1),
        (" along T", "B, d", 1),
        (" along B", "T, d", 0),
        (" along d", "B, T", 2),
        (" along axis 0", "T, d", 0),
        (" along axis -1", "B, T", 2),
    ],
)
def test_the_axis_that_is_read(along: str, sizes: str, axis: int) -> None:
    found = result(model(SUM.format(along=along, sizes=sizes)), x=X)
    np.testing.assert_allclose(found, np.cumsum(X, axis), rtol=1e-6)


@pytest.mark.parametrize("T", [3, 5])
def test_a_name_means_the_axis_that_is_written_so_not_one_of_its_size(T: int) -> None:
    """In a module that is called where T and d are one number, `along d` is still the last axis."""
    text = (
        "module Inner()(x: [B, T, d]) -> [B, T, d] {\n"
        "    scan xt in x along d with h = zeros([B, T]) {\n        h = h + xt\n        yield hs = h\n    }\n    return hs\n}\n"
        f"model M()(x: [B, {T}, 3]) -> [B, {T}, 3] {{\n    return Inner()(x)\n}}\n"
    )
    np.testing.assert_allclose(result(text, x=X[:, :T]), np.cumsum(X[:, :T], 2), rtol=1e-6)


def test_the_type_of_a_binding_names_axes_too() -> None:
    body = "y: [B, S, d] = x * 2.0\n" + SUM.strip().replace("x{along}", "y along S").format(sizes="B, d")
    np.testing.assert_allclose(result(model(body), x=X), np.cumsum(2 * X, 1), rtol=1e-6)


def test_backwards_changes_the_order_and_not_the_places() -> None:
    found = result(model(SUM.format(along=" backwards", sizes="B, d")), x=X)
    np.testing.assert_allclose(found, np.cumsum(X[:, ::-1], 1)[:, ::-1], rtol=1e-6)


def test_sequences_in_step_with_a_counter() -> None:
    body = """
scan (t, xt), kept in enumerate(x), keep with h = zeros([B, d]) {
    h = where(kept[:, none], h + xt * cast(t, float), h)
}
return h
"""
    keep = RNG.random((2, 5)) < 0.5
    expected = (X * np.arange(5)[:, None] * keep[..., None]).sum(1)
    found = result(model(body, "x: [B, T, d], keep: bool[B, T]"), x=X, keep=keep)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("range", "numbers"),
    [
        ("range(4)", range(4)),
        ("range(1, 9, 3)", range(1, 9, 3)),
        ("range(6, 0, -2)", range(6, 0, -2)),
        ("range(T)", range(5)),
        ("range(1, T)", range(1, 5)),
        ("range(0)", range(0)),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_a_counter_alone(range: str, numbers: Any, backwards: bool) -> None:
    body = f"""
scan i in {range}{" backwards" if backwards else ""} with total = 0 {{
    total = 2 * total + i
    yield seen = total
}}
return total, seen
"""
    total, seen = results(model(body, outputs="(total: i64[], seen: i64[n])"), x=X)
    expected = []
    for i in reversed(numbers) if backwards else numbers:
        expected.append(2 * (expected[-1] if expected else 0) + i)
    assert total == (expected[-1] if expected else 0)
    assert seen.tolist() == (expected[::-1] if backwards else expected)


def test_nothing_but_yields() -> None:
    np.testing.assert_array_equal(
        result(model("scan xt in x {\n    yield y = xt * 2.0\n}\nreturn y"), x=X), X * 2
    )


def test_lists_tuples_and_groups_are_carried_as_they_are() -> None:
    text = """
type Pair[B, d] = (first: [B, d], second: [B, d])

fn step(x: [B, d], p: Pair[B, d]) -> Pair[B, d] {
    return Pair(first=x + p.second, second=p.first)
}

model M()(x: [B, T, d]) -> _ {
    zero = zeros([B, d])
    scan xt in x with p = Pair(first=zero, second=zero), hs = [zero, zero], (a, b) = (zero, zero) {
        p = step(xt, p)
        hs = [xt + hs[1], hs[0]]
        a, b = xt + b, a
    }
    return stack([p.first, hs[0], a], axis=0)
}
"""
    first = second = np.zeros((2, 3), np.float32)
    for t in range(5):
        first, second = X[:, t] + second, first
    np.testing.assert_allclose(result(text, x=X), np.stack([first] * 3), rtol=1e-6)


def test_a_layer_is_made_once_and_shared_by_every_turn() -> None:
    body = """
cell = linear(3) as cell
scan xt in x with h = zeros([B, 3]) {
    h = tanh(cell(xt) + (h |> linear(3, bias=false) as again))
    yield hs = h
}
return hs
"""
    text = model(body, "x: [B, T, 3]")
    found = dlc.loads(text)["M"]
    assert [each.path for each in found.parameters] == ["cell.weight", "cell.bias", "again.weight"]
    weights = found.initial_weights(seed=0)
    h, expected = np.zeros((2, 3), np.float32), []
    for t in range(5):
        h = np.tanh(X[:, t] @ weights["cell.weight"].T + weights["cell.bias"] + h @ weights["again.weight"].T)
        expected.append(h)
    np.testing.assert_allclose(
        run(found.program, weights, {"x": X})["output"], np.stack(expected, 1), atol=1e-6
    )


def test_parameters_of_a_turn_belong_to_the_module() -> None:
    body = "scan xt in x with h = zeros([B, 3]) {\n    param rate: [3] = ones\n    h = h * rate + xt\n}\nreturn h"
    found = dlc.loads(model(body, "x: [B, T, 3]"))["M"]
    assert [each.path for each in found.parameters] == ["rate"]
    np.testing.assert_allclose(
        run(found.program, {"rate": np.full(3, 0.5, np.float32)}, {"x": X})["output"],
        sum(0.5 ** (4 - t) * X[:, t] for t in range(5)),
        rtol=1e-5,
    )


def test_scans_nest() -> None:
    body = """
scan row in x with total = zeros([B]) {
    scan cell in row along axis 1 with inner = zeros([B]) {
        inner = inner * 0.5 + cell
    }
    total = total + inner
    yield each = inner
}
return total, each
"""
    total, each = results(model(body, outputs="(total: [B], each: [B, T])"), x=X)
    inner = sum(0.5 ** (2 - k) * X[:, :, k] for k in range(3))
    np.testing.assert_allclose(each, inner, rtol=1e-5)
    np.testing.assert_allclose(total, inner.sum(1), rtol=1e-5)


def test_layers_repeat_around_and_inside() -> None:
    body = """
for i in range(3) as stack {
    scan xt in x with h = zeros([B, 3]) {
        for k in range(2) as inner { xt = xt |> linear(3) as "fc{i}_{k}" }
        h = tanh(xt + h)
        yield x_new = h
    }
    x = x_new
}
return x
"""
    found = dlc.loads(model(body, "x: [B, T, 3]"))["M"]
    verify(found.program)
    names = [each.path.rpartition(".")[0] for each in found.parameters if each.path.endswith("bias")]
    assert len(set(names)) == 6, names
    weights = found.initial_weights(seed=0)
    x = X
    for i in range(3):
        h, out = np.zeros((2, 3), np.float32), []
        for t in range(5):
            v = x[:, t]
            for name in names[2 * i : 2 * i + 2]:
                v = v @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
            h = np.tanh(v + h)
            out.append(h)
        x = np.stack(out, 1)
    np.testing.assert_allclose(run(found.program, weights, {"x": X})["output"], x, atol=1e-6)


def test_steps_in_the_turns_of_a_loop_read_its_index() -> None:
    """Each layer's steps take its own parameters, as where they stand in a module."""
    steps = "scan xt in x with h = zeros([B, 3]) {\n    h = tanh(h + (xt |> linear(3) as fc))\n    yield hs = h\n}\n"
    here = dlc.loads(model(f"for i in range(3) as h {{\n{steps}x = x + hs\n}}\nreturn x", "x: [B, T, 3]"))[
        "M"
    ]
    module = f"module Steps()(x: [B, T, 3]) -> [B, T, 3] {{\n{steps}return x + hs\n}}\n"
    there = dlc.loads(module + model("for i in range(3) as h { x = Steps()(x) }\nreturn x", "x: [B, T, 3]"))[
        "M"
    ]
    verify(here.program)
    loop = next(op for op in here.program.main.body if op.op == LOOP)
    assert loop.region is not None
    assert {op.path for op in walk(loop.region.body) if op.path} == {"h.{i}.fc"}
    weights = here.initial_weights(seed=0)
    assert weights.keys() == there.initial_weights(seed=0).keys()
    found, expected = (run(each.program, weights, {"x": X})["output"] for each in (here, there))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_length_zero_gives_the_start_and_empty_yields() -> None:
    body = SUM.format(along="", sizes="B, d").replace("return hs", "return h, hs")
    h, hs = results(model(body, outputs="(h: [B, d], hs: [B, T, d])\n    where 0 <= T"), x=X[:, :0])
    assert h.shape == (2, 3) and not h.any()
    assert hs.shape == (2, 0, 3)


def test_one_loop_whatever_the_length() -> None:
    program = dlc.loads(model(SUM.format(along="", sizes="B, d"), "x: [B, 700, d]"))["M"].program
    (loop,) = (Loop.of(op) for op in program.main.body if op.op == LOOP)
    assert loop.count == 700 and loop.shared


def test_draws_are_fresh_at_every_step() -> None:
    body = (
        "scan xt in x with h = zeros([B, d]) {\n    h = h + xt\n    yield y = dropout(0.5)(xt)\n}\nreturn y"
    )
    (found,) = results(model(body), training=True, x=np.ones((2, 40, 3), np.float32))
    assert len({tuple(found[0, t]) for t in range(40)}) > 2


def test_a_name_may_be_used_again_behind_a_scan_and_inside_it_only_where_it_is_carried() -> None:
    body = """
y = x[:, 0]
scan xt in x with y = y {
    next = y + xt
    y = next
}
return y
"""
    np.testing.assert_allclose(result(model(body), x=X), X[:, 0] + X.sum(1), rtol=1e-5)


WRONG = {
    "no such axis": (
        "scan xt in x along S with h = 0 { h = 1 }\nreturn h",
        "E0122",
        "no axis is written `S`",
    ),
    "one axis": ("scan xt in x[:, 0, 0] { yield y = xt }\nreturn y", "E0122", "there is no axis 1"),
    "no tensor": ("scan xt in [1, 2] { yield y = xt }\nreturn y", "E0309", "needs a tensor"),
    "axis too large": ("scan xt in x along axis 3 { yield y = xt }\nreturn y", "E0122", "from -3 to 2"),
    "lengths": ("scan a, b in x, x[:, :1] { yield y = a + b }\nreturn y", "E0122", "T is not 1"),
    "negative": ("scan i in range(T - 9) with h = 0 { h = i }\nreturn h", "E0122", "negative length"),
    "shape": ("scan xt in x with h = zeros([B, 1]) { h = h + xt }\nreturn h", "E0123", "ends it as [B, d]"),
    "dtype": (
        "scan xt in x with h = zeros([B, d]) { h = cast(h + xt, f32) }\nreturn h",
        "E0123",
        "dtype=f32",
    ),
    "structure": ("scan xt in x with h = [xt0, xt0] { h = [xt] }\nreturn h[0]", "E0123", "ends it as"),
    "a module": ("scan xt in x with h = linear { h = linear }\nreturn x", "E0123", "carries tensors"),
    "outside": ("h = x[:, 0]\nscan xt in x { h = h + xt }\nreturn h", "E0123", "with h = h"),
    "twice": ("scan xt in x {\n yield y = xt\n yield y = xt\n}\nreturn y", "E0124", "twice"),
    "no value": ("scan xt in x { yield y = [xt] }\nreturn y", "E0124", "hands out tensors"),
    "inside only": ("scan xt in x {\n z = xt\n yield y = z\n}\nreturn z", "E0101", "`z`"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused(name: str) -> None:
    body, code, word = WRONG[name]
    with pytest.raises(dlc.SpecError) as raised:
        _ = dlc.loads(model("xt0 = x[:, 0]\n" + body))["M"].program
    found = raised.value.diagnostics
    assert [each.code for each in found] == [code], [each.message for each in found]
    assert word in found[0].message + found[0].help
