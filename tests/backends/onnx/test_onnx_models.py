"""The form of emitted models: functions, names, sizes, checks, weights beside them."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dlc_onnx import BACKEND
from dlc_onnx.graphs import every_node

import dlc
from dlc.backend import EmitOptions
from dlc.diagnostics import SpecError
from dlc.runtime.compile import write_artifact
from dlc.runtime.interpret import run
from dlc.runtime.weights import read_file

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

SPECS = Path(__file__).parents[3] / "specs"
SMALL_GPT2 = {"layers": 3, "d": 32, "heads": 4, "vocab": 60, "context": 32}


def gpt2() -> Any:
    return dlc.load(SPECS / "language/gpt2.dl")["GPT2"](**SMALL_GPT2)


def proto(artifact: Any) -> onnx.ModelProto:
    (content,) = (content for name, content in artifact.files.items() if name.endswith(".onnx"))
    return onnx.load_model_from_string(content)


def agree(model: Any, inputs: dict[str, np.ndarray], **options: Any) -> Any:
    """Compile, compare with the interpreter, and give what was compiled."""
    weights = model.initial_weights(0)
    runnable = model.compile("onnx", weights=weights, **options)
    compare(runnable, model, weights, inputs)
    return runnable


def agree_with_functions(model: Any, inputs: dict[str, np.ndarray]) -> Any:
    """The same with the model's modules kept as functions."""
    weights = model.initial_weights(0)
    runnable = BACKEND.load(model.emit("onnx", functions=True), weights)
    compare(runnable, model, weights, inputs)
    return runnable


def compare(runnable: Any, model: Any, weights: Any, inputs: dict[str, np.ndarray]) -> None:
    onnx.checker.check_model(runnable.native, full_check=True)
    expected = run(model.program, weights, inputs)
    found = runnable(**inputs)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape and found[name].dtype == value.dtype
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)


def loads(text: str, name: str = "M") -> Any:
    return dlc.loads(text)[name]


# Form


def test_importing_the_backend_imports_no_framework() -> None:
    code = "import dlc_onnx, sys; assert not {'onnx', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_emission_is_deterministic() -> None:
    assert gpt2().emit("onnx").files == gpt2().emit("onnx").files


def test_bodies_stand_in_the_graph() -> None:
    model = proto(gpt2().emit("onnx"))
    assert not model.functions and {node.domain for node in model.graph.node} == {""}
    assert [each.domain for each in model.opset_import] == [""]


def test_nodes_and_values_are_named_by_their_instance() -> None:
    graph = proto(gpt2().emit("onnx")).graph
    results = {node.name: list(node.output) for node in graph.node}
    assert len(results) == len(graph.node)
    assert results["/h.2/attn/c_attn/MatMul"] == ["/h.2/attn/c_attn/MatMul"]
    assert results["/h.2/attn/c_attn/Add"] == ["/h.2/attn/c_attn"]
    assert results["/h.2/attn/Gather"] == ["/h.2/attn/q"]
    assert results["/h.2/mlp/c_proj/Add"] == ["/h.2/mlp"]
    assert results["/h.2/Add_1"] == ["/h.2"]
    assert results["/MatMul"] == ["logits"]


def test_constants_and_sizes_are_called_by_what_they_are() -> None:
    """Nothing is left that says only that it is a constant, or the seventh concatenation."""
    text = """
let STEPS = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5]
model M()(x: [B, T, 9]) -> (y: [T, B, 9], z: [B, 2 * T + 1, 9]) {
    steps = tensor(STEPS)
    return broadcast(x[:, 0] * 0.5 + steps, [T, B, 9]), concat([x, x, full([B, 1, 9], float(T))], axis=1)
}
"""
    graph = proto(loads(text).emit("onnx", optimize=0)).graph
    made = {name: node.op_type for node in graph.node for name in node.output}
    constants = {name for name, kind in made.items() if kind == "Constant"}
    assert constants == {"/0", "/0.5", "/steps", "/[1]", "/[9]"}
    assert {name for name, kind in made.items() if kind == "Shape"} == {"/[B]", "/[T]"}
    assert made["/[T,1,1]"] == made["/[B,1,9]"] == "Concat"  # axes that are there already may be given as 1
    assert made["/T"] == "Squeeze"


def test_one_place_of_an_axis_is_gathered() -> None:
    """Where its axis goes at once, and nothing else reads the slice."""
    text = """
model M()(x: [B, T, 6]) -> (a: [B, 6], b: [B, 6], c: [B, T], d: [B, 1, 6], e: [B, 6], f: [B, 6]) {
    first = x[:, 0:1]
    scan xt in x with h = zeros([B, 6]) {
        h = h + xt[0]
    }
    return x[:, T - 1], x[:, T // 2], x[:, :, 2], first, squeeze(first, 1), h
}
"""
    x = np.random.default_rng(0).standard_normal((2, 5, 6)).astype(np.float32)
    graph = agree(loads(text), {"x": x}).native.graph
    kinds = Counter(node.op_type for node in graph.node)
    assert kinds["Gather"] == 3 and kinds["Slice"] == 1
    assert Counter(node.op_type for node in every_node(graph.node))["Gather"] == 4
    agree_with_functions(loads(text), {"x": x[:, :1]})


def test_nodes_that_say_one_op_stand_under_it() -> None:
    text = """
module Gate()(x: [B, 4]) -> [B, 4] { return silu(x) * silu(x * 2.0) }
model M()(x: [B, 4]) -> y: [B, 4] {
    best, places = top_k(x, 2)
    return Gate()(x) + sum(best, -1, keepdims=true) + cast(sum(places, -1, keepdims=true), f32)
}
"""
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    graph = agree(loads(text), {"x": x}).native.graph
    results = {node.name: list(node.output) for node in graph.node}
    assert results["/Gate/silu/Mul"] == ["/Gate/silu"]
    assert results["/Gate/silu_1/Mul"] == ["/Gate/silu_1"]
    assert results["/Gate/Mul"] == ["/Gate/Mul"]  # one node needs no scope
    assert results["/top_k/TopK"][1] == "/places"
    assert results["/top_k/GatherElements"] == ["/best"]
    inner = {name for node in graph.node for name in node.output if name.startswith("/Gate/silu/")}
    assert inner == {"/Gate/silu/Sigmoid"}


def test_loops_have_names() -> None:
    text = """
model M()(x: [B, T, 4], h: [B, 4]) -> (y: [B, T, 4], last: [B, 4]) {
    scan xt in x with h = h {
        h = tanh(xt + 0.5 * h)
        yield y = h
    }
    return y, h + 0.5
}
"""
    rng = np.random.default_rng(0)
    inputs = {"x": rng.standard_normal((2, 3, 4)).astype(np.float32), "h": np.zeros((2, 4), np.float32)}
    graph = agree(loads(text), inputs).native.graph
    (branches,) = (node for node in graph.node if node.op_type == "If")
    assert list(branches.output) == ["/h_last", "y"]
    graphs = {each.name: each.g for each in branches.attribute}
    turns = graphs["then_branch"]
    assert turns.name == "/turns" and graphs["else_branch"].name == "/no_turns"
    (scan,) = (node for node in turns.node if node.op_type == "Scan")
    (turn,) = (each.g for each in scan.attribute if each.name == "body")
    assert turn.name == "/turn" and [each.name for each in turn.input] == ["/h_prev", "/xt"]
    assert [node.op_type for node in turn.node] == ["Mul", "Add", "Tanh", "Identity"]
    constants = [node.output[0] for node in graph.node if node.op_type == "Constant"]
    assert constants.count("/0.5") == 1


def test_an_instance_that_is_called_twice() -> None:
    text = """
module Half()(x: [B, i]) -> [B, i] { return relu(linear(i)(x)) }
model M()(x: [B, 8]) -> y: [B, 8] {
    half = Half()
    return half(half(x))
}
"""
    runnable = agree(loads(text), {"x": np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)})
    graph = runnable.native.graph
    assert [node.name for node in graph.node if node.op_type == "Relu"] == ["/half/Relu", "/half_1/Relu"]
    assert [each.name for each in graph.initializer] == ["half.linear.weight", "half.linear.bias"]


def test_modules_are_functions_called_once_per_instance() -> None:
    model = proto(gpt2().emit("onnx", functions=True))
    onnx.checker.check_model(model, full_check=True)
    assert [function.name for function in model.functions] == ["Attention", "MLP", "Block"]
    calls = [node for node in model.graph.node if node.domain == "dlc"]
    assert [(node.name, node.op_type) for node in calls] == [(f"/h.{i}", "Block") for i in range(3)]
    assert "h.1.attn.c_attn.weight" in calls[1].input


def test_axes_are_named() -> None:
    model = proto(gpt2().emit("onnx"))

    def axes(info: Any) -> list[Any]:
        return [axis.dim_param or axis.dim_value for axis in info.type.tensor_type.shape.dim]

    assert axes(model.graph.input[0]) == ["B", "T"]
    assert axes(model.graph.output[0]) == ["B", "T", 60]
    infos = {info.name: axes(info) for info in model.graph.value_info}
    assert infos["/h.1/attn/q"] == ["B", 4, "T", 8]
    made = {name for node in model.graph.node for name in node.output}
    assert made - infos.keys() == {"logits"}
    block = proto(gpt2().emit("onnx", functions=True)).functions[-1]
    assert ["B", "T", 32] in map(axes, block.value_info)


def test_functions_that_differ_in_sizes_only_are_one() -> None:
    text = """
module Half(out: int)(x: [B, i]) -> [B, out] { return relu(linear(out)(x)) }
model M()(x: [B, 8]) -> y: [B, 2] { return Half(2)(Half(4)(x)) }
"""
    inputs = {"x": np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)}
    agree(loads(text), inputs)
    assert len(agree_with_functions(loads(text), inputs).native.functions) == 1


def test_forms_of_a_module_are_told_apart_by_what_they_have() -> None:
    text = """
module Stage(kind: string, wide: bool)(x: [B, i]) -> [B, i] {
    if wide { x = x |> linear(i) as extra }
    if kind == "gelu" { x = gelu(x) } else { x = relu(x) }
    return x
}
model M()(x: [B, 8]) -> y: [B, 8] {
    return x |> Stage("relu", false) |> Stage("relu", false) |> Stage("gelu", false) |> Stage("relu", true)
}
"""
    inputs = {"x": np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)}
    runnable = agree_with_functions(loads(text), inputs)
    assert [each.name for each in runnable.native.functions] == ["Stage", "StageGelu", "StageWithExtra"]


def test_forms_that_differ_in_several_settings() -> None:
    """Each setting that the plain form has not is said, until the name is free; a setting that is a module by its name alone."""
    text = """
module Wide(k: int)(x: [B, i]) -> [B, i] { return x * float(k) }
module Stage(wide: module, up: int, eps: float)(x: [B, i]) -> [B, i] {
    if up > 1 { x = x * float(up) }
    return wide(x + eps)
}
model M()(x: [B, 8]) -> y: [B, 8] {
    x = x |> Stage(Wide(1), 1, 1e-5) |> Stage(Wide(1), 1, 1e-5) |> Stage(Wide(1), 2, 1e-5)
    return x |> Stage(Wide(1), 2, 1e-6) |> Stage(Wide(2), 1, 1e-5)
}
"""
    inputs = {"x": np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)}
    runnable = agree_with_functions(loads(text), inputs)
    names = {each.name for each in runnable.native.functions if each.name.startswith("Stage")}
    assert names == {"Stage", "StageUp2", "StageEps1e06", "StageWide"}


def test_names_that_are_input_and_output() -> None:
    text = "model M()(x: [B], weight: [B]) -> (x: [B], y: [B], z: [B]) { return x, x + weight, x + weight }"
    values = {name: np.arange(3, dtype=np.float32) for name in ("x", "weight")}
    agree(loads(text), values)


def test_parameter_with_the_name_of_an_input() -> None:
    text = """
model M()(weight: [B, 4]) -> y: [B, 4] {
    param scale: [4] = ones as weight
    return weight * scale
}
"""
    agree(loads(text), {"weight": np.ones((2, 4), np.float32)})


# Sizes

SHAPES = [
    ("x: [B, T, 6]", "reshape(x, [B * T, 6])"),
    ("x: [B, T, 6]", "reshape(x, [T, B * 6])"),
    ("x: [B, T, 6]", "reshape(x, [B, T, 3, 2])"),
    ("x: [B, T, 6]", "reshape(x, [T, 2, B, 3])"),
    ("x: [B, 1, T]", "squeeze(x, 1)"),
    ("x: [B, T, 6]", "x[:, 0]"),
    ("x: [B, T, 6]", "x[:, -1]"),
    ("x: [B, T, 6]", "x[:, T // 2:, 1:5:2]"),
    ("x: [B, 2 * T + 1]", "x[:, T:2 * T] + arange(T, dtype=float)"),
    ("x: [B, T, 6]", "x[:, none] * 2.0"),
    ("x: [T]", "broadcast(x, [4, T, T])"),
    ("x: [B, T]", "pad(x, 1, T // 2, (T + 1) % 3)"),
    ("x: [B, T]", "x * float(T) / float(min(B, T))"),
    ("x: [B, T]", "concat([x, zeros([B, 2]), x], axis=1)"),
    ("x: [B, T]", "full([T, B], 2.5) + x.T"),
    ("x: [B, T]", "cumprod(x, 1)"),
    ("x: [B, T]", "take(x, argsort(x[0]), axis=1)"),
    ("x: [B, T]", "roll(x, 1, 1)"),
    ("x: [B, T]", 'rearrange(x, "B T -> (T B)")'),
    ("x: [B, T]", "eye(T) @ x.T"),
]


@pytest.mark.parametrize(("inputs", "result"), SHAPES, ids=[result for _, result in SHAPES])
def test_open_shapes(inputs: str, result: str) -> None:
    model = loads(f"model M()({inputs}) -> y: any[*R] {{\n    y = {result}\n    return y\n}}\n")
    value = model.inputs[0]
    for sizes in ({"B": 2, "T": 3}, {"B": 1, "T": 4}):
        shape = tuple(axis.evaluate(sizes) for axis in value.type.axes)
        agree(model, {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)})


def test_sizes_are_read_once_per_function() -> None:
    text = """
model M()(x: [B, T, 6]) -> (y: [*R], z: [*Q]) {
    return reshape(x, [B * T, 6]), reshape(x, [B * T * 2, 3])
}
"""
    kinds = [node.op_type for node in proto(loads(text).emit("onnx", optimize=0)).graph.node]
    assert kinds.count("Shape") <= 2 and kinds.count("Mul") <= 2


# Checks


def test_facts_and_inputs_are_checked() -> None:
    runnable = gpt2().compile("onnx")
    with pytest.raises(SpecError, match="T <= 32"):
        runnable(tokens=np.zeros((1, 33), np.int64))
    with pytest.raises(SpecError, match="missing"):
        runnable()
    with pytest.raises(SpecError, match="no input"):
        runnable(tokens=np.zeros((1, 3), np.int64), mask=np.zeros(3))
    with pytest.raises(SpecError, match="must be"):
        runnable(tokens=np.zeros((1, 3), np.float32))
    with pytest.raises(SpecError, match="axes"):
        runnable(tokens=np.zeros(3, np.int64))


def test_requires_are_checked_on_the_data() -> None:
    text = """
module Root()(x: [B]) -> [B] {
    require min(x) >= 0.0, "a root needs x >= 0"
    return sqrt(x)
}
model M()(x: [B], y: [B]) -> z: [B] { return Root()(x) + Root()(y) }
"""
    runnable = loads(text).compile("onnx")
    good, bad = np.ones(3, np.float32), np.array([1, -1, 1], np.float32)
    np.testing.assert_array_equal(runnable(x=good, y=good)["z"], 2 * good)
    for x, y in ((good, bad), (bad, good)):
        with pytest.raises(SpecError, match="a root needs"):
            runnable(x=x, y=y)


def test_updates_are_outputs() -> None:
    text = """
module Net()(x: [B, 4]) -> [B, 4] { return batch_norm() (x) |> linear(4) |> batch_norm as last }
model M()(x: [B, 4]) -> y: [B, 4] { return Net() (x) }
"""
    model = loads(text)
    weights = model.initial_weights(0)
    x = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    updates: dict[str, np.ndarray] = {}
    expected = run(model.training_program, weights, {"x": x}, updates=updates)
    runnable = BACKEND.load(model.emit("onnx", training=True), weights)
    np.testing.assert_allclose(runnable(x=x)["y"], expected["y"], rtol=1e-5, atol=1e-6)
    assert runnable.updates.keys() == updates.keys()
    for path, value in updates.items():
        np.testing.assert_allclose(runnable.updates[path], value, rtol=1e-5, atol=1e-6)


def test_draws_are_those_of_the_reference() -> None:
    text = """
module Noise()(x: [B, T]) -> [B, T] { return x + normal([B, T]) * uniform([T]) }
model M()(x: [B, T]) -> y: [B, T] {
    for i in range(3) { x = Noise()(x) }
    return x
}
"""
    model = loads(text)
    x = np.zeros((2, 5), np.float32)
    runnable = model.compile("onnx")
    for key in (3, 4):
        expected = run(model.program, {}, {"x": x}, rng=np.random.default_rng(key))
        np.testing.assert_allclose(runnable(x=x, key=key)["y"], expected["y"], rtol=1e-5)


def test_an_op_that_onnx_lacks_is_told() -> None:
    program = loads("model M()(x: [B]) -> y: [B] { return exp(x) }").program
    body = tuple(replace(op, op="hypot") for op in program.main.body)
    strange = program.with_functions({program.entry: replace(program.main, body=body)})
    with pytest.raises(SpecError, match="hypot"):
        BACKEND.emit(strange, EmitOptions())


def test_a_product_of_reciprocals_one_of_which_is_used_again() -> None:
    """A rewriting of onnxruntime's loses it; `dlc` turns that off."""
    spec = dlc.loads("""
model Net()(a: [B], b: [B], c: [B]) -> (one: [B], other: [B]) {
    inverse = 1.0 / a
    return inverse * c, inverse * (1.0 / b)
}
""")
    assert dlc.verify(spec["Net"], backends=["onnx"]).agree


# Weights and precision


def test_weights_stand_in_safetensors_beside_the_model(tmp_path: Path) -> None:
    model = gpt2()
    weights = model.initial_weights(0)
    complete = BACKEND.with_weights(model.emit("onnx"), weights)
    complete.write(tmp_path)
    written = read_file(tmp_path / "gpt2.safetensors")
    assert written.keys() == weights.keys()
    for path, value in weights.items():
        np.testing.assert_array_equal(written[path], value)
    onnx.checker.check_model(str(tmp_path / "gpt2.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "gpt2.onnx", providers=["CPUExecutionProvider"])
    tokens = np.arange(10).reshape(2, 5)
    expected = run(model.program, weights, {"tokens": tokens})["logits"]
    np.testing.assert_allclose(session.run(None, {"tokens": tokens})[0], expected, rtol=1e-5, atol=1e-6)
    assert BACKEND.with_weights(complete, {}) is complete


def test_weights_must_be_there_and_fit() -> None:
    model = gpt2()
    weights = model.initial_weights(0)
    artifact = model.emit("onnx")
    with pytest.raises(KeyError, match=r"wte\.weight"):
        BACKEND.load(artifact, {})
    with pytest.raises(ValueError, match="shape"):
        BACKEND.load(artifact, {**weights, "wte.weight": np.zeros((60, 31), np.float32)})


@pytest.mark.parametrize(("precision", "bound"), [("f64", 1e-6), ("f16", 0.02), ("bf16", 0.1)])
def test_precisions(precision: str, bound: float) -> None:
    model = dlc.load(SPECS / "language/llama3_8b.dl")["Llama"](
        layers=2, d=32, heads=4, kv_heads=2, ff=64, vocab=60, context=64
    )
    weights = model.initial_weights(0)
    tokens = np.arange(10).reshape(2, 5)
    runnable = model.compile("onnx", weights=weights, precision=precision)
    onnx.checker.check_model(runnable.native, full_check=True)
    expected = run(model.program, weights, {"tokens": tokens}, precision="f64")["logits"]
    found = runnable(tokens=tokens)["logits"]
    assert found.dtype.name == {"f64": "float64", "f16": "float16", "bf16": "bfloat16"}[precision]
    assert np.abs(found.astype(np.float64) - expected).max() < bound * np.abs(expected).max()


def test_bf16_stays_bf16_for_a_gpu() -> None:
    def casts(target: str) -> int:
        nodes = proto(gpt2().emit("onnx", precision="bf16", target=target)).graph.node
        return sum(node.op_type == "Cast" for node in nodes)

    assert casts("cuda") == 0 < casts("")


def test_a_kernel_that_onnxruntime_lacks_is_told() -> None:
    model = loads("model M()(x: [B, 2, 5]) -> y: [B, 3, 5] { return conv1d(3, 3, padding=1) (x) }")
    with pytest.raises(SpecError, match=r"E0802.*onnxruntime has no kernel"):
        model.compile("onnx", precision="f64")


def test_a_device_that_is_not_there() -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has one")
    with pytest.raises(SpecError, match="cuda"):
        gpt2().compile("onnx", device="cuda")


def test_dlpack_goes_in() -> None:
    torch = pytest.importorskip("torch")
    model = gpt2()
    runnable = model.compile("onnx")
    tokens = np.arange(6).reshape(1, 6)
    np.testing.assert_array_equal(
        runnable(tokens=torch.from_numpy(tokens))["logits"], runnable(tokens=tokens)["logits"]
    )


def test_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    session = loads("model M()(x: [B]) -> y: [B] { return exp(x) }").compile("onnx").session
    assert session.get_session_options().intra_op_num_threads == 1


# One file


def test_a_single_file_holds_the_weights(tmp_path: Path) -> None:
    model = gpt2()
    weights = model.initial_weights(0)
    complete = BACKEND.with_weights(model.emit("onnx"), weights, single_file=True)
    assert list(complete.files) == ["gpt2.onnx"]
    complete.write(tmp_path)
    onnx.checker.check_model(str(tmp_path / "gpt2.onnx"), full_check=True)
    tokens = np.arange(10).reshape(2, 5)
    expected = run(model.program, weights, {"tokens": tokens})["logits"]
    session = onnxruntime.InferenceSession(tmp_path / "gpt2.onnx", providers=["CPUExecutionProvider"])
    loaded = BACKEND.load(complete, {})
    for found in (session.run(None, {"tokens": tokens})[0], loaded(tokens=tokens)["logits"]):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_single_file_that_would_be_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlc_onnx.weights.SINGLE_FILE", 1000)
    model = gpt2()
    with pytest.raises(SpecError, match="2 GiB") as caught:
        BACKEND.with_weights(model.emit("onnx"), model.initial_weights(0), single_file=True)
    assert caught.value.diagnostics[0].code == "E0901" and "--single-file" in caught.value.diagnostics[0].help


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no choice between a flat form"):
        gpt2().emit("torch", functions=True)
    with pytest.raises(SpecError, match="there is no single file"):
        write_artifact(gpt2(), "torch", tmp_path, single_file=True, seed=0)
    with pytest.raises(SpecError, match="needs weights"):
        write_artifact(gpt2(), "onnx", tmp_path, single_file=True)
    assert not list(tmp_path.iterdir())


def test_layers_of_other_widths_in_bf16() -> None:
    """What a layer computes in f32 is the layer's own, though a temporary name of it is that of another one's."""
    text = """
    model M(widths: list[int] = [3, 5])(x: [B, 4]) -> _ {
        for w in widths { x = x + (x |> linear(w) |> silu |> linear(4)) }
        return x
    }
    """
    report = dlc.verify(dlc.loads(text)["M"], backends=("onnx",), precision="bf16")
    assert report.agree, str(report)
