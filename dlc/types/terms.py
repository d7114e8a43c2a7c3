"""Terms and traced values between functions: a callee's expressions in its caller's words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlc.types import opaque
from dlc.types.dims import Dim
from dlc.types.opaque import is_closed, moved_size, said_term, size_at, substituted
from dlc.types.relations import OPPOSITE
from dlc.types.traced import Term, TracedFloat, TracedInt

_WHOLE = frozenset(("+", "-", "*", "//", "%"))


def term(value: Any) -> Term:
    """A static value as an expression: its origin where it has one."""
    return said_term(value)


def said(dim: Dim) -> Dim:
    """A size in terms of static parameters where it has such terms."""
    return dim if dim.origin is None else dim.origin


def origin_of(value: Any) -> Any:
    """What a value is in terms of static parameters, to tell values apart that are equal by chance; else None."""
    match value:
        case TracedInt() | TracedFloat():
            return value.origin
        case Dim():
            return value.origin
        case tuple() | list():
            return tuple(map(origin_of, value))
    return None


def as_dim(value: Any) -> Dim | None:
    """A static value as a size in terms of the parameters; None if it is no whole number."""
    match value:
        case Dim():
            return said(value)
        case bool():
            return None
        case int():
            return said(Dim.of(value))
        case Term("dim", (dim,)):
            return dim if isinstance(dim, Dim) else None
        case Term("const", (number,)):
            return as_dim(number)
        case Term("param" | "turn", (name,)):
            return Dim.symbol(name)
        case Term("index", (Term() as base, Term("const", (int(i),)))) if i >= 0:
            name = _element(base, i)
            return Dim.symbol(name) if name else None
        case Term(op, (a, b)) if op in _WHOLE:
            return _combined(opaque.OPERATIONS[op], as_dim(a), as_dim(b))
    return None


def _element(base: Term, index: int) -> str:
    """`widths[0]`, as `rooted` calls an element of a parameter."""
    match base:
        case Term("param", (name,)):
            return f"{name}[{index}]"
        case Term("index", (Term() as outer, Term("const", (int(i),)))):
            name = _element(outer, i)
            return f"{name}[{index}]" if name else ""
    return ""


def _combined(operate: Callable[[Dim, Dim], Dim], a: Dim | None, b: Dim | None) -> Dim | None:
    try:
        return None if a is None or b is None else operate(a, b)
    except (ValueError, ZeroDivisionError):
        return None


def names(value: Any) -> set[str]:
    """The parameters that a term, size or traced value speaks of; of a list's element, the list."""
    match value:
        case Term():
            parts = value.parts()
            found = {each.args[0] for each in parts if isinstance(each, Term) and each.op == "param"}
            return found.union(*(names(each) for each in parts if isinstance(each, Dim)))
        case Dim():
            return {symbol.partition("[")[0] for symbol in said(value).symbols}
        case TracedInt() | TracedFloat():
            return names(value.origin)
        case tuple() | list():
            return set().union(*map(names, value))
    return set()


def is_always(value: Any, plain: Any) -> bool:
    """Whether a value is that plain one whatever the static parameters are, and not only at these settings."""
    return bool(value == plain) and not names(value)


def moved(value: Any, values: Mapping[str, Any]) -> Any:
    """An attribute of a callee's operation in the caller's terms; `values` says what the callee's parameters are there."""
    match value:
        case TracedInt():
            origin = moved_size(value.origin, values)
            return TracedInt(int(value), origin) if origin.constant is None else int(value)
        case TracedFloat():
            return remembered(float(value), substituted(value.origin, values))
        case tuple() | list():
            return type(value)(moved(each, values) for each in value)
    return value


def rooted(name: str, value: Any) -> Any:
    """The value of a static parameter inside the function that it is a parameter of: there its expression is its name."""
    return _rooted(name, Term("param", (name,)), value)


def _rooted(name: str, said_as: Term, value: Any) -> Any:
    match value:
        case bool():
            return value
        case int():
            return TracedInt(int(value), Dim.symbol(name))
        case float():
            return TracedFloat(float(value), said_as)
        case list() | tuple():
            return type(value)(
                _rooted(f"{name}[{i}]", Term("index", (said_as, Term("const", (i,)))), each)
                for i, each in enumerate(value)
            )
    return value


def untraced(value: Any) -> Any:
    """The plain number, where its expression says nothing: in another function."""
    match value:
        case TracedInt():
            return int(value)
        case TracedFloat():
            return float(value)
        case list() | tuple():
            return type(value)(map(untraced, value))
    return value


def evaluate(value: Any, static: Mapping[str, Any]) -> Any:
    """The value of a term or size at given static parameters; of anything else itself. Raises KeyError for a missing one, and what
    its operations raise."""
    if isinstance(value, Dim):
        return size_at(value, static)
    return opaque.evaluate(value, static) if isinstance(value, Term) else value


def changed(value: Any, change: Callable[[Term], Term]) -> Any:
    """A term, or a size, in which every term is what `change` makes of it, the inner ones first."""
    match value:
        case Term("for", (element, target, *rest)):
            inner = [changed(each, change) for each in (element, *rest)]
            return change(Term("for", (inner[0], target, *inner[1:])))
        case Term(op, args):
            return change(Term(op, tuple(changed(each, change) for each in args)))
        case Dim():
            return value.replace(lambda atom: _changed_atom(atom, change))
    return value


def _changed_atom(atom: Any, change: Callable[[Term], Term]) -> Dim | None:
    if isinstance(atom, opaque.Opaque):
        return as_size(changed(atom.term, change))
    found: Dim | None = None if isinstance(atom, str) else atom.rebuilt(lambda arg: changed(arg, change))
    return found


def turned(told: Term) -> set[str]:
    """The variables of loops that a term reads, but for those of its own comprehensions."""
    if told.op == "each":
        return {str(told.args[0])}
    inner = [each for each in told.args if isinstance(each, Term)]
    if told.op == "dim":
        inner += [each.term for each in told.args[0].opaques()]
    found = set[str]().union(*map(turned, inner))
    return found - targets(told.args[1]) if told.op == "for" else found


def targets(target: Any) -> set[str]:
    """The names of a comprehension's target."""
    return {target} if isinstance(target, str) else set[str]().union(*map(targets, target))


def as_size(told: Term) -> Dim:
    """A whole number as a size."""
    size = as_dim(told) if told.op in ("param", "dim", "const") else None
    return Dim.opaque(told) if size is None else size


_NEGATED = {**OPPOSITE, "in": "not in", "not in": "in"}


def negated(condition: Term) -> Term:
    """The condition that holds where this one does not."""
    if condition.op in _NEGATED:
        return Term(_NEGATED[condition.op], condition.args)
    if condition.op == "not":
        found: Term = condition.args[0]
        return found
    return Term("not", (condition,))


def settled(condition: Term) -> Term:
    """A condition without the parts that are known: `1 == 1 and inputs == out` is `inputs == out`."""
    if condition.op in ("and", "or"):
        a, b = map(settled, condition.args)
        for one, other in ((a, b), (b, a)):
            if (known := _known(one)) is not None:
                return other if known == (condition.op == "and") else one
        return Term(condition.op, (a, b))
    if condition.op == "not":
        return negated(settled(condition.args[0]))
    known = _known(condition)
    return condition if known is None else Term("const", (known,))


def resolved(told: Term) -> Term:
    """An expression in which a number decides: `2 if wide and i == 0 else 1` is `1` from the second turn on."""
    match told:
        case Term("if", (Term("const", (answer,)), then, otherwise)):
            side: Term = then if answer else otherwise
            return side
        case Term("and" | "or" | "not" | "==" | "!=" | "<" | "<=" | ">" | ">="):
            return settled(told)
    return told


def in_turn(told: Term, turns: Mapping[str, Any]) -> Term:
    """An expression with the variables of loops as what they are in one turn: `wide and i > 0` is `wide` in the second."""

    def change(each: Term) -> Term:
        return term(turns[each.args[0]]) if each.op == "turn" and each.args[0] in turns else resolved(each)

    found: Term = changed(told, change)
    return found


def given_in_turn(told: Term, value: Any, turns: Mapping[str, Any]) -> Term:
    """What a call gives in one turn, where that is no number. (A number remembers by itself what it is there.)"""
    if not told.holds("turn") or not isinstance(value, bool | str | None):
        return told
    found = in_turn(told, turns)
    return found if names(found) else term(value)


def _known(condition: Term) -> bool | None:
    """Whether a condition that speaks of nothing holds, or one that compares something with itself."""
    match condition:
        case Term("call", ("all", Term("for", (Term() as each, *_)))):
            return True if _known(each) else None
        case Term("==", (Term("%", (_, by)), Term("const", (0,)))) if as_dim(by) == 1:
            return True
    if condition.op in OPPOSITE and condition.args[0] == condition.args[1]:
        return condition.op in ("==", "<=", ">=")
    if not is_closed(condition):
        return None
    try:
        found = evaluate(condition, {})
    except (ArithmeticError, KeyError, TypeError, ValueError):
        return None
    return found if isinstance(found, bool) else None


# --- numbers that functions of static values give --------------------------------------------------------------------------


def remembered(value: Any, told: Term) -> Any:
    """A number that is `told`, where that speaks of static parameters."""
    if not isinstance(value, int | float) or isinstance(value, bool) or is_closed(told):
        return value
    if isinstance(value, float):
        return TracedFloat(float(value), told) if math.isfinite(value) else value
    size = as_dim(told)
    return TracedInt(int(value), Dim.opaque(told) if size is None else size)


def called(name: str, value: Any, *args: Any) -> Any:
    """The result of a function of static values, traced where one of its arguments is."""
    if origin_free(args):
        return value
    return remembered(value, Term("call", (name, *map(term, args))))


def origin_free(value: Any) -> bool:
    """Whether nothing in a static value is traced."""
    if isinstance(value, list | tuple):
        return all(map(origin_free, value))
    return not isinstance(value, TracedInt | TracedFloat) and not (
        isinstance(value, Dim) and value.origin is not None
    )


def lengths(told: Term, shape: Sequence[int]) -> list[int]:
    """The lengths of nested lists that a term stands for, each with its expression."""
    found: list[int] = []
    known: Term | None = told
    for count in shape:
        length = None if known is None else length_of(known)
        found.append(count if length is None else remembered(int(count), length))
        known = _first(known) if known is not None else None
    return found


def _first(told: Term) -> Term | None:
    """An element of a list, where all are equally long."""
    match told:
        case Term("list" | "tuple", (Term() as first, *_)):
            return first
        case Term("for", (Term() as element, *_)):
            length = length_of(element)
            return None if length is None or length.holds("each") else element
    return None


def backwards(told: Term) -> Term:
    """A list from its end on: `hidden[::-1]`."""
    none = Term("const", (None,))
    return Term("cut", (told, none, none, Term("const", (-1,))))


def length_of(told: Term) -> Term:
    """How long a list is."""
    match told:
        case Term("list" | "tuple", items):
            return Term("const", (len(items),))
        case Term("for", (_, _, Term() as iterable)):
            return length_of(iterable)
        case Term("call", ("range", stop)):
            return term(stop)
        case Term("call", ("range", start, stop)):
            return Term("-", (stop, start))
        case Term("call", ("enumerate" | "reversed", Term() as of)):
            return length_of(of)
        case Term(
            "cut", (Term() as of, Term("const", (None,)), Term("const", (None,)), Term("const", (-1,)))
        ):
            return length_of(of)
    return Term("call", ("len", told))
