"""Axes as the language writes them: evaluating them, and matching a written type against an actual one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dlc.records import dataclass, field
from dlc.syntax import ast
from dlc.types.dims import Dim, DimTooLarge, dim_max, dim_min
from dlc.types.facts import Facts

Axes = tuple[Dim, ...]
# What a name in an axis stands for: a size, the axes of a `*S`, or None where nothing is known of it yet.
Lookup = Callable[[str], "Dim | Axes | None"]


class AxisError(Exception):
    """An axis that can't be evaluated or does not fit. `index` is the axis at fault in the actual type, if any."""

    def __init__(
        self, message: str, *, node: ast.Node | None = None, index: int | None = None, help: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.node = node
        self.index = index
        self.help = help


class UnboundName(AxisError):
    """A name in an axis that nothing gives a size."""

    def __init__(self, name: str, node: ast.Node) -> None:
        super().__init__(f"nothing gives `{name}` a size", node=node)
        self.name = name


_BINARY: dict[str, Callable[[Dim, Dim], Dim]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
}


def evaluate_axis(node: ast.Expr, lookup: Lookup) -> Dim:
    """The size that an axis stands for. Raises AxisError (UnboundName for a name without a size)."""
    match node:
        case ast.Int(value):
            return Dim.of(value)
        case ast.Name(id):
            found = lookup(id)
            if found is None:
                raise UnboundName(id, node)
            if isinstance(found, tuple):
                raise AxisError(f"`{id}` stands for several axes; write `*{id}`", node=node)
            return found
        case ast.Unary("-", operand):
            return Dim.of(0) - evaluate_axis(operand, lookup)
        case ast.Binary(op, left, right) if op in _BINARY:
            a, b = evaluate_axis(left, lookup), evaluate_axis(right, lookup)
            if op in ("//", "%") and b.constant == 0:
                raise AxisError("division by zero", node=node)
            return _combined(lambda: _BINARY[op](a, b), node)
        case ast.Binary("**", left, right):
            exponent = evaluate_axis(right, lookup).constant
            if exponent is None or exponent < 0:
                raise AxisError("the exponent of an axis must be a known number, 0 or more", node=right)
            base = evaluate_axis(left, lookup)
            return _combined(lambda: base**exponent, node)
        case ast.Call(ast.Name("min" | "max" as which), args) if args:
            values = [evaluate_axis(arg.value, lookup) for arg in args]
            result = values[0]
            for other in values[1:]:
                result = dim_min(result, other) if which == "min" else dim_max(result, other)
            return result
    raise AxisError("an axis is a whole number, a name, or arithmetic on them", node=node)


def _combined(work: Callable[[], Dim], node: ast.Node) -> Dim:
    try:
        return work()
    except DimTooLarge as error:
        raise AxisError(str(error), node=node) from error


def unbound_names(node: ast.Expr, lookup: Lookup) -> list[str]:
    """The names of an axis that `lookup` knows nothing of."""
    names: list[str] = []
    stack: list[ast.Expr] = [node]
    while stack:
        match stack.pop():
            case ast.Name(id) if lookup(id) is None:
                names.append(id)
            case ast.Unary(_, operand):
                stack.append(operand)
            case ast.Binary(_, left, right):
                stack += [left, right]
            case ast.Call(_, args):
                stack += [arg.value for arg in args]
    return names


@dataclass
class Binding:
    """The sizes that names have been given so far. `known` says what names outside stand for."""

    known: Lookup
    facts: Facts
    dims: dict[str, Dim | Axes] = field(default_factory=dict)

    def lookup(self, name: str) -> Dim | Axes | None:
        found = self.dims.get(name)
        return found if found is not None else self.known(name)

    def match(self, pattern: Sequence[ast.Expr], axes: Axes) -> None:
        """Give the unbound names of `pattern` the sizes of `axes`; raise AxisError where they do not fit."""
        stars = [i for i, item in enumerate(pattern) if isinstance(item, ast.Star)]
        if not stars and len(pattern) != len(axes):
            raise AxisError(f"expected {_axes(len(pattern))}, found {len(axes)}")
        if not stars:
            self._match_all(list(pattern), list(axes), 0)
            return
        star = stars[0]
        tail = len(pattern) - star - 1
        if len(axes) < star + tail:
            raise AxisError(f"expected at least {_axes(star + tail)}, found {len(axes)}")
        end = len(axes) - tail
        self._match_all(list(pattern[:star]), list(axes[:star]), 0)
        self._match_all(list(pattern[star + 1 :]), list(axes[end:]), end)
        node = pattern[star]
        assert isinstance(node, ast.Star)
        self._match_star(node, axes[star:end], star)

    def _match_all(self, pattern: list[ast.Expr], axes: list[Dim], offset: int) -> None:
        # Plain names bind first, so that arithmetic on them, further left, can be checked.
        later: list[tuple[int, ast.Expr, Dim]] = []
        for i, (item, axis) in enumerate(zip(pattern, axes, strict=True)):
            if isinstance(item, ast.Name) and self.lookup(item.id) is None:
                self.dims[item.id] = axis
            elif not isinstance(item, ast.Wildcard):
                later.append((offset + i, item, axis))
        for index, item, axis in later:
            self._match_axis(item, axis, index)

    def _match_star(self, node: ast.Star, axes: Axes, offset: int) -> None:
        bound = self.lookup(node.name)
        if bound is None:
            self.dims[node.name] = axes
            return
        if not isinstance(bound, tuple):
            raise AxisError(f"`{node.name}` is a single size here, not a list of axes", node=node)
        if len(bound) != len(axes):
            raise AxisError(
                f"`*{node.name}` is [{_text(bound)}] already, here it would be [{_text(axes)}]", node=node
            )
        for i, (expected, found) in enumerate(zip(bound, axes, strict=True)):
            self._require_equal(expected, found, offset + i, f"*{node.name}", node)

    def _match_axis(self, node: ast.Expr, axis: Dim, index: int) -> None:
        unbound = unbound_names(node, self.lookup)
        if unbound:
            self._solve(node, unbound, axis, index)
            return
        self._require_equal(evaluate_axis(node, self.lookup), axis, index, node, node)

    def _solve(self, node: ast.Expr, unbound: list[str], axis: Dim, index: int) -> None:
        """Find the unbound name of an axis such as `2*n + 1` from the actual size."""
        name = unbound[0]
        if len(set(unbound)) > 1:
            raise AxisError(f"nothing gives `{unbound[1]}` a size", node=node, index=index)
        marker = Dim.symbol("?" + name)
        value = evaluate_axis(node, lambda n: marker if n == name else self.lookup(n))
        linear = value.linear_in("?" + name)
        if linear is None:
            raise AxisError(
                f"`{name}` can't be found from this axis: it must be linear in it", node=node, index=index
            )
        factor, rest = linear
        divisible = self.facts.prove_divisible(axis - rest, factor)
        if divisible is not True:
            verb = "is not" if divisible is False else "can't be shown to be"
            what = f"{axis - rest} {verb} a multiple of {factor}"
            raise AxisError(
                what, node=node, index=index, help=f"state it: `where {_mod(axis - rest, factor)} == 0`"
            )
        self.dims[name] = self.facts.simplify((axis - rest) // factor)

    def _require_equal(self, expected: Dim, found: Dim, index: int, written: object, node: ast.Node) -> None:
        equal = self.facts.prove_eq(expected, found)
        if equal is True:
            return
        text = str(written) if isinstance(written, str) else ""
        name = written.id if isinstance(written, ast.Name) else text
        told = f"`{name}` is {expected}" if name and name != str(expected) else f"expected {expected}"
        if equal is False:
            raise AxisError(f"axis {index}: {told}, found {found}", node=node, index=index)
        raise AxisError(
            f"axis {index}: {told}, found {found}, and nothing says that they are equal",
            node=node,
            index=index,
            help=f"if they always are, state it: `where {equation(expected, found)}`",
        )


def equation(a: Dim, b: Dim) -> str:
    """`T == 64`: what is no number stands first."""
    return f"{b} == {a}" if a.constant is not None else f"{a} == {b}"


def _mod(value: Dim, factor: Dim) -> str:
    text = str(value)
    return f"({text}) % {factor}" if " " in text else f"{text} % {factor}"


def _axes(count: int) -> str:
    return f"{count} axis" if count == 1 else f"{count} axes"


def _text(axes: Axes) -> str:
    return ", ".join(map(str, axes))
