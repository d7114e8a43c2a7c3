"""The turns of a training script: updates of the networks, each over one batch or several, and what is computed beside them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from dlc.backend.script import Call, Rule, Script
from dlc.emit import script as common
from dlc.emit.layout import layout
from dlc.emit.names import field_name, identifier

Lines = list[str]


class Turns:
    """What stands in the loop over steps. `known` are the paths of all parameters, `narrow` the fields that are computed with in the narrow dtype."""

    def __init__(self, script: Script, known: Sequence[str], narrow: Collection[str]) -> None:
        self.script = script
        self.known = known
        self.narrow = narrow
        self.precision = str(script.settings["precision"])
        self.is_narrow = self.precision != "f32"
        self.cast = ".half()" if self.precision == "f16" else ".bfloat16()"
        self.is_dynamic = common.is_dynamic(script)
        self.updates = [call for call in script.calls if call.rules]
        self.single = len(script.calls) == 1
        # What is computed of parameters behind all steps is computed in f32, by a model that is kept in it.
        self.has_whole = self.is_narrow and common.has_averages(script)

    @property
    def rules(self) -> list[Rule]:
        return [rule for call in self.updates for rule in call.rules]

    @property
    def names(self) -> list[str]:
        """The optimizers."""
        return [name for call in self.updates for name in self.optimizers(call)]

    def optimizers(self, call: Call) -> dict[str, list[Rule]]:
        """The optimizers of an update by name, with the rules of their groups of parameters: rules that say one of PyTorch's are groups of
        one optimizer."""
        found: dict[object, list[Rule]] = {}
        for i, rule in enumerate(call.rules):
            found.setdefault(i if rule.forms else rule.optimizer.name, []).append(rule)
        base = "optimizer" if self.single else f"{identifier(call.entry)}_optimizer"
        return {base if i == 0 else f"{base}_{i + 1}": rules for i, rules in enumerate(found.values())}

    @property
    def scalers(self) -> list[str]:
        """What scales the losses."""
        return [self.scaler(call) for call in self.updates] if self.is_dynamic else []

    def scaler(self, call: Call) -> str:
        return "scaler" if self.single else f"{identifier(call.entry)}_scaler"

    @property
    def reads_held(self) -> bool:
        """Whether the loop asks what an optimizer trains."""
        together = self.script.settings["clip_norm"] is not None or self.script.loss_scale is not None
        return not self.single or (together and not self.trains_all)

    def lines(self) -> Lines:
        script = self.script
        lines = ["    begun = time.perf_counter()", f"    {common.loop(script)}"]
        if common.is_several(script):
            return [*lines, *self._several()]
        lines += layout(f"batch = tensors({common.batch(script)}, args.device)", 2)
        if script.draws:
            lines += [f"        batch |= {on_device('drawn(step)')}"]
        elif script.is_random:
            lines += ["        # What a step draws hangs on the seed and the step alone."]
            lines += seeded("step, 0", 2)
        lines += self._turn_begun()
        for call in script.calls:
            lines += self._update(call) if call.rules else self._computed(call)
        return lines

    def _several(self) -> Lines:
        """A step over several batches: one after the other, or where more than one update takes them, or something that is counted in all
        of them, a list."""
        script, call = self.script, self.updates[0]
        drawn = f"        batch |= {on_device('drawn(step, part)')}" if script.draws else ""
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
        lines += self._turn_begun()
        for each in script.calls:
            lines += self._several_of(each) if each.rules else self._several_computed(each)
        return lines

    def _turn_begun(self) -> Lines:
        lines = [] if self.single else ["        values: dict[str, Tensor] = {}"]
        return [
            *lines,
            *(["        left_out = False"] if self.is_dynamic and common.has_averages(self.script) else []),
        ]

    def _several_of(self, call: Call) -> Lines:
        lines, indent, count, total = common.pace(call, 2)
        lines += common.drawn_anew(call, indent, several=True, given=on_device)
        lines += self._begun(call, indent)
        numbered = self.script.is_random and not self.script.draws
        head = "for part, batch in enumerate(parts):" if numbered else "for batch in parts:"
        lines += [f"{'    ' * indent}{head}", *self._part(call, indent + 1)]
        return [*lines, *self._all_added(call, indent, count, total)]

    def _begun(self, call: Call, indent: int) -> Lines:
        """What stands before the batches of an update."""
        together = call.together
        assert together is not None
        steps = [f"{name}.zero_grad()" for name in self.optimizers(call)]
        if together.counts:
            counted = f"{together.counts}({self.given(together.counted_of)}) for batch in parts"
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
            f"        {each}" for each in (*(seeded("step, part", 0) if numbered else ()), *self._found(call))
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
            steps = [f"found = {self.run(call)}", "found = found._asdict()"]
        else:
            steps = [f'found = {{"{call.outputs[0]}": {self.run(call)}}}']
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
            lines += seeded("step, part", indent)
        steps = self._found(call)
        steps += ["model.zero_grad()"] if self.is_narrow else []
        steps += ["# Its part of the gradient of the loss of all of them."]
        only = "" if self.single or self.is_narrow else f"inputs={self._trained(call)}"
        sums = "found | counted" if together.counts else "found"
        if together.twice:
            steps += ["at = {name: whole[name] + each - each.detach() for name, each in found.items()}"]
            sums = "at"
        loss = f'{self.numbers(call, sums)}["loss"]'
        if self.script.loss_scale is not None:
            steps, loss = [*steps, f"loss = {loss}"], self._scaled(call, "loss")
        steps += [f"{loss}.backward({only})"]
        steps += ["add_gradients(model, kept)"] if self.is_narrow else []
        return [*lines, *_laid_out([*steps, "add(sums, found)"], indent)]

    def _all_added(self, call: Call, indent: int, count: str, total: str) -> Lines:
        """What is done when all batches of an update are added up."""
        steps = self._moved(call, count, total)
        steps += ["give_values(model, kept)"] if self.is_narrow else []
        if not self.single:
            steps += [f"found = {self.numbers(call, 'sums')}"]
            steps += [f'values["{call.loss}"] = found.pop("loss")', "values |= found"]
        return _laid_out(steps, indent)

    def numbers(self, call: Call, sums: str) -> str:
        """The loss and the metrics of sums."""
        assert call.together is not None
        rows = ", ACCUMULATE * BATCH" if call.together.sizes else ""
        return f"{common.numbers_name(call)}({sums}{rows})"

    def named_numbers(self, call: Call) -> Lines:
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
        run, gives = self.run(call), dict(call.kept)
        if not call.outputs:
            return [*(["        batch = parts[0]"] if call.inputs else []), *self._settled(run)]
        lines = ["        for batch in parts:", *layout(f"{_result(call)} = {run}", 3)]
        for outer, inner in gives.items():
            lines += [f'            batch["{inner}"] = {_read(call, outer)}.detach()']
        for name in call.outputs:
            if name not in gives:
                value = f"{_read(call, name)}{'.float()' if self.is_narrow else ''} / ACCUMULATE"
                lines += layout(f'values["{name}"] = values.get("{name}", 0.0) + {value}', 3)
        return lines

    def _computed(self, call: Call) -> Lines:
        """What is computed before the steps, and behind them."""
        run = self.run(call)
        if not call.outputs:
            return self._settled(run)
        lines, gives = layout(f"{_result(call)} = {run}", 2), dict(call.kept)
        for outer, inner in gives.items():
            lines += [f'        batch["{inner}"] = {_read(call, outer)}.detach()']
        others = [name for name in call.outputs if name not in gives]
        return [*lines, *(layout(f"values |= {values(call, others)}", 2) if others else [])]

    def _settled(self, run: str) -> Lines:
        """What is computed behind the steps, and left out with them."""
        return ["        if not left_out:", *layout(run, 3)] if self.is_dynamic else layout(run, 2)

    def _update(self, call: Call) -> Lines:
        lines, indent, count, total = common.pace(call, 2)
        lines += common.drawn_anew(call, indent, several=False, given=on_device)
        if self.is_narrow:
            return [*lines, *self._narrow_update(call, indent, count, total)]
        begun = (f"{name}.zero_grad()" for name in self.optimizers(call))
        steps = [f"{_result(call)} = {self.run(call)}", *begun]
        only = "" if self.single else f"inputs={self._trained(call)}"
        steps += [f"{_read(call, 'loss')}.backward({only})"]
        steps += self._moved(call, count, total)
        steps += [] if self.single else [f"values |= {values(call, call.outputs)}"]
        return [*lines, *_laid_out(steps, indent)]

    def _trained(self, call: Call) -> str:
        """What an update trains."""
        return " + ".join(f"held({name})" for name in self.optimizers(call))

    def _is_wide(self, call: Call) -> bool:
        """Whether a loss is f32 by itself."""
        mains = (each.main for each in self.script.family.programs() if each.main.entry == call.entry)
        return any(main.types()[dict(main.outputs)["loss"]].dtype == "f32" for main in mains)

    def _scaled(self, call: Call, loss: str) -> str:
        if self.is_dynamic:
            return f"{self.scaler(call)}.scale({loss})"
        return loss if self.script.loss_scale is None else f"({loss} * LOSS_SCALE)"

    def _every_trained(self, call: Call) -> str:
        """What an update trains, all of it."""
        whole = "kept.values()" if self.is_narrow else "model.parameters()"
        return whole if self.single and self.trains_all else self._trained(call)

    def _moved(self, call: Call, count: str, total: str) -> list[str]:
        """What is done with gradients."""
        steps, optimizers = self._clipped(call), [*self.optimizers(call)]
        moved = [*steps, *self._stepped(call, count, total)]
        if not self.is_dynamic:
            every = self._every_trained(call)
            divided = [f"for each in {every}:", "    each.grad.mul_(1 / LOSS_SCALE)"]
            return [*(divided if self.script.loss_scale is not None else []), *moved]
        scaler = self.scaler(call)
        if steps or len(optimizers) > 1:
            unscaled = [f"{scaler}.unscale_({name})" for name in optimizers]
            if len(optimizers) > 1:
                finite = f"all(each.grad.isfinite().all() for each in {self._every_trained(call)})"
                unscaled += ["# A gradient that is not finite leaves out the step of all.", f"if {finite}:"]
                moved = [f"    {each}" for each in moved]
            moved = [*unscaled, *moved]
        if not common.has_averages(self.script):
            return [*moved, f"{scaler}.update()"]
        scale = f"{scaler}.get_scale()"
        return [*moved, f"scale = {scale}", f"{scaler}.update()", f"left_out |= {scale} < scale"]

    def _clipped(self, call: Call) -> list[str]:
        if self.script.settings["clip_norm"] is None:
            return []
        return [f"nn.utils.clip_grad_norm_({self._every_trained(call)}, CLIP_NORM)"]

    def _stepped(self, call: Call, count: str, total: str) -> Lines:
        """Rates, and the optimizers' steps."""
        steps = []
        for name, rules in self.optimizers(call).items():
            rates = [common.rate(rule, count, total) if is_scheduled(rule) else "" for rule in rules]
            if rates[0] and len({*rates}) == 1:
                steps += [f"for group in {name}.param_groups:", f'    group["lr"] = {rates[0]}']
            else:
                steps += [f'{name}.param_groups[{i}]["lr"] = {rate}' for i, rate in enumerate(rates) if rate]
            steps += [f"{name}.turn = {count}"] if rules[0].draws else []
            steps += [f"{self.scaler(call)}.step({name})" if self.is_dynamic else f"{name}.step()"]
        return steps

    def _narrow_update(self, call: Call, indent: int, count: str, total: str) -> Lines:
        """Gradients in the narrow dtype, steps in f32."""
        steps = [f"{_result(call)} = {self.run(call)}", "model.zero_grad()"]
        wide = "" if self._is_wide(call) else ".float()"
        steps += [f"{self._scaled(call, _read(call, 'loss') + wide)}.backward()"]
        steps += ["take_gradients(model, kept)", *self._moved(call, count, total)]
        steps += ["give_values(model, kept)"]
        steps += [] if self.single else [f"values |= {values(call, call.outputs)}"]
        return _laid_out(steps, indent)

    @property
    def trains_all(self) -> bool:
        return {path for rule in self.rules for path in rule.paths} == set(self.known)

    def given(self, names: Sequence[str]) -> str:
        return ", ".join(f'batch["{name}"]' + (self.cast if name in self.narrow else "") for name in names)

    def run(self, call: Call) -> str:
        if self.has_whole and not call.rules and not call.outputs:
            given = (f'batch["{name}"]{".float()" if name in self.narrow else ""}' for name in call.inputs)
            return f"settle({', '.join(('model', 'whole', *given))})"
        method = f"model.{identifier(call.entry)}" if call.entry else "model"
        return f"{method}({self.given(call.inputs)})"


def is_scheduled(rule: Rule) -> bool:
    """Whether its rate is another one in each step."""
    return rule.lr is not None and not isinstance(rule.lr, float | int)


def on_device(rows: str) -> str:
    return f"tensors({rows}, args.device)"


def seeded(place: str, indent: int) -> Lines:
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


def values(call: Call, names: Sequence[str]) -> str:
    """What is reported, by the spec's names."""
    pairs = ((call.loss if name == "loss" else name, _read(call, name)) for name in names)
    listed = ", ".join(f'"{name}": {value}' for name, value in pairs)
    return f"{{{listed}}}"
