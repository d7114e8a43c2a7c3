"""What the schedules need to know of the processor that they are made for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import DataType
from tvm.target.codegen import target_has_features


@dataclass(frozen=True)
class Machine:
    """The width of a vector register, and how many of them there are."""

    vector_bytes: int
    registers: int

    def lanes(self, dtype: Any) -> int:
        """How many elements of `dtype` fill one vector register."""
        return max(1, self.vector_bytes * 8 // max(8, DataType(str(dtype)).bits))

    def panel(self, columns: int, dtype: Any) -> int:
        """The width of a weight panel: the tile width that pads `columns` least, the wider one on a tie."""
        lanes = self.lanes(dtype)
        vectors = (3, 2) if self.registers >= 32 else (2, 1)
        if columns <= lanes:
            return lanes
        return min((v * lanes for v in vectors), key=lambda width: -(-columns // width) * width)

    def rows(self, vectors: int) -> int:
        """How many rows of `vectors` accumulators fit beside one row of the other operand and a broadcast."""
        return max(1, min(14, (self.registers - 1 - vectors) // vectors))


def machine_of(target: Any) -> Machine:
    """The processor that an `llvm` target names."""

    def has(feature: str) -> bool:
        return bool(target_has_features([feature], target))

    if has("avx512f"):
        return Machine(vector_bytes=64, registers=32)
    if has("avx2") or has("avx"):
        return Machine(vector_bytes=32, registers=16)
    if has("neon"):
        return Machine(vector_bytes=16, registers=32)
    return Machine(vector_bytes=16, registers=16)
