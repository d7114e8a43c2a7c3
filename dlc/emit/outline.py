"""A loop whose turns hold several parts becomes a loop over one class, as a person would have written it.

for i in range(n) as layers {
    x = x + (x |> layer_norm as norm |> linear(d) as up)
}

loop { layers.{i}.norm, layers.{i}.up }    ->    class Layer: norm, up        for layer in self.layers: x = layer(x)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from typing import Any

from dlc.emit.draft import plain_name
from dlc.emit.names import unique
from dlc.emit.origins import renumbered
from dlc.emit.sizes import readable
from dlc.emit.turning import terms_of
from dlc.ir.index import INDEX, split, upto_index
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Attr, Child, Function, Op, Program, Region, Setting, Value, walk
from dlc.ir.splice import path_of, with_path, with_values, within
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.terms import changed, negated, rooted, turned
from dlc.types.traced import Term, TracedFloat, TracedInt

# What a body makes again for itself rather than to be passed it.
COPIED = frozenset({"const", "size"})


def outline(program: Program, wanted: Callable[[Op], bool] = lambda loop: True) -> Program:
    """The program with the bodies of such loops as functions of their own, of those that are `wanted`."""
    functions: dict[str, Function] = {}
    sources = {each.source for each in program.functions.values()}
    for name, function in program.functions.items():
        outliner = _Outliner(function, set(program.functions) | set(functions), sources, wanted)
        functions[name] = outliner.run()
        functions.update(outliner.made)
        functions[name] = functions.pop(name)  # callees stand before callers
    return program.with_functions(functions)


@dataclass
class _Outliner:
    function: Function
    taken: set[str]
    sources: set[str]
    wanted: Callable[[Op], bool]
    made: dict[str, Function] = field(default_factory=dict)
    children: list[Child] = field(default_factory=list)
    turns: dict[str, dict[str, str]] = field(default_factory=dict)
    """Which arguments of what is made are variables of the loop around it."""

    def run(self) -> Function:
        self.children = list(self.function.children)
        body = tuple(self._outlined(op) if op.op == LOOP else op for op in self.function.body)
        if not self.made:
            return self.function
        return replace(self.function, body=body, children=tuple(self.children))

    def _outlined(self, op: Op) -> Op:
        region = op.region
        assert region is not None
        prefix = _prefix(region.body)
        parts = Loop.of(op)
        if (
            prefix is None
            or parts.shared
            or not self.wanted(op)
            or not isinstance(parts.count, int)
            or not isinstance(parts.start, int)
            or _is_held(prefix, self.function)
        ):
            return op
        turns = (parts.count, parts.start, parts.step)
        inside = [each for each in self.children if each.path.startswith(f"{prefix}.")]
        own = [each for each in inside if each.turns == turns or _is_within(each, turns)]
        made = self._function(region, prefix, own)
        if made is None:
            return op
        self.made[made.name] = made
        self.sources.add(made.source)
        at = self.children.index(own[0])
        self.children = [each for each in self.children if each not in own]
        self.children.insert(at, Child(prefix, made.name, *turns))
        return replace(op, region=self._region(region, made, prefix, _passed(region, self.function)))

    def _function(self, region: Region, prefix: str, own: Sequence[Child]) -> Function | None:
        """The loop's body as a function; None if it reads a size that its inputs do not tell."""
        types = self.function.types()
        passed = _passed(region, self.function)
        known = {out.name: op for op in self.function.body for out in op.outputs}
        copied = [known[name] for name in _captured(region) if name not in passed]
        name = unique(f"{self.function.name}_turn", self.taken | set(self.made))
        given = _given(region)
        outputs = tuple((f"output_{i}" if len(given) > 1 else "output", each) for i, each in enumerate(given))
        inputs = (*region.args, *(Value(each, types[each]) for each in passed))
        body = (*copied, *(_stripped(op, prefix) for op in region.body))
        new = _short_names(inputs, body)
        made = Function(
            name=name,
            source=self._source(prefix),
            kind="module",
            inputs=tuple(Value(new[each.name], each.type) for each in inputs),
            outputs=tuple((name, new[value]) for name, value in outputs),
            body=tuple(with_values(op, new) for op in body),
            children=tuple(_inside(each, prefix, _condition(each, region.body)) for each in own),
            static=self.function.static,
            training=self.function.training,
            settings=tuple(replace(each, default=None) for each in self.function.settings),
            sizes=self.function.sizes,
            optional=tuple(new[each] for each in passed if each in self.function.optional),
        )
        if not own or not _sizes(made.body) <= set(readable(made)):
            return None
        made, self.turns[name] = _given_turn(made)
        return made

    def _source(self, prefix: str) -> str:
        labels = [label for label in prefix.split(".") if not INDEX.fullmatch(label)]
        label = INDEX.sub("", labels[-1] if labels else "").strip("_")
        word = label[:-1] if label.endswith("s") else label
        if len(word) < 3 or not word.isidentifier():
            word = "turn"
        name = "".join(part.capitalize() for part in word.split("_"))
        return name if name not in self.sources else unique(f"{self.function.source}{name}", self.sources)

    def _region(self, region: Region, made: Function, prefix: str, passed: Sequence[str]) -> Region:
        taken = set(self.function.types())
        outputs: dict[str, Value] = {}
        carried = {name: arg.name for name, arg in zip(region.results, region.args, strict=False)}
        for name, type_ in zip(_given(region), made.output_types, strict=True):
            hint = f"{carried[name]}_next" if name in carried else name
            outputs[name] = Value(unique(hint, taken), type_)
            taken.add(outputs[name].name)
        dims = tuple((name, Dim.symbol(name)) for name in made.dims)
        inputs = (*(arg.name for arg in region.args), *passed)
        own = {each.name for each in self.function.settings}
        given = [(each.name, Term("param", (each.name,))) for each in made.settings if each.name in own]
        given += [
            (name, Term("each", (variable,))) for name, variable in self.turns.get(made.name, {}).items()
        ]
        known = tuple((name, Dim.of(rooted(name, value))) for name, value in made.sizes)
        call = Op(
            "call",
            inputs,
            tuple(outputs.values()),
            (),
            callee=made.name,
            path=prefix,
            dims=dims,
            given=tuple(given),
            names=tuple(value.name for value in made.inputs),
            known=known,
        )
        results = (outputs[name].name if name in outputs else name for name in region.results)
        return Region(region.args, (call,), tuple(results))


def _given_turn(function: Function) -> tuple[Function, dict[str, str]]:
    """The body of a turn with the number of the turn, where it reads that, as a static parameter; what that is called, and the
    variable of the loop that it is."""
    terms = [told for op in walk(function.body) for told in terms_of(op)]
    variables = dict.fromkeys(each for told in terms for each in sorted(turned(told)))
    taken = {each.name for each in function.settings}
    names: dict[str, str] = {}
    for variable in variables:
        names[variable] = unique("index", taken | set(names.values()))

    def term(told: Term) -> Term:
        return Term("param", (names[told.args[0]],)) if told.op == "each" and told.args[0] in names else told

    def number(value: Any) -> Any:
        match value:
            case Dim(origin=Dim() as origin):
                return value.said(changed(origin, term))
            case TracedInt():
                return TracedInt(int(value), changed(value.origin, term))
            case TracedFloat():
                return TracedFloat(float(value), changed(value.origin, term))
        return value

    made = renumbered(function, number, lambda told: changed(told, term))

    def asked(op: Op) -> Op:
        condition = None if op.condition is None else changed(op.condition, term)
        return replace(within(op, asked), condition=condition)

    children = (replace(each, when=each.when and changed(each.when, term)) for each in made.children)
    made = replace(made, body=tuple(map(asked, made.body)), children=tuple(children))
    more = tuple(Setting(name, "int") for name in names.values())
    return replace(made, settings=(*made.settings, *more)), {name: each for each, name in names.items()}


def varies(loop: Op) -> bool:
    """Whether parts of a loop's turns are of other sizes, or have other arguments, by the number of the turn, or not all turns have them."""
    ops = list(walk((loop,)))
    apart = (op for op in ops if op.condition is not None and turned(op.condition) and _has_parts(op))
    return any(apart) or any(turned(told) for op in ops if op.path for told in terms_of(op))


def _has_parts(choice: Op) -> bool:
    regions = choice.regions
    return any(op.path for region in regions for op in walk(region.body))


def is_outlined(loop: Op, function: Function) -> bool:
    """Whether what the turns of a loop do becomes a function of its own, so far as their parts tell."""
    prefix = None if loop.region is None else _prefix(loop.region.body)
    return prefix is not None and not _is_held(prefix, function)


def _is_held(prefix: str, function: Function) -> bool:
    """Whether a function itself has parameters where the turns have parts."""
    return any(param.name.startswith(split(prefix)[0]) for param in function.params)


def _prefix(body: Sequence[Op]) -> str | None:
    """What all paths of a body begin with, up to the loop's index; None if they do not agree or there are too
    few."""
    paths = {path_of(op) for op in walk(body) if path_of(op)}
    prefixes = {upto_index(path) for path in paths}
    if len(paths) < 2 or len(prefixes) != 1:
        return None
    (prefix,) = prefixes
    return prefix if prefix and all(path.startswith(f"{prefix}.") for path in paths) else None


def _stripped(op: Op, prefix: str) -> Op:
    op = within(op, lambda each: _stripped(each, prefix))
    if op.path and not op.callee:  # what takes the precision of a layer's weights
        return replace(op, path=op.path.removeprefix(f"{prefix}."))
    return with_path(op, lambda path: path.removeprefix(f"{prefix}."))


def _given(region: Region) -> list[str]:
    """What a turn makes for the next one, or for what is kept of all turns."""
    args = {arg.name for arg in region.args}
    return [name for name in dict.fromkeys(region.results) if name not in args]


def _passed(region: Region, function: Function) -> list[str]:
    """The values from outside that the body has to be given."""
    known = {out.name: op.op for op in function.body for out in op.outputs}
    return [name for name in _captured(region) if known.get(name) not in COPIED]


def _short_names(inputs: Iterable[Value], body: Iterable[Op]) -> dict[str, str]:
    """Names for the values of a body that stands alone: numbers that kept them apart from others are
    dropped."""
    found: dict[str, str] = {}
    values = [*inputs, *(out for op in walk(body) for out in op.outputs)]
    values += [arg for op in walk(body) if op.region for arg in op.region.args]
    for value in values:
        found[value.name] = unique(plain_name(value.name) or value.name, found.values())
    return found


def _captured(region: Region) -> Iterator[str]:
    """The values of the enclosing function that the body reads."""
    own = {arg.name for arg in region.args}
    own.update(out.name for op in walk(region.body) for out in op.outputs)
    own.update(arg.name for op in walk(region.body) if op.region for arg in op.region.args)
    read: dict[str, None] = {}
    for op in walk(region.body):
        read.update((name, None) for name in op.inputs if name)
        read.update((name, None) for name in (op.region.results if op.region else ()))
    read.update((name, None) for name in region.results)
    yield from (name for name in read if name not in own)


def _sizes(body: Iterable[Op]) -> set[str]:
    """The dims that operations speak of in their attributes."""
    found: set[str] = set()
    for op in walk(body):
        for _, value in (*op.attrs, *op.dims):
            found |= _symbols(value)
        found.update(
            symbol for out in op.outputs if op.op in ("reshape", "broadcast") for symbol in out.type.symbols
        )
    return found


def _symbols(value: Attr) -> set[str]:
    if isinstance(value, Dim):
        return set(value.symbols)
    return set().union(*map(_symbols, value)) if isinstance(value, tuple) else set()


def _is_within(child: Child, turns: tuple[int, int, int]) -> bool:
    """Whether only some of a loop's turns have a part."""
    (count, start, step), (most, first, by) = child.turns, turns
    numbers = range(first, first + by * most, by)
    return bool(count) and {start + step * k for k in range(count)} < {*numbers}


def _condition(part: Child, body: Sequence[Op]) -> Term | None:
    """The condition under which a turn has a part; None where all turns have it. (Which inputs there are, and the mode, say what is done
    with it.)"""
    if any(_is_part(part, op) for op in body):
        return None
    found = [_chosen(part, op) for op in body if op.condition is not None and _holds(part, op)]
    return (
        None
        if not found or None in found
        else reduce(lambda a, b: a if a == b else Term("or", (a, b)), found)
    )


def _chosen(part: Child, op: Op) -> Term | None:
    """The condition under which a choice has a part in it."""
    assert op.condition is not None and op.region is not None and op.otherwise is not None
    sides = ((op.region.body, op.condition), (op.otherwise.body, negated(op.condition)))
    held = [
        (case, _condition(part, body)) for body, case in sides if any(_holds(part, each) for each in body)
    ]
    if len(held) == 1:
        return _both(*held[0])
    (case, one), (_, other) = held
    return one if one == other else Term("if", (case, one or ALWAYS, other or ALWAYS))


ALWAYS = Term("const", (True,))


def _both(condition: Term, inner: Term | None) -> Term | None:
    if condition.holds("input") or condition.holds("training"):
        return inner
    return condition if inner is None else Term("and", (condition, inner))


def _holds(part: Child, op: Op) -> bool:
    """Whether an operation applies a part, or something inside of it does."""
    return any(_is_part(part, each) for each in walk((op,)))


def _is_part(part: Child, op: Op) -> bool:
    return (path_of(op), op.callee) == (part.path, part.function)


def _inside(child: Child, prefix: str, when: Term | None) -> Child:
    """A part of a turn in the class of one."""

    def here(path: str) -> str:
        return path[len(prefix) + 1 :]

    return Child(here(child.path), child.function, when=when, fused=child.fused and child.fused.moved(here))
