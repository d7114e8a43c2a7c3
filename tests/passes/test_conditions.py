"""What a pass asks before it changes a program: each condition of its tables has a program that it alone refuses.

`refused/MODULE/CONDITION.ir`, for the names in the tables `CONDITIONS` and `ALIKE` of `dlc/passes/MODULE.py`. In the folder of a
module that passes share, a first line says which pass it is for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ir.programs import program, random_inputs, random_weights

from dlc.ir.nodes import Program
from dlc.ir.verify import verify
from dlc.passes.base import Pass
from dlc.runtime.interpret import run
from dlc.runtime.prepare import prepare
from passes.found import MODULES, PASSES, tables

REFUSED = Path(__file__).with_name("refused")
CONDITIONS = [
    (module, table, name) for module in MODULES for _, table in tables(MODULES[module]) for name in table
]
# What is a matter of form. Without the condition the program computes the same, but a module that a backend has in one
# piece is called in pieces.
FORM = {("prepared", "own"), ("norm_folding", "own_paths")}


def refused(module: str, name: str) -> tuple[Pass, Program]:
    """The pass, and the program that the condition refuses."""
    path = REFUSED / module / f"{name}.ir"
    assert path.is_file(), f"{path} is missing: a program that only the condition `{name}` refuses"
    first, _, rest = path.read_text(encoding="utf-8").partition("\n")
    if not first.startswith("# "):
        return PASSES[module], verify(program(f"{first}\n{rest}"))
    return next(each for each in PASSES.values() if each.name == first[2:]), verify(program(rest))


def outputs(program: Program) -> dict[str, np.ndarray]:
    verify(program)
    weights = prepare(program, random_weights(program))
    inputs = random_inputs(program)
    return run(program, weights, inputs, precision="f64", rng=np.random.default_rng(0))


def test_nothing_is_refused_by_no_condition() -> None:
    files = {(path.parent.name, path.stem) for path in REFUSED.glob("*/*")}
    assert files == {(module, name) for module, _, name in CONDITIONS}


@pytest.mark.parametrize(
    ("module", "table", "name"), CONDITIONS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_condition_refuses_what_would_be_wrong(
    module: str, table: dict[str, object], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program stays; without this one condition it does not, and fails or computes something else."""
    each, before = refused(module, name)
    assert each.run(before) == before
    monkeypatch.delitem(table, name)
    if (module, name) in FORM:
        assert each.run(before) != before
    else:
        assert not same(each, before)


def same(each: Pass, before: Program) -> bool:
    """Whether the pass leaves what the program computes."""
    wanted = outputs(before)
    try:
        found = outputs(each.run(before))
    except Exception:  # whatever a pass falls over where it should not have tried
        return False
    return all(np.allclose(found[key], array, rtol=1e-9, atol=1e-12) for key, array in wanted.items())
