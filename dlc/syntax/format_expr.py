"""Writes expressions and types: on one line where they fit, else broken before `|>` and operators or
inside brackets."""

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
_Item = Part | list[Part]
_Link = tuple[ast.Expr, ast.Expr]


class ExpressionWriter:
    """Writes expressions of one file. `flat` gives one line; `lay_out` the lines that fit."""

    def __init__(self, source: SourceMap) -> None:
        self.source = source
        self._flat: dict[tuple[int, int], str] = {}
        self._forced: dict[int, bool] = {}
        self._attempts = 0  # how many layouts that may be given up are being tried

    # --- on one line ---------------------------------------------------------------------------------------

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

    def _arguments(self, node: ast.Call) -> list[_Item]:
        alone = len(node.args) == 1
        return [self.argument(arg, alone) for arg in node.args]

    def argument(self, arg: ast.Arg, alone: bool = False) -> _Item:
        if arg.name is None:
            return Child(arg.value, PIPE if alone else CONDITION)
        return [f"{arg.name}=", Child(arg.value, CONDITION)]

    def _items(self, node: ast.Index) -> list[_Item]:
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
        for character, escape in (
            ("\\", "\\\\"),
            ('"', '\\"'),
            ("\n", "\\n"),
            ("\t", "\\t"),
            ("{", "{{"),
            ("}", "}}"),
        ):
            part = part.replace(character, escape)
        return part

    # --- targets and types ---------------------------------------------------------------------------------

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

    # --- on several lines ----------------------------------------------------------------------------------

    def lay_out(
        self, node: ast.Expr, indent: int, column: int, tail: int = 0, least: int = TUPLE
    ) -> list[str]:
        """The lines of an expression that begins at `column` of a line indented by `indent`; `tail`
        characters follow its last line. The first line comes without indentation, the others with it."""
        flat = self.flat(node, least)
        fits = column + len(flat) + tail <= MAX_WIDTH
        if fits and not self.forced(node):
            return [flat]
        if self._is_wrapped(node, least):
            return _framed("(", self.lay_out(node, indent, column + 1, tail + 1, TUPLE), ")")
        if fits and not self._breaks(node):
            return self._inline(self.parts(node), indent, column, tail)
        return (
            self._hugged(node, indent, column, tail)
            or self._broken(node, indent, column, tail)
            or self._inline(self.parts(node), indent, column, tail)
        )

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
            return any(stage.span.line > _last(value).span.end_line for value, stage in _links(node))
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
            return self._broken_pipe(node, indent, column, tail)
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

    def _broken_pipe(self, node: ast.Pipe, indent: int, column: int, tail: int) -> list[str]:
        """Broken before the `|>` where it was, or before each if it was nowhere. A line that is too long is
        broken at all of its own."""
        links = _links(node)
        deeper = indent + INDENT
        lines = self.lay_out(links[0][0], indent, column, 0, CONDITION)
        for value, stage, breaks in self._pipe_breaks(links, column, deeper, tail):
            if not breaks:
                start = len(lines[-1]) + (column if len(lines) == 1 else 0)
                lines = _joined(lines, " |> ", self.lay_out(stage, deeper, start + 4, 0, POSTFIX))
                continue
            self._trail(lines, value.span.end_line, stage.span.line, column)
            lines += self._own_lines(value.span.end_line + 1, stage.span.line, deeper)
            start_lines = self.lay_out(stage, deeper, deeper + 3, 0, POSTFIX)
            lines += _framed(" " * deeper + "|> ", start_lines, "")
        return lines

    def _pipe_breaks(
        self, links: list[_Link], column: int, deeper: int, tail: int
    ) -> list[tuple[ast.Expr, ast.Expr, bool]]:
        """The links of a chain, and whether the line is broken before each stage."""
        written = [stage.span.line > _last(value).span.end_line for value, stage in links]
        if not any(written):
            return [(_last(value), stage, True) for value, stage in links]
        rows = _rows(links, written)
        result = []
        for number, row in enumerate(rows):
            last = number + 1 == len(rows)
            start = deeper if number else column + self._width(links[0][0], CONDITION)
            width = start + sum(self._width(stage, POSTFIX) + 4 for _, stage in row) + (tail if last else 0)
            broken = width > MAX_WIDTH and not any(self.forced(stage) for _, stage in row)
            for position, (value, stage) in enumerate(row):
                result.append((_last(value), stage, broken or (position == 0 and number > 0)))
        return result

    def _width(self, node: ast.Expr, least: int) -> int:
        return len(self.flat(node, least))

    def _trail(self, lines: list[str], line: int, following: int, column: int = 0) -> None:
        """Adds the comment on `line` to the last of `lines`, unless what follows stands on that line too. The
        first of them begins at `column`."""
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
        parts: list[Part] = [Child(node.then, OR), " if ", Child(node.condition, OR)]
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
            items: list[_Item] = [Child(item, CONDITION) for item in node.items]
            return _Bracket([], "[", items, "]", node.span.line, end)
        return None

    def _broken_bracket(self, bracket: _Bracket, indent: int, column: int, tail: int) -> list[str]:
        opened = _span(bracket.items[0]).line > bracket.line
        lines = self._inline([*bracket.owner, bracket.opener], indent, column, 0)
        if not opened:
            aligned = self._aligned(bracket, lines, column, tail)
            if aligned is not None:
                return aligned
        deeper = indent + INDENT
        self._trail(lines, bracket.line, _span(bracket.items[0]).line, column)
        line = bracket.line
        for row in self._item_rows(bracket, deeper, opened):
            lines += self._own_lines(line + 1, _span(row[0]).line, deeper)
            lines += self._row_lines(row, deeper)
            line = _span(row[-1]).end_line
            self._trail(lines, line, self._following(bracket, row))
        return [*lines, *self._own_lines(line + 1, bracket.end, deeper), " " * indent + bracket.closer]

    def _following(self, bracket: _Bracket, row: list[_Item]) -> int:
        """The line that what follows a row begins on."""
        position = next(number for number, item in enumerate(bracket.items) if item is row[-1])
        rest = bracket.items[position + 1 :]
        return _span(rest[0]).line if rest else bracket.end

    def _row_lines(self, row: list[_Item], indent: int) -> list[str]:
        lines = [" " * indent]
        for number, item in enumerate(row):
            parts: list[Part] = [" " if number else "", *_parts(item)]
            more = self._inline(parts, indent, len(lines[-1]), 1)
            lines = _joined(lines, "", more)
            lines[-1] += ","
        return lines

    def _item_rows(self, bracket: _Bracket, indent: int, opened: bool) -> list[list[_Item]]:
        """The items by lines: as they were written if they had lines of their own, else one to a line, many
        of a list of short values."""
        if not opened and not self._has_own_comments(bracket):
            return self._refill(bracket.items, indent)
        rows: list[list[_Item]] = []
        end = 0
        for item in bracket.items:
            if not rows or _span(item).line > end:
                rows.append([])
            rows[-1].append(item)
            end = _span(item).end_line
        return [part for row in rows for part in self._fitting(row, indent)]

    def _fitting(self, row: list[_Item], indent: int) -> list[list[_Item]]:
        """A row, or several in its place if it is too long."""
        forced = any(
            self.forced(part.node) for item in row for part in _parts(item) if isinstance(part, Child)
        )
        width = indent + sum(len(self._flat_item(item)) + 2 for item in row) - 1
        return [row] if forced or width <= MAX_WIDTH else self._refill(row, indent)

    def _refill(self, items: Sequence[_Item], indent: int) -> list[list[_Item]]:
        """One item to a line, or as many as fit if there are many and all are short."""
        if len(items) < 8 or not all(
            isinstance(item, Child) and isinstance(item.node, _SHORT) for item in items
        ):
            return [[item] for item in items]
        rows: list[list[_Item]] = []
        width = MAX_WIDTH
        for item in items:
            length = len(self._flat_item(item)) + 1
            if width + 1 + length > MAX_WIDTH:
                rows.append([])
                width = indent - 1
            rows[-1].append(item)
            width += 1 + length
        return rows

    def _flat_item(self, item: _Item) -> str:
        return "".join(map(self._flat_part, _parts(item)))

    def _hugged(self, node: ast.Expr, indent: int, column: int, tail: int) -> list[str] | None:
        """Everything on one line where something inside is broken already, or is a list alone in brackets:
        `concat([`. None if lines get too long so."""
        if self._attempts > 2 or self._breaks(node) or not (self.forced(node) or self._holds_list(node)):
            return None
        saved = self.source.save()
        self._attempts += 1
        lines = self._inline(self.parts(node), indent, column, tail)
        self._attempts -= 1
        widths = [len(line) for line in lines]
        widths[0] += column
        widths[-1] += tail
        if max(widths) <= MAX_WIDTH:
            return lines
        self.source.restore(saved)
        return None

    def _holds_list(self, node: ast.Expr) -> bool:
        """Whether a list is all that stands in the brackets of a call or index."""
        bracket = None if isinstance(node, ast.ListExpr) else self._bracket(node)
        if bracket is None or len(bracket.items) != 1 or not isinstance(bracket.items[0], Child):
            return False
        return isinstance(bracket.items[0].node, ast.ListExpr | ast.ListComp)

    def _aligned(self, bracket: _Bracket, lines: list[str], column: int, tail: int) -> list[str] | None:
        """The items behind the opening bracket, as many to a line as fit, if they began there and none is
        long."""
        start = len(lines[-1]) + (column if len(lines) == 1 else 0)
        begins = _span(bracket.items[0]).line <= bracket.line
        if not begins or len(bracket.items) < 2 or start > MAX_WIDTH // 2 or self._has_own_comments(bracket):
            return None
        if any(self.forced(part.node) for part in _separated(bracket.items) if isinstance(part, Child)):
            return None
        texts = [self._flat_item(item) for item in bracket.items]
        return fill(lines, texts, bracket.closer, start, column, tail)

    def _flat_part(self, part: Part) -> str:
        return part if isinstance(part, str) else self.flat(part.node, part.least)


@dataclass(frozen=True, slots=True)
class _Bracket:
    """A call, index or list: what stands before the bracket, its items, and the lines that it opens and
    ends on."""

    owner: list[Part]
    opener: str
    items: Sequence[_Item]
    closer: str
    line: int
    end: int


def _span(item: _Item) -> Span:
    child = item[-1] if isinstance(item, list) else item
    assert isinstance(child, Child)
    return child.node.span


def _parts(item: _Item) -> list[Part]:
    return item if isinstance(item, list) else [item]


def fill(
    lines: list[str], texts: Sequence[str], closer: str, start: int, column: int = 0, tail: int = 0
) -> list[str] | None:
    """`lines`, the last of which opened a bracket, with `texts` behind it: as many to a line as fit, the next
    lines indented by `start`. The first of `lines` begins at `column`, and `tail` characters follow. None if
    one is too long."""
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


def _links(node: ast.Pipe) -> list[_Link]:
    """The values and stages of a chain of pipes, first to last."""
    links: list[_Link] = []
    value: ast.Expr = node
    while isinstance(value, ast.Pipe):
        links.append((value.value, value.stage))
        value = value.value
    return links[::-1]


def _last(value: ast.Expr) -> ast.Expr:
    """What stands directly before a `|>`: the last stage of the chain that is its value."""
    return value.stage if isinstance(value, ast.Pipe) else value


def _rows(links: list[_Link], breaks: list[bool]) -> list[list[_Link]]:
    """The links on each line; the first line may have none."""
    rows: list[list[_Link]] = [[]]
    for link, broken in zip(links, breaks, strict=True):
        if broken:
            rows.append([])
        rows[-1].append(link)
    return rows


def _joined(lines: list[str], between: str, more: list[str]) -> list[str]:
    return [*lines[:-1], lines[-1] + between + more[0], *more[1:]]


def _length_after(parts: Sequence[Part], tail: int) -> int:
    """How many characters certainly follow on the line: the text up to the next expression, or all and
    `tail`."""
    length = 0
    for part in parts:
        if isinstance(part, Child):
            return length
        length += len(part)
    return length + tail


def _separated(items: Sequence[_Item]) -> list[Part]:
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
