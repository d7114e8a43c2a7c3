"""A train block with weights: what its network says of data, cut out of what the block computes for its loss.

So what stands between the batch and the network (a scale, a shift of tokens) is done to new data as well."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dlc import backend as backends
from dlc.backend import Runnable
from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems
from dlc.elaborate.programs.build import EntryPoint
from dlc.ir.needed import live, only
from dlc.ir.nodes import Function, Op, Program, Value
from dlc.records import replace
from dlc.runtime import run_folder
from dlc.runtime import training_setup as setups
from dlc.runtime.checkpoints import STATE, latest
from dlc.runtime.compile import compile_model
from dlc.runtime.weights import read_file
from dlc.spec import TrainBlock, all_sources
from dlc.types.tensor import TensorType
from dlc.version import __version__

Array = NDArray[Any]
CLASSES, BINARY, VALUES = "classes", "binary", "values"
"""What a network's outputs are: scores of classes on their last axis, of a yes, or something else."""
_LOSSES = {"cross_entropy": CLASSES, "nll": CLASSES, "bce_with_logits": BINARY}
_MOVES = frozenset({"cast", "reshape", "slice", "squeeze", "unsqueeze", "permute", "expand"})


@dataclass(frozen=True)
class Answers:
    """What the block computes of the fields of a batch before its loss: `scores`, by a value's name, and `target`, which it is
    compared with, where it is one of the batch's."""

    kind: str
    scores: Value
    target: Value | None = None
    label: str = ""
    """The field that the target is made of."""
    ignore: int | None = None


def answers(main: Function, networks: frozenset[str]) -> Answers | None:
    """Of a block's program: what its loss compares, or else what the last of its networks gives that is given something of the
    batch; None where there is none."""
    types = main.types()
    for op in main.body:
        if op.op in _LOSSES:
            scores, target = op.inputs[:2]
            label = _field(main, target)
            ignore = op.attr("ignore")
            return Answers(
                _LOSSES[op.op],
                Value(scores, types[scores]),
                Value(target, types[target]) if label else None,
                label,
                ignore if isinstance(ignore, int) else None,
            )
    calls = [op for op in main.body if op.path.split(".")[0] in networks and op.outputs]
    found = (op.outputs[0] for op in reversed(calls) if cut(main, (op.outputs[0],)).inputs)
    return next((Answers(VALUES, each) for each in found), None)


def cut(main: Function, values: Sequence[Value]) -> Function:
    """What some values are computed by: `scores`, and `target` where there are two. It takes the inputs that they need."""
    outputs = tuple(zip(("scores", "target"), (each.name for each in values), strict=False))
    found = only(replace(main, outputs=outputs), [each.name for each in values])
    used = live(found)
    return replace(found, inputs=tuple(each for each in found.inputs if each.name in used))


def _field(main: Function, name: str) -> str:
    """The input that a value is a part or another form of; "" where it is computed of more."""
    made: dict[str, Op] = {each.name: op for op in main.body for each in op.outputs}
    while name in made:
        op = made[name]
        if op.op not in _MOVES:
            return ""
        name = op.inputs[0]
    return name if name in main.input_names else ""


class OtherProgram(UserWarning):
    """A run is asked through a spec that computes something else than it did."""


def _compared(block: TrainBlock, manifest: Mapping[str, Any], folder: Path) -> None:
    """Warns where a run was of another program. Its weights are taken all the same, as they fit: a loss or a metric may be all that is
    new, and an older dlc may have said the same program otherwise."""
    identity = manifest["identity"]
    before = identity.get("program") if isinstance(identity, Mapping) else None
    if before is None or before == setups.program_digest(block):
        return
    other = f", or was trained by dlc {manifest['dlc']}" if manifest["dlc"] != __version__ else ""
    told = f"what `{block.plan.name}` computes is not what the run in {folder} was trained on: the spec has changed since"
    warnings.warn(f"{told}, or is another one{other}", OtherProgram, stacklevel=4)


@dataclass(frozen=True)
class Trained:
    """A block and the weights of a run of it; `about` is what its data said of themselves, as far as that is known."""

    block: TrainBlock
    weights: Mapping[str, Array]
    about: Mapping[str, Any]
    backend: str = ""
    """That of the run, if it is known."""

    def backend_or(self, given: str | None) -> str:
        """The name of the backend that is asked: the one that is given, the run's, or the first that can train here."""
        able = (each.name for each in backends.every() if each.trains and not each.absence())
        return given or self.backend or next(able, "")

    @staticmethod
    def of(block: TrainBlock, weights: str | os.PathLike[str]) -> Trained:
        """`weights` is a run's folder, or a file of the only network's weights. Raises SpecError, and warns where the run was of another
        program."""
        place = Path(weights)
        folder = place if place.is_dir() else place.parent
        manifest = run_folder.manifest_of(folder)
        if place.is_dir() and manifest is None:
            reason, help = "it is no folder of a run", "name the folder of `dlc train --out`, or a file in it"
            raise SpecError([problems.WEIGHTS_FILE.at(NO_SPAN, path=place, reason=reason, help=help)])
        found = _of_run(block, place) if place.is_dir() else _of_file(block, place)
        known = manifest or {}
        if manifest is not None:
            _compared(block, manifest, folder)
        about = known.get("data", {})
        return Trained(block, found, about if isinstance(about, dict) else {}, str(known.get("backend", "")))

    @cached_property
    def answers(self) -> Answers:
        """Raises SpecError where the block's networks give nothing that could be shown."""
        plan = self.block.plan
        if not plan.networks:
            message = f"the train block `{plan.name}` binds no network"
            raise SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message, help="bind it: `net = Net()`")])
        found = answers(plan.evaluation.main, frozenset(each.path for each in plan.networks))
        if found is None:
            message = f"the train block `{plan.name}` gives no network anything of its batch"
            raise SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message)])
        return found

    @property
    def classes(self) -> list[str] | None:
        """The names of the classes that the scores are of, where the data have names."""
        named: Mapping[str, list[str]] = self.about.get("classes", {})
        label = self.answers.label
        return list(named[label]) if label in named else None

    @property
    def inputs(self) -> Mapping[str, TensorType]:
        """The fields that the scores are computed of."""
        return {each.name: each.type for each in self._program(self.answers.scores).main.inputs}

    def runnable(self, backend: str, device: str = "cpu", *, target: bool = False) -> Runnable:
        """From fields to `scores`; with `target` to that as well. Raises SpecError."""
        found = self.answers
        values = [found.scores, *([found.target] if target and found.target is not None else [])]
        network = setups.networks(self.block.plan)[0]
        point = EntryPoint(network.definition, tuple(network.static.items()))
        model = self.block.spec.model(network.definition.name, network.definition, point)
        model = model.with_program(self._program(*values))
        try:
            return compile_model(model, backend, weights=self.weights, device=device)
        except SpecError as error:
            raise SpecError(error.diagnostics, all_sources(self.block.spec.project)) from None

    def _program(self, *values: Value) -> Program:
        program = self.block.plan.evaluation
        main = cut(program.main, values)
        return program.with_functions({**program.functions, main.name: main})


def _of_run(block: TrainBlock, folder: Path) -> dict[str, Array]:
    names = [each.name for each in setups.networks(block.plan)]
    networks = {name: read_file(folder / f"{name}.safetensors") for name in names}
    place = latest(folder)
    state = read_file(place / STATE) if place is not None else {}
    rest = {key.partition(":")[2]: each for key, each in state.items() if key.startswith("weights:")}
    return setups.joined(block.plan, networks, rest)


def _of_file(block: TrainBlock, place: Path) -> dict[str, Array]:
    """A file of one network's weights, under its own paths or the block's."""
    tensors = read_file(place)
    networks = setups.networks(block.plan)
    paths = {each.path for each in block.plan.program.parameters}
    if tensors.keys() & paths:
        return tensors
    with_weights = [each for each in networks if any(path.startswith(f"{each.path}.") for path in paths)]
    if len(with_weights) != 1:
        listed = ", ".join(each.name for each in with_weights)
        reason = f"the block has several networks ({listed})"
        help = "name the folder of the run, which has the weights of all"
        raise SpecError([problems.WEIGHTS_FILE.at(NO_SPAN, path=place, reason=reason, help=help)])
    return setups.joined(block.plan, {with_weights[0].name: tensors}, {})
