"""Where static values come from: expressions of the spec as terms over the static parameters of the function they stand in."""

from __future__ import annotations

from typing import Any

from dlc.elaborate.base.units import Definition
from dlc.elaborate.base.values import Builtin, Dtype, PresetRef, Tensor
from dlc.elaborate.state.body import Body, Context
from dlc.elaborate.state.scope import Scope
from dlc.ir.nodes import Decision
from dlc.records import replace
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.terms import term
from dlc.types.traced import Term, TracedFloat, TracedInt

# Static functions that Python has under the same name, or that emitted source can say.
FUNCTIONS = frozenset(
    (
        "range",
        "len",
        "enumerate",
        "zip",
        "reversed",
        "sum",
        "min",
        "max",
        "abs",
        "round",
        "int",
        "float",
        "sqrt",
        "log",
        "exp",
        "floor",
        "ceil",
    )
)
Known = Term | None


def origin(context: Context, scope: Scope, node: ast.Expr) -> Known:
    """The expression as a term; None where it is no static one, or is made by means that a term can't say."""
    match node:
        case ast.Int(value) | ast.Float(value) | ast.Bool(value) | ast.Str(value):
            return Term("const", (value,))
        case ast.NoneLit():
            return Term("const", (None,))
        case ast.Name(id):
            return _named(scope, id)
        case ast.Unary(op, operand):
            return _made("neg" if op == "-" else op, origin(context, scope, operand))
        case ast.Binary(op, left, right):
            return _made(op, origin(context, scope, left), origin(context, scope, right))
        case ast.Compare(operands, ops):
            return _chain(ops, [origin(context, scope, each) for each in operands])
        case ast.Conditional(condition, then, otherwise):
            return _made(
                "if",
                origin(context, scope, condition),
                origin(context, scope, then),
                origin(context, scope, otherwise),
            )
        case ast.ListExpr(items):
            return _made("list", *(origin(context, scope, each) for each in items))
        case ast.TupleExpr(items):
            return _made("tuple", *(origin(context, scope, each) for each in items))
        case ast.Index(value, (item,)):
            return _made("index", origin(context, scope, value), origin(context, scope, item))
        case ast.Call(ast.Name(id), args) if id in FUNCTIONS and not any(each.name for each in args):
            found = _made("call", *(origin(context, scope, each.value) for each in args))
            return None if found is None else Term("call", (id, *found.args))
        case ast.Call(ast.Name(id), args):
            return _inlined(context, scope, id, args)
    return None


def _inlined(context: Context, scope: Scope, name: str, args: tuple[ast.Arg, ...]) -> Known:
    """A call of an `fn` of the spec that is one expression: that, on what it is given."""
    found = context.unit.names.get(name)
    node = found.node if isinstance(found, Definition) else None
    if not isinstance(found, Definition) or not isinstance(node, ast.FnDef) or len(node.body) != 1:
        return None
    (only,) = node.body
    names = [str(each.name) for each in node.params]
    given = dict(zip(names, (each for each in args if each.name is None), strict=False))
    given.update((str(each.name), each) for each in args if each.name is not None)
    if not isinstance(only, ast.Return) or given.keys() != set(names):
        return None
    inner = Scope(origins={key: origin(context, scope, each.value) for key, each in given.items()})
    return origin(replace(context, unit=found.unit), inner, only.value)


def _made(op: str, *args: Known) -> Known:
    return None if any(each is None for each in args) else Term(op, args)


def _chain(ops: tuple[str, ...], operands: list[Known]) -> Known:
    """`a < b < c` as comparisons joined by `and`."""
    pairs = [_made(op, a, b) for op, a, b in zip(ops, operands[:-1], operands[1:], strict=True)]
    result = pairs[0]
    for each in pairs[1:]:
        result = _made("and", result, each)
    return result


def _named(scope: Scope, name: str) -> Known:
    if name in scope.origins:
        found: Known = scope.origins[name]
        return found
    value = scope.names.get(name, scope.dims.get(name))
    match value:
        case TracedInt() | TracedFloat() | Dim():
            return term(value)
        case Definition(name=called) | Builtin(name=called) | Dtype(name=called) | PresetRef(name=called):
            return Term("name", (called,))
        case None if name == "training":
            return Term("training")
    return None


def remember(body: Body, name: str, node: ast.Node | None, value: Any) -> None:
    """Note what a name that is bound to a value stands for."""
    if body.context.session.traced:
        static = isinstance(node, ast.Expr) and not isinstance(value, Tensor)
        found = origin(body.context, body.scope, node) if static and isinstance(node, ast.Expr) else None
        body.scope = body.scope.with_origins({name: found})


def decided(body: Body, node: ast.Expr, answer: bool) -> None:
    """Note a decision that was taken on static values: at others it may fall otherwise."""
    if not body.context.session.traced:
        return
    condition = origin(body.context, body.scope, node)
    if condition is not None and not condition.holds("turn") and _open(condition):
        body.emission.decisions.append(Decision(condition, answer, node.span))


def _open(condition: Term) -> bool:
    return any(condition.holds(op) for op in ("param", "input", "training")) or any(
        isinstance(each, Dim) for each in condition.parts()
    )
