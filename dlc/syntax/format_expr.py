"""Writes expressions and types: on one line where they fit, else broken before `|>` and operators or inside brackets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dlc.diagnostics import Span
from dlc.syntax import ast
from dlc.syntax.source_map import MAX_WIDTH, SourceMap

INDENT = 4

# How tightly expressions bind. A child that binds less than its place asks for stands in parentheses.
TUPLE, PIPE, CONDITION, OR, AND, NOT, COMPARE, SUM, PRODUCT, SIGN, POWER, POSTFIX, ATOM = range(13)
_BINARY = {
    "or": OR,
    "and": AND,
    "+": SUM,
    "-": SUM,
    "*": PRODUCT,
    "/": PRODUCT,
    "//": PRODUCT,
    "%": PRODUCT,
    "@": PRODUCT,
    "**": POWER,
}
_MAY_BE_TIGHT = frozenset({"*", "/", "//", "**"})
_BINDING: dict[type[ast.Expr], int] = {
    ast.TupleExpr: TUPLE,
    ast.Pipe: PIPE,
    ast.Conditional: CONDITION,
    ast.Compare: COMPARE,
    ast.Call: POSTFIX,
    ast.Index: POSTFIX,
    ast.Attribute: POSTFIX,
    ast.Labeled: POSTFIX,
}
_OPERATIONS = ast.Binary | ast.Unary | ast.Compare | ast.Conditional
_SHORT = ast.Int | ast.Float | ast.Str | ast.Name | ast.Bool | ast.NoneLit


def binding(node: ast.Expr) -> int:
    if isinstance(node, ast.Binary):
        return _BINARY[node.op]
    if isinstance(node, ast.Unary):
        return NOT if node.op == "not" else SIGN
    if isinstance(node, ast.TupleExpr) and not node.items:
        return ATOM
    return _BINDING.get(type(node), ATOM)


@dataclass(frozen=True, slots=True)
class Child:
    """An expression inside another, or standing at a place that asks for a binding of at least `least`."""

    node: ast.Expr
    least: int


Part = str | Child


class ExpressionWriter:
    """Writes expressions of one file. `flat` gives one line; `lay_out` the lines that fit."""

    def __init__(self, source: SourceMap) -> None:
        self.source = source
        self._flat: dict[tuple[int, int], str] = {}
        self._forced: dict[int, bool] = {}

    # --- on one line -----------------------------------------------------------------------------------------

    def flat(self, node: ast.Expr, least: int = TUPLE) -> str:
        key = (id(node), least)
        if key not in self._flat:
            self._flat[key] = "".join(map(self._flat_part, self.wrapped(node, least)))
        return self._flat[key]

    def wrapped(self, node: ast.Expr, least: int) -> list[Part]:
        """The parts of an expression, in parentheses where its place asks for them or they were written."""
        return ["(", *self.parts(node), ")"] if self._is_wrapped(node, least) else self.parts(node)

    def _is_wrapped(self, node: ast.Expr, least: int) -> bool:
        return binding(node) < least or self._keeps_parentheses(node, least)

    def _keeps_parentheses(self, node: ast.Expr, least: int) -> bool:
        """Operands of operators keep the parentheses that they were written in."""
        return least > CONDITION and isinstance(node, _OPERATIONS) and self.source.parenthesized(node.span)

    def parts(self, node: ast.Expr) -> list[Part]:
        """What an expression is written as: text, and the expressions in it."""
        method: Callable[[Any], list[Part]] | None = getattr(self, f"_{type(node).__name__.lower()}", None)
        return method(node) if method else [self.atom(node)]

    def atom(self, node: ast.Expr) -> str:
        if isinstance(node, ast.Int):
            return self._integer(node)
        if isinstance(node, ast.Float):
            return node.text
        if isinstance(node, ast.Bool):
            return "true" if node.value else "false"
        if isinstance(node, ast.Str):
            return f'"{node.raw}"'
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Star):
            return f"*{node.name}"
        return {ast.NoneLit: "none", ast.Ellipsis_: "...", ast.Wildcard: "_"}[type(node)]

    def _integer(self, node: ast.Int) -> str:
        """As it was written: `5_000` stays."""
        written = self.source.slice(node.span)
        try:
            same = int(written.replace("_", ""), 0) == node.value
        except ValueError:
            same = False
        return written if same else str(node.value)

    def _listexpr(self, node: ast.ListExpr) -> list[Part]:
        return ["[", *_separated([Child(item, CONDITION) for item in node.items]), "]"]

    def _tupleexpr(self, node: ast.TupleExpr) -> list[Part]:
        if not node.items:
            return ["()"]
        items = _separated([Child(item, PIPE) for item in node.items])
        return [*items, ","] if len(node.items) == 1 else items

    def _listcomp(self, node: ast.ListComp) -> list[Part]:
        parts: list[Part] = ["[", Child(node.element, PIPE), f" for {self.target(node.target)} in "]
        parts.append(Child(node.iterable, OR))
        if node.condition is not None:
            parts += [" if ", Child(node.condition, CONDITION)]
        return [*parts, "]"]

    def _unary(self, node: ast.Unary) -> list[Part]:
        if node.op == "not":
            return ["not ", Child(node.operand, NOT)]
        return [node.op, Child(node.operand, SIGN)]

    def _binary(self, node: ast.Binary) -> list[Part]:
        level = _BINARY[node.op]
        left, right = (POSTFIX, SIGN) if node.op == "**" else (level, level + 1)
        return [Child(node.left, left), self._operator(node), Child(node.right, right)]

    def _operator(self, node: ast.Binary) -> str:
        """With spaces, except that `4*d` stays if it was written so."""
        if node.op not in _MAY_BE_TIGHT:
            return f" {node.op} "
        written = self.source.between(node.left.span, node.right.span)
        tight = written.strip("()") == node.op
        return node.op if tight else f" {node.op} "

    def _compare(self, node: ast.Compare) -> list[Part]:
        parts: list[Part] = [Child(node.operands[0], SUM)]
        for op, operand in zip(node.ops, node.operands[1:], strict=True):
            parts += [f" {op} ", Child(operand, SUM)]
        return parts

    def _conditional(self, node: ast.Conditional) -> list[Part]:
        then, condition, otherwise = node.then, node.condition, node.otherwise
        return [Child(then, OR), " if ", Child(condition, OR), " else ", Child(otherwise, CONDITION)]

    def _pipe(self, node: ast.Pipe) -> list[Part]:
        return [Child(node.value, PIPE), " |> ", Child(node.stage, POSTFIX)]

    def _call(self, node: ast.Call) -> list[Part]:
        return [*self._owner(node.callee), "(", *_separated(self._arguments(node)), ")"]

    def _index(self, node: ast.Index) -> list[Part]:
        return [*self._owner(node.value), "[", *_separated(self._items(node)), "]"]

    def _attribute(self, node: ast.Attribute) -> list[Part]:
        return [*self._owner(node.value), f".{node.name}"]

    def _owner(self, node: ast.Expr) -> list[Part]:
        """What a call, index or attribute belongs to; a label would run into them."""
        return [Child(node, ATOM if isinstance(node, ast.Labeled) else POSTFIX)]

    def _arguments(self, node: ast.Call) -> list[Part | list[Part]]:
        alone = len(node.args) == 1
        return [self.argument(arg, alone) for arg in node.args]

    def argument(self, arg: ast.Arg, alone: bool = False) -> Part | list[Part]:
        if arg.name is None:
            return Child(arg.value, PIPE if alone else CONDITION)
        return [f"{arg.name}=", Child(arg.value, CONDITION)]

    def _items(self, node: ast.Index) -> list[Part | list[Part]]:
        alone = len(node.items) == 1
        return [Child(item, PIPE if alone else CONDITION) for item in node.items]

    def _slice(self, node: ast.Slice) -> list[Part]:
        parts: list[Part] = [Child(node.start, CONDITION)] if node.start else []
        parts += [":", Child(node.stop, CONDITION)] if node.stop else [":"]
        return [*parts, ":", Child(node.step, CONDITION)] if node.step else parts

    def _labeled(self, node: ast.Labeled) -> list[Part]:
        return [Child(node.value, POSTFIX), f" as {self.label(node.label)}"]

    def label(self, label: ast.Label) -> str:
        if not label.quoted:
            return "".join(part for part in label.parts if isinstance(part, str))
        written = self.source.slice(label.span)
        if len(written) > 1 and written[0] == written[-1] == '"':
            return written
        return '"' + "".join(map(self._label_part, label.parts)) + '"'

    def _label_part(self, part: str | ast.Expr) -> str:
        if isinstance(part, ast.Expr):
            return "{" + self.flat(part) + "}"
        for character, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t"), ("{", "{{"), ("}", "}}")):
            part = part.replace(character, escape)
        return part

    # --- targets and types -----------------------------------------------------------------------------------

    def target(self, target: ast.Target) -> str:
        if isinstance(target, ast.TupleTarget):
            items = ", ".join(map(self._inner_target, target.items))
            return f"{items}," if len(target.items) == 1 else items
        assert isinstance(target, ast.NameTarget)
        return f"{target.id}: {self.type(target.type)}" if target.type else target.id

    def _inner_target(self, target: ast.Target) -> str:
        text = self.target(target)
        return f"({text})" if isinstance(target, ast.TupleTarget) else text

    def type(self, type: ast.TypeExpr) -> str:
        if isinstance(type, ast.TensorTypeExpr):
            return f"{type.dtype or ''}[{self.axes(type.axes)}]"
        if isinstance(type, ast.GroupTypeExpr):
            return f"{type.name}[{self.axes(type.axes)}]"
        assert isinstance(type, ast.NamedTypeExpr)
        args = ", ".join(map(self.type, type.args))
        return f"{type.name}[{args}]" if args else type.name

    def axes(self, axes: Sequence[ast.Expr]) -> str:
        return ", ".join(self.flat(axis, SUM) for axis in axes)

    # --- on several lines ------------------------------------------------------------------------------------

    def lay_out(self, node: ast.Expr, indent: int, column: int, tail: int = 0, least: int = TUPLE) -> list[str]:
        """The lines of an expression that begins at `column` of a line indented by `indent`; `tail` characters follow
        its last line. The first line comes without indentation, the others with it."""
        flat = self.flat(node, least)
        fits = column + len(flat) + tail <= MAX_WIDTH
        if fits and not self.forced(node):
            return [flat]
        if self._is_wrapped(node, least):
            return _framed("(", self.lay_out(node, indent, column + 1, tail + 1, TUPLE), ")")
        if not fits or self._breaks(node):
            broken = self._broken(node, indent, column, tail)
            if broken is not None:
                return broken
        return self._inline(self.parts(node), indent, column, tail)

    def _inline(self, parts: Sequence[Part], indent: int, column: int, tail: int) -> list[str]:
        """Parts one after another, some of which may take several lines."""
        lines = [""]
        for number, part in enumerate(parts):
            if isinstance(part, str):
                lines[-1] += part
                continue
            start = column + len(lines[0]) if len(lines) == 1 else len(lines[-1])
            after = _length_after(parts[number + 1 :], tail)
            first, *rest = self.lay_out(part.node, indent, start, after, part.least)
            lines[-1] += first
            lines += rest
        return lines

    def forced(self, node: ast.Expr) -> bool:
        """Whether something in an expression takes several lines even if it would fit on one."""
        if id(node) not in self._forced:
            if node.span.line == node.span.end_line:
                self._forced[id(node)] = False
            else:
                inner = [part for part in self.parts(node) if isinstance(part, Child)]
                self._forced[id(node)] = self._breaks(node) or any(self.forced(part.node) for part in inner)
        return self._forced[id(node)]

    def _breaks(self, node: ast.Expr) -> bool:
        """Whether an expression was broken at its own `|>` or brackets, or has comments at its own places."""
        if isinstance(node, ast.Pipe):
            return any(stage.span.line > value.span.end_line for value, stage in _links(node))
        opened = self._bracket(node)
        if opened is None or not opened.items:
            return False
        return _span(opened.items[0]).line > opened.line or self._has_own_comments(opened)

    def _has_own_comments(self, bracket: _Bracket) -> bool:
        """Whether comments stand between the items of a bracket."""
        ends = [_span(item).end_line for item in bracket.items]
        starts = [*(_span(item).line for item in bracket.items[1:]), bracket.end]
        return any(self.source.has_comments(end, start) for end, start in zip(ends, starts, strict=True))

    def _broken(self, node: ast.Expr, indent: int, column: int, tail: int) -> list[str] | None:
        """The lines of an expression broken at its outermost place, None if it has none."""
        if isinstance(node, ast.Pipe):
            return self._broken_pipe(node, indent, column)
        if isinstance(node, ast.Binary):
            return self._broken_binary(node, indent, column)
        if isinstance(node, ast.Conditional):
            return self._broken_conditional(node, indent, column)
        if isinstance(node, ast.TupleExpr) and len(node.items) > 1:
            return self._broken_tuple(node, indent, column)
        if isinstance(node, ast.ListComp):
            return self._broken_comprehension(node, indent)
        bracket = self._bracket(node)
        if bracket is None or not bracket.items:
            return None
        return self._broken_bracket(bracket, indent, column, tail)

    def _broken_pipe(self, node: ast.Pipe, indent: int, column: int) -> list[str]:
        links = _links(node)
        first = links[0][0]
        lines = self.lay_out(first, indent, column, 0, CONDITION)
        deeper = indent + INDENT
        line = first.span.end_line
        for _, stage in links:
            self._trail(lines, line, stage.span.line, column)
            lines += self._own_lines(line + 1, stage.span.line, deeper)
            start, *rest = self.lay_out(stage, deeper, deeper + 3, 0, POSTFIX)
            lines += [" " * deeper + "|> " + start, *rest]
            line = stage.span.end_line
        return lines

    def _trail(self, lines: list[str], line: int, following: int, column: int = 0) -> None:
        """Adds the comment on `line` to the last of `lines`, unless what follows stands on that line too. The first of
        them begins at `column`."""
        if 0 < line < following:
            lines[-1] = self.source.trailing(line, lines[-1], column if len(lines) == 1 else 0)

    def _own_lines(self, first: int, last: int, indent: int) -> list[str]:
        return [" " * indent + comment for _, comment in self.source.take(first, last)]

    def _broken_binary(self, node: ast.Binary, indent: int, column: int) -> list[str] | None:
        """Broken before each operator that binds as loosely as the outermost."""
        if node.op == "**":
            return None
        level = _BINARY[node.op]
        operands: list[tuple[str, ast.Expr]] = []
        first: ast.Expr = node
        while isinstance(first, ast.Binary) and _BINARY[first.op] == level:
            if first is not node and self._keeps_parentheses(first, level):
                break
            operands.append((first.op, first.right))
            first = first.left
        deeper = indent + INDENT
        lines = self.lay_out(first, indent, column, 0, level)
        for op, operand in reversed(operands):
            start, *rest = self.lay_out(operand, deeper, deeper + len(op) + 1, 0, level + 1)
            lines += [" " * deeper + f"{op} {start}", *rest]
        return lines

    def _broken_conditional(self, node: ast.Conditional, indent: int, column: int) -> list[str]:
        deeper = indent + INDENT
        parts = [Child(node.then, OR), " if ", Child(node.condition, OR)]
        lines = self._inline(parts, indent, column, 0)
        start, *rest = self.lay_out(node.otherwise, deeper, deeper + 5, 0, CONDITION)
        return [*lines, " " * deeper + "else " + start, *rest]

    def _broken_tuple(self, node: ast.TupleExpr, indent: int, column: int) -> list[str]:
        deeper = indent + INDENT
        lines = self.lay_out(node.items[0], indent, column, 1, PIPE)
        for item in node.items[1:]:
            start, *rest = self.lay_out(item, deeper, deeper, 1, PIPE)
            lines[-1] += ","
            lines += [" " * deeper + start, *rest]
        return lines

    def _broken_comprehension(self, node: ast.ListComp, indent: int) -> list[str]:
        deeper = indent + INDENT
        pad = " " * deeper
        first, *rest = self.lay_out(node.element, deeper, deeper, 0, PIPE)
        lines = ["[", pad + first, *rest]
        head = f"for {self.target(node.target)} in "
        first, *rest = self.lay_out(node.iterable, deeper, deeper + len(head), 0, OR)
        lines += [pad + head + first, *rest]
        if node.condition is not None:
            first, *rest = self.lay_out(node.condition, deeper, deeper + 3, 0, CONDITION)
            lines += [pad + "if " + first, *rest]
        return [*lines, " " * indent + "]"]

    def _bracket(self, node: ast.Expr) -> _Bracket | None:
        end = node.span.end_line
        if isinstance(node, ast.Call):
            line = node.callee.span.end_line
            return _Bracket(self._owner(node.callee), "(", self._arguments(node), ")", line, end)
        if isinstance(node, ast.Index):
            line = node.value.span.end_line
            return _Bracket(self._owner(node.value), "[", self._items(node), "]", line, end)
        if isinstance(node, ast.ListExpr):
            items: list[Part | list[Part]] = [Child(item, CONDITION) for item in node.items]
            return _Bracket([], "[", items, "]", node.span.line, end)
        return None

    def _broken_bracket(self, bracket: _Bracket, indent: int, column: int, tail: int) -> list[str]:
        lines = self._inline([*bracket.owner, bracket.opener], indent, column, 0)
        if self._hugs(bracket):
            return self._hugged(bracket, lines, indent, column, tail)
        aligned = self._aligned(bracket, lines, column, tail)
        if aligned is not None:
            return aligned
        deeper = indent + INDENT
        if self._fills(bracket):
            lines += self._filled(bracket, deeper)
        else:
            self._trail(lines, bracket.line, _span(bracket.items[0]).line, column)
            lines += self.item_lines(bracket.items, bracket.line, bracket.end, deeper)
        return [*lines, " " * indent + bracket.closer]

    def _aligned(self, bracket: _Bracket, lines: list[str], column: int, tail: int) -> list[str] | None:
        """The items behind the opening bracket, as many to a line as fit, if they began there and none is long."""
        start = len(lines[-1]) + (column if len(lines) == 1 else 0)
        begins = _span(bracket.items[0]).line <= bracket.line
        if not begins or len(bracket.items) < 2 or start > MAX_WIDTH // 2 or self._has_own_comments(bracket):
            return None
        if any(self.forced(part.node) for part in _separated(bracket.items) if isinstance(part, Child)):
            return None
        texts = ["".join(self._flat_part(part) for part in _parts(item)) for item in bracket.items]
        return fill(lines, texts, bracket.closer, start, column, tail)

    def _flat_part(self, part: Part) -> str:
        return part if isinstance(part, str) else self.flat(part.node, part.least)

    def item_lines(self, items: Sequence[Part | list[Part]], line: int, end: int, indent: int) -> list[str]:
        """One item a line, each with a comma, with the comments between them. They stand on lines `line` to `end`."""
        lines: list[str] = []
        spans = [_span(item) for item in items]
        following = [*(span.line for span in spans[1:]), end]
        for item, span, after in zip(items, spans, following, strict=True):
            lines += self._own_lines(line + 1, span.line, indent)
            parts = _parts(item)
            first, *rest = self._inline(parts, indent, indent, 1)
            lines += [" " * indent + first, *rest]
            lines[-1] += ","
            self._trail(lines, span.end_line, after)
            line = span.end_line
        return lines + self._own_lines(line + 1, end, indent)

    def _hugs(self, bracket: _Bracket) -> bool:
        """Whether the only item of a bracket is itself one, so that both can open on one line."""
        if len(bracket.items) != 1 or not isinstance(bracket.items[0], Child):
            return False
        node = bracket.items[0].node
        begins = node.span.line <= bracket.line
        return begins and isinstance(node, ast.ListExpr | ast.ListComp) and not self._has_own_comments(bracket)

    def _hugged(self, bracket: _Bracket, lines: list[str], indent: int, column: int, tail: int) -> list[str]:
        (item,) = bracket.items
        assert isinstance(item, Child)
        start = column + len(lines[0]) if len(lines) == 1 else len(lines[-1])
        first, *rest = self.lay_out(item.node, indent, start, tail + 1, item.least)
        lines[-1] += first
        return _framed("", [*lines, *rest], bracket.closer)

    def _fills(self, bracket: _Bracket) -> bool:
        """Whether a list is a table of short values, several to a line."""
        if bracket.owner or len(bracket.items) < 8 or self._has_own_comments(bracket):
            return False
        return all(isinstance(item, Child) and isinstance(item.node, _SHORT) for item in bracket.items)

    def _filled(self, bracket: _Bracket, indent: int) -> list[str]:
        lines = [" " * indent]
        for item in bracket.items:
            assert isinstance(item, Child)
            text = self.flat(item.node, item.least) + ","
            if len(lines[-1]) > indent and len(lines[-1]) + 1 + len(text) > MAX_WIDTH:
                lines.append(" " * indent)
            lines[-1] += text if len(lines[-1]) == indent else " " + text
        return lines


@dataclass(frozen=True, slots=True)
class _Bracket:
    """A call, index or list: what stands before the bracket, its items, and the lines that it opens and ends on."""

    owner: list[Part]
    opener: str
    items: Sequence[Part | list[Part]]
    closer: str
    line: int
    end: int


def _span(item: Part | list[Part]) -> Span:
    child = item[-1] if isinstance(item, list) else item
    assert isinstance(child, Child)
    return child.node.span


def _parts(item: Part | list[Part]) -> list[Part]:
    return item if isinstance(item, list) else [item]


def fill(
    lines: list[str], texts: Sequence[str], closer: str, start: int, column: int = 0, tail: int = 0
) -> list[str] | None:
    """`lines`, the last of which opened a bracket, with `texts` behind it: as many to a line as fit, the next lines
    indented by `start`. The first of `lines` begins at `column`, and `tail` characters follow. None if one is too long."""
    lines = [*lines]
    for number, text in enumerate(texts):
        last = number + 1 == len(texts)
        text += closer if last else ","
        after = tail if last else 0
        if start + len(text) + after > MAX_WIDTH:
            return None
        width = len(lines[-1]) + (column if len(lines) == 1 else 0)
        if not number:
            lines[-1] += text
        elif width + 1 + len(text) + after <= MAX_WIDTH:
            lines[-1] += " " + text
        else:
            lines.append(" " * start + text)
    return lines


def _links(node: ast.Pipe) -> list[tuple[ast.Expr, ast.Expr]]:
    """The values and stages of a chain of pipes, first to last."""
    links: list[tuple[ast.Expr, ast.Expr]] = []
    value: ast.Expr = node
    while isinstance(value, ast.Pipe):
        links.append((value.value, value.stage))
        value = value.value
    return links[::-1]


def _length_after(parts: Sequence[Part], tail: int) -> int:
    """How many characters certainly follow on the line: the text up to the next expression, or all and `tail`."""
    length = 0
    for part in parts:
        if isinstance(part, Child):
            return length
        length += len(part)
    return length + tail


def _separated(items: Sequence[Part | list[Part]]) -> list[Part]:
    parts: list[Part] = []
    for number, item in enumerate(items):
        if number:
            parts.append(", ")
        parts += item if isinstance(item, list) else [item]
    return parts


def _framed(before: str, lines: list[str], after: str) -> list[str]:
    lines = [before + lines[0], *lines[1:]]
    lines[-1] += after
    return lines
