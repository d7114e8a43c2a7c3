"""Loops under the passes: unrolled, inlined, flattened and cleaned, they compute what they did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ir.loop_programs import FORMS, random_loops
from ir.programs import assert_same, program, random_inputs, random_weights

from dlc.autodiff import gradient
from dlc.ir.builder import Builder
from dlc.ir.loops import Loop
from dlc.ir.nodes import Op, Program, Value, walk
from dlc.ir.text import print_program
from dlc.ir.verify import verify
from dlc.passes.dead_code import DeadCode
from dlc.passes.lower import decompose, flatten, unroll
from dlc.passes.pipeline import optimize
from dlc.runtime.interpret import run
from dlc.types.dims import Dim

T = Dim.symbol("T")
SEEDS = range(25)


def loops(program: Program) -> list[Op]:
    return [op for each in program.functions.values() for op in walk(each.body) if op.op == "loop"]


@pytest.mark.parametrize("name", FORMS)
def test_forms_compute_the_same(name: str) -> None:
    before = FORMS[name]
    for after in (unroll(before), flatten(before), optimize(before, 2), decompose(before, lambda op: False)):
        assert_same(before, verify(after))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_random_loops_unroll(seed: int, count: int) -> None:
    before = random_loops(seed, count)
    after = verify(unroll(before))
    assert not loops(after)
    assert_same(before, after)


@pytest.mark.parametrize("seed", SEEDS)
def test_loops_over_a_size_stay(seed: int) -> None:
    before = random_loops(seed, T)
    after = verify(unroll(before))
    assert {Loop.of(op).count for op in loops(after)} == {T}
    assert_same(before, after)


@pytest.mark.parametrize("seed", SEEDS)
def test_any_loops_can_go_while_others_stay(seed: int) -> None:
    before = random_loops(seed, 3)
    after = verify(unroll(before, lambda loop: bool(loop.attr("shared")) == bool(seed % 2)))
    assert_same(before, after)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [2, T])
def test_random_loops_optimize(seed: int, count: int | Dim) -> None:
    before = random_loops(seed, count)
    assert_same(before, verify(optimize(before, 2)))


def test_what_an_unrolled_loop_looks_like() -> None:
    text = """
    entry Net
    model Net(%x: [B, 2], %h0: [B]) -> (all: %all) {
        %last: [B], %all: [2, B] = loop(%h0, %x)
            {count=2, start=0, step=1, sequences=[1], stacked=[0], backwards=true, shared=true}
            do (%h: [B], %xt: [B]) {
            %next: [B] = add(%h, %xt)
            yield %next, %next
        }
    }
    """
    assert print_program(unroll(program(text))).split("{\n", 1)[1] == (
        "    %slice: [B, 1] = slice(%x) {start=[0, 1], stop=[B, 2], step=[1, 1]}\n"
        "    %xt: [B] = reshape(%slice) {shape=[B]}\n"
        "    %next: [B] = add(%h0, %xt)\n"
        "    %slice_2: [B, 1] = slice(%x) {start=[0, 0], stop=[B, 1], step=[1, 1]}\n"
        "    %xt_2: [B] = reshape(%slice_2) {shape=[B]}\n"
        "    %next_2: [B] = add(%next, %xt_2)\n"
        "    %reshape: [1, B] = reshape(%next_2) {shape=[1, B]}\n"
        "    %reshape_2: [1, B] = reshape(%next) {shape=[1, B]}\n"
        "    %all: [2, B] = concat(%reshape, %reshape_2) {axis=0}\n"
        "}\n"
    )


def test_a_recurrence_in_a_layer_takes_the_layers_parameters_along() -> None:
    after = verify(unroll(FORMS["layers"]))
    calls = [op.path for op in walk(after.main.body) if op.callee]
    assert calls == ["rnn.1", "rnn.2"]  # the recurrence itself is over a size, and one body
    inlined = verify(decompose(FORMS["layers"], lambda op: op.op == "loop"))
    assert len(loops(inlined)) == 2


def test_what_nothing_reads_leaves_a_loop() -> None:
    text = """
    entry Net
    model Net(%x: [B, T], %z: [T], %h0: [B]) -> (y: %a) {
        %a: [B], %b: [B], %all: [T, B], %ids: i64[T] = loop(%h0, %h0, %x, %z)
            {count=T, start=0, step=1, sequences=[1, 0], stacked=[0, 0], index=true, shared=true}
            do (%i: i64[], %h: [B], %g: [B], %xt: [B], %zt: []) {
            %next: [B] = add(%h, %xt)
            %more: [B] = mul(%g, %zt)
            %id: i64[] = mul(%i, %i)
            yield %next, %more, %more, %id
        }
    }
    """
    before = program(text)
    after = verify(DeadCode().run(before))
    (op,) = after.main.body
    loop = Loop.of(op)
    assert [each.out.name for each in loop.carried] == ["a"]
    assert [each.arg.name for each in loop.sequences] == ["xt"]
    assert (loop.stacked, loop.index, [each.op for each in loop.body]) == ((), None, ["add"])
    assert_same(before, after)


def squared(before: Program, name: str) -> Program:
    """The program with the sum of an output's squares as its first output."""
    main = before.main
    value = dict(main.outputs)[name]
    type = main.types()[value]
    b = Builder(names=lambda hint: f"{hint}_of_{name}")
    total = b.sum(b.mul(Value(value, type), Value(value, type)), tuple(range(type.rank)))
    changed = replace(main, body=(*main.body, *b.body), outputs=(("loss", total.name), *main.outputs))
    return before.with_functions({**before.functions, main.name: changed})


def test_loops_of_a_number_of_turns_are_derived() -> None:
    before = verify(squared(FORMS["backwards"], "w"))
    after = verify(gradient(before, ["g", "h.9.weight"]))
    weights, inputs = random_weights(before), random_inputs(before)
    found = run(after, weights, inputs, precision="f64")
    for values, key in ((inputs, "g"), (weights, "h.9.weight")):
        step = np.zeros_like(values[key])
        step.flat[1] = 1e-6
        above, below = (
            run(
                before,
                weights if values is inputs else {**weights, key: values[key] + sign * step},
                {**inputs, key: values[key] + sign * step} if values is inputs else inputs,
                precision="f64",
            )["loss"]
            for sign in (1, -1)
        )
        np.testing.assert_allclose(found[f"{key}.grad"].flat[1], (above - below) / 2e-6, rtol=1e-5)


def test_what_a_loop_made_is_read_by_the_next() -> None:
    """The second loop has names inside that the first one's turns would be given."""
    text = """
    entry Net
    model Net(%x: [B], %z: [B]) -> (y: %y) {
        %m: [B] = loop(%x) {count=2, start=0, step=1, shared=true} do (%e: [B]) {
            %next: [B] = add(%e, %e)
            yield %next
        }
        %y: [B] = loop(%z) {count=2, start=0, step=1, shared=true} do (%next_2: [B]) {
            %next_3: [B] = tanh(%next_2)
            %next_4: [B] = add(%m, %next_3)
            yield %next_4
        }
    }
    """
    before = program(text)
    after = verify(unroll(before))
    assert not loops(after)
    assert_same(before, after)
