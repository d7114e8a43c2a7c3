"""What a callee demands of its sizes, proved from what the caller knows."""

from __future__ import annotations

from dlc.diagnostics import Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base import habits
from dlc.elaborate.base.spelling import parts, text, words
from dlc.elaborate.base.values import settings, show
from dlc.elaborate.names.conditions import relations
from dlc.elaborate.state.body import Body, header_body
from dlc.elaborate.state.callee import Bound, Callee
from dlc.elaborate.state.scope import Scope
from dlc.syntax import ast
from dlc.types.dims import Dim


def prove_facts(body: Body, callee: Callee, bound: Bound, node: ast.Node) -> None:
    """Every `where` of the callee must follow from what the caller knows."""
    if not callee.where:
        return
    inner = header_body(body, callee.definition, node.span, callee.places)
    absent = {name: value for name, value in bound.values.items() if value is None}
    inner.scope = Scope({**callee.static, **absent}, dict(bound.outer))
    inner.emission.facts = body.emission.facts
    for condition in [part for each in callee.where for part in parts(each)]:
        for relation in relations(inner, condition):
            holds = relation if isinstance(relation, bool) else body.emission.facts.decide(relation)
            if holds is True:
                continue
            problem = problems.FACT_VIOLATED if holds is False else problems.FACT_UNPROVED
            told = f"`where {relation}`" if not isinstance(relation, bool) and holds is None else ""
            fact = text(condition)
            body.report.fail(
                problem,
                _fact_place(callee, fact, node.span) if holds is False else node.span,
                callee=callee.name,
                fact=fact,
                notes=[*_where_notes(callee, bound, fact)],
                help=f"state it here: {told}" if told else habits.fact(callee.name, fact),
            )


def _fact_place(callee: Callee, fact: str, call: Span) -> Span:
    """The argument that a fact speaks of, where it is one; else the call."""
    named = words(fact)
    places = {callee.places[name] for name in named if name in callee.static and name in callee.places}
    return places.pop() if len(places) == 1 else call


def _where_notes(callee: Callee, bound: Bound, fact: str) -> list[str]:
    """The values of the names that a fact speaks of."""
    named = set(words(fact))
    known = {**callee.static, **{name: size for name, size in bound.outer.items() if isinstance(size, Dim)}}
    shown = {name: value for name, value in known.items() if name in named and show(value) != name}
    return [f"with {settings(shown)}"] if shown else []
