"""The verifier: accepts what is well formed, and names every broken rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from properties import examples

from dlc.ir.nodes import Program
from dlc.ir.text import parse_program
from dlc.ir.verify import IRError, verify, violations
from ir.programs import EXAMPLES, NESTED, program, programs


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_well_formed(name: str) -> None:
    verify(EXAMPLES[name])


@examples(40)
@given(programs())
def test_generated_programs_are_well_formed(program: Program) -> None:
    verify(program)


# One line of NESTED changed, and what is then wrong.
BROKEN = [
    ("%y: [B, 4] = add(%h, %s)", "%y: [B, 4] = add(%h, %t)", "reads %t, which nothing before it defines"),
    ("%y: [B, 4] = add(%h, %s)", "%y: [B, 4] = add(%h, %a)", "reads %a, which nothing before it defines"),
    ("%y: [B, 4] = add(%h, %s)", "%h: [B, 4] = add(%h, %s)", "%h is defined twice"),
    ("%y: [B, 4] = add(%h, %s)", "%y: [B, 5] = add(%h, %s)", r"should be \[B, 4\], not \[B, 5\]"),
    ("%y: [B, 4] = add(%h, %s)", "%y: f32[B, 4] = add(%h, %s)", r"should be \[B, 4\], not f32\[B, 4\]"),
    ("%y: [B, 4] = add(%h, %s)", "%y: [Q, 4] = add(%h, %s)", "sizes of no input: Q"),
    ("%y: [B, 4] = add(%h, %s)", "%y: [B, 4] = plus(%h, %s)", "there is no op `plus`"),
    ("%y: [B, 4] = add(%h, %s)", "%y: [B, 4] = add(%h)", "`add` has 2 operands, not 1"),
    ("%y: [B, 4] = add(%h, %s)", "%y: [B, 4] = add(%h, %s) {axis=1}", "has the attributes"),
    ("(y: %y, same: %s)", "(y: %z, same: %s)", "the output `y` is %z, which nothing defines"),
    ("(y: %y, same: %s)", "(y: %y_1, same: %s)", "the output `y` is %y_1, which nothing defines"),
    ("(y: %y, same: %s)", "(y: %y, y: %s)", "two outputs are called `y`"),
    (
        '%shift: [4] = param() {path="shift"}',
        "%shift: [4] = param() {path=3}",
        "`path` of `param` must be a string",
    ),
    ("yield %b", "yield %shift", r"the next %z, should be \[B, 4\]"),
    ("yield %b", "yield %b, %b", "carried values without a partner"),
    ('%shift: [4] = param() {path="shift"}', '%shift: [4] = param() {path="shft"}', "no parameter `shft`"),
    ("layers.{i}.fc.1.weight", "layers.{i}.fc.2.weight", "no parameter `layers.5.fc.2.weight`"),
    ("@ first -> Inner [N=B]", "@ second -> Inner [N=B]", "no instance `second`"),
    ("@ first -> Inner [N=B]", "@ unused -> Inner [N=B]", "`unused` is of `linear_1`, not of `Inner`"),
    ("@ first -> Inner [N=B]", "@ first -> Inner", "says nothing of N"),
    ("@ first -> Inner [N=B]", "@ first -> Inner [N=2*B]", r"should be \[2\*B, 4\], not \[B, 4\]"),
    ("@ first -> Inner [N=B]", "@ first -> Outer [N=B]", "calls `Outer`, which does not exist"),
    ("call(%x) @ first", "call(%x, %x) @ first", "`Inner` has 1 inputs, the call 2"),
    ("child unused: linear_1", "child unused: linear_9", "mentions `linear_9`, which does not exist"),
]


@pytest.mark.parametrize(("old", "new", "problem"), BROKEN)
def test_broken_rules_are_named(old: str, new: str, problem: str) -> None:
    assert old in NESTED
    with pytest.raises(IRError, match=problem):
        verify(program(NESTED.replace(old, new)))


def test_all_problems_are_listed() -> None:
    text = NESTED.replace("yield %b", "yield %shift").replace("(%h, %s)", "(%h, %t)")
    with pytest.raises(IRError) as caught:
        verify(program(text))
    assert len(caught.value.problems) == 2


def test_a_callee_stands_before_its_caller() -> None:
    text = """
    entry F
    fn F(%x: [B]) -> (y: %y) {
        %y: [B] = call(%x) -> G [B=B]
    }
    fn G(%x: [B]) -> (y: %y) {
        %y: [B] = neg(%x)
    }
    """
    with pytest.raises(IRError, match="stands later"):
        verify(parse_program(text))


def test_conditions_of_callees_are_checked() -> None:
    text = """
    entry F
    fn G(%x: [B, 4]) -> (y: %x)
        where B >= 8
    {
    }
    fn F(%x: [B, 4]) -> (y: %y) {
        %r: [4, B] = permute(%x) {axes=[1, 0]}
        %s: [B, 4] = permute(%r) {axes=[1, 0]}
        %t: [4] = max(%s) {axis=[0], keepdims=false}
        %u: [1, 4] = reshape(%t) {shape=[1, 4]}
        %y: [1, 4] = call(%u) -> G [B=1]
    }
    """
    with pytest.raises(IRError, match="breaks its condition B >= 8"):
        verify(parse_program(text))


def test_parameters_of_the_program_are_checked() -> None:
    text = """
    entry F
    parameter w: [4] = zeros
    parameter w: [4] = ones
    init zeros() -> (y: %y) {
        %y: [4] = full() {shape=[4], value=0.0, dtype="float"}
    }
    fn F(%x: [B]) -> (y: %x)
        buffer other: [4]
    {
    }
    """
    with pytest.raises(IRError) as caught:
        verify(parse_program(text))
    assert [each.message for each in caught.value.problems] == [
        "two parameters at `w`",
        "`w` has no initial value: no function `ones`",
        "the program does not list the buffer `other`",
    ]


REQUIRED = """
model M(%x: [B, T, 4]) -> (y: %y) {
    %size: i64[] = size() {dim=T % 4}
    %zero: i64[] = const() {value=0}
    %held: bool[] = eq(%size, %zero)
    require(%held) {message="fours"}
    %y: [B, T//4, 16] = reshape(%x) {shape=[B, T//4, 16]}
}
"""


def test_what_a_require_says_of_sizes_counts_behind_it() -> None:
    text = "entry M\n" + REQUIRED
    assert violations(parse_program(text)) == []
    *head, check, reshape, end = text.strip().splitlines()
    (problem,) = violations(parse_program("\n".join([*head, reshape, check, end])))
    assert "nothing says that 4*B*T and 16*B*(T//4) are equal" in problem.message
