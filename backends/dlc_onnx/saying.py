"""What the functions that say one op are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from dlc.ir.nodes import Function, Op
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType
from dlc_onnx.body import Body
from dlc_onnx.sizes import Sizes
from dlc_onnx.template import Ref


class Writer(Protocol):
    """A function of the program at work. Nodes are appended to `body`; `sizes` gives sizes as values of the graph."""

    body: Body
    sizes: Sizes

    @property
    def facts(self) -> Facts:
        """What is known of the function's dims."""

    def value(self, name: str) -> Ref:
        """ONNX's name of an operand ("" for one that is absent)."""

    def operands(self, op: Op) -> list[Ref]:
        """ONNX's names of all operands of an op."""

    def type(self, name: str) -> TensorType:
        """The type of a value of the function."""

    def callee(self, op: Op) -> Function:
        """The function that an op calls."""

    def parameter(self, path: str) -> Ref:
        """The parameter or buffer at a path relative to the body at work."""


Say = Callable[[Writer, Op], Any]
"""The results of an op, as names of values of the graph; None where this can't say it."""
