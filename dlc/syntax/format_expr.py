"""Writes expressions on several lines where they do not fit on one, or were written so: broken before `|>`
and operators, after commas, or inside brackets."""

from __future__ import annotations

from collections.abc import Sequence

from dlc.diagnostics import Span
from dlc.records import dataclass
from dlc.syntax import ast
from dlc.syntax.format_flat import (
    BINARY,
    CONDITION,
    OR,
    PIPE,
    POSTFIX,
    SUM,
    TUPLE,
    Child,
    FlatWriter,
    Item,
    Part,
    item_parts,
    separated,
)
from dlc.syntax.source_map import MAX_WIDTH, SourceMap

INDENT = 4
_SHORT = ast.Int | ast.Float | ast.Str | ast.Name | ast.Bool | ast.NoneLit


@dataclass(frozen=True, slots=True)
class _Bracket:
    """A call, index or list: what stands before the bracket, its items, and the lines that it opens and
    ends on."""

    owner: list[Part]
    opener: str
    items: Sequence[Item]
    closer: str
    line: int
    end: int


@dataclass(frozen=True, slots=True)
class _Link:
    """What follows in a chain such as `a + b - c`: the text before it on the same line, and what of that ends
    the line (`before`) or begins the next (`after`) if the chain is broken there; `previous` is what stands
    before."""

    text: str
    node: ast.Expr
    least: int
    previous: ast.Expr
    before: str = ""
    after: str = ""
    breakable: bool = True

    @property
    def was_broken(self) -> bool:
        return self.breakable and self.node.span.line > self.previous.span.end_line


_Chain = tuple[Child, list[_Link]]


class ExpressionWriter(FlatWriter):
    """Writes expressions of one file: `flat` gives one line, `lay_out` the lines that fit."""

    def __init__(self, source: SourceMap) -> None:
        super().__init__(source)
        self._forced: dict[int, bool] = {}
        self._attempts = 0  # how many layouts that may be given up are being tried
        self._failed: set[tuple[int, ...]] = set()  # those that were given up

    def lay_out(
        self, node: ast.Expr, indent: int, column: int, tail: int = 0, least: int = TUPLE
    ) -> list[str]:
        """The lines of an expression that begins at `column` of a line indented by `indent`; `tail`
        characters follow its last line. The first line comes without indentation, the others with it."""
        flat = self.flat(node, least)
        fits = column + len(flat) + tail <= MAX_WIDTH
        if fits and not self.forced(node):
            return [flat]
        if self.is_wrapped(node, least):
            return _framed("(", self.lay_out(node, indent, column + 1, tail + 1, TUPLE), ")")
        if fits and not self._breaks(node):
            return self._inline(self._row(node), indent, column, tail)
        return (
            self._hugged(node, indent, column, tail)
            or self._broken(node, indent, column, tail)
            or self._inline(self._row(node), indent, column, tail)
        )

    def _row(self, node: ast.Expr) -> list[Part]:
        """The parts of an expression, those of a whole chain side by side."""
        chain = self._chain(node)
        if chain is None:
            return self.parts(node)
        parts: list[Part] = [chain[0]]
        for link in chain[1]:
            parts += [link.text, Child(link.node, link.least)]
        return parts

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
        """Whether an expression was broken at its own operators or brackets, or has comments at its
        places."""
        chain = self._chain(node)
        if chain is not None:
            return any(link.was_broken for link in chain[1])
        if isinstance(node, ast.ListComp):
            return node.element.span.line > node.span.line
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
        chain = self._chain(node)
        if chain is not None:
            return self._broken_chain(chain, indent, column, tail)
        if isinstance(node, ast.ListComp):
            return self._broken_comprehension(node, indent)
        bracket = self._bracket(node)
        if bracket is None or not bracket.items:
            return None
        return self._broken_bracket(bracket, indent, column, tail)

    def _hugged(self, node: ast.Expr, indent: int, column: int, tail: int) -> list[str] | None:
        """Everything on one line where something inside is broken already, or is a list alone in brackets:
        `concat([`. None if lines get too long so."""
        if self._attempts > 2 or indent > MAX_WIDTH // 2 or self._breaks(node):
            return None
        if not (self.forced(node) or self._holds_list(node)):
            return None
        attempt = (id(node), indent, column, tail, self._attempts)
        if attempt in self._failed:
            return None
        saved = self.source.save()
        self._attempts += 1
        lines = self._inline(self._row(node), indent, column, tail)
        self._attempts -= 1
        widths = [len(line) for line in lines]
        widths[0] += column
        widths[-1] += tail
        if max(widths) <= MAX_WIDTH:
            return lines
        self.source.restore(saved)
        self._failed.add(attempt)
        return None

    def _holds_list(self, node: ast.Expr) -> bool:
        """Whether a list is all that stands in the brackets of a call or index."""
        bracket = None if isinstance(node, ast.ListExpr) else self._bracket(node)
        if bracket is None or len(bracket.items) != 1 or not isinstance(bracket.items[0], Child):
            return False
        return isinstance(bracket.items[0].node, ast.ListExpr | ast.ListComp)

    def _trail(self, lines: list[str], line: int, following: int, column: int = 0) -> None:
        """Adds the comment on `line` to the last of `lines`, unless what follows stands on that line too. The
        first of them begins at `column`."""
        if 0 < line < following:
            lines[-1] = self.source.trailing(line, lines[-1], column if len(lines) == 1 else 0)

    def _own_lines(self, first: int, last: int, indent: int) -> list[str]:
        return [" " * indent + comment for _, comment in self.source.take(first, last)]

    # --- chains --------------------------------------------------------------------------------------------

    def _chain(self, node: ast.Expr) -> _Chain | None:
        """An expression as a chain, if it is one."""
        if isinstance(node, ast.Pipe):
            return self._pipes(node)
        if isinstance(node, ast.Binary) and node.op != "**":
            return self._operands(node)
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if isinstance(node, ast.TupleExpr) and len(node.items) > 1:
            return self._tuple_items(node)
        if isinstance(node, ast.Conditional):
            return self._choice(node)
        return None

    def _pipes(self, node: ast.Pipe) -> _Chain:
        links: list[_Link] = []
        value: ast.Expr = node
        while isinstance(value, ast.Pipe):
            previous = value.value.stage if isinstance(value.value, ast.Pipe) else value.value
            links.append(_Link(" |> ", value.stage, POSTFIX, previous, after="|> "))
            value = value.value
        return Child(value, CONDITION), links[::-1]

    def _operands(self, node: ast.Binary) -> _Chain:
        """The operands between operators that bind as loosely as the outermost."""
        level = BINARY[node.op]
        links: list[_Link] = []
        value: ast.Expr = node
        while isinstance(value, ast.Binary) and BINARY[value.op] == level:
            if value is not node and self.keeps_parentheses(value, level):
                break
            previous = self._right_end(value.left, level)
            links.append(_Link(self.operator(value), value.right, level + 1, previous, after=f"{value.op} "))
            value = value.left
        return Child(value, level), links[::-1]

    def _right_end(self, node: ast.Expr, level: int) -> ast.Expr:
        """What stands directly before the next operator of a chain."""
        chained = isinstance(node, ast.Binary) and BINARY[node.op] == level
        if chained and not self.keeps_parentheses(node, level):
            assert isinstance(node, ast.Binary)
            return node.right
        return node

    def _comparison(self, node: ast.Compare) -> _Chain:
        first, *others = node.operands
        pairs = zip(node.ops, others, node.operands, strict=False)
        links = [_Link(f" {op} ", each, SUM, before, before=f" {op}") for op, each, before in pairs]
        return Child(first, SUM), links

    def _tuple_items(self, node: ast.TupleExpr) -> _Chain:
        first, *others = node.items
        pairs = zip(others, node.items, strict=False)
        return Child(first, PIPE), [_Link(", ", each, PIPE, before, before=",") for each, before in pairs]

    def _choice(self, node: ast.Conditional) -> _Chain:
        condition = _Link(" if ", node.condition, OR, node.then, breakable=False)
        otherwise = _Link(" else ", node.otherwise, CONDITION, node.condition, after="else ")
        return Child(node.then, OR), [condition, otherwise]

    def _broken_chain(self, chain: _Chain, indent: int, column: int, tail: int) -> list[str]:
        """Broken where it was, or at each link if it was nowhere. A line that is too long so is broken at all
        of its links."""
        first, _ = chain
        deeper = indent + INDENT
        lines = self.lay_out(first.node, indent, column, 0, first.least)
        for link, breaks in self._link_breaks(chain, column, deeper, tail):
            if not breaks:
                start = len(lines[-1]) + (column if len(lines) == 1 else 0) + len(link.text)
                lines = _joined(lines, link.text, self.lay_out(link.node, deeper, start, 0, link.least))
                continue
            lines[-1] += link.before
            self._trail(lines, link.previous.span.end_line, link.node.span.line, column)
            lines += self._own_lines(link.previous.span.end_line + 1, link.node.span.line, deeper)
            start = deeper + len(link.after)
            more = self.lay_out(link.node, deeper, start, len(link.before), link.least)
            lines += _framed(" " * deeper + link.after, more, "")
        return lines

    def _link_breaks(self, chain: _Chain, column: int, deeper: int, tail: int) -> list[tuple[_Link, bool]]:
        """The links of a chain, and whether the line is broken before each."""
        first, links = chain
        if not any(link.was_broken for link in links):
            return [(link, link.breakable) for link in links]
        result: list[tuple[_Link, bool]] = []
        rows = _rows(links)
        for number, row in enumerate(rows):
            start = deeper if number else column + len(self.flat(first.node, first.least))
            width = start + sum(len(link.text) + len(self.flat(link.node, link.least)) for link in row)
            width += tail if number + 1 == len(rows) else 1
            broken = width > MAX_WIDTH and not any(self.forced(link.node) for link in row)
            result += [(link, link.was_broken or (broken and link.breakable)) for link in row]
        return result

    # --- brackets ------------------------------------------------------------------------------------------

    def _bracket(self, node: ast.Expr) -> _Bracket | None:
        end = node.span.end_line
        if isinstance(node, ast.Call):
            line = node.callee.span.end_line
            return _Bracket(self.owner(node.callee), "(", self.arguments(node), ")", line, end)
        if isinstance(node, ast.Index):
            line = node.value.span.end_line
            return _Bracket(self.owner(node.value), "[", self.items(node), "]", line, end)
        if isinstance(node, ast.ListExpr):
            items: list[Item] = [Child(item, CONDITION) for item in node.items]
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
        rows = self._item_rows(bracket, deeper, opened)
        following = [*(_span(row[0]).line for row in rows[1:]), bracket.end]
        for row, after in zip(rows, following, strict=True):
            lines += self._own_lines(line + 1, _span(row[0]).line, deeper)
            lines += self._row_lines(row, deeper)
            line = _span(row[-1]).end_line
            self._trail(lines, line, after)
        return [*lines, *self._own_lines(line + 1, bracket.end, deeper), " " * indent + bracket.closer]

    def _row_lines(self, row: list[Item], indent: int) -> list[str]:
        lines = [" " * indent]
        for number, item in enumerate(row):
            parts: list[Part] = [" " if number else "", *item_parts(item)]
            more = self._inline(parts, indent, len(lines[-1]), 1)
            lines = _joined(lines, "", more)
            lines[-1] += ","
        return lines

    def _item_rows(self, bracket: _Bracket, indent: int, opened: bool) -> list[list[Item]]:
        """The items by lines: as they were written if they had lines of their own, else one to a line, many
        of a list of short values."""
        if not opened and not self._has_own_comments(bracket):
            return self._refill(bracket.items, indent)
        rows: list[list[Item]] = []
        end = 0
        for item in bracket.items:
            if not rows or _span(item).line > end:
                rows.append([])
            rows[-1].append(item)
            end = _span(item).end_line
        return [part for row in rows for part in self._fitting(row, indent)]

    def _fitting(self, row: list[Item], indent: int) -> list[list[Item]]:
        """A row, or several in its place if it is too long."""
        forced = any(
            self.forced(part.node) for item in row for part in item_parts(item) if isinstance(part, Child)
        )
        width = indent + sum(len(self.flat_item(item)) + 2 for item in row) - 1
        return [row] if forced or width <= MAX_WIDTH else self._refill(row, indent)

    def _refill(self, items: Sequence[Item], indent: int) -> list[list[Item]]:
        """One item to a line, or as many as fit if there are many and all are short."""
        if len(items) < 8 or not all(
            isinstance(item, Child) and isinstance(item.node, _SHORT) for item in items
        ):
            return [[item] for item in items]
        rows: list[list[Item]] = []
        width = MAX_WIDTH
        for item in items:
            length = len(self.flat_item(item)) + 1
            if width + 1 + length > MAX_WIDTH:
                rows.append([])
                width = indent - 1
            rows[-1].append(item)
            width += 1 + length
        return rows

    def _aligned(self, bracket: _Bracket, lines: list[str], column: int, tail: int) -> list[str] | None:
        """The items behind the opening bracket, as many to a line as fit, if they began there and none is
        long."""
        start = len(lines[-1]) + (column if len(lines) == 1 else 0)
        begins = _span(bracket.items[0]).line <= bracket.line
        if not begins or len(bracket.items) < 2 or start > MAX_WIDTH // 2 or self._has_own_comments(bracket):
            return None
        if any(self.forced(part.node) for part in separated(bracket.items) if isinstance(part, Child)):
            return None
        texts = [self.flat_item(item) for item in bracket.items]
        return fill(lines, texts, bracket.closer, start, column, tail)

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


def _span(item: Item) -> Span:
    child = item[-1] if isinstance(item, list) else item
    assert isinstance(child, Child)
    return child.node.span


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


def _rows(links: list[_Link]) -> list[list[_Link]]:
    """The links on each line as they were written; the first line may have none."""
    rows: list[list[_Link]] = [[]]
    for link in links:
        if link.was_broken:
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


def _framed(before: str, lines: list[str], after: str) -> list[str]:
    lines = [before + lines[0], *lines[1:]]
    lines[-1] += after
    return lines
