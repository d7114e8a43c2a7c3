"""`scan`: recurrence, as one `loop` whose turns share their parameters.

    scan xt in x along T with h = h0 { h = step(xt, h); yield hs = h }
    ->  %h, %hs = loop(%h0, %x) {count=T, sequences=[1], stacked=[1], shared=true} do (%h: …, %xt: …) { … }

The body is elaborated once, on values that stand for any turn's. What is carried is flattened into tensors and put together again
behind the loop, so lists, tuples and groups keep their form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from dlc.diagnostics import Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.handles import flat
from dlc.elaborate.base.spelling import axis_text
from dlc.elaborate.base.trees import assigned, target_names
from dlc.elaborate.base.values import POISON, GroupValue, Poison, Tensor, show, type_name
from dlc.elaborate.bodies.bindings import bind
from dlc.elaborate.names import lookup as names
from dlc.elaborate.reports.report import Silent
from dlc.elaborate.state.body import Body
from dlc.elaborate.state.scope import Scope
from dlc.elaborate.tensors.failures import described
from dlc.elaborate.tensors.operators import lift
from dlc.elaborate.types.static import plain
from dlc.elaborate.types.written import written_type
from dlc.ir.loops import INDEX_TYPE, Carried, Loop, Sliced, Stacked, number_or_size, with_axis, without_axis
from dlc.ir.nodes import Op, Value
from dlc.records import dataclass, replace
from dlc.syntax import ast
from dlc.types.dims import Dim


@dataclass(slots=True)
class Read:
    """What a turn is given under one target: a slice of a sequence along `axis`, the turn's number, or both (`enumerate`)."""

    target: ast.Target
    node: ast.Expr
    sequence: Tensor | None = None
    axis: int = 0
    counter: ast.Target | None = None


@dataclass(slots=True)
class Range:
    """The positions that a scan visits: how many, and the index at the first and from one to the next."""

    count: Dim
    start: Dim
    step: int


@dataclass(slots=True)
class Steps:
    """All steps of a scan at once: what they read, and what is carried, by name, before the first (`first`) and inside (`args`)."""

    node: ast.Scan
    reads: list[Read]
    positions: Range
    first: dict[str, Any]
    args: dict[str, Any]
    slices: list[Value]
    index: Value | None

    @property
    def sequences(self) -> list[tuple[Tensor, int]]:
        return [(each.sequence, each.axis) for each in self.reads if each.sequence is not None]


def run_scan(body: Body, node: ast.Scan) -> None:
    outside, failures = body.scope, body.report.findings.failures
    reads, positions = _header(body, node)
    first = _first(body, node)
    wrong = _not_carried(body, node, outside)
    steps = Steps(node, reads, positions, first, *_enter(body, reads, first))
    ops, yields = _turn(body, node)
    last = {
        name: _last(body, node, name, value, body.scope.names.get(name, POISON))
        for name, value in steps.args.items()
    }
    body.scope = outside
    _append(body, steps, ops, last, yields)
    if body.report.findings.failures > failures:
        wrong |= _handed_out(node.body) - yields.keys()
    for name in sorted(wrong):
        body.bind(name, POISON)


# --- the header ------------------------------------------------------------------------------------------------


def _header(body: Body, node: ast.Scan) -> tuple[list[Read], Range]:
    reads: list[Read] = []
    positions: Range | None = None
    for target, expr in zip(node.source.targets, node.source.sequences, strict=True):
        counted = _range(body, expr)
        if counted is not None:
            read = Read(ast.NameTarget("_", None, span=target.span), expr, counter=target)
            found = counted
        else:
            read = _sequence(body, node, target, expr, reads)
            assert read.sequence is not None
            found = Range(read.sequence.type.axes[read.axis], Dim.of(0), 1)
        reads.append(read)
        if positions is None:
            positions = found
        elif body.emission.facts.prove_eq(positions.count, found.count) is not True:
            _unequal(body, expr, reads[0], positions.count, found.count)
    assert positions is not None
    return reads, positions


def _unequal(body: Body, expr: ast.Expr, first: Read, count: Dim, other: Dim) -> NoReturn:
    notes = [described(body.context, each) for each in (first.sequence,) if each is not None]
    message = f"sequences that are read together have one length, and {count} is not {other}"
    help = f"if they always are equal, say so: `where {count} == {other}`"
    body.report.fail(problems.SCAN_AXIS, expr.span, message=message, notes=notes, help=help)


def _called(body: Body, node: ast.Expr, name: str) -> tuple[ast.Expr, ...] | None:
    """The arguments of a call of a function of the language, if it is one of that name."""
    match node:
        case ast.Call(ast.Name(id), args) if id == name and name not in body.scope.names:
            return tuple(each.value for each in args)
    return None


def _range(body: Body, node: ast.Expr) -> Range | None:
    """`range(n)`, `range(start, stop)`, `range(start, stop, step)` of static values and dims."""
    args = _called(body, node, "range")
    if args is None:
        return None
    values = [plain(body.evaluate(each)) for each in args]
    if not all(isinstance(each, int | Dim) and not isinstance(each, bool) for each in values):
        body.evaluate(node)  # tells what is wrong with it
    if all(isinstance(each, int) for each in values):
        return _counted(body, node, args)
    start, stop = (Dim.of(0), Dim.of(values[0])) if len(values) == 1 else map(Dim.of, values[:2])
    if len(values) > 2 and values[2] != 1:
        message = "over sizes a `range` goes by steps of 1"
        body.report.fail(
            problems.SCAN_AXIS, node.span, message=message, help="compute with the counter inside"
        )
    count = stop - start
    if body.emission.facts.prove_ge(count, 0) is not True:
        help = f"state it: `where {start} <= {stop}`"
        message = f"this range may have a negative length: {count}"
        body.report.fail(problems.SCAN_AXIS, node.span, message=message, help=help)
    return Range(count, start, 1)


def _counted(body: Body, node: ast.Expr, args: Sequence[ast.Expr]) -> Range:
    """A range of static values, whose length is in terms of them where that is plain."""
    turns = body.evaluate(node)
    if not turns or len(args) > 2:
        return Range(Dim.of(len(turns)), Dim.of(turns.start), turns.step)
    *before, stop = (Dim.of(body.evaluate(each)) for each in args)
    start = before[0] if before else Dim.of(0)
    return Range(stop - start, start, 1)


def _sequence(body: Body, node: ast.Scan, target: ast.Target, expr: ast.Expr, before: Sequence[Read]) -> Read:
    counter: ast.Target | None = None
    numbered = _called(body, expr, "enumerate")
    if numbered is not None and len(numbered) == 1:
        if not isinstance(target, ast.TupleTarget) or len(target.items) != 2:
            help = "write `scan t, xt in enumerate(x)`"
            body.report.fail(problems.UNPACK, target.span, found="an index and a slice", count=1, help=help)
        counter, target = target.items
        (expr,) = numbered
    value = body.evaluate(expr)
    if not isinstance(value, Tensor):
        help = "a `for` goes over a list" if isinstance(value, list | tuple | range) else ""
        body.report.fail(
            problems.NOT_A_TENSOR, expr.span, callee="scan", name="the sequence", found=show(value), help=help
        )
    return Read(target, expr, value, _axis(body, node, expr, value, before), counter)


def _axis(body: Body, node: ast.Scan, expr: ast.Expr, value: Tensor, before: Sequence[Read]) -> int:
    """The axis that is read. A name means the axis that is written so in the sequence's type, never one that happens to have that
    size: else a module would change its meaning at sizes that are equal. Sequences behind the first follow it where their own type
    does not have the name."""
    along, rank = node.along, value.type.rank
    earlier = next((each.axis for each in before if each.sequence is not None), None)
    if along is None:
        axis = 1
    elif along.by_number:
        axis = _number(body, along.axis, rank)
    else:
        named = _named(body, expr, value, along.axis)
        if named is None and earlier is None:
            _no_axis(body, expr, value, along.axis)
        axis = earlier if named is None else named  # type: ignore[assignment]
    if not 0 <= axis < rank:
        help = "a scan reads axis 1 unless its header says otherwise: `along axis 0`" if along is None else ""
        message = f"there is no axis {axis} in {value.type}"
        body.report.fail(
            problems.SCAN_AXIS, expr.span, message=message, notes=[described(body.context, value)], help=help
        )
    return axis


def _number(body: Body, node: ast.Expr, rank: int) -> int:
    value = plain(body.evaluate(node))
    if not isinstance(value, int) or isinstance(value, bool) or not -rank <= value < rank:
        found = show(value) if isinstance(value, int) else type_name(value)
        message = f"`along axis` takes a number from {-rank} to {rank - 1}, not {found}"
        body.report.fail(problems.SCAN_AXIS, node.span, message=message)
    return value % rank


def _named(body: Body, expr: ast.Expr, value: Tensor, name: ast.Expr) -> int | None:
    """The axis of a tensor whose size is written so in the type of the name that holds it."""
    type = body.scope.written.get(expr.id) if isinstance(expr, ast.Name) else None
    written = None if type is None else written_type(body.report, body.context.unit, type, expr.span)
    if written is None or written.group is not None:
        return None
    wanted, at = axis_text(name), 0
    for axis in written.axes:
        if axis_text(axis) == wanted and not isinstance(axis, ast.Star):
            return at
        at += len(names.star(body, axis)) if isinstance(axis, ast.Star) else 1
    return None


def _no_axis(body: Body, expr: ast.Expr, value: Tensor, name: ast.Expr) -> NoReturn:
    spelled = axis_text(name)
    message = f"no axis is written `{spelled}` in the type of this sequence"
    help = f"count the axis, `along axis 1`, or bind the sequence with a type that has `{spelled}`"
    body.report.fail(
        problems.SCAN_AXIS, name.span, message=message, notes=[described(body.context, value)], help=help
    )


# --- what is carried -------------------------------------------------------------------------------------------


def _first(body: Body, node: ast.Scan) -> dict[str, Any]:
    """What is carried, by name, as it is before the first turn: tensors, or lists, tuples and groups of them."""
    found: dict[str, Any] = {}
    values = [(each, body.evaluate(each.value)) for each in node.carried]
    for each, value in values:
        bind(body, each.target, _carriable(body, each, value), each.value)
        found.update((name, body.scope.names[name]) for name in sorted(target_names(each.target)))
    return found


def _carriable(body: Body, node: ast.Assign, value: Any) -> Any:
    """The value with its numbers as tensors."""
    match value:
        case Tensor():
            return value
        case list() | tuple():
            return type(value)(_carriable(body, node, each) for each in value)
        case GroupValue(definition, members):
            return GroupValue(
                definition, tuple((name, _carriable(body, node, each)) for name, each in members)
            )
        case bool() | int() | float():
            kinds = {bool: "bool", int: "i64"}
            return lift(body, node.value, value, kinds.get(type(plain(value)), body.context.float_dtype))
        case Dim():
            return lift(body, node.value, value, "i64")
        case None:
            return None
    message = f"a scan carries tensors, and lists, tuples and groups of them, not {type_name(value)}"
    body.report.fail(problems.SCAN_CARRY, node.value.span, message=message)


def _not_carried(body: Body, node: ast.Scan, outside: Scope) -> set[str]:
    """Names of outside that a turn assigns and does not carry, which is told: the next turn would not see the change."""
    found: set[str] = set()
    own = {name for each in node.source.targets for name in target_names(each)}
    own |= {name for each in node.carried for name in target_names(each.target)}
    for statement in node.body:
        if isinstance(statement, ast.Yield):
            continue
        for name in sorted(assigned(statement) - own):
            if name in outside.names and not isinstance(outside.names[name], Poison):
                help = f"carry it, `with {name} = {name}`, or call it otherwise"
                if isinstance(outside.names[name], list):
                    help = "hand out what a step makes, `yield all = …`: behind the scan `all` holds that of every step"
                message = f"`{name}` is known outside of this scan, which does not carry it"
                body.report.tell(problems.SCAN_CARRY, _place(statement), message=message, help=help)
                found.add(name)
    return found


def _place(statement: ast.Stmt) -> Span:
    return statement.target.span if isinstance(statement, ast.Assign) else statement.span


def _enter(
    body: Body, reads: Sequence[Read], first: dict[str, Any]
) -> tuple[dict[str, Any], list[Value], Value | None]:
    """Bind the names of a turn to the loop's arguments: what is carried by name, the slices, and the index."""
    builder = body.emission.builder
    args = {name: _mapped(value, name, builder.fresh) for name, value in first.items()}
    for name, value in args.items():
        body.bind(name, value)
    index = Value(builder.fresh("t"), INDEX_TYPE) if any(each.counter for each in reads) else None
    slices: list[Value] = []
    for each in reads:
        if each.counter is not None:
            assert index is not None
            bind(body, each.counter, Tensor(index, each.node.span, "scan"), each.node)
        if each.sequence is not None:
            name = each.target.id if isinstance(each.target, ast.NameTarget) else "slice"
            slices.append(Value(builder.fresh(name), without_axis(each.sequence.type, each.axis)))
            body.emission.named.add(slices[-1].name)
            bind(body, each.target, Tensor(slices[-1], each.node.span, "scan"), each.node)
    return args, slices, index


def _mapped(value: Any, name: str, fresh: Any) -> Any:
    """The same structure of new values."""
    match value:
        case Tensor():
            return replace(value, value=Value(fresh(name), value.type))
        case list() | tuple():
            return type(value)(_mapped(each, name, fresh) for each in value)
        case GroupValue(definition, members):
            return GroupValue(
                definition, tuple((key, _mapped(each, f"{name}_{key}", fresh)) for key, each in members)
            )
    return value


# --- a turn ----------------------------------------------------------------------------------------------------


def _turn(body: Body, node: ast.Scan) -> tuple[tuple[Op, ...], dict[str, Tensor]]:
    """The operations of one turn, and what it hands out."""
    emission = body.emission
    saved, facts, outer = emission.builder.body, emission.facts, emission.yields
    emission.builder.body, emission.yields = [], {}
    try:
        body.run(node.body)
        return tuple(emission.builder.body), emission.yields
    finally:
        emission.builder.body, emission.facts, emission.yields = saved, facts, outer


def run_yield(body: Body, node: ast.Yield) -> None:
    yields = body.emission.yields
    if yields is None:  # outside of a scan, which the parser has told
        raise Silent
    scope = body.scope
    value = body.evaluate(node.value)
    bind(body, node.target, value, node.value)
    found = {name: body.scope.names[name] for name in sorted(target_names(node.target))}
    body.scope = scope
    for name, each in found.items():
        if isinstance(each, bool | int | float):
            each = lift(body, node.value, each, "i64" if isinstance(each, int) else body.context.float_dtype)
        if not isinstance(each, Tensor):
            message = f"a scan hands out tensors, and `{name}` is {type_name(each)}"
            body.report.fail(
                problems.SCAN_YIELD, node.value.span, message=message, help="one `yield` for each tensor"
            )
        if name in yields:
            message = f"`{name}` is handed out twice in a turn"
            body.report.fail(
                problems.SCAN_YIELD, node.span, message=message, help="give the second another name"
            )
        yields[name] = each


def _handed_out(statements: Sequence[ast.Stmt]) -> set[str]:
    """The names of all `yield`s of a scan, those in its conditions too."""
    found: set[str] = set()
    stack = list(statements)
    while stack:
        match stack.pop():
            case ast.Yield(target):
                found |= target_names(target)
            case ast.If(_, then, otherwise):
                stack += [*then, *otherwise]
            case ast.For(body=inner):
                stack += inner
    return found


def _last(body: Body, node: ast.Scan, name: str, arg: Any, value: Any) -> Any:
    """What a turn gives to the next under a name: of the same structure and types as it was given."""
    if isinstance(value, Poison):
        raise Silent
    match arg:
        case Tensor():
            return _same_type(body, node, name, arg, value)
        case list() | tuple() if isinstance(value, list | tuple) and len(arg) == len(value):
            return type(arg)(_last(body, node, name, a, b) for a, b in zip(arg, value, strict=True))
        case GroupValue(definition, members) if (
            isinstance(value, GroupValue) and value.definition is definition
        ):
            last = ((key, _last(body, node, name, each, value.get(key))) for key, each in members)
            return GroupValue(definition, tuple(last))
        case None if value is None:
            return None
    message = f"`{name}` starts a turn as {type_name(arg)} and ends it as {type_name(value)}"
    body.report.fail(problems.SCAN_CARRY, _changed_at(node, name), message=message)


def _same_type(body: Body, node: ast.Scan, name: str, arg: Tensor, value: Any) -> Tensor:
    if isinstance(value, bool | int | float | Dim):
        value = lift(body, node, value, arg.type.dtype)
    if isinstance(value, Tensor) and value.type.rank == arg.type.rank:
        facts = body.emission.facts
        sizes = zip(arg.type.axes, value.type.axes, strict=True)
        if value.type.dtype == arg.type.dtype and all(facts.prove_eq(a, b) is True for a, b in sizes):
            return value
    found = value.type if isinstance(value, Tensor) else type_name(value)
    message = f"`{name}` starts a turn as {arg.type} and ends it as {found}"
    help = _other_dtype(arg, value) if isinstance(value, Tensor) else ""
    body.report.fail(problems.SCAN_CARRY, _changed_at(node, name), message=message, help=help)


def _other_dtype(arg: Tensor, value: Tensor) -> str:
    """Where only the dtype differs, say how to start with it."""
    if arg.type.axes != value.type.axes or arg.type.dtype == value.type.dtype:
        return "what is carried keeps its shape and dtype from turn to turn"
    return f"start with that dtype, `zeros(…, dtype={value.type.dtype})`, or `cast` it back at the end of the turn"


def _changed_at(node: ast.Scan, name: str) -> Span:
    """The last statement that binds the name, or where it is carried."""
    for statement in reversed(node.body):
        if name in assigned(statement):
            return statement.span
    return next((each.span for each in node.carried if name in target_names(each.target)), node.source.span)


# --- the loop --------------------------------------------------------------------------------------------------


def _append(
    body: Body, steps: Steps, ops: tuple[Op, ...], last: dict[str, Any], yields: dict[str, Tensor]
) -> None:
    """Append the loop, and bind what comes out of it."""
    builder, node, positions = body.emission.builder, steps.node, steps.positions
    after = {name: _mapped(value, name, builder.fresh) for name, value in steps.args.items()}
    stacked = {name: _stacked(body, steps, name, item) for name, item in yields.items()}
    loop = Loop(
        count=number_or_size(positions.count),
        body=ops,
        carried=tuple(_carried(steps.first, steps.args, last, after)),
        sequences=tuple(
            Sliced(tensor.name, axis, slice)
            for (tensor, axis), slice in zip(steps.sequences, steps.slices, strict=True)
        ),
        stacked=tuple(stacked.values()),
        index=steps.index,
        start=number_or_size(positions.start),
        step=positions.step,
        backwards=node.backwards,
        shared=True,
        span=node.span,
    )
    builder.append(loop.op())
    for name, value in after.items():
        body.bind(name, value)
        body.emission.named.update(each.name for each in flat(value))
    for name, each in stacked.items():
        body.bind(name, Tensor(each.out, node.span, "scan"))
        body.emission.named.add(each.out.name)


def _stacked(body: Body, steps: Steps, name: str, item: Tensor) -> Stacked:
    """What is handed out stands at the axis that the first sequence is read along; the last axis, if it has fewer."""
    axis = min(steps.sequences[0][1] if steps.sequences else 0, item.type.rank)
    whole = with_axis(item.type, axis, steps.positions.count)
    return Stacked(item.name, axis, Value(body.emission.builder.fresh(name), whole))


def _carried(*values: dict[str, Any]) -> Iterator[Carried]:
    """The tensors of what is carried, one by one: before the loop, in a turn, at its end, behind the loop."""
    for name in values[0]:
        for first, arg, next, out in zip(*(flat(each[name]) for each in values), strict=True):
            yield Carried(first.name, arg.value, next.name, out.value)
