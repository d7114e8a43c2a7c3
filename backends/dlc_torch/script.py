"""A training as a script: the module as everywhere, and the loop that a careful researcher would write around it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from dlc.backend import Artifact, EmitOptions
from dlc.backend.script import Call, HeldOut, Rule, Script
from dlc.emit import script as common
from dlc.emit.file import imports, names_in
from dlc.emit.layout import layout
from dlc.emit.names import field_name, identifier
from dlc_torch.emit import emit

Lines = list[str]
SHORT = 50
# Those that a script says, and PyTorch's own defaults, which go without saying.
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"momentum": 0.0, "weight_decay": 0.0, "nesterov": False}),
    "adam": ("Adam", {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}),
    "adamw": ("AdamW", {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}),
}


def written(script: Script) -> Artifact:
    """`NAME.py`."""
    program = script.family.programs()[0]
    precision = script.settings["precision"]
    options = EmitOptions(name=script.name, training=True, precision=precision, family=script.family)
    made = emit(program, options)
    source = str(made.files[f"{script.name}.py"])
    model = source[source.index("\n\n\n") + 3 :].rstrip("\n")
    known = [each.path for each in program.parameters if each.kind == "param"]
    taken = [each for made in script.family.programs() for each in made.main.inputs]
    inputs = {each.name for each in taken if each.type.dtype == "float" and precision != "f32"}
    loop = _Loop(script, str(made.meta["class"]), known, inputs)
    return Artifact("torch", {f"{script.name}.py": common.assembled(script, model, loop.blocks(), _imports)})


def _imports(body: str) -> Lines:
    used = names_in(body)
    third = ["import numpy as np", "import torch"]
    third += ["import torch.nn.functional as F"] if "F" in used else []
    third += ["from safetensors.torch import load_file, save_file"]
    named = [name for name in ("Tensor", "nn") if name in used]
    third += [f"from torch import {', '.join(named)}"] if named else []
    return imports(used, common.STANDARD, third, common.MODULES)


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
# Parameters are kept in f32; the model computes with copies of them in bf16.
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

    def __init__(self, script: Script, model: str, known: Sequence[str], narrow: Collection[str]) -> None:
        self.script = script
        self.narrow = narrow  # the fields that are computed with in bf16
        self.is_narrow = script.settings["precision"] != "f32"
        self.model = model
        self.known = known
        self.words: dict[tuple[str, ...], str] = {}  # lists of names that have one
        self.updates = [call for call in script.calls if call.rules]
        self.single = len(script.calls) == 1
        if self.is_narrow and any(not call.rules and not call.outputs for call in script.calls):
            what = "bf16 beside averages or updates of parameters"
            raise common.unsaid("torch", what)

    def blocks(self) -> Iterator[Lines]:
        yield from common.schedules(self.script)
        yield common.drawing(self.script)
        yield common.drawing_in_evaluation(self.script)
        yield [
            "def tensors(batch: Rows, device: str) -> dict[str, Tensor]:",
            "    return {name: torch.from_numpy(array).to(device) for name, array in batch.items()}",
        ]
        if common.is_several(self.script):
            yield from map(self._named_numbers, self.updates)
        if self.script.held_out is not None:
            yield self._evaluate(self.script.held_out)
        if self.is_narrow:
            yield NARROW["named"]
            yield NARROW["add_gradients" if common.is_several(self.script) else "take_gradients"]
            yield NARROW["give_values"]
        if any(self._selection(rule) for rule in self._rules):
            yield CHOSEN_NARROW if self.is_narrow else CHOSEN
        if not self.single or (self.script.settings["clip_norm"] is not None and not self._trains_all):
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
        yield self._save()
        yield [
            "def below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:",
            '    """One network of the state, by its own names."""',
            "    found = {name: each for name, each in state.items() if name.startswith(prefix)}",
            "    return {name.removeprefix(prefix): each.contiguous() for name, each in found.items()}",
        ]
        yield [*self._beginning(), *self._turns(), *self._end()]

    # --- functions of the script

    def _evaluate(self, held: HeldOut) -> Lines:
        """Sums over batches, and numbers of these."""
        rows = "np.ndarray" if common.is_text(held.source) else "Rows"
        given = self._given(held.inputs)
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
            lines += _seeded("0xE7A1, number", 2)
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
                f"    numbers = {common.numbers_name(self.updates[0])}(sums{rows})",
            ]
            return [*lines, "    return {name: float(value) for name, value in numbers.items()}"]
        names = [*(f'sums["{name}"]' for name in held.sums), *("count" for _ in held.sizes)]
        lines += ["    model.train()", *layout(f"numbers = {held.function}({', '.join(names)})", 1)]
        labels = ", ".join(f'"{name}"' for name in held.numbers)
        if len(held.numbers) == 1:
            return [*lines, f"    return {{{labels}: float(numbers)}}"]
        return [*lines, *layout(f"return dict(zip(({labels}), map(float, numbers), strict=True))", 1)]

    def _save(self) -> Lines:
        named = ", ".join(f"{name}: torch.optim.Optimizer" for name in self._names)
        states = "".join(f', "{name}": {name}.state_dict()' for name in self._names)
        if self.is_narrow:
            named, states = f"kept: dict[str, Tensor], {named}", f', "kept": kept{states}'
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
        if self.is_narrow:
            lines += ['    state = load_file(Path(__file__).with_suffix(".safetensors"))']
            lines += ["    model.load_state_dict(state)", "    model.to(args.device)"]
            lines += ["    kept = {name: state[name].to(args.device) for name in named(model)}"]
        else:
            begun = 'model.load_state_dict(load_file(Path(__file__).with_suffix(".safetensors")))'
            lines += [*layout(begun, 1), "    model.to(args.device)"]
        for call in self.updates:
            for i, rule in enumerate(call.rules):
                lines += self._optimizer(self._name(call, i), rule)
        if script.best is not None:
            lines += common.best_begun(script, "{}")
        lines += ['    start, checkpoint = 0, args.out / "checkpoint.pt"', "    if args.resume:"]
        lines += ["        saved = torch.load(checkpoint, map_location=args.device, weights_only=True)"]
        lines += ['        model.load_state_dict(saved["model"])']
        if self.is_narrow:
            lines += [
                "        for name, each in kept.items():",
                '            each.copy_(saved["kept"][name])',
            ]
        lines += [f'        {name}.load_state_dict(saved["{name}"])' for name in self._names]
        lines += ['        start = saved["step"]']
        if script.best is not None:
            lines += ['        best = saved["best"]']
        if common.is_over(script):
            lines += ["    done = start"]
        return [*lines, ""]

    @property
    def _weights(self) -> str:
        """All that lies in checkpoints, as it is."""
        return "model.state_dict() | kept" if self.is_narrow else "model.state_dict()"

    def _optimizer(self, name: str, rule: Rule) -> Lines:
        kind, defaults = OPTIMIZERS[rule.optimizer.name]
        args = {
            key: tuple(each) if isinstance(each, list) else each for key, each in rule.optimizer.args.items()
        }
        rate = {"lr": float(rule.lr)} if isinstance(rule.lr, float | int) else {}
        selected, lines = self._selection(rule), list[str]()
        whole = "kept" if self.is_narrow else "model"
        trained = "kept.values()" if self.is_narrow else "model.parameters()"
        if selected is not None:
            condition = selected.condition("name")
            if len(condition) > SHORT:
                words = self.words.get(selected.words)
                if words is None:
                    words = self.words[selected.words] = f"{name}_names"
                    lines += layout(f"{words} = {common.literal(selected.words)}", 1)
                condition = selected.condition("name", words)
            trained = f"parameters({whole}, lambda name: {condition})"
        made = common.called(f"torch.optim.{kind}", (trained,), {**rate, **args}, defaults)
        return [*lines, *layout(f"{name} = {made}", 1)]

    def _selection(self, rule: Rule) -> common.Selection | None:
        return common.selection(rule.paths, self.known)

    @property
    def _rules(self) -> list[Rule]:
        return [rule for call in self.updates for rule in call.rules]

    @property
    def _names(self) -> list[str]:
        """The optimizers."""
        return [self._name(call, i) for call in self.updates for i in range(len(call.rules))]

    def _name(self, call: Call, i: int) -> str:
        base = "optimizer" if self.single else f"{identifier(call.entry)}_optimizer"
        return base if i == 0 else f"{base}_{i + 1}"

    # --- the loop

    def _turns(self) -> Lines:
        script = self.script
        lines = ["    begun = time.perf_counter()", f"    {common.loop(script)}"]
        if common.is_several(script):
            return [*lines, *self._several()]
        lines += layout(f"batch = tensors({common.batch(script)}, args.device)", 2)
        if script.draws:
            lines += [f"        batch |= {_on_device('drawn(step)')}"]
        elif script.is_random:
            lines += ["        # What a step draws hangs on the seed and the step alone."]
            lines += _seeded("step, 0", 2)
        if not self.single:
            lines += ["        values: dict[str, Tensor] = {}"]
        for call in script.calls:
            lines += self._update(call) if call.rules else self._computed(call)
        return lines

    # --- the loop, where several batches are one

    def _several(self) -> Lines:
        """A step over several batches: one after the other, or where more than one update takes them, or something that is counted in all
        of them, a list."""
        script, call = self.script, self.updates[0]
        drawn = f"        batch |= {_on_device('drawn(step, part)')}" if script.draws else ""
        if self.single and call.together is not None and not (call.together.counts or call.together.twice):
            lines = self._begun(call, 2)
            numbered = f"part, number in enumerate({common.NUMBERS_OF})"
            by_part = script.is_random or script.draws
            lines += [f"        for {numbered if by_part else f'number in {common.NUMBERS_OF}'}:"]
            lines += layout(f"batch = tensors({common.batch(script)}, args.device)", 3)
            lines += [f"    {drawn}"] if drawn else []
            return [*lines, *self._part(call, 3), *self._all_added(call, 2, "step", "total")]
        made = f"tensors({common.batch(script)}, args.device)"
        lines = layout(f"parts = [{made} for number in {common.NUMBERS_OF}]", 2)
        if drawn:
            lines += ["        for part, batch in enumerate(parts):", f"    {drawn}"]
        if not self.single:
            lines += ["        values: dict[str, Tensor] = {}"]
        for each in script.calls:
            lines += self._several_of(each) if each.rules else self._several_computed(each)
        return lines

    def _several_of(self, call: Call) -> Lines:
        lines, indent, count, total = common.pace(call, 2)
        lines += common.drawn_anew(call, indent, several=True, given=_on_device)
        lines += self._begun(call, indent)
        numbered = self.script.is_random and not self.script.draws
        head = "for part, batch in enumerate(parts):" if numbered else "for batch in parts:"
        lines += [f"{'    ' * indent}{head}", *self._part(call, indent + 1)]
        return [*lines, *self._all_added(call, indent, count, total)]

    def _begun(self, call: Call, indent: int) -> Lines:
        """What stands before the batches of an update."""
        together = call.together
        assert together is not None
        steps = [f"{self._name(call, i)}.zero_grad()" for i in range(len(call.rules))]
        if together.counts:
            counted = f"{together.counts}({self._given(together.counted_of)}) for batch in parts"
            steps += ["# What the loss of all of them is divided by."]
            if len(together.counted) == 1:
                steps += [f'counted = {{"{together.counted[0]}": sum({counted})}}']
            else:
                steps += [f"counts = zip(*({counted}), strict=True)"]
                steps += [
                    f"counted = dict(zip({common.literal(together.counted)}, map(sum, counts), strict=True))"
                ]
        steps += self._before(call) if together.twice else []
        return _laid_out([*steps, "sums = dict[str, Tensor]()"], indent)

    def _before(self, call: Call) -> list[str]:
        """The sums of all batches, where the gradient of each hangs on them."""
        has_buffers = any(each.kind == "buffer" for each in self.script.family.programs()[0].parameters)
        steps = ["# The gradient hangs on the sums of all batches: they are computed before, without it."]
        if has_buffers:
            steps += ["state = {name: each.clone() for name, each in model.state_dict().items()}"]
        steps += ["whole = dict[str, Tensor]()", "with torch.no_grad():"]
        numbered = self.script.is_random and not self.script.draws
        steps += [f"    for {'part, batch in enumerate(parts)' if numbered else 'batch in parts'}:"]
        steps += [
            f"        {each}"
            for each in (*(_seeded("step, part", 0) if numbered else ()), *self._found(call))
        ]
        return [
            *steps,
            "        add(whole, found)",
            *(["model.load_state_dict(state)"] if has_buffers else []),
        ]

    def _found(self, call: Call) -> list[str]:
        """What is added up of a batch."""
        together = call.together
        assert together is not None
        if len(call.outputs) > 1:
            steps = [f"found = {self._run(call)}", "found = found._asdict()"]
        else:
            steps = [f'found = {{"{call.outputs[0]}": {self._run(call)}}}']
        means = (name for name in call.outputs if name in together.means)
        return [*steps, *(f'found["{name}"] = found["{name}"] / ACCUMULATE' for name in means)]

    def _part(self, call: Call, indent: int) -> Lines:
        """The gradient of one of the batches of an update."""
        together = call.together
        assert together is not None
        lines: Lines = []
        if self.script.is_random and not self.script.draws:
            lines += [
                f"{'    ' * indent}# What a batch draws hangs on the seed, the step and its place in it alone."
            ]
            lines += _seeded("step, part", indent)
        steps = self._found(call)
        steps += ["model.zero_grad()"] if self.is_narrow else []
        steps += ["# Its part of the gradient of the loss of all of them."]
        only = "" if self.single or self.is_narrow else f"inputs={self._trained(call)}"
        sums = "found | counted" if together.counts else "found"
        if together.twice:
            steps += ["at = {name: whole[name] + each - each.detach() for name, each in found.items()}"]
            sums = "at"
        steps += [f'{self._numbers(call, sums)}["loss"].backward({only})']
        steps += ["add_gradients(model, kept)"] if self.is_narrow else []
        return [*lines, *_laid_out([*steps, "add(sums, found)"], indent)]

    def _all_added(self, call: Call, indent: int, count: str, total: str) -> Lines:
        """What is done when all batches of an update are added up."""
        steps = self._clipped(call)
        steps += self._stepped(call, [self._name(call, i) for i in range(len(call.rules))], count, total)
        steps += ["give_values(model, kept)"] if self.is_narrow else []
        if not self.single:
            steps += [f"found = {self._numbers(call, 'sums')}"]
            steps += [f'values["{call.loss}"] = found.pop("loss")', "values |= found"]
        return _laid_out(steps, indent)

    def _numbers(self, call: Call, sums: str) -> str:
        """The loss and the metrics of sums."""
        assert call.together is not None
        rows = ", ACCUMULATE * BATCH" if call.together.sizes else ""
        return f"{common.numbers_name(call)}({sums}{rows})"

    def _named_numbers(self, call: Call) -> Lines:
        """The function that computes the numbers of an update by name."""
        together = call.together
        assert together is not None
        rows = ", rows: int" if together.sizes else ""
        lines = [f"def {common.numbers_name(call)}(sums: dict[str, Tensor]{rows}) -> dict[str, Tensor]:"]
        lines += [
            '    """The loss and the metrics of rows that sums are over, however many batches they were."""'
        ]
        given = [*(f'sums["{name}"]' for name in call.outputs), *("rows" for _ in together.sizes)]
        lines += layout(f"found = {together.function}({', '.join(given)})", 1)
        if len(together.numbers) == 1:
            return [*lines, f'    return {{"{together.numbers[0]}": found}}']
        return [
            *lines,
            *layout(f"return dict(zip({common.literal(together.numbers)}, found, strict=True))", 1),
        ]

    def _several_computed(self, call: Call) -> Lines:
        """What is computed before the steps of each batch, and behind them of the first."""
        run, gives = self._run(call), dict(call.kept)
        if not call.outputs:
            return [*(["        batch = parts[0]"] if call.inputs else []), *layout(run, 2)]
        lines = ["        for batch in parts:", *layout(f"{_result(call)} = {run}", 3)]
        for outer, inner in gives.items():
            lines += [f'            batch["{inner}"] = {_read(call, outer)}.detach()']
        for name in call.outputs:
            if name not in gives:
                value = f"{_read(call, name)}{'.float()' if self.is_narrow else ''} / ACCUMULATE"
                lines += layout(f'values["{name}"] = values.get("{name}", 0.0) + {value}', 3)
        return lines

    # --- the loop, where each batch is a step

    def _computed(self, call: Call) -> Lines:
        """What is computed before the steps, and behind them."""
        run = self._run(call)
        if not call.outputs:
            return layout(run, 2)
        lines, gives = layout(f"{_result(call)} = {run}", 2), dict(call.kept)
        for outer, inner in gives.items():
            lines += [f'        batch["{inner}"] = {_read(call, outer)}.detach()']
        others = [name for name in call.outputs if name not in gives]
        return [*lines, *(layout(f"values |= {_values(call, others)}", 2) if others else [])]

    def _update(self, call: Call) -> Lines:
        lines, indent, count, total = common.pace(call, 2)
        lines += common.drawn_anew(call, indent, several=False, given=_on_device)
        optimizers = [self._name(call, i) for i in range(len(call.rules))]
        if self.is_narrow:
            return [*lines, *self._narrow_update(call, optimizers, indent, count, total)]
        steps = [f"{_result(call)} = {self._run(call)}", *(f"{name}.zero_grad()" for name in optimizers)]
        only = "" if self.single else f"inputs={self._trained(call)}"
        steps += [f"{_read(call, 'loss')}.backward({only})"]
        steps += self._clipped(call)
        steps += self._stepped(call, optimizers, count, total)
        steps += [] if self.single else [f"values |= {_values(call, call.outputs)}"]
        return [*lines, *_laid_out(steps, indent)]

    def _trained(self, call: Call) -> str:
        """What an update trains."""
        return " + ".join(f"held({self._name(call, i)})" for i in range(len(call.rules)))

    def _clipped(self, call: Call) -> list[str]:
        if self.script.settings["clip_norm"] is None:
            return []
        whole = "kept.values()" if self.is_narrow else "model.parameters()"
        trained = whole if self.single and self._trains_all else self._trained(call)
        return [f"nn.utils.clip_grad_norm_({trained}, CLIP_NORM)"]

    def _stepped(self, call: Call, optimizers: Sequence[str], count: str, total: str) -> Lines:
        """Rates, and the optimizers' steps."""
        steps = []
        for name, rule in zip(optimizers, call.rules, strict=True):
            if rule.lr is not None and not isinstance(rule.lr, float | int):
                steps += [f"for group in {name}.param_groups:"]
                steps += [f'    group["lr"] = {common.rate(rule, count, total)}']
            steps += [f"{name}.step()"]
        return steps

    def _narrow_update(
        self, call: Call, optimizers: Sequence[str], indent: int, count: str, total: str
    ) -> Lines:
        """Gradients in bf16, steps in f32."""
        steps = [f"{_result(call)} = {self._run(call)}", "model.zero_grad()"]
        steps += [f"{_read(call, 'loss')}.float().backward()", "take_gradients(model, kept)"]
        steps += [*self._clipped(call), *self._stepped(call, optimizers, count, total)]
        steps += ["give_values(model, kept)"]
        steps += [] if self.single else [f"values |= {_values(call, call.outputs)}"]
        return _laid_out(steps, indent)

    @property
    def _trains_all(self) -> bool:
        return {path for rule in self._rules for path in rule.paths} == set(self.known)

    def _given(self, names: Sequence[str]) -> str:
        return ", ".join(
            f'batch["{name}"]' + (".bfloat16()" if name in self.narrow else "") for name in names
        )

    def _run(self, call: Call) -> str:
        method = f"model.{identifier(call.entry)}" if call.entry else "model"
        return f"{method}({self._given(call.inputs)})"

    def _end(self) -> Lines:
        script = self.script
        first = self.updates[0]
        shown = self._numbers(first, "sums") if first.together is not None else _values(first, first.outputs)
        lines = ["        done = step + 1", "        if done % LOG_EVERY == 0 or done in (1, total):"]
        lines += [] if not self.single else layout(f"values = {shown}", 3)
        lines += [
            '            shown = "".join(f"  {name} {value.item():.4f}" for name, value in values.items())'
        ]
        lines += ['            print(f"step {done}/{total}{shown}", flush=True)']
        if script.held_out is not None:
            lines += [f"        if {common.due(script, 'eval_every', 'EVALUATE_EVERY')}:"]
            lines += ["            measured = evaluate(model, held_out, args.device)"]
            lines += [
                '            shown = "".join(f"  {name} {value:.4f}" for name, value in measured.items())'
            ]
            lines += ['            print(f"held out{shown}", flush=True)']
        saved = ["model", *(["kept"] if self.is_narrow else []), *self._names]
        weights, over = self._weights, common.is_over(script)
        if script.best is not None:
            items = f"({weights}).items()" if self.is_narrow else f"{weights}.items()"
            lines += common.best_kept(script, f"{{name: each.clone() for name, each in {items}}}")
            saved += ["best"]
        lines += layout(f"if {common.due(script, 'checkpoint_every', 'SAVE_EVERY', over)}:", 2)
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


def _on_device(rows: str) -> str:
    return f"tensors({rows}, args.device)"


def _seeded(place: str, indent: int) -> Lines:
    margin = "    " * indent
    return [
        f"{margin}seed = np.random.SeedSequence([SEED, {place}]).generate_state(1, np.uint64)",
        f"{margin}torch.manual_seed(int(seed[0] >> 1))",
    ]


def _laid_out(steps: Sequence[str], indent: int) -> Lines:
    """Statements, some of them inside the one before."""
    lines: Lines = []
    for each in steps:
        lines += layout(each.lstrip(), indent + (len(each) - len(each.lstrip())) // 4)
    return lines


def _result(call: Call) -> str:
    return "loss" if call.outputs == ("loss",) else "found"


def _read(call: Call, name: str) -> str:
    """How one of the outputs is read."""
    return _result(call) if len(call.outputs) == 1 else f"found.{field_name(name)}"


def _values(call: Call, names: Sequence[str]) -> str:
    """What is reported, by the spec's names."""
    pairs = ((call.loss if name == "loss" else name, _read(call, name)) for name in names)
    listed = ", ".join(f'"{name}": {value}' for name, value in pairs)
    return f"{{{listed}}}"
