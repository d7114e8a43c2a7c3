"""The loop op: its parts, its forms in text and JSON, what the verifier asks of it."""

from __future__ import annotations

import json

import pytest

from dlc.analysis.measure import work
from dlc.ir.loops import Loop
from dlc.ir.nodes import walk
from dlc.ir.schema import from_json, to_json
from dlc.ir.text import parse_program, print_program
from dlc.ir.verify import IRError, verify
from dlc.types.dims import Dim
from ir.loop_programs import BACKWARDS, COUNTER, FORMS, LAYERS, SCAN, random_loops
from ir.programs import program

T = Dim.symbol("T")


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_well_formed_and_reads_back(name: str) -> None:
    form = verify(FORMS[name])
    assert parse_program(print_program(form)) == form
    assert from_json(json.loads(json.dumps(to_json(form)))) == form


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("count", [0, 3, T])
def test_random_loops_are_well_formed_and_read_back(seed: int, count: int | Dim) -> None:
    made = verify(random_loops(seed, count))
    assert parse_program(print_program(made)) == made
    assert from_json(json.loads(json.dumps(to_json(made)))) == made
    loops = [op for op in walk(made.main.body) if op.op == "loop"]
    assert [Loop.of(op).op() for op in loops] == loops


def test_the_parts_of_a_loop() -> None:
    (op,) = (op for op in FORMS["backwards"].main.body if op.op == "loop")
    loop = Loop.of(op)
    assert [(each.first, each.arg.name, each.next, each.out.name) for each in loop.carried] == [
        ("g", "d", "next", "first")
    ]
    assert [(each.source, each.axis, each.arg.name) for each in loop.sequences] == [("seen", 0, "y")]
    assert [(each.item, each.axis, each.out.name) for each in loop.stacked] == [("part", 1, "w")]
    assert (list(loop.positions), loop.indices) == ([2, 1, 0], (9, 7, 5))
    assert not loop.is_plain and not loop.shared and loop.index is None


def test_a_size_that_has_become_a_number_is_a_number() -> None:
    (op,) = FORMS["scan"].main.body
    known = Loop.of(op)
    assert known.count == T and known.turns is None
    with pytest.raises(ValueError, match="T turns"):
        known.positions  # noqa: B018
    attrs = tuple((key, Dim.of(3) if key == "count" else value) for key, value in op.attrs)
    assert Loop.of(type(op)("loop", op.inputs, op.outputs, attrs, region=op.region)).turns == 3


def test_flops_count_every_turn() -> None:
    B = Dim.symbol("B")
    assert work(FORMS["scan"]).elementwise == 12 * B * T
    assert work(FORMS["none"]).elementwise == 0


# One line of a form changed, and what is then wrong.
BROKEN = [
    (SCAN, "count=T,", "", "lacks the attribute count"),
    (SCAN, "count=T,", "count=1.5,", "can't have count=1.5"),
    (SCAN, "count=T,", "count=-1,", "has -1 turns"),
    (SCAN, "count=T,", "count=U,", "the count of `loop` has sizes of no input: U"),
    (SCAN, "count=T,", "count=T, depth=2,", "has no attribute depth"),
    (SCAN, "step=1,", "step=T,", "can't have step=T"),
    (SCAN, "sequences=[1]", "sequences=[0]", "%x has B slices along axis 0, the loop T turns"),
    (SCAN, "sequences=[1]", "sequences=[3]", "has no axis 3 to read"),
    (SCAN, "sequences=[1]", "sequences=1", "can't have sequences=1"),
    (SCAN, "sequences=[1], ", "", "carried values without a partner"),
    (SCAN, "%xt: [B, 4])", "%xt: [T, 4])", r"%xt, a slice of %x, should be \[B, 4\], not \[T, 4\]"),
    (SCAN, "stacked=[1]", "stacked=[0]", r"the stacked %next, should be \[T, B, 4\]"),
    (SCAN, "stacked=[1]", "stacked=[3]", "can't be stacked along axis 3"),
    (SCAN, "yield %next, %next", "yield %next, %decay", r"the stacked %decay, should be \[4, T\]"),
    (SCAN, "yield %next, %next", "yield %decay, %next", r"the next %h, should be \[B, 4\], not \[4\]"),
    (SCAN, "yield %next, %next", "yield %next", "carried values without a partner"),
    (SCAN, "yield %next, %next", "yield %next, %nothing", "ends with %nothing, which nothing defines"),
    (SCAN, "do (%h: [B, 4]", "do (%h: f32[B, 4]", r"first value of %h should be f32\[B, 4\]"),
    (SCAN, "%last: [B, 4],", "%last: [4, B],", r"%last, of `loop`, should be \[B, 4\]"),
    (SCAN, ", shared=true", "", "has a count of T, but turns with parameters of their own"),
    (SCAN, "shared=true", "shared=1", "can't have shared=1"),
    (SCAN, 'path="decay"', 'path="decay.{i}"', "no parameter `decay.{i}`"),
    (COUNTER, "(%i: i64[],", "(%i: i32[],", r"the index %i should be i64\[\]"),
    (COUNTER, "index=true, ", "", "carried values without a partner"),
    (COUNTER, "start=B,", "start=U,", "the start of `loop` has sizes of no input: U"),
    (BACKWARDS, "count=3", "count=4", "%seen has 3 slices along axis 0, the loop 4 turns"),
    (BACKWARDS, "start=5", "start=4", "no parameter `h.8.weight`"),
    (BACKWARDS, "start=5", "start=B", "has a start of B, but turns with parameters of their own"),
    (LAYERS, "rnn.{i} -> Cell", '"rnn.{i+1}" -> Cell', "no instance `rnn.3`"),
]


@pytest.mark.parametrize(("text", "old", "new", "problem"), BROKEN)
def test_broken_rules_are_named(text: str, old: str, new: str, problem: str) -> None:
    assert old in text
    with pytest.raises(IRError, match=problem):
        verify(program(text.replace(old, new)))


def test_only_a_loop_has_a_region() -> None:
    with pytest.raises(IRError, match="`neg` has a region"):
        verify(program("entry F\nfn F(%x: [B]) -> (y: %y) {\n    %y: [B] = neg(%x) do () {\n    }\n}\n"))
