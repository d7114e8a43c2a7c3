"""What NumPy's drafts have of their own: numbers as arrays, calls of functions of parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dlc.emit.draft import Drafter
from dlc.emit.forms import call
from dlc.emit.names import identifier
from dlc.emit.origins import size
from dlc.emit.tree import Expr, Keyword, Make, Path
from dlc.ir.nodes import Function, Op
from dlc.types.dims import Dim


def takes_params(function: Function) -> bool:
    return bool(function.params or function.children)


class ArrayDrafter(Drafter):
    """Drafts a function of parameters and arrays."""

    def wrapped(self, number: Expr, dtype: str) -> Expr:
        return call("np.asarray", number, self.dtype_word(dtype))

    def takes_numbers(self, row: str) -> bool:
        return True

    def more_slots(self, op: Op) -> Mapping[str, Expr]:
        return {"dtype": self.dtype_word(op.out.type.dtype)}

    def call(self, op: Op) -> Expr:
        callee = self.program.functions[op.callee]
        held = (Path(op.path),) if takes_params(callee) else ()
        return Make(op.callee, (*held, *self.passed(op, callee), *self._sizes(op)), op)

    def _sizes(self, op: Op) -> Iterator[Expr]:
        dims = dict(op.dims)
        for name in sorted(self.needs(op.callee)):
            yield Keyword(identifier(name), size(dims.get(name, Dim.symbol(name))))
