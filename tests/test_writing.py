"""What dlc writes for its user: whole or not at all, in the place and with the permissions of what was there."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dlc import writing
from dlc.backend import Artifact
from dlc.cli.application import build
from dlc.runtime.checkpoints import Journal, write_manifest
from dlc.runtime.weight_files import write_file
from dlc.writing import write, write_all

SPEC = "model M()(x: [B]) -> [B] {\n  return x\n}\n"


def format_spec(path: Path) -> None:
    if path.is_file():
        path.write_text(SPEC)  # so that there is something to rewrite
    found = CliRunner().invoke(build(), ["format", str(path)])
    if found.exit_code:
        raise OSError(found.output)


WRITERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "text": ("a.txt", lambda path: write(path, "new")),
    "several": ("a.txt", lambda path: write_all({path: b"new", path.with_name("b.txt"): "new"})),
    "an artifact": ("a.py", lambda path: Artifact("torch", {"a.py": "new", "b/c.py": "new"}).write(path.parent)),
    "safetensors": ("a.safetensors", lambda path: write_file(path, {"a": np.zeros(3)})),
    "npz": ("a.npz", lambda path: write_file(path, {"a": np.zeros(3)})),
    "a manifest": ("manifest.json", lambda path: write_manifest(path.parent, {"step": 1})),
    "a log": ("metrics.jsonl", lambda path: Journal(path.parent)),
    "a formatted spec": ("a.dl", format_spec),
}  # fmt: skip


@pytest.fixture(params=WRITERS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Callable[[Path], object]]:
    name, writer = WRITERS[request.param]
    return tmp_path / name, writer


def test_the_permissions_of_a_file_are_kept(case: tuple[Path, Callable[[Path], object]]) -> None:
    path, writer = case
    path.write_text("old")
    for mode in (0o600, 0o755):
        path.chmod(mode)
        writer(path)
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert "old" not in path.read_text(errors="replace")


def test_a_new_file_has_the_permissions_of_any_other(case: tuple[Path, Callable[[Path], object]]) -> None:
    path, writer = case
    if path.suffix == ".dl":
        pytest.skip("a spec to format is there")
    before = os.umask(0o027)
    try:
        writer(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_stays_a_link(case: tuple[Path, Callable[[Path], object]]) -> None:
    path, writer = case
    real = path.parent / "elsewhere" / "real"
    real.parent.mkdir()
    real.write_text("old")
    path.symlink_to(Path("elsewhere/real"))
    writer(path)
    assert path.is_symlink()
    assert "old" not in real.read_text(errors="replace")
    assert [each.name for each in real.parent.iterdir()] == ["real"]


def test_a_full_disk_leaves_what_was_there(
    case: tuple[Path, Callable[[Path], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, writer = case
    path.write_text("old")
    if path.suffix == ".dl":
        path.write_text(SPEC)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        writer(path)
    assert path.name in str(caught.value) and ".dlc-" not in str(caught.value)
    assert path.read_text() in ("old", SPEC)
    assert list(path.parent.rglob(f"{writing.STAGING}*")) == []


def test_a_file_too_large_for_the_disk(tmp_path: Path) -> None:
    """A real limit, which a write meets in the middle of a file."""
    (tmp_path / "a.txt").write_text("old")
    code = (
        "import resource, signal, sys; from dlc.writing import write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try: write(sys.argv[1], b'x' * 100_000)\n"
        "except OSError as error: print(error.strerror, error.filename)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.txt")], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"File too large {tmp_path / 'a.txt'}\n"
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_kill_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = (
        "import os, signal, sys; from dlc.writing import write\n"
        "def content(file):\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "write(sys.argv[1], content)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    left = [each for each in tmp_path.iterdir() if each != path]
    assert all(each.name.startswith(writing.STAGING) for each in left)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_what_may_not_be_written_is_told(case: tuple[Path, Callable[[Path], object]]) -> None:
    path, writer = case
    path.write_text(SPEC)
    for place, mode in ((path, 0o444), (path.parent, 0o555)):
        before = stat.S_IMODE(place.stat().st_mode)
        place.chmod(mode)
        try:
            with pytest.raises(OSError, match=r"Permission denied") as caught:
                writer(path)
        finally:
            place.chmod(before)
        assert path.name in str(caught.value)
        assert path.read_text() == SPEC


def test_none_of_several_is_written_where_one_can_not_be(tmp_path: Path) -> None:
    (tmp_path / "b.py").mkdir()
    (tmp_path / "a.py").write_text("old")
    with pytest.raises(IsADirectoryError, match=r"b\.py"):
        Artifact("torch", {"a.py": "new", "b.py": "new"}).write(tmp_path)
    assert (tmp_path / "a.py").read_text() == "old"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.py", "b.py"]


def test_nothing_else_writes() -> None:
    """Whoever writes a file of the user's does it by `dlc.writing`."""
    root = Path(writing.__file__).parent
    allowed = {
        root / "writing.py",
        root / "syntax/generate.py",  # the parser's table, of this repository
        root / "runtime/checkpoints.py",  # adds lines to a log
    }
    words = (".write_text(", ".write_bytes(", '.open("w', '"wb")', "np.save", "mkstemp(")
    found = [
        f"{path.name}: {word}"
        for path in root.rglob("*.py")
        if path not in allowed
        for word in words
        if word in path.read_text(encoding="utf-8").replace("checkpoints.write_text(", "")
    ]
    assert found == []
