"""What elaboration found out about places in the text: what each name stands for, where it is defined, where it is used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dlc.diagnostics import NO_SPAN, Span
from dlc.elaborate.base.units import Definition, Unit
from dlc.elaborate.base.values import Tensor, show, type_name
from dlc.records import dataclass
from dlc.syntax import ast
from dlc.types.dims import Dim


@dataclass(frozen=True, slots=True)
class Known:
    """A name at a place: what it stands for there, where it is defined, and where else it is spoken of."""

    name: str
    value: Any
    """Of the first elaboration that got there: of a loop's variable that of the first turn, of a module's parameter that of the
    first instance."""
    definition: Span
    uses: tuple[Span, ...]
    """Where this definition is read, in the order of the text."""
    everywhere: tuple[Span, ...]
    """Every place where the same variable stands, also where it is bound again: what a renaming changes."""

    @property
    def type(self) -> str:
        """The type as a reader would write it: `[B, 64]` of a tensor, `an int` of a number."""
        return str(self.value.type) if isinstance(self.value, Tensor) else type_name(self.value)

    @property
    def text(self) -> str:
        """The value as the language writes it; of a tensor its type."""
        return show(self.value)


class Knowledge:
    """Filled while files are elaborated, at no more than an entry in a dictionary a name; read by `at`. The library's own bodies
    are left out."""

    def __init__(self) -> None:
        self._bindings: dict[Span, tuple[str, Any, Span]] = {}
        self._uses: dict[Span, Span] = {}

    def bound(self, place: Span, name: str, value: Any, owner: Span) -> None:
        """Note that a name is bound at a place, in the body or file at `owner`."""
        if place not in self._bindings:
            self._bindings[place] = (name, value, owner)

    def valued(self, place: Span, value: Any) -> None:
        """Note what was found out later of a binding: a `let` is computed when it is first read."""
        if place in self._bindings:
            name, _, owner = self._bindings[place]
            self._bindings[place] = (name, value, owner)

    def used(self, place: Span, definition: Span) -> None:
        """Note that what was bound at `definition` is read at a place."""
        self._uses.setdefault(place, definition)

    def at(self, file: str, line: int, column: int) -> Known | None:
        """What is known of the name at a place of a file, counted from 1; None where no name of the user's stands.

        Of files that were checked (`check_unit`) or built: what nothing instantiates is not known."""
        place = next(
            (each for each in (*self._uses, *self._bindings) if _holds(each, file, line, column)), None
        )
        definition = self._uses.get(place, place) if place is not None else None
        if definition is None or definition not in self._bindings:
            return None
        name, value, owner = self._bindings[definition]
        same = {at for at, (other, _, where) in self._bindings.items() if other == name and where == owner}
        uses = sorted(at for at, of in self._uses.items() if of == definition)
        everywhere = sorted({*same, *(at for at, of in self._uses.items() if of in same)})
        return Known(name, value, definition, tuple(uses), tuple(everywhere))


def _holds(span: Span, file: str, line: int, column: int) -> bool:
    return span.file == file and span.line == line and span.column <= column < span.end_column


def note_definitions(knowledge: Knowledge, unit: Unit) -> None:
    """Note what a file defines, whether or not anything uses it."""
    for name, item in unit.names.items():
        if name not in unit.owners and not isinstance(item, Unit):
            knowledge.bound(item_place(item, name), name, item, NO_SPAN)


def item_place(item: Any, name: str) -> Span:
    """Where the name of an item of a file stands; of a file, its beginning."""
    match item:
        case Definition(node=node):
            return item_place(node, name)
        case ast.GroupDef(span=span):
            return span.inside(len("type "), len("type ") + len(name))
        case ast.Let(span=span):
            return span.inside(len("let "), len("let ") + len(name))
        case Unit(path=path):
            return Span(path, 1, 1, 1, 1)
    place: Span = getattr(item, "name_span", NO_SPAN)
    return place


def note_axes(knowledge: Knowledge, types: Iterable[Any], places: dict[str, Span], owner: Span) -> None:
    """Note the names in the axes of types: one that nothing bound before is a size that begins there. `places` grows by these."""
    stack: list[Any] = [*types][::-1]
    while stack:
        each = stack.pop()
        match each:
            case ast.TensorTypeExpr(axes=axes) | ast.GroupTypeExpr(axes=axes):
                stack += axes[::-1]
            case ast.Name(id=name, span=span):
                if name in places:
                    knowledge.used(span, places[name])
                else:
                    places[name] = span
                    knowledge.bound(span, name, Dim.symbol(name), owner)
            case ast.Star(name=name, span=span):
                star = span.inside(1, 1 + len(name))
                if name in places:
                    knowledge.used(star, places[name])
                else:
                    places[name] = star
                    knowledge.bound(star, name, Dim.symbol(name), owner)
            case ast.Expr():
                stack += [*ast.children(each)][::-1]


def note_reads(knowledge: Knowledge, trees: Iterable[Any], places: Mapping[str, Span]) -> None:
    """Note the names that expressions read, evaluated or not: a default that every call replaces."""
    stack: list[Any] = [*trees]
    while stack:
        each = stack.pop()
        if isinstance(each, ast.Name) and each.id in places:
            knowledge.used(each.span, places[each.id])
        stack += ast.children(each)
