"""What passes share: their form, walking functions, and which operations do more than compute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from dlc.ir.drawing import is_random
from dlc.ir.nodes import Attr, Child, Function, Op, Program, walk
from dlc.ir.splice import callees
from dlc.once import once
from dlc.records import replace
from dlc.types.tensor import TensorType

# Ops that act on something besides their results.
ACTING = frozenset({"update", "require"})

# A composite of the library for static arguments and the types of its inputs (None where absent), as a program whose
# entry it is. The library stands above the passes: whoever runs them hands it in (`dlc.elaborate.programs.library.instantiate`).
Instantiate = Callable[[str, Mapping[str, Attr], Sequence[TensorType | None]], Program]


def no_library(name: str, static: Mapping[str, Attr], types: Sequence[TensorType | None]) -> Program:
    """What a pass has that was given no library."""
    raise LookupError(f"a pass needs `{name}` of the library: run it with `library=instantiate`")


class Pass(Protocol):
    """A small frozen value: options are its fields."""

    @property
    def name(self) -> str:
        """What `--after` calls it."""
        ...

    def run(self, program: Program) -> Program: ...


def each_function(program: Program, change: Callable[[Function], Function]) -> Program:
    """The program with `change` applied to every function that runs; those of initial values are left
    alone."""
    return program.with_functions(
        {name: each if each.kind == "init" else change(each) for name, each in program.functions.items()}
    )


def functions_with(program: Program, has: Callable[[Op], bool]) -> frozenset[str]:
    """The functions that hold such an op, or call one that does."""
    found: set[str] = set()
    for name, function in program.functions.items():
        if _holds(function, has) or not found.isdisjoint(callees(function)):
            found.add(name)
    return frozenset(found)


@once
def _holds(function: Function, has: Callable[[Op], bool]) -> bool:
    return any(map(has, walk(function.body)))


def is_acting(op: Op) -> bool:
    return op.op in ACTING


def is_acting_or_random(op: Op) -> bool:
    return op.op in ACTING or is_random(op)


def use_counts(function: Function) -> Counter[str]:
    """How often each value is read, as an output of the function or a region's result too."""
    counts = Counter(value for _, value in function.outputs)
    for op in walk(function.body):
        counts.update(op.inputs)
        if op.region is not None:
            counts.update(op.region.results)
    return counts


def remembering(children: Iterable[Child], before: Iterable[Op], after: Iterable[Op]) -> tuple[Child, ...]:
    """The instances of a function, with their calls in the body `before`, where the one `after` it has none of them any more: a class that is
    emitted makes all."""
    called = {op.path for op in walk(after) if op.callee}
    gone = {op.path: op for op in walk(before) if op.callee and op.path not in called}
    return tuple(replace(each, call=gone[each.path]) if each.path in gone else each for each in children)
