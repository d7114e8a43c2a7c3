"""Errors of elaboration: raised where they are found, told once, in the words of whoever wrote the line."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from dlc.diagnostics import NO_SPAN, Diagnostic, Problem, Span
from dlc.diagnostics.meaning import BUDGET, FACT_VIOLATED
from dlc.elaborate.reports.origin import Origin
from dlc.records import dataclass, field, replace
from dlc.types.dims import DimTooLarge


class ElabError(Exception):
    """A statement can't be elaborated further: its diagnostic is reported, its targets become POISON."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


class Silent(Exception):
    """A statement depends on one that is in error: nothing more is said."""


def too_large(error: DimTooLarge) -> str:
    return str(error).removeprefix("a size has ")


@dataclass(eq=False, repr=False)
class Findings:
    """All that was found wrong in a program. The same problem at the same place is kept once, however often a body is
    elaborated; `failures` counts every time."""

    diagnostics: list[Diagnostic] = field(default_factory=list)
    failures: int = 0
    inside: set[Span] = field(default_factory=set)  # calls of the library of which something was told
    _seen: set[tuple[str, Span]] = field(default_factory=set)

    def keep(self, diagnostic: Diagnostic) -> None:
        self.failures += 1
        key = (diagnostic.code, diagnostic.span)
        if key not in self._seen:
            self._seen.add(key)
            self.diagnostics.append(diagnostic)

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """While a body runs a second time, for what it declares alone: what is wrong with it is told elsewhere."""
        kept = self.diagnostics, self.failures, set(self._seen)
        self.diagnostics = []
        yield
        self.diagnostics, self.failures, self._seen = kept


@dataclass(eq=False, repr=False)
class Report:
    """How the errors of one body are told: `chain` are the calls that lead into it, in words, `calls` their places, innermost first,
    `origin` the user's call for a body of the library, `place` the body itself. What a train block is to know it `requires`, having no `where`."""

    findings: Findings
    callables: Container[str] = frozenset()
    chain: tuple[str, ...] = ()
    origin: Origin | None = None
    place: Span = NO_SPAN
    calls: tuple[Span, ...] = ()
    requires: bool = False

    def fail(self, problem: Problem, span: Span, **slots: Any) -> NoReturn:
        raise ElabError(self.told(problem, span, slots))

    def tell(self, problem: Problem, span: Span, **slots: Any) -> None:
        """Keep a problem, and go on."""
        self._keep(self.told(problem, span, slots))

    def _keep(self, diagnostic: Diagnostic) -> None:
        """Of one call of the library only the first problem is told: what else is wrong inside follows from it."""
        if self.origin is not None:
            if self.origin.span in self.findings.inside:
                self.findings.failures += 1
                return
            self.findings.inside.add(self.origin.span)
        self.findings.keep(diagnostic)

    def told(self, problem: Problem, span: Span, slots: dict[str, Any]) -> Diagnostic:
        diagnostic = problem.at(span, chain=self.chain, **slots)
        if self.origin is not None:
            diagnostic = self.origin.tell(diagnostic, self.callables)
        if self.requires:
            diagnostic = replace(diagnostic, help=diagnostic.help.replace("`where ", "`require "))
        return self._at_the_call(diagnostic) if problem is FACT_VIOLATED else diagnostic

    def _at_the_call(self, found: Diagnostic) -> Diagnostic:
        """Numbers that a module of another file can't take, at the call that gave them to it."""
        own = self.calls[-1].file if self.calls else found.span.file
        if found.span.file == own:
            return found
        span = next(each for each in self.calls if each.file == own)
        at = f"at {found.span.file}:{found.span.line}:{found.span.column}"
        return replace(found, span=span, notes=(*found.notes, at), fixes=())

    def guarded(self, work: Callable[[], Any], otherwise: Any = None) -> Any:
        """Do `work`; if it is in error, keep that and give `otherwise`."""
        try:
            return work()
        except ElabError as error:
            self._keep(error.diagnostic)
        except Silent:
            pass
        except DimTooLarge as error:
            self.tell(
                BUDGET, self.place, what="a size of this body", found=too_large(error), limit="2,000 terms"
            )
        return otherwise
