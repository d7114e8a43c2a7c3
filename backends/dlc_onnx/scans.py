"""A loop whose turns share their parameters, as a `Scan`: a turn is a graph, which sees the values around it.

    h, hs = If(T > 0) { Scan(h0, x) { turn } } else { h0, no values }

onnxruntime fails on a `Scan` of length 0, so a length that is known only when the model runs is asked for first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlc.ir.loops import Loop, Stacked
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType
from dlc_onnx.body import Body
from dlc_onnx.rows import TYPES
from dlc_onnx.sizes import Sizes
from dlc_onnx.template import Ref

if TYPE_CHECKING:
    import onnx


@dataclass
class Turn:
    """The graph of a turn: what it is given and what it gives, first what is carried, then slices or what is stacked."""

    nodes: Sequence[Any]
    given: Sequence[Ref]
    gives: Sequence[Ref]
    types: Sequence[TensorType]
    """Of `given`."""


@dataclass
class Scan:
    """A loop as nodes of `body`. `states` are what is carried before the first turn, `sources` the sequences."""

    body: Body
    sizes: Sizes
    loop: Loop
    turn: Turn
    states: Sequence[Ref]
    sources: Sequence[Ref]
    hints: Sequence[str]

    def write(self) -> list[Ref]:
        """What is carried behind the last turn, and what is stacked."""
        count = Dim.of(self.loop.count)
        if count.constant is not None:
            return self._scan(self.body) if count.constant else self._nothing(self.body)
        asked = self.body.one("Greater", self.sizes.scalar(count), 0)
        branches = [self._branch(each) for each in (self._scan, self._nothing)]
        results = [
            self.body.define(hint, dtype) for hint, dtype in zip(self.hints, self._dtypes, strict=True)
        ]
        self.body.append("If", [asked], results, {"then_branch": branches[0], "else_branch": branches[1]})
        return results

    @property
    def _dtypes(self) -> list[str]:
        return [self.body.dtypes[name] for name in self.turn.gives]

    def _branch(self, write: Any) -> onnx.GraphProto:
        from onnx import helper

        body = self.body.nested()
        outer, self.sizes.body = self.sizes.body, body
        names = [body.one("Identity", name) for name in write(body)]
        self.sizes.body = outer
        outputs = [helper.make_tensor_value_info(name, TYPES[body.dtypes[name]], None) for name in names]
        return helper.make_graph(body.nodes, "turns", [], outputs)

    def _scan(self, body: Body) -> list[Ref]:
        loop = self.loop
        direction = int(loop.backwards)
        sequences = [*self.sources]
        axes = [each.axis for each in loop.sequences]
        if loop.index is not None or not sequences:
            sequences, axes = [self._indices(body), *sequences], [0, *axes]
        stacked = [0 if self._moved(each) else each.axis for each in loop.stacked]
        attrs: dict[str, Any] = {
            "body": self._graph(),
            "num_scan_inputs": len(sequences),
            "scan_input_axes": axes,
            "scan_output_axes": stacked,
            "scan_input_directions": [direction] * len(sequences),
            "scan_output_directions": [direction] * len(stacked),
        }
        results = [body.define(hint, dtype) for hint, dtype in zip(self.hints, self._dtypes, strict=True)]
        body.append("Scan", [*self.states, *sequences], results, attrs)
        for i, each in enumerate(loop.stacked, len(self.states)):
            if self._moved(each):
                order = [*range(1, each.axis + 1), 0, *range(each.axis + 1, each.out.type.rank)]
                results[i] = body.one("Transpose", results[i], perm=order)
        return results

    def _moved(self, each: Stacked) -> bool:
        """Whether turns are stacked along the first axis, which is moved behind the Scan: onnxruntime divides by 0 where it moves that of
        an empty tensor, and the process ends."""
        return each.axis != 0 and not self.sizes.are_positive(each.out.type.axes)

    def _indices(self, body: Body) -> Ref:
        """start, start + step, …: one for each turn."""
        sizes, step = self.sizes, self.loop.step
        start = Dim.of(self.loop.start)
        stop = start + Dim.of(self.loop.count) * step
        return body.one("Range", sizes.scalar(start), sizes.scalar(stop), body.const(step, "i64"))

    def _graph(self) -> onnx.GraphProto:
        from onnx import helper

        turn = self.turn
        given = [
            helper.make_tensor_value_info(name, TYPES[self.body.dtypes[name]], [None] * type.rank)
            for name, type in zip(turn.given, turn.types, strict=True)
        ]
        gives = [
            helper.make_tensor_value_info(name, TYPES[self.body.dtypes[name]], None) for name in turn.gives
        ]
        return helper.make_graph(turn.nodes, "turn", given, gives)

    def _nothing(self, body: Body) -> list[Ref]:
        """What no turns give: the states as they were, and stacks of size 0."""
        stacks = [
            body.one("Expand", body.const(0, self.body.dtypes[item]), self.sizes.vector(each.out.type.axes))
            for each, item in zip(self.loop.stacked, self.turn.gives[len(self.states) :], strict=True)
        ]
        return [*self.states, *stacks]


def every_node(nodes: Iterable[Any]) -> Iterator[Any]:
    """Nodes, those in their graphs included."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from every_node(attribute.g.node)


def read_by(nodes: Iterable[Any]) -> Iterator[str]:
    """The values that nodes read, those in their graphs included."""
    return (name for node in every_node(nodes) for name in node.input)
