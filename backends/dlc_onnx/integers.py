"""Sums, products and powers of integers, which wrap as NumPy's: onnxruntime computes them in f64, which has 53 bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlc.ir.nodes import Op
from dlc.ops.contraction import split_pattern
from dlc.types.dims import Dim
from dlc_onnx.body import Body
from dlc_onnx.rows import TYPES
from dlc_onnx.running import running_product
from dlc_onnx.saying import Writer
from dlc_onnx.template import Ref, evaluate

if TYPE_CHECKING:
    import onnx

# Sums of more than 2**20 upper or lower halves may be past f64's 53 bits.
_HALVES = "h = x / 4294967296; l = x - h * 4294967296; ReduceSum(h, axis, keepdims=k) * 4294967296 + ReduceSum(l, axis, keepdims=k)"
_PLAIN = "ReduceSum(x, axis, keepdims=k)"
# Powers that are multiplied out.
_WRITTEN = 64


def total(body: Body, x: Ref, axes: Sequence[int], *, keepdims: bool = False) -> Ref:
    """The sum along axes, in 64 bits; of bools that became numbers, as they are counted mostly, in one node."""
    if not axes:
        return x
    dtype = body.dtypes[x]
    row = _PLAIN if dtype != "i64" or _are_bools(body, x) else _HALVES
    names: Mapping[str, Any] = {"x": body.cast(x, "i64"), "axis": list(axes), "k": int(keepdims)}
    return body.cast(evaluate(row, names.__getitem__, body), dtype)


def _are_bools(body: Body, name: str) -> bool:
    made = body.maker(name)
    return made is not None and made.op_type == "Cast" and body.dtypes[made.input[0]] == "bool"


def product(w: Writer, x: Ref, sizes: Sequence[Dim], axes: Sequence[int], *, keepdims: bool = False) -> Ref:
    """The product along axes: the last of the running ones, before which a 1 stands, so that there is one."""
    for axis in axes:
        one = w.body.const(1, w.body.dtypes[x])
        longer = w.body.one("Pad", x, [1, 0], one, [axis])
        x = w.body.one("Gather", running_product(w, longer, axis, sizes[axis] + 1), [-1], axis=axis)
    return x if keepdims or not axes else w.body.one("Squeeze", x, list(axes))


def power(body: Body, a: Ref, b: Ref) -> Ref:
    """a to the power b: multiplied out, or in a Loop, by squares."""
    exponent = _number(body, b)
    if exponent is None or not 0 < exponent <= _WRITTEN:
        return _power_in_loop(body, a, b)
    found: Ref | None = None
    while exponent:
        if exponent % 2:
            found = a if found is None else body.one("Mul", found, a)
        exponent //= 2
        a = body.one("Mul", a, a) if exponent else a
    assert found is not None
    return found


def _number(body: Body, name: str) -> int | None:
    """The number that a value is, if that is known."""
    from onnx import numpy_helper

    made = body.maker(name)
    if made is None or made.op_type != "Constant":
        return None
    array = numpy_helper.to_array(made.attribute[0].t)
    return int(array) if array.ndim == 0 else None


def _power_in_loop(body: Body, a: Ref, b: Ref) -> Ref:
    dtype = body.dtypes[a]
    names = {"a": body.cast(a, "i64"), "b": body.cast(b, "i64")}
    first, base, more = (
        evaluate(row, names.__getitem__, body)
        for row in ("(a - a) * b + 1", "a", "ReduceSum(Cast(b > 0, to=INT32), keepdims=0) > 0")
    )
    loop = body.node("Loop", "", more, first, base, names["b"], outputs=3, dtype="i64", body=_squaring())
    return body.cast(loop[0], dtype)


def _squaring() -> onnx.GraphProto:
    """y becomes y * x where b is odd, x its square, and b its half, while one is left (Knuth, 4.6.3)."""
    import numpy as np
    from onnx import helper, numpy_helper

    def value(name: str, dtype: str, shape: list[int] | None = None) -> Any:
        return helper.make_tensor_value_info(name, TYPES[dtype], shape)

    node = helper.make_node
    nodes = [
        node("Mod", ["b", "two"], ["rest"]),
        node("Cast", ["rest"], ["is_odd"], to=TYPES["bool"]),
        node("Mul", ["y", "x"], ["product"]),
        node("Where", ["is_odd", "product", "y"], ["next_y"]),
        node("Mul", ["x", "x"], ["square"]),
        node("Div", ["b", "two"], ["half"]),
        node("Greater", ["half", "zero"], ["is_left"]),
        node("Cast", ["is_left"], ["one_each"], to=TYPES["i64"]),
        node("ReduceSum", ["one_each"], ["count"], keepdims=0),
        node("Greater", ["count", "zero"], ["more"]),
    ]
    inputs = [value("turn", "i64", []), value("going", "bool", []), *(value(each, "i64") for each in "yxb")]
    outputs = [value("more", "bool", []), *(value(each, "i64") for each in ("next_y", "square", "half"))]
    constants = [numpy_helper.from_array(np.array(n), name) for n, name in ((0, "zero"), (2, "two"))]
    return helper.make_graph(nodes, "squaring", inputs, outputs, initializer=constants)


def without_lone_axes(body: Body, pattern: str, operands: Sequence[Ref]) -> tuple[str, list[Ref]]:
    """A contraction with the axes summed that one operand alone has. What is left are matrix products, which are exact."""
    terms, right = split_pattern(pattern)
    held = Counter(letter for term in terms for letter in set(term))
    left, kept = [], []
    for x, term in zip(operands, terms, strict=True):
        lone = {letter for letter in term if held[letter] == 1 and letter not in right}
        if lone and len(set(term)) < len(term):
            distinct = "".join(dict.fromkeys(term))
            x, term = body.one("Einsum", x, equation=f"{term}->{distinct}"), distinct
        kept.append(total(body, x, [i for i, letter in enumerate(term) if letter in lone]))
        left.append("".join(letter for letter in term if letter not in lone))
    return f"{','.join(left)}->{right}", kept


def say_sum(w: Writer, op: Op) -> Ref:
    return total(w.body, w.value(op.inputs[0]), _axes(op), keepdims=bool(op.attr("keepdims")))


def say_prod(w: Writer, op: Op) -> Ref:
    (x,) = op.inputs
    return product(w, w.value(x), w.type(x).axes, _axes(op), keepdims=bool(op.attr("keepdims")))


def say_pow(w: Writer, op: Op) -> Ref:
    return power(w.body, *w.operands(op))


def _axes(op: Op) -> list[int]:
    axis = op.attr("axis")
    assert isinstance(axis, tuple)
    return [each for each in axis if isinstance(each, int)]


INTEGERS = {"sum": say_sum, "prod": say_prod, "pow": say_pow}
"""Ops that integers have a way of their own for."""
