"""Where static values come from: expressions of the spec as terms over the static parameters of the function they stand in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

from dlc.diagnostics import Span
from dlc.elaborate.base.trees import assigned
from dlc.elaborate.base.units import Definition
from dlc.elaborate.base.values import Builtin, Dtype, PresetRef, Tensor, is_plain
from dlc.elaborate.state.body import Body, Context
from dlc.elaborate.state.scope import Scope
from dlc.elaborate.types.static import inner_text
from dlc.ir.nodes import BY, Decision
from dlc.records import dataclass, replace
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.functions import FUNCTIONS
from dlc.types.opaque import is_closed
from dlc.types.terms import (
    as_dim,
    backwards,
    evaluate,
    length_of,
    origin_free,
    remembered,
    resolved,
    settled,
    term,
    untraced,
)
from dlc.types.traced import Helper, Term, TracedFloat, TracedInt

Known = Term | None
PARTS = "parts"
"""What a list of instances stands for that a comprehension made, one for each element of its argument. Nothing but a loop over it reads that."""


def origin(context: Context, scope: Scope, node: ast.Expr) -> Known:
    """The expression as a term; None where it is no static one, or is made by means that a term can't say."""
    match node:
        case ast.Int(value) | ast.Float(value) | ast.Bool(value) | ast.Str(value):
            return Term("const", (value,))
        case ast.NoneLit():
            return Term("const", (None,))
        case ast.Name(id):
            return _named(context, scope, id)
        case ast.Unary(op, operand):
            return _made("neg" if op == "-" else op, origin(context, scope, operand))
        case ast.Binary(op, left, right):
            made = _made(op, origin(context, scope, left), origin(context, scope, right))
            return None if made is None else settled(made)
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
            return _made("list", *(told for each in items for told in _items(context, scope, each)))
        case ast.TupleExpr(items):
            return _made("tuple", *(origin(context, scope, each) for each in items))
        case ast.ListComp():
            return _comprehension(context, scope, node)
        case ast.Index(value, (ast.Slice(start, stop, step),)):
            bounds = (
                Term("const", (None,)) if each is None else origin(context, scope, each)
                for each in (start, stop, step)
            )
            return _made("cut", origin(context, scope, value), *bounds)
        case ast.Index(value, (item,)):
            return _made("index", origin(context, scope, value), origin(context, scope, item))
        case ast.Call(ast.Name(id), args) if id in FUNCTIONS and id not in scope.names:
            return _function(context, scope, id, args)
        case ast.Call(ast.Name(id), args):
            return _helped(context, scope, id, args)
    return None


def _items(context: Context, scope: Scope, node: ast.Expr) -> list[Known]:
    """An element of a list; all sizes of `*S`."""
    if not isinstance(node, ast.Star):
        return [origin(context, scope, node)]
    sizes = scope.dims.get(node.name)
    return list(map(term, sizes)) if isinstance(sizes, tuple) else [None]


def _function(context: Context, scope: Scope, name: str, args: tuple[ast.Arg, ...]) -> Known:
    if any(each.name for each in args):
        return None
    found = _made("call", *(origin(context, scope, each.value) for each in args))
    if found is None:
        return None
    (first, *_) = found.args or (None,)
    if name == "len" and first is not None and first.op == "list":
        return Term("const", (len(first.args),))
    return Term("call", (name, *found.args))


def _helped(context: Context, scope: Scope, name: str, args: tuple[ast.Arg, ...]) -> Known:
    """A call of an `fn` of the spec that computes static values."""
    found = context.unit.names.get(name)
    node = found.node if isinstance(found, Definition) else None
    if not isinstance(found, Definition) or not isinstance(node, ast.FnDef) or name in scope.names:
        return None
    helper = _helper(replace(context, unit=found.unit), found, node)
    if helper is None:
        return None
    given = dict(zip(helper.params, (each for each in args if each.name is None), strict=False))
    given.update((str(each.name), each) for each in args if each.name is not None)
    terms = [
        origin(context, scope, given[name].value) if name in given else default
        for name, default in zip(helper.params, _defaults(context, node), strict=True)
    ]
    return _made("call", *terms) and Term("call", (helper, *terms))


def _defaults(context: Context, node: ast.FnDef) -> list[Known]:
    """The defaults of an `fn`'s parameters, where they depend on no others."""
    return [None if each.default is None else origin(context, Scope(), each.default) for each in node.params]


def _helper(context: Context, definition: Definition, node: ast.FnDef) -> Helper | None:
    """An `fn` as one of Python, if it has numbers for parameters and does nothing but bind names and return."""
    known: dict[Any, Helper | None] = context.session.helpers
    if definition not in known:
        known[definition] = None  # one that calls itself is none
        known[definition] = _as_helper(context, node)
    return known[definition]


def _as_helper(context: Context, node: ast.FnDef) -> Helper | None:
    if not all(isinstance(each.type, ast.NamedTypeExpr) for each in node.params) or node.where:
        return None
    params = tuple(str(each.name) for each in node.params)
    scope = Scope(origins={name: Term("each", (name,)) for name in params})
    steps: list[tuple[str, Term]] = []
    for statement in node.body:
        match statement:
            case ast.Assign(ast.NameTarget(name, None), value):
                told = origin(context, scope, value)
                if told is None:
                    return None
                steps.append((name, told))
                scope = scope.with_origins({name: Term("each", (name,))})
            case ast.Return(value) if statement is node.body[-1] and value is not None:
                told = origin(context, scope, value)
                if told is None:
                    return None
                types = tuple(inner_text(each.type) for each in node.params)
                result = node.outputs[0].type if len(node.outputs) == 1 else None
                kind = inner_text(result) if isinstance(result, ast.NamedTypeExpr) else ""
                return Helper(node.name, params, types, tuple(steps), told, kind, node.doc)
            case _:
                return None
    return None


def _comprehension(context: Context, scope: Scope, node: ast.ListComp) -> Known:
    taken = {
        each.args[0]
        for told in scope.origins.values()
        if told is not None
        for each in told.parts()
        if isinstance(each, Term) and each.op == "each"
    }
    new: dict[str, Term] = {}
    target = _target(node.target, taken, new)
    inner = scope.with_origins(new)
    parts = [origin(context, inner, node.element), origin(context, scope, node.iterable)]
    if node.condition is not None:
        parts.append(origin(context, inner, node.condition))
    found = _made("for", *parts)
    return None if found is None else Term("for", (found.args[0], target, *found.args[1:]))


def _target(target: ast.Target, taken: set[str], new: dict[str, Term]) -> Any:
    """The names of a comprehension's target, other than those of comprehensions around it."""
    match target:
        case ast.NameTarget(id):
            name = id
            while name in taken:
                name += "_"
            new[id] = Term("each", (name,))
            return name
        case ast.TupleTarget(items):
            return tuple(_target(each, taken, new) for each in items)
    raise TypeError(f"no target: {target!r}")


def _made(op: str, *args: Known) -> Known:
    return None if any(each is None for each in args) else Term(op, args)


def _chain(ops: tuple[str, ...], operands: list[Known]) -> Known:
    """`a < b < c` as comparisons joined by `and`."""
    pairs = [_compared(op, a, b) for op, a, b in zip(ops, operands[:-1], operands[1:], strict=True)]
    result = pairs[0]
    for each in pairs[1:]:
        result = _made("and", result, each)
    return result


def _compared(op: str, left: Known, right: Known) -> Known:
    """A comparison; of two lists that of the elements that are not the same anyhow: `[B, heads] != [B, groups]`."""
    lists = left is not None and right is not None and {left.op, right.op} == {"list"}
    if not lists or op not in ("==", "!=") or left is None or right is None:
        return _made(op, left, right)
    if len(left.args) != len(right.args):
        return Term("const", (op == "!=",))
    pairs = [Term(op, pair) for pair in zip(left.args, right.args, strict=True) if pair[0] != pair[1]]
    joined = "and" if op == "==" else "or"
    return reduce(lambda a, b: Term(joined, (a, b)), pairs) if pairs else Term("const", (op == "==",))


def _named(context: Context, scope: Scope, name: str) -> Known:
    if name in scope.origins:
        found: Known = scope.origins[name]
        return None if found is not None and found.op == PARTS else found
    value = scope.names.get(name, scope.dims.get(name))
    match value:
        case TracedInt() | TracedFloat() | Dim():
            return term(value)
        case Definition(name=called) | Builtin(name=called) | Dtype(name=called) | PresetRef(name=called):
            return Term("name", (called,))
        case None if name == "training":
            return Term("training")
        case None:
            return _constant(context, name)
    return None


def _constant(context: Context, name: str) -> Known:
    """A `let` of the file: its value, which depends on nothing."""
    item = context.unit.names.get(name)
    value = context.session.lets.get((id(context.unit), name)) if isinstance(item, ast.Let) else None
    return term(value) if value is not None and is_plain(value) else None


# --- what is noted down -------------------------------------------------------------------------------------------


def remember(body: Body, name: str, node: ast.Node | None, value: Any) -> None:
    """Note what a name that is bound to a value stands for."""
    if body.context.session.traced:
        static = isinstance(node, ast.Expr) and not isinstance(value, Tensor)
        found = origin(body.context, body.scope, node) if static and isinstance(node, ast.Expr) else None
        if found is None and isinstance(value, TracedInt | TracedFloat):
            found = term(value)
        if found is None and isinstance(node, ast.ListComp):
            found = _made_by(body, node)
        body.scope = body.scope.with_origins({name: found})


def turned(scope: Scope, name: str) -> Scope:
    """The scope before the variable of a loop gets its next value: what stands for names by its last one is said without it."""
    stale = {
        key: _in_turn(scope, told)
        for key, told in scope.origins.items()
        if told is not None and any(each == Term("turn", (name,)) for each in told.parts())
    }
    return scope.with_origins({**stale, name: Term("turn", (name,))})


def outlived(scope: Scope, names: Iterable[str]) -> Scope:
    """The scope in a turn of a comprehension, whose variables are no more than their values: what it makes outlives them."""
    values = {name: scope.names.get(name) for name in names}
    return scope.with_origins({name: term(each) if is_plain(each) else None for name, each in values.items()})


INDICES = ("i", "j", "k", "n", "i_", "j_", "k_", "n_")
"""What the number of a turn is called where the spec has no name for it."""


@dataclass(frozen=True, slots=True)
class Walk:
    """A loop over the elements of a list as one over their numbers: the number's name, whether the spec has it, what it goes over, and what
    else is bound in every turn: `width` is `hidden[i]`."""

    index: str
    is_named: bool
    over: Term
    elements: Mapping[str, Known]
    parts: Mapping[str, ast.ListComp]
    """The comprehension that made what a name is bound to in every turn, where it goes over all of it in order."""


def walk_of(body: Body, node: ast.For) -> Walk | None:
    """How a `for` over lists that a static parameter is, or holds, goes over their numbers. None for any other, and where it is not
    traced."""
    if not body.context.session.traced:
        return None
    index, iterable, target = "_", node.iterable, node.target
    match iterable, target:
        case (
            ast.Call(ast.Name("enumerate"), (ast.Arg(value=of, name=None),)),
            ast.TupleTarget((ast.NameTarget(number), inner)),
        ):
            index, iterable, target = number, of, inner
    lists: Sequence[ast.Expr] = (iterable,)
    targets: Sequence[ast.Target] = (target,)
    match iterable, target:
        case ast.Call(ast.Name("zip"), args), ast.TupleTarget(items) if len(args) == len(items):
            lists, targets = [each.value for each in args], items
    told = [_listed(body, each) for each in lists]
    is_named = index != "_"
    if not is_named:
        taken = {*body.scope.names, *body.scope.static, *body.scope.dims, *assigned(node)}
        index = next((each for each in INDICES if each not in taken), "_")
    known = [each for each in told if each is not None]
    if index == "_" or len(known) < len(told):
        return None
    elements: dict[str, Known] = {}
    parts: dict[str, ast.ListComp] = {}
    for part, each in zip(targets, known, strict=True):
        _elements(part, _element_of(each, Term("turn", (index,))), elements)
        if each.op == PARTS and isinstance(part, ast.NameTarget):
            parts[part.id] = each.args[1]
    length = _shortest([_length_of(each.args[0] if each.op == PARTS else each) for each in known])
    return Walk(index, is_named, Term("call", ("range", length)), elements, parts)


def _shortest(lengths: Sequence[Term]) -> Term:
    """The least of lengths: of one list and parts of it, that in which most is left out."""
    less: dict[Term, int] = {}
    for each in lengths:
        match each:
            case Term("-", (Term() as whole, Term("const", (int(number),)))):
                less[whole] = max(number, less.get(whole, 0))
            case _:
                less.setdefault(each, 0)
    found = [Term("-", (whole, Term("const", (by,)))) if by else whole for whole, by in less.items()]
    return found[0] if len(found) == 1 else Term("call", ("min", *found))


def _listed(body: Body, node: ast.Expr) -> Known:
    """A list as a static parameter holds it, or one of its lists, or that from its end on."""
    match node:
        case ast.Call(ast.Name("reversed"), (ast.Arg(value=of, name=None),)) if (
            "reversed" not in body.scope.names
        ):
            inner = _listed(body, of)
            return None if inner is None else backwards(inner)
    made = _made_by(body, node)
    if made is not None:
        return made
    told = origin(body.context, body.scope, node)
    return told if told is not None and (_is_element(told) or _ends(told) is not None) else None


def _ends(told: Term) -> tuple[Term, int, int] | None:
    """Of a list without some of its first or last elements, the list and how many of each: `widths[1:]`, `widths[:-1]`."""
    match told:
        case Term("cut", (Term() as base, start, stop, Term("const", (None,)))) if _is_element(base):
            first, last = _left_out(start), _left_out(stop, backwards=True)
            if first is not None and last is not None and first + last:
                return base, first, last
    return None


def _left_out(bound: Any, *, backwards: bool = False) -> int | None:
    """How many elements a bound leaves out; None where that depends on the list."""
    match bound:
        case Term("const", (None,)):
            return 0
        case Term("const", (int(number),)) if not backwards and number >= 0:
            return number
        case Term("neg", (Term("const", (int(number),)),)) if backwards and number > 0:
            return number
    return None


def _element_of(told: Term, turn: Term) -> Term:
    """The element of a list that a turn takes; of a part of one, by its place in the whole."""
    match told:
        case Term("cut", (Term() as part, *_)) if told == backwards(part) and (found := _ends(part)):
            return Term("index", (backwards(found[0]), _ahead(turn, found[2])))
    found = _ends(told)
    return Term("index", (told, turn)) if found is None else Term("index", (found[0], _ahead(turn, found[1])))


def _ahead(turn: Term, by: int) -> Term:
    return Term("+", (turn, Term("const", (by,)))) if by else turn


def _length_of(told: Term) -> Term:
    match told:
        case Term("cut", (Term() as part, *_)) if told == backwards(part):
            told = part
    found = _ends(told)
    if found is None:
        return length_of(told)
    return Term("-", (length_of(found[0]), Term("const", (found[1] + found[2],))))


def made_for(body: Body, node: ast.Expr) -> Known:
    """What each element of a list of instances was made for: of `layers`, or of what it is bound to, `range(n)` in
    `[Layer() for i in range(n)]`."""
    made = _made_by(body, node)
    over: Known = None if made is None else made.args[0]
    return over


def _made_by(body: Body, node: ast.Expr) -> Known:
    match node:
        case ast.Name(id) if (held := body.scope.origins.get(id)) is not None and held.op == PARTS:
            found: Known = held
            return found
        case ast.ListComp(condition=None) if origin(body.context, body.scope, node) is None:
            over = origin(body.context, body.scope, node.iterable)
            return None if over is None else Term(PARTS, (over, node))
    return None


def elements_of(body: Body, node: ast.ListComp, index: str) -> dict[str, Known] | None:
    """What the names of a comprehension's target stand for at the number that is called `index`; None where that can't be said."""
    turn, found = Term("turn", (index,)), dict[str, Known]()
    iterable, target = node.iterable, node.target
    match iterable, target:
        case ast.Call(ast.Name("range"), (ast.Arg(name=None),)), ast.NameTarget(id):
            return {id: turn}
        case ast.Call(
            ast.Name("range"), (ast.Arg(value=start, name=None), ast.Arg(name=None))
        ), ast.NameTarget(id):
            first = origin(body.context, body.scope, start)
            return None if first is None else {id: settled(Term("+", (turn, first)))}
        case (
            ast.Call(ast.Name("enumerate"), (ast.Arg(value=of, name=None),)),
            ast.TupleTarget((ast.NameTarget(number), inner)),
        ):
            found[number], iterable, target = turn, of, inner
    told = origin(body.context, body.scope, iterable)
    if told is None or not _is_element(told):
        return None
    _elements(target, Term("index", (told, turn)), found)
    return found


def _elements(target: ast.Target, told: Term, found: dict[str, Known]) -> None:
    """What the names of a target stand for in a turn."""
    match target:
        case ast.NameTarget(id) if id != "_":
            found[id] = None if told.holds(PARTS) else told
        case ast.TupleTarget(items):
            for k, each in enumerate(items):
                _elements(each, Term("index", (told, Term("const", (k,)))), found)


def _is_element(told: Term) -> bool:
    return told.op == "param" or (told.op == "index" and _is_element(told.args[0]))


def walked(body: Body, walk: Walk, number: int) -> None:
    """Note the next turn of a walk, before the names of its target are bound."""
    if not walk.is_named:
        body.scope = turned(body.scope, walk.index)
        body.scope = body.scope.bind(walk.index, number, turns=True)


def kept(body: Body, node: ast.Expr, value: Any) -> Any:
    """A number that functions of static values made, or that stands in a list, with its expression: as the text has it, since that
    holds for lists of other lengths too."""
    if not body.context.session.traced or not isinstance(value, int | float) or isinstance(value, bool):
        return value
    told = here(body, node)
    if told is not None and is_closed(told):
        return spelled(body, node, value)
    if told is None or (not origin_free(value) and not _by_text(told)):
        return value
    return remembered(untraced(value), told)


LONG = 9
"""Digits of a number that nobody would have written."""


def spelled(body: Body, node: ast.Expr, value: Any) -> Any:
    """A number that takes many digits, as the text computes it: `sqrt(2)`, `0.0199 / 999`."""
    if not body.context.session.traced or type(value) is not float or len(repr(value)) <= LONG:
        return value
    told = origin(body.context, body.scope, node)
    if told is None or not is_closed(told) or not math.isfinite(value):
        return value
    try:
        return TracedFloat(value, told) if evaluate(told, {}) == value else value
    except (ArithmeticError, KeyError, TypeError, ValueError):
        return value


def argued(body: Body, node: ast.Expr, value: Any) -> Known:
    """What an argument stands for: the text, where that is not to take a list apart of which each element is known."""
    told = origin(body.context, body.scope, node)
    apart = told is not None and told.op == "index" and not told.holds("turn") and as_dim(told) is None
    return term(value) if apart and isinstance(value, TracedInt | TracedFloat) else told


def _by_text(told: Term) -> bool:
    """Whether the numbers that a value was computed from can be others at other settings: elements of a list, which may be longer,
    or from another place."""
    if told.op == "index":
        return not is_closed(told.args[1]) or _is_from_end(told.args[1])
    function, *args = told.args
    return isinstance(function, Helper) or (
        len(args) == 1 and function in ("sum", "prod", "len", "min", "max")
    )


def _is_from_end(place: Term) -> bool:
    """Whether a place in a list is counted from its end, which another list has elsewhere."""
    match place:
        case Term("neg", (Term("const", (int(number),)),)):
            return number > 0
    return False


def by_parameter(body: Body, node: ast.Expr, before: int, value: Any) -> Any:
    """Note that a function of one tensor that was called is a static parameter: `activation(x)`. `before` is how many operations there
    were before the call, which made `value`."""
    told = (
        body.scope.origins.get(node.id)
        if body.context.session.traced and isinstance(node, ast.Name)
        else None
    )
    ops = body.emission.builder.body
    if told is None or told.op != "param" or len(ops) != before + 1 or not isinstance(value, Tensor):
        return value
    op = ops[-1]
    if len(op.inputs) == 1 and not op.path and op.region is None and not op.given:
        ops[-1] = replace(op, given=((BY, told),))
    return value


def chosen(body: Body, node: ast.Conditional, holds: bool, value: Any) -> Any:
    """The value of `a if condition else b`: a number says it itself, for any other the decision is noted down."""
    if not body.context.session.traced:
        return value
    told = here(body, node) if isinstance(value, int | float) and not isinstance(value, bool) else None
    if told is not None and told.op != "if":  # the number of a turn tells the side
        return value
    if told is None or any(told.args[0].holds(op) for op in ("training", "input", "name")):
        decided(body, node.condition, holds)
        return value
    return value if is_closed(told.args[0]) else remembered(untraced(value), told)


def here(body: Body, node: ast.Expr) -> Known:
    """The expression in this turn of the loops around it: their variables are what they are now."""
    told = origin(body.context, body.scope, node)
    return None if told is None else _in_turn(body.scope, told)


def _in_turn(scope: Scope, told: Term) -> Known:
    if told.op == "turn":
        value = scope.names.get(told.args[0])
        return term(value) if is_plain(value) else None
    if not told.holds("turn"):
        return told
    args = [_in_turn(scope, each) if isinstance(each, Term) else each for each in told.args]
    return None if any(each is None for each in args) else resolved(Term(told.op, tuple(args)))


def decided(body: Body, node: ast.Expr, answer: bool) -> None:
    """Note a decision that was taken on static values: at others it may fall otherwise."""
    if body.context.session.traced:
        noted(body, origin(body.context, body.scope, node), answer, node.span)


def noted(body: Body, condition: Known, answer: bool, span: Span) -> None:
    """Note a decision by its condition."""
    turns = condition is not None and condition.holds("turn")
    if not body.context.session.traced or condition is None or not (turns or _open(condition)):
        return
    emission = body.emission
    found = emission.turn_decisions if turns else emission.decisions
    found.append(Decision(condition, answer, span))


def _open(condition: Term) -> bool:
    return any(condition.holds(op) for op in ("param", "input", "training")) or any(
        isinstance(each, Dim) for each in condition.parts()
    )
