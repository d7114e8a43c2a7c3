"""Makes the nodes of expressions, binding targets, types and the fields of headers: one method per rule of
the grammar (or its alias), called with the span and the kept children."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlc.diagnostics import Diagnostic, Fix, Span
from dlc.diagnostics.catalogue import BAD_ESCAPE, SYNTAX
from dlc.syntax import ast
from dlc.syntax.strings import pieces, unescape
from dlc.syntax.tokens import Token, words

STATIC_TYPES = words("int float bool str dtype dim module fn list tuple")
DTYPES = words("f64 f32 f16 bf16 f8e4m3 f8e5m2 i64 i32 i16 i8 i4 u8 bool float")
_PYTHON_NAMES = {"True": "true", "False": "false", "None": "none", "null": "none"}
_MAX_DIGITS = 1000

ParseExpression = Callable[[str, Span], ast.Expr | None]


class ExpressionBuilder:
    """Builds the nodes of expressions, types and headers; what the grammar lets through but the language does
    not goes to `diagnostics`.

    `parse_expression` parses the text of an interpolation."""

    def __init__(self, file: str, parse_expression: ParseExpression) -> None:
        self.file = file
        self.parse_expression = parse_expression
        self.diagnostics: list[Diagnostic] = []
        self._actions: dict[str, Callable[..., Any]] = {}

    def action(self, name: str) -> Callable[..., Any]:
        found = self._actions.get(name)
        if found is None:
            found = self._actions[name] = getattr(self, f"on_{name}")
        return found

    def syntax(self, span: Span, message: str, help: str = "", fix: str = "") -> None:
        fixes = [Fix(span, fix)] if fix else []
        self.diagnostics.append(SYNTAX.at(span, message=message, help=help, fixes=fixes))

    def span(self, token: Token) -> Span:
        return Span(self.file, token.line, token.column, token.line, token.end)

    # --- strings -------------------------------------------------------------------------------------------

    def string(self, token: Token) -> ast.Str:
        """The literal of a token. Escapes that do not exist are reported."""
        raw = token.text[1:-1]
        value, bad = unescape(raw)
        span = self.span(token)
        for offset, escape in bad:
            at = span.inside(offset + 1, offset + 1 + len(escape))
            self.diagnostics.append(
                BAD_ESCAPE.at(at, escape=escape, help="a backslash itself is written `\\\\`")
            )
        return ast.Str(value, raw, span=span)

    def interpolated(self, token: Token) -> ast.Str:
        """The literal of a token in a label or message, split at its interpolations."""
        literal = self.string(token)
        found, unclosed = pieces(literal.raw)
        if unclosed is not None:
            at = literal.span.inside(unclosed + 1, unclosed + 2)
            self.syntax(at, "`{` in this string is never closed", "a brace itself is written `{{`")
        parts: list[str | ast.Expr] = []
        for piece in found:
            if not piece.is_expression:
                parts.append(piece.text)
                continue
            place = literal.span.inside(piece.offset + 1, piece.offset + 1 + len(piece.text))
            expression = self.parse_expression(piece.text, place)
            if expression is not None:
                parts.append(expression)
        return ast.Str(literal.value, literal.raw, tuple(parts), span=literal.span)

    def on_bare_label(self, span: Span, token: Token) -> ast.Label:
        return ast.Label((token.text,), span=span)

    def on_quoted_label(self, span: Span, token: Token) -> ast.Label:
        return ast.Label(self.interpolated(token).parts, True, span=span)

    # --- atoms ---------------------------------------------------------------------------------------------

    def on_name(self, span: Span, token: Token) -> ast.Expr:
        meant = _PYTHON_NAMES.get(token.text)
        if meant is None:
            return ast.Name(token.text, span=span)
        self.syntax(span, f"`{token.text}` is no value of this language", f"write `{meant}`", fix=meant)
        return ast.NoneLit(span=span) if meant == "none" else ast.Bool(meant == "true", span=span)

    def on_integer(self, span: Span, token: Token) -> ast.Int:
        if token.broken:
            return ast.Int(0, span=span)
        if len(token.text) > _MAX_DIGITS:
            self.syntax(span, f"an integer has at most {_MAX_DIGITS} digits")
            return ast.Int(0, span=span)
        digits = token.text.replace("_", "")
        return ast.Int(int(digits, 10 if digits.isdecimal() else 0), span=span)

    def on_float(self, span: Span, token: Token) -> ast.Float:
        return ast.Float(float(token.text), token.text, span=span)

    def on_string(self, span: Span, token: Token) -> ast.Str:
        return self.string(token)

    def on_true(self, span: Span) -> ast.Bool:
        return ast.Bool(True, span=span)

    def on_false(self, span: Span) -> ast.Bool:
        return ast.Bool(False, span=span)

    def on_none(self, span: Span) -> ast.NoneLit:
        return ast.NoneLit(span=span)

    def on_wildcard(self, span: Span) -> ast.Wildcard:
        return ast.Wildcard(span=span)

    def on_unit(self, span: Span) -> ast.TupleExpr:
        return ast.TupleExpr((), span=span)

    def on_parenthesized(self, span: Span, value: ast.Expr) -> ast.Expr:
        return value

    def on_star(self, span: Span, name: Token) -> ast.Star:
        return ast.Star(name.text, span=span)

    def on_list(self, span: Span, *items: ast.Expr) -> ast.ListExpr:
        return ast.ListExpr(items, span=span)

    def on_comprehension(
        self,
        span: Span,
        element: ast.Expr,
        target: ast.Expr | ast.Target,
        iterable: ast.Expr,
        condition: ast.Expr | None,
    ) -> ast.ListComp:
        return ast.ListComp(element, self.target(target), iterable, condition, span=span)

    # --- operators -----------------------------------------------------------------------------------------

    def on_tuple(self, span: Span, *items: ast.Expr) -> ast.TupleExpr:
        return ast.TupleExpr(items, span=span)

    def on_pipe(self, span: Span, value: ast.Expr, stage: ast.Expr) -> ast.Pipe:
        plain = stage.value if isinstance(stage, ast.Labeled) else stage
        if not isinstance(plain, ast.Name | ast.Attribute | ast.Call | ast.Index):
            self.syntax(
                stage.span, "a stage of a pipe is a name, a call or an index", "write `x |> f` or `x |> f(…)`"
            )
        return ast.Pipe(value, stage, span=span)

    def on_conditional(
        self, span: Span, then: ast.Expr, condition: ast.Expr, otherwise: ast.Expr
    ) -> ast.Conditional:
        return ast.Conditional(condition, then, otherwise, span=span)

    def on_binary(self, span: Span, left: ast.Expr, operator: Token, right: ast.Expr) -> ast.Binary:
        return ast.Binary(operator.kind, left, right, span=span)

    def on_unary(self, span: Span, operator: Token, operand: ast.Expr) -> ast.Unary:
        return ast.Unary(operator.kind, operand, span=span)

    def on_comparator(self, span: Span, *tokens: Token) -> str:
        return " ".join(token.kind for token in tokens)

    def on_compare(self, span: Span, *parts: Any) -> ast.Compare:
        return ast.Compare(tuple(parts[::2]), tuple(parts[1::2]), span=span)

    def on_attribute(self, span: Span, value: ast.Expr, name: Token) -> ast.Attribute:
        return ast.Attribute(value, name.text, name_span=self.span(name), span=span)

    def on_labeled(self, span: Span, value: ast.Expr, label: ast.Label) -> ast.Labeled:
        if isinstance(value, ast.Labeled):
            self.syntax(label.span, "this has a label already")
        return ast.Labeled(value, label, span=span)

    # --- calls and indices ---------------------------------------------------------------------------------

    def on_call(self, span: Span, callee: ast.Expr, args: list[ast.Arg]) -> ast.Call:
        return ast.Call(callee, tuple(args), span=span)

    def on_arguments(self, span: Span, *args: ast.Arg) -> list[ast.Arg]:
        return list(args)

    def on_positional(self, span: Span, value: ast.Expr) -> ast.Arg:
        return ast.Arg(value, span=span)

    def on_keyword(self, span: Span, name: Token, value: ast.Expr) -> ast.Arg:
        return ast.Arg(value, name.text, span=span)

    def on_ellipsis_argument(self, span: Span) -> ast.Arg:
        return ast.Arg(ast.Ellipsis_(span=span), span=span)

    def on_index(self, span: Span, value: ast.Expr, items: tuple[ast.Expr, ...]) -> ast.Index:
        return ast.Index(value, items, span=span)

    def on_indices(self, span: Span, *items: ast.Expr) -> tuple[ast.Expr, ...]:
        return items

    def on_ellipsis(self, span: Span) -> ast.Ellipsis_:
        return ast.Ellipsis_(span=span)

    def on_slice(
        self, span: Span, start: ast.Expr | None, stop: ast.Expr | None, step: ast.Expr | None = None
    ) -> ast.Slice:
        return ast.Slice(start, stop, step, span=span)

    # --- targets -------------------------------------------------------------------------------------------

    def on_target_tuple(self, span: Span, *targets: ast.Expr | ast.Target) -> ast.TupleTarget:
        return ast.TupleTarget(tuple(self.target(each) for each in targets), span=span)

    def target(self, value: ast.Expr | ast.Target) -> ast.Target:
        """What stands left of `=`, read as an expression, as a binding."""
        if isinstance(value, ast.Target):
            return value
        if isinstance(value, ast.Name):
            return ast.NameTarget(value.id, span=value.span)
        if isinstance(value, ast.Wildcard):
            return ast.NameTarget("_", span=value.span)
        if isinstance(value, ast.TupleExpr) and value.items:
            return ast.TupleTarget(tuple(self.target(each) for each in value.items), span=value.span)
        self.syntax(value.span, "only names can be bound", _target_help(value))
        return ast.NameTarget("_", span=value.span)

    # --- types ---------------------------------------------------------------------------------------------

    def on_dotted(self, span: Span, *names: Token) -> list[Token]:
        return list(names)

    def on_axes(self, span: Span, *axes: ast.Expr) -> tuple[ast.Expr, ...]:
        return axes

    def on_tensor_type(self, span: Span, axes: tuple[ast.Expr, ...]) -> ast.TypeExpr:
        return ast.TensorTypeExpr(None, axes, span=span)

    def on_named_type(self, span: Span, names: list[Token]) -> ast.TypeExpr:
        return ast.NamedTypeExpr(joined(names), span=span)

    def on_indexed_type(self, span: Span, names: list[Token], axes: tuple[ast.Expr, ...]) -> ast.TypeExpr:
        return self._indexed_type(span, joined(names), axes)

    def _indexed_type(self, span: Span, name: str, axes: tuple[ast.Expr, ...]) -> ast.TypeExpr:
        if name in DTYPES:
            return ast.TensorTypeExpr(name, axes, span=span)
        if name in ("list", "tuple"):
            return ast.NamedTypeExpr(name, tuple(self._as_type(axis) for axis in axes), span=span)
        return ast.GroupTypeExpr(name, axes, span=span)

    def _as_type(self, value: ast.Expr) -> ast.TypeExpr:
        """What stands in the brackets of `list[…]`, read as an axis, as a type."""
        if isinstance(value, ast.Name):
            return ast.NamedTypeExpr(value.id, span=value.span)
        if isinstance(value, ast.ListExpr):
            return ast.TensorTypeExpr(None, value.items, span=value.span)
        if isinstance(value, ast.Index) and isinstance(value.value, ast.Name):
            return self._indexed_type(value.span, value.value.id, value.items)
        self.syntax(value.span, "a type is expected here", "for example `list[int]` or `tuple[int, int]`")
        return ast.NamedTypeExpr("int", span=value.span)

    def on_fields(self, span: Span, *fields: ast.Field) -> tuple[ast.Field, ...]:
        return fields

    def on_field(
        self, span: Span, name: Token, type: ast.TypeExpr | None, default: ast.Expr | None
    ) -> ast.Field:
        return ast.Field(name.text, type, default, span=span)

    def on_outputs(self, span: Span, *outputs: ast.Field) -> tuple[ast.Field, ...]:
        return outputs

    def on_anonymous_output(self, span: Span, type: ast.TypeExpr, default: ast.Expr | None) -> ast.Field:
        """A word alone is a type where it is one by its form (`int`, `Frame`), else an output without a
        type."""
        if isinstance(type, ast.NamedTypeExpr) and not type.args and is_value_name(type.name):
            return ast.Field(type.name, None, default, span=span)
        return ast.Field(None, type, default, span=span)

    def on_named_output(
        self, span: Span, name: Token, type: ast.TypeExpr, default: ast.Expr | None
    ) -> ast.Field:
        return ast.Field(name.text, type, default, span=span)

    def on_inferred_output(self, span: Span, default: ast.Expr | None) -> ast.Field:
        return ast.Field(None, None, default, span=span)

    def on_inferred_named_output(self, span: Span, name: Token, default: ast.Expr | None) -> ast.Field:
        return ast.Field(name.text, None, default, span=span)

    def on_where(self, span: Span, *facts: ast.Expr) -> tuple[ast.Expr, ...]:
        return facts

    def typed(self, fields: tuple[ast.Field, ...]) -> tuple[ast.Field, ...]:
        for each in fields:
            if each.type is None:
                self.syntax(
                    each.span, f"`{each.name}` needs a type", f"write `{each.name}: {_type_of(each.default)}`"
                )
        return fields


_STATIC = {ast.Int: "int", ast.Float: "float", ast.Bool: "bool", ast.Str: "str"}


def _type_of(default: ast.Expr | None) -> str:
    """The type that a default tells, with the default as it may be written."""
    kind = _STATIC.get(type(default))
    return "…" if kind is None else f"{kind} = …"


def joined(names: list[Token]) -> str:
    return ".".join(name.text for name in names)


def is_value_name(name: str) -> bool:
    """Whether a word alone after `->` names an output: it is no static type, no dtype, and not written
    like a group."""
    return name[0].islower() and "." not in name and name not in STATIC_TYPES and name not in DTYPES


def _target_help(value: ast.Expr) -> str:
    if isinstance(value, ast.Index):
        return (
            "a tensor's part can't be assigned: make a new tensor with `update_slice`, `scatter` or `where`"
        )
    if isinstance(value, ast.Attribute) and value.value == ast.Name("self", span=value.value.span):
        return f"a part's name has no `self` before it: `{value.name} = …`"
    if isinstance(value, ast.Attribute):
        return "write `update … = …` to give a buffer its new value"
    if isinstance(value, ast.ListExpr):
        return "write `a, b = …`"
    return ""
