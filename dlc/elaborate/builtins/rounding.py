"""What calls of some ops mean besides the op itself: digits to round to, and running counts of a mask."""

from __future__ import annotations

from typing import Any

from dlc.elaborate.base.values import Tensor
from dlc.elaborate.builtins import static
from dlc.elaborate.builtins.call import Call
from dlc.elaborate.tensors.operators import cast, lift


def _rounded(call: Call) -> Any:
    """`round(x, 1)`, as NumPy computes it: 10x is rounded, and divided by 10."""
    x, digits = call["x"], call["digits"]
    if not isinstance(x, Tensor) or digits is None or (count := call.integer("digits")) == 0:
        return NotImplemented
    if not x.type.is_float and count > 0:
        return x
    scale = lift(call.body, call.node, 10.0 ** abs(count), x.type.dtype)
    larger, smaller = ("mul", "div") if count > 0 else ("div", "mul")
    return call.emit(smaller, call.emit("round", call.emit(larger, x, scale)), scale)


def _counted(call: Call) -> Any:
    """A mask is counted: its running sum is i64, as its sum is."""
    x = call["x"]
    if isinstance(x, Tensor) and x.type.dtype == "bool":
        call.values["x"] = cast(call.body, call.node, x, "i64")
    return NotImplemented


def _product(call: Call) -> Any:
    found = static.OF_NUMBERS["prod"](call)
    return _counted(call) if found is NotImplemented else found


FIRST = {"round": _rounded, "cumsum": _counted, "cumprod": _counted, "prod": _product}
