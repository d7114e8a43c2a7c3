"""Work that is done once: for the same values, while it is remembered, in one thread; and nothing is held behind that."""

from __future__ import annotations

import weakref
from threading import Thread

import pytest

from dlc.once import Form, once, remembering, together
from dlc.types.dims import Dim


class Thing:
    """A value that is told apart by identity, though all are equal."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


@once
def made(*values: object) -> list[object]:
    return [*values]


def test_the_same_values_give_the_same_while_it_is_remembered() -> None:
    thing = Thing()
    assert made(thing) is not made(thing)
    with remembering():
        first = made(thing, "word", frozenset({1}))
        assert made(thing, "word", frozenset({1})) is first
        with remembering():
            assert made(thing, "word", frozenset({1})) is first
        assert made(thing, "word", frozenset({1})) is first
    with remembering():
        assert made(thing, "word", frozenset({1})) is not first


def test_equal_objects_are_not_the_same() -> None:
    """A size may be said in other ways than one that it is equal to."""
    plain, said = Dim.of(8), Dim.of(8).said(Dim.symbol("d"))
    assert plain == said
    with remembering():
        assert made(plain) is not made(said)
        assert made(together(plain, said)) is made(together(plain, said))
        assert together(plain, said) is not together(said, plain)


def test_what_is_asked_for_is_held_as_long_as_it_is_remembered() -> None:
    """Else another object might take the place of one, and be taken for it."""
    thing = Thing()
    there = weakref.ref(thing)
    with remembering():
        made(thing)
        del thing
        assert there() is not None
    assert there() is None


def test_an_error_is_not_remembered() -> None:
    calls = []

    @once
    def fails(value: str) -> None:
        calls.append(value)
        raise ValueError(value)

    with remembering():
        for _ in range(2):
            with pytest.raises(ValueError, match="word"):
                fails("word")
    assert calls == ["word", "word"]


def test_threads_remember_apart() -> None:
    thing, found = Thing(), list[object]()
    with remembering():
        first = made(thing)
        thread = Thread(target=lambda: found.extend((made(thing), made(thing))))
        thread.start()
        thread.join()
        assert made(thing) is first
    assert found[0] is not first and found[0] is not found[1]


def test_forms_are_equal_by_what_they_are_of() -> None:
    assert Form((1, ("a",))) == Form((1, ("a",))) and Form((1,)) != Form((2,))
    assert {Form((1,)): "here"}[Form((1,))] == "here"
