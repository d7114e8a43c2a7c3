"""Source that is right at other settings: it is written from the model at several, and must come out the same.

Where numbers come from is remembered (`dlc/types/traced.py`), so a parameter's change shows in no number of the source. If the
source changes all the same, the parameter decides something that the source can't say: it is no argument then, and what depends
on it is written out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from dlc.backend import Family, Which
from dlc.ir.nodes import Program

T = TypeVar("T")
Write = Callable[[Sequence[Program], bool], T]
"""Writes the source, with a model's defaults or without."""


def settled(family: Family, write: Write[T], text: Callable[[T], str]) -> T:
    """The source with as many arguments as can be. Numbers and lists are changed together in every mode; what turns something on or
    off, or counts repetitions, alone and in one mode, which shows it as a rule at half the work."""

    known: dict[tuple[int, ...], tuple[Sequence[Program], str]] = {}

    def said(programs: Sequence[Program]) -> str:
        """The source of programs; the model's own are asked for several times."""
        key = tuple(map(id, programs))
        if key not in known:
            known[key] = programs, text(write(programs, False))
        return known[key][1]

    def changed(family: Family, which: Which, own: Sequence[Program] = ()) -> list[tuple[str, ...]]:
        """The settings, of those that were changed together, at which the source comes out otherwise than for its `own`."""
        others = list(family.others(fixed, which))
        same = said(own or family.programs(fixed)) if others else ""
        return [names for names, other in others if said(other.programs(fixed)) != same]

    fixed: frozenset[str] = frozenset()
    brief = family.brief
    while True:
        fixed |= {name for names in changed(brief, "switches") for name in names}
        before, own = fixed, family.programs(fixed)
        while found := changed(family, "together", own):
            guilty: list[tuple[str, ...]] = [names for names in found if len(names) == 1]
            if len(guilty) < len(found):  # which of them was it?
                guilty += changed(brief, "each") or changed(family, "each", own)
            fixed |= {name for names in guilty or found for name in names}
            own = family.programs(fixed)
        if fixed == before:
            return write(own, True)
        # What is written out now may have made another source, in which a switch says less than before.
