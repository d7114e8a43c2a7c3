"""Inlining, decomposing, unrolling, precision and randomness: what the result looks like, and that it
computes the same."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from ir.programs import EXAMPLES, ROW, SIZES, assert_same, program, programs, random_inputs, random_weights
from properties import examples

import dlc
from dlc.diagnostics import Span
from dlc.ir.nodes import Child, Function, Op, Program, Value, walk
from dlc.ir.paths import Paths
from dlc.ir.splice import prefixed
from dlc.ir.text import print_program
from dlc.ir.verify import verify
from dlc.passes.lower import decompose, flatten, hoist_randomness, inline, resolve_float, unroll
from dlc.runtime.interpret import run

DETERMINISTIC = ("nested", "foldable", "parallel")


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("lower", [unroll, flatten, lambda p: decompose(p, lambda op: False)])
def test_lowered_examples_compute_the_same(name: str, lower: object) -> None:
    before = EXAMPLES[name]
    after = verify(lower(before))  # type: ignore[operator]
    assert_same(before, after)


@examples(60)
@given(programs())
def test_lowered_programs_compute_the_same(program: Program) -> None:
    for after in (unroll(program), flatten(program), decompose(program, lambda op: False)):
        verify(after)
        assert_same(program, after)


@examples(30)
@given(programs())
def test_any_choice_of_calls_can_be_inlined(program: Program) -> None:
    """Each function that calls is asked about its own calls, before it is inlined itself: a call that it keeps lies
    below its instance's path in the functions that it is inlined into."""
    after = verify(inline(program, lambda op: op.path.startswith("part0")))
    assert_same(program, after)
    kept = re.compile(r"(.*\.)?part0(\.\d+|\.\{i\})?")
    assert all(kept.fullmatch(op.path) for op in walk(after.main.body) if op.callee)


def test_flattening_leaves_one_function() -> None:
    flat = flatten(EXAMPLES["nested"])
    assert list(flat.functions) == ["Net"]
    assert not flat.main.children
    assert not [op for op in walk(flat.main.body) if op.region or op.callee]
    paths = {param.name for param in flat.main.params}
    assert {"first.scale", "layers.5.fc.1.bias", "unused.weight", "shift"} <= paths
    assert len(paths) == 4 * 5 + 3


def test_decomposing_keeps_what_is_native() -> None:
    before = EXAMPLES["nested"]
    after = verify(decompose(before, lambda op: op.op == "linear"))
    assert {op.op for each in after.functions.values() for op in walk(each.body) if op.callee} == {
        "linear",
        "call",
    }
    assert "double_1" not in after.functions
    assert_same(before, after)


def test_an_instance_kept_by_one_call_stays() -> None:
    text = """
    entry Net
    model Net(%x: [B, 4]) -> (y: %b)
        child fc: linear_1
    {
        %a: [B, 4] = linear(%x) {out=4, bias=true} @ fc -> linear_1 [N=B]
        %b: [B, 4] = linear(%a) {out=4, bias=true} @ fc -> linear_1 [N=B]
    }
    """
    before = program(text)
    calls = iter([True, False])
    after = verify(inline(before, lambda op: next(calls)))
    assert after.main.children == (Child("fc", "linear_1"),)
    assert not after.main.params
    assert_same(before, after)


def test_repeats_that_start_elsewhere_keep_their_instances() -> None:
    """Their paths read the same, "features.{i+1}"."""
    before = dlc.load(Path(__file__).parents[2] / "specs/vision/mobilenet_v2.dl")["MobileNetV2"].program
    after = decompose(before, lambda op: op.op in ("conv2d", "batch_norm"))
    assert _parameters(after) == _parameters(before)


def _parameters(program: Program) -> set[str]:
    return {prefixed(prefix, param.name) for prefix, param in Paths(program.functions).expand(program.entry)}


def test_copies_keep_the_span_of_what_they_copy() -> None:
    before = EXAMPLES["nested"]
    inner = before.functions["double_1"]
    span = Span("a.dl", 7, 3)
    marked = replace(inner, body=tuple(replace(op, span=span) for op in inner.body))
    flat = flatten(before.with_functions({**before.functions, "double_1": marked}))
    assert [op.op for op in flat.main.body if op.span == span] == ["const", "mul"]


def test_names_stay_readable() -> None:
    text = print_program(flatten(EXAMPLES["parallel"]))
    assert '%weight: [4, 4] = param() {path="k0.weight"}' in text
    assert "%weight_2_" not in text


def test_a_repeat_inside_a_repeat_is_unrolled_when_inlined() -> None:
    after = inline(EXAMPLES["nested"], lambda op: op.callee != "Inner")
    (repeat,) = [op for op in after.main.body if op.op == "loop" and op.attr("step") == 2]
    assert repeat.region is not None
    paths = [op.path for op in repeat.region.body if op.callee]
    assert paths == ["layers.{i}.fc.0", "layers.{i}.fc.1"]
    assert verify(after).main.children[1:3] == (
        Child("layers.{i}.fc.0", "linear_1", 3, 1, 2),
        Child("layers.{i}.fc.1", "linear_1", 3, 1, 2),
    )
    assert_same(EXAMPLES["nested"], after)


def test_callees_facts_come_along() -> None:
    text = """
    entry Net
    fn half(%x: [N]) -> (y: %y)
        where N % 2 == 0
    {
        %y: [N//2, 2] = reshape(%x) {shape=[N//2, 2]}
    }
    model Net(%x: [B]) -> (y: %y) {
        %y: [B//2, 2] = call(%x) -> half [N=B]
    }
    """
    flat = verify(flatten(program(text)))
    assert [str(fact) for fact in flat.main.facts] == ["B % 2 == 0"]


def test_a_deep_chain_of_calls_is_no_recursion() -> None:
    x, y = Value("x", ROW), Value("y", ROW)
    functions = {"f0": Function("f0", "f", "fn", (x,), (("y", "y"),), (Op("neg", ("x",), (y,)),))}
    for i in range(1, 3000):
        call = Op("call", ("x",), (y,), callee=f"f{i - 1}", dims=(("B", ROW.axes[0]),))
        functions[f"f{i}"] = Function(f"f{i}", "f", "fn", (x,), (("y", "y"),), (call,))
    flat = flatten(Program(functions, "f2999"))
    assert [op.op for op in flat.main.body] == ["neg"]


def test_float_becomes_the_precision() -> None:
    before = EXAMPLES["random"]
    after = verify(resolve_float(before, "bf16"))
    assert "float" not in {
        value.type.dtype
        for each in after.functions.values()
        for op in walk(each.body)
        for value in op.outputs
    }
    assert {op.attr("dtype") for op in walk(after.functions["dropout_1"].body)} == {None, "bf16"}
    assert after.functions["Part"].params[0].type.dtype == "bf16"


def test_draws_become_inputs() -> None:
    before = EXAMPLES["random"]
    after, draws = hoist_randomness(before)
    verify(after)
    found = [(draw.op, str(draw.input.type)) for draw in draws]
    once = [("normal", "[B]"), ("uniform", "[B]"), ("uniform", "[B]")]
    each_turn = [("uniform", "[2, B]"), ("uniform", "[2, B]"), ("normal", "[2, B]")]
    assert found == [*once, *each_turn]
    assert [value.name for value in after.main.inputs] == ["x", *(draw.input.name for draw in draws)]
    assert not [op for each in after.functions.values() for op in walk(each.body) if op.attr("draw")]
    assert {child.path for child in after.main.children} == {"part", "parts.{i}"}


def test_hoisted_draws_compute_what_the_generator_drew() -> None:
    before = EXAMPLES["random"]
    after, draws = hoist_randomness(before)
    rng = np.random.default_rng(3)
    drawn = {
        draw.input.name: getattr(rng, {"normal": "normal", "uniform": "random"}[draw.op])(
            size=[axis.evaluate(SIZES) for axis in draw.input.type.axes]
        )
        for draw in draws
    }
    weights, x = random_weights(before), random_inputs(before)
    found = run(after, weights, {**x, **drawn}, precision="f64")["y"]
    again = run(after, weights, {**x, **drawn}, precision="f64")["y"]
    np.testing.assert_array_equal(found, again)
    different = run(after, weights, {**x, **drawn, draws[0].input.name: np.zeros(3)}, precision="f64")["y"]
    assert not np.array_equal(found, different)


def test_copies_of_a_draw_are_other_draws() -> None:
    flat = flatten(EXAMPLES["random"])
    draws = [op.attr("draw") for op in flat.main.body if op.attr("draw")]
    assert len(draws) == len(set(draws)) == 1 + 2 + 2 * 3
