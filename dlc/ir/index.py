"""The index of a loop in a path: `{i}`, or `{i+1}` where the path is one ahead of it; for emission also `{3*i+1}`, where a turn takes
three numbers of a list, and `b{4 * 2**i}`, any other number that the spec makes of it."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping

INDEX = re.compile(r"\{(?:(?:\d+\*)?i(?:\+(\d+))?|[^{}]+)\}")
_FACTOR = re.compile(r"\{(\d+)\*i(?:\+\d+)?\}")
_STEADY = re.compile(r"\{(?:\d+\*)?i(?:\+\d+)?\}")


def mark(offset: int = 0, factor: int = 1) -> str:
    """What stands for the index, times a factor, plus an offset."""
    index = "i" if factor == 1 else f"{factor}*i"
    return f"{{{index}+{offset}}}" if offset else f"{{{index}}}"


def factor_of(path: str) -> int:
    """How many numbers a turn takes."""
    found = _FACTOR.search(path)
    return int(found[1]) if found else 1


def has_index(path: str) -> bool:
    """Whether a path differs from turn to turn of the loop around it."""
    return INDEX.search(path) is not None


def offset_of(path: str) -> int:
    """How far the path, or a part of it, is ahead of the index."""
    found = INDEX.search(path)
    return int(found[1] or 0) if found else 0


def at_turn(path: str, index: int) -> str:
    """The path in the turn with this index."""
    return INDEX.sub(lambda found: str(_number(found, index)), path)


def is_computed(path: str) -> bool:
    """Whether a path holds a number that is made of the index by more than a factor and an offset."""
    return any(_STEADY.fullmatch(found[0]) is None for found in INDEX.finditer(path))


def at_number(label: str, number: int) -> str:
    """A label with one of its numbers; where these are computed, with the one that is made of the index `number`."""
    return at_turn(label, number) if is_computed(label) else INDEX.sub(str(number), label)


def _number(found: re.Match[str], index: int) -> int:
    if _STEADY.fullmatch(found[0]):
        return factor_of(found[0]) * index + int(found[1] or 0)
    return _computed(ast.parse(found[0][1:-1], mode="eval").body, index)


_OPERATORS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


def _computed(node: ast.expr, index: int) -> int:
    """A number that is made of the index. Raises ValueError for what is no arithmetic of whole numbers."""
    match node:
        case ast.Name("i"):
            return index
        case ast.Constant(int(value)):
            return value
        case ast.UnaryOp(ast.USub(), operand):
            return -_computed(operand, index)
        case ast.BinOp(left, by, right) if type(by) in _OPERATORS:
            return _OPERATORS[type(by)](_computed(left, index), _computed(right, index))
    raise ValueError(f"no number of a path: {ast.unparse(node)}")


def split(path: str) -> tuple[str, str]:
    """What stands before the index and behind it."""
    found = INDEX.search(path)
    return (path[: found.start()], path[found.end() :]) if found else (path, "")


def upto_index(path: str) -> str:
    """A path up to the part that holds the loop's index: `h.{i}` for `h.{i}.attn`; "" if there is none."""
    labels = path.split(".")
    at = next((i for i, label in enumerate(labels) if has_index(label)), -1)
    return ".".join(labels[: at + 1])


def without_index(path: str) -> str:
    """The path as a name for the parts of all turns: `h` for `h.{i}`, `h.1` for `h.{i+1}`."""
    return re.sub(rf"\.?{INDEX.pattern}", lambda found: f".{found[1]}" if found[1] else "", path)


def fits(pattern: str, path: str) -> bool:
    """Whether a path is one of those that a pattern with `{i}` stands for."""
    if "{" not in pattern:
        return pattern == path
    words, parts = pattern.split("."), path.split(".")
    return len(words) == len(parts) and all(
        "{" in word or word == part for word, part in zip(words, parts, strict=True)
    )
