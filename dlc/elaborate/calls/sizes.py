"""Sizes of the caller among static arguments, in the callee's terms and back.

A body knows its own dims alone: `f(T, b)` may not mean the `T` that `f` has by itself, and a function that speaks of its caller's sizes
serves no other caller."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dlc.elaborate.base.values import Instance
from dlc.elaborate.state.callee import Bound, Callee
from dlc.records import replace
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.terms import moved


def own_static(callee: Callee, bound: Bound, facts: Facts) -> dict[str, Any]:
    """The static arguments with symbols of the callee for sizes, which are added to `bound.names`."""
    return {name: _own(name, value, bound, facts) for name, value in callee.static.items()}


def _own(name: str, value: Any, bound: Bound, facts: Facts) -> Any:
    match value:
        case Dim():
            return _own_size(name, value, bound, facts)
        case list() | tuple():
            return type(value)(_own(f"{name}{i}", each, bound, facts) for i, each in enumerate(value))
        case Instance() if any(_sizes(value.static)):
            static = {key: _own(f"{name}_{key}", each, bound, facts) for key, each in value.static.items()}
            return replace(value, static=static)
    return value


def _sizes(value: Any) -> Iterator[Dim]:
    match value:
        case Dim():
            yield value
        case dict():
            yield from _sizes(list(value.values()))
        case list() | tuple():
            for each in value:
                yield from _sizes(each)
        case Instance():
            yield from _sizes(value.static)


def _own_size(name: str, size: Dim, bound: Bound, facts: Facts) -> Dim:
    """A symbol of the callee, called as the parameter: what else the caller knows of the size, the callee states in its `where`. What may
    be less than 1, as no symbol is, keeps its form: `T - 2` of a symbol for T."""
    if facts.prove_ge(size, 1) is True:
        return _symbol(name, size, bound)
    known = {str(outer): Dim.symbol(own) for own, outer in bound.names.items() if str(outer).isidentifier()}
    for symbol in sorted(size.symbols - known.keys()):
        known[symbol] = _symbol(symbol, Dim.symbol(symbol), bound)
    return size.substitute(known)


def _symbol(name: str, size: Dim, bound: Bound) -> Dim:
    taken = {*bound.names, *bound.sizes, *bound.outer}
    own = next(each for each in (name, *(f"{name}_{i}" for i in range(2, 1000))) if each not in taken)
    bound.names[own] = size
    return Dim.symbol(own)


def outward(value: Any, terms: Mapping[str, Any]) -> Any:
    """A static result in the caller's terms."""
    match value:
        case Dim():
            return value.substitute(terms)
        case list() | tuple():
            return type(value)(outward(each, terms) for each in value)
    return moved(value, terms)
