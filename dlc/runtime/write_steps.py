"""The compiled steps of a training as files, for programs that train without dlc."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dlc.backend import Artifact, Backend
from dlc.runtime.compile import check_own, find_backend
from dlc.runtime.drawn import Drawn
from dlc.runtime.interpret import evaluated
from dlc.runtime.trainers import Compiled, Trainers
from dlc.runtime.training import lacks_training
from dlc.runtime.training_data import open_data
from dlc.runtime.turns import Planned
from dlc.runtime.weight_files import write_file
from dlc.spec import TrainBlock


def write_steps(
    block: TrainBlock, backend_name: str, directory: str | os.PathLike[str], *, force: bool = True
) -> list[Path]:
    """Write the programs of a block's steps, `BLOCK_step` and `BLOCK_evaluate` (of accumulated steps `BLOCK_part`, once for each batch,
    and `BLOCK_rest`), and `BLOCK.safetensors`: what parameters, buffers and optimizers begin with, by path.

    Of a block with several steps there is a program for each, and `BLOCK_before` and `BLOCK_after` where something is computed before and
    behind them. The JSON beside each program says under `training` what its inputs besides the batch's fields are called: `t`, the number of the
    step from 1, a rate for each optimizer, shares; and what is drawn. Parameters of many layers are one tensor, stacked in front; `stacks` says whose these are. Raises SpecError for a block or data that is wrong, a
    backend that compiles no steps, and, without `force`, files there that dlc did not write."""
    backend = find_backend(backend_name)
    if not backend.has("workspace"):
        raise lacks_steps(backend)
    sizes = open_data(block, evaluating=False).sizes
    trainers = Trainers(block, sizes)
    made = trainers.compiled(backend)
    name, folder = block.plan.name, Path(directory)
    turn = {each.name: each for each in trainers.turns.planned}
    artifacts = [_told(made, key, artifact, sizes, turn.get(key)) for key, artifact in made.artifacts.items()]
    files: dict[str, str | bytes] = {}
    for each in artifacts:
        files |= each.files
    whole = Artifact(backend.name, files)
    if not force:
        check_own(folder, whole, [f"{name}.safetensors"])
    folder = whole.write(folder)
    weights = folder / f"{name}.safetensors"
    write_file(weights, made.values)
    return [*(folder / each for each in files), weights]


def lacks_steps(backend: Backend) -> Any:
    if not backend.has("trainer"):
        return lacks_training(backend)
    what = "compiles no steps of a training: it trains by its own means"
    return backend.lacks(what, "`dlc train` runs the block; onnx and tvm compile its steps")


def _told(
    made: Compiled, key: str, artifact: Artifact, sizes: Mapping[str, int], planned: Planned | None
) -> Artifact:
    """The artifact with what it takes to train with it in its JSON."""
    (name,) = (each for each in artifact.files if each.endswith(".json"))
    facts = json.loads(artifact.files[name])
    held = {path for path, _ in facts["parameters"]}
    stacks = {path: list(members) for path, members in made.steps.stacks.items() if path in held}
    training: dict[str, Any] = {
        "names": dict(made.steps.programs[key].names),
        "draws": _draws(made.drawn[key], made.steps.programs[key].program.main.input_names, sizes),
    }
    if planned is not None and planned.name:
        step = planned.step
        pace = {} if step is None else {"every": step.every, "repeat": step.turns}
        training |= {**pace, "gives": dict(planned.gives)}
    if stacks:
        training["stacks"] = stacks
    facts["training"] = training
    return replace(artifact, files={**artifact.files, name: json.dumps(facts, indent=1) + "\n"})


def _draws(drawn: Drawn, inputs: tuple[str, ...], sizes: Mapping[str, int]) -> list[dict[str, Any]]:
    """The inputs that are drawn, each with its op and what that takes, at the sizes of a batch."""
    return [
        {
            "name": each.input.name,
            "op": each.op,
            **{key: evaluated(value, sizes) for key, value in each.attrs},
        }
        for each in drawn.draws
        if each.input.name in inputs
    ]
