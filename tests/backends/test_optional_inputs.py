"""Optional inputs: emitted source may be called with and without each, whichever it was emitted with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import dlc
from dlc.cli import build

TEXT = """
model M(d: int = 4)(x: [B, d], h: [B, d] = none, keep: bool[B] = none) -> y: [B, d] {
    y = linear(d)(x) as fc
    if h != none { y = y + h }
    if keep != none { y = where(keep[:, none], y, 0.0) }
    return y
}
"""


@pytest.mark.parametrize(
    ("backend", "signature"),
    [
        ("torch", "x: Tensor, h: Tensor | None = None, keep: Tensor | None = None"),
        ("jax", "h: Array | None = None, keep: Array | None = None"),
    ],
)
def test_a_later_one_makes_no_earlier_one_required(backend: str, signature: str) -> None:
    plain: dlc.Model = dlc.loads(TEXT, name="m.dl")["M"]
    model = plain.with_inputs("keep")
    (text,) = map(str, model.emit(backend).files.values())
    assert signature in " ".join(text.split())
    assert text == str(plain.emit(backend).files["m.py"])
    assert dlc.verify(model, backends=("torch", "jax"), gradients=True).agree


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_function_with_one_takes_its_sizes_by_name(backend: str) -> None:
    text = """
    fn widened(x: [B, k], extra: [B, k] = none, n: int) -> [B, n] {
        y = x if extra == none else x + extra
        return concat([y, zeros([B, n - k])], axis=-1)
    }
    model Net(d: int = 4, n: int = 7)(x: [B, d]) -> [B, n] {
        return widened(x, n=n) + widened(x, extra=x, n=n)
    }
    """
    model = dlc.loads(text)["Net"]
    (source,) = map(str, model.emit(backend).files.values())
    assert "= None, *, " in " ".join(source.split())
    x = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(model.compile(backend)(x=x)["output"], [[3.0] * 4 + [0.0] * 3] * 2)


def test_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "m.dl").write_text(TEXT)
    np.save(tmp_path / "keep.npy", np.array([True, False]))
    run, given = CliRunner().invoke, ["--input", f"keep={tmp_path}/keep.npy"]
    spec = str(tmp_path / "m.dl")
    result = run(build(), ["verify", spec, "--backends", "onnx", "--with", "h", *given])
    assert result.exit_code == 0, result.output
    result = run(build(), ["show", spec, "--with", "h,keep"])
    assert "model M(%x: [B, 4], %h: [B, 4], %keep: bool[B])" in result.output
    result = run(build(), ["verify", spec, "--input", f"kep={tmp_path}/keep.npy"])
    assert result.exit_code == 2 and "there is no input `kep`" in result.output
