"""The same file, read by programs that have nothing of dlc: their outputs are those of the interpreter."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dlc_onnx import BACKEND

import dlc
from dlc.runtime.inputs import random_inputs
from dlc.runtime.interpret import run
from dlc.runtime.verify import difference
from tests.backends.onnx.readers import READERS
from tests.reference.cases import CASES
from tests.reference.small import generic, model_of

for package in ("onnx", "onnxruntime", "openvino", "tvm"):
    pytest.importorskip(package)

OPEN = """
module Mix(d: int)(x: [B, T, d]) -> [B, T, d] {
    y = reshape(x, [B * T, d]) |> linear(d) |> gelu
    return x + reshape(y, [B, T, d])
}
model Open()(x: [B, T, 6]) -> y: [B, T, 6] {
    for i in range(2) as mix { x = x |> Mix(6) }
    return x
}
model Last()(x: [B, T, 6]) -> y: [B, 6] { return x[:, -1] }
model Reading()(x: [B, 4, 6], m: [B, S, 6]) -> y: [B, 4, 6] {
    memory = tanh(m)
    scan xt in x along axis 1 with h = mean(memory, axis=1) {
        seen = softmax(einsum(xt + h, memory, "B d, B S d -> B S"), axis=-1)
        h = einsum(seen, memory, "B S, B S d -> B d")
        yield y = h
    }
    return y
}
"""
NAMES = (
    "xor",
    "lenet5",
    "resnet_bottleneck",
    "vit",
    "gpt2",
    "t5",
    "bert",
    "llama3",
    "gcn",
    "lstm_lm",
    "mamba",
)
# TVM compiles these for half a minute.
SLOW = {"lenet5", "resnet_bottleneck"}

# What a reader itself can't, with its message. A pass where a gap is declared fails too.
ATTENTION = (KeyError, "num_heads")  # TVM's importer knows only the Attention of ONNX Runtime's own domain
UNSHAPED = (Exception, "Reshape expects the input tensor to have known shape")  # after a sum over open axes
COMPUTED = (ValueError, "cannot handle ShapeExpr inputs")  # sizes that are sums
COMPARED = (ValueError, "Cannot use and / or / not operator to Expr")  # whether a length that is open is 0
SCANNED = (RuntimeError, "Scan is not implemented for other input axes than 0")
GAPS: dict[tuple[str, str], tuple[type[Exception], str]] = {
    ("tvm", "vit"): ATTENTION,
    ("tvm", "t5"): ATTENTION,
    ("tvm", "llama3"): ATTENTION,
    ("tvm", "gpt2"): UNSHAPED,
    ("tvm", "bert"): UNSHAPED,
    ("tvm", "gcn"): COMPUTED,
    ("tvm", "lstm_lm"): COMPARED,
    ("tvm", "mamba"): COMPARED,
    ("reference", "lstm_lm"): SCANNED,
    ("reference", "mamba"): SCANNED,
    ("reference", "Reading"): SCANNED,
    ("tvm", "Reading"): (NotImplementedError, "not supported for frontend ONNX: Scan"),
}


@cache
def model(name: str) -> tuple[Any, Any]:
    case = next((each for each in CASES if each.name == name), None)
    found = dlc.loads(OPEN)[name] if case is None else model_of(case)
    return found, generic(found.initial_weights(0))


def attempt(reader: str, name: str, path: Path, dims: dict[str, int] | None = None) -> None:
    """Let a reader run the file, where it can."""
    gap = GAPS.get((reader, name))
    if gap is None:
        agree(reader, name, path, dims)
        return
    with pytest.raises(gap[0], match=gap[1]):
        agree(reader, name, path, dims)


def agree(reader: str, name: str, path: Path, dims: dict[str, int] | None = None) -> None:
    """Let a reader run the file on random inputs, and compare."""
    found, weights = model(name)
    inputs = random_inputs(found.program, dims or {})
    expected = run(found.program, weights, inputs, precision="f64")
    feeds = {
        key: value.astype(np.float32) if value.dtype.kind == "f" else value for key, value in inputs.items()
    }
    for result, value in zip(READERS[reader](path, feeds), expected.values(), strict=True):
        assert result.shape == value.shape and difference(result, value)[1] < 1e-5


def written(name: str, folder: Path, *, single_file: bool = False) -> Path:
    found, weights = model(name)
    BACKEND.with_weights(found.emit("onnx"), weights, single_file=single_file).write(folder)
    (path,) = folder.glob("*.onnx")
    return path


PAIRS = [
    pytest.param(reader, name, marks=[pytest.mark.slow] if reader == "tvm" and name in SLOW else [])
    for name in NAMES
    for reader in READERS
]


@pytest.mark.parametrize(("reader", "name"), PAIRS)
def test_reader(reader: str, name: str, tmp_path: Path) -> None:
    attempt(reader, name, written(name, tmp_path))


@pytest.mark.parametrize("name", ["Open", "Last", "Reading"])
@pytest.mark.parametrize("reader", READERS)
def test_open_axes(reader: str, name: str, tmp_path: Path) -> None:
    path = written(name, tmp_path)
    open_ = "S" if name == "Reading" else "T"
    for dims in ({"B": 2, open_: 5}, {"B": 3, open_: 1}):
        attempt(reader, name, path, dims)


@pytest.mark.parametrize("reader", READERS)
def test_weights_in_the_same_file(reader: str, tmp_path: Path) -> None:
    path = written("xor", tmp_path, single_file=True)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    agree(reader, "xor", path)


# What of its index and slices a turn reads.
UNREAD = {
    "a state": "scan i in range(3) with y = x { y = y + tanh(y) }\nreturn y",
    "an open number of turns": "scan i in range(T) with y = x { y = y + tanh(y) }\nreturn y",
    "a truth": "scan i in range(3) with m = x > 0.0 { m = not m }\nreturn where(m, x, 0.0)",
    "a list": "scan i in range(3) { yield y = x }\nreturn sum(y, axis=0)",
    "a sequence": "scan xt in x along axis 1 with y = x { y = y + tanh(y) }\nreturn y",
    "one sequence of two": "scan a, b in x, x along axis 1 with h = x[:, 0] { h = h + tanh(b) }\nreturn x + h[:, none]",
}


@pytest.mark.parametrize("what", UNREAD)
def test_turns_that_do_not_read_their_place(what: str, tmp_path: Path) -> None:
    """OpenVINO leaves out what no turn reads, and took one turn where that was all that says how many there are."""
    lines = "\n".join(f"    {line}" for line in UNREAD[what].splitlines())
    made = dlc.loads(f"model Turns()(x: [B, T, 6]) -> y: [B, T, 6] {{\n{lines}\n}}\n")["Turns"]
    made.emit("onnx").write(tmp_path)
    x = random_inputs(made.program, {"B": 2, "T": 4})["x"].astype(np.float32)
    expected = run(made.program, {}, {"x": x}, precision="f64")["y"]
    for reader in ("openvino", "onnxruntime"):
        (found,) = READERS[reader](tmp_path / "turns.onnx", {"x": x})
        assert difference(found, expected)[1] < 1e-5, reader
