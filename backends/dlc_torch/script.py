"""A training as a script: the module as everywhere, and the loop that a careful researcher would write around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dlc.backend import Artifact, EmitOptions
from dlc.backend.script import Call, HeldOut, Rule, Script
from dlc.emit import script as common
from dlc.emit import script_rules
from dlc.emit.file import imports, names_in
from dlc.emit.layout import layout
from dlc.emit.script_rules import Written
from dlc.ir.nodes import walk
from dlc.passes.phases import AFTER
from dlc_torch import rows
from dlc_torch.emit import RECOMPUTED, constants, emit
from dlc_torch.script_rules import definitions, emitted
from dlc_torch.script_updates import Lines, Turns, seeded, values

SHORT = 50
# Those that a script says, and PyTorch's own defaults, which go without saying.
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"momentum": 0.0, "weight_decay": 0.0, "nesterov": False}),
    "adam": ("Adam", {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}),
    "adamw": ("AdamW", {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}),
}


def written(script: Script) -> Artifact:
    """`NAME.py`."""
    _check_called(script)
    program = script.family.programs()[0]
    precision = script.settings["precision"]
    options = EmitOptions(
        name=script.name,
        training=True,
        precision=precision,
        family=script.family,
        recompute=script.recomputes,
    )
    made = emit(program, options)
    source = str(made.files[f"{script.name}.py"])
    model = source[source.index("\n\n\n") + 3 :].rstrip("\n")
    known = [each.path for each in program.parameters if each.kind == "param"]
    taken = [each for made in script.family.programs() for each in made.main.inputs]
    inputs = {each.name for each in taken if each.type.dtype == "float" and precision != "f32"}
    turns = Turns(script, known, inputs)
    rules, functions = script_rules.written(turns.rules, emitted, script_rules.blocks_of(model))
    model = "\n\n\n".join((model, *functions.values()))
    after = model.partition("    def after(")[2].partition("\n\n")[0]
    if turns.has_whole and turns.cast in after:
        raise common.unsaid("torch", f"{precision} beside updates of parameters that compute with casts")
    loop = _Loop(script, str(made.meta["class"]), turns, rules)
    return Artifact("torch", {f"{script.name}.py": common.assembled(script, model, loop.blocks(), _imports)})


def _check_called(script: Script) -> None:
    """Raises SpecError for parts of an opened network of which no call tells how they are made."""
    mains = [program.main for program in script.family.programs()]
    called = {op.path for main in mains for op in walk(main.body) if op.callee}
    for child in (each for main in mains for each in main.children):
        network, _, inner = child.path.partition(".")
        is_told = child.call is not None or child.path in called
        if inner and not is_told and not any(each.startswith(f"{network}.") for each in called):
            raise common.unsaid("torch", f"network that nothing calls (`{network}`) beside several steps")


def _imports(body: str) -> Lines:
    used = names_in(body)
    third = ["import numpy as np", "import torch"]
    third += ["import torch.nn.functional as F"] if "F" in used else []
    third += ["from safetensors.torch import load_file, save_file"]
    named = [name for name in ("Tensor", "nn") if name in used]
    third += [f"from torch import {', '.join(named)}"] if named else []
    third += [RECOMPUTED] if "recomputed" in used else []
    return [*imports(used, common.STANDARD, third, common.MODULES), *constants(used)]


CHOSEN = [
    "def parameters(model: nn.Module, wanted: Callable[[str], bool]) -> list[nn.Parameter]:",
    '    """Some of the parameters, by the names that checkpoints have."""',
    "    state = model.state_dict(keep_vars=True)",
    "    chosen = {name: each for name, each in state.items() if wanted(name)}",
    "    return [each for each in chosen.values() if isinstance(each, nn.Parameter)]",
]
CHOSEN_NARROW = [
    "def parameters(kept: dict[str, Tensor], wanted: Callable[[str], bool]) -> list[Tensor]:",
    '    """Some of the parameters, by the names that checkpoints have."""',
    "    return [each for name, each in kept.items() if wanted(name)]",
]
# Parameters are kept in f32; the model computes with copies of them in the narrow dtype.
NARROW = {
    "named": [
        "def named(model: nn.Module) -> dict[str, nn.Parameter]:",
        '    """The parameters that the model computes with, by the names that checkpoints have."""',
        "    state = model.state_dict(keep_vars=True)",
        "    return {name: each for name, each in state.items() if isinstance(each, nn.Parameter)}",
    ],
    "take_gradients": [
        "def take_gradients(model: nn.Module, kept: dict[str, Tensor]) -> None:",
        '    """The gradients of the model in bf16, for the parameters that are kept in f32."""',
        "    for name, each in named(model).items():",
        "        grad = torch.zeros_like(each) if each.grad is None else each.grad",
        "        kept[name].grad = grad.float()",
    ],
    "add_gradients": [
        "def add_gradients(model: nn.Module, kept: dict[str, Tensor]) -> None:",
        '    """The gradients of the model in bf16, beside those of other batches in f32."""',
        "    for name, each in named(model).items():",
        "        grad = torch.zeros_like(each) if each.grad is None else each.grad",
        "        before = kept[name].grad",
        "        kept[name].grad = grad.float() if before is None else before + grad.float()",
    ],
    "give_values": [
        "@torch.no_grad()",
        "def give_values(model: nn.Module, kept: dict[str, Tensor]) -> None:",
        '    """What the model computes with: the parameters that are kept, rounded to bf16."""',
        "    for name, each in named(model).items():",
        "        each.copy_(kept[name])",
    ],
}


class _Loop:
    """What stands around the module, which is called `model`."""

    def __init__(self, script: Script, model: str, turns: Turns, rules: Sequence[Written | None]) -> None:
        self.script = script
        self.turns = turns
        self.model = model
        # One that is written out has no other rule beside its own.
        by_rule = {id(rule): each for rule, each in zip(turns.rules, rules, strict=True)}
        kinds = [turns.optimizers(call) for call in turns.updates]
        self.written = {name: by_rule[id(found[0])] for each in kinds for name, found in each.items()}
        self.words: dict[tuple[str, ...], str] = {}  # lists of names that have one

    def blocks(self) -> Iterator[Lines]:
        yield from common.schedules(self.script)
        yield common.drawing(self.script)
        yield common.drawing_in_evaluation(self.script)
        yield [
            "def tensors(batch: Rows, device: str) -> dict[str, Tensor]:",
            "    return {name: torch.from_numpy(array).to(device) for name, array in batch.items()}",
        ]
        if common.is_several(self.script):
            yield from map(self.turns.named_numbers, self.turns.updates)
        if self.script.held_out is not None:
            yield self._evaluate(self.script.held_out)
        if self.turns.is_narrow:
            yield NARROW["named"]
            yield self._of_dtype("add_gradients" if common.is_several(self.script) else "take_gradients")
            yield self._of_dtype("give_values")
        if self.turns.has_whole:
            yield self._settle()
        if any(self._selection(rule) for rule in self.turns.rules):
            yield CHOSEN_NARROW if self.turns.is_narrow else CHOSEN
        if self.turns.reads_held:
            yield [
                "def held(optimizer: torch.optim.Optimizer) -> list[Tensor]:",
                '    """What an optimizer trains."""',
                '    return [each for group in optimizer.param_groups for each in group["params"]]',
            ]
        if common.is_several(self.script):
            yield [
                "def add(sums: dict[str, Tensor], found: dict[str, Tensor]) -> None:",
                '    """Outputs of a further batch."""',
                "    for name, value in found.items():",
                "        sums[name] = sums.get(name, 0.0) + value.detach().double()",
            ]
        yield from definitions([*self.written.values()])
        yield self._save()
        yield [
            "def below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:",
            '    """One network of the state, by its own names."""',
            "    found = {name: each for name, each in state.items() if name.startswith(prefix)}",
            "    return {name.removeprefix(prefix): each.contiguous() for name, each in found.items()}",
        ]
        yield [*self._beginning(), *self.turns.lines(), *self._end()]

    # --- functions of the script

    def _of_dtype(self, name: str) -> Lines:
        parameters = self.script.family.programs()[0].parameters
        has_own = any(each.trainable and each.type.dtype not in ("float", "f32") for each in parameters)
        wide = "grad.to(kept[name].dtype)" if has_own else "grad.float()"
        lines = (line.replace("bf16", self.turns.precision) for line in NARROW[name])
        return [line.replace("grad.float()", wide) for line in lines]

    def _evaluate(self, held: HeldOut) -> Lines:
        """Sums over batches, and numbers of these."""
        rows = "np.ndarray" if common.is_text(held.source) else "Rows"
        given = self.turns.given(held.inputs)
        found = "found._asdict()" if len(held.sums) > 1 else f'{{"{held.sums[0]}": found}}'
        means = common.literal(tuple(sorted(held.means)))
        weighed = f" * (size if name in {means} else 1)" if held.means else ""
        lines = ["@torch.no_grad()"]
        lines += [f"def evaluate(model: {self.model}, rows: {rows}, device: str) -> dict[str, float]:"]
        lines += [
            '    """The loss and the metrics of all held-out rows: sums over batches, and what follows."""'
        ]
        lines += ["    model.eval()", "    sums: dict[str, Tensor] = {}", "    count = 0"]
        batches = f"map(partial(tensors, device=device), {common.held_out_batches(held)})"
        if held.is_random:
            lines += layout(f"for number, batch in enumerate({batches}):", 1)
            lines += ["        # What is drawn hangs on the seed and the number of the batch alone."]
            lines += seeded("0xE7A1, number", 2)
        elif held.draws:
            lines += layout(f"for number, batch in enumerate({batches}):", 1)
        else:
            lines += layout(f"for batch in {batches}:", 1)
        lines += [
            f'        size = len(batch["{held.inputs[0]}"])',
            *(
                [f"        batch |= tensors({common.drawn_in_evaluation(held)}, device)"]
                if held.draws
                else []
            ),
            *layout(f"found = model.sums({given})", 2),
        ]
        lines += layout(f"for name, value in {found}.items():", 2)
        lines += layout(f"sums[name] = sums.get(name, 0.0) + value.double(){weighed}", 3)
        lines += ["        count += size"]
        if held.means:
            lines += [f"    for name in {means}:", "        sums[name] = sums[name] / count"]
        if common.is_measured_alike(self.script):
            rows = ", count" if held.sizes else ""
            lines += [
                "    model.train()",
                f"    numbers = {common.numbers_name(self.turns.updates[0])}(sums{rows})",
            ]
            return [*lines, "    return {name: float(value) for name, value in numbers.items()}"]
        names = [*(f'sums["{name}"]' for name in held.sums), *("count" for _ in held.sizes)]
        lines += ["    model.train()", *layout(f"numbers = {held.function}({', '.join(names)})", 1)]
        labels = ", ".join(f'"{name}"' for name in held.numbers)
        if len(held.numbers) == 1:
            return [*lines, f"    return {{{labels}: float(numbers)}}"]
        return [*lines, *layout(f"return dict(zip(({labels}), map(float, numbers), strict=True))", 1)]

    def _settle(self) -> Lines:
        """What is computed behind all steps where the model is in bf16. Buffers that it changes are no others' to change."""
        programs = self.script.family.programs()
        buffers = [each.path for each in programs[0].parameters if each.kind == "buffer"]
        own = {
            op.text("path")
            for each in programs
            if each.main.entry == AFTER
            for op in walk(each.main.body)
            if op.op == "update"
        }
        taken = [path for path in buffers if path not in own]
        lines = [f"def settle(model: {self.model}, whole: {self.model}, *given: Tensor) -> None:"]
        lines += ['    """What is computed behind all steps, of what is kept in f32."""']
        if taken:
            selected = common.selection(taken, [each for each in self.names if each not in self.turns.known])
            lines += ["    state, parameters = whole.state_dict(), named(whole)"]
            lines += ["    for name, each in model.state_dict().items():"]
            also = f" and {selected.condition('name')}" if selected is not None else ""
            lines += layout(f"if name not in parameters{also}:", 2)
            lines += ["            state[name].copy_(each)"]
        return [*lines, "    whole.after(*given)", "    model.load_state_dict(whole.state_dict())"]

    @property
    def names(self) -> list[str]:
        """All that checkpoints have."""
        return [each.path for each in self.script.family.programs()[0].parameters]

    def _save(self) -> Lines:
        named = ", ".join(f"{name}: torch.optim.Optimizer" for name in self.turns.names)
        states = "".join(f', "{name}": {name}.state_dict()' for name in self.turns.names)
        if self.turns.is_narrow:
            named, states = f"kept: dict[str, Tensor], {named}", f', "kept": kept{states}'
        for name in self.turns.scalers:
            named, states = (
                f"{named}, {name}: torch.amp.GradScaler",
                f'{states}, "{name}": {name}.state_dict()',
            )
        if self.script.best is not None:
            named, states = f"{named}, best: dict[str, Any]", f'{states}, "best": best'
        state = f'{{"step": step, "model": model.state_dict(){states}}}'
        return [
            *layout(f"def save(path: Path, step: int, model: nn.Module, {named}) -> None:"),
            '    """A checkpoint takes the place of the one before only when it is whole."""',
            *layout(f'torch.save({state}, path.with_suffix(".new"))', 1),
            '    os.replace(path.with_suffix(".new"), path)',
        ]

    # --- before the loop

    def _beginning(self) -> Lines:
        script, held = self.script, self.script.held_out
        lines = ["def main() -> None:", *common.arguments(script)]
        lines += layout(f"rows = {common.opened(script.source, script.fields)}", 1)
        if held is not None:
            lines += layout(f"held_out = {common.opened(held.source, held.fields)}", 1)
        lines += [*common.counted(script), "", f"    model = {self.model}()"]
        if self.turns.is_narrow:
            lines += ['    state = load_file(Path(__file__).with_suffix(".safetensors"))']
            lines += ["    model.load_state_dict(state)", "    model.to(args.device)"]
            if self.turns.has_whole:
                lines += [
                    f"    # What is kept in f32; the model computes with copies of it in {self.turns.precision}."
                ]
                lines += [f"    whole = {self.model}().float()", "    whole.load_state_dict(state)"]
                lines += ["    whole.to(args.device)", "    kept = named(whole)"]
            else:
                lines += ["    kept = {name: state[name].to(args.device) for name in named(model)}"]
        else:
            begun = 'model.load_state_dict(load_file(Path(__file__).with_suffix(".safetensors")))'
            lines += [*layout(begun, 1), "    model.to(args.device)"]
        if any(rule.draws for rule in self.turns.rules):
            named = "kept.items()" if self.turns.is_narrow else "model.state_dict(keep_vars=True).items()"
            lines += layout(f"names = {{each: name for name, each in {named}}}", 1)
        for call in self.turns.updates:
            for name, rules in self.turns.optimizers(call).items():
                lines += self._optimizer(name, rules, call)
        for name in self.turns.scalers:
            lines += layout(f"{name} = torch.amp.GradScaler(torch.device(args.device).type)", 1)
        if script.best is not None:
            lines += common.best_begun(script, "{}")
        lines += common.resuming("checkpoint.pt")
        lines += ["        saved = torch.load(checkpoint, map_location=args.device, weights_only=True)"]
        lines += ['        model.load_state_dict(saved["model"])']
        if self.turns.has_whole:
            lines += ['        whole.load_state_dict(saved["kept"])']
        elif self.turns.is_narrow:
            lines += [
                "        for name, each in kept.items():",
                '            each.copy_(saved["kept"][name])',
            ]
        states = (*self.turns.names, *self.turns.scalers)
        lines += [f'        {name}.load_state_dict(saved["{name}"])' for name in states]
        lines += ['        start = saved["step"]']
        if script.best is not None:
            lines += ['        best = saved["best"]']
        if common.is_over(script):
            lines += ["    done = start"]
        return [*lines, ""]

    @property
    def _weights(self) -> str:
        """All that lies in checkpoints, as it is."""
        if self.turns.has_whole:
            return "whole.state_dict()"
        return "model.state_dict() | kept" if self.turns.is_narrow else "model.state_dict()"

    def _optimizer(self, name: str, rules: Sequence[Rule], call: Call) -> Lines:
        """An optimizer; where there are several rules, each is a group of parameters with arguments of its own."""
        lines: Lines = []
        trained = [self._chosen(name, rule, lines) for rule in rules]
        kind, defaults = self._called(name, rules[0])
        args = [self._args(name, rule) for rule in rules]
        shared = {
            key: each for key, each in args[0].items() if all(key in a and a[key] == each for a in args)
        }
        given = [trained[0]]
        if rules[0].draws:
            own = common.drawn_for(call, "name")
            given += ["names" if own == "name" else f"{{each: {own} for each, name in names.items()}}"]
        if len(rules) > 1:
            own_args = [{key: each for key, each in a.items() if key not in shared} for a in args]
            given = [f"[{', '.join(map(_group, trained, own_args))}]"]
        made = common.called(kind, given, shared, defaults)
        return [*lines, *layout(f"{name} = {made}", 1)]

    def _chosen(self, name: str, rule: Rule, lines: Lines) -> str:
        """The parameters that a rule is for; a long list of names is bound before, once."""
        selected = self._selection(rule)
        if selected is None:
            return "kept.values()" if self.turns.is_narrow else "model.parameters()"
        condition = selected.condition("name")
        if len(condition) > SHORT:
            words = self.words.get(selected.words)
            if words is None:
                before = sum(each.startswith(f"{name}_names") for each in self.words.values())
                words = f"{name}_names" if not before else f"{name}_names_{before + 1}"
                self.words[selected.words] = words
                lines += layout(f"{words} = {common.literal(selected.words)}", 1)
            condition = selected.condition("name", words)
        return f"parameters({'kept' if self.turns.is_narrow else 'model'}, lambda name: {condition})"

    def _called(self, name: str, rule: Rule) -> tuple[str, dict[str, Any]]:
        """The class of an optimizer, and what goes without saying."""
        written = self.written[name]
        if written is not None:
            return common.pascal(written.name), {}
        kind, defaults = OPTIMIZERS[rule.optimizer.name]
        return f"torch.optim.{kind}", defaults

    def _args(self, name: str, rule: Rule) -> dict[str, Any]:
        """What an optimizer is given by a rule. One that is written out has no arguments but its rate."""
        rate = {"lr": float(rule.lr)} if isinstance(rule.lr, float | int) else {}
        if self.written[name] is not None:
            return rate
        given = rule.optimizer.args.items()
        args = {key: tuple(each) if isinstance(each, list) else each for key, each in given}
        return {**rate, **args, **({"fused": True} if rule.optimizer.name in rows.FUSED else {})}

    def _selection(self, rule: Rule) -> common.Selection | None:
        return common.selection(rule.paths, self.turns.known)

    # --- the loop

    # --- the loop, where several batches are one

    # --- the loop, where each batch is a step

    def _end(self) -> Lines:
        script = self.script
        first = self.turns.updates[0]
        shown = (
            self.turns.numbers(first, "sums") if first.together is not None else values(first, first.outputs)
        )
        lines = ["        done = step + 1", "        if done % LOG_EVERY == 0 or done in (1, total):"]
        lines += [] if not self.turns.single else layout(f"values = {shown}", 3)
        lines += [
            '            shown = "".join(f"  {name} {value.item():.4f}" for name, value in values.items())'
        ]
        lines += ['            print(f"step {done}/{total}{shown}", flush=True)']
        if script.held_out is not None:
            lines += [f"        if {common.is_evaluated(script)}:"]
            lines += ["            measured = evaluate(model, held_out, args.device)"]
            lines += [
                '            shown = "".join(f"  {name} {value:.4f}" for name, value in measured.items())'
            ]
            lines += ['            print(f"held out{shown}", flush=True)']
        kept = "whole.state_dict()" if self.turns.has_whole else "kept"
        saved = ["model", *([kept] if self.turns.is_narrow else []), *self.turns.names]
        saved += self.turns.scalers
        weights, over = self._weights, common.is_over(script)
        if script.best is not None:
            items = f"({weights}).items()" if self.turns.is_narrow else f"{weights}.items()"
            lines += common.best_kept(script, f"{{name: each.clone() for name, each in {items}}}")
            saved += ["best"]
        lines += layout(f"if {common.is_saved(script)}:", 2)
        lines += layout(f"save(checkpoint, done, {', '.join(saved)})", 3)
        if over:
            lines += [f"        if {over}:", "            break"]
        if script.best is not None:
            lines += layout(f"weights = {common.weights_in_the_end(script, weights)}", 1)
            weights = "weights"
        for name, path in script.networks:
            file = f'args.out / "{name}.safetensors"'
            lines += layout(f'save_file(below("{path}.", {weights}), {file})', 1)
        return [*lines, *common.ended(script)]


def _group(trained: str, args: dict[str, Any]) -> str:
    """A group of an optimizer's parameters."""
    own = "".join(f', "{key}": {common.literal(each)}' for key, each in args.items())
    return f'{{"params": {trained}{own}}}'
