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

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

from dlc.emit.alike import LEFT_OUT, function_key, is_left_out, origin_key, said_axes
from dlc.emit.names import unique
from dlc.emit.pairs import Apart, Pair
from dlc.ir.nodes import Function, Op, Program, Value, walk
from dlc.ir.splice import Names, references, referring, within
from dlc.records import dataclass, field, replace
from dlc.types.tensor import TensorType
from dlc.types.terms import evaluate, names
from dlc.types.traced import Term

NONE = Term("const", (None,))


@dataclass(frozen=True)
class Member:
    """A function of one of the programs: `guards` are the conditions that are known to hold or not where it stands."""

    program: int
    function: Function
    guards: Mapping[Term, bool]


@dataclass
class Merged:
    """The common functions, the name that each function of each program has now, and those of the ways in: the first program's
    own, and of each other entry."""

    functions: dict[str, Function]
    names: dict[tuple[int, str], str]
    entries: tuple[str, ...]


Whole = Callable[[Function, Mapping[str, Function]], Function]
"""Makes a function's loops whole, which knows those that it refers to."""


def merge(
    programs: Sequence[Program],
    native: Container[str] = (),
    whole: Whole = lambda function, _: function,
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
        key = _kind(function), depth
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
            kind = _kind(function)
            below = [each for each in references(function) if (k, each) in height]
            kinds = {each: _kind(program.functions[each]) for each in below}
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
        kind = _kind(programs[k].functions[name])
        found[kind] = max(level, found.get(kind, 0))
    return found


def _kind(function: Function) -> Any:
    return function.source, function.kind == "init", function.entry, function.library


# --- what tells instantiations apart ------------------------------------------------------------------------------


def guards(function: Function) -> dict[Term, bool]:
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


def _undecided(members: Sequence[Member]) -> list[Member]:
    """Functions that are one: what was decided in each another way makes no difference."""
    common = set.intersection(*(set(each.function.decisions) for each in members))
    return [
        replace(
            each,
            function=replace(
                each.function, decisions=tuple(one for one in each.function.decisions if one in common)
            ),
        )
        for each in members
    ]


@dataclass
class _Merging:
    programs: Sequence[Program]
    native: Container[str] = ()
    whole: Whole = lambda function, _: function
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
        same: dict[Any, list[Member]] = {}
        for k, function in found:
            here = self.whole(self._renamed(k, function), self.functions)
            same.setdefault(function_key(here), []).append(Member(k, here, guards(here)))
        kinds = [sorted(_undecided(members), key=_missing) for members in same.values()]
        if first.kind in ("init", "prepare"):
            families = [([each], _tree([each], {})) for each in kinds]
        else:
            families = [each for alike in _untold(kinds) for each in _families(alike, self._written())]
        for family, function in families:
            name = unique(function.name, self.functions)
            members = [member for members in family for member in members]
            # What a model's entry calls of the model itself is the model.
            kind = next(
                (each.function.kind for each in members if each.function.kind == "model"), function.kind
            )
            self.functions[name] = replace(function, name=name, kind=kind, static=_static(function, members))
            for member in members:
                self.names[member.program, member.function.name] = name

    def _written(self) -> dict[str, Function]:
        """The functions so far of the library that are written out."""
        return {
            name: function
            for name, function in self.functions.items()
            if function.library and function.source in self.written
        }

    def _library(self, found: Sequence[tuple[int, Function]]) -> None:
        """Layers and functions of the library that a backend says itself are the same where their parameters are."""
        known: dict[Any, str] = {}
        switches = self._switches(found) if self.begun else set()
        # The fullest first, which stands for those that lack a parameter where a switch says so.
        for k, function in sorted(found, key=lambda each: -len(each[1].params) if switches else 0):
            here = self._renamed(k, function)
            params = tuple((each.name, each.kind, said_axes(each.type)) for each in here.params)
            windows = [op for op in here.body if op.attr("stride") is not None]
            said_so = tuple((op.op, *(origin_key(value) for _, value in op.attrs)) for op in windows)
            rank = here.inputs[0].type.rank if here.inputs else 0
            key = (rank, params, said_so) if params else None
            full = self._fuller(here, key, known, switches) if key not in known else None
            if full is not None:
                known[key] = full
            elif key not in known:
                known[key] = unique(here.name, self.functions)
                self.functions[known[key]] = replace(here, name=known[key])
            self.names[k, function.name] = known[key]

    def _switches(self, found: Sequence[tuple[int, Function]]) -> set[str]:
        """Whether layers have parameters or not that a static parameter around them says: `linear(d, bias=qkv_bias)`."""
        own = {(k, function.name) for k, function in found}
        calls = (
            op
            for k, program in enumerate(self.programs)
            for caller in program.functions.values()
            for op in walk(caller.body)
            if (k, op.callee) in own
        )
        given = (each for op in calls for each in op.given if isinstance(op.attr(each[0]), bool))
        return {name for name, term in given if names(term)}

    def _fuller(
        self, function: Function, key: Any, known: Mapping[Any, str], switches: set[str]
    ) -> str | None:
        """The layer that has all of a function's parameters, and more where a switch is on; those begin by it from here on."""
        off = [name for name, value in function.static if name in switches and value is False]
        if key is None or len(off) != 1:
            return None
        rank, params, said_so = key
        for (other, more, windows), name in ((each, name) for each, name in known.items() if each):
            if (other, windows) == (rank, said_so) and {*params} < {*more}:
                full, own = self.functions[name], {each.name for each in function.params}
                when = Term("param", (off[0],))
                told = (each if each.name in own else replace(each, when=when) for each in full.params)
                self.functions[name] = replace(full, params=tuple(told))
                return name
        return None

    def _renamed(self, k: int, function: Function) -> Function:
        """The function with the names that what it refers to has now, and all that these give: an output that is not there at
        this call is one that nothing reads."""
        names = Names.of(function)

        def op(each: Op) -> Op:
            each = within(each, op)
            now = self.functions.get(self.names.get((k, each.callee), ""))
            own = self.programs[k].functions.get(each.callee)
            if now is None or own is None or len(now.outputs) == len(own.outputs) or now.library:
                return each
            given = dict(zip((name for name, _ in own.outputs), each.outputs, strict=True))
            types = now.types()
            outputs = (
                given.get(name) or Value(names.fresh(value), _type_at(each, types[value]))
                for name, value in now.outputs
            )
            return replace(each, outputs=tuple(outputs))

        whole = replace(function, body=tuple(map(op, function.body)))
        return referring(whole, lambda name: self.names.get((k, name), name))


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


def _untold(kinds: Sequence[list[Member]]) -> list[list[list[Member]]]:
    """Members by what no condition of the source can tell: a function or a module that they are given, how many turns their loops over a
    list, or a number of times, have, where these are written out. Those that differ in it stay apart, since any condition that parts
    them does so by chance. A loop that only some have is behind a condition."""
    found: dict[Any, list[list[Member]]] = {}
    turns = [_turns(members[0].function) for members in kinds]
    everywhere = set.intersection(*(set(each) for each in turns)) if turns else set()
    for members, own in zip(kinds, turns, strict=True):
        function = members[0].function
        told = {each.name for each in function.settings}
        counts = frozenset((loop, own[loop]) for loop in everywhere)
        key = tuple(each for each in function.static if each[0] not in told), counts
        found.setdefault(key, []).append(members)
    return list(found.values())


def _turns(function: Function) -> dict[Any, int]:
    """How many turns the loops of a function have, by their places."""
    over = {turn.over: turn.loop for op in walk(function.body) for turn in op.loops}
    static = dict(function.static)
    switched = {name for name, value in static.items() if isinstance(value, bool)}
    return {loop: _length(each, static) for each, loop in over.items() if names(each) - switched}


def _length(over: Term, static: Mapping[str, Any]) -> int:
    """How many turns a loop has; 0 where static parameters don't tell."""
    try:
        return len(evaluate(over, static))
    except (ArithmeticError, KeyError, TypeError, ValueError):
        return 0


def _families(
    kinds: Sequence[list[Member]], written: Mapping[str, Function]
) -> list[tuple[list[list[Member]], Function]]:
    """Members that can be told apart by conditions together, all of a source as a rule, and what they are in common."""
    try:
        return [(list(kinds), _tree(kinds, written))]
    except Apart:
        pass
    families: list[tuple[list[list[Member]], Function]] = []
    for members in kinds:
        for k, (family, _) in enumerate(families):
            try:
                families[k] = [*family, members], _tree([*family, members], written)
            except Apart:
                continue
            break
        else:
            families.append(([members], _tree([members], written)))
    return families


def _tree(kinds: Sequence[list[Member]], written: Mapping[str, Function]) -> Function:
    """The members as one function: parted by the first condition that parts them, and each side in turn. Raises Apart."""
    if len(kinds) == 1:
        return replace(
            kinds[0][0].function, optional=()
        )  # what is absent is no input, what is there always is
    for condition in kinds[0][0].guards:
        sides: dict[bool, list[list[Member]]] = {True: [], False: []}
        for members in kinds:
            answers = {each.guards.get(condition) for each in members}
            if len(answers) != 1 or None in answers:
                break
            sides[bool(answers.pop())].append(members)
        else:
            if sides[True] and sides[False]:
                yes, no = (_tree(sides[side], written) for side in (True, False))
                return Pair(condition, yes, no, written).merged()
    raise Apart
