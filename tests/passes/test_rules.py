"""Every declared rewrite: it applies to its example, and both sides compute the same."""

from __future__ import annotations

import ast

import numpy as np
import pytest

from dlc.ir.builder import Builder
from dlc.ir.nodes import Attr, Function, Program, Value
from dlc.ir.read import _type
from dlc.ir.verify import verify
from dlc.passes.dead_code import DeadCode
from dlc.passes.identities import RULES, Identities
from dlc.passes.rewrite import Rule, op_name, rewrite
from dlc.runtime.interpret import run


def example(rule: Rule) -> Program:
    """The rule's pattern on its example, as a program."""
    builder = Builder()
    inputs = {
        name: Value(builder.fresh(name), type)
        for name, text in rule.example.items()
        if isinstance(text, str) and (type := _type(text)) is not None
    }
    attrs = {name: value for name, value in rule.example.items() if name not in inputs}
    result = _build(rule.tree, builder, inputs, attrs)
    assert isinstance(result, Value)
    function = Function("F", "F", "fn", tuple(inputs.values()), (("y", result.name),), tuple(builder.body))
    return verify(Program({"F": function}, "F"))


def _build(node: ast.expr, builder: Builder, inputs: dict[str, Value], attrs: dict[str, Attr]) -> object:
    if isinstance(node, ast.Name):
        return inputs[node.id]
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    operands = [_build(arg, builder, inputs, attrs) for arg in node.args]
    keywords = {str(each.arg): each.value for each in node.keywords}
    given = {
        key: attrs[value.id] if isinstance(value, ast.Name) else ast.literal_eval(value)
        for key, value in keywords.items()
    }
    if op_name(node) == "concat":
        given["axis"] = attrs["axis"]
    return builder.op(op_name(node), *operands, **given)  # type: ignore[arg-type]


SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-310, 3.5, -1.0])


def values(value: Value, seed: int) -> np.ndarray:
    """Random values of the type, with those among them at which rewrites tend to be wrong."""
    rng = np.random.default_rng(seed)
    shape = value.type.shape
    assert shape is not None
    if value.type.dtype == "bool":
        return rng.random(shape) < 0.5
    if value.type.dtype == "i64":
        return rng.integers(-5, 5, shape)
    with np.errstate(all="ignore"):
        return rng.choice(np.concatenate([SPECIAL, rng.normal(size=8)]), shape).astype(np.float32)


@pytest.mark.parametrize("rule", RULES, ids=[rule.pattern for rule in RULES])
def test_both_sides_compute_the_same(rule: Rule) -> None:
    before = example(rule)
    after = before.with_functions({"F": rewrite(before.main, [rule])})
    after = DeadCode().run(verify(after))
    assert len(after.main.body) < len(before.main.body)
    for seed in range(5):
        inputs = {value.name: values(value, seed) for value in before.main.inputs}
        with np.errstate(all="ignore"):
            wanted, found = run(before, {}, inputs)["y"], run(after, {}, inputs)["y"]
        assert wanted.dtype == found.dtype
        np.testing.assert_array_equal(found, wanted)
        if wanted.dtype.kind == "f":
            number = ~np.isnan(wanted)  # the sign of NaN has no meaning
            np.testing.assert_array_equal(np.signbit(found[number]), np.signbit(wanted[number]))


# What looks like a rule's left side and must stay.
UNTOUCHED = [
    "add(x, 0.0)",
    "sub(x, -0.0)",
    "sub(x, x)",
    "div(x, x)",
    "mul(x, 0.0)",
    "mul(mul(x, 2.0), 3.0)",
    "cast(cast(x, dtype='f16'), dtype='f32')",
    "cast(cast(x, dtype='i64'), dtype='f32')",
    "reshape(x, shape=(6,))",
    "permute(x, axes=(1, 0))",
    "slice(x, start=(0, 1), stop=(2, 3), step=(1, 1))",
    "flip(flip(x, axes=(1,)), axes=(0,))",
    "logical_not(lt(x, y))",
]


@pytest.mark.parametrize("text", UNTOUCHED)
def test_what_is_not_exact_stays(text: str) -> None:
    before = example(Rule(text, "x", example={"x": "f32[2, 3]", "y": "f32[2, 3]"}))
    assert Identities().run(before) == before


def test_operands_that_broadcast_keep_their_broadcast() -> None:
    rule = Rule("add(x, broadcast(y, shape=s))", "x", example={"x": "f32[3]", "y": "f32[3]", "s": (2, 3)})
    before = example(rule)
    assert Identities().run(before) == before


def test_rewriting_ends_where_rules_go_round() -> None:
    rules = [Rule("add(x, y)", "sub(x, neg(y))"), Rule("sub(x, neg(y))", "add(x, y)")]
    before = example(Rule("add(x, y)", "x", example={"x": "f32[3]", "y": "f32[3]"}))
    verify(before.with_functions({"F": rewrite(before.main, rules)}))
