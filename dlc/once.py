"""Work that is done once for the same values.

A model that is emitted is lowered and merged at many settings, and most of its functions are the same in many of them. What a pass
makes of a function hangs on few values, all of which are immutable: within `remembering` it is made once for these."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from types import MethodType
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_KNOWN: ContextVar[dict[Hashable, tuple[Any, Any]] | None] = ContextVar("known", default=None)
_BY_VALUE = frozenset((str, int, frozenset, MethodType, type(None)))


@contextmanager
def remembering() -> Iterator[None]:
    """Within, and in this thread, what is done `once` is remembered; at the end all of it is forgotten."""
    if _KNOWN.get() is not None:
        yield
        return
    before = _KNOWN.set({})
    try:
        yield
    finally:
        _KNOWN.reset(before)


def once(make: Callable[[*Ts], T]) -> Callable[[*Ts], T]:
    """A function of immutable values that gives the same for the same ones. Words, whole numbers, sets and methods are the same
    if they are equal; others if they are one object, since equal ones may come from other places, and be said in other ways."""

    @wraps(make)
    def made(*values: *Ts) -> T:
        known = _KNOWN.get()
        if known is None:
            return make(*values)
        key = make, *map(_key, values)
        if key not in known:
            known[key] = values, make(*values)  # (the values are held: no other may take the place of one)
        result: T = known[key][1]
        return result

    return made


@once
def together(*values: Any) -> tuple[Any, ...]:
    """The values as one object, which is the same for the same ones."""
    return values


class Form:
    """What makes values alike, as a key. It is compared in full with such as are other objects."""

    __slots__ = ("_hash", "of")

    def __init__(self, of: Any) -> None:
        self.of = of
        self._hash = hash(of)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Form) and self._hash == other._hash and self.of == other.of
        )


def _key(value: Any) -> Hashable:
    if type(value) is bool:  # True equals 1
        return bool, value
    return value if type(value) in _BY_VALUE else id(value)
