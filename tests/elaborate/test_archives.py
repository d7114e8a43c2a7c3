"""`npz("…")`: constants from a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dlc

TEXT = """
let TABLE = npz("table.npz")

model M(d: int = 4)(x: [B, d]) -> [B, d] {
    return x * TABLE.scale + TABLE["the bias"] + cast(TABLE.classes, float)
}
"""
SCALE = np.linspace(0, 1, 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bias = {"the bias": np.full((1, 4), 2, np.float32)}
    np.savez(
        tmp_path / "table.npz", scale=SCALE, classes=np.array([1, 2, 3, 4], np.int32), words=["a"], **bias
    )
    np.save(tmp_path / "one.npz.npy", SCALE)
    np.savez(tmp_path / "large.npz", scale=np.zeros((400, 400)))
    return tmp_path


def spec(folder: Path, text: str = TEXT) -> dlc.api.Spec:
    (folder / "m.dl").write_text(text)
    return dlc.load(folder / "m.dl")


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
def test_arrays_are_constants(folder: Path, backend: str) -> None:
    x = np.ones((2, 4), np.float32)
    (found,) = spec(folder)["M"].compile(backend)(x=x).values()
    np.testing.assert_allclose(found, x * SCALE + 2 + np.arange(1, 5), rtol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ("TABLE.scale", "TABLE.scal", "E0111", "has no `scal`"),
        ("TABLE.scale", "TABLE", "E0203", 'the file "table.npz"'),
        ("TABLE.scale", "TABLE.words", "E0204", "no numbers"),
        ('"table.npz"', '"tables.npz"', "E0008", "no such file"),
        ('"table.npz"', '"../../outside.npz"', "E0008", "outside the project's root"),
        ('"table.npz"', '"m.dl"', "E0008", "no npz file"),
        ('"table.npz"', '"one.npz.npy"', "E0008", "no npz file"),
        ('"table.npz"', '"large.npz"', "E0205", "100,000"),
        ('"table.npz"', "3", "E0204", "takes a path"),
        ('npz("table.npz")', 'npz("table.npz").scale', "E0204", "only a body"),
    ],
)
def test_what_can_go_wrong(folder: Path, old: str, new: str, code: str, message: str) -> None:
    found = spec(folder, TEXT.replace(old, new, 1)).check()
    assert found[0].code == code, [each.message for each in found]
    assert message in found[0].message
