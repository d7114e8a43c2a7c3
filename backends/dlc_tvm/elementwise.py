"""Elementwise operations that TVM has no name for, or means otherwise than NumPy. Scalars in, a scalar out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import te, tirx, topi

from dlc_tvm.emission import Emission, Row

BITS = 63


def pointwise(name: str, scalar: Callable[..., Any]) -> Row:
    """A row that applies a function of scalars to operands, which broadcast."""

    def row(e: Emission, *operands: Any) -> Any:
        def compute(*tensors: te.Tensor) -> te.Tensor:
            shape = e_shape(tensors)
            spread = [topi.broadcast_to(t, shape) if len(tensors) > 1 else t for t in tensors]
            return te.compute(shape, lambda *i: scalar(*(t(*i) for t in spread)), name=name)

        return e.kernel(name, compute, *operands)

    return row


def e_shape(tensors: tuple[te.Tensor, ...]) -> list[Any]:
    raise NotImplementedError


