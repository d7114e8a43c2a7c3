"""Entries that the main body calls: `self.encode(x)`."""

from __future__ import annotations

import pytest

import dlc

TEXT = """
model V(d: int = 4)(x: [B, d]) -> [B, 3]
    where B >= 2
{
    init "own.weight" = ones
    enc = linear(2 * d)
    dec = linear(d)
    param scale: [d] = ones
    entry encode(x: [B, d]) -> _ {
        return enc(x) |> batch_norm as norm |> relu
    }
    entry decode(z: [B, 2*d]) -> y: [B, d] {
        return dec(z) + (z |> linear(d) as own)
    }
    entry both(x: [B, d]) -> y: [B, 3]
        where B >= 2
    {
        return self.decode(self.encode(x))[:, :3] + self(x)
    }
    z = self.encode(x * scale)
    y = self.decode(z + enc(x))
    return y |> linear(3) as head
}

model Uses(d: int = 4)(x: [B, d]) -> [B, d]
    where B >= 3
{
    v = V(d)
    return v.decode(v.encode(x)) + sum(v(x), axis=1, keepdims=true)
}
"""


@pytest.fixture(scope="module")
def spec() -> dlc.Spec:
    found = dlc.loads(TEXT, name="own.dl")
    assert not found.check()
    return found


@pytest.mark.parametrize("name", ["V", "V.both", "Uses"])
def test_backends_agree(spec: dlc.Spec, name: str) -> None:
    assert dlc.verify(spec[name], backends=("torch", "jax", "onnx")).agree
    assert dlc.verify(spec[name], backends=("torch", "jax"), gradients=True).agree


@pytest.mark.parametrize("name", ["V.encode", "V.decode"])
def test_an_entry_has_all_parts(spec: dlc.Spec, name: str) -> None:
    """Also those that the main computation has by way of another entry."""
    assert {each.path for each in spec[name].parameters} == {each.path for each in spec["V"].parameters}


def test_in_training_too(spec: dlc.Spec) -> None:
    (update,) = [op for op in spec["V"].training_program.functions["batch_norm"].body if op.op == "update"][
        :1
    ]
    assert update.text("path") == "running_mean"


def test_emitted_methods_call_each_other(spec: dlc.Spec) -> None:
    (torch,) = map(str, spec["V"].emit("torch").files.values())
    assert "z = self.encode(x * self.scale)" in torch
    assert "self.decode(self.encode(x))[:, :3] + self(x)" in torch
    assert torch.count("nn.Linear(") == 4
    (jax,) = map(str, spec["V"].emit("jax").files.values())
    assert 'encode(params, state, x * params["scale"]' in jax


def test_a_bare_name_is_told_how_to_call() -> None:
    text = "model M()(x: [B, 2]) -> _ {\n    entry e(x: [B, 2]) -> [B, 2] { return x }\n    return e(x)\n}\n"
    (found,) = dlc.loads(text).check()
    assert found.code == "E0101" and found.help == "an entry is called by `self.e(…)`"


def test_an_entry_of_a_model_without_parts() -> None:
    """In PyTorch such a model is a function, and its entry another one."""
    text = """
    model Net(by: float = 2.0)(x: [B, 2]) -> [B, 2] {
        entry other(z: [B, 2]) -> [B, 2] { return z * 3.0 }
        return x * by
    }
    """
    assert dlc.verify(dlc.loads(text)["Net.other"], backends=("torch", "jax")).agree


def test_a_model_with_buffers_alone() -> None:
    """JAX's `apply` takes parameters and state: `init` gives both, also where one is empty."""
    text = "model Net()(x: [B, 4]) -> [B, 4] {\n    buffer seen: [4] = ones\n    return x + seen\n}\n"
    assert dlc.verify(dlc.loads(text)["Net"], backends=("torch", "jax")).agree
