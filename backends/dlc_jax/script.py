"""A training as a script: the functions as everywhere, and the loop that a careful researcher would write around them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dlc.backend import Artifact, EmitOptions
from dlc.backend.script import Call, HeldOut, Rule, Script
from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems
from dlc.emit import script as common
from dlc.emit.file import imports, names_in
from dlc.emit.layout import layout
from dlc.emit.names import field_name, identifier
from dlc.ir.nodes import Program
from dlc.records import replace
from dlc_jax.emit import emit

Lines = list[str]
NUMBERS = "numbers"


def written(script: Script) -> Artifact:
    """`NAME.py`. Raises SpecError for what a script can't say."""
    if len(script.calls) > 1:
        raise _unsaid("several steps in a turn")
    loop = _Loop(script)
    text = common.assembled(script, loop.functions(), loop.blocks(), _imports)
    return Artifact("jax", {f"{script.name}.py": text})


def _unsaid(what: str) -> SpecError:
    found = f"says no {what} in a script of a training yet"
    return SpecError([problems.LACKS.at(NO_SPAN, name="jax", what=found, help="`dlc train` runs the block")])


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
        precision = script.settings["precision"] if name != NUMBERS else "f32"
        options = EmitOptions(
            name=script.name, training=True, precision=precision, family=_Family(tuple(programs))
        )
        made = emit(main, options)
        self.meta = made.meta
        if made.meta["x64"]:
            raise _unsaid("numbers of 64 bits")
        text = str(made.files[f"{script.name}.py"])
        lines = text.splitlines()
        self.blocks: dict[str, str] = {}
        for node in ast.parse(text).body:
            if isinstance(node, ast.Import | ast.ImportFrom | ast.Expr):
                continue
            first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
            label = getattr(node, "name", "") or lines[first - 1].split(" ")[0].rstrip(":")
            self.blocks[label] = "\n".join(lines[first - 1 : node.end_lineno])
        outputs = next((label for label in self.blocks if label.endswith("Outputs")), "")
        renamed = {"apply": name, outputs: f"{common.pascal(script.name)}{common.pascal(name)}"}
        for old, new in renamed.items():
            if old:
                self.blocks = {
                    new if label == old else label: re.sub(rf"\b{old}\b", new, block)
                    for label, block in self.blocks.items()
                }


class _Family:
    """Programs of one module in both modes. See `dlc.backend.Family`."""

    def __init__(self, made: tuple[Program, ...]) -> None:
        self.made = made

    def programs(self, fixed: frozenset[str] = frozenset()) -> tuple[Program, ...]:
        return self.made

    @property
    def brief(self) -> _Family:
        return self

    def others(self, fixed: frozenset[str], which: str) -> tuple[()]:
        return ()


class _Loop:
    """What stands around the functions: `minimized` gives the loss and the metrics of a batch, `sums` and `numbers` measure held-out data."""

    def __init__(self, script: Script) -> None:
        self.script = script
        (self.call,) = script.calls
        main, *measured = script.family.programs()
        self.parts = [_Emitted(_modes(main, script), main, "minimized", script)]
        if measured:
            sums, numbers = measured
            self.parts += [_Emitted(_modes(sums, script), sums, "sums", script)]
            self.parts += [_Emitted((numbers,), numbers, NUMBERS, script)]
        self.meta = self.parts[0].meta
        self.state = bool(self.meta["state"])
        self.is_narrow = script.settings["precision"] != "f32"
        if self.is_narrow and "f32" in self.meta["dtypes"].values():
            raise _unsaid("parameters in f32 beside others in bf16")
        self.known = [each.path for each in main.parameters if each.kind == "param"]

    def functions(self) -> str:
        """The functions of all programs, each once."""
        first, *others = self.parts
        blocks = dict(first.blocks)
        own = {"init", "from_flat", "to_flat", "arranged", "Config", "CONFIG"}
        for each in others:
            for label, block in each.blocks.items():
                if label in own or label.startswith("init_"):
                    continue
                if blocks.setdefault(label, block) != block:
                    raise _unsaid(f"`{label}` in two forms")
        return "\n\n\n".join(_apart(blocks.values()))

    # --- functions of the script

    def blocks(self) -> Iterator[Lines]:
        if self.is_narrow:
            yield [
                "def narrow(tree: Any) -> Any:",
                '    """What is kept in f32, as it is computed with: in bf16."""',
                "",
                "    def narrowed(each: Array) -> Array:",
                "        return each.astype(jnp.bfloat16) if each.dtype == jnp.float32 else each",
                "",
                "    return jax.tree.map(narrowed, tree)",
            ]
        if self.script.held_out is not None:
            yield self._evaluate(self.script.held_out)
        if self._labels:
            yield self._labelled()
        if self.script.settings["clip_norm"] is not None:
            yield [
                "def clipped(gradients: Params) -> Params:",
                '    """Scaled so that the norm of all together is at most CLIP_NORM."""',
                "    norm = optax.global_norm(gradients)",
                "    factor = jnp.minimum(CLIP_NORM / (norm + 1e-6), 1.0)",
                "    return jax.tree.map(lambda gradient: gradient * factor, gradients)",
            ]
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
        measure = self.parts[1].meta
        given = self._given(measure)
        called = f"jax.jit(sums)({given})"
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
        lines += [f"    for batch in {common.held_out_batches(held)}:"]
        lines += [f'        size = len(batch["{held.inputs[0]}"])', *layout(f"{found} = {called}", 2)]
        lines += layout(f"for name, value in {named}.items():", 2)
        lines += layout(f"total[name] = total.get(name, 0.0) + np.asarray(value, np.float64){weighed}", 3)
        lines += ["        count += size"]
        if held.means:
            lines += [f"    for name in {means}:", "        total[name] = total[name] / count"]
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

    def _given(self, meta: Mapping[str, Any]) -> str:
        """What a function takes by place: parameters in bf16 where it computes in that, and fields that are floats."""
        floats = {name for name, type in meta["inputs"] if type["dtype"] == "float"}
        fields = (
            f'narrow(batch["{name}"])' if self.is_narrow and name in floats else f'batch["{name}"]'
            for name in meta["given"]
        )
        trees = (f"narrow({name})" if self.is_narrow else name for name in self._trees)
        return ", ".join((*trees, *fields))

    @property
    def _trees(self) -> tuple[str, ...]:
        return ("params", "state") if self.state else ("params",)

    # --- optimizers

    @property
    def _labels(self) -> list[tuple[str, common.Selection]]:
        """Which optimizer trains what, where that is not one for all: in the last place stands what all others have."""
        names = {path: _unnumbered(path) for path in self.known}
        rules = [tuple(names[path] for path in rule.paths) for rule in self.call.rules]
        rules += [
            tuple(
                names[path] for path in self.known if not any(path in rule.paths for rule in self.call.rules)
            )
        ]
        every = sorted(set(names.values()))
        found = []
        for i, paths in enumerate(rules):
            others = [name for k, each in enumerate(rules) if k != i for name in each]
            if set(paths) & set(others):
                raise _unsaid("optimizers that layers of a stack share")
            selected = common.selection(paths, every) if paths else None
            if selected is not None:
                found.append((self._label(i), selected))
        return found

    def _label(self, i: int) -> str:
        return "fixed" if i == len(self.call.rules) else f"rule_{i + 1}"

    def _labelled(self) -> Lines:
        lines = ["def label(path: tuple[Any, ...], _: Array) -> str:"]
        lines += ['    """Which optimizer trains a parameter, by its name."""']
        lines += ['    keys = (str(getattr(each, "key", getattr(each, "idx", ""))) for each in path)']
        lines += ['    name = ".".join(key for key in keys if not key.isdigit())']
        *most, last = self._labels
        for name, selected in most:
            lines += layout(f"if {selected.condition('name')}:", 1)
            lines += [f'        return "{name}"']
        return [*lines, f'    return "{last[0]}"']

    def _optimizer(self) -> Lines:
        made = [_optax(rule) for rule in self.call.rules]
        if not self._labels:
            return layout(f"optimizer = {made[0]}", 1)
        labels = dict.fromkeys(name for name, _ in self._labels)
        parts = dict(zip((self._label(i) for i in range(len(made))), made, strict=True))
        parts["fixed"] = "optax.set_to_zero()"
        lines = ["    labels = jax.tree_util.tree_map_with_path(label, params)", "    optimizers = {"]
        for name in labels:
            lines += layout(f'"{name}": {parts[name]},', 2)
        return [*lines, "    }", "    optimizer = optax.multi_transform(optimizers, labels)"]

    def _rates(self) -> Lines:
        """The learning rates of a step."""
        said = [common.rate(rule, "step", "total") or "1.0" for rule in self.call.rules]
        if not self._labels:
            return layout(f"rate = {said[0]}", 2)
        named = dict(zip((self._label(i) for i in range(len(said))), said, strict=True))
        named["fixed"] = "0.0"
        pairs = ", ".join(f'"{name}": {named[name]}' for name, _ in self._labels)
        return layout(f"rates = {{{pairs}}}", 2)

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
        lines += [*self._optimizer(), "    memory = optimizer.init(params)", ""]
        lines += self._step()
        if script.best is not None:
            lines += common.best_begun(script, self._flat)
        lines += ['    start, checkpoint = 0, args.out / "checkpoint.npz"', "    if args.resume:"]
        held = f"{trees}, memory, best" if script.best is not None else f"{trees}, memory"
        lines += layout(f"start, ({held}) = resumed(checkpoint, {held})", 2)
        if common.is_over(script):
            lines += ["    done = start"]
        return [*lines, ""]

    @property
    def _flat(self) -> str:
        """All that lies in checkpoints."""
        return "to_flat(params) | to_flat(state)" if self.state else "to_flat(params)"

    def _step(self) -> Lines:
        """One update, compiled."""
        rate, trees = ("rates" if self._labels else "rate"), ", ".join(self._trees)
        key = ["key"] if "key" in self.meta["arguments"] else []
        arguments = ", ".join((*self._trees, "memory", "batch", rate, *key))
        given = self._given(self.meta)
        named = [f"{name}={'True' if name == 'training' else name}" for name in self.meta["arguments"]]
        lines = ["    @jax.jit", f"    def update({arguments}):"]
        lines += ["        def loss_of(params):"]
        call = f"minimized({', '.join([given, *named])})"
        loss = "outputs" if len(self.call.outputs) == 1 else f"outputs.{field_name('loss')}"
        result = "outputs, new" if self.state else "outputs"
        lines += layout(f"{result} = {call}", 3)
        if self.is_narrow:
            loss = f"{loss}.astype(jnp.float32)"
            if self.state:
                lines += ["            new = jax.tree.map(lambda n, old: n.astype(old.dtype), new, state)"]
        lines += [f"            return {loss}, {'(outputs, new)' if self.state else 'outputs'}", ""]
        aux = "(outputs, state)" if self.state else "outputs"
        lines += layout(f"(_, {aux}), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)", 2)
        if self.script.settings["clip_norm"] is not None:
            fixed = any(name == "fixed" for name, _ in self._labels)
            if fixed:
                raise _unsaid("`clip_norm` beside parameters that are not trained")
            lines += ["        gradients = clipped(gradients)"]
        lines += ["        steps, memory = optimizer.update(gradients, memory, params)"]
        if self._labels:
            lines += ["        scales = jax.tree.map(rates.get, labels)"]
            lines += ["        params = jax.tree.map(lambda p, s, r: p - r * s, params, steps, scales)"]
        else:
            lines += ["        params = jax.tree.map(lambda p, s: p - rate * s, params, steps)"]
        return [*lines, f"        return {trees}, memory, outputs", ""]

    def _turns(self) -> Lines:
        script, trees = self.script, ", ".join(self._trees)
        lines = ["    begun = time.perf_counter()", f"    {common.loop(script)}"]
        lines += layout(f"batch = {common.batch(script)}", 2)
        lines += self._rates()
        key = ""
        if "key" in self.meta["arguments"]:
            lines += ["        # What a step draws hangs on the seed and the step alone."]
            lines += ["        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(SEED), step), 0)"]
            key = ", key"
        rate = "rates" if self._labels else "rate"
        lines += layout(f"{trees}, memory, outputs = update({trees}, memory, batch, {rate}{key})", 2)
        return lines

    def _end(self) -> Lines:
        script, trees = self.script, ", ".join(self._trees)
        only = len(self.call.outputs) == 1
        shown = '{"loss": outputs}' if only else _values(self.call)
        lines = ["        done = step + 1", "        if done % LOG_EVERY == 0 or done in (1, total):"]
        lines += layout(f"values = {shown}", 3)
        lines += [
            '            shown = "".join(f"  {name} {float(value):.4f}" for name, value in values.items())'
        ]
        lines += ['            print(f"step {done}/{total}{shown}", flush=True)']
        if script.held_out is not None:
            lines += [f"        if {common.due(script, 'eval_every', 'EVALUATE_EVERY')}:"]
            lines += [f"            measured = evaluate({trees}, held_out)"]
            lines += [
                '            shown = "".join(f"  {name} {value:.4f}" for name, value in measured.items())'
            ]
            lines += ['            print(f"held out{shown}", flush=True)']
        over, saved = common.is_over(script), f"done, {trees}, memory"
        if script.best is not None:
            lines += common.best_kept(script, self._flat)
            saved += ", best"
        lines += layout(f"if {common.due(script, 'checkpoint_every', 'SAVE_EVERY', over)}:", 2)
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


def _entered(program: Program) -> Program:
    main = replace(program.main, entry="")
    return program.with_functions({**program.functions, main.name: main})


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


def _unnumbered(path: str) -> str:
    return ".".join(part for part in path.split(".") if not part.isdigit())


def _values(call: Call) -> str:
    listed = ", ".join(f'"{name}": outputs.{field_name(name)}' for name in call.outputs)
    return f"{{{listed}}}"


def _optax(rule: Rule) -> str:
    """Steps that are to be scaled by the rate and subtracted, as in PyTorch."""
    args: Mapping[str, Any] = rule.optimizer.args
    decay = f"optax.add_decayed_weights({args['weight_decay']!r})" if args["weight_decay"] else ""
    if rule.optimizer.name == "sgd":
        nesterov = ", nesterov=True" if args.get("nesterov") else ""
        trace = f"optax.trace({args['momentum']!r}{nesterov})" if args["momentum"] else ""
        parts = [decay, trace]
    elif rule.optimizer.name == "lion":
        parts = [f"optax.scale_by_lion({', '.join(map(repr, args['betas']))})", decay]
    else:
        eps = f", eps={args['eps']!r}" if args["eps"] != 1e-8 else ""
        adam = f"optax.scale_by_adam({', '.join(map(repr, args['betas']))}{eps})"
        parts = [decay, adam] if rule.optimizer.name == "adam" else [adam, decay]
    said = [each for each in parts if each]
    return said[0] if len(said) == 1 else f"optax.chain({', '.join(said)})" if said else "optax.identity()"
