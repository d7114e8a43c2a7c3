"""A size of the caller as a static argument: graph networks live on it, `counts(ids, N)`."""

from __future__ import annotations

import numpy as np
import pytest

import dlc
from dlc.diagnostics import SpecError
from dlc.ir.verify import verify

GRAPH = """
# What arrives at each of n places.
fn arrivals(x: [E, d], ids: i64[E], n: dim) -> [n, d] {
    return scatter_add(zeros([n, d]), broadcast(ids[:, none], [E, d]), x, axis=0)
}

module Layer(n: int)(x: [T, d], ids: i64[T]) -> [n, d] {
    param gain: [d] = ones
    return arrivals(x * gain, ids, n)
}

module Twice(inner: module)(x: [N, d], ids: i64[N]) -> _ {
    return inner(x, ids) + inner(x, ids)
}

model Graph()(x: [T, 3], y: [N, 3], ids: i64[T], more: i64[N]) -> _ {
    layer = Layer(N)
    a = arrivals(x, ids, N) + layer(x, ids)
    return a + Twice(layer)(y, more) + (Layer(N + 1)(x, ids) as wider)[:N]
}
"""


def test_a_size_of_the_caller_is_a_size_of_the_callee() -> None:
    """The caller's N is neither the N of `Twice` nor the T of `Layer`."""
    model = dlc.loads(GRAPH)["Graph"]
    verify(model.program)
    x, ids = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([0, 1, 1, 0])
    y, more = np.ones((2, 3), np.float32), np.array([1, 1])
    summed = np.stack([x[[0, 3]].sum(0), x[[1, 2]].sum(0)])
    wanted = 3 * summed + 2 * np.stack([np.zeros(3), y.sum(0)])
    (found,) = model.compile("torch")(x=x, y=y, ids=ids, more=more).values()
    np.testing.assert_allclose(np.asarray(found), wanted)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_emitted_functions_take_it_under_their_own_name(backend: str) -> None:
    (source,) = dlc.loads(GRAPH)["Graph"].emit(backend).files.values()
    assert "(x, ids, n=N)" in str(source)
    assert "-> [n, d]" in str(source)


def test_one_function_serves_callers_with_other_names() -> None:
    text = """
fn places(n: dim) -> [n] { return sin(arange(n, dtype=float)) }
model M()(x: [N, 4], y: [K, 4]) -> [K] { return places(N)[0] + places(K) + places(K + 1)[1:] }
"""
    program = dlc.loads(text)["M"].program
    verify(program)
    assert [each.source for each in program.functions.values()].count("places") == 1


def test_what_it_must_be_is_stated() -> None:
    text = """
fn padded(x: [T, d], n: int) -> [T, d]{where} {{ return x + zeros([n, d]) }}
fn halved(n: int) -> _ {{ return n // 2 }}
model M()(x: [N, 4], y: [T, 4]) -> [N, 4]
    where N % 2 == 0
{{
    return x + padded(x, N) + zeros([2 * halved(N), 4])
}}
"""
    verify(dlc.loads(text.format(where=" where n == T"))["M"].program)
    with pytest.raises(SpecError) as raised:
        dlc.loads(text.format(where=""))["M"].program  # noqa: B018
    assert "where T == n" in str(raised.value)


def test_a_size_that_may_be_negative_stays_one() -> None:
    text = """
fn short(n: int) -> [n] { return zeros([n]) }
model M()(x: [N]) -> _ { return short(N - 2) }
"""
    with pytest.raises(SpecError) as raised:
        dlc.loads(text)["M"].program  # noqa: B018
    assert "N - 2" in str(raised.value)


def test_whole_numbers_in_a_list_of_floats_are_floats() -> None:
    text = "model M(taps: list[float] = [1, 2])(x: [B, 2]) -> [B, 2] { return x * tensor(taps) }"
    verify(dlc.loads(text)["M"].program)
