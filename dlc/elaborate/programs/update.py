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

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from dlc.diagnostics import NO_SPAN, Span, SpecError
from dlc.diagnostics import training as problems
from dlc.elaborate.base.budget import Budget
from dlc.elaborate.base.depth import deep
from dlc.elaborate.base.project import Project, library_definition, library_sources
from dlc.elaborate.base.units import Definition
from dlc.elaborate.base.values import Tensor, type_name
from dlc.elaborate.calls.arguments import Given
from dlc.elaborate.calls.calls import make_instance
from dlc.elaborate.calls.functions import apply_instance
from dlc.elaborate.calls.initial import initial_function
from dlc.elaborate.calls.resolve import resolve_parameters
from dlc.elaborate.programs.elaborator import Elaborator
from dlc.elaborate.state.body import Body, static_body
from dlc.ir.builder import Builder
from dlc.ir.loops import Loop, Sliced
from dlc.ir.nodes import Function, Op, Param, Parameter, Program, Value
from dlc.ir.paths import gradient_name
from dlc.ir.splice import Names
from dlc.passes.dead_code import DeadCode
from dlc.passes.lower import flatten_calls, hoist_randomness
from dlc.passes.randomness import Draw
from dlc.passes.stacked import Stack, stacked_states
from dlc.passes.subexpressions import Subexpressions
from dlc.records import dataclass, replace
from dlc.syntax import ast
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType

STEP, RATE = "t", "lr"
"""What an optimizer calls the number of the step and the rate, if it takes them."""
STATE = "optimizer"
SCALE = "loss_scale"
"""Where below an update's state a scale that follows the gradients lies, and what is counted for it."""
DYNAMIC = "dynamic"
TINY = 1e-6
"""Added to a norm that gradients are clipped by, as in PyTorch."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An optimizer with its static arguments, and the paths that it trains: a module of the library by its name, or a spec's own
    `definition`. Whether it takes a rate with each step; else it has one of its own."""

    optimizer: str
    args: Mapping[str, Any]
    paths: tuple[str, ...]
    takes_rate: bool = True
    definition: Definition | None = None
    span: Span = NO_SPAN

    @property
    def module(self) -> Definition:
        found = self.definition or library_definition(self.optimizer)
        assert found is not None
        return found


def rate_name(number: int) -> str:
    """What the input with the rate of the rule of that number, from 0, is called."""
    return "rate" if number == 0 else f"rate_{number + 1}"


def scale_path(state: str = STATE) -> str:
    """The buffer with the scale of an update's loss, where it is dynamic."""
    return f"{state}.{SCALE}.scale"


def state_path(path: str, state: str = STATE) -> str:
    """Where the optimizer of the parameter at `path` keeps what it remembers."""
    return f"{state}.{path}"


@deep
def update_program(
    project: Project,
    parameters: Iterable[Parameter],
    rules: Sequence[Rule],
    clip_norm: float | None = None,
    state: str = STATE,
    scale: float | str | None = None,
    stacks: Sequence[Stack] = (),
) -> tuple[Program, tuple[Draw, ...]]:
    """What a step does with the gradients, which are inputs by `gradient_name`, beside the number of the step, `t`, from 1, and a
    rate for each rule. It has no outputs but a scale: parameters and what optimizers remember are updated.

    It has no calls, and draws nothing: what optimizers draw are inputs, the draws in order beside it. What all of these compute alike, `1 - beta ** t`, is computed once. What they remember lies below `state`. Gradients are clipped so that all of them together have no norm above `clip_norm`.

    Gradients are those of a loss times `scale`, and are divided by it. Where that is `DYNAMIC`, it is a buffer, and nothing but what is counted
    for it changes where a gradient is not finite; `t` is then counted here, and no input, and the new scale is an output.

    Where paths of rules are those of `stacks`, the optimizer updates each member by itself, in a loop that is taken apart where it need not turn; what it remembers
    is stacked as well. Raises SpecError where an optimizer does not fit a parameter."""
    known = {each.path: each for each in stacks}
    types = {each.path: each.type for each in parameters} | {each.path: each.whole for each in stacks}
    trained = [path for rule in rules for path in rule.paths]
    body = _body(project, rules)
    b = body.emission.builder
    grads = {path: Value(b.fresh(gradient_name(path)), types[path]) for path in trained}
    step = Value(b.fresh(STEP), TensorType("i64", ()))
    rates = [Value(b.fresh(rate_name(i)), TensorType("float", ())) for i in range(len(rules))]
    wanted = (rate for rate, rule in zip(rates, rules, strict=True) if rule.takes_rate)
    inputs = (*grads.values(), *([] if scale == DYNAMIC else [step]), *wanted)
    finite: Value | None = None
    outputs: tuple[tuple[str, str], ...] = ()
    if scale == DYNAMIC:
        finite = _all_finite(b, grads.values())
        step, factor, new = _scale_after(body, finite, f"{state}.{SCALE}")
        outputs = ((SCALE, new.name),)
        grads = {path: b.mul(grad, factor) for path, grad in grads.items()}
    elif scale is not None:
        grads = {path: b.mul(grad, 1.0 / float(scale)) for path, grad in grads.items()}
    if clip_norm is not None:
        grads = _clipped(b, grads, clip_norm)
    at: dict[str, str] = {}
    for rule, rate in zip(rules, rates, strict=True):
        for path in rule.paths:
            place = state_path(path, state)
            update = partial(_updated, body, rule, path)
            if path in known:
                update = partial(_updated_in_turns, update, b, known[path])
            after = _told(body, path, partial(update, types[path], grads[path], step, rate, place))
            at |= {} if after is None else {after.name: path}
    made, draws = _drawing(_program(body, inputs, outputs), at)
    made = flatten_calls(made)
    made = stacked_states(made, stacks) if stacks else made
    made = made if finite is None else _guarded(made, finite, f"{state}.{SCALE}.")
    return DeadCode().run(Subexpressions().run(made)), draws


@deep
def rule_program(
    project: Project, parameters: Iterable[Parameter], rule: Rule
) -> tuple[Program, tuple[Draw, ...]]:
    """What one rule does, for backends whose own trainers do the rest: for each of its parameters the values `value.I` and `gradient.I`
    are inputs and the new value `value.I` is an output; `t` and `rate` are inputs besides, and so is what it draws. Raises SpecError as
    `update_program`."""
    types = {each.path: each.type for each in parameters}
    body = _body(project, [rule])
    b = body.emission.builder
    step = Value(b.fresh(STEP), TensorType("i64", ()))
    rate = Value(b.fresh(rate_name(0)), TensorType("float", ()))
    inputs, outputs = [step, *([rate] if rule.takes_rate else [])], []
    at: dict[str, str] = {}
    for i, path in enumerate(rule.paths):
        before, grad = (Value(b.fresh(name(i)), types[path]) for name in (value_input, gradient_input))
        inputs += [before, grad]
        place = state_path(path)
        after = _told(body, path, partial(_optimized, body, rule, path, before, grad, step, rate, place))
        if after is not None:
            outputs.append((value_input(i), after.name))
            at[after.name] = path
    return _drawing(_program(body, tuple(inputs), tuple(outputs)), at)


def _drawing(program: Program, at: Mapping[str, str]) -> tuple[Program, tuple[Draw, ...]]:
    """The program with what optimizers draw as inputs, and these, each with the parameter that it is for: their new values have the names
    in `at`."""
    made, draws = hoist_randomness(program)
    paths = {
        name: at.get(op.outputs[0].name, "") for op in made.main.body if op.outputs for name in op.inputs
    }
    return made, tuple(replace(each, path=paths.get(each.input.name, "")) for each in draws)


def value_input(number: int) -> str:
    return f"value_{number}"


def gradient_input(number: int) -> str:
    return f"gradient_{number}"


def _body(project: Project, rules: Sequence[Rule]) -> Body:
    session = Elaborator(project, training=True)
    return static_body(session, rules[0].module.unit, kind="train", name="update")


def _program(body: Body, inputs: tuple[Value, ...], outputs: tuple[tuple[str, str], ...]) -> Program:
    session = body.context.session
    if session.diagnostics:
        raise SpecError(session.diagnostics, {**library_sources(), **session.project.sources})
    main = Function(
        name=session.unique("update"),
        source="update",
        kind="model",
        inputs=inputs,
        outputs=outputs,
        body=tuple(body.emission.builder.body),
        params=tuple(body.emission.params.values()),
        children=tuple(body.emission.children.values()),
        training=True,
    )
    session.functions[main.name] = main
    return Program(session.called(), main.name, resolve_parameters(session, main.name))


def _all_finite(b: Builder, grads: Iterable[Value]) -> Value:
    found: Value | None = None
    for grad in grads:
        each = b.op("all", b.op("isfinite", grad), axis=tuple(range(grad.type.rank)), keepdims=False)
        found = each if found is None else b.op("logical_and", found, each)
    assert found is not None
    return found


def _scale_after(body: Body, finite: Value, place: str) -> tuple[Value, Value, Value]:
    """The number of the step, without those that were left out, what gradients are multiplied by, and the scale that is next, by the
    rule of the library."""
    rule = library_definition("_loss_scale")
    assert rule is not None
    node, label = ast.Node(), ast.Label((place,))
    found = apply_instance(
        body, make_instance(body, rule, Given(), node, label), Given([(Tensor(finite), NO_SPAN)]), node, label
    )
    step, factor, new = (each.value for each in found)
    return step, body.emission.builder.cast(factor, "float"), new


def _guarded(program: Program, finite: Value, own: str) -> Program:
    """The program, which has no calls, with updates where `finite` holds; those of what lies below `own` are made in any case."""
    main, types = program.main, {each.path: each.type for each in program.parameters}
    b = Builder(Facts(main.facts), names=Names.of(main).fresh)
    for op in main.body:
        path = op.text("path") if op.op == "update" else own
        if not path.startswith(own):
            old = Value(b.fresh("old"), types[path])
            b.append(Op("param", (), (old,), (("path", path),)))
            chosen = b.where(finite, Value(op.inputs[0], old.type), old)
            op = replace(op, inputs=(chosen.name,))
        b.append(op)
    return program.with_functions({**program.functions, main.name: replace(main, body=tuple(b.body))})


def _clipped(b: Builder, grads: Mapping[str, Value], limit: float) -> dict[str, Value]:
    total: Value | None = None
    for grad in grads.values():
        square = b.sum(b.mul(grad, grad), tuple(range(grad.type.rank)))
        total = square if total is None else b.add(total, square)
    assert total is not None
    norm = b.op("sqrt", total, hint="norm")
    factor = b.op("minimum", b.div(limit, b.add(norm, TINY)), 1.0, hint="factor")
    return {path: b.mul(grad, factor) for path, grad in grads.items()}


def _updated(
    body: Body,
    rule: Rule,
    path: str,
    type: TensorType,
    grad: Value,
    step: Value,
    rate: Value,
    place: str,
) -> Value:
    b = body.emission.builder
    body.emission.params[path] = Param(path, type, init=_zeros(body, type))
    before = Value(b.fresh("p"), type)
    b.append(Op("param", (), (before,), (("path", path),)))
    after = _optimized(body, rule, path, before, grad, step, rate, place)
    b.append(Op("update", (after.name,), (), (("path", path),)))
    return after


def _updated_in_turns(
    update: Callable[[TensorType, Value, Value, Value, str], Value],
    b: Builder,
    stack: Stack,
    whole: TensorType,
    grads: Value,
    step: Value,
    rate: Value,
    place: str,
) -> Value:
    """Append a loop over the members of a stack that updates one a turn, as if its turns shared one parameter (`stacked_states`)."""
    outside, b.body = b.body, []
    grad = Value(b.fresh("gradient"), stack.type)
    try:
        after = update(stack.type, grad, step, rate, place)
    finally:
        turn, b.body = b.body, outside
    loop = Loop(len(stack.members), tuple(turn), sequences=(Sliced(grads.name, 0, grad),), shared=True)
    b.append(loop.op())
    return after


def _optimized(
    body: Body, rule: Rule, path: str, before: Value, grad: Value, step: Value, rate: Value, place: str
) -> Value:
    """The new value of a parameter. What the rule remembers of it lies at its `place`."""
    node, label = ast.Node(span=rule.span), ast.Label((place,))
    statics = Given(named={name: (_static(value), rule.span) for name, value in rule.args.items()})
    optimizer = make_instance(body, rule.module, statics, node, label)
    module = rule.module.node
    assert isinstance(module, ast.ModuleDef)
    first = Given([(Tensor(before), rule.span), (Tensor(grad), rule.span)])
    names = {str(each.name) for each in module.inputs}
    further = {STEP: step, **({RATE: rate} if rule.takes_rate else {})}
    first.named = {name: (Tensor(value), rule.span) for name, value in further.items() if name in names}
    after = apply_instance(body, optimizer, first, node, label)
    if not isinstance(after, Tensor) or after.type != before.type:
        found = str(after.type) if isinstance(after, Tensor) else type_name(after)
        message = f"`{rule.optimizer}` gives {found} for `{path}`, which is {before.type}"
        body.report.fail(problems.BAD_OPTIMIZER, rule.span, message=message)
    return after.value


def _told(body: Body, path: str, work: Callable[[], Value]) -> Value | None:
    """What `work` gives; what is wrong is told with the parameter that it is wrong for. Each parameter has a budget of its own, since a
    network may have as many as it likes."""
    body.context.session.budget = Budget()
    found = body.context.session.diagnostics
    before = len(found)
    value: Value | None = body.report.guarded(work)
    note = f"it trains the parameter `{path}`"
    found[before:] = [replace(each, notes=(*each.notes, note)) for each in found[before:]]
    return value


def _zeros(body: Body, type: TensorType) -> str:
    """An initial value for a program by itself: in a step parameters begin as the network says."""
    zeros = ast.Name("zeros")
    return initial_function(body, zeros, type, NO_SPAN, body.scope)


def _static(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
