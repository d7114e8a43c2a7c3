"""Ops over open sizes of which some fill vectors and some leave a rest: random programs have sizes up to 3, kernels go by 16."""

from __future__ import annotations

import numpy as np
import pytest
from haste import TVM
from random_runs import difference

import dlc
from dlc.runtime.interpret import run

CASES = """
concat([x, a])
concat([a, x * 2.0])
concat([x, y, x * 3.0])
concat([x, x[:1], x[1:], a])
concat([A, zeros([3, 3])], axis=1)
concat([C, B * 2.0, m], axis=1)
concat([concat([C, m], axis=1), C], axis=1)
concat([arange(M), arange(3, 5)])
concat([x > 0.0, a > 0.0])
concat([cast(x, f64), cast(a, f64)])
flip(concat([x, a]), 0)
cumsum(concat([x, a]))
sum(concat([C, m], axis=1), axis=1)
softmax(concat([C, m], axis=1))
argmax(concat([C, m], axis=1), axis=1)
concat([C, m], axis=1) @ concat([C, m], axis=1).T
top_k(concat([C, m], axis=1), 3)[0]
scatter_add(concat([x, a]), i, x * 2.0, axis=0)
update_slice(concat([C, m], axis=1), m * 2.0, N, axis=1)
pad(C, 1, 2, 2)
pad(C * 2.0, 1, M, 1, value=-1.0)
pad(concat([C, m], axis=1), 1, 1, 1)
roll(C, -1, 1)
triu(B, 1)
triu(C, 1 - M)
tril(triu(C, 1), 4)
tril(concat([C, m], axis=1), 2)
where((arange(M) >= 3) and (arange(M) < M - 1), x, 0.0)
where(arange(N)[none] + arange(M)[:, none] >= M, C, 0.0)
causal_mask(arange(M), arange(N), window=3)
max_pool(C[none, none], 3, stride=1, padding=1)
avg_pool(x[none, none], 3, stride=2, padding=1, count_padding=false)
resize(C[none, none], scale=2, mode="bilinear")
segment_max(C, i, M)
unfold(C[none, none], 3, padding=1)
""".strip().splitlines()
HEAD = "x: [M], y: [N], a: [2], A: [3, M], B: [M, M], C: [M, N], m: [M, 5], i: i64[M]"
SIZES = [(1, 1), (2, 3), (5, 7), (15, 14), (16, 16), (17, 18), (33, 35), (40, 13), (13, 40)]


def model() -> dlc.Model:
    outputs = ", ".join(f"o{k}: _" for k in range(len(CASES)))
    lines = "\n".join(f"    v{k} = {text}" for k, text in enumerate(CASES))
    results = ", ".join(f"v{k}" for k in range(len(CASES)))
    return dlc.loads(f"model M()({HEAD}) -> ({outputs}) {{\n{lines}\n    return {results}\n}}\n")["M"]


def given(m: int, n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([m, n])
    shapes = {"x": (m,), "y": (n,), "a": (2,), "A": (3, m), "B": (m, m), "C": (m, n), "m": (m, 5)}
    floats = {name: rng.integers(-8, 9, shape).astype(np.float32) / 4 for name, shape in shapes.items()}
    return {**floats, "i": rng.permutation(m)}


@pytest.mark.parametrize(("name", "target"), [("torch", ""), ("jax", ""), ("onnx", ""), ("tvm", TVM)])
def test_rests_of_vectors(name: str, target: str) -> None:
    """TVM wrote what lies before an open axis's end over with numbers of other memory, where another of two elements followed."""
    pytest.importorskip({"onnx": "onnxruntime"}.get(name, name))
    made = model()
    runnable = made.compile(name, target=target)
    for sizes in SIZES[:3] if name == "jax" else SIZES:  # it compiles for each
        expected, wide = (run(made.program, {}, given(*sizes), precision=each) for each in ("f32", "f64"))
        found = runnable(**given(*sizes))
        for k, text in enumerate(CASES):
            told = difference(found[f"o{k}"], expected[f"o{k}"], wide[f"o{k}"])
            assert not told, f"{text} at {sizes}: {told}"
