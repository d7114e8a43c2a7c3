"""The update of a training step as a program: each trained parameter goes through its optimizer, a module of the library whose
buffers are what it remembers.

    model update(%fc.weight.grad: [3, 4], %t: i64[], %rate: []) -> ()
        param fc.weight: [3, 4]
        child optimizer.fc.weight: adamw
    {
        %p: [3, 4] = param() {path="fc.weight"}
        %adamw: [3, 4] = adamw(%p, %fc.weight.grad, %t, %rate) {…} @ optimizer.fc.weight -> adamw
        update(%adamw) {path="fc.weight"}
    }
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from dlc.autodiff.reverse import gradient_name
from dlc.diagnostics import NO_SPAN, SpecError
from dlc.elaborate.base.depth import deep
from dlc.elaborate.base.project import Project, library_definition
from dlc.elaborate.base.values import Tensor
from dlc.elaborate.calls.arguments import Given
from dlc.elaborate.calls.calls import make_instance
from dlc.elaborate.calls.functions import apply_instance
from dlc.elaborate.calls.initial import initial_function
from dlc.elaborate.calls.resolve import resolve_parameters
from dlc.elaborate.programs.elaborator import Elaborator
from dlc.elaborate.state.body import Body, static_body
from dlc.ir.builder import Builder
from dlc.ir.nodes import Function, Op, Param, Parameter, Program, Value
from dlc.records import dataclass
from dlc.syntax import ast
from dlc.types.tensor import TensorType

STEP = "t"
STATE = "optimizer"
TINY = 1e-6
"""Added to a norm that gradients are clipped by, as in PyTorch."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An optimizer of the library with its static arguments, and the paths that it trains. Whether it takes a `rate` with each
    step; else it has one of its own."""

    optimizer: str
    args: Mapping[str, Any]
    paths: tuple[str, ...]
    takes_rate: bool = True


def rate_name(number: int) -> str:
    """What the input with the rate of the rule of that number, from 0, is called."""
    return "rate" if number == 0 else f"rate_{number + 1}"


def state_path(path: str) -> str:
    """Where the optimizer of the parameter at `path` keeps what it remembers."""
    return f"{STATE}.{path}"


@deep
def update_program(
    parameters: Iterable[Parameter], rules: Sequence[Rule], clip_norm: float | None = None
) -> Program:
    """What a step does with the gradients, which are inputs by `gradient_name`, beside the number of the step, `t`, from 1, and a
    rate for each rule. It has no outputs: parameters and what optimizers remember are updated.

    Gradients are clipped so that all of them together have no norm above `clip_norm`. Raises SpecError where an optimizer does
    not fit a parameter."""
    types = {each.path: each.type for each in parameters}
    trained = [path for rule in rules for path in rule.paths]
    session = Elaborator(Project(), training=True)
    definitions = {rule.optimizer: library_definition(rule.optimizer) for rule in rules}
    unit = next(each.unit for each in definitions.values() if each is not None)
    body = static_body(session, unit, kind="train", name="update")
    b = body.emission.builder
    grads = {path: Value(b.fresh(gradient_name(path)), types[path]) for path in trained}
    step = Value(b.fresh(STEP), TensorType("i64", ()))
    rates = [Value(b.fresh(rate_name(i)), TensorType("float", ())) for i in range(len(rules))]
    inputs = (
        *grads.values(),
        step,
        *(rate for rate, rule in zip(rates, rules, strict=True) if rule.takes_rate),
    )
    if clip_norm is not None:
        grads = _clipped(b, grads, clip_norm)
    for rule, rate in zip(rules, rates, strict=True):
        for path in rule.paths:
            given = [grads[path], step, *([rate] if rule.takes_rate else [])]
            body.report.guarded(partial(_updated, body, rule, path, types[path], given))
    if session.diagnostics:
        raise SpecError(session.diagnostics)
    main = Function(
        name=session.unique("update"),
        source="update",
        kind="model",
        inputs=inputs,
        outputs=(),
        body=tuple(b.body),
        params=tuple(body.emission.params.values()),
        children=tuple(body.emission.children.values()),
        training=True,
    )
    session.functions[main.name] = main
    return Program(session.called(), main.name, resolve_parameters(session, main.name))


def _clipped(b: Builder, grads: Mapping[str, Value], limit: float) -> dict[str, Value]:
    total: Value | None = None
    for grad in grads.values():
        square = b.sum(b.mul(grad, grad), tuple(range(grad.type.rank)))
        total = square if total is None else b.add(total, square)
    assert total is not None
    norm = b.op("sqrt", total, hint="norm")
    factor = b.op("minimum", b.div(limit, b.add(norm, TINY)), 1.0, hint="factor")
    return {path: b.mul(grad, factor) for path, grad in grads.items()}


def _updated(body: Body, rule: Rule, path: str, type: TensorType, given: Sequence[Value]) -> Tensor:
    definition = library_definition(rule.optimizer)
    assert definition is not None
    b = body.emission.builder
    body.emission.params[path] = Param(path, type, init=_zeros(body, type))
    before = Value(b.fresh("p"), type)
    b.append(Op("param", (), (before,), (("path", path),)))
    node, label = ast.Node(), ast.Label((state_path(path),))
    statics = Given(named={name: (_static(value), NO_SPAN) for name, value in rule.args.items()})
    optimizer = make_instance(body, definition, statics, node, label)
    tensors = Given([(Tensor(each), NO_SPAN) for each in (before, *given)])
    after: Tensor = apply_instance(body, optimizer, tensors, node, label)
    b.append(Op("update", (after.name,), (), (("path", path),)))
    return after


def _zeros(body: Body, type: TensorType) -> str:
    """An initial value for a program by itself: in a step parameters begin as the network says."""
    zeros = ast.Name("zeros")
    return initial_function(body, zeros, type, NO_SPAN, body.scope)


def _static(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
