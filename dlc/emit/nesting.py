"""What is nested where it is read, and what stays a statement.

A value that the spec has named keeps its statement. One that it has not stands where it is read, as long as the
line stays short and calls do not nest deeply.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from dlc.emit.checks import Check
from dlc.emit.layout import INDENT
from dlc.emit.layout import WIDTH as LINE
from dlc.emit.statements import Assign, If, Loop, Stmt, Store, expressions
from dlc.emit.tree import (
    Binary,
    Call,
    Dot,
    Expr,
    Heavy,
    Make,
    Ref,
    Seq,
    Word,
    children,
    refs,
    text,
    transform,
)
from dlc.records import dataclass, field, replace

WIDTH = 88  # of a line with nested calls; the formatter allows 100
WIDEST = 96  # of a sum or product, with its names; the longest get some room
MAX_DEPTH = 3  # calls within calls
END = 1_000_000_000

_NUMBER = re.compile(r"_\d+$")


def depth(expr: Expr) -> int:
    """How deep calls nest. A chain of methods counts as one call, a class of ours as two."""
    match expr:
        case Call(Heavy(), args):
            return 2 + max((depth(arg) for arg in args), default=0)
        case Call(Dot(inner), args):
            return max(depth(inner), 1 + max((depth(arg) for arg in args), default=0))
        case Call(_, args) | Make(_, args):
            return 1 + max((depth(arg) for arg in args), default=0)
    return max((depth(child) for child in children(expr)), default=0)


def substitute(expr: Expr, values: Mapping[str, Expr]) -> Expr:
    return transform(expr, lambda node: values.get(node.value, node) if isinstance(node, Ref) else node)


def _plain(expr: Expr) -> str:
    """The text with short names for variables, to see how long it gets."""
    return text(transform(expr, lambda node: Word("x") if isinstance(node, Ref) else node))


def _named(expr: Expr) -> str:
    """The text with the names that the spec gives, or short ones."""
    return text(
        transform(expr, lambda node: Word(_NUMBER.sub("", node.value)) if isinstance(node, Ref) else node)
    )


def _fits(expr: Expr, indent: int) -> bool:
    named = _named(expr) if isinstance(expr, Binary) else ""
    width = len(INDENT) * indent + len("x = ") + len(named)
    # The formatter would break it in the brackets of its last call, behind `(a + b).call(` or `a + call(`.
    if named.startswith("(") and width > WIDEST:
        return False
    if isinstance(expr, Binary) and isinstance(expr.right, Call) and width > LINE:
        return False
    match expr:
        case Call(Word(), (Seq(items, "[]"), *_)) if len(items) > 2:
            # Parts that are short each may stand on lines of their own.
            return all(_fits(item, indent + 2) for item in items)
    return depth(expr) <= MAX_DEPTH and len(INDENT) * indent + len("x = ") + len(_plain(expr)) <= WIDTH


@dataclass
class Nesting:
    """Puts temporaries where they are read. `reads` counts how often each value is read in the whole
    function; `is_layer` tells calls of parts that hold parameters. What makes a value of `draws` is done in the
    order of the spec: it takes the next numbers of a generator."""

    reads: Counter[str]
    is_layer: Callable[[Expr], bool]
    draws: frozenset[str] = frozenset()
    drawn: dict[str, int] = field(default_factory=dict)
    """When the first of the draws in a temporary is due."""
    clock: int = 0
    inner: dict[str, Assign] = field(default_factory=dict)
    """For a temporary, the only one that has been put into it, and the statement without (`bare`)."""
    bare: dict[str, Assign] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What the spec says of the temporaries that were put somewhere last; behind `block`, of what its results hold."""

    def block(
        self, body: Sequence[Stmt], results: Sequence[Expr], indent: int
    ) -> tuple[list[Stmt], list[Expr]]:
        here = Counter(name for stmt in body for expr in direct(stmt) for name in refs(expr))
        here.update(name for expr in results for name in refs(expr))
        pending: dict[str, Assign] = {}
        done: list[Stmt] = []
        for stmt in body:
            if isinstance(stmt, Store | Check | Loop | If):
                self._flush(pending, done, stmt)
            due = self._due(stmt)
            stmt = self._settled(stmt, pending, done, indent)
            waits = isinstance(stmt, Assign) and self._may_wait(stmt, here)
            if due is not None:
                waits = waits and not any(self.drawn.get(name, due) > due for name in pending)
                if not waits:
                    self._draw_before(due, pending, done)
            if waits and isinstance(stmt, Assign):
                name = stmt.targets[0].name
                pending[name] = stmt
                self.drawn |= {} if due is None else {name: due}
            else:
                done.append(stmt)
        return done, self._returned(results, pending, done, indent)

    def _due(self, stmt: Stmt) -> int | None:
        """When the first of the draws in a statement is due, those in what it reads included; None where it has none."""
        if not self.draws:
            return None
        inside = [self.drawn[name] for expr in direct(stmt) for name in refs(expr) if name in self.drawn]
        if isinstance(stmt, Assign) and any(target.name in self.draws for target in stmt.targets):
            self.clock += 1
            inside.append(self.clock)
        return min(inside, default=None)

    def _draw_before(self, due: int, pending: dict[str, Assign], done: list[Stmt]) -> None:
        """Temporaries that draw before that become statements."""
        early = [name for name in pending if self.drawn.get(name, due) < due]
        done += [pending.pop(name) for name in sorted(early, key=self.drawn.__getitem__)]

    def _may_wait(self, stmt: Assign, here: Counter[str]) -> bool:
        name = stmt.targets[0].name
        return stmt.temporary and len(stmt.targets) == 1 and self.reads[name] == 1 and here[name] == 1

    def _flush(self, pending: dict[str, Assign], done: list[Stmt], stmt: Stmt) -> None:
        """Statements with an effect keep their place: what is read only after them is computed before."""
        read = {name for expr in direct(stmt) for name in refs(expr)}
        for name in [name for name in pending if name not in read]:
            done.append(pending.pop(name))

    def _settled(self, stmt: Stmt, pending: dict[str, Assign], done: list[Stmt], indent: int) -> Stmt:
        """The statement with the temporaries that it reads put in."""
        match stmt:
            case Assign(expr=expr):
                waiting = dict(pending)
                filled = replace(stmt, expr=self._filled(expr, pending, done, indent))
                filled = replace(filled, note=self._noted(stmt.note))
                put = [
                    name
                    for name in refs(expr)
                    if name in waiting and waiting[name] not in done and name not in pending
                ]
                if len(put) == 1:
                    self.inner[stmt.targets[0].name] = waiting[put[0]]
                    self.bare[stmt.targets[0].name] = stmt
                return filled
            case Check(condition=expr):
                return replace(
                    stmt, condition=self._filled(expr, pending, done, indent)
                )  # its message reads sizes only
            case Store(value=expr):
                value = self._filled(expr, pending, done, indent)
                return replace(stmt, value=value, note=self._noted(stmt.note))
            case Loop():
                inputs = tuple(self._filled(expr, pending, done, indent) for expr in stmt.inputs)
                source = self._filled(stmt.source, pending, done, indent)
                held = [item for _, item in stmt.kept]
                inside, found = self.block(stmt.body, [*stmt.results, *held], indent + 1)
                results, items = tuple(found[: len(stmt.results)]), found[len(stmt.results) :]
                kept = tuple((target, item) for (target, _), item in zip(stmt.kept, items, strict=True))
                note = self._noted(stmt.note)
                stmt = replace(stmt, inputs=inputs, source=source, body=tuple(inside))
                return replace(stmt, results=results, kept=kept, note=note)
            case If():
                condition = self._filled(stmt.condition, pending, done, indent)
                then, given = self._side(stmt.then, stmt.results, indent)
                otherwise, others = self._side(stmt.otherwise, stmt.others, indent)
                return If(condition, then, given, otherwise, others, stmt.outputs, self._noted(stmt.note))

    def _side(
        self, body: Sequence[Stmt], results: Sequence[Expr | None], indent: int
    ) -> tuple[tuple[Stmt, ...], tuple[Expr | None, ...]]:
        there = [each for each in results if each is not None]
        inside, found = self.block(body, there, indent + 1)
        given = iter(found)
        return tuple(inside), tuple(None if each is None else next(given) for each in results)

    def _filled(self, expr: Expr, pending: dict[str, Assign], done: list[Stmt], indent: int) -> Expr:
        nested = [name for name in refs(expr) if name in pending]
        while nested:
            whole = substitute(expr, {name: pending[name].expr for name in nested})
            draws = [name for name in nested if name in self.drawn]
            in_order = draws == sorted(draws, key=self.drawn.__getitem__)
            if in_order and _fits(whole, indent):
                break
            # The one that makes it longest becomes a statement, behind those that draw before it.
            worst = (
                max(nested, key=lambda name: (depth(pending[name].expr), len(_plain(pending[name].expr))))
                if in_order
                else min(draws, key=self.drawn.__getitem__)
            )
            if worst in self.drawn:
                self._draw_before(self.drawn[worst], pending, done)
            if not self._opened(expr, worst, pending, done):
                done.append(pending.pop(worst))
            nested = [name for name in nested if name in pending]
        self.notes += [pending[name].note for name in nested if pending[name].note]
        found = {name: pending.pop(name).expr for name in nested}
        return substitute(expr, found)

    def _noted(self, own: str) -> str:
        """What is said of a statement and of what was put into it."""
        found, self.notes = [*self.notes, *([own] if own else [])], []
        return "\n".join(dict.fromkeys(found))

    def _opened(self, expr: Expr, name: str, pending: dict[str, Assign], done: list[Stmt]) -> bool:
        """Break a chain between a function and the layer that follows it: `x = F.relu(self.fc1(x))`, and then
        `F.relu(self.fc2(x))`, rather than `self.fc2(F.relu(self.fc1(x)))` and a function of that."""
        outer = pending[name]
        inner = self.inner.get(name)
        if inner is None or self.is_layer(expr) or not self.is_layer(outer.expr) or self.is_layer(inner.expr):
            return False
        done.append(inner)
        del self.inner[name]
        pending[name] = self.bare[name]
        return True

    def _returned(
        self, results: Sequence[Expr], pending: dict[str, Assign], done: list[Stmt], indent: int
    ) -> list[Expr]:
        if not pending and len(results) == 1 and done:
            results = [self._last(results[0], done, indent)]
        found = [self._filled(expr, pending, done, indent + 1) for expr in results]
        done.extend(pending.values())
        return found

    def _last(self, result: Expr, done: list[Stmt], indent: int) -> Expr:
        """`return self.conv(x)` instead of `y = self.conv(x)` and `return y`."""
        last = done[-1]
        if not isinstance(last, Assign) or len(last.targets) != 1 or result != Ref(last.targets[0].name):
            return result
        long = 4 * indent + len("return ") + len(_plain(last.expr)) > 96
        if self.reads[last.targets[0].name] != 1 or (long and not isinstance(last.expr, Call)):
            return result
        done.pop()
        self.notes += [last.note] if last.note else []
        return last.expr


def direct(stmt: Stmt) -> Iterable[Expr]:
    """The expressions that a statement evaluates itself, not those inside a loop."""
    if isinstance(stmt, If):
        return (stmt.condition,)
    return (*stmt.inputs, stmt.source) if isinstance(stmt, Loop) else expressions((stmt,))


# --- reads --------------------------------------------------------------------------------------------------


def last_reads(body: Sequence[Stmt], results: Iterable[Expr]) -> dict[str, int]:
    """Where each value is read for the last time: statements are counted, a loop counts again at its end, and
    what it reads from outside is read until there."""
    last: dict[str, int] = {}
    _Positions(last).count(body, 0)
    last.update((name, END) for expr in results for name in refs(expr))
    return last


def reads_of(body: Sequence[Stmt], results: Iterable[Expr], at: int, names: Iterable[str]) -> dict[str, int]:
    """Where some values are read for the last time in statements behind position `at`, and by what these give."""
    last: dict[str, int] = {}
    end = _Positions(last).count(body, at) + 1
    last.update((name, end) for expr in results for name in refs(expr))
    return {name: last[name] for name in names if name in last}


@dataclass
class _Positions:
    last: dict[str, int]

    def count(self, body: Sequence[Stmt], at: int) -> int:
        for stmt in body:
            at += 1
            for expr in direct(stmt):
                self.last.update((name, at) for name in refs(expr))
            if isinstance(stmt, Loop):
                at = self._loop(stmt, at)
            if isinstance(stmt, If):
                at = self._sides(stmt, at)
        return at

    def _sides(self, stmt: If, at: int) -> int:
        """What either side reads is read until the end of both: the variable of one may not be taken in the other."""
        begins = at
        for body, results in ((stmt.then, stmt.results), (stmt.otherwise, stmt.others)):
            at = self.count(body, at) + 1
            self.last.update((name, at) for each in results if each is not None for name in refs(each))
        own = set(_defined(stmt.then)) | set(_defined(stmt.otherwise))
        for name, last in self.last.items():
            if begins < last < at and name not in own:
                self.last[name] = at
        return at

    def _loop(self, loop: Loop, at: int) -> int:
        own = {target.name for target in (*loop.args, *loop.slices)} | set(_defined(loop.body))
        inside: dict[str, int] = {}
        end = _Positions(inside).count(loop.body, at) + 1
        given = (*loop.results, *(item for _, item in loop.kept))
        inside.update((name, end) for expr in given for name in refs(expr))
        self.last.update((name, at if name in own else end) for name, at in inside.items())
        return end


def _defined(body: Iterable[Stmt]) -> Iterator[str]:
    for stmt in body:
        match stmt:
            case Assign(targets=targets):
                yield from (target.name for target in targets)
            case Loop():
                yield from (target.name for target in (*stmt.args, *stmt.slices, *stmt.outputs))
                yield from _defined(stmt.body)
            case If():
                yield from (target.name for target in stmt.outputs)
                yield from _defined(stmt.then)
                yield from _defined(stmt.otherwise)
