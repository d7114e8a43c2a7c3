"""Comments inside of bodies stand in emitted PyTorch and JAX above what they speak of."""

import re
from pathlib import Path

import pytest

import dlc
from dlc.runtime.scripts import write_script

SPEC = """
module Block(d: int)(x: [B, T, d], mask: bool[B, T] = none) -> [B, T, d] {
    # Pre-norm: the stream itself is never normalized.
    y = x |> layer_norm
    q = y |> linear(d) as q         # queries
    k = y |> linear(d) as k
    # Scores of every pair, which are
    # softened here.
    scores = q @ k.T / sqrt(d)
    # What is not there is not seen.
    if mask != none {
        scores = where(mask[:, none, :], scores, -inf)     # [B, T, T]
    }
    # Back to the stream.
    return x + softmax(scores) @ y
}

fn doubled(x: [*s]) -> [*s] {
    # Twice as much.
    return 2.0 * x
}

model M(d: int = 16, layers: int = 3)(tokens: i64[B, T], mask: bool[B, T] = none) -> [B, d] {
    buffer seen: [] = zeros
    # As loud as the positions.
    x = embedding(100, d)(tokens) * sqrt(d)     # allow W0110
    # All the way up.
    for i in range(layers) {
        x = Block(d)(x, mask) as "h.{i}"
    }
    if training {
        # Counts batches.
        update seen = seen + 1.0
    }
    # A number for itself.
    n = 2
    # Mean over time.
    return doubled(mean(x, axis=1)) / n
}
"""
FOLLOWED = [
    (r"# Pre-norm: the stream itself is never normalized\.", r"y = .*layer_norm"),
    (r"# Scores of every pair, which are\n *# softened here\.", r"scores = "),
    (r"# What is not there is not seen\.", r"if mask is not None:"),
    (r"# Back to the stream\.", r"return x \+ .*softmax"),
    (r"# As loud as the positions\.", r"x = .*embedding"),
    (r"# All the way up\.", r"(for block in|x, _ = lax\.scan)"),
    (r"# Counts batches\.", r"(if (self\.)?training:|with torch|state\[)"),
    (r"# Mean over time\.", r"return "),
]


def source(text: str, backend: str) -> str:
    [found] = dlc.loads(text)["M"].emit(backend).files.values()
    return found if isinstance(found, str) else found.decode()


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_each_stands_once_above_what_it_speaks_of(backend: str) -> None:
    found = source(SPEC, backend)
    for comment, code in FOLLOWED:
        assert len(re.findall(comment, found)) == 1, comment
        assert re.search(rf"{comment}\n *{code}", found), comment


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_what_speaks_to_dlc_or_of_nothing_there_is_left_out(backend: str) -> None:
    found = source(SPEC, backend)
    assert "W0110" not in found
    assert "A number for itself" not in found
    assert "queries" not in found  # the value has no line of its own
    assert not re.search(r"^ *# \[B, T, T\]", found, re.MULTILINE)


def test_what_a_line_says_of_itself_is_said_once() -> None:
    """The comment above a function that is one line is its docstring, and no remark on what it holds."""
    text = """
# Twice as much.
fn twice(x: [*S]) -> [*S] { return 2.0 * x }
model M()(x: [B, 4]) -> y: [B, 4] {
    # Half of it.
    entry half(x: [B, 4]) -> [B, 4] { return twice(x) * 0.25 }
    return twice(x)
}
"""
    found = source(text, "torch")
    assert found.count("Twice as much.") == found.count("Half of it.") == 1


def test_it_is_apart_from_what_is_said_of_shapes() -> None:
    assert re.search(r"# x: \[B, T, d\].*\n\n *# Pre-norm", source(SPEC, "torch"))


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_no_comment_is_code(backend: str) -> None:
    odd = "model M(d: int = 2)(x: [B, d]) -> [B, d] {\n    # one\x0cx = 0\u2028x = 1\rx = 2\x1b\n    return relu(x)\n}\n"
    found = source(odd, backend)
    compile(found, "<emitted>", "exec")
    assert not re.search(r"^ *x = [012]", found, re.MULTILINE)


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_scripts_have_those_of_their_block(backend: str, tmp_path: Path) -> None:
    text = (
        SPEC
        + """
train t {
    net = M()
    batch (tokens: i64[B, 8], wanted: [B, 16]) from synthetic(count=16, batch=4)
    # As near as it gets.
    minimize mean((net(tokens) - wanted) ** 2)
    optimizer = adamw(lr=1e-3)
    settings { steps = 2 }
}
"""
    )
    written = write_script(dlc.loads(text)["t"], backend, tmp_path)
    [found] = [each.read_text(encoding="utf-8") for each in written if each.suffix == ".py"]
    assert found.count("# As near as it gets.") == 1
