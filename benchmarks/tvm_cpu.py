"""How fast the TVM pipeline is on this CPU, against ONNX Runtime on the same network and the same weights.

    python benchmarks/tvm_cpu.py [--models gpt2 resnet50] [--threads 1 2] [--form decomposed native]

Each network is written once, over a handful of operations that two writers say: one as Relax (in the shapes that
dlc's emitter produces), one as ONNX (in the shapes that ONNX Runtime fuses best). Rounds of the two alternate in
one process, so that a noisy machine disturbs both alike, and the medians are compared. A pause before each round
lets the other's threads, which spin for a while after their last task, go to sleep.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from dlc_tvm.build import build
from dlc_tvm.runtime import load
from tvm import relax

Array = np.ndarray[Any, Any]


class RelaxWriter:
    """Says a network as Relax; `native` picks the composite operations, otherwise they are written out."""

    def __init__(self, *, native: bool) -> None:
        self.op, self.native = relax.op, native
        self.builder = relax.BlockBuilder()
        self.inputs: list[Any] = []
        self.weights: dict[str, Array] = {}
        self.variables: dict[str, Any] = {}

    def emit(self, value: Any) -> Any:
        return self.builder.emit(value)

    def scalar(self, value: float) -> Any:
        return relax.const(np.float32(value))

    def input(self, name: str, shape: tuple[Any, ...], dtype: str = "float32") -> Any:
        variable = relax.Var(name, relax.TensorType(shape, dtype))
        self.inputs.append(variable)
        return variable

    def weight(self, name: str, value: Array) -> Any:
        if name not in self.variables:
            self.weights[name] = value
            variable_type = relax.TensorType(value.shape, str(value.dtype))
            self.variables[name] = relax.Var(name.replace(".", "_"), variable_type)
        return self.variables[name]

    def linear(self, x: Any, weight: Any, bias: Any | None = None) -> Any:
        y = self.emit(self.op.matmul(x, self.emit(self.op.permute_dims(weight))))
        return y if bias is None else self.add(y, bias)

    def add(self, a: Any, b: Any) -> Any:
        return self.emit(self.op.add(a, b))

    def matmul(self, a: Any, b: Any) -> Any:
        return self.emit(self.op.matmul(a, b))

    def scale(self, x: Any, factor: float) -> Any:
        return self.emit(self.op.multiply(x, self.scalar(factor)))

    def permute(self, x: Any, axes: list[int]) -> Any:
        return self.emit(self.op.permute_dims(x, axes))

    def reshape(self, x: Any, shape: tuple[Any, ...]) -> Any:
        return self.emit(self.op.reshape(x, shape))

    def part(self, x: Any, axis: int, begin: int, end: int) -> Any:
        return self.emit(self.op.strided_slice(x, [axis], [begin], [end]))

    def take(self, table: Any, indices: Any) -> Any:
        return self.emit(self.op.take(table, indices, axis=0))

    def relu(self, x: Any) -> Any:
        return self.emit(self.op.nn.relu(x) if self.native else self.op.maximum(x, self.scalar(0.0)))

    def mean(self, x: Any, axes: list[int]) -> Any:
        return self.emit(self.op.mean(x, axes))

    def max_pool(self, x: Any, size: int, stride: int, padding: int) -> Any:
        return self.emit(self.op.nn.max_pool2d(x, (size, size), (stride, stride), (padding, padding)))

    def conv(self, x: Any, weight: Any, bias: Any, stride: int, padding: int) -> Any:
        y = self.emit(self.op.nn.conv2d(x, weight, strides=(stride, stride), padding=(padding, padding)))
        return self.add(y, self.reshape(bias, (1, int(bias.ty.shape[0]), 1, 1)))

    def softmax(self, x: Any) -> Any:
        if self.native:
            return self.emit(self.op.nn.softmax(x, -1))
        e = self.emit(
            self.op.exp(self.emit(self.op.subtract(x, self.emit(self.op.max(x, [-1], keepdims=True)))))
        )
        return self.emit(self.op.divide(e, self.emit(self.op.sum(e, [-1], keepdims=True))))

    def layer_norm(self, x: Any, weight: Any, bias: Any) -> Any:
        if self.native:
            return self.emit(self.op.nn.layer_norm(x, weight, bias, axes=[-1], epsilon=1e-5))
        centred = self.emit(self.op.subtract(x, self.emit(self.op.mean(x, [-1], keepdims=True))))
        squares = self.emit(self.op.multiply(centred, centred))
        variance = self.emit(self.op.mean(squares, [-1], keepdims=True))
        scale = self.emit(self.op.rsqrt(self.emit(self.op.add(variance, self.scalar(1e-5)))))
        normal = self.emit(self.op.multiply(centred, scale))
        return self.add(self.emit(self.op.multiply(normal, weight)), bias)

    def gelu(self, x: Any) -> Any:
        if self.native:
            return self.emit(self.op.nn.gelu_tanh(x))
        cube = self.emit(self.op.multiply(self.emit(self.op.multiply(x, x)), x))
        inner = self.scale(self.add(x, self.scale(cube, 0.044715)), 0.7978845608028654)
        gate = self.add(self.emit(self.op.tanh(inner)), self.scalar(1.0))
        return self.emit(self.op.multiply(self.scale(x, 0.5), gate))

    def module(self, network: Callable[[Any], Any]) -> Any:
        """The module of `network(self)`; its parameters are the inputs, then the weights in order of first use."""
        with self.builder.function("main"):
            with self.builder.dataflow():
                result = self.builder.emit_output(network(self))
            parameters = [*self.inputs, *self.variables.values()]
            self.builder.emit_func_output(result, parameters)
        module = self.builder.finalize()
        module["main"] = module["main"].with_attr("num_input", len(self.inputs))
        return module


class OnnxWriter:
    """Says the same network as ONNX, with native operations throughout and the weights as initializers."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.weights: dict[str, Array] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def node(self, kind: str, *operands: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(operands), [name], **attributes))
        return name

    def constant(self, value: Any, dtype: str = "float32") -> str:
        array = np.asarray(value, dtype)
        name = f"c_{dtype}_{array.tolist()}"
        self.weights[name] = array
        return name

    def input(self, name: str, shape: tuple[int, ...], dtype: str = "float32") -> str:
        from onnx import helper

        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def weight(self, name: str, value: Array) -> str:
        self.weights[name] = value
        return name

    def linear(self, x: str, weight: str, bias: str | None = None) -> str:
        self.weights[f"{weight}.T"] = np.ascontiguousarray(self.weights[weight].T)
        y = self.node("MatMul", x, f"{weight}.T")
        return y if bias is None else self.node("Add", y, bias)

    def add(self, a: str, b: str) -> str:
        return self.node("Add", a, b)

    def matmul(self, a: str, b: str) -> str:
        return self.node("MatMul", a, b)

    def scale(self, x: str, factor: float) -> str:
        return self.node("Mul", x, self.constant(factor))

    def permute(self, x: str, axes: list[int]) -> str:
        return self.node("Transpose", x, perm=axes)

    def reshape(self, x: str, shape: tuple[int, ...]) -> str:
        return self.node("Reshape", x, self.constant(shape, "int64"))

    def part(self, x: str, axis: int, begin: int, end: int) -> str:
        bounds = (self.constant([value], "int64") for value in (begin, end, axis))
        return self.node("Slice", x, *bounds)

    def take(self, table: str, indices: str) -> str:
        return self.node("Gather", table, indices, axis=0)

    def relu(self, x: str) -> str:
        return self.node("Relu", x)

    def mean(self, x: str, axes: list[int]) -> str:
        return self.node("ReduceMean", x, self.constant(axes, "int64"), keepdims=0)

    def max_pool(self, x: str, size: int, stride: int, padding: int) -> str:
        return self.node("MaxPool", x, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[padding] * 4)

    def conv(self, x: str, weight: str, bias: str, stride: int, padding: int) -> str:
        return self.node("Conv", x, weight, bias, strides=[stride] * 2, pads=[padding] * 4)

    def softmax(self, x: str) -> str:
        return self.node("Softmax", x, axis=-1)

    def layer_norm(self, x: str, weight: str, bias: str) -> str:
        return self.node("LayerNormalization", x, weight, bias, axis=-1, epsilon=1e-5)

    def gelu(self, x: str) -> str:
        return self.node("Gelu", x, approximate="tanh")

    def model(self, network: Callable[[Any], Any]) -> Any:
        from onnx import TensorProto, helper, numpy_helper

        result = network(self)
        output = helper.make_tensor_value_info(result, TensorProto.FLOAT, None)
        used = {name for node in self.nodes for name in node.input}
        tensors = [numpy_helper.from_array(v, k) for k, v in self.weights.items() if k in used]
        graph = helper.make_graph(self.nodes, "network", self.inputs, [output], tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


class Weights:
    """Random weights by name, the same ones for every writer."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer

    def __call__(self, name: str, *shape: int, around: float = 0.0) -> Any:
        seed = int.from_bytes(name.encode()[-8:], "little")
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 400
        noise = np.random.default_rng(seed).standard_normal(shape, np.float32)
        return self.writer.weight(name, (around + noise * fan_in**-0.5).astype(np.float32))


def gpt2(
    w: Any, *, tokens: int = 128, layers: int = 12, width: int = 768, heads: int = 12, vocabulary: int = 50257
) -> Any:
    """GPT-2 124M at batch 1, with the output layer tied to the token table."""
    weight, head = Weights(w), width // heads
    mask = w.weight("mask", np.triu(np.full((tokens, tokens), -1e30, np.float32), 1))

    def norm(x: Any, name: str) -> Any:
        return w.layer_norm(x, weight(f"{name}.g", width, around=1.0), weight(f"{name}.b", width))

    def linear(x: Any, name: str, fan_in: int, fan_out: int) -> Any:
        return w.linear(x, weight(f"{name}.w", fan_out, fan_in), weight(f"{name}.b", fan_out))

    def attention(x: Any, name: str) -> Any:
        joined = linear(x, f"{name}.qkv", width, 3 * width)
        parts = [
            w.reshape(w.part(joined, 2, i * width, (i + 1) * width), (1, tokens, heads, head))
            for i in range(3)
        ]
        query, key, value = (w.permute(part, [0, 2, 1, 3]) for part in parts)
        scores = w.scale(w.matmul(query, w.permute(key, [0, 1, 3, 2])), head**-0.5)
        mixed = w.matmul(w.softmax(w.add(scores, mask)), value)
        return linear(
            w.reshape(w.permute(mixed, [0, 2, 1, 3]), (1, tokens, width)), f"{name}.out", width, width
        )

    def block(x: Any, name: str) -> Any:
        x = w.add(x, attention(norm(x, f"{name}.n1"), f"{name}.att"))
        hidden = w.gelu(linear(norm(x, f"{name}.n2"), f"{name}.up", width, 4 * width))
        return w.add(x, linear(hidden, f"{name}.down", 4 * width, width))

    table = weight("wte", vocabulary, width)
    ids = w.input("ids", (tokens,), "int64")
    x = w.add(w.take(table, ids), weight("wpe", tokens, width))
    x = w.reshape(x, (1, tokens, width))
    for layer in range(layers):
        x = block(x, f"b{layer}")
    return w.linear(norm(x, "nf"), table)


def resnet50(w: Any, *, size: int = 224, classes: int = 1000) -> Any:
    """ResNet-50 at batch 1, with batch norm folded into the convolutions."""
    weight = Weights(w)

    def conv(x: Any, name: str, fan_in: int, fan_out: int, kernel: int, stride: int = 1) -> Any:
        kernel_weight = weight(f"{name}.w", fan_out, fan_in, kernel, kernel)
        return w.conv(x, kernel_weight, weight(f"{name}.b", fan_out), stride, kernel // 2)

    def bottleneck(x: Any, name: str, fan_in: int, middle: int, stride: int) -> Any:
        y = w.relu(conv(x, f"{name}.1", fan_in, middle, 1))
        y = w.relu(conv(y, f"{name}.2", middle, middle, 3, stride))
        y = conv(y, f"{name}.3", middle, 4 * middle, 1)
        projected = stride != 1 or fan_in != 4 * middle
        return w.relu(w.add(y, conv(x, f"{name}.s", fan_in, 4 * middle, 1, stride) if projected else x))

    x = w.input("image", (1, 3, size, size))
    x = w.max_pool(w.relu(conv(x, "stem", 3, 64, 7, 2)), 3, 2, 1)
    fan_in = 64
    for stage, (middle, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for turn in range(count):
            x = bottleneck(x, f"s{stage}.{turn}", fan_in, middle, 2 if stage and not turn else 1)
            fan_in = 4 * middle
    return w.linear(w.mean(x, [2, 3]), weight("fc.w", classes, fan_in), weight("fc.b", classes))


NETWORKS: dict[str, Callable[[Any], Any]] = {"gpt2": gpt2, "resnet50": resnet50}
PAUSE = 0.25  # seconds; longer than either runtime's threads spin


def sample(model: str) -> Array:
    rng = np.random.default_rng(0)
    if model == "gpt2":
        return rng.integers(0, 50257, 128)
    return rng.standard_normal((1, 3, 224, 224), np.float32)


def onnxruntime_call(model: str, threads: int) -> Callable[[], Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    content = OnnxWriter().model(NETWORKS[model]).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: sample(model)}
    return lambda: session.run(None, feed)[0]


def tvm_call(model: str, threads: int, form: str) -> tuple[Callable[[], Array], dict[str, float]]:
    """The call, and how many seconds it took to get there."""
    writer = RelaxWriter(native=form == "native")
    module = writer.module(NETWORKS[model])
    start = time.perf_counter()
    content = build(module)
    built = time.perf_counter()
    library = load(content, threads=threads)
    weights = library.prepare(list(writer.weights.values()))
    prepared = time.perf_counter()
    value = sample(model)
    return lambda: library.run(value, weights=weights)[0], {
        "build": built - start,
        "prepare": prepared - built,
    }


def compare(
    ours: Callable[[], Array], theirs: Callable[[], Array], *, rounds: int, calls: int
) -> tuple[float, float]:
    """Median milliseconds per call of both, in alternating rounds."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, found in zip((ours, theirs), times, strict=True):
            time.sleep(PAUSE)
            call()
            for _ in range(calls):
                start = time.perf_counter()
                call()
                found.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument(
        "--form", nargs="+", choices=("decomposed", "native"), default=["decomposed", "native"]
    )
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--calls", type=int, default=4)
    options = parser.parse_args()
    print(f"{'model':10} {'form':10} threads  TVM ms  ORT ms  ratio  build s  prepare s  difference")
    for model in options.models:
        for form in options.form:
            for threads in options.threads:
                ours, seconds = tvm_call(model, threads, form)
                theirs = onnxruntime_call(model, threads)
                difference = float(np.abs(ours() - theirs()).max())
                ms, ort = compare(ours, theirs, rounds=options.rounds, calls=options.calls)
                costs = f"{seconds['build']:7.2f}  {seconds['prepare']:9.2f}  {difference:10.1e}"
                print(
                    f"{model:10} {form:10} {threads:7} {ms:7.1f} {ort:7.1f} {ms / ort:6.2f}  {costs}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
