"""What names mean at one place of a body."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from dlc.diagnostics import Span
from dlc.records import dataclass
from dlc.syntax import ast
from dlc.types.dims import Dim

Size = Dim | tuple[Dim, ...]


@dataclass(slots=True)
class LoopContext:
    """A loop that is being unrolled: the names it binds, the index of the turn, its label."""

    names: frozenset[str]
    index: int
    label: ast.Label | None
    unnamed: Any = None  # the unnamed instance of this turn
    place: Any = None  # the loop and its turn, for operations that stand in it


_NOTHING: Mapping[Any, Any] = {}


class Scope:
    """Names and their values, sizes by name, and the loops around. It never changes: binding a name gives a new scope, which sees
    all that the one before it does. So whoever keeps a scope knows later what held there: a loop before its turns, a
    comprehension, a branch that is not taken.

    `static` are the header's static parameters, as they were given; `turning` names that hold a loop's variable, also behind the
    loop; `places` where names were bound, in files of the user; `sizes_of` the sizes that the type of a binding named, by the
    binding; `origins` what names of static values stand for, as terms (where they are traced); `hidden` names of the body around an initial value, which has none of its tensors;
    `written` the types of tensors as the text has them, by the name that holds the tensor."""

    __slots__ = (
        "dims",
        "hidden",
        "loops",
        "names",
        "origins",
        "places",
        "sizes_of",
        "static",
        "turning",
        "written",
    )

    def __init__(
        self,
        names: Mapping[str, Any] = _NOTHING,
        dims: Mapping[str, Size] = _NOTHING,
        static: Mapping[str, Any] = _NOTHING,
        turning: frozenset[str] = frozenset(),
        loops: tuple[LoopContext, ...] = (),
        places: Mapping[str, Span] = _NOTHING,
        sizes_of: Mapping[Span, frozenset[str]] = _NOTHING,
        hidden: frozenset[str] = frozenset(),
        origins: Mapping[str, Any] = _NOTHING,
        written: Mapping[str, ast.TypeExpr] = _NOTHING,
    ) -> None:
        self.names: Final = names
        self.dims: Final = dims
        self.static: Final = static
        self.turning: Final = turning
        self.loops: Final = loops
        self.places: Final = places
        self.sizes_of: Final = sizes_of
        self.hidden: Final = hidden
        self.origins: Final = origins
        self.written: Final = written

    def changed(
        self,
        names: Mapping[str, Any] | None = None,
        dims: Mapping[str, Size] | None = None,
        turning: frozenset[str] | None = None,
        loops: tuple[LoopContext, ...] | None = None,
        places: Mapping[str, Span] | None = None,
        sizes_of: Mapping[Span, frozenset[str]] | None = None,
        origins: Mapping[str, Any] | None = None,
        written: Mapping[str, ast.TypeExpr] | None = None,
    ) -> Scope:
        """A scope that differs in what is given."""
        return Scope(
            self.names if names is None else names,
            self.dims if dims is None else dims,
            self.static,
            self.turning if turning is None else turning,
            self.loops if loops is None else loops,
            self.places if places is None else places,
            self.sizes_of if sizes_of is None else sizes_of,
            self.hidden,
            self.origins if origins is None else origins,
            self.written if written is None else written,
        )

    def bind(self, name: str, value: Any, place: Span | None = None, *, turns: bool = False) -> Scope:
        """Bind a name; `turns` where a loop or a comprehension changes it from turn to turn."""
        turning = self.turning
        if turns != (name in turning):
            turning = turning | {name} if turns else turning - {name}
        places = self.places if place is None else {**self.places, name: place}
        return Scope(
            {**self.names, name: value},
            self.dims,
            self.static,
            turning,
            self.loops,
            places,
            self.sizes_of,
            self.hidden,
            self.origins,
            self.written if name not in self.written else _without(self.written, name),
        )

    def bind_all(
        self,
        values: Mapping[str, Any],
        places: Mapping[str, Span] | None = None,
        written: Mapping[str, ast.TypeExpr] | None = None,
    ) -> Scope:
        return self.changed(
            names={**self.names, **values},
            places={**self.places, **places} if places else self.places,
            written={**self.written, **written} if written else self.written,
        )

    def without(self, *names: str) -> Scope:
        kept = {name: value for name, value in self.names.items() if name not in names}
        return self.changed(names=kept)

    def without_static(self, *names: str) -> Scope:
        """The scope of a body that does not have these static parameters."""

        def kept(held: Mapping[str, Any]) -> Mapping[str, Any]:
            return {name: value for name, value in held.items() if name not in names}

        return Scope(
            kept(self.names),
            self.dims,
            kept(self.static),
            self.turning,
            self.loops,
            kept(self.places),
            self.sizes_of,
            self.hidden,
            kept(self.origins),
            kept(self.written),
        )

    def with_sizes(self, sizes: Mapping[str, Size]) -> Scope:
        return self.changed(dims={**self.dims, **sizes})

    def with_sizes_of(self, binding: Span, sizes: Mapping[str, Size]) -> Scope:
        """Sizes that a binding's type named; those of the same binding in an earlier turn of a loop are gone, since each turn has
        sizes of its own."""
        scope = self.without_sizes_of(binding)
        named = self.sizes_of.get(binding, frozenset()) | sizes.keys()
        return scope.changed(
            dims={**scope.dims, **sizes}, sizes_of={**self.sizes_of, binding: frozenset(named)}
        )

    def without_sizes_of(self, binding: Span) -> Scope:
        gone = self.sizes_of.get(binding, frozenset())
        if not gone:
            return self
        return self.changed(dims={name: size for name, size in self.dims.items() if name not in gone})

    def renamed(self, change: Callable[[Any], Any]) -> Scope:
        """The scope with every value changed."""
        return self.changed(names={name: change(value) for name, value in self.names.items()})

    def with_origins(self, origins: Mapping[str, Any]) -> Scope:
        """With what further names stand for; None for one of which nothing is known."""
        return self.changed(origins={**self.origins, **origins})

    def with_written(self, name: str, type: ast.TypeExpr) -> Scope:
        return self.changed(written={**self.written, name: type})

    def inside(self, loop: LoopContext) -> Scope:
        return self.changed(loops=(*self.loops, loop))

    def outside(self) -> Scope:
        """Behind the innermost loop: its names stay."""
        return self.changed(loops=self.loops[:-1])


def _without(held: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return {each: value for each, value in held.items() if each != name}
