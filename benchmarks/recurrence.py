"""An LSTM on the CPU, by spec and by the operators of PyTorch and ONNX Runtime: python benchmarks/recurrence.py [THREADS]

Batch 16, 128 steps, 256 features in and hidden, one layer; all candidates have the same weights and take turns in one process.
The goal for TVM: at most 1.5 times the faster of the two operators."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

THREADS = sys.argv[1] if len(sys.argv) > 1 else "1"
os.environ.update(OMP_NUM_THREADS=THREADS)

import numpy as np  # noqa: E402 - thread counts are read when frameworks load
from timing import side_by_side, table  # noqa: E402

import dlc  # noqa: E402

Array = np.ndarray[Any, Any]

BATCH, STEPS, WIDTH = 16, 128, 256
SPEC = f"""
model Recurrent()(x: [B, T, {WIDTH}]) -> (y: [B, T, _], h: [_, B, _], c: [_, B, {WIDTH}]) {{
    y, h, c = lstm({WIDTH})(x) as lstm
    return y, h, c
}}
"""


def in_torch(weights: Mapping[str, Array], x: Array) -> Callable[[], Array]:
    import torch

    torch.set_num_threads(int(THREADS))
    layer = torch.nn.LSTM(WIDTH, WIDTH, batch_first=True)
    layer.load_state_dict(
        {path.removeprefix("lstm."): torch.from_numpy(each) for path, each in weights.items()}
    )
    given = torch.from_numpy(x)

    def run() -> Array:
        with torch.no_grad():
            return layer(given)[0].numpy()  # type: ignore[no-any-return]

    return run


def in_onnxruntime(weights: Mapping[str, Array], x: Array) -> Callable[[], Array]:
    """The operator by itself, on the sequence as it wants it: steps first."""
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    def gates(name: str) -> Array:
        """In ONNX's order: input, output, forget, cell."""
        i, f, g, o = np.split(weights[f"lstm.{name}"], 4)
        return np.concatenate([i, o, f, g])[None]

    stored = {
        "w": gates("weight_ih_l0"),
        "r": gates("weight_hh_l0"),
        "b": np.concatenate([gates("bias_ih_l0"), gates("bias_hh_l0")], axis=1),
    }
    node = helper.make_node("LSTM", ["x", "w", "r", "b"], ["y"], hidden_size=WIDTH)
    graph = helper.make_graph(
        [node],
        "lstm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("T", "B", WIDTH))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("T", 1, "B", WIDTH))],
        [numpy_helper.from_array(each, name) for name, each in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = int(THREADS)
    session = ort.InferenceSession(model.SerializeToString(), options)
    steps = np.ascontiguousarray(x.transpose(1, 0, 2))
    return lambda: session.run(None, {"x": steps})[0][:, 0].transpose(1, 0, 2)


def main() -> None:
    model = dlc.loads(SPEC)["Recurrent"]
    weights = model.initial_weights(0)
    x = np.random.default_rng(0).normal(size=(BATCH, STEPS, WIDTH)).astype(np.float32)
    runs = {"torch nn.LSTM": in_torch(weights, x), "onnxruntime LSTM": in_onnxruntime(weights, x)}
    for name in ("onnx", "tvm"):
        compiled = model.compile(name, weights=weights, optimize=2)
        runs[f"{name}, by spec"] = lambda compiled=compiled: compiled(x=x)["y"]
    wanted, *others = (run() for run in runs.values())
    for each in others:
        np.testing.assert_allclose(each, wanted, atol=1e-5)
    timings = side_by_side(runs, rounds=21, pause=0.1)
    best = min(("torch nn.LSTM", "onnxruntime LSTM"), key=lambda name: timings[name].median)
    print(
        f"\nLSTM, batch {BATCH}, {STEPS} steps, {WIDTH} wide, {THREADS} thread(s)\n\n{table(timings, best)}"
    )


if __name__ == "__main__":
    main()
