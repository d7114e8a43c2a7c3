"""`parameters(m)`, `buffers(m)`, `active(m)`, `flops(m, B=1)`: what `test` blocks ask of a model."""

from __future__ import annotations

from typing import Any

from dlc.analysis.measure import active, count, flops
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Instance, PresetRef, type_name
from dlc.elaborate.calls.arguments import Given
from dlc.elaborate.programs.build import build
from dlc.elaborate.reports.report import Silent
from dlc.elaborate.state.body import Body
from dlc.elaborate.types.static import plain
from dlc.syntax import ast


def measure(body: Body, node: ast.Node, what: str, args: Given) -> Any:
    """The asked-for count of a model at full size; nothing is allocated."""
    if not args.positional:
        body.report.fail(problems.MISSING_ARGUMENT, node.span, callee=what, name="model")
    value, span = args.positional[0]
    if not isinstance(value, Instance | PresetRef):
        body.report.fail(
            problems.STATIC_TYPE, span, callee=what, name="model", expected="a model", found=type_name(value)
        )
    program = build(body.context.session.project, value, span, report=body.context.session.findings.keep)
    if program is None:
        raise Silent
    if what in ("parameters", "buffers"):
        return count(program, "param" if what == "parameters" else "buffer")
    sizes = {name: plain(size) for name, (size, _) in args.named.items()}
    return active(program) if what == "active" else plain(flops(program, sizes))
