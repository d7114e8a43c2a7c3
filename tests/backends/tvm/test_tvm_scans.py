"""A scan is a kernel with a loop in it: one library for all lengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import haste
import numpy as np
import pytest
from scan_cases import CASES, Case, differences, model

import dlc
from dlc.backend import EmitOptions
from dlc.diagnostics import SpecError
from dlc.ir.nodes import Program
from dlc.runtime.compile import lower
from dlc.runtime.interpret import run

pytest.importorskip("tvm")

from dlc_tvm import BACKEND, build, loops
from dlc_tvm.emit import flattened
from dlc_tvm.module import Module
from tvm import tirx

X = {"x": (2, "T", 3)}

# What a turn of TVM's kernels could get wrong, beyond what all backends are asked.
OWN: dict[str, Case] = {
    "states that change places": Case(
        model("scan xt in x with a = zeros([B, 3]), b = ones([B, 3]) {\n    a, b = b, a\n    yield old = b + xt\n}\nreturn old + (a - b)[:, none]"),
        X,
    ),
    "turns of no elements": Case(
        model("scan xt in x[:, :, :0] with h = zeros([B, 0]) {\n    h = xt - h * 0.5\n}\nreturn h", outputs="[B, 0]"), X,
    ),
    "turns that read nothing": Case(
        model("scan i in range(T) {\n    yield ones = ones([2])\n}\nreturn ones", outputs="[T, 2]"), X,
    ),
    "a state that stays": Case(
        model(
            "scan xt in x with h = x[:, 0] * 0.0, g = ones([B, 3]) {\n    h = h + g * xt\n    yield z = ones([2])\n    yield b = xt\n}\nreturn h, g, z, b",
            outputs="(h: [B, 3], g: [B, 3], z: [2, T], b: [B, T, 3])\n    where T >= 1",
        ),
        X,
        shortest=1,
    ),
    "values from outside of two scans": Case(
        model(
            "w = exp(sum(x, axis=1))\nscan xt in x with h = zeros([B, 3]) {\n    h = h * 0.5 + xt * w\n"
            "    scan yt in x with g = h { g = tanh(g + yt + w * xt) }\n    yield hs = g\n}\nreturn hs"
        ),
        X,
    ),
    "kernels that call functions": Case(
        model(
            "scan xt in x with h = zeros([B, 3]) {\n    best, at = top_k(xt + h, 2, axis=-1)\n"
            "    h = h + concat([best, cast(at[:, :1], float)], axis=-1)\n    yield order = argsort(h, axis=-1)\n}\nreturn h, order",
            outputs="(h: [B, 3], order: i64[B, T, 3])",
        ),
        X,
    ),
    "images": Case(
        model(
            "scan xt in x with h = zeros([B, 2, 6, 6]) {\n"
            "    h = relu(h + (concat([xt, h], axis=1) |> conv2d(2, 3, padding=1) as conv))\n    yield small = h |> max_pool(2)\n}\nreturn h, small",
            "x: [B, T, 1, 6, 6]",
            "(h: [B, 2, 6, 6], small: [B, T, 2, 3, 3])",
        ),
        {"x": (2, "T", 1, 6, 6)},
    ),
    "rows": Case(
        model(
            "norm = layer_norm as norm\nscan xt in x with h = zeros([B, 3]) {\n"
            "    h = softmax(norm(xt + h), axis=-1) + (xt |> linear(3) as fc |> gelu)\n    h = h - mean(h, axis=0, keepdims=true)\n    yield hs = h\n}\nreturn hs"
        ),
        X,
    ),
    "an axis in the middle": Case(
        model(
            "scan xt in x along axis 2 backwards with h = zeros([B, 3, 4]) {\n    h = h * 0.5 + xt\n    yield hs = h\n}\nreturn hs",
            "x: [B, 3, T, 4]",
        ),
        {"x": (2, 3, "T", 4)},
    ),
    "bools and numbers": Case(
        model(
            "scan xt in x with ok = ones([B, 3]) > 0.0, n = 3 {\n    ok = ok and (xt > -0.5)\n    n = n + 1\n}\nreturn ok, n",
            outputs="(ok: bool[B, 3], n: i64[])",
        ),
        X,
    ),
    "one after another": Case(
        model(
            "scan xt in x with h = zeros([B, 3]) {\n    h = h + xt\n    yield y = h\n}\n"
            "scan yt in y backwards with h = h {\n    h = h * 0.5 + yt\n    yield z = h\n}\nreturn z"
        ),
        X,
    ),
    "a weight to begin with": Case(
        model(
            "param start: [3] = uniform(-1.0, 1.0)\nscan i in range(4) with h = start {\n    h = h * 0.5 + cast(i, float)\n"
            "    yield s = sum(x) + h\n}\nreturn x + h + s[0]",
            "x: [B, 3]",
        ),
        {"x": (2, 3)},
    ),
    "rows of what was put together along an open axis": Case(
        model(
            "scan xt in x with h = zeros([B, 3]) {\n    rows = reshape(concat([y + h[:, none, none], z], axis=1), [B * (S + E) * R, 3])\n"
            "    h = h + xt * sum(softmax(rows), axis=0)\n    yield hs = h\n}\nreturn hs",
            "x: [B, T, 3], y: [B, S, R, 3], z: [B, E, R, 3]",
        ),
        {"x": (2, "T", 3), "y": (2, 3, 2, 3), "z": (2, 1, 2, 3)},
    ),
}  # fmt: skip


def lowered(case: Case) -> Program:
    return lower(case.model.program, BACKEND, 2)


@pytest.mark.parametrize("name", CASES)
def test_the_reference_at_every_length(name: str) -> None:
    differences(CASES[name], lambda model, weights: model.compile("tvm", weights=weights, target=haste.TVM))


@pytest.mark.parametrize("name", OWN)
def test_what_a_turn_may_hold(name: str) -> None:
    differences(OWN[name], lambda model, weights: model.compile("tvm", weights=weights, target=haste.TVM))


@pytest.mark.parametrize("case", [*CASES.values(), *OWN.values()], ids=[*CASES, *OWN])
def test_kernels_that_the_loop_calls(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of turns with very many of them."""
    monkeypatch.setattr(loops, "PARTED", 1)
    differences(case, lambda model, weights: model.compile("tvm", weights=weights, target=haste.TVM))


def test_time_grows_with_the_number_of_kernels() -> None:
    """A turn of many kernels is no function with all of them inside, which TVM and LLVM would take minutes for."""
    many = "\n".join(f"    h = softmax(h @ w + {i}.0 * xt)" for i in range(40))
    body = f"param w: [3, 3] = uniform(-1.0, 1.0)\nscan xt in x with h = zeros([B, 3]) {{\n{many}\n    yield hs = h\n}}\nreturn hs"
    flat, _ = flattened(lowered(Case(model(body), X)), "f32")
    target = build.parse_target("llvm")
    with target:
        kernels = build.cpu_kernels(Module.of(flat).relax, target, opt=2)
    (loop,) = (func for var, func in kernels.functions_items() if var.name_hint.startswith("loop"))
    text = loop.script()
    assert text.count("_part") >= 40 and text.count("exp(") == 0


@pytest.mark.parametrize("level", [0, 1])
def test_without_layouts_or_schedules(level: int) -> None:
    differences(
        CASES["nested"], lambda model, weights: model.compile("tvm", weights=weights, optimize=level), (3,)
    )


def test_nothing_to_feed() -> None:
    text = model(
        "param start: [3] = uniform(-1.0, 1.0)\nscan i in range(4) with h = start { h = h * 0.5 + cast(i, float) }\nreturn h",
        "",
        "h: [3]",
    )
    found: Any = dlc.loads(text)["M"]
    weights = found.initial_weights(0)
    wanted = run(found.program, weights, {})["h"]
    np.testing.assert_allclose(found.compile("tvm", weights=weights)()["h"], wanted, rtol=1e-5)


def test_a_layer_of_lstm_is_one_kernel_and_its_weights_are_packed_once() -> None:
    """What depends on the weights of a turn alone is no work of the turn."""
    flat, _ = flattened(lowered(CASES["lstm with a mask"]), "f32")
    target = build.parse_target("llvm")
    with target:
        kernels = build.cpu_kernels(Module.of(flat).relax, target, opt=2)
    names = {var.name_hint: func for var, func in kernels.functions_items()}
    found = [
        func for name, func in names.items() if name.startswith("loop") and isinstance(func, tirx.PrimFunc)
    ]
    assert len(found) == 1
    assert "transpose" not in found[0].script()
    prepared = names["main_transform_params"].script()
    assert prepared.count("panels") == 2  # of both weights
    assert "dlc.loop" not in names["main"].script()


def test_a_check_holds_in_every_turn() -> None:
    case = CASES["a check inside"]
    runnable: Any = case.model.compile("tvm", weights={})
    x = np.zeros((2, 5, 3), np.float32)
    runnable(x=x)
    x[1, 2] = 1e6
    with pytest.raises(SpecError, match="too large") as error:
        runnable(x=x)
    assert error.value.diagnostics[0].code == "E0804"


@pytest.mark.parametrize("count", ["3", "T"])
def test_draws_are_inputs_and_each_turn_has_its_own(count: str) -> None:
    body = f"scan i in range({count}) with h = x[:, 0] * 0.0 {{ h = h * 0.5 + normal([B, 3]) }}\nreturn h"
    found: Any = dlc.loads(model(body, outputs="h: [B, 3]"))["M"]
    x = np.zeros((2, 4, 3), np.float32)
    wanted = run(found.program, {}, {"x": x}, rng=np.random.default_rng(7))["h"]
    np.testing.assert_allclose(found.compile("tvm", weights={})(x=x, key=7)["h"], wanted, rtol=1e-5)


def test_on_a_gpu_all_that_a_turn_does_is_kernels(tmp_path: Path) -> None:
    artifact = BACKEND.emit(lowered(CASES["nested"]), EmitOptions(name="net", target="cuda"))
    library = artifact.files["net.so"]
    assert isinstance(library, bytes)
    source = build.cuda_source(library)
    kernels = [line for line in source.splitlines() if "loop" in line and "__global__" in line]
    assert len(kernels) > 6
