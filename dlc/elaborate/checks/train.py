"""A `train` block as a plan: programs for the loss and the metrics, data sources, optimizers, settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import partial, reduce
from pathlib import PurePath
from typing import Any, TypeGuard

from dlc.autodiff.reached import with_gradient
from dlc.diagnostics import NO_SPAN, Diagnostic, Span, SpecError, did_you_mean, meaning
from dlc.diagnostics import training as problems
from dlc.elaborate.base.depth import deep
from dlc.elaborate.base.name_patterns import below, matches, near
from dlc.elaborate.base.project import Project
from dlc.elaborate.base.sources import REST
from dlc.elaborate.base.units import Definition, Unit
from dlc.elaborate.base.values import Instance, PresetRef, Tensor, show
from dlc.elaborate.bodies.expressions import read_path
from dlc.elaborate.bodies.statements import new_value
from dlc.elaborate.calls.arguments import Given, bind_static_arguments
from dlc.elaborate.calls.placing import place
from dlc.elaborate.calls.resolve import resolve_parameters
from dlc.elaborate.checks.plan import Copy, Network, OptimizerRule, TrainPlan, TrainStep
from dlc.elaborate.checks.single_values import single_values
from dlc.elaborate.checks.train_arguments import SETTINGS, is_split
from dlc.elaborate.checks.train_statements import State, dotted, run_statement, set_setting
from dlc.elaborate.programs.elaborator import Elaborator
from dlc.elaborate.programs.update import update_program
from dlc.elaborate.reports.report import Silent
from dlc.elaborate.state.body import Body, Session, static_body
from dlc.elaborate.state.scope import Scope
from dlc.ir.needed import live, only
from dlc.ir.nodes import Function, Op, Program
from dlc.passes.phases import LOSS, Stale, phases
from dlc.passes.wide_constants import in_precision
from dlc.passes.wide_numbers import with_wide_numbers
from dlc.records import replace
from dlc.syntax import ast
from dlc.types.dim_solve import bind

_PICKLES = {".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle"}


@deep
def build_plan(
    project: Project,
    unit: Unit,
    item: ast.Train,
    overrides: dict[str, Any],
    *,
    report: Callable[[Diagnostic], None],
    traced: bool = False,
) -> TrainPlan | None:
    """The plan of a train block; None if it is in error, which `report` was told. `overrides` sets its
    parameters, and with `settings.steps` its settings. The numbers of `traced` programs remember where they come from."""
    made = []
    behind = None
    for training in (True, False):
        session = Elaborator(project, training=training, traced=traced)
        state = _elaborate(session, unit, item, overrides)
        for diagnostic in session.diagnostics:
            report(diagnostic)
        if state is None or session.diagnostics:
            return None
        if training:
            behind = state.body.report.guarded(partial(_behind, state))
        program = None if session.diagnostics else _program(session, state, item)
        made.append((state, program))
        if program is None:
            for diagnostic in session.diagnostics:
                report(diagnostic)
            return None
    (state, program), (_, evaluation) = made
    samples = _samples(project, unit, item, overrides, report) if _has_samples(item) else None
    if samples is None and _has_samples(item):
        return None
    assert program is not None and evaluation is not None and state.source is not None
    precision = state.settings["precision"]
    program, evaluation = (in_precision(each, precision, settled=False) for each in (program, evaluation))
    if precision == "f16":
        program, evaluation = with_wide_numbers(program), with_wide_numbers(evaluation)
    if not (_check_patterns(state, program, report) and _check_loads(state, unit, program, report)):
        return None
    steps = _steps(state)
    plan = TrainPlan(
        item.name, program, evaluation, _networks(state), state.fields, state.source, state.evaluate,
        state.evaluate_fields, tuple(state.metrics), steps, tuple(state.loads),
        tuple(state.frozen), state.settings, unit.path, _copies(state), behind,
        {each.name: with_gradient(program, each.loss) for each in steps}, samples,
    )  # fmt: skip
    good = (
        _check_sampled(plan, item, report)
        and _check_best(plan, item, report)
        and _check_scale(plan, item, report)
        and _check_norms(plan, report)
        and _check_optimizers(plan, item, report)
    )
    good = good and _check_own(project, plan, report)
    return plan if good and _check_phases(plan, report) else None


def _has_samples(item: ast.Train) -> bool:
    return any(isinstance(each, ast.Sample) for each in item.body)


def _samples(
    project: Project,
    unit: Unit,
    item: ast.Train,
    overrides: dict[str, Any],
    report: Callable[[Diagnostic], None],
) -> Program | None:
    """The block's samples, outside of training, and nothing else; None where they are in error, which `report` was told. They are a
    program by themselves, so that losses and metrics cost and give what they do without them."""
    session = Elaborator(project, training=False)
    state = _elaborate(session, unit, item, overrides, sampling=True)
    program = None if state is None or session.diagnostics else _program(session, state, item)
    for diagnostic in session.diagnostics:
        report(diagnostic)
    if program is None or session.diagnostics or state is None:
        return None
    main = only(program.main, [value for _, value in program.main.outputs])
    used = live(main)
    main = replace(main, inputs=tuple(each for each in main.inputs if each.name in used))
    program = program.with_functions({**program.functions, main.name: main})
    return in_precision(program, state.settings["precision"], settled=False)


def _steps(state: State) -> tuple[TrainStep, ...]:
    return tuple(
        TrainStep(
            each.name, each.name or LOSS, tuple(each.metrics), each.updates, tuple(each.rules),
            each.every, each.turns, each.between, each.span,
        )
        for each in state.minimized
    )  # fmt: skip


def _copies(state: State) -> tuple[Copy, ...]:
    return tuple(
        Copy(each.path, each.of.path, each.decay) for each in state.body.emission.copies if each.functions
    )


def _networks(state: State) -> tuple[Network, ...]:
    """Those that the block binds, and those that it calls without a name, under their paths."""
    bound = [
        (name, value)
        for name, value in state.body.scope.names.items()
        if isinstance(value, Instance) and value.functions
    ]
    known = {value.path or name for name, value in bound}
    unnamed = {
        value.path: value for value in state.body.emission.taken.values() if isinstance(value, Instance)
    }
    bound += [(path, value) for path, value in unnamed.items() if path not in known and _is_file(path)]
    return tuple(
        Network(name, value.definition, dict(value.static), value.path or name) for name, value in bound
    )


def _is_file(path: str | None) -> TypeGuard[str]:
    """Whether a network can be called by its path: not one of a loop's, or one that reaches into another's."""
    return path is not None and path.isidentifier()


def _elaborate(
    session: Session, unit: Unit, item: ast.Train, overrides: dict[str, Any], *, sampling: bool = False
) -> State | None:
    body = static_body(session, unit, kind="train", name=item.name, statements=item.body)
    body.report.place = item.span
    session.begin(item.span, body.report)
    state = State(body, sampling=sampling)
    settings, static = _parted(overrides)

    def bind() -> bool:
        values = _bound(body, unit, item, static)
        body.scope = Scope(static=values)
        body.bind_header(values, item.static)
        return True

    if body.report.guarded(bind) is None:
        return None
    for statement in sorted(item.body, key=lambda each: not isinstance(each, ast.Settings)):
        run_statement(state, statement)
    body.report.guarded(lambda: _override(state, settings, item.span))
    if body.report.guarded(lambda: _complete(state, item)) is None:
        return None
    return state


def _parted(overrides: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those of the settings, and those of the block's parameters."""
    settings = {key: value for key, value in overrides.items() if key.startswith("settings.")}
    return settings, {key: value for key, value in overrides.items() if key not in settings}


def _bound(body: Body, unit: Unit, item: ast.Train, given: Mapping[str, Any]) -> dict[str, Any]:
    """The block's parameters with these values. Raises ElabError."""
    owner = Definition(item.name, ast.FnDef(item.name, (), (), (), ()), unit)
    named = {key: (value, item.span) for key, value in given.items()}
    own = [str(each.name) for each in item.static]
    for name in (each for each in given if each in SETTINGS and each not in own):
        help = f"it is a setting: `--set settings.{name}=…`, in Python `block.with_settings({name}=…)`"
        note = f"{item.name}({', '.join(own)})"
        body.report.fail(
            meaning.UNKNOWN_ARGUMENT, item.span, callee=item.name, name=name, help=help, notes=[note]
        )
    return bind_static_arguments(body, owner, item.static, Given(named=named), item.span)[0]


def wrong_overrides(
    project: Project, unit: Unit, item: ast.Train, overrides: Mapping[str, Any]
) -> list[Diagnostic]:
    """What is wrong with values for a block's parameters and settings, before it is elaborated with them. What is still missing
    may be given later."""
    session = Elaborator(project)
    body = static_body(session, unit, kind="train", name=item.name, statements=item.body)
    state = State(body)
    settings, static = _parted(overrides)
    if static:
        body.report.guarded(lambda: _bound(body, unit, item, static))
    body.report.guarded(lambda: _override(state, settings, item.span))
    return [each for each in session.diagnostics if each.code != meaning.MISSING_ARGUMENT.code]


def _override(state: State, settings: dict[str, Any], span: Span) -> bool:
    for key, value in settings.items():
        set_setting(state, key.removeprefix("settings."), value, span)
    return True


def _complete(state: State, item: ast.Train) -> bool:
    span = item.name_span if item.name_span.line else item.span
    body = state.body
    if body.context.session.diagnostics:
        raise Silent
    _check_rest(state, item)
    endless = state.settings["steps"] is None and state.settings["epochs"] is None
    outside = state.outside
    missing = [
        (state.source is None, "`batch (…) from …`", "say on what: `batch (image: [B, 1, 28, 28], label: i64[B]) from digits(batch=64)`"),
        (not state.steps and outside.loss is None, "`minimize …`", "say what to minimize: `minimize cross_entropy(logits, label)`"),
        (not state.steps and not outside.rules, "`optimizer = …`", "say how: `optimizer = adamw(lr=1e-3)`"),
        (endless, "`steps` or `epochs` in its settings", "say how long: `settings { steps = 1_000 }`"),
    ]  # fmt: skip
    lacking = [(what, help) for absent, what, help in missing if absent]
    if lacking:
        what = " and no ".join(each for each, _ in lacking)
        body.report.fail(problems.INCOMPLETE, span, name=item.name, what=what, help=lacking[0][1])
    for step in state.steps:
        if step.loss is None:
            message = f"the step `{step.name}` minimizes nothing"
            body.report.fail(problems.STEP, step.span, message=message, help="say what: `minimize …`")
    if state.steps and outside.loss is not None:
        message = "`minimize` stands outside of the steps"
        body.report.fail(problems.STEP, outside.span, message=message, help="write it into one of them")
    if state.steps and outside.rules:
        message = "a step has an optimizer of its own, behind `with`"
        body.report.fail(
            problems.STEP, outside.rules[0].span, message=message, help="write it into the steps"
        )
    return True


def _check_rest(state: State, item: ast.Train) -> None:
    """What is left of the data needs a share that is trained on, and to be evaluated on. Raises ElabError."""
    report, trained, held = state.body.report, state.source, state.evaluate
    for node in item.body:
        if isinstance(node, ast.BatchStmt) and trained is not None and trained.name == REST:
            message, help = (
                "`rest` is what is trained on leaves of its data",
                "write it behind `evaluate from`",
            )
            report.fail(problems.BAD_SOURCE, node.source.span, message=message, help=help)
        if isinstance(node, ast.Evaluate) and held is not None and held.name == REST and trained is not None:
            if is_split(trained.args.get("split")):
                continue
            message = f"nothing is left: all rows of `{trained.name}` are trained on"
            help = f"train on a share of them: `{trained.name}(…, split=0.8)`"
            report.fail(problems.BAD_SOURCE, node.source.span, message=message, help=help)


# --- the programs ------------------------------------------------------------------------------------------


def _behind(state: State) -> str | None:
    """What is computed when the steps of a turn are done: new values of parameters that the block writes, and moving averages of
    networks. Gives the constant that it stands behind; None where there is nothing."""
    averages = [each for each in state.body.emission.copies if each.standing == "ema"]
    for each in averages:  # one that nothing calls is there for its file
        if not each.functions and each.of is not None and each.of.functions:
            place(state.body, each, next(iter(each.of.functions)))
    averages = [each for each in averages if each.functions]
    if not state.later and not averages:
        return None
    body = state.body
    mark = body.emission.builder.const(True, "bool", hint="behind").name
    for node in state.later:
        body.report.guarded(partial(_write, body, node))
    for each in averages:
        _follow(body, each)
    return mark


def _write(body: Body, node: ast.Update) -> bool:
    """A new value for a parameter."""
    name, target = dotted(node.target), body.evaluate(node.target)
    read = body.emission.builder.body[-1] if body.emission.builder.body else None
    if not isinstance(target, Tensor) or read is None or read.op != "param":
        body.report.fail(problems.STEP, node.target.span, message=f"`{name}` is no parameter of a network")
    value = new_value(body, node, name, target.type)
    body.emission.builder.append(Op("update", (value.name,), (), read.attrs, span=node.span))
    return True


def _follow(body: Body, average: Instance) -> None:
    """A moving average of a network's parameters, and of its buffers: those of a copy that is applied in training mode are its own."""
    b, of = body.emission.builder, average.of
    assert of is not None and average.decay is not None
    b.span = average.span
    done: set[str] = set()
    for function in average.functions.values():
        for local, param in body.context.session.local_paths(function):
            if local in done or (param.kind == "buffer" and average.trains):
                continue
            done.add(local)
            mine, new = (
                read_path(body.emission, f"{each.path}.{local}", param.type, average.span).value
                for each in (average, of)
            )
            if param.type.is_float:
                new = b.add(b.mul(mine, average.decay), b.mul(new, float(1 - Decimal(repr(average.decay)))))
            path = f"{average.path}.{local}"
            b.append(Op("update", (new.name,), (), (("path", path),), span=average.span))


def _program(session: Session, state: State, item: ast.Train) -> Program | None:
    body = state.body
    losses = [(each.name or LOSS, each.loss) for each in state.minimized if each.loss is not None]
    if state.steps and not session.training:
        total = reduce(body.emission.builder.add, [each.value for _, each in losses])
        losses.insert(0, (LOSS, Tensor(total)))
    told = state.samples.items() if state.sampling else (*losses, *state.metrics.items())
    outputs = [(name, value.name) for name, value in told]
    used = {value.name for value in state.inputs}
    function = Function(
        name=session.unique(f"train_{item.name}"),
        source=item.name,
        kind="model",
        inputs=tuple(value for value in state.inputs if value.name in used),
        outputs=tuple(outputs),
        body=tuple(body.emission.builder.body),
        params=tuple(body.emission.params.values()),
        children=tuple(body.emission.children.values()),
        training=session.training,
        doc=item.doc,
        span=item.span,
        remarks=body.context.unit.remarks if session.traced else (),
    )
    session.functions[function.name] = function
    parameters = body.report.guarded(lambda: resolve_parameters(session, function.name))
    if parameters is None:
        return None
    return replace(Program(session.called(), function.name), parameters=parameters)


def _check_patterns(state: State, program: Program, report: Callable[[Diagnostic], None]) -> bool:
    """Every pattern of `freeze` and `optimizer` must match something."""
    paths = [each.path for each in program.parameters]
    owners = {each.owner for each in program.parameters}
    good = True
    selectors = [(how, str(what), of) for rule in _rules(state) for how, what, of in rule.selectors]
    patterns = [*state.frozen, *(what for how, what, _ in selectors if how == "path")]
    kinds = [(what, of) for how, what, of in selectors if how == "kind"]
    locals = {(each.owner, each.path.rsplit(".", 1)[-1]) for each in program.parameters}
    span = NO_SPAN
    for pattern in patterns:
        if not any(matches(pattern, path) for path in paths):
            at = _span_of(state, pattern) or span
            report(problems.NO_MATCH.at(at, pattern=f'"{pattern}"', help=near(pattern, paths)))
            good = False
    for kind, of in kinds:
        if kind in owners and (of is None or (kind, of) in locals):
            continue
        shown = kind if of is None else f"{kind}.{of}"
        own = [name for owner, name in sorted(locals) if owner == kind]
        help = f"it has {', '.join(own)}" if own else below(shown, paths) or _kind_help(kind, program)
        report(problems.NO_MATCH.at(_span_of(state, kind, of) or span, pattern=f"`{shown}`", help=help))
        good = False
    return good


def _kind_help(kind: str, program: Program) -> str:
    owners = {each.owner for each in program.parameters}
    having = sorted({each.owner for each in program.parameters if each.path.rsplit(".", 1)[-1] == kind})
    if having:
        return f"a parameter is chosen by its layer's kind: `{having[0]}.{kind}`"
    return did_you_mean(kind, owners) or f"kinds here are {', '.join(sorted(owners))}"


def _check_loads(state: State, unit: Unit, program: Program, report: Callable[[Diagnostic], None]) -> bool:
    """What a `load` names must be there: parameters below its target, the `weights` block, a file of a kind that is read."""
    paths = [each.path for each in program.parameters]
    files = {each.span: each.path for each in state.loads}
    found: list[Diagnostic] = []
    for node in [each for each in state.body.context.statements if isinstance(each, ast.LoadStmt)]:
        prefix = dotted(node.target)
        if not any(path.startswith(f"{prefix}.") for path in paths):
            heads = {path.rsplit(".", count)[0] for path in paths for count in range(1, path.count(".") + 1)}
            help = did_you_mean(prefix, heads)
            found.append(problems.NO_MATCH.at(node.target.span, pattern=f"`{prefix}`", help=help))
        if node.weights is not None and not isinstance(unit.names.get(node.weights), ast.Weights):
            known = [name for name, item in unit.names.items() if isinstance(item, ast.Weights)]
            help = did_you_mean(node.weights, known) or f"it has {', '.join(known) or 'none'}"
            message = f"{unit.path} has no weights block `{node.weights}`"
            found.append(problems.WEIGHTS_RULE.at(node.span, message=message, help=help))
        file = files.get(node.span, "")
        if PurePath(file).suffix.lower() in _PICKLES:
            reason = "pickles are not read, since they can run code"
            help = "save it as safetensors, or as npz"
            found.append(problems.WEIGHTS_FILE.at(node.path.span, path=file, reason=reason, help=help))
    for diagnostic in found:
        report(diagnostic)
    return not found


def _check_sampled(plan: TrainPlan, item: ast.Train, report: Callable[[Diagnostic], None]) -> bool:
    """What samples are made with must be there in training too, where its weights come from."""
    known = {each.path for each in plan.program.parameters}
    lacking = (
        [each.path for each in plan.samples.parameters if each.path not in known] if plan.samples else []
    )
    if lacking:
        span = next(each.span for each in item.body if isinstance(each, ast.Sample))
        message = f"a sample is made with `{lacking[0]}`, which nothing in the block trains or computes with"
        report(problems.SAMPLE.at(span, message=message, help="samples show networks that the block trains"))
    return not lacking


def _check_best(plan: TrainPlan, item: ast.Train, report: Callable[[Diagnostic], None]) -> bool:
    """What weights are the best by is measured on held-out data."""
    if plan.best is None:
        return True
    asked = "best" if plan.settings["best"] is not None else "patience"
    span = _setting_span(item, asked)
    name, _ = plan.best
    known = ("loss", *(each.name for each in plan.steps if each.name), *plan.metrics)
    how = str(plan.settings["best"] or "").rpartition(" ")[0]
    shown = f'"{plan.settings["best"] or name}"'
    if how not in ("", "min", "max") or name not in known:
        expected = "the loss or a metric, such as " + ", ".join(f'"{each}"' for each in known)
        near = did_you_mean(name, known) if how in ("", "min", "max") else ""
        help = near or '"min NAME" takes the lowest, "max NAME" the highest'
        report(problems.BAD_SETTING.at(span, name="best", found=shown, expected=expected, help=help))
        return False
    lacking = "held-out data: `evaluate from …`" if plan.evaluate is None else ""
    if not lacking and plan.settings["patience"] is not None and plan.settings["eval_every"] is None:
        lacking = "evaluations before the end: `eval_every = …`"
    if lacking:
        report(problems.INCOMPLETE.at(span, name=plan.name, what=f"{lacking}, which `{asked}` needs"))
    return not lacking


def _check_scale(plan: TrainPlan, item: ast.Train, report: Callable[[Diagnostic], None]) -> bool:
    """A loss is scaled where small slopes would be 0, and nowhere else."""
    scale, precision = plan.settings["loss_scale"], plan.settings["precision"]
    if scale is None or precision == "f16":
        return True
    span, expected = (
        _setting_span(item, "loss_scale"),
        f"left out in {precision}, which loses no small slopes",
    )
    help = "`precision = f16` computes in f16, with its loss scaled"
    report(problems.BAD_SETTING.at(span, name="loss_scale", found=show(scale), expected=expected, help=help))
    return False


def _setting_span(item: ast.Train, name: str) -> Span:
    """Where a block says a setting; its name, where a caller set it."""
    items = (each for part in item.body if isinstance(part, ast.Settings) for each in part.items)
    return next((each.value.span for each in items if str(each.name) == name), item.name_span)


def _check_norms(plan: TrainPlan, report: Callable[[Diagnostic], None]) -> bool:
    """As far as the batch's size tells; with those of the data, `dlc train` asks again."""
    sizes: dict[str, int] = {}
    for type in plan.fields.values():
        for axis in type.axes[:1]:
            bind(axis, int(plan.source.args["batch"]), sizes)
    found = [*single_values(plan.program, sizes, plan.name)]
    for diagnostic in found:
        report(diagnostic)
    return not found


def _rules(state: State) -> Iterator[OptimizerRule]:
    for step in state.minimized:
        yield from step.rules


NO_GRADIENT = "comparisons, `argmax`, `round`, casts to integers and `stop_gradient` hand no gradient on"


def _check_optimizers(plan: TrainPlan, item: ast.Train, report: Callable[[Diagnostic], None]) -> bool:
    """Something must be trained in each step, and what is trained needs an optimizer that fits it."""
    found: list[Diagnostic] = []
    for step in plan.steps:
        named = step.name and step.span.line
        span = step.span if named else item.name_span if item.name_span.line else item.span
        trained = [each for each in plan.program.parameters if plan.is_trained(each, step)]
        name = f"{item.name}, step {step.name}" if step.name else item.name
        if not trained and any(plan.is_chosen(each, step) for each in plan.program.parameters):
            of = f"of the step `{step.name}` " if step.name else ""
            message = f"the loss {of}depends on nothing that {'it' if step.name else 'the block'} updates"
            help = "" if plan.reached[step.name] else NO_GRADIENT
            found.append(problems.STEP.at(step.span if step.span.line else span, message=message, help=help))
        elif not trained:
            found.append(problems.INCOMPLETE.at(span, name=name, what="parameter that is trained"))
        for parameter in trained:
            rule = plan.rule(step, parameter)
            if rule is None:
                help = "`optimizer = …` without a pattern is for all that no other one names"
                what = f"optimizer for `{parameter.path}`"
                found.append(problems.INCOMPLETE.at(span, name=name, what=what, help=help))
            elif rule.optimizer.name == "muon" and parameter.type.rank < 2:
                help = f'give it one of its own: `optimizer "{parameter.path}" = adamw(lr=1e-3)`'
                type = parameter.type
                found.append(problems.NO_MATRIX.at(span, path=parameter.path, type=type, help=help))
    for diagnostic in found[:8]:
        report(diagnostic)
    return not found


def _check_own(project: Project, plan: TrainPlan, report: Callable[[Diagnostic], None]) -> bool:
    """What the spec's own optimizers do to the parameters that they train is looked at here, before anything runs."""
    for step in plan.steps:
        rules = [each for each in plan.update_rules(step) if each.definition is not None]
        try:
            if rules:
                update_program(project, plan.program.parameters, rules)
        except SpecError as error:
            for diagnostic in error.diagnostics:
                report(diagnostic)
            return False
    return True


def _check_phases(plan: TrainPlan, report: Callable[[Diagnostic], None]) -> bool:
    """What a step takes from outside of it must still hold when it is done."""
    if plan.is_single:
        return True
    spans = {each.name: each.span for each in plan.steps}
    try:
        phases(plan.program, plan.parts, plan.behind)
    except Stale as error:
        own = error.by == error.step
        by = (
            "an earlier turn of it" if own else f"the step `{error.by}`" if error.by in spans else "the block"
        )
        message = (
            f"the step `{error.step}` has a gradient through `{error.value}`, which was computed before "
            f"{by} changed `{error.changed}`"
        )
        help = "compute it inside of the step, or put `stop_gradient` around it"
        report(problems.STEP.at(spans.get(error.step, error.span), message=message, help=help))
        return False
    return True


def _span_of(state: State, pattern: str, of: str | None = None) -> Span | None:
    """Where a pattern stands, or the kind of layer of which `of` is a parameter."""
    for statement in state.body.context.statements:
        match statement:
            case ast.Freeze(patterns):
                for each in patterns:
                    if each.value == pattern:
                        return each.span
            case ast.Optimizer(selectors):
                for selector in selectors:
                    text = selector.pattern.value if selector.pattern is not None else selector.kind
                    if text == pattern and selector.param == of:
                        return selector.span
    return None


def network(value: Any) -> bool:
    return isinstance(value, Instance | PresetRef)
