"""What elaborating may cost: counts of what is done, since a clock would say something else on every machine."""

from __future__ import annotations

from typing import Any

from dlc.diagnostics import SpecError
from dlc.records import dataclass

STEP_LIMIT = 200_000
OPERATION_LIMIT = 6_000
PROGRAM_OPERATIONS = 4  # what a model or a train block costs beside those that it writes out
PARAMETER_LIMIT = 100_000
GROUP_LIMIT = 1_000  # tensors: groups of groups double them at each level
FREE_FACTS = 100  # of a header: each one more is compared with those before it, and made simpler by them
NAMES_A_STEP = 64  # that are looked through for who holds a value
CHAIN_LIMIT = 100  # of `let`s and presets that need one another
HELPED = 100  # problems of one program; past them near misses are not looked for any more
FAULT_STEPS = 200  # what a statement in error costs, which is told and recovered from
TURN_STEPS = 20  # what a turn of a loop costs beside its statements
PART_STEPS = 5  # what a part of a list costs beside the expression that makes it
READ_STEPS = 5  # what finding out takes whether a turn reads what another did
ROW_STEPS = 8  # what a row of inequalities costs, of those that a proof looks at
FREE_PARAMETERS = 20  # of a call: each one more is a step beside its value
FUNCTION_STEPS = 50  # what a function costs beside its statements


class Exhausted(SpecError):
    """The budget is spent: nothing more of the spec is elaborated. Unlike other errors it ends not one statement but all."""


@dataclass(eq=False, repr=False)
class Budget:
    """What has been spent: of one program, or of all that a check of a file elaborates."""

    steps: int = 0
    operations: int = 0

    def excess(self) -> tuple[str, str, str] | None:
        """What is too large, how large, and the limit; None while there is something left."""
        if self.steps > STEP_LIMIT:
            what = "what this spec computes while compiling"
            return what, f"over {STEP_LIMIT:,} steps", f"{STEP_LIMIT:,}"
        if self.operations > OPERATION_LIMIT:
            what = "what this spec writes out while compiling"
            return what, f"over {OPERATION_LIMIT:,} operations", f"{OPERATION_LIMIT:,}"
        return None


def weight(value: Any) -> int:
    """The steps that are charged for a value: one for every two elements of a list, those of lists in it included."""
    if isinstance(value, str):
        return len(value) // 100
    return _elements(value) // 2 if isinstance(value, list | tuple) else 0


def _elements(value: list[Any] | tuple[Any, ...]) -> int:
    count, stack = 0, [value]
    while stack:
        each = stack.pop()
        count += len(each)
        stack += [inner for inner in each if isinstance(inner, list | tuple)]
    return count
