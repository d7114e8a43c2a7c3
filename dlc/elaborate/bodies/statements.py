"""Running the statements of a body. A statement in error is reported, its targets become POISON, the next one runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from dlc.diagnostics import Span, did_you_mean
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.budget import FAULT_STEPS
from dlc.elaborate.base.spelling import parts, text
from dlc.elaborate.base.trees import assigned, below, declared, mentioned
from dlc.elaborate.base.values import POISON, GroupValue, Poison, Tensor, show, type_name
from dlc.elaborate.bodies import loops, scans
from dlc.elaborate.bodies.bindings import bind
from dlc.elaborate.bodies.expressions import evaluate
from dlc.elaborate.bodies.salvage import salvage
from dlc.elaborate.calls.initial import initial_function
from dlc.elaborate.calls.placing import not_in_list
from dlc.elaborate.names import conditions, paths
from dlc.elaborate.names import lookup as names
from dlc.elaborate.names.conditions import truth
from dlc.elaborate.names.origins import decided
from dlc.elaborate.names.static import size_of
from dlc.elaborate.reports.report import Silent
from dlc.elaborate.state.body import Body, InitRule
from dlc.elaborate.state.emission import Emission
from dlc.elaborate.state.scope import Scope
from dlc.elaborate.tensors.failures import source, spelled
from dlc.elaborate.tensors.operators import TENSOR_OPS, cast, emit, lift
from dlc.elaborate.types.static import plain
from dlc.elaborate.types.written import declared_dtype, written_type
from dlc.ir.nodes import Op, Param, Value, walk
from dlc.records import replace
from dlc.syntax import ast
from dlc.types.axes import AxisError, evaluate_axis, unbound_names
from dlc.types.dims import Dim
from dlc.types.facts import Relation
from dlc.types.tensor import TensorType


def run_body(body: Body, statements: Iterable[ast.Stmt]) -> None:
    """Run statements until one returns."""
    for statement in statements:
        if body.emission.has_returned:
            return
        run(body, statement)


def run(body: Body, statement: ast.Stmt) -> None:
    def work() -> bool:
        body.context.session.spend(1, statement.span, body.report)
        runner = _RUNNERS.get(type(statement))
        if runner is None:
            return _out_of_place(body, statement)
        try:
            runner(body, statement)
        except OverflowError:
            message = "a number in this statement is larger than any float"
            body.report.fail(problems.STATIC_ERROR, statement.span, message=message)
        return True

    if body.report.guarded(work) is None:
        body.context.session.spend(FAULT_STEPS, statement.span, body.report)
        _recover(body, statement)


def _out_of_place(body: Body, statement: ast.Stmt) -> NoReturn:
    """A statement of a train block inside a loop or condition of it."""
    word = source(body.context, statement.span, 10_000).split(" ")[0] or "this statement"
    help = "`settings { epochs = … }` says how long to train" if isinstance(statement, ast.Minimize) else ""
    what = f"`{word}` stands directly in a train block, not inside another statement"
    body.report.fail(problems.MISPLACED, statement.span, what=what, help=help)


def _recover(body: Body, statement: ast.Stmt) -> None:
    """Go on behind a statement in error: its targets are poisoned, and what else is wrong with it is told."""
    for name in assigned(statement) | _changed_in_place(statement) | _sizes_named(body, statement):
        body.bind(name, POISON)
    salvage(body, statement)
    match statement:
        case ast.Return():
            body.emission.returned, body.emission.has_returned = POISON, True
        case ast.For(body=statements):
            run_body(body, statements)
        case ast.If(_, then, otherwise):
            run_body(body, then)
            returned, body.emission.has_returned = body.emission.has_returned, False
            run_body(body, otherwise)
            body.emission.has_returned = body.emission.has_returned and returned


def _sizes_named(body: Body, statement: ast.Stmt) -> set[str]:
    """The names of sizes that a binding would have introduced: `x: [B, h, w] = …`."""
    match statement:
        case ast.Assign(ast.NameTarget(_, ast.TensorTypeExpr(_, axes)), _):
            return {name for axis in axes for name in unbound_names(axis, lambda each: size_of(body, each))}
    return set()


def _changed_in_place(statement: ast.Stmt) -> set[str]:
    """The name that `xs.append(x)` and the like are meant to change."""
    match statement:
        case ast.ExprStmt(ast.Call(ast.Attribute(ast.Name(id)))):
            return {id}
    return set()


# --- bindings --------------------------------------------------------------------------------------------------


def _assign(body: Body, node: ast.Assign) -> None:
    value = evaluate(body, node.value)
    bind(body, node.target, value, node.value.stage if isinstance(node.value, ast.Pipe) else node.value)


def _expression(body: Body, node: ast.ExprStmt) -> None:
    value = evaluate(body, node.value)
    help = ""
    if isinstance(node.value, ast.Pipe) or isinstance(value, Tensor):
        help = "bind it, `y = …`, or return it, `return …`"
    body.report.fail(problems.NO_EFFECT, node.span, help=help)


def _return(body: Body, node: ast.Return) -> None:
    body.emission.result_spans = _result_spans(node.value)
    body.emission.returned = evaluate(body, node.value)
    body.emission.has_returned = True


def _result_spans(node: ast.Expr) -> list[Span]:
    """Where each result is made: of a pipe, its last stage."""
    items = node.items if isinstance(node, ast.TupleExpr) else (node,)
    return [item.stage.span if isinstance(item, ast.Pipe) else item.span for item in items]


# --- conditions ------------------------------------------------------------------------------------------------


def _if(body: Body, node: ast.If) -> None:
    taken = truth(body, node.condition)
    if mentioned(node.condition, frozenset({"training"})) and not body.context.library:
        _declare(body, node.otherwise if taken else node.then)
    run_body(body, node.then if taken else node.otherwise)


def _declare(body: Body, statements: tuple[ast.Stmt, ...]) -> None:
    """Run a branch that is not taken for the parameters it declares; its operations and bindings are dropped."""
    emission, scope = body.emission, body.scope
    saved = emission.builder.body, emission.returned, emission.has_returned, emission.dead, emission.facts
    emission.builder.body, emission.dead = [], True
    run_body(body, statements)
    emission.builder.body, emission.returned, emission.has_returned, emission.dead, emission.facts = saved
    body.scope = scope.changed(dims=body.scope.dims, sizes_of=body.scope.sizes_of)


def declare_only(body: Body, statements: tuple[ast.Stmt, ...], own: Scope) -> None:
    """Run a main body for what an entry sees of it: parameters, buffers, bound instances, static values. `own` is what the entry
    itself has."""
    emission = body.emission
    with body.report.findings.silenced(), emission.builder.aside():
        for statement in statements:
            if not isinstance(statement, ast.Return) or not isinstance(statement.value, ast.Name):
                run(body, statement)
            emission.returned, emission.has_returned = None, False
        if body.context.session.traced:
            _note_calls(emission)
    kept = {
        name: value
        for name, value in body.scope.names.items()
        if not isinstance(value, Tensor | GroupValue | Poison)
    }
    declared = {
        name: _read_again(body, statement) for name, statement in _declarations(body, statements).items()
    }
    names = {**kept, **declared, **own.names}
    body.scope = own.changed(
        names=names, places={**body.scope.places, **own.places}, turning=body.scope.turning
    )


def _note_calls(emission: Emission) -> None:
    """How the main body calls its instances: an entry makes all of them, and may not call them itself."""
    calls = {(op.path, op.callee): op for op in walk(emission.builder.body) if op.callee and op.path}
    for key, child in emission.children.items():
        emission.children[key] = replace(child, call=calls.get((child.path, child.function)) or child.call)


def _declarations(body: Body, statements: tuple[ast.Stmt, ...]) -> dict[str, ast.ParamStmt]:
    declared = body.emission.declared
    return {
        each.name: each for each in statements if isinstance(each, ast.ParamStmt) and each.name in declared
    }


def _read_again(body: Body, node: ast.ParamStmt) -> Tensor:
    path = body.emission.declared[node.name]
    value = Value(body.emission.builder.fresh(node.name), body.emission.params[path].type)
    body.emission.builder.append(Op("param", (), (value,), (("path", path),), span=node.span))
    return Tensor(value, node.span, f"param {node.name}")


def _require(body: Body, node: ast.Require) -> None:
    """Each part of `a and b` by itself: what it says of dims is a fact for those behind it."""
    for part in parts(node.condition):
        _require_part(body, replace(node, condition=part))


def _require_part(body: Body, node: ast.Require) -> None:
    value = _require_value(body, node)
    if isinstance(value, Tensor):
        _require_data(body, node, value)
        return
    if value is True:
        return
    if body.context.library:
        subject = _subject(node.condition)
        help = _alternatives(body, node.condition)
        callee = body.report.origin.name if body.report.origin else body.context.name
        body.report.fail(
            problems.BAD_VALUE, subject.span, callee=callee, message=_message(body, node), help=help
        )
    body.report.fail(
        problems.REQUIRE_FALSE, node.condition.span, message=_message(body, node), notes=_sides(body, node)
    )


def _sides(body: Body, node: ast.Require) -> list[str]:
    """What the sides of a comparison are: `parameters(M()) is 90, not 91`."""
    condition = node.condition
    if not isinstance(condition, ast.Compare):
        return []
    values = [(text(each), show(plain(evaluate(body, each)))) for each in condition.operands]
    computed = [
        f"{written} is {value}"
        for written, value in values
        if written.replace("_", "") != value.replace("_", "")
    ]
    if len(computed) == 1 and len(values) == 2 and condition.ops == ("==",):
        (other,) = (value for written, value in values if f"{written} is {value}" not in computed)
        return [f"{computed[0]}, not {other}"]
    return computed


def _subject(node: ast.Expr) -> ast.Expr:
    """What a condition is about: the left side of a comparison."""
    return node.operands[0] if isinstance(node, ast.Compare) else node


def _alternatives(body: Body, node: ast.Expr) -> str:
    """The near miss of a word that is not one of a list."""
    if not isinstance(node, ast.Compare) or node.ops[0] != "in":
        return ""
    value, known = (evaluate(body, operand) for operand in node.operands[:2])
    return did_you_mean(value, known).replace("`", '"') if isinstance(value, str) else ""


def _require_value(body: Body, node: ast.Require) -> Any:
    """True, False, or a bool tensor to be checked at run time; what it says of dims becomes a fact."""
    condition = node.condition
    if isinstance(condition, ast.Compare) and _speaks_of_dims(body, condition):
        for relation in conditions.relations(body, condition):
            decided = relation if isinstance(relation, bool) else body.emission.facts.decide(relation)
            if decided is False:
                return False
            if decided is None:
                assert isinstance(relation, Relation)
                _require_dims(body, node, relation)
                body.emission.facts = body.emission.facts.assume(relation)
        return True
    value = evaluate(body, condition)
    return value if isinstance(value, Tensor) else bool(value)


def _speaks_of_dims(body: Body, node: ast.Compare) -> bool:
    values = [evaluate(body, operand) for operand in node.operands]
    sizes = all(isinstance(each, int | Dim) for each in values)
    return sizes and any(isinstance(each, Dim) for each in values)


def _require_dims(body: Body, node: ast.Require, relation: Relation) -> None:
    """A relation between sizes that only the data can settle: checked when the network runs."""
    a, b = (lift(body, node, side, "i64") for side in (relation.left, relation.right))
    _require_data(body, node, emit(body, node, TENSOR_OPS[relation.op], a, b))


def _require_data(body: Body, node: ast.Require, value: Tensor) -> None:
    if value.type.dtype != "bool":
        help = f"compare it: `{spelled(body.scope, value)} > 0`"
        body.report.fail(
            problems.DTYPE,
            node.condition.span,
            message=f"`require` needs a bool, not {value.type}",
            help=help,
        )
    if value.type.rank:
        value = emit(body, node, "all", value, axis=tuple(range(value.type.rank)), keepdims=False)
    message = _message(body, node)
    op = Op("require", (value.name,), (), (("message", message),), span=node.span)
    body.emission.builder.append(op)


def _message(body: Body, node: ast.Require) -> str:
    if node.message is None:
        return text(node.condition)
    parts = node.message.parts or (node.message.value,)
    return "".join(
        each if isinstance(each, str) else paths.show_plain(evaluate(body, each)) for each in parts
    )


# --- parameters ------------------------------------------------------------------------------------------------


def _param(body: Body, node: ast.ParamStmt) -> None:
    if body.context.kind == "fn":
        what = f"an `fn` has no parameters of its own; make `{body.context.name}` a `module`"
        body.report.fail(problems.MISPLACED, node.span, what=what)
    not_in_list(body, node.name, node.span)
    type = _param_type(body, node)
    path = paths.local_path(body, node.name, node.label)
    known = body.emission.params.get(path)
    if known is not None and not body.emission.dead and known.type != type:
        notes = [f"the first is {known.type}, this one {type}"]
        body.report.fail(problems.SAME_PATH, node.span, path=path, notes=notes, help=paths.RELABEL)
    if node.initial is None:
        written = (source(body.context, node.type.span) if node.type is not None else "") or "…"
        help = f"say how it starts: `{node.kind} {node.name}: {written} = zeros`"
        body.report.fail(
            problems.BAD_INITIAL, node.span, message="a parameter needs an initial value", help=help
        )
    earlier = _earlier(body, node.initial)
    init = initial_function(body, node.initial, type, node.initial.span, body.scope, tuple(earlier))
    sources = tuple(earlier.values())
    body.emission.params[path] = Param(path, type, node.kind, node.frozen, init, sources)
    body.emission.declared[node.name] = path
    value = Value(body.emission.builder.fresh(node.name), type)
    body.emission.starts[value.name] = path
    body.emission.builder.append(Op("param", (), (value,), (("path", path),), span=node.span))
    body.bind(node.name, Tensor(value, node.span, f"param {node.name}"), node)
    if node.kind == "buffer":
        body.emission.buffers[node.name] = path


def _earlier(body: Body, node: ast.Expr) -> dict[str, str]:
    """The parameters above that an initial value is computed of, by the names that they have, with their paths."""
    found: dict[str, str] = {}
    words = {each.id for each in below(node, ast.Name)}
    for name in body.emission.declared:
        if name not in words:
            continue
        value = body.scope.names.get(name)
        path = body.emission.starts.get(value.name) if isinstance(value, Tensor) else None
        if path is not None:
            found[name] = path
    return found


def _param_type(body: Body, node: ast.ParamStmt) -> TensorType:
    written = written_type(body.report, body.context.unit, node.type, node.span)
    if written is None or written.group is not None:
        body.report.fail(problems.BAD_TYPE, node.span, message="a parameter needs a tensor type")
    body.note_types([node.type])
    axes: list[Dim] = []
    for item in written.axes:
        if isinstance(item, ast.Star):
            axes += names.star(body, item)
            continue
        if isinstance(item, ast.Call | ast.Index | ast.Attribute | ast.Conditional):
            axes.append(_static_axis(body, item))
            continue
        try:
            axes.append(evaluate_axis(item, lambda name: size_of(body, name)))
        except AxisError as error:
            where = error.node.span if error.node is not None else node.span
            body.report.fail(problems.BAD_TYPE, where, message=error.message)
    for axis in axes:
        if axis.constant is None:
            body.report.fail(
                problems.PARAM_DIM,
                node.span,
                name=node.name,
                dim=f"`{axis}`",
                help="give the size as a static parameter, or fix it in the input's type",
            )
        if axis.constant < 0:
            body.report.fail(problems.BAD_TYPE, node.span, message=f"a size can't be negative: {axis}")
    return TensorType(declared_dtype(written, body.context.float_dtype), tuple(axes))


def _static_axis(body: Body, node: ast.Expr) -> Dim:
    """An axis computed by static functions: `len(xs)`, `int(d * 2.67)`, `widths[0]`."""
    value = evaluate(body, node)
    if not isinstance(value, int | Dim) or isinstance(value, bool):
        body.report.fail(
            problems.BAD_TYPE, node.span, message=f"a size is a whole number, not {type_name(value)}"
        )
    return Dim.of(value)


def _update(body: Body, node: ast.Update) -> None:
    if isinstance(node.target, ast.Name) and body.scope.names.get(node.target.id) is POISON:
        raise Silent  # its declaration is in error
    if not isinstance(node.target, ast.Name) or node.target.id not in body.emission.buffers:
        name = node.target.id if isinstance(node.target, ast.Name) else "this"
        body.report.fail(
            problems.UPDATE_TARGET, node.target.span, name=name, help=f"declare it: `buffer {name}: … = …`"
        )
    training = body.context.asked_training()
    decided(body, ast.Name("training", span=node.span), training)
    if not training:
        evaluate_quietly(body, node.value)
        return
    name = node.target.id
    path = body.emission.buffers[name]
    value = new_value(body, node, name, body.emission.params[path].type)
    body.emission.builder.append(Op("update", (value.name,), (), (("path", path),), span=node.span))
    body.bind(name, value)


def new_value(body: Body, node: ast.Update, name: str, type: TensorType) -> Tensor:
    """What an `update` gives what is called `name`, of its type."""
    value = evaluate(body, node.value)
    if isinstance(value, int | float):
        value = lift(body, node, value, type.dtype)
    if not isinstance(value, Tensor):
        body.report.fail(
            problems.NOT_A_TENSOR, node.value.span, callee="update", name=name, found=show(value)
        )
    value = emit(body, node, "stop_gradient", value) if value.type.is_float else value
    value = cast(body, node, value, type.dtype)
    if value.type.axes != type.axes:
        value = emit(body, node, "broadcast", value, shape=type.axes)
    return value


def evaluate_quietly(body: Body, node: ast.Expr) -> None:
    """Check an expression whose operations are not wanted."""
    saved = body.emission.builder.body
    body.emission.builder.body = []
    try:
        evaluate(body, node)
    finally:
        body.emission.builder.body = saved


def _init_rule(body: Body, node: ast.InitRule) -> None:
    for selector in node.selectors:
        if selector.kind is not None:
            _check_kind(body, selector.kind, selector.param, selector.span)
    body.emission.rules.append(InitRule(node, body, body.scope))


def _check_kind(body: Body, kind: str, param: str | None, span: Span) -> None:
    """A kind rule speaks of a module that there is, and of a parameter that it declares."""
    found = names.callable_named(body, kind, span.inside(0, len(kind)))
    node = getattr(found, "node", None)
    if not isinstance(node, ast.ModuleDef):
        what = f"`{kind}` is {type_name(found)}, no module"
        body.report.fail(
            problems.STATIC_ERROR,
            span.inside(0, len(kind)),
            message=f"{what} whose parameters could be meant",
        )
    own = declared(node.body)
    if param is not None and own and param not in own:
        place = span.inside(len(kind) + 1, len(kind) + 1 + len(param))
        body.report.fail(
            problems.NO_ATTRIBUTE, place, what=f"`{kind}`", name=param, help=did_you_mean(param, own)
        )


def _entry(body: Body, node: ast.Entry) -> None:
    """Entries are elaborated when they are called or compiled."""


_RUNNERS: dict[type[ast.Stmt], Callable[[Body, Any], None]] = {
    ast.Assign: _assign,
    ast.ExprStmt: _expression,
    ast.Return: _return,
    ast.If: _if,
    ast.For: loops.run_for,
    ast.ParamStmt: _param,
    ast.Update: _update,
    ast.InitRule: _init_rule,
    ast.Require: _require,
    ast.Entry: _entry,
    ast.Scan: scans.run_scan,
    ast.Yield: scans.run_yield,
}

__all__ = ["Silent", "assigned", "bind", "declare_only", "run", "run_body"]
