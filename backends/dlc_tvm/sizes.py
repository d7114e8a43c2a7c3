"""Dims of the IR as TVM's integer expressions."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from tvm import tirx

from dlc.types.dims import Dim
from dlc.types.tensor import TensorType
from dlc_tvm.names import NUMPY as DTYPES

_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: tirx.floordiv,
    ast.Mod: tirx.floormod,
}


class Sizes:
    """The symbolic sizes of one Relax function: a variable for each dim."""

    def __init__(self) -> None:
        self.vars: dict[str, Any] = {}

    def symbol(self, name: str) -> Any:
        if name not in self.vars:
            self.vars[name] = tirx.Var(name, "int64")
        return self.vars[name]

    def one(self, size: int | Dim | Any) -> Any:
        """A size as an int, or an expression over the function's variables."""
        if not isinstance(size, Dim):
            return size
        if size.constant is not None:
            return size.constant
        return self._expression(ast.parse(str(size), mode="eval").body)

    def all(self, sizes: Any) -> list[Any]:
        return [self.one(size) for size in sizes]

    def shape(self, type: TensorType) -> list[Any]:
        return self.all(type.axes)

    def _expression(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=int() as value):
                return tirx.const(value, "int64")
            case ast.Name(id=name):
                return self.symbol(name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._expression(operand)
            case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int() as power)):
                base = self._expression(left)
                result = base
                for _ in range(power - 1):
                    result = result * base
                return result
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](self._expression(left), self._expression(right))
            case ast.Call(func=ast.Name(id="min" | "max" as which), args=args):
                values = [self._expression(arg) for arg in args]
                result = values[0]
                for value in values[1:]:
                    result = tirx.min(result, value) if which == "min" else tirx.max(result, value)
                return result
        raise ValueError(f"TVM can't express the size {ast.unparse(node)}")


__all__ = ["DTYPES", "Sizes"]
