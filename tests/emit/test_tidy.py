"""The last hand on emitted text: axes of any number in comments, products in the spec's order, sums of truth values, masks that every query
sees something of, and buffers that are only added to something."""

from __future__ import annotations

import pytest
import torch
from emit.other_settings import executed

import dlc
from dlc.emit.factors import in_one_order
from dlc.emit.stars import with_stars


def emitted(text: str, backend: str = "torch") -> str:
    (source,) = map(str, dlc.loads(text)["M"].emit(backend).files.values())
    return source


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["def f(x):  # [B, S0, S1] -> [B, S0, S1]"], ["def f(x):  # [B, *S] -> [B, *S]"]),
        (
            ["def f(m):", '    """m: bool[B, M0, M1, T] -> [T]"""'],
            ["def f(m):", '    """m: bool[B, *M, T] -> [T]"""'],
        ),
        # What the code reads keeps its name, and so does what is not all of them, or not one after another.
        (["def f(x):  # [B, S0]", "    B, S0 = x.shape"], ["def f(x):  # [B, S0]", "    B, S0 = x.shape"]),
        (["def f(x, y):  # x: [S0, S1], y: [S1]"], ["def f(x, y):  # x: [S0, S1], y: [S1]"]),
        (["def f(x, y):  # x: [S0, S1], y: [S0]"], ["def f(x, y):  # x: [S0, S1], y: [S0]"]),
        (["def f(x):  # [B, T0, d] -> [B, T1, d]"], ["def f(x):  # [B, T0, d] -> [B, T1, d]"]),
    ],
)
def test_stars(lines: list[str], found: list[str]) -> None:
    assert with_stars(lines) == found


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("nn.Linear(e * heads, d)", "nn.Linear(heads * e, d)"),
        (
            "x.reshape(B, self.e * self.heads)  # [B, e * heads]",
            "x.reshape(B, self.heads * self.e)  # [B, heads * e]",
        ),
        ("d % (e * heads)", "d % (heads * e)"),
        ("cz + e * heads", "cz + heads * e"),
        # These are no products of the two by themselves.
        ("d / e * heads", "d / e * heads"),
        ("d % e * heads", "d % e * heads"),
        ("2**e * heads", "2**e * heads"),
        ("e * heads**2", "e * heads**2"),
        ("e * heads[0]", "e * heads[0]"),
        ("x @ e * heads", "x @ e * heads"),
    ],
)
def test_one_order(line: str, found: str) -> None:
    head = ["def f(heads: int, e: int):", "    y = heads * e"]
    assert in_one_order([head, [line]]) == [head, [found]]
    assert in_one_order([head[:1], [line]]) == [head[:1], [line]]  # the spec writes no other order
    floats = ["def f(heads: float, e: float):", "    y = heads * e"]
    assert in_one_order([floats, [line]]) == [floats, [line]]


ATTENTION = """
module A(d: int, heads: int, window: int = none)(x: [B, T, d], m: [B, U, d]) -> [B, T, d]
    where d % heads == 0
{
    q = x |> linear(d) as q |> rearrange("B T (h e) -> B h T e", h=heads)
    k = m |> linear(d) as k |> rearrange("B U (h e) -> B h U e", h=heads)
    y = attention(q, k, k, causal=true, window=window)
    return y |> rearrange("B h T e -> B T (h e)")
}
"""


@pytest.mark.parametrize("window", ["none", "2"])
def test_a_query_that_sees_itself_sees_something(window: str) -> None:
    own = f"model M(d: int = 8, w: int = {window})(x: [B, T, d]) -> _ {{ return A(d, 2, w)(x, x) as a }}\n"
    text = emitted(
        ATTENTION.replace("m: [B, U, d]", "m: [B, T, d]")
        .replace("B U (h", "B T (h")
        .replace("h U e", "h T e")
        + own,
        "jax",
    )
    assert "jnp.any" not in text
    assert "jax.nn.softmax(scores, axis=-1) @ v" in text


def test_a_window_of_nothing_is_refused() -> None:
    text = "model M(w: int = 0)(x: [B, T, 4]) -> _ { return attention(x, x, x, causal=true, window=w) }\n"
    (found,) = dlc.loads(text).check()
    assert "a window holds 1 key or more" in str(found)


def test_of_other_lengths_some_may_see_nothing() -> None:
    other = "model M(d: int = 8)(x: [B, T, d], m: [B, U, d]) -> _ { return A(d, 2)(x, m) as a }\n"
    assert "jnp.any(" in emitted(ATTENTION + other, "jax")


def test_truth_values_are_counted() -> None:
    text = """
model M(n: int = 3)(x: [B, 4]) -> _ {
    here = x > 0.0
    require sum(cast(here, i64)) <= n * 4, "too many"
    return sum(cast(here, i64), axis=1)
}
"""
    torch_source, jax_source = emitted(text), emitted(text, "jax")
    assert ".long()" not in torch_source
    assert "if here.sum() > 4 * n:" in torch_source
    assert "astype(int)" not in jax_source
    for backends in (("torch",), ("jax",)):
        assert dlc.verify(dlc.loads(text)["M"], backends=backends).agree


BUFFERS = """
model M(d: int = 4)(x: [B, d]) -> [B, d] {
    buffer bias: [d] = zeros
    biased = x SIGN bias
    update bias = bias + mean(x, axis=0)
    return biased
}
"""


@pytest.mark.parametrize(("sign", "cloned"), [("+", False), ("-", False), ("*", True)])
def test_what_is_only_added_to_something_is_no_clone(sign: str, cloned: bool) -> None:
    text = BUFFERS.replace("SIGN", sign)
    source = emitted(text)
    assert ("clone()" in source) is cloned
    network = executed(source).M().train()
    x = torch.randn(5, 4, requires_grad=True)
    network(x)
    found = network(x)  # the bias is that of the first call
    bias = x.detach().mean(dim=0)
    torch.testing.assert_close(found, {"+": x + bias, "-": x - bias, "*": x * bias}[sign])
    found.square().sum().backward()
    assert x.grad is not None


def test_what_reads_a_buffer_behind_its_update_reads_a_clone() -> None:
    late = """
model M(d: int = 4)(x: [B, d]) -> [B, d] {
    buffer bias: [d] = zeros
    old = bias
    update bias = bias + mean(x, axis=0)
    return x + old
}
"""
    source = emitted(late)
    network = executed(source).M().train()
    x = torch.randn(5, 4)
    torch.testing.assert_close(network(x), x)
    torch.testing.assert_close(network(x), x + x.mean(dim=0))
