"""Every dtype of the language on every backend: what a spec can do with it gives the reference's numbers in the reference's dtype, or is
a declared gap. The calls stand in one program, so that each backend compiles once."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dlc
from dlc import backend as backends
from dlc.diagnostics import SpecError
from dlc.ops.arrays import numpy_dtype
from dlc.ops.gaps import EVERY
from dlc.runtime.interpret import run
from dlc.runtime.scripts import write_script
from dlc.runtime.weights import read_file, write_file
from dlc.types.tensor import DTYPES, FLOATS, RANGES

# `DT` is the dtype.
ANY = (
    "x", "where(m, x, y)", "x == y", "x != y", "x < y", "x >= y", "sum(x)", "sum(x, axis=1)", "cumsum(x, 1)",
    "take(x, i, axis=1)", "take_along(x, j, 1)", "scatter(x, j, y[:, :2], axis=1)",
    "concat([x, y], 1)", "stack([x, y])", "flip(x, 1)", "x[:, 1:]", "x[::2]", "reshape(x, [4, 3])", "x.T",
    "broadcast(x[:1], [3, 4])", "tile(x, [2, 1])", "roll(x, 1, axis=1)", "tril(x)",
    "zeros([2, 3], DT)", "ones_like(x)", "tensor([1, 0, 1], dtype=DT)", "cast(one_hot(i, 4), DT)", "p",
    *(f"cast(x, {each})" for each in DTYPES if each != "u8"), "cast(f, DT)", "cast(i, DT)", "cast(m, DT)",
)  # fmt: skip
NUMBERS = (
    "x + y", "x - y", "x * y", "x + 1", "-x", "abs(x)", "sign(x)", "x // 3", "x % 3", "x ** 2", "square(x)", "x + p",
    "maximum(x, y)", "minimum(x, y)", "clamp(x, min=0, max=2)", "prod(x, axis=0)", "max(x, axis=1)", "min(x)",
    "argmax(x, 1)", "argmin(x, axis=0)", "cumprod(x, 1)", 'einsum(x, y, "a b, a b -> a")', "x @ z",
    "sort(x, axis=1)", "argsort(x, axis=1)", "top_k(x, 2)[0]", "scatter_add(x, j, y[:, :2], axis=1)", "segment_sum(x, i, 4)",
    "cast(abs(x), u8)", "scatter_max(x, j, y[:, :2], axis=1)", "pad(x, 1, 1, 1)", "full([2], 3, DT)", "arange(5, dtype=DT)",
    # what one op leaves for the next
    "(x + y) // 2", "cast(x + y, f32)", "x + y < x", "(x * y) % 3", "max(cumsum(x, 1), 1)",
)  # fmt: skip
OF_FLOATS = (
    "x / 2", "mean(x)", "var(x, axis=1)", "relu(x)", "softmax(x)", "exp(x)", "sqrt(abs(x))", "round(x)", "floor(x)", "sin(x)", "sigmoid(x)",
    "isnan(x)", "norm(x)",
)  # fmt: skip
OF_BOOLS = (
    "cast(x, u8)",
    "not x",
    "x and y",
    "x or y",
    "any(x)",
    "all(x, axis=1)",
    "mean(x)",
    "prod(cast(x, i64))",
)

NAMES = tuple(each for each in DTYPES if each != "float")
BACKENDS = ("torch", "jax", "onnx", "tvm")
PACKAGES = {"onnx": "onnxruntime"}
TOLERANCE = {"f64": 1e-12, "f16": 2e-3, "bf16": 2e-2, "f8e4m3": 0.07, "f8e5m2": 0.13}


def lacking(backend: str) -> frozenset[str]:
    """The dtypes that a backend declares to lack in all ops."""
    gap = backends.find(backend).gaps.get(EVERY)
    return gap.dtypes or frozenset() if gap else frozenset()


def model_of(dtype: str, without: frozenset[str] = frozenset()) -> Any:
    calls = (*ANY, *(OF_BOOLS if dtype == "bool" else NUMBERS), *(OF_FLOATS if dtype in FLOATS else ()))
    calls = tuple(each for each in calls if not any(name in each for name in without))
    names = ", ".join(f"y{k}: _" for k, _ in enumerate(calls))
    results = ",\n        ".join(calls).replace("DT", dtype)
    inputs = ", ".join(
        f"{name}: {dtype}[{size}]" for name, size in (("x", "3, 4"), ("y", "3, 4"), ("z", "4, 2"))
    )
    head = f"model M()({inputs}, i: i64[3], j: i64[3, 2], m: bool[3, 4], f: f32[3, 4]) -> ({names}) {{"
    text = f"{head}\n    param p: {dtype}[3, 4] = zeros\n    return (\n        {results}\n    )\n}}\n"
    return dlc.loads(text)["M"], dict(zip((f"y{k}" for k, _ in enumerate(calls)), calls, strict=True))


def numbers(dtype: str, *shape: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    if dtype in FLOATS:
        return (rng.integers(-3, 4, shape) / 2).astype(numpy_dtype(dtype))
    low, end = RANGES[dtype]
    return rng.integers(max(low, -90), min(end, 90), shape).astype(numpy_dtype(dtype))


def inputs_of(dtype: str) -> dict[str, Any]:
    x, y, z = (numbers(dtype, *shape, seed=seed) for seed, shape in enumerate(((3, 4), (3, 4), (4, 2))))
    places, rows = np.array([0, 3, 1]), np.array([[0, 1], [1, 2], [0, 3]])
    mask = np.random.default_rng(3).random((3, 4)) < 0.5
    return {
        "x": x,
        "y": y,
        "z": z,
        "i": places,
        "j": rows,
        "m": mask,
        "f": np.arange(12, dtype=np.float32).reshape(3, 4) % 8,
    }


CASES = [(backend, dtype) for backend in BACKENDS for dtype in NAMES if dtype not in lacking(backend)]


@pytest.mark.parametrize(("backend", "dtype"), CASES)
def test_what_a_dtype_can_do(backend: str, dtype: str) -> None:
    pytest.importorskip(PACKAGES.get(backend, backend))
    model, calls = model_of(dtype, lacking(backend))
    given, weights = inputs_of(dtype), {"p": numbers(dtype, 3, 4, seed=4)}
    expected = run(model.program, weights, given)
    found = model.compile(backend, weights=weights)(**given)
    near = TOLERANCE.get(dtype, 1e-5)
    for name, value in expected.items():
        call = calls[name]
        assert found[name].dtype == value.dtype, call
        if value.dtype.kind in "iub":
            np.testing.assert_array_equal(found[name], value, err_msg=call)
        else:
            each = [np.asarray(array, np.float64) for array in (found[name], value)]
            np.testing.assert_allclose(*each, rtol=near, atol=near, err_msg=call)


@pytest.mark.parametrize(
    ("backend", "dtype"), [(name, each) for name in BACKENDS for each in sorted(lacking(name))]
)
@pytest.mark.parametrize("body", ["x", "x + x", "zeros([2], DT)"])
def test_a_dtype_that_is_lacking(backend: str, dtype: str, body: str) -> None:
    text = f"model M()(x: DT[3]) -> _ {{\n    return {body}\n}}\n".replace("DT", dtype)
    with pytest.raises(SpecError) as caught:
        dlc.loads(text)["M"].emit(backend)
    assert caught.value.diagnostics[0].code == "E0802"
    assert all(f"not in {dtype}" in each.message and each.span.line for each in caught.value.diagnostics)


SMALL = """\
model M()(x: i4[4]) -> (y: i4[4], z: [4]) {
    param w: i4[4] = zeros
    param scale: [] = ones
    return x + w, cast(x * w, float) * scale
}
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_i4_from_a_file_and_back(backend: str, tmp_path: Path) -> None:
    """Weights of i4 are a byte to a number in files and for backends; what a file holds beyond 4 bits is refused."""
    pytest.importorskip(PACKAGES.get(backend, backend))
    model, file = dlc.loads(SMALL)["M"], tmp_path / "w.safetensors"
    write_file(file, {"w": np.array([7, -8, 3, 0], np.int8), "scale": np.ones((), np.float32)})
    found = model.compile(backend, weights=file)(x=np.array([1, -1, 7, -8]))
    assert found["y"].dtype == numpy_dtype("i4")
    np.testing.assert_array_equal(found["y"].astype(int), [-8, 7, -6, -8])
    np.testing.assert_array_equal(found["z"], [7, -8, 5, 0])
    with pytest.raises(SpecError) as caught:
        model.compile(backend, weights=file)(x=np.array([8, 0, 0, 0]))
    assert "`x` holds 8, and i4 goes from -8 to 7" in caught.value.diagnostics[0].message
    write_file(file, {"w": np.array([9, 0, 0, 0], np.int8), "scale": np.ones((), np.float32)})
    with pytest.raises(SpecError, match="9"):
        model.compile(backend, weights=file)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_what_is_stored_is_not_trained(backend: str) -> None:
    """A `param` of integers, or of floats for storage, is one that no gradient reaches: the others have theirs."""
    pytest.importorskip(backend)
    text = "model M()(x: [B, 3]) -> [B, 3] {\n    param codes: i8[3, 3] = ones\n    param scale: f8e4m3[3] = ones\n"
    text += "    param s: [3] = ones\n    return x @ cast(codes, float) * cast(scale, float) * s\n}\n"
    model = dlc.loads(text)["M"]
    assert [each.path for each in model.program.parameters if each.trainable] == ["s"]
    assert dlc.verify(model, backends=(backend,), gradients=True).agree


STORED_AND_TRAINED = """\
model Net(d: int = 6)(x: [B, d]) -> [B, 2] {
    param codes: i8[d, d] = ones
    param small: i4[d] = ones
    param f: CACHE[d] = ones
    param scale: [d] = ones
    return x @ (cast(codes, float) * scale * cast(small, float)) * cast(f, float) |> linear(2) as head
}

train fit {
    net = Net()
    batch (x: [B, 6], y: i64[B]) from synthetic(batch=8, high=2)
    minimize cross_entropy(net(x), y)
    optimizer = adamw(lr=1e-2)
    settings { steps = 2 }
}
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_leaves_what_is_stored(backend: str, tmp_path: Path) -> None:
    """As it is, in checkpoints too, while what is beside it is trained."""
    pytest.importorskip(PACKAGES.get(backend, backend))
    text = STORED_AND_TRAINED.replace("CACHE", "i16" if "f8e4m3" in lacking(backend) else "f8e4m3")
    dlc.train(dlc.loads(text)["fit"], backend=backend, out=tmp_path / "run")
    saved = read_file(tmp_path / "run" / "net.safetensors")
    assert all((saved[name].astype(float) == 1).all() for name in ("codes", "small", "f"))
    assert saved["small"].dtype == np.int8 and not (saved["scale"] == 1).any()


def test_a_script_of_a_training_says_what_it_lacks(tmp_path: Path) -> None:
    """optax makes steps for whatever is in the tree of parameters."""
    block = dlc.loads(STORED_AND_TRAINED.replace("CACHE", "f8e4m3"))["fit"]
    write_script(block, "torch", tmp_path / "torch")
    with pytest.raises(SpecError, match="parameters of i8"):
        write_script(block, "jax", tmp_path / "jax")


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx", "tvm"])
def test_inputs_that_f16_has_no_number_for_are_infinite(backend: str) -> None:
    """Without a word of NumPy's, which would not say of what."""
    doubled = dlc.loads("model Twice()(x: [B, 2]) -> y: [B, 2] {\n    return x * 2.0\n}\n")["Twice"]
    runnable = doubled.compile(backend, precision="f16")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = runnable(x=np.array([[1e6, 1.0]], np.float32))
    np.testing.assert_array_equal(np.asarray(found["y"], np.float32), [[np.inf, 2.0]])
