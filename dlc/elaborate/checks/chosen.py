"""What a train block chooses by name, with arguments: sources of data, optimizers, schedules."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from dlc.diagnostics import SpecError, did_you_mean, suggestion
from dlc.diagnostics import training as problems
from dlc.elaborate.base import habits
from dlc.elaborate.base.units import Definition
from dlc.elaborate.base.values import Tensor, show, type_name
from dlc.elaborate.calls.arguments import Given, bind_static_arguments, match_arguments
from dlc.elaborate.calls.functions import call_fn
from dlc.elaborate.checks.plan import Named, OptimizerRule
from dlc.elaborate.checks.train_arguments import (
    OPTIMIZER_INPUTS,
    OPTIMIZERS,
    OWN_OPTIMIZER,
    RATE,
    REQUIRED_ARGUMENTS,
    SCHEDULES,
    check_arguments,
    setting_help,
    source_names,
    source_options,
)
from dlc.elaborate.names import lookup as names
from dlc.elaborate.programs.elaborator import Elaborator
from dlc.elaborate.state.body import Body, static_body
from dlc.elaborate.types.static import plain
from dlc.plugins import Unloadable
from dlc.source import REQUIRED
from dlc.syntax import ast


def source(body: Body, node: ast.Expr) -> Named:
    if not isinstance(node, ast.Call) or not isinstance(node.callee, ast.Name):
        body.report.fail(problems.BAD_SOURCE, node.span, message="a source is called: `digits(batch=64)`")
    name = node.callee.id
    try:
        options = source_options(name)
    except Unloadable as error:
        message = f"the source `{name}` is not available: {error}"
        body.report.fail(problems.BAD_SOURCE, node.callee.span, message=message)
    if options is None:
        help = habits.SOURCES.get(name.lower()) or did_you_mean(name, source_names())
        help = help or f"sources are {', '.join(source_names())}"
        body.report.fail(
            problems.BAD_SOURCE, node.callee.span, message=f"there is no source `{name}`", help=help
        )
    return named(body, node, options)


def named(body: Body, node: ast.Call, options: dict[str, Any]) -> Named:
    """A call by name with static arguments, the rest of `options` filled in."""
    assert isinstance(node.callee, ast.Name)
    name = node.callee.id
    given = _arguments(body, node.args, (None, "lr"))
    bound = match_arguments(body.report, name, list(options), given, node.span, setting_help)
    args = {key: bound[key][0] if key in bound else default for key, default in options.items()}
    for key in args:
        if key not in bound and ((name, key) in REQUIRED_ARGUMENTS or args[key] is REQUIRED):
            body.report.fail(problems.MISSING_SETTING, node.span, callee=name, name=key)
        if isinstance(args[key], Tensor):
            found, expected = type_name(args[key]), "a static value"
            body.report.fail(problems.BAD_SETTING, bound[key][1], name=key, found=found, expected=expected)
    check_arguments(body.report, name, args, {key: bound[key][1] for key in bound}, node.span)
    return Named(name, args)


def _schedule(body: Body, node: ast.Expr) -> Named | None:
    if isinstance(node, ast.Name):
        _refuse_uncalled(body, node)
    if isinstance(node, ast.Call) and isinstance(node.callee, ast.Name) and node.callee.id in SCHEDULES:
        return named(body, node, SCHEDULES[node.callee.id])
    if isinstance(node, ast.Call) and isinstance(node.callee, ast.Name):
        if (own := _own_schedule(body, node, node.callee)) is not None:
            return own
        name, known = node.callee.id, {*SCHEDULES, *names.visible(body)}
        if name not in known:
            help = did_you_mean(name, SCHEDULES) or f"schedules are {', '.join(SCHEDULES)}"
            body.report.fail(problems.BAD_SCHEDULE, node.callee.span, name=name, help=help)
    return None


STEP, TOTAL = "step", "total"
"""What an fn of the spec that is a schedule takes: the step, from 0, and how many there are."""


def _refuse_uncalled(body: Body, node: ast.Name) -> None:
    """A schedule's name alone."""
    definition = names.named(body, body.context.unit, node.id, node.span)
    fn = definition.node if isinstance(definition, Definition) else None
    if isinstance(fn, ast.FnDef):
        wants = any(each.default is None and str(each.name) not in (STEP, TOTAL) for each in fn.params)
    elif node.id in SCHEDULES and node.id not in body.scope.names:
        wants = True
    else:
        return
    help = f"call it: `{node.id}({'…' if wants else ''})`"
    found = f"`{node.id}` itself"
    body.report.fail(problems.BAD_SETTING, node.span, name="lr", found=found, expected=RATE.text, help=help)


def _own_schedule(body: Body, node: ast.Call, callee: ast.Name) -> Named | None:
    """An fn of the spec with a `step` that the call does not give: the rate by step."""
    definition = names.named(body, body.context.unit, callee.id, callee.span)
    if not isinstance(definition, Definition) or not isinstance(definition.node, ast.FnDef):
        return None
    takes = [str(each.name) for each in definition.node.params]
    if STEP not in takes or any(arg.name == STEP for arg in node.args):
        return None
    names.note_item(body, body.context.unit, callee.id, callee.span)
    place = next((arg.value.span for arg in node.args if arg.name is None), None)
    if place is not None:
        help = f"write `{callee.id}(NAME=…)`: the step is given by the training"
        message = f"arguments of `{callee.id}` are given by name"
        body.report.fail(problems.BAD_OPTIMIZER, place, message=message, help=help)
    args = {str(arg.name): plain(body.evaluate(arg.value)) for arg in node.args}

    def value(here: Body, step: int, total: int) -> Any:
        turn = {STEP: step, **({TOTAL: total} if TOTAL in takes else {})}
        given = Given(named={name: (each, node.span) for name, each in {**args, **turn}.items()})
        return plain(call_fn(here, definition, given, node))

    def rate(step: int, total: int) -> float:
        session = Elaborator(body.context.session.project)
        here = static_body(session, definition.unit, kind="train", name=callee.id)
        found = here.report.guarded(lambda: value(here, step, total))
        if session.diagnostics:
            raise SpecError(session.diagnostics)
        return float(found)

    first = value(body, 0, 1)
    if isinstance(first, bool) or not isinstance(first, int | float):
        found = type_name(first)
        body.report.fail(problems.BAD_SETTING, node.span, name="lr", found=found, expected="a number by step")
    text = "\n".join(definition.unit.lines[definition.node.span.line - 1 : definition.node.span.end_line])
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return Named(callee.id, args, rate, digest, definition)


def _arguments(body: Body, args: Iterable[ast.Arg], scheduled: tuple[str | None, ...]) -> Given:
    """Static arguments; those of these names, or by place, may be schedules."""
    given = Given()
    for arg in args:
        value = _schedule(body, arg.value) if arg.name in scheduled else None
        value = value if value is not None else plain(body.evaluate(arg.value))
        if arg.name is None:
            given.positional.append((value, arg.value.span))
        else:
            given.named[arg.name] = (value, arg.value.span)
            given.names[arg.name] = arg.span.inside(0, len(arg.name))
    return given


def optimizer(
    body: Body, value: ast.Expr, selectors: tuple[tuple[str, str | None, str | None], ...] = ()
) -> OptimizerRule:
    """An optimizer for what the selectors choose: one of the library, or a module of the spec."""
    name = _called(value)
    definition = _own_module(body, value)
    if definition is not None and isinstance(value, ast.Call):
        return _own_rule(body, value, definition, selectors)
    if name not in OPTIMIZERS or not isinstance(value, ast.Call) or not isinstance(value.callee, ast.Name):
        near = suggestion(name, OPTIMIZERS)
        if near and not (isinstance(value, ast.Call) and isinstance(value.callee, ast.Name)):
            help = f"write `{near}(lr=…)`"
        else:
            help = f"did you mean `{near}`?" if near else f"optimizers are {', '.join(OPTIMIZERS)}"
        place = value.callee.span if isinstance(value, ast.Call) else value.span
        message = f"there is no optimizer `{name}`" if name not in OPTIMIZERS else f"`{name}` must be called"
        body.report.fail(problems.BAD_OPTIMIZER, place, message=message, help=help)
    return OptimizerRule(named(body, value, OPTIMIZERS[name]), selectors, span=value.span)


def selected(node: ast.Optimizer) -> tuple[tuple[str, str | None, str | None], ...]:
    """What an `optimizer` statement is for."""
    return tuple(
        ("path", each.pattern.value, None)
        if each.pattern is not None
        else ("kind", str(each.kind), each.param)
        for each in node.selectors
    )


def _own_module(body: Body, node: ast.Expr) -> Definition | None:
    """The module of the spec that is called as an optimizer, if one is."""
    if not isinstance(node, ast.Call) or not isinstance(node.callee, ast.Name):
        return None
    found = names.named(body, body.context.unit, node.callee.id, node.callee.span)
    is_module = isinstance(found, Definition) and isinstance(found.node, ast.ModuleDef)
    return found if is_module else None


def _own_rule(
    body: Body,
    node: ast.Call,
    definition: Definition,
    selectors: tuple[tuple[str, str | None, str | None], ...],
) -> OptimizerRule:
    """An optimizer that the spec writes: a module from a parameter and its gradient to the parameter's new value."""
    module = definition.node
    assert isinstance(module, ast.ModuleDef) and isinstance(node.callee, ast.Name)
    names.note_item(body, body.context.unit, node.callee.id, node.callee.span)
    further = [str(each.name) for each in module.inputs[2:]]
    odd = [name for name in further if name not in OPTIMIZER_INPUTS]
    if len(module.inputs) < 2 or odd:
        what = f"it takes `{odd[0]}`" if odd else "it does not take a parameter and its gradient"
        message = f"`{definition.name}` is no optimizer: {what}"
        body.report.fail(problems.BAD_OPTIMIZER, node.callee.span, message=message, help=OWN_OPTIMIZER)
    given = _arguments(body, node.args, ("lr",))
    rate, place = given.named.pop("lr", (None, node.span))
    if rate is not None and not isinstance(rate, Named) and not RATE.holds(rate):
        body.report.fail(problems.BAD_SETTING, place, name="lr", found=show(rate), expected=RATE.text)
    static, _ = bind_static_arguments(body, definition, module.static, given, node.span)
    takes = next((each for each in module.inputs[2:] if str(each.name) == "lr"), None)
    if takes is None and rate is not None:
        message = f"`{definition.name}` takes no `lr`"
        body.report.fail(problems.BAD_OPTIMIZER, node.span, message=message, help=OWN_OPTIMIZER)
    if takes is not None and takes.default is None and rate is None:
        body.report.fail(problems.MISSING_SETTING, node.span, callee=definition.name, name="lr")
    return OptimizerRule(Named(definition.name, {**static, "lr": rate}), selectors, definition, node.span)


def _called(node: ast.Expr) -> str:
    """What an optimizer is called, however it is written: `adam(…)`, `torch.optim.Adam(…)`, `adam`, `"adam"`."""
    match node:
        case ast.Call(callee=callee):
            return _called(callee)
        case ast.Attribute(name=name) | ast.Name(id=name) | ast.Str(value=name):
            return name
    return "…"
