"""`sample`: pictures and texts that a run writes whenever it evaluates, the same on every backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file
from training_specs import BACKENDS, journal, power_failure

import dlc
from dlc.diagnostics import SpecError
from dlc.runtime import samples
from dlc.runtime.data.tokens import Characters
from dlc.runtime.scripts import write_script
from dlc.runtime.training_data import open_data
from dlc.spec import TrainBlock

SPEC = """
model Painter()(z: [B, 3]) -> [B, 3, 4, 5] {
    return z |> linear(60) as up |> batch_norm as norm |> dropout(0.5) |> sigmoid |> reshape([B, 3, 4, 5])
}

model Writer()(tokens: i64[B, T]) -> [B, T, 4] {
    return tokens |> embedding(4, 8) as table |> linear(4) as head
}

train pictures {
    G = Painter()
    slow = ema(G, decay=0.5)
    batch (x: [B, 3], y: [B, 3, 4, 5]) from npz("points.npz", batch=8)
    minimize mse(G(x), y)
    sample painted = slow(x)
    sample dreamt = G(normal([5, 3]))[:, 0]
    sample bytes = cast(clamp(y * 255.0, min=0.0, max=255.0), u8)
    optimizer = sgd(lr=0.5)
    settings { steps = 4, eval_every = 2, checkpoint_every = 2, log = 1, precision = f32 }
}

train words {
    net = Writer()
    batch (tokens: i64[B, 5]) from text("text.txt", length=5, batch=4)
    evaluate from text("text.txt", length=5, batch=3)
    minimize cross_entropy(net(tokens[:, :-1]), tokens[:, 1:])
    seen = tokens[:, 0]
    scan i in range(7) with token = seen {
        yield said = token
        token = argmax(net(token[:, none]), axis=-1)[:, 0]
    }
    sample text = said.T
    sample first = tokens[0]
    optimizer = adam(lr=0.1)
    settings { steps = 30, log = 30 }
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 3)), rng.uniform(-0.2, 1.2, size=(24, 3, 4, 5))
    np.savez(tmp_path / "points.npz", x=x.astype(np.float32), y=y.astype(np.float32))
    (tmp_path / "text.txt").write_text("abcd" * 40, encoding="utf-8")
    (tmp_path / "spec.dl").write_text(SPEC, encoding="utf-8")
    return tmp_path


def block(folder: Path, name: str) -> TrainBlock:
    found: TrainBlock = dlc.load(folder / "spec.dl")[name]
    return found


def written(out: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in sorted((out / "samples").iterdir())}


def pixels(path: Path) -> NDArray[Any]:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("backend", [*BACKENDS, "tvm"])
def test_pictures_are_what_the_weights_paint(backend: str, folder: Path) -> None:
    """Outside of training, of the first batch; floats are cut off at 0 and 1."""
    out = folder / "run"
    dlc.train(block(folder, "pictures"), backend=backend, out=out)
    names = [f"{name}-{step:08}.png" for name in ("bytes", "dreamt", "painted") for step in (2, 4)]
    assert list(written(out)) == names
    weights = load_file(out / "slow.safetensors")
    painted = pixels(out / "samples/painted-00000004.png")
    assert painted.shape == (
        3 * 4 + 2 * 2,
        3 * 5 + 2 * 2,
        3,
    )  # eight pictures in three rows, two pixels apart
    assert (painted[12 + 4 - 4 :, 14:] == 0).all()  # there is no ninth
    rows = dict(open_data(block(folder, "pictures")).training.training(0))
    norm = {key.removeprefix("norm."): each for key, each in weights.items() if key.startswith("norm.")}
    h = rows["x"] @ weights["up.weight"].T + weights["up.bias"]
    h = (h - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-5) * norm["weight"] + norm["bias"]
    wanted = (1 / (1 + np.exp(-h))).reshape(8, 3, 4, 5) * 255
    for i, each in enumerate(wanted):
        y, x0 = i // 3 * 6, i % 3 * 7
        found = painted[y : y + 4, x0 : x0 + 5].transpose(2, 0, 1)
        np.testing.assert_allclose(found, each, atol=0.51)
    assert pixels(out / "samples/dreamt-00000004.png").ndim == 2
    shown = pixels(out / "samples/bytes-00000002.png")[:4, :5].transpose(2, 0, 1)
    np.testing.assert_allclose(shown, np.trunc(rows["y"][0].clip(0, 1) * 255), atol=1)


def test_draws_are_the_same_each_time_and_everywhere(folder: Path) -> None:
    """And a sample changes no number of a run."""
    still = block(folder, "pictures").with_settings(steps=2, eval_every=1)
    made = {}
    for backend in BACKENDS:
        dlc.train(still, backend=backend, out=folder / backend)
        made[backend] = pixels(folder / backend / "samples/dreamt-00000002.png").astype(int)
    first, *others = made.values()
    assert all(abs(first - each).max() <= 1 for each in others)
    (folder / "spec.dl").write_text(
        "\n".join(line for line in SPEC.splitlines() if not line.startswith("    sample ")), encoding="utf-8"
    )
    plain = block(folder, "pictures").with_settings(steps=2, eval_every=1)
    dlc.train(plain, backend="torch", out=folder / "plain")
    assert not (folder / "plain/samples").exists()
    assert [each["loss"] for each in journal(folder / "plain")] == [
        each["loss"] for each in journal(folder / "torch")
    ]


@pytest.mark.parametrize("backend", [*BACKENDS, "tvm"])
def test_texts_are_spelled_by_the_tokenizer_of_the_data(backend: str, folder: Path) -> None:
    dlc.train(block(folder, "words"), backend=backend, out=folder / "run")
    assert written(folder / "run").keys() == {"text-00000030.txt", "first-00000030.txt"}
    texts = written(folder / "run")["text-00000030.txt"].decode().split("\n---\n")
    assert len(texts) == 3 and all(each.strip() in "abcd" * 3 for each in texts)
    assert written(folder / "run")["first-00000030.txt"] == b"abcda\n"


def test_a_run_that_goes_on_writes_what_one_that_was_not_stopped_does(folder: Path) -> None:
    tried = block(folder, "pictures")
    dlc.train(tried, backend="torch", out=folder / "whole")
    with power_failure(3), pytest.raises(RuntimeError, match="power"):
        dlc.train(tried, backend="torch", out=folder / "parts")
    dlc.train(tried, backend="torch", out=folder / "parts", resume=True)
    assert written(folder / "parts") == written(folder / "whole")


def test_what_no_run_wrote_is_not_replaced(folder: Path) -> None:
    (folder / "run/samples").mkdir(parents=True)
    with pytest.raises(SpecError, match="holds `samples`, which no run wrote"):
        dlc.train(block(folder, "pictures"), backend="torch", out=folder / "run")


def test_a_full_disk_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(samples, "write", full)
    with pytest.raises(SpecError, match=r"can't write step 2 into .*No space left"):
        dlc.train(block(folder, "pictures"), backend="torch", out=folder / "run")


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_scripts_say_that_they_write_none(backend: str, folder: Path) -> None:
    write_script(block(folder, "words"), backend, folder / "script")
    text = (folder / "script/words.py").read_text(encoding="utf-8")
    assert "It writes no samples (text, first): `dlc train` does." in text


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("mean(y)", r"\[\]"),
        ("x", r"\[B, 3\]"),
        ("y > 0.0", "bool"),
        ("concat([y, y], axis=1)", "6"),
        ("3", "int"),
    ],
)
def test_what_is_no_sample(value: str, found: str, folder: Path) -> None:
    text = SPEC.replace("sample painted = slow(x)", f"sample painted = {value}")
    with pytest.raises(SpecError, match=f"the sample `painted` is no pictures and no tokens, but .*{found}"):
        _ = dlc.loads(text)["pictures"].plan


def test_what_is_wrong_in_a_sample_is_told_once() -> None:
    text = SPEC.replace("slow(x)", "slow(q)").replace("sample dreamt", "sample bytes")
    with pytest.raises(SpecError) as caught:
        _ = dlc.loads(text)["pictures"].plan
    assert [each.code for each in caught.value.diagnostics] == ["E0101", "E0708"]


def test_networks_that_samples_alone_call() -> None:
    text = SPEC.replace("    slow = ema(G, decay=0.5)\n", "    other = Painter()\n").replace(
        "slow(x)", "other(x)"
    )
    with pytest.raises(SpecError, match=r"a sample is made with `other\.up\.weight`, which nothing"):
        _ = dlc.loads(text)["pictures"].plan


def test_tokens_beyond_the_data_are_left_out() -> None:
    assert samples.text(np.array([[0, 7, 1], [-1, 1, 1]]), Characters("ab")) == "ab\n---\nbb\n"
    assert samples.text(np.array([3, 1]), None) == "3 1\n"


@pytest.mark.parametrize("count", [1, 2, 5, 70])
def test_pictures_stand_side_by_side(count: int) -> None:
    made = samples.grid(np.full((count, 3, 4, 1), 9, np.uint8))
    assert (made == 9).sum() == min(count, samples.MOST_PICTURES) * 12
