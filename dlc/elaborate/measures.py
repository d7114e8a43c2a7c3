"""`parameters(m)`, `buffers(m)`, `active(m)`, `flops(m, B=1)`: what `test` blocks ask of a model."""

from __future__ import annotations

from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.calls import Given
from dlc.elaborate.frame import Frame, Silent
from dlc.elaborate.operators import plain
from dlc.elaborate.values import Instance, PresetRef, type_name
from dlc.syntax import ast


def measure(frame: Frame, node: ast.Node, what: str, args: Given) -> Any:
    """The asked-for count of a model at full size; nothing is allocated."""
    from dlc.analysis.measure import active, count, flops
    from dlc.elaborate.programs import build

    if frame.kind != "test":
        frame.fail(
            problems.MISPLACED,
            node.span,
            what=f"`{what}` measures a whole model: it stands in a `test` block",
        )
    if not args.positional:
        frame.fail(problems.MISSING_ARGUMENT, node.span, callee=what, name="model")
    value, span = args.positional[0]
    if not isinstance(value, Instance | PresetRef):
        frame.fail(
            problems.STATIC_TYPE, span, callee=what, name="model", expected="a model", found=type_name(value)
        )
    program = build(frame.elaborator.project, value, span, report=frame.elaborator.report)
    if program is None:
        raise Silent
    if what in ("parameters", "buffers"):
        return count(program, "param" if what == "parameters" else "buffer")
    sizes = {name: plain(size) for name, (size, _) in args.named.items()}
    return active(program) if what == "active" else plain(flops(program, sizes))
