"""Arguments of ops that slide windows over the axes after [B, C]: one number or one for each of these axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Tensor, show
from dlc.elaborate.builtins.call import Call
from dlc.elaborate.types.static import plain
from dlc.ops.calls import Form
from dlc.types.dims import Dim


def spatial_axes(call: Call, form: Form, x: Tensor, w: Tensor | None) -> int:
    """How many axes the windows go over."""
    count = x.type.rank - 2
    if w is None:
        if count < 1:
            message, notes = f"`{call.name}` needs axes after [B, C]", [f"{x.name}: {x.type}"]
            call.fail(problems.SHAPE, "x", message=message, notes=notes)
    elif count < 1 or w.type.rank != x.type.rank:
        message = f"`{call.name}` needs x [B, channels, …] and w {form.kernel} of as many axes"
        notes = [f"x: {x.type}", f"w: {w.type}"]
        call.body.report.fail(problems.SHAPE, call.node.span, message=message, notes=notes)
    return count


def window(call: Call, form: Form, operands: Sequence[Tensor | None]) -> dict[str, Any]:
    """The `spatial` and `padding` arguments of a form, by name."""
    x, w = operands[0], operands[1] if len(operands) > 1 else None
    assert x is not None
    count = spatial_axes(call, form, x, w)
    found: dict[str, Any] = {
        arg.name: spatial(call, arg.name, count)
        for arg in form.args
        if arg.read == "spatial" and not (arg.default is None and call[arg.name] is None)
    }
    kernel = [axis.constant or 1 for axis in w.type.axes[2:]] if w is not None else found["kernel"]
    for arg in form.args:
        if arg.read == "padding":
            reach = [d * (k - 1) for k, d in zip(kernel, found.get("dilation", (1,) * count), strict=True)]
            if call[arg.name] == "same":
                found[arg.name] = same(call, arg.name, x.type.axes[2:], reach, found)
            else:
                found[arg.name] = paddings(call, arg.name, reach)
    return found


def spatial(call: Call, key: str, count: int) -> tuple[int, ...]:
    """An int for every axis, or a list of one each."""
    value = plain(call[key])
    items = [value] * count if isinstance(value, int) and not isinstance(value, bool) else value
    if (
        not isinstance(items, list | tuple)
        or len(items) != count
        or not all(isinstance(i, int) for i in items)
    ):
        expected = f"an int or {count} ints"
        call.fail(problems.STATIC_TYPE, key, callee=call.name, name=key, expected=expected, found=show(value))
    if any(item < (0 if key.endswith("padding") else 1) for item in items):
        call.fail(problems.STATIC_ERROR, key, message=f"`{key}` of `{call.name}` can't be {show(value)}")
    return tuple(items)


def same(
    call: Call, key: str, space: Sequence[Dim], reach: Sequence[int], given: Mapping[str, Any]
) -> tuple[tuple[int, int], ...]:
    """As much padding, as (before, after) per axis, as gives every `stride`-th element a window: TensorFlow's rule, in which an odd one
    stands behind. Transposed, it is the padding of the convolution that it turns round, whose size is a multiple of the stride."""
    stride = given.get("stride") or given["kernel"]  # what pools do where none is given
    totals: list[int] = []
    for size, r, step in zip(space, reach, stride, strict=True):
        rest = 0 if step == 1 or "output_padding" in given else _rest(call, key, size, r, step)
        totals.append(max(r + 1 - (rest or step), 0))
    return tuple((total // 2, total - total // 2) for total in totals)


def _rest(call: Call, key: str, size: Dim, reach: int, step: int) -> int:
    """size % step. Fails where that is not known, and matters."""
    facts = call.body.emission.facts
    rest = facts.simplify(size % step).constant
    if rest is not None or not reach:
        return rest or 0
    if facts.prove_divisible(size, Dim.of(step)):
        return 0
    told = f'`padding="same"` with a stride of {step} depends on the rest of {size} divided by {step}, which is not known'
    failed: int = call.fail(
        problems.UNPROVED_SHAPE,
        key,
        message=told,
        help=f"state it, such as `where {size} % {step} == 0`, or give the padding as pairs",
    )
    return failed


def paddings(call: Call, key: str, reach: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Padding as (before, after) per axis: an int, a list, pairs, or "causal"."""
    value, count = call[key], len(reach)
    if value == "causal":
        return tuple((r, 0) for r in reach)
    if isinstance(value, str):
        call.fail(
            problems.STATIC_TYPE,
            key,
            callee=call.name,
            name=key,
            expected='an int, pairs, "same" or "causal"',
            found=show(value),
        )
    if isinstance(value, list | tuple) and value and all(isinstance(each, list | tuple) for each in value):
        pairs = [tuple(map(plain, each)) for each in value]
        if len(pairs) != count or any(len(pair) != 2 for pair in pairs):
            call.fail(
                problems.STATIC_TYPE,
                key,
                callee=call.name,
                name=key,
                expected=f"{count} pairs",
                found=show(value),
            )
        return tuple((a, b) for a, b in pairs)
    return tuple((p, p) for p in spatial(call, key, count))
