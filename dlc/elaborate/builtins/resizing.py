"""What `resize` of the library asks of its arguments: the new size of each axis, and how far its elements are apart in the old."""

from __future__ import annotations

import math
from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Builtin, Tensor, show
from dlc.elaborate.builtins.call import Call, builtin
from dlc.elaborate.tensors.operators import lift
from dlc.elaborate.types.static import plain
from dlc.ops.calls import REQUIRED
from dlc.types.dims import Dim
from dlc.types.terms import called, untraced

# The modes, with the numbers of axes that they are for.
MODES = {
    "nearest": (1, 2, 3),
    "nearest-exact": (1, 2, 3),
    "linear": (1,),
    "bilinear": (2,),
    "trilinear": (3,),
    "bicubic": (2,),
}
SMOOTH = ("linear", "bilinear", "trilinear", "bicubic")
FILTERED = ("bilinear", "bicubic")

# Up to this many times, i // times is where PyTorch finds element i too, whose i * (1 / times) is rounded to f32: 41 is the first
# to go wrong.
EXACT_TIMES = 40


def _check_mode(call: Call, axes: int) -> None:
    """Refuse modes and options that don't go together, or not with as many axes."""
    mode = call["mode"]
    if mode not in MODES:
        known = ", ".join(MODES)
        _refuse(call, "mode", f"the mode is one of {known}, not {show(mode)}")
    if axes not in MODES[mode]:
        fits = " or ".join(each for each, counts in MODES.items() if axes in counts)
        help = f"for {axes} there is {fits}" if fits else "1 to 3 axes after [B, C] can be resized"
        wanted = " or ".join(map(str, MODES[mode]))
        _refuse(call, "mode", f'the mode "{mode}" is for {wanted} axes after [B, C], not {axes}', help)
    for key, modes in (("align_corners", SMOOTH), ("antialias", FILTERED)):
        if call[key] and mode not in modes:
            _refuse(call, key, f'`{key}` means something in the modes {", ".join(modes)}, not in "{mode}"')


def _refuse(call: Call, key: str, message: str, help: str = "") -> Any:
    return call.fail(problems.BAD_VALUE, key, callee="resize", message=message, help=help)


def _targets(call: Call) -> list[tuple[Any, Any, Any, int]]:
    """For each axis after [B, C] its size, the size that it gets, the distance of the new elements in old ones (none: the one
    size over the other), and how many new ones an old one becomes, where that is a whole number (0: is not known to be)."""
    x = call.tensor("x")
    _check_mode(call, x.type.rank - 2)
    if (call["scale"] is None) == (call["size"] is None):
        message = "needs `scale=` or `size=`" + ("" if call["scale"] is None else ", not both")
        call.body.report.fail(problems.BAD_VALUE, call.node.span, callee="resize", message=message)
    key = "size" if call["scale"] is None else "scale"
    axes = [plain(axis) for axis in x.type.axes[2:]]
    return [
        (_sized if key == "size" else _scaled)(call, *pair)
        for pair in zip(axes, _each(call, key, len(axes)), strict=True)
    ]


def _each(call: Call, key: str, count: int) -> list[Any]:
    """One number for all axes, or a list of one for each."""
    value = call[key]
    items = list(value) if isinstance(value, list | tuple) else [value] * count
    kinds = (int, Dim) if key == "size" else (int, float)
    items = [plain(each) for each in items]
    right = all(isinstance(each, kinds) and not isinstance(each, bool) for each in items)
    if (
        not right
        or len(items) != count
        or any(not isinstance(each, Dim) and not 0 < each < math.inf for each in items)
    ):
        expected = f"{'a size' if key == 'size' else 'a number'} above 0, or {count} of them"
        found = f"a tensor {value.type}" if isinstance(value, Tensor) else show(value)
        call.fail(problems.STATIC_TYPE, key, callee="resize", name=key, expected=expected, found=found)
    return items


def _sized(call: Call, n: Any, m: Any) -> tuple[Any, Any, Any, int]:
    facts = call.body.emission.facts
    times = next(
        (k for k in range(1, EXACT_TIMES + 1) if facts.prove_eq(Dim.of(n) * k, Dim.of(m)) is True), 0
    )
    step = n / m if isinstance(n, int) and isinstance(m, int) else None
    return n, m, step, times


def _scaled(call: Call, n: Any, scale: Any) -> tuple[Any, Any, Any, int]:
    whole = float(scale).is_integer()
    times = int(scale) if whole and scale <= EXACT_TIMES else 0
    return n, _product(call, n, scale), 1.0 / scale, times


def _product(call: Call, n: Any, scale: Any) -> Any:
    """floor(n * scale)."""
    if isinstance(scale, int):
        return plain(call.body.emission.facts.simplify(Dim.of(n * scale)))
    if isinstance(n, int):
        found = called("int", math.floor(untraced(n) * untraced(scale)), n * scale)
        if found < 1:
            _refuse(call, "scale", f"nothing is left of {n} elements at a scale of {show(scale)}")
        return found
    over, under = untraced(scale).as_integer_ratio()
    if under > 4096:
        help = f"give the sizes, `size=`, or a scale that is a whole number over a power of 2, or fix {n} in the input's type"
        _refuse(
            call, "scale", f"what {n} * {show(scale)} is, rounded down, can't be said for every {n}", help
        )
    return plain(call.body.emission.facts.simplify(Dim.of(n * over // under)))


def _ratio(call: Call) -> Any:
    """a / b, as a number or as a scalar of a dtype."""
    a, b = call["a"], call["b"]
    if isinstance(a, int) and isinstance(b, int):
        return a / b
    dtype = call.dtype("dtype")
    return call.emit("div", *(lift(call.body, call.node, each, dtype) for each in (a, b)))


_TARGETS = dict.fromkeys(("x", "scale", "size", "mode", "align_corners", "antialias"), REQUIRED)

BUILTINS: tuple[Builtin, ...] = (
    builtin("_targets", _TARGETS, _targets),
    builtin("_ratio", {"a": REQUIRED, "b": REQUIRED, "dtype": REQUIRED}, _ratio),
)
