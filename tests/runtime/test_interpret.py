"""The interpreter on programs written as IR."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from dlc.ir.nodes import Program
from dlc.ir.text import parse_program
from dlc.ir.verify import verify
from dlc.runtime.interpret import CheckFailed, InputError, run, run_function

NESTED = """
entry Net

parameter h.1.norm.0.weight: [4] = ones_4
parameter h.3.norm.0.weight: [4] = ones_4
parameter h.5.norm.0.weight: [4] = ones_4

init ones_4() -> (value: %v) {
    %v: [4] = full() {shape=[4], value=1.0, dtype="float"}
}

module scale_1(%x: [B, 4], %bias: [B, 4]) -> (y: %y)
    library
    param weight: [4] = ones_4
{
    %w: [4] = param() {path="weight"}
    %z: [B, 4] = mul(%x, %w)
    %y: [B, 4] = add(%z, %bias)
}

module Block(%x: [T, 4]) -> (y: %y)
    child norm.0: scale_1
{
    %y: [T, 4] = scale(%x, _, %x) @ norm.0 -> scale_1 [B=T]
}

model Net(%x: [B, 2*T, 4]) -> (out: %out, tied: %tied)
    child h.{i}: Block times 3 from 1 by 2
{
    %flat: [2*B*T, 4] = reshape(%x) {shape=[2*B*T, 4]}
    %h: [2*B*T, 4] = loop(%flat) {count=3, start=1, step=2} do (%c: [2*B*T, 4]) {
        %d: [2*B*T, 4] = call(%c) @ h.{i} -> Block [T=2*B*T]
        %e: [2*B*T, 4] = sub(%d, %flat)
        yield %e
    }
    %out: [B, 2*T, 4] = reshape(%h) {shape=[B, 2*T, 4]}
    %w: [4] = param() {path="h.3.norm.0.weight"}
    %tied: [B, 2*T, 4] = mul(%out, %w)
}
"""


def model(body: str, signature: str = "%x: [B, T]", output: str = "%y", header: str = "") -> Program:
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return parse_program(f"entry Net\n\nmodel Net({signature}) -> (y: {output})\n{header}{{\n{lines}}}\n")


def weights() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {f"h.{i}.norm.0.weight": rng.normal(size=4) for i in (1, 3, 5)}


def test_calls_repeats_and_paths() -> None:
    program, values = verify(parse_program(NESTED)), weights()
    x = np.random.default_rng(1).normal(size=(2, 6, 4))
    found = run(program, values, {"x": x}, precision="f64")
    expected = x
    for i in (1, 3, 5):
        expected = expected * values[f"h.{i}.norm.0.weight"] + expected - x
    np.testing.assert_allclose(found["out"], expected, rtol=1e-12)
    np.testing.assert_allclose(found["tied"], expected * values["h.3.norm.0.weight"], rtol=1e-12)


def test_a_missing_or_misshapen_parameter_is_named() -> None:
    program, values = parse_program(NESTED), weights()
    x = np.zeros((1, 2, 4))
    values["h.3.norm.0.weight"] = np.zeros(5)
    with pytest.raises(InputError, match=r"h\.3\.norm\.0\.weight must be of shape \(4,\), not \(5,\)"):
        run(program, values, {"x": x})
    del values["h.3.norm.0.weight"]
    with pytest.raises(KeyError, match=r"h\.3\.norm\.0\.weight"):
        run(program, values, {"x": x})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"x": np.zeros((2, 3, 4))},
            r"must be \[B, 2\*T, 4\], not \[2, 3, 4\]: axis 1 is 3, not 2 \(T = 1\)",
        ),
        ({"x": np.zeros((2, 4))}, "it has 2 axes, not 3"),
        ({"y": np.zeros(3)}, "x is missing, y is unknown"),
    ],
)
def test_wrong_inputs_are_refused(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(parse_program(NESTED), weights(), inputs)


def test_floats_are_no_integers() -> None:
    program = model("%y: i64[B] = neg(%x)", "%x: i64[B]")
    with pytest.raises(InputError, match=r"x must be i64\[B\], not float64"):
        run(program, {}, {"x": np.zeros(3)})
    assert run(program, {}, {"x": np.arange(3, dtype=np.int32)})["y"].dtype == np.int64


def test_stated_facts_are_checked() -> None:
    program = model("%y: [B, T] = neg(%x)", header="    where T <= 4\n")
    run(program, {}, {"x": np.zeros((2, 4))})
    with pytest.raises(CheckFailed, match="Net needs T <= 4, and T = 5"):
        run(program, {}, {"x": np.zeros((2, 5))})


def test_an_axis_that_divides_by_0_is_told() -> None:
    program = model("%y: [B, T] = neg(%x)", "%x: [B, T], %z: [7 % B]", header="    where B >= 0\n")
    with pytest.raises(InputError, match=r"`z` must be \[7 % B\], not \[1\]: axis 0 divides by 0 \(B = 0\)"):
        run(program, {}, {"x": np.zeros((0, 4)), "z": np.zeros(1)})


def test_require() -> None:
    program = model(
        """
        %zero: [] = const() {value=0.0}
        %ok: bool[T] = gt(%x, %zero)
        %all: bool[] = all(%ok) {axis=[0], keepdims=false}
        require(%all) {message="x must be positive"}
        %y: [T] = log(%x)
        """,
        "%x: [T]",
    )
    run(program, {}, {"x": np.ones(2)})
    with pytest.raises(CheckFailed, match="x must be positive"):
        run(program, {}, {"x": np.zeros(2)})


def test_reads_after_an_update_see_it() -> None:
    program = model(
        """
        %before: [] = param() {path="count"}
        %one: [] = const() {value=1.0}
        %next: [] = add(%before, %one)
        update(%next) {path="count"}
        %y: [] = param() {path="count"}
        """,
        signature="",
        header="    training\n    buffer count: []\n",
    )
    updates: dict[str, Any] = {}
    values = {"count": np.float32(4)}
    assert run(program, values, {}, updates=updates)["y"] == 5
    assert updates == {"count": 5}
    assert values == {"count": 4}


@pytest.mark.parametrize("precision", ["f64", "f32", "bf16", "f16"])
def test_precision(precision: str) -> None:
    program = model(
        """
        %s: [B] = sum(%x) {axis=[1], keepdims=false}
        %y: f32[B] = cast(%s) {dtype="f32"}
        """
    )
    x = np.full((1, 1000), 1 / 3)
    found = run(program, {}, {"x": x}, precision=precision)["y"]
    assert found.dtype == np.float32
    # Summed in at least f32 and rounded once, not after every addition.
    rounded = {"bf16": ml_dtypes.bfloat16, "f16": np.float16}.get(precision, np.float64)
    np.testing.assert_allclose(found, (1000 * np.float64(rounded(1 / 3))).astype(rounded), rtol=1e-3)


def test_constants_and_created_tensors() -> None:
    program = model(
        """
        %table: i64[2, 2] = const() {value=[[1, 2], [3, 4]]}
        %places: i64[T] = arange() {start=0, stop=T, step=1, dtype="i64"}
        %n: i64[] = size() {dim=B*T}
        %s: i64[] = sum(%places) {axis=[0], keepdims=false}
        %t: i64[] = add(%s, %n)
        %y: i64[2, 2] = mul(%table, %t)
        """
    )
    found = run(program, {}, {"x": np.zeros((2, 3))})["y"]
    np.testing.assert_array_equal(found, 9 * np.array([[1, 2], [3, 4]]))


def test_initial_values() -> None:
    program = parse_program(NESTED)
    np.testing.assert_array_equal(run_function(program, "ones_4")["value"], np.ones(4, np.float32))


def test_a_seed_gives_the_same_draws_at_every_precision() -> None:
    program = model('%y: [B, T] = normal() {shape=[B, T], dtype="float", draw=1}')
    x = np.zeros((20, 30))
    first, second, other = (
        run(program, {}, {"x": x}, rng=np.random.default_rng(seed), precision=precision)["y"]
        for seed, precision in ((3, "f64"), (3, "f32"), (4, "f64"))
    )
    np.testing.assert_array_equal(first.astype(np.float32), second)
    assert not np.allclose(first, other)


def test_errors_name_the_op() -> None:
    program = model("%y: [B] = take(%x, %i) {axis=0}", "%x: [V], %i: i64[B]")
    with pytest.raises(IndexError, match="outside 0 <= index < 3") as caught:
        run(program, {}, {"x": np.zeros(3), "i": np.array([0, 3])})
    assert "in `take`" in caught.value.__notes__


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_random_rounding(dtype: str) -> None:
    """To a neighbour, the nearer one the more likely; what is exact stays."""
    from dlc.runtime.random_rounding import rounded

    kind, rng = np.dtype(getattr(ml_dtypes, dtype, dtype)), np.random.default_rng(0)
    low = np.array([1.0, -3.0, 0.125, 700.0], kind).astype(np.float64)
    step = np.ldexp(float(ml_dtypes.finfo(kind).eps), np.frexp(low)[1] - 1)
    exact = np.array([0.0, -np.inf, 5.0, np.inf])
    assert np.array_equal(rounded(exact, kind, rng).astype(np.float64), exact)
    many = rounded(np.broadcast_to(low + 0.25 * step, (4000, 4)), kind, rng).astype(np.float64)
    assert set(np.unique((many - low) / step)) == {0.0, 1.0}
    np.testing.assert_allclose(((many - low) / step).mean(0), 0.25, atol=0.03)
