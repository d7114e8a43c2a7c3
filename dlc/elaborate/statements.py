"""Running the statements of a body. A statement in error is reported, its targets become POISON, the next one runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NoReturn

from dlc.diagnostics import Span, did_you_mean
from dlc.diagnostics import meaning as problems
from dlc.elaborate import conditions, loops, names, paths
from dlc.elaborate.expressions import evaluate, truth
from dlc.elaborate.failures import described, source, spelled
from dlc.elaborate.frame import Frame, InitRuleClosure, Silent
from dlc.elaborate.initial import initial_function
from dlc.elaborate.operators import cast, emit
from dlc.elaborate.types import axes_text, declared_dtype, written_type
from dlc.elaborate.values import POISON, GroupValue, Instance, Poison, Tensor, show, type_name
from dlc.ir.nodes import Op, Param, Value
from dlc.syntax import ast
from dlc.types.axes import AxisError, Binding, evaluate_axis, unbound_names
from dlc.types.dims import Dim
from dlc.types.facts import Relation
from dlc.types.tensor import TensorType


def run_body(frame: Frame, body: Iterable[ast.Stmt]) -> None:
    """Run statements until one returns."""
    for statement in body:
        if frame.has_returned:
            return
        run(frame, statement)


def run(frame: Frame, statement: ast.Stmt) -> None:
    def work() -> bool:
        frame.elaborator.spend(1, statement.span, frame)
        runner = _RUNNERS.get(type(statement))
        if runner is None:
            return _out_of_place(frame, statement)
        try:
            runner(frame, statement)
        except OverflowError:
            message = "a number in this statement is larger than any float"
            frame.fail(problems.STATIC_ERROR, statement.span, message=message)
        return True

    if frame.guarded(work) is None:
        _recover(frame, statement)


def _out_of_place(frame: Frame, statement: ast.Stmt) -> NoReturn:
    """A statement of a train block inside a loop or condition of it."""
    word = source(frame, statement.span, 10_000).split(" ")[0] or "this statement"
    help = "`settings { epochs = … }` says how long to train" if isinstance(statement, ast.Minimize) else ""
    what = f"`{word}` stands directly in a train block, not inside another statement"
    frame.fail(problems.MISPLACED, statement.span, what=what, help=help)


def _recover(frame: Frame, statement: ast.Stmt) -> None:
    """Go on behind a statement in error: its targets are poisoned, and what else is wrong with it is told."""
    from dlc.elaborate.salvage import salvage

    for name in assigned(statement) | _changed_in_place(statement) | _sizes_named(frame, statement):
        frame.env[name] = POISON
    salvage(frame, statement)
    match statement:
        case ast.Return():
            frame.returned, frame.has_returned = POISON, True
        case ast.For(body=body):
            run_body(frame, body)
        case ast.If(_, then, otherwise):
            run_body(frame, then)
            returned, frame.has_returned = frame.has_returned, False
            run_body(frame, otherwise)
            frame.has_returned = frame.has_returned and returned


def _sizes_named(frame: Frame, statement: ast.Stmt) -> set[str]:
    """The names of sizes that a binding would have introduced: `x: [B, h, w] = …`."""
    match statement:
        case ast.Assign(ast.NameTarget(_, ast.TensorTypeExpr(_, axes)), _):
            return {name for axis in axes for name in unbound_names(axis, lambda each: size_of(frame, each))}
    return set()


def _changed_in_place(statement: ast.Stmt) -> set[str]:
    """The name that `xs.append(x)` and the like are meant to change."""
    match statement:
        case ast.ExprStmt(ast.Call(ast.Attribute(ast.Name(id)))):
            return {id}
    return set()


def assigned(statement: ast.Stmt) -> set[str]:
    """The names that a statement may bind."""
    names: set[str] = set()
    stack: list[Any] = [statement]
    while stack:
        match stack.pop():
            case ast.Assign(target, _) | ast.Yield(target, _):
                names |= target_names(target)
            case ast.ParamStmt(name=name):
                names.add(name)
            case ast.For(target, _, _, body):
                names |= target_names(target)
                stack += body
            case ast.If(_, then, otherwise):
                stack += [*then, *otherwise]
            case ast.Scan(carried=carried, body=body):
                stack += [*carried, *body]
    return names


def target_names(target: ast.Target) -> set[str]:
    match target:
        case ast.NameTarget(id):
            return {id} - {"_"}
        case ast.TupleTarget(items):
            return set().union(*map(target_names, items))
    return set()


# --- bindings --------------------------------------------------------------------------------------------------


def _assign(frame: Frame, node: ast.Assign) -> None:
    value = evaluate(frame, node.value)
    bind(frame, node.target, value, node.value.stage if isinstance(node.value, ast.Pipe) else node.value)


def bind(frame: Frame, target: ast.Target, value: Any, node: ast.Node) -> None:
    """Bind a target's names to a value, taking tuples and tensors' first axes apart."""
    match target:
        case ast.NameTarget(id, written):
            if written is not None:
                value = _check_binding(frame, target, value)
            if isinstance(value, Instance) and value.path is None and value.label is None and not value.name:
                value.name = id
                value.frame, value.loops = frame, tuple(frame.loops)
            elif isinstance(value, Instance) and not value.name:
                value.name = id
            if id != "_":
                frame.env[id] = name_value(frame, id, value)
                frame.turning.discard(id)
        case ast.TupleTarget(items):
            for item, part in zip(items, _parts(frame, value, len(items), node), strict=True):
                bind(frame, item, part, node)


def name_value(frame: Frame, name: str, value: Any) -> Any:
    """Let a value that was just made carry the name that it is bound to, for the sake of those who read the IR."""
    named: set[str] = frame.cached.setdefault("named", set())
    if (
        not isinstance(value, Tensor)
        or value.name in named
        or any(_reaches(each, value) for each in frame.env.values())
    ):
        return value
    body = frame.builder.body
    for i in range(len(body) - 1, max(len(body) - 24, -1), -1):
        op = body[i]
        for k, out in enumerate(op.outputs):
            if out.name == value.name:
                made = Value(frame.builder.fresh(name), out.type)
                named.add(made.name)
                body[i] = replace(op, outputs=(*op.outputs[:k], made, *op.outputs[k + 1 :]))
                return replace(value, value=made)
        if value.name in op.inputs or op.region is not None:
            break
    return value


def _reaches(held: Any, value: Tensor) -> bool:
    """Whether a value that some name holds is, or contains, the tensor."""
    match held:
        case Tensor():
            return held.name == value.name
        case list() | tuple():
            return any(_reaches(each, value) for each in held)
        case GroupValue(_, members):
            return any(_reaches(each, value) for _, each in members)
    return False


def _parts(frame: Frame, value: Any, count: int, node: ast.Node) -> list[Any]:
    if isinstance(value, GroupValue):
        value = tuple(member for _, member in value.members)
    if isinstance(value, tuple | list):
        if len(value) != count:
            what = f"{len(value)} values"
            frame.fail(problems.UNPACK, node.span, found=what, count=count)
        return list(value)
    if not isinstance(value, Tensor) or value.type.rank == 0:
        frame.fail(problems.UNPACK, node.span, found=type_name(value), count=count)
    first = value.type.axes[0]
    if frame.facts.prove_eq(first, Dim.of(count)) is not True:
        frame.fail(
            problems.UNPACK,
            node.span,
            found=f"a tensor {value.type}",
            count=count,
            help=_unpack_help(value, node),
        )
    return [_row(frame, node, value, i) for i in range(count)]


def _unpack_help(value: Tensor, node: ast.Node) -> str:
    help = "a tensor unpacks along its first axis; use `chunk` or `split` for another"
    if value.type.axes[0].constant is not None:
        help = f"a tensor unpacks along its first axis, and that is {value.type.axes[0]}"
    made = isinstance(node, ast.Call) and value.made_at == node.span and value.made_by
    return f"`{value.made_by}` gives one tensor; {help}" if made else help


def _row(frame: Frame, node: ast.Node, value: Tensor, index: int) -> Tensor:
    axes = value.type.axes
    zeros = tuple(Dim.of(0) for _ in axes)
    start = (Dim.of(index), *zeros[1:])
    stop = (Dim.of(index + 1), *axes[1:])
    row = emit(frame, node, "slice", value, start=start, stop=stop, step=(1,) * len(axes))
    return emit(frame, node, "reshape", row, shape=axes[1:])


def _check_binding(frame: Frame, target: ast.NameTarget, value: Any) -> Any:
    written = written_type(frame, frame.unit, target.type, target.span)
    if written is None or written.group is not None:
        return value
    expected = f"{written.dtype or ''}[{axes_text(written.axes)}]"
    if not isinstance(value, Tensor):
        frame.fail(
            problems.BINDING_TYPE,
            target.span,
            name=target.id,
            expected=expected,
            reason=f"it is {type_name(value)}",
        )
    wanted = declared_dtype(written, frame.float_dtype)
    if (
        written.dtype is not None
        and wanted != value.type.dtype
        and not (wanted == "float" and value.type.is_float)
    ):
        reason = f"it is {value.type}"
        frame.fail(problems.BINDING_TYPE, target.span, name=target.id, expected=expected, reason=reason)
    if written.dtype == "float" and value.type.is_float:
        value = cast(frame, target, value, wanted)
    named: set[str] = frame.cached.setdefault(("sizes named", target.span), set())
    for name in named:  # by this binding in an earlier turn of a loop: each turn has sizes of its own
        frame.dims.pop(name, None)
    binding = Binding(lambda name: size_of(frame, name), frame.facts)
    try:
        binding.match(written.axes, value.type.axes)
    except AxisError as error:
        notes = [described(frame, value)]
        place = error.node.span if error.node is not None and error.node.span.line else target.span
        frame.fail(
            problems.BINDING_TYPE,
            place,
            name=target.id,
            expected=expected,
            reason=error.message,
            notes=notes,
            help=error.help,
        )
    for name, size in binding.dims.items():
        frame.dims[name] = size
        named.add(name)
    return value


def size_of(frame: Frame, name: str) -> Dim | tuple[Dim, ...] | None:
    """What a name in a type of the body stands for: a static int, a dim, or a `let` of the file."""
    value = frame.env.get(name)
    if isinstance(value, int | Dim) and not isinstance(value, bool):
        return Dim.of(value)
    found: Dim | tuple[Dim, ...] | None = frame.dims.get(name)
    return found if found is not None else frame.elaborator.let_dims(frame.unit)(name)


def _expression(frame: Frame, node: ast.ExprStmt) -> None:
    value = evaluate(frame, node.value)
    help = ""
    if isinstance(node.value, ast.Pipe) or isinstance(value, Tensor):
        help = "bind it, `y = …`, or return it, `return …`"
    frame.fail(problems.NO_EFFECT, node.span, help=help)


def _return(frame: Frame, node: ast.Return) -> None:
    frame.cached["return"] = _result_spans(node.value)
    frame.returned = evaluate(frame, node.value)
    frame.has_returned = True


def _result_spans(node: ast.Expr) -> list[Span]:
    """Where each result is made: of a pipe, its last stage."""
    items = node.items if isinstance(node, ast.TupleExpr) else (node,)
    return [item.stage.span if isinstance(item, ast.Pipe) else item.span for item in items]


# --- conditions ------------------------------------------------------------------------------------------------


def _if(frame: Frame, node: ast.If) -> None:
    taken = truth(frame, node.condition)
    if paths.mentioned(node.condition, frozenset({"training"})) and not frame.library:
        _declare(frame, node.otherwise if taken else node.then)
    run_body(frame, node.then if taken else node.otherwise)


def _declare(frame: Frame, body: tuple[ast.Stmt, ...]) -> None:
    """Run a branch that is not taken for the parameters it declares; its operations and bindings are dropped."""
    saved = (frame.builder.body, dict(frame.env), frame.returned, frame.has_returned, frame.dead, frame.facts)
    frame.builder.body, frame.dead = [], True
    run_body(frame, body)
    frame.builder.body, frame.env, frame.returned, frame.has_returned, frame.dead, frame.facts = saved


def declare_only(
    frame: Frame, body: tuple[ast.Stmt, ...], own: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    """Run a main body for what an entry sees of it: parameters, buffers, bound instances, static values. `own` are the names
    and dims that the frame had before."""
    saved, silent, failures = frame.builder.body, frame.elaborator.diagnostics, frame.elaborator.failures
    seen = set(frame.elaborator._seen)
    frame.builder.body, frame.elaborator.diagnostics = [], []
    for statement in body:
        if not isinstance(statement, ast.Return) or not isinstance(statement.value, ast.Name):
            run(frame, statement)
        frame.returned, frame.has_returned = None, False
    frame.elaborator.diagnostics, frame.elaborator.failures = silent, failures
    frame.elaborator._seen = seen
    kept = {
        name: value
        for name, value in frame.env.items()
        if not isinstance(value, Tensor | GroupValue | Poison)
    }
    frame.builder.body = saved
    declared = {name: _read_again(frame, statement) for name, statement in _declarations(frame, body).items()}
    frame.env, frame.dims = {**kept, **declared, **own[0]}, own[1]


def _declarations(frame: Frame, body: tuple[ast.Stmt, ...]) -> dict[str, ast.ParamStmt]:
    declared = frame.cached.get("declared", {})
    return {each.name: each for each in body if isinstance(each, ast.ParamStmt) and each.name in declared}


def _read_again(frame: Frame, node: ast.ParamStmt) -> Tensor:
    path = frame.cached["declared"][node.name]
    value = Value(frame.builder.fresh(node.name), frame.params[path].type)
    frame.builder.append(Op("param", (), (value,), (("path", path),), span=node.span))
    return Tensor(value, node.span, f"param {node.name}")


def _require(frame: Frame, node: ast.Require) -> None:
    value = _require_value(frame, node)
    if isinstance(value, Tensor):
        _require_data(frame, node, value)
        return
    if value is True:
        return
    if frame.library:
        subject = _subject(node.condition)
        help = _alternatives(frame, node.condition)
        callee = frame.origin.name if frame.origin else frame.name
        frame.fail(problems.BAD_VALUE, subject.span, callee=callee, message=_message(frame, node), help=help)
    frame.fail(problems.REQUIRE_FALSE, node.condition.span, message=_message(frame, node))


def _subject(node: ast.Expr) -> ast.Expr:
    """What a condition is about: the left side of a comparison."""
    return node.operands[0] if isinstance(node, ast.Compare) else node


def _alternatives(frame: Frame, node: ast.Expr) -> str:
    """The near miss of a word that is not one of a list."""
    if not isinstance(node, ast.Compare) or node.ops[0] != "in":
        return ""
    value, known = (evaluate(frame, operand) for operand in node.operands[:2])
    return did_you_mean(value, known).replace("`", '"') if isinstance(value, str) else ""


def _require_value(frame: Frame, node: ast.Require) -> Any:
    """True, False, or a bool tensor to be checked at run time; what it says of dims becomes a fact."""
    condition = node.condition
    if isinstance(condition, ast.Compare) and _speaks_of_dims(frame, condition):
        for relation in conditions.relations(frame, condition):
            decided = relation if isinstance(relation, bool) else frame.facts.decide(relation)
            if decided is False:
                return False
            if decided is None:
                assert isinstance(relation, Relation)
                _require_dims(frame, node, relation)
                frame.facts = frame.facts.assume(relation)
        return True
    value = evaluate(frame, condition)
    return value if isinstance(value, Tensor) else bool(value)


def _speaks_of_dims(frame: Frame, node: ast.Compare) -> bool:
    values = [evaluate(frame, operand) for operand in node.operands]
    sizes = all(isinstance(each, int | Dim) for each in values)
    return sizes and any(isinstance(each, Dim) for each in values)


def _require_dims(frame: Frame, node: ast.Require, relation: Relation) -> None:
    """A relation between sizes that only the data can settle: checked when the network runs."""
    from dlc.elaborate.operators import _TENSOR_OPS, lift

    a, b = (lift(frame, node, side, "i64") for side in (relation.left, relation.right))
    _require_data(frame, node, emit(frame, node, _TENSOR_OPS[relation.op], a, b))


def _require_data(frame: Frame, node: ast.Require, value: Tensor) -> None:
    if value.type.dtype != "bool":
        help = f"compare it: `{spelled(frame, value)} > 0`"
        frame.fail(
            problems.DTYPE,
            node.condition.span,
            message=f"`require` needs a bool, not {value.type}",
            help=help,
        )
    if value.type.rank:
        value = emit(frame, node, "all", value, axis=tuple(range(value.type.rank)), keepdims=False)
    message = _message(frame, node)
    op = Op("require", (value.name,), (), (("message", message),), span=node.span)
    frame.builder.append(op)


def _message(frame: Frame, node: ast.Require) -> str:
    if node.message is None:
        return conditions.text(node.condition)
    parts = node.message.parts or (node.message.value,)
    return "".join(
        each if isinstance(each, str) else paths.show_plain(evaluate(frame, each)) for each in parts
    )


# --- parameters ------------------------------------------------------------------------------------------------


def _param(frame: Frame, node: ast.ParamStmt) -> None:
    if frame.kind == "fn":
        what = f"an `fn` has no parameters of its own; make `{frame.name}` a `module`"
        frame.fail(problems.MISPLACED, node.span, what=what)
    type = _param_type(frame, node)
    path = paths.local_path(frame, node.name, node.label)
    known = frame.params.get(path)
    if known is not None and not frame.dead and known.type != type:
        notes = [f"the first is {known.type}, this one {type}"]
        frame.fail(problems.SAME_PATH, node.span, path=path, notes=notes, help=paths.RELABEL)
    if node.initial is None:
        written = (source(frame, node.type.span) if node.type is not None else "") or "…"
        help = f"say how it starts: `{node.kind} {node.name}: {written} = zeros`"
        frame.fail(problems.BAD_INITIAL, node.span, message="a parameter needs an initial value", help=help)
    init = initial_function(frame, node.initial, type, node.initial.span, dict(frame.env))
    frame.params[path] = Param(path, type, node.kind, node.frozen, init)
    frame.cached.setdefault("declared", {})[node.name] = path
    value = Value(frame.builder.fresh(node.name), type)
    frame.builder.append(Op("param", (), (value,), (("path", path),), span=node.span))
    frame.env[node.name] = Tensor(value, node.span, f"param {node.name}")
    if node.kind == "buffer":
        frame.buffers[node.name] = path


def _param_type(frame: Frame, node: ast.ParamStmt) -> TensorType:
    written = written_type(frame, frame.unit, node.type, node.span)
    if written is None or written.group is not None:
        frame.fail(problems.BAD_TYPE, node.span, message="a parameter needs a tensor type")
    axes: list[Dim] = []
    for item in written.axes:
        if isinstance(item, ast.Star):
            axes += names.star(frame, item)
            continue
        if isinstance(item, ast.Call | ast.Index | ast.Attribute | ast.Conditional):
            axes.append(_static_axis(frame, item))
            continue
        try:
            axes.append(evaluate_axis(item, lambda name: size_of(frame, name)))
        except AxisError as error:
            where = error.node.span if error.node is not None else node.span
            frame.fail(problems.BAD_TYPE, where, message=error.message)
    for axis in axes:
        if axis.constant is None:
            frame.fail(
                problems.PARAM_DIM,
                node.span,
                name=node.name,
                dim=f"`{axis}`",
                help="give the size as a static parameter, or fix it in the input's type",
            )
        if axis.constant < 0:
            frame.fail(problems.BAD_TYPE, node.span, message=f"a size can't be negative: {axis}")
    return TensorType(declared_dtype(written, frame.float_dtype), tuple(axes))


def _static_axis(frame: Frame, node: ast.Expr) -> Dim:
    """An axis computed by static functions: `len(xs)`, `int(d * 2.67)`, `widths[0]`."""
    value = evaluate(frame, node)
    if not isinstance(value, int | Dim) or isinstance(value, bool):
        frame.fail(problems.BAD_TYPE, node.span, message=f"a size is a whole number, not {type_name(value)}")
    return Dim.of(value)


def _update(frame: Frame, node: ast.Update) -> None:
    if not isinstance(node.target, ast.Name) or node.target.id not in frame.buffers:
        name = node.target.id if isinstance(node.target, ast.Name) else "this"
        frame.fail(
            problems.UPDATE_TARGET, node.target.span, name=name, help=f"declare it: `buffer {name}: … = …`"
        )
    if not frame.training:
        evaluate_quietly(frame, node.value)
        return
    name = node.target.id
    path = frame.buffers[name]
    value = evaluate(frame, node.value)
    type = frame.params[path].type
    if isinstance(value, int | float):
        from dlc.elaborate.operators import lift

        value = lift(frame, node, value, type.dtype)
    if not isinstance(value, Tensor):
        frame.fail(problems.NOT_A_TENSOR, node.value.span, callee="update", name=name, found=show(value))
    value = emit(frame, node, "stop_gradient", value) if value.type.is_float else value
    value = cast(frame, node, value, type.dtype)
    if value.type.axes != type.axes:
        value = emit(frame, node, "broadcast", value, shape=type.axes)
    frame.builder.append(Op("update", (value.name,), (), (("path", path),), span=node.span))
    frame.env[name] = value


def evaluate_quietly(frame: Frame, node: ast.Expr) -> None:
    """Check an expression whose operations are not wanted."""
    saved = frame.builder.body
    frame.builder.body = []
    try:
        evaluate(frame, node)
    finally:
        frame.builder.body = saved


def _init_rule(frame: Frame, node: ast.InitRule) -> None:
    for selector in node.selectors:
        if selector.kind is not None:
            _check_kind(frame, selector.kind, selector.param, selector.span)
    frame.rules.append(InitRuleClosure(node, frame, dict(frame.env)))


def _check_kind(frame: Frame, kind: str, param: str | None, span: Span) -> None:
    """A kind rule speaks of a module that there is, and of a parameter that it declares."""
    found = names.callable_named(frame, kind, span.inside(0, len(kind)))
    node = getattr(found, "node", None)
    if not isinstance(node, ast.ModuleDef):
        what = f"`{kind}` is {type_name(found)}, no module"
        frame.fail(
            problems.STATIC_ERROR,
            span.inside(0, len(kind)),
            message=f"{what} whose parameters could be meant",
        )
    own = declared(node.body)
    if param is not None and own and param not in own:
        place = span.inside(len(kind) + 1, len(kind) + 1 + len(param))
        frame.fail(problems.NO_ATTRIBUTE, place, what=f"`{kind}`", name=param, help=did_you_mean(param, own))


def declared(body: Iterable[ast.Stmt]) -> set[str]:
    """The names of the parameters and buffers that a body declares, in whatever branch."""
    found: set[str] = set()
    stack: list[Any] = list(body)
    while stack:
        match stack.pop():
            case ast.ParamStmt(name=name):
                found.add(name)
            case ast.If(_, then, otherwise):
                stack += [*then, *otherwise]
            case ast.For(body=inner) | ast.Scan(body=inner):
                stack += inner
    return found


def _entry(frame: Frame, node: ast.Entry) -> None:
    """Entries are elaborated when they are called or compiled."""


def _not_yet(what: str) -> Callable[[Frame, ast.Stmt], None]:
    def fail(frame: Frame, node: ast.Stmt) -> None:
        frame.fail(problems.NOT_YET, node.span, what=what)

    return fail


_RUNNERS: dict[type[ast.Stmt], Callable[[Frame, Any], None]] = {
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
    ast.Scan: _not_yet("a `scan`"),
}

__all__ = ["Silent", "assigned", "bind", "declare_only", "run", "run_body"]
