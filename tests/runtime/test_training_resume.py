"""A run that was stopped and is continued gives the numbers of one that was not."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from training_specs import BACKENDS, NET, PressCtrlC, block, journal, loaded, power_failure

import dlc
from dlc.diagnostics import SpecError
from dlc.runtime.data import npz
from dlc.runtime.training import Interrupted, Record, Watch
from dlc.runtime.weights import read_file

TEXT = block(settings="steps = 9, accumulate = 2, clip_norm = 0.5, checkpoint_every = 4, eval_every = 3")


@pytest.fixture(scope="module", params=BACKENDS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A backend and an uninterrupted run on it."""
    out = tmp_path_factory.mktemp("whole") / "run"
    dlc.train(loaded(TEXT), backend=request.param, out=out)
    return request.param, out


def same(first: Path, second: Path) -> None:
    """Losses, rates, metrics, evaluations and weights are the same to the bit."""
    assert journal(first) == journal(second)
    assert journal(first, "evaluate") == journal(second, "evaluate") != []
    ours, theirs = (read_file(out / "net.safetensors") for out in (first, second))
    assert {path: each.tobytes() for path, each in ours.items()} == {
        path: each.tobytes() for path, each in theirs.items()
    }


def test_ctrl_c_and_resume(whole: tuple[str, Path], tmp_path: Path) -> None:
    (backend, out), step = whole, 5
    watch = PressCtrlC(step)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match=f"stopped after step {step} of 9"):
        dlc.train(loaded(TEXT), backend=backend, out=tmp_path, watch=watch)
    assert signal.getsignal(signal.SIGINT) is before
    assert watch.message.endswith(f"--backend {backend} --out {tmp_path} --resume")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["step"], manifest["finished"], manifest["backend"]) == (step, False, backend)
    result = dlc.train(loaded(TEXT), backend=backend, out=tmp_path, resume=True)
    same(out, tmp_path)
    assert result.steps == 9
    assert result.evaluation is not None
    assert [each.name for each in (tmp_path / "checkpoints").iterdir()] == ["00000009"]


def test_crash_and_resume(whole: tuple[str, Path], tmp_path: Path) -> None:
    """What came after the last checkpoint is done again, and its metrics are not there twice."""
    backend, out = whole
    with pytest.raises(RuntimeError, match="power"), power_failure(7):
        dlc.train(loaded(TEXT), backend=backend, out=tmp_path)
    dlc.train(loaded(TEXT), backend=backend, out=tmp_path, resume=True)
    same(out, tmp_path)


FEW_KERNELS = """
model Net()(x: [B, 1, 28, 28]) -> [B, 10] {
    buffer mean: [784] = zeros
    x = x |> flatten
    update mean = mean * 0.9 + sum(x, axis=0) * 0.01
    return x - mean |> dropout(0.2) |> linear(10) as last
}
"""


def test_tvm_goes_on_as_well(tmp_path: Path) -> None:
    """Of a network that TVM compiles in seconds."""
    text = FEW_KERNELS + block(settings="steps = 6, checkpoint_every = 2, eval_every = 3").removeprefix(NET)
    dlc.train(loaded(text), backend="tvm", out=tmp_path / "whole")
    with pytest.raises(RuntimeError, match="power"), power_failure(5):
        dlc.train(loaded(text), backend="tvm", out=tmp_path / "parts")
    dlc.train(loaded(text), backend="tvm", out=tmp_path / "parts", resume=True)
    same(tmp_path / "whole", tmp_path / "parts")


def test_a_finished_run_stays_as_it_is(whole: tuple[str, Path]) -> None:
    backend, out = whole
    before = (out / "net.safetensors").read_bytes()
    result = dlc.train(loaded(TEXT), backend=backend, out=out, resume=True)
    assert result.steps == 9
    assert result.metrics.keys() == {"accuracy"}
    assert (out / "net.safetensors").read_bytes() == before


def message(error: SpecError) -> str:
    return error.diagnostics[0].message


def test_what_is_refused(whole: tuple[str, Path], tmp_path: Path) -> None:
    backend, out = whole
    with pytest.raises(SpecError, match="holds a run already"):
        dlc.train(loaded(TEXT), backend=backend, out=out)
    with pytest.raises(SpecError, match="there is no checkpoint"):
        dlc.train(loaded(TEXT), backend=backend, out=tmp_path / "none", resume=True)
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(SpecError, match="there is no checkpoint"):
        dlc.train(loaded(TEXT), backend=backend, out=tmp_path, resume=True)
    other = "jax" if backend == "torch" else "torch"
    with pytest.raises(SpecError, match=f"backend: {backend} then, {other} now"):
        dlc.train(loaded(TEXT), backend=other, out=out, resume=True)
    with pytest.raises(SpecError, match="seed: 0 then, 5 now"):
        dlc.train(loaded(TEXT).with_settings(seed=5), backend=backend, out=out, resume=True)
    with pytest.raises(
        SpecError, match=r"\(net.width: 16 then, 8 now; net.layers: 2 then, 3 now\)"
    ) as caught:
        wider = TEXT.replace("net = Net()", "net = Net(width=8, layers=3)")
        dlc.train(loaded(wider), backend=backend, out=out, resume=True)
    assert caught.value.diagnostics[0].code == "E0716"


def test_a_torn_checkpoint_is_refused(tmp_path: Path) -> None:
    text = block(settings="steps = 1")
    dlc.train(loaded(text), backend="torch", out=tmp_path)
    (state,) = tmp_path.glob("checkpoints/*/optimizers.state.safetensors")
    manifest = state.with_name("manifest.json")
    flipped = bytearray(state.read_bytes())
    flipped[-1] ^= 1  # of the last number, which can be read all the same
    torn = state.read_bytes()[:100]
    written = "it can't be read (optimizers.state.safetensors is not what was written)"
    for file, now, said in (
        (state, flipped, written),
        (state, torn, written),
        (manifest, manifest.read_bytes()[:100], "its manifest is damaged"),
    ):
        file.write_bytes(now)
        with pytest.raises(SpecError) as caught:
            dlc.train(loaded(text), backend="torch", out=tmp_path, resume=True)
        (found,) = caught.value.diagnostics
        assert found.code == "E0716" and found.message.startswith(
            f"can't continue from {state.parent}: {said}"
        )
        assert found.help.startswith("start anew in another folder")


OPTIMIZERS = ["adam(lr=1e-2)", "sgd(lr=0.1, momentum=0.9)", "lion(lr=1e-3)"]


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_checkpoint_that_lacks_something_is_refused(backend: str, optimizer: str, tmp_path: Path) -> None:
    """Also where its manifest has no digests, as that of an older version: a tensor that is gone, is another's, has another shape."""
    spec = loaded(block(settings="steps = 1", optimizer=f"optimizer = {optimizer}"))
    dlc.train(spec, backend=backend, out=tmp_path)
    (state,) = tmp_path.glob("checkpoints/*/optimizers.state.safetensors")
    manifest = state.with_name("manifest.json")
    kept = {key: each for key, each in json.loads(manifest.read_text()).items() if key != "sha256"}
    manifest.write_text(json.dumps(kept))
    for file in (state, state.with_name("net.safetensors")):
        whole = load_file(file)
        first = next(name for name in sorted(whole) if whole[name].ndim)
        for wrong in (
            {name: each for name, each in whole.items() if name != first},
            {**whole, f"{first}2": whole[first]},
            {**whole, first: whole[first][..., :1]},
        ):
            save_file(wrong, file)
            with pytest.raises(SpecError) as caught:
                dlc.train(spec.with_settings(steps=2), backend=backend, out=tmp_path, resume=True)
            assert caught.value.diagnostics[0].code == "E0716", caught.value
        save_file(whole, file)
    dlc.train(spec.with_settings(steps=2), backend=backend, out=tmp_path, resume=True)


def test_a_damaged_line_of_the_log_is_dropped(tmp_path: Path) -> None:
    text = block(settings="steps = 3")
    dlc.train(loaded(text), backend="torch", out=tmp_path)
    log = tmp_path / "metrics.jsonl"
    first, second, *others = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([first, b"\xff\xfe", second[2:], *others]))
    dlc.train(loaded(text).with_settings(steps=4), backend="torch", out=tmp_path, resume=True)
    lines = log.read_bytes().splitlines(keepends=True)
    assert lines[: 1 + len(others)] == [first, *others] and len(lines) > 1 + len(others)


@pytest.mark.parametrize("content", [b"", None], ids=["shorter", "other rows"])
def test_data_that_are_written_anew(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large file what is taken is read: the system would end the process where it has become shorter."""
    monkeypatch.setattr(npz, "MAPPED", 0)
    rng = np.random.default_rng(0)
    file, text = tmp_path / "d.npz", block(settings="steps = 6", source='npz("d.npz", batch=8)')
    rows = {"image": rng.normal(size=(40, 1, 28, 28)).astype(np.float32), "label": rng.integers(0, 10, 40)}
    np.savez(file, **rows)
    held = file.read_bytes()
    dlc.train(loaded(text, tmp_path), backend="torch", out=tmp_path / "whole")

    class Writes(Watch):
        def step(self, record: Record, *, logged: bool) -> None:
            if record.step == 3:
                file.write_bytes(held[:-4096] + bytes(4096) if content is None else content)

    with pytest.raises(SpecError) as caught:
        dlc.train(loaded(text, tmp_path), backend="torch", out=tmp_path / "parts", watch=Writes())
    (found,) = caught.value.diagnostics
    assert found.code == "E0710" and "was written to while it was trained on" in found.message
    file.write_bytes(held)
    dlc.train(loaded(text, tmp_path), backend="torch", out=tmp_path / "parts", resume=True)
    same(tmp_path / "whole", tmp_path / "parts")


def test_more_steps_go_on(tmp_path: Path) -> None:
    text = block("optimizer = adam(lr=1e-3)", "steps = 3")
    dlc.train(loaded(text), backend="torch", out=tmp_path / "a")
    longer = loaded(text).with_settings(steps=5)
    dlc.train(longer, backend="torch", out=tmp_path / "a", resume=True)
    dlc.train(longer, backend="torch", out=tmp_path / "b")
    assert journal(tmp_path / "a") == journal(tmp_path / "b")


# Whoever runs the tests may ignore Ctrl-C.
SCRIPT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from dlc.cli import main
main()
"""


def dlc_command(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_ctrl_c_at_the_command_line(tmp_path: Path) -> None:
    """Exit 130, a message with the command that goes on, and that command works."""
    spec = tmp_path / "spec.dl"
    spec.write_text(block(settings="steps = 100_000"))
    out = tmp_path / "run"
    running = dlc_command("train", f"{spec}:t", "--backend", "torch", "--out", str(out))
    for _ in range(600):
        if (out / "metrics.jsonl").is_file() and len((out / "metrics.jsonl").read_text().splitlines()) > 2:
            break
        assert running.poll() is None, running.communicate()
        time.sleep(0.1)
    os.kill(running.pid, signal.SIGINT)
    _, shown = running.communicate(timeout=60)
    assert running.returncode == 130
    match = re.search(r"stopped after step ([\d,]+) of 100,000, and saved\. To go on:\n  dlc (.*)\n", shown)
    assert match is not None, shown
    done = int(match[1].replace(",", ""))
    words = shlex.split(match[2])
    resumed = dlc_command(*words, "--set", f"settings.steps={done + 2}")
    _, shown = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, shown
    assert journal(out)[-1]["step"] == done + 2
