"""What dlc says about a wrong spec: spans, diagnostics, and how they are shown.

A problem is declared once in `dlc.diagnostics.catalogue` (its code, texts, a wrong and a right spec); where it is
found, only its facts are filled in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from dlc.records import dataclass, field, replace


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A stretch of a file: lines and columns count from 1, `end_column` is one past the last character."""

    file: str
    line: int
    column: int
    end_line: int = 0
    end_column: int = 0

    def to(self, other: Span) -> Span:
        """The stretch from the start of this span to the end of `other`."""
        return Span(self.file, self.line, self.column, other.end_line, other.end_column)

    def inside(self, start: int, end: int) -> Span:
        """The stretch of characters `start` to `end` counted from this span's start, on its first line."""
        return Span(self.file, self.line, self.column + start, self.line, self.column + end)

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


NO_SPAN = Span("", 0, 0)
"""No place in any file: of what a pass made, and of problems with an option or an input."""


@dataclass(frozen=True, slots=True)
class Fix:
    """A replacement of the text at `span` that would solve the problem."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of problem: `message` has named slots; `explanation`, `wrong` and `right` make its documentation."""

    code: str
    title: str
    message: str
    explanation: str
    wrong: str = ""
    right: str = ""
    severity: str = "error"

    def at(
        self,
        span: Span,
        *,
        notes: Iterable[str] = (),
        help: str = "",
        chain: Iterable[str] = (),
        fixes: Iterable[Fix] = (),
        **slots: Any,
    ) -> Diagnostic:
        """The diagnostic of this problem at `span`, its message filled from `slots`."""
        return Diagnostic(
            code=self.code,
            severity=self.severity,
            message=_shortened(self.message.format(**slots)),
            span=span,
            notes=tuple(map(_shortened, notes)),
            help=_shortened(help),
            chain=tuple(chain),
            fixes=tuple(fixes) or _spelling_fix(self.code, span, help),
        )


_LONG_WORD = re.compile(r"\S{160,}")


def _shortened(text: str) -> str:
    """A text whose longest words (a name of a whole page, say) are cut."""
    return _LONG_WORD.sub(lambda found: f"{found.group()[:60]}…", text)


# Problems whose place is exactly the misspelled word.
_SPELLED = {"E0101", "E0102", "E0110", "E0111", "E0306", "E0310", "E0702", "E0704", "E0705", "E0719"}


def _spelling_fix(code: str, span: Span, help: str) -> tuple[Fix, ...]:
    """The replacement that a near miss proposes."""
    found = re.fullmatch(r"did you mean `(\w+)`\?", help)
    return (Fix(span, found.group(1)),) if found and code in _SPELLED and span.line else ()


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem found. `notes` are lines such as `q: [B, 12, T, 64]`; `chain` is the calls that led there,
    innermost first, each like `Attention(d=768, heads=12)` or `Block(d=768) at 27:51`."""

    code: str
    severity: str
    message: str
    span: Span
    notes: tuple[str, ...] = ()
    help: str = ""
    chain: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The object that `--format json` prints (interface: Diagnostics)."""
        at = self.span
        notes = list(self.notes)
        if self.chain:
            notes.append(chain_text(self.chain))
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "file": at.file,
            "line": at.line,
            "column": at.column,
            "end_line": at.end_line or at.line,
            "end_column": at.end_column or at.column,
            "notes": notes,
            "help": self.help,
            "fixes": [
                {
                    "line": fix.span.line,
                    "column": fix.span.column,
                    "end_line": fix.span.end_line,
                    "end_column": fix.span.end_column,
                    "text": fix.text,
                }
                for fix in self.fixes
            ],
        }


KEPT = 100


def limited(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """The diagnostics in their order; of more than a hundred the first hundred, errors before warnings, and one (E0010) that says how
    many more there are, at the place of the first of them."""
    found = tuple(diagnostics)
    if len(found) <= KEPT + 1:
        return found
    from dlc.diagnostics.catalogue import MANY_MORE

    first = sorted(range(len(found)), key=lambda i: (found[i].severity != "error", i))
    kept, left = sorted(first[:KEPT]), first[KEPT:]
    more = MANY_MORE.at(found[left[0]].span, count=f"{len(left):,}", help="mend these first")
    return (*(found[i] for i in kept), replace(more, severity=found[left[0]].severity))


class SpecError(Exception):
    """A spec, its data or a check on it is wrong. Carries its diagnostics (`limited`), and the texts they point into."""

    def __init__(self, diagnostics: Iterable[Diagnostic], sources: Mapping[str, str] | None = None) -> None:
        self.diagnostics = limited(diagnostics)
        self.sources = dict(sources or {})
        super().__init__(render_all(self.diagnostics, self.sources))


CHAIN_SHOWN = 6
SHOWN = 160  # characters of a source line


def chain_text(chain: tuple[str, ...]) -> str:
    """`in Attention(d=768), from Block(d=768) at 27:51, …`; of a long chain its beginning and its end."""
    if len(chain) > CHAIN_SHOWN + 1:
        left_out = len(chain) - CHAIN_SHOWN
        chain = (*chain[: CHAIN_SHOWN - 1], f"{left_out} more calls", chain[-1])
    return "in " + ", from ".join(chain)


def render(diagnostic: Diagnostic, sources: Mapping[str, str]) -> str:
    """The diagnostic as text for people: header, place, source line with the span underlined, notes, help."""
    at = diagnostic.span
    lines = [f"{diagnostic.severity}[{diagnostic.code}]: {diagnostic.message}"]
    gutter = " " * max(3, len(str(at.line)) + 1)
    if at.line:
        lines.append(f"{gutter}--> {at.file}:{at.line}:{at.column}")
        lines += _excerpt(at, sources.get(at.file, ""), gutter)
    lines += [f"{gutter} |   {note}" for note in diagnostic.notes]
    if diagnostic.chain:
        lines.append(f"{gutter} = {chain_text(diagnostic.chain)}")
    help = diagnostic.help or (f"write `{diagnostic.fixes[0].text}`" if diagnostic.fixes else "")
    if help:
        lines.append(f"{gutter} = help: {help}")
    return "\n".join(lines)


def _excerpt(at: Span, text: str, gutter: str) -> list[str]:
    source = text.split("\n")
    if not text or at.line > len(source):
        return []
    line = source[at.line - 1].replace("\t", " ").rstrip("\r")
    end = at.end_column if at.end_line in (0, at.line) else len(line) + 1
    width = max(1, min(end, len(line) + 1) - at.column)
    line, column = _window(line, at.column - 1)
    width = min(width, max(1, len(line) - column))
    number = str(at.line).rjust(len(gutter) - 1)
    return [f"{gutter} |", f"{number}  | {line}", f"{gutter} | {' ' * column}{'^' * width}"]


def _window(line: str, column: int) -> tuple[str, int]:
    """The part of a long line around a column, and where the column is in it."""
    start = column - SHOWN // 2 if len(line) > SHOWN and column > SHOWN * 3 // 4 else 0
    shown = line[start : start + SHOWN]
    left, right = "…" if start else "", "…" if start + SHOWN < len(line) else ""
    return f"{left}{shown}{right}", column - start + len(left)


def render_all(diagnostics: Iterable[Diagnostic], sources: Mapping[str, str]) -> str:
    return "\n\n".join(render(each, sources) for each in diagnostics)


def suggestion(name: str, known: Iterable[str]) -> str:
    """The known name that `name` is most likely a slip of, or the empty string."""
    folded = {_folded(each): each for each in sorted(set(known), reverse=True)}
    import difflib  # of use where something is wrong only

    close = difflib.get_close_matches(_folded(name), folded, n=1, cutoff=0.65)
    return folded[close[0]] if close else ""


def _folded(name: str) -> str:
    """A name without what is most easily mistaken: the case of letters, and underscores between them."""
    return name.lower().replace("_", "") or name


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Help text with a near miss of `name`, or the empty string."""
    found = suggestion(name, known)
    return f"did you mean `{found}`?" if found else ""
