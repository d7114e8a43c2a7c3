"""Instances that are lent: bound to a name, then passed to a module by that name.

    fc = linear(d)
    x = x |> Twice(fc) as a |> Twice(fc) as b        # one set of parameters, at `fc`

A function of the IR names parts below it only. So a body that was lent an instance, which knows it under a path of its own
kind, is put into the body of the instance's owner, where that path is the instance's. Its `init` rules go with it: they hold
for its own parts, and not for what it was lent, which is made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from dlc.elaborate.base.handles import renamed
from dlc.elaborate.base.values import Instance, is_plain
from dlc.elaborate.calls.initial import plain_initial
from dlc.elaborate.calls.placing import claim, place
from dlc.elaborate.names import paths
from dlc.elaborate.state.body import Body
from dlc.ir.builder import Builder
from dlc.ir.nodes import Function, Op, Value
from dlc.ir.splice import Draws, Names, Splice, prefixed, within
from dlc.records import replace
from dlc.types.dims import Dim

_MARK = "^"  # no label begins so


def is_lent(local: str) -> bool:
    """Whether a path in a body is that of an instance it was lent."""
    return local.startswith(_MARK)


def path(parameter: str) -> str:
    """Where a body finds the instance that it was lent as a parameter."""
    return _MARK + parameter


def instances(static: Mapping[str, Any]) -> dict[str, Instance]:
    """The instances among static arguments that are lent, by the paths that the callee's body gives them."""
    found: dict[str, Instance] = {}
    for name, value in static.items():
        parts = (
            {f"{name}.{i}": each for i, each in enumerate(value)}
            if isinstance(value, list)
            else {name: value}
        )
        found |= {
            path(key): each for key, each in parts.items() if isinstance(each, Instance) and each.is_bound
        }
    return found


def inline(
    body: Body,
    function: Function,
    instance: Instance | None,
    lent: Mapping[str, Instance],
    operands: Sequence[str],
    outputs: Sequence[Value],
    dims: Mapping[str, Dim],
    terms: Mapping[str, Any],
    results: Any,
) -> Any:
    """Put a body that uses lent instances into the caller's, its own parts below the path of `instance`. Gives the results, for
    which the caller made `outputs`. `terms` are what the body's static parameters are for the caller."""
    session = body.context.session
    session.lent.add(function.name)
    own = _enter(body, function, instance, lent)

    def moved(local: str) -> str:
        mark = _mark(local, lent)
        if mark is None:
            return prefixed(own, local)
        return prefixed(paths.instance_path(body, lent[mark]), local[len(mark) + 1 :])

    rules = session.rules.get(function.name)
    body.emission.hosted += [(own, rules)] if rules else []
    body.emission.hosted += [(moved(local), each) for local, each in session.hosted.get(function.name, ())]
    values = {value.name: name for value, name in zip(function.inputs, operands, strict=True)}
    alias: dict[str, str] = {}
    for (_, inner), out in zip(function.outputs, outputs, strict=True):
        if (name := values.setdefault(inner, out.name)) != out.name:
            alias[out.name] = name
    names, draws = cast(Names, body.emission.builder), CallersDraws(body.emission.builder)
    statics = {name: value for name, value in terms.items() if is_plain(value)}
    splice = Splice(names, draws, values, dims, moved, statics=statics)
    body.emission.builder.body += splice.body(map(_outside_of_loops, function.body))
    return renamed(results, alias) if alias else results


def _outside_of_loops(op: Op) -> Op:
    """An operation that is none of a turn: what its loop goes over the caller does not know."""
    return within(replace(op, loops=()), _outside_of_loops)


def _enter(body: Body, function: Function, instance: Instance | None, lent: Mapping[str, Instance]) -> str:
    """Enter the parts of the body into the caller. Gives the path of its own ones."""
    held = [child for child in function.children if _mark(child.path, lent) is None]
    for child in function.children:
        if child not in held:
            place(body, lent[str(_mark(child.path, lent))], child.function)
    if instance is None or not (held or function.params):
        return ""
    own = paths.instance_path(body, instance)
    for child in held:
        moved = replace(child, path=prefixed(own, child.path))
        for local in moved.paths():
            claim(body, instance, local, child.function)
        body.emission.children.setdefault(f"{moved.path}:{child.function}:{child.start}", moved)
    for param in function.params:
        name = prefixed(own, param.name)
        init = plain_initial(body.context.session, param.init)
        sources = tuple(prefixed(own, each) for each in param.sources)
        moved_param = replace(param, name=name, init=init, sources=sources)
        body.emission.params.setdefault(name, moved_param)
    return own


def _mark(local: str, lent: Mapping[str, Instance]) -> str | None:
    """The lent instance that a path of the body leads to, if any."""
    return next((mark for mark in lent if local == mark or local.startswith(f"{mark}.")), None)


class CallersDraws(Draws):
    """Every draw of a copied body is a new one of the caller's."""

    def __init__(self, builder: Builder) -> None:
        super().__init__()
        self.builder = builder

    def fresh(self, draw: int) -> int:
        return self.builder.draw()
