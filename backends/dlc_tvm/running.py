"""Running sums and products on a CPU, in loops over the axes.

TVM's own goes through one flat index that it takes apart by the sizes of axes: it divides by one that may be 0, and of an empty axis it
writes the first element."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tvm import te, tirx

from dlc_tvm.schedule.loops import integer, loop, loops
from dlc_tvm.turns import OPAQUE


def _running(combined: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """An expansion of TVM's operation, each element of which is combined with the one before it."""

    def expansion(builder: Any, call: Any) -> Any:
        (x,) = call.args
        axis = int(call.attrs.axis)

        def compute(data: te.Tensor) -> te.Tensor:
            def body(ins: Any, outs: Any) -> Any:
                return _along(ins[0], outs[0], axis, combined)

            return te.extern([data.shape], [data], body, dtype=[str(x.ty.dtype)])

        # What TVM would fuse it with it takes apart wrongly: "inconsistent buffers".
        name, attributes = str(call.op.name).removeprefix("relax."), {"op_pattern": OPAQUE}
        return builder.emit_te(compute, x, primfunc_name_hint=name, primfunc_attrs=attributes)

    return expansion


def _along(source: Any, target: Any, axis: int, combined: Callable[[Any, Any], Any]) -> Any:
    sizes = list(source.ty.shape)
    others = [size for i, size in enumerate(sizes) if i != axis]

    def line(index: Sequence[Any]) -> Any:
        def at(buffer: Any, place: Any) -> tuple[Any, list[Any]]:
            return buffer, [*index[:axis], place, *index[axis:]]

        def step(place: Any) -> Any:
            here = tirx.BufferLoad(*at(source, place))
            before = tirx.BufferLoad(*at(target, tirx.max(place - 1, integer(0))))
            value = tirx.if_then_else(place > 0, combined(before, here), here)
            return tirx.BufferStore(target, value, at(target, place)[1])

        return loop(sizes[axis], step)

    kinds = [tirx.ForKind.PARALLEL, *(tirx.ForKind.SERIAL for _ in others[1:])][: len(others)]
    return loops(others, line, kinds)


RUNNING: Mapping[str, Callable[[Any, Any], Any]] = {
    "relax.cumsum": _running(lambda before, here: before + here),
    "relax.cumprod": _running(lambda before, here: before * here),
}
