"""Steps along an axis: `x.unbind(1)`, and `torch.stack` of what they hand out."""

from __future__ import annotations

from dlc.emit.forms import call, method, sizes
from dlc.emit.steps import Steps
from dlc.emit.tree import Expr, Keyword, Word
from dlc.ir import loops
from dlc_torch.drafter import TorchDrafter


class TorchSteps(Steps):
    drafter: TorchDrafter

    def slices(self, x: Expr, axis: int) -> Expr:
        return method(x, "unbind", Word(str(axis)))

    def stacked(self, items: Expr, axis: int) -> Expr:
        return call("torch.stack", items, Keyword("dim", Word(str(axis))))

    def empty(self, stacked: loops.Stacked) -> Expr:
        d, dtype = self.drafter, self.drafter.dtype_of(stacked.out.name)
        shape = sizes(stacked.out.type.axes)
        like = next((each.source for each in self.loop.sequences if d.dtype_of(each.source) == dtype), "")
        return (
            method(d.tensor(like), "new_empty", *shape)
            if like
            else d.create("torch.empty", shape, dtype, "f32")
        )
