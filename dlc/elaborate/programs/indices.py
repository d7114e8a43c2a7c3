"""Indices that sizes alone decide, against the axes that they count along: they are inside, or the header has to say so.

What data decides is checked when the network runs (`dlc/runtime/indices.py`)."""

from __future__ import annotations

from dlc.diagnostics import meaning as problems
from dlc.elaborate.state.body import Body
from dlc.elaborate.state.callee import Callee
from dlc.ir.indices import Survey, Use
from dlc.ir.nodes import Function
from dlc.types.dims import Dim


def check_indices(body: Body, callee: Callee, function: Function) -> bool:
    """Report what a user's body reads or writes outside, and what it divides by 0; whether there is anything."""
    session = body.context.session
    survey = Survey(session.functions, body.emission.facts, session.concerned)
    wrong = [
        use for use in survey.of(function) if use.found.exact and use.inside(survey.facts) != (True, True)
    ]
    for use in wrong:
        _tell(body, callee, use)
    divided = (each for each in survey.divisions if each.op.op != "pow")
    by_zero = [each for each in divided if each.found.exact and each.found.point == Dim.of(0)]
    for division in by_zero:
        place = division.calls[0] if division.calls else division.op
        body.report.tell(problems.STATIC_ERROR, place.span, message="integers are divided by 0")
    return bool(wrong or by_zero)


def _tell(body: Body, callee: Callee, use: Use) -> None:
    low, high, room = use.found.low, use.found.high, use.room
    above, below = use.inside(body.emission.facts)
    span = use.place.span
    if above is False:
        message = f"{_who(use)} at index {low}: indices of a tensor count from 0"
        help = "the last one is the size less 1" if low is not None and low.constant is not None else ""
        body.report.tell(problems.AXIS, span, message=message, help=help)
    elif below is False:
        body.report.tell(
            problems.AXIS, span, message=f"{_who(use)} at index {high}, outside an axis of size {room}"
        )
    elif below is None and high is not None:
        message = f"{_who(use)} at indices up to {high}, and nothing says that they are inside an axis of size {room}"
        body.report.tell(problems.UNPROVED_SHAPE, span, message=message, help=_fact(high + 1, room, callee))
    elif low is not None:
        message = f"{_who(use)} at indices from {low} on, and nothing says that this is 0 or more"
        body.report.tell(problems.UNPROVED_SHAPE, span, message=message, help=_fact(Dim.of(0), low, callee))


def _who(use: Use) -> str:
    """The call of the library, or the op, that is met first on the way to what reads or writes."""
    op = next((each for each in (*use.calls, use.op) if each.op != "call"), use.op)
    return f"`{op.op}` {'reads' if use.op.op.startswith('take') else 'writes'}"


def _fact(low: Dim, high: Dim, callee: Callee) -> str:
    return f"state it: `where {_named(low, callee)} <= {_named(high, callee)}`"


def _named(size: Dim, callee: Callee) -> str:
    """A number by the static parameter that it is, where there is one only."""
    names = [name for name, value in callee.static.items() if type(value) is int and value == size.constant]
    return names[0] if len(names) == 1 else str(size)
