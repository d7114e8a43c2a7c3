"""A training as a script that runs without dlc: what it is made of, handed to a backend that writes such scripts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from dlc.backend import Artifact, Backend
from dlc.backend.script import Call, Chosen, Drawn, HeldOut, Rule, Script
from dlc.diagnostics import SpecError
from dlc.elaborate.base.sources import STREAMS
from dlc.elaborate.checks.plan import Named, OptimizerRule, TrainPlan
from dlc.elaborate.checks.train_arguments import is_split, without_idle
from dlc.emit.script import DRAWN, SOURCES, NameTaken, pascal
from dlc.ir.needed import live, only
from dlc.ir.nodes import Program
from dlc.ir.splice import Names
from dlc.passes.phases import BEFORE
from dlc.passes.randomness import drawing_functions
from dlc.passes.sizes import with_sizes
from dlc.passes.totals import SUM, Totals, totals
from dlc.records import dataclass, replace
from dlc.runtime.compile import check_own, find_backend, lower
from dlc.runtime.drawn import Drawn as Hoisted
from dlc.runtime.interpret import evaluated
from dlc.runtime.training_data import Data, open_data
from dlc.runtime.training_setup import networks, starting_weights
from dlc.runtime.turns import Planned, Turns
from dlc.runtime.weight_files import write_file
from dlc.spec import TrainBlock
from dlc.types.dim_solve import bind

SUMS, NUMBERS = "sums", "numbers"
"""The ways into a script's module by which held-out data are measured."""


def write_script(
    block: TrainBlock, backend_name: str, directory: str | os.PathLike[str], *, force: bool = True
) -> list[Path]:
    """Write `BLOCK.py` and `BLOCK.safetensors`, the initial values by path. Raises SpecError for a block or data that is wrong, a
    backend that writes no scripts, what a script can't say, and, without `force`, files there that dlc did not write."""
    backend = find_backend(backend_name)
    artifact = script(block, backend)
    name, folder = block.plan.name, Path(directory)
    if not force:
        check_own(folder, artifact, [f"{name}.safetensors"])
    folder = artifact.write(folder)
    weights = folder / f"{name}.safetensors"
    write_file(weights, starting_weights(block))
    return [*(folder / each for each in artifact.files), weights]


def script(block: TrainBlock, backend: Backend) -> Artifact:
    """The script, in memory. Raises SpecError."""
    if not backend.has("script"):
        raise backend.lacks("writes no scripts of a training")
    try:
        return backend.script(_Making(block, backend).script())
    except NameTaken as taken:
        what = f"says no module called `{taken}` in a script: a function of it has that name"
        raise backend.lacks(what, "call the module otherwise") from None


@dataclass(frozen=True, slots=True)
class BlockFamily:
    """The programs of a block as one module with a way in for each. See `dlc.backend.Family`: a block has no other settings."""

    made: tuple[Program, ...]

    def programs(self, fixed: frozenset[str] = frozenset()) -> tuple[Program, ...]:
        return self.made

    @property
    def brief(self) -> BlockFamily:
        return self

    def others(self, fixed: frozenset[str], which: str) -> tuple[()]:
        return ()


class _Making:
    def __init__(self, block: TrainBlock, backend: Backend) -> None:
        self.block = block
        self.plan: TrainPlan = block.traced_plan
        self.backend = backend
        self.sizes = self._sizes()
        self.turns = Turns(self.plan, self.sizes, by_itself=False)
        settings = self.plan.settings
        if settings["accumulate"] > 1:
            raise self._lacks("steps over several batches (`accumulate`)")
        if self.plan.best is not None:
            raise self._lacks("best weights (`best`, `patience`)")
        if settings["precision"] not in ("f32", "bf16"):
            raise self._lacks(f"`precision = {settings['precision']}`")
        self.is_narrow = settings["precision"] != "f32"
        if self.is_narrow and not self.plan.is_single:
            raise self._lacks("bf16 in several steps")
        for step in self.plan.steps:
            for rule, _ in self.plan.rules(step):
                if rule.optimizer.name not in backend.script_optimizers or rule.definition is not None:
                    raise self._lacks(f"optimizer `{rule.optimizer.name}`")
                rate = rule.optimizer.args["lr"]
                if isinstance(rate, Named) and rate.function is not None:
                    raise self._lacks(f"schedule of the spec's own (`{rate.name}`)")

    @cached_property
    def _data(self) -> Data:
        """What the sources give: looked at only where the types of the fields don't tell enough."""
        return open_data(self.block, evaluating=self.plan.evaluate is not None)

    def _sizes(self) -> Mapping[str, int]:
        """Those of a batch."""
        sizes: dict[str, int] = {}
        for type in self.plan.fields.values():
            for axis in type.axes[:1]:
                bind(axis, int(self.plan.source.args["batch"]), sizes)
        told = {name for type in self.plan.fields.values() for name in type.symbols}
        return sizes if told <= sizes.keys() else self._data.sizes

    def script(self) -> Script:
        plan = self.plan
        programs = [self._entered(each.program, each.name) for each in self.turns.planned]
        held_out, measured = self._held_out()
        models = [each.definition for each in plan.networks]
        return Script(
            name=plan.name,
            title=f"Trains {', '.join(dict.fromkeys(each.name for each in models))}: `{plan.name}` of {Path(plan.file).name}.",
            header=_header(self.block),
            family=BlockFamily((*programs, *measured)),
            calls=tuple(map(self._call, self.turns.planned)),
            held_out=held_out,
            source=self._source(plan.source, training=True),
            fields=_dtypes(plan.fields),
            batch=int(plan.source.args["batch"]),
            settings=plan.settings,
            networks=tuple((each.name, each.path) for each in networks(plan)),
            counterparts=dict(self._counterparts()),
            draws=self._draws(),
            is_random=self.turns.drawn is None and _draws(plan.program),
            in_streams=plan.source.args.get("order") == STREAMS,
        )

    def _source(self, named: Named, *, training: bool) -> Chosen:
        args = {
            key: value for key, value in without_idle(named).args.items() if key not in ("batch", "order")
        }
        if named.name not in SOURCES:
            raise self._lacks(f"data from `{named.name}`")
        if is_split(args.get("split")) or "sample_by" in args:
            raise self._lacks(
                f"rows of `{named.name}` by `{'sample_by' if 'sample_by' in args else 'split'}`"
            )
        if named.name == "text" and not self._says_tokens(args):
            raise self._lacks(f"tokens of `{args['path']}`, which are numbered by another file")
        if named.name == "synthetic":
            batches = self._data.training if training else self._data.evaluation
            assert batches is not None
            fields = batches.rows.fields
            args["kinds"] = {
                name: (fields[name].dtype, fields[name].shape, fields[name].limit or 2)
                for name in batches.names
            }
        return Chosen(named.name, args)

    def _says_tokens(self, args: dict[str, Any]) -> bool:
        """Whether a text is numbered by its bytes, or by its own characters: held-out ones have the numbers of the training data."""
        trained = self.plan.source.args.get("path")
        return bool(args["tokenizer"] == "byte" or (args["tokenizer"] == "char" and args["path"] == trained))

    def _lacks(self, what: str) -> SpecError:
        return self.backend.lacks(
            f"says no {what} in a script of a training yet", "`dlc train` runs the block"
        )

    def _entered(self, program: Program, entry: str, source: str = "") -> Program:
        main = replace(program.main, entry=entry, source=source or pascal(self.plan.name))
        return lower(program.with_functions({**program.functions, program.entry: main}), self.backend)

    def _call(self, planned: Planned) -> Call:
        main, step = planned.program.main, planned.step
        outputs = tuple(name for name, _ in main.outputs)
        inputs = tuple(each.name for each in main.inputs)
        if step is None:
            return Call(planned.name, inputs, outputs if planned.name == BEFORE else (), kept=planned.gives)
        rules = tuple(_rule(rule, paths) for rule, paths in planned.rules)
        return Call(
            planned.name,
            inputs,
            outputs,
            rules,
            step.every,
            step.turns,
            loss=step.loss,
            draws_anew=planned.draws,
        )

    def _draws(self) -> tuple[Drawn, ...]:
        hoisted = self.turns.drawn
        if hoisted is None:
            return ()
        made = {each.name for op in self.plan.program.main.body for each in op.outputs}
        if any(each.input.name not in made for each in hoisted.draws):
            raise self._lacks("draws inside of networks or loops in several steps")
        return tuple(self._drawn(hoisted, number) for number in range(len(hoisted.draws)))

    def _drawn(self, hoisted: Hoisted, number: int) -> Drawn:
        each = hoisted.draws[number]
        if each.op not in DRAWN:
            raise self._lacks(f"draws by `{each.op}`")
        attrs = {name: evaluated(value, self.sizes) for name, value in each.attrs}
        shape = tuple(int(size) for size in attrs.pop("shape"))
        return Drawn(each.input.name, each.op, shape, attrs, number)

    def _counterparts(self) -> Iterator[tuple[str, Program]]:
        """The update of a block that has one, and the sums of held-out data, in the other mode."""
        plan = self.plan
        if plan.is_single:
            yield "", self._entered(plan.evaluation, "")
            sums = [
                _called_for_numbers(totals(each, wide=self.is_narrow)).sums
                for each in (plan.evaluation, plan.program)
            ]
            if plan.evaluate is not None and sums[0].main.outputs == sums[1].main.outputs:
                yield SUMS, self._entered(sums[1], SUMS)

    # --- held-out data

    def _held_out(self) -> tuple[HeldOut | None, list[Program]]:
        plan = self.plan
        if plan.evaluate is None:
            return None, []
        found = _called_for_numbers(totals(plan.evaluation, wide=self.is_narrow))
        fixed = {name: size for name, size in self.sizes.items() if name not in found.rows}
        rest = with_sizes(found.rest, fixed) if fixed else found.rest
        sizes = tuple(each for each in found.rest.main.given_sizes if each not in fixed)
        programs = [
            self._entered(found.sums, SUMS),
            self._entered(_without_parameters(rest), NUMBERS, "held_out"),
        ]
        if _draws(found.sums):
            raise self._lacks("draws in what is measured on held-out data")
        held = HeldOut(
            source=self._source(plan.evaluate, training=False),
            fields=_dtypes(plan.evaluate_fields or plan.fields),
            batch=int(plan.evaluate.args["batch"]),
            inputs=tuple(each.name for each in found.sums.main.inputs),
            sums=tuple(name for name, _ in found.sums.main.outputs),
            means=_means(found),
            sizes=sizes,
            numbers=tuple(name for name, _ in found.rest.main.outputs),
        )
        return held, programs


def _draws(program: Program) -> bool:
    return program.entry in drawing_functions(program)


def _called_for_numbers(found: Totals) -> Totals:
    """The sums by the names of the numbers that are computed of them: `loss_sum`."""
    rest, names = found.rest.main, Names([each for each, _ in found.rest.main.outputs])
    now: dict[str, str] = {}
    for number, value in rest.outputs:
        read = live(only(rest, [value]))
        for name, _ in found.sums.main.outputs:
            if name in read and name not in now:
                now[name] = names.fresh(f"{number}_{'sum' if found.how[name] == SUM else 'mean'}")
    sums = found.sums.main
    outputs = tuple((now.get(name, name), value) for name, value in sums.outputs)
    inputs = tuple(replace(each, name=now.get(each.name, each.name)) for each in rest.inputs)
    main = replace(rest, inputs=inputs, body=tuple(op.renamed(now) for op in rest.body))
    return replace(
        found,
        sums=found.sums.with_functions({**found.sums.functions, sums.name: replace(sums, outputs=outputs)}),
        rest=found.rest.with_functions({**found.rest.functions, main.name: main}),
        how={now.get(name, name): how for name, how in found.how.items()},
    )


def _without_parameters(program: Program) -> Program:
    main = replace(program.main, params=(), children=())
    return Program({**program.functions, main.name: main}, program.entry)


def _means(found: Totals) -> frozenset[str]:
    return frozenset(name for name, how in found.how.items() if how != SUM)


def _header(block: TrainBlock) -> tuple[str, ...]:
    from dlc.version import __version__

    return (
        f"{block.plan.name} of {Path(block.plan.file).name} (digest {block.spec.digest}), written by dlc {__version__}.",
    )


def _dtypes(fields: Mapping[str, Any]) -> dict[str, str]:
    return {name: "f32" if type.dtype == "float" else type.dtype for name, type in fields.items()}


def _rule(rule: OptimizerRule, paths: Iterable[str]) -> Rule:
    args = dict(rule.optimizer.args)
    lr = args.pop("lr")
    rate = Chosen(lr.name, dict(lr.args)) if isinstance(lr, Named) else lr
    return Rule(Chosen(rule.optimizer.name, args), rate, tuple(paths))
