"""Ops that multiply and sum: the matrix product and Einstein's notation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlc.ops.definition import LazyModule, OpDef, OpError, Sample, op
from dlc.ops.derivatives import unbroadcast
from dlc.ops.rules import check_equal, count, present
from dlc.ops.signature import broadcast_axes
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType

if TYPE_CHECKING:
    import numpy as np

    from dlc.ir.builder import Builder
    from dlc.ir.nodes import Op, Value
    from dlc.ops.arrays import Array
    from dlc.ops.derivatives import Gradients
else:
    np = LazyModule("numpy")

Types = Sequence[TensorType | None]
Attrs = Mapping[str, Any]


# --- matmul -------------------------------------------------------------------------------------------------


def _matmul(a: Array, b: Array) -> Array:
    result: Array = np.matmul(a, b)
    return result


def _infer_matmul(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    a, b = present(inputs)
    notes = (f"a: {a}", f"b: {b}")
    for name, operand in (("a", a), ("b", b)):
        if operand.rank < 2:
            raise OpError(
                f"`matmul` needs matrices: `{name}` has {count(operand.rank)}",
                notes=notes,
                help="add an axis: `x[:, none]` or `x[none]`",
            )
    told = "`matmul` needs the last axis of `a` and the last but one of `b` to agree"
    check_equal(facts, a.axes[-1], b.axes[-2], told, notes=notes)
    batch = broadcast_axes("matmul", facts, [a.axes[:-2], b.axes[:-2]])
    return (a.with_axes((*batch, a.axes[-2], b.axes[-1])),)


def _swapped(b: Builder, x: Value) -> Value:
    rank = x.type.rank
    return b.permute(x, (*range(rank - 2), rank - 1, rank - 2))


def _matmul_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    dy, (x, y) = grads[0], operands
    if dy is None:
        return [None, None]
    dx, dz = b.matmul(dy, _swapped(b, y)), b.matmul(_swapped(b, x), dy)
    return [unbroadcast(b, dx, x), unbroadcast(b, dz, y)]


# --- einsum -------------------------------------------------------------------------------------------------


def split_pattern(pattern: str) -> tuple[list[str], str]:
    """The letters of each operand and of the result of `bij,bjk->bik`. Raises OpError where the pattern is
    none."""
    left, arrow, right = pattern.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow or not all(term.isalpha() or not term for term in (*terms, right)):
        raise OpError(f'`einsum` needs a pattern such as "bij,bjk->bik", not "{pattern}"', kind="value")
    unknown = sorted(set(right) - set(left))
    if unknown:
        raise OpError(f"`einsum` has no operand with the axis `{unknown[0]}` of its result", kind="value")
    if len(set(right)) != len(right):
        raise OpError(f'`einsum` can\'t repeat an axis in its result: "{right}"', kind="value")
    return terms, right


def _einsum(*arrays: Array, pattern: str) -> Array:
    # The numpy path optimiser turns contractions of many operands into pairs, most of them matrix products.
    result: Array = np.einsum(pattern, *arrays, optimize=len(arrays) > 1)
    return np.asarray(result)


def _infer_einsum(facts: Facts, inputs: Types, attrs: Attrs) -> tuple[TensorType, ...]:
    operands = present(inputs)
    terms, right = split_pattern(attrs["pattern"])
    if len(terms) != len(operands):
        wanted = count(len(terms), "operand", "operands")
        raise OpError(f"`einsum` is given {len(operands)}, but its pattern has {wanted}", kind="value")
    sizes: dict[str, Dim] = {}
    for i, (term, operand) in enumerate(zip(terms, operands, strict=True)):
        if len(term) != operand.rank:
            raise OpError(f'`einsum` reads operand {i} as "{term}", but it has {count(operand.rank)}')
        for letter, size in zip(term, operand.axes, strict=True):
            told = f"`einsum` needs axis `{letter}` to agree"
            check_equal(facts, sizes.setdefault(letter, size), size, told)
    return (operands[0].with_axes(tuple(sizes[letter] for letter in right)),)


def _einsum_vjp(
    b: Builder, op: Op, grads: Gradients, operands: Sequence[Value], outputs: Sequence[Value]
) -> Gradients:
    dy, pattern = grads[0], op.attr("pattern")
    if dy is None or not isinstance(pattern, str):
        return [None] * len(operands)
    terms, right = split_pattern(pattern)
    return [_einsum_dx(b, i, terms, right, operands, dy) for i in range(len(operands))]


def _einsum_dx(
    b: Builder, i: int, terms: list[str], right: str, operands: Sequence[Value], dy: Value
) -> Value:
    """The gradient of operand `i`: the result's gradient contracted with every other operand."""
    x = operands[i]
    others = [(term, value) for k, (term, value) in enumerate(zip(terms, operands, strict=True)) if k != i]
    factors = [(right, dy), *others]
    target, diagonals = _distinct(b, terms[i], x, {*"".join(terms)})
    factors += diagonals
    reached = {letter for term, _ in factors for letter in term}
    kept = "".join(letter for letter in target if letter in reached)
    pattern = f"{','.join(term for term, _ in factors)}->{kept}"
    grad = b.op("einsum", *(value for _, value in factors), pattern=pattern)
    if kept == target:
        return grad
    # An axis that only this operand has was summed away alone: every element of it gets the same gradient.
    pairs = list(zip(target, x.type.axes, strict=True))
    grad = b.reshape(grad, tuple(size if letter in reached else Dim.of(1) for letter, size in pairs))
    return b.broadcast(grad, x.type.axes)


def _distinct(b: Builder, term: str, x: Value, used: set[str]) -> tuple[str, list[tuple[str, Value]]]:
    """`term` with repeated letters renamed, and for each an identity matrix that ties it to the first: the
    gradient of a diagonal stands on the diagonal."""
    spare = (
        letter for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter not in used
    )
    target, diagonals = "", []
    for letter, size in zip(term, x.type.axes, strict=True):
        if letter in target:
            name = next(spare)
            diagonals.append((letter + name, _identity(b, size, x.type.dtype)))
            letter = name
        target += letter
    return target, diagonals


def _identity(b: Builder, size: Dim, dtype: str) -> Value:
    places = b.op("arange", start=0, stop=size, dtype="i64")
    return b.cast(b.op("eq", b.reshape(places, (size, 1)), places), dtype)


def _einsum_samples() -> tuple[Sample, ...]:
    cases = (
        ("bij,bjk->bik", "f32[2, 3, 4]", "f32[2, 4, 5]"),
        ("i,j->ij", "f32[3]", "f32[1]"),
        ("ij->ji", "f32[2, 3]"),
        ("ij,j->", "f32[2, 3]", "f32[3]"),
        ("ii->i", "f32[3, 3]"),
        ("iij,j->i", "f32[3, 3, 2]", "f32[2]"),
        ("ij,ik,jk->k", "f32[2, 3]", "f32[2, 4]", "f32[3, 4]"),
        ("bhqd,bhkd->bhqk", "f32[1, 2, 3, 4]", "f32[1, 2, 5, 4]"),
        ("ij,jk->ik", "f32[2, 0]", "f32[0, 3]"),
    )
    long = [[2**53 + 1, 2], [3, 2**60]]  # integers that f64 has not
    integers = (("ab->", long), ("ii->", long), ("ij,k->i", long, [1, 1]), ("ij,jk->ik", long, long))
    return tuple(Sample(tuple(operands), {"pattern": pattern}) for pattern, *operands in (*cases, *integers))


OPS: tuple[OpDef, ...] = (
    op(
        "matmul(a: [*S, m, k], b: [*R, k, n]) -> [*B, m, n]",
        "The matrix product over the last two axes; the axes before them broadcast.",
        _matmul,
        infer=_infer_matmul,
        flops="2 * size() * k",
        products=True,
        vjp=_matmul_vjp,
        call=None,  # `a @ b`
        dtypes="number",
        samples=(
            Sample(("f32[2, 3]", "f32[3, 4]")),
            Sample(("f32[2, 1, 2, 3]", "f32[5, 3, 1]")),
            Sample(("f32[1, 1]", "f32[1, 1]")),
            Sample(("f32[2, 0]", "f32[0, 3]")),
            Sample(("f32[3, 2, 3]", "f32[3, 2]")),
            Sample(("i64[2, 3]", "i64[3, 2]")),
        ),
    ),
    op(
        "einsum(xs, pattern: str) -> [*R]",
        'Products summed as Einstein\'s notation says: "bij,bjk->bik". One letter per axis; a letter that the'
        " result lacks is summed over; a letter twice in one operand is its diagonal.",
        _einsum,
        infer=_infer_einsum,
        flops="2 * contracted()",
        products=True,
        vjp=_einsum_vjp,
        call=None,  # specs name axes by words, and the pattern comes last
        dtypes="number",
        variadic=True,
        samples=_einsum_samples(),
    ),
)
