"""Networks at small settings against the interpreter, at levels and sizes that `tests/reference` leaves out: that runs every
spec at -O1, at one size each. One library serves all sizes here."""

from __future__ import annotations

from typing import Any

import haste
import numpy as np
import pytest
from reference.case import SHIPPED
from reference.cases import CASES
from reference.small import generic, model_of

import dlc
from dlc.runtime.inputs import random_inputs
from dlc.runtime.interpret import run
from dlc.runtime.verify import difference

pytest.importorskip("tvm")

BY_NAME = {case.name: case for case in CASES}
SIZES = {
    "gpt2": ({"B": 2, "T": 5}, {"B": 1, "T": 32}, {"B": 3, "T": 1}),
    "transformer_padded": ({"B": 2, "S": 4, "T": 9}, {"B": 1, "S": 17, "T": 3}),
    "t5_padded": ({"B": 2, "S": 4, "T": 9}, {"B": 1, "S": 17, "T": 3}),
    "lenet5": ({"B": 1}, {"B": 5}),
    "resnet_basic": ({"B": 2, "H": 33, "W": 40}, {"B": 1, "H": 64, "W": 64}),
    "mobilenet_v2": ({"B": 1, "H": 40, "W": 33},),
}
# Batch norm over open heights and widths, with a residual branch and a branch of half the size.
IMAGES = """
model Net()(x: [B, 3, H, W]) -> (y: [B, 8, (H - 1) // 2 + 1, (W - 1) // 2 + 1], scores: [B, 5])
    where H >= 1, W >= 1
{
    half = x |> conv2d(8, 3, stride=2, padding=1, bias=false) as down |> batch_norm as norm1 |> relu
    half = half + (half |> conv2d(8, 3, padding=1, bias=false) as same |> batch_norm as norm2)
    return half, half |> max_pool(3, stride=2, padding=1) |> global_avg_pool |> linear(5) as head
}
"""


def compare(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], bound: float = 1e-5) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert difference(found[name], value)[1] < bound, name


def check(model: Any, optimize: int, settings: tuple[dict[str, int], ...]) -> None:
    weights = generic(model.initial_weights(0))
    runnable = model.compile("tvm", weights=weights, optimize=optimize, target=haste.TVM)
    for sizes in settings:
        inputs = random_inputs(model.program, sizes)
        compare(runnable(**inputs), run(model.program, weights, inputs, precision="f64"))


@pytest.mark.parametrize("optimize", [0, 1, 2])
def test_images_of_any_size(optimize: int) -> None:
    sizes = ({"B": 2, "H": 9, "W": 14}, {"B": 1, "H": 1, "W": 1}, {"B": 1, "H": 40, "W": 33})
    check(dlc.loads(IMAGES)["Net"], optimize, sizes)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "optimize"),
    [
        ("gpt2", 0),
        ("gpt2", 2),
        pytest.param("transformer_padded", 2, marks=SLOW),
        pytest.param("transformer_padded", 0, marks=SLOW),
        pytest.param("t5_padded", 2, marks=SLOW),
        pytest.param("lenet5", 2, marks=SLOW),
        pytest.param("resnet_basic", 2, marks=SLOW),
        pytest.param("mobilenet_v2", 2, marks=SLOW),
    ],
)
def test_one_library_for_all_sizes(name: str, optimize: int) -> None:
    check(model_of(BY_NAME[name]), optimize, SIZES[name])


@pytest.mark.parametrize(
    ("name", "precision", "bound"),
    [("gpt2", "bf16", 0.1), ("lenet5", "f16", 0.01), pytest.param("gpt2", "f64", 1e-12, marks=SLOW)],
)
def test_precision(name: str, precision: str, bound: float) -> None:
    model = model_of(BY_NAME[name])
    weights = generic(model.initial_weights(0))
    inputs = random_inputs(model.program)
    found = model.compile("tvm", weights=weights, precision=precision, optimize=1)(**inputs)
    expected = run(model.program, weights, inputs, precision="f64")
    dtypes = {"bf16": "bfloat16", "f16": "float16", "f64": "float64"}
    assert {str(value.dtype) for value in found.values()} == {dtypes[precision]}
    compare(found, expected, bound)


# The whole compiles for longer than other networks (its reference case is for the other backends): these are its parts, two of them in
# a scan, as a cycle has them, and once all together.
ALPHAFOLD = """
from "dlc:science/alphafold2" import Block, Confidence, InputEmbedder, RecyclingEmbedder, TemplateEmbedder

model Embedders()
    (target: [B, N, 22], msa: [B, S, N, 49], index: i64[B, N], place: [B, N, 3], angles: [B, P, N, 57],
     pairs: [B, P, N, N, 88], mask: [B, N, N])
    -> (m: [B, S, N, 16], rows: [B, P, N, 16], row: [B, N, 16], z: [B, N, N, 12], confidence: [B, N, 50])
{
    m, z = InputEmbedder(16, 12)(target, msa, index) as input_embedder
    row, z = RecyclingEmbedder()(m[:, 0], z, place) as recycling_embedder
    rows, z = TemplateEmbedder(16, 12, 1, 6, 2, 4)(z, angles, pairs, mask) as template_embedder
    return m, rows, row, z, row |> Confidence(8) as confidence
}

model Cycles(cycles: int = 2)
    (m: [B, S, N, 16], rows: [B, P, N, 16], z: [B, N, N, 12], m_mask: [B, S, N], p_mask: [B, P, N], z_mask: [B, N, N])
    -> (m: [B, S, N, 16], z: [B, N, N, 12])
{
    global = Block(2, 4, 4, 6, 2, 4, 2, all=true)
    local = Block(2, 4, 4, 6, 2, 4, 2)
    scan cycle in range(cycles) with m = m, z = z {
        more, z = global(concat([m, rows], axis=1), z, concat([m_mask, p_mask], axis=1), z_mask)
        m, z = local(more[:, :S], z, m_mask, z_mask)
    }
    return m, z
}
"""
FOLDED: dict[str, Any] = {
    "TinyEvoformer": lambda: dlc.load(SHIPPED / "science/alphafold2.dl")["TinyEvoformer"],
    "TinyStructureModule": lambda: dlc.load(SHIPPED / "science/alphafold2.dl")["TinyStructureModule"],
    "Embedders": lambda: dlc.loads(ALPHAFOLD)["Embedders"],
    "Cycles": lambda: dlc.loads(ALPHAFOLD)["Cycles"],
    "AlphaFold2": lambda: model_of(BY_NAME["alphafold2"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDED)
def test_alphafold(name: str) -> None:
    model = FOLDED[name]()
    sizes = ({"B": 2, "N": 5, "S": 3, "E": 4, "P": 2}, {"B": 1, "N": 9, "S": 2, "E": 3, "P": 1})
    own = tuple({dim: each[dim] for dim in model.program.main.dims} for each in sizes)
    check(model, 1, own)
