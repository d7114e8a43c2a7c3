"""Emitted modules in the precision and on the device that they are moved to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from backends.torch.cases import CASES, Case
from dlc_torch.load import build

import dlc
from dlc.backend import Artifact
from dlc.runtime.inputs import random_inputs

# What PyTorch does not compute in 16 bits on a CPU.
LACKING = {"AlexNet2012": "avg_pool3d"}
# Its numbers are small differences of large ones.
TOLERANCE = {torch.bfloat16: 0.03, torch.float16: 0.01}


def made(case: Case) -> tuple[torch.nn.Module, list[torch.Tensor], Artifact]:
    artifact = case.emitted()
    program = case.loaded().program
    inputs = random_inputs(program, dict(case.dims))
    torch.manual_seed(0)
    module = build(artifact)
    assert isinstance(module, torch.nn.Module)
    return module.eval(), [torch.as_tensor(inputs[name]) for name, _ in artifact.meta["inputs"]], artifact


def results(module: Any, artifact: Artifact, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    method = artifact.meta["method"]
    found = (getattr(module, method) if method else module)(*inputs)
    return list(found) if isinstance(found, tuple) else [found]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_spec_in_16_bits(case: Case, dtype: torch.dtype) -> None:
    """Forward and backward, in one precision from end to end, near what it gives in f32."""
    module, inputs, artifact = made(case)
    expected = results(module, artifact, inputs)
    module.to(dtype)
    inputs = [each.to(dtype) if each.is_floating_point() else each for each in inputs]
    if case.model in LACKING:
        with pytest.raises(NotImplementedError, match=LACKING[case.model]):
            results(module, artifact, inputs)
        return
    found = results(module, artifact, inputs)
    for a, b in zip(found, expected, strict=True):
        if b.is_floating_point():
            assert a.dtype == dtype
            assert (a.float() - b).abs().max() <= TOLERANCE[dtype] * (1 + b.abs().max())
    if not any(each.requires_grad for each in module.parameters()):
        return
    differentiable = [each.float().sum() for each in found if each.requires_grad]
    torch.stack(differentiable).sum().backward()
    gradients = [each.grad for each in module.parameters() if each.grad is not None]
    assert gradients and all(each.dtype == dtype for each in gradients)


ROTARY = """
module Attention(d: int)(x: [B, T, d]) -> [B, T, d] where d % 2 == 0 {
    places = tensor([0.5, 0.25, 0.125, 0.0625])
    steps = tensor([1, 2, 3, 4])
    y = rope(x |> linear(d) as q) + sum(places) + cast(sum(steps), float)
    noise = cast(arange(T), float)[:, none] * ones([d])
    return y + noise + (noise |> linear(d) as fc)
}
model Net(d: int = 4)(x: [B, T, d]) -> [B, T, d] { return x |> Attention(d) as attn |> drop_path(0.5) }
"""


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("train", [False, True])
def test_constants_take_the_dtype_of_what_they_meet(dtype: torch.dtype, train: bool) -> None:
    module = build(dlc.loads(ROTARY)["Net"].emit("torch")).to(dtype).train(train)
    assert module(torch.zeros(2, 3, 4, dtype=dtype)).dtype == dtype
    assert module.to("meta")(torch.zeros(2, 3, 4, dtype=dtype, device="meta")).device.type == "meta"


def test_tables_are_buffers_without_a_place_in_checkpoints() -> None:
    module = build(dlc.loads(ROTARY)["Net"].emit("torch"))
    names = dict(module.named_buffers())
    assert sorted(names) == ["attn.places", "attn.steps"]
    assert not names.keys() & module.state_dict().keys()
    module.to(torch.bfloat16)
    assert module.attn.places.dtype == torch.bfloat16 and module.attn.steps.dtype == torch.int64


def test_under_another_default_dtype_all_is_of_it() -> None:
    artifact = dlc.loads(ROTARY)["Net"].emit("torch")
    torch.set_default_dtype(torch.float64)
    try:
        module = build(artifact)
        assert module(torch.zeros(2, 3, 4)).dtype == torch.float64
        assert module.attn.places.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_tables_of_angles_stay_in_f32() -> None:
    """Positions beyond 256 have no bf16 of their own."""
    text = "model Net()(x: [B, T, d]) -> [B, T, d] where d % 2 == 0 { return rope(x) + cast(0.0, float) }"
    source = str(next(iter(dlc.loads(text)["Net"].emit("torch").files.values())))
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    net = next(each for name, each in namespace.items() if name in ("net", "Net"))
    x = torch.ones(1, 2000, 4)
    exact = net(x)
    assert (net(x.bfloat16()).float() - exact).abs().max() < 0.02
