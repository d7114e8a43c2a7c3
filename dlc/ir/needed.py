"""What of a function some of its values are computed by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dlc.ir.nodes import Function, Op, walk
from dlc.records import replace


def reads(op: Op) -> Iterator[str]:
    """The values that an operation reads, those that its regions read and give included."""
    for each in walk((op,)):
        yield from filter(None, each.inputs)
        for region in each.regions:
            yield from filter(None, region.results)


def live(function: Function) -> set[str]:
    """The values that a function reads or gives."""
    return {name for op in function.body for name in reads(op)} | {value for _, value in function.outputs}


def only(function: Function, values: Iterable[str]) -> Function:
    """The function with these of its outputs, and the operations that they need: without updates of buffers and checks."""
    live = set(values)
    outputs = tuple((name, value) for name, value in function.outputs if value in live)
    body: list[Op] = []
    for op in reversed(function.body):
        if any(each.name in live for each in op.outputs):
            body.append(op)
            live.update(reads(op))
    return replace(function, outputs=outputs, body=tuple(reversed(body)))
