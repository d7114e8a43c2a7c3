"""Norms over one value: it is its own mean, so that they give 0 whatever they are given. PyTorch refuses them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dlc.diagnostics import Diagnostic
from dlc.diagnostics import training as problems
from dlc.ir.nodes import Function, Op, Program, walk
from dlc.types.dims import Dim

_NORMS = ("batch_norm", "instance_norm", "group_norm")


def single_values(program: Program, sizes: Mapping[str, int], name: str) -> Iterator[Diagnostic]:
    """What is wrong with the norms of a train block's program in training, as far as the `sizes` of a batch tell, each once."""
    found = {op.span: op for op in _singles(program, sizes)}
    for op in found.values():
        of = "group" if op.op == "group_norm" else "channel"
        help = (
            _LARGER if op.op == "batch_norm" else "leave it out where there is no space, or take `layer_norm`"
        )
        yield problems.ONE_VALUE.at(op.span, norm=op.op, of=of, help=help, chain=(f"train {name}",))


_LARGER = "take a larger `batch`, or a norm that knows one row only: `layer_norm`, `group_norm`"


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
                if _count(op, callee, inside) == 1:
                    yield op
                continue
            key = (callee.name, tuple(sorted(inside.items())))
            if key not in done:
                done.add(key)
                stack.append((callee, inside))


def _known(op: Op, here: Mapping[str, int]) -> dict[str, int]:
    """The callee's sizes that are known where the caller's are `here`."""
    return {name: size.evaluate(here) for name, size in op.dims if size.symbols <= here.keys()}


def _count(op: Op, norm: Function, sizes: Mapping[str, int]) -> int | None:
    """How many values a mean is of; None where that is not known."""
    batch, channels, *space = norm.inputs[0].type.axes
    count = batch if op.op == "batch_norm" else Dim.of(1)
    for axis in space:
        count = count * axis
    if op.op == "group_norm":
        count = count * (channels // op.integer("groups"))
    return count.evaluate(sizes) if count.symbols <= sizes.keys() else None
