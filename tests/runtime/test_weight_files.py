"""Files of weights: what is written comes back, and what is damaged, huge or of another kind is refused, cheaply and by name."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import dlc
from dlc.diagnostics import SpecError
from dlc.runtime.weight_files import read_file, write_file
from dlc.runtime.weights import fill

Tensors = dict[str, np.ndarray]
NAMES = ("file", "allow_pickle", "args", "kwds", "a.b.0", "a/b", "self", "…", "x.npy", "")
DTYPES = [
    np.float32, np.float64, np.float16, np.int64, np.int8, np.uint8, np.bool_,
    ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2,
]  # fmt: skip


def same(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
        assert found[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_names_and_dtypes_come_back(tmp_path: Path, suffix: str) -> None:
    tensors = {name: np.float32([1, 2]) for name in NAMES}
    tensors |= {np.dtype(dtype).name: np.arange(6).reshape(2, 3).astype(dtype) for dtype in DTYPES}
    tensors |= {"none": np.zeros((0, 3), np.float32), "one": np.float32(3).reshape(())}
    write_file(tmp_path / f"w{suffix}", tensors)
    same(read_file(tmp_path / f"w{suffix}"), tensors)


def test_tensors_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    """The package has them in another one in each process."""
    names = [f"layer.{i}.weight" for i in range(9)]
    write_file(tmp_path / "w.safetensors", {name: np.zeros(1, np.float32) for name in reversed(names)})
    assert list(read_file(tmp_path / "w.safetensors")) == names


def test_arrays_of_numpy_are_read(tmp_path: Path) -> None:
    tensors = {"a": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "b": np.arange(3, dtype=">i4")}
    np.savez_compressed(tmp_path / "w.npz", **tensors)
    found = read_file(tmp_path / "w.npz")
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name], array)


def refused(path: Path) -> str:
    with pytest.raises(SpecError) as raised:
        read_file(path)
    (found,) = raised.value.diagnostics
    assert found.code == "E0601", found
    return f"{found.message} {found.help}"


def archive(path: Path, entry: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("a.npy", entry)
    return path


def npy(array: np.ndarray, pickled: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=pickled)
    return file.getvalue()


def header(shape: str, descr: str = "<f4") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


GOOD = npy(np.arange(4, dtype=np.float32))
DAMAGED: dict[str, tuple[bytes, str]] = {
    "cut": (GOOD[:-3], "damaged"),
    "longer": (GOOD + b"..", "damaged"),
    "empty": (b"", "damaged"),
    "no header": (b"\x93NUMPY\x01\x00\xff\xff{", "damaged"),
    "no dict": (b"\x93NUMPY\x01\x00\x04\x00[1]\n", "damaged"),
    "negative": (header("(-1,)") + b"1234", "damaged"),
    "terabytes": (header("(2000000000000,)"), "damaged"),
    "nested": (header("(" * 60 + ")" * 60), "damaged"),
    "version": (b"\x93NUMPY\x09\x00" + GOOD[8:], "version"),
    "text": (npy(np.array(["a"])), "no numbers"),
    "complex": (npy(np.array([1j])), "no numbers"),
    "record": (npy(np.zeros(2, dtype=[("x", "f4")])), "no numbers"),
    "bytes": (header("(2,)", "|V2") + b"1234", "no numbers"),
    "pickle": (npy(np.array([{}], dtype=object), pickled=True), "no numbers"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_archives_are_refused(tmp_path: Path, kind: str) -> None:
    entry, said = DAMAGED[kind]
    assert said in refused(archive(tmp_path / "w.npz", entry))


def test_any_changed_byte_gives_the_numbers_or_a_diagnostic(tmp_path: Path) -> None:
    data = bytearray(archive(tmp_path / "w.npz", GOOD, zipfile.ZIP_DEFLATED).read_bytes())
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0xFF
        (tmp_path / "x.npz").write_bytes(changed)
        try:
            found = read_file(tmp_path / "x.npz")
        except SpecError as error:
            assert error.diagnostics[0].code == "E0601"
        else:
            assert [each.tobytes() for each in found.values()] == [np.arange(4, dtype=np.float32).tobytes()]


def test_what_unpacks_to_far_more_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlc.ops.npz.LARGE", 1 << 16)
    entry = npy(np.zeros(1 << 18, np.float32))
    path = archive(tmp_path / "w.npz", entry, zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("an entry was opened"))
    assert "unpack to 1,048,704" in refused(path)


def test_shards_are_one_file(tmp_path: Path) -> None:
    parts: dict[str, Tensors] = {
        "m-1.safetensors": {"a": np.float32([1]), "b": np.float32([2])},
        "m-2.safetensors": {"c": np.float32([3]).astype(ml_dtypes.bfloat16)},
    }
    for name, tensors in parts.items():
        write_file(tmp_path / name, tensors)
    index = tmp_path / "model.safetensors.index.json"
    where = {"c": "m-2.safetensors", "a": "m-1.safetensors", "b": "m-1.safetensors"}
    index.write_text(json.dumps({"metadata": {"total_size": 10}, "weight_map": where}))
    same(read_file(index), {**parts["m-2.safetensors"], **parts["m-1.safetensors"]})
    assert "model.safetensors.index.json" in refused(tmp_path)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({"weight_map": {"a": "m.safetensors", "b": "m.safetensors"}}, "lacks what the index says it has: b"),
        ({"weight_map": {"a": "n.safetensors"}}, "n.safetensors is not beside it"),
        ({"weight_map": {"x": "m.safetensors"}}, "lacks"),
        ({"weight_map": {"a": "two.safetensors"}}, "does not list: z"),
        ({"weight_map": {"a": "../m.safetensors"}}, "no safetensors file beside it"),
        ({"weight_map": {"a": "m.bin"}}, "no safetensors file beside it"),
        ({"weight_map": {"a": 3}}, "no safetensors file beside it"),
        ({"weight_map": {}}, "no `weight_map`"),
        ([1], "no `weight_map`"),
        ("{", ""),
        ("[" * 100_000, ""),
    ],
)
def test_wrong_indices_of_shards_are_refused(tmp_path: Path, index: Any, said: str) -> None:
    write_file(tmp_path / "m.safetensors", {"a": np.float32([1])})
    write_file(tmp_path / "two.safetensors", {"a": np.float32([1]), "z": np.float32([1])})
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(index if isinstance(index, str) else json.dumps(index))
    assert said in refused(path)


SPEC = """
model M()(x: [B, 2]) -> [B, 2] {
    param w: [2] = zeros
    buffer n: i64[2] = zeros
    return x * w + cast(n, float)
}

weights same for M {
    rename "v" -> "w"
}
"""


@pytest.fixture(scope="module")
def model() -> Any:
    return dlc.loads(SPEC)["M"]


WHOLE = np.int64([1, 2])


@pytest.mark.parametrize(
    ("w", "n", "said"),
    [
        (np.int8([1, 2]), WHOLE, "`w` is i8"),
        (np.uint8([1, 2]), WHOLE, "`w` is u8"),
        (np.int64([1, 2]), WHOLE, "`w` is i64"),
        (np.array([True, False]), WHOLE, "`w` is bool"),
        (np.float32([1, 2]).astype(ml_dtypes.float8_e4m3fn), WHOLE, "`w` is f8e4m3"),
        (np.float32([1, 2]).astype(ml_dtypes.float8_e5m2), WHOLE, "`w` is f8e5m2"),
        (np.float64([1, 1e300]), WHOLE, "`w` is f64 with 1e+300"),
        (np.float32([1, 2]), np.float32([1, 1.5]), "`n` is f32 with 1.5"),
        (np.float32([1, 2]), np.float32([1, np.nan]), "`n` is f32 with nan"),
        (np.float32([1, 2]), np.float32([1, np.inf]), "`n` is f32 with inf"),
        (np.float32([1, 2]), np.float64([1, 1e30]), "`n` is f64 with 1e+30"),
        (np.float32([1, 2]), np.uint64([1, 2**63]), "`n` is uint64 with 9223372036854775808"),
        (np.float32([1, 2]), np.float32([1, 2]), ""),
        (np.float16([1, np.inf]), np.int8([1, -2]), ""),
        (np.float32([1, 2]).astype(ml_dtypes.bfloat16), np.array([True, False]), ""),
        (np.float64([1, np.nan]), np.float32([1, 2]).astype(ml_dtypes.bfloat16), ""),
    ],
)
@pytest.mark.filterwarnings("error")
def test_numbers_that_a_parameter_has(model: Any, w: np.ndarray, n: np.ndarray, said: str) -> None:
    try:
        found = fill(model.parameters, {"w": w, "n": n})
    except SpecError as error:
        (told,) = error.diagnostics
        assert said and told.code == "E0607" and said in told.message, told.message
    else:
        assert not said
        assert (found["w"].dtype, found["n"].dtype) == (np.float32, np.int64)
        np.testing.assert_array_equal(found["w"], w.astype(np.float32))
        np.testing.assert_array_equal(found["n"], n.astype(np.int64))


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_conversion_keeps_half_floats(
    tmp_path: Path, suffix: str, dlc_cli: Callable[..., Any] | None = None
) -> None:
    from typer.testing import CliRunner

    from dlc.cli.application import build

    (tmp_path / "m.dl").write_text(SPEC)
    given = {"v": np.float32([1, 2]).astype(ml_dtypes.bfloat16), "n": WHOLE}
    write_file(tmp_path / "bf16.safetensors", given)
    for source, target, more in (
        ("bf16.safetensors", f"own{suffix}", []),
        (f"own{suffix}", f"back{suffix}", ["--reverse"]),
    ):
        arguments = [
            "weights",
            "convert",
            f"{tmp_path}/m.dl:M",
            f"{tmp_path}/{source}",
            "-o",
            f"{tmp_path}/{target}",
        ]
        result = CliRunner().invoke(build(), [*arguments, "--through", "same", *more])
        assert not result.exit_code, result.output
    same(read_file(tmp_path / f"own{suffix}"), {"w": given["v"], "n": WHOLE})
    same(read_file(tmp_path / f"back{suffix}"), given)
