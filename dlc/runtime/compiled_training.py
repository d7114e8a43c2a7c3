"""Training by compiled steps: gradients and optimizers are in the programs that a backend is given, and it only runs these. So does
the interpreter, whose steps are the meaning of all others.

What is drawn at random is an input of the programs (`dlc/runtime/drawn.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.backend import Batch, Workspace
from dlc.elaborate.programs.update import SCALE, STATE, STEP, rate_name, scale_path
from dlc.ir.nodes import Program
from dlc.runtime.interpret import run
from dlc.runtime.step_programs import EVALUATION, OUTPUTS, PART, REST, WHOLE, Programs, program_name

Array = NDArray[Any]


class CompiledTrainer:
    """See `dlc.backend.Trainer`: a network in training in a workspace."""

    def __init__(self, programs: Programs, workspace: Workspace, paths: Sequence[str]) -> None:
        self.made = programs
        self.programs = programs.programs
        self.workspace = workspace
        self.paths = frozenset(paths)
        self.scaled = self._scales(workspace.values())

    def step(
        self,
        step: int,
        batches: Sequence[Batch],
        shares: Mapping[str, Array],
        rates: Sequence[float | None],
        update: str = "",
    ) -> list[dict[str, Array]]:
        given: dict[str, Any] = {STEP: np.asarray(step + 1, np.int64)}
        given |= {
            rate_name(i): np.asarray(rate, np.float32) for i, rate in enumerate(rates) if rate is not None
        }
        if update in self.made.optimizers:
            given |= self.made.optimizers[update].of_optimizers(self.made.seed, step, update)
        whole, part, rest = (program_name(update, what) for what in (WHOLE, PART, REST))
        if whole in self.programs:
            return [self._scaling(whole, update, batch, given) for batch in batches]
        parts = {name: np.asarray(each, np.float32) for name, each in shares.items()}
        found = [self._run(part, batch, parts) for batch in batches]
        self._scaling(rest, update, {}, given)
        return found

    def _scaling(self, program: str, update: str, batch: Batch, given: Mapping[str, Any]) -> dict[str, Array]:
        """Run what may change the scale of a loss, which is no output of the block's."""
        found = self._run(program, batch, given)
        name = self.programs[program].names.get(SCALE)
        if name is not None:
            self.scaled[update] = float(found.pop(name))
        return found

    def _scales(self, values: Mapping[str, Array]) -> dict[str, float]:
        """The scales of losses that follow the gradients, by update, as a workspace or a checkpoint has them."""
        found = {}
        for path, each in values.items():
            if path.startswith(f"{STATE}.") and path.endswith(scale_path("")):
                found[path[len(STATE) + 1 : -len(scale_path(""))]] = float(each)
        return found

    def outputs(self, step: int, number: int, batch: Batch, update: str = "") -> dict[str, Array]:
        return self._run(program_name(update, OUTPUTS), batch, {})

    def evaluate(self, number: int, batch: Batch) -> dict[str, Array]:
        return self._run(EVALUATION, batch, {})

    def _run(self, name: str, batch: Batch, further: Mapping[str, Any]) -> dict[str, Array]:
        step = self.programs[name]
        named = {step.names[key]: value for key, value in further.items() if key in step.names}
        wanted = {each.name for each in step.program.main.inputs}
        return self.workspace.run(name, {**{key: batch[key] for key in batch if key in wanted}, **named})

    def weights(self) -> dict[str, Array]:
        return {path: each for path, each in self.workspace.values().items() if path in self.paths}

    def state(self) -> dict[str, Array]:
        held = self.workspace.values()
        return {path: each for path, each in held.items() if path.startswith(f"{STATE}.")}

    def scales(self) -> dict[str, float]:
        return dict(self.scaled)

    def restore(self, weights: Mapping[str, Array], state: Mapping[str, Array]) -> None:
        known = {**self.weights(), **self.state()}
        given = {**weights, **state}
        if given.keys() != known.keys():
            raise ValueError("it holds other parameters than the networks have")
        for path, each in given.items():
            if np.shape(each) != known[path].shape:
                raise ValueError(f"`{path}` has another shape")
        self.workspace.put(given)
        self.scaled = self._scales(given)


class StackedWorkspace:
    """A workspace whose programs have one tensor for those of many layers, with a value for each: `stacks` says which paths stand in what."""

    def __init__(self, workspace: Workspace, stacks: Mapping[str, Sequence[str]]) -> None:
        self.workspace = workspace
        self.stacks = stacks

    def run(self, program: str, inputs: Mapping[str, Any]) -> dict[str, Array]:
        return self.workspace.run(program, inputs)

    def values(self) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for path, each in self.workspace.values().items():
            found |= zip(self.stacks[path], each, strict=True) if path in self.stacks else {path: each}
        return found

    def put(self, values: Mapping[str, Array]) -> None:
        self.workspace.put(in_stacks(values, self.stacks))


def in_stacks(values: Mapping[str, Array], stacks: Mapping[str, Sequence[str]]) -> dict[str, Array]:
    """The values with those that belong to a stack as that."""
    whole = {path: np.stack([values[each] for each in members]) for path, members in stacks.items()}
    inside = {each for members in stacks.values() for each in members}
    return {**{path: each for path, each in values.items() if path not in inside}, **whole}


class ReferenceWorkspace:
    """The interpreter as a `dlc.backend.Workspace`; with `rounding`, one that rounds at random."""

    def __init__(
        self,
        programs: Mapping[str, Program],
        values: Mapping[str, Array],
        rounding: np.random.Generator | None = None,
    ) -> None:
        self.programs = programs
        self.rounding = rounding
        self.held = {path: np.array(each) for path, each in values.items()}

    def run(self, program: str, inputs: Mapping[str, Any]) -> dict[str, Array]:
        updates: dict[str, Array] = {}
        with np.errstate(all="ignore"):  # what is not finite is seen in the results
            held = self.held
            found = run(self.programs[program], held, inputs, updates=updates, rounding=self.rounding)
        self.held |= updates
        return found

    def values(self) -> dict[str, Array]:
        return {path: np.array(each) for path, each in self.held.items()}

    def put(self, values: Mapping[str, Array]) -> None:
        self.held |= {path: np.array(each) for path, each in values.items()}
