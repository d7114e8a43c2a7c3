"""A loop whose turns share their parameters, as a loop of Python over slices.

hs_steps = []
for xt in x.unbind(1):
    h = self.cell(xt, h)
    hs_steps.append(h)
hs = torch.stack(hs_steps, dim=1)
"""

from __future__ import annotations

from dlc.emit.draft import Drafter
from dlc.emit.forms import call
from dlc.emit.origins import size
from dlc.emit.statements import Assign, Loop, Stmt, Target
from dlc.emit.tree import At, Conditional, Cut, Expr, Keyword, Num, Ref, Word
from dlc.ir import loops
from dlc.records import dataclass
from dlc.types.dims import Dim


@dataclass
class Steps:
    """Drafts one such loop; a backend derives what it says in its own way."""

    drafter: Drafter
    loop: loops.Loop

    def slices(self, x: Expr, axis: int) -> Expr:
        """What goes over the slices of a tensor along an axis."""
        raise NotImplementedError

    def stacked(self, items: Expr, axis: int) -> Expr:
        """A list of tensors as one, along a new axis."""
        raise NotImplementedError

    def empty(self, stacked: loops.Stacked) -> Expr:
        """What is handed out where there are no steps: a tensor without elements."""
        raise NotImplementedError

    def statements(self) -> list[Stmt]:
        """The loop, and what it hands out stacked behind it."""
        d, loop = self.drafter, self.loop
        inputs = tuple(d.tensor(each.first) for each in loop.carried)
        source = self._source()
        if loop.index is not None:  # a number of Python
            d.host.add(loop.index.name)
            d.inline[loop.index.name] = Ref(loop.index.name)
        inside = d.drafted(loop.body)
        results = tuple(d.tensor(each.next) for each in loop.carried)
        kept = tuple((d.list_of(each.out, "steps"), d.tensor(each.item)) for each in loop.stacked)
        index = [] if loop.index is None else [loop.index]
        made = Loop(
            count=Num(0),
            start=0,
            step=loop.step,
            args=tuple(d.target(each.arg) for each in loop.carried),
            inputs=inputs,
            body=inside,
            results=results,
            outputs=tuple(d.target(each.out) for each in loop.carried),
            source=source,
            slices=tuple(map(d.target, [*index, *(each.arg for each in loop.sequences)])),
            kept=kept,
        )
        whole = [
            Assign((d.target(each.out),), self._whole(each, held))
            for each, (held, _) in zip(loop.stacked, kept, strict=True)
        ]
        return [made, *whole]

    def _source(self) -> Expr:
        """`x.unbind(1)`, `enumerate(x.unbind(1))`, `zip(x.unbind(1), y.unbind(1), strict=True)`, `range(n)`, or these reversed."""
        loop = self.loop
        parts = [self.slices(self.drafter.tensor(each.source), each.axis) for each in loop.sequences]
        plain = (Dim.of(loop.start).constant, loop.step, loop.backwards) == (0, 1, False)
        if loop.index is not None and len(parts) == 1 and plain:
            return call("enumerate", parts[0])
        if loop.index is not None or not parts:
            parts = [_range(loop), *parts]
        parts = [call("reversed", each) for each in parts] if loop.backwards else parts
        return parts[0] if len(parts) == 1 else call("zip", *parts, Keyword("strict", Word("True")))

    def _whole(self, stacked: loops.Stacked, held: Target) -> Expr:
        items = Ref(held.name)
        ordered = At(items, (Cut(step=Word("-1")),)) if self.loop.backwards else items
        whole = self.stacked(ordered, stacked.axis)
        return whole if self.loop.turns else Conditional(items, whole, self.empty(stacked))


def _range(loop: loops.Loop) -> Expr:
    start, step = Dim.of(loop.start), loop.step
    stop = start + Dim.of(loop.count) * step
    bounds = [size(each) for each in ((stop,) if start.constant == 0 and step == 1 else (start, stop))]
    return call("range", *bounds, *([Word(str(step))] if step != 1 else []))
