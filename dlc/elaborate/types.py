"""Types as written in a spec: what they say, before any axis is matched."""

from __future__ import annotations

from collections.abc import Sequence

from dlc.diagnostics import Span, did_you_mean
from dlc.diagnostics import meaning as problems
from dlc.elaborate import habits
from dlc.elaborate.calls import STATIC_TYPES
from dlc.elaborate.frame import Frame
from dlc.elaborate.project import Unit
from dlc.elaborate.values import Definition
from dlc.records import dataclass
from dlc.syntax import ast
from dlc.types.tensor import DTYPES


@dataclass(frozen=True, slots=True)
class WrittenType:
    """A tensor type or a group type. `dtype` is None where none was written; `any_dtype` where `any[…]` was (library)."""

    dtype: str | None
    axes: tuple[ast.Expr, ...]
    group: Definition | None = None
    any_dtype: bool = False

    def members(self, frame: Frame) -> list[WrittenType | None]:
        """The types of a group's members, its own axis names replaced by the axes given here."""
        assert self.group is not None
        node = self.group.node
        assert isinstance(node, ast.GroupDef)
        if cycle := _cycle(self.group):
            frame.fail(problems.RECURSION, node.span, name=node.name, cycle=" -> ".join(cycle))
        given = _group_axes(node.axes, self.axes)
        members: list[WrittenType | None] = []
        for item in node.fields:
            inner = written_type(frame, self.group.unit, item.type, item.span)
            if inner is None:
                members.append(None)
                continue
            axes = tuple(each for axis in inner.axes for each in _replace(axis, given))
            members.append(WrittenType(inner.dtype, axes, inner.group, inner.any_dtype))
        return members


def _cycle(group: Definition) -> list[str]:
    """The way from a group through its members back to itself, if there is one."""
    stack, seen = [(group, [group.name])], {group}
    while stack:
        each, way = stack.pop()
        assert isinstance(each.node, ast.GroupDef)
        for item in each.node.fields:
            name = item.type.name if isinstance(item.type, ast.GroupTypeExpr | ast.NamedTypeExpr) else ""
            found = each.unit.names.get(name)
            if not isinstance(found, Definition) or not isinstance(found.node, ast.GroupDef):
                continue
            if found is group:
                return [*way, found.name]
            if found not in seen:
                seen.add(found)
                stack.append((found, [*way, found.name]))
    return []


def _group_axes(pattern: Sequence[ast.Expr], axes: Sequence[ast.Expr]) -> dict[str, tuple[ast.Expr, ...]]:
    """Which axes each name of a group's header stands for: `Frame[*S]` given `[B, N]`."""
    given: dict[str, tuple[ast.Expr, ...]] = {}
    rest = list(axes)
    for i, item in enumerate(pattern):
        if isinstance(item, ast.Star):
            tail = len(pattern) - i - 1
            cut = len(rest) - tail
            given[item.name] = tuple(rest[:cut])
            rest = rest[cut:]
        elif isinstance(item, ast.Name) and rest:
            given[item.id] = (rest.pop(0),)
    return given


def _replace(axis: ast.Expr, given: dict[str, tuple[ast.Expr, ...]]) -> tuple[ast.Expr, ...]:
    match axis:
        case ast.Star(name):
            return given.get(name, (axis,))
        case ast.Name(id):
            return given.get(id, (axis,))
    return (axis,)


def written_type(frame: Frame, unit: Unit, node: ast.TypeExpr | None, span: Span) -> WrittenType | None:
    """What a tensor's or group's type says; None where none was written. Raises ElabError for a type that is none."""
    match node:
        case None:
            return None
        case ast.TensorTypeExpr(dtype, axes):
            if dtype == "any":
                return WrittenType("any", axes, any_dtype=True)
            if dtype is not None and dtype not in DTYPES:
                _unknown(frame, unit, dtype, node.span.inside(0, len(dtype)))
            return WrittenType(dtype, axes)
        case ast.GroupTypeExpr("any", axes):
            return WrittenType("any", axes, any_dtype=True)
        case ast.GroupTypeExpr(name, axes):
            found = unit.names.get(name)
            if isinstance(found, Definition) and isinstance(found.node, ast.GroupDef):
                return WrittenType(None, axes, found)
            _unknown(frame, unit, name, node.span.inside(0, len(name)))
        case ast.NamedTypeExpr(name):
            found = unit.names.get(name)
            if isinstance(found, Definition) and isinstance(found.node, ast.GroupDef):
                return WrittenType(None, (), found)
            if name not in STATIC_TYPES:
                _unknown(frame, unit, name, node.span)
            message = f"`{name}` is a static type; a tensor's type has axes: `{'i64' if name == 'int' else 'f32'}[B]`"
            frame.fail(problems.BAD_TYPE, node.span, message=message)
    return None


def _unknown(frame: Frame, unit: Unit, name: str, span: Span) -> None:
    groups = [
        key
        for key, value in unit.names.items()
        if isinstance(value, Definition) and isinstance(value.node, ast.GroupDef)
    ]
    help = (
        f"did you mean `{habits.DTYPES[name]}`?"
        if name in habits.DTYPES
        else did_you_mean(name, [*DTYPES, *groups])
    )
    help = help or f"dtypes are {', '.join(DTYPES)}"
    frame.fail(problems.BAD_TYPE, span, message=f"there is no type `{name}`", help=help)


def rank_help(written: WrittenType, rank: int, name: str = "x") -> str:
    """Help with typical slips in the number of axes."""
    wanted = len(written.axes)
    if any(isinstance(axis, ast.Star) for axis in written.axes):
        return ""
    name = name if name != "…" else "x"
    if wanted == 2 and rank > 2:
        return f"flatten it first: `{name} |> flatten`"
    if rank == wanted - 1:
        return f"add an axis: `{name}[none]` in front, `{name}[:, none]` behind the first"
    return ""


def declared_dtype(written: WrittenType, float_dtype: str) -> str:
    if written.dtype is None or written.dtype == "float":
        return float_dtype
    return written.dtype


def axes_text(axes: Sequence[ast.Expr]) -> str:
    return ", ".join(axis_text(axis) for axis in axes)


def axis_text(node: ast.Expr) -> str:
    """An axis as written."""
    match node:
        case ast.Int(value):
            return str(value)
        case ast.Name(id):
            return id
        case ast.Star(name):
            return f"*{name}"
        case ast.Wildcard():
            return "_"
        case ast.Binary(op, left, right):
            a, b = _operand(left, op, False), _operand(right, op, True)
            return f"{a}{op}{b}" if op in ("*", "//", "**") else f"{a} {op} {b}"
        case ast.Unary(op, operand):
            return f"{op}{_operand(operand, 'unary', False)}"
        case ast.Call(callee, args):
            return f"{axis_text(callee)}({', '.join(axis_text(arg.value) for arg in args)})"
        case ast.Bool(value):
            return "true" if value else "false"
        case ast.Float(_, text):
            return text
        case ast.Str(_, raw):
            return f'"{raw}"'
        case ast.NoneLit():
            return "none"
        case ast.Attribute(value, name):
            return f"{axis_text(value)}.{name}"
        case ast.Index(value, items):
            return f"{axis_text(value)}[{axes_text(items)}]"
        case ast.ListExpr(items):
            return f"[{axes_text(items)}]"
        case ast.TupleExpr(items):
            return f"({axes_text(items)})"
    return "…"


_STRENGTH = {"or": 1, "and": 2, "+": 4, "-": 4, "*": 5, "/": 5, "//": 5, "%": 5, "@": 5, "**": 7}


def _operand(node: ast.Expr, op: str, on_right: bool) -> str:
    """An operand as written, in parentheses where it binds more loosely than the operator."""
    text, outer = axis_text(node), _STRENGTH.get(op, 6)
    if not isinstance(node, ast.Binary):
        return text
    inner = _STRENGTH.get(node.op, 6)
    loose = inner < outer or (inner == outer and (on_right != (op == "**")))
    return f"({text})" if loose else text
