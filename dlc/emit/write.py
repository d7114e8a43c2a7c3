"""The statements of one body as lines of source, each value in a variable.

A value that the spec has named keeps its name. A temporary that is not nested takes the variable that it is
computed from, if that is read for the last time, else the name of the operand that it becomes. So `x = x +
self.attn(self.ln_1(x))` comes out as it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dlc.emit.checks import Check, check_lines
from dlc.emit.layout import layout
from dlc.emit.names import Variables
from dlc.emit.statements import Assign, Loop, Stmt, Store, Target
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
            match stmt:
                case Assign():
                    self._assign(stmt, goals or {})
                case Check():
                    self.check(stmt)
                case Store(path, value):
                    self.store(path, value)
                case Loop():
                    self.loop(stmt)

    def check(self, stmt: Check) -> None:
        """Raise an error unless a condition holds."""
        self.lines += check_lines(stmt, self.text, self.indent)

    def store(self, path: Expr, value: Expr) -> None:
        """Give a buffer its new value."""
        self.line(f"{self.text(path)} = {self.text(value)}")

    def _assign(self, stmt: Assign, goals: Mapping[str, str]) -> None:
        read = self.text(stmt.expr)
        first = next(iter(refs(stmt.expr)), "")
        leading = self.shapes.get(self.variables.names.get(first, ""), "")
        names = [self.named(target, stmt, goals) for target in stmt.targets]
        if len(names) == 1 and names[0] == read:
            return
        self.line(f"{', '.join(names)} = {read}", self.comment(stmt.targets, names, leading))

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
            telling = [hint for hint in own if not self.is_generated(hint)]
            return telling or _letters(target, stmt)
        plain = "mask" if target.dtype == "bool" else "index" if target.dtype.startswith(("i", "u")) else "y"
        return [*own[:-1], *self._reused(target, stmt.expr), plain, *_part_name(stmt.expr), plain]

    def _reused(self, target: Target, expr: Expr) -> list[str]:
        """The variable that the value is a further form of: `x = F.relu(x)`, `x = x + y`."""
        read = list(dict.fromkeys(refs(expr)))
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

    # --- loops ----------------------------------------------------------------------------------------------

    def loop(self, loop: Loop) -> None:
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


def _letters(target: Target, stmt: Assign) -> list[str]:
    """`a, b, c` for parts that have no names."""
    if len(stmt.targets) == 1:
        return ["y"]
    at = next(i for i, each in enumerate(stmt.targets) if each.name == target.name)
    return ["abcdefgh"[at]] if len(stmt.targets) <= 8 else [f"part_{at}"]


def shape_text(target: Target) -> str:
    """`[B, T, d]`, with the dtype in front where it is no float."""
    axes = [text(axis) for axis in target.axes]
    whole = target.dtype.startswith(("f", "bf"))
    return ("" if whole else target.dtype) + f"[{', '.join(axes)}]"
