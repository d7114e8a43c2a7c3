"""Arguments of ops that slide windows over the axes after [B, C]: one number or one for each of these axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Tensor, show
from dlc.elaborate.builtins.call import Call
from dlc.elaborate.types.static import plain
from dlc.ops.calls import Form


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
            found[arg.name] = paddings(call, arg.name, kernel, found.get("dilation", (1,) * count))
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


def paddings(
    call: Call, key: str, kernel: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Padding as (before, after) per axis: an int, a list, pairs, "same" or "causal"."""
    value, count = call[key], len(kernel)
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if value == "same":
        return tuple((r // 2, r - r // 2) for r in reach)
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
