"""What was said of the parts of a list where a comprehension made them, in terms of a loop over the list.

    layers = [Layer(rate * i) for i in range(n)]
    for k, layer in enumerate(layers) { x = layer(x) }

In a turn of the loop the argument of its `layer` is `rate * k`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dlc.elaborate.base.trees import below
from dlc.elaborate.base.values import Instance
from dlc.elaborate.names.origins import Known, Walk, elements_of, origin
from dlc.elaborate.state.body import Body
from dlc.syntax import ast


@contextmanager
def said_by_turns(body: Body, walk: Walk | None) -> Iterator[None]:
    """Within a turn of a walk, the arguments of the parts that it goes over are said by the number of the turn."""
    held: list[tuple[Instance, dict[str, Any]]] = []
    for name, node in (walk.parts if walk is not None else {}).items():
        part = body.scope.names.get(name)
        if walk is not None and isinstance(part, Instance) and part.owner is body:
            held.append((part, part.terms))
            part.terms = {**part.terms, **_terms(body, part, node, walk.index)}
    try:
        yield
    finally:
        for part, terms in held:
            part.terms = terms


def _terms(body: Body, part: Instance, node: ast.ListComp, index: str) -> Mapping[str, Known]:
    """The arguments that the text of the comprehension gives, as far as its names mean now what they did there."""
    found = elements_of(body, node, index)
    if found is None or part.scope is None:
        return {}
    now, then = body.scope.names, part.scope.names
    scope, terms = body.scope.with_origins(found), {}
    for name, span in part.places.items():
        expr = next((each for each in below(node.element, ast.Expr) if each.span == span), None)
        if expr is None:
            continue
        read = {each.id for each in below(expr, ast.Name)} - found.keys()
        if all(now.get(each) is then.get(each) for each in read):
            terms[name] = origin(body.context, scope, expr)
    return {name: term for name, term in terms.items() if term is not None}
