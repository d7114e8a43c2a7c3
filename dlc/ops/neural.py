"""Convolutions and pooling over any number of spatial axes, in the layout [batch, channels, *space].

Every spatial attribute has one entry per spatial axis; `padding` has a pair, before and after.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlc.ops import neural_reference as reference
from dlc.ops.calls import Arg, X, form
from dlc.ops.definition import OpDef, OpError, Sample, op
from dlc.ops.neural_derivative import avg_pool_vjp, conv_transpose_vjp, conv_vjp, max_pool_vjp
from dlc.ops.rules import check_at_least, check_equal, check_length, count, present
from dlc.types.dims import Atom, Dim, apply_op, dim_min
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType

Types = Sequence[TensorType | None]
Attrs = Mapping[str, Any]


# --- types --------------------------------------------------------------------------------------------------


def _check_space(name: str, x: TensorType, attrs: Attrs, *lists: str) -> int:
    """The number of spatial axes of x, one entry in each of the attributes."""
    rank = x.rank - 2
    if rank < 1:
        raise OpError(
            f"`{name}` needs [batch, channels, …] and at least one axis after them, not {count(x.rank)}",
            help="add a batch axis: `x[none]`" if x.rank == 2 else "",
        )
    for each in (*lists, "padding"):
        check_length(name, each, attrs[each], rank, "spatial axis")
    for each in lists:
        if any(value < (0 if each == "output_padding" else 1) for value in attrs[each]):
            raise OpError(f"`{name}` needs `{each}` of 1 or more, not {list(attrs[each])}", kind="value")
    return rank


def _check_kernel(name: str, facts: Facts, x: TensorType, w: TensorType) -> None:
    notes = (f"x: {x}", f"w: {w}")
    if w.rank != x.rank:
        raise OpError(f"`{name}` needs kernels with {count(x.rank)}, as `x` has, not {w.rank}", notes=notes)


def _check_divisible(facts: Facts, value: Dim, groups: int, told: str) -> None:
    if groups < 1:
        raise OpError(f"{told}: there is at least one group, not {groups}")
    divisible = facts.prove_divisible(value, Dim.of(groups))
    if divisible is not True:
        help = "" if divisible is False else f"state it: `where {value} % {groups} == 0`"
        verb = "is not" if divisible is False else "is not known to be"
        raise OpError(
            f"{told}: {value} {verb} a multiple of {groups}", help=help, kind="fact" if help else "shape"
        )


def _room(
    name: str, facts: Facts, axis: int, size: Dim, border: int, reach: Dim | int, space: tuple[Dim, ...]
) -> Dim:
    """How far a kernel that reaches over `reach` elements can move along an axis; 0 or more, provably."""
    room = size + border - reach
    told = f"`{name}` needs the kernel to fit into spatial axis {axis}"
    holds = facts.prove_ge(room, Dim.of(0))
    padded = f", {size + border} with its padding" if border else ""
    if holds is False:
        raise OpError(
            f"{told}: it covers {reach}, the axis has {size}{padded}", help=_slip(reach, size, space)
        )
    if holds is not True:
        least = Dim.of(reach) - border
        raise OpError(
            f"{told}: it covers {reach}, and nothing says that the axis, of size {size}{padded}, is as large",
            help=_stated(least, size),
            kind="fact",
        )
    return room


def _stated(least: Dim, size: Dim) -> str:
    """The fact that is missing; of a size that was divided, as halved images have it, that of the whole."""
    (term, *others) = size.atoms()
    if not others and isinstance(term, Atom) and term.op == "//" and size == apply_op("//", [*term.args]):
        whole, by = term.args
        also = f", or `where {whole} % {least * by} == 0`" if str(whole) in whole.symbols else ""
        return f"state it: `where {least * by} <= {whole}`{also}"
    return f"state it: `where {least} <= {size}`"


def _slip(reach: Dim | int, size: Dim, space: tuple[Dim, ...]) -> str:
    """What was most likely meant where a kernel is larger than its input."""
    if (Dim.of(reach).constant or 0) >= 16:
        return "a layer takes `out, kernel`: the input's channels are not given"
    widest = max(each.constant or 0 for each in space)
    if size.constant is not None and 4 * size.constant <= widest:
        return "if this axis holds the channels: they come right after the batch, `[B, C, H, W]`"
    return ""


def _infer_conv(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, w = present(inputs)
    rank, groups = _check_space("conv", x, attrs, "stride", "dilation"), attrs["groups"]
    _check_kernel("conv", facts, x, w)
    told = f"`conv` in {count(groups, 'group', 'groups')}"
    _check_divisible(facts, x.axes[1], groups, f"{told} needs channels in equal parts")
    _check_divisible(facts, w.axes[0], groups, f"{told} needs kernels in equal parts")
    channels = facts.simplify(x.axes[1] // groups)
    check_equal(
        facts,
        w.axes[1],
        channels,
        f"{told} needs kernels over {channels} channels",
        notes=(f"x: {x}", f"w: {w}"),
    )
    space = []
    for i in range(rank):
        size, kernel = x.axes[2 + i], w.axes[2 + i]
        reach = (kernel - 1) * attrs["dilation"][i] + 1
        room = _room("conv", facts, i, size, sum(attrs["padding"][i]), reach, x.axes[2:])
        space.append(facts.simplify(room // attrs["stride"][i] + 1))
    return (x.with_axes((x.axes[0], w.axes[0], *space)),)


def _infer_conv_transpose(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    x, w = present(inputs)
    rank = _check_space("conv_transpose", x, attrs, "stride", "dilation", "output_padding")
    _check_kernel("conv_transpose", facts, x, w)
    notes = (f"x: {x}", f"w: {w}")
    told = "`conv_transpose` needs one kernel per channel of `x`"
    check_equal(facts, x.axes[1], w.axes[0], told, notes=notes)
    groups = attrs["groups"]
    _check_divisible(
        facts, x.axes[1], groups, f"`conv_transpose` in {groups} groups needs channels in equal parts"
    )
    space = []
    for i in range(rank):
        reach = (w.axes[2 + i] - 1) * attrs["dilation"][i] + 1
        size = (
            (x.axes[2 + i] - 1) * attrs["stride"][i]
            + reach
            + (attrs["output_padding"][i] - sum(attrs["padding"][i]))
        )
        told = f"`conv_transpose` needs an element along spatial axis {i}"
        check_at_least(facts, x.axes[2 + i], Dim.of(1), told)
        check_at_least(facts, size, Dim.of(1), f"`conv_transpose` cuts off all of spatial axis {i}")
        space.append(facts.simplify(size))
    return (x.with_axes((x.axes[0], facts.simplify(w.axes[1] * groups), *space)),)


def _infer_pool(name: str) -> Any:
    def infer(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
        (x,) = present(inputs)
        rank = _check_space(name, x, attrs, "kernel", "stride")
        space = [_pooled(name, facts, i, x.axes[2:], attrs) for i in range(rank)]
        return (x.with_axes((*x.axes[:2], *space)),)

    return infer


def _pooled(name: str, facts: Facts, i: int, space: tuple[Dim, ...], attrs: Attrs) -> Dim:
    """The number of windows along spatial axis `i`; see `neural_reference.pooled_size`."""
    kernel, stride, (before, after) = attrs["kernel"][i], attrs["stride"][i], attrs["padding"][i]
    if not 0 <= max(before, after) < kernel or min(before, after) < 0:
        raise OpError(
            f"`{name}` needs padding smaller than the kernel, so that no window lies outside: {before} and"
            f" {after} for a kernel of {kernel}",
            kind="value",
        )
    size = space[i]
    room = _room(name, facts, i, size, before + after, kernel, space)
    if before + after >= kernel:  # else there is an element for sure
        check_at_least(facts, size, Dim.of(1), f"`{name}` needs an element along spatial axis {i}")
    if not attrs["ceil"]:
        return facts.simplify(room // stride + 1)
    return facts.simplify(dim_min((room + (stride - 1)) // stride + 1, (size + (before - 1)) // stride + 1))


# --- the ops ------------------------------------------------------------------------------------------------


def _conv_attrs(
    stride: list[int], padding: list[list[int]], dilation: list[int], groups: int = 1, **more: Any
) -> dict[str, Any]:
    return {"stride": stride, "padding": padding, **more, "dilation": dilation, "groups": groups}


def _pool_attrs(
    kernel: list[int], stride: list[int], padding: list[list[int]], ceil: bool = False, **more: Any
) -> dict[str, Any]:
    return {"kernel": kernel, "stride": stride, "padding": padding, "ceil": ceil, **more}


_CONVS = (
    Sample(("f32[2, 3, 5, 6]", "f32[4, 3, 3, 2]"), _conv_attrs([1, 1], [[1, 1], [0, 0]], [1, 1])),
    Sample(("f32[1, 2, 8, 7]", "f32[3, 2, 3, 3]"), _conv_attrs([2, 3], [[1, 0], [2, 1]], [1, 2])),
    Sample(("f32[2, 4, 6]", "f32[6, 2, 3]"), _conv_attrs([2], [[2, 2]], [1], 2)),
    Sample(("f32[1, 4, 5, 5]", "f32[4, 1, 3, 3]"), _conv_attrs([1, 1], [[1, 1], [1, 1]], [1, 1], 4)),
    Sample(("f32[1, 1, 1, 1]", "f32[2, 1, 1, 1]"), _conv_attrs([1, 1], [[0, 0], [0, 0]], [1, 1])),
    Sample(
        ("f32[1, 2, 3, 4, 5]", "f32[2, 2, 2, 1, 3]"),
        _conv_attrs([1, 2, 2], [[0, 1], [0, 0], [1, 1]], [1, 1, 1]),
    ),
    Sample(("f32[2, 1, 9]", "f32[1, 1, 3]"), _conv_attrs([4], [[0, 0]], [3])),
    Sample(("f32[2, 3, 7, 9]", "f32[3, 1, 3, 2]"), _conv_attrs([2, 2], [[2, 2], [2, 2]], [2, 2], 3)),
    Sample(("f32[2, 3, 6]", "f32[3, 1, 4]"), _conv_attrs([1], [[3, 3]], [1], 3)),
)
_TRANSPOSED = (
    Sample(
        ("f32[2, 3, 4, 3]", "f32[3, 2, 3, 2]"),
        _conv_attrs([1, 1], [[1, 1], [0, 0]], [1, 1], output_padding=[0, 0]),
    ),
    Sample(
        ("f32[1, 4, 3, 2]", "f32[4, 1, 3, 4]"),
        _conv_attrs([2, 3], [[1, 0], [2, 1]], [1, 2], 2, output_padding=[1, 0]),
    ),
    Sample(("f32[1, 2, 1]", "f32[2, 3, 1]"), _conv_attrs([2], [[0, 0]], [1], output_padding=[1])),
    Sample(
        ("f32[1, 2, 2, 2, 2]", "f32[2, 1, 2, 1, 2]"),
        _conv_attrs([2, 1, 2], [[0, 0], [0, 0], [1, 0]], [1, 1, 1], output_padding=[0, 0, 1]),
    ),
)
_POOLS = (
    Sample(("f32[2, 3, 4, 6]",), _pool_attrs([2, 3], [2, 3], [[0, 0], [0, 0]])),
    Sample(("f32[1, 2, 7, 5]",), _pool_attrs([3, 3], [2, 2], [[1, 1], [1, 0]])),
    Sample(("f32[1, 2, 7]",), _pool_attrs([3], [3], [[1, 1]], True)),
    Sample(("f32[1, 1, 6, 8]",), _pool_attrs([2, 3], [3, 2], [[0, 1], [1, 1]], True)),
    Sample(("f32[2, 1, 1, 1]",), _pool_attrs([1, 1], [1, 1], [[0, 0], [0, 0]])),
    Sample(("f32[1, 2, 3, 4, 5]",), _pool_attrs([2, 2, 2], [1, 2, 3], [[0, 0], [1, 0], [0, 1]])),
)
_TIED = Sample(([[[1.0, 1.0, 0.0, 1.0]]],), _pool_attrs([2], [1], [[1, 1]]), grad=False)


def _counted(sample: Sample, counted: bool) -> Sample:
    return Sample(sample.inputs, {**sample.attrs, "count_padding": counted})


_KERNELS = "stride: list[int], padding: list[list[int]]"
_STRIDE, _DILATION = Arg("stride", "spatial", 1), Arg("dilation", "spatial", 1)
_PADDING, _GROUPS = Arg("padding", "padding", 0), Arg("groups", "int", 1)


def _by_kernel(types: Sequence[TensorType], read: Attrs) -> Attrs:
    """Windows stand side by side where no stride is given."""
    return {**read, "stride": read["kernel"] if read["stride"] is None else read["stride"]}


_POOL_ARGS = (
    X,
    Arg("kernel", "spatial"),
    Arg("stride", "spatial", None),
    _PADDING,
    Arg("ceil", "bool", False),
)
_CONV_FLOPS = "2 * size() * j * prod(K)"

OPS: tuple[OpDef, ...] = (
    op(
        f"conv(x: [B, i, *D], w: [o, j, *K], {_KERNELS}, dilation: list[int], groups: int) -> [B, o, *R]",
        "Slides kernels over the spatial axes (without turning them round) and sums over channels."
        " `padding` is of zeros; `dilation` spreads the kernel; each of `groups` equal parts of the channels"
        " meets its own part of the kernels.",
        reference.conv,
        infer=_infer_conv,
        flops=_CONV_FLOPS,
        products=True,
        vjp=conv_vjp,
        call=form(X, Arg("w"), _STRIDE, _PADDING, _DILATION, _GROUPS, kernel="[out, channels // groups, …]"),
        samples=_CONVS,
    ),
    op(
        f"conv_transpose(x: [B, i, *D], w: [i, j, *K], {_KERNELS}, output_padding: list[int],"
        " dilation: list[int], groups: int) -> [B, o, *R]",
        "The transpose of `conv` as a linear map: every element of x adds its kernel, `stride` apart;"
        " `padding` is cut off, `output_padding` added at the end. j is the number of output channels of one"
        " group.",
        reference.conv_transpose,
        infer=_infer_conv_transpose,
        flops="2 * size(x) * j * prod(K)",
        products=True,
        vjp=conv_transpose_vjp,
        call=form(
            X,
            Arg("w"),
            _STRIDE,
            _PADDING,
            Arg("output_padding", "spatial", 0),
            _DILATION,
            _GROUPS,
            kernel="[channels, out // groups, …]",
        ),
        samples=_TRANSPOSED,
    ),
    op(
        f"max_pool(x: [B, c, *D], kernel: list[int], {_KERNELS}, ceil: bool) -> [B, c, *R]",
        "The greatest element of each window; padding never wins. With `ceil` a last window may hang over"
        " the end if it starts inside x or its front padding (PyTorch's rule).",
        reference.max_pool,
        infer=_infer_pool("max_pool"),
        flops="size() * prod(kernel)",
        vjp=max_pool_vjp,
        call=form(*_POOL_ARGS, attrs=_by_kernel),
        samples=(*_POOLS, _TIED),
    ),
    op(
        f"avg_pool(x: [B, c, *D], kernel: list[int], {_KERNELS}, ceil: bool, count_padding: bool)"
        " -> [B, c, *R]",
        "The mean of each window. With `count_padding`, padding counts as zeros (what hangs over it by"
        " `ceil` does not); without, only elements of x count. Windows as for `max_pool`.",
        reference.avg_pool,
        infer=_infer_pool("avg_pool"),
        flops="size() * prod(kernel)",
        vjp=avg_pool_vjp,
        call=form(*_POOL_ARGS, Arg("count_padding", "bool", True), attrs=_by_kernel),
        samples=(*(_counted(each, True) for each in _POOLS), *(_counted(each, False) for each in _POOLS)),
    ),
)
