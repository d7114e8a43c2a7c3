"""A loop of the IR between marks (`dlc_tvm.marks`): what goes into a turn, the turn, and what comes out.

Checks and updates of buffers are carried: a check holds if it held in every turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tvm import relax

from dlc.ir.loops import Loop
from dlc.ir.nodes import Value, walk
from dlc_tvm.marks import Mark

if TYPE_CHECKING:
    from dlc_tvm.module import Writer


@dataclass
class Scan:
    """A loop at work, in the function that `writer` writes."""

    writer: Writer
    loop: Loop

    def __post_init__(self) -> None:
        body = self.loop.body
        self.checks = [op for op in walk(body) if op.op == "require"]
        self.updated = list(dict.fromkeys(op.text("path") for op in walk(body) if op.op == "update"))
        # What weights alone give, and constants, a turn reads where they are: they stay what they are to later passes.
        self.captured = [name for name in reads(self.loop) if name in self.writer.varying]
        self.mark = self.writer.mark(self._mark)
        self.begun: Any = None

    def write(self) -> None:
        outside = dict(self.writer.values)
        nexts = self._turn(self._begin())
        results = self._end(nexts)
        self.writer.values = outside
        self._bind(results)

    def _mark(self, key: int) -> Mark:
        loop = self.loop
        return Mark(
            key=key,
            carried=len(loop.carried) + len(self.checks) + len(self.updated),
            sequences=tuple(each.axis for each in loop.sequences),
            stacked=tuple(each.axis for each in loop.stacked),
            index=loop.index is not None,
            step=loop.step,
            backwards=loop.backwards,
        )

    # --- into a turn

    def _begin(self) -> Iterator[Any]:
        """The results of the mark that begins the loop."""
        writer, loop = self.writer, self.loop
        firsts = [writer.values[each.first] for each in loop.carried]
        firsts += [writer.held.get(id(check), relax.const(True, "bool")) for check in self.checks]
        firsts += [writer.read[path] for path in self.updated]
        sequences = [writer.values[each.source] for each in loop.sequences]
        captured = [writer.values[name] for name in self.captured]
        # A loop is no work on weights, whatever it begins with: it is not to be prepared in part.
        anchor = [] if writer.emission.input is None else [writer.emission.input]
        types = [writer.sizes.type(loop.index)] if loop.index is not None else []
        types += [writer.sizes.type(each.arg) for each in loop.carried]
        types += [each.ty for each in firsts[len(loop.carried) :]]
        types += [writer.sizes.type(each.arg) for each in loop.sequences]
        types += [each.ty for each in captured]
        count, start = writer.sizes.one(loop.count), writer.sizes.one(loop.start)
        operands = [*firsts, *sequences, *captured, *anchor]
        self.begun = self.writer.emission.builder.emit(self.mark.begin(count, start, operands, types))
        return self._parts(self.begun)

    def _parts(self, results: Any) -> Iterator[Any]:
        """The results of a mark, one by one."""
        for i in range(len(results.ty.fields)):
            yield self.writer.emission.builder.emit(relax.TupleGetItem(results, i))

    def _turn(self, args: Iterator[Any]) -> list[Any]:
        """What a turn gives: what is carried, then items."""
        writer, loop = self.writer, self.loop
        inside = [] if loop.index is None else [loop.index]
        inside += [each.arg for each in loop.carried]
        self._name(inside, args)
        writer.held.update((id(check), next(args)) for check in self.checks)
        writer.read.update((path, next(args)) for path in self.updated)
        self._name([each.arg for each in loop.sequences], args)
        writer.values.update((name, next(args)) for name in self.captured)
        writer.depth += 1
        writer.body(loop.body)
        writer.depth -= 1
        nexts = [writer.values[each.next] for each in loop.carried]
        nexts += [writer.held[id(check)] for check in self.checks]
        nexts += [writer.read[path] for path in self.updated]
        return [*nexts, *(writer.values[each.item] for each in loop.stacked)]

    def _name(self, values: Sequence[Value], args: Iterator[Any]) -> None:
        for value in values:
            self.writer.values[value.name] = next(args)
            self.writer.varying.add(value.name)

    # --- out of the last one

    def _end(self, nexts: Sequence[Any]) -> Iterator[Any]:
        writer, loop = self.writer, self.loop
        types = [writer.sizes.type(each.out) for each in loop.carried]
        types += [each.ty for each in nexts[len(loop.carried) : self.mark.carried]]
        types += [writer.sizes.type(each.out) for each in loop.stacked]
        return self._parts(self.writer.emission.builder.emit(self.mark.end(nexts, self.begun, types)))

    def _bind(self, results: Iterator[Any]) -> None:
        writer, loop = self.writer, self.loop
        self._name([each.out for each in loop.carried], results)
        for check in self.checks:
            writer.held.pop(id(check))
            writer.hold(check, next(results))
        for path in self.updated:
            writer.set(path, next(results))
        self._name([each.out for each in loop.stacked], results)


def reads(loop: Loop) -> list[str]:
    """The values outside of a loop that its turns read, in the order of their first use."""
    own = {
        value.name
        for op in walk((loop.op(),))
        for value in (*op.outputs, *(op.region.args if op.region else ()))
    }
    found = dict.fromkeys(
        name for op in walk(loop.body) for name in (*op.inputs, *(op.region.results if op.region else ()))
    )
    found.update(dict.fromkeys(loop.region.results))
    return [name for name in found if name and name not in own]
