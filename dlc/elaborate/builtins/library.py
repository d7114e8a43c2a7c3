"""What the library's own definitions use (names with `_`), what tests use, and names that are not compiled yet."""

from __future__ import annotations

from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.project import library_definition
from dlc.elaborate.base.values import Builtin, Dtype, Tensor, show
from dlc.elaborate.builtins.call import Call, builtin, check_count
from dlc.elaborate.calls.arguments import Given
from dlc.elaborate.calls.functions import call_library
from dlc.elaborate.state.body import Body
from dlc.elaborate.tensors.constants import table
from dlc.elaborate.tensors.operators import lift, meet
from dlc.elaborate.types.static import plain
from dlc.ir.nodes import Value
from dlc.ops.calls import REQUIRED
from dlc.records import replace
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.traced import as_float


def _adaptive(call: Call) -> Tensor:
    """Average over as many windows an axis as asked for; window i spans floor(i*n/s) to ceil((i+1)*n/s) (PyTorch)."""
    x = call.tensor("x")
    count = x.type.rank - 2
    if count not in (1, 2, 3) or library_definition(f"_adaptive_avg_pool{count}d") is None:
        message = f"`adaptive_avg_pool` needs one or two axes after [B, C], {x.type} has {max(count, 0)}"
        call.fail(problems.SHAPE, "x", message=message)
    sizes = call["sizes"]
    sizes = [sizes] * count if isinstance(sizes, int) else sizes
    if not isinstance(sizes, list | tuple) or len(sizes) != count:
        call.fail(
            problems.AXIS,
            "sizes",
            message=f"`adaptive_avg_pool` needs a size for each axis after [B, C] of {x.type}",
        )
    return call_library(call.body, call.node, f"_adaptive_avg_pool{count}d", x, sizes=list(sizes))


def _pool_matrix(call: Call) -> Tensor:
    """[n, s]: column i averages window i."""
    n, s = call["n"], call["s"]
    if not isinstance(n, int) or not isinstance(s, int):
        help = "fix the size in the input's type"
        call.fail(
            problems.NOT_STATIC, "n", what="the size of an adaptively pooled axis", found=f"`{n}`", help=help
        )
    check_count(call, "the constant of this op", n * s)
    rows = [[0.0] * s for _ in range(n)]
    for i in range(s):
        low, high = (i * n) // s, -((-(i + 1) * n) // s)
        for j in range(low, high):
            rows[j][i] = 1.0 / (high - low)
    made = table(call.body, call.node, rows, call.body.context.float_dtype, call.node.span)
    return _with_sizes(made, (Dim.of(n), Dim.of(s)))


def _sized(call: Call) -> Tensor:
    """The tensor with other words for its sizes: those of the arguments that ask for them (library use)."""
    return _with_sizes(call.tensor("x"), call.sizes("sizes"))


def _with_sizes(tensor: Tensor, axes: tuple[Dim, ...]) -> Tensor:
    assert axes == tensor.type.axes
    return replace(tensor, value=Value(tensor.value.name, tensor.type.with_axes(axes)))


def _count(what: str) -> Builtin:
    """`parameters(m)` and the like, in `test` blocks."""

    def expand(body: Body, node: ast.Node, args: Given) -> Any:
        measure = body.context.session.measure
        if measure is None or body.context.kind != "test":
            placed = f"`{what}` measures a whole model: it stands in a `test` block"
            body.report.fail(problems.MISPLACED, node.span, what=placed)
        return measure(body, node, what, args)

    return Builtin(what, expand, f"{what}(model)")


def _close(call: Call) -> Tensor:
    """Whether two tensors agree everywhere: |a - b| <= atol + rtol * |b|."""
    a, b = meet(call.body, call.node, "close", call.tensor("a"), call["b"])
    gap = call.emit("abs", call.emit("sub", a, b))
    scale = call.emit(
        "mul", call.emit("abs", b), lift(call.body, call.node, as_float(call.number("rtol")), b.type.dtype)
    )
    bound = call.emit("add", scale, lift(call.body, call.node, as_float(call.number("atol")), b.type.dtype))
    near = call.emit("le", gap, bound)
    return call.emit("all", near, axis=tuple(range(near.type.rank)), keepdims=False)


def _not_yet(name: str) -> Builtin:
    def expand(body: Body, node: ast.Node, args: Given) -> Any:
        body.report.fail(problems.NOT_YET, node.span, what=f"`{name}`")

    return Builtin(name, expand, f"{name}(…)")


def _axes_of(call: Call) -> Any:
    """The sizes of a tensor's axes as a list (library use)."""
    return [plain(axis) for axis in call.tensor("x").type.axes]


def _at(call: Call) -> Any:
    """An int for every axis, or the entry of a list of `count` (library use), none below `least`."""
    value, count, least = call["value"], call["count"], call["least"]
    items = [*map(plain, value)] if isinstance(value, list | tuple) else [plain(value)] * count
    whole = all(isinstance(each, int | Dim) and not isinstance(each, bool) for each in items)
    if len(items) != count or not whole or any(isinstance(each, int) and each < least for each in items):
        arg = call.node.args[0].value if isinstance(call.node, ast.Call) else None
        name = arg.id if isinstance(arg, ast.Name) else "size"
        expected = f"an int above {least - 1}" + (f", or {count} of them" if count > 1 else "")
        call.fail(
            problems.STATIC_TYPE,
            "value",
            callee=call.body.context.name,
            name=name,
            expected=expected,
            found=show(value),
        )
    return items[call["i"]]


def _joined(call: Call) -> Any:
    """The number of elements that a reduction over `axis` joins (library use)."""
    x = call.tensor("x")
    total = Dim.of(1)
    for axis in call.axes("axis", x.type.rank):
        total = total * x.type.axes[axis]
    return plain(total)


def _dtype_of(call: Call) -> Any:
    return Dtype(call.tensor("x").type.dtype)


BUILTINS: tuple[Builtin, ...] = (
    builtin("adaptive_avg_pool", {"x": REQUIRED, "sizes": REQUIRED}, _adaptive),
    builtin("_pool_matrix", {"n": REQUIRED, "s": REQUIRED}, _pool_matrix),
    builtin("_sized", {"x": REQUIRED, "sizes": REQUIRED}, _sized),
    builtin("_axes", {"x": REQUIRED}, _axes_of),
    builtin("_dtype", {"x": REQUIRED}, _dtype_of),
    builtin("_at", {"value": REQUIRED, "i": REQUIRED, "count": REQUIRED, "least": 1}, _at),
    builtin("_count", {"x": REQUIRED, "axis": None}, _joined),
    builtin("close", {"a": REQUIRED, "b": REQUIRED, "rtol": 1e-5, "atol": 1e-6}, _close),
    *(_count(what) for what in ("parameters", "buffers", "active", "flops")),
    _not_yet("associative_scan"),
)
