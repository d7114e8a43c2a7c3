"""A loop by its parts: what it carries, reads a slice a turn and stacks; how often, and which way, it turns.

    %last: [B, 8], %all: [B, T, 8] = loop(%zero, %x) {count=T, start=0, step=1, sequences=[1], stacked=[1], shared=true}
        do (%h: [B, 8], %xt: [B, 8]) {
        %next: [B, 8] = add(%h, %xt)
        yield %next, %next
    }

A loop visits positions: 0 to count - 1, or from the last to the first where it goes `backwards`. At position p its
index is start + step*p, each sequence gives the slice at p, and what is stacked lands at p, so going backwards changes
the order of the turns and nothing else.

One that is marked `recompute` computes again on the way back what its turns computed, instead of keeping it.

The turns of a loop hold parameters of their own: `{i}` in a path inside is its index, and the count is a number. Where
it is `shared`, all turns use the same ones and the count may be a size; a `{i}` inside is then that of a loop outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from dlc.diagnostics import NO_SPAN, Span
from dlc.ir.nodes import Attr, Op, Region, Value
from dlc.records import dataclass, replace
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType

LOOP = "loop"
INDEX_TYPE = TensorType("i64", ())

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Carried:
    """A value that each turn gives to the next: `first` stands outside, `arg` inside, `next` is its name at the end of
    a turn, `out` what it is after the last one."""

    first: str
    arg: Value
    next: str
    out: Value


@dataclass(frozen=True, slots=True)
class Sliced:
    """A sequence `source` that is read along `axis`: `arg` is one turn's slice, without that axis."""

    source: str
    axis: int
    arg: Value


@dataclass(frozen=True, slots=True)
class Stacked:
    """A result `out` that holds the `item` of every turn along `axis`."""

    item: str
    axis: int
    out: Value


@dataclass(frozen=True, slots=True)
class Loop:
    """The parts of a loop op; `Loop.of(op).op() == op`. `index` is the argument that holds the index inside, if the
    body reads it. Count and start are numbers or sizes in the function's dims."""

    count: int | Dim
    body: tuple[Op, ...]
    carried: tuple[Carried, ...] = ()
    sequences: tuple[Sliced, ...] = ()
    stacked: tuple[Stacked, ...] = ()
    index: Value | None = None
    start: int | Dim = 0
    step: int = 1
    backwards: bool = False
    shared: bool = False
    recompute: bool = False
    span: Span = NO_SPAN

    @staticmethod
    def of(op: Op) -> Loop:
        """Raises ValueError where the op's operands, results, region and attributes are no loop's."""
        region = op.region
        if region is None:
            raise ValueError("`loop` has no region")
        _check_attributes(op)
        sequences, stacks = _axes(op, "sequences"), _axes(op, "stacked")
        index, args = (region.args[0], region.args[1:]) if op.attr("index") else (None, region.args)
        held = len(op.inputs) - len(sequences)
        if (
            not held
            == len(args) - len(sequences)
            == len(region.results) - len(stacks)
            == len(op.outputs) - len(stacks)
        ):
            raise ValueError("`loop` has carried values without a partner")
        if held < 0 or not all(op.inputs):
            raise ValueError("`loop` has sequences without a partner")
        return Loop(
            count=_number(op, "count"),
            body=region.body,
            carried=_each(Carried, op.inputs[:held], args, region.results, op.outputs[:held]),
            sequences=_each(Sliced, op.inputs[held:], sequences, args[held:]),
            stacked=_each(Stacked, region.results[held:], stacks, op.outputs[held:]),
            index=index,
            start=_number(op, "start"),
            step=op.integer("step"),
            backwards=bool(op.attr("backwards")),
            shared=bool(op.attr("shared")),
            recompute=bool(op.attr("recompute")),
            span=op.span,
        )

    def op(self) -> Op:
        """The loop as an operation; what has its default is left out of the attributes."""
        attrs: list[tuple[str, Attr]] = [("count", self.count), ("start", self.start), ("step", self.step)]
        axes = {
            "sequences": tuple(each.axis for each in self.sequences),
            "stacked": tuple(each.axis for each in self.stacked),
        }
        attrs += [(key, value) for key, value in axes.items() if value]
        flags = {
            "index": self.index is not None,
            "backwards": self.backwards,
            "shared": self.shared,
            "recompute": self.recompute,
        }
        attrs += [(key, True) for key, value in flags.items() if value]
        inputs = (*(each.first for each in self.carried), *(each.source for each in self.sequences))
        outputs = (*(each.out for each in self.carried), *(each.out for each in self.stacked))
        return Op(LOOP, inputs, outputs, tuple(attrs), region=self.region, span=self.span)

    @property
    def region(self) -> Region:
        index = () if self.index is None else (self.index,)
        args = (*index, *(each.arg for each in self.carried), *(each.arg for each in self.sequences))
        results = (*(each.next for each in self.carried), *(each.item for each in self.stacked))
        return Region(args, self.body, results)

    @property
    def is_plain(self) -> bool:
        """Whether it is a body run a number of times on carried values, and nothing else: layers, one after another."""
        return not (self.sequences or self.stacked or self.index or self.backwards or self.shared)

    @property
    def is_layers(self) -> bool:
        """Whether it is layers, one after another, of which something may be kept in front of all other axes."""
        others = self.sequences or self.index or self.backwards or self.shared
        return not others and all(each.axis == 0 for each in self.stacked)

    @property
    def is_known(self) -> bool:
        """Whether count and start are numbers, as paths with an index want them."""
        return isinstance(self.count, int) and isinstance(self.start, int)

    @property
    def turns(self) -> int | None:
        """The count, if it is a number."""
        return self.count if isinstance(self.count, int) else None

    @property
    def positions(self) -> Sequence[int]:
        """The positions in the order of the turns. Raises ValueError if the count is no number."""
        if self.turns is None:
            raise ValueError(f"a loop of {self.count} turns has no list of them")
        return positions(self.turns, backwards=self.backwards)

    @property
    def indices(self) -> tuple[int, ...]:
        """The index of every turn. Raises ValueError if count or start is no number."""
        if isinstance(self.start, Dim):
            raise ValueError(f"a loop that starts at {self.start} has no list of indices")
        return tuple(self.start + self.step * position for position in self.positions)

    def needed(self, live: set[str], keep: Callable[[tuple[Op, ...], set[str]], tuple[Op, ...]]) -> Loop:
        """The loop without the carried values, slices and stacked results that its `live` results do not need, nor what `keep` leaves
        of the body: it is given the body and the values that are wanted of it, and adds to them what is read. They are added to
        `live` in turn."""
        stacked = tuple(each for each in self.stacked if each.out.name in live)
        carried = {each for each in self.carried if each.out.name in live}
        while True:
            inner = {*(each.item for each in stacked), *(each.next for each in carried)}
            body = keep(self.body, inner)
            needed = {each for each in self.carried if each.arg.name in inner}
            if needed <= carried:
                break
            carried |= needed
        live |= inner
        return replace(
            self,
            body=body,
            carried=tuple(each for each in self.carried if each in carried),
            sequences=tuple(each for each in self.sequences if each.arg.name in inner),
            stacked=stacked,
            index=self.index if self.index and self.index.name in inner else None,
        )

    def index_at(self, position: int) -> int | Dim:
        return self.start + self.step * position


def positions(count: int, *, backwards: bool) -> Sequence[int]:
    """The positions of that many turns, in their order."""
    return range(count)[::-1] if backwards else range(count)


def turning(op: Op, outer: Op | None) -> Op | None:
    """The loop whose index `{i}` stands for in the body of the loop `op`, which itself lies in the body of `outer`."""
    return outer if op.attr("shared") else op


def without_axis(type: TensorType, axis: int) -> TensorType:
    """The type of a slice of a sequence."""
    return type.with_axes((*type.axes[:axis], *type.axes[axis + 1 :]))


def with_axis(type: TensorType, axis: int, size: int | Dim) -> TensorType:
    """The type of as many values as `size` says, stacked."""
    return type.with_axes((*type.axes[:axis], Dim.of(size), *type.axes[axis:]))


def _each(part: type[T], *columns: Sequence[object]) -> tuple[T, ...]:
    return tuple(part(*row) for row in zip(*columns, strict=False))


def _number(op: Op, key: str) -> int | Dim:
    """An attribute that is a number or a size."""
    value = op.attr(key)
    assert isinstance(value, int | Dim)
    return number_or_size(Dim.of(value))


def number_or_size(size: Dim) -> int | Dim:
    """How often a loop turns: a size that has become a number is one."""
    return size if size.constant is None else size.constant


def _axes(op: Op, key: str) -> tuple[int, ...]:
    value = op.attr(key, ())
    assert isinstance(value, tuple)
    return tuple(axis for axis in value if isinstance(axis, int))


def _is_int(value: Attr) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_size(value: Attr) -> bool:
    return _is_int(value) or isinstance(value, Dim)


def _is_axes(value: Attr) -> bool:
    return isinstance(value, tuple) and all(map(_is_int, value))


def _is_bool(value: Attr) -> bool:
    return isinstance(value, bool)


_REQUIRED = {"count": _is_size, "start": _is_size, "step": _is_int}
_OPTIONAL = {
    "sequences": _is_axes,
    "stacked": _is_axes,
    "index": _is_bool,
    "backwards": _is_bool,
    "shared": _is_bool,
    "recompute": _is_bool,
}


def _check_attributes(op: Op) -> None:
    found, known = op.attributes, {**_REQUIRED, **_OPTIONAL}
    for key in (key for key in _REQUIRED if key not in found):
        raise ValueError(f"`loop` lacks the attribute {key}")
    for key, value in op.attrs:
        if key not in known:
            raise ValueError(f"`loop` has no attribute {key}")
        if not known[key](value):
            raise ValueError(f"`loop` can't have {key}={value}")
    if op.attr("index") and op.region is not None and not op.region.args:
        raise ValueError("`loop` has no argument for its index")
