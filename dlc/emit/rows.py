"""Rows that are alike in every backend that writes Python: operators, and ops on Python numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_ARITHMETIC: Mapping[str, str] = {
    "neg": "-{x}",
    "add": "{a} + {b}",
    "sub": "{a} - {b}",
    "mul": "{a} * {b}",
    "div": "{a} / {b}",
    "floordiv": "{a} // {b}",
    "mod": "{a} % {b}",
    "pow": "{a}**{b}",
    "eq": "{a} == {b}",
    "ne": "{a} != {b}",
    "lt": "{a} < {b}",
    "le": "{a} <= {b}",
    "gt": "{a} > {b}",
    "ge": "{a} >= {b}",
}

# On tensors, and on a tensor and a number.
OPERATORS: Mapping[str, str] = {
    **_ARITHMETIC,
    "matmul": "{a} @ {b}",
    "logical_and": "{a} & {b}",
    "logical_or": "{a} | {b}",
    "logical_not": "~{x}",
}

# On Python numbers: sizes, constants, and what is computed from them before any tensor is.
HOST: Mapping[str, str] = {
    **_ARITHMETIC,
    **{
        name: f"math.{name}({{x}})"
        for name in ["exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tan", "atan", "tanh", "erf"]
    },
    "rsqrt": "1 / math.sqrt({x})",
    "abs": "abs({x})",
    "minimum": "min({a}, {b})",
    "maximum": "max({a}, {b})",
    "logical_and": "{a} and {b}",
    "logical_or": "{a} or {b}",
    "logical_not": "not {x}",
}


def by_name(*tables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The rows that are no more than a function of one tensor: what is called, and the function."""
    for name, row in (each for table in tables for each in table.items()):
        function = row.removesuffix("({x})")
        if function != row and function.replace(".", "").replace("_", "").isalnum():
            yield name, function
