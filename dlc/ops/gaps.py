"""What a backend declares that it lacks: an op as a whole, some dtypes of it, or some dtypes in any op.

    GAPS = {
        "erf": Gap("its kernel rounds too early", frozenset({"f16", "bf16"})),
        EVERY: Gap("it has no such numbers", frozenset({"f8e4m3"})),
    }

A gap is refused by name before anything is emitted (E0802), and `dlc ops` shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from dlc.diagnostics import Diagnostic, SpecError
from dlc.diagnostics.training import UNSUPPORTED
from dlc.ir.nodes import Function, Op, Program, walk
from dlc.records import dataclass


@dataclass(frozen=True, slots=True)
class Gap:
    """What is missing and why; `dtypes` of its operands and results, or None for the op as a whole."""

    reason: str
    dtypes: frozenset[str] | None = None

    def text(self) -> str:
        """For tables: the reason, behind the dtypes that it concerns."""
        return self.reason if self.dtypes is None else f"{', '.join(sorted(self.dtypes))}: {self.reason}"


Gaps = Mapping[str, Gap]
EVERY = "*"
"""The op of a gap whose dtypes are missing in all of them: of values that are only handed on as well."""


def refuse_gaps(backend: str, gaps: Gaps, program: Program, precision: str = "f32") -> None:
    """Raises SpecError (E0802) where a program, as the backend would get it, needs what the backend declares to lack.
    `precision` is what `float` means. Initial values don't count: dlc computes them itself."""
    if not gaps:
        return
    functions = (each for each in program.functions.values() if each.kind != "init")
    found = [each for function in functions for each in _missing(backend, gaps, function, precision)]
    if found:
        raise SpecError(list(dict.fromkeys(found)))


def _missing(backend: str, gaps: Gaps, function: Function, precision: str) -> Iterator[Diagnostic]:
    types = function.types()
    if EVERY in gaps:
        yield from islice(_of_any_op(backend, gaps[EVERY], function, precision), 1)
    for op in walk(function.body):
        gap = gaps.get(op.op)
        if gap is None:
            continue
        names = (*(name for name in op.inputs if name), *(value.name for value in op.outputs))
        dtypes = _named((types[name].dtype for name in names), precision)
        if gap.dtypes is None:
            yield _problem(backend, op, gap.reason)
        elif dtypes & gap.dtypes:
            yield _problem(backend, op, f"not in {min(dtypes & gap.dtypes)}: {gap.reason}")


def _of_any_op(backend: str, gap: Gap, function: Function, precision: str) -> Iterator[Diagnostic]:
    """The ops that read or make what is of a dtype that the backend lacks altogether; the function, where values are only handed on."""
    types, lacking = function.types(), gap.dtypes or frozenset()
    for op in walk(function.body):
        names = (*op.inputs, *(value.name for value in op.outputs))
        found = _named((types[name].dtype for name in names if name), precision) & lacking
        if found:
            yield _problem(backend, op, f"not in {min(found)}: {gap.reason}")
    found = _named((value.type.dtype for value in function.inputs), precision) & lacking
    if found:
        reason = f"not in {min(found)}: {gap.reason}"
        yield UNSUPPORTED.at(function.span, backend=backend, op=function.source, reason=reason)


def _named(dtypes: Iterable[str], precision: str) -> set[str]:
    return {precision if each == "float" else each for each in dtypes}


def _problem(backend: str, op: Op, reason: str) -> Diagnostic:
    return UNSUPPORTED.at(op.span, backend=backend, op=op.op, reason=reason)
