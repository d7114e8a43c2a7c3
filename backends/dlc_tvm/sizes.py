"""Sizes of the IR as TVM's integer expressions over the symbolic sizes of one Relax function.

A dim that the facts call a multiple of n is said as n times another: from `where H % 32 == 0` follows `H = 32 * H_32`, and
TVM then finds by itself that `2 * (H // 2)` is H and that a residual branch has the shape of its trunk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from math import lcm
from typing import Any

from tvm import relax, sym, tirx

from dlc.emit.sizes import readable
from dlc.ir.nodes import Function, Value
from dlc.types.dim_solve import slope_and_rest
from dlc.types.dims import Atom, Dim, Monomial, sole_atom
from dlc.types.facts import Relation
from dlc_tvm.names import TVM

OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "//": tirx.floordiv,
    "%": tirx.floormod,
    "min": tirx.min,
    "max": tirx.max,
}


@dataclass
class Sizes:
    """The sizes of one function: a variable of TVM for each dim, some of them times a number.

    `opened` are the axes of inputs that must be solved for a dim when the function runs: each is a variable of its own,
    with the dims that it stands for."""

    function: Function
    opened: list[tuple[Any, Dim]] = field(default_factory=list)
    _symbols: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.factors = divisors(self.function.facts)
        axes = {axis for value in self.function.inputs for axis in value.type.axes}
        axes |= {Dim.symbol(name) for name in self.function.given_sizes}
        self.plain = {
            name for name in self.function.dims if Dim.symbol(name) in axes and name not in self.factors
        }

    def symbol(self, name: str) -> Any:
        if name not in self._symbols:
            factor = self.factors.get(name, 1)
            variable = tirx.Var(name if factor == 1 else f"{name}_{factor}", "int64")
            self._symbols[name] = variable if factor == 1 else variable * factor
        return self._symbols[name]

    def one(self, size: int | Dim) -> Any:
        """A size as an int, or an expression over the function's variables."""
        size = Dim.of(size)
        if size.constant is not None:
            return size.constant
        total: Any = 0
        for monomial, coefficient in size.ordered():
            total = total + self._term(monomial, coefficient)
        return total

    def all(self, sizes: Sequence[int | Dim]) -> list[Any]:
        return [self.one(size) for size in sizes]

    def _term(self, monomial: Monomial, coefficient: int) -> Any:
        result: Any = coefficient
        for atom, power in monomial:
            factor = self._atom(atom)
            for _ in range(power):
                result = factor if isinstance(result, int) and result == 1 else result * factor
        return result

    def _atom(self, atom: str | Atom) -> Any:
        if isinstance(atom, str):
            return self.symbol(atom)
        parts = (_expression(self.one(arg)) for arg in atom.args)
        # Kernels whose buffers have sizes such as `2 * H_2 // 2` would have to be given H_2 besides, and don't fuse.
        return sym.Analyzer().simplify(reduce(OPERATORS[atom.op], parts))

    def input_type(self, value: Value) -> Any:
        """The type of a parameter of the Relax function. An axis that has to be solved for a dim is a variable of its own,
        since TVM binds only those."""
        axes = [self._input_axis(value.name, i, axis) for i, axis in enumerate(value.type.axes)]
        return relax.TensorType(axes, TVM[value.type.dtype])

    def _input_axis(self, name: str, i: int, axis: Dim) -> Any:
        if axis.symbols <= self.plain:
            return self.one(axis)
        variable = tirx.Var(str(axis) if str(axis).isidentifier() else f"{name}_{i}", "int64")
        self.opened.append((variable, axis))
        return variable

    def given(self) -> list[Any]:
        """Parameters for the sizes that are inputs of their own: shapes of one axis."""
        return [relax.Var(name, relax.ShapeType([self._given(name)])) for name in self.function.given_sizes]

    def _given(self, name: str) -> Any:
        if name in self.plain:
            return self.symbol(name)
        variable = tirx.Var(name, "int64")
        self.opened.append((variable, Dim.symbol(name)))
        return variable

    def type(self, value: Value) -> Any:
        return relax.TensorType(self.all(value.type.axes), TVM[value.type.dtype])

    def solve(self, builder: Any) -> None:
        """Bind the dims that no axis gives as it is, from the axes that are linear in them."""
        sources = readable(self.function)
        unknown = [name for name in self.function.dims if name not in self.plain]
        if not unknown:
            return
        opened = {str(axis): variable for variable, axis in self.opened}
        axes = {name: sources[name].size if name in sources else Dim.symbol(name) for name in unknown}
        sizes = [self._solved(axes[name], name, opened) for name in unknown]
        variables = [_variable(self.symbol(name)) for name in unknown]
        # A copy, so that TVM does not know what is in it: else some passes put `H // 2` for H_2, and others fail on that.
        copied = relax.op.call_pure_packed(
            "vm.builtin.copy", relax.ShapeExpr(sizes), ty_args=relax.ShapeType(ndim=len(sizes))
        )
        builder.match_cast(builder.emit(copied), relax.ShapeType(variables))

    def _solved(self, axis: Dim, name: str, opened: Mapping[str, Any]) -> Any:
        factor, rest = slope_and_rest(axis, name)
        return tirx.floordiv(opened[str(axis)] - rest, factor * self.factors.get(name, 1))


def divisors(facts: Sequence[Relation]) -> dict[str, int]:
    """What the facts say that dims are multiples of."""
    found: dict[str, int] = {}
    for fact in facts:
        rest = sole_atom(fact.left)
        if isinstance(rest, Atom) and rest.op == "%" and fact.op == "==" and fact.right == 0:
            dim, by = rest.args
            name = sole_atom(dim)
            if isinstance(name, str) and by.constant is not None:
                found[name] = lcm(found.get(name, 1), by.constant)
    return {name: factor for name, factor in found.items() if factor > 1}


def _variable(expression: Any) -> Any:
    """The variable in one, or in a multiple of one."""
    return expression if isinstance(expression, tirx.Var) else expression.a


def _expression(size: Any) -> Any:
    return tirx.const(size, "int64") if isinstance(size, int) else size
