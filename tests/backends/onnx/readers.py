"""Programs that read ONNX files: each takes a file and inputs, and gives the outputs in the file's order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

Arrays = list[np.ndarray]
Reader = Callable[[Path, Mapping[str, np.ndarray]], Arrays]


def onnxruntime(path: Path, inputs: Mapping[str, np.ndarray]) -> Arrays:
    from onnxruntime import InferenceSession

    return list(InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, dict(inputs)))


def reference(path: Path, inputs: Mapping[str, np.ndarray]) -> Arrays:
    """ONNX's own evaluator, in NumPy."""
    from onnx import load
    from onnx.reference import ReferenceEvaluator

    return list(ReferenceEvaluator(load(path)).run(None, dict(inputs)))


def openvino(path: Path, inputs: Mapping[str, np.ndarray]) -> Arrays:
    """OpenVINO in full precision: on its own it takes bf16 on some processors."""
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(dict(inputs))
    return [np.asarray(found[each]) for each in compiled.outputs]


def tvm(path: Path, inputs: Mapping[str, np.ndarray]) -> Arrays:
    """TVM's importer and its own compilation, without dlc's backend."""
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    model = onnx.load(path)
    module = from_onnx(model, keep_params_in_input=False)
    machine = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
    found = machine["main"](*(tvm.runtime.tensor(inputs[each.name]) for each in model.graph.input))
    found = [found] if hasattr(found, "numpy") else list(found)
    return [each.numpy() for each in found]


READERS: Mapping[str, Reader] = {
    "onnxruntime": onnxruntime,
    "reference": reference,
    "openvino": openvino,
    "tvm": tvm,
}
