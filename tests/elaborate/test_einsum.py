"""Words and letters in an einsum's pattern, and what broadcasts under `...`."""

from __future__ import annotations

import numpy as np
import pytest

import dlc
from dlc.diagnostics import SpecError
from dlc.runtime.interpret import run

PATTERNS = """
model Patterns()(a: [B, 1, n, 3, 3], p: [B, 7, n, 3], q: [n, 3], w: [heads], x: [B, heads]) -> (_, _, _, _, _, _) {
    s = einsum(a, p, "... i j, ... j -> ... i")
    t = einsum(p, q, "... i, ... i -> ...")
    u = einsum(x, w, "B heads, heads -> B")
    v = einsum(x, "B heads -> heads")
    y = einsum(x, x, "bi,bj->ij")
    z = einsum(p[:, :1], p[:1, :1], "... i, ... j -> ... i j")
    return s, t, u, v, y, z
}
"""


def test_values_are_numpys() -> None:
    rng = np.random.default_rng(0)
    shapes = {"a": (2, 1, 4, 3, 3), "p": (2, 7, 4, 3), "q": (4, 3), "w": (5,), "x": (2, 5)}
    d = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    found = run(dlc.loads(PATTERNS)["Patterns"].program, {}, d, precision="f64").values()
    p, x = d["p"], d["x"]
    wanted = (
        np.einsum("...ij,...j->...i", d["a"], p),
        np.einsum("...i,...i->...", p, d["q"]),
        x @ d["w"],
        x.sum(0),
        x.T @ x,
        np.einsum("...i,...j->...ij", p[:, :1], p[:1, :1]),
    )
    for have, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(have, want, rtol=1e-12)


def test_what_does_not_broadcast_is_refused() -> None:
    with pytest.raises(SpecError) as raised:
        dlc.loads("""
model M()(a: [2, 3, 4], b: [5, 3, 4]) -> _ { return einsum(a, b, "... i, ... i -> ...") }
""")["M"].program  # noqa: B018
    assert raised.value.diagnostics[0].code == "E0306"


@pytest.mark.parametrize(
    ("inputs", "call", "wanted"),
    [
        ("a: [heads], b: [heads]", 'einsum(a, b, "heads, heads ->")', "i,i->"),
        ("a: [heads], b: [heads]", 'einsum(a, b, "heads, heads -> heads")', "i,i->i"),
        ("a: [n], b: [m]", 'einsum(a, b, "rows, columns -> columns rows")', "i,j->ji"),
        ("a: [n], b: [m]", 'einsum(a, b, "i,j->ij")', "i,j->ij"),
        ("a: [B, d], b: [d]", 'einsum(a, b, "Bd,d->B")', "ij,j->i"),
        ("a: [B, d], b: [d, K]", 'einsum(a, b, "Bd,dK->BK")', "ij,jk->ik"),
    ],
)
def test_words_and_letters(inputs: str, call: str, wanted: str) -> None:
    """An operand of one axis has one name, and one of as many axes as letters has these."""
    model = dlc.loads(f"model M()({inputs}) -> _ {{ return {call} }}")["M"]
    rng = np.random.default_rng(0)
    sizes = {"heads": 3, "n": 3, "m": 4, "B": 2, "d": 3, "K": 4}
    given = {
        each.name: rng.standard_normal([sizes[str(axis)] for axis in each.type.axes])
        for each in model.program.main.inputs
    }
    (found,) = run(model.program, {}, given, precision="f64").values()
    np.testing.assert_allclose(found, np.einsum(wanted, *given.values()), rtol=1e-12)
