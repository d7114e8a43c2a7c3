"""The variants of a model: the same model with one static parameter changed.

They tell a backend what depends on which parameter (`vary` of `dlc.backend.EmitOptions`). A new value is one that the
spec accepts, `where` conditions and all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dlc.diagnostics import SpecError
from dlc.ir.nodes import Program

if TYPE_CHECKING:
    from dlc.spec import Model


@dataclass(frozen=True)
class Varied:
    """Called with names of numeric static parameters of one value, it gives the program with another one for them, or
    None if the spec accepts none. `program` is how a model becomes what the backend emits."""

    model: Model
    program: Callable[[Model], Program]

    def __call__(self, names: tuple[str, ...]) -> Program | None:
        for value in _others(self.model.settings[names[0]]):
            # Every other parameter keeps its value, also one whose default is made of this one.
            static = tuple((name, value if name in names else each) for name, each in self.model.point.static)
            try:
                return self.program(replace(self.model, point=replace(self.model.point, static=static)))
            except SpecError:
                continue
        return None


def _others(value: float) -> Iterator[float]:
    """Other values, those first that are likely to be accepted."""
    if isinstance(value, int):
        yield from (2 * value, 3 * value, value // 2, value + 1, value - 1) if value else (1, 2)
    else:
        yield from (1.25 * value, 0.75 * value) if value else (0.25,)
