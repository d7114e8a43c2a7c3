"""What a trained network is asked: predictions of files and texts, and its held-out data as tables."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import dlc
from dlc.cli import build
from dlc.diagnostics import SpecError
from dlc.runtime.data.tokens import SPECIAL, trained
from dlc.runtime.evaluate import Confusion
from dlc.runtime.trained import OtherProgram, Trained

SPEC = """
model Rows(d: int = 8)(features: [B, 2]) -> logits: [B, 3] {
    return features |> linear(d) as up |> relu |> linear(3) as head
}

train rows(d: int = 8) {
    net = Rows(d=d)
    batch (features: [B, 2], kind: i64[B]) from csv("rows.csv", features=["x", "y"], split=0.75, batch=16)
    evaluate from rest()
    scaled = features * 0.5 - 1.0
    logits = net(scaled)
    minimize cross_entropy(logits, kind)
    metric accuracy = mean(argmax(logits, axis=-1) == kind)
    optimizer = adam(lr=2e-2)
    settings { epochs = 40 }
}

train yes {
    net = Rows()
    batch (features: [B, 2], ok: [B]) from csv("rows.csv", features=["x", "y"], batch=16)
    minimize bce_with_logits(net(features)[:, 0], ok)
    optimizer = adam(lr=2e-2)
    settings { steps = 60 }
}

train size {
    net = Rows()
    batch (features: [B, 2], ok: [B]) from csv("rows.csv", features=["x", "y"], batch=16)
    minimize mse(net(features)[:, 0], ok)
    optimizer = adam(lr=2e-2)
    settings { steps = 5 }
}

model Pictures()(image: [B, 3, 6, 6]) -> [B, 2] {
    return image |> flatten |> linear(2)
}

train pictures {
    net = Pictures()
    batch (image: [B, 3, 6, 6], label: i64[B]) from images("pets", size=6, batch=4)
    minimize cross_entropy(net(image), label)
    optimizer = adam(lr=5e-2)
    settings { steps = 40 }
}

model Words(vocab: int = 32)(tokens: i64[B, T]) -> logits: [B, T, vocab] {
    return tokens |> embedding(vocab, 16) |> linear(vocab)
}

train chars {
    net = Words()
    batch (tokens: i64[B, 9]) from text("t.txt", length=9, batch=8, split=0.8)
    evaluate from rest()
    minimize cross_entropy(net(tokens[:, :-1]), tokens[:, 1:])
    optimizer = adam(lr=5e-2)
    settings { steps = 60 }
}

model Reviews(vocab: int = 60)(review: i64[B, 6]) -> [B, 2] {
    return review |> embedding(vocab, 8) |> mean(axis=1) |> linear(2)
}

train reviews {
    net = Reviews()
    batch (review: i64[B, 6], said: i64[B]) from csv("reviews.csv", tokenizer="wp.json", batch=4)
    minimize cross_entropy(net(review), said)
    optimizer = adam(lr=5e-2)
    settings { steps = 60 }
}

train reviews_kept_apart(words: str = "wp.json") {
    net = Reviews()
    batch (review: i64[B, 6], said: i64[B]) from csv("reviews.csv", tokenizer=words, split=0.5, batch=4)
    evaluate from rest()
    minimize cross_entropy(net(review), said)
    optimizer = adam(lr=5e-2)
    settings { steps = 2 }
}

train two {
    a = Rows()
    b = Rows()
    batch (features: [B, 2], kind: i64[B]) from csv("rows.csv", features=["x", "y"], batch=16)
    minimize cross_entropy(a(features) + b(features), kind)
    optimizer = adam(lr=2e-2)
    settings { steps = 1 }
}
"""
SPEC += """
train unnamed {
    batch (features: [B, 2], kind: i64[B]) from csv("rows.csv", features=["x", "y"], batch=16)
    minimize cross_entropy(Rows()(features), kind)
    optimizer = adam(lr=2e-2)
    settings { steps = 100 }
}

train nowhere {
    batch (features: [B, 2], kind: i64[B]) from csv("rows.csv", features=["x", "y"], batch=16)
    minimize cross_entropy(linear(3)(features) as out.fc, kind)
    optimizer = adam(lr=2e-2)
    settings { steps = 1 }
}

model Make()(z: [B, 4]) -> [B, 2] { return z |> linear(2) }
model Judge()(features: [B, 2]) -> [B] { return features |> linear(1) |> squeeze(axis=-1) }

train gan {
    G = Make()
    D = Judge()
    batch (features: [B, 2]) from csv("rows.csv", features=["x", "y"], batch=16)
    evaluate from csv("rows.csv", features=["x", "y"])
    fake = G(normal([B, 4]))
    step critic updates D with adam() {
        minimize mean(softplus(-D(features))) + mean(softplus(D(stop_gradient(fake))))
    }
    step generator updates G with adam() {
        minimize mean(softplus(-D(fake)))
    }
    settings { steps = 2 }
}
"""
CENTRES = {"cat": (0, 0), "dog": (4, 0), "eel": (0, 4)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A spec with its data, each of its blocks trained into a folder of the block's name."""
    from PIL import Image

    base = tmp_path_factory.mktemp("trained")
    (base / "s.dl").write_text(SPEC)
    rng = np.random.default_rng(0)
    lines = ["x,y,kind,ok"]
    for i in range(160):
        kind = list(CENTRES)[i % 3]
        x, y = CENTRES[kind] + rng.normal(0, 0.4, 2)
        lines.append(f"{x:.3f},{y:.3f},{kind},{int(kind == 'dog')}")
    (base / "rows.csv").write_text("\n".join(lines) + "\n")
    for name, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
        (base / "pets" / name).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (6 + i, 6 + i), colour).save(base / f"pets/{name}/{i}.png")
    (base / "t.txt").write_text("abcd" * 200)
    texts = ["good good film", "bad film", "a good one", "bad bad one"] * 4
    (base / "reviews.csv").write_text(
        "review,said\n" + "".join(f"{each},{'+' if 'good' in each else '-'}\n" for each in texts)
    )
    (base / "w.txt").write_text("\n".join(texts))
    (base / "wp.json").write_text(trained([base / "w.txt"], "wordpiece", 60, SPECIAL["wordpiece"]))
    spec = dlc.load(base / "s.dl")
    for name in spec.trains:
        dlc.train(spec[name], backend="torch", out=base / name)
    yield base


def block(folder: Path, name: str) -> Any:
    return dlc.load(folder / "s.dl")[name]


def top(folder: Path, name: str, *inputs: str | Path, **options: Any) -> list[str]:
    found = dlc.predict(block(folder, name), weights=folder / name, inputs=inputs, **options)
    return [each.guesses[0].name for each in found]


def refused(folder: Path, name: str, *inputs: str | Path, **options: Any) -> Any:
    with pytest.raises(SpecError) as caught:
        dlc.predict(block(folder, name), **{"weights": folder / name, "inputs": inputs, **options})
    return caught.value.diagnostics[0]


# --- predictions -------------------------------------------------------------------------------------------------


def test_rows(folder: Path, tmp_path: Path) -> None:
    """In any order of columns, with columns that nobody knows; what the block does before the network is done too."""
    (tmp_path / "r.csv").write_text("name,y,x\na,0.1,3.9\nb,4.2,-0.1\nc,0,0\n")
    assert top(folder, "rows", tmp_path / "r.csv") == ["dog", "eel", "cat"]
    (tmp_path / "r.json").write_text('[{"x": 4, "y": 0}]')
    assert top(folder, "rows", str(tmp_path / "r.json"), backend="onnx") == ["dog"]
    np.save(tmp_path / "r.npy", np.array([0, 4], np.float32))
    np.savez(tmp_path / "r.npz", features=np.array([[0, 0], [4, 0]], np.float32))
    assert top(folder, "rows", tmp_path / "r.npy", tmp_path / "r.npz") == ["eel", "cat", "dog"]
    (found,) = dlc.predict(block(folder, "rows"), weights=folder / "rows", inputs=[tmp_path / "r.npy"], top=2)
    assert len(found.guesses) == 2 and found.guesses[0].index == 2
    assert 0.5 < found.guesses[0].probability <= 1 and found.to_json()["top"][0]["class"] == "eel"


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_rows_that_are_left_out(suffix: str, folder: Path, tmp_path: Path) -> None:
    """Also of a table of another kind than the one that was trained on; the others are called by their numbers in the file."""
    spec = SPEC.replace("split=0.75", 'missing="drop", split=0.75', 1)
    dropping = dlc.loads(spec, name=str(folder / "dropping.dl"))["rows"]
    points = [(0, 0), (None, 0), (4, 0), *[(0, 4)] * 300, (0, None)]
    asked = tmp_path / f"q.{suffix}"
    if suffix == "csv":
        lines = [",".join("" if each is None else str(each) for each in point) for point in points]
        asked.write_text("\n".join(["x,y", *lines]) + "\n")
    else:
        asked.write_text("".join(f"{json.dumps(dict(zip('xy', point, strict=True)))}\n" for point in points))
    found = dlc.predict(dropping, weights=folder / "rows", inputs=[asked])
    assert [each.input for each in found] == [f"{asked}, row {i + 1}" for i in range(304)]
    named = [each.guesses[0].name if each.guesses else each.left_out for each in found]
    lacks = "a value is missing"
    assert named == ["cat", lacks, "dog", *["eel"] * 300, lacks]
    assert found[1].to_json() == {"input": f"{asked}, row 2", "left_out": lacks}
    assert 'missing="drop"' in refused(folder, "rows", asked).help


def test_the_same_as_in_training(folder: Path, tmp_path: Path) -> None:
    """On the rows of the training file the classes are those of the evaluation."""
    rows = (folder / "rows.csv").read_text().splitlines()
    said = top(folder, "rows", folder / "rows.csv")
    assert len(said) == 160
    assert np.mean([a == b.split(",")[2] for a, b in zip(said, rows[1:], strict=True)]) > 0.95


def test_pictures(folder: Path, tmp_path: Path) -> None:
    from PIL import Image

    for name, colour in (("a", (250, 5, 5)), ("b", (9, 9, 240))):
        Image.new("RGB", (31, 17), colour).save(tmp_path / f"{name}.jpg")
    assert top(folder, "pictures", tmp_path / "a.jpg", tmp_path / "b.jpg") == ["red", "blue"]


def test_the_next_token(folder: Path) -> None:
    """Of a short text, of one that is longer than the network sees, and of a file."""
    (folder / "prompt.txt").write_text("abc")
    for text, wanted in (("ab", "'c'"), ("a", "'b'"), ("abcd" * 9, "'a'"), (folder / "prompt.txt", "'d'")):
        assert top(folder, "chars", text) == [wanted]
    assert "'x' is none of the characters" in refused(folder, "chars", "xyz").message
    assert "an empty text" in refused(folder, "chars", "").message


def test_texts_of_classes(folder: Path, tmp_path: Path) -> None:
    assert top(folder, "reviews", "a good good film", "Bad one") == ["+", "-"]
    (tmp_path / "r.csv").write_text("review\nbad film\n")
    assert top(folder, "reviews", tmp_path / "r.csv") == ["-"]


def test_yes_and_no_and_numbers(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("x,y\n4,0\n0,4\n")
    assert top(folder, "yes", tmp_path / "r.csv") == ["yes", "no"]
    first, _ = dlc.predict(block(folder, "size"), weights=folder / "size", inputs=[tmp_path / "r.csv"])
    assert not first.guesses and len(first.values) == 3 and first.to_json()["shape"] == [3]


def test_of_several_steps(folder: Path, tmp_path: Path) -> None:
    """What is asked is the network that is given something of the batch: here the critic, of what is no fake."""
    np.save(tmp_path / "r.npy", np.ones((3, 2), np.float32))
    said = dlc.predict(block(folder, "gan"), weights=folder / "gan", inputs=[tmp_path / "r.npy"])
    weights = Trained.of(block(folder, "gan"), folder / "gan").weights
    (bias, weight) = (value for path, value in sorted(weights.items()) if path.startswith("D."))
    assert [each.values for each in said] == [pytest.approx((weight.sum() + bias.sum(),), rel=1e-5)] * 3
    found = dlc.evaluate(block(folder, "gan"), weights=folder / "gan")
    assert found.metrics.keys() == {"critic", "generator"} and found.confusion is None


def test_networks_without_a_name(folder: Path, tmp_path: Path) -> None:
    """One that the block calls and does not bind goes by its path; what is called by none is no network."""
    (tmp_path / "r.csv").write_text("x,y\n4,0\n0,4\n")
    assert (folder / "unnamed/rows.safetensors").is_file() and (folder / "unnamed/rows.py").is_file()
    assert top(folder, "unnamed", tmp_path / "r.csv") == ["dog", "eel"]
    assert Trained.of(block(folder, "unnamed"), folder / "unnamed/rows.safetensors").weights
    told = refused(folder, "nowhere", tmp_path / "r.csv")
    assert told.code == "E0901" and told.message == "the train block `nowhere` binds no network"


def test_weights(folder: Path, tmp_path: Path) -> None:
    """Of a run's folder, of a file beside its manifest, of a file alone; of several networks only a folder."""
    (tmp_path / "r.csv").write_text("x,y\n4,0\n")
    found = dlc.predict(
        block(folder, "rows"), weights=folder / "rows/net.safetensors", inputs=[tmp_path / "r.csv"]
    )
    assert found[0].guesses[0].name == "dog"
    alone = tmp_path / "net.safetensors"
    alone.write_bytes((folder / "rows/net.safetensors").read_bytes())
    found = dlc.predict(block(folder, "rows"), weights=alone, inputs=[tmp_path / "r.csv"])
    assert found[0].guesses[0].name == "1"
    assert len(top(folder, "two", tmp_path / "r.csv")) == 1
    told = refused(folder, "two", tmp_path / "r.csv", weights=folder / "two/a.safetensors")
    assert "several networks (a, b)" in told.message
    assert refused(folder, "rows", "x", weights=folder / "pets").message.endswith("it is no folder of a run")
    with pytest.warns(OtherProgram):
        told = refused(folder, "pictures", "x", weights=folder / "rows")
    assert told.code in (
        "E0602",
        "E0603",
        "E0604",
        "E0710",
    )


@pytest.mark.parametrize("ask", [Trained.of, dlc.evaluate])
def test_the_run_of_another_spec(ask: Any, folder: Path, tmp_path: Path) -> None:
    """What fits is taken, with a word; where nothing is known of the run, without."""
    spec = dlc.loads(SPEC.replace("|> relu", "|> gelu", 1), name=str(folder / "other.dl"), root=folder)
    with pytest.warns(OtherProgram, match=f"`rows` computes is not what the run in {folder / 'rows'} was"):
        ask(spec["rows"], weights=folder / "rows")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ask(block(folder, "rows"), weights=folder / "rows")
        alone = tmp_path / "net.safetensors"
        alone.write_bytes((folder / "rows/net.safetensors").read_bytes())
        ask(spec["rows"], weights=alone)


def test_a_run_knows_its_columns_and_tokens(folder: Path, tmp_path: Path) -> None:
    """Where the spec names columns in another order now, numbers still go where they went; other tokens are refused."""
    (tmp_path / "r.csv").write_text("y,x\n0.1,3.9\n4.2,-0.1\n")
    text = SPEC.replace('features=["x", "y"], split', 'features=["y", "x"], split')
    turned = dlc.loads(text, name=str(folder / "turned.dl"), root=folder)["rows"]
    found = dlc.predict(turned, weights=folder / "rows", inputs=[tmp_path / "r.csv"])
    assert [each.guesses[0].name for each in found] == ["dog", "eel"]
    assert dlc.evaluate(turned, weights=folder / "rows").metrics["accuracy"] > 0.9

    (folder / "bpe.json").write_text(trained([folder / "w.txt"], "bpe", 270, SPECIAL["bpe"]))
    run, kept = folder / "reviews_kept_apart", block(folder, "reviews_kept_apart")
    for words in ("bpe.json", "byte"):
        with pytest.raises(SpecError) as caught:
            dlc.evaluate(kept(words=words), weights=run)
        (told,) = caught.value.diagnostics
        assert f"that was trained with, `wp.json`, and not `{words}`" in told.message
        assert told.help == 'write `tokenizer="wp.json"`'
    dlc.evaluate(kept, weights=run)
    before = (folder / "wp.json").read_text()
    (folder / "wp.json").write_text((folder / "bpe.json").read_text())
    with pytest.raises(SpecError, match=r"wp.json is another tokenizer than the one that was trained with"):
        dlc.evaluate(kept, weights=run)
    (folder / "wp.json").write_text(before)


def test_wrong_inputs(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("x\n4\n")
    (tmp_path / "bad.csv").write_text("x,y\n4,zero\n")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    np.savez(tmp_path / "r.npz", wrong=np.zeros(3))
    for name, given, said in [
        ("rows", "r.csv", "has no column `y`"),
        ("rows", "bad.csv", 'row 1 (line 2), column `y`: "zero" is no number'),
        ("rows", "missing.csv", "there is no such file"),
        ("rows", "bad.png", "a picture does not fill what the network takes: `features: [B, 2]`"),
        ("rows", "r.npz", "has no array `features`"),
        ("rows", "missing.gif", "does not fill"),
        ("reviews", "missing.gif", "does not fill"),
        ("rows", "notes", "there is no such file"),
        ("pictures", "bad.png", "can't read"),
        ("pictures", "missing.png", "there is no such file"),
    ]:
        assert said in refused(folder, name, tmp_path / given).message


# --- evaluation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_evaluation(folder: Path, backend: str) -> None:
    """The numbers of the run's own last evaluation, and of what is taken for what."""
    found = dlc.evaluate(block(folder, "rows"), weights=folder / "rows", backend=backend)
    manifest = json.loads((folder / "rows/manifest.json").read_text())
    assert found.rows == 40 and found.loss == pytest.approx(manifest["evaluate"]["loss"], rel=1e-4)
    assert found.metrics["accuracy"] == pytest.approx(manifest["evaluate"]["metrics"]["accuracy"])
    assert found.confusion is not None and found.confusion.names == ("cat", "dog", "eel")
    assert found.confusion.counts.sum() == 40
    assert found.confusion.accuracy == pytest.approx(found.metrics["accuracy"])
    assert found.to_json()["confusion"]["matrix"] == found.confusion.counts.tolist()


def test_a_text_has_no_table_of_classes(folder: Path) -> None:
    assert dlc.evaluate(block(folder, "chars"), weights=folder / "chars").confusion is None


def test_held_out_data_that_is_given(folder: Path) -> None:
    """Of a block that holds none out; what the command says where it has neither stands below."""
    given = {"features": np.array([[4.0, 0.0], [0.0, 4.0]]), "ok": np.array([1.0, 0.0])}
    found = dlc.evaluate(block(folder, "yes"), weights=folder / "yes", held_out=given)
    assert found.rows == 2 and found.loss < 0.3 and found.confusion is None


def test_nothing_is_held_out(folder: Path) -> None:
    with pytest.raises(SpecError, match="holds no data out"):
        dlc.evaluate(block(folder, "yes"), weights=folder / "yes")


def test_confusion_is_scikit_learns() -> None:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    rng = np.random.default_rng(0)
    true, said = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    found = Confusion(confusion_matrix(true, said), tuple("abcd"))
    for key, values in zip(
        ("precision", "recall", "f1", "rows"), precision_recall_fscore_support(true, said), strict=True
    ):
        np.testing.assert_allclose([row[key] for row in found.rows()], values)
    assert found.accuracy == np.mean(true == said)
    many = Confusion(
        np.eye(30, dtype=np.int64) + np.eye(30, k=1, dtype=np.int64) * 2, tuple(map(str, range(30)))
    )
    assert "0 for 1: 2" in many.text()
    empty = Confusion(np.zeros((2, 2), np.int64), ("a", "b"))
    assert empty.to_json()["classes"][0]["precision"] == "nan"


# --- commands ----------------------------------------------------------------------------------------------------


def command(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(build(str(words[0])), [str(each) for each in words])
    return done.exit_code, done.output


def test_commands(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("x,y\n4,0\n")
    spec, run = folder / "s.dl", folder / "rows"
    code, text = command("predict", spec, "--weights", run, "--input", tmp_path / "r.csv", "--top", "1")
    assert code == 0 and text.splitlines()[1].split()[0] == "dog" and len(text.splitlines()) == 2
    code, text = command("predict", spec, "--weights", run, "--input", tmp_path / "r.csv", "--format", "json")
    assert code == 0 and json.loads(text)[0]["top"][0]["class"] == "dog"
    plot = tmp_path / "c.png"
    code, text = command("evaluate", spec, "--weights", run, "--plot", plot)
    assert code == 0 and "is \\ said" in text and plot.read_bytes()[:4] == b"\x89PNG"
    code, text = command("evaluate", spec, "--weights", folder / "chars", "--plot", plot)
    assert code == 2 and "this block has no classes" in text
    code, text = command("evaluate", spec, "--weights", run, "--plot", tmp_path / "c.txt")
    assert code == 1 and "its name ends in .png or .jpg" in text


def test_settings_of_the_run_are_kept(folder: Path, tmp_path: Path) -> None:
    """What `--set` said in training need not be said again."""
    run = tmp_path / "run"
    sets = ("--set", "d=5", "--set", "settings.epochs=1")
    code, text = command("train", f"{folder / 's.dl'}:rows", "--backend", "torch", "--out", run, "-q", *sets)
    assert code == 0, text
    code, text = command("evaluate", folder / "s.dl", "--weights", run)
    assert code == 0 and "accuracy" in text, text
    assert Trained.of(block(folder, "rows")(d=5), run).weights["net.up.weight"].shape == (5, 2)


def test_without_matplotlib(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    code, text = command(
        "evaluate", folder / "s.dl", "--weights", folder / "rows", "--plot", tmp_path / "c.png"
    )
    assert code == 1 and "pip install 'dlc[plots]'" in text


def test_numbers_that_json_has_not(folder: Path, tmp_path: Path) -> None:
    """What a network says of nan is a text, in every command that says it."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    np.save(tmp_path / "r.npy", np.array([[np.nan, 1], [np.inf, 0]], np.float32))
    spec = str(folder / "s.dl")
    for words in (
        ["predict", f"{spec}:rows", "--weights", str(folder / "rows"), "--input", str(tmp_path / "r.npy")],
        ["predict", f"{spec}:size", "--weights", str(folder / "size"), "--input", str(tmp_path / "r.npy")],
        ["run", f"{spec}:Rows", "--backend", "onnx", "--input", f"features={tmp_path / 'r.npy'}"],
    ):
        code, text = command(*words, "--format", "json")
        assert code == 0 and '"nan"' in text
        json.loads(text, parse_constant=refuse)
