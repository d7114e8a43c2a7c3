"""What a backend declares that it lacks: an op as a whole, or some dtypes of it.

    GAPS = {"erf": Gap("its kernel rounds too early", frozenset({"f16", "bf16"}))}

A gap is refused by name before anything is emitted (E0802), and `dlc ops` shows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
    for op in walk(function.body):
        gap = gaps.get(op.op)
        if gap is None:
            continue
        names = (*(name for name in op.inputs if name), *(value.name for value in op.outputs))
        dtypes = {precision if types[name].dtype == "float" else types[name].dtype for name in names}
        if gap.dtypes is None:
            yield _problem(backend, op, gap.reason)
        elif dtypes & gap.dtypes:
            yield _problem(backend, op, f"not in {min(dtypes & gap.dtypes)}: {gap.reason}")


def _problem(backend: str, op: Op, reason: str) -> Diagnostic:
    return UNSUPPORTED.at(op.span, backend=backend, op=op.op, reason=reason)
