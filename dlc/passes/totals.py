"""A loss and metrics in two parts: what is summed over the rows of a batch, and what is computed of the sums.

Sums of several batches add up, numbers computed of them don't: a mean over 3 labels and one over 1 are not worth the same, and the
mean of two recalls is not the recall of both. So sums are taken batch by batch, and the rest is computed once, of all of them.

Before:

    model Net(%x: [B, 4], %mask: [B]) -> (loss: %loss) {
        %norm: [B] = sum(%x) {axis=[1], keepdims=false}
        %kept: [B] = mul(%norm, %mask)
        %sum: [] = sum(%kept) {axis=[0], keepdims=false}
        %sum_2: [] = sum(%mask) {axis=[0], keepdims=false}
        %loss: [] = div(%sum, %sum_2)
    }

After, what is computed of each batch:

    model Net(%x: [B, 4], %mask: [B]) -> (sum: %sum, sum_2: %sum_2) {
        %norm: [B] = sum(%x) {axis=[1], keepdims=false}
        %kept: [B] = mul(%norm, %mask)
        %sum: [] = sum(%kept) {axis=[0], keepdims=false}
        %sum_2: [] = sum(%mask) {axis=[0], keepdims=false}
    }

The rest, computed once of the sums of all batches, is `%loss: [] = div(%sum, %sum_2)`.
"""

from __future__ import annotations

from collections.abc import Mapping

from dlc.ir.builder import Builder
from dlc.ir.loops import LOOP, Loop
from dlc.ir.needed import reads
from dlc.ir.nodes import Function, Op, Program, Value, sizes_in, walk
from dlc.ir.splice import Names
from dlc.ops.contraction import split_pattern
from dlc.passes.base import is_acting_or_random
from dlc.passes.dead_code import DeadCode
from dlc.passes.factors import factored
from dlc.passes.lower import alone, inline_in, unroll_function
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType

SUM, MEAN = "sum", "mean"


@dataclass(frozen=True, slots=True)
class Totals:
    """`sums` has the program's inputs and parameters, and outputs that several batches have together: by `how`, their sum, or
    where they are no sums over rows, their mean. `rest` computes the program's outputs of these; the sizes of the fields are
    inputs of it, under their names."""

    sums: Program
    rest: Program
    how: Mapping[str, str]
    rows: frozenset[str]
    """The names of the batch's sizes, which add up."""
    single: Mapping[str, Op]
    """By output of the program, an operation that it is computed of and that several batches have no common value of."""


def batch_sizes(function: Function) -> frozenset[str]:
    """The names of the batch's sizes: what the first axes of a train block's fields are written in."""
    return frozenset(name for each in function.inputs if each.type.rank for name in each.type.axes[0].symbols)


def totals(program: Program, *, wide: bool = False) -> Totals:
    """The two parts of a train block's program; `wide` sums are computed in f32 where the rest of the network is not. Raises
    nothing: what can't be parted is a mean over batches."""
    opened = _opened(program)
    sizes = batch_sizes(opened.main)
    main = factored(opened.main, sizes)
    opened = opened.with_functions({**opened.functions, main.name: main})
    parted = _Parting(opened, sizes, main.types()).parted()
    return replace(parted, sums=_widened(parted.sums)) if wide else parted


def _widened(sums: Program) -> Program:
    """The program with its sums in f32: thousands of terms in bf16 have two digits."""
    main = sums.main
    made = {each.name: op for op in main.body for each in op.outputs}
    types = main.types()
    b = Builder(Facts(main.facts), names=Names.of(main).fresh)
    outputs = []
    for name, value in main.outputs:
        op = made.get(value)
        if op is not None and op.op == "sum" and types[value].dtype == "float":
            whole = b.cast(Value(op.inputs[0], types[op.inputs[0]]), "f32")
            value = b.sum(whole, op.integers("axis"), bool(op.attr("keepdims"))).name
        outputs.append((name, value))
    widened = replace(main, body=(*main.body, *b.body), outputs=tuple(outputs))
    return DeadCode().run(sums.with_functions({**sums.functions, main.name: widened}))


def _opened(program: Program) -> Program:
    """The program with its entry inlined and unrolled as far as numbers of a whole batch are computed in calls and loops."""
    while names := _closed(program.main, batch_sizes(program.main)):
        main = unroll_function(program.main, lambda loop: loop.outputs[0].name in names)
        unrolled = program.with_functions({**program.functions, main.name: main})
        program = inline_in(unrolled, main.name, lambda op: not op.outputs or op.outputs[0].name not in names)
    return program


def _closed(main: Function, sizes: frozenset[str]) -> frozenset[str]:
    """The calls and loops of a function that give a number of the batch, by their first result."""
    types = main.types()
    rows = {name for name, type in types.items() if type.symbols & sizes}
    of_batch = set(rows)
    found = []
    for op in main.body:
        if not of_batch.isdisjoint(reads(op)) or any(each.name in rows for each in op.outputs):
            of_batch.update(each.name for each in op.outputs)
            opens = op.callee or (op.op == LOOP and Loop.of(op).turns is not None)
            if opens and any(each.name not in rows for each in op.outputs):
                found.append(op.outputs[0].name)
    return frozenset(found)


@dataclass(slots=True)
class _Parting:
    """Goes through the entry, which is opened: what depends on the rows of a batch is `rows`, what is computed of sums over them
    alone `late`, and the sums in between are in `how`."""

    program: Program
    sizes: frozenset[str]
    types: Mapping[str, TensorType]
    rows: set[str] = field(default_factory=set)
    late: set[str] = field(default_factory=set)
    plain: set[str] = field(default_factory=set)  # constants, and what is computed of them
    how: dict[str, str] = field(default_factory=dict)
    single: dict[str, Op] = field(default_factory=dict)
    zeros: set[str] = field(default_factory=set)

    def parted(self) -> Totals:
        main = self.program.main
        self.rows.update(each.name for each in main.inputs)
        for op in main.body if self.sizes else ():
            self._visit(op)
        body, cuts = self._rest()
        how = {name: self.how.get(name, MEAN) for name in cuts}
        rest = Function(
            name=Names(self.program.functions).fresh(f"{main.name}_of_sums"),
            source=main.source,
            kind="fn",
            inputs=tuple(Value(name, self._together(name, how[name])) for name in cuts),
            outputs=main.outputs,
            body=body,
            static=tuple((f"size_{name}", Dim.symbol(name)) for name in main.dims),
            training=main.training,
            span=main.span,
        )
        sums = replace(main, outputs=tuple((name, name) for name in cuts))
        functions = self.program.functions
        return Totals(
            DeadCode().run(self.program.with_functions({**functions, main.name: sums})),
            alone(Program({**functions, rest.name: rest}, rest.name), rest.name),
            how,
            self.sizes,
            self._singles(),
        )

    def _together(self, name: str, how: str) -> TensorType:
        """The type of a value of several batches: a mean of whole numbers is none."""
        type = self.types[name]
        return type if how == SUM or type.is_float else replace(type, dtype="float")

    def _visit(self, op: Op) -> None:
        read = set(reads(op))
        for out in op.outputs:
            if out.type.symbols & self.sizes:
                self.rows.add(out.name)
            elif read & self.rows:
                adds = self._adds(op, read)
                if not adds:
                    self.single[out.name] = next(filter(None, map(self.single.get, read)), op)
                if adds or out.type.is_float:
                    self.how[out.name] = SUM if adds else MEAN
                    self.late.add(out.name)
                else:
                    self.rows.add(out.name)  # has no mean: what is computed of it may have one
            elif read & self.late or _symbols_in(op) & self.sizes:
                self.late.add(out.name)
                if any(each.op == "param" or is_acting_or_random(each) for each in walk((op,))):
                    self.how[out.name] = (
                        MEAN  # a loop over an open size, with more in it than numbers of the batch
                    )
                    self.single[out.name] = op
            elif not (op.callee or op.op == "param" or is_acting_or_random(op)) and read <= self.plain:
                self.plain.add(out.name)
                if op.op == "full" and op.attr("value") == 0:
                    self.zeros.add(out.name)

    def _adds(self, op: Op, read: set[str]) -> bool:
        """Whether an op's result, which has no axis of the batch, is a sum over its rows."""
        types = self.types
        if not any(types[name].symbols & self.sizes for name in read & self.rows):
            return False
        if op.op in ("sum", "matmul"):
            return True
        if op.op == "scatter_add":
            return op.inputs[0] in self.zeros
        if op.op == "einsum":
            terms, _ = split_pattern(op.text("pattern"))
            pairs = (
                (letter, axis)
                for term, name in zip(terms, op.inputs, strict=True)
                for letter, axis in zip(term, types[name].axes, strict=True)
            )
            return len({letter for letter, axis in pairs if axis.symbols & self.sizes}) == 1
        return False

    def _rest(self) -> tuple[tuple[Op, ...], tuple[str, ...]]:
        """What is computed of sums, and the sums: the values that it reads and that are not its own."""
        live = {value for _, value in self.program.main.outputs}
        body: list[Op] = []
        cuts: list[str] = []
        for op in reversed(self.program.main.body):
            names = [each.name for each in op.outputs if each.name in live]
            if not names:
                continue
            own = self.plain | (self.late - self.how.keys())
            if own.issuperset(names):
                body.append(op)
                live.update(reads(op))
            else:
                cuts += reversed(names)
        inputs = [each.name for each in self.program.main.inputs if each.name in live]
        return tuple(reversed(body)), (*inputs, *reversed(cuts))

    def _singles(self) -> dict[str, Op]:
        """Of each output, what it is computed of that is no sum over rows."""
        if not self.sizes:  # the batch's size is a number: which axes are rows can't be told
            made = {each.name: op for op in self.program.main.body for each in op.outputs}
            return {name: made[value] for name, value in self.program.main.outputs if value in made}
        found = dict(self.single)
        for op in self.program.main.body:
            wrong = next((found[name] for name in reads(op) if name in found), None)
            if wrong is not None:
                found.update((each.name, wrong) for each in op.outputs if each.name not in self.rows)
        return {name: found[value] for name, value in self.program.main.outputs if value in found}


def _symbols_in(op: Op) -> frozenset[str]:
    """The names in the sizes among an operation's attributes."""
    found = (each.symbols for _, value in op.attrs for each in sizes_in(value))
    return frozenset().union(*found)
