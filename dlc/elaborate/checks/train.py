"""A `train` block as a plan: programs for the loss and the metrics, data sources, optimizers, settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import PurePath
from typing import Any

from dlc.diagnostics import NO_SPAN, Diagnostic, Span, SpecError, did_you_mean, meaning, suggestion
from dlc.diagnostics import training as problems
from dlc.elaborate.base import habits
from dlc.elaborate.base.depth import deep
from dlc.elaborate.base.handles import flat
from dlc.elaborate.base.name_patterns import matches, near
from dlc.elaborate.base.project import Project
from dlc.elaborate.base.sources import FIELDS, REST
from dlc.elaborate.base.units import Definition, Unit
from dlc.elaborate.base.values import (
    DTYPE_VALUES,
    POISON,
    Dtype,
    GroupValue,
    Instance,
    PresetRef,
    Tensor,
    show,
    type_name,
)
from dlc.elaborate.bodies.statements import run
from dlc.elaborate.calls.arguments import Given, bind_static_arguments, match_arguments
from dlc.elaborate.calls.resolve import resolve_parameters
from dlc.elaborate.checks.plan import Load, Named, Network, OptimizerRule, TrainPlan
from dlc.elaborate.checks.single_values import single_values
from dlc.elaborate.checks.train_arguments import (
    DEFAULT_SETTINGS,
    OPTIMIZER_INPUTS,
    OPTIMIZERS,
    OWN_OPTIMIZER,
    RATE,
    REQUIRED_ARGUMENTS,
    SCHEDULES,
    SETTINGS,
    check_arguments,
    check_setting,
    is_split,
    source_names,
    source_options,
)
from dlc.elaborate.names import lookup as names
from dlc.elaborate.names.static import size_of
from dlc.elaborate.programs.elaborator import Elaborator
from dlc.elaborate.programs.update import update_program
from dlc.elaborate.reports.report import Report, Silent
from dlc.elaborate.state.body import Body, Session, static_body
from dlc.elaborate.state.scope import Scope
from dlc.elaborate.tensors.operators import cast
from dlc.elaborate.types.static import plain
from dlc.elaborate.types.written import WrittenType, declared_dtype, written_type
from dlc.ir.nodes import Function, Program, Value
from dlc.plugins import Unloadable
from dlc.records import dataclass, field, replace
from dlc.source import REQUIRED
from dlc.syntax import ast
from dlc.types.axes import AxisError, evaluate_axis
from dlc.types.dim_solve import bind
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType

_PICKLES = {".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle"}


@dataclass(slots=True)
class _State:
    """What the statements of the block have said so far."""

    body: Body
    fields: dict[str, TensorType] = field(default_factory=dict)
    evaluate_fields: dict[str, TensorType] = field(default_factory=dict)
    source: Named | None = None
    evaluate: Named | None = None
    loss: Tensor | None = None
    metrics: dict[str, Tensor] = field(default_factory=dict)
    rules: list[OptimizerRule] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=lambda: dict(DEFAULT_SETTINGS))
    inputs: list[Value] = field(default_factory=list)
    set_here: set[str] = field(default_factory=set)


@deep
def build_plan(
    project: Project,
    unit: Unit,
    item: ast.Train,
    overrides: dict[str, Any],
    *,
    report: Callable[[Diagnostic], None],
) -> TrainPlan | None:
    """The plan of a train block; None if it is in error, which `report` was told. `overrides` sets its
    parameters, and with `settings.steps` its settings."""
    made = []
    for training in (True, False):
        session = Elaborator(project, training=training)
        state = _elaborate(session, unit, item, overrides)
        for diagnostic in session.diagnostics:
            report(diagnostic)
        if state is None or session.diagnostics:
            return None
        program = _program(session, state, item)
        made.append((state, program))
        if program is None:
            for diagnostic in session.diagnostics:
                report(diagnostic)
            return None
    (state, program), (_, evaluation) = made
    assert program is not None and evaluation is not None and state.source is not None
    if not (_check_patterns(state, program, report) and _check_loads(state, unit, program, report)):
        return None
    plan = TrainPlan(
        item.name, program, evaluation, _networks(state), state.fields, state.source, state.evaluate,
        state.evaluate_fields, tuple(state.metrics), tuple(state.rules), tuple(state.loads),
        tuple(state.frozen), state.settings, unit.path,
    )  # fmt: skip
    good = _check_norms(plan, report) and _check_optimizers(plan, item, report)
    return plan if good and _check_own(project, plan, report) else None


def _networks(state: _State) -> tuple[Network, ...]:
    return tuple(
        Network(name, value.definition, dict(value.static), value.path or name)
        for name, value in state.body.scope.names.items()
        if isinstance(value, Instance) and value.functions
    )


def _elaborate(session: Session, unit: Unit, item: ast.Train, overrides: dict[str, Any]) -> _State | None:
    body = static_body(session, unit, kind="train", name=item.name, statements=item.body)
    body.report.place = item.span
    session.begin(item.span, body.report)
    state = _State(body)
    settings, static = _parted(overrides)

    def bind() -> bool:
        values = _bound(body, unit, item, static)
        body.scope = Scope(static=values)
        body.bind_header(values, item.static)
        return True

    if body.report.guarded(bind) is None:
        return None
    for statement in sorted(item.body, key=lambda each: not isinstance(each, ast.Settings)):
        _run(state, statement)
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
    return bind_static_arguments(body, owner, item.static, Given(named=named), item.span)[0]


def wrong_overrides(
    project: Project, unit: Unit, item: ast.Train, overrides: Mapping[str, Any]
) -> list[Diagnostic]:
    """What is wrong with values for a block's parameters and settings, before it is elaborated with them. What is still missing
    may be given later."""
    session = Elaborator(project)
    body = static_body(session, unit, kind="train", name=item.name, statements=item.body)
    state = _State(body)
    settings, static = _parted(overrides)
    if static:
        body.report.guarded(lambda: _bound(body, unit, item, static))
    body.report.guarded(lambda: _override(state, settings, item.span))
    return [each for each in session.diagnostics if each.code != meaning.MISSING_ARGUMENT.code]


def _override(state: _State, settings: dict[str, Any], span: Span) -> bool:
    for key, value in settings.items():
        _set(state, key.removeprefix("settings."), value, span)
    return True


def _complete(state: _State, item: ast.Train) -> bool:
    span = item.name_span if item.name_span.line else item.span
    body = state.body
    if body.context.session.diagnostics:
        raise Silent
    _check_rest(state, item)
    endless = state.settings["steps"] is None and state.settings["epochs"] is None
    missing = [
        (state.source is None, "`batch (…) from …`", "say on what: `batch (image: [B, 1, 28, 28], label: i64[B]) from digits(batch=64)`"),
        (state.loss is None, "`minimize …`", "say what to minimize: `minimize cross_entropy(logits, label)`"),
        (not state.rules, "`optimizer = …`", "say how: `optimizer = adamw(lr=1e-3)`"),
        (endless, "`steps` or `epochs` in its settings", "say how long: `settings { steps = 1_000 }`"),
    ]  # fmt: skip
    lacking = [(what, help) for absent, what, help in missing if absent]
    if lacking:
        what = " and no ".join(each for each, _ in lacking)
        body.report.fail(problems.INCOMPLETE, span, name=item.name, what=what, help=lacking[0][1])
    return True


def _check_rest(state: _State, item: ast.Train) -> None:
    """What is left of the data needs a share that is trained on, and to be evaluated on."""
    found = [(each.source, False) for each in item.body if isinstance(each, ast.Evaluate)]
    found += [(each.source, True) for each in item.body if isinstance(each, ast.BatchStmt)]
    for node, trained in found:
        named = state.source if trained else state.evaluate
        if named is None or named.name != REST:
            continue
        message, help = "`rest` is what is trained on leaves of its data", "write it behind `evaluate from`"
        if not trained and state.source is not None and not is_split(state.source.args.get("split")):
            message = f"nothing is left: all rows of `{state.source.name}` are trained on"
            help = f"train on a share of them: `{state.source.name}(…, split=0.8)`"
        elif not trained:
            continue
        state.body.report.fail(problems.BAD_SOURCE, node.span, message=message, help=help)


# --- statements --------------------------------------------------------------------------------------------


def _run(state: _State, statement: ast.Stmt) -> None:
    runner = _RUNNERS.get(type(statement))
    if runner is None:
        if isinstance(statement, ast.Return | ast.InitRule | ast.Entry | ast.ExprStmt):
            body = state.body
            body.report.guarded(
                lambda: body.report.fail(problems.MISPLACED_TRAIN, statement.span, help=_of_python(statement))
            )
            return
        run(state.body, statement)
        return
    if state.body.report.guarded(lambda: (runner(state, statement), True)) is None:
        for name in getattr(statement, "fields", ()):
            state.body.bind(str(name.name), POISON)


def _of_python(statement: ast.Stmt) -> str:
    """Help for a call that a training loop in Python makes, such as `loss.backward()`."""
    match statement:
        case ast.ExprStmt(ast.Call(ast.Attribute(name=name))):
            return habits.ATTRIBUTES.get(name, "")
        case ast.Return():
            return "what is reported beside the loss is a `metric name = …`"
    return ""


def _batch(state: _State, node: ast.BatchStmt) -> None:
    body = state.body
    if state.source is not None:
        body.report.fail(problems.TWICE, node.span, what="`batch`")
    for name in ("B", *_axis_names(node)):
        _open_size(body, name)
    state.source = _source(body, node.source)
    anew = {} if body.context.session.training else _held_out_fields(body)
    for item in node.fields:
        typed = anew.get(str(item.name), item)
        value = _field(body, typed, body.emission.builder.fresh)
        state.inputs += [each.value for each in flat(value)]
        state.fields |= {each.name: each.type for each in flat(value)}
        body.bind(str(item.name), value, item)
        body.note_types([item.type])
        if typed is not item or not isinstance(value, Tensor):
            continue
        if not _check_field(body.report, state.source.name, item, value.type):
            body.bind(str(item.name), POISON)  # what is wrong with its use follows from this


def _held_out_fields(body: Body) -> dict[str, ast.Field]:
    """The fields that `evaluate` types anew."""
    found = (each.fields for each in body.context.statements if isinstance(each, ast.Evaluate))
    return {str(item.name): item for fields in found for item in fields}


def _axis_names(node: ast.BatchStmt) -> Iterator[str]:
    """Sizes that the fields' types name: they are known in the block, whatever is wrong with its source."""
    for item in node.fields:
        axes = item.type.axes if isinstance(item.type, ast.TensorTypeExpr) else ()
        yield from (axis.id for axis in axes if isinstance(axis, ast.Name))


def _open_size(body: Body, name: str) -> None:
    if name not in body.scope.dims and name not in body.scope.names:
        body.scope = body.scope.with_sizes({name: Dim.symbol(name)})


def _field(body: Body, item: ast.Field, naming: Callable[[str], str] = str) -> Any:
    """A field of a batch: a tensor, or a group of tensors that are called `field.member`. `naming` makes the
    names of its values."""
    written = written_type(body.report, body.context.unit, item.type, item.span)
    if written is None or item.name is None:
        message = "a field of a batch needs a name and a type"
        body.report.fail(problems.BATCH_FIELD, item.span, message=message)
    return _field_value(body, written, item.name, item.span, naming)


def _field_value(
    body: Body, written: WrittenType, name: str, span: Span, naming: Callable[[str], str]
) -> Any:
    if written.group is None:
        type = TensorType(declared_dtype(written, "float"), _field_axes(body, written))
        return Tensor(Value(naming(name), type), span, "the batch")
    node = written.group.node
    assert isinstance(node, ast.GroupDef)
    members = [
        (str(item.name), _field_value(body, part, f"{name}.{item.name}", span, naming))
        for item, part in zip(node.fields, written.members(body.report), strict=True)
        if part is not None
    ]
    return GroupValue(written.group, tuple(members))


def _field_axes(body: Body, written: WrittenType) -> tuple[Dim, ...]:
    axes: list[Dim] = []
    for axis in written.axes:
        if isinstance(axis, ast.Name):
            _open_size(body, axis.id)
        try:
            axes.append(evaluate_axis(axis, lambda name: size_of(body, name)))
        except AxisError as error:
            body.report.fail(problems.BATCH_FIELD, axis.span, message=error.message)
    return tuple(axes)


def _check_field(report: Report, source: str, item: ast.Field, type: TensorType) -> bool:
    """A field against what its source is known to give; the data themselves are checked before the first step."""
    known = FIELDS.get(source)
    if known is None:
        return True
    name = str(item.name)
    if name not in known:
        help = did_you_mean(name, known) or f"it has {', '.join(known)}"
        report.tell(problems.DATA, item.span, message=f"`{source}` has no field `{name}`", help=help)
        return False
    dtype, axes = known[name]
    sizes = (None, *axes)
    wrong, help = "", "sources never reshape; do it in the block"
    if len(sizes) != type.rank:
        wrong = f"`{name}` does not fit: {len(sizes)} axes in the data, {type.rank} as declared"
    elif dtype == "i64" and type.is_float:
        wrong = f"`{name}` is {dtype} in the data, not {type.dtype}"
        help = "declare it as it is and convert it: `cast(…)`"
    else:
        for size, axis in zip(sizes, type.axes, strict=True):
            if size is not None and axis.constant not in (None, size):
                wrong = f"`{name}` does not fit: an axis of {size} in the data is declared as {axis}"
                help = ""
    if not wrong:
        return True
    shown = ", ".join("_" if size is None else str(size) for size in sizes)
    notes = [f"declared: {type}", f"found: {dtype}[{shown}]"]
    report.tell(problems.DATA, item.span, message=wrong, help=help, notes=notes)
    return False


def _source(body: Body, node: ast.Expr) -> Named:
    if not isinstance(node, ast.Call) or not isinstance(node.callee, ast.Name):
        body.report.fail(problems.BAD_SOURCE, node.span, message="a source is called: `digits(batch=64)`")
    name = node.callee.id
    try:
        options = source_options(name)
    except Unloadable as error:
        message = f"the source `{name}` is not available: {error}"
        body.report.fail(problems.BAD_SOURCE, node.callee.span, message=message)
    if options is None:
        help = did_you_mean(name, source_names()) or f"sources are {', '.join(source_names())}"
        body.report.fail(
            problems.BAD_SOURCE, node.callee.span, message=f"there is no source `{name}`", help=help
        )
    return _named(body, node, options)


def _named(body: Body, node: ast.Call, options: dict[str, Any]) -> Named:
    """A call by name with static arguments, the rest of `options` filled in."""
    assert isinstance(node.callee, ast.Name)
    name = node.callee.id
    given = Given()
    for arg in node.args:
        value = _schedule(body, arg.value) if arg.name in (None, "lr") else None
        value = value if value is not None else plain(body.evaluate(arg.value))
        if arg.name is None:
            given.positional.append((value, arg.value.span))
        else:
            given.named[arg.name] = (value, arg.value.span)
            given.names[arg.name] = arg.span.inside(0, len(arg.name))
    bound = match_arguments(body.report, name, list(options), given, node.span)
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
    if isinstance(node, ast.Call) and isinstance(node.callee, ast.Name) and node.callee.id in SCHEDULES:
        return _named(body, node, SCHEDULES[node.callee.id])
    if isinstance(node, ast.Call) and isinstance(node.callee, ast.Name):
        name, known = node.callee.id, {*SCHEDULES, *names.visible(body)}
        if name not in known:
            help = did_you_mean(name, SCHEDULES) or f"schedules are {', '.join(SCHEDULES)}"
            body.report.fail(problems.BAD_SCHEDULE, node.callee.span, name=name, help=help)
    return None


def _minimize(state: _State, node: ast.Minimize) -> None:
    body = state.body
    if state.loss is not None:
        help = "add the losses: `minimize a + 0.1 * b`"
        body.report.fail(problems.TWICE, node.span, what="`minimize`", help=help)
    value = body.evaluate(node.value)
    if not isinstance(value, Tensor) or value.type.rank or not value.type.is_float:
        found = str(value.type) if isinstance(value, Tensor) else type_name(value)
        help = "reduce it: `mean(…)`" if isinstance(value, Tensor) and value.type.rank else ""
        body.report.fail(problems.LOSS, node.value.span, found=found, help=help)
    state.loss = value


def _metric(state: _State, node: ast.Metric) -> None:
    body = state.body
    value = body.evaluate(node.value)
    if node.name in state.metrics or node.name == "loss":
        body.report.fail(problems.TWICE, node.span, what=f"the metric `{node.name}`")
    if not isinstance(value, Tensor) or value.type.rank:
        found = str(value.type) if isinstance(value, Tensor) else type_name(value)
        help = "reduce it: `mean(…)`" if isinstance(value, Tensor) else ""
        body.report.fail(problems.METRIC, node.value.span, name=node.name, found=found, help=help)
    state.metrics[node.name] = cast(body, node, value, "float")
    body.bind(node.name, state.metrics[node.name])


def _evaluate_statement(state: _State, node: ast.Evaluate) -> None:
    state.evaluate = _source(state.body, node.source)
    for item in node.fields:
        value = _field(state.body, item)
        state.evaluate_fields |= {each.name: each.type for each in flat(value)}
    missing = [name for name in state.fields if node.fields and name not in state.evaluate_fields]
    if missing:
        message = f"the held-out data lack the field `{missing[0]}` of the batch"
        help = "without fields of its own, `evaluate from …` has those of the batch"
        state.body.report.fail(problems.BATCH_FIELD, node.span, message=message, help=help)


def _optimizer(state: _State, node: ast.Optimizer) -> None:
    body = state.body
    value = node.value
    name = _chosen(value)
    definition = _own_module(body, value)
    if definition is not None and isinstance(value, ast.Call):
        state.rules.append(_own_rule(body, value, definition, _selected(node)))
        return
    if name not in OPTIMIZERS or not isinstance(value, ast.Call) or not isinstance(value.callee, ast.Name):
        near = suggestion(name, OPTIMIZERS)
        if near and not (isinstance(value, ast.Call) and isinstance(value.callee, ast.Name)):
            help = f"write `optimizer = {near}(lr=…)`"
        else:
            help = f"did you mean `{near}`?" if near else f"optimizers are {', '.join(OPTIMIZERS)}"
        place = value.callee.span if isinstance(value, ast.Call) else value.span
        message = f"there is no optimizer `{name}`" if name not in OPTIMIZERS else f"`{name}` must be called"
        body.report.fail(problems.BAD_OPTIMIZER, place, message=message, help=help)
    state.rules.append(OptimizerRule(_named(body, value, OPTIMIZERS[name]), _selected(node), span=value.span))


def _selected(node: ast.Optimizer) -> tuple[tuple[str, str | None, str | None], ...]:
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
    given, rate = Given(), None
    for arg in node.args:
        if arg.name == "lr":
            rate = _schedule(body, arg.value) or plain(body.evaluate(arg.value))
            if not isinstance(rate, Named) and not RATE.holds(rate):
                body.report.fail(
                    problems.BAD_SETTING, arg.value.span, name="lr", found=show(rate), expected=RATE.text
                )
            continue
        value = plain(body.evaluate(arg.value))
        if arg.name is None:
            given.positional.append((value, arg.value.span))
        else:
            given.named[arg.name] = (value, arg.value.span)
            given.names[arg.name] = arg.span.inside(0, len(arg.name))
    static, _ = bind_static_arguments(body, definition, module.static, given, node.span)
    takes = next((each for each in module.inputs[2:] if str(each.name) == "lr"), None)
    if takes is None and rate is not None:
        message = f"`{definition.name}` takes no `lr`"
        body.report.fail(problems.BAD_OPTIMIZER, node.span, message=message, help=OWN_OPTIMIZER)
    if takes is not None and takes.default is None and rate is None:
        body.report.fail(problems.MISSING_SETTING, node.span, callee=definition.name, name="lr")
    return OptimizerRule(Named(definition.name, {**static, "lr": rate}), selectors, definition, node.span)


def _chosen(node: ast.Expr) -> str:
    """What an optimizer is called, however it is written: `adam(…)`, `torch.optim.Adam(…)`, `adam`, `"adam"`."""
    match node:
        case ast.Call(callee=callee):
            return _chosen(callee)
        case ast.Attribute(name=name) | ast.Name(id=name) | ast.Str(value=name):
            return name
    return "…"


def _load(state: _State, node: ast.LoadStmt) -> None:
    prefix = _dotted(node.target)
    root = prefix.split(".")[0]
    if not isinstance(state.body.scope.names.get(root), Instance):
        known = [name for name, value in state.body.scope.names.items() if isinstance(value, Instance)]
        help = did_you_mean(root, known) or f"networks are {', '.join(known) or 'none'}"
        state.body.report.fail(problems.NO_NETWORK, node.target.span, name=root, help=help)
    excluded = tuple(each.value for each in node.excluded)
    state.loads.append(Load(prefix, node.path.value, node.weights, excluded))


def _dotted(node: ast.Expr) -> str:
    match node:
        case ast.Name(id):
            return id
        case ast.Attribute(value, name):
            return f"{_dotted(value)}.{name}"
        case ast.Index(value, (ast.Int(number),)):
            return f"{_dotted(value)}.{number}"
    return ""


def _freeze(state: _State, node: ast.Freeze) -> None:
    state.frozen += [each.value for each in node.patterns]


def _settings(state: _State, node: ast.Settings) -> None:
    for item in node.items:
        value = plain(state.body.evaluate(item.value))
        known = str(item.name) in SETTINGS
        word = item.span.inside(0, len(str(item.name)))
        if str(item.name) in state.set_here:
            state.body.report.tell(problems.TWICE, word, what=f"the setting `{item.name}`")
        state.set_here.add(str(item.name))
        place = item.value.span if known else word
        state.body.report.guarded(partial(_set, state, str(item.name), value, place))


def _set(state: _State, name: str, value: Any, span: Span) -> None:
    if name == "precision" and isinstance(value, str):
        value = DTYPE_VALUES.get(value, value)
    check_setting(state.body.report, name, value, span)
    state.settings[name] = value.name if isinstance(value, Dtype) else value


def _step(state: _State, node: ast.StepStmt) -> None:
    state.body.report.fail(problems.NOT_YET_TRAIN, node.span, what="training in several steps (`step`)")


_RUNNERS: dict[type[ast.Stmt], Callable[[_State, Any], None]] = {
    ast.BatchStmt: _batch,
    ast.Minimize: _minimize,
    ast.Metric: _metric,
    ast.Evaluate: _evaluate_statement,
    ast.Optimizer: _optimizer,
    ast.LoadStmt: _load,
    ast.Freeze: _freeze,
    ast.Settings: _settings,
    ast.StepStmt: _step,
}


# --- the programs ------------------------------------------------------------------------------------------


def _program(session: Session, state: _State, item: ast.Train) -> Program | None:
    body = state.body
    assert state.loss is not None
    outputs = [("loss", state.loss.name), *((name, value.name) for name, value in state.metrics.items())]
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
    )
    session.functions[function.name] = function
    parameters = body.report.guarded(lambda: resolve_parameters(session, function.name))
    if parameters is None:
        return None
    return replace(Program(session.called(), function.name), parameters=parameters)


def _check_patterns(state: _State, program: Program, report: Callable[[Diagnostic], None]) -> bool:
    """Every pattern of `freeze` and `optimizer` must match something."""
    paths = [each.path for each in program.parameters]
    owners = {each.owner for each in program.parameters}
    good = True
    selectors = [(how, str(what)) for rule in state.rules for how, what, _ in rule.selectors]
    patterns = [*state.frozen, *(what for how, what in selectors if how == "path")]
    kinds = [what for how, what in selectors if how == "kind"]
    span = NO_SPAN
    for pattern in patterns:
        if not any(matches(pattern, path) for path in paths):
            at = _span_of(state, pattern) or span
            report(problems.NO_MATCH.at(at, pattern=f'"{pattern}"', help=near(pattern, paths)))
            good = False
    for kind in kinds:
        if kind not in owners:
            at = _span_of(state, kind) or span
            report(problems.NO_MATCH.at(at, pattern=f"`{kind}`", help=_kind_help(kind, program)))
            good = False
    return good


def _kind_help(kind: str, program: Program) -> str:
    owners = {each.owner for each in program.parameters}
    having = sorted({each.owner for each in program.parameters if each.path.rsplit(".", 1)[-1] == kind})
    if having:
        return f"a parameter is chosen by its layer's kind: `{having[0]}.{kind}`"
    return did_you_mean(kind, owners) or f"kinds here are {', '.join(sorted(owners))}"


def _check_loads(state: _State, unit: Unit, program: Program, report: Callable[[Diagnostic], None]) -> bool:
    """What a `load` names must be there: parameters below its target, the `weights` block, a file of a kind that is read."""
    paths = [each.path for each in program.parameters]
    found: list[Diagnostic] = []
    for node in [each for each in state.body.context.statements if isinstance(each, ast.LoadStmt)]:
        prefix = _dotted(node.target)
        if not any(path.startswith(f"{prefix}.") for path in paths):
            heads = {path.rsplit(".", count)[0] for path in paths for count in range(1, path.count(".") + 1)}
            help = did_you_mean(prefix, heads)
            found.append(problems.NO_MATCH.at(node.target.span, pattern=f"`{prefix}`", help=help))
        if node.weights is not None and not isinstance(unit.names.get(node.weights), ast.Weights):
            known = [name for name, item in unit.names.items() if isinstance(item, ast.Weights)]
            help = did_you_mean(node.weights, known) or f"it has {', '.join(known) or 'none'}"
            message = f"{unit.path} has no weights block `{node.weights}`"
            found.append(problems.WEIGHTS_RULE.at(node.span, message=message, help=help))
        if PurePath(node.path.value).suffix.lower() in _PICKLES:
            reason = "pickles are not read, since they can run code"
            help = "save it as safetensors, or as npz"
            found.append(
                problems.WEIGHTS_FILE.at(node.path.span, path=node.path.value, reason=reason, help=help)
            )
    for diagnostic in found:
        report(diagnostic)
    return not found


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


def _check_optimizers(plan: TrainPlan, item: ast.Train, report: Callable[[Diagnostic], None]) -> bool:
    """Something must be trained, and what is trained needs an optimizer that fits it."""
    span = item.name_span if item.name_span.line else item.span
    trained = [each for each in plan.program.parameters if plan.is_trained(each)]
    found: list[Diagnostic] = []
    if not trained:
        found.append(problems.INCOMPLETE.at(span, name=item.name, what="parameter that is trained"))
    for parameter in trained:
        rule = plan.rule(parameter)
        if rule is None:
            help = "`optimizer = …` without a pattern is for all that no other one names"
            what = f"optimizer for `{parameter.path}`"
            found.append(problems.INCOMPLETE.at(span, name=item.name, what=what, help=help))
        elif rule.optimizer.name == "muon" and parameter.type.rank < 2:
            help = f'give it one of its own: `optimizer "{parameter.path}" = adamw(lr=1e-3)`'
            type = parameter.type
            found.append(problems.NO_MATRIX.at(span, path=parameter.path, type=type, help=help))
    for diagnostic in found[:8]:
        report(diagnostic)
    return not found


def _check_own(project: Project, plan: TrainPlan, report: Callable[[Diagnostic], None]) -> bool:
    """What the spec's own optimizers do to the parameters that they train is looked at here, before anything runs."""
    rules = [each for each in plan.update_rules if each.definition is not None]
    if not rules:
        return True
    try:
        update_program(project, plan.program.parameters, rules)
    except SpecError as error:
        for diagnostic in error.diagnostics:
            report(diagnostic)
        return False
    return True


def _span_of(state: _State, pattern: str) -> Span | None:
    for statement in state.body.context.statements:
        match statement:
            case ast.Freeze(patterns):
                for each in patterns:
                    if each.value == pattern:
                        return each.span
            case ast.Optimizer(selectors):
                for selector in selectors:
                    if pattern in (selector.kind, selector.pattern and selector.pattern.value):
                        return selector.span
    return None


def network(value: Any) -> bool:
    return isinstance(value, Instance | PresetRef)
