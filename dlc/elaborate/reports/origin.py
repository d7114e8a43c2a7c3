"""Errors inside the standard library, told at the call in the user's file that led there.

A body of the library is elaborated in its own names: what its message says of sizes is put in the caller's terms, and an
error at one of its parameters points at the argument that the user wrote for it.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping

from dlc.diagnostics import Diagnostic, Span
from dlc.diagnostics.meaning import STATIC_TYPE
from dlc.elaborate.base.project import library_text
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim

LIBRARY = "dlc:std/"
_QUOTED = re.compile(r"`(\w+)`")
_MADE_AT = re.compile(r" +\(made at .*\)$")


@dataclass(frozen=True, slots=True)
class Origin:
    """The call through which the library was entered: what was called, where, and the chain that led there.

    `args` are the places of the arguments that the user wrote, by the current function's parameters; `dims` the sizes
    that its dims have for the user."""

    name: str
    span: Span
    chain: tuple[str, ...]
    args: Mapping[str, Span] = field(default_factory=dict)
    dims: Mapping[str, Dim] = field(default_factory=dict)

    def place(self, span: Span) -> Span:
        """Where in the user's text a place of the library comes from: the argument that it names, else the call."""
        if not span.file.startswith(LIBRARY):
            return span
        return self.args.get(_text_at(span), self.span)

    def tell(self, diagnostic: Diagnostic, callables: Container[str]) -> Diagnostic:
        """The diagnostic as the user sees it, with the place in the library as a note. `callables` are the language's own names of
        what can be called."""
        at, place = diagnostic.span, self.place(diagnostic.span)
        notes = [self._translated(_MADE_AT.sub("", note)) for note in diagnostic.notes]
        inside = f", at {at.file}:{at.line}" if at.file.startswith(LIBRARY) else ""
        head, _, found = diagnostic.message.partition(", not ")
        if (
            diagnostic.code == STATIC_TYPE.code and found
        ):  # what is asked of a parameter names that, not the size that it was given
            message = f"{head}, not {self._translated(found)}"
        else:
            message = self._translated(diagnostic.message)
        return replace(
            diagnostic,
            span=place,
            message=message if place == self.span else self._renamed(message, callables),
            help=self._translated(diagnostic.help),
            notes=(*notes, f"inside `{self.name}`{inside}"),
            chain=self.chain,
            fixes=(),
        )

    def _renamed(self, message: str, callables: Container[str]) -> str:
        """A message about an argument that the user wrote speaks of what the user called."""
        for name in _QUOTED.findall(message):
            if name in callables:
                return message.replace(f"`{name}`", f"`{self.name}`", 1)
        return message

    def _translated(self, text: str) -> str:
        """The text with the library's dims replaced by the user's sizes."""
        renamed = {name: size for name, size in self.dims.items() if str(size) != name}
        if not renamed or not text:
            return text
        pattern = re.compile(r"\b(" + "|".join(map(re.escape, renamed)) + r")\b")
        return pattern.sub(lambda match: _fitted(match, str(renamed[match.group(1)])), text)


def _fitted(match: re.Match[str], size: str) -> str:
    """A size in the place of a name: in parentheses where an operator stands beside it."""
    before = match.string[: match.start()].rstrip()[-1:]
    after = match.string[match.end() :].lstrip()[:1]
    beside = (before in "+-*/%" and before) or (after in "+-*/%" and after)
    return f"({size})" if beside and not size.replace("_", "").isalnum() else size


def _text_at(span: Span) -> str:
    lines = library_text(span.file.removeprefix(LIBRARY)).split("\n")
    if span.end_line not in (0, span.line) or span.line > len(lines):
        return ""
    return lines[span.line - 1][span.column - 1 : span.end_column - 1].strip()


def enter(outer: Origin | None, inner: Origin) -> Origin:
    """The origin of errors in a function of the library that is called from where `outer` holds: the first call counts, and what
    the function's names mean is put in that call's terms."""
    if outer is None:
        return inner
    places = {key: outer.place(each) for key, each in inner.args.items()}
    given = {key: place for key, place in places.items() if place != outer.span}
    sizes = {key: size.substitute(outer.dims) for key, size in inner.dims.items()}
    return Origin(outer.name, outer.span, outer.chain, given, sizes)
