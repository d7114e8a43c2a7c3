"""A backend that only emits and loads works in every command, and what it lacks is said with a code and its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest
from test_examples import dlc as command
from test_examples import install

import dlc
from dlc import plugins
from dlc.backend import GROUP, Backend, every, find, names
from dlc.cli.doctor import report
from dlc.diagnostics import Diagnostic, SpecError
from dlc.runtime.compile import write_artifact

HERE = Path(__file__).parent
SPEC = """
model Net(d: int = 4)(x: [B, d]) -> y: [B, 3] {
    return x |> linear(8) as up |> gelu |> linear(3) as down |> softmax
}

train fit {
    net = Net()
    batch (x: [B, 4], label: i64[B]) from synthetic(batch=4)
    y = net(x)
    loss = cross_entropy(y, label)
    minimize loss
    optimizer = sgd(lr=0.1)
    settings { steps = 2 }
}
"""
ENTRIES = {
    "small": "dlc_small:BACKEND",
    "smaller": "dlc_small:SMALLER",
    "nothing": "dlc_small:NOTHING",
    "gone": "no_such_module:BACKEND",
}


@pytest.fixture(autouse=True)
def others(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The backends of this folder beside those that are installed."""
    monkeypatch.syspath_prepend(str(HERE))
    found = plugins.entries
    own = [EntryPoint(name, value, GROUP) for name, value in ENTRIES.items()]
    monkeypatch.setattr(
        plugins, "entries", lambda group: EntryPoints([*found(group), *(own if group == GROUP else [])])
    )
    yield


@pytest.fixture
def model() -> dlc.Model:
    found: dlc.Model = dlc.loads(SPEC)["Net"]
    return found


def refused(error: pytest.ExceptionInfo[SpecError]) -> Diagnostic:
    (found,) = error.value.diagnostics
    return found


def test_the_order_is_the_backends_own() -> None:
    assert names() == ("torch", "jax", "onnx", "tvm", "gone", "nothing", "small", "smaller")
    assert all(isinstance(each, Backend) for each in every())


def test_it_compiles_and_runs(model: dlc.Model) -> None:
    found = model.compile("small", seed=0)(x=np.ones((2, 4), np.float32))["y"]
    assert found.shape == (2, 3)
    assert np.allclose(found.sum(axis=1), 1)


def test_it_writes_files_with_weights_beside(model: dlc.Model, tmp_path: Path) -> None:
    written = write_artifact(model, "small", tmp_path, seed=0)
    assert [each.name for each in written] == ["net.json", "net.safetensors"]


def test_it_is_verified(model: dlc.Model) -> None:
    found = dlc.verify(model, backends=("small",), dims={"B": 2})
    assert found.agree
    assert {each.backend for each in found.differences} == {"small"}


def test_it_gives_no_gradients(model: dlc.Model) -> None:
    with pytest.raises(SpecError, match="the backend `small` gives no gradients") as error:
        dlc.verify(model, backends=("small", "torch"), gradients=True, dims={"B": 2})
    assert refused(error).code == "E0806"
    assert "torch, jax" in refused(error).help


def test_gradients_of_one_are_compared_with_the_derivative(model: dlc.Model) -> None:
    assert dlc.verify(model, backends=("torch",), gradients=True, dims={"B": 2}).agree


def test_it_does_not_train(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="the backend `small` does not train") as error:
        dlc.train(dlc.loads(SPEC)["fit"], backend="small", out=tmp_path)
    assert refused(error).code == "E0806"
    assert refused(error).help == "torch, jax, onnx and tvm do"


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        ({"precision": "bf16"}, "E0806", "the backend `small` does not compute in bf16"),
        ({"target": "llvm"}, "E0806", "the backend `small` compiles for no target"),
        ({"device": "cuda"}, "E0901", "there is no device `cuda`: small computes on cpu"),
        ({"precision": "f8"}, "E0901", "there is no precision `f8`"),
    ],
)
def test_what_it_does_not_declare_is_refused(
    model: dlc.Model, options: dict[str, str], code: str, says: str
) -> None:
    with pytest.raises(SpecError, match=says) as error:
        model.compile("small", **options)  # type: ignore[arg-type]
    assert refused(error).code == code


def test_a_target_that_is_not_declared(model: dlc.Model) -> None:
    with pytest.raises(SpecError, match="there is no target `vulkan`: tvm compiles for llvm, cuda"):
        model.emit("tvm", target="vulkan")


def test_gaps_are_refused_where_the_spec_needs_them(model: dlc.Model) -> None:
    with pytest.raises(
        SpecError, match="the backend `smaller` can't do `exp`: it has no table of it"
    ) as error:
        model.emit("smaller")
    assert refused(error).code == "E0802"
    narrow = dlc.loads("model M()(x: [B, 4]) -> [B, 4] {\n    return sqrt(x)\n}\n")["M"]
    with pytest.raises(SpecError, match="not in f32: too narrow"):
        narrow.emit("smaller")


def test_what_it_needs_is_said_with_the_command(model: dlc.Model) -> None:
    with pytest.raises(SpecError, match="a_package_that_nobody_has can't be imported") as error:
        model.compile("smaller")
    assert refused(error).code == "E0801"
    assert refused(error).help == "install it: pip install a_package_that_nobody_has"


@pytest.mark.parametrize(
    ("name", "says"), [("nothing", "is no `dlc.backend.Backend`"), ("gone", "ModuleNotFoundError")]
)
def test_a_broken_one_disturbs_only_those_who_ask_for_it(model: dlc.Model, name: str, says: str) -> None:
    with pytest.raises(SpecError, match=says) as error:
        model.emit(name)
    assert refused(error).code == "E0801"
    assert find(name).absence()


def test_the_doctor_knows_all_of_them() -> None:
    rows = report()["backends"]
    assert tuple(rows) == names()
    small = rows["small"]
    assert small["available"] and not small["trains"] and not small["gradients"]
    assert small["devices"] == ["cpu"] and small["precisions"] == ["f32"]
    assert rows["smaller"]["install"] == "pip install a_package_that_nobody_has"
    assert "ModuleNotFoundError" in rows["gone"]["reason"]


def test_the_commands(tmp_path: Path) -> None:
    """As installed: through an entry point in the metadata of a package."""
    spec = tmp_path / "net.dl"
    spec.write_text(SPEC, encoding="utf-8")
    path = (HERE, install(tmp_path / "site", "dlc_small", {GROUP: {"small": ENTRIES["small"]}}))
    assert "net.json" in command("compile", str(spec), "-b", "small", "-o", str(tmp_path / "out"), path=path)
    assert "all backends agree" in command("verify", str(spec), "--backends", "small", path=path)
    assert "float32[2, 3]" in command("run", str(spec), "-b", "small", "--random", "--dims", "B=2", path=path)
    rows = json.loads(command("doctor", "--format", "json", path=path))["backends"]
    assert rows["small"]["available"]
    assert "small: native" in command("ops", "exp", path=path)
