"""Line breaks as `ruff format` (and Black) would choose them, for the statements that emitters write.

A statement comes as one line of text. Where it is too long, it is split inside its last brackets: first with
all that stands between them on one line, then item by item with a comma behind each. Emitters keep
expressions short (body.py), so no more than this is needed. Tests run `ruff format --check` on everything
that is emitted.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise

from dlc.once import once

WIDTH = 100
INDENT = "    "


def layout(text: str, indent: int = 0, *, comment: str = "", width: int = WIDTH) -> list[str]:
    """The lines of one statement, `indent` levels in. A trailing `comment` that does not fit is left out."""
    margin = INDENT * indent
    note = f"  # {comment}" if comment else ""
    if len(margin + text) <= width:
        return [margin + text + (note if len(margin + text + note) <= width else "")]
    lines = [*_broken(text, margin, width)]
    if len(lines[-1] + note) <= width:
        lines[-1] += note
    return lines


@once
def _broken(text: str, margin: str, width: int) -> tuple[str, ...]:
    return tuple(_split(text, margin, width))


def listed(text: str, indent: int = 0, *, width: int = WIDTH) -> list[str]:
    """The lines of one of several items between brackets, with its comma."""
    return _item(text, INDENT * indent, width)


def fits(text: str, indent: int = 0, width: int = WIDTH) -> bool:
    return 4 * indent + len(text) <= width


def _is_slice(text: str) -> bool:
    """Whether what stands in `[]` is `a:b`, which is no expression: it stays on its line."""
    return any(char == ":" and depth == 0 for _, char, depth in _scan(text)) and not text.startswith("lambda")


def _split(text: str, margin: str, width: int) -> list[str]:
    head, value, tail = _parts(text)
    if head == "return " and len(items := list(_items(value))) > 1:
        inner = margin + INDENT
        lines = [line for item in items for line in _item(item, inner, width)]
        return [margin + head + "(", *lines, margin + ")"]
    if head == "if " and value.startswith("not (") and _closing(value, 4) == len(value) - 1:
        return [margin + "if not (", *_operands(value[5:-1], margin + INDENT, width), margin + "):"]
    if _KEY.match(head) and len(parts := _operator_parts(value)) > 1:
        return [line for part in (head + parts[0], *parts[1:]) for line in _operand(part, margin, width)]
    if (links := _links(value)) and (head.endswith(" = ") or head == "return "):
        inner = margin + INDENT
        lines = [line for link in links for line in _operand(link, inner, width)]
        return [margin + head + "(", *lines, margin + ")" + tail]
    bounds = _brackets(value, width - len(margin + head))
    if bounds is None and (first := _first_operand(value)) and len(margin + value[first:]) <= width:
        bounds = 0, first
    if bounds is None:
        return [margin + head + "(", *_operands(value, margin + INDENT, width), margin + ")" + tail]
    start, end = bounds
    opening, inside, closing = value[: start + 1], value[start + 1 : end], value[end:]
    return [
        margin + head + opening,
        *_inside(inside, opening, margin + INDENT, width),
        margin + closing + tail,
    ]


def _links(value: str) -> list[str]:
    """The parts of a chain of methods, `f(x)`, `.transpose(1, 2)`, `.flatten(2)`, which has a line for each where two or more are behind
    brackets; else none."""
    cuts = [
        i for i, char, depth in _scan(value) if char == "." and depth == 0 and value[i - 1 : i] in (")", "]")
    ]
    if len(cuts) < 2 or not isinstance(ast.parse(value, mode="eval").body, ast.Call):
        return []
    return [value[a:b] for a, b in pairwise((0, *cuts, len(value)))]


def _inside(inside: str, opening: str, margin: str, width: int) -> list[str]:
    """What stands between brackets: on one line if that fits, else an item a line."""
    listing = _opens_listing(opening) and len(list(_items(inside))) > 1
    if len(margin + inside) <= width and not inside.endswith(",") and not listing:
        return [margin + inside]
    lines: list[str] = []
    loops = [i for i, _, depth in _scan(inside) if depth == 0 and inside.startswith(" for ", i)]
    if loops:
        for start, end in pairwise((-1, *loops, len(inside))):
            part = inside[start + 1 : end]
            lines += [margin + part] if len(margin + part) <= width else _split(part, margin, width)
        return lines
    items = list(_items(inside))
    whole = [opening.endswith("[") and _is_slice(item) for item in items]
    if len(items) == 1 and not opening.startswith("def "):
        return [margin + items[0]] if whole[0] else _sole(items[0], margin, width)
    found = zip(items, whole, strict=True)
    return [
        line
        for item, kept in found
        for line in ([f"{margin}{item},"] if kept else _item(item, margin, width))
    ]


def _opens_listing(opening: str) -> bool:
    """Whether a bracket opens a tuple or list, and no call or index: the formatter gives each item of one a line."""
    return opening[-1] in "([{" and not re.search(r"[\w)\]]$", opening[:-1])


def _item(item: str, margin: str, width: int) -> list[str]:
    """One of several items between brackets, with its comma."""
    lines = _split(item, margin, width) if len(margin + item) + 1 > width else [margin + item]
    return [*lines[:-1], lines[-1] + ","]


def _sole(item: str, margin: str, width: int) -> list[str]:
    """The only item between brackets, which gets no comma and no further brackets."""
    if len(margin + item) <= width:
        return [margin + item]
    head, value, _ = _parts(item)
    if _brackets(value, width - len(margin + head)) is None and not head:
        return _operands(item, margin, width)
    return _split(item, margin, width)


def _operands(value: str, margin: str, width: int) -> list[str]:
    """An operator's operands: on one line if that fits, else one a line with the operator in front."""
    parts = _operator_parts(value)
    if len(margin + value) <= width or len(parts) == 1:
        return [margin + value]
    return [line for part in parts for line in _operand(part, margin, width)]


def _operand(part: str, margin: str, width: int) -> list[str]:
    return [margin + part] if len(margin + part) <= width else _split(part, margin, width)


def _parts(text: str) -> tuple[str, str, str]:
    """Head (`x = `, `return `, `key=`, `+ ` of an operand), the expression, and tail (`:`)."""
    if text.startswith(("def ", "class ")):
        end = _closing(text, text.index("("))
        return "", text[: end + 1], text[end + 1 :]
    for word in ("return ", "raise "):
        if text.startswith(word):
            return word, text[len(word) :], ""
    if text.startswith("if ") and text.endswith(":"):
        return "if ", text[3:-1], ":"
    if (operator := _OPERATOR.match(text)) and not text.endswith(":"):
        return operator[0], text[operator.end() :], ""
    if text.startswith("for "):
        start, end = text.index(" in ") + 4, len(text) - text.endswith(":")
        return text[:start], text[start:end], text[end:]
    if text.startswith("*"):
        return "*", text[1:], ""
    for head, value in _assignments(text):
        return head, value, ""
    key = _KEY.match(text) or _ANNOTATED.match(text)
    return (key[0], text[key.end() :], "") if key else ("", text, "")


_OPERATOR = re.compile(
    r"(if|else|and|or|[-+*/%@|&<>=!]+) "
)  # in front of an operand that has a line of its own
_KEY = re.compile(r"""(?:f?(["'])(?:(?!\1)[^\\])*\1|str\([\w *+]+\)): """)  # of an item in a dict display

_ANNOTATED = re.compile(r"[A-Za-z_]\w*: (?=tuple\[)")  # an argument of a function


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    """The text behind each `=` that assigns or names an argument, from the left."""
    for i, char, depth in _scan(text):
        if char == "=" and depth == 0 and text[i - 1] not in "=!<>:" and text[i + 1] != "=":
            cut = i + 2 if text[i + 1] == " " else i + 1
            yield text[:cut], text[cut:]


def _brackets(value: str, room: int) -> tuple[int, int] | None:
    """The last brackets of an expression, if that is where it is split: it ends with them, and outside of
    brackets it has no operator, or one whose left side fits in front."""
    if not value.endswith((")", "]", "}")):
        return None
    if value.startswith(("def ", "class ")):
        return value.index("("), len(value) - 1
    start = next(i for i, char, _ in _scan(value) if char in "([{" and _closing(value, i) == len(value) - 1)
    if any(
        char == ":" and depth == 0 for _, char, depth in _scan(value)
    ):  # a slice, which has no value of its own
        return None
    node = ast.parse(value.removeprefix("*"), mode="eval").body
    if start == 0 and not isinstance(node, _BRACKETED):  # all of it stands in brackets, as an operand
        return (0, len(value) - 1)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):  # dicts: both sides stand in brackets
        return None
    if isinstance(node, ast.BinOp | ast.Compare):
        return (start, len(value) - 1) if _is_sole(node) and start < room and start + 2 < len(value) else None
    while isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):  # a sign stays at what it is of
        node = node.operand
    filled = start + 2 < len(value)  # nothing stands in `unbind()` that could be broken
    return (start, len(value) - 1) if filled and isinstance(node, _BRACKETED) else None


def _is_sole(node: ast.BinOp | ast.Compare) -> bool:
    """Whether no other operator of an expression binds as loosely as its outermost one."""
    if isinstance(node, ast.Compare):
        return len(node.ops) == 1
    return not (isinstance(node.left, ast.BinOp) and _same(node.left.op, node.op))


def _first_operand(value: str) -> int:
    """The end of the left one of two operands, if it stands in brackets; 0 if not."""
    if not value.startswith("("):
        return 0
    end, parts = _closing(value, 0), _operator_parts(value)
    return end if len(parts) == 2 and parts[0] == value[: end + 1] else 0


_BRACKETED = (
    ast.Call
    | ast.Subscript
    | ast.Tuple
    | ast.List
    | ast.Dict
    | ast.Set
    | ast.ListComp
    | ast.DictComp
    | ast.GeneratorExp
)


def _same(a: ast.operator, b: ast.operator) -> bool:
    """Whether two operators bind alike."""
    return isinstance(a, ast.Add | ast.Sub) == isinstance(b, ast.Add | ast.Sub)


def _closing(text: str, start: int) -> int:
    """Where the bracket that opens at `start` closes."""
    return start + next(i for i, char, depth in _scan(text[start:]) if char in ")]}" and depth == 0)


def _items(inside: str) -> Iterator[str]:
    """What stands between the outermost commas."""
    last = 0
    for i, char, depth in _scan(inside):
        names = inside[last:].lstrip().startswith("lambda ") and ":" not in inside[last:i]
        if char == "," and depth == 0 and not names:
            yield inside[last:i].strip()
            last = i + 1
    if inside[last:].strip():
        yield inside[last:].strip()


def _operator_parts(value: str) -> list[str]:
    node = ast.parse(value, mode="eval").body
    cuts: list[int] = []
    choice = node
    while isinstance(choice, ast.IfExp):
        assert choice.body.end_col_offset is not None and choice.test.end_col_offset is not None
        behind = _outside(value, choice.test.end_col_offset), _outside(value, choice.body.end_col_offset)
        cuts = [*behind, *cuts]
        # A choice behind `else` goes on with it, unless it stands in brackets of its own.
        if value[choice.orelse.col_offset - 1] == "(":
            break
        choice = choice.orelse
    if isinstance(node, ast.BinOp):
        level = type(node.op) in (ast.Add, ast.Sub)
        while isinstance(node, ast.BinOp) and (type(node.op) in (ast.Add, ast.Sub)) == level:
            assert node.left.end_col_offset is not None
            cuts.append(_outside(value, node.left.end_col_offset))
            node = node.left
    if isinstance(node, ast.BoolOp):
        ends = (each.end_col_offset for each in reversed(node.values[:-1]))
        cuts += [_outside(value, end) for end in ends if end is not None]
    bounds = [0, *reversed(cuts), len(value)]
    return [value[a:b].strip() for a, b in pairwise(bounds)]


def _outside(value: str, at: int) -> int:
    """Past the brackets that close at `at`."""
    while value[at : at + 1] == ")":
        at += 1
    return at


def _scan(text: str) -> Iterator[tuple[int, str, int]]:
    """Every character outside of strings, with the depth of brackets outside of it (a bracket: outside its
    pair)."""
    depth = 0
    quote = ""
    skip = False
    for i, char in enumerate(text):
        if skip:
            skip = False
        elif quote:
            skip = char == "\\"
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        else:
            depth -= char in ")]}"
            yield i, char, depth
            depth += char in "([{"
