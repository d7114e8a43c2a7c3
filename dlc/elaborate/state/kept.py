"""What one session made, kept for others of the same project: a model that is emitted is elaborated at several settings and in
both modes, and most of its functions are the same in many of them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from dlc.elaborate.state.callee import Instantiation
from dlc.ir.nodes import Function
from dlc.records import dataclass, field


@dataclass(eq=False, repr=False)
class Initial:
    """The function of an initial value, by what makes two of them the same."""

    key: str
    function: Function
    placed: dict[str, Function] = field(default_factory=dict)
    """The function by the names that sessions have given it."""


@dataclass(eq=False, repr=False)
class Kept:
    """An instantiation with all that it refers to, in the order in which its body first asked for it, and the names that those have
    in `function`. `training` is the mode that it was made in; None where that makes no difference."""

    key: Hashable
    made: Instantiation
    function: Function | None
    parts: tuple[Kept | Initial, ...]
    names: tuple[str, ...]
    training: bool | None
    placed: dict[Hashable, Function] = field(default_factory=dict)
    """The function as sessions took it over, by what they called it and its parts: what is equal in several programs is one object."""


@dataclass(eq=False, repr=False)
class Record:
    """What a body asked for so far. What is not `whole` can't be kept: it holds something of its session."""

    parts: dict[Any, Kept | Initial] = field(default_factory=dict)
    whole: bool = True
    minds_mode: bool = False

    def asked(self, part: Kept | Initial | None) -> None:
        if part is None:
            self.whole = False
            return
        self.parts.setdefault(id(part), part)
        self.minds_mode |= isinstance(part, Kept) and part.training is not None
