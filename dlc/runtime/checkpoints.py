"""Checkpoints of a run: weights and optimizer state as safetensors, and a manifest.

    out/NAME.py                      the network's code
    out/NAME.safetensors             its latest weights, under the spec's own paths
    out/manifest.json                what the run is, and where it stands
    out/metrics.jsonl                one line for every step that is logged, and every evaluation
    out/checkpoints/STEP/            the latest checkpoint: weights, manifest, the optimizers' state

A checkpoint is written beside its place and renamed when it is complete; only then is the one before taken
away."""

from __future__ import annotations

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
from dlc.runtime.weights import read_file, write_file

Array = NDArray[Any]
Tensors = Mapping[str, Array]
FOLDER = "checkpoints"
MANIFEST = "manifest.json"
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
    staging = Path(tempfile.mkdtemp(prefix=".dlc-", dir=folder))
    try:
        for name, tensors in checkpoint.networks.items():
            write_file(staging / f"{name}.safetensors", tensors)
        write_file(staging / STATE, checkpoint.state)
        write_text(staging / MANIFEST, json.dumps(checkpoint.manifest, indent=2, ensure_ascii=False) + "\n")
        shutil.rmtree(place, ignore_errors=True)
        os.chmod(staging, 0o755)
        os.replace(staging, place)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    for name in (*(f"{name}.safetensors" for name in checkpoint.networks), MANIFEST):
        _link(place / name, out / name)
    for other in folder.iterdir():
        if other != place:
            shutil.rmtree(other, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """Put a file in another place too, at once; a copy where links are not to be had."""
    handle, temporary = tempfile.mkstemp(prefix=".dlc-", dir=target.parent)
    os.close(handle)
    os.unlink(temporary)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copy2(source, temporary)
    os.replace(temporary, target)


def write_text(path: Path, text: str) -> None:
    """Write a file: complete, or not at all."""
    handle, temporary = tempfile.mkstemp(prefix=".dlc-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def latest(out: Path) -> Path | None:
    """The folder of the latest complete checkpoint."""
    found = sorted(each for each in (out / FOLDER).glob("[0-9]*") if (each / MANIFEST).is_file())
    return found[-1] if found else None


def load(out: Path) -> Checkpoint:
    """The latest checkpoint. Raises SpecError if there is none, or it can't be read."""
    place = latest(out)
    if place is None:
        raise refused(out, "there is no checkpoint")
    try:
        manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        counts = {key: manifest[key] for key in ("step", "seed") if isinstance(manifest.get(key), int)}
        if wrong := [key for key, count in counts.items() if count < 0]:
            raise ValueError(f"`{wrong[0]}` is negative")
        networks = {name: read_file(place / f"{name}.safetensors") for name in manifest["networks"]}
        return Checkpoint(manifest, networks, read_file(place / STATE))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise refused(place, f"it can't be read ({error})") from None


def refused(path: Path, reason: str, help: str = "") -> SpecError:
    return SpecError([problems.CHECKPOINT.at(NO_SPAN, path=path, reason=reason, help=help)])


def same_run(checkpoint: Checkpoint, identity: Mapping[str, Any], out: Path) -> None:
    """Raises SpecError, with what differs, unless the checkpoint is of a run like this."""
    before = checkpoint.manifest.get("identity", {})
    other = [key for key in identity if before.get(key) != identity[key]]
    if other:
        notes = "; ".join(
            f"{key}: {_shown(before.get(key))} then, {_shown(identity[key])} now" for key in other
        )
        help = 'start anew in another folder; `load net from "….safetensors"` takes the weights along'
        raise refused(out, f"the run was another one ({notes})", help)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) < 60 else text[:57] + "…"


# --- metrics
# ---------------------------------------------------------------------------------------------------


class Journal:
    """metrics.jsonl: lines are added, and those after a checkpoint dropped when the run continues from it."""

    def __init__(self, out: Path, step: int = 0) -> None:
        self.path = out / "metrics.jsonl"
        lines = self.path.read_text(encoding="utf-8").splitlines() if step and self.path.is_file() else []
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
