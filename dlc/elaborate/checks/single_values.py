"""Norms over a batch that have one value a channel: it is its own mean, so that they give 0 whatever they are given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dlc.diagnostics import Diagnostic
from dlc.diagnostics import training as problems
from dlc.ir.nodes import Function, Op, Program, walk
from dlc.types.dims import Dim

_NORMS = {"batch_norm": 1}  # and the axis of its channels


def single_values(program: Program, sizes: Mapping[str, int], name: str) -> Iterator[Diagnostic]:
    """What is wrong with the norms of a train block's program in training, as far as the `sizes` of a batch tell, each once."""
    found = {op.span: op for op in _singles(program, sizes)}
    help = "take a larger `batch`, or a norm that knows one row only: `layer_norm`, `group_norm`"
    for op in found.values():
        yield problems.ONE_VALUE.at(op.span, norm=op.op, help=help, chain=(f"train {name}",))


def _singles(program: Program, sizes: Mapping[str, int]) -> Iterator[Op]:
    """The calls of norms with one value a channel, through all that is called with sizes that are known."""
    done: set[tuple[str, tuple[tuple[str, int], ...]]] = set()
    stack = [(program.main, dict(sizes))]
    while stack:
        function, here = stack.pop()
        for op in walk(function.body):
            if not op.callee:
                continue
            callee, inside = program.functions[op.callee], _known(op, here)
            if callee.library and op.op in _NORMS:
                if _count(callee, inside) == 1:
                    yield op
                continue
            key = (callee.name, tuple(sorted(inside.items())))
            if key not in done:
                done.add(key)
                stack.append((callee, inside))


def _known(op: Op, here: Mapping[str, int]) -> dict[str, int]:
    """The callee's sizes that are known where the caller's are `here`."""
    return {name: size.evaluate(here) for name, size in op.dims if size.symbols <= here.keys()}


def _count(norm: Function, sizes: Mapping[str, int]) -> int | None:
    """How many values a channel has; None where that is not known."""
    axes = list(norm.inputs[0].type.axes)
    del axes[_NORMS[norm.source]]
    count = Dim.of(1)
    for axis in axes:
        count = count * axis
    return count.evaluate(sizes) if count.symbols <= sizes.keys() else None
