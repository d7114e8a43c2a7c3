"""A loop whose turns share their parameters: steps along an axis.

hs_steps = []
for xt in x.unbind(1):
    h = self.cell(xt, h)
    hs_steps.append(h)
hs = torch.stack(hs_steps, dim=1)
"""

from __future__ import annotations

from dlc.emit.forms import call, method
from dlc.emit.origins import size
from dlc.emit.statements import Assign, Loop, Stmt, Target
from dlc.emit.tree import At, Conditional, Cut, Expr, Keyword, Num, Ref, Word
from dlc.ir import loops
from dlc.ir.nodes import Op
from dlc.types.dims import Dim
from dlc_torch.drafter import TorchDrafter


def steps(d: TorchDrafter, op: Op) -> list[Stmt]:
    """The loop, and what it hands out stacked behind it."""
    loop = loops.Loop.of(op)
    inputs = tuple(d.tensor(each.first) for each in loop.carried)
    source = _source(d, loop)
    if loop.index is not None:  # a number of Python
        d.host.add(loop.index.name)
        d.inline[loop.index.name] = Ref(loop.index.name)
    outside, d.body = d.body, []
    for each in loop.body:
        d.operation(each)
    results = tuple(d.tensor(each.next) for each in loop.carried)
    kept = tuple((_list(d, each), d.tensor(each.item)) for each in loop.stacked)
    inside, d.body = d.body, outside
    index = [] if loop.index is None else [loop.index]
    made = Loop(
        count=Num(0),
        start=0,
        step=loop.step,
        args=tuple(d.target(each.arg) for each in loop.carried),
        inputs=inputs,
        body=tuple(inside),
        results=results,
        outputs=tuple(d.target(each.out) for each in loop.carried),
        source=source,
        slices=tuple(map(d.target, [*index, *(each.arg for each in loop.sequences)])),
        kept=kept,
    )
    whole = [
        Assign((d.target(each.out),), _stacked(d, loop, each, held))
        for each, (held, _) in zip(loop.stacked, kept, strict=True)
    ]
    return [made, *whole]


def _list(d: TorchDrafter, stacked: loops.Stacked) -> Target:
    """The list of what every step hands out."""
    item = d.target(stacked.out)
    return Target(f"{item.name} steps", item.dtype, ())


def _source(d: TorchDrafter, loop: loops.Loop) -> Expr:
    """`x.unbind(1)`, `enumerate(x.unbind(1))`, `zip(x.unbind(1), y.unbind(1), strict=True)`, `range(n)`, or these reversed."""
    parts = [method(d.tensor(each.source), "unbind", Word(str(each.axis))) for each in loop.sequences]
    plain = (Dim.of(loop.start).constant, loop.step, loop.backwards) == (0, 1, False)
    if loop.index is not None and len(parts) == 1 and plain:
        return call("enumerate", parts[0])
    if loop.index is not None or not parts:
        parts = [_range(loop), *parts]
    parts = [call("reversed", each) for each in parts] if loop.backwards else parts
    return parts[0] if len(parts) == 1 else call("zip", *parts, Keyword("strict", Word("True")))


def _range(loop: loops.Loop) -> Expr:
    start, step = Dim.of(loop.start), loop.step
    stop = start + Dim.of(loop.count) * step
    bounds = [size(each) for each in ((stop,) if start.constant == 0 and step == 1 else (start, stop))]
    return call("range", *bounds, *([Word(str(step))] if step != 1 else []))


def _stacked(d: TorchDrafter, loop: loops.Loop, stacked: loops.Stacked, held: Target) -> Expr:
    """The items along their axis; of no steps, a tensor without elements."""
    items = Ref(held.name)
    ordered = At(items, (Cut(step=Word("-1")),)) if loop.backwards else items
    whole = call("torch.stack", ordered, Keyword("dim", Word(str(stacked.axis))))
    if loop.turns:
        return whole
    sizes = [size(axis) for axis in stacked.out.type.axes]
    dtype = d.dtype_of(stacked.out.name)
    like = next((each.source for each in loop.sequences if d.dtype_of(each.source) == dtype), "")
    empty = (
        method(d.tensor(like), "new_empty", *sizes) if like else d.create("torch.empty", sizes, dtype, "f32")
    )
    return Conditional(items, whole, empty)
