"""Emitted training scripts as files: how they read, go on where they were stopped, and what is refused before one is written."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from script_specs import (
    RULES,
    SPEC,
    WRITTEN,
    block,
    lints,
    run,
    with_rules,
)

from dlc.diagnostics import SpecError
from dlc.runtime.scripts import write_script

HERE = Path(__file__).parent


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_there_is_nothing_to_go_on_from(backend: str, folder: Path) -> None:
    script = write_script(block(folder, "digits"), backend, folder / "script")[0]
    command = [sys.executable, str(script), "--data", str(script.parents[1]), "--out", "nowhere", "--resume"]
    command = command if "--data" in script.read_text(encoding="utf-8") else [*command[:2], *command[4:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=script.parent)
    assert done.returncode == 2
    assert re.search(
        r"error: there is no nowhere/checkpoint\.\w+ to go on from: begin without --resume", done.stderr
    )


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_patience_ends_a_run(backend: str, folder: Path) -> None:
    """Held-out data that get worse from the first evaluation on: the run ends, and its weights are those of then."""
    tried = block(folder, "digits").with_settings(best="max loss", patience=2, eval_every=3, steps=40)
    script = write_script(tried, backend, folder / "script")[0]
    lines = run(script, "--out", "found")
    assert [line for line in lines if line.startswith("step 9/40")] and not any(
        line.startswith("step 10/40") for line in lines
    )
    assert lines[-1].endswith("after step 3")
    before = load_file(folder / "script/found/net.safetensors")
    again = run(script, "--out", "found", "--resume")
    assert not any(line.startswith("step") for line in again) and again[-1] == lines[-1]
    for name, value in load_file(folder / "script/found/net.safetensors").items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize(("name", "backend"), WRITTEN)
def test_scripts_in_bf16_lint_clean(name: str, backend: str, folder: Path) -> None:
    """All that test_scripts.py compares with `dlc train` are linted there."""
    lints(write_script(block(folder, name).with_settings(precision="bf16"), backend, folder / "script")[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "backend", "settings"),
    [
        ("characters", "torch", {}),
        ("gan", "torch", {}),
        ("characters", "jax", {}),
        ("gan", "jax", {"accumulate": 2}),
        ("digits", "torch", {"accumulate": 2}),
        ("digits", "torch", {"patience": 3, "eval_every": 2}),
        ("digits", "jax", {"patience": 3, "eval_every": 2}),
        ("late", "torch", {}),
        ("gan", "torch", {"precision": "bf16"}),
        ("several", "jax", {}),
    ],
)
def test_goes_on_where_it_was_stopped(
    name: str, backend: str, settings: dict[str, object], folder: Path
) -> None:
    made = with_rules(folder, name) if name in RULES else block(folder, name)
    tried = made.with_settings(**settings)
    script = write_script(tried, backend, folder / "script")[0]
    whole = run(script, "--out", "whole")
    text = script.read_text(encoding="utf-8")
    found = re.search(r"    for step in range\(start, .*\):\n", text)
    assert found
    loop = found.group()
    stops = text.replace(loop, f"{loop}        if step == 6:\n            sys.exit()\n")
    stopped = script.with_name(f"{script.stem}_stopped.py")
    stopped.write_text(
        stops.replace("done == total", "done in (6, total)").replace(
            "import time", "import sys\nimport time"
        ),
        encoding="utf-8",
    )
    script.with_suffix(".safetensors").with_name(f"{stopped.stem}.safetensors").write_bytes(
        script.with_suffix(".safetensors").read_bytes()
    )
    first = run(stopped, "--out", "parts")
    second = run(script, "--out", "parts", "--resume")
    said = ("step", "best")
    assert [each for each in (*first, *second) if each.startswith(said)] == [
        each for each in whole if each.startswith(said)
    ]


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize(
    ("settings", "every"),
    [
        ({"checkpoint_every": 5, "eval_every": 3, "steps": 20}, "5"),
        ({"checkpoint_every": None, "eval_every": 3, "steps": 20}, "3"),
        ({"checkpoint_every": None, "eval_every": None, "steps": 20_000}, "1_000"),
        ({"checkpoint_every": None, "eval_every": None, "steps": None, "epochs": 2}, "1_000"),
        ({"checkpoint_every": None, "eval_every": None, "steps": 20, "epochs": None}, None),
    ],
)
def test_a_script_that_is_stopped_has_something_to_go_on_from(
    settings: dict[str, object], every: str | None, backend: str, folder: Path
) -> None:
    tried = block(folder, "digits").with_settings(**settings)
    text = write_script(tried, backend, folder / "script")[0].read_text(encoding="utf-8")
    found = re.findall(r"^SAVE_EVERY = (\w+)$", text, re.MULTILINE)
    assert found == ([] if every is None else [every])
    when = "done == total" + ("" if every is None else " or done % SAVE_EVERY == 0")
    assert f"        if {when}:\n            save(checkpoint, " in text


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_golden_script(backend: str, folder: Path, golden: Callable[[Path, str], None]) -> None:
    script = write_script(block(folder, "digits"), backend, folder / "script")[0]
    text = re.sub(
        r"\(digest \w+\), written by dlc [\d.]+", "written by dlc", script.read_text(encoding="utf-8")
    )
    golden(HERE / f"scripts/digits_{backend}.txt", text)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_data_may_come_later(backend: str, folder: Path) -> None:
    """A script is written where the data is not, and written anew over one that dlc wrote."""
    tried = block(folder, "characters")
    (folder / "input.txt").unlink()
    for _ in range(2):
        assert write_script(tried, backend, folder / "script", force=False)


@pytest.mark.parametrize(
    ("name", "backend", "settings", "what"),
    [
        ("digits", "onnx", {}, "no scripts"),
    ],
)
def test_what_is_refused(
    name: str, backend: str, settings: dict[str, object], what: str, folder: Path
) -> None:
    with pytest.raises(SpecError, match=what):
        write_script(block(folder, name).with_settings(**settings), backend, folder / "script")
    assert not (folder / "script").exists()


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize(
    ("rule", "what"),
    [
        (
            "buffer m: [*S] = uniform(-1.0, 1.0)\n    update m = m * 0.9 + g\n    return p - lr * m",
            "optimizer `mine`, whose `m` begins as more than one number,",
        ),
    ],
)
def test_optimizers_that_are_refused(rule: str, what: str, backend: str, folder: Path) -> None:
    mine = f"module mine()(p: [*S], g: [*S], lr: []) -> [*S] {{\n    {rule}\n}}\n"
    text = SPEC.replace(
        "optimizer = sgd(lr=step_decay(0.1, every=4), momentum=0.9, nesterov=true)",
        "optimizer = mine(lr=0.1)",
    )
    (folder / "spec.dl").write_text(mine + text, encoding="utf-8")
    with pytest.raises(SpecError, match=what):
        write_script(block(folder, "characters"), backend, folder / "script")
    assert not (folder / "script").exists()


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (
            'image: u8[B, 1, 6, 8]) from images("pets", ',
            'image: u8[B, 1, 6, 8]) from images("pets", sample_by="label", ',
            "there is no such field",
        ),
        (
            'evaluate from text("input.txt"',
            'evaluate from text("other.txt"',
            "tokens of `other.txt`, which are numbered by another file",
        ),
    ],
)
def test_data_that_a_script_does_not_say(old: str, new: str, what: str, folder: Path) -> None:
    """Shares and draws of rows, tokens that are numbered elsewhere: refused, and never left out."""
    (folder / "other.txt").write_bytes((folder / "input.txt").read_bytes())
    text = (folder / "spec.dl").read_text(encoding="utf-8")
    assert old in text
    (folder / "spec.dl").write_text(text.replace(old, new), encoding="utf-8")
    name = next(each for each in ("gray", "characters") if f"train {each}" in text.split(old)[0])
    with pytest.raises(SpecError, match=what):
        write_script(block(folder, name), "torch", folder / "script")
    assert not (folder / "script").exists()


def test_texts_of_a_table_with_numbers_for_missing_ones_are_refused(folder: Path) -> None:
    text = (folder / "spec.dl").read_text(encoding="utf-8")
    old = 'tokenizer="byte", split=0.8, missing="drop"'
    assert old in text
    (folder / "spec.dl").write_text(text.replace(old, old.replace('"drop"', "0.0")), encoding="utf-8")
    with pytest.raises(SpecError, match="stands for those that are missing"):
        write_script(block(folder, "words"), "torch", folder / "script")
