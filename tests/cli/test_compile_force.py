"""`compile -o` replaces what dlc wrote, and nothing else without --force; `list` says what trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dlc.cli.application import build

APP = build()


@pytest.mark.parametrize("name", ["m.py", "m.safetensors"])
def test_only_files_of_dlc_are_replaced(tmp_path: Path, name: str) -> None:
    spec, out = tmp_path / "m.dl", tmp_path / "out"
    spec.write_text("model M()(x: [B, 4]) -> [B, 2] {\n    return x |> linear(2)\n}\n")
    out.mkdir()
    (out / name).write_text("mine")
    words = ["compile", str(spec), "--backend", "torch", "-o", str(out), "--init"]
    refused = CliRunner().invoke(APP, words)
    assert (refused.exit_code, (out / name).read_text(), len(list(out.iterdir()))) == (1, "mine", 1)
    assert CliRunner().invoke(APP, [*words, "--force"]).exit_code == 0
    assert CliRunner().invoke(APP, words).exit_code == 0


def test_list_says_which_specs_train() -> None:
    rows = {
        each["name"]: each
        for each in json.loads(CliRunner().invoke(APP, ["list", "--format", "json"]).stdout)
    }
    assert rows["vision/lenet5"]["train"][0] == "digits"
    assert rows["language/gpt2"]["train"][0] == "shakespeare"
    assert "(trains: digits" in CliRunner().invoke(APP, ["list"]).stdout
