"""Parses the text of a spec: `parse` for a file, `parse_expression` for an expression alone. Neither ever
raises."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dlc.diagnostics import Diagnostic, Span
from dlc.diagnostics.catalogue import TOO_LONG
from dlc.records import dataclass, replace
from dlc.syntax import ast
from dlc.syntax.builder import TreeBuilder
from dlc.syntax.comments import comment_above
from dlc.syntax.lalr import Failure, Parser
from dlc.syntax.layout import lay_out
from dlc.syntax.messages import explain
from dlc.syntax.placement import misplaced
from dlc.syntax.scanner import CHARACTER_LIMIT, WORD_LIMIT, Scanned, scan
from dlc.syntax.tokens import END, Token

_Comments = tuple[tuple[int, str, bool], ...]


@dataclass(frozen=True, slots=True)
class ParseResult:
    """The tree of a file, as far as it could be read, and what is wrong in the text, in its order."""

    file: ast.File
    diagnostics: tuple[Diagnostic, ...] = ()
    words: int = 0


@dataclass(frozen=True, slots=True)
class ExpressionResult:
    """An expression, None if it could not be read, and what is wrong in it."""

    expression: ast.Expr | None
    diagnostics: tuple[Diagnostic, ...] = ()


def parse(text: str, file: str) -> ParseResult:
    """The tree of `text`, whose name in spans is `file`. Items without an error in their header are always
    in it."""
    if len(text) > CHARACTER_LIMIT:
        problem = TOO_LONG.at(Span(file, 1, 1), what="this text", limit=f"{CHARACTER_LIMIT:,} characters")
        return ParseResult(ast.File(()), (problem,), WORD_LIMIT)
    scanned = scan(text, file)
    if scanned.words > WORD_LIMIT:
        return ParseResult(ast.File(()), (_too_long(scanned, file),), scanned.words)
    tokens, wrong = lay_out(scanned.tokens, file)
    comments = tuple(scanned.comments)
    found, more = _run(tokens, file, "file")
    items = _documented(found or (), comments)
    more += misplaced(items)
    tree = ast.File(items, comments, span=_whole(tokens, file))
    told = _in_order([*scanned.diagnostics, *wrong, *more])
    told = told[:1] if tokens[0].kind == "{" else told  # JSON: one message says it
    return ParseResult(tree, told, scanned.words)


def _too_long(scanned: Scanned, file: str) -> Diagnostic:
    """Told at the last word that was read, or the comment behind it."""
    comment = scanned.comments[-1][0] if scanned.comments else 0
    place = Span(file, comment, 1, comment, 2)
    if scanned.tokens and scanned.tokens[-1].line >= comment:
        token = scanned.tokens[-1]
        place = Span(file, token.line, token.column, token.line, token.end)
    return TOO_LONG.at(place, what="this text", limit=f"{WORD_LIMIT:,} words")


def parse_expression(text: str, file: str) -> ExpressionResult:
    """The expression that `text` is."""
    expression, wrong = _expression(text, Span(file, 1, 1))
    return ExpressionResult(expression, _in_order(wrong))


def _expression(text: str, at: Span) -> tuple[ast.Expr | None, list[Diagnostic]]:
    scanned = scan(text, at.file, at.line, at.column)
    tokens, wrong = lay_out(scanned.tokens, at.file, items=False)
    if len(tokens) == 1:
        tokens = [Token(END, "", at.line, at.column, at.column)]
    expression, more = _run(tokens, at.file, "value")
    return expression, [*scanned.diagnostics, *wrong, *more]


def _run(tokens: list[Token], file: str, start: str) -> tuple[Any, list[Diagnostic]]:
    failures: list[Diagnostic] = []

    def interpolation(text: str, at: Span) -> ast.Expr | None:
        expression, wrong = _expression(text, at)
        failures.extend(_in_order(wrong)[:1])
        return expression

    def fail(failure: Failure) -> None:
        explained = explain(failure, file)
        if explained is not None:
            failures.append(explained)

    builder = TreeBuilder(file, interpolation)
    result = Parser(tokens, file, builder, fail).parse(start)
    return result, failures + builder.diagnostics


def _whole(tokens: list[Token], file: str) -> Span:
    last = tokens[-1]
    return Span(file, 1, 1, last.line, last.end)


def _in_order(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """By place, each once."""
    return tuple(dict.fromkeys(sorted(diagnostics, key=lambda each: (each.span.line, each.span.column))))


def _documented(items: Iterable[ast.Item], comments: _Comments) -> tuple[ast.Item, ...]:
    """The items and entries with the comment blocks above them."""
    lines = {line: text for line, text, alone in comments if alone}
    return tuple(_with_doc(item, lines) for item in items) if lines else tuple(items)


def _with_doc(item: ast.Item, lines: dict[int, str]) -> ast.Item:
    doc = comment_above(item.span.line, lines)
    if doc:
        item = replace(item, doc=doc)
    if isinstance(item, ast.ModuleDef) and any(isinstance(stmt, ast.Entry) for stmt in item.body):
        item = replace(item, body=tuple(_entry_with_doc(stmt, lines) for stmt in item.body))
    return item


def _entry_with_doc(stmt: ast.Stmt, lines: dict[int, str]) -> ast.Stmt:
    if not isinstance(stmt, ast.Entry):
        return stmt
    return replace(stmt, doc=comment_above(stmt.span.line, lines))
