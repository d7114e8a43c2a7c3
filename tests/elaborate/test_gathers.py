"""Gathers and scatters broadcast as `np.take_along_axis` does; what says where whole rows go is emitted so."""

from __future__ import annotations

import numpy as np
import pytest

import dlc
from dlc.diagnostics import SpecError

ROWS = """
model Rows()(x: [N, h, f], y: [E, h], ids: i64[E], z: [B, T, h], w: [B, 1, h]) -> (_, _, _, _, _) {
    a = take_along(x, ids[:, none, none], 0)
    b = scatter_add(zeros([N, h]), ids[:, none], y, axis=0)
    c = scatter_add(zeros([N, h]), ids[:, none], full([1, 1], 2.0), axis=0)
    d = scatter_add(z, ids[none, :1, none], w, axis=1)
    e = scatter(zeros([N, h]), ids[:1, none], y[:1], axis=0)
    return a, b, c, d, e
}
"""


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
def test_an_axis_of_one_is_as_long_as_the_others(backend: str) -> None:
    rng = np.random.default_rng(0)
    shapes = {"x": (4, 2, 3), "y": (5, 2), "z": (2, 4, 2), "w": (2, 1, 2)}
    data = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    ids = np.array([2, 0, 2, 3, 0])
    found = dlc.loads(ROWS)["Rows"].compile(backend)(**data, ids=ids)
    b, c, e = (np.zeros((4, 2), np.float32) for _ in range(3))
    np.add.at(b, ids, data["y"])
    np.add.at(c, ids, np.full((5, 2), 2.0, np.float32))
    d = data["z"].copy()
    d[:, 2] += data["w"][:, 0]
    e[2] = data["y"][0]
    for have, want in zip(found.values(), (data["x"][ids], b, c, d, e), strict=True):
        np.testing.assert_allclose(np.asarray(have), want, rtol=1e-6)


def test_emitted_as_whole_rows() -> None:
    sources = [str(*dlc.loads(ROWS)["Rows"].emit(each).files.values()) for each in ("torch", "jax")]
    assert "index_add(0, ids, y)" in sources[0]
    assert ".at[ids].add(y)" in sources[1]


def test_what_is_scattered_into_keeps_its_shape() -> None:
    with pytest.raises(SpecError) as raised:
        dlc.loads("""
model M()(x: [N, 1], y: [E, 3], ids: i64[E]) -> _ {
    return scatter_add(x, ids[:, none], y, axis=0)
}
""")["M"].program  # noqa: B018
    assert "`scatter_add` needs axis 1" in str(raised.value)
