"""Signatures of ops, and the types of results that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from dlc.ops.definition import FAMILIES, OpDef, OpError
from dlc.records import dataclass, replace
from dlc.syntax import ast
from dlc.syntax.tokens import RESERVED
from dlc.types.axes import AxisError, Binding, equation, evaluate_axis
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType

if TYPE_CHECKING:
    from dlc.ir.nodes import Attr

MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor operand: `dtype` is None for the op's own dtype, `axes` None where any shape is fine."""

    name: str
    dtype: str | None
    axes: tuple[ast.Expr, ...] | None
    optional: bool


@dataclass(frozen=True, slots=True)
class Attribute:
    """A static argument: `type` as written (`int`, `list[int]`, `dims`), `default` MISSING where it must be given. An
    `axis` (or several, `axes`) is one of the first operand's, as a number from 0 on."""

    name: str
    type: str
    default: Any

    @property
    def has_default(self) -> bool:
        return self.default is not MISSING

    @property
    def is_axis(self) -> bool:
        return self.type in ("axis", "axes")


@dataclass(frozen=True, slots=True)
class Signature:
    name: str
    operands: tuple[Operand, ...]
    attributes: tuple[Attribute, ...]
    outputs: tuple[Operand, ...]

    @staticmethod
    def parse(text: str) -> Signature:
        name, bracket, rest = text.partition("(")
        try:
            if not (name.isascii() and name.isidentifier()) or name in RESERVED:
                raise ValueError("it begins with no name")
            return replace(_nameless(bracket + rest), name=name)
        except ValueError as error:
            raise ValueError(f"bad op signature {text!r}: {error}") from None


@cache  # half of the ops are one of `(x: [*S]) -> [*S]` and `(a: [*S], b: [*S]) -> [*S]`
def _nameless(text: str) -> Signature:
    from dlc.syntax.parser import parse

    result = parse(f"fn op{text} {{\n    return none\n}}\n", "<signature>")
    if result.diagnostics:
        raise ValueError(result.diagnostics[0].message)
    fn = result.file.items[0]
    assert isinstance(fn, ast.FnDef)
    operands: list[Operand] = []
    attributes: list[Attribute] = []
    for param in fn.params:
        if isinstance(param.type, ast.TensorTypeExpr) or param.type is None:
            operands.append(_operand(param))
        else:
            attributes.append(Attribute(str(param.name), _type_text(param.type), _literal(param.default)))
    return Signature("", tuple(operands), tuple(attributes), tuple(map(_operand, fn.outputs)))


def _operand(item: ast.Field) -> Operand:
    optional = isinstance(item.default, ast.NoneLit)
    if not isinstance(item.type, ast.TensorTypeExpr):
        return Operand(item.name or "", None, None, optional)
    return Operand(item.name or "", item.type.dtype, item.type.axes, optional)


def _type_text(node: ast.TypeExpr) -> str:
    assert isinstance(node, ast.NamedTypeExpr), node
    return f"{node.name}[{', '.join(map(_type_text, node.args))}]" if node.args else node.name


def _literal(node: ast.Expr | None) -> Any:
    match node:
        case None:
            return MISSING
        case ast.Int(value) | ast.Bool(value):
            return value
        case ast.Float(value, _):
            return value
        case ast.Str(value, _):
            return value
        case ast.NoneLit():
            return None
        case ast.Unary("-", operand):
            return -_literal(operand)
        case ast.ListExpr(items) | ast.TupleExpr(items):
            return tuple(map(_literal, items))
    raise ValueError(f"a default of an op's attribute must be a literal, not {node}")


def result_types(
    op: OpDef, facts: Facts, inputs: Sequence[TensorType | None], attrs: Mapping[str, Attr]
) -> tuple[TensorType, ...]:
    dtype = own_dtype(op, inputs)
    if op.infer is not None:
        return op.infer(facts, inputs, attrs)
    if op.broadcast:
        axes = broadcast_axes(op.name, facts, [each.axes for each in inputs if each is not None])
        return tuple(TensorType(out.dtype or dtype, axes) for out in op.signature.outputs)
    binding = Binding(lambda name: _size(attrs.get(name)), facts)
    for operand, actual in zip(op.signature.operands, inputs, strict=True):
        if actual is None or operand.axes is None:
            continue
        try:
            binding.match(operand.axes, actual.axes)
        except AxisError as error:
            message = f"`{op.name}` does not take this `{operand.name}`: {error.message}"
            raise OpError(message, help=error.help) from error
    return tuple(
        TensorType(out.dtype or dtype, _output_axes(out.axes or (), binding)) for out in op.signature.outputs
    )


def _size(value: Any) -> Dim | None:
    return Dim.of(value) if isinstance(value, int | Dim) and not isinstance(value, bool) else None


def _output_axes(pattern: tuple[ast.Expr, ...], binding: Binding) -> tuple[Dim, ...]:
    axes: list[Dim] = []
    for item in pattern:
        if isinstance(item, ast.Star):
            bound = binding.lookup(item.name)
            assert isinstance(bound, tuple)
            axes += bound
        else:
            axes.append(evaluate_axis(item, binding.lookup))
    return tuple(axes)


def own_dtype(op: OpDef, inputs: Sequence[TensorType | None]) -> str:
    """The dtype that the operands without a dtype of their own share. Raises OpError where they do not share one."""
    operands = op.signature.operands
    if op.variadic and operands:
        operands = operands[:1] * len(inputs)
    dtype = ""
    for operand, actual in zip(operands, inputs, strict=False):
        if actual is None:
            if not operand.optional:
                raise OpError(f"`{op.name}` needs `{operand.name}`", kind="value")
            continue
        if operand.dtype is not None:
            if operand.dtype != actual.dtype:
                raise OpError(
                    f"`{op.name}` needs `{operand.name}` to be {operand.dtype}, not {actual.dtype}",
                    kind="dtype",
                )
        elif not dtype:
            dtype = actual.dtype
            if dtype not in FAMILIES[op.dtypes]:
                raise OpError(
                    f"`{op.name}` needs {_FAMILY_WORDS[op.dtypes]}, not {dtype}",
                    kind="dtype",
                    help="convert it: `cast(x, float)`" if op.dtypes == "float" else "",
                )
        elif actual.dtype != dtype:
            raise OpError(
                f"`{op.name}` needs operands of one dtype, not {dtype} and {actual.dtype}",
                kind="dtype",
                help=f"convert one: `cast(x, {dtype})`",
            )
    return dtype


_FAMILY_WORDS = {
    "float": "a float tensor",
    "int": "an integer tensor",
    "number": "a tensor of numbers",
    "bool": "a bool tensor",
    "any": "a tensor",
}


def broadcast_axes(name: str, facts: Facts, shapes: Sequence[tuple[Dim, ...]]) -> tuple[Dim, ...]:
    """NumPy's broadcasting. A size that is not provably equal, nor provably 1 on one side, is refused."""
    result: tuple[Dim, ...] = ()
    for shape in shapes:
        result = _broadcast_two(name, facts, result, shape)
    return result


def _broadcast_two(name: str, facts: Facts, a: tuple[Dim, ...], b: tuple[Dim, ...]) -> tuple[Dim, ...]:
    if len(a) < len(b):
        a, b = b, a
    axes = list(a)
    offset = len(a) - len(b)
    for i, other in enumerate(b):
        mine = a[offset + i]
        if mine == other or other.constant == 1:
            continue
        if mine.constant == 1:
            axes[offset + i] = other
            continue
        equal = facts.prove_eq(mine, other)
        if equal is True:
            continue
        if equal is False:
            raise OpError(f"`{name}` can't broadcast these: axis {i - len(b)} is {mine} and {other}")
        raise OpError(
            f"`{name}` needs axis {i - len(b)} to agree: {mine} and {other} are not known to be equal",
            help=f"if they always are, state it: `where {equation(mine, other)}`",
            kind="fact",
        )
    return tuple(axes)
