"""Floats as they are, and not as TVM's simplifier takes them: as numbers, which no nan, no infinity and no rounding is.

    x - x               0                      x + -1 * x
    (x + y) - y         x                      x + y + -1 * y
    not (x < y)         y <= x                 Select(x < y, False, True)
    x < y or y <= x     True                   (x < y) | (y <= x)
    x == x              True                   (x <= x) & (x <= x)
    x * 0, 0 / x        0                      x * z, z / x, where z is a 0 that is not seen

What stands on the left it makes what stands in the middle, wherever an expression comes to stand beside an equal one by fusion. So kernels
say what stands on the right, of which LLVM makes the same instructions: it knows what holds of floats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm_ffi
from tvm import IRModule, te, tirx
from tvm.ir import Constant, TensorLoad
from tvm.ir.transform import module_pass

from dlc_tvm.reshapes import legal_reshape
from dlc_tvm.windows import legal_max_pool

BITS = {"float16": "int16", "float32": "int32", "float64": "int64"}


@module_pass(opt_level=0, name="dlc.PlainFloats")
def plain_floats(mod: IRModule, _: Any) -> IRModule:
    """Every kernel in the forms on the right."""
    functions = {
        var: func.with_body(tvm_ffi.structural_map(func.body, _FORMS))
        if isinstance(func, tirx.PrimFunc)
        else func
        for var, func in mod.functions_items()
    }
    return IRModule(functions, attrs=mod.attrs, global_infos=mod.global_infos)


def _is_float(x: Any) -> bool:
    return str(x.ty.dtype) in BITS


def _difference(node: Any) -> Any:
    if not _is_float(node) or any(isinstance(each, tirx.FloatImm) for each in (node.a, node.b)):
        return node
    return node.a + tirx.Mul(tirx.const(-1.0, str(node.ty.dtype)), node.b)


def _of_data(node: Any) -> bool:
    """Whether a condition is one of data, which compares floats or may come to stand where that is done, not of places alone."""
    found: list[Any] = []
    tvm_ffi.structural_walk(node, (TensorLoad, found.append))
    return bool(found)


def _negation(node: Any) -> Any:
    if not _of_data(node.a):
        return node
    return tirx.Select(node.a, tirx.const(False, "bool"), tirx.const(True, "bool"))


def _either(node: Any) -> Any:
    return tirx.bitwise_or(node.a, node.b) if _of_data(node) else node


def _both(node: Any) -> Any:
    return tirx.bitwise_and(node.a, node.b) if _of_data(node) else node


def _equality(node: Any) -> Any:
    if not _is_float(node.a):
        return node
    return tirx.bitwise_and(tirx.LE(node.a, node.b), tirx.LE(node.b, node.a))


def _inequality(node: Any) -> Any:
    if not _is_float(node.a):
        return node
    return tirx.Select(_equality(node), tirx.const(False, "bool"), tirx.const(True, "bool"))


_FORMS = (
    (tirx.Sub, _difference),
    (tirx.Not, _negation),
    (tirx.Or, _either),
    (tirx.And, _both),
    (tirx.EQ, _equality),
    (tirx.NE, _inequality),
)


# --- 0 as an operand, which is gone before there is a kernel ----------------------------------------------------


def _is_zero(x: Any) -> bool:
    return (
        isinstance(x, Constant) and x.ty.ndim == 0 and str(x.ty.dtype) in BITS and not float(x.value.numpy())
    )


def _unseen(dtype: str) -> Any:
    """0, from the bits of -0: those of 0 TVM's code generator takes for a pointer."""
    integer = BITS[dtype]
    bits = tirx.const(-(2 ** (int(integer.removeprefix("int")) - 1)), integer)
    return tirx.Mul(tirx.const(-1.0, dtype), tirx.reinterpret(dtype, bits))


def _with_zero(
    default: Callable[[Any, Any], Any], places: tuple[int, ...], scalar: Callable[[Any, Any], Any]
) -> Any:
    """How an operation becomes a kernel, where one of its operands may be 0."""

    def legalized(builder: Any, call: Any) -> Any:
        zero = next((i for i in places if _is_zero(call.args[i])), None)
        if zero is None:
            return default(builder, call)

        def compute(x: te.Tensor) -> te.Tensor:
            return te.compute(x.shape, lambda *i: scalar(x(*i), _unseen(str(x.dtype))), name="by_zero")

        return builder.call_te(compute, call.args[1 - zero], primfunc_name_hint="by_zero")

    return legalized


def legalizations() -> dict[str, Any]:
    """For `LegalizeOps`."""
    from tvm.ir import Op

    def default(name: str) -> Any:
        return Op.get(name).get_attr("FLegalize")

    return {
        "relax.reshape": legal_reshape,
        "relax.multiply": _with_zero(default("relax.multiply"), (0, 1), lambda x, zero: x * zero),
        **{f"relax.nn.max_pool{rank}d": legal_max_pool for rank in (1, 2, 3)},
        "relax.divide": _with_zero(default("relax.divide"), (0,), lambda x, zero: zero / x),
    }
