"""Layers and composites of the standard library: ONNX's node, where it has one, against the definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dlc_onnx import BACKEND
from dlc_onnx.functions import known
from dlc_onnx.weights import parsed

import dlc
from dlc.runtime.inputs import random_inputs
from dlc.runtime.interpret import run
from dlc.runtime.verify import difference

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

DIMS = {"B": 2, "T": 5, "U": 7, "H": 6, "W": 8}
MATRIX = "x: [B, T, 6]"
IMAGE = "x: [B, 4, H, W]"
LINE = "x: [B, 4, T]"
SPACE = "x: [B, 2, 5, H, W]"
HEADS = "q: [B, 4, T, 8], k: [B, 4, U, 8], v: [B, 4, U, 8]"
SQUARE = HEADS.replace("U", "T")
GROUPED = HEADS.replace("B, 4, U", "B, 2, U")

# (inputs, what is returned, the kinds of nodes that say it; none where the definition is to be followed)
# The nodes that make the mask of a window.
WINDOW = "And Expand GreaterOrEqual Less Range Squeeze Sub Unsqueeze"

CASES = [
    (MATRIX, "relu(x)", "Relu"),
    (MATRIX, "relu6(x * 10.0)", "Clip Mul"),
    (MATRIX, "leaky_relu(x, slope=0.2)", "LeakyRelu"),
    (MATRIX, "celu(x, alpha=0.7)", "Celu"),
    (MATRIX, "elu(x, alpha=0.7)", "Elu"),
    (MATRIX, "selu(x)", "Selu"),
    (MATRIX, "gelu(x)", "Gelu"),
    (MATRIX, 'gelu(x, approximate="tanh")', "Gelu"),
    (MATRIX, 'gelu(x, approximate="sigmoid")', ""),
    (MATRIX, "silu(x)", "Mul Sigmoid"),
    (MATRIX, "mish(x)", "Mish"),
    (MATRIX, "softplus(x * 30.0)", "Softplus Mul"),
    (MATRIX, "log_sigmoid(x * 30.0)", "Softplus Neg Mul"),
    (MATRIX, "hardsigmoid(x * 3.0)", "HardSigmoid Mul"),
    (MATRIX, "hardswish(x * 3.0)", "HardSwish Mul"),
    (MATRIX, "glu(x)", ""),
    (MATRIX, "softmax(x)", "Softmax"),
    (MATRIX, "softmax(x, axis=1)", "Softmax"),
    (MATRIX, "log_softmax(x, axis=0)", "LogSoftmax"),
    (MATRIX, "square(x)", "Mul"),
    (MATRIX, "clamp(x, min=-0.5)", "Clip"),
    (MATRIX, "clamp(x, min=-0.5, max=0.25)", "Clip"),
    (MATRIX, "clamp(x, max=0.25)", "Clip"),
    (MATRIX, "mean(x)", "ReduceMean"),
    (MATRIX, "mean(x, -1, keepdims=true)", "ReduceMean"),
    (MATRIX, "mean(x, [0, 2])", "ReduceMean"),
    ("x: bool[B, T]", "mean(x, 1)", ""),
    (MATRIX, "logsumexp(x * 50.0, 1)", "ReduceLogSumExp Mul"),
    (MATRIX, "var(x, [0, 1], correction=1)", ""),
    (MATRIX, "norm(x, 1, p=1.0)", ""),
    (MATRIX, "tril(x, diagonal=1)", "Trilu"),
    (MATRIX, "triu(x)", "Trilu"),
    ("x: i64[B, T]", "one_hot(x, 4)", ""),
    (MATRIX, "linear(3)(x)", "MatMul Add Transpose"),
    (MATRIX, "linear(3, bias=false)(x)", "MatMul Transpose"),
    ("x: [B, 6]", "linear(3)(x)", "Gemm"),
    ("x: [B, 6]", "linear(3, bias=false)(x)", "Gemm"),
    ("x: i64[B, T]", "embedding(9, 4)(x)", "Gather"),
    (LINE, "conv1d(6, 3, padding=1)(x)", "Conv"),
    (LINE, 'conv1d(6, 3, padding="causal", bias=false)(x)', "Conv"),
    (IMAGE, "conv2d(6, (3, 2), stride=2, padding=1, groups=2)(x)", "Conv"),
    (IMAGE, "conv2d(6, 3, padding=2, dilation=2, bias=false)(x)", "Conv"),
    (SPACE, "conv3d(3, 2, padding=1)(x)", "Conv"),
    (LINE, "conv_transpose1d(6, 3, stride=2, output_padding=1)(x)", "ConvTranspose"),
    (IMAGE, "conv_transpose2d(6, 3, stride=2, padding=1, output_padding=1, groups=2)(x)", "ConvTranspose"),
    (IMAGE, "batch_norm()(x)", "BatchNormalization"),
    (IMAGE, "batch_norm(affine=false)(x)", ""),
    ("x: [B, 6]", "batch_norm(eps=1e-3)(x)", "BatchNormalization"),
    (MATRIX, "layer_norm()(x)", "LayerNormalization"),
    (MATRIX, "layer_norm(bias=false)(x)", "LayerNormalization"),
    (MATRIX, "layer_norm(affine=false)(x)", ""),
    ("x: [B, 5, 6]", "layer_norm(axes=2)(x)", "LayerNormalization"),
    (MATRIX, "rms_norm()(x)", "RMSNormalization"),
    (MATRIX, "rms_norm(affine=false)(x)", ""),
    (IMAGE, "group_norm(2)(x)", ""),
    (IMAGE, "instance_norm(affine=true)(x)", "InstanceNormalization"),
    (IMAGE, "instance_norm()(x)", ""),
    (IMAGE, "local_response_norm(x, size=3, alpha=0.5, k=2.0)", "LRN"),
    (IMAGE, "local_response_norm(x, size=4, alpha=0.5)", ""),
    (IMAGE, "global_avg_pool(x)", "ReduceMean"),
    ("x: [B, 4, 6, 8]", "adaptive_avg_pool(x, [3, 5])", ""),
    (IMAGE, "pixel_shuffle(x, 2)", "DepthToSpace"),
    (IMAGE, "resize(x, scale=2)", "Resize"),
    (IMAGE, "resize(x, scale=1.75)", ""),
    (IMAGE, 'resize(x, size=[4, W + 3], mode="bilinear")', "Resize Add"),
    (IMAGE, 'resize(x, scale=[0.5, 1.75], mode="bicubic")', "Resize"),
    (IMAGE, 'resize(x, scale=2, mode="bilinear", align_corners=true)', "Resize"),
    (IMAGE, 'resize(x, scale=0.5, mode="bilinear", antialias=true)', ""),
    (LINE, 'resize(x, scale=1.5, mode="linear")', "Resize"),
    (
        IMAGE,
        "max_pool(x, 3, stride=2, padding=1, ceil=true)",
        "MaxPool IsNaN Cast Equal Where",
    ),  # a second one finds nan
    (IMAGE, "avg_pool(x, 3, stride=2, padding=1, ceil=true)", "AveragePool"),
    (MATRIX, "dropout(0.3)(x)", "Identity"),
    (HEADS, "attention(q, k, v)", "Attention"),
    (HEADS, "attention(q, k, v, scale=0.7)", "Attention"),
    (SQUARE, "attention(q, k, v, causal=true)", "Attention"),
    (GROUPED, "attention(q, k, v)", "Attention"),
    (f"{HEADS}, m: bool[T, U]", "attention(q, k, v, mask=m)", "Attention Expand"),
    (f"{HEADS}, m: bool[B, 1, 1, U]", "attention(q, k, v, mask=m)", "Attention Expand"),
    (f"{HEADS}, m: bool[B, 4, T, U]", "attention(q, k, v, mask=m)", "Attention"),
    (f"{SQUARE}, m: [4, T, T]", "attention(q, k, v, bias=m, causal=true)", "Attention Expand"),
    (HEADS, "attention(q, k, v, causal=true)", ""),
    (HEADS, "attention(q, k, v, softcap=5.0)", ""),
    (SQUARE, "attention(q, k, v, causal=true, window=3)", f"Attention {WINDOW}"),
    ("q: [B, T, 8]", "attention(q, q, q, causal=true)", ""),
    ("x: [B, T, 8]", "multihead_attention(2)(x, x, x)", ""),
    ("x: [B, 4, T, 8]", "rope(x)", ""),
    ("x: [B, 4, T, 8]", "rope(x, interleaved=true)", ""),
    ("x: [B, T, 6], t: i64[B, T]", "cross_entropy(x, t, ignore=1, smoothing=0.1)", ""),
    ("x: [B, T], t: [B, T]", "bce_with_logits(x, t)", ""),
]


def model_of(inputs: str, result: str) -> Any:
    return dlc.loads(f"model Case()({inputs}) -> y: any[*R] {{\n    y = {result}\n    return y\n}}\n")["Case"]


def kinds(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node} - {"Constant", "Concat", "Shape"}


@pytest.mark.parametrize(("inputs", "result", "nodes"), CASES, ids=[result for _, result, _ in CASES])
def test_composite(inputs: str, result: str, nodes: str) -> None:
    model = model_of(inputs, result)
    rng = np.random.default_rng(1)
    weights = {
        path: (value + rng.uniform(0.1, 0.4, value.shape)).astype(value.dtype)
        for path, value in model.initial_weights(0).items()
    }
    dims = {name: size for name, size in DIMS.items() if name in model.program.main.dims}
    given = random_inputs(model.program, dims)
    expected = run(model.program, weights, given, precision="f64")
    runnable = model.compile("onnx", weights=weights, optimize=0)
    onnx.checker.check_model(runnable.native, full_check=True)
    assert difference(runnable(**given)["y"], expected["y"])[1] < 1e-5
    if nodes:
        assert kinds(runnable.native) == set(nodes.split())
    else:
        kept = model.emit("onnx", optimize=0, functions=True)
        assert parsed(kept)[1].functions
        found = BACKEND.load(kept, weights)(**given)["y"]
        assert difference(found, expected["y"])[1] < 1e-5


def test_composites_that_are_said_exist() -> None:
    from dlc_onnx.layers import LAYERS
    from dlc_onnx.rows import COMPOSITES

    from dlc.elaborate.base.project import library_index

    assert {*LAYERS, *COMPOSITES} <= {*library_index()}
    assert all(map(known, (*LAYERS, *COMPOSITES)))
