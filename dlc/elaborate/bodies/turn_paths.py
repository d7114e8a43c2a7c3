"""The form that paths have in every turn of a loop: `h.{i}.attn`."""

from __future__ import annotations

from dlc.elaborate.bodies.turns import NUMBER
from dlc.elaborate.calls import lent
from dlc.ir.index import has_index, mark
from dlc.ir.nodes import Child, Op, Region, walk
from dlc.records import dataclass, replace


@dataclass(slots=True)
class PathTemplate:
    """Finds the form that a path has in every turn: "{i}" where two turns differ by the step of the index, "{i+1}" where it is
    one ahead."""

    start: int
    step: int

    def path(self, a: str, b: str) -> str | None:
        """The common form of the paths of one operation in two turns that follow each other."""
        if a == b:
            return a
        if lent.is_lent(a):
            return None  # each is another instance of the caller's
        first, second = NUMBER.findall(a), NUMBER.findall(b)
        texts = NUMBER.split(a)
        if texts != NUMBER.split(b):
            return None
        out, found = texts[0], 0
        for number, other, text in zip(first, second, texts[1:], strict=True):
            if number == other:
                out += number + text
                continue
            offset = int(number) - self.start
            if offset < 0 or int(other) - int(number) != self.step or number != str(int(number)):
                return None
            found += 1
            out += mark(offset) + text
        return out if found == 1 else None

    def op(self, a: Op, b: Op) -> Op | None:
        """The operation with its paths in their common form, or None if there is none."""
        path = self.path(a.path, b.path)
        own = self.path(str(a.attr("path") or ""), str(b.attr("path") or ""))
        if path is None or own is None:
            return None
        if a.region is not None and b.region is not None:
            inner = [self.op(x, y) for x, y in zip(a.region.body, b.region.body, strict=True)]
            first, second = _paths(a), _paths(b)
            if None in inner or (first != second and not a.attr("shared")):
                return None  # the index would be taken for that of the loop inside
            if any(map(has_index, first + second)):
                return None  # a loop in a loop, both with an index in one path: the outer one stays unrolled
        return self.applied(b, a)

    def applied(self, op: Op, other: Op) -> Op:
        path = self.path(other.path, op.path)
        attrs = tuple(
            (key, self.path(str(other.attr("path")), str(value)) if key == "path" else value)
            for key, value in op.attrs
        )
        return replace(op, path=path or "", attrs=attrs, region=self._region(op.region, other.region))

    def _region(self, region: Region | None, other: Region | None) -> Region | None:
        """The body of steps along an axis, with the paths of this loop in it."""
        if region is None or other is None:
            return region
        body = (self.applied(x, y) for x, y in zip(region.body, other.body, strict=True))
        return Region(region.args, tuple(body), region.results)

    def child(self, a: Child, b: Child, count: int) -> Child | None:
        path = self.path(a.path, b.path)
        if path is None or a.function != b.function or a.count or b.count:
            return None
        if not has_index(path):
            return Child(path, a.function)
        return Child(path, a.function, count, self.start, self.step)


def own_paths(op: Op) -> tuple[str, ...]:
    return op.path, str(op.attr("path") or "")


def _paths(op: Op) -> list[str]:
    assert op.region is not None
    return [path for each in walk(op.region.body) for path in own_paths(each)]
