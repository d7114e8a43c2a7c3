"""A model's programs for source that is to be read and used at other settings than its own.

They remember where their numbers come from, and there are several: in training and not, with and without each optional input,
and the same at other settings. A backend makes one source of the first ones; at the others it must come out the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import combinations, islice
from typing import TYPE_CHECKING, Any

from dlc.diagnostics import Span, SpecError
from dlc.elaborate.base.trees import static_fields
from dlc.elaborate.base.units import Definition, entries, own_statics
from dlc.elaborate.base.values import Builtin, default_parts
from dlc.elaborate.bodies.stages import NAMED, UNNAMED
from dlc.elaborate.programs.elaborator import VOCABULARY
from dlc.emit.requirements import Requirements
from dlc.emit.spans import goes_over_a_list
from dlc.ir.loops import LOOP
from dlc.ir.nodes import Op, Program, Turn, walk
from dlc.ir.splice import statics_of
from dlc.records import replace as replace_record
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.relations import OPPOSITE
from dlc.types.terms import as_dim, evaluate, names, negated
from dlc.types.traced import Term

if TYPE_CHECKING:
    from dlc.backend import Which
    from dlc.spec import Model


MANY_TURNS = 24
"""A loop that turns so often has turns of every kind already."""


@dataclass(frozen=True)
class ModelFamily:
    """`lower` makes a program what the backend emits."""

    model: Model
    lower: Callable[[Program], Program]
    mode: bool | None = None
    """Only in training (True) or only not: of programs that passes have fitted to one of them."""
    whole: bool = False
    """With the programs of the model's other entries behind its own, for a backend that makes one class of them."""
    staged: int = 0
    """How it has modules for the stages of its loops, if it has (`elaborate/bodies/stages.py`)."""
    lowered: dict[int, tuple[Program, Program]] = field(default_factory=dict, compare=False, repr=False)
    """Programs that were asked for, before and after, at all settings: several are asked for more than once."""
    told: dict[int, tuple[Program, Program]] = field(default_factory=dict, compare=False, repr=False)
    """The same with the calls of parts that are applied in training only."""

    def program(self, training: bool) -> Program:
        """The model's program in one mode, with the inputs that it has. Raises SpecError."""
        return self._lowered(self._traced(self.model, training, self.model.optional, frozenset()))

    def programs(self, fixed: frozenset[str] = frozenset()) -> tuple[Program, ...]:
        """The model's programs, those of its own way in first, and those with a switch turned. `fixed` static parameters are plain
        numbers in them. Raises SpecError."""
        entries = (self.model, *(self.model.others if self.whole else ()))
        return tuple(self._lowered(each) for entry in entries for each in self._switches(entry, fixed))

    def _switches(self, model: Model, fixed: frozenset[str]) -> list[Program]:
        """A model as it is, and with what its parameters turn on or off turned."""
        own = replace(self, model=model)
        switched = list(own._switched(fixed))
        models = [model, *(each.model for each in (*switched, *own._told_apart(fixed)))]
        if len(switched) == 2:  # (more than that have too many combinations)
            models += (each.model for each in switched[0]._switched(fixed) if each.model not in models)
        found = [each for one in models for each in self._forms(one, fixed, (self.mode or False,))]
        if self.mode is None and any(map(_minds_mode, found)):
            found = [each for one in models for each in self._forms(one, fixed, (False, True))]
        return found

    def _forms(self, model: Model, fixed: frozenset[str], modes: tuple[bool, ...]) -> Iterator[Program]:
        """A model with and without its optional inputs."""
        for inputs in self._inputs(model, fixed):
            yield from (self._traced(model, mode, inputs, fixed) for mode in modes)

    def _inputs(self, model: Model, fixed: frozenset[str]) -> list[tuple[str, ...]]:
        """The sets of optional inputs that tell what each of them changes: those that the model has, none, each alone, all; of
        those that the spec takes only together, pairs. So whoever calls what is emitted may leave out those that it was emitted
        with."""
        optional, mode = model.optional_inputs, self.mode or False
        sets = [model.optional]

        def taken(*names: str) -> bool:
            if {*names} in map(set, sets):
                return True
            try:
                self._traced(model, mode, names, fixed)
            except SpecError:
                return False
            sets.append(names)
            return True

        taken()
        joint = [name for name in optional if not taken(name)]
        for pair in combinations(joint, 2):
            taken(*pair)
        if len(optional) > 1:
            taken(*optional)
        return sets

    def _switched(self, fixed: frozenset[str]) -> Iterator[ModelFamily]:
        """The model with one thing more or less that a parameter turns on or off, as far as the spec accepts it."""
        free = {name: value for name, value in self._settings.items() if name not in fixed}
        for name, value in free.items():
            turned_off = [None] if value is not None and name in self._left_out else []
            if isinstance(value, bool) or value is None or turned_off:
                found = (
                    self._at({name: each}, fixed)
                    for each in turned_off or _turned(value, False, name in self._floats)
                )
                turned = next((each for each in found if each is not None), None)
                if turned is not None:
                    yield turned

    def _told_apart(self, fixed: frozenset[str]) -> Iterator[ModelFamily]:
        """The model with two numbers unlike that are equal here, or equal that are not, where something was decided on that: on whether
        `kv_heads` are as many as `heads`. What was decided on elements of a list is tried on one of them."""
        program = self._lowered(self._traced(self.model, self.mode or False, self.model.optional, fixed))
        asked = [each for each in Requirements(program).of(program.entry) if each.op in OPPOSITE]
        tried = {_kind(negated(each)) for each in asked}  # some elements are alike and some are not
        for each in asked:
            kind = _kind(each)
            if (
                each.op not in ("==", "!=")
                or not any(map(_named, each.args))
                or ("[]" in kind and kind in tried)
            ):
                continue
            changed = (self._at(other, fixed) for other in self._otherwise(each, fixed))
            found = list(islice((other for other in changed if other is not None), 1))
            tried |= {kind} if found else set()
            yield from found

    def _otherwise(self, asked: Term, fixed: frozenset[str]) -> Iterator[dict[str, Any]]:
        """Settings at which a condition does not hold: with one number changed, which may be one of a list."""
        read = sorted(name for name in names(asked) if name in self._settings and name not in fixed)
        if not all(_is_size(self._settings[name]) for name in read):
            return
        sides = [evaluate(each, self._settings) for each in asked.args] if read else []
        places = [(each, place) for each in read for place in _places(each, asked)]
        for name, place in places:
            held = self._settings[name]
            value = _at(held, place)
            if not _is_number(value):
                continue
            for other in (*filter(_is_number, sides), *_sizes(value)):
                changed = _placed(held, {place: other}) if place else other
                if not evaluate(asked, {**self._settings, name: changed}):
                    yield {name: changed}

    def _traced(
        self, model: Model, training: bool, inputs: tuple[str, ...], fixed: frozenset[str]
    ) -> Program:
        found = model.traced_program(training, inputs, fixed, staged=self.staged)
        if self.mode is None or training:
            return found
        key = id(found)
        if key not in self.told:
            other = partial(model.traced_program, True, inputs, fixed, staged=self.staged)
            self.told[key] = found, _with_idle_told(found, other)
        return self.told[key][1]

    def _lowered(self, program: Program) -> Program:
        if id(program) not in self.lowered:
            self.lowered[id(program)] = (program, self.lower(program))
        return self.lowered[id(program)][1]

    @cached_property
    def stages(self) -> ModelFamily | None:
        """The same with modules for the stages of its loops; None where it has none, or they would not be the same network;
        and where passes have fitted the network to one mode."""
        if self.staged or not any(map(_is_nested, self._ops)):
            return None
        own = self._traced(self.model, False, self.model.optional, frozenset())
        for staged in (NAMED, UNNAMED):
            found = replace(self, staged=staged, lowered={})
            try:
                other = found._traced(self.model, False, self.model.optional, frozenset())
            except SpecError:
                return None
            places = _stages(own, other)
            if not places or _parts(own) != _parts(other):
                return None
            if len(set(places)) == len(places):  # one module for all turns
                return found
        return None

    @property
    def brief(self) -> ModelFamily:
        """The same in one mode, where that applies all parts: of one that is not, nothing tells where its numbers come from."""
        return self if self.mode is None and self._has_idle else replace(self, mode=self.mode or False)

    def others(self, fixed: frozenset[str], which: Which) -> Iterator[tuple[tuple[str, ...], ModelFamily]]:
        """The model at other settings that the spec accepts, with the names of those that were changed; none of those that are
        `fixed`. Numbers and lists are changed all "together" (each alone where the spec accepts no more) or "each" alone, or of these
        those that are "deciding": how often a loop turns, and what is in its turns;
        "switches" are bools, what is left out, and counts of repetitions, by one; and numbers at which turns of a loop
        may do otherwise, where all of them do the same. "lengths" are lists with an element more or less, where loops go over lists: each alone, then all
        together, since `zip` ends with the shortest."""
        free = {name: value for name, value in self._settings.items() if name not in fixed}
        sizes = {name: value for name, value in free.items() if _is_size(value)}
        tried: list[tuple[str, Iterator[Any]]] = []
        walked: list[str] = []
        if which == "lengths":
            walked += (name for name in self.walked if name in free)
            yield from self._longer(walked, free, fixed)
        elif which == "switches":
            tried += ((name, _turned(value, name in self._counts)) for name, value in free.items())
            tried += ((name, _called(value)) for name, value in free.items())
            tried += (
                (name, iter((each,))) for name, value in free.items() for each in self._turning(name, value)
            )
        else:
            if which == "together" and sizes:
                together = self._at({name: _more(value) for name, value in sizes.items()}, fixed)
                if together is not None:
                    yield tuple(sizes), together
                    return
            chosen = [name for name in sizes if name in self._deciding] if which == "deciding" else sizes
            tried += ((name, values) for name in chosen for values in self._changes(name, fixed))
        for name, values in tried:
            made = (self._at({name: value}, fixed) for value in values)
            found = next((each for each in made if each is not None), None)
            if found is not None:
                yield (name,), found

    def _longer(
        self, walked: Sequence[str], free: Mapping[str, Any], fixed: frozenset[str]
    ) -> Iterator[tuple[tuple[str, ...], ModelFamily]]:
        """Lists with an element more, each alone, or else with the others: a list of depths may want as many widths. With one less where
        the spec accepts no more. Then all together."""
        ways = [
            dict(zip(walked, way, strict=True))
            for way in zip(*(_lengths(free[name]) for name in walked), strict=False)
        ]
        for name in walked:
            alone = [{name: value} for value in _lengths(free[name])]
            tried = (*alone[:2], *(ways[:2] if len(walked) > 1 else ()), *alone[2:])
            made = filter(None, (self._at(each, fixed) for each in tried))
            yield from (((name,), each) for each in islice(made, 1))
        if len(walked) > 1:
            joint = filter(None, (self._at(way, fixed) for way in ways))
            yield from ((tuple(walked), each) for each in islice(joint, 1))

    def _changes(self, name: str, fixed: frozenset[str]) -> list[Iterator[Any]]:
        """Other values of a number or list. In a list that the spec doesn't accept with all its numbers changed, those that stand at
        one place of its rows are changed by themselves: they may be the sizes of kernels, which are odd, and at another counts."""
        value = self._settings[name]
        if name in self._taken_apart and isinstance(value, int):
            return [iter((2 * value, 3 * value)), iter((value + 1, value - 1))]
        if not isinstance(value, list | tuple) or self._at({name: _more(value)}, fixed) is not None:
            return [_sizes(value)]
        return [_changed_at(value, places) for places in _columns(value)]

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """The static parameters: the model's, and those of its other entries, where they are emitted with it. Entries that have one of
        the same name have it changed together."""
        others = self.model.others if self.whole else ()
        found = {name: value for each in others for name, value in each.settings.items()}
        return {
            **self.model.settings,
            **{name: found[name] for name in found if name not in self.model.settings},
        }

    @cached_property
    def _left_out(self) -> set[str]:
        """The static parameters that are `none` by default."""
        return {str(each.name) for each in self._fields if isinstance(each.default, ast.NoneLit)}

    @cached_property
    def _floats(self) -> set[str]:
        """The static parameters that are floats."""
        types = ((str(each.name), each.type) for each in self._fields)
        return {name for name, type in types if isinstance(type, ast.NamedTypeExpr) and type.name == "float"}

    @cached_property
    def _fields(self) -> list[ast.Field]:
        """All static parameters as the spec declares them."""
        definition = self.model.point.definition
        own = (each for way in entries(definition) for each in own_statics(definition, way))
        return [*static_fields(definition.node), *own]

    @cached_property
    def _of_others(self) -> frozenset[str]:
        """The static parameters that stand in the own list of another entry."""
        definition, own = self.model.point.definition, self.model.point.entry
        ways = (way for way in entries(definition) if way != own) if self.whole else ()
        return frozenset(str(each.name) for way in ways for each in own_statics(definition, way))

    @cached_property
    def _has_idle(self) -> bool:
        """Whether the model has parts that are applied in training only."""
        main = self._traced(self.model, False, self.model.optional, frozenset()).main
        applied = {op.path for op in walk(main.body)}
        return any(child.path not in applied for child in main.children)

    @cached_property
    def _programs(self) -> list[Program]:
        """The programs of all ways in."""
        ways = (self.model, *(self.model.others if self.whole else ()))
        return [self._traced(each, False, each.optional, frozenset()) for each in ways]

    @cached_property
    def _ops(self) -> list[Op]:
        """The operations of all ways in."""
        functions = [function for program in self._programs for function in program.functions.values()]
        return [op for function in functions for op in walk(function.body)]

    def _spoken_of(self, speaks: Callable[[Op], set[str]]) -> set[str]:
        """The static parameters that operations speak of, also where a module that holds them has other names for these."""
        found: set[str] = set()
        for program in self._programs:
            inner: dict[str, set[str]] = {}
            for name in program.reachable():
                own: set[str] = set()
                for op in walk(program.functions[name].body):
                    given = {**statics_of(op), **dict(op.given)} if op.callee and inner[op.callee] else {}
                    own = own.union(
                        speaks(op),
                        *(names(given[each]) for each in inner.get(op.callee or "", ()) & given.keys()),
                    )
                inner[name] = own
            found |= inner[program.entry]
        return found & self._settings.keys()

    @cached_property
    def _counts(self) -> set[str]:
        """The static parameters that say how often something is repeated."""
        return self._taken_apart | self._spoken_of(
            lambda op: names(op.attr("count")) if op.op == LOOP else set()
        )

    @cached_property
    def _taken_apart(self) -> set[str]:
        """Those that say how often loops turn whose turns are not alike. Where twice as many are too many, one more tells as much."""
        return self._spoken_of(
            lambda op: _names(turn.over for turn in op.loops if not goes_over_a_list(turn.over))
        )

    def _turning(self, name: str, value: Any) -> tuple[int, ...]:
        """Numbers at which a loop may have turns of a kind that it has none of: `i % every == 0` holds in none of two turns by threes."""
        if not isinstance(value, int) or isinstance(value, bool):
            return ()
        bounds, counts = self._undecided
        few = tuple(each for each in (2, 1) if each < value) if name in bounds else ()
        many = 6 * value + 1 if value < MANY_TURNS else value + 1  # so many have turns of every kind
        return (*few, many) if name in counts else few

    @cached_property
    def _deciding(self) -> set[str]:
        """The static parameters that say how often loops turn, what is decided in their turns, and what these compute of their number."""

        def speaks(op: Op) -> set[str]:
            asked = (each.condition for turn in op.loops for each in turn.decisions)
            return _names((*asked, *(each for turn in op.loops for each in turn.numbers)))

        return self._counts | self._spoken_of(speaks)

    @cached_property
    def walked(self) -> tuple[str, ...]:
        """The lists, if loops over lists are said as such: those of a module inside may be any of the model's."""
        loops = {turn.over for op in self._ops for turn in op.loops}
        if not any(map(goes_over_a_list, loops)):
            return ()
        return tuple(
            name for name, value in self._settings.items() if isinstance(value, list | tuple) and value
        )

    @cached_property
    def _undecided(self) -> tuple[set[str], set[str]]:
        """The static parameters in what was decided on the variable of a loop, alike in all turns, and in how many turns there are."""
        answers: dict[Any, set[bool]] = {}
        for turn in (turn for op in self._ops for turn in op.loops):
            for each in turn.decisions:
                answers.setdefault((turn.loop, each.condition), set()).add(each.answer)

        def alike(op: Op) -> Iterator[tuple[Turn, Term]]:
            pairs = ((turn, each.condition) for turn in op.loops for each in turn.decisions)
            yield from ((turn, asked) for turn, asked in pairs if len(answers[turn.loop, asked]) == 1)

        bounds = self._spoken_of(lambda op: _names(asked for _, asked in alike(op)))
        return bounds, self._spoken_of(lambda op: _names(turn.over for turn, _ in alike(op)))

    def _at(self, changed: dict[str, Any], fixed: frozenset[str]) -> ModelFamily | None:
        # A float stays one: with a whole number in its place it would be another function than that of calls.
        floats = {name for name, value in changed.items() if type(value) is int and name in self._floats}
        changed = {name: float(value) if name in floats else value for name, value in changed.items()}
        # Every other parameter keeps its value, also one whose default is made of this one.
        static = {name: changed.get(name, each) for name, each in self.model.point.static}
        own = {name: value for name, value in changed.items() if name in self._of_others}
        try:
            point = replace(self.model.point, static=self._with_parts(static))
            model = replace(self.model, point=point, beside={**self.model.beside, **own})
            other = replace(self, model=model)
            if own:
                for each in model.others:
                    self._traced(each, self.mode or False, (), fixed)
            self._traced(other.model, self.mode or False, self.model.optional, fixed)
        except SpecError:
            return None
        return other

    def _with_parts(self, static: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
        """Static values where a part that a default makes (`head: module = linear(classes)`) is made again, of these values. Raises
        SpecError."""
        definition = self.model.point.definition
        parts = default_parts(definition, static)
        if not parts:
            return tuple(static.items())
        given = {name: value for name, value in static.items() if name not in parts}
        return self.model.spec.point(definition, given, self.model.point.entry).static


def _with_idle_told(program: Program, training: Callable[[], Program]) -> Program:
    """A model's program outside of training, in which parts that are applied in training alone know how: what they are made with is told there."""
    main = program.main
    applied = {op.path for op in walk(main.body)}
    idle = {child.path for child in main.children if child.call is None and child.path not in applied}
    calls = {op.path: op for op in walk(training().main.body) if op.callee} if idle else {}
    children = tuple(
        replace_record(each, call=replace_record(calls[each.path], callee=each.function))
        if each.path in idle and each.path in calls
        else each
        for each in main.children
    )
    told = replace_record(main, children=children)
    return program.with_functions({**program.functions, main.name: told}) if idle else program


def _names(values: Iterable[Any]) -> set[str]:
    """The static parameters that any of some values speaks of."""
    return set[str]().union(*map(names, values))


def _is_nested(op: Op) -> bool:
    """Whether an operation stands in a loop within a loop."""
    return len(op.loops) > 1 or (op.op == LOOP and bool(op.loops))


def _stages(own: Program, other: Program) -> list[Span]:
    """Where the modules stand that one program has, and its own form does not."""
    known = {each.source for each in own.functions.values()}
    return [
        span
        for span, _ in {
            (each.span, each.source): None for each in other.functions.values() if each.source not in known
        }
    ]


def _parts(program: Program) -> set[tuple[str, str, str]]:
    """The parameters of a program, by their paths."""
    return {(each.path, str(each.type), each.kind) for each in program.parameters}


def _kind(asked: Term) -> str:
    """A condition, whichever elements of a list it speaks of."""
    return re.sub(r"\[\d+\]", "[]", str(asked))


def _named(side: Term) -> bool:
    """Whether a side of a condition is a number as a static parameter has it, by itself or in a list."""
    size = as_dim(side)
    return size is not None and any(size == Dim.symbol(each) for each in size.symbols)


def _places(name: str, asked: Term) -> Iterator[Place]:
    """Where a condition reads a static parameter: whole, or at a place in its lists."""
    sizes = (each for each in asked.parts() if isinstance(each, Dim))
    for symbol in dict.fromkeys(symbol for size in sizes for symbol in sorted(size.symbols)):
        head, *indices = symbol.replace("]", "").split("[")
        if head == name:
            yield tuple(map(int, indices))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    return _is_number(value) or (isinstance(value, list | tuple) and any(map(_is_size, value)))


def _more(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_more(each) for each in value]
    if not _is_number(value):
        return value
    return (2 * value or 1) if isinstance(value, int) else (0.75 * value or 0.25)


def _sizes(value: Any) -> Iterator[Any]:
    """Other values of a number or list, those first that are likely to be accepted."""
    if isinstance(value, int):
        yield from (2 * value, 3 * value, value // 2, value + 1, value - 1) if value else (1, 2)
    elif isinstance(value, float):
        yield from (1.25 * value, 0.75 * value) if value else (0.25,)
    else:
        yield _more(value)


def _lengths(value: Any) -> Iterator[Any]:
    """A list with an element more, or less."""
    items = list(value)
    for changed in ([*items, _more(items[-1])], [*items, items[-1]], items[:-1]):
        if changed:
            yield type(value)(changed)


Place = tuple[int, ...]  # of a number in nested lists


def _columns(value: Sequence[Any]) -> list[list[Place]]:
    """The places of numbers in a list that mean the same: of a list of rows those of a column, each of a tuple by itself."""
    if isinstance(value, tuple):
        return [[(i,)] for i, each in enumerate(value) if _is_number(each)]
    rows = [each for each in value if isinstance(each, list | tuple)]
    if len(rows) < len(value) or len(set(map(len, rows))) > 1:
        return [[(i,) for i, each in enumerate(value) if _is_number(each)]]
    columns: list[list[Place]] = [
        [(i, k) for i, row in enumerate(rows) if _is_number(row[k])] for k in range(len(rows[0]))
    ]
    return [each for each in columns if each]


def _changed_at(value: Any, places: Sequence[Place]) -> Iterator[Any]:
    """A list with other numbers at some places."""
    for numbers in zip(*(_sizes(_at(value, each)) for each in places), strict=False):
        yield _placed(value, dict(zip(places, numbers, strict=True)))


def _at(value: Any, place: Place) -> Any:
    return _at(value[place[0]], place[1:]) if place else value


def _placed(value: Any, numbers: Mapping[Place, Any], place: Place = ()) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_placed(each, numbers, (*place, i)) for i, each in enumerate(value))
    return numbers.get(place, value)


def _turned(value: Any, counts: bool, is_share: bool = False) -> Iterator[Any]:
    """Other values of what turns something on or off, or counts repetitions."""
    if isinstance(value, bool):
        yield not value
    elif value is None:
        # Of shares, 1 is a case of its own: `dropout(1.0)` leaves nothing.
        yield from (0.5, 1) if is_share else (1, 0.5)
    elif counts and isinstance(value, int):
        yield from (value + 1, value - 1)


def _called(value: Any) -> Iterator[Any]:
    """Another function in the place of one."""
    if isinstance(value, Builtin) or (isinstance(value, Definition) and isinstance(value.node, ast.FnDef)):
        yield from (VOCABULARY.builtins[each] for each in ("tanh", "sigmoid") if each != value.name)


def _minds_mode(program: Program) -> bool:
    """Whether anything in a program depends on its being trained or not."""
    functions = program.functions.values()
    decided = (each.condition for function in functions for each in function.decisions)
    given = (term for function in functions for op in walk(function.body) for _, term in op.given)
    return any(term is not None and term.holds("training") for term in (*decided, *given))
