"""Training: what a run computes, what it leaves behind, and what it says of what is wrong."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_specs import BACKENDS, NET, block, journal, loaded, losses

import dlc
from dlc.backend import Backend
from dlc.diagnostics import SpecError
from dlc.runtime.data.digits import open_rows
from dlc.runtime.training import Record, Watch, total_steps
from dlc.runtime.weights import read_file, write_file
from dlc.source import Request

LENET = Path(__file__).parents[2] / "specs" / "vision" / "lenet5.dl"
GPT2 = Path(__file__).parents[2] / "specs" / "language" / "gpt2.dl"


def run(text: str, out: Path, backend: str = "torch", **settings: Any) -> Any:
    return dlc.train(loaded(text).with_settings(**settings), backend=backend, out=out)


def failure(text: str, out: Path, backend: str = "torch") -> Any:
    with pytest.raises(SpecError) as caught:
        run(text, out, backend)
    return caught.value.diagnostics[0]


# --- a whole run -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_lenet_learns_digits(backend: str, tmp_path: Path) -> None:
    lenet = dlc.load(LENET)["digits"].with_settings(epochs=4)
    result = dlc.train(lenet, backend=backend, out=tmp_path)
    assert result.metrics["accuracy"] > 0.9
    assert result.evaluation is not None and result.evaluation.loss < 0.4


@pytest.mark.slow
def test_lenet_as_it_ships(tmp_path: Path) -> None:
    result = dlc.train(dlc.load(LENET)["digits"], backend="torch", out=tmp_path)
    assert result.metrics["accuracy"] >= 0.97


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    run(block(settings="steps = 4, eval_every = 2"), out)
    return out


def test_what_a_run_leaves_behind(finished: Path) -> None:
    names = {each.relative_to(finished).as_posix() for each in finished.rglob("*") if each.is_file()}
    place = "checkpoints/00000004"
    inside = {
        f"{place}/{name}" for name in ("net.safetensors", "manifest.json", "optimizers.state.safetensors")
    }
    assert names == {"net.py", "net.safetensors", "manifest.json", "metrics.jsonl", *inside}
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["finished"] and manifest["step"] == manifest["steps"] == 4
    assert manifest["next"] == {"epoch": 0, "batch": 4}
    assert manifest["networks"]["net"]["model"] == "Net"
    assert manifest["networks"]["net"]["code"] == ["net.py"]
    assert manifest["settings"]["seed"] == manifest["seed"] == 0


def test_metrics(finished: Path) -> None:
    steps = journal(finished)
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert steps[0].keys() == {"kind", "step", "epoch", "loss", "lr", "metrics"}
    assert steps[0]["lr"] == pytest.approx(1e-2 / 3)
    assert steps[0]["metrics"].keys() == {"accuracy"}
    assert [line["step"] for line in journal(finished, "evaluate")] == [2, 4]


def test_the_folder_is_usable_alone(finished: Path) -> None:
    """Only the emitted file and the weights: the accuracy is the one that the run has measured."""
    import torch
    from safetensors.torch import load_file

    spec = importlib.util.spec_from_file_location("net", finished / "net.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net = module.Net(width=16, p=0.2)
    net.load_state_dict(load_file(finished / "net.safetensors"))
    rows = open_rows(Request({"split": "test"}, {})).take(np.arange(360), None)
    found = net.eval()(torch.from_numpy(rows["image"])).argmax(-1).numpy()
    measured = journal(finished, "evaluate")[-1]["metrics"]["accuracy"]
    assert float((found == rows["label"]).mean()) == pytest.approx(measured)


def test_the_weights_fit_the_model(finished: Path) -> None:
    """On other backends too."""
    model = dlc.loads(block())["Net"]
    rows = open_rows(Request({"split": "test"}, {})).take(np.arange(8), None)
    results = [
        model.compile(each, weights=finished / "net.safetensors")(x=rows["image"]) for each in BACKENDS
    ]
    first, *others = (next(iter(each.values())) for each in results)
    for each in others:
        np.testing.assert_allclose(first, each, rtol=1e-4, atol=1e-5)


def test_a_watch_is_told(tmp_path: Path) -> None:
    seen: list[str] = []

    class Told(Watch):
        def start(self, name: str, step: int, steps: int) -> None:
            seen.append(f"{name} {step} {steps}")

        def step(self, record: Record, *, logged: bool) -> None:
            seen.append(f"{record.step} {logged}")

        def evaluation(self, record: Record) -> None:
            seen.append(f"evaluation {record.step}")

        def stop(self) -> None:
            seen.append("stop")

    tried = loaded(block()).with_settings(steps=3, log=2)
    dlc.train(tried, backend="torch", out=tmp_path, watch=Told())
    assert seen == ["t 0 3", "1 True", "2 True", "3 True", "evaluation 3", "stop"]


# --- the same on every backend -----------------------------------------------------------------------------------


def test_accumulation_is_a_larger_batch(tmp_path: Path) -> None:
    """Without norms over the batch, two batches of 16 are one of 32."""
    text = block("optimizer = sgd(lr=0.1)", net="Net(p=0.0)").replace(" |> batch_norm as bn", "")
    whole = text.replace("log = 1, steps = 8", "log = 1, steps = 3")
    parts = whole.replace("batch=32", "batch=16").replace("steps = 3", "steps = 3, accumulate = 2")
    run(whole, tmp_path / "whole")
    run(parts, tmp_path / "parts")
    np.testing.assert_allclose(losses(tmp_path / "whole"), losses(tmp_path / "parts"), rtol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_bf16(backend: str, tmp_path: Path) -> None:
    """Computed in bf16, kept in f32."""
    run(block(settings="steps = 3"), tmp_path / "f32", backend)
    run(block(settings="steps = 3, precision = bf16"), tmp_path / "bf16", backend)
    full, half = losses(tmp_path / "f32"), losses(tmp_path / "bf16")
    assert full != half
    np.testing.assert_allclose(full[0], half[0], rtol=0.03)
    for path, array in read_file(tmp_path / "bf16" / "net.safetensors").items():
        assert array.dtype == (np.int64 if path.endswith("tracked") else np.float32), path
        if path.endswith("weight"):
            assert (array.view(np.uint32) & 0xFFFF).any(), path


def test_global_state_is_left_alone(tmp_path: Path) -> None:
    import torch

    def state() -> tuple[Any, ...]:
        return torch.get_rng_state().tolist(), torch.get_num_threads(), np.random.get_state()[1].tolist()

    torch.manual_seed(7)
    before = state()
    run(block(settings="steps = 2"), tmp_path)
    assert state() == before


def test_seeds(tmp_path: Path) -> None:
    """Another seed: other weights, other order, other draws; the same seed: the same."""
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(block(), tmp_path / name, steps=2, seed=seed)
    assert losses(tmp_path / "a") == losses(tmp_path / "b") != losses(tmp_path / "c")


# --- load, freeze, groups ----------------------------------------------------------------------------------------


def test_freeze(tmp_path: Path) -> None:
    text = block(more='freeze "net.conv.*", "net.h.0.**"', settings="steps = 2")
    run(text, tmp_path)
    before = loaded(text).plan.program
    from dlc.runtime.weights import initial_weights

    initial = initial_weights(before, 0)
    for path, array in read_file(tmp_path / "net.safetensors").items():
        kept = path.startswith(("conv.", "h.0."))
        assert (array == initial[f"net.{path}"]).all() == kept, path


GROUPS = """
type Pair[*S] = (image: [*S, 28, 28], label: i64[*S])

model Net()(rows: Pair[B]) -> [B, 10] {
    return rows.image |> flatten |> linear(10) as out
}

train t {
    net = Net()
    batch (rows: Pair[B], weight: [B]) from npz("rows.npz", batch=4)
    evaluate from npz("rows.npz", start=4, batch=3)
    minimize mean(weight * cross_entropy(net(rows), rows.label, reduction="none"))
    optimizer = sgd(lr=0.1)
    settings { steps = 3 }
}
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_groups_are_fields(backend: str, tmp_path: Path) -> None:
    """A group is a field of a batch; the source has its members as `field.member`."""
    rng = np.random.default_rng(0)
    image, label = rng.normal(size=(9, 28, 28)).astype(np.float32), rng.integers(0, 10, 9)
    write_file(
        tmp_path / "rows.npz",
        {"rows.image": image, "rows.label": label, "weight": np.ones(9, np.float32)},
    )
    block = loaded(GROUPS, tmp_path)
    assert list(block.plan.fields) == ["rows.image", "rows.label", "weight"]
    result = dlc.train(block, backend=backend, out=tmp_path / "run")
    assert result.loss < 3.5
    broken = loaded(GROUPS.replace("28, 28], label", "28, 29], label"), tmp_path)
    with pytest.raises(SpecError) as caught:
        dlc.train(broken, backend=backend, out=tmp_path / "other")
    assert "rows.image" in caught.value.diagnostics[0].message


# Parameters labelled into other parts, and one that is read where it does not lie.
PARTS = """
model Net(d: int = 6)(x: [B, 1, 28, 28]) -> [B, 10] {
    param gain: [d] = ones as head.scale.gain
    table = linear(d, bias=false) as body.table
    y = table(x |> flatten |> linear(d) as body.first)
    return (y * gain) @ table.weight |> linear(10) as head.out
}
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_parameter_moves(backend: str, tmp_path: Path) -> None:
    text = block(settings="steps = 2").replace(NET, PARTS)
    run(text, tmp_path, backend)
    from dlc.runtime.weights import initial_weights

    initial = initial_weights(loaded(text).plan.program, 0)
    trained = read_file(tmp_path / "net.safetensors")
    assert {f"net.{path}" for path in trained} == set(initial) and len(trained) == 6
    for path, array in trained.items():
        assert (array != initial[f"net.{path}"]).any(), path


def test_load(tmp_path: Path) -> None:
    """Weights come through a `weights` block; what is excepted keeps its initial values."""
    start = block(settings="steps = 2")
    run(start, tmp_path / "first")
    trained = read_file(tmp_path / "first" / "net.safetensors")
    there = {f"model.{path}": each for path, each in trained.items() if not path.startswith("last.")}
    there["model.last.weight"] = np.zeros((3, 16), np.float32)
    write_file(tmp_path / "there.safetensors", there)
    mapping = 'weights other for Net {\n    strip "model."\n}\n'
    load = 'load net from "there.safetensors" with other except "last.**"\n    freeze "net.*.weight", "net.**.bias"'
    rest = 'optimizer "net.h.0.fc.weight" = sgd(lr=1e-3)'
    text = mapping + block("optimizer = adam()\n    " + rest, "steps = 1", more=load)
    dlc.train(loaded(text, tmp_path), backend="torch", out=tmp_path / "second")
    found = read_file(tmp_path / "second" / "net.safetensors")
    np.testing.assert_array_equal(found["first.weight"], trained["first.weight"])
    assert (found["last.weight"] != trained["last.weight"]).any()
    assert found["last.weight"].shape == (10, 16)


def test_load_says_what_is_wrong(tmp_path: Path) -> None:
    write_file(tmp_path / "w.safetensors", {"lost.weight": np.zeros((10, 16), np.float32)})
    for load, code in [
        ('load net from "w.safetensors"', "E0602"),
        ('load net from "none.safetensors"', "E0601"),
        ('load net from "w.safetensors" except "nothing.**"', "E0606"),
        ('load net from "w.safetensors" with nowhere', "E0605"),
    ]:
        with pytest.raises(SpecError) as caught:
            tried = loaded(block(more=load), tmp_path)
            dlc.train(tried, backend="torch", out=tmp_path / "out")
        assert caught.value.diagnostics[0].code == code, load
        assert f"\n{caught.value.diagnostics[0].span.line:2}  |     {load}\n" in str(caught.value), load


def test_rules_choose_optimizers(tmp_path: Path) -> None:
    """The last rule that matches counts: here it makes all but one layer stand still."""
    rules = ("= sgd(lr=1e-9)", "linear.bias = sgd(lr=1e-9)", '"net.last.*" = sgd(lr=1.0)')
    run(block("\n    ".join(f"optimizer {rule}" for rule in rules), "steps = 1"), tmp_path)
    from dlc.runtime.weights import initial_weights

    initial = initial_weights(loaded(block()).plan.program, 0)
    for path, array in read_file(tmp_path / "net.safetensors").items():
        if path.endswith(("weight", "bias")):
            moved = float(np.abs(array - initial[f"net.{path}"]).max()) > 1e-6
            assert moved == path.startswith("last."), path


# --- what goes wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_divergence_keeps_the_last_checkpoint(backend: str, tmp_path: Path) -> None:
    text = block(
        "optimizer = sgd(lr=step_decay(1e-3, every=2, factor=1e30))", "steps = 9, checkpoint_every = 1"
    )
    found = failure(text, tmp_path, backend)
    assert found.code == "E0717"
    assert "the checkpoint of step" in found.notes[0] and "lower `lr`" in found.help
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert 2 <= manifest["step"] < 9
    assert all(np.isfinite(each).all() for each in read_file(tmp_path / "net.safetensors").values())


def test_what_does_not_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlc_tvm import TvmBackend

    monkeypatch.setattr(TvmBackend, "workspace", Backend.workspace)
    assert failure(block(), tmp_path, "tvm").code == "E0806"
    assert failure(block(), tmp_path, "tensorflow").code == "E0801"
    with pytest.raises(SpecError, match="there is no device `nowhere`"):
        dlc.train(loaded(block()), backend="torch", out=tmp_path, device="nowhere")


NORMED = """
model Net()(x: [B, 3, H, W]) -> [B, 10] {
    return x |> batch_norm as norm |> global_avg_pool |> linear(10)
}

train t(batch: int) {
    net = Net()
    batch (x: [B, 3, H, W], label: i64[B]) from npz("rows.npz", batch=batch)
    minimize cross_entropy(net(x), label)
    optimizer = sgd(lr=0.1)
    settings { epochs = 1 }
}
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_value_a_channel(backend: str, tmp_path: Path) -> None:
    """A norm over a batch has nothing to take the mean of: that is told before the first step. Of 5 rows in batches of 2 the last one
    is dropped."""
    tried = loaded(NORMED, tmp_path)
    write_file(
        tmp_path / "rows.npz", {"x": np.ones((5, 3, 1, 1), np.float32), "label": np.zeros(5, np.int64)}
    )
    with pytest.raises(SpecError) as caught:
        dlc.train(tried(batch=1), backend=backend, out=tmp_path / "run")
    (found,) = caught.value.diagnostics
    assert (found.code, found.span.line) == ("E0720", 3)
    assert not (tmp_path / "run").exists()
    assert dlc.train(tried(batch=2), backend=backend, out=tmp_path / "run").steps == 2


def test_steps_and_epochs() -> None:
    def settings(steps: int | None, epochs: int | None, accumulate: int = 1) -> dict[str, Any]:
        return {"steps": steps, "epochs": epochs, "accumulate": accumulate}

    assert total_steps(settings(7, None), 10) == 7
    assert total_steps(settings(None, 2), 10) == 20
    assert total_steps(settings(15, 2), 10) == 15
    assert total_steps(settings(None, 2, 3), 10) == 6
    assert total_steps(settings(None, 1, 30), 10) == 1


# --- other specs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_gpt2_learns_a_text(backend: str, tmp_path: Path) -> None:
    """A text of one sentence over and over: two layers know it by heart soon."""
    (tmp_path / "input.txt").write_text("the quick brown fox jumps over the lazy dog. " * 100)
    vocabulary = len(set((tmp_path / "input.txt").read_text()))
    small = GPT2.read_text()
    for old, new in [
        ("layers=6, d=384, heads=6, vocab=65", f"layers=2, d=32, heads=2, vocab={vocabulary}"),
        ("context=256", "context=32"),
        ("i64[B, 257]", "i64[B, 33]"),
        ("length=257, batch=64", "length=33, batch=16"),
        ("cosine(1e-3, warmup=100)", "cosine(1e-2, warmup=5)"),
    ]:
        small = small.replace(old, new)
    (tmp_path / "gpt2.dl").write_text(small)
    tried = dlc.load(tmp_path / "gpt2.dl")["shakespeare"].with_settings(steps=60, precision="f32")
    result = dlc.train(tried, backend=backend, out=tmp_path / "run")
    first = journal(tmp_path / "run")[0]
    assert first["loss"] > 3
    assert result.loss is not None and result.loss < 1.5
    about = json.loads((tmp_path / "run" / "manifest.json").read_text())["data"]
    assert about["characters"] == "".join(sorted(set((tmp_path / "input.txt").read_text())))


def test_two_networks_and_a_library_layer(tmp_path: Path) -> None:
    text = (
        NET
        + """
train t {
    body = Net(p=0.0)
    head = linear(4) as top
    batch (image: [B, 1, 28, 28], label: i64[B]) from digits(batch=32)
    minimize cross_entropy(head(body(image)), label % 4)
    optimizer = adam()
    settings { steps = 2 }
}
"""
    )
    result = run(text, tmp_path)
    assert set(result.weights) == {"body", "head"}
    assert read_file(result.weights["head"]).keys() == {"weight", "bias"}
    assert (tmp_path / "body.py").is_file() and not (tmp_path / "head.py").exists()


# --- the command -------------------------------------------------------------------------------------------------


def command(*words: str) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, "-c", "from dlc.cli import main; main()", *words]
    return subprocess.run(script, capture_output=True, text=True, timeout=300)


def test_train_then_run(tmp_path: Path) -> None:
    out = tmp_path / "digits"
    done = command(
        "train", f"{LENET}:digits", "--backend", "torch", "--out", str(out), "--set", "settings.epochs=1"
    )
    assert done.returncode == 0, done.stderr
    assert "digits: 22 steps" in done.stdout and "evaluate  loss" in done.stdout
    assert "step 10/22  loss" in done.stderr
    weights = str(out / "net.safetensors")
    ran = command(
        "run", f"{LENET}:LeNet5", "--backend", "jax", "--weights", weights, "--random", "--dims", "B=2"
    )
    assert ran.returncode == 0, ran.stderr
    again = command("train", f"{LENET}:digits", "--backend", "torch", "--out", str(out), "--format", "json")
    assert again.returncode == 1
    assert json.loads(again.stdout)[0]["code"] == "E0901"


def test_json(tmp_path: Path) -> None:
    spec = tmp_path / "spec.dl"
    spec.write_text(block(settings="steps = 2"))
    done = command("train", str(spec), "--backend", "torch", "--out", str(tmp_path / "o"), "--format", "json")
    assert done.returncode == 0 and done.stderr == ""
    found = json.loads(done.stdout)
    assert found["steps"] == 2 and found["evaluate"]["metrics"].keys() == {"accuracy"}
    assert found["weights"] == {"net": str(tmp_path / "o" / "net.safetensors")}


def test_a_module_whose_sizes_follow_from_the_batch_trains(tmp_path: Path) -> None:
    """By itself it is no network, so that the run's folder holds no code of it."""
    spec = dlc.loads(
        "module Head(classes: int)(x: [B, d]) -> [B, classes] { return x |> linear(classes) }\n"
        "train t {\n    net = Head(10)\n"
        "    batch (x: [B, 64], label: i64[B]) from synthetic(batch=8, high=10)\n"
        "    minimize cross_entropy(net(x), label)\n    optimizer = adam()\n    settings { steps = 3 }\n}\n"
    )
    assert not spec.check()
    dlc.train(spec["t"], backend="torch", out=tmp_path / "run")
    assert (tmp_path / "run" / "net.safetensors").is_file()
    assert not list((tmp_path / "run").glob("*.py"))


def test_a_setting_that_is_given_as_a_parameter() -> None:
    with pytest.raises(SpecError, match=r"has no argument `steps`[\s\S]*--set settings\.steps="):
        loaded(block())(steps=3)
