"""The statements of one method or function as lines of source: what is nested where it is used, what gets a
variable.

A value that the spec has named keeps its name and its statement. One that it has not stands where it is read,
as long as the line stays short and calls do not nest deeply; otherwise it takes a variable: the one that it
is computed from, if that is read for the last time, else the name of the operand that it becomes. So `x = x +
self.attn(self.ln_1(x))` comes out as it was written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dlc.emit.checks import Check, check_lines
from dlc.emit.layout import INDENT, layout
from dlc.emit.names import identifier, unique
from dlc.emit.tree import (
    At,
    Binary,
    Call,
    Dot,
    Expr,
    Ref,
    Seq,
    Size,
    Text,
    Word,
    refs,
    text,
    transform,
    walk,
)
from dlc_torch.draft import GENERATED, plain_name
from dlc_torch.solve import Arg
from dlc_torch.statements import Assign, Device, Loop, Stmt, Store, Target, Training, expressions

WIDTH = 88  # of a line with nested calls; the formatter allows 100
MAX_DEPTH = 3  # calls within calls
END = 1_000_000_000

RESERVED = frozenset({"self", "torch", "nn", "math", "F", "Tensor", "range", "zip", "super", "i", "_"})


@dataclass(frozen=True, slots=True)
class Heavy(Expr):
    """An instance of a class of ours, or a container that is called: a step that a line should not hold many
    of."""

    value: Expr


# --- nesting ------------------------------------------------------------------------------------------------


def depth(expr: Expr) -> int:
    """How deep calls nest. A chain of methods counts as one call, a class of ours as two."""
    match expr:
        case Call(Heavy(), args):
            return 2 + max((depth(arg) for arg in args), default=0)
        case Call(Dot(inner), args):
            return max(depth(inner), 1 + max((depth(arg) for arg in args), default=0))
        case Call(_, args):
            return 1 + max((depth(arg) for arg in args), default=0)
    return max((depth(child) for child in _children(expr)), default=0)


def is_layer(expr: Expr) -> bool:
    """Whether an expression is the call of a part of `self`."""
    return isinstance(expr, Call) and _plain(expr.function).startswith("self.")


def _children(expr: Expr) -> Iterator[Expr]:
    stack = [getattr(expr, name) for name in expr.__dataclass_fields__]
    while stack:
        each = stack.pop()
        if isinstance(each, Expr):
            yield each
        elif isinstance(each, tuple):
            stack.extend(each)


def substitute(expr: Expr, values: Mapping[str, Expr]) -> Expr:
    return transform(expr, lambda node: values.get(node.value, node) if isinstance(node, Ref) else node)


def _plain(expr: Expr) -> str:
    """The text with short names for variables, to see how long it gets."""

    def change(node: Expr) -> Expr:
        match node:
            case Ref():
                return Word("x")
            case Device():
                return Word("x.device")
            case Training():
                return Word("self.training")
            case Heavy(value):
                return value
        return node

    return text(transform(expr, change))


def _fits(expr: Expr, indent: int) -> bool:
    match expr:
        case Call(Word("torch.cat" | "torch.stack"), (Seq(items), *_)) if len(items) > 2:
            # Parts that are short each may stand on lines of their own.
            return all(_fits(item, indent + 2) for item in items)
    return depth(expr) <= MAX_DEPTH and len(INDENT) * indent + len("x = ") + len(_plain(expr)) <= WIDTH


@dataclass
class Nesting:
    """Puts temporaries where they are read. `reads` counts how often each value is read in the whole
    function."""

    reads: Counter[str]
    inner: dict[str, Assign] = field(default_factory=dict)
    """For a temporary, the only one that has been put into it, and the expression without (`bare`)."""
    bare: dict[str, Expr] = field(default_factory=dict)

    def block(
        self, body: Sequence[Stmt], results: Sequence[Expr], indent: int
    ) -> tuple[list[Stmt], list[Expr]]:
        here = Counter(name for stmt in body for expr in _direct(stmt) for name in refs(expr))
        here.update(name for expr in results for name in refs(expr))
        pending: dict[str, Assign] = {}
        done: list[Stmt] = []
        for stmt in body:
            if isinstance(stmt, Store | Check | Loop):
                self._flush(pending, done, stmt)
            stmt = self._settled(stmt, pending, done, indent)
            if isinstance(stmt, Assign) and self._may_wait(stmt, here):
                pending[stmt.targets[0].name] = stmt
            else:
                done.append(stmt)
        return done, self._returned(results, pending, done, indent)

    def _may_wait(self, stmt: Assign, here: Counter[str]) -> bool:
        name = stmt.targets[0].name
        return stmt.temporary and len(stmt.targets) == 1 and self.reads[name] == 1 and here[name] == 1

    def _flush(self, pending: dict[str, Assign], done: list[Stmt], stmt: Stmt) -> None:
        """Statements with an effect keep their place: what is read only after them is computed before."""
        read = {name for expr in _direct(stmt) for name in refs(expr)}
        for name in [name for name in pending if name not in read]:
            done.append(pending.pop(name))

    def _settled(self, stmt: Stmt, pending: dict[str, Assign], done: list[Stmt], indent: int) -> Stmt:
        """The statement with the temporaries that it reads put in."""
        match stmt:
            case Assign(expr=expr):
                waiting = dict(pending)
                filled = replace(stmt, expr=self._filled(expr, pending, done, indent))
                put = [
                    name
                    for name in refs(expr)
                    if name in waiting and waiting[name] not in done and name not in pending
                ]
                if len(put) == 1:
                    self.inner[stmt.targets[0].name] = waiting[put[0]]
                    self.bare[stmt.targets[0].name] = expr
                return filled
            case Check(condition=expr):
                return replace(
                    stmt, condition=self._filled(expr, pending, done, indent)
                )  # its message reads sizes only
            case Store(value=expr):
                return replace(stmt, value=self._filled(expr, pending, done, indent))
            case Loop():
                inputs = tuple(self._filled(expr, pending, done, indent) for expr in stmt.inputs)
                inside, results = self.block(stmt.body, stmt.results, indent + 1)
                return replace(stmt, inputs=inputs, body=tuple(inside), results=tuple(results))

    def _filled(self, expr: Expr, pending: dict[str, Assign], done: list[Stmt], indent: int) -> Expr:
        nested = [name for name in refs(expr) if name in pending]
        while nested:
            whole = substitute(expr, {name: pending[name].expr for name in nested})
            if _fits(whole, indent):
                break
            # The one that makes it longest becomes a statement; those read before it go first.
            worst = max(nested, key=lambda name: (depth(pending[name].expr), len(_plain(pending[name].expr))))
            if not self._opened(expr, worst, pending, done):
                nested.remove(worst)
                done.append(pending.pop(worst))
        found = {name: pending.pop(name).expr for name in nested}
        return substitute(expr, found)

    def _opened(self, expr: Expr, name: str, pending: dict[str, Assign], done: list[Stmt]) -> bool:
        """Break a chain between a function and the layer that follows it: `x = F.relu(self.fc1(x))`, and then
        `F.relu(self.fc2(x))`, rather than `self.fc2(F.relu(self.fc1(x)))` and a function of that."""
        outer = pending[name]
        inner = self.inner.get(name)
        if inner is None or is_layer(expr) or not is_layer(outer.expr) or is_layer(inner.expr):
            return False
        done.append(inner)
        del self.inner[name]
        pending[name] = replace(outer, expr=self.bare[name])
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
        return last.expr


def _direct(stmt: Stmt) -> Iterable[Expr]:
    """The expressions that a statement evaluates itself, not those inside a loop."""
    return stmt.inputs if isinstance(stmt, Loop) else expressions((stmt,))


# --- variables ----------------------------------------------------------------------------------------------


@dataclass
class Variables:
    """Gives every value a variable. `last` is where each value is read for the last time; a variable is free
    for another value from there on."""

    last: dict[str, int]
    hints: Mapping[str, Sequence[str]]
    names: dict[str, str] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    reserved: set[str] = field(default_factory=lambda: set(RESERVED))

    def free(self, name: str, at: int) -> bool:
        if name in self.reserved:
            return False
        holder = self.holders.get(name)
        return holder is None or self.last.get(holder, -1) <= at

    def give(self, value: str, hints: Iterable[str], at: int) -> str:
        name = hint = "y"
        for hint in hints:
            name = safe(hint)
            if self.free(name, at):
                break
        else:
            taken = {each for each in self.holders if not self.free(each, at)} | self.reserved
            name = unique(safe(hint), taken)
        self.holders[name] = value
        self.names[value] = name
        return name


def safe(hint: str) -> str:
    name = identifier(hint.strip("_") or hint)
    if name in ("l", "O", "I"):  # read as digits
        name += "_"
    return name if name not in RESERVED else f"{name}_"


def last_reads(body: Sequence[Stmt], results: Iterable[Expr]) -> dict[str, int]:
    """Where each value is read for the last time: statements are counted, a loop counts again at its end, and
    what it reads from outside is read until there."""
    last: dict[str, int] = {}
    _Positions(last).count(body, 0)
    last.update((name, END) for expr in results for name in refs(expr))
    return last


@dataclass
class _Positions:
    last: dict[str, int]

    def count(self, body: Sequence[Stmt], at: int) -> int:
        for stmt in body:
            at += 1
            for expr in _direct(stmt):
                self.last.update((name, at) for name in refs(expr))
            if isinstance(stmt, Loop):
                at = self._loop(stmt, at)
        return at

    def _loop(self, loop: Loop, at: int) -> int:
        own = {target.name for target in loop.args} | set(_defined(loop.body))
        inside: dict[str, int] = {}
        end = _Positions(inside).count(loop.body, at) + 1
        inside.update((name, end) for expr in loop.results for name in refs(expr))
        self.last.update((name, at if name in own else end) for name, at in inside.items())
        return end


def _defined(body: Iterable[Stmt]) -> Iterator[str]:
    for stmt in body:
        match stmt:
            case Assign(targets=targets):
                yield from (target.name for target in targets)
            case Loop():
                yield from (target.name for target in (*stmt.args, *stmt.outputs))
                yield from _defined(stmt.body)


# --- lines --------------------------------------------------------------------------------------------------


@dataclass
class Writer:
    """Writes the body of one method or function, `indent` levels in."""

    variables: Variables
    indent: int
    device: str = ""
    sizes: Mapping[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    shapes: dict[str, str] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    told: str = ""
    at: int = 0

    def line(self, line: str, comment: str = "") -> None:
        self.lines += layout(line, self.indent, comment=comment)

    def text(self, expr: Expr) -> str:
        return text(self.final(expr))

    def final(self, expr: Expr) -> Expr:
        def change(node: Expr) -> Expr:
            match node:
                case Ref(value):
                    return Word(self.variables.names[value])
                case Device():
                    return Word(self.device)
                case Size(symbol):
                    return Word(self.sizes.get(symbol, symbol))
                case Heavy(value):
                    return value
            return node

        return transform(expr, change)

    def write(self, body: Sequence[Stmt], goals: Mapping[str, str] | None = None) -> None:
        """`goals` are the variables that values of a loop's body are to end up in."""
        for stmt in body:
            self.at += 1
            match stmt:
                case Assign():
                    self._assign(stmt, goals or {})
                case Check():
                    self._check(stmt)
                case Store(path, value):
                    self._store(path, value)
                case Loop():
                    self._loop(stmt)

    def _check(self, stmt: Check) -> None:
        self.lines += check_lines(stmt, self.text, self.indent)

    def _store(self, path: Expr, value: Expr) -> None:
        if isinstance(path, Call):  # self.get_buffer("a.b.mean")
            where = text(path.args[0])[1:-1].rpartition(".")
            owner = f'self.get_submodule("{where[0]}")' if where[0] else "self"
            self.line(f'{owner}.register_buffer("{where[2]}", {self.text(value)})')
        else:
            self.line(f"{text(path)} = {self.text(value)}")

    def _assign(self, stmt: Assign, goals: Mapping[str, str]) -> None:
        read = self.text(stmt.expr)
        first = next(iter(refs(stmt.expr)), "")
        leading = self.shapes.get(self.variables.names.get(first, ""), "")
        names = [self._target(target, stmt, goals) for target in stmt.targets]
        if len(names) == 1 and names[0] == read:
            return
        self.line(f"{', '.join(names)} = {read}", self._comment(stmt.targets, names, leading))

    def _target(self, target: Target, stmt: Assign, goals: Mapping[str, str]) -> str:
        if target.name not in self.variables.last:
            return "_"
        self.dtypes[target.name] = target.dtype
        hints = [goals[target.name]] if target.name in goals else []
        hints += self._hints(target, stmt)
        return self.variables.give(target.name, hints, self.at)

    def _hints(self, target: Target, stmt: Assign) -> list[str]:
        own = list(self.variables.hints.get(target.name, ()))
        if not stmt.temporary:
            telling = [hint for hint in own if not is_generated(hint)]
            return telling or _letters(target, stmt)
        plain = "mask" if target.dtype == "bool" else "index" if target.dtype.startswith(("i", "u")) else "y"
        return [*own[:-1], *self._reused(target, stmt.expr), plain, *_part_name(stmt.expr), plain]

    def _reused(self, target: Target, expr: Expr) -> list[str]:
        """The variable that the value is a further form of: `x = F.relu(x)`, `x = x + y`."""
        read = list(dict.fromkeys(refs(expr)))
        leads = len(read) == 1 or (isinstance(expr, Binary) and expr.left == Ref(read[0]) if read else False)
        return [self.variables.names[read[0]]] if leads and self.dtypes.get(read[0]) == target.dtype else []

    def _comment(self, targets: Sequence[Target], names: Sequence[str], leading: str) -> str:
        shown = [shape_text(target) for target, name in zip(targets, names, strict=True) if name != "_"]
        known = [self.shapes.get(name) for name in names if name != "_"]
        if len(shown) == 1 and not known[0] and shown[0] == leading:
            known = list(shown)
        self.shapes.update((name, shape_text(target)) for target, name in zip(targets, names, strict=True))
        text = ", ".join(shown[:1] if len(set(shown)) == 1 else shown)
        before, self.told = self.told, text
        if shown == known or text == before or "" in shown or max(map(len, shown), default=0) > 48:
            return ""
        return text

    # --- loops ----------------------------------------------------------------------------------------------

    def _loop(self, loop: Loop) -> None:
        carried = [self._carry(arg, expr) for arg, expr in zip(loop.args, loop.inputs, strict=True)]
        self.line(f"for {loop.variable} in {self.text(loop.source)}:")
        goals = {
            expr.value: name
            for expr, name in zip(loop.results, carried, strict=True)
            if isinstance(expr, Ref)
        }
        self.indent += 1
        before = len(self.lines)
        self.write(loop.body, goals)
        self._turn_over(carried, [self.text(expr) for expr in loop.results])
        if len(self.lines) == before:
            self.line("pass")
        self.indent -= 1
        self.at += 1
        for target, name in zip(loop.outputs, carried, strict=True):
            self.variables.holders[name] = target.name
            self.variables.names[target.name] = name
            self.dtypes[target.name] = target.dtype

    def _carry(self, arg: Target, expr: Expr) -> str:
        """The variable of a carried value, which holds its first value when the loop begins."""
        read = self.text(expr)
        hints = list(self.variables.hints.get(arg.name, ("y",)))
        if isinstance(expr, Ref) and self.variables.free(read, self.at):
            hints.insert(0, read)
        self.dtypes[arg.name] = arg.dtype
        self.variables.last[arg.name] = max(self.variables.last.get(arg.name, 0), self.at + 1)
        name = self.variables.give(arg.name, hints, self.at)
        if name != read:
            self.line(f"{name} = {read}", "" if self.shapes.get(name) == shape_text(arg) else shape_text(arg))
        self.shapes[name] = shape_text(arg)
        return name

    def _turn_over(self, carried: Sequence[str], results: Sequence[str]) -> None:
        moved = [(name, result) for name, result in zip(carried, results, strict=True) if name != result]
        if moved:
            self.line(f"{', '.join(name for name, _ in moved)} = {', '.join(result for _, result in moved)}")


def _part_name(expr: Expr) -> list[str]:
    """The name of the layer that is called: `branch2`, `position_embeddings`."""
    if not isinstance(expr, Call):
        return []
    match expr.function:
        case Heavy(Dot(_, name)) | Dot(Word("self"), name):
            return [name]
        case At(_, (Text(name),)) | Heavy(At(_, (Text(name),))):
            return [name]
    return []


def is_generated(name: str) -> bool:
    """Whether a name only says which operation made the value."""
    return plain_name(name) in GENERATED


def _letters(target: Target, stmt: Assign) -> list[str]:
    """`a, b, c` for parts that have no names."""
    if len(stmt.targets) == 1:
        return ["y"]
    at = next(i for i, each in enumerate(stmt.targets) if each.name == target.name)
    return ["abcdefgh"[at]] if len(stmt.targets) <= 8 else [f"part_{at}"]


def shape_text(target: Target) -> str:
    """`[B, T, d]`, with the dtype in front where it is no float."""
    axes = [text(_named(axis)) for axis in target.axes]
    whole = target.dtype.startswith(("f", "bf"))
    return ("" if whole else target.dtype) + f"[{', '.join(axes)}]"


def _named(expr: Expr) -> Expr:
    def change(node: Expr) -> Expr:
        match node:
            case Size(name) | Arg(name):
                return Word(name)
        return node

    return transform(expr, change)


def needed_sizes(exprs: Iterable[Expr]) -> list[str]:
    """The dims that expressions read, in order."""
    seen: dict[str, None] = {}
    for expr in exprs:
        seen.update((node.symbol, None) for node in walk(expr) if isinstance(node, Size))
    return list(seen)
