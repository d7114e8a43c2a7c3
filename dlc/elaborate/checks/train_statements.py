"""What the statements of a train block say: data, networks, losses, optimizers, settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from dlc.diagnostics import NO_SPAN, Span, did_you_mean
from dlc.diagnostics import training as problems
from dlc.elaborate.base import habits
from dlc.elaborate.base.handles import flat
from dlc.elaborate.base.sources import FIELDS
from dlc.elaborate.base.values import (
    DTYPE_VALUES,
    POISON,
    Dtype,
    GroupValue,
    Instance,
    Tensor,
    show,
    type_name,
)
from dlc.elaborate.bodies.statements import run
from dlc.elaborate.checks import chosen
from dlc.elaborate.checks.plan import Load, Named, OptimizerRule
from dlc.elaborate.checks.train_arguments import DEFAULT_SETTINGS, SETTINGS, check_setting
from dlc.elaborate.names import paths
from dlc.elaborate.names.static import size_of
from dlc.elaborate.reports.report import Report
from dlc.elaborate.state.body import Body
from dlc.elaborate.tensors.operators import cast
from dlc.elaborate.types.static import plain
from dlc.elaborate.types.written import WrittenType, declared_dtype, written_type
from dlc.ir.nodes import Value
from dlc.records import dataclass, field
from dlc.syntax import ast
from dlc.types.axes import AxisError, evaluate_axis
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType


@dataclass(slots=True)
class Step:
    """What one step says, or, without a name, the block outside of its steps."""

    name: str = ""
    span: Span = field(default=NO_SPAN)
    loss: Tensor | None = None
    metrics: list[str] = field(default_factory=list)
    rules: list[OptimizerRule] = field(default_factory=list)
    updates: tuple[str, ...] = ()
    every: int = 1
    turns: int = 1
    between: tuple[str, str] | None = None


@dataclass(slots=True)
class State:
    """What the statements of the block have said so far."""

    body: Body
    fields: dict[str, TensorType] = field(default_factory=dict)
    evaluate_fields: dict[str, TensorType] = field(default_factory=dict)
    source: Named | None = None
    evaluate: Named | None = None
    outside: Step = field(default_factory=Step)
    steps: list[Step] = field(default_factory=list)
    here: Step | None = None  # the step whose statements are run
    metrics: dict[str, Tensor] = field(default_factory=dict)
    loads: list[Load] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=lambda: dict(DEFAULT_SETTINGS))
    inputs: list[Value] = field(default_factory=list)
    set_here: set[str] = field(default_factory=set)
    samples: dict[str, Tensor] = field(default_factory=dict)
    sampling: bool = False  # whether samples are what is made; a program of losses and metrics has none
    later: list[ast.Update] = field(default_factory=list)  # of parameters, when all steps are done

    @property
    def now(self) -> Step:
        return self.here or self.outside

    @property
    def minimized(self) -> list[Step]:
        """The updates of a turn."""
        return self.steps or [self.outside]


def run_statement(state: State, statement: ast.Stmt) -> None:
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


def _batch(state: State, node: ast.BatchStmt) -> None:
    body = state.body
    if state.source is not None:
        body.report.fail(problems.TWICE, node.span, what="`batch`")
    for name in ("B", *_axis_names(node)):
        _open_size(body, name)
    state.source = chosen.source(body, node.source)
    anew = {} if body.context.session.training else _held_out_fields(body)
    for item in node.fields:
        typed = anew.get(str(item.name), item)
        value = _field(body, typed, body.emission.builder.fresh)
        state.inputs += [each.value for each in flat(value)]
        body.emission.inputs = state.inputs
        state.fields |= {each.name: each.type for each in flat(value)}
        body.bind(str(item.name), value, item)
        body.note_types([item.type])
        if typed is not item or not isinstance(value, Tensor):
            continue
        if not _check_field(body.report, state.source.name, item, value.type):
            body.bind(str(item.name), POISON)  # what is wrong with its use follows from this
    _count_rows(state)


def _count_rows(state: State) -> None:
    """`B` is the number of rows, also where the types of the fields say it as a number."""
    types = state.fields.values()
    rows = next((each.axes[0] for each in types if each.axes), None)
    if rows is not None and not any("B" in each.symbols for each in types):
        state.body.scope = state.body.scope.with_sizes({"B": rows})


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


def _minimize(state: State, node: ast.Minimize) -> None:
    body = state.body
    if state.now.loss is not None:
        help = "add the losses: `minimize a + 0.1 * b`"
        body.report.fail(problems.TWICE, node.span, what="`minimize`", help=help)
    value = body.evaluate(node.value)
    if not isinstance(value, Tensor) or value.type.rank or not value.type.is_float:
        found = str(value.type) if isinstance(value, Tensor) else type_name(value)
        help = "reduce it: `mean(…)`" if isinstance(value, Tensor) and value.type.rank else ""
        body.report.fail(problems.LOSS, node.value.span, found=found, help=help)
    state.now.loss = value
    state.now.span = node.span


def _metric(state: State, node: ast.Metric) -> None:
    body = state.body
    value = body.evaluate(node.value)
    if node.name in state.metrics or node.name in ("loss", *(each.name for each in state.steps)):
        body.report.fail(problems.TWICE, node.span, what=f"the metric `{node.name}`")
    if not isinstance(value, Tensor) or value.type.rank:
        found = str(value.type) if isinstance(value, Tensor) else type_name(value)
        help = "reduce it: `mean(…)`" if isinstance(value, Tensor) else ""
        body.report.fail(problems.METRIC, node.value.span, name=node.name, found=found, help=help)
    state.metrics[node.name] = cast(body, node, value, "float")
    state.now.metrics.append(node.name)
    body.bind(node.name, state.metrics[node.name])


def _sample(state: State, node: ast.Sample) -> None:
    """A picture or a text that a run writes. Its name means nothing in the block."""
    body = state.body
    if not state.sampling:
        return
    value = body.evaluate(node.value)
    if node.name in state.samples:
        body.report.fail(problems.TWICE, node.span, what=f"the sample `{node.name}`")
    type = value.type if isinstance(value, Tensor) else None
    is_text = type is not None and type.dtype in ("i64", "i32") and type.rank in (1, 2)
    if not isinstance(value, Tensor) or type is None or not (is_text or _is_pictures(type)):
        found = type_name(value) if type is None else str(type)
        message = f"the sample `{node.name}` is no pictures and no tokens, but {found}"
        help = "pictures are [N, C, H, W] with 1, 3 or 4 channels or [N, H, W], tokens i64[N, T] or i64[T]"
        body.report.fail(problems.SAMPLE, node.value.span, message=message, help=help)
    dtype = "i64" if is_text else value.type.dtype if value.type.dtype == "u8" else "f32"
    state.samples[node.name] = cast(body, node, value, dtype)


def _is_pictures(type: TensorType) -> bool:
    channels = type.axes[1].constant if type.rank == 4 else 1
    return (type.is_float or type.dtype == "u8") and type.rank in (3, 4) and channels in (1, 3, 4)


def _evaluate_statement(state: State, node: ast.Evaluate) -> None:
    body = state.body
    state.evaluate = chosen.source(body, node.source)
    scope = body.scope
    body.scope = scope.with_sizes(
        {"B": Dim.symbol("B")}
    )  # as many held-out rows as there are, whatever a batch has
    for item in node.fields:
        value = _field(body, item)
        state.evaluate_fields |= {each.name: each.type for each in flat(value)}
    body.scope = scope
    missing = [name for name in state.fields if node.fields and name not in state.evaluate_fields]
    if missing:
        message = f"the held-out data lack the field `{missing[0]}` of the batch"
        help = "without fields of its own, `evaluate from …` has those of the batch"
        state.body.report.fail(problems.BATCH_FIELD, node.span, message=message, help=help)


def _optimizer(state: State, node: ast.Optimizer) -> None:
    state.now.rules.append(chosen.optimizer(state.body, node.value, chosen.selected(node)))


def _load(state: State, node: ast.LoadStmt) -> None:
    prefix = dotted(node.target)
    root = prefix.split(".")[0]
    if not isinstance(state.body.scope.names.get(root), Instance):
        known = [name for name, value in state.body.scope.names.items() if isinstance(value, Instance)]
        help = did_you_mean(root, known) or f"networks are {', '.join(known) or 'none'}"
        state.body.report.fail(problems.NO_NETWORK, node.target.span, name=root, help=help)
    excluded = tuple(each.value for each in node.excluded)
    state.loads.append(Load(prefix, _weights_file(state, node.path), node.weights, excluded, node.span))


def _weights_file(state: State, node: ast.Expr) -> str:
    """The file that a `load` names."""
    path = state.body.evaluate(node)
    if not isinstance(path, str):
        help = 'a file is named by a str: `"net.safetensors"`'
        state.body.report.fail(
            problems.WEIGHTS_FILE, node.span, path=type_name(path), reason="it is no file", help=help
        )
    return path


def dotted(node: ast.Expr) -> str:
    match node:
        case ast.Name(id):
            return id
        case ast.Attribute(value, name):
            return f"{dotted(value)}.{name}"
        case ast.Index(value, (ast.Int(number),)):
            return f"{dotted(value)}.{number}"
    return ""


def _freeze(state: State, node: ast.Freeze) -> None:
    state.frozen += [each.value for each in node.patterns]


def _settings(state: State, node: ast.Settings) -> None:
    for item in node.items:
        value = plain(state.body.evaluate(item.value))
        known = str(item.name) in SETTINGS
        word = item.span.inside(0, len(str(item.name)))
        if str(item.name) in state.set_here:
            state.body.report.tell(problems.TWICE, word, what=f"the setting `{item.name}`")
        state.set_here.add(str(item.name))
        place = item.value.span if known else word
        state.body.report.guarded(partial(set_setting, state, str(item.name), value, place))


def set_setting(state: State, name: str, value: Any, span: Span) -> None:
    if name == "precision" and isinstance(value, str):
        value = DTYPE_VALUES.get(value, value)
    check_setting(state.body.report, name, value, span)
    state.settings[name] = value.name if isinstance(value, Dtype) else value


def _step(state: State, node: ast.StepStmt) -> None:
    """A step with what it says in itself. What it binds is its own."""
    body = state.body
    fail = partial(body.report.fail, problems.STEP)
    taken = {"loss", *state.metrics, *(each.name for each in state.steps)}
    if node.name in taken or node.name in ("before", "after", "evaluate"):
        fail(
            node.span,
            message=f"`{node.name}` is taken: its loss is reported by that name",
            help="call the step otherwise",
        )
    step = Step(node.name, node.span)
    step.updates = tuple(_updated(body, each) for each in node.updates)
    step.rules.append(chosen.optimizer(body, node.optimizer))
    step.every, step.turns = _count(body, "every", node.every), _count(body, "repeat", node.repeat)
    scope = body.scope
    begin = _mark(body, node.name)
    state.here = step
    try:
        for statement in node.body:
            run_statement(state, statement)
    finally:
        state.here, body.scope = None, scope
    step.between = begin, _mark(body, f"{node.name}_end")
    state.steps.append(step)


def _updated(body: Body, node: ast.Expr) -> str:
    """The path that a step trains what lies below of."""
    words = dotted(node).split(".")
    instance = body.scope.names.get(words[0])
    if not isinstance(instance, Instance) or instance.standing:
        known = [
            name
            for name, value in body.scope.names.items()
            if isinstance(value, Instance) and not value.standing
        ]
        help = did_you_mean(words[0], known) or f"networks are {', '.join(known) or 'none'}"
        if isinstance(instance, Instance):
            help = f"`{words[0]}` is never trained: it is `{instance.standing}(…)` of another network"
        body.report.fail(problems.NO_NETWORK, node.span, name=words[0], help=help)
    return ".".join([paths.instance_path(body, instance), *words[1:]])


def _count(body: Body, word: str, node: ast.Expr | None) -> int:
    if node is None:
        return 1
    value = plain(body.evaluate(node))
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        body.report.fail(
            problems.STEP, node.span, message=f"`{word}` takes a whole number from 1, not {show(value)}"
        )
    return value


def _mark(body: Body, name: str) -> str:
    """A constant that tells what stands before it from what stands behind (`dlc/passes/phases.py`)."""
    return body.emission.builder.const(True, "bool", hint=name).name


def _update(state: State, node: ast.Update) -> None:
    """A buffer of the block, or what a parameter becomes when the steps are done."""
    body = state.body
    root = dotted(node.target).split(".")[0]
    instance = body.scope.names.get(root)
    if isinstance(node.target, ast.Name) or not isinstance(instance, Instance):
        run(body, node)
        return
    if state.here is not None:
        message = f"`{dotted(node.target)}` is updated when all steps are done: write it behind them"
        body.report.fail(problems.STEP, node.span, message=message)
    state.later.append(node)


_RUNNERS: dict[type[ast.Stmt], Callable[[State, Any], None]] = {
    ast.BatchStmt: _batch,
    ast.Minimize: _minimize,
    ast.Metric: _metric,
    ast.Sample: _sample,
    ast.Evaluate: _evaluate_statement,
    ast.Optimizer: _optimizer,
    ast.LoadStmt: _load,
    ast.Freeze: _freeze,
    ast.Settings: _settings,
    ast.StepStmt: _step,
    ast.Update: _update,
}
