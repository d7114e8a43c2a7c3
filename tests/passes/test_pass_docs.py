"""Each pass's documentation shows a program before and after: that is what it does."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable

import pytest

from dlc.ir.nodes import Program
from dlc.ir.text import parse_program, print_program
from dlc.ir.verify import verify
from dlc.passes.dead_code import DeadCode
from dlc.passes.factors import factored
from dlc.passes.guards import guarded
from dlc.passes.held_numbers import within_floats
from dlc.passes.lower import hoist_randomness, inline
from dlc.passes.phases import Part, phases
from dlc.passes.pipeline import LEVELS, LOWERED, TRAINING
from dlc.passes.sizes import at_sizes
from dlc.passes.stacked import of_layers, stacked
from dlc.passes.stored import with_stored
from dlc.passes.totals import totals
from dlc.passes.vectorized import vectorized
from dlc.passes.wide_constants import with_wide_constants
from dlc.passes.wide_numbers import with_wide_numbers
from passes.found import MODULES, PASSES

# What is no pass of a level, but shows what it does; and what passes are made of.
LOWERINGS: dict[str, Callable[[Program], Program]] = {
    "lower": lambda program: inline(program, lambda op: False),
    "guards": lambda program: guarded(program, {}),
    "randomness": lambda program: hoist_randomness(program)[0],
    "sizes": lambda program: at_sizes(program, {"T": 3}),
    "factors": lambda program: program.with_functions({"Net": factored(program.main, frozenset("B"))}),
    "totals": lambda program: totals(program).sums,
    "wide_constants": with_wide_constants,
    "wide_numbers": with_wide_numbers,
    "held_numbers": within_floats,
    "stored": with_stored,
    "stacked": lambda program: stacked(program, of_layers([program], [], 2)),
    "vectorized": lambda program: program.with_functions({"Net": vectorized(program.main)}),
    "phases": lambda program: next(each.program for each in phases(program, STEPS) if each.name == "one"),
}
STEPS = (
    Part("one", ("one",), frozenset({"b"}), ("first", "first_end")),
    Part("two", ("two",), frozenset({"a"}), ("second", "second_end")),
)
SHARED = {"base", "fused", "pipeline", "prepared", "rewrite", "zeros"}

SHOWN = {**{name: each.run for name, each in PASSES.items()}, **LOWERINGS}


def documented(module: str) -> list[Program]:
    """The programs in a module's documentation."""
    text = MODULES[module].__doc__ or ""
    blocks = re.findall(r"(?:^    .*\n|^\n)+", text, re.MULTILINE)
    return [parse_program("entry Net\n" + textwrap.dedent(block)) for block in blocks if "Net" in block]


def test_every_module_is_a_pass_or_known() -> None:
    assert SHOWN.keys() | SHARED == MODULES.keys()


def test_every_pass_has_a_level() -> None:
    placed = {each.name for level in (*LEVELS, LOWERED, TRAINING) for each in level}
    assert {each.name for each in PASSES.values()} == placed


@pytest.mark.parametrize("module", SHOWN)
def test_documentation_shows_what_the_pass_does(module: str) -> None:
    """As the pass leaves it, or as the pass of dead code does after it."""
    programs = documented(module)
    assert len(programs) == 2, f"dlc/passes/{module}.py shows no program before and after in its docstring"
    before, after = programs
    done = SHOWN[module](verify(before))
    results = [verify(each) for each in (done, DeadCode().run(done))]
    shown = [
        each.with_functions({name: each.functions[name] for name in after.functions}) for each in results
    ]
    assert print_program(after) in [print_program(each) for each in shown]
