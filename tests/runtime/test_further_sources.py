"""Pictures, functions of the user's own, and the shares of rows that every source gives."""

from __future__ import annotations

import json
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_specs import loaded

import dlc
from dlc.diagnostics import SpecError
from dlc.runtime import data
from dlc.runtime.data import images
from dlc.runtime.data.batches import Batches
from dlc.runtime.data.digest import digest
from dlc.runtime.data.parts import part
from dlc.runtime.training_data import open_data
from dlc.source import Request, Rows, SourceError
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType

B = Dim.symbol("B")
LABEL = TensorType("i64", (B,))


def picture(channels: int, dtype: str = "float") -> TensorType:
    return TensorType.of(dtype, [B, channels, Dim.symbol("h"), Dim.symbol("w")])


def opened(name: str, folder: Path, fields: Any, known: Any = None, **options: Any) -> Rows:
    from dlc.elaborate.checks.train_arguments import SOURCES

    allowed = options.pop("allow_python", False)
    chosen = {**SOURCES[name], **options}
    return data.open_rows(name, Request(chosen, fields, {}, folder, folder, known or {}, allowed))


def refused(*given: Any, **options: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        opened(*given, **options)
    return caught.value


def everything(rows: Rows) -> Any:
    return rows.take(np.arange(len(rows)), None)


# --- images ------------------------------------------------------------------------------------------------------


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Six pictures in two classes, red and blue, 8 by 6 pixels."""
    from PIL import Image

    for name, colour in (("dog", (255, 0, 0)), ("cat", (0, 0, 255))):
        folder = tmp_path / "pets" / name
        folder.mkdir(parents=True)
        for i in range(3):
            array = np.full((8, 6, 3), colour, np.uint8)
            array[0, 0] = i
            Image.fromarray(array).save(folder / f"{i}.png")
        (folder / "notes.txt").write_text("no picture")
    return tmp_path


def test_a_file_that_is_no_picture(pets: Path) -> None:
    (pets / "pets/cat/0.png").write_bytes(b"no picture")
    with pytest.raises(SourceError) as caught:
        opened("images", pets, {"image": picture(3), "label": LABEL}, path="pets")
    assert str(caught.value).endswith("cat/0.png: it is no picture") and caught.value.help


def test_images(pets: Path) -> None:
    rows = opened("images", pets, {"image": picture(3), "label": LABEL}, path="pets")
    found = everything(rows)
    assert found["image"].shape == (6, 3, 8, 6) and found["image"].dtype == np.float32
    assert found["label"].tolist() == [0, 0, 0, 1, 1, 1] and rows.about["classes"] == {
        "label": ["cat", "dog"]
    }
    assert found["image"][0, :, 1, 1].tolist() == [0, 0, 1] and found["image"][5, 1, 0, 0] == np.float32(
        2 / 255
    )
    grey = everything(opened("images", pets, {"image": picture(1, "u8")}, path="pets"))
    assert grey["image"].dtype == np.uint8 and set(grey) == {"image"} and grey["image"].shape == (6, 1, 8, 6)


def test_pictures_are_the_same_whether_held_or_not(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"image": picture(3), "label": LABEL}
    held = opened("images", pets, fields, path="pets")
    monkeypatch.setattr(images, "HELD", 10)
    lazy = opened("images", pets, fields, path="pets")
    assert held.held is not None and lazy.held is None  # type: ignore[attr-defined]
    np.testing.assert_array_equal(everything(held)["image"], everything(lazy)["image"])
    before = digest(lazy)
    (pets / "pets/cat/0.png").write_bytes((pets / "pets/cat/0.png").read_bytes() + b"more")
    assert before != digest(opened("images", pets, fields, path="pets"))


def test_pictures_are_decoded_beside_the_steps(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another thread, the same batches in whatever order they are asked for; also of a share."""
    fields = {"image": picture(3), "label": LABEL}
    held = part(opened("images", pets, fields, path="pets"), 0.9, 0)
    monkeypatch.setattr(images, "HELD", 10)
    late = part(opened("images", pets, fields, path="pets"), 0.9, 0)
    here, threads = threading.get_ident(), set()
    decoded = images.Pictures._pixels

    def noted(self: images.Pictures, number: int) -> Any:
        threads.add(threading.get_ident())
        return decoded(self, number)

    monkeypatch.setattr(images.Pictures, "_pixels", noted)
    ahead, plain = Batches(late, 2, 3, ("image", "label")), Batches(held, 2, 3, ("image", "label"))
    for number in (0, 1, 2, 3, 9, 10, 4, 5, 40):
        for name in ("image", "label"):
            np.testing.assert_array_equal(ahead.training(number)[name], plain.training(number)[name])
    assert threads - {here} and plain._worker is None


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
def test_sizes(fit: str, pets: Path) -> None:
    from PIL import Image

    Image.new("RGB", (40, 30), (0, 0, 255)).save(pets / "pets/cat/9.jpg")
    fields = {"image": picture(3), "label": LABEL}
    told = refused("images", pets, fields, path="pets")
    assert "9.jpg is 30 by 40 pixels, others are 8 by 6" in str(told) and "size=6" in told.help
    rows = everything(opened("images", pets, fields, path="pets", size=(5, 4), fit=fit))
    assert rows["image"].shape == (7, 3, 5, 4)
    assert (rows["image"][3, 2].min() == 0) == (fit == "pad")


def test_colours_by_number(pets: Path) -> None:
    """A palette's pictures are resized as colours, of which one may be transparent; two tones are grey, at whatever size."""
    from PIL import Image

    (pets / "drawn").mkdir()
    drawn = Image.new("RGBA", (8, 8), (200, 0, 0, 255))
    drawn.paste((0, 0, 90, 0), (0, 0, 4, 8))
    drawn.quantize(4).save(pets / "drawn/a.png")
    with Image.open(pets / "drawn/a.png") as read:
        assert read.mode == "P" and isinstance(read.info["transparency"], bytes)
    for size in (8, 4):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pixels = everything(opened("images", pets, {"image": picture(4, "u8")}, path="drawn", size=size))
        corners = pixels["image"][0][:, 0, [0, -1]]
        np.testing.assert_array_equal(corners[3], [0, 255])
        assert abs(int(corners[0, 1]) - 200) < 8
    Image.new("1", (8, 8), 1).save(pets / "drawn/a.png")
    open_channels = TensorType.of("u8", [B, Dim.symbol("c"), Dim.symbol("h"), Dim.symbol("w")])
    for size in (8, 4):
        rows = opened("images", pets, {"image": open_channels}, path="drawn", size=size)
        assert everything(rows)["image"].shape == (1, 1, size, size)


def test_classes_of_folders(pets: Path) -> None:
    fields = {"image": picture(3), "label": LABEL}
    only = opened("images", pets, fields, path="pets", classes=["dog"])
    assert len(only) == 3 and only.about["classes"] == {"label": ["dog"]}
    known = {"classes": {"label": ["ant", "cat", "dog"]}}
    assert set(everything(opened("images", pets, fields, known, path="pets"))["label"]) == {1, 2}
    told = refused("images", pets, fields, {"classes": {"label": ["dog"]}}, path="pets")
    assert "cat is none of the classes that are trained on" in str(told)
    assert "did you mean `dog`" in refused("images", pets, fields, path="pets", classes=["dogs"]).help


def test_wrong_pictures(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are told beforehand, where they are decoded beforehand."""
    fields = {"image": picture(3), "label": LABEL}
    good = (pets / "pets/cat/1.png").read_bytes()
    for name, content in (("dog/7", b"GIF89a?"), ("dog/8", good[:60]), ("dog/9", b"")):
        (pets / f"pets/{name}.png").write_bytes(content)
    told = refused("images", pets, fields, path="pets")
    assert "dog/7.png" in str(told) and "dog/8.png" in told.notes[0] and "dog/9.png" in told.notes[1]
    assert "there is no such folder" in str(refused("images", pets, fields, path="pest"))
    assert "2 channels as declared" in str(refused("images", pets, {"image": picture(2)}, path="pets"))
    flat = refused("images", pets, fields, path="pets/cat")
    assert "has no folders, of which `label` would be the names" in str(flat)
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert refused("images", pets, fields, path="pets").help == "install it: pip install 'dlc[data]'"


PETS = """
model Net()(image: [B, 3, 8, 6]) -> [B, 2] {
    return image |> flatten |> linear(2)
}
train t {
    net = Net()
    batch (image: [B, 3, 8, 6], label: i64[B]) from images("pets", batch=2)
    minimize cross_entropy(net(image), label)
    optimizer = adam(lr=1e-2)
    settings { steps = 30, log = 1 }
}
"""


def test_a_picture_that_breaks_in_a_run(pets: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is larger than memory is read in the run. What fails then ends it with a diagnostic, and the steps before are kept."""
    monkeypatch.setattr(images, "HELD", 10)
    block, out = loaded(PETS, pets), tmp_path / "run"
    taken = images.Pictures.take
    count = iter(range(100))

    def torn(self: images.Pictures, *given: Any) -> Any:
        if next(count) == 5:
            for each in self.files:
                each.write_bytes(b"gone")
        return taken(self, *given)

    monkeypatch.setattr(images.Pictures, "take", torn)
    with pytest.raises(SpecError) as caught:
        dlc.train(block, backend="torch", out=out)
    (found,) = caught.value.diagnostics
    assert found.code == "E0710" and found.span.line == 7 and "can't read" in found.message
    assert json.loads((out / "manifest.json").read_text())["step"] == 5


# --- functions of one's own --------------------------------------------------------------------------------------

MODULE = """
import numpy as np
from helper import SCALE

def rows(count=10):
    return {"x": np.arange(count, dtype=np.float32) * SCALE, "label": np.arange(count) % 2}

def fails():
    raise KeyError("weird")

def nothing():
    return 3
"""
FIELDS = {"x": TensorType("float", (B,)), "label": LABEL}


@pytest.fixture
def module(tmp_path: Path) -> Path:
    (tmp_path / "d.py").write_text(MODULE)
    (tmp_path / "helper.py").write_text("SCALE = 2.0\n")
    (tmp_path / "broken.py").write_text("x = 1\ndef f(:\n")
    return tmp_path


def test_python(module: Path) -> None:
    rows = opened("python", module, FIELDS, path="d.py:rows", arguments=[4], allow_python=True)
    assert everything(rows)["x"].tolist() == [0, 2, 4, 6]
    assert str(module) not in sys.path


def test_python_is_refused(module: Path) -> None:
    """Nothing of the file is run unless it is allowed, and nothing outside the root."""
    (module / "d.py").write_text("raise SystemExit('it ran')\n")
    told = refused("python", module, FIELDS, path="d.py:rows")
    assert "runs code of d.py, which nobody has allowed" in str(told) and "--allow-python" in told.help
    outside = refused("python", module, FIELDS, path="../d.py:rows", allow_python=True)
    assert "outside the project's root" in str(outside)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("d.py", "names no function of a file"),
        ("d.py:row", "has no function `row`"),
        ("e.py:rows", "there is no such file"),
        ("broken.py:f", "broken.py, line 2: SyntaxError"),
        ("d.py:fails", "line 9: KeyError: 'weird'"),
        ("d.py:nothing", "`nothing` of d.py gives int, which is no rows"),
    ],
)
def test_wrong_python(path: str, said: str, module: Path) -> None:
    assert said in str(refused("python", module, FIELDS, path=path, allow_python=True))


def test_python_from_the_command_line(module: Path) -> None:
    from typer.testing import CliRunner

    from dlc.cli import build

    spec = """
model Net()(x: [B]) -> [B, 2] {
    return stack([x, -x], axis=-1) |> linear(2)
}
train t {
    net = Net()
    batch (x: [B], label: i64[B]) from python("d.py:rows", batch=2)
    minimize cross_entropy(net(x), label)
    optimizer = adam()
    settings { steps = 1 }
}
"""
    (module / "s.dl").write_text(spec)
    words = ["train", str(module / "s.dl"), "--backend", "torch", "--out", str(module / "run")]
    done = CliRunner().invoke(build("train"), words)
    assert done.exit_code == 1 and "--allow-python" in done.output
    done = CliRunner().invoke(build("train"), [*words, "--allow-python"])
    assert done.exit_code == 0, done.output
    words = ["compile", f"{module / 's.dl'}:t", "-o", str(module / "made"), "--allow-python", "--backend"]
    done = CliRunner().invoke(build("compile"), [*words, "torch"])
    assert done.exit_code == 1 and "E0806" in done.output and "says no data from `python`" in done.output
    done = CliRunner().invoke(build("compile"), [*words, "onnx"])
    assert done.exit_code == 0, done.output


# --- shares ------------------------------------------------------------------------------------------------------


def numbers(count: int = 100) -> Rows:
    from dlc.runtime.data.arrays import ArrayRows

    return ArrayRows({"x": np.arange(count)})


def values(rows: Rows) -> list[int]:
    return [int(each) for each in everything(rows)["x"]]


@pytest.mark.parametrize("split", [0.8, 0.013, 1.0, (0.2, 0.7), (0.9, 1.0)])
@pytest.mark.parametrize("seed", [0, 5, None])
def test_a_share_and_the_rest_are_all(split: Any, seed: int | None) -> None:
    taken = values(part(numbers(), split, seed))
    low, high = (0, split) if isinstance(split, float) else split
    assert len(taken) == round(high * 100) - round(low * 100)
    assert (taken == sorted(taken)) == (seed is None or len(taken) == 1)
    if split == 1.0:
        with pytest.raises(SourceError, match="`split` leaves none"):
            part(numbers(), split, seed, rest=True)
        return
    rest = values(part(numbers(), split, seed, rest=True))
    assert sorted([*taken, *rest]) == list(range(100))


def test_neighbouring_shares_have_nothing_in_common() -> None:
    shares = [values(part(numbers(), each, 3)) for each in ((0.0, 0.5), (0.5, 0.9), (0.9, 1.0))]
    assert sorted(each for share in shares for each in share) == list(range(100))


def test_a_text_is_parted_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(bytes(range(200)))
    rows = opened("text", tmp_path, {}, path="t", length=5, tokenizer="byte")
    first, rest = part(rows, 0.75, 0), part(rows, 0.75, 0, rest=True)
    seen = [set(each.take(np.arange(len(each)), (0, 1))["tokens"].ravel().tolist()) for each in (first, rest)]
    assert max(seen[0]) < 150 <= min(seen[1])
    with pytest.raises(SourceError, match="two texts"):
        part(rows, (0.2, 0.5), 0, rest=True)
    with pytest.raises(SourceError, match="fewer than one window"):
        part(rows, 0.01, 0)


DIGITS = """
model Net()(image: [B, 1, 28, 28]) -> [B, 10] {
    return image |> flatten |> linear(10)
}
train t {
    net = Net()
    batch (image: [B, 1, 28, 28], label: i64[B]) from SOURCE
    evaluate from rest(batch=100)
    minimize cross_entropy(net(image), label)
    optimizer = adam()
    settings { steps = 1 }
}
"""


@pytest.mark.parametrize("source", ["digits(split=0.9)", "digits(split=(0.5, 1.0), seed=3)"])
def test_the_rest_is_held_out(source: str) -> None:
    found = open_data(loaded(DIGITS.replace("SOURCE", source)))
    assert found.evaluation is not None
    assert len(found.training.rows) + len(found.evaluation.rows) == 1797
    rows = [
        {each.tobytes() for each in everything(part.rows)["image"]}
        for part in (found.training, found.evaluation)
    ]
    assert not rows[0] & rows[1]


def test_given_data_is_shared_out() -> None:
    """`arrays(split=…)`; held-out data that is given is taken whole."""
    block = loaded(DIGITS.replace("SOURCE", "arrays(batch=8, split=0.75)"))
    arrays = {"image": np.zeros((40, 1, 28, 28), np.float32), "label": np.arange(40) % 10}
    found = open_data(block, arrays)
    assert found.evaluation is not None and (len(found.training.rows), len(found.evaluation.rows)) == (30, 10)
    given = open_data(block, arrays, arrays)
    assert given.evaluation is not None and len(given.evaluation.rows) == 40


def test_nothing_is_left_of_all() -> None:
    for source, said in [
        ("digits()", "all rows of `digits` are trained on"),
        ('npz("x")', "nothing is left"),
    ]:
        with pytest.raises(SpecError, match=said):
            _ = loaded(DIGITS.replace("SOURCE", source)).plan


# --- drawing -----------------------------------------------------------------------------------------------------


def drawn(source: str, data: Any = None) -> Any:
    return open_data(loaded(DIGITS.replace("SOURCE", source)), data).training


def test_rows_are_drawn_by_class() -> None:
    """Of a class that is rare as many as of the others, also of a share; the same in every run."""
    arrays = {"image": np.zeros((2000, 1, 28, 28), np.float32), "label": np.repeat([0, 1], [1900, 100])}
    batches = drawn('arrays(batch=50, split=0.9, sample_by="label")', arrays)
    labels = np.concatenate([batches.training(i)["label"] for i in range(batches.per_epoch)])
    assert len(labels) == 1800 and abs(labels.mean() - 0.5) < 6 * 0.5 / 1800**0.5
    again = drawn('arrays(batch=50, split=0.9, sample_by="label")', arrays)
    assert [again.training(i)["label"].tolist() for i in (40, 3)] == [
        batches.training(i)["label"].tolist() for i in (40, 3)
    ]


def test_rows_are_drawn_by_weight() -> None:
    from dlc.runtime.data.arrays import ArrayRows
    from dlc.runtime.data.parts import chances

    rows = ArrayRows(
        {"w": np.array([0.0, 1.0, 3.0]), "ok": np.array([True, False, True]), "x": np.zeros((3, 2))}
    )
    assert chances(rows, "w").tolist() == [0, 0.25, 0.75]
    assert chances(part(rows, (0.3, 1.0), None), "w").tolist() == [0.25, 0.75]
    assert chances(rows, "ok").tolist() == [0.25, 0.5, 0.25]
    for array, said in (
        (np.array([1.0, -1.0]), "it is -1.0 in row 2"),
        (np.zeros(2), "which is 0 in all of them"),
    ):
        with pytest.raises(SourceError, match=said):
            chances(ArrayRows({"w": array}), "w")
    with pytest.raises(SourceError, match="no single value"):
        chances(rows, "x")


def test_rows_of_a_source_without_arrays_are_drawn() -> None:
    batches = drawn('synthetic(count=300, batch=30, split=0.5, sample_by="label")')
    assert batches.chances is not None and batches.chances.sum() == pytest.approx(1)


def test_wrong_drawing() -> None:
    for source, said in [
        ('digits(split=0.5, sample_by="labels")', "did you mean `label`"),
        ('digits(split=0.5, sample_by="image")', "no single value"),
        ("digits(split=0.5, sample_by=3)", "the name of a field or none"),
    ]:
        with pytest.raises(SpecError, match=said):
            drawn(source)
    text = DIGITS.replace("SOURCE", "digits()").replace("rest(batch=100)", 'digits(sample_by="label")')
    with pytest.raises(SpecError, match="rows are drawn in training only"):
        open_data(loaded(text))
