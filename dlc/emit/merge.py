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

from dlc.diagnostics import NO_SPAN
from dlc.ir.nodes import Child, Function, Op, Param, Program, Region, Value, walk
from dlc.ir.splice import Names, referring, with_values
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType
from dlc.types.terms import origin_of, said, term
from dlc.types.traced import Term

NONE = Term("const", (None,))


class Apart(Exception):
    """Two functions have no common form."""


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


def merge(
    programs: Sequence[Program],
    native: Container[str] = (),
    whole: Callable[[Function], Function] = lambda function: function,
) -> Merged:
    """The programs are one model at some settings: in training and not, with and without its optional inputs, with switches turned.
    Functions of the library that are `native` a backend says itself. `whole` makes each function's loops whole."""
    merging = _Merging(programs, native, whole)
    for group in _levels(programs):
        merging.group(group)
    entries: dict[str, str] = {}
    for k, program in enumerate(programs):
        entries.setdefault(program.main.entry, merging.names[k, program.entry])
    return Merged(merging.functions, merging.names, tuple(entries.values()))


def _levels(programs: Sequence[Program]) -> Iterator[list[tuple[int, Function]]]:
    """The functions of one source together, after all that they refer to. An `fn` that calls itself with other static arguments
    comes as several groups, one for each depth."""
    height: dict[tuple[int, str], tuple[int, int]] = {}
    for k, program in enumerate(programs):
        for name, function in program.functions.items():  # callees stand before callers
            below = [each for each in references(function) if (k, each) in height]
            own = [each for each in below if _kind(program.functions[each]) == _kind(function)]
            others = (1 + height[k, each][0] for each in below if each not in own)
            level = max((*others, *(height[k, each][0] for each in own)), default=1)
            height[k, name] = level, max((1 + height[k, each][1] for each in own), default=0)
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


def _kind(function: Function) -> Any:
    return function.source, function.kind == "init", function.entry, function.library


def references(function: Function) -> Iterator[str]:
    yield from (op.callee for op in walk(function.body) if op.callee)
    yield from (child.function for child in function.children)
    yield from (param.init for param in function.params if param.init)


# --- what tells instantiations apart ------------------------------------------------------------------------------


def guards(function: Function) -> dict[Term, bool]:
    """What is decided in a function, most telling first: noted decisions, optional inputs, training, static parameters."""
    found = {each.condition: each.answer for each in function.decisions}
    present = {value.name.partition(".")[0] for value in function.inputs}
    for name in function.optional:
        found[Term("!=", (Term("input", (name,)), NONE))] = name in present
    found[Term("training")] = function.training
    for name, value in function.static:
        found.update(_of_setting(name, value))
    return found


def _of_setting(name: str, value: Any) -> dict[Term, bool]:
    parameter = Term("param", (name,))
    if isinstance(value, bool):
        return {parameter: value}
    if isinstance(value, str):
        return {Term("==", (parameter, Term("const", (value,)))): True}
    return {Term("!=", (parameter, NONE)): value is not None}


def negated(condition: Term) -> Term:
    opposite = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
    if condition.op in opposite:
        return Term(opposite[condition.op], condition.args)
    if condition.op == "not":
        found: Term = condition.args[0]
        return found
    return Term("not", (condition,))


# --- one group ----------------------------------------------------------------------------------------------------


@dataclass
class _Merging:
    programs: Sequence[Program]
    native: Container[str] = ()
    whole: Callable[[Function], Function] = lambda function: function
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
            here = self.whole(self._renamed(k, function))
            same.setdefault(_key(here), []).append(Member(k, here, guards(here)))
        kinds = [sorted(members, key=_missing) for members in same.values()]
        alone = first.kind in ("init", "prepare")
        for family, function in [([each], _tree([each])) for each in kinds] if alone else _families(kinds):
            name = self._fresh(function.name)
            members = [member for members in family for member in members]
            # What a model's entry calls of the model itself is the model.
            kind = next(
                (each.function.kind for each in members if each.function.kind == "model"), function.kind
            )
            self.functions[name] = replace(function, name=name, kind=kind)
            for member in members:
                self.names[member.program, member.function.name] = name

    def _library(self, found: Sequence[tuple[int, Function]]) -> None:
        """Layers and functions of the library that a backend says itself are the same where their parameters are."""
        known: dict[Any, str] = {}
        for k, function in found:
            here = self._renamed(k, function)
            params = tuple((each.name, each.kind, _axes(each.type)) for each in here.params)
            windows = [op for op in here.body if op.attr("stride") is not None]
            said_so = tuple((op.op, *(origin_key(value) for _, value in op.attrs)) for op in windows)
            rank = here.inputs[0].type.rank if here.inputs else 0
            key = (rank, params, said_so) if params else None
            if key not in known:
                known[key] = self._fresh(here.name)
                self.functions[known[key]] = replace(here, name=known[key])
            self.names[k, function.name] = known[key]

    def _fresh(self, name: str) -> str:
        number, made = 1, name
        while made in self.functions:
            number += 1
            made = f"{name}_{number}"
        return made

    def _renamed(self, k: int, function: Function) -> Function:
        """The function with the names that what it refers to has now."""

        return referring(function, lambda name: self.names.get((k, name), name))


def _missing(member: Member) -> int:
    """How much is left out in a member that others of its kind have: the fullest stands for all."""
    return sum(
        op.attr(key) is None and _is_left_out(op, key)
        for op in walk(member.function.body)
        for key in LEFT_OUT
    )


def _families(kinds: Sequence[list[Member]]) -> list[tuple[list[list[Member]], Function]]:
    """Members that can be told apart by conditions together, all of a source as a rule, and what they are in common."""
    try:
        return [(list(kinds), _tree(kinds))]
    except Apart:
        pass
    families: list[tuple[list[list[Member]], Function]] = []
    for members in kinds:
        for k, (family, _) in enumerate(families):
            try:
                families[k] = [*family, members], _tree([*family, members])
            except Apart:
                continue
            break
        else:
            families.append(([members], _tree([members])))
    return families


def _tree(kinds: Sequence[list[Member]]) -> Function:
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
                return _Pair(condition, _tree(sides[True]), _tree(sides[False])).merged()
    raise Apart


# --- two functions side by side ---------------------------------------------------------------------------------------


def _key(function: Function) -> Any:
    """What makes two functions the same: all but the names of values and numbers with one origin."""
    names = {value.name: i for i, value in enumerate(function.inputs)}
    inputs = tuple((value.type.dtype, value.type.rank, _axes(value.type)) for value in function.inputs)
    body = tuple(_op_key(op, names) for op in function.body)
    outputs = tuple((name, names.get(value)) for name, value in function.outputs)
    params = tuple(
        (each.name, each.kind, each.frozen, each.init, _axes(each.type)) for each in function.params
    )
    children = tuple(
        (each.path, each.function, origin_key(each.count), each.start, each.step)
        for each in function.children
    )
    return function.source, function.entry, inputs, body, outputs, params, children


def _axes(type: TensorType) -> tuple[Dim, ...]:
    return tuple(said(axis) for axis in type.axes)


def origin_key(value: Any) -> Any:
    """An attribute as its expression: two numbers of one origin are one."""
    if isinstance(value, tuple):
        return tuple(origin_key(each) for each in value)
    if isinstance(value, Dim):
        return said(value)
    found = origin_of(value)
    return (type(value).__name__, value) if found is None else found


def _op_key(op: Op, names: dict[str, Any]) -> Any:
    inputs = tuple(names.get(name, name) for name in op.inputs)
    outputs = tuple((value.type.dtype, value.type.rank) for value in op.outputs)
    regions = []
    for region in (op.region, op.otherwise):
        if region is not None:
            names.update((value.name, f"%{len(names)}") for value in region.args)
            inner = tuple(_op_key(each, names) for each in region.body)
            regions.append((len(region.args), inner, tuple(names.get(name, name) for name in region.results)))
    for value in op.outputs:
        names[value.name] = f"%{len(names)}"
    return (*_signature(op), inputs, outputs, tuple(regions))


def _signature(op: Op) -> Any:
    """What an operation does, whatever to. An instance's own static arguments count as they are written."""
    attrs = tuple((key, _attribute(op, key, value)) for key, value in op.attrs if key != "draw")
    by_term = _told_parts(op) or any(_is_left_out(op, key) for key in LEFT_OUT)
    own = op.op == "call"  # what a layer of the library calls its sizes depends on how they look here
    sizes = tuple((name, said(size)) for name, size in op.known) if own else ()
    dims = tuple((name, said(size)) for name, size in op.dims) if own else ()
    return op.op, op.span, op.op if by_term else op.callee, op.path, attrs, sizes, dims, op.condition


def _told_parts(op: Op) -> bool:
    """Whether a layer of the library has a part or not by an expression of the spec: it is one layer then, whatever it has."""
    bias = dict(op.given).get("bias")
    return op.op != "call" and bool(op.path) and bias is not None and bias.op != "const"


def _attribute(op: Op, key: str, value: Any) -> Any:
    if _is_left_out(op, key):
        return key  # whether it is none or a number
    return as_written(op, key, value) if op.op in ("call", "const") or op.path else origin_key(value)


LEFT_OUT = frozenset(("scale",))
"""Attributes that Python's functions take as None too, where the spec leaves them out."""


def _is_left_out(op: Op, key: str) -> bool:
    return key in LEFT_OUT and op.op != "call" and dict(op.given).get(key) == Term("param", (key,))


def as_written(op: Op, key: str, value: Any) -> Any:
    """A static argument of a call as the spec writes it there, where that is an expression."""
    given = dict(op.given).get(key)
    return given if given is not None and given.op != "const" else origin_key(value)


@dataclass
class _Pair:
    """Two functions that part on `condition`: `yes` is what is done where it holds."""

    condition: Term
    yes: Function
    no: Function
    names: Names = field(init=False)
    optional: set[str] = field(default_factory=set)
    found: dict[str, str] = field(default_factory=dict)
    """For values of `no`, what they are in the common function."""
    common_paths: set[str] = field(default_factory=set)
    shared: dict[str, str] = field(default_factory=dict)
    """The functions of instances that both sides apply, by path."""

    def __post_init__(self) -> None:
        self.yes = _clear_of(self.yes, self.no)
        self.names = Names.of(self.yes)
        yes, no = ({value.name for value in function.inputs} for function in (self.yes, self.no))
        self.optional = {*self.yes.optional, *self.no.optional} | (yes ^ no)

    def merged(self) -> Function:
        inputs = self._inputs()
        names = _interleaved([name for name, _ in self.yes.outputs], [name for name, _ in self.no.outputs])
        yes, no = dict(self.yes.outputs), dict(self.no.outputs)
        results = ([yes.get(name, "") for name in names], [no.get(name, "") for name in names])
        body, outputs = self._block(self.yes.body, self.no.body, *results)
        self._check_places()
        params = _union(self.yes.params, self.no.params, self.condition)
        children = _union(self.yes.children, self._own(self.no.children), self.condition)
        _check_alone((*params, *children))
        return replace(
            self.yes,
            inputs=inputs,
            body=body,
            outputs=tuple(zip(names, outputs, strict=True)),
            params=params,
            children=children,
            optional=tuple(value.name for value in inputs if value.name in self.optional),
            further=tuple(dict.fromkeys((*self.yes.further, *self.no.further))),
            requires=tuple(each for each in self.yes.requires if each in self.no.requires),
            decisions=tuple(each for each in self.yes.decisions if each in self.no.decisions),
            training=self.yes.training or self.no.training,
        )

    def _check_places(self) -> None:
        """An instance that both sides apply, each in its own way, may be made in two ways: that is another part."""
        yes, no = ({op.path: op for op in walk(each.body) if op.path} for each in (self.yes, self.no))
        for path in (yes.keys() & no.keys()) - self.common_paths:
            if yes[path].callee == no[path].callee and _signature(yes[path]) != _signature(no[path]):
                raise Apart

    def _own(self, children: Sequence[Child]) -> tuple[Child, ...]:
        """The parts of `no`, where an operation of both applies one under the name that it has in `yes`."""
        return tuple(
            replace(each, function=self.shared[each.path])
            if each.path in self.shared and not each.when
            else each
            for each in children
        )

    def _inputs(self) -> tuple[Value, ...]:
        """The inputs of both; one that only one side has is optional."""
        order = _interleaved(
            [value.name for value in self.yes.inputs], [value.name for value in self.no.inputs]
        )
        yes, no = ({value.name: value for value in each.inputs} for each in (self.yes, self.no))
        for name in no:
            if name in yes and yes[name].type.dtype != no[name].type.dtype:
                raise Apart
            self.found[name] = name
        return tuple(self.common(yes.get(name), no.get(name)) for name in order)

    def common(self, yes: Value | None, no: Value | None) -> Value:
        """A value of both sides."""
        if yes is None or no is None:
            found = yes or no
            assert found is not None
            return found
        if yes.type.dtype != no.type.dtype or yes.type.rank != no.type.rank:
            raise Apart
        axes = tuple(self._size(a, b) for a, b in zip(yes.type.axes, no.type.axes, strict=True))
        return Value(yes.name, TensorType(yes.type.dtype, axes))

    def _size(self, yes: Dim, no: Dim) -> Dim:
        """One expression for a size of both sides: the one that is right at the settings of the other as well."""
        if said(yes) == said(no):
            return yes
        if _at(yes, self.no) == _at(no, self.no):
            return yes
        return no.said(said(no)) if _at(no, self.yes) == _at(yes, self.yes) else yes.said(OPEN)

    def known(self, yes: Op, no: Op) -> tuple[tuple[str, Dim], ...]:
        """The sizes that a layer finds on both sides: where they differ, a choice."""
        other = dict(no.known)
        return tuple(
            (name, self._chosen(size, other[name]) if name in other else size) for name, size in yes.known
        )

    def _chosen(self, yes: Dim, no: Dim) -> Dim:
        found = self._size(yes, no)
        if said(found) != OPEN:
            return found
        return yes.said(Dim.opaque(Term("if", (self.condition, term(yes), term(no)))))

    # --- blocks

    def _block(
        self, yes: Sequence[Op], no: Sequence[Op], yes_out: Sequence[str], no_out: Sequence[str]
    ) -> tuple[tuple[Op, ...], list[str]]:
        """The operations of two bodies: what is common once, what is not in choices; and the values that go on."""
        return _Block(self, list(yes), list(no)).run(list(yes_out), list(no_out))


@dataclass
class _Block:
    pair: _Pair
    yes: list[Op]
    no: list[Op]
    done: list[Op] = field(default_factory=list)
    joins: dict[tuple[str, str], str] = field(default_factory=dict)
    args: frozenset[str] = frozenset()
    outer: _Block | None = None
    """The body around the loop that this is the body of."""

    def run(self, yes_out: list[str], no_out: list[str]) -> tuple[tuple[Op, ...], list[str]]:
        pairs = _matched(self.yes, self.no)
        while True:
            self.done, self.joins = [], {}
            known = dict(self.pair.found)
            try:
                result = self._lay(pairs, yes_out, no_out)
            except _Unmatched as error:
                pairs = [each for each in pairs if each != error.at]
                self.pair.found = known
                continue
            return tuple(self.done), result

    def _lay(self, pairs: Sequence[tuple[int, int]], yes_out: list[str], no_out: list[str]) -> list[str]:
        a, b = 0, 0
        for i, j in (*pairs, (len(self.yes), len(self.no))):
            if i > a or j > b:
                self._choice(self.yes[a:i], self.no[b:j])
            if i < len(self.yes) and j < len(self.no):
                self._common(i, j)
            a, b = i + 1, j + 1
        return [self._joined(x, y, None) for x, y in zip(yes_out, no_out, strict=True)]

    def _common(self, i: int, j: int) -> None:
        yes, no = self.yes[i], self.no[j]
        operands = self._operands(yes, no, (i, j))
        region, otherwise = yes.region, yes.otherwise
        if yes.region is not None and no.region is not None:
            region = self._region(yes.region, no.region, (i, j))
        if yes.otherwise is not None and no.otherwise is not None:
            otherwise = self._region(yes.otherwise, no.otherwise, (i, j))
        outputs = tuple(self.pair.common(x, y) for x, y in zip(yes.outputs, no.outputs, strict=True))
        self.pair.found.update((y.name, x.name) for x, y in zip(yes.outputs, no.outputs, strict=True))
        known = self.pair.known(yes, no)
        self.pair.common_paths.add(yes.path)
        if yes.path and yes.callee != no.callee:
            self.pair.shared[yes.path] = yes.callee
        other = dict(no.attrs)
        attrs = tuple((key, other.get(key) if value is None else value) for key, value in yes.attrs)
        self.done.append(
            replace(
                yes,
                inputs=tuple(operands.values()),
                names=tuple(operands) if yes.names != no.names else yes.names,
                outputs=outputs,
                region=region,
                otherwise=otherwise,
                known=known,
                attrs=attrs,
            )
        )

    def _operands(self, yes: Op, no: Op, at: tuple[int, int]) -> dict[str, str]:
        """The operands of both sides by the callee's names for them. One that the callee has on one side only is passed on both."""
        if yes.names == no.names:
            both = enumerate(zip(yes.inputs, no.inputs, strict=True))
            return {str(k): self._joined(x, y, at) for k, (x, y) in both}
        mine, others = (dict(zip(op.names, op.inputs, strict=True)) for op in (yes, no))
        found: dict[str, str] = {}
        for name in _interleaved(list(mine), list(others)):
            x, y = mine.get(name, ""), others.get(name, "")
            alone = self.pair.found.get(y, y) if name not in mine else "" if name in others else x
            found[name] = alone if alone and self._is_common(alone) else self._joined(x, y, at)
        return found

    def _is_common(self, name: str) -> bool:
        """Whether a value is there whichever side is taken."""
        chosen = (op for op in self.done if self._is_own(op))
        inside = (
            each
            for op in chosen
            for region in (op.region, op.otherwise)
            if region
            for each in walk(region.body)
        )
        return all(name != value.name for op in inside for value in op.outputs)

    def _region(self, yes: Region, no: Region, at: tuple[int, int]) -> Region:
        if len(yes.args) != len(no.args) or len(yes.results) != len(no.results):
            raise _Unmatched(at)
        args = tuple(self.pair.common(x, y) for x, y in zip(yes.args, no.args, strict=True))
        self.pair.found.update((y.name, x.name) for x, y in zip(yes.args, no.args, strict=True))
        held = frozenset(value.name for value in (*yes.args, *no.args))
        inner = _Block(self.pair, list(yes.body), list(no.body), args=held, outer=self)
        body, results = inner.run(list(yes.results), list(no.results))
        return Region(args, body, tuple(results))

    def _choice(self, yes: Sequence[Op], no: Sequence[Op]) -> None:
        """What only one side does. Its results are those that turn out to be needed behind it."""
        copied = []
        for op in no:
            for value in op.outputs:
                self.pair.found[value.name] = self.pair.names.fresh(value.name)
            for region in (each for each in (op.region, op.otherwise) if each is not None):
                for value in (value for inner in walk(region.body) for value in inner.outputs):
                    self.pair.found[value.name] = self.pair.names.fresh(value.name)
                self.pair.found.update(
                    (value.name, self.pair.names.fresh(value.name)) for value in region.args
                )
            copied.append(with_values(op, self.pair.found))
        span = next((op.span for op in (*yes, *no)), NO_SPAN)
        self.done.append(
            Op("choice", (), (), condition=self.pair.condition, span=span,
               region=Region((), tuple(yes), ()), otherwise=Region((), tuple(copied), ()))
        )  # fmt: skip

    def _joined(self, yes: str, no: str, at: tuple[int, int] | None) -> str:
        """The common value for one of each side: the last choice gives it, where they are not the same."""
        now = self.pair.found.get(no, no)
        if yes == now:
            return yes
        if self._is_outside(yes, no):
            assert self.outer is not None
            return self.outer._joined(yes, no, at)
        if not yes or not now:
            return self._absent(yes, now, at)
        if (yes, now) in self.joins:
            return self.joins[yes, now]
        place = self._place(at, yes, now)
        self.joins[yes, now] = self._join(place, yes, now)
        return self.joins[yes, now]

    def _is_outside(self, yes: str, no: str) -> bool:
        """Whether both values stand around the loop: then they are one there."""
        if self.outer is None or self.outer._choices() == 0:
            return False
        own = {value.name for op in walk((*self.yes, *self.no)) for value in op.outputs}
        return not own & {yes, no} and not {yes, no} & self.args

    def _choices(self) -> int:
        around = 0 if self.outer is None else self.outer._choices()
        return around + sum(map(self._is_own, self.done))

    def _is_own(self, op: Op) -> bool:
        """Whether an operation is a choice of these two sides; each of them may have others inside."""
        return op.op == "choice" and op.condition == self.pair.condition

    def _place(self, at: tuple[int, int] | None, *names: str) -> int:
        """The last choice, where `names` are known when it ends; at the end of a body, one that only chooses among values."""
        own = [k for k, op in enumerate(self.done) if self._is_own(op)]
        inside = [k for k in own if _made_in(self.done[k]).intersection(names)]
        place = next(iter(inside or own[::-1]), None)
        if len(inside) > 1:
            raise Apart if at is None else _Unmatched(at)
        if place is not None and all(self._known(name, place) for name in names):
            return place
        if at is not None:
            raise _Unmatched(at)
        self._choice((), ())
        return len(self.done) - 1

    def _absent(self, yes: str, no: str, at: tuple[int, int] | None) -> str:
        """A value that is there on one side only: an optional input stands for itself, absent as it may be."""
        name = yes or no
        if name in self.pair.optional:
            return name
        place = self._place(at)
        if (yes, no) not in self.joins:
            self.joins[yes, no] = self._join(place, yes, no)
            self.pair.optional.add(self.joins[yes, no])
        return self.joins[yes, no]

    def _join(self, place: int, yes: str, no: str) -> str:
        """A new result of a choice. An empty name is a value that is not there."""
        choice = self.done[place]
        assert choice.region is not None and choice.otherwise is not None
        types = self._types()
        name = self.pair.names.fresh(yes or no)
        both = [Value(name, types[each]) if each else None for each in (yes, no)]
        self.done[place] = replace(
            choice,
            outputs=(*choice.outputs, self.pair.common(*both)),
            region=replace(choice.region, results=(*choice.region.results, yes)),
            otherwise=replace(choice.otherwise, results=(*choice.otherwise.results, no)),
        )
        return name

    def _known(self, name: str, place: int) -> bool:
        """Whether a value is there when the choice at `place` ends."""
        later = {value.name for op in self.done[place + 1 :] for value in op.outputs}
        return name not in later

    def _types(self) -> dict[str, TensorType]:
        table = {value.name: value.type for value in (*self.pair.yes.inputs, *self.pair.no.inputs)}
        for function in (self.pair.yes, self.pair.no):
            table.update((self.pair.found.get(name, name) if function is self.pair.no else name, type)
                         for name, type in function.types().items())  # fmt: skip
        for op in walk(self.done):
            table.update((value.name, value.type) for value in op.outputs)
        return table


def _made_in(op: Op) -> set[str]:
    """The values that the bodies of a choice make, which nothing outside of it sees."""
    regions = [each for each in (op.region, op.otherwise) if each is not None]
    return {value.name for region in regions for inner in region.body for value in inner.outputs}


def _at(size: Dim, function: Function) -> Dim:
    """A size at a function's settings, in its dims."""
    values: dict[str, Any] = dict(function.sizes)
    stack = list(function.static)
    while stack:
        name, value = stack.pop()
        if isinstance(value, int):
            values[name] = int(value)
        elif isinstance(value, tuple):
            stack += ((f"{name}[{i}]", each) for i, each in enumerate(value))
    return Dim(said(size).substitute(values).terms)


class _Unmatched(Exception):
    """Two operations that looked the same read what has no common name."""

    def __init__(self, at: tuple[int, int]) -> None:
        super().__init__(at)
        self.at = at


def _clear_of(function: Function, other: Function) -> Function:
    """The function with other names for values that are called as an input is that only the other has: `y`, where it is left
    out and something takes its place."""
    inputs = {value.name for value in other.inputs} - {value.name for value in function.inputs}
    made = {value.name for op in walk(function.body) for value in op.outputs}
    if not inputs & made:
        return function
    names = Names.of(function)
    for name in inputs:
        names.fresh(name)
    new = {name: names.fresh(name) for name in sorted(inputs & made)}
    outputs = tuple((name, new.get(value, value)) for name, value in function.outputs)
    return replace(function, body=tuple(with_values(op, new) for op in function.body), outputs=outputs)


def _matched(yes: Sequence[Op], no: Sequence[Op]) -> list[tuple[int, int]]:
    """The longest common subsequence of two bodies, by what operations do."""
    left, right = [_alike(op) for op in yes], [_alike(op) for op in no]
    start = 0
    while start < min(len(left), len(right)) and left[start] == right[start]:
        start += 1
    best = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i in range(len(left) - 1, start - 1, -1):
        for j in range(len(right) - 1, start - 1, -1):
            best[i][j] = (
                best[i + 1][j + 1] + 1 if left[i] == right[j] else max(best[i + 1][j], best[i][j + 1])
            )
    found = [(k, k) for k in range(start)]
    i = j = start
    while i < len(left) and j < len(right):
        if left[i] == right[j]:
            found.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return found


def _alike(op: Op) -> Any:
    present = () if op.op == "call" else tuple(bool(name) for name in op.inputs)
    regions = tuple(each is not None for each in (op.region, op.otherwise))
    whole = _op_key(op, {}) if op.op == "choice" else None
    return _signature(op), present, len(op.outputs), regions, whole


def _interleaved(left: Sequence[str], right: Sequence[str]) -> list[str]:
    """Both lists as one, in an order that fits both."""
    order = list(left)
    for i, name in enumerate(right):
        if name not in order:
            before = next((order.index(each) for each in right[i + 1 :] if each in order), len(order))
            order.insert(before, name)
    return order


OPEN = Dim.symbol("_")


def _union(yes: Sequence[Any], no: Sequence[Any], condition: Term) -> tuple[Any, ...]:
    """Parts of both sides; those of one side exist under its condition."""
    left = {_part_key(each): each for each in yes}
    right = {_part_key(each): each for each in no}
    only_left = {_place(each): each for key, each in left.items() if key not in right}
    only_right = {_place(each): each for key, each in right.items() if key not in left}
    for place in only_left.keys() & only_right.keys():
        if not _replaces(only_left[place], only_right[place]):
            raise Apart
    order = _interleaved([str(key) for key in left], [str(key) for key in right])
    by_text = {str(key): key for key in (*left, *right)}
    found = []
    for key in (by_text[each] for each in order):
        if key in left and key in right:
            if left[key].when != right[key].when:
                raise Apart
            found.append(left[key])
            continue
        each, own = (left[key], condition) if key in left else (right[key], negated(condition))
        if own.holds("input"):  # which parts there are is settled before any input is
            raise Apart
        when = own if each.when is None else Term("and", (own, each.when))
        found.append(replace(each, when=when))
    return tuple(found)


def _check_alone(parts: Sequence[Param | Child]) -> None:
    """A part that there is on one side only, and that nothing else takes the place of, stands directly in its module."""
    places = [_place(each) for each in parts]
    for each, place in zip(parts, places, strict=True):
        if each.when is not None and "." in place and places.count(place) == 1:
            raise Apart


def _replaces(yes: Param | Child, no: Param | Child) -> bool:
    """Whether one part stands in the place of the other: an instance of another module."""
    if isinstance(yes, Param) or isinstance(no, Param) or yes.when is not None or no.when is not None:
        return False
    alike = [(origin_key(each.count), each.start, each.step) for each in (yes, no)]
    sources = {each.function.rstrip("0123456789").rstrip("_") for each in (yes, no)}
    return alike[0] == alike[1] and len(sources) == 2


def _place(part: Param | Child) -> str:
    return part.name if isinstance(part, Param) else part.path


def _part_key(part: Param | Child) -> Any:
    if isinstance(part, Param):
        return part.name, part.kind, part.frozen, part.init, _axes(part.type)
    return part.path, part.function, origin_key(part.count), origin_key(part.start), part.step
