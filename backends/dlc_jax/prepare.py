"""`prepare(params, state)`: tensors that passes compute once from the spec's parameters (weights with a norm folded in), by the
structure of the modules. What they were computed of goes where `apply` does not read it.

    params["conv1_folded_weight"] = folded_weight(params["conv1"]["weight"], state["bn1"]["running_var"], …)
    del params["conv1"], params["bn1"]
    params["layer1"]["1:"] = jax.vmap(prepare_bottleneck)(params["layer1"]["1:"], state["layer1"]["1:"])

Where static parameters decide which module stands somewhere, or how many do, a function takes these, as those of `init` do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from dlc.emit.arguments import argument_name, by_name
from dlc.emit.checks import opposite
from dlc.emit.forms import call
from dlc.emit.layout import INDENT, WIDTH, layout
from dlc.emit.names import snake, unique
from dlc.emit.origins import numbered
from dlc.emit.ranges import numbers
from dlc.emit.requirements import words
from dlc.emit.tree import Arg, Binary, Call, Conditional, Expr, Keyword, Word, text, walk
from dlc.ir.index import upto_index
from dlc.ir.nodes import Child, Param
from dlc.ir.nodes import walk as walk_ops
from dlc.ir.splice import path_of
from dlc.records import dataclass, field
from dlc_jax.parts import by_condition, by_turn, calling, condition, given_to, kind_of, turn_variable
from dlc_jax.places import Counted, Layout, at, in_words, key_of, turn_key
from dlc_jax.units import RESERVED, Units

Lines = list[str]


@dataclass(frozen=True, slots=True)
class Step:
    """The preparation of an instance or a tensor: where it stands, by what, and when there is one to prepare. Of many under their numbers it
    stands in the turns of a loop. What is `made` of nothing goes."""

    place: Expr
    made: Expr | None
    when: Expr | None = None
    turns: str = ""
    over: Expr = Word("")

    def expressions(self) -> tuple[Expr, ...]:
        found = (self.place, self.made, self.over, self.when)
        return tuple(each for each in found if each is not None)


@dataclass(frozen=True, slots=True)
class Maker:
    """A function that prepares an instance, and the static parameters that it takes."""

    name: str
    words: tuple[str, ...]


@dataclass
class Prepare:
    """`prepare` of a program, and the functions that it calls."""

    units: Units
    taken: set[str]
    makers: dict[str, Maker] = field(default_factory=dict)
    functions: list[Lines] = field(default_factory=list)

    @property
    def is_needed(self) -> bool:
        return self._prepares(self.units.program.entry)

    def lines(self) -> Lines:
        """The function `prepare`; those that it calls are in `functions`."""
        main = self.units.program.main
        said = {name: f"config.{argument_name(name, RESERVED)}" for name in words(main)}
        steps = list(self._steps(main.name))
        read = _read((*self._tensors(main.name), *steps))
        config = ["config: Config = CONFIG"] if read else []
        return self._function(main.name, "prepare", steps, config, said)

    def takes_state(self, name: str) -> bool:
        """Whether a buffer goes into what is prepared for an instance."""
        layout = self._layout(name)
        own = any(
            found.param is not None and found.param.kind == "buffer"
            for param in _prepared(layout)
            for source in param.sources
            if (found := self.units.places.find(name, source)) is not None
        )
        return own or any(self.takes_state(child.function) for child in self._children(name))

    def _layout(self, name: str) -> Layout:
        return self.units.places.layout(name)

    def _prepares(self, name: str) -> bool:
        below = (child for same in self._layout(name).children.values() for child in same)
        return bool(_prepared(self._layout(name))) or any(self._prepares(child.function) for child in below)

    def _children(self, name: str) -> list[Child]:
        """The instances for which something is prepared: of each module that may stand at a path, one."""
        return [child for same in self._modules(name) for child in same if self._prepares(child.function)]

    def _modules(self, name: str) -> Iterator[list[Child]]:
        for same in self._layout(name).children.values():
            yield list({self._group(child.function): child for child in reversed(same)}.values())[::-1]

    def _group(self, name: str) -> str:
        return self.units.places.groups[name][0].name

    def _function(
        self, name: str, called: str, steps: Sequence[Step], words: Sequence[str], said: dict[str, str]
    ) -> Lines:
        lines = list(self._statements(name, steps, said))
        depth = max((line.partition(" = ")[0].count("[") for line in lines if " = " in line), default=1)
        copy = "dict(params)" if depth == 1 else "jax.tree.map(lambda leaf: leaf, params)"
        taken = ["params: Params", *(["state: State"] if self.takes_state(name) else [])]
        taken += ["*", *words] if words else []
        return [
            *layout(f"def {called}({', '.join(taken)}) -> Params:"),
            f'{INDENT}"""The parameters that `apply` reads: what is computed of others once is in their place."""',
            f"{INDENT}params = {copy}",
            *lines,
            f"{INDENT}return params",
        ]

    def _statements(self, name: str, steps: Sequence[Step], said: dict[str, str]) -> Iterator[str]:
        gone = (Step(self._place(name, path), None, self._when(name, path)) for path in self._gone(name))
        yield from _in_cases([*self._tensors(name), *gone], said)
        yield from _in_cases(steps, said)

    def _tensors(self, name: str) -> Iterator[Step]:
        """The tensors that are prepared for an instance, of what is its own."""
        for param in _prepared(self._layout(name)):
            made = call(self.units.add(param.init).name, *(self._place(name, each) for each in param.sources))
            yield Step(self._place(name, param.name), made, condition(param.when))

    def _when(self, name: str, path: str) -> Expr | None:
        """The condition under which there is an instance at a path, where only one may stand there."""
        found = self._layout(name).children.get(path, ())
        return condition(found[0].when) if len(found) == 1 else None

    def _steps(self, name: str) -> Iterator[Step]:
        for same in self._modules(name):
            for child in same:
                if self._prepares(child.function):
                    yield self._step(name, child, by_itself=len(same) == 1)

    def _step(self, name: str, child: Child, *, by_itself: bool) -> Step:
        """`by_itself`: no other module may stand there."""
        places = self.units.places
        layout, op = places.layout(name), calling(places.groups[name], child)
        keys = places.keys(layout, child.path)
        stack = layout.stacks.get(upto_index(child.path))
        turns = ""
        over: Expr = Word("")
        if child.count and stack is not None and stack.apart:
            turns, over = turn_variable(op, child), numbers(child.count, child.start, child.step)
            key = Counted.of(stack.labels[0], turn_key(stack.stem.rpartition(".")[2], turns))
            keys = (*stack.keys, key, *in_words(keys[len(stack.keys) :]))
        maker = self._maker(child.function)
        function = self.units.program.functions[child.function]
        own = words(self.units.program.functions[name])
        given = [Keyword(each, numbered(given_to(each, function, op), own)) for each in maker.words]
        trees = [at(Word(each), keys) for each in ("params", "state")[: 1 + self.takes_state(child.function)]]
        if child.count and not turns:
            one = call("partial", Word(maker.name), *given) if given else Word(maker.name)
            made: Expr = Call(call("jax.vmap", one), tuple(trees))
        else:
            made = call(maker.name, *trees, *given)
        when = condition(child.when)
        if when is not None and by_turn(child):  # (of two that the turns have, this one)
            return Step(trees[0], Conditional(when, made, trees[0]), None, turns, over)
        if when is not None and by_itself:
            *around, last = in_words(keys)
            when = Binary("in", key_of(last), at(Word("params"), tuple(around)))
        return Step(trees[0], made, when, turns, over)

    def _gone(self, name: str) -> Iterator[str]:
        """The instances that only went into what is prepared here: nobody applies them, nor reads what lies in them."""
        own = self.units.places.groups[name]
        applied = {op.path for function in own for op in walk_ops(function.body) if op.callee}
        sources = [source for param in _prepared(self._layout(name)) for source in param.sources]
        for path in dict.fromkeys(source.rpartition(".")[0] for source in sources):
            here = self._layout(name).children.get(path, ())
            held = any(
                param.kind != "buffer"
                for each in here
                for param in self._layout(each.function).params.values()
            )
            if here and held and path not in applied and not self._is_reached(path):
                yield path

    def _is_reached(self, path: str) -> bool:
        """Whether some function reads a tensor in an instance of this path, from wherever."""
        inside = f".{path}."
        return any(inside in f".{each}" for each in self._reached)

    @cached_property
    def _reached(self) -> set[str]:
        bodies = (walk_ops(function.body) for function in self.units.program.functions.values())
        return {path_of(op) for body in bodies for op in body if not op.callee and path_of(op)}

    def _place(self, name: str, path: str) -> Expr:
        found = self.units.places.find(name, path)
        assert found is not None, path
        tree = "state" if found.param is not None and found.param.kind == "buffer" else "params"
        return at(Word(tree), found.keys, tensor=found.param is not None)

    def _maker(self, name: str) -> Maker:
        group = self.units.places.groups[name][0]
        if group.name not in self.makers:
            taken = {*self.taken, *(each.name for each in self.makers.values())}
            taken |= {each.name for each in self.units.by_name.values()}
            own = unique(f"prepare_{snake(group.source.strip('_'))}", taken)
            steps = list(self._steps(name))
            function = self.units.program.functions[name]
            read = _read((*self._tensors(name), *steps))
            order = (*(each for each, _ in function.sizes), *(each.name for each in function.settings))
            wanted = tuple(each for each in dict.fromkeys(order) if each in read)
            self.makers[group.name] = Maker(own, wanted)
            kinds = [f"{argument_name(each, RESERVED)}: {kind_of(function, each)}" for each in wanted]
            said = {each: argument_name(each, RESERVED) for each in wanted}
            self.functions.append(self._function(name, own, steps, kinds, said))
        return self.makers[group.name]


def _written(step: Step, said: dict[str, str], indent: int) -> Lines:
    if step.made is None:
        return []
    made, place, over = (text(by_name(each, said)) for each in (step.made, step.place, step.over))
    head = layout(f"for {step.turns} in {over}:", indent) if step.turns else []
    return [*head, *layout(f"{place} = {made}", indent + bool(step.turns))]


def _read(steps: Sequence[Step]) -> set[str]:
    """The static parameters that steps speak of."""
    nodes = (node for step in steps for each in step.expressions() for node in walk(each))
    return {node.name for node in nodes if isinstance(node, Arg)}


def _prepared(layout: Layout) -> list[Param]:
    return [param for param in layout.params.values() if param.kind == "prepared"]


def _in_cases(steps: Sequence[Step], said: dict[str, str]) -> Iterator[str]:
    """Steps, those of a case under its condition."""
    for when, sides in by_condition(steps):
        for head, side in _sides(when, sides, said):
            indent = 1 + (when is not None)
            yield from head
            yield from (line for step in side for line in _written(step, said, indent))
            yield from _deleted([text(step.place) for step in side if step.made is None], indent)


def _sides(
    when: Expr | None, sides: tuple[list[Step], list[Step]], said: dict[str, str]
) -> Iterator[tuple[Lines, list[Step]]]:
    """The sides of a condition that have steps, each with its first line."""
    if when is None:
        yield [], sides[0]
        return
    yes, no = sides
    if yes:
        yield [f"{INDENT}if {text(by_name(when, said))}:"], yes
    if no:
        yield [f"{INDENT}else:" if yes else f"{INDENT}if {text(by_name(opposite(when), said))}:"], no


def _deleted(gone: Sequence[str], indent: int) -> Iterator[str]:
    """`del` of so many at once as fit in a line."""
    line = ""
    for each in gone:
        longer = f"{line}, {each}" if line else f"{INDENT * indent}del {each}"
        if line and len(longer) > WIDTH:
            yield line
            longer = f"{INDENT * indent}del {each}"
        line = longer
    yield from [line] if line else []
