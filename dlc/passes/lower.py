"""Taking structure away: calls replaced by bodies, loops by their turns, draws by inputs, `float` by a
dtype.

Inlining. Before:

    module Attention_1(%x: [B, 8]) -> (y: %y)
        param weight: [8, 8]
    {
        %w: [8, 8] = param() {path="weight"}
        %y: [B, 8] = matmul(%x, %w)
    }
    model Net(%x: [B, 8]) -> (out: %out)
        child attn: Attention_1
    {
        %out: [B, 8] = call(%x) @ attn -> Attention_1 [B=B]
    }

After:

    model Net(%x: [B, 8]) -> (out: %out)
        param attn.weight: [8, 8]
    {
        %w: [8, 8] = param() {path="attn.weight"}
        %out: [B, 8] = matmul(%x, %w)
    }
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial

from dlc.ir.builder import Builder
from dlc.ir.index import at_turn, has_index
from dlc.ir.loops import INDEX_TYPE, LOOP, Loop, Stacked, turning, with_axis, without_axis
from dlc.ir.nodes import Attr, Child, Function, Op, Param, Program, Region, Value, walk
from dlc.ir.paths import turn_paths
from dlc.ir.splice import (
    Draws,
    Names,
    Splice,
    dims_of,
    has_paths,
    path_of,
    prefixed,
    reached,
    references,
    statics_of,
    stems,
)
from dlc.once import once
from dlc.ops.shape import part
from dlc.passes.randomness import Draw, hoist_randomness
from dlc.passes.stored import stores
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.facts import Facts, Relation
from dlc.types.tensor import TensorType

__all__ = [
    "Draw",
    "alone",
    "decompose",
    "flatten",
    "flatten_calls",
    "hoist_randomness",
    "inline",
    "resolve_float",
    "unroll",
]

Keep = Callable[[Op], bool]


def always(loop: Op) -> bool:
    return True


def inline(program: Program, keep: Keep) -> Program:
    """Calls for which `keep` is false are replaced by their callee's body; instances that are then no longer
    called become parameters and children of the function that called them. Functions that nothing refers to
    any more go.

    `{i}` of an enclosing loop stays in paths; a callee's own loop over parameters is unrolled where it would come
    to lie inside another such loop."""
    done: dict[str, Function] = {}
    for name, function in program.functions.items():
        done[name] = _opened(function, program, done, keep)
    return drop_orphans(program, program.with_functions(done))


def inline_in(program: Program, name: str, keep: Keep) -> Program:
    """The same in one function alone."""
    opened = _opened(program.functions[name], program, program.functions, keep)
    return drop_orphans(program, program.with_functions({**program.functions, name: opened}))


def _opened(function: Function, program: Program, done: Mapping[str, Function], keep: Keep) -> Function:
    """A function of a program with calls inlined; `done` are those that it refers to, as they are by now."""
    calls = [op for op in walk(function.body) if op.callee]
    called = {op.path for op in calls}
    others = (child for child in function.children if child.path not in called)
    mentioned = (child for child in others if keep(mention(child, program.functions[child.function])))
    kept = frozenset(map(id, (*filter(keep, calls), *mentioned)))
    known = [done[name] for name in references(function) if name in done]
    inside = {name for each in known for name in references(each) if name in done}
    stateful = (name for name in inside if done[name].params or done[name].children)
    return _inlined(function, kept, frozenset(stateful), *known)


@once
def _inlined(
    function: Function, kept: frozenset[int], stateful: frozenset[str], *callees: Function
) -> Function:
    """`kept` are the calls that stay, and the instances without a call that do, by identity."""
    return _Inliner(function, kept, stateful, {each.name: each for each in callees}).run()


def decompose(program: Program, is_native: Keep, filled: frozenset[str] = frozenset()) -> Program:
    """Inline the library's composites that a backend does not say itself, and unroll its loops likewise, as far as
    their count is a number; the spec's own functions stay. Those of `filled` it says itself where they have elements for sure,
    and those of dtypes for storage never: these have a way of their own (`stored.py`).

    A layer that is used outside of training in a program that trains is inlined, too, if that makes a difference to it: where a backend
    says it itself, it is in the mode of the whole. So is an instance that is used in both modes: it is one class."""
    mode, both = program.main.training, in_both_modes(program)

    def keep(op: Op) -> bool:
        callee = program.functions[op.callee]
        if callee.name in both or (callee.source in filled and not _has_elements(callee)):
            return False
        if not callee.library:
            return True
        return is_native(op) and (callee.training == mode or not callee.modal) and not stores(callee)

    # After inlining: only then do the loops inside the library's composites belong to functions that are emitted.
    opened = inline(program, keep)
    return opened.with_functions(
        {name: _unrolled(each, is_native) for name, each in opened.functions.items()}
    )


@once
def _unrolled(function: Function, is_native: Keep) -> Function:
    parts = {child.path for child in function.children}
    return unroll_function(function, lambda loop: not is_native(loop) or _is_in_a_part(loop, parts))


def _is_in_a_part(loop: Op, parts: Container[str]) -> bool:
    """Whether a loop's parts lie below another part's label: `linear(4) as block` and `for i in range(3) as block`. What holds the
    turns' parts would take its place."""
    around = (stem for op in walk((loop,)) for stem in stems(path_of(op)) if not has_index(stem))
    return any(stem in parts for stem in around)


def _has_elements(function: Function) -> bool:
    """Whether no axis of what it is given and of what it gives may be 0, the batch aside."""
    facts, types = Facts(function.facts), function.types()
    names = (*(value.name for value in function.inputs), *(name for _, name in function.outputs))
    return all(facts.prove_ge(size, 1) is True for name in names for size in types[name].axes[1:])


def in_both_modes(program: Program) -> frozenset[str]:
    """The functions in another mode than the entry's that instances are which it also has in its own."""
    mode, functions = program.main.training, program.functions
    at: dict[str, set[str]] = {}
    for op in walk(program.main.body):
        if op.callee and op.path:
            at.setdefault(op.path, set()).add(op.callee)
    mixed = (names for names in at.values() if len({functions[name].training for name in names}) > 1)
    roots = [name for names in mixed for name in names if functions[name].training != mode]
    return frozenset(name for name in reached(functions, roots) if functions[name].modal)


def unroll(program: Program, wanted: Callable[[Op], bool] = always) -> Program:
    """Loops become straight-line operations, the index substituted in paths, as far as they are `wanted` and their
    count is a number: a loop over a size stays."""
    return program.with_functions(
        {name: unroll_function(each, wanted) for name, each in program.functions.items()}
    )


def flatten(program: Program) -> Program:
    """A single function: everything inlined, and unrolled but for loops over a size. (Functions of initial and
    prepared values stay.)"""
    # Unrolled first: a callee that has no loops is copied as it is, in whatever loop its call stood.
    return inline(unroll(program), lambda op: False)


def flatten_calls(program: Program) -> Program:
    """A single function as by `flatten`, but for loops whose turns share their parameters: these stay."""
    return inline(unroll(program, lambda loop: not loop.attr("shared")), lambda op: False)


def loops_left(program: Program, is_native: Keep) -> Iterator[Op]:
    """The loops in what runs that `decompose` leaves and `is_native` denies: those over a size."""
    for name in program.reachable():
        yield from (op for op in walk(program.functions[name].body) if op.op == LOOP and not is_native(op))


def drop_orphans(before: Program, after: Program) -> Program:
    """`after` without the functions that something in `before` referred to and nothing does any more."""
    referred = {name for each in before.functions.values() for name in references(each)}
    inits = {parameter.init for parameter in after.parameters}
    roots = (name for name in after.functions if name not in referred or name in inits or name == after.entry)
    live = reached(after.functions, roots)
    return after.with_functions({name: each for name, each in after.functions.items() if name in live})


def alone(program: Program, name: str) -> Program:
    """One function as a program, with all that it refers to and nothing else."""
    live = reached(program.functions, (name,))
    return Program({each: function for each, function in program.functions.items() if each in live}, name)


@dataclass
class _Inliner:
    """Inlines into one function; `done` are those that it refers to, which are inlined already."""

    function: Function
    keeps: frozenset[int]
    stateful: frozenset[str]
    done: Mapping[str, Function]
    alias: dict[str, str] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)  # paths that some call still names
    gone: dict[str, dict[str, None]] = field(default_factory=dict)  # callees of replaced calls, by path
    facts: dict[Relation, None] = field(default_factory=dict)
    changed: bool = False

    def run(self) -> Function:
        body = tuple(self._body(self.function.body, None))
        hoisted = [self._hoisted(child) for child in self.function.children]
        if not self.changed and not any(hoisted):
            return self.function
        params, children = self._state(hoisted, {op.path for op in walk(body) if op.callee})
        return replace(
            self.function,
            body=body,
            outputs=tuple((name, self._now(value)) for name, value in self.function.outputs),
            params=params,
            children=children,
            facts=(*self.function.facts, *self._new_facts()),
        )

    @cached_property
    def names(self) -> Names:
        return Names.of(self.function)

    @cached_property
    def draws(self) -> Draws:
        return Draws.of(self.function)

    def _now(self, name: str) -> str:
        return self.alias.get(name, name)

    def _body(self, body: Iterable[Op], loop: Op | None) -> list[Op]:
        result: list[Op] = []
        for op in body:
            keeps = id(op) in self.keeps
            op = replace(op, inputs=tuple(map(self._now, op.inputs))) if self.alias else op
            if op.region is not None:
                result.append(replace(op, region=self._region(op.region, turning(op, loop))))
            elif not op.callee:
                result.append(op)
            elif keeps:
                self.kept.update(turn_paths(op.path, loop))
                result.append(op)
            else:
                for path in turn_paths(op.path, loop):
                    self.gone.setdefault(path, {})[op.callee] = None
                result += self._splice(op, in_turn=loop is not None)
        return result

    def _region(self, region: Region, loop: Op | None) -> Region:
        body = tuple(self._body(region.body, loop))
        return Region(region.args, body, tuple(map(self._now, region.results)))

    def _splice(self, op: Op, *, in_turn: bool) -> list[Op]:
        self.changed = True
        callee = self.done[op.callee]
        # Two loops around one path would both claim its "{i}". A loop whose turns share their parameters claims none.
        if in_turn and has_paths(callee.body):
            callee = unroll_function(callee, lambda loop: not loop.attr("shared"))
        operands = [name for name in op.inputs if name]
        values = {value.name: name for value, name in zip(callee.inputs, operands, strict=True)}
        for (_, inner), out in zip(callee.outputs, op.outputs, strict=True):
            self.alias[out.name] = values.setdefault(inner, out.name)
        dims, statics = dims_of(op), statics_of(op)
        self.facts.update((fact.substitute(dims), None) for fact in callee.facts)
        path = partial(prefixed, op.path)
        splice = Splice(self.names, self.draws, values, dims, path, self.stateful, statics)
        return splice.body(callee.body)

    def _new_facts(self) -> Iterator[Relation]:
        """What the callees assumed, as far as it does not follow from what this function assumes."""
        known = Facts(self.function.facts)
        return (fact for fact in self.facts if known.decide(fact) is None)

    def _hoisted(self, child: Child) -> bool:
        paths = set(child.paths())
        if paths & self.kept:
            return False
        return not paths.isdisjoint(self.gone) or id(child) not in self.keeps

    def _state(self, hoisted: list[bool], called: set[str]) -> tuple[tuple[Param, ...], tuple[Child, ...]]:
        """Instances in a loop of another instance, which this function calls as a whole, are listed one by one: no loop of its own names
        them."""
        params = {param.name: param for param in self.function.params}
        # By all paths: loops that start elsewhere share "{i+1}".
        children: dict[tuple[str, ...], Child] = {}
        for child, gone in zip(self.function.children, hoisted, strict=True):
            if not gone:
                children[tuple(child.paths())] = child
                continue
            for owner in self._owners(child):
                found = (under(path, param) for path in child.paths() for param in owner.params)
                params.update((each.name, each) for each in found)
                inside = (each for inner in owner.children for each in nested(child, inner))
                listed = (
                    each for one in inside for each in (one.each() if _is_within(one, called) else (one,))
                )
                children.update((tuple(each.paths()), each) for each in listed)
        return tuple(params.values()), tuple(children.values())

    def _owners(self, child: Child) -> list[Function]:
        """The functions that hold an instance's parameters: its own, and other ways into it that were
        called."""
        names = {child.function: None}
        for path in child.paths():
            names.update(self.gone.get(path, {}))
        return [self.done[name] for name in names]


def _is_within(child: Child, called: set[str]) -> bool:
    outer = (child.path[:at] for at, char in enumerate(child.path) if char == ".")
    return bool(child.count) and child.path not in called and any(path in called for path in outer)


def mention(child: Child, function: Function) -> Op:
    """A call of an instance that no call in the body names, to ask whether such calls are kept."""
    name = function.source if function.library else "call"
    inputs = tuple(value.name for value in function.inputs)
    return Op(name, inputs, (), function.static, callee=function.name, path=child.path)


def under(path: str, param: Param) -> Param:
    """A parameter of the instance at `path` as a parameter of the function that holds it."""
    sources = tuple(prefixed(path, source) for source in param.sources)
    return replace(param, name=prefixed(path, param.name), sources=sources)


def nested(outer: Child, inner: Child) -> Iterator[Child]:
    """An instance within an instance, as children of the function that holds the outer one."""
    if not outer.count:
        yield replace(inner, path=prefixed(outer.path, inner.path))
        return
    # One "{i}" to a path: the inner instances are listed one by one, as calls inside a loop name them.
    for path in inner.paths():
        yield replace(outer, path=prefixed(outer.path, path), function=inner.function)


def unroll_function(function: Function, wanted: Callable[[Op], bool] = always) -> Function:
    """The function without the loops that are `wanted` and have a number of turns; the instances in those are listed
    one by one."""
    if not any(op.op == LOOP and _goes(op, wanted) for op in walk(function.body)):
        return function
    facts = Facts(function.facts)
    unroller = _Unroller(wanted, facts, Names.of(function), Draws.of(function))
    body = tuple(unroller.body(function.body))
    rolled = {op.path for op in walk(body) if op.callee}
    children = ((child,) if child.path in rolled else child.each() for child in function.children)
    return replace(
        function,
        body=body,
        outputs=tuple((name, unroller.alias.get(value, value)) for name, value in function.outputs),
        children=tuple(each for group in children for each in group),
    )


def _goes(op: Op, wanted: Callable[[Op], bool]) -> bool:
    return Loop.of(op).turns is not None and wanted(op)


@dataclass
class _Unroller:
    """Unrolls the loops of one function. Inner loops go before the one around them, so that a turn is copied when
    nothing in it is left to be unrolled."""

    wanted: Callable[[Op], bool]
    facts: Facts
    names: Names
    draws: Draws
    alias: dict[str, str] = field(default_factory=dict)
    items: dict[tuple[str, int], list[str]] = field(default_factory=dict)  # of what is stacked, along an axis

    def body(self, body: Iterable[Op], *, inside: bool = False) -> Iterator[Op]:
        """`inside` a loop that goes, all loops over parameters of their own do: copying a turn puts a number in the
        place of every "{i}", which in an inner loop would have been another one's."""
        for op in body:
            op = replace(op, inputs=tuple(self._now(name) for name in op.inputs))
            if op.region is None:
                yield op
                continue
            own = not op.attr("shared")
            goes = _goes(op, self.wanted) or (inside and own)
            inner = tuple(self.body(op.region.body, inside=inside or (goes and own)))
            region = Region(op.region.args, inner, tuple(map(self._now, op.region.results)))
            op = replace(op, region=region)
            if goes:
                yield from self._turns(op)
            else:
                yield op

    def _now(self, name: str) -> str:
        return self.alias.get(name, name)

    def _turns(self, op: Op) -> Iterator[Op]:
        """One copy of the body a turn, each reading what the one before gave, and what is stacked behind the last."""
        loop = Loop.of(op)
        carried = [each.first for each in loop.carried]
        # Its first turn takes over the names inside, so that what is emitted for a loop of one turn reads as if there were none. Up to
        # here they are its own: the body may read what another loop made, which must not be called by one of them.
        if op.region is not None and not any(each.region for each in loop.body):
            self.names.release(value.name for each in loop.body for value in each.outputs)
            self.names.release(value.name for value in op.region.args)
        # A turn's items by its position: that is their order, not the turns'.
        items: dict[int, list[str]] = {}
        for position in loop.positions:
            index = loop.index_at(position)
            values = {each.arg.name: name for each, name in zip(loop.carried, carried, strict=True)}
            yield from self._entering(loop, position, values)
            path = partial(at_turn, index=index) if isinstance(index, int) and not loop.shared else str
            yield from Splice(self.names, self.draws, values, {}, path).body(loop.body)
            carried = [values.get(each.next, each.next) for each in loop.carried]
            items[position] = [values.get(each.item, each.item) for each in loop.stacked]
        self.alias.update((each.out.name, name) for each, name in zip(loop.carried, carried, strict=True))
        for i, stacked in enumerate(loop.stacked):
            made = [items[position][i] for position in sorted(items)]
            self.items[stacked.out.name, stacked.axis] = made
            yield from self._stacked(loop, stacked, made)

    def _entering(self, loop: Loop, position: int, values: dict[str, str]) -> Iterator[Op]:
        """The index and the slices of one turn; `values` learns their names."""
        b = self._builder(loop)
        if loop.index is not None:
            index = Dim.of(loop.index_at(position))
            values[loop.index.name] = self._number(b, index, loop.index.name).name
        for each in loop.sequences:
            # What an unrolled loop stacked needs no slicing; nothing may be left that reads the stack.
            stack = self.items.get((each.source, each.axis))
            if stack is not None:
                values[each.arg.name] = stack[position]
                continue
            whole = Value(each.source, with_axis(each.arg.type, each.axis, loop.count))
            slice = part(b, whole, each.axis, position, position + 1)
            values[each.arg.name] = b.op("reshape", slice, shape=each.arg.type.axes, hint=each.arg.name).name
        yield from b.body

    def _number(self, b: Builder, number: Dim, hint: str) -> Value:
        if number.constant is not None:
            return b.const(number.constant, INDEX_TYPE.dtype, hint=hint)
        return b.op("size", dim=number, hint=hint)

    def _stacked(self, loop: Loop, stacked: Stacked, items: Sequence[str]) -> Iterator[Op]:
        """The items of all turns one behind the other, under the name that the loop's result had."""
        out, dtype = stacked.out, stacked.out.type.dtype
        if not items:
            attrs: tuple[tuple[str, Attr], ...] = (("shape", out.type.axes), ("value", 0.0), ("dtype", dtype))
            yield Op("full", (), (out,), attrs, span=loop.span)
            return
        b, item = self._builder(loop), without_axis(out.type, stacked.axis)
        single = with_axis(item, stacked.axis, 1).axes
        pieces = [b.op("reshape", Value(name, item), shape=single).name for name in items]
        yield from b.body
        yield Op("concat", tuple(pieces), (out,), (("axis", stacked.axis),), span=loop.span)

    def _builder(self, loop: Loop) -> Builder:
        builder = Builder(self.facts, names=self.names.fresh)
        builder.span = loop.span
        return builder


def resolve_float(program: Program, precision: str) -> Program:
    """The working precision `float` becomes the dtype `precision` everywhere: values, attributes,
    parameters."""
    functions = {name: _resolve_function(each, precision) for name, each in program.functions.items()}
    parameters = tuple(replace(each, type=_resolved(each.type, precision)) for each in program.parameters)
    return replace(program, functions=functions, parameters=parameters)


def _resolve_function(function: Function, precision: str) -> Function:
    return replace(
        function,
        inputs=_resolve_values(function.inputs, precision),
        body=tuple(_resolve_op(op, precision) for op in function.body),
        params=tuple(replace(each, type=_resolved(each.type, precision)) for each in function.params),
    )


def _resolve_op(op: Op, precision: str) -> Op:
    region = op.region and Region(
        _resolve_values(op.region.args, precision),
        tuple(_resolve_op(each, precision) for each in op.region.body),
        op.region.results,
    )
    attrs = tuple((k, precision if k == "dtype" and v == "float" else v) for k, v in op.attrs)
    return replace(op, outputs=_resolve_values(op.outputs, precision), attrs=attrs, region=region)


def _resolve_values(values: Iterable[Value], precision: str) -> tuple[Value, ...]:
    return tuple(Value(each.name, _resolved(each.type, precision)) for each in values)


def _resolved(type: TensorType, precision: str) -> TensorType:
    return type.with_dtype(precision) if type.dtype == "float" else type
