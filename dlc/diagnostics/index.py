"""All problems by code."""

from __future__ import annotations

from dlc.diagnostics import Problem, catalogue, meaning, training, warnings


def problems() -> dict[str, Problem]:
    """Every problem of every family, in the order of the codes."""
    found = [
        value
        for module in (catalogue, meaning, training, warnings)
        for value in vars(module).values()
        if isinstance(value, Problem)
    ]
    return {each.code: each for each in sorted(found, key=lambda each: each.code)}
