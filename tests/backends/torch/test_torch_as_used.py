"""Emitted classes in a researcher's hands: other arguments, 16 bits, times that are whole numbers."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from dlc_torch.load import build, module_of

import dlc
from dlc.runtime.compile import emit
from dlc.runtime.inputs import random_inputs

SPECS = Path(__file__).parents[3] / "specs"
UNREAD = """
model M(d: int = 4, mode: str = "any", unread: int = 3)(x: [B, d]) -> [B, d] {
    return x |> linear(d)
}
"""


def test_what_nothing_reads_is_no_argument() -> None:
    model = dlc.loads(UNREAD)["M"]
    classes = vars(module_of(model.emit("torch")))
    assert list(inspect.signature(classes["M"].__init__).parameters) == ["self", "d"]
    (source,) = model.emit("jax").files.values()
    assert isinstance(source, str) and "unread" not in source and "mode" not in source


def test_a_recurrent_layer_is_of_the_kind_that_is_asked_for() -> None:
    classes = vars(module_of(dlc.load(SPECS / "language/rnn_lm.dl")["RNN"].emit("torch")))
    made = classes["RNN"](d=4, hidden=3, vocab=5, nonlinearity="relu")
    assert made.rnn.nonlinearity == "relu"


def test_groups_of_channels_that_come_last_have_a_derivative(tmp_path: Path) -> None:
    """In a process of its own, which PyTorch's kernel would end, of an input that has no slope."""
    text = "model Net()(x: [B, H, W, 6]) -> [B, H, W, 6] {\n    return x * 2.0 |> group_norm(2, axis=-1) as norm\n}\n"
    dlc.loads(text)["Net"].emit("torch").write(tmp_path)
    use = "import torch, net\nn = net.Net()\nn(torch.ones(2, 4, 4, 6)).sum().backward()\nprint(n.norm.weight.grad.shape)"
    ran = subprocess.run(
        [sys.executable, "-c", use], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_layers_that_a_loop_leaves_over() -> None:
    """Of eight layers in threes two are left: each slice ends where the turns do."""
    settings: dict[str, Any] = {"layers": 8, "every": 3, "d": 16, "heads": 2, "kv_heads": 1, "head": 8}
    model = dlc.load(SPECS / "language/gemma3.dl")["Gemma3"](**settings, vocab=20, window=3, ff=32)
    assert dlc.verify(model, backends=("torch",), dims={"B": 1, "T": 5}).agree


def made(target: str) -> tuple[Any, dict[str, torch.Tensor]]:
    file, _, name = target.partition(":")
    model = dlc.load(SPECS / f"{file}.dl")[name]
    torch.manual_seed(0)
    module: Any = build(emit(model, "torch", read=False))
    given = random_inputs(model.program, {})
    return module.eval(), {name: torch.as_tensor(each) for name, each in given.items()}


@pytest.mark.parametrize(
    "target",
    [
        "language/mixtral_8x7b:Tiny",
        "language/deepseek_v3:Tiny",
        "generative/sd3:Tiny",
        pytest.param("science/alphafold2:Tiny", marks=pytest.mark.slow),
    ],
)
def test_routers_and_tables_in_16_bits(target: str) -> None:
    """What the spec computes in f32 is, with parameters that were moved, and comes out in the precision of the rest."""
    module, given = made(target)
    module.to(torch.bfloat16)
    lower = {name: each.bfloat16() if each.is_floating_point() else each for name, each in given.items()}
    found = module(**lower)
    results = found if isinstance(found, tuple) else (found,)
    assert results[0].dtype == torch.bfloat16
    assert all(each.isfinite().all() for each in results if each.is_floating_point())
    sum(each.float().sum() for each in results if each.requires_grad).backward()


def test_times_may_be_whole_numbers() -> None:
    module, given = made("generative/dit_xl_2:Tiny")
    for each in module.parameters():  # those that begin at zero hide what they are multiplied with
        torch.nn.init.normal_(each, std=0.1)
    given["t"] = torch.tensor([3.0, 500.0])[: len(given["t"])]
    whole = given | {"t": given["t"].long()}
    assert torch.equal(module(**given), module(**whole))


def test_tensors_that_stay_in_f32_are_told_once_for_all_layers() -> None:
    model = dlc.load(SPECS / "language/deepseek_v3.dl")["Tiny"](layers=4)
    artifact = emit(model, "torch", precision="bf16")
    (source,) = artifact.files.values()
    assert isinstance(source, str) and source.count("torch.float32") == 1
    module: Any = build(artifact)
    kept = {name for name, each in module.state_dict().items() if each.dtype == torch.float32}
    wanted = {each.path for each in model.parameters if each.type.dtype == "f32"}
    assert kept == wanted and len(wanted) > 3
