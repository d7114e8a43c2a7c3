"""Layers and composites of the library on open sizes, some of them kernels of their own here, against their definitions."""

from __future__ import annotations

from typing import Any

import haste
import numpy as np
import pytest

import dlc
from dlc.runtime.inputs import random_inputs
from dlc.runtime.interpret import run
from dlc.runtime.verify import difference

pytest.importorskip("tvm")

DIMS = {"B": 2, "T": 5, "U": 7, "H": 6, "W": 8}
MATRIX = "x: [B, T, 6]"
IMAGE = "x: [B, 4, H, W]"
LINE = "x: [B, 4, T]"
SPACE = "x: [B, 2, 5, H, W]"
HEADS = "q: [B, 4, T, 8], k: [B, 4, U, 8], v: [B, 4, U, 8]"
SQUARE = HEADS.replace("U", "T")
GROUPED = HEADS.replace("B, 4, U", "B, 2, U")

CASES = [
    (MATRIX, "relu(x)"),
    (MATRIX, "relu6(x * 10.0)"),
    (MATRIX, "gelu(x) + elu(x, alpha=0.7) + silu(x) + mish(x)"),
    (MATRIX, "softplus(x * 30.0) + log_sigmoid(x * 30.0)"),
    (MATRIX, "glu(x)"),
    (MATRIX, "softmax(x)"),
    (MATRIX, "softmax(x * 1000.0, axis=1)"),
    (MATRIX, "softmax(where(x > 1.5, -inf, x), axis=0)"),
    (MATRIX, "log_softmax(x * 10.0, axis=0)"),
    (MATRIX, "mean(x)"),
    (MATRIX, "mean(x, -1, keepdims=true)"),
    (MATRIX, "mean(x, [0, 2])"),
    ("x: bool[B, T]", "mean(x, 1)"),
    ("x: [B]", "mean(x[0])"),
    (MATRIX, "logsumexp(x * 50.0, 1)"),
    (MATRIX, "var(x + 100.0, [0, 1], correction=1)"),
    (MATRIX, "tril(x, diagonal=1)"),
    ("x: i64[B, T]", "one_hot(x, 4)"),
    (MATRIX, "linear(3)(x)"),
    ("x: [B, 6]", "linear(3, bias=false)(x)"),
    ("x: i64[B, T]", "embedding(9, 4)(x)"),
    (LINE, "conv1d(6, 3, padding=1)(x)"),
    (LINE, 'conv1d(6, 3, padding="causal", bias=false)(x)'),
    (IMAGE, "conv2d(6, (3, 2), stride=2, padding=1, groups=2)(x)"),
    (IMAGE, "conv2d(6, 3, padding=2, dilation=2, bias=false)(x)"),
    (SPACE, "conv3d(3, 2, padding=1)(x)"),
    (LINE, "conv_transpose1d(6, 3, stride=2, output_padding=1)(x)"),
    (IMAGE, "conv_transpose2d(6, 3, stride=2, padding=1, output_padding=1, groups=2)(x)"),
    (IMAGE, "batch_norm()(x)"),
    (MATRIX, "layer_norm()(x)"),
    (MATRIX, "layer_norm(eps=0.001)(x + 10.0)"),
    (MATRIX, "layer_norm(bias=false)(x)"),
    (MATRIX, "layer_norm(affine=false)(x)"),
    ("x: [B, 5, 6]", "layer_norm(axes=2)(x)"),
    (MATRIX, "rms_norm()(x)"),
    (MATRIX, "rms_norm(affine=false)(x * 0.01)"),
    (IMAGE, "group_norm(2)(x)"),
    (IMAGE, "group_norm(4, affine=false)(x + 100.0)"),
    (IMAGE, "instance_norm(affine=true)(x)"),
    (IMAGE, "local_response_norm(x, size=3, alpha=0.5, k=2.0)"),
    (IMAGE, "global_avg_pool(x)"),
    ("x: [B, 4, 6, 8]", "adaptive_avg_pool(x, [3, 5])"),
    (IMAGE, "pixel_shuffle(x, 2)"),
    (IMAGE, "resize(x, scale=2)"),
    (IMAGE, "max_pool(x, 3, stride=2, padding=1, ceil=true)"),
    (IMAGE, "avg_pool(x, 3, stride=2, padding=1, ceil=true)"),
    (
        IMAGE,
        "relu6(conv2d(6, 3, stride=2, padding=1, bias=false)(x) |> batch_norm) |> max_pool(3, stride=2, padding=1)",
    ),
    (HEADS, "attention(q, k, v, scale=0.7)"),
    (SQUARE, "attention(q, k, v, causal=true, window=3)"),
    (GROUPED, "attention(q, k, v, causal=true)"),
    (f"{HEADS}, m: bool[B, 1, 1, U]", "attention(q, k, v, mask=m)"),
    (f"{SQUARE}, m: [4, T, T]", "attention(q, k, v, bias=m, causal=true, softcap=5.0)"),
    ("x: [B, T, 8]", "multihead_attention(2)(x, x, x)"),
    ("x: [B, 4, T, 8]", "rope(x) + rope(x, interleaved=true)"),
    ("x: [B, T, 6], t: i64[B, T]", "cross_entropy(x, t, ignore=1, smoothing=0.1)"),
    ("x: [B, T], t: [B, T]", "bce_with_logits(x, t)"),
]


# Behind a fact: sizes that TVM gets as multiples of others, through fused kernels.
EVEN = [
    (f"{IMAGE}", "conv2d(4, 3, stride=2, padding=1)(x) |> group_norm(2) |> resize(scale=2)"),
    (f"{IMAGE}", 'x |> avg_pool(2) |> rearrange("B c h w -> B (h w) c") |> relu |> exp'),
    ("x: [B, 4, H]", "conv1d(4, 3, padding=1)(x)"),
]


@pytest.mark.parametrize(("inputs", "result"), EVEN, ids=[result for _, result in EVEN])
def test_sizes_with_facts(inputs: str, result: str) -> None:
    facts = "where H % 2 == 0, W % 2 == 0" if "W" in inputs else "where H % 2 == 0"
    check(f"{inputs}) -> y: any[*R] {facts}", result, optimize=1)


@pytest.mark.parametrize("optimize", [0, 2])
@pytest.mark.parametrize(("inputs", "result"), CASES, ids=[result for _, result in CASES])
def test_composite(inputs: str, result: str, optimize: int) -> None:
    check(f"{inputs}) -> y: any[*R]", result, optimize=optimize)


def check(header: str, result: str, *, optimize: int) -> None:
    text = f"model Case()({header} {{\n    y = {result}\n    return y\n}}\n"
    model: Any = dlc.loads(text)["Case"]
    rng = np.random.default_rng(1)
    weights = {
        path: (value + rng.uniform(0.1, 0.4, value.shape)).astype(value.dtype)
        for path, value in model.initial_weights(0).items()
    }
    dims = {name: size for name, size in DIMS.items() if name in model.program.main.dims}
    given = random_inputs(model.program, dims)
    expected = run(model.program, weights, given, precision="f64")
    found = model.compile("tvm", weights=weights, optimize=optimize, target=haste.TVM)(**given)
    assert difference(found["y"], expected["y"])[1] < 1e-5


def test_kernels_of_composites_are_found_in_the_library() -> None:
    from dlc_tvm.names import ROWS

    from dlc import ops
    from dlc.elaborate.base.project import library_index

    primitive = {definition.name for definition in ops.all_ops()}
    assert ROWS - primitive <= {*library_index()}
