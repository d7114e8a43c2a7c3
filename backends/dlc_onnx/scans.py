"""A loop whose turns share their parameters, as a `Scan`: a turn is a graph.

    h, memory, hs = If(T > 0) { Scan(h0, memory, x) { turn } } else { h0, memory, no values }

onnxruntime fails on a `Scan` of length 0, so a length that is known only when the model runs is asked for first. Of the values around it a turn
sees parameters and constants; what is computed there, `memory`, is carried along as it is, since OpenVINO reads no Scan whose turns
look for it outside. onnxruntime copies it in each turn, so what is `LARGE` and of a fixed size, as a matrix made of parameters, stays outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dlc.ir.loops import Loop, Stacked
from dlc.types.dims import Dim
from dlc_onnx.body import Body
from dlc_onnx.graphs import every_node, graphs_of, read_by, rename_in
from dlc_onnx.rows import TYPES
from dlc_onnx.sizes import Sizes
from dlc_onnx.template import Ref

if TYPE_CHECKING:
    import onnx


LARGE = 2**18
"""Of so many elements a copy takes as long as what a turn does with them: a product of a vector with a matrix of 4 MiB took twice its time."""


@dataclass
class Turn:
    """The graph of a turn: what it is given and what it gives, first what is carried, then slices or what is stacked."""

    nodes: Sequence[Any]
    given: Sequence[Ref]
    gives: Sequence[Ref]
    ranks: Sequence[int | None]
    """Of `given`."""

    def with_carried(self, values: Sequence[Ref], at: int, body: Body) -> Turn:
        """The turn where values around it are carried along, behind the first `at` states; None is known of their ranks."""
        inside: dict[str, Ref] = {value: body.define(f"{value}_in", body.dtypes[value]) for value in values}
        nodes = [*self.nodes]
        for node in every_node(nodes):
            rename_in(node, inside)
        copies = body.nested()
        gives = [copies.one("Identity", each) for each in inside.values()]
        return Turn(
            [*nodes, *copies.nodes],
            [*self.given[:at], *inside.values(), *self.given[at:]],
            [*self.gives[:at], *gives, *self.gives[at:]],
            [*self.ranks[:at], *[None] * len(values), *self.ranks[at:]],
        )

    def seen(self) -> list[str]:
        """The values around it that a turn reads."""
        made = {name for node in every_node(self.nodes) for name in node.output}
        inner = {
            each.name for node in every_node(self.nodes) for graph in graphs_of(node) for each in graph.input
        }
        known = {"", *made, *inner, *self.given}
        return [name for name in dict.fromkeys(read_by(self.nodes)) if name not in known]


@dataclass
class Scan:
    """A loop as nodes of `body`. `states` are what is carried before the first turn, `sources` the sequences."""

    body: Body
    sizes: Sizes
    loop: Loop
    turn: Turn
    states: Sequence[Ref]
    sources: Sequence[Ref]
    names: Sequence[str]
    """Of the results."""
    stays: Callable[[str], bool]
    """Whether turns look for a value outside of them."""

    def write(self) -> list[Ref]:
        """What is carried behind the last turn, and what is stacked."""
        count = Dim.of(self.loop.count)
        at = len(self.states)
        seen = [Ref(name) for name in self.turn.seen() if not self.stays(name)]
        if seen:
            names = [self.body.names.fresh(f"{name}_out") for name in seen]
            whole = replace(
                self,
                turn=self.turn.with_carried(seen, at, self.body),
                states=[*self.states, *seen],
                names=[*self.names[:at], *names, *self.names[at:]],
            )
            found = whole._write(count)
            return [*found[:at], *found[at + len(seen) :]]
        return self._write(count)

    def _write(self, count: Dim) -> list[Ref]:
        if count.constant is not None:
            return self._scan(self.body, self.names) if count.constant else self._nothing(self.body)
        asked = self.body.one("Greater", self.sizes.scalar(count), 0)
        turns = self._branch("turns", lambda body: self._scan(body, self._inside()))
        nothing = self._branch("no_turns", self._nothing)
        results = self._results(self.names)
        self.body.append("If", [asked], results, {"then_branch": turns, "else_branch": nothing})
        return results

    def _inside(self) -> list[str]:
        """Names for the results of a Scan that stands in a branch."""
        words = (name.rpartition("/")[2] for name in self.names)
        return [self.body.names.fresh(f"{self.body.scope}/Scan/{word}") for word in words]

    def _results(self, names: Sequence[str]) -> list[Ref]:
        dtypes = (self.body.dtypes[name] for name in self.turn.gives)
        self.body.dtypes.update(zip(names, dtypes, strict=True))
        return list(map(Ref, names))

    def _branch(self, name: str, write: Callable[[Body], list[Ref]]) -> onnx.GraphProto:
        from onnx import helper

        body = self.body.nested()
        outer, self.sizes.body = self.sizes.body, body
        names = given_out(body, write(body))
        self.sizes.body = outer
        outputs = [helper.make_tensor_value_info(name, TYPES[body.dtypes[name]], None) for name in names]
        return helper.make_graph(body.nodes, f"{self.body.scope}/{name}", [], outputs)

    def _scan(self, body: Body, names: Sequence[str]) -> list[Ref]:
        loop = self.loop
        direction = int(loop.backwards)
        sequences = [*self.sources]
        axes = [each.axis for each in loop.sequences]
        if len(self.turn.given) > len(self.states) + len(sequences):
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
        moved = {i: each for i, each in enumerate(loop.stacked, len(self.states)) if self._moved(each)}
        results = self._results(
            [body.names.fresh(f"{name}/by_turn") if i in moved else name for i, name in enumerate(names)]
        )
        body.append("Scan", [*self.states, *sequences], results, attrs)
        for i, each in moved.items():
            order = [*range(1, each.axis + 1), 0, *range(each.axis + 1, each.out.type.rank)]
            results[i] = body.rename(body.one("Transpose", results[i], perm=order), names[i])
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
            helper.make_tensor_value_info(
                name, TYPES[self.body.dtypes[name]], None if rank is None else [None] * rank
            )
            for name, rank in zip(turn.given, turn.ranks, strict=True)
        ]
        gives = [
            helper.make_tensor_value_info(name, TYPES[self.body.dtypes[name]], None) for name in turn.gives
        ]
        return helper.make_graph(turn.nodes, f"{self.body.scope}/turn", given, gives)

    def _nothing(self, body: Body) -> list[Ref]:
        """What no turns give: the states as they were, and stacks of size 0."""
        stacks = [
            body.one("Expand", body.const(0, self.body.dtypes[item]), self.sizes.vector(each.out.type.axes))
            for each, item in zip(self.loop.stacked, self.turn.gives[len(self.states) :], strict=True)
        ]
        return [*self.states, *stacks]


def given_out(body: Body, values: Sequence[Ref]) -> list[Ref]:
    """Values as a graph gives them: one that is not made in it, or given twice, is handed out as a copy."""
    made = {name for node in body.nodes for name in node.output}
    found: list[Ref] = []
    for value in values:
        found.append(value if value in made and value not in found else body.one("Identity", value))
    return found
