"""From a program to classes: functions that share an instance become the methods of one class, classes that
differ only in numbers become one with arguments.

    Bottleneck(64, 64, 1), Bottleneck(256, 64, 1), Bottleneck(256, 128, 2)   ->   class Bottleneck(inputs, width, stride)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dlc.emit.body import needed_sizes
from dlc.emit.initial import recognise
from dlc.emit.sizes import readable
from dlc.emit.statements import Draft, Target, outline, targets
from dlc.emit.tree import (
    Expr,
    Make,
    Num,
    Ref,
    transform,
)
from dlc.ir.loops import turning
from dlc.ir.nodes import Child, Function, Op, Param, Program
from dlc.ir.nodes import walk as walk_ops
from dlc.ir.paths import turn_paths
from dlc_torch import initial
from dlc_torch.drafter import TorchDrafter, stateful
from dlc_torch.fold import fold, whole_class
from dlc_torch.foreign import Placing, divide
from dlc_torch.init_weights import changed
from dlc_torch.methods import DIALECT
from dlc_torch.neural import native_layer
from dlc_torch.solve import Solution, Solver, Values
from dlc_torch.structure import Builder, Init, Node, tree


@dataclass
class Unit:
    """The functions of one instance: the methods of a class; or a single plain function. `root` is the tree
    of its paths, `inits` its constructor, `layers` what it holds if it is nothing but an `nn.Sequential`."""

    names: tuple[str, ...]
    drafts: list[Draft]
    root: Node
    inits: list[Init] = field(default_factory=list)
    layers: tuple[Expr, ...] | None = None
    overlays: dict[str, str] = field(default_factory=dict)
    """Attributes that hold instances whose path another instance has."""
    variant: str = ""
    """The variant that it is part of, there only to tell what numbers depend on."""

    @property
    def function(self) -> Function:
        return self.drafts[0].function

    @property
    def is_class(self) -> bool:
        return stateful(self.function)

    def expressions(self) -> Iterator[Expr]:
        """All that numbers may differ in, in a fixed order."""
        yield from (init.expr for init in self.inits)
        yield from self.layers or ()
        for draft in self.drafts:
            yield from draft.expressions()

    def targets(self) -> Iterator[Target]:
        for draft in self.drafts:
            yield from draft.targets()

    def rewritten(self, exprs: Sequence[Expr]) -> Unit:
        """The unit with its expressions replaced, in their order."""
        values = iter(exprs)
        inits = [replace(init, expr=next(values)) for init in self.inits]
        layers = tuple(next(values) for _ in self.layers) if self.layers is not None else None
        drafts = [draft.rewritten(lambda _: next(values)) for draft in self.drafts]
        return replace(self, drafts=drafts, inits=inits, layers=layers)

    def reshaped(self, axes: Sequence[tuple[Expr, ...]]) -> Unit:
        """The unit with the axes of its targets replaced, in their order."""
        shapes = iter(axes)
        return replace(self, drafts=[draft.reshaped(shapes) for draft in self.drafts])


@dataclass
class Class:
    """Units that are one class (or plain function): `unit` is the first, with arguments in place of numbers
    once it is solved; `arguments` are their values, by member."""

    members: list[Unit]
    name: str = ""
    unit: Unit = field(init=False)
    solution: Solution = field(default_factory=lambda: Solution([], {}))

    def __post_init__(self) -> None:
        self.unit = self.members[0]

    @property
    def instances(self) -> list[Unit]:
        """The members that are the program's own, not a variant's."""
        return [each for each in self.members if not each.variant]

    @property
    def statics(self) -> dict[str, Values]:
        """The static parameters that differ between members, with their values."""
        return Solver.of([dict(each.function.static) for each in self.members]).known

    def has(self, function: str) -> bool:
        return any(function in member.names for member in self.members)

    def values(self, function: str) -> dict[str, int | float]:
        """The arguments that make the instance of an IR function."""
        at = next(i for i, member in enumerate(self.members) if function in member.names)
        return {name: values[at] for name, values in self.solution.arguments.items()}


@dataclass
class Grouping:
    """Drafts what a program and its variants need and groups it. `order` lists the classes, callees first;
    `by_function` finds them. Functions of variants have names that no other has."""

    program: Program
    precision: str
    variants: Mapping[str, Program] = field(default_factory=dict)
    evidence: frozenset[str] = frozenset()
    """Variants that the model itself is not made for, but whose parts tell what numbers depend on."""
    drafts: dict[str, Draft] = field(default_factory=dict)
    order: list[Class] = field(default_factory=list)
    by_function: dict[str, Class] = field(default_factory=dict)
    roots: dict[str, Node] = field(default_factory=dict)

    homes: dict[str, Program] = field(default_factory=dict)
    """The program that a function is part of."""
    functions: dict[str, Function] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for program in (self.program, *self.variants.values()):
            self.homes.update(dict.fromkeys(program.functions, program))
            self.functions.update(program.functions)

    def run(self) -> list[Class]:
        keys: dict[object, Class] = {}
        for mark, program in {"": self.program, **self.variants}.items():
            for unit in self._units(self._needed(program)):
                if mark in self.evidence and program.entry in unit.names:
                    continue
                unit.variant = mark
                self._enter(unit, keys)
        return self.order

    def _enter(self, unit: Unit, keys: dict[object, Class]) -> None:
        key = self._key(unit)
        if key in keys:
            keys[key].members.append(unit)
        else:
            keys[key] = Class([unit])
            if not unit.variant:
                self.order.append(keys[key])
        for name in unit.names:
            self.by_function[name] = keys[key]
            self.roots[name] = unit.root

    # --- what is needed -------------------------------------------------------------------------------------

    def draft(self, name: str) -> Draft:
        if name not in self.drafts:
            about = self.homes[name], self.functions[name], DIALECT, self.precision, self.needs
            self.drafts[name] = TorchDrafter(*about).draft()
        return self.drafts[name]

    def needs(self, name: str) -> frozenset[str]:
        return self.draft(name).needs

    def _needed(self, program: Program) -> list[str]:
        """The functions that are emitted, callees first: those called, and those of every instance."""
        order: dict[str, None] = {}
        stack: list[tuple[str, bool]] = [(program.entry, False)]
        while stack:
            name, done = stack.pop()
            if name in order:
                continue
            if done:
                order[name] = None
                continue
            stack.append((name, True))
            stack.extend((each, False) for each in reversed(list(self._callees(name))) if each not in order)
        return list(order)

    def _callees(self, name: str) -> Iterator[str]:
        function = self.functions[name]
        draft = self.draft(name)
        made = {node.function for node in draft.nodes() if isinstance(node, Make)}
        called = {
            op.callee for op in walk_ops(function.body) if op.callee and stateful(self.functions[op.callee])
        }
        for child in function.children:
            called.add(child.function)
        for param in function.params:
            init = self.functions.get(param.init)
            if init is not None and param.kind != "prepared" and recognise(init) is None:
                made.add(param.init)
        program = self.homes[name]
        if name == program.entry:
            made.update(each.init for each in changed(program)[0] if each.form is None)
        order = {each: i for i, each in enumerate(program.functions)}
        for each in sorted(made | called, key=lambda each: order[each]):
            if native_layer(self.functions[each]) is None:
                yield each

    # --- units ----------------------------------------------------------------------------------------------

    def _units(self, names: Sequence[str]) -> Iterator[Unit]:
        """Functions joined by a common instance, callees first."""
        joined = _Joined()
        for name in names:
            self._join(self.functions[name], names, joined)
        groups: dict[str, list[str]] = {}
        for name in names:
            groups.setdefault(joined.find(name), []).append(name)
        done: set[str] = set()
        stack = [(joined.find(name), False) for name in reversed(names)]
        while stack:
            group, ready = stack.pop()
            if group in done:
                continue
            if ready:
                done.add(group)
                yield self._unit(sorted(groups[group], key=self._method_order))
                continue
            stack.append((group, True))
            below = [joined.find(each) for name in groups[group] for each in self._callees(name)]
            stack.extend((each, False) for each in reversed(below) if each not in done and each != group)

    def _method_order(self, name: str) -> tuple[bool, int]:
        return bool(self.functions[name].entry), list(self.functions).index(name)

    def _join(self, function: Function, names: Sequence[str], joined: _Joined) -> None:
        at: dict[str, str] = {}
        held = ((path, child.function) for child in function.children for path in child.paths())
        for path, callee in (*_calls(function.body), *held):
            if callee not in names or not stateful(self.functions[callee]):
                continue
            key = f"{self.functions[callee].source}:{path}"
            first = function.name if not path else at.setdefault(key, callee)
            joined.join(first, callee)

    def _unit(self, names: Sequence[str]) -> Unit:
        functions = [self.functions[name] for name in names]
        drafts = [self.draft(name) for name in names]
        if not stateful(functions[0]):
            return Unit(tuple(names), drafts, Node())
        children: dict[str, Child] = {}
        params: dict[str, Param] = {}
        for function in functions:
            for child in function.children:
                source = self.functions[child.function].source
                children.setdefault(f"{source}:{child.path}:{child.start}:{child.step}:{child.count}", child)
            params.update((param.name, param) for param in function.params if param.name not in params)
        plain, foreign = divide(list(children.values()))
        root = tree(plain, [(param, None) for param in params.values()])
        layers = None
        if len(drafts) == 1:
            layers = whole_class(drafts[0], root, self._instance)
            if layers is None:
                drafts = [fold(drafts[0], root, self._instance)]
        inits: list[Init] = []
        if layers is None:
            inits = list(Builder(self._instance, self._tensor).statements(root))
        unit = Unit(tuple(names), drafts, root, inits, layers)
        placing = Placing(root, self.roots, self.functions, self._instance, self._native, unit.overlays)
        unit.inits += placing.statements(foreign)
        return unit

    def _native(self, name: str) -> bool:
        return native_layer(self.functions[name]) is not None

    def _instance(self, name: str) -> Expr:
        native = native_layer(self.functions[name])
        return native if native is not None else Make(name)

    def _tensor(self, param: Param) -> Expr:
        return initial.tensor(param, self.functions, self.precision)

    # --- keys -----------------------------------------------------------------------------------------------

    def _key(self, unit: Unit) -> object:
        """What units of one class share: all but numbers and the names of values."""
        exprs = [
            self._masked(expr, names) for draft_names in [_numbered(unit)] for expr, names in draft_names
        ]
        function = unit.function
        labels = tuple((init.label, init.annotation, init.local) for init in unit.inits)
        inputs = tuple(tuple(each.dtype for each in draft.inputs) for draft in unit.drafts)
        shape = tuple(outline(draft.body) for draft in unit.drafts)
        entries = tuple(draft.function.entry for draft in unit.drafts)
        needs = tuple(draft.needs for draft in unit.drafts)
        # Dims that a method reads must be read the same way by every instance.
        reads = tuple(_read_sizes(draft) for draft in unit.drafts)
        return (function.source, function.kind, function.library, labels, unit.layers is None, inputs, shape, entries,
                needs, reads, tuple(exprs))  # fmt: skip

    def _masked(self, expr: Expr, names: Mapping[str, str]) -> Expr:
        def mask(node: Expr) -> Expr:
            match node:
                case Num(value, role):
                    return Num(float(0) if isinstance(value, float) else 0, role)
                case Ref(value):
                    return Ref(names.get(value, value))
                case Make(function, args):
                    return Make(
                        f"@{id(self.by_function[function])}" if function in self.by_function else function,
                        args,
                    )
            return node

        return transform(expr, mask)


def _calls(body: Iterable[Op], loop: Op | None = None) -> Iterator[tuple[str, str]]:
    """The path and function of every call, in each turn of the loop around it."""
    for op in body:
        if op.callee:
            yield from ((path, op.callee) for path in turn_paths(op.path, loop))
        if op.region is not None:
            yield from _calls(op.region.body, turning(op, loop))


class _Joined:
    """Union-find over function names."""

    def __init__(self) -> None:
        self.parents: dict[str, str] = {}

    def find(self, name: str) -> str:
        while (parent := self.parents.get(name, name)) != name:
            name = parent
        return name

    def join(self, a: str, b: str) -> None:
        a, b = self.find(a), self.find(b)
        if a != b:
            self.parents[b] = a


def _numbered(unit: Unit) -> Iterator[tuple[Expr, Mapping[str, str]]]:
    """The unit's expressions, each with names for the values that hold for any member."""
    for init in unit.inits:
        yield init.expr, {}
    for layer in unit.layers or ():
        yield layer, {}
    for draft in unit.drafts:
        names = {target.name: f"#{i}" for i, target in enumerate((*draft.inputs, *targets(draft.body)))}
        for expr in draft.expressions():
            yield expr, names


def _read_sizes(draft: Draft) -> tuple[object, ...]:
    known = readable(draft.function)
    sizes = needed_sizes(draft.expressions())
    return tuple(
        (symbol, known[symbol].input, known[symbol].axis, str(known[symbol].size))
        for symbol in sizes
        if symbol in known
    )
