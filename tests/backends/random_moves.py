"""All that a random program may go on with, and how often."""

from __future__ import annotations

from random_axes import accumulated, contracted, multiplied, places, reduced
from random_elements import (
    binary,
    chosen,
    compared,
    converted,
    division,
    logical,
    steep,
    stepped,
    tested,
    unary,
    with_number,
)
from random_indices import created, gathered, hot, segments, triangle, updated, written
from random_kinds import Move
from random_shapes import apart, ordered, repeated, shaped, sliced, together

MOVES: dict[Move, int] = {
    unary: 6, steep: 2, stepped: 2, with_number: 5, binary: 8, division: 3, compared: 3, tested: 1, logical: 2,
    chosen: 4, converted: 3, sliced: 9, shaped: 5, ordered: 5, repeated: 5, together: 5, apart: 3, reduced: 7,
    accumulated: 4, places: 4, gathered: 5, written: 3, segments: 2, hot: 2, updated: 2, triangle: 1, created: 4,
    multiplied: 4, contracted: 4,
}  # fmt: skip
