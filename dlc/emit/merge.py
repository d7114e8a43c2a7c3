"""Instantiations of one module as one function again, as the spec has it.

A module elaborated at several settings is a function for each. They differ where the elaborator took a decision on static
values (`if`, a default, an optional input), which it noted down. Here they are laid side by side and become one function,
with a `choice` on that decision wherever they part:

    Bottleneck(64, 64, 1):  y = …; s = downsample(x); relu(s + y)
    Bottleneck(256, 64, 1): y = …;                    relu(x + y)
    ->                      y = …; choice stride != 1 or inputs != 4*width {s = downsample(x)}; relu(… + y)

Operations are the same if they stand at one place in the spec and do the same with what corresponds; a number counts as the
expression over static parameters that it came from. Where no noted decision tells two instantiations apart, they stay two.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from dlc.emit.alike import LEFT_OUT, function_key, is_left_out, origin_key, said_axes
from dlc.emit.names import unique
from dlc.emit.pairs import Apart, Pair, with_common_sizes
from dlc.emit.short import all_lengthened
from dlc.emit.told import written_out
from dlc.ir.loops import LOOP
from dlc.ir.nodes import Decision, Function, Op, Program, Value, walk
from dlc.ir.splice import Names, callees, references, referring, within
from dlc.once import Form, once, together
from dlc.records import dataclass, field, replace
from dlc.types.tensor import TensorType
from dlc.types.terms import evaluate, names, origin_free
from dlc.types.traced import Term

NONE = Term("const", (None,))


@dataclass
class Merged:
    """The common functions, the name that each function of each program has now, and those of the ways in: the first program's
    own, and of each other entry."""

    functions: dict[str, Function]
    names: dict[tuple[int, str], str]
    entries: tuple[str, ...]


Whole = Callable[[Function, Mapping[str, Function]], Function]
"""Makes a function's loops whole, which knows those that it refers to."""


def as_it_is(function: Function, functions: Mapping[str, Function]) -> Function:
    return function


def merge(
    programs: Sequence[Program],
    native: Container[str] = (),
    whole: Whole = as_it_is,
    written: Container[str] = (),
    *,
    begun: bool = False,
) -> Merged:
    """The programs are one model at some settings: in training and not, with and without its optional inputs, with switches turned.
    Functions of the library that are `native` a backend says itself; those that are `written` it has from their definitions. `whole`
    makes each function's loops whole. Where layers are `begun` by functions of the source, these are told which parameters there are."""
    merging = _Merging(programs, native, whole, written, begun)
    for group in _levels(programs):
        merging.group(group)
    entries: dict[str, str] = {}
    for k, program in enumerate(programs):
        entries.setdefault(program.main.entry, merging.names[k, program.entry])
    return Merged(merging.functions, merging.names, tuple(entries.values()))


def _levels(programs: Sequence[Program]) -> Iterator[list[tuple[int, Function]]]:
    """The functions of one source together, after all that they refer to. An `fn` that calls itself with other static arguments
    comes as several groups, one for each depth."""
    height = _heights(programs, {})
    for _ in range(len(_highest(programs, height))):  # (functions that call each other have no end)
        # A group stands as high as the highest in it, and what refers to any of it above.
        before, height = height, _heights(programs, _highest(programs, height))
        if before == height:
            break
    tallest: dict[Any, tuple[int, int]] = {}
    groups: dict[Any, list[tuple[int, Function]]] = {}
    for (k, name), (level, depth) in height.items():
        function = programs[k].functions[name]
        key = _kind(function, programs[k]), depth
        tallest[key] = max((level, depth), tallest.get(key, (0, 0)))
        groups.setdefault(key, []).append((k, function))

    def place(key: Any) -> Any:  # the same, whichever program is the first
        span = groups[key][0][1].span
        return tallest[key], span.file, span.line

    yield from (groups[key] for key in sorted(groups, key=place))


def _heights(
    programs: Sequence[Program], levels: Mapping[Any, int]
) -> dict[tuple[int, str], tuple[int, int]]:
    """How high each function stands above those that it refers to, whose groups are at least at these levels, and how deep in
    calls of its own kind."""
    height: dict[tuple[int, str], tuple[int, int]] = {}
    for k, program in enumerate(programs):
        for name, function in program.functions.items():  # callees stand before callers
            kind = _kind(function, program)
            below = [each for each in references(function) if (k, each) in height]
            kinds = {each: _kind(program.functions[each], program) for each in below}
            own = [each for each in below if kinds[each] == kind]
            others = (
                1 + max(height[k, each][0], levels.get(kinds[each], 0)) for each in below if each not in own
            )
            level = max((*others, *(height[k, each][0] for each in own)), default=1)
            height[k, name] = level, max((1 + height[k, each][1] for each in own), default=0)
    return height


def _highest(
    programs: Sequence[Program], height: Mapping[tuple[int, str], tuple[int, int]]
) -> dict[Any, int]:
    found: dict[Any, int] = {}
    for (k, name), (level, _) in height.items():
        kind = _kind(programs[k].functions[name], programs[k])
        found[kind] = max(level, found.get(kind, 0))
    return found


def _kind(function: Function, program: Program) -> Any:
    # (What is in another mode than its program, such as a teacher that is not trained, is so whatever the mode of the whole.)
    apart = function.modal and not function.library and function.training != program.main.training
    return function.source, function.kind == "init", function.entry, function.library, apart


# --- what tells instantiations apart ------------------------------------------------------------------------------


@once
def guards(function: Function) -> Mapping[Term, bool]:
    """What is decided in a function, most telling first: noted decisions, optional inputs, training, static parameters."""
    found = {each.condition: each.answer for each in function.decisions}
    present = {value.name.partition(".")[0] for value in function.inputs}
    for name in function.optional:
        found[Term("!=", (Term("input", (name,)), NONE))] = name in present
    found[Term("training")] = function.training
    settings = {each.name for each in function.settings}
    for name, value in function.static:
        if name in settings:
            found.update(_of_setting(name, value))
    return found


def _of_setting(name: str, value: Any) -> dict[Term, bool]:
    parameter = Term("param", (name,))
    if isinstance(value, bool):
        return {parameter: value}
    if isinstance(value, str):
        return {Term("==", (parameter, Term("const", (value,)))): True}
    return {Term("!=", (parameter, NONE)): value is not None}


# --- one group ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """A function of one of the programs: `guards` are the conditions that are known to hold or not where it stands."""

    function: Function
    guards: Mapping[Term, bool]


Kind = tuple[Member, ...]
"""Functions that are the same. The one in which least is left out stands first, for all."""


@once
def _kind_of(*functions: Function) -> Kind:
    """Functions that are the same as one: what was decided in each another way makes no difference."""
    common = frozenset.intersection(*(frozenset(each.decisions) for each in functions))
    members = (Member(_deciding(each, common), guards(each)) for each in functions)
    first, *others = sorted(members, key=_missing)
    whole = with_common_sizes(first.function, [each.function for each in others])
    return (replace(first, function=whole), *others)


def _deciding(function: Function, common: Container[Decision]) -> Function:
    decisions = tuple(each for each in function.decisions if each in common)
    return function if decisions == function.decisions else replace(function, decisions=decisions)


@dataclass
class _Merging:
    programs: Sequence[Program]
    native: Container[str] = ()
    whole: Whole = as_it_is
    written: Container[str] = ()
    begun: bool = False
    functions: dict[str, Function] = field(default_factory=dict)
    names: dict[tuple[int, str], str] = field(default_factory=dict)

    def group(self, found: Sequence[tuple[int, Function]]) -> None:
        """Enter the functions of one source as few as can be."""
        first = found[0][1]
        if first.library and first.source in self.native:
            self._library(found)
            return
        same: dict[Form, dict[int, Function]] = {}
        places: dict[Form, list[tuple[int, str]]] = {}
        whole = all_lengthened([self._here(k, function, self.whole) for k, function in found])
        whole = list(map(written_out, whole))
        for (k, function), here in zip(found, whole, strict=True):
            same.setdefault(function_key(here), {})[id(here)] = here
            places.setdefault(function_key(here), []).append((k, function.name))
        kinds = together(*(_kind_of(*each.values()) for each in same.values()))
        at = {id(kind): place for kind, place in zip(kinds, places.values(), strict=True)}
        for family, function in _families(kinds, *self._written(each for kind in kinds for each in kind)):
            name = unique(function.name, self.functions)
            self.functions[name] = _entered(function, name, *(member for kind in family for member in kind))
            self.names |= dict.fromkeys((place for kind in family for place in at[id(kind)]), name)

    def _written(self, members: Iterable[Member]) -> list[Function]:
        """The functions of the library that are written out, of those that members call."""
        called = dict.fromkeys(name for each in members for name in callees(each.function))
        known = (self.functions[name] for name in called if name in self.functions)
        return [each for each in known if each.library and each.source in self.written]

    def _library(self, found: Sequence[tuple[int, Function]]) -> None:
        """Layers and functions of the library that a backend says itself are the same where their parameters are."""
        known: dict[Any, str] = {}
        own = ((k, function.name) for k, function in found)
        switches = set[str]().union(*(self._switches.get(each, ()) for each in own)) if self.begun else set()
        # The fullest first, which stands for those that lack a parameter where a switch says so.
        for k, function in sorted(found, key=lambda each: -len(each[1].params) if switches else 0):
            here = self._here(k, function, as_it_is)
            key = _held(here)
            full = self._fuller(here, key, known, switches) if key not in known else None
            if full is not None:
                known[key] = full
            elif key not in known:
                known[key] = unique(here.name, self.functions)
                self.functions[known[key]] = _called(here, known[key])
            self.names[k, function.name] = known[key]

    @cached_property
    def _switches(self) -> dict[tuple[int, str], set[str]]:
        """For each function, what of it a static parameter around its calls says, whether it has a parameter or not:
        `linear(d, bias=qkv_bias)`."""
        found: dict[tuple[int, str], set[str]] = {}
        for k, program in enumerate(self.programs):
            for callee, name in (each for caller in program.functions.values() for each in _switched(caller)):
                found.setdefault((k, callee), set()).add(name)
        return found

    def _fuller(
        self, function: Function, key: Form | None, known: Mapping[Any, str], switches: set[str]
    ) -> str | None:
        """The layer that has all of a function's parameters, and more where a switch is on; those begin by it from here on."""
        off = [name for name, value in function.static if name in switches and value is False]
        if key is None or len(off) != 1:
            return None
        rank, params, said_so = key.of
        for (other, more, windows), name in ((each.of, name) for each, name in known.items() if each):
            if (other, windows) == (rank, said_so) and {*params} < {*more}:
                self.functions[name] = _switching(self.functions[name], function, off[0])
                return name
        return None

    def _here(self, k: int, function: Function, whole: Whole) -> Function:
        """The function with the names that what it refers to has now, and its loops whole."""
        now = [self.names.get((k, name), "") for name in references(function)]
        before = (self.programs[k].functions.get(name) for name in references(function))
        merged, below = map(self.functions.get, now), self._below(now)
        return _renamed(function, whole, together(*now), together(*merged), together(*below), *before)

    def _below(self, names: Iterable[str]) -> list[Function]:
        """All functions that these are, or refer to."""
        found: dict[str, Function] = {}
        stack = [name for name in names if name in self.functions]
        while stack:
            name = stack.pop()
            if name not in found:
                found[name] = self.functions[name]
                stack += (each for each in references(found[name]) if each in self.functions)
        return list(found.values())


@once
def _renamed(
    function: Function,
    whole: Whole,
    called: tuple[str, ...],
    merged: tuple[Function | None, ...],
    below: tuple[Function, ...],
    *before: Function | None,
) -> Function:
    """A function with the names that what it refers to has now, and all that these give: an output that is not there at
    this call is one that nothing reads. What it refers to is `merged` now, and was another function `before`; `below` are all that these refer to in turn."""
    names, told = Names.of(function), references(function)
    others = dict(zip(told, zip(merged, before, strict=True), strict=True))
    renaming = {old: new for old, new in zip(told, called, strict=True) if new}

    def op(each: Op) -> Op:
        each = within(each, op)
        now, own = others.get(each.callee, (None, None))
        if now is None or own is None or len(now.outputs) == len(own.outputs) or now.library:
            return each
        given = dict(zip((name for name, _ in own.outputs), each.outputs, strict=True))
        types = now.types()
        outputs = (
            given.get(name) or Value(names.fresh(value), _type_at(each, types[value]))
            for name, value in now.outputs
        )
        return replace(each, outputs=tuple(outputs))

    here = replace(function, body=tuple(map(op, function.body)))
    here = referring(here, lambda name: renaming.get(name, name))
    return whole(here, {each.name: each for each in below})


@once
def _held(function: Function) -> Form | None:
    """What tells layers of the library apart: their parameters, and how their windows go on. None for a function without parameters."""
    params = tuple((each.name, each.kind, said_axes(each.type)) for each in function.params)
    windows = [op for op in function.body if op.attr("stride") is not None]
    said_so = tuple((op.op, *(origin_key(value) for _, value in op.attrs)) for op in windows)
    rank = function.inputs[0].type.rank if function.inputs else 0
    return Form((rank, params, said_so)) if params else None


@once
def _switched(caller: Function) -> tuple[tuple[str, str], ...]:
    """What a function turns on or off in others by its static parameters: the callee, and what it calls that."""
    calls = (op for op in walk(caller.body) if op.callee)
    given = ((op, name, term) for op in calls for name, term in op.given if names(term))
    return tuple((op.callee, name) for op, name, _ in given if isinstance(op.attr(name), bool))


@once
def _switching(full: Function, function: Function, switch: str) -> Function:
    """A layer with parameters that another one lacks, where a switch is on."""
    own, when = {each.name for each in function.params}, Term("param", (switch,))
    told = (each if each.name in own else replace(each, when=when) for each in full.params)
    return replace(full, params=tuple(told))


@once
def _called(function: Function, name: str) -> Function:
    return replace(function, name=name)


@once
def _entered(function: Function, name: str, *members: Member) -> Function:
    """What members are in common, by its name."""
    # What a model's entry calls of the model itself is the model.
    kinds = (each.function.kind for each in members if each.function.kind == "model")
    return replace(function, name=name, kind=next(kinds, function.kind), static=_static(function, members))


def _static(function: Function, members: Sequence[Member]) -> tuple[tuple[str, Any], ...]:
    """The static parameters of functions in one, without lists that are of other lengths in some: it holds for any."""
    lengths: dict[str, set[int]] = {}
    for each in members:
        for name, value in each.function.static:
            if isinstance(value, tuple):
                lengths.setdefault(name, set()).add(len(value))
    return tuple((name, value) for name, value in function.static if len(lengths.get(name, ())) < 2)


def _type_at(call: Op, type: TensorType) -> TensorType:
    """A type of a callee in the sizes of a call."""
    dims = dict((*call.dims, *call.known))
    return type.with_axes(tuple(axis.substitute(dims) for axis in type.axes))


def _missing(member: Member) -> int:
    """How much is left out in a member that others of its kind have: the fullest stands for all."""
    return sum(
        op.attr(key) is None and is_left_out(op, key) for op in walk(member.function.body) for key in LEFT_OUT
    )


def _untold(kinds: Sequence[Kind]) -> list[list[Kind]]:
    """Members by what no condition of the source can tell: a function or a module that they are given, how many turns their loops over a
    list, or a number of times, have, where these are written out. Those that differ in it stay apart, since any condition that parts
    them does so by chance. A loop that only some have is behind a condition. So do those that hold nothing: whoever calls them has no
    instance, which others are."""
    found: dict[Any, list[Kind]] = {}
    turns = [_turns(kind[0].function) for kind in kinds]
    everywhere = set.intersection(*(set(each) for each in turns)) if turns else set()
    for kind, own in zip(kinds, turns, strict=True):
        function = kind[0].function
        told = {each.name for each in function.settings}
        counts = frozenset((loop, own[loop]) for loop in everywhere)
        is_held = bool(function.params or function.children)
        key = tuple(each for each in function.static if each[0] not in told), counts, is_held
        found.setdefault(key, []).append(kind)
    return list(found.values())


def _turns(function: Function) -> dict[Any, int]:
    """How many turns the loops of a function have, by their places."""
    # (A loop that turns as often as static parameters say is not written out.)
    written = (op for op in function.body if op.op != LOOP or origin_free(op.attr("count")))
    over = {turn.over: turn.loop for op in walk(written) for turn in op.loops}
    static = dict(function.static)
    switched = {name for name, value in static.items() if isinstance(value, bool)}
    return {loop: _length(each, static) for each, loop in over.items() if names(each) - switched}


def _length(over: Term, static: Mapping[str, Any]) -> int:
    """How many turns a loop has; 0 where static parameters don't tell."""
    try:
        return len(evaluate(over, static))
    except (ArithmeticError, KeyError, TypeError, ValueError):
        return 0


@once
def _families(kinds: tuple[Kind, ...], *written: Function) -> tuple[tuple[tuple[Kind, ...], Function], ...]:
    """Members that can be told apart by conditions together, all of a source as a rule, and what they are in common."""
    if kinds[0][0].function.kind in ("init", "prepare"):
        return tuple(((each,), _alone(each)) for each in kinds)
    called = {each.name: each for each in written}
    return tuple(each for alike in _untold(kinds) for each in _told(alike, called))


def _told(
    kinds: Sequence[Kind], written: Mapping[str, Function]
) -> Sequence[tuple[tuple[Kind, ...], Function]]:
    try:
        return [(tuple(kinds), _tree(kinds, written))]
    except Apart:
        pass
    families: list[tuple[tuple[Kind, ...], Function]] = []
    for kind in kinds:
        for k, (family, _) in enumerate(families):
            try:
                families[k] = (*family, kind), _tree((*family, kind), written)
            except Apart:
                continue
            break
        else:
            families.append(((kind,), _alone(kind)))
    return families


def _tree(kinds: Sequence[Kind], written: Mapping[str, Function]) -> Function:
    """The members as one function: parted by the first condition that parts them, and each side in turn. Raises Apart."""
    if len(kinds) == 1:
        return _alone(kinds[0])
    for condition in kinds[0][0].guards:
        sides: dict[bool, list[Kind]] = {True: [], False: []}
        for kind in kinds:
            answers = {each.guards.get(condition) for each in kind}
            if len(answers) != 1 or None in answers:
                break
            sides[bool(answers.pop())].append(kind)
        else:
            if sides[True] and sides[False]:
                yes, no = (_tree(sides[side], written) for side in (True, False))
                return Pair(condition, yes, no, written).merged()
    raise Apart


@once
def _alone(kind: Kind) -> Function:
    """Members that are one function: what is absent is no input, what is there always is."""
    return replace(kind[0].function, optional=())
