"""Tensor types: a dtype and a list of symbolic axes."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from dlc.records import dataclass
from dlc.types.dims import Dim

FLOATS = ("float", "f64", "f32", "f16", "bf16", "f8e4m3", "f8e5m2")
INTS = ("i64", "i32", "i16", "i8", "i4", "u8")
DTYPES = (*FLOATS, *INTS, "bool")

RANGES: Mapping[str, tuple[int, int]] = {
    "u8": (0, 2**8), "bool": (0, 2), **{f"i{n}": (-(2 ** (n - 1)), 2 ** (n - 1)) for n in (4, 8, 16, 32, 64)},
}  # fmt: skip


def holds(dtype: str, value: int | float) -> bool:
    """Whether a number is within a dtype of integers or bools; floats hold any, the largest as infinity."""
    if dtype not in RANGES:
        return True
    low, end = RANGES[dtype]
    return low <= value < end


# Bytes of one element; `float` counts as f32, the working precision where none is chosen.
ITEM_BYTES: Mapping[str, float] = {
    "float": 4, "f64": 8, "f32": 4, "f16": 2, "bf16": 2, "f8e4m3": 1, "f8e5m2": 1,
    "i64": 8, "i32": 4, "i16": 2, "i8": 1, "i4": 0.5, "u8": 1, "bool": 1,
}  # fmt: skip

# Dtypes that are for storage, and what is computed in where the library has no arithmetic of theirs: results are rounded back
# after every op, so that they are the same wherever the wider dtype is the detour.
COMPUTED_IN: Mapping[str, str] = {"f16": "f32", "bf16": "f32", "f8e4m3": "f32", "f8e5m2": "f32", "i4": "i8"}


# Those that nothing is computed in: they are moved, and cast.
STORED = frozenset(("f8e4m3", "f8e5m2", "i4"))


@dataclass(frozen=True, slots=True)
class TensorType:
    """`f32[B, T, 64]`. The dtype `float` is the model's working precision, chosen when a backend compiles."""

    dtype: str
    axes: tuple[Dim, ...]

    @staticmethod
    def of(dtype: str, axes: tuple[int | Dim, ...] | list[int | Dim]) -> TensorType:
        return TensorType(dtype, tuple(Dim.of(axis) for axis in axes))

    @property
    def rank(self) -> int:
        return len(self.axes)

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    @property
    def is_trained(self) -> bool:
        """Whether a parameter of it is trained: small steps need floats that are computed in."""
        return self.is_float and self.dtype not in STORED

    @property
    def size(self) -> Dim:
        """The number of elements."""
        shape = self.shape
        if shape is not None:
            return Dim.of(prod(shape))
        total = Dim.of(1)
        for axis in self.axes:
            total = total * axis
        return total

    @property
    def is_empty(self) -> bool:
        """Whether it surely has no elements: an axis has size 0."""
        return any(axis.constant == 0 for axis in self.axes)

    @property
    def symbols(self) -> frozenset[str]:
        return frozenset().union(*(axis.symbols for axis in self.axes))

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The sizes as ints, or None if one is symbolic."""
        sizes = tuple(axis.constant for axis in self.axes)
        return None if None in sizes else sizes  # type: ignore[return-value]

    def with_axes(self, axes: tuple[Dim, ...]) -> TensorType:
        return TensorType(self.dtype, axes)

    def with_dtype(self, dtype: str) -> TensorType:
        return TensorType(dtype, self.axes)

    def substitute(self, values: Mapping[str, Any]) -> TensorType:
        if not values:
            return self
        return TensorType(self.dtype, tuple(axis.substitute(values) for axis in self.axes))

    def __str__(self) -> str:
        prefix = "" if self.dtype == "float" else self.dtype
        return f"{prefix}[{', '.join(map(str, self.axes))}]"

    def to_json(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "axes": [str(axis) for axis in self.axes]}
