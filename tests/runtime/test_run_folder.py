"""A run touches only its own files, is alone in its folder, and whatever ends it leaves it resumable."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_specs import block, journal, loaded, power_failure

import dlc
from dlc.diagnostics import SpecError
from dlc.runtime import checkpoints, run_folder
from dlc.runtime.training import Interrupted, Record, Watch

TEXT = block("optimizer = adam(lr=1e-3)", "steps = 3, checkpoint_every = 2", net="Small()")


def run(out: Path, text: str = TEXT, **options: Any) -> Any:
    return dlc.train(loaded(text), backend="torch", out=out, **options)


def refusal(out: Path, text: str = TEXT, **options: Any) -> str:
    with pytest.raises(SpecError) as caught:
        run(out, text, **options)
    return caught.value.diagnostics[0].message


class Send(Watch):
    """A signal after the first step."""

    def __init__(self, number: int) -> None:
        self.number = number

    def step(self, record: Record, *, logged: bool) -> None:
        if record.step == 1:
            os.kill(os.getpid(), self.number)


def test_what_lies_beside_a_run_stays(tmp_path: Path) -> None:
    """In a folder full of other files, with --force where they have a run's names; --out may be a link."""
    kept = [
        tmp_path / "net.txt",
        tmp_path / "checkpoints" / "old_run" / "weights.bin",
        tmp_path / ".dlc-notes",
    ]
    for each in kept:
        each.parent.mkdir(parents=True, exist_ok=True)
        each.write_text("mine")
    assert "holds `checkpoints`, which no run wrote" in refusal(tmp_path)
    link = tmp_path.parent / f"{tmp_path.name}-link"
    link.symlink_to(tmp_path)
    run(link, force=True)
    assert "holds a run already" in refusal(tmp_path, force=True)
    assert [each.read_text() for each in kept] == ["mine"] * 3


@pytest.mark.parametrize("name", ["net.py", "net.safetensors", "metrics.jsonl", "manifest.json"])
def test_files_of_a_runs_names_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    assert f"holds `{name}`" in refusal(tmp_path)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [(name, "{}")]


def test_numbered_folders_of_others_are_refused_even_with_force(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "20240131").mkdir(parents=True)
    assert "`checkpoints/20240131`" in refusal(tmp_path, force=True)


def test_a_second_run_beside_the_first_is_refused(tmp_path: Path) -> None:
    with run_folder.locked(tmp_path):
        assert "another run is writing" in refusal(tmp_path)
        assert "another run is writing" in refusal(tmp_path, resume=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_save_and_stop(tmp_path: Path, number: int) -> None:
    before = signal.signal(number, signal.SIG_DFL)
    with pytest.raises(Interrupted, match="stopped after step 1 of 3, and saved") as caught:
        run(tmp_path, watch=Send(number))
    assert signal.signal(number, before) is signal.SIG_DFL
    assert caught.value.signal == number
    assert run(tmp_path, resume=True).steps == 3


def test_a_run_that_died_before_its_first_checkpoint_goes_on(tmp_path: Path) -> None:
    """And what it left half written is taken away."""
    with pytest.raises(RuntimeError, match="power"), power_failure(1):
        run(tmp_path)
    (tmp_path / "checkpoints" / ".dlc-run-half").mkdir(parents=True)
    (tmp_path / ".dlc-run-half").write_text("{")
    assert "holds a run already" in refusal(tmp_path)
    run(tmp_path, resume=True)
    assert [line["step"] for line in journal(tmp_path)] == [1, 2, 3]
    assert list(tmp_path.rglob(".dlc-*")) == []


def test_a_run_that_died_before_it_wrote_anything_goes_on(tmp_path: Path) -> None:
    (tmp_path / ".dlc-run-half").write_text("{")
    run(tmp_path, resume=True)
    assert [line["step"] for line in journal(tmp_path)] == [1, 2, 3]
    assert list(tmp_path.rglob(".dlc-*")) == []


@pytest.mark.parametrize("writer", ["write_file", "write_manifest", "_link"])
def test_a_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, writer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Fill(Watch):
        def step(self, record: Record, *, logged: bool) -> None:
            if record.step == 3:
                monkeypatch.setattr(checkpoints, writer, full)

    assert "can't write step 3" in refusal(tmp_path, watch=Fill())
    monkeypatch.undo()
    assert checkpoints.latest(tmp_path) is not None
    assert run(tmp_path, resume=True).steps == 3
    assert json.loads((tmp_path / "manifest.json").read_text())["finished"] is True
    shown, saved = (each / "net.safetensors" for each in (tmp_path, tmp_path / "checkpoints" / "00000003"))
    assert shown.read_bytes() == saved.read_bytes()
    run(tmp_path, resume=True)
    assert list(tmp_path.rglob(".dlc-*")) == []


def test_a_disk_too_full_for_the_first_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoints, "write_file", full)
    assert "can't write step 2" in refusal(tmp_path)
    monkeypatch.undo()
    assert run(tmp_path, resume=True).steps == 3


FILE_EVENTS = ("open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.chmod")


def killed(at: int, work: Callable[[], None]) -> bool:
    """Do some work in a process that ends at once before its `at`-th touch of a file. Whether it came so far."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    touches = count()

    def hook(event: str, _: Any) -> None:
        if event in FILE_EVENTS and next(touches) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(hook)
        work()
    finally:
        os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a fork")
@pytest.mark.parametrize("step", [1, 2], ids=["of the same step", "of the next"])
def test_a_kill_while_a_checkpoint_is_written(tmp_path: Path, step: int) -> None:
    """At whatever touch of a file: there is a whole checkpoint, the next one is written, and nothing half written stays."""

    def checkpoint(step: int) -> checkpoints.Checkpoint:
        weights = {"w": np.full(4, step, np.float32)}
        manifest = {"format": 1, "dlc": "", "step": step, "identity": {}, "networks": ["net"]}
        return checkpoints.Checkpoint(manifest, {"net": weights}, {"m": weights["w"]})

    for at in count():
        out = tmp_path / str(at)
        checkpoints.save(out, checkpoint(1))
        more = killed(at, partial(checkpoints.save, out, checkpoint(step)))
        found = checkpoints.load(out)
        assert found.step in (1, step), at
        assert (found.networks["net"]["w"] == found.step).all()
        again = killed(at // 2, partial(checkpoints.save, out, checkpoint(step)))
        assert checkpoints.load(out).step in (found.step, step) and (again or not more)
        run_folder.sweep(out)
        checkpoints.save(out, checkpoint(step))
        assert [each.name for each in (out / "checkpoints").iterdir()] == [f"{step:08d}"]
        assert sorted(each.name for each in out.iterdir()) == [
            "checkpoints",
            "manifest.json",
            "net.safetensors",
        ]
        if not more:
            break
    assert at > 10


DATA = """
model Net()(x: [B, 2]) -> [B, 1] {
    return x |> linear(1)
}

train t {
    net = Net()
    batch (x: [B, 2], y: [B, 1]) from npz(path="PATH", batch=2)
    minimize mse(net(x), y)
    metric odd = 0.0 / (0.0 * mean(y))
    optimizer = sgd(lr=1e-2)
    settings { steps = 1 }
}
"""


def test_changed_data_is_noticed(tmp_path: Path) -> None:
    """Other values, and fewer rows; and a metric that is no number is one no JSON reader stumbles over."""
    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    np.savez(tmp_path / "data.npz", x=x, y=x[:, :1])
    text, out = DATA.replace("PATH", "data.npz"), tmp_path / "run"
    block = loaded(text, tmp_path)
    dlc.train(block, backend="torch", out=out)
    assert json.loads((out / "metrics.jsonl").read_text(), parse_constant=pytest.fail)["metrics"] == {
        "odd": "nan"
    }
    longer = block.with_settings(steps=2)
    dlc.train(longer, backend="torch", out=out, resume=True)
    for other in (x + 1, x[:2]):
        np.savez(tmp_path / "data.npz", x=other, y=x[: len(other), :1])
        with pytest.raises(SpecError, match="the training data has changed since"):
            dlc.train(longer, backend="torch", out=out, resume=True)


@pytest.mark.parametrize("path", ["../data.npz", "/etc/hostname"])
def test_paths_stay_below_the_root(tmp_path: Path, path: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(SpecError, match="outside the project's root"):
        dlc.train(loaded(DATA.replace("PATH", path), tmp_path / "in"), backend="torch", out=tmp_path / "run")
    text = block(net="Small()", more=f'load net from "{path}"')
    with pytest.raises(SpecError, match="outside the project's root"):
        dlc.train(loaded(text, tmp_path / "in"), backend="torch", out=tmp_path / "run")


def test_other_settings_are_named(tmp_path: Path) -> None:
    run(tmp_path)
    rate = TEXT.replace("lr=1e-3", "lr=1e-2")
    assert "(optimizer.lr: 0.001 then, 0.01 now)" in refusal(tmp_path, rate, resume=True)
    fewer = TEXT.replace("digits(batch=32)", "digits(batch=16)")
    assert "source.batch: 32 then, 16 now" in refusal(tmp_path, fewer, resume=True)
    loss = TEXT.replace("minimize cross", "minimize 2.0 * cross")
    assert "(the spec computes something else than it did)" in refusal(tmp_path, loss, resume=True)
