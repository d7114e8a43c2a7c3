"""Source that is right at other settings: it is written from the model at several, and must come out the same.

Where numbers come from is remembered (`dlc/types/traced.py`), so a parameter's change shows in no number of the source. If the
source changes all the same, the parameter decides something that the source can't say: it is no argument then, and what depends
on it is written out. A number in the comment of a shape decides nothing: it is `_` there."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from dlc.backend import Family, Which
from dlc.emit.asked import ANY_LENGTH, Lengths
from dlc.ir.nodes import Program
from dlc.records import dataclass


class Source(Protocol):
    """What is written: a dataclass with the source as its `text`."""

    text: str


T = TypeVar("T", bound=Source)
_NUMBER = re.compile(r"(\d+|\b_\b)")
_OVER_LISTS = re.compile(r"in range\((min\()?len\(")
Write = Callable[[Sequence[Program], bool, Lengths], T]
"""Writes the source, with a model's defaults or without, and asking for the lengths of lists."""


def settled(family: Family, write: Write[T]) -> T:
    """The source with as many arguments as can be; with stages of blocks as modules of their own where that makes it more."""
    known: Known = {}
    walks = not family.brief.walked or _OVER_LISTS.search(_said(known, family.brief.programs(), write))
    staged = None if walks else _staged(family, write)
    if staged is not None and not staged.lacks:
        return staged.made  # without stages it lacks at least the lists
    found = _settled(family, write, known)
    if walks and found.lacks:
        staged = _staged(family, write)
    return staged.made if staged is not None and staged.lacks < found.lacks else found.made


def _staged(family: Family, write: Write[T]) -> Settled[T] | None:
    """The source with stages as modules, if there are any and it can be said."""
    stages = family.stages
    with suppress(ForOneSetting):
        return None if stages is None else _settled(stages, write, {})
    return None


class ForOneSetting(Exception):
    """What a source can say only with a model's settings written out."""


@dataclass(frozen=True)
class Settled(Generic[T]):
    """A source, and what it `lacks`: static parameters that are no arguments, and lists of one length."""

    made: T
    lacks: frozenset[str]


Known = dict[tuple[int, ...], tuple[Sequence[Program], str]]
"""Programs by what they are, with their source: the model's own are asked for several times."""


def _said(known: Known, programs: Sequence[Program], write: Write[T]) -> str:
    """The source of programs."""
    key = tuple(map(id, programs))
    if key not in known:
        known[key] = programs, write(programs, False, ANY_LENGTH).text
    return known[key][1]


def _settled(family: Family, write: Write[T], known: Known) -> Settled[T]:
    """The source of a family. Numbers and lists are changed together in every mode; what turns something on or off, or counts repetitions,
    alone and in one mode, which shows it as a rule at half the work."""

    comments: dict[str, str] = {}

    def said(programs: Sequence[Program]) -> str:
        return _said(known, programs, write)

    def changed(family: Family, which: Which, own: Sequence[Program] = ()) -> list[tuple[str, ...]]:
        """The settings, of those that were changed together, at which the source comes out otherwise than for its `own`."""
        others = list(family.others(fixed, which))
        same = said(own or family.programs(fixed)) if others else ""
        return [names for names, other in others if not alike(same, said(other.programs(fixed)), comments)]

    def lengths() -> Lengths:
        """The lists at any length of which the source is the same, of each and of all of them together."""
        walked = frozenset(brief.walked)
        same = said(brief.programs(fixed)) if walked else ""
        free, asked = frozenset[str](), walked if _OVER_LISTS.search(same) else frozenset[str]()
        while asked:  # first all lists, then those that may be of any length
            others = brief.others(fixed | (walked - asked), "lengths")
            told = {names: alike(same, said(each.programs(fixed)), comments) for names, each in others}
            free = frozenset(name for name in asked if told.get((name,)))
            if free == asked and told.get(tuple(sorted(asked, key=brief.walked.index)), len(asked) == 1):
                break
            asked = free if free < asked else frozenset()
            free = frozenset()
        return Lengths(free, within=bool(free) and free == walked)

    fixed: frozenset[str] = frozenset()
    brief = family.brief
    while True:
        fixed |= {name for names in changed(brief, "switches") for name in names}
        before, own = fixed, family.programs(fixed)
        while found := changed(family, "together", own):
            guilty: list[tuple[str, ...]] = [names for names in found if len(names) == 1]
            if len(guilty) < len(found):  # which of them was it?
                # Each alone, not by halves: what two of them change may leave the source as it is, `d // heads`.
                guilty += changed(brief, "deciding") or changed(brief, "each") or changed(family, "each", own)
            fixed |= {name for names in guilty or found for name in names}
            own = family.programs(fixed)
            comments.clear()
        if fixed == before:
            free = lengths()
            made = write(own, True, free)
            made.text = "\n".join(comments.get(line, line) for line in made.text.split("\n"))
            bound = (f"len({name})" for name in brief.walked if name not in free.free)
            return Settled(made, frozenset((*fixed, *bound)))
        # What is written out now may have made another source, in which a switch says less than before.


def alike(one: str, other: str, comments: dict[str, str]) -> bool:
    """Whether two sources are the same but for numbers in comments, and in the shapes of docstrings. Lines in which these differ are
    entered with `_` for them."""
    lines, others = one.split("\n"), other.split("\n")
    if len(lines) != len(others):
        return False
    found: dict[str, str] = {}
    inside = False
    for mine, theirs in zip(lines, others, strict=True):
        is_doc = inside or mine.lstrip().startswith(QUOTES)
        inside ^= mine.count(QUOTES) % 2 == 1
        if mine != theirs:
            common = _common(comments.get(mine, mine), theirs, is_doc)
            if common is None:
                return False
            found[mine] = common
    comments.update(found)
    return True


QUOTES = '"""'


def _common(line: str, other: str, is_doc: bool) -> str | None:
    """Two lines as one with `_` where numbers in their comments differ; None where more does."""
    (code, comment), (other_code, other_comment) = (
        ("", each) if is_doc else parted(each) for each in (line, other)
    )
    parts, others = _NUMBER.split(comment), _NUMBER.split(other_comment)
    if code != other_code or parts[::2] != others[::2]:
        return None
    return code + "".join(a if a == b else "_" for a, b in zip(parts, others, strict=True))


def parted(line: str) -> tuple[str, str]:
    """The code of a line, and its comment; a `#` in a string begins none."""
    code, mark, comment = line.partition("# ")
    outside = mark and not (code.count('"') % 2 or code.count("'") % 2)
    return (code, mark + comment) if outside else (line, "")
