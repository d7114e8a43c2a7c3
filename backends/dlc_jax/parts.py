"""What a function says of the instances in it: which call makes one, what that gives, when there is one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from dlc.emit.arguments import Argument, given, literal, python_type
from dlc.emit.checks import opposite
from dlc.emit.names import identifier
from dlc.emit.origins import expression, numbered
from dlc.emit.tree import Expr
from dlc.ir.nodes import Child, Function, Op, walk
from dlc.types.terms import term, untraced
from dlc.types.traced import Term


def condition(term: Term | None) -> Expr | None:
    return None if term is None else numbered(expression(term))


def calling(functions: Sequence[Function], child: Child) -> Op | None:
    """The operation that calls an instance, or that did: one of its own function, if there is one."""
    found = [
        op for function in functions for op in walk(function.body) if op.callee and op.path == child.path
    ]
    found += [child.call] if child.call is not None else []
    same = [op for op in found if op.callee == child.function]
    return next(iter(same or found), None)


def told_by(op: Op) -> list[Term]:
    """What a call gives: static arguments, and sizes that the callee finds in its inputs."""
    return [each for _, each in op.given] + [term(size) for _, size in op.known]


def turn_variable(op: Op | None, child: Child) -> str:
    """The variable of the loop that a call reads, or that says which instance it is."""
    told = [*(told_by(op) if op is not None else ()), *filter(None, (child.when,))]
    parts = (part for each in told for part in each.parts())
    found = (str(part.args[0]) for part in parts if isinstance(part, Term) and part.op == "each")
    return identifier(next(found, "i"))


def given_to(name: str, function: Function, op: Op | None) -> Expr:
    """What a call gives for a static parameter of what it calls."""
    found = given(Argument(name, name, "int"), function, op) if op is not None else None
    if found is not None:
        return found
    value = {**dict(function.sizes), **dict(function.static)}.get(name)
    return literal(untraced(value))


def kind_of(function: Function, name: str) -> str:
    """The type of a static parameter, as Python writes it."""
    setting = next((each for each in function.settings if each.name == name), None)
    kind = python_type(setting.type) if setting is not None else "int"
    optional = setting is not None and setting.default == Term("const", (None,))
    return f"{kind or 'int'} | None" if optional else kind or "int"


def by_turn(child: Child) -> bool:
    """Whether the number of the turn says which layer of a loop it is: one of two."""
    return child.when is not None and child.when.holds("each")


class Conditional(Protocol):
    @property
    def when(self) -> Expr | None: ...


C = TypeVar("C", bound=Conditional)


def by_condition(items: Sequence[C]) -> Iterator[tuple[Expr | None, tuple[list[C], list[C]]]]:
    """The parts in order, those in a row that there are on one condition together, with those that there are where it does not hold."""
    at: Expr | None = None
    sides: tuple[list[C], list[C]] = ([], [])
    for item in items:
        if item.when not in (at, None if at is None else opposite(at)):
            yield at, sides
            at, sides = item.when, ([], [])
        sides[item.when != at].append(item)
    yield at, sides
