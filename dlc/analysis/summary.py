"""Summaries of a program: module tree, parameters, FLOPs, bytes. Nothing is allocated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dlc.analysis.measure import check_dims, check_sizes, count, turns, work
from dlc.analysis.summary_text import summary_html, summary_text
from dlc.ir.index import INDEX, offset_of
from dlc.ir.loops import Loop
from dlc.ir.nodes import Child, Function, Parameter, Program, walk
from dlc.records import dataclass
from dlc.types.dims import Dim
from dlc.types.tensor import ITEM_BYTES, TensorType

# What Adam keeps for a parameter besides its value: the gradient and two moments, each in f32.
OPTIMIZER_BYTES = 12
# What makes no new tensor: parameters, constants, and other views of the same memory.
VIEWS = frozenset({"param", "const", "reshape", "permute", "broadcast", "slice"})


@dataclass(frozen=True, slots=True)
class Row:
    """A part of the model: its path ("h.0-11" for a run of equal ones), kind, output types and number of parameters."""

    path: str
    kind: str
    outputs: tuple[str, ...]
    parameters: int
    depth: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of a model. Sizes are ints, or texts over the dims that were not given."""

    name: str
    parameters: int
    trainable: int
    buffers: int
    parameter_bytes: int
    flops: int | str
    """Products of contractions and convolutions, a multiply-add as two."""
    elementwise: int | str
    """All other operations, one for each element."""
    activation_bytes: int | str
    training_bytes: int | str
    tensors: tuple[Parameter, ...]
    rows: tuple[Row, ...]

    def __repr__(self) -> str:
        return f"<Summary of {self.name}: {self.parameters:,} parameters>"

    def __str__(self) -> str:
        return summary_text(self)

    def _repr_html_(self) -> str:
        return summary_html(self)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "parameters": self.parameters,
            "trainable_parameters": self.trainable,
            "buffers": self.buffers,
            "parameter_bytes": self.parameter_bytes,
            "flops": self.flops,
            "elementwise_operations": self.elementwise,
            "activation_bytes": self.activation_bytes,
            "training_bytes": self.training_bytes,
            "tensors": [
                {
                    "path": each.path,
                    "shape": list(each.type.shape or ()),
                    "dtype": each.type.dtype,
                    "kind": each.kind,
                }
                for each in self.tensors
            ],
            "modules": [
                {
                    "path": row.path,
                    "kind": row.kind,
                    "outputs": list(row.outputs),
                    "parameters": row.parameters,
                }
                for row in self.rows
            ],
        }


def summarize(program: Program, dims: Mapping[str, int] | None = None) -> Summary:
    """The summary of a program at given sizes; dims that are not given stay symbolic. Raises SpecError for a name that
    is no dim, and for sizes that the facts don't allow."""
    sizes = dict(dims or {})
    check_dims(program, sizes)
    check_sizes(program, sizes)
    weights = sum(_bytes(each.type).constant or 0 for each in program.parameters)
    trainable = count(program, trainable=True)
    done = work(program, sizes)
    activations = activation_bytes(program).substitute(sizes)
    return Summary(
        name=program.main.source,
        parameters=count(program),
        trainable=trainable,
        buffers=count(program, "buffer"),
        parameter_bytes=weights,
        flops=_number(done.products),
        elementwise=_number(done.elementwise),
        activation_bytes=_number(activations),
        training_bytes=_number(activations + weights + trainable * OPTIMIZER_BYTES),
        tensors=program.parameters,
        rows=tuple(_rows(program, sizes)),
    )


def _number(dim: Dim) -> int | str:
    return dim.constant if dim.constant is not None else str(dim)


def _bytes(type: TensorType) -> Dim:
    item = ITEM_BYTES[type.dtype]
    return type.size * int(item) if item >= 1 else (type.size + 1) // 2


def activation_bytes(program: Program) -> Dim:
    """Bytes of all results that a training step keeps when it recomputes nothing: those of each operation as the spec
    names it, a standard layer counting as one."""
    memo: dict[str, Dim] = {}
    for name in program.reachable():
        memo[name] = _kept(program.functions[name], memo)
    return memo[program.entry]


def _kept(function: Function, memo: Mapping[str, Dim]) -> Dim:
    total = Dim.of(0)
    stack = [(op, Dim.of(1)) for op in function.body]
    while stack:
        op, times = stack.pop()
        if op.region is not None:
            inner = times * turns(op)
            stack += [(each, inner) for each in op.region.body]
            for part in Loop.of(op).stacked:  # a tensor of its own beside the turns' items
                total = total + times * _bytes(part.out.type)
        elif op.op == "call":
            total = total + times * memo[op.callee].substitute(dict(op.dims))
        elif op.op not in VIEWS:
            for value in op.outputs:
                total = total + times * _bytes(value.type)
    return total


# --- the module tree ---------------------------------------------------------------------------------------------


def _rows(program: Program, sizes: Mapping[str, int]) -> Iterator[Row]:
    """Parts in the order of the program, parents before what they hold."""
    counts = _parameter_counts(program)
    main = program.main
    outputs = tuple(str(type.substitute(sizes)) for type in main.output_types)
    yield Row("", main.source, outputs, counts[program.entry], 0)
    pending: list[Any] = [(program.entry, "", 0, sizes)]
    while pending:
        item = pending.pop()
        if isinstance(item, Row):
            yield item
            continue
        name, prefix, depth, values = item
        pending += reversed(list(_below(program, name, prefix, depth, values, counts)))


def _below(
    program: Program,
    name: str,
    prefix: str,
    depth: int,
    values: Mapping[str, Dim | int],
    counts: Mapping[str, int],
) -> Iterator[Any]:
    function = program.functions[name]
    children = {(child.path, child.function): child for child in function.children}
    seen: set[str] = set()
    for op in walk(function.body):
        child = children.get((op.path, op.callee)) if op.callee and op.path else None
        if child is None or child.path in seen:
            continue
        seen.add(child.path)
        path = f"{prefix}.{_shown(child)}" if prefix else _shown(child)
        inner = {key: Dim.of(size).substitute(dict(values)) for key, size in op.dims}
        outputs = tuple(str(value.type.substitute(dict(values))) for value in op.outputs)
        callee = program.functions[op.callee]
        times = max(child.count, 1)
        yield Row(path, callee.source, outputs, counts[op.callee] * times, depth + 1)
        if not callee.library:
            yield (op.callee, path, depth + 1, inner)


def _shown(child: Child) -> str:
    if not child.count:
        return child.path
    first = child.start + offset_of(child.path)
    last = first + child.step * (child.count - 1)
    return INDEX.sub(f"{first}-{last}" if child.step == 1 else f"{first}-{last}:{child.step}", child.path)


def _parameter_counts(program: Program) -> dict[str, int]:
    """The number of parameters below each function, by path counted once."""
    from dlc.elaborate.state.paths import local_paths

    memo: dict[str, list[tuple[str, Any]]] = {}
    functions = dict(program.functions)
    return {
        name: sum(
            param.type.size.constant or 0
            for _, param in local_paths(functions, name, memo)
            if param.kind == "param"
        )
        for name in program.reachable()
    }
