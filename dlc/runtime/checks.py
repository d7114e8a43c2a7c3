"""Tensors in `test` blocks: computed by the ops' NumPy references, with seeded initial weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dlc.diagnostics import Diagnostic
from dlc.diagnostics import training as problems
from dlc.elaborate.calls.resolve import resolve_parameters
from dlc.elaborate.programs.elaborator import Elaborator
from dlc.elaborate.state.body import Body
from dlc.ir.nodes import Function, Program
from dlc.ir.verify import COMPARED
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
        asked = (each for each in enumerate(function.body) if each[1].op == "require")
        failed = next((each for each in asked if each[1].text("message") in str(error)), None)
        span = function.span if failed is None else failed[1].span
        notes = [] if failed is None else _sides(program, failed[0])
        name = f'"{body.context.name}"'
        return [problems.TEST_FAILED.at(span, name=name, message=str(error), notes=notes)]
    return []


def _sides(program: Program, at: int) -> list[str]:
    """What the two sides of a comparison are that a `require`, an operation of the test, asks for."""
    before = program.main.body[:at]
    made = {value.name: op for op in before for value in op.outputs}
    op = made.get(program.main.body[at].inputs[0])
    while op is not None and op.op == "all":
        op = made.get(op.inputs[0])
    if op is None or (op.op not in COMPARED):
        return []
    sides = op.inputs
    if "close(" in program.main.body[at].text("message"):  # |a - b| <= …
        for inner in ("abs", "sub"):
            nearer = made.get(sides[0])
            if nearer is None or nearer.op != inner:
                return []
            sides = nearer.inputs
    outputs = tuple(zip(("left", "right"), sides, strict=False))
    main = replace(program.main, body=before, outputs=outputs)
    program = program.with_functions({**program.functions, program.entry: main})
    found = run(program, initial_weights(program), {})
    return [f"the {side} side is {_shown(value)}" for side, value in found.items()]


def _shown(value: np.ndarray) -> str:
    if not value.ndim:
        return f"{value.item():.8g}" if value.dtype.kind == "f" else str(value.item())
    return np.array2string(value, precision=8, threshold=12, edgeitems=4, separator=", ").replace("\n", "")
