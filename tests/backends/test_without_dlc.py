"""What is emitted, at work as docs/deploying.md shows: from four threads, with what the spec allows and with what it doesn't; by dlc's runnables,
and by the page's scripts in processes that have nothing but what these name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement

import dlc
from dlc import backend as backends
from dlc.backend import Artifact
from dlc.runtime.checked import Checked
from dlc.runtime.indices import IndexCheck
from dlc.runtime.interpret import run
from dlc.runtime.weights import write_file
from tests.docs.pages import ROOT, blocks

for package in ("torch", "jax", "onnxruntime", "openvino", "tvm"):
    pytest.importorskip(package)

BLOCKS = {
    name: each.text
    for each in blocks()
    if each.page == ROOT / "docs/deploying.md"
    if (name := each.option("file"))
}
THREADS, CALLS = 4, 400
SHAPES = ((1, 1), (2, 5), (3, 64), (5, 2), (1, 33))

# A script, what it was compiled by, and the packages that it is given, with those that they ask for.
SCRIPTS = {
    "run_torch": ("torch", ("torch",)),
    "run_jax": ("jax", ("jax",)),
    "run_onnxruntime": ("onnx", ("onnxruntime",)),
    "run_openvino": ("onnx", ("openvino",)),
    "run_tvm": ("tvm", ("apache-tvm-ffi", "numpy")),
}

# What no file may compute of, and a word of what it says to that.
ILLEGAL: dict[str, tuple[Any, str]] = {
    "context": ([[1] * 65], "64"),
    "beyond": ([[1, 100]], ""),
    "below": ([[1, -1]], ""),
    "floats": ([[1.5, 2.0]], ""),
    "axis missing": ([1, 2, 3], ""),
    "axis too many": ([[[1, 2], [3, 4]]], ""),
}


@cache
def model() -> Any:
    return dlc.loads(BLOCKS["tagger.dl"])["Tagger"]


@cache
def artifact(backend: str) -> Artifact:
    found: Artifact = model().emit(backend)
    return found


@cache
def cases() -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    given = [rng.integers(0, 100, shape) for shape in SHAPES]
    weights = model().initial_weights(0)
    return [(tokens, run(model().program, weights, {"tokens": tokens})["scores"]) for tokens in given]


# --- with dlc


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx", "tvm"])
def test_threads_share_a_runnable(backend: str) -> None:
    loaded = backends.find(backend).load(artifact(backend), model().initial_weights(0))
    runnable = Checked(loaded, model().program, IndexCheck(model().program))

    def worst(i: int) -> float:
        tokens, expected = cases()[i % len(SHAPES)]
        return float(np.abs(runnable(tokens=tokens)["scores"] - expected).max())

    with ThreadPoolExecutor(THREADS) as pool:
        assert max(pool.map(worst, range(CALLS))) < 1e-5


# --- without


DRIVER = """
import importlib, json, sys
from concurrent.futures import ThreadPoolExecutor

script, threads, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
run = importlib.import_module(script).run
given = json.load(open("cases.json"))

def flat(value):
    return [x for each in value for x in flat(each)] if isinstance(value, list) else [value]

def worst(i):
    tokens, expected = given["legal"][i % len(given["legal"])]
    return max(abs(a - b) for a, b in zip(flat(run(tokens).tolist()), flat(expected), strict=True))

def answer(tokens):
    try:
        return ["", str(run(tokens).tolist())]
    except Exception as error:
        return [type(error).__name__, str(error)]

with ThreadPoolExecutor(threads) as pool:
    off = max(pool.map(worst, range(calls)))
    answers = dict(zip(given["illegal"], pool.map(answer, given["illegal"].values())))
print(json.dumps({"off": off, "answers": answers, "modules": sorted({each.partition(".")[0] for each in sys.modules})}))
"""


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_of_the_page(script: str, tmp_path: Path) -> None:
    backend, packages = SCRIPTS[script]
    folder = written(backend, tmp_path / "model")
    (folder / f"{script}.py").write_text(BLOCKS[f"{script}.py"])
    legal = [(tokens.tolist(), expected.tolist()) for tokens, expected in cases()]
    illegal = {name: tokens for name, (tokens, _) in ILLEGAL.items()}
    (folder / "cases.json").write_text(json.dumps({"legal": legal, "illegal": illegal}))
    found = alone(folder, environment(tmp_path / "packages", packages), script, THREADS, CALLS)

    assert found["off"] < 1e-5
    assert not {"dlc", "tvm", "safetensors", "onnx"} & set(found["modules"])
    for name, (_, word) in ILLEGAL.items():
        error, message = found["answers"][name]
        assert error, f"{name} gives {message}"
        assert word in message


def written(backend: str, folder: Path) -> Path:
    """A folder with what `dlc compile --init` writes."""
    weights, found = model().initial_weights(0), backends.find(backend)
    if found.has("with_weights"):
        return found.with_weights(artifact(backend), weights).write(folder)
    write_file(artifact(backend).write(folder) / "tagger.safetensors", weights)
    return folder


def environment(folder: Path, packages: tuple[str, ...]) -> Path:
    """A folder to import from, with these packages and those that they ask for; of TVM, with its runtime libraries alone."""
    folder.mkdir()
    for place in {place for each in closure(packages) for place in places(each)}:
        (folder / place.name).symlink_to(place)
    if "apache-tvm-ffi" in packages:
        (folder / "tvm/lib").mkdir(parents=True)
        for name in ("libtvm_runtime.so", "libtvm_runtime_extra.so"):
            (folder / "tvm/lib" / name).symlink_to(distribution("apache-tvm").locate_file(f"tvm/lib/{name}"))
    return folder


def closure(packages: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    ahead = list(packages)
    while ahead:
        name = ahead.pop()
        if name not in found and installed(name):
            found.add(name)
            wanted = map(Requirement, distribution(name).requires or ())
            ahead += [
                each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})
            ]
    return found


def installed(name: str) -> bool:
    try:
        return bool(distribution(name))
    except PackageNotFoundError:
        return False


def places(package: str) -> Iterator[Path]:
    """What a package has at the top of site-packages."""
    found = distribution(package)
    for name in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
        yield Path(str(found.locate_file(name)))


def alone(folder: Path, packages: Path, *arguments: object) -> Any:
    """What the driver prints in a process without site-packages, which finds those packages and its own folder."""
    variables = {**os.environ, "PYTHONPATH": str(packages), "OMP_NUM_THREADS": "1", "TVM_NUM_THREADS": "1"}
    command = [sys.executable, "-S", "-c", DRIVER, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


LABELLED = """
model Net()(x: [B, 4], label: i64[B]) -> loss: [] {
    return cross_entropy(x |> linear(5), label)
}

model Ignoring()(x: [B, 4], label: i64[B]) -> loss: [] {
    return cross_entropy(x |> linear(5), label, ignore=-1)
}
"""


@pytest.mark.parametrize("label", [-100, -1, 5])
def test_a_label_that_is_no_class_is_refused(label: int) -> None:
    """By what was emitted, or by what it says of its inputs; PyTorch's own label for nothing, -100, is none of dlc's."""
    given = {"x": np.ones((3, 4), np.float32), "label": np.array([0, 4, label])}
    spec = dlc.loads(LABELLED)
    for name in ("Net", "Ignoring"):
        model = spec[name]
        weights = model.initial_weights()
        legal = label == -1 and name == "Ignoring"
        artifacts = {each: model.emit(each) for each in ("torch", "onnx")}
        network = backends.find("torch").load(artifacts["torch"], weights)
        if legal:
            assert np.isfinite(network(**given)["loss"])
        else:
            with pytest.raises(IndexError, match="out of bounds"):
                network(**given)
        limits = json.loads(artifacts["onnx"].files[f"{model.identifier}.json"])["limits"]
        assert limits == ({"label": 5} if name == "Net" else {})


def test_a_label_that_is_no_class_is_refused_by_tvm() -> None:
    model = dlc.loads(LABELLED)["Net"]
    network = backends.find("tvm").load(model.emit("tvm"), model.initial_weights())
    for label in (-100, -1, 5):
        with pytest.raises(ValueError, match="label"):
            network(x=np.ones((3, 4), np.float32), label=np.array([0, 4, label]))


# What is a place in a table or on an axis, through calls, loops and other shapes of it; `maybe` may stand for nothing.
PLACES = """
fn shown(i: i64[n]) -> _ { return i[:, none] }

module Sums()(x: [N, 3], to: i64[N], G: dim) -> [G, 3] {
    return scatter_add(zeros([G, 3]), shown(to), x, axis=0)
}

model Graph()(x: [N, 3], from: i64[E], to: i64[E], tokens: i64[1, T], maybe: i64[E], G: dim) -> (y: [G, 3], z: [1, T, 2], w: [E, 3]) {
    sums = Sums()(take(x, from), to, G)
    table = embedding(7, 2)
    scan t in tokens along T with h = zeros([1, 2]) {
        h = h + table(t)
        yield z = h
    }
    return sums, z, take(x, where(maybe >= 0, maybe, 0))
}
"""


def test_places_on_axes_of_any_size() -> None:
    """TVM's kernels would read and write beyond them: the process ended by that."""
    model = dlc.loads(PLACES)["Graph"]
    onnx, tvm = model.emit("onnx"), model.emit("tvm")
    wanted = {"from": "N", "to": "G", "tokens": 7}
    assert json.loads(onnx.files["graph.json"])["limits"] == tvm.meta["limits"] == wanted
    weights = model.initial_weights()
    network = backends.find("tvm").load(tvm, weights)
    given = {
        "x": np.ones((3, 3), np.float32),
        "from": np.array([2, 0]),
        "to": np.array([0, 3]),
        "tokens": np.array([[6, 0, 1]]),
        "maybe": np.array([-1, 2]),
        "G": np.asarray(4),
    }
    expected = run(model.program, weights, given)
    for name, value in network(**given).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6)
    for name, size in (("from", 3), ("to", 4), ("tokens", 7)):
        for wrong in (-1, size, 10**7):
            with pytest.raises(ValueError, match=f"{name} must be from 0 to"):
                network(**{**given, name: np.where(given[name] == given[name].max(), wrong, given[name])})
