"""Writes expressions and types on one line, with the parentheses that they need or were written in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dlc.records import dataclass
from dlc.syntax import ast
from dlc.syntax.source_map import SourceMap

# How tightly expressions bind. A child that binds less than its place asks for stands in parentheses.
TUPLE, PIPE, CONDITION, OR, AND, NOT, COMPARE, SUM, PRODUCT, SIGN, POWER, POSTFIX, ATOM = range(13)
BINARY = {
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


def binding(node: ast.Expr) -> int:
    if isinstance(node, ast.Binary):
        return BINARY[node.op]
    if isinstance(node, ast.Unary):
        return NOT if node.op == "not" else SIGN
    if isinstance(node, ast.TupleExpr) and len(node.items) < 2:
        return ATOM  # `(a,)` keeps its parentheses: a comma at the end of a line would go on in the next
    return _BINDING.get(type(node), ATOM)


@dataclass(frozen=True, slots=True)
class Child:
    """An expression inside another, or standing at a place that asks for a binding of at least `least`."""

    node: ast.Expr
    least: int


Part = str | Child
Item = Part | list[Part]


class FlatWriter:
    """Writes expressions of one file on one line. `parts` says what each kind is made of."""

    def __init__(self, source: SourceMap) -> None:
        self.source = source
        self._flat: dict[tuple[int, int], str] = {}

    def flat(self, node: ast.Expr, least: int = TUPLE) -> str:
        key = (id(node), least)
        if key not in self._flat:
            self._flat[key] = "".join(map(self.flat_part, self.wrapped(node, least)))
        return self._flat[key]

    def flat_part(self, part: Part) -> str:
        return part if isinstance(part, str) else self.flat(part.node, part.least)

    def flat_item(self, item: Item) -> str:
        return "".join(map(self.flat_part, item_parts(item)))

    def wrapped(self, node: ast.Expr, least: int) -> list[Part]:
        """The parts of an expression, in parentheses where its place asks for them or they were written."""
        return ["(", *self.parts(node), ")"] if self.is_wrapped(node, least) else self.parts(node)

    def is_wrapped(self, node: ast.Expr, least: int) -> bool:
        return binding(node) < least or self.keeps_parentheses(node, least)

    def keeps_parentheses(self, node: ast.Expr, least: int) -> bool:
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
        return ["[", *separated([Child(item, CONDITION) for item in node.items]), "]"]

    def _tupleexpr(self, node: ast.TupleExpr) -> list[Part]:
        items = separated([Child(item, PIPE) for item in node.items])
        if len(items) > 1:
            return items
        return ["(", *items, ",)"] if items else ["()"]

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
        level = BINARY[node.op]
        left, right = (POSTFIX, SIGN) if node.op == "**" else (level, level + 1)
        return [Child(node.left, left), self.operator(node), Child(node.right, right)]

    def operator(self, node: ast.Binary) -> str:
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
        return [*self.owner(node.callee), "(", *separated(self.arguments(node)), ")"]

    def _index(self, node: ast.Index) -> list[Part]:
        return [*self.owner(node.value), "[", *separated(self.items(node)), "]"]

    def _attribute(self, node: ast.Attribute) -> list[Part]:
        return [*self.owner(node.value), f".{node.name}"]

    def owner(self, node: ast.Expr) -> list[Part]:
        """What a call, index or attribute belongs to; a label would run into them."""
        return [Child(node, ATOM if isinstance(node, ast.Labeled) else POSTFIX)]

    def arguments(self, node: ast.Call) -> list[Item]:
        alone = len(node.args) == 1
        return [self.argument(arg, alone) for arg in node.args]

    def argument(self, arg: ast.Arg, alone: bool = False) -> Item:
        if arg.name is None:
            return Child(arg.value, PIPE if alone else CONDITION)
        return [f"{arg.name}=", Child(arg.value, CONDITION)]

    def items(self, node: ast.Index) -> list[Item]:
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


def item_parts(item: Item) -> list[Part]:
    return item if isinstance(item, list) else [item]


def separated(items: Sequence[Item]) -> list[Part]:
    parts: list[Part] = []
    for number, item in enumerate(items):
        if number:
            parts.append(", ")
        parts += item_parts(item)
    return parts
