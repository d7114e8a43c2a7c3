"""One update of a training script: which optimizer trains what, the compiled functions, and what the loop says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlc.backend.script import Call, Rule, Script, Together
from dlc.diagnostics import SpecError
from dlc.emit import script as common
from dlc.emit.layout import layout
from dlc.emit.names import field_name, identifier
from dlc.emit.script_rules import Written

Lines = list[str]
FIXED = "fixed"
"""The label of what is not trained."""


def unsaid(what: str) -> SpecError:
    return common.unsaid("jax", what)


class Update:
    """An update of a turn, which has several where it is not `alone`. `function` computes what it minimizes, or the sums of a batch; `meta` says
    what that takes; `known` are the paths of all parameters; `written` its
    optimizers that are written out."""

    def __init__(
        self,
        script: Script,
        call: Call,
        function: str,
        meta: Mapping[str, Any],
        known: Sequence[str],
        written: Sequence[Written | None],
        *,
        alone: bool,
    ) -> None:
        self.script = script
        self.written = written
        self.call = call
        self.function = function
        self.meta = meta
        self.alone = alone
        self.is_narrow = script.settings["precision"] != "f32"
        self.is_dynamic = common.is_dynamic(script)
        self.state = bool(meta["state"])
        self.key = ["key"] if "key" in meta["arguments"] else []
        prefix = "" if alone else f"{identifier(call.entry)}_"
        self.optimizer, self.memory = f"{prefix}optimizer", f"{prefix}memory"
        self.scaling = [f"{prefix}scaling"] if self.is_dynamic else []
        self.label, self.labels_name = f"{prefix}label", f"{prefix}labels"
        self.update = "update" if alone else f"update_{identifier(call.entry)}"
        self.before = f"{prefix}sums_of"
        self.adding = "add_gradients" if alone else f"add_{prefix}gradients"
        # One update has a gradient by all parameters; one of several by the networks that it trains.
        below = {path.partition(".")[0] for rule in call.rules for path in rule.paths}
        self.networks = [] if alone else sorted(below)
        self.known = [path for path in known if alone or path.partition(".")[0] in below]
        self.drawn = ["noise"] if any(rule.draws for rule in call.rules) else []
        self.layers = f"{prefix}layers"
        self.is_flat = self._shares_a_stack() or bool(self.drawn)
        self.labels = self._labels()
        self.rate = "rates" if self.labels else "rate"

    @property
    def held(self) -> tuple[str, ...]:
        """What it has besides trees, from step to step."""
        return (self.memory, *self.scaling)

    @property
    def _scaled(self) -> list[str]:
        """What its functions call the scale of its loss."""
        return ["scaling"] if self.is_dynamic else []

    @property
    def trees(self) -> tuple[str, ...]:
        return ("params", "state") if self.state else ("params",)

    # --- which optimizer trains what

    def _labels(self) -> list[tuple[str, common.Selection]]:
        """Which optimizer trains what, where that is not one for all: in the last place stands what all others have."""
        names = {path: path if self.is_flat else _unnumbered(path) for path in self.known}
        trained = {path for rule in self.call.rules for path in rule.paths}
        rules = [tuple(names[path] for path in rule.paths) for rule in self.call.rules]
        rules += [tuple(names[path] for path in self.known if path not in trained)]
        every = sorted(set(names.values()))
        found = []
        for i, paths in enumerate(rules):
            selected = common.selection(paths, every) if paths else None
            if selected is not None:
                found.append((self._label(i), selected))
        return found

    def _shares_a_stack(self) -> bool:
        """Whether layers of one stack have several optimizers: then these see each layer by itself."""
        owners: dict[str, set[int]] = {}
        for i, rule in enumerate(self.call.rules):
            for path in rule.paths:
                owners.setdefault(_unnumbered(path), set()).add(i)
        trained = {path for rule in self.call.rules for path in rule.paths}
        for path in self.known:
            if path not in trained:
                owners.setdefault(_unnumbered(path), set()).add(len(self.call.rules))
        return any(len(each) > 1 for each in owners.values())

    def _label(self, i: int) -> str:
        """An optimizer's own name, with a number where an earlier one has it."""
        if i == len(self.call.rules):
            return FIXED
        found = [FIXED]
        for rule in self.call.rules[: i + 1]:
            name = rule.optimizer.name
            numbered = (f"{name}_{n}" for n in range(2, len(found) + 3))
            found.append(next(each for each in (name, *numbered) if each not in found))
        return found[-1]

    def labelled(self) -> Lines:
        lines = [f"def {self.label}(path: tuple[Any, ...], _: Array) -> str:"]
        lines += ['    """Which optimizer trains a parameter, by its name."""']
        if self.is_flat:
            lines += ["    name = path[0].key"]
        else:
            lines += ['    keys = (str(getattr(each, "key", getattr(each, "idx", ""))) for each in path)']
            lines += ['    name = ".".join(key for key in keys if not key.isdigit())']
        *most, last = self.labels
        for name, selected in most:
            lines += layout(f"if {selected.condition('name')}:", 1)
            lines += [f'        return "{name}"']
        return [*lines, f'    return "{last[0]}"']

    @property
    def _trained(self) -> str:
        """What the gradient is by."""
        if not self.networks:
            return "params"
        items = ", ".join(f'"{name}": params["{name}"]' for name in self.networks)
        return f"{{{items}}}"

    # --- before the loop

    def begun(self) -> Lines:
        """The optimizer, and what it remembers."""
        made = [self._made(i) for i in range(len(self.call.rules))]
        trained = f"to_flat({self._trained})" if self.is_flat else self._trained
        scaling = '{"scale": jnp.float32(65_536.0), "in_a_row": jnp.int32(0)}'
        begun = [line for name in self.scaling for line in layout(f"{name} = {scaling}", 1)]
        if self.drawn:
            begun += layout(f"{self.layers} = jax.eval_shape(to_flat, {self._trained})", 1)
        if not self.labels:
            lines = layout(f"{self.optimizer} = {made[0]}", 1)
            return [*lines, *layout(f"{self.memory} = {self.optimizer}.init({trained})", 1), *begun]
        parts = dict(zip((self._label(i) for i in range(len(made))), made, strict=True))
        parts[FIXED] = "optax.set_to_zero()"
        lines = layout(f"{self.labels_name} = jax.tree_util.tree_map_with_path({self.label}, {trained})", 1)
        lines += ["    optimizers = {"]
        for name in dict.fromkeys(name for name, _ in self.labels):
            lines += layout(f'"{name}": {parts[name]},', 2)
        lines += ["    }"]
        lines += layout(f"{self.optimizer} = optax.multi_transform(optimizers, {self.labels_name})", 1)
        return [*lines, *layout(f"{self.memory} = {self.optimizer}.init({trained})", 1), *begun]

    def _made(self, i: int) -> str:
        """One of the optimizers."""
        written = self.written[i]
        if written is None:
            return _optax(self.call.rules[i])
        return f'{written.name}_optimizer("{self._label(i) if self.labels else "rate"}")'

    def given(self, fields: Sequence[str] | None = None) -> str:
        """What the function takes by place."""
        return given(self.meta, self.trees, fields, narrow=self.is_narrow)

    def compiled(self) -> Lines:
        """The update as compiled functions."""
        if self.call.together is not None:
            return [*self._adding(self.call.together), *self._apart()]
        arguments = ", ".join(
            (*self.trees, "memory", *self._scaled, "batch", self.rate, *self.drawn, *self.key)
        )
        lines = ["    @jax.jit", f"    def {self.update}({arguments}):"]
        loss = "outputs" if len(self.call.outputs) == 1 else f"outputs.{field_name('loss')}"
        lines += self._loss_of("outputs", loss, "outputs")
        aux = "(outputs, state)" if self.state else "outputs"
        lines += self._differentiated(aux, "gradients")
        result = "{**params, **trained}" if self.networks else "params"
        given_back = ", ".join((result, *self.trees[1:], "memory", *self._next_scale, "outputs"))
        return [*lines, *self._stepped(), f"        return {given_back}", ""]

    def _loss_of(self, found: str, loss: str, kept: str, between: Sequence[str] = ()) -> Lines:
        """What is minimized, as a function of what is trained."""
        trained = "trained" if self.networks else "params"
        lines = [f"        def loss_of({trained}):"]
        named = [f"{name}={'True' if name == 'training' else name}" for name in self.meta["arguments"]]
        if self.networks:
            whole = "{**params, **trained}"
            rest = given(self.meta, self.trees[1:], None, narrow=self.is_narrow)
            args = ", ".join(filter(None, (f"narrow({whole})" if self.is_narrow else whole, rest, *named)))
        else:
            args = ", ".join((self.given(), *named))
        lines += layout(f"{f'{found}, new' if self.state else found} = {self.function}({args})", 3)
        for each in between:
            lines += layout(each, 3)
        if self.is_narrow:
            loss = loss if self._is_wide else f"{loss}.astype(jnp.float32)"
            loss += "" if self.script.loss_scale is None else f" * {self._scale}"
            if self.state:
                lines += ["            new = jax.tree.map(lambda n, old: n.astype(old.dtype), new, state)"]
        return [*lines, *layout(f"return {loss}, {f'({kept}, new)' if self.state else kept}", 3), ""]

    @property
    def _is_wide(self) -> bool:
        """Whether a loss is f32 by itself: so are those of several batches where it is scaled."""
        if self.call.together is not None:
            return self.script.loss_scale is not None
        return bool(dict(self.meta["outputs"]).get("loss", {}).get("dtype") == "f32")

    @property
    def _scale(self) -> str:
        return 'scaling["scale"]' if self.is_dynamic else "LOSS_SCALE"

    @property
    def _next_scale(self) -> list[str]:
        return ["rescaled(scaling, is_finite)"] if self.is_dynamic else []

    def _differentiated(self, aux: str, gradients: str) -> Lines:
        lines = layout(f"trained = {self._trained}", 2) if self.networks else []
        trained = "trained" if self.networks else "params"
        taken = f"(_, {aux}), {gradients} = jax.value_and_grad(loss_of, has_aux=True)({trained})"
        return [*lines, *layout(taken, 2)]

    def _stepped(self) -> Lines:
        """What is trained after a step along the gradients."""
        lines: Lines = []
        tree = trained = "trained" if self.networks else "params"
        if self.is_flat:
            trained = "layers"
            lines += ["        # Layers of one stack have optimizers of their own."]
            lines += [f"        layers, gradients = to_flat({tree}), to_flat(gradients)"]
        clips = self.script.settings["clip_norm"] is not None
        if self.script.loss_scale is not None:
            lines += layout(f"gradients = jax.tree.map(lambda g: g * (1 / {self._scale}), gradients)", 2)
        if clips or self.is_dynamic:
            if any(name == FIXED for name, _ in self.labels):
                zeros = f'lambda g, rule: jnp.zeros_like(g) if rule == "{FIXED}" else g'
                what = "The norm is that of" if clips else "What is asked of gradients is asked of those of"
                lines += [f"        # {what} what is trained."]
                lines += layout(f"gradients = jax.tree.map({zeros}, gradients, {self.labels_name})", 2)
            lines += ["        is_finite = all_finite(gradients)"] if self.is_dynamic else []
            lines += ["        gradients = clipped(gradients)"] if clips else []
        lines += [f"        before = {trained}, memory"] if self.is_dynamic else []
        own = [self._label(i) for i, each in enumerate(self.written) if each is not None]
        further = (", **rates" if self.labels else ", rate=rate") if own else ""
        further += "".join(f", {each}={each}" for each in self.drawn)
        lines += layout(f"steps, memory = {self.optimizer}.update(gradients, memory, {trained}{further})", 2)
        if not self.labels and own:
            step = f"jax.tree.map(jnp.subtract, {trained}, steps)"
        elif self.labels:
            scales = "rates"
            if own:
                lines += ["        # Steps of these are to be subtracted as they are."]
                ones = ", ".join(f'"{label}": 1.0' for label in own)
                scales = f"{{**rates, {ones}}}"
            lines += layout(f"scales = jax.tree.map({scales}.get, {self.labels_name})", 2)
            step = f"jax.tree.map(lambda p, s, r: p - r * s, {trained}, steps, scales)"
        else:
            step = f"jax.tree.map(lambda p, s: p - rate * s, {trained}, steps)"
        lines += layout(f"{trained} = {step}", 2)
        if self.is_dynamic:
            lines += ["        # A gradient that is not finite leaves the step out."]
            chosen = f"jax.tree.map(partial(jnp.where, is_finite), ({trained}, memory), before)"
            lines += layout(f"{trained}, memory = {chosen}", 2)
        return [*lines, f"        {tree} = filled({tree}, layers)"] if self.is_flat else lines

    # --- over several batches

    def _adding(self, together: Together) -> Lines:
        """The gradient of one batch of several."""
        beside = ["counted"] if together.counts else ["whole"] if together.twice else []
        arguments = ", ".join(("gradients", *self.trees, *self._scaled, "batch", *beside, *self.key))
        lines = self._found_before(together) if together.twice else []
        lines += ["    @jax.jit", f"    def {self.adding}({arguments}):"]
        between, sums = self._found(together), "found | counted" if together.counts else "found"
        if together.twice:
            at = "whole[name] + each - jax.lax.stop_gradient(each)"
            between += [f"at = {{name: {at} for name, each in found.items()}}"]
            sums = "at"
        loss = f'{self._numbers(together, sums)}["loss"]'
        if self.script.loss_scale is not None:
            between, loss = [*between, f"loss = {loss}"], "loss"
        lines += self._loss_of("found", loss, "found", between)
        lines += self._differentiated("(found, state)" if self.state else "found", "new")
        back = ", ".join(("jax.tree.map(jnp.add, gradients, new)", *self.trees[1:], "found"))
        return [*lines, f"        return {back}", ""]

    def _found_before(self, together: Together) -> Lines:
        """What is added up of a batch, without a gradient."""
        named = [f"{name}={'True' if name == 'training' else name}" for name in self.meta["arguments"]]
        lines = ["    @jax.jit", f"    def {self.before}({', '.join((*self.trees, 'batch', *self.key))}):"]
        call = f"{self.function}({', '.join((self.given(), *named))})"
        lines += layout(f"{'found, _' if self.state else 'found'} = {call}", 2)
        for each in self._found(together):
            lines += layout(each, 2)
        return [*lines, "        return found", ""]

    def _found(self, together: Together) -> list[str]:
        """What is added up of a batch, by name."""
        outputs = self.call.outputs
        lines = [f'found = {{"{outputs[0]}": found}}' if len(outputs) == 1 else "found = found._asdict()"]
        means = (name for name in outputs if name in together.means)
        lines += [f'found["{name}"] = found["{name}"] / ACCUMULATE' for name in means]
        if self.is_narrow:
            lines += ["found = {name: each.astype(jnp.float32) for name, each in found.items()}"]
        return lines

    def _apart(self) -> Lines:
        """The step along gradients that were added up."""
        scaling = "".join(f"{each}, " for each in self._scaled)
        drawn = "".join(f", {each}" for each in self.drawn)
        lines = [
            "    @jax.jit",
            f"    def {self.update}(params, memory, {scaling}gradients, {self.rate}{drawn}):",
        ]
        lines += layout(f"trained = {self._trained}", 2) if self.networks else []
        result = "{**params, **trained}" if self.networks else "params"
        given_back = ", ".join((result, "memory", *self._next_scale))
        return [*lines, *self._stepped(), f"        return {given_back}", ""]

    def _numbers(self, together: Together, sums: str) -> str:
        rows = ", ACCUMULATE * BATCH" if together.sizes else ""
        return f"{common.numbers_name(self.call)}({sums}{rows})"

    def named_numbers(self, together: Together) -> Lines:
        """The function that computes the numbers of an update by name."""
        rows = ", rows: int" if together.sizes else ""
        lines = [f"def {common.numbers_name(self.call)}(sums: dict[str, Any]{rows}) -> dict[str, Any]:"]
        lines += [
            '    """The loss and the metrics of rows that sums are over, however many batches they were."""'
        ]
        sizes = (f"{identifier(size)}=rows" for size in together.sizes)
        args = ", ".join(("{}", *(f'sums["{name}"]' for name in self.call.outputs), *sizes))
        lines += layout(f"found = {together.function}({args})", 1)
        if len(together.numbers) == 1:
            return [*lines, f'    return {{"{together.numbers[0]}": found}}']
        return [
            *lines,
            *layout(f"return dict(zip({common.literal(together.numbers)}, found, strict=True))", 1),
        ]

    # --- in the loop

    def rates(self, count: str, total: str, indent: int) -> Lines:
        """The learning rates of a step."""
        said = [common.rate(rule, count, total) or "1.0" for rule in self.call.rules]
        drawn = self._draws(count, indent) if self.drawn else []
        if not self.labels:
            return [*layout(f"rate = {said[0]}", indent), *drawn]
        named = dict(zip((self._label(i) for i in range(len(said))), said, strict=True))
        named[FIXED] = "0.0"
        pairs = ", ".join(f'"{name}": {named[name]}' for name, _ in self.labels)
        return [*layout(f"rates = {{{pairs}}}", indent), *drawn]

    def _draws(self, count: str, indent: int) -> Lines:
        """What the optimizers draw, by the names of parameters."""
        margin = "    " * indent
        lines = [f"{margin}noise = {{}}", f"{margin}for name, p in {self.layers}.items():"]
        for rule, written in zip(self.call.rules, self.written, strict=True):
            if written is None or not written.draws:
                continue
            several = len(written.functions) > 1
            draws = f"{written.table}[-1]" if several else f"{written.functions[0].name}_draws"
            selected, inner = common.selection(rule.paths, self.known), indent + 1
            if selected is not None:
                lines += layout(f"if {selected.condition('name')}:", inner)
                inner += 1
            name = common.drawn_for(self.call, "name")
            lines += layout(f"noise[name] = {draws}(p, {name}, {count})", inner)
        return lines

    def lines(self) -> Lines:
        """The update of one batch."""
        lines, indent, count, total = common.pace(self.call, 2)
        lines += common.drawn_anew(self.call, indent, several=False)
        lines += self.rates(count, total, indent)
        lines += drawing_key("0", indent) if self.key else []
        held = ", ".join((*self.trees, *self.held))
        args = ", ".join((held, "batch", self.rate, *self.drawn, *self.key))
        lines += self._watched(layout(f"{held}, outputs = {self.update}({args})", indent), indent)
        return lines if self.alone else [*lines, *layout(f"values |= {self.values()}", indent)]

    def several(self) -> Lines:
        """The update of several batches, which are `parts`."""
        together = self.call.together
        assert together is not None
        lines, indent, count, total = common.pace(self.call, 2)
        margin = "    " * indent
        lines += common.drawn_anew(self.call, indent, several=True)
        counted = ["counted"] if together.counts else ["whole"] if together.twice else []
        if together.twice:
            lines += [
                f"{margin}# The gradient hangs on the sums of all batches: they are computed before it."
            ]
            lines += [f"{margin}found_in = []"]
            lines += [f"{margin}for {'part, batch in enumerate(parts)' if self.key else 'batch in parts'}:"]
            lines += drawing_key("part", indent + 1) if self.key else []
            args = ", ".join((*self.trees, "batch", *self.key))
            lines += [f"{margin}    found_in.append({self.before}({args}))"]
            lines += [f"{margin}whole = jax.tree.map(lambda *each: sum(each), *found_in)"]
        if together.counts:
            fields = ", ".join(f'batch["{name}"]' for name in together.counted_of)
            found = f"{together.counts}({{}}, {fields}) for batch in parts"
            lines += [f"{margin}# What the loss of all of them is divided by."]
            if len(together.counted) == 1:
                lines += layout(f'counted = {{"{together.counted[0]}": sum({found})}}', indent)
            else:
                lines += layout(f"counts = zip(*({found}), strict=True)", indent)
                names = common.literal(together.counted)
                lines += layout(f"counted = dict(zip({names}, map(sum, counts), strict=True))", indent)
        lines += layout(f"gradients, found_in = jax.tree.map(jnp.zeros_like, {self._trained}), []", indent)
        head = "for part, batch in enumerate(parts):" if self.key else "for batch in parts:"
        lines += [f"{margin}{head}", *(drawing_key("part", indent + 1) if self.key else [])]
        given_back = ", ".join(("gradients", *self.trees[1:], "found"))
        args = ", ".join(("gradients", *self.trees, *self.scaling, "batch", *counted, *self.key))
        lines += layout(f"{given_back} = {self.adding}({args})", indent + 1)
        lines += [f"{margin}    found_in.append(found)", *self.rates(count, total, indent)]
        held = ", ".join(("params", *self.held))
        args = ", ".join((held, "gradients", self.rate, *self.drawn))
        updated = layout(f"{held} = {self.update}({args})", indent)
        lines += self._watched(updated, indent)
        if self.alone:
            return lines
        lines += layout(f"found = {self.summed()}", indent)
        lines += [f'{margin}values["{self.call.loss}"] = found.pop("loss")']
        return [*lines, f"{margin}values |= found"]

    def _watched(self, lines: Lines, indent: int) -> Lines:
        """An update, and whether it was left out, where something is computed behind it."""
        if not (self.scaling and common.has_averages(self.script)):
            return lines
        margin, scale = "    " * indent, f'{self.scaling[0]}["scale"]'
        return [f"{margin}scale = {scale}", *lines, f"{margin}left_out |= bool({scale} < scale)"]

    def summed(self) -> str:
        """What is reported of all batches of an update, by name."""
        assert self.call.together is not None
        return self._numbers(self.call.together, "jax.tree.map(lambda *each: sum(each), *found_in)")

    def values(self) -> str:
        """What is reported of a batch, by the spec's names."""
        if len(self.call.outputs) == 1:
            return f'{{"{self.call.loss}": outputs}}'
        named = ((self.call.loss if name == "loss" else name, field_name(name)) for name in self.call.outputs)
        listed = ", ".join(f'"{name}": outputs.{field}' for name, field in named)
        return f"{{{listed}}}"


def given(
    meta: Mapping[str, Any], trees: Sequence[str], fields: Sequence[str] | None = None, *, narrow: bool
) -> str:
    """What a function takes by place: parameters in bf16 where it computes in that, and fields that are floats."""
    floats = {name for name, type in meta["inputs"] if type["dtype"] == "float"}
    named = (
        f'narrow(batch["{name}"])' if narrow and name in floats else f'batch["{name}"]'
        for name in (meta["given"] if fields is None else fields)
    )
    return ", ".join((*(f"narrow({name})" if narrow else name for name in trees), *named))


def drawing_key(part: str, indent: int) -> Lines:
    margin = "    " * indent
    what = (
        "step draws hangs on the seed and the step"
        if part == "0"
        else "batch draws hangs on the seed, the step and its place in it"
    )
    return [
        f"{margin}# What a {what} alone.",
        *layout(f"key = jax.random.fold_in(jax.random.fold_in(jax.random.key(SEED), step), {part})", indent),
    ]


def _unnumbered(path: str) -> str:
    return ".".join(part for part in path.split(".") if not part.isdigit())


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
