"""Two functions side by side, as one: what is common once, what only one side does in a `choice`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dlc.diagnostics import NO_SPAN
from dlc.emit.alike import as_term, as_written, origin_key, said_axes, signature
from dlc.emit.origins import OPEN
from dlc.ir.needed import reads
from dlc.ir.nodes import Child, Function, Op, Param, Region, Value, walk
from dlc.ir.splice import Names, with_values
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType
from dlc.types.terms import names, negated, said, term
from dlc.types.traced import Term

UNSAID = ("training", "input", "turn", "name")
"""What no condition on static parameters alone speaks of."""


class Apart(Exception):
    """Two functions have no common form."""


@dataclass
class Pair:
    """Two functions that part on `condition`: `yes` is what is done where it holds."""

    condition: Term
    yes: Function
    no: Function
    written: Mapping[str, Function] = field(default_factory=dict)
    """Functions of the library that are written out: they take what is optional as it is, there or not."""
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
        found = replace(
            self.yes,
            inputs=inputs,
            body=body,
            outputs=tuple(zip(names, outputs, strict=True)),
            params=params,
            children=children,
            optional=tuple(value.name for value in inputs if value.name in self.optional),
            further=tuple(dict.fromkeys((*self.yes.further, *self.no.further))),
            requires=tuple(self._requires()),
            decisions=tuple(each for each in self.yes.decisions if each in self.no.decisions),
            training=self.yes.training or self.no.training,
        )
        _check_known(found)
        return found

    def _requires(self) -> Iterator[Term]:
        """What is asked on both sides, and what of one where that is taken."""
        for each in self.yes.requires:
            yield each if each in self.no.requires else Term("or", (negated(self.condition), each))
        yield from (
            Term("or", (self.condition, each)) for each in self.no.requires if each not in self.yes.requires
        )
        yield from self._decided(self.yes, self.no, self.condition)
        yield from self._decided(self.no, self.yes, negated(self.condition))

    def _decided(self, side: Function, other: Function, case: Term) -> Iterator[Term]:
        """What was decided on one side alone, and there in one way: where that side is taken, it has to fall so. (The library's forms
        are given what they take by the spec's own decisions.)"""
        if side.library:
            return
        both = {each.condition for each in other.decisions}
        for each in side.decisions:
            if each.condition in both:
                continue
            asked = each.condition if each.answer else negated(each.condition)
            if asked != case and names(asked) and not any(map(asked.holds, UNSAID)):
                is_static = not any(map(case.holds, UNSAID))
                yield Term("or", (negated(case), asked)) if is_static else asked

    def _check_places(self) -> None:
        """An instance that both sides apply, each in its own way, may be made in two ways: that is another part."""
        yes, no = ({op.path: op for op in walk(each.body) if op.path} for each in (self.yes, self.no))
        for path in (yes.keys() & no.keys()) - self.common_paths:
            if yes[path].callee == no[path].callee and not _made_alike(yes[path], no[path]):
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
        return common_size(yes, self.yes, no, self.no)

    def known(self, yes: Op, no: Op) -> tuple[tuple[str, Dim], ...]:
        """The sizes that a layer finds on both sides: where they differ, a choice."""
        other = dict(no.known)
        return tuple(
            (name, self._chosen(size, other[name]) if name in other else size) for name, size in yes.known
        )

    def given(self, yes: Op, no: Op) -> tuple[tuple[str, Term], ...]:
        """What an instance is given on both sides: where that differs, a choice."""
        if yes.op != "call" or not yes.path:
            return yes.given
        found, other = dict(yes.given), dict(no.attrs)
        for key, value in yes.attrs:
            one, two = as_term(yes, key, value), as_term(no, key, other[key])
            if as_written(yes, key, value) != as_written(no, key, other[key]):
                found[key] = either(self.condition, one, two)
            elif one.holds("turn") and origin_key(value) != origin_key(other[key]):
                # In turns that are written out, what they are given is; it may not be the same on both sides.
                found[key] = either(self.condition, term(value), term(other[key]))
        return tuple(found.items())

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
    pair: Pair
    yes: list[Op]
    no: list[Op]
    done: list[Op] = field(default_factory=list)
    joins: dict[tuple[str, str], str] = field(default_factory=dict)
    args: frozenset[str] = frozenset()
    outer: _Block | None = None
    """The body around the loop that this is the body of."""

    def run(self, yes_out: list[str], no_out: list[str]) -> tuple[tuple[Op, ...], list[str]]:
        pairs = _matched(self.yes, self.no, self.pair.written)
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
                given=self.pair.given(yes, no),
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
        return all(name not in _made_in(op) for op in self.done if self._is_own(op))

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
        yes = [self._reading(op, first=True) for op in yes]
        copied = []
        for op in no:
            for value in op.outputs:
                self.pair.found[value.name] = self.pair.names.fresh(value.name)
            for region in op.regions:
                for value in (*_values(region.body), *region.args):
                    self.pair.found[value.name] = self.pair.names.fresh(value.name)
            copied.append(self._reading(with_values(op, self.pair.found), first=False))
        span = next((op.span for op in (*yes, *no)), NO_SPAN)
        self.done.append(
            Op("choice", (), (), condition=self.pair.condition, span=span,
               region=Region((), tuple(yes), ()), otherwise=Region((), tuple(copied), ()))
        )  # fmt: skip

    def _reading(self, op: Op, *, first: bool) -> Op:
        """An operation of one side; what an earlier choice made on that side is a result of that one, absent on the other."""
        read = set(reads(op))
        names: dict[str, str] = {}
        for place in (k for k, each in enumerate(self.done) if self._is_own(each)):
            region = self.done[place].region if first else self.done[place].otherwise
            made = [] if region is None else [value.name for each in region.body for value in each.outputs]
            for name in (each for each in made if each in read):
                sides = (name, "") if first else ("", name)
                if sides not in self.joins:
                    self.joins[sides] = self._join(place, *sides)
                    self.pair.optional.add(self.joins[sides])
                names[name] = self.joins[sides]
        return op.renamed(names) if names else op

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
        if at is not None and not self._joins(yes, now):
            raise _Unmatched(at)
        self.joins[yes, now] = self._join(place, yes, now)
        return self.joins[yes, now]

    def _joins(self, yes: str, no: str) -> bool:
        """Whether one value can stand for both; else what reads them is done on each side."""
        types = self._types()
        return (types[yes].dtype, types[yes].rank) == (types[no].dtype, types[no].rank)

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


def either(condition: Term, yes: Term, no: Term) -> Term:
    """One expression or the other: `inputs if i == 0 else (4 * widths[i - 1] if wide else widths[i - 1])`, in which what they have in
    common is said once."""
    if yes == no:
        return yes
    one, two = _by_turn(yes), _by_turn(no)
    if one.op == two.op == "if" and one.args[0] == two.args[0]:
        sides = (either(condition, a, b) for a, b in zip(one.args[1:], two.args[1:], strict=True))
        return Term("if", (one.args[0], *sides))
    match yes, no:
        case Term("const", (True,)), Term("const", (False,)):
            return condition
        case Term("const", (False,)), Term("const", (True,)):
            return negated(condition)
    return Term("if", (condition, yes, no))


def _by_turn(told: Term) -> Term:
    """`(inputs, *hidden)[i]` as what it is in the first turn, and what in others."""
    match told:
        case Term("dim", (Dim() as size,)):
            inner = next((each.term for each in size.opaques() if size == Dim.opaque(each.term)), None)
            return told if inner is None else _by_turn(inner)
        case Term("index", (Term("tuple", (first, Term("star", (base,)))), Term("each") as turn)):
            before = Term("-", (turn, Term("const", (1,))))
            return Term("if", (Term("==", (turn, Term("const", (0,)))), first, Term("index", (base, before))))
    return told


def common_size(yes: Dim, of: Function, no: Dim, other: Function) -> Dim:
    """One expression for a size of two functions: the one that is right at the settings of the other as well."""
    if said(yes) == said(no):
        return yes
    if _at(yes, other) == _at(no, other):
        return yes
    return no.said(said(no)) if _at(no, of) == _at(yes, of) else yes.said(OPEN)


def with_common_sizes(function: Function, others: Sequence[Function]) -> Function:
    """A function with sizes that are right in others too, which do the same. What a picture is as high as decides on no operation."""

    def typed(value: Value, twins: Sequence[Value]) -> Value:
        axes = list(value.type.axes)
        for twin, other in zip(twins, others, strict=True):
            pairs = zip(axes, twin.type.axes, strict=True)
            axes = [common_size(a, function, b, other) for a, b in pairs]
        return replace(value, type=value.type.with_axes(tuple(axes)))

    def values(own: Sequence[Value], twins: Sequence[Sequence[Value]]) -> tuple[Value, ...]:
        return tuple(typed(each, row) for each, *row in zip(own, *twins, strict=True))

    def region(own: Region | None, twins: Sequence[Region | None]) -> Region | None:
        rest = [each for each in twins if each is not None]
        if own is None or len(rest) < len(twins):
            return own
        body = tuple(
            op(each, row) for each, *row in zip(own.body, *(twin.body for twin in rest), strict=True)
        )
        return Region(values(own.args, [twin.args for twin in rest]), body, own.results)

    def op(own: Op, twins: Sequence[Op]) -> Op:
        outputs = values(own.outputs, [twin.outputs for twin in twins])
        dims = tuple(
            (name, size if all(_is_same(name, size, twin) for twin in twins) else size.said(OPEN))
            for name, size in own.dims
        )
        regions = (
            region(getattr(own, name), [getattr(twin, name) for twin in twins])
            for name in ("region", "otherwise")
        )
        first, second = regions
        return replace(own, outputs=outputs, dims=dims, region=first, otherwise=second)

    if not others:
        return function
    body = tuple(
        op(each, row) for each, *row in zip(function.body, *(other.body for other in others), strict=True)
    )
    return replace(function, body=body)


def _is_same(name: str, size: Dim, twin: Op) -> bool:
    """Whether another call gives the same size."""
    return said(dict(twin.dims).get(name, size)) == said(size)


def _made_alike(one: Op, other: Op) -> bool:
    """Whether an instance is made in one way, here or there."""
    if signature(one) == signature(other):
        return True
    told, twin = (signature(replace(each, span=NO_SPAN)) for each in (one, other))
    return told == twin and [(name, said(size)) for name, size in one.known] == [
        (name, said(size)) for name, size in other.known
    ]


def _values(body: Sequence[Op]) -> Iterator[Value]:
    """The values of a body and of all bodies inside of it."""
    for op in walk(body):
        yield from op.outputs
        for region in op.regions:
            yield from region.args


def _made_in(op: Op) -> set[str]:
    """The values that the bodies of a choice make, which nothing outside of it sees."""
    regions = op.regions
    return {value.name for region in regions for inner in walk(region.body) for value in inner.outputs}


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


def _matched(yes: Sequence[Op], no: Sequence[Op], written: Mapping[str, Function]) -> list[tuple[int, int]]:
    """The longest common subsequence of two bodies, by what operations do."""
    left, right = ([_alike(op, written) for op in body] for body in (yes, no))
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


def _alike(op: Op, written: Mapping[str, Function]) -> Any:
    present = () if op.op == "call" else tuple(_present(op, written))
    regions = tuple(each is not None for each in (op.region, op.otherwise))
    whole = op.condition if op.op == "choice" else None
    if op.op == "call" and op.path:  # one instance, whatever it is given
        given = tuple(key for key, _ in op.attrs)
        return (op.span, op.callee, op.path, given), present, len(op.outputs), regions, whole
    return signature(op), present, len(op.outputs), regions, whole


def _present(op: Op, written: Mapping[str, Function]) -> Iterator[bool]:
    """Which operands are there, or may be absent."""
    optional = written[op.callee].optional if op.callee in written and op.names else ()
    for k, name in enumerate(op.inputs):
        yield bool(name) or (bool(optional) and op.names[k] in optional)


def _interleaved(left: Sequence[str], right: Sequence[str]) -> list[str]:
    """Both lists as one, in an order that fits both."""
    order = list(left)
    for i, name in enumerate(right):
        if name not in order:
            before = next((order.index(each) for each in right[i + 1 :] if each in order), len(order))
            order.insert(before, name)
    return order


def _union(yes: Sequence[Any], no: Sequence[Any], condition: Term) -> tuple[Any, ...]:
    """Parts of both sides; those of one side exist under its condition."""
    left = {_part_key(each): each for each in yes}
    right = {_part_key(each): each for each in no}
    only_left = {_place(each): each for key, each in left.items() if key not in right}
    only_right = {_place(each): each for key, each in right.items() if key not in left}
    for place in only_left.keys() & only_right.keys():
        if not _replaces(only_left[place], only_right[place]):
            raise Apart
    if set(_numbered(only_left.values())) & {*only_right} or set(_numbered(only_right.values())) & {
        *only_left
    }:
        raise Apart  # layers of a loop on one side, by themselves on the other
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
    """A part that there is on one side only, and that nothing else takes the place of, stands directly in its module, or in a
    container there that holds nothing else but such parts: the container is there or not, as the part is."""
    places = [_place(each) for each in parts]
    around: dict[str, set[Term | None]] = {}
    for each, place in zip(parts, places, strict=True):
        around.setdefault(place.partition(".")[0], set()).add(each.when)
    for each, place in zip(parts, places, strict=True):
        if each.when is not None and places.count(place) == 1 and len(around[place.partition(".")[0]]) > 1:
            raise Apart


Sides = frozenset[tuple[Term | None, bool]]
"""The sides of choices that something lies in."""


def _check_known(function: Function) -> None:
    """Whatever is read has been made, where it is read: behind a choice what a side of it gives is there on that side of like choices
    alone. Choices within choices may have no such form."""

    def check(names: Iterable[str], made: Mapping[str, Sides], sides: Sides) -> None:
        if any(name and not (name in made and made[name] <= sides) for name in names):
            raise Apart

    def given(body: Iterable[Op], made: Mapping[str, Sides], sides: Sides) -> dict[str, Sides]:
        """What is known behind a body."""
        made = dict(made)
        for op in body:
            check(op.inputs, made, sides)
            for side, region in ((True, op.region), (False, op.otherwise)):
                if region is not None:
                    inside = sides | {(op.condition, side)} if op.op == "choice" else sides
                    known = {**made, **{value.name: inside for value in region.args}}
                    known = given(region.body, known, inside)
                    check(region.results, known, inside)
                    if op.op == "choice":
                        made |= {name: known[name] for name in region.results if name and name not in made}
            made |= {value.name: sides for value in op.outputs}
        return made

    known = given(function.body, {value.name: frozenset() for value in function.inputs}, frozenset())
    check((value for _, value in function.outputs), known, frozenset())


def _replaces(yes: Param | Child, no: Param | Child) -> bool:
    """Whether one part stands in the place of the other: an instance of another module."""
    if isinstance(yes, Param) or isinstance(no, Param) or yes.when is not None or no.when is not None:
        return False
    alike = [(origin_key(each.count), each.start, each.step) for each in (yes, no)]
    sources = {each.function.rstrip("0123456789").rstrip("_") for each in (yes, no)}
    return alike[0] == alike[1] and len(sources) == 2


def _numbered(parts: Iterable[Param | Child]) -> Iterator[str]:
    """The paths of layers of loops."""
    yield from (path for each in parts if isinstance(each, Child) and each.count for path in each.paths())


def _place(part: Param | Child) -> str:
    return part.name if isinstance(part, Param) else part.path


def _part_key(part: Param | Child) -> Any:
    if isinstance(part, Param):
        return part.name, part.kind, part.frozen, part.init, said_axes(part.type)
    return part.path, part.function, origin_key(part.count), origin_key(part.start), part.step
