"""The folder of a run: one run in it at a time, and nothing in it is touched that no run wrote.

The lock is the system's own, on the folder itself: it ends with the process, however that ends, and leaves
no file. What a killed process left half written has a name of its own, and the next run takes it away."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems

FOLDER = "checkpoints"
MANIFEST = "manifest.json"
JOURNAL = "metrics.jsonl"
STAGING = ".dlc-run-"  # how the names of what is being written begin
_STEP = re.compile(r"\d{8,}")


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """The folder, which must be there, for this run alone. Raises SpecError where another process has it."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    handle = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            help = "wait until it ends, or stop it with Ctrl-C: it saves first"
            raise refused(f"another run is writing into {out}", help) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)


def claim(out: Path, names: Iterable[str], *, force: bool) -> None:
    """Raises SpecError unless a new run may begin in the folder: it holds no run, and nothing of the names that a run
    writes; with `force` these are replaced, but for what lies in `checkpoints`."""
    if manifest_of(out) is not None or checkpoints(out):
        raise refused(f"{out} holds a run already", "--resume continues it; or take another folder")
    steps = [f"{FOLDER}/{each.name}" for each in _numbered(out)]
    there = [each for each in (*names, MANIFEST, JOURNAL, FOLDER) if os.path.lexists(out / each)]
    found = steps if force else there
    if found:
        listed = " and ".join(f"`{each}`" for each in found[:3]) + (" and more" if len(found) > 3 else "")
        help = "take another folder" + ("" if steps else ", or --force to replace files")
        raise refused(f"{out} holds {listed}, which no run wrote", help)


def is_untouched(out: Path) -> bool:
    """Whether there is nothing in the folder but what a run had only begun to write."""
    return all(each.name.startswith(STAGING) for each in out.iterdir())


def checkpoints(out: Path) -> list[Path]:
    """The folders of complete checkpoints, the latest one last."""
    found = [each for each in _numbered(out) if manifest_of(each) is not None]
    return sorted(found, key=lambda each: int(each.name))


def damaged(out: Path) -> Path | None:
    """The last folder that has the name of a checkpoint and is none."""
    found = [each for each in _numbered(out) if manifest_of(each) is None]
    return max(found, key=lambda each: int(each.name), default=None)


def _numbered(out: Path) -> list[Path]:
    folder = out / FOLDER
    found = folder.iterdir() if folder.is_dir() else ()
    return [each for each in found if _STEP.fullmatch(each.name)]


def manifest_of(folder: Path) -> Mapping[str, Any] | None:
    """The manifest in a folder, if there is one that a run wrote."""
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    ours = isinstance(found, dict) and {"format", "dlc", "step", "identity"} <= found.keys()
    return found if ours else None


def drop(place: Path) -> None:
    """Take a checkpoint away. It loses its name first: killed half-way, what is left is swept, and no folder without
    a manifest stays that might be someone else's."""
    doomed = place.with_name(f"{STAGING}{place.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    os.replace(place, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def sweep(out: Path) -> None:
    """Take away what a killed run left half written."""
    for folder in (out, out / FOLDER):
        for each in folder.glob(f"{STAGING}*"):
            if each.is_dir():
                shutil.rmtree(each, ignore_errors=True)
            else:
                each.unlink(missing_ok=True)


def refused(message: str, help: str) -> SpecError:
    return SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message, help=help)])
