"""Sizes that no tensor has, given as inputs: the number of graphs in a batch of them."""

from __future__ import annotations

import numpy as np
import pytest

import dlc
from dlc.backend import find
from dlc.diagnostics import SpecError
from dlc.ir.read import parse_program
from dlc.ir.schema import from_json, to_json
from dlc.ir.text import print_program
from dlc.runtime.weights import initial_weights

TEXT = """
module Pool(d: int)(x: [N, d], ids: i64[N], G: dim) -> [G, d]
    where G % 2 == 0
{
    pairs = reshape(segment_sum(x, ids, G), [G // 2, 2 * d])
    return reshape(pairs, [G, d]) |> linear(d) as fc
}

model M(d: int = 4)(x: [N, d], ids: i64[N], h: [K, d] = none, G: dim) -> [G, d]
    where G % 2 == 0, G <= 30
{
    entry counted(x: [N, d], K: dim) -> [K, d]
        where K % 2 == 0
    {
        scan i in range(K) with s = zeros([d]) {
            s = s + sum(x, axis=0)
            yield ys = s
        }
        return ys
    }
    y = Pool(d)(x, ids, G) as pool
    z = Pool(d)(x, ids, 6) as other
    return y + sum(z, axis=0) + sin(arange(G, dtype=float))[:, none]
}

model Outer()(x: [N, 4], ids: i64[N], graphs: dim) -> _
    where graphs % 2 == 0, graphs <= 30
{
    m = M(4)
    return m(x, ids, G=graphs) + m(x, ids, none, graphs)
}
"""

IDS = np.array([0, 3, 3, 1, 0])
X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def spec() -> dlc.Spec:
    return dlc.loads(TEXT, name="sizes.dl")


@pytest.mark.parametrize("name", ["Outer", "M.counted"])
def test_all_backends_agree(spec: dlc.Spec, name: str) -> None:
    """(What TVM adds is in the entry alone, which it compiles in a second.)"""
    model, outer = spec[name], name == "Outer"
    assert isinstance(model, dlc.Model)
    assert dlc.verify(model, backends=("torch", "jax", "onnx") if outer else None).agree
    assert not outer or dlc.verify(model, backends=("torch", "jax"), gradients=True).agree


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_a_size_is_given_like_an_input(spec: dlc.Spec, backend: str) -> None:
    model = spec["M"]
    assert isinstance(model, dlc.Model)
    runnable = model.compile(backend)
    for graphs in (4, 6):
        assert runnable(x=X, ids=IDS, G=graphs)["output"].shape == (graphs, 4)
    for wrong, code in ((5, "E0804"), (2.5, "E0902"), ([4], "E0902")):
        with pytest.raises(SpecError, match=code):
            runnable(x=X, ids=IDS, G=wrong)
    with pytest.raises(SpecError, match="`G` is missing"):
        runnable(x=X, ids=IDS)


def test_emitted_source_takes_a_number(spec: dlc.Spec) -> None:
    model = spec["M"]
    assert isinstance(model, dlc.Model)
    (torch,) = map(str, model.emit("torch").files.values())
    assert "def forward(self, x: Tensor, ids: Tensor, h: Tensor | None = None, *, G: int) -> Tensor:" in torch
    assert "def counted(self, x: Tensor, K: int) -> Tensor:" in torch
    (jax,) = map(str, model.emit("jax").files.values())
    assert 'Under `jax.jit`: `static_argnames=("G", "config")`.' in jax


def test_functions_of_an_onnx_model_are_passed_sizes(spec: dlc.Spec) -> None:
    model = spec["Outer"]
    assert isinstance(model, dlc.Model)
    weights, given = initial_weights(model.program), {"x": X, "ids": IDS, "graphs": 4}
    parted = find("onnx").load(model.emit("onnx", functions=True), weights)(**given)
    whole = model.compile("onnx", weights=weights)(**given)
    np.testing.assert_allclose(parted["output"], whole["output"], rtol=1e-6)


def test_a_program_as_text_and_json_keeps_it(spec: dlc.Spec) -> None:
    model = spec["M"]
    assert isinstance(model, dlc.Model)
    for again in (from_json(to_json(model.program)), parse_program(print_program(model.program))):
        assert again.main.given_sizes == ("G",)


def test_a_size_that_an_input_has_is_none_of_its_own() -> None:
    (found,) = dlc.loads("model M()(x: [N, 4], N: dim) -> [N, 4] { return x }").check()
    assert found.message == "`N` is a size of `x`, and needs no input of its own"


def test_an_entry_makes_the_parts_of_a_main_body_that_needs_its_where() -> None:
    text = """
model M(d: int = 4)(x: [B, T, d]) -> _
    where T % 2 == 0
{
    entry one(y: [B, T]) -> [B, T] { return y }
    return reshape(x, [B, T // 2, 2, d]) |> linear(3) as fc
}
"""
    model = dlc.loads(text)["M.one"]
    assert isinstance(model, dlc.Model)
    assert [each.path for each in model.parameters] == ["fc.weight", "fc.bias"]
    assert not model.program.main.facts
