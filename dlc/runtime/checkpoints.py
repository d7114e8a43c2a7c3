"""Checkpoints of a run: weights and optimizer state as safetensors, and a manifest.

    out/NAME.py                      the network's code
    out/NAME.safetensors             its latest weights, under the spec's own paths
    out/manifest.json                what the run is, and where it stands
    out/metrics.jsonl                one line for every step that is logged, and every evaluation
    out/checkpoints/STEP/            the latest checkpoint: weights, manifest, the optimizers' state

A checkpoint is written beside its place and renamed when it is complete; only then is the one before taken
away. The manifest is the first file of a run, so that one that was killed before its first checkpoint is known, too."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems
from dlc.runtime import run_folder
from dlc.runtime.run_folder import FOLDER, JOURNAL, MANIFEST, STAGING
from dlc.runtime.weights import read_file, write_file
from dlc.writing import write

Array = NDArray[Any]
Tensors = Mapping[str, Array]
DIGESTS = "sha256"  # in a checkpoint's manifest, of its other files: numbers that have changed since can still be read
STATE = "optimizers.state.safetensors"  # with a dot, as no network's name has one


@dataclass(frozen=True)
class Checkpoint:
    """What a run continues from. `networks` are the weights by network, `state` what else there is: the
    optimizers' memory, and parameters that belong to no network."""

    manifest: Mapping[str, Any]
    networks: Mapping[str, Tensors]
    state: Tensors

    @property
    def step(self) -> int:
        return int(self.manifest["step"])


def save(out: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint, link the latest weights and manifest into `out`, and drop older checkpoints."""
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{checkpoint.step:08d}"
    staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=folder))
    try:
        for name, tensors in checkpoint.networks.items():
            write_file(staging / f"{name}.safetensors", tensors)
        write_file(staging / STATE, checkpoint.state)
        digests = {each.name: _digest(each) for each in sorted(staging.iterdir())}
        write_manifest(staging, {**checkpoint.manifest, DIGESTS: digests})
        os.chmod(staging, 0o755)
        _give_way(place)
        os.replace(staging, place)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    show(out, place, checkpoint)
    for other in run_folder.checkpoints(out):
        if other != place:
            run_folder.drop(other)


def _give_way(place: Path) -> None:
    """A checkpoint of the same step, which is written anew, stays one under another name of that step until the new one is there."""
    if place.exists():
        other = place.with_name(f"0{place.name}")
        if other.exists():
            run_folder.drop(other)
        os.replace(place, other)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def show(out: Path, place: Path, checkpoint: Checkpoint) -> None:
    """Put the weights and the manifest of a checkpoint into `out`."""
    for name in (*(f"{name}.safetensors" for name in checkpoint.networks), MANIFEST):
        _link(place / name, out / name)


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    write_text(folder / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


def _link(source: Path, target: Path) -> None:
    """Put a file in another place too, at once; a copy where links are not to be had."""
    handle, temporary = tempfile.mkstemp(prefix=STAGING, dir=target.parent)
    os.close(handle)
    os.unlink(temporary)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copy2(source, temporary)
    os.replace(temporary, target)
    Path(temporary).unlink(missing_ok=True)  # two names of one file are not replaced


def write_text(path: Path, text: str) -> None:
    """Write a file of a run: complete, or not at all, and swept away where a kill leaves it half written."""
    write(path, text, staging=STAGING)


def latest(out: Path) -> Path | None:
    """The folder of the latest complete checkpoint."""
    found = run_folder.checkpoints(out)
    return found[-1] if found else None


def load(out: Path) -> Checkpoint:
    """The latest checkpoint. Raises SpecError if there is none, or it can't be read."""
    place = latest(out)
    if place is None:
        damaged = run_folder.damaged(out)
        raise refused(damaged, "its manifest is damaged", ANEW) if damaged else none(out)
    try:
        manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        counts = {key: manifest[key] for key in ("step", "seed") if isinstance(manifest.get(key), int)}
        if wrong := [key for key, count in counts.items() if count < 0]:
            raise ValueError(f"`{wrong[0]}` is negative")
        for name, digest in manifest.get(DIGESTS, {}).items():
            if _digest(place / name) != digest:
                raise ValueError(f"{name} is not what was written")
        networks = {name: read_file(place / f"{name}.safetensors") for name in manifest["networks"]}
        return Checkpoint(manifest, networks, read_file(place / STATE))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise refused(place, f"it can't be read ({error})", ANEW) from None
    except SpecError as error:
        raise refused(place, f"it is damaged ({error.diagnostics[0].message})", ANEW) from None


def none(out: Path) -> SpecError:
    """What is told where a run is to be continued and there is nothing to continue from."""
    return refused(out, "there is no checkpoint", "a run begins without --resume")


def refused(path: Path, reason: str, help: str = "") -> SpecError:
    return SpecError([problems.CHECKPOINT.at(NO_SPAN, path=path, reason=reason, help=help)])


def same_run(manifest: Mapping[str, Any], identity: Mapping[str, Any], out: Path) -> None:
    """Raises SpecError, with what differs, unless the manifest is of a run like this."""
    before, now = _leaves(manifest.get("identity", {})), _leaves(identity)
    if "trained" not in before:
        reason = (
            f"dlc {manifest.get('dlc', '')} wrote it, which noted less of a run than this version compares"
        )
        raise refused(out, reason, ANEW)
    other = [key for key in dict.fromkeys((*now, *before)) if before.get(key) != now.get(key)]
    if HELD_OUT in other and not (HELD_OUT in before and HELD_OUT in now):
        other.remove(HELD_OUT)  # evaluation was added or left out: what is trained stays the same
    told = [key for key in other if key not in SAID]
    notes = [f"{key}: {_shown(key, before)} then, {_shown(key, now)} now" for key in told]
    notes += [SAID[key] for key in other if key in SAID and (not told or key in DATA)]
    if notes:
        raise refused(out, f"the run was another one ({'; '.join(notes)})", ANEW)


ANEW = 'start anew in another folder; `load net from "….safetensors"` takes the weights along'
HELD_OUT = "held-out data"
DATA = ("data", HELD_OUT)
# What is compared by digests, and what is said where that differs; of the first two where nothing else explains it.
SAID = {
    "program": "the spec computes something else than it did",
    "trained": "the optimizers trained other parameters",
    "data": "the training data has changed since",
    "held-out data": "the held-out data has changed since",
}


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    if not isinstance(value, Mapping):
        return {path: value}
    found: dict[str, Any] = {}
    for key, each in value.items():
        found.update(_leaves(each, f"{path}.{key}" if path else key))
    return found


def _shown(key: str, settings: Mapping[str, Any]) -> str:
    if key not in settings:
        return "not set"
    value = settings[key]
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) < 60 else text[:57] + "…"


# --- metrics
# ---------------------------------------------------------------------------------------------------


class Journal:
    """metrics.jsonl: lines are added, and those after a checkpoint dropped when the run continues from it."""

    def __init__(self, out: Path, step: int = 0) -> None:
        self.path = out / JOURNAL
        lines = (
            self.path.read_text(encoding="utf-8", errors="replace").splitlines()
            if step and self.path.is_file()
            else []
        )
        kept = [line for line in lines if _step(line) <= step]
        write_text(self.path, "".join(f"{line}\n" for line in kept))

    def add(self, record: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def _step(line: str) -> float:
    """The step of a line; a torn one counts as the future."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
