"""What a model's source asks of its static parameters: what the spec's `where` says, and what was decided on them in one way only.

A module's conditions are said in the words of the model that holds it, so that they can be checked where the model's parameters
are given."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from dlc.ir.loops import LOOP
from dlc.ir.nodes import Function, Op, Program
from dlc.ir.splice import callees, statics_of
from dlc.once import once
from dlc.records import dataclass, field
from dlc.types.dims import Dim
from dlc.types.opaque import substituted
from dlc.types.terms import as_dim, changed, names, negated, settled, targets, term, turned
from dlc.types.traced import Term

# What makes a condition another one from turn to turn, mode to mode, or input to input.
HOLDS = Term("const", (True,))
OPEN = ("training", "input", "turn", "name")


@dataclass
class Requirements:
    """What a program's modules ask of their static parameters, and what was decided on them in one way only, in the model's
    words: at settings where that would not hold the source is not the spec's network."""

    program: Program
    native: Container[str] = ()
    """Modules of the library that the backend says by itself."""
    known: dict[str, tuple[Term, ...]] = field(default_factory=dict)

    def of(self, name: str) -> tuple[Term, ...]:
        if name not in self.known:
            function = self.program.functions[name]
            is_native = function.source in self.native
            self.known[name] = () if is_native else _asked(function, *map(self.of, callees(function)))
        return self.known[name]


@once
def _asked(function: Function, *below: tuple[Term, ...]) -> tuple[Term, ...]:
    """What a function asks; `below` is what each of those that it calls does."""
    own, asked = words(function), dict(zip(callees(function), below, strict=True))
    found = dict.fromkeys(asked_of(function))
    for op, turns, cases in _placed(function.body):
        if op.callee and asked[op.callee]:
            told = [each for each in cases if names(each) <= own and not any(map(each.holds, OPEN))]
            here = _here(op, asked[op.callee], own, turns)
            found |= dict.fromkeys(_where(told, each) for each in here)
    return tuple(found)


def _here(op: Op, asked: Iterable[Term], own: frozenset[str], turns: Term | None) -> Iterator[Term]:
    """What a callee asks, in the words of its caller."""
    values = _values(op)
    for each in asked:
        here = _in_words(each, _apart(values, each))
        if here is None:
            continue
        free = turned(here)
        read = names(here)
        if turns is not None and len(free) == 1:
            here = Term("call", ("all", Term("for", (here, *free, Term("call", ("range", turns))))))
        if read and read <= own and here != HOLDS and not turned(here) and not any(map(here.holds, OPEN)):
            yield here


def _in_words(asked: Term, values: Mapping[str, Any]) -> Term | None:
    """A condition with values in it; None where what stands for a size is said by no size."""
    sized = {
        name: Dim.opaque(told) if isinstance(told, Term) and told.op == "index" else told
        for name, told in values.items()
    }
    for each in (values, sized):  # (an element of a list may be a size)
        with suppress(TypeError):
            return settled(substituted(asked, each))
    return None


def _where(cases: Iterable[Term], asked: Term) -> Term:
    """What is asked where the cases hold: `p is None or p <= 1`."""
    for each in cases:
        asked = Term("or", (negated(each), asked))
    return asked


def _placed(
    body: Iterable[Op], turns: Term | None = None, cases: tuple[Term, ...] = ()
) -> Iterator[tuple[Op, Term | None, tuple[Term, ...]]]:
    """The operations; of those in a loop that turns 0, 1, 2, …, how often; and the cases that choices around them are for."""
    for op in body:
        yield op, turns, cases
        inside = turns
        if op.op == LOOP:
            count, plain = op.attr("count"), (op.attr("start", 0), op.attr("step", 1)) == (0, 1)
            inside = term(Dim.of(count)) if isinstance(count, int | Dim) and plain else None
        chosen = op.condition
        for region, case in ((op.region, chosen), (op.otherwise, chosen and negated(chosen))):
            if region is not None:
                yield from _placed(region.body, inside, (case, *cases) if case is not None else cases)


def _apart(values: Mapping[str, Any], condition: Term) -> Mapping[str, Any]:
    """Values whose loop's variable is called otherwise than those of a condition's comprehensions."""
    loops = [each for each in condition.parts() if isinstance(each, Term) and each.op == "for"]
    bound = set[str]().union(*(targets(each.args[1]) for each in loops))

    def renamed(told: Term) -> Term:
        return Term("each", (f"{told.args[0]}_",)) if told.op == "each" and told.args[0] in bound else told

    return {name: changed(value, renamed) for name, value in values.items()} if bound else values


def asked_of(function: Function) -> Iterator[Term]:
    """What one function asks of its static parameters, and what was decided on them in it in one way only."""
    own = words(function)
    yield from (each for each in function.requires if names(each) and names(each) <= own)  # `5 >= 1` holds
    for decision in function.decisions:
        asked = decision.condition if decision.answer else negated(decision.condition)
        if names(asked) and names(asked) <= own and not turned(asked) and not any(map(asked.holds, OPEN)):
            yield asked


def _values(op: Op) -> dict[str, Any]:
    """What the callee's static parameters are at a call: as the spec writes it where that is one value in all turns."""
    found: dict[str, Any] = {**statics_of(op), **dict(op.dims)}
    written = {name: given for name, given in op.given if not given.holds("turn")}
    terms = {name: written.get(name, term(value)) for name, value in found.items()} | written
    sized = {
        name for name, value in found.items() if isinstance(value, int | Dim) and not isinstance(value, bool)
    }
    return {
        name: size if name in sized and (size := as_dim(each)) is not None else each
        for name, each in terms.items()
    }


def words(function: Function) -> frozenset[str]:
    """The static parameters of a function, and the sizes of its inputs that nobody writes."""
    return frozenset(
        (*(setting.name for setting in function.settings), *(name for name, _ in function.sizes))
    )
