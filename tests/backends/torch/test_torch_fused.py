"""From -O2 on a file stands alone: fused layers are layers, which the file itself fills from a public state dict, and a fresh
network begins as the public one."""

from __future__ import annotations

import copy
import math
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from backends.torch.cases import CASES, inputs
from dlc_torch import BACKEND
from dlc_torch.load import module_of
from safetensors.torch import load_file
from torch import Tensor, nn

import dlc
from dlc.api import Model
from dlc.backend import Artifact
from dlc.ir.paths import Paths
from dlc.ir.splice import prefixed
from dlc.runtime import compile as compiling
from dlc.runtime.compile import lower

FORMS = dlc.loads(
    """
module Layer(d: int)(x: [B, d]) -> [B, d] {
    a = x |> linear(2 * d) as mlp.up_proj
    b = x |> linear(d) as mlp.gate_proj
    c = x |> linear(d) as mlp.skip_proj
    return (a |> linear(d) as mlp.down_proj) * b + c
}

# Parts in turns of a loop, and in modules; layers that begin in several ways.
model Joined(d: int = 16, layers: int = 2)(x: [B, d]) -> [B, d] {
    init "layers.*.mlp.up_proj.weight" = normal(0.5)
    init "layers.*.mlp.skip_proj.weight" = xavier_uniform
    init "turns.*.b.weight" = xavier_uniform
    init "turns.*.a.weight" = xavier_uniform
    for i in range(layers) as layers {
        x = x |> Layer(d)
    }
    for i in range(layers) as turns {
        x = (x |> linear(d, bias=false) as a) + (x |> linear(d, bias=false) as b)
    }
    return x
}

module Head(d: int)(x: [B, C]) -> [B, d] {
    return x |> linear(d, bias=false) as fc |> batch_norm as norm
}

# A convolution with a bias of its own, a norm without a scale, a linear layer; another eps; parts that only training applies.
model Folded(d: int = 8, eps: float = 0.001)(x: [B, 3, H, W]) -> (y: [B, 4], more: [B, 2] = none)
    where 3 <= H and 3 <= W
{
    init "bn1.weight" = constant(0.5)
    init "bn1.bias" = constant(0.25)
    init "turns.1.norm.weight" = zeros
    x = x |> conv2d(d, 3, padding=1) as conv1 |> batch_norm(eps=eps) as bn1 |> relu
    x = x |> conv2d(d, 3, bias=false) as body.0 |> batch_norm(affine=false) as body.1 |> relu
    for i in range(2) as turns {
        x = x |> conv2d(d, 1, bias=false) as conv |> batch_norm as norm |> relu
    }
    x = x |> global_avg_pool
    more = none
    if training {
        more = x |> Head(2) as more
    }
    return x |> Head(4) as head, more
}

# The scale of a norm is drawn.
model Drawn(d: int = 64)(x: [B, 3, H, W]) -> [B, d, H, W] {
    init "bn.weight" = normal(0.2, mean=1.0)
    init "bn.bias" = constant(0.5)
    return x |> conv2d(d, 3, padding=1, bias=false) as conv |> batch_norm as bn |> relu
}

# The weight of one layer is read by something else: both stay.
model Kept(d: int = 8)(x: [B, d]) -> [B, d] {
    a = linear(d)
    b = linear(d)
    return a(x) + b(x) + x @ a.weight
}

# A module that is entered in two ways holds the layers of both.
module Ways(d: int)(x: [B, d]) -> [B, d] {
    a = linear(d)
    b = linear(d)
    entry first(x: [B, d]) -> [B, d] {
        return a(x)
    }
    return a(x) + b(x)
}

model Shared(d: int = 8)(x: [B, d]) -> [B, d] {
    ways = Ways(d)
    return ways(x) + ways.first(x)
}

model Plain(d: int = 8, eps: float = 0.001)(x: [B, 3, H, W]) -> [B, d, H, W] {
    x = x |> conv2d(d, 3, padding=1) as conv |> batch_norm(eps=eps) as bn |> relu
    for i in range(2) as turns {
        x = x |> conv2d(d, 1, bias=false) as conv |> batch_norm(eps=eps) as norm |> relu
    }
    return x
}
"""
)
SHIPPED = ("ResNet", "Llama", "BERT", "T5", "Transformer")


@cache
def emitted(name: str, level: int) -> Artifact:
    if name in SHIPPED:
        return next(each for each in CASES if each.model == name).emitted(level)
    return compiling.emit(FORMS[name], "torch", optimize=level)


@cache
def file(name: str, level: int) -> ModuleType:
    return module_of(emitted(name, level))


def made(name: str, level: int, **arguments: Any) -> nn.Module:
    torch.manual_seed(0)
    found: nn.Module = getattr(file(name, level), emitted(name, level).meta["class"])(**arguments)
    return found.eval()


def public(name: str, **arguments: Any) -> nn.Module:
    """The network of -O1, whose norms have seen something."""
    module = made(name, 1, **arguments)
    with torch.no_grad():
        for path, tensor in module.state_dict().items():
            if path.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
            elif tensor.is_floating_point():
                tensor.add_(0.1 * torch.randn_like(tensor))
    return module


def given(name: str, **arguments: Any) -> list[Tensor]:
    if name in SHIPPED:
        case = next(each for each in CASES if each.model == name)
        program = case.program()
        found = inputs(program, case.dims)
        return [torch.as_tensor(found[value.name]) for value in program.main.inputs]
    d = arguments.get("d", 16 if name == "Joined" else 8)
    return [torch.randn(2, d) if name in ("Joined", "Kept", "Shared") else torch.randn(2, 3, 8, 8)]


def computed(module: nn.Module, args: list[Tensor]) -> list[Tensor]:
    with torch.no_grad():
        found = module(*args)
    return list(found) if isinstance(found, tuple) else [found]


def same(a: nn.Module, b: nn.Module, args: list[Tensor]) -> bool:
    pairs = zip(computed(a, args), computed(b, args), strict=True)
    return all((x - y).abs().max() <= 1e-5 * y.abs().max() for x, y in pairs)


@pytest.mark.parametrize("name", [*SHIPPED, "Joined", "Folded", "Drawn", "Plain", "Kept", "Shared"])
def test_a_public_state_dict_loads_strictly_and_computes_the_same(name: str) -> None:
    one, two = public(name), made(name, 2)
    own = {path: tensor.clone() for path, tensor in one.state_dict().items()}
    two.load_state_dict(one.state_dict())
    assert same(two, one, given(name))
    assert all(torch.equal(tensor, one.state_dict()[path]) for path, tensor in own.items())
    other = made(name, 2)
    other.load_state_dict(two.state_dict())  # its own names
    assert same(other, one, given(name))
    twice = copy.deepcopy(made(name, 2))
    twice.load_state_dict(one.state_dict())
    assert same(twice, one, given(name))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Joined", {"layers": 3}),
        ("Plain", {"d": 12, "eps": 0.3}),
        ("BERT", {"d": 32, "layers": 3, "heads": 2}),
        ("Llama", {"layers": 3, "ff": 48}),
        ("ResNet", {"widths": (8, 24), "stem": 16, "bottleneck": False}),
    ],
    ids=str,
)
def test_other_arguments(name: str, arguments: dict[str, Any]) -> None:
    one, two = public(name, **arguments), made(name, 2, **arguments)
    two.load_state_dict(one.state_dict())
    assert same(two, one, given(name, **arguments))


@pytest.mark.parametrize("name", [*SHIPPED, "Joined", "Folded", "Drawn"])
def test_no_weight_is_held_twice(name: str) -> None:
    """What is held are the fused layers' weights: the public ones, less the norms that are folded, and biases for them."""
    two = made(name, 2)
    shapes = {path: tuple(tensor.shape) for path, tensor in two.state_dict().items()}
    program = lower(model(name).program, BACKEND, 2)
    expanded = Paths(program.functions).expand(program.entry)
    held = [(prefixed(prefix, each.name), each) for prefix, each in expanded]
    assert shapes == {
        path: each.type.shape for path, each in held if each.kind != "prepared" or not each.init
    }
    known = {path: tuple(tensor.shape) for path, tensor in public(name).state_dict().items()}
    assert sum(map(math.prod, shapes.values())) <= sum(map(math.prod, known.values()))


def model(name: str) -> Model:
    return next(each for each in CASES if each.model == name).loaded() if name in SHIPPED else FORMS[name]


@pytest.mark.parametrize("name", ["ResNet", "BERT", "T5", "Transformer", "Joined", "Folded", "Drawn"])
def test_a_fresh_network_begins_as_the_public_one(name: str) -> None:
    """Fused layers by the mean and deviation of each tensor, and of each part of it."""
    one, two, fresh = made(name, 1), made(name, 2), made(name, 2)
    fresh.load_state_dict(one.state_dict())
    for path, tensor in two.state_dict().items():
        wanted = fresh.state_dict()[path]
        assert tensor.isfinite().all()
        parts = 4 if wanted.numel() >= 256 else 1
        for mine, theirs in zip(tensor.float().chunk(parts), wanted.float().chunk(parts), strict=True):
            count = theirs.numel()
            deviation = theirs.std(correction=0).item()
            assert abs(mine.mean().item() - theirs.mean().item()) <= 6 * deviation / count**0.5 + 1e-6
            assert abs(mine.std(correction=0).item() - deviation) <= 5 * deviation / count**0.5 + 1e-6


def test_what_is_missing_or_unknown_is_told_in_public_names() -> None:
    state = public("BERT").state_dict()
    gone = "encoder.layer.1.attention.self.key.bias"
    del state[gone]
    state["encoder.layer.0.attention.self.extra.weight"] = torch.zeros(2)
    found = made("BERT", 2).load_state_dict(state, strict=False)
    assert found.missing_keys == [gone]
    assert found.unexpected_keys == ["encoder.layer.0.attention.self.extra.weight"]
    nothing = made("BERT", 2).load_state_dict({}, strict=False)
    assert set(nothing.missing_keys) == public("BERT").state_dict().keys()


def test_a_norm_that_is_not_whole_is_told_in_public_names() -> None:
    state = public("ResNet").state_dict()
    gone = ["layer1.0.bn2.running_var", "layer1.0.downsample.1.weight"]
    for path in gone:
        del state[path]
    state["layer1.0.bn9.weight"] = torch.zeros(2)
    two = made("ResNet", 2)
    before = two.state_dict()["layer1.0.conv2.weight"].clone()
    found = two.load_state_dict(state, strict=False)
    assert (found.missing_keys, found.unexpected_keys) == (gone, ["layer1.0.bn9.weight"])
    assert torch.equal(two.state_dict()["layer1.0.conv2.weight"], before)
    nothing = two.load_state_dict({}, strict=False)
    counts = {path for path in public("ResNet").state_dict() if path.endswith("num_batches_tracked")}
    assert set(nothing.missing_keys) == public("ResNet").state_dict().keys() - counts


def test_folded_norms_are_for_inference() -> None:
    two = made("ResNet", 2)
    assert not two.training
    assert not nn.Sequential(two).eval()[0].training
    with pytest.raises(RuntimeError, match="train what -O1 emits"):
        two.train()
    made("BERT", 2).train()  # joined layers train as they are


def test_what_a_file_and_its_weights_hold(tmp_path: Path) -> None:
    """Weights that are written beside a file have its own names; public ones that it has no place for are left out."""
    files = compiling.write_artifact(FORMS["Folded"], "torch", tmp_path, optimize=2, seed=3)
    state = load_file(next(each for each in files if each.suffix == ".safetensors"))
    two = made("Folded", 2)
    assert state.keys() == two.state_dict().keys()
    two.load_state_dict(state)
    runnable = compiling.compile_model(FORMS["Folded"], "torch", optimize=2, seed=3)
    x = torch.randn(2, 3, 8, 8)
    (mine,), (theirs,) = computed(two, [x]), runnable(x=x.numpy()).values()
    np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-5, atol=1e-6)


def test_other_precisions() -> None:
    for name in ("ResNet", "BERT"):
        one, two = public(name).to(torch.bfloat16), made(name, 2).to(torch.bfloat16)
        two.load_state_dict(one.state_dict())
        assert {each.dtype for each in two.parameters()} == {torch.bfloat16}
        args = [each.bfloat16() if each.is_floating_point() else each for each in given(name)]
        for mine, theirs in zip(computed(two, args), computed(one, args), strict=True):
            assert (mine - theirs).abs().max() <= 0.05 * theirs.abs().max()


def test_weights_may_be_taken_over_as_they_are() -> None:
    one = public("Folded")
    with torch.device("meta"):
        two = made("Folded", 2)
    two.load_state_dict(one.state_dict(), assign=True)
    assert same(two, one, given("Folded"))


def test_fused_layers_read_as_layers() -> None:
    source = str(emitted("Joined", 2).files["joined.py"])
    assert "self.mlp.up_gate_skip_proj(x)" in source
    assert not re.search(r"register_buffer|torch\.empty|F\.linear", source)
    for name in ("Kept", "Shared"):
        assert "JoinLinears" not in str(emitted(name, 2).files[f"{name.lower()}.py"])
