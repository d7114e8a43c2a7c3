"""What the constructor of a class asks of its arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dlc.emit.requirements import OPEN, Requirements
from dlc.emit.statements import Draft
from dlc.emit.tree import Call, Expr, Word, walk
from dlc.ir.nodes import Function, Program
from dlc.types.opaque import substituted
from dlc.types.terms import names, settled, term
from dlc.types.traced import Term
from dlc_torch.classes import Class
from dlc_torch.drafter import part_of, stateful


def conditions(
    made: Class, functions: Mapping[str, Function], classes: Mapping[str, Class]
) -> Iterator[Term]:
    """What the spec asks of the arguments; and what it decides on them and the class does not, since it came out one way: at
    arguments where it would come out otherwise the spec says another network. Plain functions that the class calls can't ask by
    themselves; other classes do, and PyTorch's layers."""
    own = {each.spec for each in made.arguments}
    # Parameters that are no arguments are what they are.
    fixed = {name: term(value) for name, value in made.function.static if name not in own}
    drafts = {
        name: draft for each in classes.values() for name, draft in zip(each.names, each.drafts, strict=False)
    }
    written = {name: draft.function for name, draft in drafts.items()}
    program = Program({**functions, **written}, made.function.name)
    known: dict[str, tuple[Term, ...]] = {
        name: ()
        for name, function in program.functions.items()
        if name != made.function.name and (function.library or _asks(drafts.get(name)))
    }
    for asked in Requirements(program, known=known).of(made.function.name):
        here = settled(substituted(asked, fixed))
        if names(here) and names(here) <= own and not any(map(here.holds, OPEN)):
            yield here


def _asks(draft: Draft | None) -> bool:
    """Whether a function is a method of a class, or is passed the part of one that it speaks of."""
    return draft is not None and (stateful(draft.function) or any(map(part_of, draft.needs)))


def said_with_holders(made: Class, classes: Mapping[str, Class]) -> Iterator[Expr]:
    """What a class says, and those that hold parts of it: they are passed its arguments, and ask nothing of them."""
    holders = {each.name: each for each in classes.values() if each.is_holder}
    left = [made]
    while left:
        here = left.pop()
        for expr in here.expressions():
            yield expr
            called = (node.function for node in walk(expr) if isinstance(node, Call))
            left += (
                holders.pop(each.text) for each in called if isinstance(each, Word) and each.text in holders
            )
