"""A training as a script: the functions as everywhere, and the loop that a careful researcher would write around them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from dlc.backend import Artifact, EmitOptions
from dlc.backend.script import Call, HeldOut, Script
from dlc.emit import script as common
from dlc.emit import script_rules as shared
from dlc.emit.file import imports, names_in
from dlc.emit.layout import WIDTH, layout
from dlc.emit.names import field_name, identifier
from dlc.emit.relaid import bare, laid_out
from dlc.emit.script_rules import Written
from dlc.ir.nodes import Program
from dlc.passes.phases import AFTER
from dlc.records import replace
from dlc_jax import script_rules
from dlc_jax.checkpoints import looked_up
from dlc_jax.emit import emit
from dlc_jax.integers import why_x64
from dlc_jax.script_updates import Update, given, unsaid

Lines = list[str]
NUMBERS = "numbers"
SCALING = [
    [
        "def all_finite(gradients: Params) -> Array:",
        "    return jnp.array([jnp.isfinite(each).all() for each in jax.tree.leaves(gradients)]).all()",
    ],
    [
        "def rescaled(scaling: dict[str, Array], is_finite: Array) -> dict[str, Array]:",
        '    """Half the scale where gradients were not finite, twice after 2,000 steps in a row."""',
        '    grows = scaling["in_a_row"] + 1 == 2_000',
        "    factor = jnp.where(is_finite, jnp.where(grows, 2.0, 1.0), 0.5)",
        '    in_a_row = jnp.where(is_finite & ~grows, scaling["in_a_row"] + 1, 0)',
        '    return {"scale": scaling["scale"] * factor, "in_a_row": in_a_row}',
    ],
]


def written(script: Script) -> Artifact:
    """`NAME.py`. Raises SpecError for what a script can't say."""
    loop = _Loop(script)
    text = common.assembled(script, loop.functions(), loop.blocks(), _imports)
    return Artifact("jax", {f"{script.name}.py": text})


def _imports(body: str) -> Lines:
    used = names_in(body)
    third = ["import jax", "import jax.numpy as jnp", "import numpy as np", "import optax"]
    named = [name for name in ("Array", "lax") if name in used]
    third += [f"from jax import {', '.join(named)}"] if named else []
    third += ["from jax.typing import DTypeLike"] if "DTypeLike" in used else []
    third += ["from safetensors.numpy import load_file, save_file"]
    return imports(used, common.STANDARD, third, common.MODULES)


class _Emitted:
    """A program as functions, with the names that a script has for its `apply` and its outputs."""

    def __init__(self, programs: Sequence[Program], main: Program, name: str, script: Script) -> None:
        is_plain = not main.parameters or main.main.entry == AFTER
        precision = "f32" if is_plain else script.settings["precision"]
        # Its outputs are called by its source.
        whole = common.pascal(script.name)
        source = whole if name == "minimized" else f"{whole}{common.pascal(name)}"
        family = _Family(tuple(_sourced(each, source) for each in programs))
        options = EmitOptions(
            name=script.name,
            training=True,
            precision=precision,
            family=family,
            recompute=script.recomputes,
        )
        made = emit(_sourced(main, source), options)
        self.meta = made.meta
        if made.meta["x64"]:
            raise unsaid(why_x64(main))
        text = str(made.files[f"{script.name}.py"])
        lines = text.splitlines()
        self.blocks: dict[str, str] = {}
        for node in ast.parse(text).body:
            if isinstance(node, ast.Import | ast.ImportFrom | ast.Expr):
                continue
            first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
            label = getattr(node, "name", "") or lines[first - 1].split(" ")[0].rstrip(":")
            self.blocks[label] = "\n".join(lines[first - 1 : node.end_lineno])
        self.name = name
        if name in self.blocks:
            raise common.NameTaken(name)
        self.blocks = {
            name if label == "apply" else label: laid_out(re.sub(r"\bapply\b", name, block), name)
            for label, block in self.blocks.items()
        }


class _Family:
    """Programs of one module in both modes. See `dlc.backend.Family`."""

    def __init__(self, made: tuple[Program, ...]) -> None:
        self.made = made

    def programs(self, fixed: frozenset[str] = frozenset()) -> tuple[Program, ...]:
        return self.made

    @property
    def walked(self) -> tuple[()]:
        return ()

    @property
    def stages(self) -> None:
        return None

    @property
    def brief(self) -> _Family:
        return self

    def others(self, fixed: frozenset[str], which: str) -> tuple[()]:
        return ()


class _Loop:
    """What stands around the functions: `minimized` gives the loss and the metrics of a batch, `sums` and `numbers` measure held-out data."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.is_narrow = script.settings["precision"] != "f32"
        self.parts: dict[str, _Emitted] = {}
        for each in script.family.programs():
            entry = each.main.entry
            if entry not in self.parts:
                self.parts[entry] = _Emitted(_modes(each, script), each, self._called(each), script)
        main = script.family.programs()[0]
        self.meta = next(iter(self.parts.values())).meta
        self.state = bool(self.meta["state"])
        if self.is_narrow and "f32" in self.meta["dtypes"].values():
            raise unsaid(f"parameters in f32 beside others in {script.settings['precision']}")
        stored = (each for each in main.parameters if each.kind == "param" and not each.type.is_trained)
        if (first := next(stored, None)) is not None:
            raise unsaid(f"parameters of {first.type.dtype} (`{first.path}`)")
        known = [each.path for each in main.parameters if each.kind == "param"]
        self.alone = len(script.calls) == 1
        self.blocks_of_programs = self._functions()
        rules, made = [rule for call in script.calls for rule in call.rules], script_rules.Rules()
        self.rules, self.blocks_of_rules = shared.written(rules, made.emitted, self.blocks_of_programs)
        self.is_wide = made.wide
        self.updates = {
            call.entry: Update(
                script,
                call,
                self.parts[call.entry].name,
                self.parts[call.entry].meta,
                known,
                self.rules_of(call),
                alone=self.alone,
            )
            for call in script.calls
            if call.rules
        }

    def rules_of(self, call: Call) -> list[Written | None]:
        """The optimizers of an update that are written out, None for others."""
        first = 0
        for each in self.script.calls:
            if each is call:
                break
            first += len(each.rules)
        return self.rules[first : first + len(call.rules)]

    def _called(self, program: Program) -> str:
        """What a script calls the function of a program."""
        main, calls = program.main, {call.entry: call for call in self.script.calls}
        if not program.parameters:
            return NUMBERS if main.entry == NUMBERS else f"{main.source}_{main.entry}"
        if main.entry in ("", "sums"):
            several = main.entry == "" and calls[""].together is not None
            return "sums_in_training" if several else main.entry or "minimized"
        return f"{identifier(main.entry)}_loss" if calls[main.entry].rules else main.entry

    def _functions(self) -> dict[str, str]:
        """The functions of all programs, each once."""
        first, *others = self.parts.values()
        blocks = dict(first.blocks)
        mains = {each.name for each in self.parts.values()}
        own = {"init", "from_flat", "to_flat", "arranged", "Config", "CONFIG", "PATHS"}
        for each in others:
            found = {
                label: block
                for label, block in each.blocks.items()
                if label not in own and not label.startswith("init_")
            }
            if taken := (mains - {each.name}) & found.keys():
                raise common.NameTaken(min(taken))
            blocks |= _told_apart(found, blocks, each.name)
        return blocks

    def functions(self) -> str:
        """The functions of all programs, and of optimizers that are written out."""
        return "\n\n\n".join(_apart((*self.blocks_of_programs.values(), *self.blocks_of_rules.values())))

    # --- functions of the script

    def blocks(self) -> Iterator[Lines]:
        yield from common.schedules(self.script)
        yield common.drawing(self.script)
        yield common.drawing_in_evaluation(self.script)
        precision = self.script.settings["precision"]
        if self.is_narrow:
            yield [
                "def narrow(tree: Any) -> Any:",
                f'    """What is kept in f32, as it is computed with: in {precision}."""',
                "",
                "    def narrowed(each: Array) -> Array:",
                f"        return each.astype(jnp.{script_rules.DTYPES[precision]}) if each.dtype == jnp.float32 else each",
                "",
                "    return jax.tree.map(narrowed, tree)",
            ]
        for each in self.updates.values():
            if each.call.together is not None:
                yield each.named_numbers(each.call.together)
        if self.script.held_out is not None:
            yield self._evaluate(self.script.held_out)
        for each in self.updates.values():
            if each.labels:
                yield each.labelled()
        is_stacked = "PATHS" in self.blocks_of_programs
        table = self.blocks_of_programs.get("PATHS", "").splitlines()
        rules = script_rules.definitions(self.rules, wide=self.is_wide, stacked=is_stacked)
        yield from (looked_up(lines, table) for lines in rules)
        if self.script.settings["clip_norm"] is not None:
            yield [
                "def clipped(gradients: Params) -> Params:",
                '    """Scaled so that the norm of all together is at most CLIP_NORM."""',
                "    norm = optax.global_norm(gradients)",
                "    factor = jnp.minimum(CLIP_NORM / (norm + 1e-6), 1.0)",
                "    return jax.tree.map(lambda gradient: gradient * factor, gradients)",
            ]
        if common.is_dynamic(self.script):
            yield from SCALING
        yield [
            "def save(path: Path, step: int, *trees: Any) -> None:",
            '    """A checkpoint takes the place of the one before only when it is whole."""',
            '    new = path.with_suffix(".new.npz")',
            "    np.savez(new, *map(np.asarray, jax.tree.leaves(trees)), step=step)",
            "    os.replace(new, path)",
        ]
        yield [
            "def resumed(path: Path, *trees: Any) -> tuple[int, Any]:",
            '    """The step of a checkpoint, and trees like these with its values."""',
            "    leaves, structure = jax.tree.flatten(trees)",
            "    with np.load(path, allow_pickle=False) as saved:",
            '        values = [saved[f"arr_{i}"] for i in range(len(leaves))]',
            '        return int(saved["step"]), jax.tree.unflatten(structure, values)',
        ]
        yield [
            "def below(prefix: str, flat: Params) -> dict[str, np.ndarray]:",
            '    """One network of all parameters, by its own names."""',
            "    found = {name: each for name, each in flat.items() if name.startswith(prefix)}",
            "    return {name.removeprefix(prefix): np.asarray(each) for name, each in found.items()}",
        ]
        yield [*self._beginning(), *self._turns(), *self._end()]

    def _evaluate(self, held: HeldOut) -> Lines:
        """Sums over batches, and numbers of these."""
        rows = "np.ndarray" if common.is_text(held.source) else "Rows"
        means = common.literal(tuple(sorted(held.means)))
        weighed = f" * (size if name in {means} else 1)" if held.means else ""
        measure = self.parts["sums"].meta
        key = ", key=key" if held.is_random else ""
        called = f"jax.jit(sums)({given(measure, self._trees, narrow=self.is_narrow)}{key})"
        found = "found, _" if measure["state"] and measure["training"] else "found"
        named = "found._asdict()" if len(held.sums) > 1 else f'{{"{held.sums[0]}": found}}'
        head = ", ".join(
            f"{name}: {kind}" for name, kind in zip(self._trees, ("Params", "State"), strict=False)
        )
        lines = layout(f"def evaluate({head}, rows: {rows}) -> dict[str, float]:")
        lines += [
            '    """The loss and the metrics of all held-out rows: sums over batches, and what follows."""'
        ]
        lines += ["    total: dict[str, np.ndarray] = {}", "    count = 0"]
        if held.is_random:
            lines += [f"    for number, batch in enumerate({common.held_out_batches(held)}):"]
            lines += ["        # What is drawn hangs on the seed and the number of the batch alone."]
            key = "jax.random.fold_in(jax.random.fold_in(jax.random.key(SEED), 0xE7A1), number)"
            lines += layout(f"key = {key}", 2)
        elif held.draws:
            lines += [f"    for number, batch in enumerate({common.held_out_batches(held)}):"]
        else:
            lines += [f"    for batch in {common.held_out_batches(held)}:"]
        lines += [f'        size = len(batch["{held.inputs[0]}"])']
        lines += [f"        batch |= {common.drawn_in_evaluation(held)}"] if held.draws else []
        lines += layout(f"{found} = {called}", 2)
        lines += layout(f"for name, value in {named}.items():", 2)
        lines += layout(f"total[name] = total.get(name, 0.0) + np.asarray(value, np.float64){weighed}", 3)
        lines += ["        count += size"]
        if held.means:
            lines += [f"    for name in {means}:", "        total[name] = total[name] / count"]
        if common.is_measured_alike(self.script):
            numbers = common.numbers_name(self.script.calls[0])
            lines += [f"    found = {numbers}(total{', count' if held.sizes else ''})"]
            return [*lines, "    return {name: float(value) for name, value in found.items()}"]
        names = [
            "{}",
            *(f'total["{name}"]' for name in held.sums),
            *(f"{identifier(size)}=count" for size in held.sizes),
        ]
        lines += layout(f"found = numbers({', '.join(names)})", 1)
        labels = ", ".join(f'"{name}"' for name in held.numbers)
        if len(held.numbers) == 1:
            return [*lines, f"    return {{{labels}: float(found)}}"]
        return [*lines, *layout(f"return dict(zip(({labels}), map(float, found), strict=True))", 1)]

    @property
    def _trees(self) -> tuple[str, ...]:
        return ("params", "state") if self.state else ("params",)

    # --- the loop

    def _beginning(self) -> Lines:
        script, held = self.script, self.script.held_out
        lines = ["def main() -> None:", *common.arguments(script)]
        lines = [line for line in lines if '"--device"' not in line]
        lines += layout(f"rows = {common.opened(script.source, script.fields)}", 1)
        if held is not None:
            lines += layout(f"held_out = {common.opened(held.source, held.fields)}", 1)
        lines += [*common.counted(script), ""]
        trees = ", ".join(self._trees)
        lines += layout(f'{trees} = from_flat(load_file(Path(__file__).with_suffix(".safetensors")))', 1)
        for each in self.updates.values():
            lines += each.begun()
        lines += [""]
        for each in self.updates.values():
            lines += each.compiled()
        for call in script.calls:
            if not call.rules and not call.outputs:
                lines += self._settled(call)
        if script.best is not None:
            lines += common.best_begun(script, self._flat)
        lines += common.resuming("checkpoint.npz")
        lines += self._resumed()
        if common.is_over(script):
            lines += ["    done = start"]
        return [*lines, ""]

    def _resumed(self) -> Lines:
        kept = ", ".join(self._held)
        if len(f"        start, ({kept}) = resumed(") <= WIDTH:
            return layout(f"start, ({kept}) = resumed(checkpoint, {kept})", 2)
        lines = layout(f"start, held = resumed(checkpoint, {kept})", 2)
        if len(f"        {kept} = held") <= WIDTH:
            return [*lines, f"        {kept} = held"]
        return [*lines, "        (", *(f"            {each}," for each in self._held), "        ) = held"]

    @property
    def _flat(self) -> str:
        """All that lies in checkpoints."""
        return "to_flat(params) | to_flat(state)" if self.state else "to_flat(params)"

    @property
    def _held(self) -> tuple[str, ...]:
        """All that a run has to have to go on."""
        best = ("best",) if self.script.best is not None else ()
        return (*self._trees, *(name for each in self.updates.values() for name in each.held), *best)

    def _settled(self, call: Call) -> Lines:
        """What is computed when all steps are done, which changes parameters and state."""
        part, trees = self.parts[call.entry], ", ".join(self._trees)
        fields = ["batch"] if call.inputs else []
        lines = ["    @jax.jit", f"    def settled({', '.join((*self._trees, *fields))}):"]
        lines += [
            "        # It writes into the trees that it is given: they are copies, as this function is compiled."
        ]
        result = "_, state" if self.state else "_"
        return [
            *lines,
            *layout(f"{result} = {part.name}({given(part.meta, self._trees, narrow=False)})", 2),
            f"        return {trees}",
            "",
        ]

    def _turns(self) -> Lines:
        script = self.script
        lines = ["    begun = time.perf_counter()", f"    {common.loop(script)}"]
        if common.is_several(script):
            batch = common.batch(script)
            lines += layout(f"parts = [{batch} for number in {common.NUMBERS_OF}]", 2)
            if script.draws:
                lines += ["        for part, batch in enumerate(parts):"]
                lines += ["            batch |= drawn(step, part)"]
        else:
            lines += layout(f"batch = {common.batch(script)}", 2)
            lines += ["        batch |= drawn(step)"] if script.draws else []
        if not self.alone:
            lines += ["        values: dict[str, Any] = {}"]
        if common.is_dynamic(script) and common.has_averages(script):
            lines += ["        left_out = False"]
        for call in script.calls:
            if not call.rules:
                lines += self._computed(call)
            elif common.is_several(script):
                lines += self.updates[call.entry].several()
            else:
                lines += self.updates[call.entry].lines()
        return lines

    def _computed(self, call: Call) -> Lines:
        """What is computed before the steps, and behind them."""
        part, trees = self.parts[call.entry], ", ".join(self._trees)
        several = common.is_several(self.script)
        if not call.outputs:
            first = ["        batch = parts[0]"] if call.inputs and several else []
            args = ", ".join((*self._trees, *(["batch"] if call.inputs else [])))
            if common.is_dynamic(self.script):
                return [*first, "        if not left_out:", *layout(f"{trees} = settled({args})", 3)]
            return [*first, *layout(f"{trees} = settled({args})", 2)]
        lines, indent = (["        for batch in parts:"], 3) if several else ([], 2)
        margin, one = "    " * indent, len(call.outputs) == 1
        args = given(part.meta, self._trees, narrow=self.is_narrow)
        result = "found, new" if self.state and self.is_narrow else "found, state" if self.state else "found"
        lines += layout(f"{result} = jax.jit({part.name})({args})", indent)
        if self.state and self.is_narrow:
            lines += [f"{margin}state = jax.tree.map(lambda n, old: n.astype(old.dtype), new, state)"]
        gives = dict(call.kept)
        for name in call.outputs:
            read = "found" if one else f"found.{field_name(name)}"
            if name in gives:
                lines += [f'{margin}batch["{gives[name]}"] = {read}']
            elif several:
                wide = f"{read}.astype(jnp.float32)" if self.is_narrow else read
                lines += layout(f'values["{name}"] = values.get("{name}", 0.0) + {wide} / ACCUMULATE', indent)
            else:
                lines += [f'{margin}values["{name}"] = {read}']
        return lines

    def _end(self) -> Lines:
        script, trees = self.script, ", ".join(self._trees)
        lines = ["        done = step + 1", "        if done % LOG_EVERY == 0 or done in (1, total):"]
        if self.alone:
            (update,) = self.updates.values()
            shown = update.summed() if common.is_several(script) else update.values()
            lines += layout(f"values = {shown}", 3)
        lines += [
            '            shown = "".join(f"  {name} {float(value):.4f}" for name, value in values.items())'
        ]
        lines += ['            print(f"step {done}/{total}{shown}", flush=True)']
        if script.held_out is not None:
            lines += [f"        if {common.is_evaluated(script)}:"]
            lines += [f"            measured = evaluate({trees}, held_out)"]
            lines += [
                '            shown = "".join(f"  {name} {value:.4f}" for name, value in measured.items())'
            ]
            lines += ['            print(f"held out{shown}", flush=True)']
        over, saved = common.is_over(script), ", ".join(("done", *self._held))
        if script.best is not None:
            lines += common.best_kept(script, self._flat)
        lines += layout(f"if {common.is_saved(script)}:", 2)
        lines += layout(f"save(checkpoint, {saved})", 3)
        if over:
            lines += [f"        if {over}:", "            break"]
        lines += layout(f"flat = {common.weights_in_the_end(script, self._flat)}", 1)
        for name, path in script.networks:
            lines += layout(f'save_file(below("{path}.", flat), args.out / "{name}.safetensors")', 1)
        return [*lines, *common.ended(script)]


def _modes(program: Program, script: Script) -> tuple[Program, ...]:
    """A program in both modes, outside of training first."""
    other = script.counterparts.get(program.main.entry)
    plain = [_entered(each) for each in (program, *((other,) if other is not None else ()))]
    return tuple(sorted(plain, key=lambda each: each.main.training))


def _sourced(program: Program, source: str) -> Program:
    main = replace(program.main, source=source)
    return program.with_functions({**program.functions, main.name: main})


def _entered(program: Program) -> Program:
    main = replace(program.main, entry="")
    return program.with_functions({**program.functions, main.name: main})


def _told_apart(found: dict[str, str], others: Mapping[str, str], name: str) -> dict[str, str]:
    """Functions of a program beside those of others: what has another form here has another name, and so has what calls it."""
    different = {label for label, block in found.items() if _differs(block, others.get(label))}
    while True:
        named = (
            re.compile(rf"\b({'|'.join(map(re.escape, sorted(different)))})\b(?=\()") if different else None
        )
        calling = {
            label for label, block in found.items() if named and label in others and named.search(block)
        }
        if calling <= different:
            break
        different |= calling
    renamed = {label: f"{label}_of_{name}" for label in different}
    for old, new in renamed.items():
        called = re.compile(rf"(?<![\w.\"]){old}(?=\()")
        found = {each: laid_out(called.sub(new, block), new) for each, block in found.items()}
    return {renamed.get(label, label): block for label, block in found.items()}


def _differs(block: str, other: str | None) -> bool:
    """Whether two functions are not the same but for what they say of themselves."""
    return other is not None and bare(block) != bare(other)


def _apart(blocks: Iterable[str]) -> Iterator[str]:
    """Blocks of the file; assignments that follow each other stand together."""
    held: list[str] = []
    for block in blocks:
        if re.match(r"\w+ = |\w+: ", block):
            held.append(block)
            continue
        if held:
            yield "\n".join(held)
            held = []
        yield block
    if held:
        yield "\n".join(held)
