"""Modules that are passed to modules: what they are made with is an argument of who takes them, too.

    module Residual(inner: module, scale: float)(x: [*S]) -> [*S] { return x + scale * inner(x) }

    x |> Residual(Gate(d, 2 * hidden), 0.5)        # in Residual: inner = Gate(inner_d, inner_hidden)

So numbers inside keep the expressions that they come from, and what is emitted for `Residual` takes `inner_d` and `inner_hidden`.
Only where numbers are traced: other programs have them as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dlc.elaborate.base.trees import static_fields
from dlc.elaborate.base.values import Instance, attribute
from dlc.elaborate.state.scope import Scope
from dlc.elaborate.types.static import inner_text
from dlc.ir.nodes import Attr, Setting
from dlc.records import replace
from dlc.types.terms import rooted, said, untraced
from dlc.types.traced import Term


def attributes(static: Mapping[str, Any], traced: bool) -> tuple[tuple[str, Attr], ...]:
    """Static arguments as attributes of an operation or a function."""
    found: list[tuple[str, Attr]] = []
    for name, value in static.items():
        if traced and _is_taken(value):
            found.append((name, value.definition.name))
            found += attributes(dict(_inner(name, value, static)), traced)
        else:
            found.append((name, attribute(value)))
    return tuple(found)


def terms(static: Mapping[str, Any]) -> Iterator[tuple[str, Term]]:
    """What the arguments of modules that are passed stand for, over the caller's static parameters."""
    for name, value in static.items():
        if _is_taken(value):
            yield from ((f"{name}_{key}", value.terms[key]) for key in _keys(name, value, static))
            yield from terms(dict(_inner(name, value, static)))


def settings(static: Mapping[str, Any]) -> Iterator[Setting]:
    for name, value in static.items():
        if _is_taken(value):
            kinds = {str(each.name): inner_text(each.type) for each in static_fields(value.definition.node)}
            yield from (Setting(f"{name}_{key}", kinds[key]) for key in _keys(name, value, static))
            yield from settings(dict(_inner(name, value, static)))


def rooted_instance(name: str, own: Instance, static: Mapping[str, Any]) -> Instance:
    """The module as the one that takes it has it: what it is made with are parameters there. `static` is what is given to it."""
    given = static[name]
    if not _is_taken(given):
        return own
    roots = _rooted(name, given, static)
    return replace(own, static=roots.static, terms=roots.terms)


def numbers(static: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Inside, the static arguments by the names that expressions have for them, those of modules among them."""
    for name, value in static.items():
        if isinstance(value, Instance):
            yield from ((str(value.terms[key].args[0]), value.static[key]) for key in value.terms)
            yield from numbers(
                {key: each for key, each in value.static.items() if isinstance(each, Instance)}
            )
        else:
            yield name, value


def all_numbers(scope: Scope) -> dict[str, Any]:
    """All that expressions of a body may name, with its value: static arguments, and sizes that are known there."""
    found = dict(numbers(scope.static))
    for name, size in scope.dims.items():
        for each in size if isinstance(size, tuple) else (size,):
            if each.constant is not None:
                found.setdefault(str(said(each)) if isinstance(size, tuple) else name, each.constant)
    return found


def _rooted(name: str, instance: Instance, static: Mapping[str, Any]) -> Instance:
    keys = _keys(name, instance, static)
    own = {key: untraced(value) for key, value in instance.static.items()}
    own |= {key: rooted(f"{name}_{key}", instance.static[key]) for key in keys}
    for key, value in instance.static.items():
        if _is_taken(value):
            own[key] = _rooted(f"{name}_{key}", value, static)
    return replace(instance, static=own, terms={key: Term("param", (f"{name}_{key}",)) for key in keys})


def _is_taken(value: Any) -> bool:
    return isinstance(value, Instance) and not value.is_bound and not value.is_default


def _keys(name: str, instance: Instance, static: Mapping[str, Any]) -> list[str]:
    """The arguments that are written where the module is made: others it has by itself."""
    return [key for key in instance.static if key in instance.terms and f"{name}_{key}" not in static]


def _inner(name: str, instance: Instance, static: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The arguments by the names that they have outside, and modules among them."""
    keys = set(_keys(name, instance, static))
    for key, value in instance.static.items():
        if key in keys or _is_taken(value):
            yield f"{name}_{key}", value
