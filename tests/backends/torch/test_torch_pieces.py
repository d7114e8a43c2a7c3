"""The pieces of the emitter: names that nn.Module has taken, which numbers become arguments, initial values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from dlc_torch.solve import Column, Solution, solve
from dlc_torch.structure import TAKEN, TAKEN_IN_DICT

from dlc.emit.initial import Form, recognise
from dlc.emit.tree import Arg, Expr, Word, text, transform
from dlc.ir.builder import Builder
from dlc.ir.nodes import Function


def test_attributes_that_modules_have_are_known() -> None:
    for kind, known in ((torch.nn.Module, TAKEN), (torch.nn.ModuleDict, TAKEN_IN_DICT)):
        own = {name for name in dir(kind()) if not name.startswith("_")}
        own -= {"smart_apply"}  # transformers adds it to every module, where another test has imported it
        assert own <= known, sorted(own - known)


def texts(solution: Solution) -> list[str]:
    """The expressions, arguments by name."""

    def named(node: Expr) -> Expr:
        return Word(node.name) if isinstance(node, Arg) else node

    return [text(transform(expr, named)) for expr in solution.found]


@pytest.mark.parametrize(
    ("columns", "statics", "expected"),
    [
        # Numbers that differ are looked for among the static parameters, then among terms of them.
        ([("out_features", (8, 16)), ("in_features", (8, 16))], [{"d": 8}, {"d": 16}], ["d", "d"]),
        ([("out_features", (32, 64))], [{"d": 8}, {"d": 16}], ["4 * d"]),
        ([("part", (4, 8))], [{"d": 8, "heads": 2}, {"d": 16, "heads": 2}], ["part"]),
        ([("part", (4, 4))], [{"d": 8, "heads": 2}, {"d": 16, "heads": 4}], ["4"]),
        # What no parameter explains becomes one of its own, which others may be terms of.
        ([("in_channels", (3, 5)), ("out_channels", (6, 10))], [{}, {}], ["in_channels", "2 * in_channels"]),
        (
            [("kernel_size", (3, 1)), ("padding", (1, 0))],
            [{"kernel": 3}, {"kernel": 1}],
            ["kernel", "kernel // 2"],
        ),
        (
            [("part", (64, 128, 32)), ("out_features", (3072, 6144, 3072))],
            [{"d": 768, "heads": 12}, {"d": 1536, "heads": 12}, {"d": 768, "heads": 24}],
            ["d // heads", "4 * d"],
        ),
        (
            [("out_features", (1024, 2048, 512, 2048))],
            [
                {"d": d, "heads": h, "kv_heads": k}
                for d, h, k in ((4096, 32, 8), (8192, 32, 8), (4096, 64, 8), (4096, 32, 16))
            ],
            ["d // heads * kv_heads"],
        ),
        ([("value", (0.0625, 0.03125))], [{"e": 32}, {"e": 64}], ["2 / e"]),
        ([("value", (32.0, 64.0))], [{"d": 1024}, {"d": 4096}], ["math.sqrt(d)"]),
        ([("value", (0.02 / 24**0.5, 0.02 / 48**0.5))], [{"n": 12}, {"n": 24}], ["0.02 / math.sqrt(2 * n)"]),
        # A number that is the same everywhere is no parameter, whatever it equals.
        ([("out_features", (768, 768))], [{"d": 768, "n": 1}, {"d": 768, "n": 2}], ["768"]),
        (
            [("out_channels", (32, 64)), ("limit", (32, 32))],
            [{"growth": 32}, {"growth": 64}],
            ["growth", "32"],
        ),
        ([("num_features", (384, 384))], [{"stem": 64}, {"stem": 128}], ["384"]),
        ([("count", (12, 12))], [{"layers": 12, "heads": 12}, {"layers": 12, "heads": 24}], ["12"]),
    ],
)
def test_numbers(columns: list[Any], statics: list[dict[str, Any]], expected: list[str]) -> None:
    program = 0 if len(statics) == 2 else 1
    assert texts(solve([Column(*column) for column in columns], statics, program)) == expected


def initial(op: str, scale: float, shift: float) -> Function:
    b = Builder()
    out = b.add(b.mul(b.op(op, shape=(3, 4)), scale), shift)
    return Function("init", "init", "init", (), (("value", out.name),), tuple(b.body))


def test_initial_values_are_recognised() -> None:
    assert recognise(initial("normal", 0.02, 0.5)) == Form("normal", 0.02, 0.5)
    assert recognise(initial("uniform", 2.0, -1.0)) == Form("uniform", 2.0, -1.0)
    assert recognise(initial("orthogonal", 1.5, 0.0)) == Form("orthogonal", 1.5)
    b = Builder()
    out = b.op("arange", start=0, stop=3, dtype="f32")
    assert recognise(Function("init", "init", "init", (), (("value", out.name),), tuple(b.body))) is None
