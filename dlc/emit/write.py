"""The statements of one body as lines of source, each value in a variable.

A value that the spec has named keeps its name. A temporary that is not nested takes the variable that it is
computed from, if that is read for the last time, else the name of the operand that it becomes. So `x = x +
self.attn(self.ln_1(x))` comes out as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from dlc.emit.checks import Check, check_lines, opposite
from dlc.emit.layout import INDENT, WIDTH, layout
from dlc.emit.names import Variables
from dlc.emit.names import base as base_of
from dlc.emit.names import plain as plain_word
from dlc.emit.nesting import reads_of
from dlc.emit.python import wrapped
from dlc.emit.statements import HELD, Assign, If, Loop, Stmt, Store, Target
from dlc.emit.tree import (
    Arg,
    At,
    Binary,
    Call,
    Dot,
    Expr,
    Heavy,
    Ref,
    Size,
    Text,
    Word,
    refs,
    text,
    transform,
)
from dlc.records import dataclass, field


@dataclass
class Writer:
    """Writes the body of one method or function, `indent` levels in. `sizes` tell how dims are read."""

    variables: Variables
    indent: int
    is_generated: Callable[[str], bool]
    inputs: Sequence[str] = ()
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
        return transform(expr, self.leaf)

    def leaf(self, node: Expr) -> Expr:
        """A leaf as it stands in the source."""
        match node:
            case Ref(value):
                return Word(self.variables.names[value])
            case Size(symbol) | Arg(symbol):
                return Word(self.sizes.get(symbol, symbol))
        return node

    def returned(self, results: Sequence[Expr]) -> str:
        """What stands behind `return`."""
        return ", ".join(map(self.text, results))

    def write(self, body: Sequence[Stmt], goals: Mapping[str, str] | None = None) -> None:
        """`goals` are the variables that values of a loop's body are to end up in."""
        for stmt in body:
            self.at += 1
            self.remark("" if isinstance(stmt, Check) else stmt.note)
            match stmt:
                case Assign():
                    self.assign(stmt, goals or {})
                case Check():
                    self.check(stmt)
                case Store(path, value):
                    self.store(path, value)
                case Loop():
                    self.loop(stmt)
                case If():
                    self.choice(stmt, goals or {})

    def remark(self, note: str) -> None:
        """What the spec says in a comment."""
        margin = len(INDENT) * self.indent
        for line in wrapped(note, WIDTH - margin - 2):
            self.lines.append(f"{' ' * margin}# {''.join(filter(str.isprintable, line))}".rstrip())

    def check(self, stmt: Check) -> None:
        """Raise an error unless a condition holds; what is no condition is done."""
        if is_done(stmt.condition):
            self.line(self.text(stmt.condition))
            return
        self.lines += check_lines(stmt, self.text, self.indent)

    def store(self, path: Expr, value: Expr) -> None:
        """Give a buffer its new value."""
        self.line(f"{self.text(path)} = {self.text(value)}")

    def assign(self, stmt: Assign, goals: Mapping[str, str]) -> None:
        """Give a value its variable."""
        read = self.text(stmt.expr)
        first = next(iter(refs(stmt.expr)), "")
        leading = self.shapes.get(self.variables.names.get(first, ""), "")
        names = [self.named(target, stmt, goals) for target in stmt.targets]
        if len(names) == 1 and names[0] == read:
            return
        left = stmt.pattern.format(*names).replace("(_, _)", "_") if stmt.pattern else ", ".join(names)
        self.line(f"{left} = {read}", self.comment(stmt.targets, names, leading))

    def named(self, target: Target, stmt: Assign, goals: Mapping[str, str]) -> str:
        """The variable that takes a value."""
        if target.name not in self.variables.last:
            return "_"
        self.dtypes[target.name] = target.dtype
        hints = [goals[target.name]] if target.name in goals else []
        hints += self.hints(target, stmt)
        return self.variables.give(target.name, hints, self.at)

    def hints(self, target: Target, stmt: Assign) -> list[str]:
        """Names that suit a value, the best first."""
        own = list(self.variables.hints.get(target.name, ()))
        if not stmt.temporary:
            roles = own[:-1]  # what it becomes says more than which operation made it
            telling = [*roles, *(hint for hint in own[-1:] if not self.is_generated(hint))]
            return telling or _letters(target, stmt)
        plain = "mask" if target.dtype == "bool" else "index" if target.dtype.startswith(("i", "u")) else "y"
        reused = self._reused(target, stmt.expr)
        return [*own[:-1], *_held_name(stmt.expr), *reused, plain, *_part_name(stmt.expr), plain]

    def _reused(self, target: Target, expr: Expr) -> list[str]:
        """The variable that the value is a further form of: `x = F.relu(x)`, `x = x + y`; none of which only the dtype is read."""
        of_values = transform(
            expr, lambda node: Word("") if isinstance(node, Dot) and node.name == "dtype" else node
        )
        read = list(dict.fromkeys(refs(of_values)))
        leads = len(read) == 1 or (isinstance(expr, Binary) and expr.left == Ref(read[0]) if read else False)
        return [self.variables.names[read[0]]] if leads and self.dtypes.get(read[0]) == target.dtype else []

    def comment(self, targets: Sequence[Target], names: Sequence[str], leading: str) -> str:
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

    # --- choices --------------------------------------------------------------------------------------------

    def choice(self, stmt: If, goals: Mapping[str, str]) -> None:
        """`if … else …`: each side leaves the results in variables that both share."""
        names: list[str] = []
        for i, target in enumerate(stmt.outputs):
            names.append(self._joined(target, stmt, i, goals, names))
        start = len(self.lines)
        for target, name in zip(stmt.outputs, names, strict=True):
            if self.variables.holders.get(name) == target.name:
                del self.variables.holders[name]  # either side may take it
        self.line(f"if {self.text(stmt.condition)}:")
        # What is read inside for the last time is done with on each side where that side is.
        held = self.variables.holders.values()
        passed = [each for each in held if self.variables.last.get(each, -1) <= self._end(stmt)]
        filled = self._side(stmt.then, stmt.results, names, passed)
        if not filled:  # nothing to do where it holds
            del self.lines[start:]
            self.line(f"if {self.text(opposite(stmt.condition))}:")
            if not self._side(stmt.otherwise, stmt.others, names, passed):  # both only pass a value on
                del self.lines[start:]
        else:
            at = len(self.lines)
            self._otherwise(stmt, names, passed, at)
            self._one_line(start)
            if len(self.lines) == at:
                self._one_condition(start)
        for target, name in zip(stmt.outputs, names, strict=True):
            self._holds(name, target)
            self.shapes[name] = shape_text(target)

    def _holds(self, name: str, target: Target) -> None:
        """A variable has a value of several ways to it."""
        self.variables.holders[name] = target.name
        self.variables.names[target.name] = name
        self.dtypes[target.name] = target.dtype

    def _one_line(self, start: int) -> None:
        """`y = a if condition else b` where it fits and each side only sets `y`."""
        lines = [line.strip() for line in self.lines[start:]]
        if len(lines) != 4 or lines[2] != "else:":
            return
        (name, _, then), (other, _, otherwise) = (line.partition(" = ") for line in (lines[1], lines[3]))
        line = f"{name} = {then} if {lines[0][3:-1]} else {otherwise}"
        plain = name == other and name.isidentifier() and "  #" not in line and " if " not in then + otherwise
        if plain and len(INDENT) * self.indent + len(line) <= WIDTH:
            del self.lines[start:]
            self.line(line)

    def _one_condition(self, start: int) -> None:
        """`if a and b:` for an `if` that is all that stands in another."""
        own = len(INDENT) * self.indent
        outer, *inner = self.lines[start:]
        heads = [
            line for line in inner if line.strip() and len(line) - len(line.lstrip()) == own + len(INDENT)
        ]
        if len(heads) != 1 or not (heads[0] == inner[0] and heads[0].lstrip().startswith("if ")):
            return
        conditions = [line.strip()[3:-1] for line in (outer, heads[0])]
        head = f"if {' and '.join(f'({each})' if ' or ' in each else each for each in conditions)}:"
        if heads[0].endswith(":") and "  #" not in head and own + len(head) <= WIDTH:
            self.lines[start:] = [
                INDENT * self.indent + head,
                *(line.removeprefix(INDENT) for line in inner[1:]),
            ]

    def _otherwise(self, stmt: If, names: Sequence[str], passed: Sequence[str], at: int) -> None:
        self.line("else:")
        if not self._side(stmt.otherwise, stmt.others, names, passed):
            del self.lines[at:]
        elif isinstance(stmt.otherwise[0] if len(stmt.otherwise) == 1 else None, If):
            self._chained(at)

    def _chained(self, at: int) -> None:
        """`else:` and one `if` in it as `elif`, where that is all that stands there."""
        own = len(INDENT) * self.indent
        inner = [line for line in self.lines[at + 1 :] if len(line) - len(line.lstrip()) == own + len(INDENT)]
        words = [line.split()[0].rstrip(":") for line in inner if line.strip() != ")"]
        if words[:1] != ["if"] or any(word not in ("if", "elif", "else") for word in words):
            return
        lines = [line.removeprefix(INDENT) for line in self.lines[at + 1 :]]
        lines[0] = lines[0].replace("if ", "elif ", 1)
        self.lines[at:] = lines

    def _side(
        self,
        body: Sequence[Stmt],
        results: Sequence[Expr | None],
        names: Sequence[str],
        passed: Sequence[str],
    ) -> bool:
        """One side's statements; False if there are none. Values that nothing reads behind the choice (`passed`) are read for the last
        time where this side does it, whatever the other one does."""
        before, shapes = len(self.lines), dict(self.shapes)
        last = dict(self.variables.last)
        there = [each for each in results if each is not None]
        self.variables.last.update(dict.fromkeys(passed, self.at) | reads_of(body, there, self.at, passed))
        held, known = dict(self.variables.holders), dict(self.variables.names)
        goals = {each.value: name for each, name in zip(results, names, strict=True) if isinstance(each, Ref)}
        self.indent += 1
        self.write(body, goals)
        self.at += 1
        given = ["None" if each is None else self.text(each) for each in results]
        self._turn_over(names, given)
        self.indent -= 1
        self.shapes, self.told = shapes, ""
        self.variables.last.update((name, last[name]) for name in passed if name in last)
        self.variables.holders, self.variables.names = held, {**self.variables.names, **known}
        return len(self.lines) > before

    def _joined(
        self, target: Target, stmt: If, at: int, goals: Mapping[str, str], others: Sequence[str]
    ) -> str:
        """The variable that both sides leave a result in: the one that holds it anyhow where a side only passes a value
        on, if none of the `others`, the results before, is in that one."""
        sides = (stmt.results[at], stmt.others[at])
        hints = [goals[target.name]] if target.name in goals else []
        for each in sides:
            if isinstance(each, Ref) and each.value in self.variables.names:
                name = self.variables.names[each.value]
                is_goal = name in hints or not hints  # (what a choice around it gives has a variable)
                if self._ends_inside(each.value, stmt) and name not in others and is_goal:
                    self.variables.last[target.name] = max(self.variables.last.get(target.name, 0), self.at)
                    return name
        own = [hint for hint in self.variables.hints.get(target.name, ()) if not self.is_generated(hint)]
        own += [
            base
            for each in sides
            if isinstance(each, Ref)
            for base in self.variables.hints.get(each.value, ())
            if not self.is_generated(base)
        ]
        held = [self.variables.names.get(each.value, "") if isinstance(each, Ref) else "" for each in sides]
        called = {base_of(name, self.variables.holders) for name in held}  # `cos` for `cos` and `cos_2`
        own += called if all(held) and len(called) == 1 else ()
        self.variables.last.setdefault(target.name, self.at)
        named = [*hints, *own]
        plain = [] if named and (all(held) or not self.is_generated(named[-1])) else ["y"]
        for name in (plain_word(hint, self.variables.reserved) for hint in named):
            holder = self.variables.holders.get(name, "")
            if holder and name not in (*others, *self.variables.taken) and self._ends_inside(holder, stmt):
                return name  # either side may take it from where it is done with what it holds
            if self.variables.free(name, self.at):
                break
        return self.variables.give(target.name, [*named, *plain], self.at)

    def _ends_inside(self, value: str, stmt: If) -> bool:
        """Whether a value is read for the last time in a choice, or before."""
        return self.variables.last.get(value, 0) <= self._end(stmt)

    def _end(self, stmt: If) -> int:
        """The position behind a choice, as `last_reads` counts."""
        return self.at + 2 + sum(map(_length, (*stmt.then, *stmt.otherwise)))

    # --- loops ----------------------------------------------------------------------------------------------

    def loop(self, loop: Loop) -> None:
        source = self.text(loop.source)
        carried = self._entering(loop)
        before = len(self.lines)
        lists = [self.started(each, len(loop.kept) == 1) for each, _ in loop.kept]
        variables = [self._sliced(each) for each in loop.slices]
        turns = f"for {', '.join(variables) or loop.variable} in {source}"
        if not loop.args and not loop.body and len(lists) == 1:
            del self.lines[before:]
            self.line(f"{lists[0]} = [{self.text(loop.kept[0][1])} {turns}]")
            self.at += 1
            return
        self.line(f"{turns}:")
        goals = {
            expr.value: name
            for expr, name in zip(loop.results, carried, strict=True)
            if isinstance(expr, Ref)
        }
        self.indent += 1
        before = len(self.lines)
        self.write(loop.body, goals)
        for name, (_, item) in zip(lists, loop.kept, strict=True):
            self.line(f"{name}.append({self.text(item)})")
        self._turn_over(carried, [self.text(expr) for expr in loop.results])
        if len(self.lines) == before:
            self.line("pass")
        self.indent -= 1
        self.at += 1
        for target, name in zip(loop.outputs, carried, strict=True):
            self._holds(name, target)
            self.shapes[name] = shape_text(target)

    def started(self, held: Target, alone: bool) -> str:
        """A list that gains an item at each turn, empty before the first."""
        own = re.sub(r"(_\d+)? (\w+)$", r"_\2", held.name)
        alone = alone and own.endswith("_steps")
        name = self.variables.give(held.name, ["steps" if alone else own], self.at)
        self.line(f"{name} = []")
        return name

    def _sliced(self, target: Target) -> str:
        """The loop's variable for a slice."""
        if target.name not in self.variables.last:
            return "_"
        self.dtypes[target.name] = target.dtype
        name = self.variables.give(target.name, self.variables.hints.get(target.name, ("x",)), self.at)
        self.shapes[name] = shape_text(target)
        return name

    def _entering(self, loop: Loop) -> list[str]:
        """The variables of what is carried, which hold the first values when the loop begins."""
        before = dict(self.shapes)
        reads = [self.text(expr) for expr in loop.inputs]
        pairs = zip(loop.args, loop.inputs, reads, strict=True)
        names = [self._carried(arg, expr, read) for arg, expr, read in pairs]
        moved = [
            (name, read, arg) for name, read, arg in zip(names, reads, loop.args, strict=True) if name != read
        ]
        # One that is set may be what a later one is read from.
        if any(
            name in re.findall(r"\w+", read)
            for k, (name, *_) in enumerate(moved)
            for _, read, _ in moved[k + 1 :]
        ):
            self.line(f"{', '.join(name for name, *_ in moved)} = {', '.join(read for _, read, _ in moved)}")
            return names
        for name, read, arg in moved:
            self.line(f"{name} = {read}", "" if before.get(name) == shape_text(arg) else shape_text(arg))
        return names

    def _carried(self, arg: Target, expr: Expr, read: str) -> str:
        """The variable of a carried value."""
        hints = list(self.variables.hints.get(arg.name, ("y",)))
        if isinstance(expr, Ref) and self.variables.free(read, self.at):
            hints.insert(0, read)
        self.dtypes[arg.name] = arg.dtype
        self.variables.last[arg.name] = max(self.variables.last.get(arg.name, 0), self.at + 1)
        name = self.variables.give(arg.name, hints, self.at)
        self.shapes[name] = shape_text(arg)
        return name

    def _turn_over(self, carried: Sequence[str], results: Sequence[str]) -> None:
        moved = [(name, result) for name, result in zip(carried, results, strict=True) if name != result]
        if moved:
            self.line(f"{', '.join(name for name, _ in moved)} = {', '.join(result for _, result in moved)}")


def _length(stmt: Stmt) -> int:
    """How many positions a statement takes."""
    match stmt:
        case Loop():
            return 2 + sum(map(_length, stmt.body))
        case If():
            return 3 + sum(map(_length, (*stmt.then, *stmt.otherwise)))
    return 1


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


def _held_name(expr: Expr) -> list[str]:
    """The name of the buffer that is read: `num_batches_tracked`."""
    match expr:
        case At(_, (Text(name),)) if name.isidentifier():
            return [name]
    return []


def is_done(expr: Expr) -> bool:
    """Whether an expression adds to a list."""
    match expr:
        case Call(Dot(_, "append"), _) | Binary("+=", _, _):
            return True
    return False


def _letters(target: Target, stmt: Assign) -> list[str]:
    """`a, b, c` for parts that have no names."""
    if len(stmt.targets) == 1:
        return ["y"]
    at = next(i for i, each in enumerate(stmt.targets) if each.name == target.name)
    return ["abcdefgh"[at]] if len(stmt.targets) <= 8 else [f"part_{at}"]


_TELLING = 48


def shape_text(target: Target) -> str:
    """`[B, T, d]`, with the dtype in front where it is no float. A size that takes half a line to say is `_`, as in a spec. "" for
    what is no tensor."""
    if target.dtype in ("", HELD):
        return ""
    axes = [said if len(said := text(axis)) <= _TELLING else "_" for axis in target.axes]
    whole = target.dtype.startswith(("f", "bf"))
    return ("" if whole else target.dtype) + f"[{', '.join(axes)}]"
