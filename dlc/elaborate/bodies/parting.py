"""How often turns are repeated, in terms of the static parameters: `layers`, and `layers - dense` where turns part by `i < dense`."""

from __future__ import annotations

from dlc.elaborate.bodies.turns import Loop, Run, Turn
from dlc.elaborate.calls.module_arguments import all_numbers
from dlc.elaborate.names.origins import made_for
from dlc.elaborate.state.body import Body
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.terms import as_dim, length_of
from dlc.types.traced import Term, TracedInt


def count_of(body: Body, loop: Loop, turns: list[Turn], run: Run) -> int:
    """How often a run is repeated, in terms of what the loop goes over and of where its turns begin to differ."""
    end = run.first + run.period * run.count
    bounds = [_bound(body, loop, turns, place) for place in (run.first, end)]
    if bounds[0] is None or bounds[1] is None:
        return run.count
    count: int | None = ((bounds[1] - bounds[0]) // run.period).constant
    return run.count if count != run.count or count is None else count


def _bound(body: Body, loop: Loop, turns: list[Turn], place: int) -> Dim | None:
    """The number of a turn before which others differ from those behind it: `dense` where they part by `i < dense`."""
    if place == 0 or not body.context.session.traced:
        return Dim.of(place)
    if place >= len(turns):
        return _length(body, loop)
    before = {each.condition: each.answer for each in turns[place - 1].decisions}
    found = (
        _parting(body, loop, each.condition, place)
        for each in turns[place].decisions
        if before.get(each.condition) is (not each.answer)
    )
    return next((each for each in found if each is not None), Dim.of(place))


def _parting(body: Body, loop: Loop, condition: Term, place: int) -> Dim | None:
    """The size that a comparison holds the loop's variable against, if that parts the turns at a place."""
    if condition.op == "not":
        return _parting(body, loop, condition.args[0], place)
    match condition:
        case Term("<" | ">=", (Term("turn", (name,)), bound)) | Term(
            ">" | "<=", (bound, Term("turn", (name,)))
        ):
            more = 0
        case Term("<=" | ">", (Term("turn", (name,)), bound)) | Term(
            ">=" | "<", (bound, Term("turn", (name,)))
        ):
            more = 1
        case _:
            return None
    size = as_dim(bound)
    if (
        name not in loop.names
        or size is None
        or size.constant is not None
        or loop.items != range(len(loop.items))
    ):
        return None
    return _sized(body, size + more, place)


def _sized(body: Body, size: Dim, number: int) -> Dim | None:
    """A number as the size that it is here, if it is."""
    sizes = {key: value for key, value in all_numbers(body.scope).items() if isinstance(value, int)}
    at: int | None = size.substitute(sizes).constant
    return Dim.of(TracedInt(number, size)) if at == number else None


def _length(body: Body, loop: Loop) -> Dim | None:
    match loop.node.iterable:
        case ast.Call(ast.Name("range"), args) if body.context.session.traced and 1 <= len(args) <= 2:
            bounds = [Dim.of(body.evaluate(each.value)) for each in args]
            return bounds[0] if len(bounds) == 1 else bounds[1] - bounds[0]
    made = made_for(body, loop.node.iterable)
    length = None if made is None else as_dim(length_of(made))
    return None if length is None else _sized(body, length, len(loop.items))
