"""What an op costs: the `flops` text of its definition evaluated on types, and the bytes that it reads and
writes.

A text is arithmetic (`+ - * //`) on numbers, dims of the signature (`k`), integer attributes, and

    size(x), size()     the number of elements of an operand, or of the (first) result
    prod(K)             the product of the sizes that a `*K` stands for, or of a list attribute
    contracted()        of an einsum: the multiply-adds of contracting its operands two at a time
"""

from __future__ import annotations

import ast as python
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from dlc.ops.contraction import split_pattern
from dlc.ops.definition import COST_FUNCTIONS, OpDef
from dlc.records import dataclass
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.tensor import ITEM_BYTES, TensorType

Types = Sequence[TensorType | None]

_OPERATORS: Mapping[type[python.operator], Callable[[Dim, Dim], Dim]] = {
    python.Add: operator.add,
    python.Sub: operator.sub,
    python.Mult: operator.mul,
    python.FloorDiv: operator.floordiv,
}


def flops(definition: OpDef, inputs: Types, results: Types, attrs: Mapping[str, Any]) -> Dim:
    """The operations of one call: of products a multiplication and an addition count as two, of others each element.

    Raises ValueError if the definition's text is not of the form above."""
    scope = _Scope(definition, inputs, results, attrs)
    return scope.evaluate(_parsed(definition.flops))


def bytes_moved(inputs: Types, results: Types) -> Dim:
    """What one call reads and writes if every operand and result passes through memory once."""
    total = Dim.of(0)
    for each in (*inputs, *results):
        if each is not None:
            halves = round(2 * ITEM_BYTES[each.dtype])
            total = total + (each.size * (halves // 2) if halves % 2 == 0 else (each.size + 1) // 2)
    return total


@cache
def _parsed(text: str) -> python.expr:
    return python.parse(text, mode="eval").body


@dataclass
class _Scope:
    """What the names of a text stand for in one call."""

    definition: OpDef
    inputs: Types
    results: Types
    attrs: Mapping[str, Any]

    def evaluate(self, node: python.expr) -> Dim:
        match node:
            case python.Constant(int(value)):
                return Dim.of(value)
            case python.Name(name):
                return self.size_of(name)
            case python.BinOp(left, op, right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](self.evaluate(left), self.evaluate(right))
            case python.Call(python.Name(function), args) if function in _FUNCTIONS:
                return _FUNCTIONS[function](self, *(python.unparse(arg) for arg in args))
        raise ValueError(f"the cost of `{self.definition.name}` is not arithmetic: {python.unparse(node)}")

    def size_of(self, name: str) -> Dim:
        if name in self.attrs:
            return Dim.of(self.attrs[name])
        bound = self.dims()[name]
        if isinstance(bound, tuple):
            raise ValueError(f"the cost of `{self.definition.name}` needs prod({name})")
        return bound

    def dims(self) -> dict[str, Dim | tuple[Dim, ...]]:
        """The dims of the signature, from the operands. They fit, so the first that binds a name will do."""
        dims: dict[str, Dim | tuple[Dim, ...]] = {}
        for operand, actual in zip(self.definition.signature.operands, self.inputs, strict=False):
            if operand.axes is not None and actual is not None:
                for name, bound in _bindings(operand.axes, actual.axes):
                    dims.setdefault(name, bound)
        return dims

    def elements(self, name: str = "") -> Dim:
        if not name:
            return _size(self.results[0])
        names = [operand.name for operand in self.definition.signature.operands]
        return _size(self.inputs[names.index(name)])

    def product(self, name: str) -> Dim:
        sizes: Any = self.attrs[name] if name in self.attrs else self.dims()[name]
        return math.prod(map(Dim.of, sizes), start=Dim.of(1))

    def contracted(self) -> Dim:
        """Operands go in the order in which they are written, as in PyTorch. What only one of a pair has and nobody asks for is
        summed before; a pair that shares nothing that ends there is multiplied elementwise."""
        terms, result = split_pattern(self.attrs["pattern"])
        pairs = zip(terms, self.inputs, strict=True)
        sizes = {letter: size for term, x in pairs if x for letter, size in zip(term, x.axes, strict=True)}
        total, left = Dim.of(0), set(terms[0])
        for at, term in enumerate(terms[1:], 1):
            wanted = {*result, *(letter for later in terms[at + 1 :] for letter in later)}
            shared = left & set(term)
            over = {letter for letter in (left | set(term)) if letter in wanted or letter in shared}
            if shared - wanted:
                total = total + math.prod((sizes[letter] for letter in sorted(over)), start=Dim.of(1))
            left = over & wanted
        return total


_FUNCTIONS: Mapping[str, Callable[..., Dim]] = dict(
    zip(COST_FUNCTIONS, (_Scope.elements, _Scope.product, _Scope.contracted), strict=True)
)


def _size(type: TensorType | None) -> Dim:
    return Dim.of(0) if type is None else type.size


def _bindings(
    pattern: Sequence[ast.Expr], axes: tuple[Dim, ...]
) -> Iterable[tuple[str, Dim | tuple[Dim, ...]]]:
    """The names of a pattern such as `[B, i, *D]` with what they stand for."""
    star = next((i for i, item in enumerate(pattern) if isinstance(item, ast.Star)), len(pattern))
    end = len(axes) - (len(pattern) - star - 1)
    for i, item in enumerate(pattern):
        match item:
            case ast.Star(name):
                yield name, axes[star:end]
            case ast.Name(name):
                yield name, axes[i] if i < star else axes[end + i - star - 1]
