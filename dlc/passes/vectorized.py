"""Loops whose turns have nothing to do with each other become operations on all turns at once.

Before:

    model Net(%ws: [3, 8], %gs: [3, 8]) -> (new: %new) {
        %new: [3, 8] = loop(%ws, %gs) {count=3, start=0, step=1, sequences=[0, 0], stacked=[0], shared=true} do (%w: [8], %g: [8]) {
            %rate: [] = const() {value=0.1}
            %step: [8] = mul(%g, %rate)
            %next: [8] = sub(%w, %step)
            yield %next
        }
    }

After:

    model Net(%ws: [3, 8], %gs: [3, 8]) -> (new: %new) {
        %rate: [] = const() {value=0.1}
        %step: [3, 8] = mul(%gs, %rate)
        %new: [3, 8] = sub(%ws, %step)
    }

It takes elementwise operations and reductions. A loop with anything else in it stays.
"""

from __future__ import annotations

from collections.abc import Mapping

from dlc import ops
from dlc.ir.builder import Builder
from dlc.ir.loops import LOOP, Loop, with_axis, without_axis
from dlc.ir.nodes import Function, Op, Value
from dlc.ir.splice import Names
from dlc.ops import elementwise
from dlc.records import dataclass, field, replace
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType

_ANY = frozenset({"const", "full", "size"})
"""What gives the same in each turn."""
_ELEMENTWISE = frozenset({*(each.name for each in elementwise.OPS), "stop_gradient"})
_REDUCTIONS = frozenset({"all", "any", "max", "min", "prod", "sum"})


def vectorized(function: Function) -> Function:
    """The function without the loops that need not turn."""
    names, facts = Names.of(function), Facts(function.facts)
    body: list[Op] = []
    alias: dict[str, str] = {}
    for op in function.body:
        op = op.renamed(alias)
        loop = Loop.of(op) if op.op == LOOP else None
        if loop is None or not _is_apart(loop):
            body.append(op)
            continue
        names.release(value.name for each in loop.body for value in each.outputs)
        turns = _Turns(loop, Builder(facts, names=names.fresh))
        turns.run()
        body += turns.b.body
        alias.update(turns.results())
    outputs = tuple((name, alias.get(value, value)) for name, value in function.outputs)
    return replace(function, body=tuple(body), outputs=outputs)


def _is_apart(loop: Loop) -> bool:
    axes = (*(each.axis for each in loop.sequences), *(each.axis for each in loop.stacked))
    return not loop.carried and loop.index is None and not any(axes) and all(map(_is_taken, loop.body))


def _is_taken(op: Op) -> bool:
    if op.op in _ANY:
        return True
    if op.callee or op.region is not None or not ops.known(op.op):
        return False
    return op.op in _ELEMENTWISE or op.op in _REDUCTIONS or ops.get(op.op).broadcast


@dataclass(slots=True)
class _Turns:
    """All turns of a loop at once. `alike` are the values that are the same in each, `whole` those of all turns, in front of their own axes; by the
    names in a turn."""

    loop: Loop
    b: Builder
    alike: dict[str, Value] = field(default_factory=dict)
    whole: dict[str, Value] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    """The results of the loop by what gives them a turn."""

    def run(self) -> None:
        self.named = {each.item: each.out.name for each in self.loop.stacked}
        for each in self.loop.sequences:
            self._put(each.arg, Value(each.source, with_axis(each.arg.type, 0, self.loop.count)))
        for op in self.loop.body:
            self.b.span = op.span
            self._op(op)

    def _put(self, value: Value, whole: Value) -> None:
        self.whole[value.name] = whole
        self.ranks[value.name] = value.type.rank

    def _op(self, op: Op) -> None:
        if not any(name in self.whole for name in op.inputs):
            out = Value(self.b.fresh(op.out.name), op.out.type)
            now = {name: each.name for name, each in self.alike.items()}
            self.b.append(replace(op.renamed(now), outputs=(out,)))
            self.alike[op.out.name] = out
            return
        if op.op in _REDUCTIONS:
            operands: tuple[str, ...] = (self.whole[op.inputs[0]].name,)
            axes = tuple(axis % self.ranks[op.inputs[0]] + 1 for axis in op.integers("axis"))
            op = replace(op, attrs=tuple((k, axes if k == "axis" else v) for k, v in op.attrs))
        else:
            operands = tuple(self._operand(name, op.out.type.rank) for name in op.inputs)
        name = self.named.pop(op.out.name, "") or self.b.fresh(op.out.name)
        out = Value(name, with_axis(op.out.type, 0, self.loop.count))
        self.b.append(replace(op, inputs=operands, outputs=(out,)))
        self._put(op.out, out)

    def _operand(self, name: str, rank: int) -> str:
        """An operand, of as many axes as the others have: those that are missing stand behind the one of the turns."""
        if name not in self.whole:
            return self.alike[name].name if name in self.alike else name
        whole, own = self.whole[name], self.ranks[name]
        if own == rank:
            return whole.name
        count, *axes = whole.type.axes
        return self.b.reshape(whole, (count, *(1,) * (rank - own), *axes)).name

    def results(self) -> Mapping[str, str]:
        """What stands for the results of the loop."""
        return {each.out.name: self._all(each.item, each.out.type) for each in self.loop.stacked}

    def _all(self, name: str, type: TensorType) -> str:
        if name in self.whole:
            return self.whole[name].name
        known = self.alike[name].name if name in self.alike else name
        return self.b.op("broadcast", Value(known, without_axis(type, 0)), shape=type.axes).name
