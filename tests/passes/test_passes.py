"""Passes on whole programs: well formed afterwards, and the same outputs."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from ir.programs import EXAMPLES, ROW, assert_same, program, programs, random_weights
from properties import examples

from dlc.ir.builder import Builder
from dlc.ir.nodes import Function, Op, Program, Value, walk
from dlc.ir.text import parse_program, print_program
from dlc.ir.verify import verify
from dlc.passes.attention import PATTERNS, FusedAttention
from dlc.passes.base import Pass
from dlc.passes.constants import Constants
from dlc.passes.dead_code import DeadCode
from dlc.passes.lower import flatten
from dlc.passes.norm_folding import NormFolding
from dlc.passes.parallel_linears import ParallelLinears
from dlc.passes.pipeline import LEVELS, optimize, pass_names
from dlc.passes.subexpressions import Subexpressions
from dlc.runtime.prepare import prepare
from passes.attention_library import instantiate
from passes.found import PASSES

DETERMINISTIC = ("nested", "foldable", "parallel")


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("each", PASSES.values(), ids=lambda each: each.name)
def test_each_pass_keeps_the_outputs(name: str, each: Pass) -> None:
    before = EXAMPLES[name]
    after = verify(each.run(before))
    assert_same(before, after)


@examples(60)
@given(programs())
def test_levels_keep_the_outputs_of_generated_programs(program: Program) -> None:
    for level in (1, 2):
        assert_same(program, optimize(program, level, verify=True))


@examples(30)
@given(programs())
def test_levels_keep_the_outputs_of_flat_programs(program: Program) -> None:
    flat = flatten(program)
    assert_same(flat, optimize(flat, 2, verify=True))


@pytest.mark.parametrize("level", range(len(LEVELS)))
def test_passes_are_found_by_name(level: int) -> None:
    seen: list[str] = []
    optimize(EXAMPLES["nested"], level, after=lambda name, program: seen.append(name))
    assert tuple(seen) == pass_names(level)


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="-O4"):
        optimize(EXAMPLES["nested"], 4)


@pytest.mark.parametrize("level", [1, 2])
def test_optimizing_twice_changes_nothing_more(level: int) -> None:
    for name in EXAMPLES:
        once = optimize(EXAMPLES[name], level)
        assert print_program(optimize(once, level)) == print_program(once)


# Dead code


def test_what_acts_stays() -> None:
    before = EXAMPLES["random"]
    ops = [op.op for op in DeadCode().run(before).main.body]
    assert {"update", "require"} <= set(ops)


def test_a_call_of_what_acts_stays() -> None:
    text = """
    entry Net
    fn checked(%x: [4]) -> (y: %x) {
        %true: bool[] = const() {value=true}
        require(%true) {message="never"}
    }
    model Net(%x: [4]) -> (y: %y) {
        %unread: [4] = call(%x) -> checked
        %y: [4] = neg(%x)
    }
    """
    before = verify(program(text))
    assert DeadCode().run(before) == before


def test_carried_values_that_nothing_needs_go() -> None:
    text = """
    entry Net
    model Net(%x: [B, 4]) -> (y: %a) {
        %a: [B, 4], %b: [B, 4], %c: [B, 4] = loop(%x, %x, %x) {count=3, start=0, step=1}
            do (%p: [B, 4], %q: [B, 4], %r: [B, 4]) {
            %s: [B, 4] = add(%p, %r)
            %t: [B, 4] = neg(%q)
            yield %s, %t, %r
        }
    }
    """
    before = program(text)
    after = verify(DeadCode().run(before))
    assert [value.name for value in after.main.body[0].outputs] == ["a", "c"]
    assert_same(before, after)


# Common subexpressions


def test_draws_are_never_merged() -> None:
    flat = flatten(EXAMPLES["random"])
    count = sum(1 for op in flat.main.body if op.attr("draw"))
    after = Subexpressions().run(flat)
    assert sum(1 for op in after.main.body if op.attr("draw")) == count


def test_reads_around_an_update_are_never_merged() -> None:
    text = """
    entry Net
    model Net(%x: [4]) -> (y: %y)
        training
        buffer b: [4]
    {
        %a: [4] = param() {path="b"}
        update(%x) {path="b"}
        %c: [4] = param() {path="b"}
        %y: [4] = sub(%c, %a)
    }
    """
    before = parse_program(text)
    assert Subexpressions().run(before) == before


def test_numbers_of_other_kinds_are_never_merged() -> None:
    text = """
    entry Net
    model Net(%x: f32[4]) -> (y: %y) {
        %a: f32[] = const() {value=0.0}
        %b: f32[] = const() {value=-0.0}
        %p: f32[4] = div(%x, %a)
        %q: f32[4] = div(%x, %b)
        %y: f32[4] = concat(%p, %q) {axis=0}
    }
    """
    before = parse_program(text.replace("%y: f32[4]", "%y: f32[8]"))
    assert Subexpressions().run(verify(before)) == before


def test_values_of_a_region_stay_inside() -> None:
    text = """
    entry Net
    model Net(%x: [B, 4]) -> (y: %y)
        param w.0: [4, 4]
        param w.1: [4, 4]
    {
        %before: [B, 4] = tanh(%x)
        %z: [B, 4] = loop(%x) {count=2, start=0, step=1} do (%h: [B, 4]) {
            %w: [4, 4] = param() {path="w.{i}"}
            %v: [4, 4] = param() {path="w.{i}"}
            %m: [B, 4] = matmul(%h, %w)
            %n: [B, 4] = matmul(%h, %v)
            %t: [B, 4] = tanh(%x)
            %i: [B, 4] = neg(%x)
            %a: [B, 4] = add(%m, %n)
            %b: [B, 4] = add(%a, %t)
            %c: [B, 4] = add(%b, %i)
            yield %c
        }
        %after: [B, 4] = neg(%x)
        %y: [B, 4] = add(%z, %after)
    }
    """
    before = program(text)
    after = verify(Subexpressions().run(before))
    assert_same(before, after)
    assert len(list(walk(after.main.body))) == len(list(walk(before.main.body))) - 3


# Constants


def test_constants_are_folded_up_to_a_size() -> None:
    text = """
    entry Net
    fn Net(%x: f32[4]) -> (y: %y, z: %z, size: %n) {
        %i: i64[4] = arange() {start=0, stop=4, step=1, dtype="i64"}
        %f: f32[4] = cast(%i) {dtype="f32"}
        %half: f32[] = const() {value=0.5}
        %g: f32[4] = mul(%f, %half)
        %y: f32[4] = add(%x, %g)
        %long: i64[40] = arange() {start=0, stop=40, step=1, dtype="i64"}
        %z: i64[40] = neg(%long)
        %n: i64[] = size() {dim=7}
    }
    """
    after = verify(DeadCode().run(Constants().run(verify(parse_program(text)))))
    found = {value.name: op for op in after.main.body for value in op.outputs}
    assert found["g"].attr("value") == (0.0, 0.5, 1.0, 1.5)
    assert found["long"].op == "arange"
    assert found["z"].op == "neg"
    assert found["n"].attr("value") == 7


# Prepared weights


def test_norms_are_folded_into_layers() -> None:
    before = EXAMPLES["foldable"]
    after = NormFolding().run(before)
    assert not [op for op in walk(after.main.body) if op.callee]
    names = [param.name for param in after.main.params]
    assert names[:2] == ["stem_folded_weight", "stem_folded_bias"]
    assert {"conv.0_folded_weight", "conv.1_folded_bias"} <= set(names)
    assert [each.kind for each in after.functions.values()].count("prepare") == 4


def test_a_layer_that_something_else_reads_is_not_folded() -> None:
    text = """
    entry Net
    model Net(%x: [B, 4, H, W]) -> (y: %d, conv: %c)
        child conv: conv2d_2
        child bn: batch_norm_1
    {
        %c: [B, 4, H, W] = conv2d(%x) @ conv -> conv2d_2 [N=B, H=H, W=W]
        %d: [B, 4, H, W] = batch_norm(%c) {eps=1e-05, momentum=0.1, affine=true} @ bn -> batch_norm_1 [N=B,
        H=H, W=W]
    }
    """
    before = program(text)
    assert NormFolding().run(before) == before


def test_parallel_layers_are_merged() -> None:
    after = ParallelLinears().run(EXAMPLES["parallel"])
    (repeat,) = [op for op in after.main.body if op.region]
    assert repeat.region is not None
    assert [op.path for op in repeat.region.body if op.callee] == ["h.{i}.v", "h.{i}.plain"]
    assert [param.name for param in after.main.params][:2] == ["h.0.q_k_weight", "h.1.q_k_weight"]


def test_prepared_weights_of_shared_functions_are_made_for_each_instance() -> None:
    text = """
    module Part(%x: [N, 4]) -> (y: %y)
        child a: linear_1
        child b: linear_1
    {
        %a: [N, 4] = linear(%x) {out=4, bias=true} @ a -> linear_1 [N=N]
        %b: [N, 4] = linear(%x) {out=4, bias=true} @ b -> linear_1 [N=N]
        %y: [N, 4] = sub(%a, %b)
    }
    model Net(%x: [B, 4]) -> (y: %z)
        child p: Part
        child q: Part
    {
        %y: [B, 4] = call(%x) @ p -> Part [N=B]
        %z: [B, 4] = call(%y) @ q -> Part [N=B]
    }
    """
    before = program("entry Net\n" + text)
    after = verify(ParallelLinears().run(before))
    weights = prepare(after, random_weights(after))
    assert {"p.a_b_weight", "p.a_b_bias", "q.a_b_weight", "q.a_b_bias"} <= weights.keys()
    assert_same(before, after)


def test_a_source_without_a_value_is_named() -> None:
    after = ParallelLinears().run(EXAMPLES["parallel"])
    weights = random_weights(after)
    del weights["h.1.q.weight"]
    with pytest.raises(KeyError, match=r"h\.1\.q\.weight"):
        prepare(after, weights)


# Attention


def attention(pattern: str) -> Program:
    """A program that computes one of the patterns."""
    masked, biased = "mask" in pattern, "bias" in pattern
    lines = ["%turned: [B, 2, 8, U] = permute(%k) {axes=[0, 1, 3, 2]}", "%c: [] = const() {value=0.5}"]
    inner = [line for line in ("mul", "div") if f"({line}(q" in pattern]
    outer = [line for line in ("mul", "div") if f"{line}(matmul(q" in pattern]
    lines += [f"%q2: [B, 2, T, 8] = {op}(%q, %c)" for op in inner]
    lines.append(f"%s: [B, 2, T, U] = matmul(%{'q2' if inner else 'q'}, %turned)")
    lines += [f"%s2: [B, 2, T, U] = {op}(%s, %c)" for op in outer]
    scores = "s2" if outer else "s"
    if masked:
        lines.append("%low: [] = const() {value=-inf}")
        lines.append(f"%s3: [B, 2, T, U] = where(%mask, %{scores}, %low)")
    if biased:
        lines.append(f"%s3: [B, 2, T, U] = add(%bias, %{scores})")
    last = "s3" if masked or biased else scores
    lines.append(f"%p: [B, 2, T, U] = softmax(%{last}) {{axis=3}} -> softmax_4 [B=B, T=T, U=U]")
    lines.append("%y: [B, 2, T, 6] = matmul(%p, %v)")
    extra = ", %mask: bool[T, U]" if masked else ", %bias: [2, T, U]" if biased else ""
    return program(
        "entry Net\n"
        "fn softmax_4(%x: [B, 2, T, U]) -> (y: %y)\n    source softmax\n    library\n{\n"
        "%e: [B, 2, T, U] = exp(%x)\n%t: [B, 2, T, 1] = sum(%e) {axis=[3], keepdims=true}\n"
        "%y: [B, 2, T, U] = div(%e, %t)\n}\n"
        f"model Net(%q: [B, 2, T, 8], %k: [B, 2, U, 8], %v: [B, 2, U, 6]{extra}) -> (y: %y) {{\n"
        + "\n".join(lines)
        + "\n}\n"
    )


@pytest.mark.parametrize("pattern", PATTERNS)
def test_attention_is_recognized(pattern: str) -> None:
    before = verify(attention(pattern))
    after = verify(DeadCode().run(FusedAttention(instantiate).run(before)))
    assert [op.op for op in after.main.body] == ["attention"]
    wanted = (
        1.0 if "factor" not in pattern and "divisor" not in pattern else 2.0 if "divisor" in pattern else 0.5
    )
    assert after.main.body[0].attr("scale") == wanted
    weightless = {**SIZED, "mask": np.tril(np.ones((3, 4), bool))} if "mask" in pattern else SIZED
    from dlc.runtime.interpret import run

    rng = np.random.default_rng(0)
    inputs = {
        v.name: weightless.get(v.name, rng.normal(size=[a.evaluate(DIMS) for a in v.type.axes]))
        for v in before.main.inputs
    }
    found, expected = (run(p, {}, inputs, precision="f64")["y"] for p in (after, before))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


SIZED: dict[str, np.ndarray] = {}
DIMS = {"B": 2, "T": 3, "U": 4}


def test_scores_that_something_else_reads_are_not_fused() -> None:
    before = attention(PATTERNS[0])
    main = before.main
    before = before.with_functions(
        {**before.functions, "Net": Function(**{**_fields(main), "outputs": (("y", "y"), ("scores", "s"))})}
    )
    assert FusedAttention(instantiate).run(before).main == before.main


def _fields(function: Function) -> dict[str, object]:
    return {name: getattr(function, name) for name in function.__dataclass_fields__}


# Cost


def test_cost_is_linear_in_the_depth() -> None:
    """2,000 residual blocks: nested IR would take days here."""
    builder = Builder()
    x = Value(builder.fresh("x"), ROW)
    value = x
    for _ in range(2000):
        value = builder.add(value, builder.op("tanh", builder.mul(value, 1.0)))
    function = Function("F", "F", "model", (x,), (("y", value.name),), tuple(builder.body))
    started = time.process_time()
    after = optimize(Program({"F": function}, "F"), 2, verify=True)
    assert parse_program(print_program(after)) == after
    assert time.process_time() - started < 60
    assert sum(op.op == "mul" for op in after.main.body) == 0
    assert isinstance(after.main.body[0], Op)
