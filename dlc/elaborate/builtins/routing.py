"""`routed`: rows to experts and back, as a function of the IR that every backend can run.

    routed(%x: [R, i], %choice: i64[R, k], stacked parameters) -> [R, k, o]

Pairs of a row and one of its choices are sorted by expert and cut into tiles of equally many places, of one expert each. There are at
most R*k // TILE tiles that are full, and one more for each expert, whatever the routing; so sizes do not depend on data, and work is
that of the chosen experts, but for less than a tile each. Places that are left over repeat a pair of the same expert: what is computed
there is finite where the result is, and goes nowhere. What tiles give that are left over is 0, whatever the experts make of it, so that
a backend may skip them."""

from __future__ import annotations

from collections.abc import Sequence

from dlc.elaborate.builtins.call import Call
from dlc.elaborate.builtins.copied import Applied
from dlc.elaborate.calls import module_arguments
from dlc.ir.builder import Builder
from dlc.ir.loops import number_or_size
from dlc.ir.nodes import Function, Setting, Value, walk
from dlc.ir.routing import ROUTED
from dlc.records import replace
from dlc.types.dims import Dim, dim_min
from dlc.types.facts import Facts, Relation
from dlc.types.tensor import TensorType
from dlc.types.terms import names, said

TILE = 64
ROWS = "_rows"
"""What the size is called that rows of one expert have, which is open until they are chosen."""


def routed_function(
    call: Call, one: Applied, stacks: Sequence[Value], x: TensorType, k: Dim, experts: int
) -> Function:
    """The function for one expert's function and this many copies of it, made once in a session."""
    session = call.body.context.session
    k = Dim.symbol("k") if k.constant is None else k
    types = [[said(axis) for axis in each.type.axes] for each in stacks]
    sizes = repr((x.axes[-1], said(x.axes[-1]), said(one.result.axes[1]), k, said(k), types))
    key = (ROUTED, one.lifted.function.name, experts, sizes, x.dtype)
    if key not in session.helpers:
        function = _function(call, one, stacks, x, k, experts, session.unique(ROUTED))
        if session.traced:
            function = _with_settings(call, function)
        session.functions[function.name] = session.helpers[key] = function
    found: Function = session.helpers[key]
    return found


def _function(
    call: Call, one: Applied, stacks: Sequence[Value], x: TensorType, k: Dim, experts: int, name: str
) -> Function:
    rows = Dim.symbol("R")
    builder = Builder(Facts((Relation(rows, ">=", Dim.of(1)),)))
    builder.span = call.node.span
    inputs = (
        Value(builder.fresh("x"), x.with_axes((rows, x.axes[-1]))),
        Value(builder.fresh("choice"), TensorType("i64", (rows, k))),
        *(Value(builder.fresh(each.name), each.type) for each in stacks),
    )
    result = _body(builder, call, one, inputs, experts)
    return Function(
        name=name,
        source=ROUTED,
        kind="fn",
        inputs=inputs,
        outputs=(("y", result.name),),
        body=tuple(builder.body),
        static=(("experts", experts),),
        doc=_DOC,
        library=True,
        training=call.body.context.session.training,
        span=call.node.span,
    )


_DOC = """Each row through the experts that are chosen for it. Pairs of a row and an expert are sorted by expert, and go in tiles of
64, each of one expert: so every shape is known, however many pairs an expert gets. Tiles are filled up with its last pair; those
behind the last are not computed."""


def _with_settings(call: Call, function: Function) -> Function:
    """With the numbers of the body around it that its sizes are made of: it is part of that body."""
    values = module_arguments.all_numbers(call.body.scope)
    types = [value.type for value in function.inputs] + [
        value.type for op in walk(function.body) for value in op.outputs
    ]
    read = names([type.axes for type in types]) | {"experts"}
    found = {name: values[name] for name in sorted(read) if isinstance(values.get(name), int)}
    return replace(
        function,
        static=tuple((name, int(value)) for name, value in found.items()),
        settings=tuple(Setting(name, "int") for name in found),
    )


def _body(b: Builder, call: Call, one: Applied, inputs: Sequence[Value], experts: int) -> Value:
    x, choice, *stacks = inputs
    rows, k = choice.type.axes
    pairs = rows * k
    tiles = dim_min(pairs // TILE + experts, pairs)
    chosen = b.op("reshape", choice, shape=(pairs,), hint="chosen")
    order = b.op("argsort", chosen, axis=0, hint="order")

    every = b.op("arange", start=0, stop=experts, hint="every")
    named = b.op("eq", b.reshape(chosen, (pairs, 1)), b.reshape(every, (1, experts)))
    count = b.op("sum", b.op("cast", named, dtype="i64"), axis=(0,), hint="count")
    start = b.op("sub", b.op("cumsum", count, axis=0), count, hint="start")
    needed = b.op("floordiv", b.add(count, TILE - 1), TILE, hint="tiles")
    ends = b.op("cumsum", needed, axis=0, hint="ends")
    first = b.op("sub", ends, needed, hint="first")

    # The expert of each tile; tiles that are left over have the last one that has any.
    tile = b.op("arange", start=0, stop=tiles, hint="tile")
    before = b.op("le", b.reshape(ends, (1, experts)), b.reshape(tile, (tiles, 1)))
    last = b.op("max", b.mul(every, b.op("cast", b.op("gt", count, 0), dtype="i64")), axis=(0,), hint="last")
    passed = b.op("sum", b.op("cast", before, dtype="i64"), axis=(1,), hint="passed")
    live = b.op("lt", passed, experts, hint="live")
    owner = b.op("minimum", passed, last, hint="owner")

    # The pair in each place of a tile: the next ones of its expert.
    lead = b.mul(b.sub(tile, b.op("take", first, owner, axis=0)), TILE)
    place = b.add(b.reshape(lead, (tiles, 1)), b.reshape(b.op("arange", start=0, stop=TILE), (1, TILE)))
    most = b.sub(b.op("take", count, owner, axis=0), 1)
    place = b.op("minimum", place, b.reshape(most, (tiles, 1)), hint="place")
    sorted_place = b.add(place, b.reshape(b.op("take", start, owner, axis=0), (tiles, 1)))
    pair = b.op("take", order, sorted_place, axis=0, hint="pair")
    taken = b.op("take", x, b.op("floordiv", pair, b.size(k)), axis=0, hint="rows")

    def turn(inner: Builder, xt: Value, e: Value, lives: Value) -> list[Value]:
        slices = [inner.op("take", each, e, axis=0, hint=each.name) for each in stacks]
        type = one.result.with_axes((Dim.of(TILE), one.result.axes[1]))
        out = Value(inner.fresh("y"), type)
        known = {ROWS: Dim.of(TILE)}
        inner.append(one.op([xt.name, *(each.name for each in slices)], out, known, call.node))
        return [inner.op("where", lives, out, 0, hint="done")]

    sequences = [(taken, 0), (owner, 0), (live, 0)]
    (done,) = b.loop(number_or_size(tiles), turn, sequences=sequences, stacked=(0,))
    flat = b.reshape(done, (tiles * TILE, done.type.axes[2]))

    # Where the result of each pair lies.
    in_order = b.op("take", chosen, order, axis=0, hint="chosen")
    rank = b.sub(b.op("arange", start=0, stop=pairs), b.op("take", start, in_order, axis=0))
    lies = b.op("add", b.mul(b.op("take", first, in_order, axis=0), TILE), rank, hint="lies")
    back = b.op("take", lies, b.op("argsort", order, axis=0), axis=0, hint="back")
    return b.reshape(b.op("take", flat, back, axis=0), (rows, k, done.type.axes[2]))
