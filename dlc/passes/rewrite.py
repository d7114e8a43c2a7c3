"""Rewrites as data: a pattern, what replaces it, and when.

    Rule("permute(permute(x, axes=p), axes=q)", "permute(x, axes=r)", let={"r": lambda m: compose(m["p"],
    m["q"])})

Patterns are written like calls. A name stands for any value (the same value, where it occurs twice), a number
for a constant with that value in every element, a call for the op that computes a value; a keyword for an
attribute, with a name that binds it or a literal that it must equal. Operands of commutative ops match in
either order. A replacement is a name, a call, or a function that builds it. It applies only where its type is
that of what it replaces.
"""

from __future__ import annotations

import ast
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

from dlc.ir.builder import Builder, Operand
from dlc.ir.nodes import Attr, Function, Op, Region, Value
from dlc.ir.splice import Names
from dlc.once import once
from dlc.ops.definition import OpError
from dlc.passes.base import use_counts
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType
from dlc.types.terms import names, said

COMMUTATIVE = frozenset({"add", "mul", "minimum", "maximum", "logical_and", "logical_or", "eq", "ne"})

# Rewrites that follow from one op; a set of rules that goes round in circles stops here.
BUDGET = 64


class Match:
    """What a pattern's names stand for: values and attributes, and the ops that matched, the root first."""

    def __init__(self, producers: Mapping[str, Op]) -> None:
        self.producers = producers
        self.values: dict[str, Value] = {}
        self.attrs: dict[str, Attr] = {}
        self.ops: list[Op] = []

    def __getitem__(self, name: str) -> Attr:
        return self.attrs[name]

    def ints(self, name: str) -> tuple[int, ...]:
        """An attribute that is a list of ints."""
        value = self.attrs[name]
        assert isinstance(value, tuple)
        return tuple(each for each in value if isinstance(each, int))

    def type(self, name: str) -> TensorType:
        return self.values[name].type

    def number(self, name: str) -> float | None:
        """The number that is every element of a value, if it is a constant."""
        producer = self.producers.get(self.values[name].name)
        number = uniform(producer) if producer else None
        return number if isinstance(number, int | float) else None

    @property
    def root(self) -> Op:
        return self.ops[0]


Build = Callable[[Builder, Match], "Value | None"]
Example = Mapping[str, Attr]


@dataclass(frozen=True)
class Condition:
    """What must hold besides the pattern. `refused` changes the rule's example into one that this condition
    alone refuses, and on which the rule would be wrong: a test shows both."""

    name: str
    holds: Callable[[Match], bool]
    refused: Example


@dataclass(frozen=True)
class Rule:
    """One rewrite. `let` computes attributes that the replacement names. With `single_use`, what the
    pattern's inner ops compute has no other reader. `example` gives the pattern's names types ("f32[2, 3]"),
    numbers and attributes: a test runs both sides on them."""

    pattern: str
    replacement: str | Build
    when: tuple[Condition, ...] = ()
    let: Mapping[str, Callable[[Match], Attr]] = field(default_factory=dict)
    single_use: bool = False
    example: Example = field(default_factory=dict)

    @cached_property
    def tree(self) -> ast.Call:
        tree = parse_pattern(self.pattern)
        assert isinstance(tree, ast.Call), f"a pattern is a call: {self.pattern}"
        return tree

    @property
    def root(self) -> str:
        return op_name(self.tree)

    def build(self, builder: Builder, match: Match) -> Value | None:
        """The replacement, its ops appended to `builder`. None where it does not apply after all."""
        if not isinstance(self.replacement, str):
            return self.replacement(builder, match)
        match.attrs.update({name: compute(match) for name, compute in self.let.items()})
        result = _construct(parse_pattern(self.replacement), builder, match)
        return result if isinstance(result, Value) else None


@lru_cache(maxsize=1024)
def parse_pattern(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def op_name(call: ast.Call) -> str:
    assert isinstance(call.func, ast.Name)
    return call.func.id


@once
def rewrite(function: Function, rules: Sequence[Rule]) -> Function:
    """The function with the rules applied, from top to bottom, until none applies. What is left unread stays:
    the pass of dead code takes it away."""
    rewriter = _Rewriter(function, rules)
    body = rewriter.body(function.body)
    if not rewriter.applied:
        return function
    outputs = tuple((name, rewriter.now(value)) for name, value in function.outputs)
    return replace(function, body=body, outputs=outputs)


_GROUPED: dict[int, tuple[Sequence[Rule], Mapping[str, Sequence[Rule]]]] = {}


def _by_root(rules: Sequence[Rule]) -> Mapping[str, Sequence[Rule]]:
    """The rules by the op that they begin at; a pass has the same ones for every function."""
    known = _GROUPED.get(id(rules))
    if known is None or known[0] is not rules:
        found: dict[str, list[Rule]] = {}
        for rule in rules:
            found.setdefault(rule.root, []).append(rule)
        known = _GROUPED[id(rules)] = (rules, found)
    return known[1]


class _Rewriter:
    def __init__(self, function: Function, rules: Sequence[Rule]) -> None:
        self.function = function
        self.facts = Facts(function.facts)
        self.rules = _by_root(rules)
        self.producers: dict[str, Op] = {}
        self.types: dict[str, TensorType] = {value.name: value.type for value in function.inputs}
        self.alias: dict[str, str] = {}
        self.applied = 0

    @cached_property
    def names(self) -> Names:
        return Names.of(self.function)

    @cached_property
    def uses(self) -> Mapping[str, int]:
        return use_counts(self.function)

    def now(self, name: str) -> str:
        return self.alias.get(name, name)

    def body(self, body: Iterable[Op]) -> tuple[Op, ...]:
        result: list[Op] = []
        for op in body:
            if op.region is not None:
                op = self.region(op, op.region)
            result += self.settled(op)
        return tuple(result)

    def region(self, op: Op, region: Region) -> Op:
        self.types.update((value.name, value.type) for value in region.args)
        body = self.body(region.body)
        return replace(op, region=Region(region.args, body, tuple(map(self.now, region.results))))

    def settled(self, op: Op) -> Iterator[Op]:
        """The op, or what comes of it once no rule applies any more."""
        waiting = deque([op])
        budget = BUDGET
        while waiting:
            op = waiting.popleft()
            if self.alias:
                op = replace(op, inputs=tuple(map(self.now, op.inputs)))
            new = self.rewritten(op) if budget else None
            if new is None:
                self.producers.update((value.name, op) for value in op.outputs)
                self.types.update((value.name, value.type) for value in op.outputs)
                yield op
            else:
                budget -= 1
                waiting.extendleft(reversed(new))

    def rewritten(self, op: Op) -> list[Op] | None:
        """The ops that replace this one, or None where no rule applies."""
        for rule in self.rules.get(op.op, ()):
            for match in self.matches(rule, op):
                new = self.replaced(rule, match)
                if new is not None:
                    self.applied += 1
                    return new
        return None

    def replaced(self, rule: Rule, match: Match) -> list[Op] | None:
        out = match.root.out
        builder = Builder(self.facts, names=self.names.fresh)
        builder.span = match.root.span
        try:
            result = rule.build(builder, match)
        except OpError:
            return None
        if result is None or not self.same(result.type, out.type):
            return None
        if not any(value.name == result.name for op in builder.body for value in op.outputs):
            self.alias[out.name] = result.name
            return builder.body
        # What computes the replacement takes over the name, so that no reader changes.
        return [_renamed(op, result.name, out) for op in builder.body]

    def same(self, a: TensorType, b: TensorType) -> bool:
        if a.dtype != b.dtype or a.rank != b.rank:
            return False
        return all(
            (x == y or self.facts.prove_eq(x, y)) and not _by_chance(x, y)
            for x, y in zip(a.axes, b.axes, strict=True)
        )

    # Matching

    def matches(self, rule: Rule, op: Op) -> Iterator[Match]:
        """Every way in which the rule matches at this op (commutative operands may match twice)."""
        if len(op.outputs) != 1:
            return
        for state in self.call(rule.tree, op, _State({}, {}, ())):
            match = Match(self.producers)
            match.values = {name: Value(value, self.types[value]) for name, value in state.values.items()}
            match.attrs = dict(state.attrs)
            match.ops = list(state.ops)
            if rule.single_use and any(self.uses[each.out.name] > 1 for each in match.ops[1:]):
                continue
            if all(each.holds(match) for each in rule.when):
                yield match

    def call(self, pattern: ast.Call, op: Op, state: _State) -> Iterator[_State]:
        if op.op != op_name(pattern) or len(op.inputs) != len(pattern.args) or len(op.outputs) != 1:
            return
        bound = _match_attrs(pattern, op, state)
        if bound is None:
            return
        bound = replace(bound, ops=(*bound.ops, op))
        yield from self.operands(pattern.args, op.inputs, bound)
        if op.op in COMMUTATIVE and op.inputs[0] != op.inputs[1]:
            yield from self.operands(pattern.args, op.inputs[::-1], bound)

    def operands(self, patterns: Sequence[ast.expr], names: Sequence[str], state: _State) -> Iterator[_State]:
        if not patterns:
            yield state
            return
        for after in self.operand(patterns[0], names[0], state):
            yield from self.operands(patterns[1:], names[1:], after)

    def operand(self, pattern: ast.expr, name: str, state: _State) -> Iterator[_State]:
        if isinstance(pattern, ast.Name):
            if name and state.values.get(pattern.id, name) == name:
                yield replace(state, values={**state.values, pattern.id: name})
        elif isinstance(pattern, ast.Call):
            if name in self.producers:
                yield from self.call(pattern, self.producers[name], state)
        elif name in self.producers and _same_number(literal(pattern), uniform(self.producers[name])):
            yield state


@dataclass(frozen=True)
class _State:
    """What has been bound so far; values by name only."""

    values: Mapping[str, str]
    attrs: Mapping[str, Attr]
    ops: tuple[Op, ...]


def _match_attrs(pattern: ast.Call, op: Op, state: _State) -> _State | None:
    attrs = dict(state.attrs)
    for keyword in pattern.keywords:
        assert keyword.arg is not None
        value = op.attr(keyword.arg)
        wanted = keyword.value
        if not isinstance(wanted, ast.Name):
            if value != literal(wanted):
                return None
        elif attrs.setdefault(wanted.id, value) != value:
            return None
    return replace(state, attrs=attrs)


def literal(node: ast.expr) -> Attr:
    value: Attr = ast.literal_eval(node)
    return value


def uniform(op: Op) -> Attr:
    """The number that is every element of a constant, or None."""
    value = op.attr("value") if op.op in ("const", "full") else None
    while isinstance(value, tuple) and value and all(_alike(each, value[0]) for each in value):
        value = value[0]
    # A number that came from a static parameter is this one only here: emitted source may be used with others.
    return None if isinstance(value, tuple) or names(value) else value


def _alike(a: Any, b: Any) -> bool:
    """Whether two numbers, or tuples of them, are equal, zeros with their signs."""
    if isinstance(a, tuple) or isinstance(b, tuple):
        both = isinstance(a, tuple) and isinstance(b, tuple)
        return both and len(a) == len(b) and all(map(_alike, a, b))
    return a == b and (not isinstance(a, float) or _same_number(a, b))


def _by_chance(x: Dim, y: Dim) -> bool:
    """Whether one is 1 and the other a static parameter that happens to be 1: what is emitted is for others, too."""
    return x.constant == 1 and (said(x).constant == 1) != (said(y).constant == 1)


def _same_number(wanted: Attr, found: Attr) -> bool:
    """Equal numbers, with equal signs: 0.0 is not -0.0."""
    if not isinstance(wanted, int | float) or not isinstance(found, int | float) or isinstance(found, bool):
        return False
    return wanted == found and math.copysign(1, wanted) == math.copysign(1, found)


def _construct(node: ast.expr, builder: Builder, match: Match) -> Operand:
    if isinstance(node, ast.Name):
        return match.values[node.id]
    if not isinstance(node, ast.Call):
        number = literal(node)
        assert isinstance(number, int | float)
        return number
    operands = [_construct(arg, builder, match) for arg in node.args]
    attrs: dict[str, Any] = {str(each.arg): _attribute(each.value, match) for each in node.keywords}
    return builder.op(op_name(node), *operands, **attrs)


def _attribute(node: ast.expr, match: Match) -> Attr:
    return match.attrs[node.id] if isinstance(node, ast.Name) else literal(node)


def _renamed(op: Op, old: str, new: Value) -> Op:
    """The op where the value `old`, its own result or an operand, is `new`."""
    outputs = tuple(new if value.name == old else value for value in op.outputs)
    return replace(op.renamed({old: new.name}), outputs=outputs)
