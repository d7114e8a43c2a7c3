"""Functions of a file that are changed as text: their lines, broken anew."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from textwrap import dedent

from dlc.emit.layout import WIDTH, layout


def laid_out(block: str, name: str) -> str:
    """A block in which a name has another length than before: statements with it may need other breaks."""
    lines = block.splitlines()
    found: list[tuple[int, int]] = []
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.FunctionDef):
            found.append((node.lineno, _head_end(node, lines)))
        elif isinstance(node, ast.Return | ast.Assign | ast.Expr) and node.end_lineno:
            found.append((node.lineno, node.end_lineno))
    for first, last in sorted(found, reverse=True):
        old = lines[first - 1 : last]
        end, mark, comment = old[-1].partition("  # ")
        text, indent = _joined([*old[:-1], end]), (len(old[0]) - len(old[0].lstrip())) // 4
        is_long = any(len(line) > WIDTH for line in old)
        is_short = len(old) > 1 and 4 * indent + len(text) <= WIDTH
        if (is_long or is_short) and re.search(rf"\b{name}\b", text) and _same(text, "\n".join(old)):
            lines[first - 1 : last] = _commented(layout(text, indent), f"{mark}{comment}")
    return "\n".join(lines)


def _commented(lines: Sequence[str], comment: str) -> list[str]:
    """A statement with what was said behind it: of a function's head below it, where it has no place; of others nothing then."""
    *before, last = lines
    if len(last) + len(comment) <= WIDTH:
        return [*before, last + comment]
    is_head = lines[0].lstrip().startswith("def ")
    indent = len(last) - len(last.lstrip())
    return [*lines, f"{' ' * (indent + 4)}{comment.strip()}"] if is_head else [*lines]


def _head_end(node: ast.FunctionDef, lines: Sequence[str]) -> int:
    """The last line of a function's head: comments may stand between it and the body."""
    last = node.body[0].lineno - 1
    while last > node.lineno and lines[last - 1].lstrip().startswith("#"):
        last -= 1
    return last


def _joined(lines: Sequence[str]) -> str:
    """A statement on one line."""
    text, *rest = (line.strip() for line in lines)
    for each in rest:
        if each[:1] in (")", "]", "}"):
            text = text.removesuffix(",") + each
        else:
            text += each if text.endswith(("(", "[", "{")) else f" {each}"
    return text


def _same(one: str, other: str) -> bool:
    def dumped(text: str) -> str:
        body = dedent(text)
        return ast.dump(ast.parse(f"{body} pass" if body.startswith("def ") else body))

    try:
        return dumped(one) == dumped(other)
    except SyntaxError:
        return False


def bare(block: str) -> str:
    """A function without what it says of itself."""
    tree = ast.parse(block)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
