"""The examples do what they say. Those that are packages are made known as an installation would: by their entry points."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


def dlc(*words: str, path: tuple[Path, ...] = (), cwd: Path = ROOT) -> str:
    """What `dlc` prints with further folders on the module path."""
    return python("-m", "dlc", *words, path=path, cwd=cwd)


def python(*words: str, path: tuple[Path, ...] = (), cwd: Path = ROOT) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*map(str, path), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "NO_COLOR": "1",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run([sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def install(folder: Path, name: str, entry_points: Mapping[str, Mapping[str, str]]) -> Path:
    """A folder with the metadata that an installed package of that name has."""
    metadata = folder / f"{name}-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n", encoding="utf-8"
    )
    lines = [
        line
        for group, entries in entry_points.items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in entries.items()), "")
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_first_spec(tmp_path: Path) -> None:
    spec = str(EXAMPLES / "first_spec.dl")
    assert "nothing wrong" in dlc("check", spec)
    assert "1 passed" in dlc("test", spec)
    trained = dlc(
        "train", spec, "--backend", "torch", "--out", str(tmp_path / "run"), "--set", "settings.steps=3"
    )
    assert "accuracy" in trained


def test_embed_api() -> None:
    printed = python(str(EXAMPLES / "embed_api.py"))
    assert "E0304 in line 2" in printed
    assert "logits (2, 10)" in printed
    assert "all backends agree" in printed


def test_custom_op() -> None:
    printed = python(str(EXAMPLES / "custom_op.py"))
    assert "torch.sin(" in printed
    assert "all backends agree" in printed


def test_custom_axis_op() -> None:
    """Forward on all four backends and the interpreter, gradients where backends have them; no axis is the last."""
    printed = python(str(EXAMPLES / "custom_axis_op.py"))
    assert "x.cumsum(1) - x, x.cumsum(2) - x" in printed
    assert printed.count("all backends agree") == 2
    assert {"torch", "jax", "onnx", "tvm"} <= set(printed.split())


def test_custom_axis_op_derivative() -> None:
    """The op's own derivative against finite differences of its reference."""
    code = """
import numpy as np
from custom_axis_op import SUM_BEFORE, _sum_before
from dlc import ops
from dlc.autodiff.reverse import gradient
from dlc.ops import samples
from dlc.runtime.interpret import run

ops.define(SUM_BEFORE)
for sample in SUM_BEFORE.samples:
    attributes = samples.attributes(SUM_BEFORE, sample)
    program = gradient(samples.loss_program(SUM_BEFORE, sample, floats="f64"), wrt=["x0"])
    x = samples.arrays(SUM_BEFORE, sample, floats="f64")[0]
    weights = np.random.default_rng(0).uniform(size=x.shape)
    found = run(program, {}, {"x0": x, "c0": weights}, precision="f64")["x0.grad"]
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = 1e-6
        up, down = (_sum_before(x + s, **attributes) for s in (step, -step))
        assert np.isclose(found[place], ((up - down) * weights).sum() / 2e-6, atol=1e-6)
"""
    python("-c", code, path=(EXAMPLES,))


def test_custom_op_derivative() -> None:
    """The op's own derivative against finite differences of its reference."""
    code = """
import numpy as np
from custom_op import SNAKE, _snake
from dlc import ops
from dlc.autodiff.reverse import gradient
from dlc.ops import samples
from dlc.runtime.interpret import run

ops.define(SNAKE)
for sample in SNAKE.samples:
    attributes = samples.attributes(SNAKE, sample)
    program = gradient(samples.loss_program(SNAKE, sample, floats="f64"), wrt=["x0"])
    x = samples.arrays(SNAKE, sample, floats="f64")[0]
    given = {"x0": x, "c0": np.ones_like(x)}
    found = run(program, {}, given, precision="f64")["x0.grad"]
    step = 1e-6
    expected = (_snake(x + step, **attributes) - _snake(x - step, **attributes)) / (2 * step)
    assert np.allclose(found, expected, atol=1e-6), (found, expected)
"""
    python("-c", code, path=(EXAMPLES,))


def test_custom_backend(tmp_path: Path) -> None:
    project = tomllib.loads((EXAMPLES / "custom_backend/pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    installed = install(tmp_path / "site", "dlc_numpy", project["entry-points"])
    path = (EXAMPLES / "custom_backend", installed)
    spec = str(EXAMPLES / "first_spec.dl")
    assert "numpy" in dlc("doctor", path=path)
    assert "numpy: native" in dlc("ops", "exp", path=path)
    assert "numpy: decomposed" in dlc("ops", "gelu", path=path)
    written = dlc(
        "compile", spec, "--backend", "numpy", "--output", str(tmp_path / "out"), "--init", path=path
    )
    assert "smallresnet.json" in written
    assert "all backends agree" in dlc(
        "verify", spec, "--backends", "numpy,torch", "--dims", "B=2", path=path
    )


def test_custom_source(tmp_path: Path) -> None:
    project = tomllib.loads((EXAMPLES / "spirals_source/pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    installed = install(tmp_path / "site", "dlc_spirals", project["entry-points"])
    path = (EXAMPLES / "spirals_source", installed)
    spec = str(EXAMPLES / "spirals_source/spirals.dl")
    assert "nothing wrong" in dlc("check", spec, path=path)
    words = (
        "train",
        spec,
        "--backend",
        "torch",
        "--out",
        str(tmp_path / "run"),
        "--set",
        "settings.epochs=2",
    )
    assert "accuracy" in dlc(*words, path=path)
