"""Types as written in a spec: what they say, before any axis is matched."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from dlc.diagnostics import Span, did_you_mean
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base import habits
from dlc.elaborate.base.budget import GROUP_LIMIT
from dlc.elaborate.base.units import Definition, Unit
from dlc.elaborate.reports.report import Report
from dlc.elaborate.types.static import STATIC_TYPES
from dlc.records import dataclass
from dlc.syntax import ast
from dlc.types.axes import Axes, Lookup
from dlc.types.dims import Dim
from dlc.types.tensor import DTYPES


@dataclass(frozen=True, slots=True)
class WrittenType:
    """A tensor type or a group type. `dtype` is None where none was written; `any_dtype` where `any[…]` was (library)."""

    dtype: str | None
    axes: tuple[ast.Expr, ...]
    group: Definition | None = None
    any_dtype: bool = False

    def members(self, report: Report) -> list[WrittenType | None]:
        """The types of a group's members, its own axis names replaced by the axes given here."""
        assert self.group is not None
        node = self.group.node
        assert isinstance(node, ast.GroupDef)
        if cycle := _cycle(self.group):
            report.fail(problems.RECURSION, node.span, name=node.name, cycle=" -> ".join(cycle))
        if (count := _tensors(self.group)) > GROUP_LIMIT:
            what, limit = f"what `{node.name}` holds", f"{GROUP_LIMIT:,} tensors"
            report.fail(problems.BUDGET, node.span, what=what, found=f"{count:,} tensors", limit=limit)
        given = _group_axes(node.axes, self.axes)
        members: list[WrittenType | None] = []
        for item in node.fields:
            inner = written_type(report, self.group.unit, item.type, item.span)
            if inner is None:
                members.append(None)
                continue
            axes = tuple(each for axis in inner.axes for each in _replace(axis, given))
            members.append(WrittenType(inner.dtype, axes, inner.group, inner.any_dtype))
        return members


def _tensors(group: Definition) -> int:
    """How many tensors a group holds, those of its groups included; it is in no circle."""
    known: dict[Definition, int] = {}
    stack = [group]
    while stack:
        each = stack[-1]
        assert isinstance(each.node, ast.GroupDef)
        inner = [_inner(each, item) for item in each.node.fields]
        waiting = [part for part in inner if part is not None and part not in known]
        if waiting:
            stack += waiting
        else:
            known[stack.pop()] = sum(1 if part is None else known[part] for part in inner)
    return known[group]


def _inner(group: Definition, item: ast.Field) -> Definition | None:
    """The group that a member is, if it is one."""
    name = item.type.name if isinstance(item.type, ast.GroupTypeExpr | ast.NamedTypeExpr) else ""
    found = group.unit.names.get(name)
    return found if isinstance(found, Definition) and isinstance(found.node, ast.GroupDef) else None


def _cycle(group: Definition) -> list[str]:
    """The way from a group through its members back to itself, if there is one."""
    stack, seen = [(group, [group.name])], {group}
    while stack:
        each, way = stack.pop()
        assert isinstance(each.node, ast.GroupDef)
        for item in each.node.fields:
            found = _inner(each, item)
            if found is None:
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


def written_type(report: Report, unit: Unit, node: ast.TypeExpr | None, span: Span) -> WrittenType | None:
    """What a tensor's or group's type says; None where none was written. Raises ElabError for a type that is none."""
    match node:
        case None:
            return None
        case ast.TensorTypeExpr(dtype, axes):
            if dtype == "any":
                return WrittenType("any", axes, any_dtype=True)
            if dtype is not None and dtype not in DTYPES:
                _unknown(report, unit, dtype, node.span.inside(0, len(dtype)))
            return WrittenType(dtype, axes)
        case ast.GroupTypeExpr("any", axes):
            return WrittenType("any", axes, any_dtype=True)
        case ast.GroupTypeExpr(name, axes):
            found = unit.names.get(name)
            if isinstance(found, Definition) and isinstance(found.node, ast.GroupDef):
                return WrittenType(None, axes, found)
            _unknown(report, unit, name, node.span.inside(0, len(name)))
        case ast.NamedTypeExpr(name):
            found = unit.names.get(name)
            if isinstance(found, Definition) and isinstance(found.node, ast.GroupDef):
                return WrittenType(None, (), found)
            if name not in STATIC_TYPES:
                _unknown(report, unit, name, node.span)
            message = f"`{name}` is a static type; a tensor's type has axes: `{'i64' if name == 'int' else 'f32'}[B]`"
            report.fail(problems.BAD_TYPE, node.span, message=message)
    return None


def _unknown(report: Report, unit: Unit, name: str, span: Span) -> None:
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
    if name in ("Tensor", "tensor", "Array", "array"):
        help = "a tensor is written by its axes, `[B, d]`, behind a dtype if it is not `float`: `i64[B, T]`"
    help = help or f"dtypes are {', '.join(DTYPES)}"
    report.fail(problems.BAD_TYPE, span, message=f"there is no type `{name}`", help=help)


def rank_help(written: WrittenType, axes: Axes, known: Lookup, name: str = "x") -> str:
    """Help with typical slips in the number of axes. `known` says what names of the type are bound to."""
    wanted, rank = len(written.axes), len(axes)
    if any(isinstance(axis, ast.Star) for axis in written.axes):
        return ""
    name = name if name != "…" else "x"
    if wanted == 2 and rank > 2:
        rows, merged = prod(axes[:-1], start=Dim.of(1)), prod(axes[1:-1], start=Dim.of(1))
        ends = [_size(axis, known) for axis in written.axes]
        if ends[1] == axes[-1] and ends[0] != axes[0] and merged != Dim.of(1):
            return f"make rows of them first: `reshape({name}, [{rows}, {axes[-1]}])`"
        return f"flatten it first: `{name} |> flatten`"
    if rank == wanted - 1:
        return f"add an axis: `{name}[none]` in front, `{name}[:, none]` behind the first"
    return ""


def _size(axis: ast.Expr, known: Lookup) -> Dim | None:
    """The size of an axis that is a number, or a name that has one."""
    match axis:
        case ast.Int(value):
            return Dim.of(value)
        case ast.Name(id):
            found = known(id)
            return found if isinstance(found, Dim) else None
    return None


def declared_dtype(written: WrittenType, float_dtype: str) -> str:
    if written.dtype is None or written.dtype == "float":
        return float_dtype
    return written.dtype
