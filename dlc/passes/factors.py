"""What all rows of a batch are multiplied or divided by goes behind the sum over them.

So a mean that is written with normalised weights is the ratio of two sums, as any other.

Before:

    model Net(%x: [B, 4], %mask: [B, 4]) -> (loss: %loss) {
        %sum: [] = sum(%mask) {axis=[0, 1], keepdims=false}
        %share: [B, 4] = div(%mask, %sum)
        %kept: [B, 4] = mul(%x, %share)
        %loss: [] = sum(%kept) {axis=[0, 1], keepdims=false}
    }

After:

    model Net(%x: [B, 4], %mask: [B, 4]) -> (loss: %loss) {
        %sum: [] = sum(%mask) {axis=[0, 1], keepdims=false}
        %kept_2: [B, 4] = mul(%x, %mask)
        %sum_2: [] = sum(%kept_2) {axis=[0, 1], keepdims=false}
        %loss: [] = div(%sum_2, %sum)
    }
"""

from __future__ import annotations

from dlc.ir.nodes import Function, Op, Value
from dlc.ir.splice import Names
from dlc.records import dataclass, field, replace
from dlc.types.tensor import TensorType

_THROUGH = frozenset({"neg", "reshape", "permute", "broadcast", "slice"})
"""Ops on one operand that a factor passes through."""


def factored(main: Function, sizes: frozenset[str]) -> Function:
    """A function whose batch has sizes of these names, with factors behind its sums over the batch."""
    body = _Factoring(main, sizes).body()
    return replace(main, body=tuple(body)) if len(body) != len(main.body) else main


@dataclass(frozen=True, slots=True)
class _Product:
    """A value as another one times factors: operations on the value and a number of the batch."""

    base: str
    factors: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _Factoring:
    main: Function
    sizes: frozenset[str]
    types: dict[str, TensorType] = field(default_factory=dict)
    made: dict[str, Op] = field(default_factory=dict)
    products: dict[str, _Product] = field(default_factory=dict)
    found: list[Op] = field(default_factory=list)
    names: Names = field(default_factory=Names)

    def body(self) -> list[Op]:
        self.types = self.main.types()
        self.names = Names.of(self.main)
        for op in self.main.body:
            self.made.update((each.name, op) for each in op.outputs)
            self._add(op)
        return self.found

    def _add(self, op: Op) -> None:
        sums = op.op == "sum" and not self._has_rows(op.out.name) and self._has_rows(op.inputs[0])
        product = self._product(op.inputs[0]) if sums else _Product("")
        if not product.factors:
            self.found.append(op)
            return
        total = Value(self.names.fresh("sum"), op.out.type)
        self.found.append(replace(op, inputs=(product.base,), outputs=(total,)))
        for i, (how, factor) in enumerate(product.factors):
            last = i == len(product.factors) - 1
            out = op.out if last else Value(self.names.fresh(how), op.out.type)
            self.found.append(Op(how, (total.name, factor), (out,), span=op.span))
            total = out

    def _has_rows(self, name: str) -> bool:
        return bool(self.types[name].symbols & self.sizes)

    def _product(self, name: str) -> _Product:
        """A value with rows, taken apart: what is computed of it without its factors is added to the body."""
        if name not in self.products:
            self.products[name] = self._taken_apart(name)
        return self.products[name]

    def _taken_apart(self, name: str) -> _Product:
        op = self.made.get(name)
        if op is None or not self._has_rows(name) or not op.out.type.is_float:
            return _Product(name)
        if op.op in ("mul", "div"):
            return self._multiplied(op)
        if op.op in _THROUGH or op.op == "sum":
            inner = self._product(op.inputs[0])
            return self._again(op, (inner.base,), inner.factors)
        return _Product(name)

    def _multiplied(self, op: Op) -> _Product:
        a, b = op.inputs
        if op.op == "mul" and self._is_number(a):
            a, b = b, a
        if self._is_number(b) and self._has_rows(a):
            inner = self._product(a)
            return _Product(inner.base, (*inner.factors, (op.op, b)))
        first, second = (self._product(each) for each in (a, b))
        if op.op == "div" and second.factors:
            return _Product(op.out.name)
        return self._again(op, (first.base, second.base), (*first.factors, *second.factors))

    def _again(self, op: Op, inputs: tuple[str, ...], factors: tuple[tuple[str, str], ...]) -> _Product:
        if not factors:
            return _Product(op.out.name)
        out = Value(self.names.fresh(op.out.name), op.out.type)
        self.types[out.name] = out.type
        self.found.append(replace(op, inputs=inputs, outputs=(out,)))
        return _Product(out.name, factors)

    def _is_number(self, name: str) -> bool:
        """Whether a value is one number that is computed of the batch: constants may stay where they are."""
        if self.types[name].rank:
            return False
        seen: set[str] = set()
        stack = [name]
        while stack:
            op = self.made.get(stack.pop())
            if op is None:
                continue
            if op.op == "size":
                return True
            for each in filter(None, op.inputs):
                if self._has_rows(each):
                    return True
                if each not in seen:
                    seen.add(each)
                    stack.append(each)
        return False
