"""Source that is right at other settings: it is written from the model at several, and must come out the same.

Where numbers come from is remembered (`dlc/types/traced.py`), so a parameter's change shows in no number of the source. If the
source changes all the same, the parameter decides something that the source can't say: it is no argument then, and what depends
on it is written out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from dlc.backend import Family
from dlc.ir.nodes import Program

T = TypeVar("T")
Write = Callable[[Sequence[Program], bool], T]
"""Writes the source, with a model's defaults or without."""


def settled(family: Family, write: Write[T], text: Callable[[T], str]) -> T:
    """The source with as many arguments as can be."""

    def changed(family: Family, fixed: frozenset[str], *, each: bool = False) -> list[tuple[str, ...]]:
        """The settings, of those that were changed together, at which the source comes out otherwise."""
        same = text(write(family.programs(fixed), False))
        others = family.others(fixed, each=each)
        return [names for names, other in others if text(write(other.programs(fixed), False)) != same]

    fixed: frozenset[str] = frozenset()
    while found := changed(family, fixed):
        guilty = frozenset(names[0] for names in found if len(names) == 1)
        if any(len(names) > 1 for names in found):
            # Which of them it was shows as a rule in one mode, at half the work.
            alone = changed(family.brief, fixed | guilty, each=True) or changed(
                family, fixed | guilty, each=True
            )
            guilty |= {names[0] for names in alone}
        if not guilty:
            guilty = frozenset(name for names in found for name in names)  # no one alone, so any of them
        fixed |= guilty
    return write(family.programs(fixed), True)
