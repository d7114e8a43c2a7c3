"""Fns of a spec on numbers, as functions of Python: schedules of a spec's own, which scripts of a training bring along.

fn stairs(step: int, total: int, high: float = 0.1) -> float {      def stairs_rate(step: int, total: int, high: float = 0.1) -> float:
    return high * (step // 100) / total                       ->        return high * (step // 100) / total
}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from dlc.emit.layout import layout
from dlc.emit.names import identifier
from dlc.records import dataclass, field
from dlc.syntax import ast

Lines = list[str]
_MATH = frozenset(("sqrt", "log", "exp", "floor", "ceil", "sin", "cos", "tan", "tanh", "atan"))
_SAME = frozenset(("abs", "min", "max", "sum", "len", "range", "int", "float", "bool", "round", "any", "all"))
_TYPES = {"int": "int", "float": "float", "bool": "bool", "string": "str"}
# How tight operators bind, loosest first.
_LEVELS = (("or",), ("and",), ("not",), ("==",), ("+", "-"), ("*", "/", "//", "%"), ("neg",), ("**",))
_LEVEL = {op: level for level, ops in enumerate(_LEVELS) for op in ops}
_CONDITIONAL, _COMPARED, _TIGHT = -1, _LEVEL["=="], len(_LEVELS)


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

    def _text(self, node: ast.Expr, least: int = _CONDITIONAL) -> str:
        """An expression, in brackets where it binds less tight than is needed."""
        text, level = self._leveled(node)
        return text if level >= least else f"({text})"

    def _leveled(self, node: ast.Expr) -> tuple[str, int]:
        if isinstance(node, ast.Binary) and node.op in _LEVEL:
            level = _LEVEL[node.op]
            power = node.op == "**"
            left = self._text(node.left, level + power)
            right = self._text(node.right, _LEVEL["neg"] if power else level + 1)
            return f"{left} {node.op} {right}", level
        if isinstance(node, ast.Unary):
            level = _LEVEL["not" if node.op == "not" else "neg"]
            return f"{node.op}{' ' if node.op == 'not' else ''}{self._text(node.operand, level)}", level
        if isinstance(node, ast.Compare):
            operands = [self._text(each, _COMPARED + 1) for each in node.operands]
            rest = "".join(f" {op} {each}" for op, each in zip(node.ops, operands[1:], strict=True))
            return operands[0] + rest, _COMPARED
        if isinstance(node, ast.Conditional):
            then, condition = self._text(node.then, 0), self._text(node.condition, 0)
            return f"{then} if {condition} else {self._text(node.otherwise)}", _CONDITIONAL
        return self._closed(node), _TIGHT

    def _closed(self, node: ast.Expr) -> str:
        if isinstance(node, ast.Int | ast.Bool):
            return repr(node.value)
        if isinstance(node, ast.Float):
            return node.text
        if isinstance(node, ast.Name):
            return self._name(node.id)
        if isinstance(node, ast.ListExpr):
            return f"[{', '.join(map(self._text, node.items))}]"
        if isinstance(node, ast.Index) and len(node.items) == 1 and not isinstance(node.items[0], ast.Slice):
            return f"{self._text(node.value, _TIGHT)}[{self._text(node.items[0])}]"
        if isinstance(node, ast.Call) and isinstance(node.callee, ast.Name):
            args = (
                f"{'' if each.name is None else f'{identifier(each.name)}='}{self._text(each.value)}"
                for each in node.args
            )
            return f"{self._callee(node.callee.id)}({', '.join(args)})"
        raise Unsaid("such an expression")

    def _name(self, name: str) -> str:
        if name in self.local:
            return identifier(name)
        found = self.find(name)
        if isinstance(found, ast.Let):  # a constant of the file
            local, self.local = self.local, set()
            try:
                return self._text(found.value, _TIGHT)
            finally:
                self.local = local
        if found is None and name in ("pi", "inf"):
            return f"math.{name}"
        raise Unsaid(f"`{name}`")

    def _callee(self, name: str) -> str:
        found = self.find(name) if name not in self.local else None
        if isinstance(found, ast.FnDef):
            self.called[name] = found
            return identifier(name)
        if found is None and name in _MATH | _SAME and name not in self.local:
            return f"math.{name}" if name in _MATH else name
        raise Unsaid(f"`{name}`")


def _type(each: ast.Field) -> str:
    """The type of a parameter or result; numbers where none is written."""
    if each.type is None:
        return "float"
    if isinstance(each.type, ast.NamedTypeExpr) and each.type.name in _TYPES:
        return _TYPES[each.type.name]
    raise Unsaid("a value of such a type")
