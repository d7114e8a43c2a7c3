"""What is done to the text of all functions and classes of a file, when all is said."""

from __future__ import annotations

from collections.abc import Container, Sequence

from dlc.emit.body import Lines
from dlc.emit.factors import in_one_order
from dlc.emit.stars import with_stars
from dlc.emit.twins import without_twins


def tidied(blocks: Sequence[Lines], ways_in: Container[str] = ()) -> list[Lines]:
    """The blocks of a file, each once, in the words of the spec. What is called from elsewhere, by the names of `ways_in`, stays."""
    return [with_stars(each) for each in in_one_order(without_twins(blocks, ways_in))]
