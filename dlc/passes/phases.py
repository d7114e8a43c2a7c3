"""One turn of a training that updates networks one after the other, as a program for each update.

What a train block says outside of its steps is computed once, before the first of them. A step that has no gradient through such a value
takes it as an input; one that has computes it again, where its derivative can be taken. Before, with a step on `b` between `%first`
and `%first_end`, and one on `a` behind it:

    model Net(%x: [4]) -> (one: %loss, two: %loss_2)
        param a: [4]
        param b: [4]
    {
        %a: [4] = param() {path="a"}
        %y: [4] = mul(%x, %a)
        %first: bool[] = const() {value=true}
        %b: [4] = param() {path="b"}
        %z: [4] = mul(%y, %b)
        %loss: [] = sum(%z) {axis=[0], keepdims=false}
        %first_end: bool[] = const() {value=true}
        %second: bool[] = const() {value=true}
        %loss_2: [] = sum(%y) {axis=[0], keepdims=false}
        %second_end: bool[] = const() {value=true}
    }

After, the step on `b`, where `%y` was computed before:

    model Net(%y: [4]) -> (loss: %loss)
        param a: [4]
        param b: [4]
    {
        %b: [4] = param() {path="b"}
        %z: [4] = mul(%y, %b)
        %loss: [] = sum(%z) {axis=[0], keepdims=false}
    }

The step on `a` computes `%y` again. What lies behind the last step is computed when all are done.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property, partial

from dlc.diagnostics import Span
from dlc.ir.drawing import is_random
from dlc.ir.index import fits
from dlc.ir.needed import reads
from dlc.ir.nodes import Function, Op, Param, Program, Value, walk
from dlc.ir.splice import Names
from dlc.passes.base import ACTING, functions_with, is_acting
from dlc.passes.dead_code import DeadCode
from dlc.passes.lower import drop_orphans, inline_in
from dlc.passes.zeros import zeros
from dlc.records import dataclass, field, replace

LOSS = "loss"
BEFORE, AFTER = "before", "after"
"""What is computed before all steps, and behind them."""


@dataclass(frozen=True, slots=True)
class Part:
    """A step as the block has it: the outputs of the whole program that it gives, its loss first, what it trains, and the constants between
    which it stands; none where all of the block is its own."""

    name: str
    outputs: tuple[str, ...]
    trained: frozenset[str]
    between: tuple[str, str] | None = None
    turns: int = 1


@dataclass(frozen=True, slots=True)
class Phase:
    """What is computed at one go. `program` has the outputs of its part, that of the loss being called `loss`, and of what is computed
    before all steps also the values that others take, by the names of their inputs."""

    name: str
    program: Program
    own: frozenset[str] = frozenset()
    """The values that it computes for itself alone, in each of its turns anew."""
    gives: tuple[tuple[str, str], ...] = ()
    """Of what is computed before all steps: outputs, and the inputs of others that they are."""


class Stale(Exception):
    """A step needs the gradient through a value that was computed before another one changed what it depends on."""

    def __init__(self, value: str, step: str, changed: str, by: str, span: Span) -> None:
        super().__init__(f"`{value}` in {step}: {by} changes `{changed}`")
        self.value = value
        self.step = step
        self.changed = changed
        self.by = by
        self.span = span


def phases(program: Program, parts: Sequence[Part], behind: str | None = None) -> tuple[Phase, ...]:
    """The phases of a turn in their order. `behind` is the constant that what is computed at the end stands behind. Raises Stale."""
    if any(part.between for part in parts):
        program = _with_updates_seen(program)
    return _Cut(program, tuple(parts), behind).phases()


def apart(phase: Phase) -> Phase:
    """What is computed at the end as a program by itself: of the parameters that it reads, those that it writes are buffers to it."""
    program, main = phase.program, phase.program.main
    written = {op.text("path") for op in walk(main.body) if op.op == "update"}
    read = {op.text("path") for op in walk(main.body) if op.op == "param"}
    used = [each for each in program.parameters if each.path in read | written]
    made, inits = zeros(program.functions, (each.type for each in used))
    parameters = tuple(
        replace(
            each,
            kind="buffer" if each.path in written else each.kind,
            init=inits[each.type],
            sources=(),
        )
        for each in used
    )
    params = tuple(Param(each.path, each.type, each.kind, init=each.init) for each in parameters)
    main = replace(main, params=params, children=())
    functions = {**program.functions, **made, main.name: main}
    return replace(phase, program=drop_orphans(program, Program(functions, main.name, parameters)))


def _with_updates_seen(program: Program) -> Program:
    """The program with calls that update buffers inlined in its entry: they happen once in a turn, however often a step computes what
    stands outside of it."""
    while any(op.callee in _updating(program) for op in walk(program.main.body)):
        program = inline_in(program, program.entry, partial(_is_quiet, _updating(program)))
    return program


def _updating(program: Program) -> frozenset[str]:
    return functions_with(program, lambda op: op.op == "update")


def _is_quiet(updating: frozenset[str], call: Op) -> bool:
    return call.callee not in updating


@dataclass(slots=True)
class _Taken:
    """What a phase is made of so far."""

    ops: set[int] = field(default_factory=set)
    inputs: dict[str, Value] = field(default_factory=dict)


class _Cut:
    def __init__(self, program: Program, parts: tuple[Part, ...], behind: str | None) -> None:
        self.program = program
        self.main = program.main
        self.parts = parts
        self.behind = behind
        self.made = {value.name: i for i, op in enumerate(self.main.body) for value in op.outputs}
        self.types = self.main.types()
        self.outputs = dict(self.main.outputs)
        self.kept: dict[str, Value] = {}
        self.changed: dict[str, str] = {}  # what has been changed in this turn, and by whom

    @cached_property
    def owners(self) -> tuple[str, ...]:
        """To which step each operation belongs; those of none are computed before."""
        begins = {part.between[0]: part.name for part in self.parts if part.between}
        ends = {part.between[1] for part in self.parts if part.between}
        outside = BEFORE if begins else self.parts[0].name
        now, found = outside, []
        for op in self.main.body:
            name = op.outputs[0].name if op.outputs else ""
            if name in begins or name == self.behind:
                now = begins.get(name, AFTER)
            found.append(now)
            if name in ends:
                now = outside
        return tuple(found)

    def phases(self) -> tuple[Phase, ...]:
        if BEFORE in self.owners:
            self._note(BEFORE, self._updated(BEFORE))
        found = [self._step(part) for part in self.parts]
        if self.behind is not None:
            found.append(self._behind())
        before = self._before()
        return (before, *found) if before is not None else tuple(found)

    def _step(self, part: Part) -> Phase:
        if part.turns > 1:
            self._note(part.name, part.trained)
        phase = self._phase(part.name, part.outputs, part.trained)
        self._note(part.name, (*part.trained, *self._updated(part.name)))
        return phase

    def _behind(self) -> Phase:
        """What it gives is that it is done."""
        assert self.behind is not None
        phase = self._phase(AFTER, (), frozenset())
        main, mark = phase.program.main, self.main.body[self.made[self.behind]]
        main = replace(main, body=(mark, *main.body), outputs=(("done", self.behind),))
        functions = {**phase.program.functions, main.name: main}
        return replace(phase, program=phase.program.with_functions(functions))

    def _note(self, by: str, paths: Iterable[str]) -> None:
        for path in paths:
            self.changed.setdefault(path, by)

    def _updated(self, owner: str) -> list[str]:
        ops = (op for op, by in zip(self.main.body, self.owners, strict=True) if by == owner)
        return [each.text("path") for each in walk(ops) if each.op == "update"]

    # --- what a phase takes

    def _phase(self, name: str, outputs: Sequence[str], trained: Collection[str]) -> Phase:
        taken = _Taken()
        active = self.active(trained)
        own = [i for i, by in enumerate(self.owners) if by == name]
        acting = [i for i in own if self._acts(self.main.body[i])]
        for i in acting:
            self._take(taken, i, name, active)
        for each in outputs:
            self._need(taken, self.outputs[each], name, active)
        main = self._function(taken, [(each, self.outputs[each]) for each in outputs])
        values = frozenset(value.name for i in own if i in taken.ops for value in self.main.body[i].outputs)
        renamed = tuple((LOSS if i == 0 else each, value) for i, (each, value) in enumerate(main.outputs))
        return Phase(name, self._program(replace(main, outputs=renamed)), values)

    def _need(self, taken: _Taken, value: str, name: str, active: Collection[str]) -> None:
        """Take what gives a value: its operation, or where that is another phase's, the value."""
        todo = [value]
        while todo:
            each = todo.pop()
            if each not in self.made:
                continue  # an input of the whole
            i = self.made[each]
            if i in taken.ops:
                continue
            if self.owners[i] != name and not self._again(i, each, name, active):
                self.kept[each] = taken.inputs[each] = Value(each, self.types[each])
                continue
            taken.ops.add(i)
            todo += reads(self.main.body[i])

    def _take(self, taken: _Taken, i: int, name: str, active: Collection[str]) -> None:
        taken.ops.add(i)
        for each in reads(self.main.body[i]):
            self._need(taken, each, name, active)

    def _again(self, i: int, value: str, name: str, active: Collection[str]) -> bool:
        """Whether a phase computes what stands outside of it by itself. Raises Stale."""
        op = self.main.body[i]
        changed = next((path for path in self._paths(op) if path in self.changed), None)
        if value not in active:
            return value in self._constant or (op.op == "param" and changed is None)
        if changed is not None:
            raise Stale(value, name, changed, self.changed[changed], op.span)
        return True

    def _before(self) -> Phase | None:
        """What the others take, and what the block computes outside of its steps for itself."""
        acting: list[int] = []
        outside: dict[str, str] = {}
        if BEFORE in self.owners:
            given = {each for part in self.parts for each in part.outputs}
            outside = {name: value for name, value in self.main.outputs if name not in given}
            acting = [i for i, by in enumerate(self.owners) if by == BEFORE and self._acts(self.main.body[i])]
        names = Names(outside)
        gives = {names.fresh(value): value for value in self.kept}
        outputs = {**outside, **gives}
        if not outputs and not acting:
            return None
        taken, todo = _Taken(set(acting)), [*outputs.values()]
        todo += [name for i in acting for name in reads(self.main.body[i])]
        while todo:
            each = todo.pop()
            if each in self.made and self.made[each] not in taken.ops:
                taken.ops.add(self.made[each])
                todo += reads(self.main.body[self.made[each]])
        program = self._program(self._function(taken, [*outputs.items()]))
        return Phase(BEFORE, program, gives=tuple(gives.items()))

    # --- what operations depend on

    def active(self, trained: Collection[str]) -> set[str]:
        """The values that depend on what is trained in a way that has a derivative, as far as can be told from outside of calls."""
        found: set[str] = set()
        for op in self.main.body:
            if op.op == "stop_gradient":
                continue
            if any(name in found for name in reads(op)) or any(path in trained for path in self._paths(op)):
                found.update(value.name for value in op.outputs if value.type.is_float)
        return found

    def _paths(self, op: Op) -> Iterator[str]:
        """The parameters that an operation reads."""
        for each in walk((op,)):
            if each.op == "param":
                yield from self._like(each.text("path"))
            elif each.callee and (each.path or each.callee in self._stateful):
                yield from self._below(each.path)

    @cached_property
    def _stateful(self) -> frozenset[str]:
        functions = self.program.functions
        return frozenset(name for name, each in functions.items() if each.params or each.children)

    def _like(self, path: str) -> Iterator[str]:
        known = (each.path for each in self.program.parameters)
        yield from (each for each in known if fits(path, each))

    def _below(self, path: str) -> Iterator[str]:
        for each in self.program.parameters:
            parts = each.path.split(".")
            if not path or any(fits(path, ".".join(parts[:n])) for n in range(1, len(parts))):
                yield each.path

    @cached_property
    def _constant(self) -> set[str]:
        """The values that hang on nothing but sizes."""
        drawing = functions_with(self.program, is_random)
        found: set[str] = set()
        for op in self.main.body:
            plain = not (
                op.op == "param" or is_random(op) or self._acts(op) or op.callee in self._stateful | drawing
            )
            if plain and op.region is None and all(name in found for name in reads(op)):
                found.update(value.name for value in op.outputs)
        return found

    @cached_property
    def _acting(self) -> frozenset[str]:
        return functions_with(self.program, is_acting)

    def _acts(self, op: Op) -> bool:
        return any(each.op in ACTING or each.callee in self._acting for each in walk((op,)))

    # --- making them

    def _function(self, taken: _Taken, outputs: Sequence[tuple[str, str]]) -> Function:
        body = tuple(self.main.body[i] for i in sorted(taken.ops))
        read = {name for op in body for name in reads(op)} | {value for _, value in outputs}
        inputs = (*(each for each in self.main.inputs if each.name in read), *taken.inputs.values())
        return replace(self.main, inputs=inputs, outputs=tuple(outputs), body=body)

    def _program(self, main: Function) -> Program:
        return DeadCode().run(self.program.with_functions({**self.program.functions, main.name: main}))
