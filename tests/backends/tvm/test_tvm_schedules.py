"""Every schedule rule computes what the plain loops compute: open sizes, ragged tails, sizes of one and of zero."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest

pytest.importorskip("tvm")

from backends.tvm.kernels import Case, check, kernels, module, rules
from dlc_tvm import schedule
from dlc_tvm.build import build, lowers, parse_target
from dlc_tvm.runtime import Library, load
from dlc_tvm.schedule.nest import Kernel
from tvm import tirx

M = [{"m": m} for m in (0, 1, 2, 7, 8, 9, 16, 17, 33, 100)]
MN = [{"m": m, "n": n} for m in (1, 2, 13) for n in (1, 3, 15, 16, 17, 33, 50, 97)]
MNK = [{"m": m, "n": n, "k": k} for m in (1, 8, 13) for n in (1, 15, 33, 64) for k in (1, 7, 16, 33)]
MK = [{"m": m, "k": k} for m in (1, 5, 17) for k in (1, 2, 15, 16, 17, 31, 33, 64, 100)]
BM = [{"b": b, "m": m} for b in (1, 2) for m in (1, 3, 16, 17, 40)]
BHW = [{"b": b, "h": h, "w": w} for b in (1, 2) for h in (7, 8) for w in (7, 9, 16)]


def linear(e: Any, x: Any, weight: Any, bias: Any) -> Any:
    return e.nn.relu(e.add(e.matmul(x, e.permute_dims(weight)), bias))


def biased(e: Any, a: Any, b: Any, c: Any) -> Any:
    return e.nn.relu(e.add(e.matmul(a, b), c))


def matmul(e: Any, a: Any, b: Any) -> Any:
    return e.matmul(a, b)


def conv(channels: int, **attributes: Any) -> Callable[..., Any]:
    def body(e: Any, x: Any, weight: Any, bias: Any) -> Any:
        return e.nn.relu(e.add(e.nn.conv2d(x, weight, **attributes), e.reshape(bias, (1, channels, 1, 1))))

    return body


def plain_softmax(e: Any, x: Any) -> Any:
    exps = e.exp(e.subtract(x, e.max(x, [-1], keepdims=True)))
    return e.divide(exps, e.sum(exps, [-1], keepdims=True))


def plain_norm(e: Any, x: Any, weight: Any, bias: Any) -> Any:
    centred = e.subtract(x, e.mean(x, [-1], keepdims=True))
    variance = e.mean(e.multiply(centred, centred), [-1], keepdims=True)
    return e.add(e.multiply(e.multiply(centred, e.rsqrt(e.add(variance, e.const(1e-5)))), weight), bias)


def parted_anew(e: Any, x: Any) -> Any:
    """Patches as a picture."""
    m, n, *_ = x.ty.shape
    return e.reshape(e.permute_dims(x, [0, 2, 1, 3]), (2 * m, 2 * n))


def reordered(e: Any, x: Any) -> Any:
    """Rows of another length, of which none begins where one began."""
    m, n = x.ty.shape
    return e.nn.relu(e.reshape(x, (n, m)))


def repeated(times: int, step: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def body(e: Any, x: Any) -> Any:
        for _ in range(times):
            x = step(e, x)
        return x

    return body


ELEMENTWISE = [
    Case("flat", lambda e, x, y: e.tanh(e.add(e.multiply(x, y), e.exp(x))), [("m", "n")] * 2, sizes=MN),
    Case("tail", lambda e, x: e.exp(x), [(2, 3, 50)]),
    Case("single", lambda e, x: e.exp(x), [(1, 1)]),
    Case("spread", lambda e, x, y, z: e.multiply(e.add(x, y), z), [("m", "n"), ("n",), ("m", 1)], sizes=MN),
    Case("transposed", lambda e, x: e.permute_dims(x), [("m", "n")], sizes=MN),
    Case("turned", lambda e, x: e.permute_dims(x, [0, 2, 3, 1]), [(2, 5, 7, 33)]),
    Case("heads", lambda e, x: e.permute_dims(e.reshape(x, (2, 9, 4, 16)), [0, 2, 3, 1]), [(2, 9, 64)]),
    Case("joined", lambda e, x, y: e.nn.relu(e.concat([x, y], 1)), [("m", 5), ("m", 7)], sizes=M),
    Case("joined_openly", lambda e, x, y: e.nn.relu(e.concat([x, y], 1)), [("b", "m"), ("b", 2)], sizes=BM),
    Case("anew", parted_anew, [("m", "n", 2, 2)], sizes=MN[:8]),
    Case("reordered", reordered, [("m", "n")], sizes=MN[:8]),
    Case("cut", lambda e, x: e.exp(e.strided_slice(x, [1], [3], [20])), [("m", 33)], sizes=M),
    Case(
        "picked",
        lambda e, x, i: e.take(x, i, axis=0),
        [(7, 33), ("m",)],
        sizes=M,
        dtypes=["float32", "int64"],
    ),
    Case("chain", repeated(12, lambda e, x: e.multiply(e.sigmoid(x), x)), [("m", 40)], sizes=M[:4]),
    Case("halves", lambda e, x: e.tanh(e.add(x, x)), [(5, 33)], dtypes=["float16"], tolerance=2e-3),
    Case("doubles", lambda e, x: e.exp(x), [(5, 33)], dtypes=["float64"]),
    Case("bytes", lambda e, x, y: e.add(e.multiply(x, y), x), [(5, 70)] * 2, dtypes=["int8"] * 2),
    Case("truths", lambda e, x, y: e.logical_and(x, y), [(5, 33)] * 2, dtypes=["bool"] * 2),
]
PRODUCTS = [
    Case("open_rows", linear, [("m", 33)], [(50, 33), (50,)], sizes=M),
    Case("open_rows_exact", linear, [("m", 32)], [(96, 32), (96,)], sizes=M),
    Case("one_column", linear, [("m", 32)], [(1, 32), (1,)], sizes=M),
    Case("three_axes", linear, [("b", "m", 33)], [(70, 33), (70,)], sizes=BM),
    Case("one_row", linear, [(1, 64)], [(1000, 64), (1000,)]),
    Case("residual", lambda e, a, r, w: e.add(e.matmul(a, w), r), [("m", 32), ("m", 64)], [(32, 64)], sizes=M),
    Case("all_open", biased, [("m", "k"), ("k", "n"), ("n",)], sizes=MNK),
    Case("no_epilogue", matmul, [("m", "k"), ("k", "n")], sizes=MNK),
    Case("plain_weights", biased, [(17, 3), (3, 50), (50,)]),
    Case("tiny", matmul, [(1, 1), (1, 1)]),
    Case("batched", matmul, [("b", 3, "m", 8), ("b", 3, 8, "m")], sizes=BM),
    Case("one_batch", matmul, [(1, 3, 16, 8), (1, 3, 8, 32)]),
    Case("batch_spread", matmul, [(2, 1, 13, 8), (3, 8, 33)]),
    Case("reused", lambda e, a, w: (lambda s: e.multiply(s, e.subtract(e.const(1.0), s)))(e.sigmoid(e.matmul(a, w))),
         [("m", 20)], [(20, 40)], sizes=M),
    Case("nested", lambda e, a, w: e.tanh(e.log(e.add(e.const(1.0), e.exp(e.matmul(a, w))))), [("m", 20)],
         [(20, 40)], sizes=M),
    Case("halves", matmul, [(9, 33), (33, 40)], dtypes=["float16"] * 2, tolerance=5e-3),
    Case("widened", lambda e, a, b: e.matmul(a, b, out_dtype="int32"), [(9, 33), (33, 40)], dtypes=["int8"] * 2),
    Case("attention", lambda e, q, k, v: e.nn.attention(q, k, v, causal_mask="BottomRight"),
         [("b", "m", 4, 16), ("b", "m", 4, 16), ("b", "m", 4, 24)], sizes=BM),
]  # fmt: skip
LINES = [
    Case("vector", matmul, [("m", "k"), ("k",)], sizes=MK),
    Case("softmax", lambda e, x: e.nn.softmax(x, -1), [("m", "k")], sizes=MK),
    Case("plain_softmax", plain_softmax, [("m", "k")], sizes=MK),
    Case("norm", lambda e, x, w, b: e.nn.layer_norm(x, w, b, axes=[-1]), [("m", "k"), ("k",), ("k",)], sizes=MK,
         tolerance=1e-3),
    Case("plain_norm", plain_norm, [(4, 33), (33,), (33,)], tolerance=1e-4),
    Case("long_norm", plain_norm, [(2, 5, 1024), (1024,), (1024,)], tolerance=1e-4),
    Case("rms", lambda e, x, w: e.nn.rms_norm(x, w, axes=[-1]), [("m", 48), (48,)], sizes=M[1:], tolerance=1e-4),
    Case("largest", lambda e, x: e.argmax(x, 1), [("m", "k")], sizes=MK),
    Case("product", lambda e, x: e.prod(x, [1]), [("m", "k")], sizes=MK[:6]),
    Case("smallest", lambda e, x: e.min(x, [1]), [("m", "k")], sizes=MK),
    Case("whole", lambda e, x: e.mean(e.multiply(x, x)), [(3, 5, 130)]),
    Case("two_axes", lambda e, x: e.subtract(x, e.mean(x, [1, 2], keepdims=True)), [(3, 5, 33)]),
]  # fmt: skip
STRIPS = [
    Case("down", lambda e, x: e.sum(x, [0]), [("m", "n")], sizes=[s for s in MN if s["m"]]),
    Case("middle", lambda e, x: e.max(x, [1]), [(3, 5, 40)]),
    Case("outer_two", lambda e, x: e.sum(e.multiply(x, x), [0, 2]), [(3, 5, 7)]),
    Case("softmax_down", lambda e, x: e.nn.softmax(x, 1), [(2, 5, 33)]),
    Case("variance", lambda e, x: e.variance(x, [0]), [(5, 33)]),
    Case("groups", lambda e, x, w, b: e.nn.group_norm(x, w, b, num_groups=4, channel_axis=1, axes=[2, 3]),
         [(2, 8, 5, 6), (8,), (8,)], tolerance=1e-3),
]  # fmt: skip
CONVOLUTIONS = [
    Case("stem", conv(8, padding=(3, 3), strides=(2, 2)), [(1, 3, 17, 16)], [(8, 3, 7, 7), (8,)], tolerance=1e-4),
    Case("point", conv(32), [(2, 16, 14, 14)], [(32, 16, 1, 1), (32,)]),
    Case("point_stride", conv(24, strides=(2, 2)), [(1, 16, 14, 14)], [(24, 16, 1, 1), (24,)]),
    Case("wide", conv(70, padding=(2, 2)), [(1, 4, 9, 9)], [(70, 4, 5, 5), (70,)], tolerance=1e-4),
    Case("dilated", conv(16, padding=(2, 2), dilation=(2, 2)), [(1, 8, 12, 12)], [(16, 8, 3, 3), (16,)]),
    Case("open_image", conv(20, padding=(1, 1)), [("b", 3, "h", "w")], [(20, 3, 3, 3), (20,)], sizes=BHW),
    Case("changing_kernel", conv(20, padding=(1, 1)), [(1, 6, 9, 10), (20, 6, 3, 3), (20,)], tolerance=1e-4),
    Case("depthwise", conv(16, padding=(1, 1), groups=16), [("b", 16, "h", "w")], [(16, 1, 3, 3), (16,)], sizes=BHW),
    Case("grouped", conv(64, padding=(1, 1), groups=2), [(1, 32, 9, 10)], [(64, 16, 3, 3), (64,)], tolerance=1e-4),
    Case("residual", lambda e, x, w: e.nn.relu(e.add(e.nn.conv2d(x, w, padding=(1, 1)), x)), [(1, 16, 14, 14)],
         [(16, 16, 3, 3)], tolerance=1e-4),
    Case("one_axis", lambda e, x, w: e.nn.relu(e.nn.conv1d(x, w, padding=2, dilation=2)), [(2, 6, "n")],
         [(20, 6, 5)], sizes=[{"n": n} for n in (9, 16, 33)]),
    Case("three_axes", lambda e, x, w: e.nn.conv3d(x, w, padding=1), [(1, 3, 5, 6, 7)], [(8, 3, 3, 3, 3)]),
    Case("enlarged", lambda e, x, w: e.nn.conv2d_transpose(x, w, strides=(2, 2), padding=(1, 1)), [(1, 6, 7, 7)],
         [(6, 9, 3, 3)], tolerance=1e-4),
    Case("pooled", lambda e, x, w: e.nn.max_pool2d(e.nn.relu(e.nn.conv2d(x, w, padding=(1, 1))), (3, 3), (2, 2), (1, 1)),
         [("b", 3, "h", "w")], [(20, 3, 3, 3)], sizes=BHW),
    Case("averaged", lambda e, x: e.nn.avg_pool2d(x, (3, 3), (2, 2), (1, 1)), [(2, 5, 9, 11)]),
    Case("ended", lambda e, x, w, f: e.matmul(e.mean(e.nn.conv2d(x, w), [2, 3]), e.permute_dims(f)), [(2, 3, 9, 9)],
         [(33, 3, 3, 3), (10, 33)], tolerance=1e-4),
    Case("flattened", lambda e, x, w, f: e.matmul(e.reshape(e.nn.conv2d(x, w), (2, -1)), e.permute_dims(f)),
         [(2, 3, 9, 9)], [(6, 3, 3, 3), (10, 294)], tolerance=1e-4),
    Case("normed", lambda e, x, w, g, b, m, v: e.first(e.nn.batch_norm(e.nn.conv2d(x, w), g, b, m, e.exp(v), axis=1)),
         [(2, 3, 9, 9)], [(6, 3, 3, 3), (6,), (6,), (6,), (6,)], tolerance=1e-3),
]  # fmt: skip
FAMILIES = {
    "elementwise": ELEMENTWISE,
    "products": PRODUCTS,
    "lines": LINES,
    "strips": STRIPS,
    "convolutions": CONVOLUTIONS,
}


# Where layouts play no part, one level of optimization is enough to test.
LEVELS = [("elementwise", 1), ("products", 1), ("products", 2), ("lines", 1), ("strips", 1), ("convolutions", 1),
          ("convolutions", 2)]  # fmt: skip
EXPECTED_RULES = [
    ("elementwise", ELEMENTWISE),
    ("contraction", [case for case in PRODUCTS if case.name not in ("tiny", "attention", "one_column")]),
    ("contraction", [case for case in CONVOLUTIONS[:7] if case.name != "depthwise"]),
    ("rows", [case for case in LINES if case.name not in ("rms", "whole")]),
    (
        "columns",
        [STRIPS[1], *(case for case in CONVOLUTIONS if case.name in ("depthwise", "pooled", "ended"))],
    ),
    ("blockwise", [STRIPS[0], *STRIPS[2:4]]),
]


@cache
def plain(family: str) -> Library:
    return load(build(module(FAMILIES[family]), opt=0), threads=1)


@pytest.mark.parametrize(("family", "opt"), LEVELS)
def test_same_as_plain_loops(family: str, opt: int) -> None:
    check(FAMILIES[family], plain(family), opt=opt)


@pytest.mark.parametrize("family", FAMILIES)
def test_scheduled_kernels_can_be_lowered(family: str) -> None:
    """Otherwise `build` schedules them again, more carefully: right, but slow code that is slow to compile."""
    target = parse_target("llvm")
    assert not [name for name, kernel in kernels(FAMILIES[family]).items() if not lowers(kernel, target)]


def test_a_kernel_that_cannot_be_lowered_is_scheduled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def unusable(kernel: Kernel) -> None:
        func = kernel.sch.mod["main"]
        kernel.result = func.with_body(tirx.IfThenElse(tirx.Var("unknown", "bool"), func.body, None))

    case = ELEMENTWISE[1]
    expected = load(build(module([case]), opt=0), threads=1)
    monkeypatch.setattr(schedule, "RULES", (unusable, *schedule.RULES))
    check([case], expected, opt=1)


@pytest.mark.parametrize(("rule", "cases"), EXPECTED_RULES)
def test_rule_takes_its_kernels(rule: str, cases: Sequence[Case], caplog: pytest.LogCaptureFixture) -> None:
    """No kernel is left without a rule, and no rule starts what TVM then refuses (which would be logged)."""
    caplog.set_level(logging.INFO, logger="dlc_tvm.schedule.nest")
    for case in cases:
        found = rules(case)
        assert rule in found, case.name
        assert "none" not in found, case.name
    assert not caplog.messages


def test_places_that_open_sizes_divide_are_found_one_by_one() -> None:
    """LLVM writes a division out for each vector lane, for many seconds."""
    (case,) = (each for each in ELEMENTWISE if each.name == "reordered")
    texts = {name: str(kernel) for name, kernel in kernels([case]).items()}
    (reshape,) = (text for name, text in texts.items() if "reshape" in name)
    assert "parallel" in reshape
    assert "vectorized" not in reshape


def test_a_rule_that_breaks_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(kernel: Kernel) -> None:
        kernel.sch.vectorize(kernel.sch.get_loops(kernel.blocks[0].block_rv)[0])
        kernel.sch.get_sblock("no such block")

    monkeypatch.setattr(schedule, "RULES", (broken, *schedule.RULES))
    assert rules(ELEMENTWISE[1]) == {"elementwise"}


def test_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    library = build(module([ELEMENTWISE[1]]), opt=0)
    monkeypatch.delenv("TVM_NUM_THREADS", raising=False)
    for name, wanted in (("OMP_NUM_THREADS", 5), ("TVM_NUM_THREADS", 6)):  # TVM's own comes first
        monkeypatch.setenv(name, str(wanted))
        assert load(library).threads == wanted
    assert load(library, threads=3).threads == 3
