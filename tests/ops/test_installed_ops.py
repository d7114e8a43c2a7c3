"""Ops of packages that are installed: found by the command line, in a process that has not heard of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PACKAGE = """
import numpy as np
from dlc.ops.definition import Sample, op

DOUBLE = op(
    "doubled_plus(x: [*S]) -> [*S]", "Twice x and one.", lambda x: 2 * x + 1, flops="2 * size(x)",
    samples=(Sample(("f32[2]",)),), rows={"torch": "2 * {x} + 1"},
)
MORE = (op("halved(x: [*S]) -> [*S]", "Half of x.", lambda x: x / 2, rows={"torch": "{x} / 2"}),)
"""
ENTRIES = """[dlc.ops]
one = plugged:DOUBLE
more = plugged:MORE
broken = plugged:MISSING
"""
SPEC = "model M()(x: [B, 3]) -> [B, 3] {\n    return halved(doubled_plus(x))\n}\n"


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    command = [sys.executable, "-m", "dlc", *words]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def test_ops_of_packages(tmp_path: Path) -> None:
    (tmp_path / "plugged.py").write_text(PACKAGE)
    info = tmp_path / "plugged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    (tmp_path / "spec.dl").write_text(SPEC)
    done = run(tmp_path, "compile", "spec.dl", "--backend", "torch", "--output", "out")
    assert done.returncode == 0, done.stderr
    assert "return (2 * x + 1) / 2" in (tmp_path / "out/m.py").read_text()
    assert (
        "plugged:MISSING` of plugged 1.0 can't be loaded (AttributeError" in done.stderr
        and "Traceback" not in done.stderr
    )
    assert "halved" in run(tmp_path, "ops", "halved").stdout
