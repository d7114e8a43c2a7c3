"""A training as a script that runs without dlc: what it is made of, handed to a backend that writes such scripts."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from dlc.backend import Artifact, Backend
from dlc.backend.script import Call, Chosen, Drawn, Form, HeldOut, Rule, Script, Share, Together
from dlc.diagnostics import SpecError
from dlc.elaborate.base.sources import REST, STREAMS
from dlc.elaborate.base.units import Definition
from dlc.elaborate.checks.plan import Copy, Named, OptimizerRule, TrainPlan
from dlc.elaborate.checks.train_arguments import is_split, without_idle
from dlc.emit.names import identifier
from dlc.emit.script import DRAWN, SOURCES, TABLES, NameTaken, pascal
from dlc.emit.static_functions import Unsaid, python_functions
from dlc.ir.drawing import drawing_functions
from dlc.ir.needed import live, only
from dlc.ir.nodes import Child, Program, walk
from dlc.ir.splice import Names
from dlc.once import remembering
from dlc.passes.phases import BEFORE
from dlc.passes.randomness import Draw
from dlc.passes.sizes import with_sizes
from dlc.passes.totals import SUM, Totals, batch_sizes, totals
from dlc.records import dataclass, replace
from dlc.runtime.compile import check_own, find_backend, lower
from dlc.runtime.drawn import Drawn as Hoisted
from dlc.runtime.interpret import evaluated
from dlc.runtime.together import Reckoning
from dlc.runtime.training_data import Data, open_data
from dlc.runtime.training_setup import networks, starting_weights
from dlc.runtime.turns import Planned, Turns, computed_with
from dlc.runtime.weight_files import write_file
from dlc.runtime.written_rules import Undone, forms
from dlc.source import Field
from dlc.spec import TrainBlock
from dlc.syntax import ast
from dlc.types.dim_solve import bind
from dlc.types.dims import Dim

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


@remembering()
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
    def walked(self) -> tuple[()]:
        return ()

    @property
    def stages(self) -> None:
        return None

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
        drawn = self.turns.drawn
        self.draws = () if drawn is None else self._drawn(drawn.draws)
        self.functions: list[Program] = []  # what is computed of several batches that count as one
        self.is_narrow = settings["precision"] != "f32"

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
        made = [self._made(each) for each in self.turns.planned]
        programs, calls = [program for program, _ in made], tuple(call for _, call in made)
        held_out, measured = self._held_out()
        models = [each.definition for each in plan.networks]
        return Script(
            name=plan.name,
            title=f"Trains {', '.join(dict.fromkeys(each.name for each in models))}: `{plan.name}` of {Path(plan.file).name}.",
            header=_header(self.block),
            family=BlockFamily(_told((*programs, *self.functions, *measured), plan.copies)),
            calls=calls,
            held_out=held_out,
            source=self._source(plan.source, training=True),
            fields=_dtypes(plan.fields),
            batch=int(plan.source.args["batch"]),
            settings=plan.settings,
            networks=tuple((each.name, each.path) for each in networks(plan)),
            counterparts=dict(self._counterparts()),
            draws=self.draws,
            is_random=not self._is_portable and _draws(plan.program),
            loss_scale=plan.loss_scale,
            recomputes=plan.recomputes,
            best=plan.best,
            sample_by=self._sampled(),
            in_streams=plan.source.args.get("order") == STREAMS,
        )

    def _source(self, named: Named, *, training: bool) -> Chosen:
        is_rest = named.name == REST
        named = self.plan.source if is_rest else named
        args = {
            key: value for key, value in without_idle(named).args.items() if key not in ("batch", "order")
        }
        if named.name not in SOURCES:
            raise self._lacks(f"data from `{named.name}`")
        args.pop("sample_by", None)
        share = self._share(named, is_rest) if is_split(args.get("split")) else None
        if share is not None:
            args |= {"split": "all"} if named.name == "digits" else {}
            for key in ("seed", "split"):
                if (named.name, key) not in (("digits", "split"), ("synthetic", "seed")):
                    args.pop(key, None)
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
        if named.name in TABLES or named.name == "images":
            args = self._of_files(named.name, args, training=training)
        return Chosen(named.name, args, share=share)

    def _sampled(self) -> str | None:
        """The field by which rows are drawn. Raises SpecError for one that the batch does not have."""
        by = self.plan.source.args.get("sample_by")
        if by is not None and by not in self.plan.fields:
            raise self._lacks(f"rows that are drawn by `{by}`, which the batch does not name,")
        return None if by is None else str(by)

    def _of_files(self, name: str, args: dict[str, Any], *, training: bool) -> dict[str, Any]:
        """The arguments of a table or of pictures, with what was found in them: columns, classes, shapes."""
        batches = self._data.training if training else self._data.evaluation
        assert batches is not None
        fields, about = batches.rows.fields, batches.rows.about
        classes = {field: tuple(names) for field, names in about.get("classes", {}).items()}
        if name == "images":
            if getattr(batches.rows, "is_read_late", False):
                raise self._lacks("pictures that don't fit into a gigabyte")
            size = args.get("size")
            given = {"size": (size, size) if isinstance(size, int) else size, "fit": args["fit"]}
            channels = fields["image"].shape[0]
            return {"path": args["path"], "channels": channels, **given, "classes": classes.get("label")}
        texts = self._texts(args, fields)
        renamed, several = about.get("columns", {}), about.get("features")
        columns = {field: renamed.get(field, field) for field in batches.names}
        if several is not None:
            columns["features"] = tuple(several) if fields["features"].shape else several[0]
        kinds = {
            field: ("object" if field in texts else fields[field].dtype, each)
            for field, each in columns.items()
        }
        told = ("path", "missing", "columns", "delimiter")
        kept: dict[str, Any] = {key: args[key] for key in told if key in args}
        written = {"texts": texts, "tokenizer": args["tokenizer"]} if texts else {}
        return {**kept, "kinds": kinds, **written, **({"classes": classes} if classes else {})}

    def _texts(self, args: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, int]:
        """The fields that are texts of a table, with the number of their tokens."""
        if args.get("tokenizer") is None:
            return {}
        if isinstance(args.get("missing"), int | float):
            raise self._lacks("texts of a table where a number stands for those that are missing")
        texts = {name: each for name, each in fields.items() if len(each.shape) == 1 and each.dtype == "i64"}
        return {name: each.shape[0] for name, each in texts.items()}

    def _share(self, named: Named, is_rest: bool) -> Share:
        split, seed = named.args["split"], named.args.get("seed", 0)
        low, high = (0.0, float(split)) if isinstance(split, int | float) else map(float, split)
        if is_rest and named.name == "text":  # what is left of a text stands before or behind
            if low > 0.0 and high < 1.0:
                raise self._lacks("rest of a share in the middle of a text")
            return Share(high, 1.0, seed) if low == 0.0 else Share(0.0, low, seed)
        return Share(low, high, seed, is_rest)

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

    def _made(self, planned: Planned) -> tuple[Program, Call]:
        """What is computed of a batch, as one of the script's programs, and how it is called."""
        program, step, entry = planned.program, planned.step, planned.name
        together: Together | None = None
        if planned.reckoning is not None:
            found = _called_for_numbers(planned.reckoning.totals)
            program, together = found.sums, self._together(planned, found)
            entry = SUMS if self._is_measured_alike else entry
        if self._is_portable and self.plan.is_single:
            hoisted = Hoisted.of(program)
            program, self.draws = hoisted.program, self._drawn(hoisted.draws)
        outputs = tuple(name for name, _ in program.main.outputs)
        inputs = tuple(each.name for each in program.main.inputs)
        made = self._entered(program, entry)
        if step is None:
            given = outputs if entry == BEFORE else ()
            return made, Call(entry, inputs, given, kept=planned.gives)
        rules = tuple(self._rule(rule, paths) for rule, paths in planned.rules)
        return made, Call(
            entry,
            inputs,
            outputs,
            rules,
            step.every,
            step.turns,
            loss=step.loss,
            draws_anew=planned.draws,
            together=together,
        )

    def _rule(self, rule: OptimizerRule, paths: Iterable[str]) -> Rule:
        args = dict(rule.optimizer.args)
        lr = args.pop("lr")
        rate = Chosen(lr.name, dict(lr.args), self._code(lr)) if isinstance(lr, Named) else lr
        known = rule.definition is None and rule.optimizer.name in self.backend.script_optimizers
        chosen, trained = Chosen(rule.optimizer.name, args), tuple(paths)
        return Rule(chosen, rate, trained, () if known else self._forms(rule, trained))

    def _forms(self, rule: OptimizerRule, paths: Sequence[str]) -> tuple[Form, ...]:
        """An optimizer that is written out."""
        try:
            made = forms(self.block.spec.project, self.plan.program.parameters, rule, paths)
        except Undone as what:
            raise self._lacks(f"optimizer `{rule.optimizer.name}`, {what},") from None
        return tuple(replace(each, program=lower(each.program, self.backend)) for each in made)

    def _code(self, schedule: Named) -> tuple[str, ...]:
        """A schedule that the spec writes, as functions of Python; nothing for one of the library."""
        definition = schedule.definition
        if definition is None or not isinstance(definition.node, ast.FnDef):
            return ()
        unit = definition.unit

        def find(name: str) -> ast.FnDef | ast.Let | None:
            item = unit.names.get(name)
            node = item.node if isinstance(item, Definition) else item
            if unit.own(name) is not unit:
                raise Unsaid(f"`{name}` of another file")
            return node if isinstance(node, ast.FnDef | ast.Let) else None

        try:
            return python_functions(f"{identifier(schedule.name)}_rate", definition.node, find)
        except Unsaid as what:
            raise self._lacks(f"schedule of the spec's own (`{schedule.name}`) with {what}") from None

    def _together(self, planned: Planned, found: Totals) -> Together:
        """How the batches of a step make one."""
        reckoning, of = Reckoning(found), planned.name or "sums"
        numbers, sizes = self._rest(found)
        self.functions.append(self._entered(numbers, f"of_{of}", "numbers"))
        counts = reckoning.counts if reckoning.needed else None
        if counts is not None:
            counts = _without_parameters(_of_what_it_reads(counts))
            self.functions.append(self._entered(counts, f"in_{planned.name or 'batch'}", "counted"))
        return Together(
            function=f"numbers_of_{of}",
            numbers=tuple(name for name, _ in numbers.main.outputs),
            means=_means(found),
            sizes=sizes,
            counted=reckoning.needed,
            counts="" if counts is None else f"counted_in_{planned.name or 'batch'}",
            counted_of=() if counts is None else tuple(each.name for each in counts.main.inputs),
            twice=bool(reckoning.needed) and counts is None,
        )

    def _rest(self, found: Totals) -> tuple[Program, tuple[str, ...]]:
        """What is computed of sums, with numbers for sizes but for those that count rows."""
        fixed = {name: size for name, size in self.sizes.items() if name not in found.rows}
        rest = with_sizes(found.rest, fixed) if fixed else found.rest
        sizes = tuple(each for each in found.rest.main.given_sizes if each in computed_with(rest))
        main = replace(rest.main, static=tuple((f"size_{name}", Dim.symbol(name)) for name in sizes))
        return _without_parameters(rest.with_functions({**rest.functions, main.name: main})), sizes

    @cached_property
    def _is_measured_alike(self) -> bool:
        """Whether what a step over several batches computes of each is what is computed of held-out ones, but for the mode."""
        plan = self.plan
        if plan.evaluate is None or self._is_portable or plan.settings["accumulate"] == 1:
            return False
        if _has_other_modes(plan.program):
            return False
        training, evaluation = (self._totals(each) for each in (plan.program, plan.evaluation))
        parts = ((each.sums.main.outputs, each.rest.main.body, each.how) for each in (training, evaluation))
        return next(parts) == next(parts)

    def _totals(self, program: Program) -> Totals:
        return _called_for_numbers(totals(program, wide=self.is_narrow))

    @property
    def _is_portable(self) -> bool:
        """Whether draws are inputs, the same with every backend."""
        return not self.plan.is_single or self.plan.settings["draws"] == "portable"

    def _drawn(self, draws: Sequence[Draw], rows: Container[str] = ()) -> tuple[Drawn, ...]:
        """Draws as a script makes them; `rows` are sizes that count the rows of a batch which may be a short one."""
        return tuple(self._draw(each, number, rows) for number, each in enumerate(draws))

    def _draw(self, each: Draw, number: int, rows: Container[str]) -> Drawn:
        if each.op not in DRAWN:
            raise self._lacks(f"draws by `{each.op}`")
        attrs = {name: evaluated(value, self.sizes) for name, value in each.attrs}
        attrs.pop("shape")
        shape = dict(each.attrs)["shape"]
        assert isinstance(shape, tuple)
        sizes = (self._counted(size, rows) for size in shape)
        return Drawn(each.input.name, each.op, tuple(sizes), attrs, number)

    def _counted(self, size: Any, rows: Container[str]) -> int | str:
        """A size of what is drawn, by the `size` of a batch."""
        of_rows = [name for name in self.sizes if name in rows]

        def at(count: int) -> int:
            return int(evaluated((size,), {**self.sizes, **dict.fromkeys(of_rows, count)})[0])

        once, twice, thrice = map(at, (1, 2, 3))
        if once == twice:
            return at(int(self.plan.source.args["batch"]))
        if (twice, thrice) != (2 * once, 3 * once):
            raise self._lacks("draws of a shape that is no multiple of the rows")
        return "size" if once == 1 else f"{once} * size"

    def _counterparts(self) -> Iterator[tuple[str, Program]]:
        """The update of a block that has one, and the sums of held-out data, in the other mode."""
        plan = self.plan
        if self._is_portable or _has_other_modes(plan.program):
            return
        if plan.settings["accumulate"] == 1:
            yield "", self._entered(plan.evaluation, "")
        evaluation, training = (self._totals(each).sums for each in (plan.evaluation, plan.program))
        if plan.evaluate is not None and evaluation.main.outputs == training.main.outputs:
            yield SUMS, self._entered(evaluation if self._is_measured_alike else training, SUMS)

    # --- held-out data

    def _held_out(self) -> tuple[HeldOut | None, list[Program]]:
        plan = self.plan
        if plan.evaluate is None:
            return None, []
        found = self._totals(plan.evaluation)
        rest, sizes = self._rest(found)
        hoisted = Hoisted.of(found.sums) if self._is_portable else Hoisted(found.sums, ())
        programs = [self._entered(hoisted.program, SUMS)]
        if not self._is_measured_alike:
            programs.append(self._entered(rest, NUMBERS, "held_out"))
        held = HeldOut(
            function="numbers_of_sums" if self._is_measured_alike else "held_out_numbers",
            source=self._source(plan.evaluate, training=False),
            fields=_dtypes(plan.evaluate_fields or plan.fields),
            batch=int(plan.evaluate.args["batch"]),
            inputs=tuple(each.name for each in hoisted.program.main.inputs),
            sums=tuple(name for name, _ in found.sums.main.outputs),
            means=_means(found),
            sizes=sizes,
            numbers=tuple(name for name, _ in found.rest.main.outputs),
            is_random=not self._is_portable and _draws(found.sums),
            draws=self._drawn(hoisted.draws, batch_sizes(found.sums.main)),
        )
        return held, programs


def _told(programs: tuple[Program, ...], copies: Sequence[Copy]) -> tuple[Program, ...]:
    """Copies of networks that nothing calls, with the calls of what they are copies of: these tell how their parts are made, where the
    calls of whole networks were opened."""
    calls = {op.path: op for each in programs for op in walk(each.main.body) if op.callee}

    def told(child: Child) -> Child:
        copy = next((each for each in copies if child.path.startswith(f"{each.path}.")), None)
        call = None if copy is None else calls.get(f"{copy.of}{child.path[len(copy.path) :]}")
        if call is None or child.path in calls:
            return child
        return replace(child, call=replace(call, path=child.path))

    def with_calls(program: Program) -> Program:
        main = replace(program.main, children=tuple(map(told, program.main.children)))
        return program.with_functions({**program.functions, main.name: main})

    return tuple(map(with_calls, programs))


def _has_other_modes(program: Program) -> bool:
    """Whether some of a program is in another mode than the whole, such as a teacher that is not trained. Outside of training all is in one:
    as one function with that, by a flag for all, it would be in the flag's."""
    found = (program.functions[name] for name in program.reachable())
    return any(each.modal and each.training != program.main.training for each in found)


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
    body = tuple(op.renamed(now) for op in rest.body)
    numbers = tuple((name, now.get(value, value)) for name, value in rest.outputs)
    main = replace(rest, inputs=inputs, outputs=numbers, body=body)
    return replace(
        found,
        sums=found.sums.with_functions({**found.sums.functions, sums.name: replace(sums, outputs=outputs)}),
        rest=found.rest.with_functions({**found.rest.functions, main.name: main}),
        how={now.get(name, name): how for name, how in found.how.items()},
    )


def _without_parameters(program: Program) -> Program:
    main = replace(program.main, params=(), children=())
    return Program({**program.functions, main.name: main}, program.entry)


def _of_what_it_reads(program: Program) -> Program:
    """The program without inputs that it neither reads nor has sizes of."""
    main = program.main
    read, told = live(main), set[str]()
    inputs = []
    for each in sorted(main.inputs, key=lambda each: each.name not in read):
        if each.name in read or not each.type.symbols <= told:
            inputs.append(each)
            told |= each.type.symbols
    kept = tuple(each for each in main.inputs if each in inputs)
    return program.with_functions({**program.functions, main.name: replace(main, inputs=kept)})


def _means(found: Totals) -> frozenset[str]:
    return frozenset(name for name, how in found.how.items() if how != SUM)


def _header(block: TrainBlock) -> tuple[str, ...]:
    from dlc.version import __version__

    samples = ", ".join(name for name, _ in block.plan.samples.main.outputs) if block.plan.samples else ""
    return (
        f"{block.plan.name} of {Path(block.plan.file).name} (digest {block.spec.digest}), written by dlc {__version__}.",
        *([f"It writes no samples ({samples}): `dlc train` does."] if samples else []),
    )


def _dtypes(fields: Mapping[str, Any]) -> dict[str, str]:
    return {name: "f32" if type.dtype == "float" else type.dtype for name, type in fields.items()}
