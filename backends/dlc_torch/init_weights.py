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

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from dlc.emit.forms import method
from dlc.emit.initial import Form, Shape, close_forms, recognise
from dlc.emit.layout import INDENT, layout
from dlc.emit.names import identifier
from dlc.emit.tree import At, Call, Dot, Expr, Keyword, Make, Path, Word, text
from dlc.ir.nodes import Function, Op, Param, Parameter, Program, walk
from dlc.ir.splice import prefixed, statics_of
from dlc.once import once
from dlc.records import dataclass, replace
from dlc.types.dims import sole_atom
from dlc.types.terms import moved, names, said, untraced
from dlc_torch.initial import Change, Rule, bounds, put, rules
from dlc_torch.neural import native_layer
from dlc_torch.standing import Beginning, standing

Lines = list[str]
ZEROS = Form("constant")
_Found = tuple[tuple[Change, ...], list[tuple[str, str, str]]]


@once
def changed(program: Program) -> _Found:
    """The parameters that begin otherwise than their layers would have it, and (path, layer, name) of all."""
    forms: dict[str, Form | None] = {}
    told: dict[tuple[str, tuple[int, ...]], Form] = {}

    def drawn(init: str) -> Form | None:
        if init not in forms:
            forms[init] = recognise(program.functions[init])
        return forms[init]

    places = _places(program)

    def here(form: Form, path: str, init: str) -> Form:
        """In the turns of a loop the same calls lead to it."""
        chain = tuple(_chain(places, path, program.functions[init].scope))
        key = (init, tuple(map(id, chain)))
        if key not in told:
            told[key] = said_in_model(form, program, chain)
        return told[key]

    final = {each.path: each for each in program.parameters}
    changes: list[Change] = []
    everything: list[tuple[str, str, str]] = []
    fused = standing(program)
    weights: dict[str, Shape] = {}

    def change(path: str, layer: str, leaf: str, shape: Shape, source: str) -> Change:
        """The change to a parameter that begins as the spec says of `source`."""
        init = final[source].init
        form = drawn(init)
        return Change(path, layer, leaf, shape, form and here(form, path, init), init, final[source].rule)

    for path, layer, param, own in _owned(program, places):
        everything.append((path, layer, param.name))
        shape = param.type.shape or ()
        at = path.rpartition(".")[0]
        if at in fused:
            weights[at] = shape if param.name == "weight" else weights[at]
            begin = Beginning(fused[at], param.name, final, partial(change, path, layer))
            changes += begin.changes(shape, weights[at])
            continue
        given = final.get(path)
        wanted = given.init if given is not None and given.kind == "param" else ""
        if not wanted or (wanted == param.init and own is None):
            continue
        own = own or (drawn(param.init) if param.init else None)
        if not close_forms(drawn(wanted), own):
            changes.append(change(path, layer, param.name, shape, path))
    return tuple(changes), everything


@dataclass(frozen=True, slots=True)
class _Place:
    """An instance: its function, the path of what holds it, and the first call of it there."""

    function: Function
    around: str = ""
    call: Op | None = None


def _places(program: Program) -> Mapping[str, _Place]:
    """All instances by path, each before those in it."""
    found: dict[str, _Place] = {}
    stack = [("", _Place(program.main))]
    while stack:
        path, place = stack.pop()
        found.setdefault(path, place)
        inside = [
            # A further way into an instance stands where that does.
            (
                prefixed(path, local),
                _Place(program.functions[name], path, call)
                if local
                else _Place(program.functions[name], place.around, place.call),
            )
            for local, (name, call) in _calls(place.function).items()
        ]
        stack += reversed(inside)
    return found


@once
def _calls(function: Function) -> Mapping[str, tuple[str, Op | None]]:
    """The function of each instance by its path, and its first call."""
    first: dict[tuple[str, str], Op] = {}
    for op in walk(function.body):
        first.setdefault((op.path, op.callee), op)
    return {
        path: (each.function, first.get((each.path, each.function)))
        for each in function.children
        for path in each.paths()
    }


def _owned(program: Program, places: Mapping[str, _Place]) -> Iterator[tuple[str, str, Param, Form | None]]:
    """(path, native layer's class or "", parameter, PyTorch's own initial value where the library has
    another)."""
    made = {name: native_layer(function) for name, function in program.functions.items()}
    layers = {
        name: each.function.text
        for name, each in made.items()
        if isinstance(each, Call) and isinstance(each.function, Word)
    }
    for prefix, place in places.items():
        layer = layers.get(place.function.name, "")
        above, _, label = prefix.rpartition(".")
        holder = layers.get(places[above].function.name, "") if above in places else ""
        for param in place.function.params:
            zero = holder == "nn.MultiheadAttention" and (label, param.name) == ("out_proj", "bias")
            yield prefixed(prefix, param.name), layer, param, ZEROS if zero else None


def said_in_model(form: Form, program: Program, chain: Sequence[Op]) -> Form:
    """A distribution with its numbers in terms of the model's static parameters, where an inner module's rule gives it: the one
    that the calls of `chain` lead to, innermost first."""
    main = program.main
    own = {setting.name for setting in main.settings} | {name for name, _ in main.sizes}

    def here(value: float) -> float:
        for op in chain:
            value = moved(value, terms_at(op))
        return value if names(value) <= own else untraced(value)

    return form.with_numbers(here)


def _chain(places: Mapping[str, _Place], path: str, scope: str) -> Iterator[Op]:
    """The calls that lead from the module `scope` at a path up to the model, innermost first."""
    while path not in places or (path and places[path].function.source != scope):
        path = places[path].around if path in places else path.rpartition(".")[0]
    while path:
        call, path = places[path].call, places[path].around
        if call is not None:
            yield call


def terms_at(op: Op) -> dict[str, Any]:
    """What the callee's static parameters and sizes are at a call."""
    return {**statics_of(op), **dict(op.dims)}


@dataclass(frozen=True)
class InitWeights:
    """The rules of a model's `init_weights`, with numbers said in terms of its arguments."""

    rules: tuple[Rule, ...]
    copies: Mapping[str, Expr]
    """The calls of functions that give values where no distribution does, by the program's names for them."""
    again: tuple[Expr, ...] = ()
    """What is computed anew of parameters that the rules have changed."""

    @staticmethod
    def of(family: Sequence[Program], emitted: Mapping[str, str]) -> InitWeights:
        """`family` are the model's programs, of which others may have other parts than the first; `emitted` are the names that the
        functions of the first have in the source."""
        first, everything = changed(family[0])
        changes, every = [*first], [everything]
        for program in family[1:]:
            more, there = changed(program)
            known = {path for each in every for path, _, _ in each}
            changes += (each for each in more if each.path not in known and each.form is not None)
            if there not in every:
                every.append(there)
        found = rules(changes, every)
        copied = {
            name for each in found for name in (each.copied, *(part.copied for part in each.parts)) if name
        }
        functions = family[0].functions
        copies = {name: Make(emitted[name], tuple(_shaped(functions[name]))) for name in sorted(copied)}
        again = (_again(each, emitted[each.init]) for each in dependent(family[0]))
        return InitWeights(tuple(found), copies, tuple(again))

    def rewritten(self, change: Callable[[Expr], Expr]) -> InitWeights:
        """With every expression changed."""
        rules = (
            replace(
                _said_otherwise(rule, change),
                parts=tuple(_said_otherwise(each, change) for each in rule.parts),
            )
            for rule in self.rules
        )
        copies = {name: change(copy) for name, copy in self.copies.items()}
        return InitWeights(tuple(rules), copies, tuple(map(change, self.again)))

    def reads(self) -> list[Expr]:
        """The expressions in it, which may read arguments of the constructor."""
        every = (each for rule in self.rules for each in (rule, *rule.parts))
        return [*(arg for each in every for arg in each.said.args), *self.copies.values(), *self.again]

    def lines(self, settle: Callable[[Expr], Expr], *, renamed: bool = False) -> Lines:
        """The method; `settle` says how an argument is read. Where attributes are `renamed` in checkpoints, those names count."""
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
            tensors = "self.state_dict(keep_vars=True).items()" if renamed else "self.named_parameters()"
            lines.append(f"{INDENT * 2}for name, parameter in {tensors}:")
        for i, rule in enumerate(named):
            lines += _condition(f"{'elif' if i else 'if'} {rule.condition}:")
            lines += self._call(rule, "parameter", settle)
        for each in self.again:
            lines += layout(text(settle(each)), 2)
        return lines

    def _layer(self, kinds: Sequence[str], same: Sequence[Rule], settle: Callable[[Expr], Expr]) -> Lines:
        optional = " and module.bias is not None" if same[0].optional else ""
        lines = [f"{INDENT * 3}if isinstance(module, {' | '.join(kinds)}){optional}:"]
        return [*lines, *(line for rule in same for line in self._call(rule, f"module.{rule.leaf}", settle))]

    def _call(self, rule: Rule, tensor: str, settle: Callable[[Expr], Expr], indent: int = 4) -> Lines:
        if rule.parts:
            return self._parts(rule, tensor, settle)
        call = settle(
            _filling(self.copies[rule.copied], tensor) if rule.copied else rule.said.call(Word(tensor))
        )
        lines: Lines = []
        for bound in bounds([call]):
            lines = layout(f"bound = {text(bound)}", indent)
            call = put(call, bound, Word("bound"))
        lines += layout(f"{tensor}.data.copy_({text(call)})" if rule.copied else text(call), indent)
        if rule.factor != 1.0:
            lines.append(f"{INDENT * indent}{tensor}.data.mul_({rule.factor:.6g})")
        if rule.shift:
            lines.append(f"{INDENT * indent}{tensor}.data.add_({rule.shift:.6g})")
        return lines

    def _parts(self, rule: Rule, tensor: str, settle: Callable[[Expr], Expr]) -> Lines:
        """The rows of what stands for several, each group of them in its own way."""
        rows = [part.rows for part in rule.parts]
        cut = f"chunk({len(rows)})" if len(set(rows)) == 1 else f"split({rows})"
        calls = [self._call(part, "rows", settle, 5) for part in rule.parts]
        if all(call == calls[0] for call in calls):
            return [f"{INDENT * 4}for rows in {tensor}.data.{cut}:", *calls[0]]
        names = [f"part_{i}" for i in range(1, len(rows) + 1)]
        lines = layout(f"{', '.join(names)} = {tensor}.data.{cut}", 4)
        for part, name in zip(rule.parts, names, strict=True):
            lines += self._call(part, name, settle)
        return lines


def dependent(program: Program) -> Iterator[Parameter]:
    """The parameters that begin with a value computed of others, of which one begins otherwise than its class has it."""
    paths = {each.path for each in changed(program)[0]}
    for each in program.parameters:
        if paths.intersection(each.sources):
            paths.add(each.path)
            yield each


TENSOR = Word("tensor")
"""What is filled."""


def _shaped(init: Function) -> Iterator[Keyword]:
    """The sizes of a function of initial values that are lengths of what it fills."""
    (axes,) = (type.axes for type in init.output_types)
    for i, axis in enumerate(axes):
        name = sole_atom(said(axis))
        if any(each.name == name for each in init.settings):
            yield Keyword(identifier(str(name)), At(Dot(TENSOR, "shape"), (Word(str(i)),)))


def _filling(copy: Expr, tensor: str) -> Expr:
    return put(copy, TENSOR, Word(tensor))


def _again(parameter: Parameter, init: str) -> Expr:
    """`self.g.data.copy_(initial_g(self.v.detach()))`"""
    sources = (method(Path(each, tensor=True), "detach") for each in parameter.sources)
    return method(Dot(Path(parameter.path, tensor=True), "data"), "copy_", Make(init, tuple(sources)))


def _said_otherwise(rule: Rule, change: Callable[[Expr], Expr]) -> Rule:
    return replace(rule, said=replace(rule.said, args=tuple(map(change, rule.said.args))))


def _by_layer(found: Sequence[Rule]) -> Iterator[tuple[list[str], list[Rule]]]:
    """Rules by layer; layers with the same rules together."""
    groups: dict[tuple[str, bool], list[Rule]] = {}
    for rule in found:
        groups.setdefault((rule.layer, rule.optional), []).append(rule)
    merged: dict[object, tuple[list[str], list[Rule]]] = {}
    for (layer, optional), members in groups.items():
        key = (optional, tuple(replace(rule, layer="", optional=False, condition="") for rule in members))
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
