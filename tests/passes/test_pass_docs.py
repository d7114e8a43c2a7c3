"""Each pass's documentation shows a program before and after: that is what it does."""

from __future__ import annotations

import importlib
import re
import textwrap
from collections.abc import Callable

import pytest

from dlc.ir.nodes import Program
from dlc.ir.text import parse_program, print_program
from dlc.ir.verify import verify
from dlc.passes.attention import FusedAttention
from dlc.passes.constants import Constants
from dlc.passes.dead_code import DeadCode
from dlc.passes.identities import Identities
from dlc.passes.lower import hoist_randomness, inline
from dlc.passes.norm_folding import NormFolding
from dlc.passes.parallel_linears import ParallelLinears
from dlc.passes.subexpressions import Subexpressions
from passes.attention_library import instantiate

PASSES: list[tuple[str, Callable[[Program], Program]]] = [
    ("dead_code", DeadCode().run),
    ("subexpressions", Subexpressions().run),
    ("identities", Identities().run),
    ("constants", Constants().run),
    ("norm_folding", NormFolding().run),
    ("parallel_linears", ParallelLinears().run),
    ("attention", lambda program: DeadCode().run(FusedAttention(instantiate).run(program))),
    ("lower", lambda program: inline(program, lambda op: False)),
    ("randomness", lambda program: hoist_randomness(program)[0]),
]


def documented(module: str) -> list[Program]:
    """The programs in a pass's documentation."""
    text = importlib.import_module(f"dlc.passes.{module}").__doc__ or ""
    blocks = re.findall(r"(?:^    .*\n|^\n)+", text, re.MULTILINE)
    return [parse_program("entry Net\n" + textwrap.dedent(block)) for block in blocks if "Net" in block]


@pytest.mark.parametrize(("module", "run"), PASSES, ids=[name for name, _ in PASSES])
def test_documentation_shows_what_the_pass_does(module: str, run: Callable[[Program], Program]) -> None:
    before, after = documented(module)
    done = run(verify(before))
    verify(done)
    shown = done.with_functions({name: done.functions[name] for name in after.functions})
    assert print_program(shown) == print_program(after)
