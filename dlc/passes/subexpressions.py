"""What is computed twice is computed once.

Before:

    model Net(%x: [B, 4]) -> (y: %y) {
        %a: [B, 4] = exp(%x)
        %b: [B, 4] = exp(%x)
        %y: [B, 4] = mul(%a, %b)
    }

After:

    model Net(%x: [B, 4]) -> (y: %y) {
        %a: [B, 4] = exp(%x)
        %y: [B, 4] = mul(%a, %a)
    }

Two draws are never one; nor are calls that draw or act, nor reads of a parameter in training, between which
it may have changed.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, MutableMapping

from dlc.ir.index import has_index
from dlc.ir.nodes import Attr, Function, Op, Program, Region
from dlc.ir.splice import path_of
from dlc.passes.base import each_function, functions_with, is_acting_or_random
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.terms import origin_of

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Subexpressions:
    """Needs nothing. A later pass of dead code has nothing to do after it: the copies are gone."""

    name: str = "subexpressions"

    def run(self, program: Program) -> Program:
        impure = functions_with(program, is_acting_or_random)
        return each_function(program, lambda function: _Merger(function, impure).run())


@dataclass
class _Merger:
    function: Function
    impure: frozenset[str]
    alias: dict[str, str] = field(default_factory=dict)
    regions: int = 0

    def run(self) -> Function:
        body = self._body(self.function.body, {}, "")
        outputs = tuple((name, self._now(value)) for name, value in self.function.outputs)
        return replace(self.function, body=body, outputs=outputs) if self.alias else self.function

    def _now(self, name: str) -> str:
        return self.alias.get(name, name)

    def _body(self, body: Iterable[Op], seen: MutableMapping[Key, Op], region: str) -> tuple[Op, ...]:
        result: list[Op] = []
        for op in body:
            op = replace(op, inputs=tuple(map(self._now, op.inputs)))
            if op.region is not None:
                op = self._region(op, op.region, seen)
            key = self._key(op, region)
            first = seen.get(key) if key else None
            if first is None:
                result.append(op)
                seen.update({key: op} if key else {})
            else:
                self.alias.update((a.name, b.name) for a, b in zip(op.outputs, first.outputs, strict=True))
        return tuple(result)

    def _region(self, op: Op, region: Region, seen: MutableMapping[Key, Op]) -> Op:
        # A region reads what stands before it; nothing outside may read what it computes.
        self.regions += 1
        body = self._body(region.body, ChainMap({}, seen), str(self.regions))
        return replace(op, region=Region(region.args, body, tuple(map(self._now, region.results))))

    def _key(self, op: Op, region: str) -> Key | None:
        """What makes two ops the same computation; None where they never are."""
        if not op.outputs or op.region or not all(may(self, op) for may in CONDITIONS.values()):
            return None
        return tuple(each(op, region) for each in ALIKE.values())


# What an op may not be. The tests have a program for each of these, and of what ops must have in common, that
# it alone refuses.
CONDITIONS: dict[str, Callable[[_Merger, Op], bool]] = {
    "pure": lambda merger, op: not is_acting_or_random(op),
    "pure_callee": lambda merger, op: op.callee not in merger.impure,
    "lasting": lambda merger, op: not (merger.function.training and path_of(op)),
}

ALIKE: dict[str, Callable[[Op, str], object]] = {
    "op": lambda op, region: op.op,
    "operands": lambda op, region: op.inputs,
    "types": lambda op, region: tuple(value.type for value in op.outputs),
    "attributes": lambda op, region: exact(op.attrs),
    "callee": lambda op, region: op.callee,
    "path": lambda op, region: op.path,
    "dims": lambda op, region: op.dims,
    "turn": lambda op, region: region if has_index(path_of(op)) else "",
}


def exact(value: Attr) -> object:
    """An attribute as a key that tells 1, 1.0, true, 0.0 and -0.0 apart, and numbers of which one comes from another static parameter: they are equal
    only here."""
    if isinstance(value, tuple):
        return tuple(map(exact, value))
    if isinstance(value, Dim):
        return value, origin_of(value)
    number = isinstance(value, bool | int | float)
    return (type(value).__name__, repr(value), origin_of(value)) if number else value
