"""Reverse mode on bodies: from the end to the beginning, each op's rule turning gradients of results into those of operands.

The derivative of a loop is a loop the other way, which reads what the first one stacks for it. Before, of `%last`:

    %last: [4] = loop(%h, %x) {count=T, start=0, step=1, sequences=[0], shared=true} do (%c: [4], %xt: [4]) {
        %p: [4] = mul(%c, %xt)
        %e: [4] = exp(%p)
        yield %e
    }

After, where `%g` is the gradient of `%last`; the results of the second loop are the gradients of `%h` and `%x`:

    %last: [4], %cs: [T, 4], %es: [T, 4] = loop(%h, %x) {… stacked=[0, 0]} do (%c: [4], %xt: [4]) {
        …
        yield %e, %c, %e
    }
    %dh: [4], %dx: [T, 4] = loop(%g, %x, %cs, %es) {count=T, … backwards=true} do (%de: [4], %xt_2: [4], %c_2: [4], %e_2: [4]) {
        %dp: [4] = mul(%de, %e_2)
        %dc: [4] = mul(%dp, %xt_2)
        %dxt: [4] = mul(%dp, %c_2)
        yield %dc, %dxt
    }

What a turn reads from outside, such as the weights of a cell, gets a gradient that is carried along and added to. What each turn has of
its own, the parameters of a layer, gets one that is stacked: at position p is that of the turn at p.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import cast

from dlc import ops
from dlc.diagnostics import Span
from dlc.ir.builder import Builder
from dlc.ir.index import fits, has_index
from dlc.ir.loops import INDEX_TYPE, LOOP, Carried, Loop, Sliced, Stacked, with_axis, without_axis
from dlc.ir.needed import reads
from dlc.ir.nodes import Function, Op, Region, Value, walk
from dlc.ir.splice import Draws, Names, Splice
from dlc.passes.base import is_acting_or_random
from dlc.records import dataclass, field, replace
from dlc.types.tensor import TensorType

# Ops without results of their own that a derivative could pass through.
_SILENT = frozenset({"update", "require", "const", "param"})
# What is written again where a derivative reads it, instead of kept from the turn: it has no operands. So is a parameter.
_WRITTEN_AGAIN = frozenset({"const", "full", "size"})


class NotDifferentiable(Exception):
    """A gradient that does not exist or that no rule gives; `span` is the place of the op at fault."""

    def __init__(self, message: str, span: Span) -> None:
        super().__init__(message)
        self.message = message
        self.span = span


def backward(
    b: Builder, function: Function, seeds: Mapping[str, Value], wrt: Sequence[Value]
) -> tuple[tuple[Op, ...], list[Value | None]]:
    """Append to `b` the gradients of `wrt` and give them, None where one is zero, behind the function's body as it has to be then: its
    loops stack what the gradients read. Of a value that every turn of a loop reads for itself, such as a layer's parameter, it is the
    gradients of all turns, stacked in front by their positions.

    `seeds` are the gradients of some of the function's values. Its body must have no calls, and no loops over parameters of their
    own within other loops. `b` must know the function's facts and use fresh names."""
    changed = frozenset(op.text("path") for op in walk(function.body) if op.op == "update")
    dependent = active(function.body, {value.name for value in wrt})
    reversal = Reversal(b, function.types(), dependent, changed)
    body = reversal.run(function.body, seeds)
    return body, [reversal.grads.get(value.name) for value in wrt]


def shared_reads_outside(function: Function) -> Function:
    """The function with parameters that all turns of a loop read alike read before it, where their gradients come together."""
    return replace(function, body=tuple(each for op in function.body for each in _outside(op)))


def _outside(op: Op) -> Iterable[Op]:
    if op.region is None:
        return (op,)
    inner = tuple(each for one in op.region.body for each in _outside(one))
    changed = {each.text("path") for each in walk(inner) if each.op == "update"}
    out = tuple(
        each
        for each in inner
        if each.op == "param"
        and (op.attr("shared") or not has_index(each.text("path")))
        and each.text("path") not in changed
    )
    left = tuple(each for each in inner if each not in out)
    return (*out, replace(op, region=Region(op.region.args, left, op.region.results)))


def active(body: Iterable[Op], wrt: Collection[str]) -> set[str]:
    """The float values that depend on `wrt` in a way that has a derivative."""
    found = set(wrt)
    for op in body:
        if has_derivative(op) and any(name in found for name in reads(op)):
            found.update(value.name for value in op.outputs if value.type.is_float)
    return found


def has_derivative(op: Op) -> bool:
    """Whether an op's results count as depending on its operands, and not as constants."""
    return op.op != "stop_gradient" and (not ops.known(op.op) or ops.get(op.op).differentiable)


@dataclass(slots=True)
class Reversal:
    """Gradients of the values of one body, appended to `b`. `types` are those of all values of the function, `active` the values whose
    gradients are wanted, `changed` the paths that the function updates."""

    b: Builder
    types: Mapping[str, TensorType]
    active: set[str]
    changed: Collection[str]
    grads: dict[str, Value] = field(default_factory=dict)

    def run(self, body: Sequence[Op], seeds: Mapping[str, Value]) -> tuple[Op, ...]:
        """The body, its loops stacking what the gradients read."""
        self.grads.update((name, seed) for name, seed in seeds.items() if name in self.active)
        kept = list(body)
        for place in reversed(range(len(kept))):
            op = kept[place]
            incoming = [self.grads.get(value.name) for value in op.outputs]
            wanted = any(name in self.active for name in reads(op))
            if not wanted or all(grad is None for grad in incoming):
                continue
            self.b.span = op.span
            if op.op == LOOP:
                kept[place] = self._loop(Loop.of(op), incoming)
            else:
                self._add_all(_apply(self.b, op, incoming, self.types))
        return tuple(kept)

    def _add_all(self, found: Iterable[tuple[str, Value]]) -> None:
        for name, grad in found:
            if name in self.active:
                self.grads[name] = self.b.add(self.grads[name], grad) if name in self.grads else grad

    def writes_again(self, op: Op) -> bool:
        """Whether what reads an op's result behind the loop that it stands in has the op once more: it gives the same there."""
        if op.op != "param":
            return op.op in _WRITTEN_AGAIN
        path = op.text("path")
        return not any(fits(path, each) or fits(each, path) for each in self.changed)

    def _loop(self, loop: Loop, incoming: Sequence[Value | None]) -> Op:
        """Append the derivative of a loop, and give the loop with what that reads among its stacked results."""
        turn = _Turn(self, loop, incoming)
        forward, back = turn.reversed()
        self.b.append(back.op())
        self._add_all(turn.found(back))
        return forward.op()


@dataclass(slots=True)
class _Turn:
    """A turn of a loop, and what becomes of it in the other direction. `incoming` are the gradients of the loop's results."""

    outer: Reversal
    loop: Loop
    incoming: Sequence[Value | None]
    carried: list[Carried] = field(default_factory=list)
    sequences: list[Sliced] = field(default_factory=list)
    stacked: list[Stacked] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)  # whose gradients the results are, carried first
    items: list[str] = field(default_factory=list)

    def reversed(self) -> tuple[Loop, Loop]:
        loop, b = self.loop, self.outer.b
        inner = Builder(b.facts, names=b.fresh)
        inner.draw, inner.span = b.draw, b.span  # type: ignore[method-assign]
        floats = [each for each in loop.carried if each.arg.type.is_float]
        slices = [
            each for each in loop.sequences if each.arg.type.is_float and each.source in self.outer.active
        ]
        captured, own = self._captured(), self._own()
        args = (*(each.arg for each in floats), *(each.arg for each in slices))
        wrt = {*(each.name for each in (*args, *own)), *captured}
        turn = replace(self.outer, b=inner, active=active(loop.body, wrt), grads={})
        seeds, held = self._seeds(inner, floats)
        body = turn.run(loop.body, seeds)
        for each, grad in zip(floats, held, strict=True):
            first = self._incoming(each.out) or self._zeros(each.arg.type)
            end = turn.grads.get(each.arg.name) or _zeros(inner, each.arg.type)
            self._carry(each.first, first, grad, end)
        for name, type in captured.items():
            found = turn.grads.get(name)
            if found is not None:
                total = Value(b.fresh(f"{name}_sum"), type)
                self._carry(name, self._zeros(type), total, inner.add(total, found))
        for slice in slices:
            item = turn.grads.get(slice.arg.name) or _zeros(inner, slice.arg.type)
            self._stack(slice.source, item, slice.axis)
        for value in own:
            found = turn.grads.get(value.name)
            if found is not None:
                self._stack(value.name, found, 0)
        forward, written, index = self._residuals(body, inner.body)
        back = Loop(
            count=loop.count,
            body=written,
            carried=tuple(self.carried),
            sequences=tuple(self.sequences),
            stacked=tuple(self.stacked),
            index=index,
            start=loop.start,
            step=loop.step,
            backwards=not loop.backwards,
            shared=loop.shared,
            span=loop.span,
        )
        return forward, back

    def found(self, back: Loop) -> Iterable[tuple[str, Value]]:
        """Whose gradients the results of the loop back are."""
        yield from zip(self.targets, (each.out for each in back.carried), strict=True)
        yield from zip(self.items, (each.out for each in back.stacked), strict=True)

    def _captured(self) -> dict[str, TensorType]:
        """The values from outside that a turn reads and whose gradients are wanted."""
        own = {each.name for each in self.loop.region.args}
        own.update(value.name for op in self.loop.body for value in op.outputs)
        read = dict.fromkeys(name for op in self.loop.body for name in reads(op))
        read.update(dict.fromkeys(self.loop.region.results))
        names = (name for name in read if name not in own and name in self.outer.active)
        return {name: self.outer.types[name] for name in names}

    def _own(self) -> list[Value]:
        """The parameters of a turn whose gradients are wanted."""
        reads = (op.out for op in self.loop.body if op.op == "param")
        return [value for value in reads if value.name in self.outer.active]

    def _seeds(self, inner: Builder, floats: Sequence[Carried]) -> tuple[dict[str, Value], list[Value]]:
        """Gradients of what a turn gives, and those among them that are carried."""
        b, seeds = self.outer.b, dict[str, Value]()
        held = [Value(b.fresh(f"{each.arg.name}_grad"), each.arg.type) for each in floats]
        pairs = [(each.next, grad) for each, grad in zip(floats, held, strict=True)]
        for each in self.loop.stacked:
            whole = self._incoming(each.out)
            if whole is not None and each.out.type.is_float:
                grad = Value(b.fresh(f"{each.item}_grad"), without_axis(each.out.type, each.axis))
                self.sequences.append(Sliced(whole.name, each.axis, grad))
                pairs.append((each.item, grad))
        for name, grad in pairs:
            seeds[name] = inner.add(seeds[name], grad) if name in seeds else grad
        return seeds, held

    def _incoming(self, out: Value) -> Value | None:
        carried, stacked = self.loop.carried, self.loop.stacked
        names = [*(each.out.name for each in carried), *(each.out.name for each in stacked)]
        return self.incoming[names.index(out.name)]

    def _zeros(self, type: TensorType) -> Value:
        return _zeros(self.outer.b, type)

    def _carry(self, target: str, first: Value, arg: Value, next: Value) -> None:
        out = Value(self.outer.b.fresh(f"{target}_grad"), arg.type)
        self.carried.append(Carried(first.name, arg, next.name, out))
        self.targets.append(target)

    def _stack(self, target: str, item: Value, axis: int) -> None:
        out = Value(self.outer.b.fresh(f"{target}_grad"), with_axis(item.type, axis, self.loop.count))
        self.stacked.append(Stacked(item.name, axis, out))
        self.items.append(target)

    def _residuals(
        self, body: tuple[Op, ...], back: Sequence[Op]
    ) -> tuple[Loop, tuple[Op, ...], Value | None]:
        """The loop stacking what the ops of the turn `back` read of the one forward, these ops reading it from there, and the index if
        they read that."""
        loop, b = self.loop, self.outer.b
        made = {value.name: (op, value) for op in body for value in op.outputs}
        slices = {each.arg.name: each for each in loop.sequences}
        args = {each.arg.name: each.arg for each in loop.carried}
        own = {value.name for op in back for value in op.outputs}
        read = dict.fromkeys(name for op in back for name in reads(op) if name not in own)
        ends = [*(each.next for each in self.carried), *(each.item for each in self.stacked)]
        read.update(dict.fromkeys(name for name in ends if name not in own))
        names: dict[str, str] = {}
        again: set[tuple[Value, ...]] = set()
        kept: list[Stacked] = []
        index = None
        pending = list(read)
        for name in pending:
            if loop.index is not None and name == loop.index.name:
                index = Value(b.fresh(name), INDEX_TYPE)
                names[name] = index.name
            elif name in slices:
                arg = Value(b.fresh(name), slices[name].arg.type)
                self.sequences.append(Sliced(slices[name].source, slices[name].axis, arg))
                names[name] = arg.name
            elif name in made and self._does_again(op := made[name][0]):
                again.add(op.outputs)
                pending += (each for each in reads(op) if each not in read)
                read.update(dict.fromkeys(reads(op)))
            elif name in made or name in args:
                value = made[name][1] if name in made else args[name]
                whole = Value(b.fresh(f"{name}_all"), with_axis(value.type, 0, loop.count))
                kept.append(Stacked(name, 0, whole))
                names[name] = b.fresh(name)
                self.sequences.append(Sliced(whole.name, 0, Value(names[name], value.type)))
        repeated = Splice(cast(Names, b), Draws(), names, {}, str).body(
            op for op in body if op.outputs in again
        )
        self.carried = [replace(each, next=names.get(each.next, each.next)) for each in self.carried]
        self.stacked = [replace(each, item=names.get(each.item, each.item)) for each in self.stacked]
        forward = replace(loop, body=body, stacked=(*loop.stacked, *kept))
        return forward, (*repeated, *(op.renamed(names) for op in back)), index

    def _does_again(self, op: Op) -> bool:
        """Whether what reads an op's result on the way back has the op once more: where that is free, or the loop is to be computed
        again. What was drawn is kept."""
        is_kept = any(is_acting_or_random(each) for each in walk((op,)))
        return self.outer.writes_again(op) or (self.loop.recompute and op.op != "param" and not is_kept)


def _zeros(b: Builder, type: TensorType) -> Value:
    return b.op("full", shape=type.axes, value=0.0, dtype=type.dtype, hint="zeros")


def _apply(
    b: Builder, op: Op, incoming: Sequence[Value | None], types: Mapping[str, TensorType]
) -> list[tuple[str, Value]]:
    """The gradients that an op's rule gives to its operands, by name."""
    if op.op in _SILENT:
        return []
    if op.callee or op.region is not None or not ops.known(op.op):
        raise NotDifferentiable(f"`{op.op}` must be inlined before derivatives are taken", op.span)
    rule = ops.get(op.op).vjp
    if rule is None:
        raise NotDifferentiable(f"`{op.op}` has no derivative", op.span)
    operands = [Value(name, types[name]) for name in op.inputs]
    try:
        found = rule(b, op, incoming, operands, op.outputs)
    except Exception as error:
        error.add_note(f"in the derivative of `{op.op}`")
        raise
    if ops.is_added(op.op):
        from dlc.ops.faults import check_gradients

        check_gradients(op, found, [each.type for each in operands])
    return [(name, grad) for name, grad in zip(op.inputs, found, strict=True) if grad is not None]
