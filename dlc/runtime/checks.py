"""Tensors in `test` blocks: computed by the ops' NumPy references, with seeded initial weights."""

from __future__ import annotations

from dataclasses import replace

from dlc.diagnostics import Diagnostic
from dlc.diagnostics import training as problems
from dlc.elaborate.calls.resolve import resolve_parameters
from dlc.elaborate.programs.elaborator import Elaborator
from dlc.elaborate.state.body import Body
from dlc.ir.nodes import Function, Program
from dlc.runtime.interpret import CheckFailed, run
from dlc.runtime.weights import initial_weights


def run_checks(elaborator: Elaborator, body: Body) -> list[Diagnostic]:
    """Run the operations that a test's statements appended; a `require` on tensors that fails is reported."""
    function = Function(
        name=elaborator.unique("test"),
        source="test",
        kind="model",
        inputs=(),
        outputs=(),
        body=tuple(body.emission.builder.body),
        children=tuple(body.emission.children.values()),
    )
    elaborator.functions[function.name] = function
    program = Program(dict(elaborator.functions), function.name)
    program = replace(program, parameters=resolve_parameters(elaborator, function.name))
    try:
        run(program, initial_weights(program), {})
    except CheckFailed as error:
        asked = [op for op in function.body if op.op == "require"]
        span = next((op.span for op in asked if op.text("message") in str(error)), function.span)
        return [problems.TEST_FAILED.at(span, name=f'"{body.context.name}"', message=str(error))]
    return []
