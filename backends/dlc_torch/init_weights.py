"""The method of a model that sets the initial values which its layers do not have of themselves.

def init_weights(self) -> None:
    for module in self.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
    for name, parameter in self.named_parameters():
        if name.endswith("c_proj.weight"):
            nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.layers))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dlc.emit.initial import Form, close_forms, recognise
from dlc.emit.layout import INDENT, layout
from dlc.emit.tree import Binary, Call, Expr, Num, Word, text
from dlc.ir.nodes import Param, Program
from dlc.ir.paths import Paths
from dlc.ir.splice import prefixed
from dlc_torch.initial import Change, Rule, rules
from dlc_torch.neural import native_layer
from dlc_torch.solve import Values, term

Lines = list[str]
ZEROS = Form("constant")
Calls = Callable[[tuple[str, ...], Callable[[Values], Expr]], Expr]
"""The call of an init function, given by its name in the program and its variants, and how a number is said."""


def changed(program: Program) -> tuple[list[Change], list[tuple[str, str, str]]]:
    """The parameters that begin otherwise than their layers would have it, and (path, layer, name) of all."""
    final = {each.path: each.init for each in program.parameters if each.kind == "param"}
    changes: list[Change] = []
    everything: list[tuple[str, str, str]] = []
    for path, layer, param, own in _owned(program):
        everything.append((path, layer, param.name))
        wanted = final.get(path, "")
        if not wanted or (wanted == param.init and own is None):
            continue
        form = recognise(program.functions[wanted])
        own = own or (recognise(program.functions[param.init]) if param.init else None)
        if not close_forms(form, own):
            changes.append(Change(path, layer, param.name, param.type.shape or (), form, wanted))
    return changes, everything


def _owned(program: Program) -> Iterator[tuple[str, str, Param, Form | None]]:
    """(path, native layer's class or "", parameter, PyTorch's own initial value where the library has
    another)."""
    made = {name: native_layer(function) for name, function in program.functions.items()}
    layers = {
        name: each.function.text
        for name, each in made.items()
        if isinstance(each, Call) and isinstance(each.function, Word)
    }
    paths = Paths(program.functions)
    for prefix, param in paths.expand(program.entry):
        owner = program.entry if not prefix else paths.instance(program.entry, prefix) or ""
        above, _, label = prefix.rpartition(".")
        holder = layers.get(paths.instance(program.entry, above) or "" if above else "", "")
        zero = holder == "nn.MultiheadAttention" and (label, param.name) == ("out_proj", "bias")
        yield prefixed(prefix, param.name), layers.get(owner, ""), param, ZEROS if zero else None


@dataclass(frozen=True)
class InitWeights:
    """The rules of a model's `init_weights`, with numbers said in terms of its arguments. `unclear` are numbers, with
    their values in the program and its variants, that can't be said so."""

    rules: tuple[Rule, ...]
    calls: Mapping[tuple[str, ...], Expr]
    """The calls of init functions."""
    unclear: tuple[Values, ...] = ()

    @staticmethod
    def of(programs: Sequence[Program], arguments: Mapping[str, Values], functions: Calls) -> InitWeights:
        """`programs` are the program and its variants, `arguments` the model's in each of them."""
        unclear: list[Values] = []

        def said(values: Values) -> Expr:
            found = _constant(values[0]) if len(set(values)) == 1 else term(values, arguments, 1)
            if found is None:
                unclear.append(values)
            return found or Num(values[0])

        program, *variants = programs
        changes, everything = changed(program)
        elsewhere = [{each.path: each for each in changed(variant)[0]} for variant in variants]
        pooled = [
            replace(
                each,
                variants=tuple(there.get(each.path) for there in elsewhere),
            )
            for each in changes
        ]
        found = rules(pooled, everything, said)
        calls = {each.copied: functions(each.copied, said) for each in found if each.copied}
        return InitWeights(tuple(found), calls, tuple(unclear))

    def reads(self) -> list[Expr]:
        """The expressions in it, which may read arguments of the constructor."""
        return [*(arg for rule in self.rules for arg in rule.said.args), *self.calls.values()]

    def lines(self, settle: Callable[[Expr], Expr]) -> Lines:
        """The method; `settle` says how an argument is read."""
        lines = [
            f"{INDENT}def init_weights(self) -> None:",
            f'{INDENT * 2}"""Initial values that are not the layers\' own."""',
        ]
        layers = [rule for rule in self.rules if rule.layer]
        if layers:
            lines.append(f"{INDENT * 2}for module in self.modules():")
        for kinds, same in _by_layer(layers):
            lines += self._layer(kinds, same, settle)
        named = [rule for rule in self.rules if rule.condition]
        if named:
            lines.append(f"{INDENT * 2}for name, parameter in self.named_parameters():")
        for i, rule in enumerate(named):
            lines += _condition(f"{'elif' if i else 'if'} {rule.condition}:")
            lines += self._call(rule, "parameter", settle)
        return lines

    def _layer(self, kinds: Sequence[str], same: Sequence[Rule], settle: Callable[[Expr], Expr]) -> Lines:
        optional = " and module.bias is not None" if same[0].optional else ""
        lines = [f"{INDENT * 3}if isinstance(module, {' | '.join(kinds)}){optional}:"]
        return [*lines, *(line for rule in same for line in self._call(rule, f"module.{rule.leaf}", settle))]

    def _call(self, rule: Rule, tensor: str, settle: Callable[[Expr], Expr]) -> Lines:
        if rule.copied:
            return layout(f"{tensor}.data.copy_({text(settle(self.calls[rule.copied]))})", 4)
        return layout(text(settle(rule.said.call(Word(tensor)))), 4)


def _by_layer(found: Sequence[Rule]) -> Iterator[tuple[list[str], list[Rule]]]:
    """Rules by layer; layers with the same rules together."""
    groups: dict[tuple[str, bool], list[Rule]] = {}
    for rule in found:
        groups.setdefault((rule.layer, rule.optional), []).append(rule)
    merged: dict[object, tuple[list[str], list[Rule]]] = {}
    for (layer, optional), members in groups.items():
        key = (optional, tuple((rule.leaf, rule.said, rule.copied) for rule in members))
        merged.setdefault(key, ([], members))[0].append(layer)
    yield from merged.values()


def _condition(line: str) -> Lines:
    """A long set of names stands a name a line."""
    if len(line) + 12 <= 100 or "{" not in line:
        return [INDENT * 3 + line]
    head, _, names = line.removesuffix("}:").partition("{")
    return [
        f"{INDENT * 3}{head}{{",
        *(f"{INDENT * 4}{name}," for name in names.split(", ")),
        f"{INDENT * 3}}}:",
    ]


def _constant(value: float) -> Expr:
    """A number; one that nobody would have written as `0.02 / math.sqrt(192)`."""
    for top in (1, 0.02) if len(repr(value)) > 9 and value > 0 else ():
        under = round((top / value) ** 2)
        if math.isclose(value, top / math.sqrt(under), rel_tol=1e-12):
            return Binary("/", Num(top), Call(Word("math.sqrt"), (Num(under),)))
    return Num(value)
