"""Every rewrite rule of every pass: it applies to its example, both sides compute the same, and each of its conditions
refuses what would be wrong."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from dlc import ops
from dlc.diagnostics import SpecError
from dlc.elaborate.programs.library import instantiate
from dlc.ir.builder import Builder
from dlc.ir.nodes import Attr, Function, Op, Program, Value
from dlc.ir.read import _type
from dlc.ir.verify import verify
from dlc.passes.attention import bind_dims
from dlc.passes.base import Pass
from dlc.passes.dead_code import DeadCode
from dlc.passes.identities import Identities
from dlc.passes.rewrite import Condition, Example, Rule, op_name, rewrite
from dlc.runtime.interpret import run
from passes.found import EXACT, rules, with_rules


def example(rule: Rule, changes: Example | None = None) -> Program:
    """The rule's pattern on its example, as a program."""
    return verify(_Maker({**rule.example, **(changes or {})}).program(rule.tree))


class _Maker:
    """Makes a program of a pattern, its names as the example has them."""

    def __init__(self, given: Example) -> None:
        self.given = given
        self.builder = Builder()
        self.inputs: dict[str, Value] = {}
        self.functions: dict[str, Function] = {}

    def program(self, tree: ast.Call) -> Program:
        result = self.value(tree)
        assert isinstance(result, Value)
        inputs = tuple(self.inputs.values())
        outputs = (("y", result.name),)
        function = Function("F", "F", "fn", inputs, outputs, tuple(self.builder.body))
        return Program({**self.functions, "F": function}, "F")

    def value(self, node: ast.expr) -> Value | float:
        if isinstance(node, ast.Name):
            return self.named(node.id)
        if not isinstance(node, ast.Call):
            return ast.literal_eval(node)  # type: ignore[no-any-return]
        operands = [self.value(arg) for arg in node.args]
        attrs = {str(each.arg): self.attr(each.value) for each in node.keywords}
        if op_name(node) == "concat":
            attrs["axis"] = self.given["axis"]
        if ops.known(op_name(node)):
            return self.builder.op(op_name(node), *operands, **attrs)  # type: ignore[arg-type]
        return self.composite(op_name(node), operands, attrs)

    def named(self, name: str) -> Value | float:
        """An input of the type that the example gives, or the number."""
        given = self.given[name]
        if isinstance(given, int | float):
            return given
        assert isinstance(given, str)
        type = _type(given)
        assert type is not None, f"the example of `{name}` is no type: {given}"
        return self.inputs.setdefault(
            name, Value(self.inputs[name].name if name in self.inputs else self.builder.fresh(name), type)
        )

    def attr(self, node: ast.expr) -> Attr:
        return self.given[node.id] if isinstance(node, ast.Name) else ast.literal_eval(node)  # type: ignore[no-any-return]

    def composite(self, name: str, operands: list[Value | float], attrs: dict[str, Attr]) -> Value:
        """A call of the library's composite."""
        values = [each for each in operands if isinstance(each, Value)]
        types = [each.type for each in values]
        made = instantiate(name, attrs, types)
        self.functions.update(made.functions)
        dims = bind_dims(made.main, types, self.builder.facts)
        assert dims is not None
        out = Value(self.builder.fresh(name), made.main.output_types[0].substitute(dims))
        inputs = tuple(each.name for each in values)
        self.builder.append(
            Op(name, inputs, (out,), tuple(attrs.items()), callee=made.entry, dims=tuple(dims.items()))
        )
        return out


SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-310, 3.5, -1.0])


def values(value: Value, seed: int, exact: bool) -> np.ndarray:
    """Random values of the type; for exact rules with those among them at which rewrites tend to be wrong."""
    rng = np.random.default_rng(seed)
    shape = value.type.shape
    assert shape is not None
    if value.type.dtype == "bool":
        found = rng.random(shape) < 0.5
        found[..., :1] = True  # a row of scores with nothing to see has no softmax
        return found
    if value.type.dtype == "i64":
        return rng.integers(-5, 5, shape)
    if not exact:
        return rng.normal(size=shape)
    with np.errstate(all="ignore"):
        return rng.choice(np.concatenate([SPECIAL, rng.normal(size=8)]), shape).astype(np.float32)


def computed(program: Program, exact: bool) -> Iterator[np.ndarray]:
    """What the program computes on several inputs."""
    for seed in range(20 if exact else 3):
        inputs = {
            value.name: values(value, 100 * seed + i, exact) for i, value in enumerate(program.main.inputs)
        }
        with np.errstate(all="ignore"):
            yield run(program, {}, inputs, precision="f32" if exact else "f64")["y"]


def assert_equal(found: np.ndarray, wanted: np.ndarray, exact: bool) -> None:
    assert wanted.dtype == found.dtype
    if not exact:
        rtol, atol = (1e-9, 1e-12) if wanted.dtype == np.float64 else (1e-5, 1e-6)
        np.testing.assert_allclose(found, wanted, rtol=rtol, atol=atol)
        return
    np.testing.assert_array_equal(found, wanted)
    if wanted.dtype.kind == "f":
        number = ~np.isnan(wanted)  # the sign of NaN has no meaning
        np.testing.assert_array_equal(np.signbit(found[number]), np.signbit(wanted[number]))


def rewritten(each: Pass, rule: Rule, before: Program) -> Program:
    return DeadCode().run(with_rules(each, rule).run(before))


def _id(value: object) -> str:
    return value.pattern if isinstance(value, Rule) else value.name  # type: ignore[attr-defined, no-any-return]


RULES = list(rules())
CONDITIONS = [(each, rule, condition) for each, rule in RULES for condition in rule.when]


@pytest.mark.parametrize(("each", "rule"), RULES, ids=_id)
def test_both_sides_compute_the_same(each: Pass, rule: Rule) -> None:
    assert rule.example, "a rule has an example"
    before = example(rule)
    after = verify(rewritten(each, rule, before))
    assert len(after.main.body) < len(before.main.body)
    exact = type(each) in EXACT
    for found, wanted in zip(computed(after, exact), computed(before, exact), strict=True):
        assert_equal(found, wanted, exact)


@pytest.mark.parametrize(("each", "rule", "condition"), CONDITIONS, ids=_id)
def test_a_condition_refuses_what_would_be_wrong(each: Pass, rule: Rule, condition: Condition) -> None:
    """The rule leaves the refused example alone; without this one condition it applies, and computes something
    else or has no types that fit."""
    before = example(rule, condition.refused)
    assert with_rules(each, rule).run(before).main == before.main
    loose = replace(rule, when=tuple(other for other in rule.when if other is not condition))
    try:
        after = rewritten(each, loose, before)
    except SpecError:
        return
    assert after.main != DeadCode().run(before).main, "something else refuses it too"
    exact = type(each) in EXACT
    with pytest.raises(AssertionError):
        for found, wanted in zip(computed(after, exact), computed(before, exact), strict=True):
            assert_equal(found, wanted, exact)


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
