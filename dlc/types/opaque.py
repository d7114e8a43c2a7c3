"""Terms over static parameters: what they speak of, with other terms in the place of parameters, and their values.

What is no polynomial, `int(32*width)`, is an atom of sizes all the same: an `Opaque` symbol, so that sizes go on computing
with it. (Sizes in terms are met here by their methods only, since they are made of these symbols.)
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dlc.types.functions import FUNCTIONS
from dlc.types.traced import Helper, Term, leaf

_OPEN = frozenset(("param", "turn", "each", "input", "training", "name", "fan"))


class Opaque(str):
    """A whole number that no polynomial says, as a symbol: its text, which tells it from others, is all of its term."""

    __slots__ = ("names", "term")

    term: Term
    names: frozenset[str]

    def __new__(cls, term: Term) -> Opaque:
        made = super().__new__(cls, repr(term))
        made.term = term
        made.names = frozenset(_names(term))
        return made

    def __reduce__(self) -> Any:
        return Opaque, (self.term,)

    def substituted(self, values: Mapping[str, Any]) -> Any:
        """With values for parameters: an opaque symbol still, or a number where they are all that it speaks of, or the parameter or
        size that is left of it."""
        if self.names.isdisjoint(values):
            return self
        term = substituted(self.term, values)
        if term.op in ("param", "dim"):
            return term.args[0]
        if is_closed(term):
            try:
                return int(evaluate(term, {}))
            except (ArithmeticError, KeyError, TypeError, ValueError):
                pass
        return Opaque(term)


def _names(term: Term) -> Iterator[str]:
    """The parameters that a term reads; an element of a list by its own name where a size speaks of it."""
    for each in term.parts():
        if isinstance(each, Term) and each.op == "param":
            yield each.args[0]
        elif isinstance(each, Term) and each.op == "dim":
            yield from each.args[0].symbols


def is_closed(term: Term) -> bool:
    """Whether a term says a number by itself."""
    return not any(
        each.op in _OPEN or (each.op == "dim" and each.args[0].symbols)
        for each in term.parts()
        if isinstance(each, Term)
    )


def said_term(value: Any) -> Term:
    """A static value, or a size, as a term: its origin where it has one."""
    match value:
        case Term():
            return value
        case list() | tuple():
            return Term(type(value).__name__, tuple(map(said_term, value)))
        case None | bool() | int() | float() | str():
            return leaf(value)
    if not hasattr(value, "origin"):  # a module, a dtype
        return Term("name", (str(value),))
    return Term("dim", (value if value.origin is None else value.origin,))


def substituted(term: Term, values: Mapping[str, Any]) -> Term:
    """A term with the parameters replaced by the values that `values` has for them."""
    if term.op == "param":
        return said_term(values[term.args[0]]) if term.args[0] in values else term
    if term.op == "dim":
        return Term("dim", (moved_size(term.args[0], values),))
    args = tuple(substituted(each, values) if isinstance(each, Term) else each for each in term.args)
    if term.op == "if" and isinstance(args[0], Term) and is_closed(args[0]):
        chosen: Term = args[1] if evaluate(args[0], {}) else args[2]
        return chosen
    match term.op, args:
        case "index", (Term("list" | "tuple", items), Term("const", (int(i),))) if 0 <= i < len(items):
            element: Term = items[i]
            return element
    return Term(term.op, args)


def moved_size(dim: Any, values: Mapping[str, Any]) -> Any:
    """A size over a callee's parameters as one over what its caller gives for them."""
    return dim.substitute({name: _told(values[name], type(dim)) for name in dim.symbols if name in values})


def _told(value: Any, size: Any) -> Any:
    """What is given for a parameter as a `size` is computed of it: a number, or a size over the caller's."""
    match value:
        case Term("const" | "dim", (found,)):
            return found
        case Term("param", (name,)):
            return size.symbol(name)
        case Term() if value.op not in ("list", "tuple"):
            return size.opaque(value)
    origin = getattr(value, "origin", None)
    return value if origin is None or isinstance(origin, Term) else origin


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "/": operator.truediv,
    "**": operator.pow,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda a, b: a in b,
    "not in": lambda a, b: a not in b,
    "not": operator.not_,
    "neg": operator.neg,
    "index": operator.getitem,
    "cut": lambda xs, *bounds: xs[slice(*bounds)],
}


def evaluate(term: Term, static: Mapping[str, Any]) -> Any:
    """The value of a term at given static parameters. Raises KeyError for a missing one, and what its operations raise."""
    match term:
        case Term("const", (constant,)):
            return constant
        case Term("dim", (dim,)):
            return size_at(dim, static)
        case Term("param" | "turn" | "each" | "input", (name,)):
            return static[name]
        case Term("training"):
            return static["training"]
        case Term("name" | "word", (name,)):
            return name
        case Term("if", (condition, then, otherwise)):
            return evaluate(then if evaluate(condition, static) else otherwise, static)
        case Term("and", (a, b)):
            return evaluate(a, static) and evaluate(b, static)
        case Term("or", (a, b)):
            return evaluate(a, static) or evaluate(b, static)
        case Term("list" | "tuple", items):
            return tuple(_spread(items, static))
        case Term("for", (element, target, iterable, *condition)):
            turns = ({**static, **unpacked(target, each)} for each in evaluate(iterable, static))
            return tuple(
                evaluate(element, turn) for turn in turns if not condition or evaluate(condition[0], turn)
            )
        case Term("call", (Helper() as helper, *args)):
            return _helped(helper, [evaluate(each, static) for each in args])
        case Term("call", (name, *args)):
            return FUNCTIONS[name].compute(*(evaluate(each, static) for each in args))
    return OPERATIONS[term.op](*(evaluate(each, static) for each in term.args))


def _spread(items: Sequence[Term], static: Mapping[str, Any]) -> Iterator[Any]:
    """The elements of a list, those of `*widths` among them."""
    for each in items:
        if each.op == "star":
            yield from evaluate(each.args[0], static)
        else:
            yield evaluate(each, static)


def _helped(helper: Helper, args: list[Any]) -> Any:
    known = dict(zip(helper.params, args, strict=True))
    for name, term in helper.steps:
        known[name] = evaluate(term, known)
    return evaluate(helper.result, known)


def unpacked(target: Any, value: Any) -> dict[str, Any]:
    """What the names of a comprehension's target are for an item."""
    if isinstance(target, str):
        return {target: value}
    return {
        name: each
        for part, item in zip(target, value, strict=True)
        for name, each in unpacked(part, item).items()
    }


def size_at(dim: Any, static: Mapping[str, Any]) -> Any:
    """The value of a size whose symbols are static parameters."""
    known: dict[str, Any] = {name: _entry(name, static) for name in dim.symbols}
    if len(known) == 1 and dim.terms == {((next(iter(known)), 1),): 1}:
        return next(iter(known.values()))  # (which may be a list that another function is given)
    known.update((each, evaluate(each.term, static)) for each in dim.opaques())
    return dim.evaluate(known)


def _entry(name: str, static: Mapping[str, Any]) -> Any:
    """`widths[0]` among lists."""
    head, *indices = name.replace("]", "").split("[")
    value = static[head]
    for index in indices:
        value = value[int(index)]
    return value
