"""Operands at the edges of an op, made from its samples: nan and infinities, ties, zeros of both signs, axes of size 0 and 1, and
every dtype that the op takes. What is right is what the reference says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from dlc.ops import samples
from dlc.ops.arrays import numpy_dtype
from dlc.ops.definition import FAMILIES, LazyModule, OpDef, OpError
from dlc.ops.signature import own_dtype
from dlc.records import dataclass
from dlc.types.facts import Facts

if TYPE_CHECKING:
    import numpy as np

    from dlc.ops.arrays import Array
else:
    np = LazyModule("numpy")

# What a float can be that arithmetic treats in ways of its own, and a few plain numbers.
SPECIAL = (float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0)
# Where derivatives have kinks: at 0, at equal operands, at bounds.
KINKS = (0.0, 1.0, -1.0, 2.0)
COMPUTED = frozenset({"f64", "f32", "f16", "bf16", "i64", "i32", "i16", "i8", "u8", "bool"})

NUMBER = "a number"


@dataclass(frozen=True, slots=True)
class Edge:
    """Operands (None for an absent one) and attributes, and what is special about them."""

    what: str
    operands: tuple[Array | None, ...]
    attributes: Mapping[str, Any]


def values(definition: OpDef) -> Iterator[Edge]:
    """The op on floats that are special: all of them, and all pairs, where it works element by element; else in one place of
    each operand, or all over it."""
    if not _takes_floats(definition):
        return
    if _elementwise(definition):
        yield from _crossed(definition, "special", SPECIAL)
        return
    for base, (what, spoil) in product(_bases(definition), _SPOILED.items()):
        # Sums of products may be factored, and what is no number meets padding in the kernel or doesn't.
        if definition.products and (what == "infinite" or definition.name.startswith("conv")):
            continue
        yield Edge(what, tuple(_spoiled(x, spoil) for x in base.operands), base.attributes)


def kinks(definition: OpDef) -> Iterator[Edge]:
    """The op where it may have no derivative: at 0, and where elements are equal."""
    if not _takes_floats(definition) or not definition.differentiable:
        return
    if _elementwise(definition):
        yield from _crossed(definition, "kinks", KINKS)
        return
    for base, what in product(_bases(definition), ("ties", "zeros")):
        spoil = _SPOILED[what]
        yield Edge(what, tuple(_spoiled(x, spoil) for x in base.operands), base.attributes)


def sizes(definition: OpDef) -> Iterator[Edge]:
    """The samples with all axes of one size made 0, or 1, where the op's types allow it. Windows without channels are not among them."""
    if (
        definition.family == "neural"
        or "kernel" in definition.signature_text
        or definition.name.startswith("conv")
    ):
        return
    for base in _bases(definition):
        if any(x is not None and x.dtype.kind == "i" for x in base.operands):
            continue
        found = sorted({n for x in base.operands if x is not None for n in x.shape if n > 1})
        for old, new in product(found, (0, 1)):
            operands = tuple(None if x is None else _resized(x, old, new) for x in base.operands)
            if _fits(definition, operands, base.attributes):
                yield Edge(f"{old} is {new}", operands, base.attributes)


def dtypes(definition: OpDef) -> Iterator[Edge]:
    """Every dtype that the op takes, with its samples in it; where it takes none of its own, the samples as they are."""
    bases = list(_bases(definition, 1))
    for dtype in FAMILIES[definition.dtypes]:
        if dtype not in COMPUTED:
            continue
        for base in bases:
            operands = tuple(_own(definition, i, x, dtype) for i, x in enumerate(base.operands))
            if _fits(definition, operands, base.attributes) and _is_own(definition, operands, dtype):
                yield Edge(dtype, operands, base.attributes)


def numbers(definition: OpDef) -> Iterator[Edge]:
    """The samples with a number in the place of one operand after the other, where operands broadcast."""
    for base in _bases(definition, len(definition.samples) if definition.broadcast else 0):
        for i, x in enumerate(base.operands):
            if x is not None and x.shape and x.size:
                operands = (*base.operands[:i], x.reshape(-1)[0].reshape(()), *base.operands[i + 1 :])
                yield Edge(NUMBER, operands, base.attributes)


def _bases(definition: OpDef, most: int = 2) -> Iterator[Edge]:
    """The first samples, as they are."""
    for sample in definition.samples[:most]:
        operands = tuple(samples.arrays(definition, sample))
        yield Edge("sample", operands, samples.attributes(definition, sample))


def _takes_floats(definition: OpDef) -> bool:
    """Whether an operand may be a float."""
    own = any(each.dtype is None for each in definition.signature.operands)
    return own and bool(set(FAMILIES[definition.dtypes]) & {"f32"}) and not definition.random


def _elementwise(definition: OpDef) -> bool:
    """Whether it has no attributes and each element of the result depends on one element of each operand."""
    unary = definition.signature_text.endswith(f"{definition.name}(x: [*S]) -> [*S]")
    test = definition.signature_text.endswith(f"{definition.name}(x: [*S]) -> bool[*S]")
    return definition.broadcast or unary or test


def _crossed(definition: OpDef, what: str, floats: Sequence[float]) -> Iterator[Edge]:
    """All combinations of the numbers, an axis for each operand of the op's own dtype."""
    operands = definition.signature.operands
    own = [each for each in operands if each.dtype is None]
    made: list[Array] = []
    for each in operands:
        if each.dtype is None:
            shape = [1] * len(own)
            shape[own.index(each)] = len(floats)
            made.append(np.array(floats, np.float32).reshape(shape))
        else:
            made.append(np.arange(len(floats)) % 2 == 0)
    yield Edge(what, tuple(made), {})


def _at_first(value: float) -> Callable[[Array], Array]:
    def spoil(x: Array) -> Array:
        x = x.copy()
        x.reshape(-1)[0] = value
        return x

    return spoil


def _infinite(x: Array) -> Array:
    x = x.copy()
    x.reshape(-1)[0], x.reshape(-1)[-1] = np.inf, -np.inf
    return x


def _late(x: Array) -> Array:
    x = x.copy()
    x.reshape(-1)[-1] = np.nan
    return x


def _zeros(x: Array) -> Array:
    x = np.zeros_like(x)
    x.reshape(-1)[::2] = -0.0
    return x


_SPOILED: Mapping[str, Callable[[Array], Array]] = {
    "nan first": _at_first(float("nan")),
    "nan last": _late,
    "infinite": _infinite,
    "all nan": lambda x: np.full_like(x, np.nan),
    "ties": np.ones_like,
    "zeros": _zeros,
}


def _spoiled(x: Array | None, spoil: Callable[[Array], Array]) -> Array | None:
    return spoil(x) if samples.is_float(x) and x.size else x


def _resized(x: Array, old: int, new: int) -> Array:
    index = tuple(slice(0, new) if n == old else slice(None) for n in x.shape)
    return np.ascontiguousarray(x[index]).reshape([new if n == old else n for n in x.shape])


def _fits(definition: OpDef, operands: Sequence[Array | None], attributes: Mapping[str, Any]) -> bool:
    try:
        definition.result_types(Facts(), samples.types(list(operands)), attributes)
    except OpError:
        return False
    return True


def _own(definition: OpDef, i: int, x: Array | None, dtype: str) -> Array | None:
    """The operand in the dtype, if it is of the op's own."""
    operands = definition.signature.operands
    declared = operands[0 if definition.variadic else i].dtype
    if x is None or declared is not None:
        return x
    plain = np.abs(x) if dtype == "u8" and x.dtype.kind != "b" else x
    return plain.astype(numpy_dtype(dtype))


def _is_own(definition: OpDef, operands: Sequence[Array | None], dtype: str) -> bool:
    return own_dtype(definition, samples.types(list(operands))) in (dtype, "")
