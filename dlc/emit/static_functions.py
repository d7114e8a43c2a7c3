"""Fns of a spec on numbers, as functions of Python: schedules of a spec's own, which scripts of a training bring along.

fn stairs(step: int, total: int, high: float = 0.1) -> float {      def stairs_rate(step: int, total: int, high: float = 0.1) -> float:
    return high * (step // 100) / total                       ->        return high * (step // 100) / total
}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce

from dlc.emit.layout import layout
from dlc.emit.names import identifier
from dlc.emit.tree import At, Binary, Call, Conditional, Expr, Keyword, Seq, Unary, Word, text
from dlc.records import dataclass, field
from dlc.syntax import ast
from dlc.types.functions import FUNCTIONS

Lines = list[str]
_TYPES = {"int": "int", "float": "float", "bool": "bool", "string": "str"}


_OPERATORS = frozenset(("+", "-", "*", "/", "//", "%", "**", "and", "or"))


class Unsaid(Exception):
    """Something that has no function of Python."""


def python_functions(
    name: str, node: ast.FnDef, find: Callable[[str], ast.FnDef | ast.Let | None]
) -> tuple[str, ...]:
    """The source of an fn under a name, and of the fns that it calls; `find` looks names of its file up. Raises Unsaid."""
    return tuple(_Writer(find).functions(name, node))


@dataclass
class _Writer:
    find: Callable[[str], ast.FnDef | ast.Let | None]
    called: dict[str, ast.FnDef] = field(default_factory=dict)
    local: set[str] = field(default_factory=set)

    def functions(self, name: str, node: ast.FnDef) -> Iterator[str]:
        yield "\n".join(self._function(name, node))
        done: set[str] = set()
        while rest := [each for each in self.called if each not in done]:
            done.add(rest[0])
            yield "\n".join(self._function(identifier(rest[0]), self.called[rest[0]]))

    def _function(self, name: str, node: ast.FnDef) -> Lines:
        self.local = {str(each.name) for each in node.params}
        if node.where or len(node.outputs) != 1:
            raise Unsaid(f"`{node.name}`")
        params = ", ".join(map(self._param, node.params))
        head = layout(f"def {name}({params}) -> {_type(node.outputs[0])}:", 0)
        return [*head, *self._body(node.body, 1)]

    def _param(self, each: ast.Field) -> str:
        default = "" if each.default is None else f" = {self._text(each.default)}"
        return f"{identifier(str(each.name))}: {_type(each)}{default}"

    # --- statements

    def _body(self, body: Sequence[ast.Stmt], indent: int) -> Lines:
        return [line for each in body for line in self._statement(each, indent)]

    def _statement(self, node: ast.Stmt, indent: int) -> Lines:
        margin = "    " * indent
        if isinstance(node, ast.Return):
            return layout(f"return {self._text(node.value)}", indent)
        if isinstance(node, ast.Assign) and isinstance(node.target, ast.NameTarget):
            value = self._text(node.value)
            self.local.add(node.target.id)
            return layout(f"{identifier(node.target.id)} = {value}", indent)
        if isinstance(node, ast.If):
            lines = [f"{margin}if {self._text(node.condition)}:", *self._body(node.then, indent + 1)]
            if len(node.otherwise) == 1 and isinstance(node.otherwise[0], ast.If):
                first, *rest = self._statement(node.otherwise[0], indent)
                return [*lines, f"{margin}el{first.lstrip()}", *rest]
            return [
                *lines,
                *([f"{margin}else:", *self._body(node.otherwise, indent + 1)] if node.otherwise else []),
            ]
        if isinstance(node, ast.For) and isinstance(node.target, ast.NameTarget) and node.label is None:
            head = f"{margin}for {identifier(node.target.id)} in {self._text(node.iterable)}:"
            self.local.add(node.target.id)
            return [head, *self._body(node.body, indent + 1)]
        raise Unsaid("such a statement")

    # --- expressions

    def _text(self, node: ast.Expr) -> str:
        return text(self._expr(node))

    def _expr(self, node: ast.Expr) -> Expr:
        match node:
            case ast.Int(value=value) | ast.Bool(value=value):
                return Word(repr(value))
            case ast.Float(text=written):
                return Word(written)
            case ast.Name(id=name):
                return self._name(name)
            case ast.Unary(op=op, operand=operand):
                return Unary("not " if op == "not" else op, self._expr(operand))
            case ast.Binary(op=op, left=left, right=right) if op in _OPERATORS:
                return Binary(op, self._expr(left), self._expr(right))
            case ast.Compare(operands=operands, ops=ops):
                values = [self._expr(each) for each in operands]
                pairs = zip(ops, values, values[1:], strict=False)
                return reduce(partial(Binary, "and"), (Binary(op, a, b) for op, a, b in pairs))
            case ast.Conditional(condition=condition, then=then, otherwise=otherwise):
                return Conditional(*map(self._expr, (condition, then, otherwise)))
            case ast.ListExpr(items=items):
                return Seq(tuple(map(self._expr, items)), "[]")
            case ast.Index(value=value, items=(item,)) if not isinstance(item, ast.Slice):
                return At(self._expr(value), (self._expr(item),))
            case ast.Call(callee=ast.Name(id=name), args=args):
                return Call(self._callee(name), tuple(map(self._argument, args)))
        raise Unsaid("such an expression")

    def _argument(self, each: ast.Arg) -> Expr:
        value = self._expr(each.value)
        return value if each.name is None else Keyword(identifier(each.name), value)

    def _name(self, name: str) -> Expr:
        if name in self.local:
            return Word(identifier(name))
        found = self.find(name)
        if isinstance(found, ast.Let):  # a constant of the file
            local, self.local = self.local, set()
            try:
                return self._expr(found.value)
            finally:
                self.local = local
        if found is None and name in ("pi", "inf"):
            return Word(f"math.{name}")
        raise Unsaid(f"`{name}`")

    def _callee(self, name: str) -> Expr:
        found = self.find(name) if name not in self.local else None
        if isinstance(found, ast.FnDef):
            self.called[name] = found
            return Word(identifier(name))
        known = FUNCTIONS.get(name) if found is None and name not in self.local else None
        if known is None or known.listed:
            raise Unsaid(f"`{name}`")
        return Word(known.python)


def _type(each: ast.Field) -> str:
    """The type of a parameter or result; numbers where none is written."""
    if each.type is None:
        return "float"
    if isinstance(each.type, ast.NamedTypeExpr) and each.type.name in _TYPES:
        return _TYPES[each.type.name]
    raise Unsaid("a value of such a type")
