"""Operators on static values, dims and tensors; and appending an op with its errors turned into diagnostics."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NoReturn

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Dtype, Tensor, show, type_name, unapplied
from dlc.elaborate.reports.report import Report
from dlc.elaborate.state.body import Body
from dlc.elaborate.state.emission import Emission
from dlc.elaborate.tensors.failures import described, helped, op_failed, source, spelled
from dlc.elaborate.types.static import Number, in_range, plain
from dlc.ops.definition import OpError
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.facts import Relation
from dlc.types.relations import COMPARISONS
from dlc.types.traced import TracedInt, as_float

TENSOR_OPS = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "//": "floordiv", "%": "mod", "**": "pow",
    "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge",
    "and": "logical_and", "or": "logical_or",
}  # fmt: skip
_STATIC_OPS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv,
    "%": operator.mod, "**": operator.pow,
}  # fmt: skip
_POWER_BITS = 4096


# --- appending ops ---------------------------------------------------------------------------------------------


def emit(body: Body, node: ast.Node, name: str, *operands: Any, **attrs: Any) -> Tensor:
    """Append an op and give its only result; operands are tensors, numbers or None."""
    return emit_all(body, node, name, *operands, **attrs)[0]


def emit_all(body: Body, node: ast.Node, name: str, *operands: Any, **attrs: Any) -> tuple[Tensor, ...]:
    values = [each.value if isinstance(each, Tensor) else each for each in operands]
    body.emission.builder.span = node.span
    try:
        results = body.emission.builder.ops(name, *values, **attrs)
    except OpError as error:
        op_failed(body, node, error, operands)
    return tuple(Tensor(value, node.span, name) for value in results)


def constant(emission: Emission, node: ast.Node, value: Number, dtype: str) -> Tensor:
    emission.builder.span = node.span
    return Tensor(emission.builder.const(value, dtype), node.span, show(value))


def lift(body: Body, node: ast.Node, value: Any, dtype: str) -> Tensor:
    """A number or dim as a scalar tensor of a dtype."""
    body.emission.builder.span = node.span
    if isinstance(value, Dim):
        return Tensor(body.emission.builder.size(value, dtype), node.span, str(value))
    floating = dtype not in ("bool",) and not dtype.startswith(("i", "u"))
    in_range(body.report, node.span, value, dtype)
    return constant(body.emission, node, as_float(value) if floating else value, dtype)


def cast(body: Body, node: ast.Node, tensor: Tensor, dtype: str) -> Tensor:
    if tensor.type.dtype == dtype:
        return tensor
    return emit(body, node, "cast", tensor, dtype=dtype)


# --- unary -----------------------------------------------------------------------------------------------------


def unary(body: Body, node: ast.Unary, value: Any) -> Any:
    value = plain(value)
    if isinstance(value, Tensor):
        if node.op == "not":
            return emit(body, node, "logical_not", value)
        return emit(body, node, "neg", value) if node.op == "-" else value
    if node.op == "not":
        return not value
    if isinstance(value, Dim):
        return Dim.of(0) - value if node.op == "-" else value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return -value if node.op == "-" else value
    body.report.fail(
        problems.BAD_OPERANDS, node.span, op=node.op, left="a number, but", right=f"not {type_name(value)}"
    )


# --- binary ----------------------------------------------------------------------------------------------------


def binary(body: Body, node: ast.Binary, left: Any, right: Any) -> Any:
    left, right = plain(left), plain(right)
    if node.op == "@":
        return _matmul(body, node, left, right)
    if isinstance(left, Tensor) or isinstance(right, Tensor):
        return tensor_binary(body, node, node.op, left, right)
    if node.op in ("and", "or"):
        return right
    if isinstance(left, Dim) or isinstance(right, Dim):
        return _dim_binary(body, node, left, right)
    return _static_binary(body.report, node, left, right)


def _refuse(report: Report, node: ast.Node, op: str, left: Any, right: Any) -> NoReturn:
    """Operands of kinds that an operator does not take."""
    help = next(
        (unapplied(each) for each in (left, right) if not isinstance(each, str) and unapplied(each)), ""
    )
    report.fail(
        problems.BAD_OPERANDS, node.span, op=op, left=type_name(left), right=type_name(right), help=help
    )


def _remembering(left: Any, right: Any) -> Any:
    """The right side as a float beside one: a float by itself knows what to do with an int, and would not ask where it came from."""
    return as_float(right) if isinstance(left, float) and isinstance(right, TracedInt) else right


def _static_binary(report: Report, node: ast.Binary, left: Any, right: Any) -> Any:
    _check_power(report, node, left, right)
    try:
        result = _STATIC_OPS[node.op](left, _remembering(left, right))
    except ZeroDivisionError:
        report.fail(
            problems.STATIC_ERROR,
            node.span,
            message=f"division by zero: {show(left)} {node.op} {show(right)}",
        )
    except OverflowError:
        message = f"{show(left)} {node.op} {show(right)} is larger than any float"
        report.fail(problems.STATIC_ERROR, node.span, message=message)
    except (TypeError, ValueError):
        _refuse(report, node, node.op, left, right)
    if isinstance(result, str | list | tuple) and len(result) > 100_000:
        report.fail(problems.BUDGET, node.span, what="this list", found=f"{len(result):,}", limit="100,000")
    if isinstance(result, int) and result.bit_length() > _POWER_BITS:
        report.fail(
            problems.BUDGET, node.span, what="this number", found="over 4,096 bits", limit="4,096 bits"
        )
    if isinstance(result, complex):
        report.fail(problems.STATIC_ERROR, node.span, message="the root of a negative number")
    return result


def _check_power(report: Report, node: ast.Binary, left: Any, right: Any) -> None:
    """Huge numbers and lists are refused before they are made."""
    power = node.op == "**" and isinstance(left, int) and isinstance(right, int)
    if power and abs(left).bit_length() * abs(right) > _POWER_BITS:
        report.fail(
            problems.BUDGET, node.span, what="this number", found="over 4,096 bits", limit="4,096 bits"
        )
    sizes = {type(left), type(right)}
    if node.op == "*" and int in sizes and sizes & {list, tuple, str}:
        number, items = (left, right) if isinstance(left, int) else (right, left)
        if number * len(items) > 100_000:
            report.fail(
                problems.BUDGET,
                node.span,
                what="this list",
                found=f"{number * len(items):,}",
                limit="100,000",
            )


def _dim_binary(body: Body, node: ast.Binary, left: Any, right: Any) -> Any:
    integers = all(isinstance(each, Dim | int) and not isinstance(each, bool) for each in (left, right))
    if integers and node.op in ("+", "-", "*", "//", "%"):
        if node.op in ("//", "%") and plain(right) == 0:
            body.report.fail(problems.STATIC_ERROR, node.span, message="division by zero")
        if node.op in ("//", "%") and not body.emission.claimed:
            _check_divisor(body, node, Dim.of(right))
        return plain(body.emission.facts.simplify(Dim.of(_STATIC_OPS[node.op](left, right))))
    if integers and node.op == "**" and isinstance(right, int) and right >= 0:
        return Dim.of(left) ** right
    if node.op in ("/", "**", "+", "-", "*") and all(
        isinstance(each, Dim | int | float) for each in (left, right)
    ):
        a, b = (lift(body, node, each, body.context.float_dtype) for each in (left, right))
        return emit(body, node, TENSOR_OPS[node.op], a, b)
    _refuse(body.report, node, node.op, left, right)


def _check_divisor(body: Body, node: ast.Binary, divisor: Dim) -> None:
    """A size has no value where it is divided by 0."""
    if body.emission.facts.decide(Relation(divisor, "!=", Dim.of(0))) is not True:
        message = f"`{node.op}` divides by {divisor}, and nothing says that it is not 0"
        help = f"state it: `where 1 <= {divisor}`"
        body.report.fail(problems.UNPROVED_SHAPE, node.span, message=message, help=help)


def tensor_binary(body: Body, node: ast.Expr, op: str, left: Any, right: Any) -> Tensor:
    """An elementwise operator where at least one side is a tensor."""
    for each in (left, right):
        if not isinstance(each, Tensor | bool | int | float | Dim):
            _refuse(body.report, node, op, left, right)
    left, right = meet(body, node, op, left, right)
    if op == "**" and isinstance(node, ast.Binary):
        pass
    return emit(body, node, TENSOR_OPS[op], left, right)


def meet(body: Body, node: ast.Node, op: str, left: Any, right: Any) -> tuple[Tensor, Tensor]:
    """Bring two operands to one dtype: numbers adapt to the tensor, `float` to an explicit float dtype."""
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return _common(body, node, left, right)
    if isinstance(left, Tensor):
        return left, _adapt(body, node, op, right, left)
    return _adapt(body, node, op, left, right), right


def _common(body: Body, node: ast.Node, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    a, b = left.type.dtype, right.type.dtype
    if a == b or not (left.type.is_float and right.type.is_float):
        return left, right
    if a == "float":
        return cast(body, node, left, b), right
    if b == "float":
        return left, cast(body, node, right, a)
    return left, right


def _adapt(body: Body, node: ast.Node, op: str, number: Any, tensor: Tensor) -> Tensor:
    dtype = tensor.type.dtype
    if not isinstance(number, bool | int | float | Dim):
        body.report.fail(
            problems.NOT_A_TENSOR, node.span, callee=op, name="an operand", found=type_name(number)
        )
    if isinstance(number, float) and not tensor.type.is_float:
        body.report.fail(
            problems.DTYPE,
            node.span,
            message=f"`{op}` can't bring the float {number} to a tensor of {dtype}",
            notes=[described(body.context, tensor)],
            help=f"convert the tensor first: `cast({spelled(body.scope, tensor)}, float)`",
        )
    if isinstance(number, bool) != (dtype == "bool"):
        found = "a bool" if isinstance(number, bool) else show(number)
        name = spelled(body.scope, tensor)
        help = (
            f"invert a mask by `not {name}`, make it numbers by `cast({name}, float)`"
            if dtype == "bool"
            else ""
        )
        message = f"`{op}` can't bring {found} to a tensor of {dtype}"
        body.report.fail(
            problems.DTYPE, node.span, message=message, notes=[described(body.context, tensor)], help=help
        )
    return lift(body, node, number, dtype)


def compare_tensors(body: Body, node: ast.Compare, left: Any, right: Any) -> Tensor:
    return tensor_binary(body, node, node.ops[0], plain(left), plain(right))


def compare_static(body: Body, node: ast.Compare, op: str, left: Any, right: Any) -> bool:
    left, right = plain(left), plain(right)
    if op in ("in", "not in"):
        if not isinstance(right, list | tuple | str | range):
            _refuse(body.report, node, op, left, right)
        found = left in right if not isinstance(right, str) or isinstance(left, str) else False
        return found == (op == "in")
    if isinstance(left, Dim) or isinstance(right, Dim):
        return _compare_dims(body, node, op, left, right)
    if op in ("==", "!="):
        same = left == right and isinstance(left, bool) == isinstance(right, bool)
        return bool(same == (op == "=="))
    try:
        return bool(COMPARISONS[op](left, right))
    except TypeError:
        _refuse(body.report, node, op, left, right)


def _compare_dims(body: Body, node: ast.Compare, op: str, left: Any, right: Any) -> bool:
    if (
        left is None
        or right is None
        or isinstance(left, str | list | Dtype)
        or isinstance(right, str | list | Dtype)
    ):
        return op == "!="
    if not all(
        isinstance(each, Dim | int) or (isinstance(each, float) and each.is_integer())
        for each in (left, right)
    ):
        _refuse(body.report, node, op, left, right)
    left, right = (int(each) if isinstance(each, float) else each for each in (left, right))
    relation = Relation(Dim.of(left), op, Dim.of(right))
    decided = body.emission.facts.decide(relation)
    if decided is None:
        body.report.fail(
            problems.UNDECIDED,
            node.span,
            condition=relation,
            help=f"state what holds, such as `where {relation}`, or choose by data with `where(cond, a, b)`",
        )
    return decided


# --- contraction -----------------------------------------------------------------------------------------------


def _matmul(body: Body, node: ast.Binary, left: Any, right: Any) -> Tensor:
    if not isinstance(left, Tensor) or not isinstance(right, Tensor):
        _refuse(body.report, node, "@", left, right)
    left, right = _common(body, node, left, right)
    a, b = left.type.rank, right.type.rank
    if a == 0 or b == 0:
        body.report.fail(
            problems.SHAPE,
            node.span,
            message="`@` needs tensors with axes; use `*` for a scalar",
            notes=[described(body.context, left), described(body.context, right)],
        )
    # A vector stands for a matrix with one row (left) or one column (right), which is dropped again, as in NumPy.
    if a == 1:
        left = emit(body, node, "reshape", left, shape=(Dim.of(1), *left.type.axes))
    if b == 1:
        right = emit(body, node, "reshape", right, shape=(*right.type.axes, Dim.of(1)))
    result = helped(
        lambda: emit(body, node, "matmul", left, right), _transposed_help(body, node, left, right)
    )
    axes = list(result.type.axes)
    if b == 1:
        axes.pop()
    if a == 1:
        axes.pop(-1 if b == 1 else -2)
    return result if a > 1 and b > 1 else emit(body, node, "reshape", result, shape=tuple(axes))


def _transposed_help(body: Body, node: ast.Binary, left: Tensor, right: Tensor) -> str:
    """Help where a product would do with one side transposed."""
    k = left.type.axes[-1]
    if body.emission.facts.prove_eq(k, right.type.axes[-2]) is True:
        return ""
    a, b = (source(body.context, side.span, 24) or "…" for side in (node.left, node.right))
    if body.emission.facts.prove_eq(k, right.type.axes[-1]) is True:
        return f"transpose the right side: `{a} @ {b}.T`"
    if body.emission.facts.prove_eq(left.type.axes[-2], right.type.axes[-2]) is True:
        return f"transpose the left side: `{a}.T @ {b}`"
    return ""
