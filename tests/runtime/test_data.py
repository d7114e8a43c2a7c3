"""Data sources: what they give, in which order, and what they say of data that does not fit."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_specs import NET, loaded

from dlc.diagnostics import SpecError
from dlc.runtime import data
from dlc.runtime.data.batches import Batches
from dlc.runtime.data.digits import resized
from dlc.runtime.training_data import Data, open_data
from dlc.source import Request, Rows, SourceError
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType

IMAGE = TensorType.of("float", [Dim.symbol("B"), 1, 28, 28])


def opened(name: str, folder: Path = Path(), fields: Any = None, **options: Any) -> Rows:
    from dlc.elaborate.checks.train_arguments import SOURCES

    return data.open_rows(name, Request({**SOURCES[name], **options}, fields or {}, {}, folder))


def everything(rows: Rows) -> Any:
    return rows.take(np.arange(len(rows)), None)


# --- sources -----------------------------------------------------------------------------------------------------


def test_digits() -> None:
    train, test = everything(opened("digits")), everything(opened("digits", split="test"))
    assert train["image"].shape == (1437, 1, 28, 28) and test["image"].shape == (360, 1, 28, 28)
    assert train["image"].dtype == np.float32 and train["label"].dtype == np.int64
    assert abs(train["image"].mean()) < 1e-3 and abs(train["image"].std() - 1) < 1e-3
    assert set(train["label"]) == set(test["label"]) == set(range(10))
    rows = {each.tobytes() for each in train["image"]}
    assert sum(each.tobytes() in rows for each in test["image"]) == 0


def test_resizing_is_pytorchs() -> None:
    import torch

    images = np.random.default_rng(0).random((3, 8, 8))
    tensor = torch.from_numpy(images)[:, None]
    wanted = torch.nn.functional.interpolate(tensor, (28, 28), mode="bilinear")[:, 0].numpy()
    np.testing.assert_allclose(resized(images, 28), wanted, atol=1e-12)


def idx(array: np.ndarray, code: int = 0x08) -> bytes:
    head = bytes([0, 0, code, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    images = np.arange(7 * 4 * 5, dtype=np.uint8).reshape(7, 4, 5)
    (tmp_path / "images.gz").write_bytes(gzip.compress(idx(images)))
    (tmp_path / "labels").write_bytes(idx(np.arange(7, dtype=np.uint8)))
    return tmp_path


def test_idx(mnist: Path) -> None:
    fields = {"image": IMAGE}
    rows = opened("idx", mnist, fields, images="images.gz", labels="labels", start=2, stop=5)
    found = everything(rows)
    assert found["image"].shape == (3, 1, 4, 5) and found["image"].dtype == np.float32
    assert found["image"][0, 0, 0, 0] == np.float32(40 / 255)
    assert found["label"].tolist() == [2, 3, 4] and found["label"].dtype == np.int64


def test_idx_bytes(mnist: Path) -> None:
    fields = {"image": IMAGE.with_dtype("u8")}
    assert everything(opened("idx", mnist, fields, images="images.gz"))["image"].dtype == np.uint8


@pytest.mark.parametrize("name", ["f4", "i4"])
def test_idx_of_other_dtypes(name: str, tmp_path: Path) -> None:
    array = np.arange(6, dtype=name).reshape(3, 2)
    (tmp_path / "x").write_bytes(idx(array, {"f4": 0x0D, "i4": 0x0C}[name]))
    found = everything(opened("idx", tmp_path, images="x"))["image"]
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


def test_idx_that_is_none(mnist: Path) -> None:
    (mnist / "short").write_bytes(idx(np.arange(9, dtype=np.uint8))[:-2])
    (mnist / "other").write_bytes(b"PNG..")
    (mnist / "torn.gz").write_bytes((mnist / "images.gz").read_bytes()[:30])
    for file, said in [
        ("short", "it has 15 bytes, its header says 17"),
        ("other", "it is no IDX file"),
        ("missing", "there is no such file"),
        ("torn.gz", "can't read"),
    ]:
        with pytest.raises(SourceError, match=said):
            opened("idx", mnist, images=file)
    with pytest.raises(SourceError, match="of different length: `image` has 9 rows, `label` has 7 rows"):
        (mnist / "nine").write_bytes(idx(np.arange(9, dtype=np.uint8)))
        opened("idx", mnist, images="nine", labels="labels")
    with pytest.raises(SourceError, match="no rows are left"):
        opened("idx", mnist, images="images.gz", start=7)


def test_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.arange(10.0), y=np.arange(10), z=np.array(1))
    b = Dim.symbol("B")
    fields = {"x": TensorType("float", (b,)), "y": TensorType("i64", (b,))}
    rows = opened("npz", tmp_path, fields, path="d.npz", stop=4)
    assert everything(rows)["x"].tolist() == [0, 1, 2, 3]
    for name, said in [("w", "has no array `w`"), ("z", "is a single value")]:
        with pytest.raises(SourceError, match=said):
            opened("npz", tmp_path, {name: IMAGE}, path="d.npz")
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    with pytest.raises(SourceError, match="can't read"):
        opened("npz", tmp_path, {"x": IMAGE}, path="objects.npz")


def test_text(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("héllo wörld", encoding="utf-8")
    rows = opened("text", tmp_path, path="t", length=4)
    assert rows.about["characters"] == "".join(sorted(set("héllo wörld")))
    assert rows.fields["tokens"].limit == len(set("héllo wörld")) == 9
    spelled = ["".join(rows.about["characters"][i] for i in row) for row in everything(rows)["tokens"]]
    assert spelled == ["héll", "lo w"]


def test_bytes(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(bytes(range(250, 256)) * 10)
    rows = opened("text", tmp_path, path="t", length=6, tokenizer="byte", start=0.5)
    found = everything(rows)["tokens"]
    assert found.shape == (5, 6) and found.dtype == np.int64 and found[0].tolist() == list(range(250, 256))
    with pytest.raises(SourceError, match="the text is no UTF-8"):
        opened("text", tmp_path, path="t", length=6)


def test_windows_cover_the_text(tmp_path: Path) -> None:
    """In each epoch, from another place on, each token is predicted at most once, and nearly all are."""
    (tmp_path / "t").write_bytes(bytes(range(200)))
    rows = opened("text", tmp_path, path="t", length=9, tokenizer="byte")
    starts = set()
    for epoch in range(20):
        tokens = rows.take(np.arange(len(rows)), (0, epoch))["tokens"]
        targets = tokens[:, 1:].ravel()
        assert len(set(targets)) == len(targets) >= 200 - 2 * 9
        starts.add(int(tokens[0, 0]))
    assert len(starts) > 5
    with pytest.raises(SourceError, match="fewer than one window of 300"):
        opened("text", tmp_path, path="t", length=300, tokenizer="byte")


def test_synthetic() -> None:
    b = Dim.symbol("B")
    fields = {
        "x": TensorType.of("float", [b, 3]),
        "i": TensorType("i64", (b,)),
        "m": TensorType("bool", (b,)),
    }
    fields["j"] = TensorType("i64", (b,))
    request = Request({"count": 100, "seed": 1, "batch": 8, "high": 3}, fields, {"i": 7})
    first, second = (everything(data.open_rows("synthetic", request)) for _ in range(2))
    assert all((first[name] == second[name]).all() for name in fields)
    assert set(first["j"]) == {0, 1, 2}  # which indexes no table
    assert set(first["i"]) == set(range(7)) and first["x"].shape == (100, 3) and first["m"].dtype == bool
    with pytest.raises(SourceError, match="can't know the sizes of `x`"):
        data.open_rows(
            "synthetic", Request(request.options, {"x": TensorType("float", (b, Dim.symbol("T")))})
        )


# --- batches -----------------------------------------------------------------------------------------------------


def test_order() -> None:
    """Every epoch has every row at most once, in an order of its own that only the seed decides."""
    batches = Batches(opened("digits"), 64, 3, ("label",))
    assert batches.per_epoch == 22
    order = [batches.training(number)["label"].tolist() for number in range(44)]
    assert order[:22] != order[22:]
    again = Batches(opened("digits"), 64, 3, ("label",))
    assert again.training(30)["label"].tolist() == order[30]
    assert again.training(5)["label"].tolist() == order[5]
    assert Batches(opened("digits"), 64, 4, ("label",)).training(0)["label"].tolist() != order[0]


def test_evaluation_has_every_row() -> None:
    batches = Batches(opened("digits", split="test"), 100, 0, ("image", "label"))
    found = list(batches.evaluation())
    assert [len(each["label"]) for each in found] == [100, 100, 100, 60]


# --- types -------------------------------------------------------------------------------------------------------


def block_of(fields: str, source: str, use: str = "net(image)", evaluate: str = "") -> str:
    return f"""{NET}
train t {{
    net = Net()
    batch ({fields}) from {source}
    {evaluate}
    minimize mean({use}) {"+ 0.0 * mean(cast(label, float))" if "label" in fields else ""}
    optimizer = adam()
    settings {{ steps = 1 }}
}}
"""


def problems_of(text: str, folder: Path | None = None) -> list[Any]:
    with pytest.raises(SpecError) as caught:
        open_data(loaded(text, folder))
    assert {each.code for each in caught.value.diagnostics} == {"E0710"}
    return list(caught.value.diagnostics)


WRONG = {
    "image: [B, 784], label: i64[B]": ["`image` does not fit: 4 axes in the data, 2 as declared"],
    "image: [B, 3, 28, 28], label: i64[B]": ["`image` does not fit: an axis of 1 in the data is declared as 3"],
    "image: [32, 1, 28, 28], label: i64[32]": ["`image` does not fit: an axis of 64 in the data is declared as 32",
                                               "`label` does not fit: an axis of 64 in the data is declared as 32"],
    "image: [B, 1, 28, 28], label: [B]": ["`label` is i64 in the data, not float"],
    "image: i64[B, 1, 28, 28], label: i32[B]": ["`image` is f32 in the data, not i64",
                                                "`label` is i64 in the data, not i32"],
    "image: [B, 1, S, S + 1]": ["`image` does not fit: an axis of 28 in the data is declared as S + 1"],
    "picture: [B, 1, 28, 28], lable: i64[B]": ["`digits` has no field `picture`", "`digits` has no field `lable`"],
}  # fmt: skip


@pytest.mark.parametrize(("fields", "said"), WRONG.items())
def test_types(fields: str, said: list[str]) -> None:
    text = f"""
train t {{
    layer = linear(1)
    batch ({fields}) from digits(batch=64)
    minimize mean(layer(zeros([1, 1])))
    optimizer = adam()
    settings {{ steps = 1 }}
}}
"""
    found = problems_of(text)
    assert [each.message for each in found] == said
    assert all(each.span.line == 4 for each in found)


def test_notes_and_help() -> None:
    text = block_of("image: [B, 1, 28, 28], label: i32[B]", "digits(batch=64)")
    (found,) = problems_of(text)
    assert found.notes == ("declared: i32[B]", "found: i64[64]")
    text = block_of("image: [B, 1, 28, 28], lable: i64[B]", "digits(batch=64)")
    (found,) = problems_of(text)
    assert found.help == "did you mean `label`?"
    assert found.span.line == text[: text.index("lable")].count("\n") + 1


def test_too_few_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", image=np.zeros((5, 1, 28, 28), np.float32))
    text = block_of("image: [B, 1, 28, 28]", 'npz("d.npz", batch=6)')
    assert "has 5 rows, fewer than one batch of 6" in problems_of(text, tmp_path)[0].message
    fits = loaded(text.replace("batch=6", "batch=5"), tmp_path)
    assert isinstance(open_data(fits), Data)


def test_evaluation_is_checked() -> None:
    text = block_of(
        "image: [B, 1, 28, 28], label: i64[B]", "digits()", evaluate='evaluate from text("x", length=3)'
    )
    assert "there is no such file" in problems_of(text)[0].message
    text = block_of("image: [64, 1, 28, 28]", "digits()", evaluate='evaluate from digits("test", batch=64)')
    assert "an axis of 40 in the data is declared as 64" in problems_of(text)[0].message


def test_tokens_beyond_the_table(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("abcdefgh" * 20)
    text = """
model Net(vocab: int = 5)(tokens: i64[B, T]) -> [B, T, 4] { return embedding(vocab, 4)(tokens) }
train t {
    net = Net()
    batch (tokens: i64[B, 8]) from text("t", length=8, batch=4)
    minimize mean(net(tokens[:, 1:]))
    optimizer = adam()
    settings { steps = 1 }
}
"""
    (found,) = problems_of(text, tmp_path)
    assert found.message == "`tokens` goes up to 7, and the network looks it up in a table of 5"
    assert found.help == "a table of 8 would hold it; it is counted from 0"


def test_sources_are_checked_with_the_spec() -> None:
    for source, code, said in [
        ('digits(split="trian")', "E0703", '`split` can\'t be "trian": it must be "train" or "test"'),
        ("digits(batch=0)", "E0703", "`batch` can't be 0"),
        ('text("x", length=8, tokenizer="bpe")', "E0703", "`tokenizer` can't be"),
        ('text("x")', "E0713", "`text` needs `length`"),
        ('text("x", length=8, stop=1.5)', "E0703", "it must be a share from 0 to 1"),
        ("digist()", "E0705", "there is no source `digist`"),
        ("parquet()", "E0713", "`parquet` needs `path`"),
        ('csv("x", split=0.0)', "E0703", "`split` can't be 0.0: it must be a share of the rows"),
        ('csv("x", split=(0.8, 0.2))', "E0703", "`split` can't be"),
        ('csv("x", missing="skip")', "E0703", '"error", "drop", or a number to put there'),
        ('csv("x", delimiter="||")', "E0703", "it must be one character"),
        ('csv("x", features="a")', "E0703", "it must be a list of names or none"),
        ('images("x", size=0)', "E0703", "it must be an int above 0, a height and a width, or none"),
        ('images("x", fit="croop")', "E0703", "`fit` can't be"),
        ("rest()", "E0705", "`rest` is what is trained on leaves of its data"),
    ]:
        with pytest.raises(SpecError) as caught:
            _ = loaded(block_of("image: [B, 1, 28, 28]", source)).plan
        first = caught.value.diagnostics[0]
        assert (first.code, said in first.message) == (code, True), first
    with pytest.raises(SpecError) as caught:
        _ = loaded(block_of("image: [B, 1, 28, 28]", 'digits(split="tets")')).plan
    assert caught.value.diagnostics[0].help == "did you mean `test`?"


# --- sources of others -------------------------------------------------------------------------------------------


EXAMPLE = Path(__file__).parents[2] / "examples" / "spirals_source"


def test_a_source_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's module with the metadata that installing it would leave."""
    info = tmp_path / "dlc_spirals-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dlc-spirals\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[dlc.sources]\nspirals = dlc_spirals:SPIRALS\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import dlc

    block = dlc.load(EXAMPLE / "spirals.dl")["spirals"]
    result = dlc.train(block.with_settings(epochs=30), backend="torch", out=tmp_path / "run")
    assert result.metrics["accuracy"] > 0.9
    with pytest.raises(SpecError, match="did you mean `turns`"):
        wrong = (EXAMPLE / "spirals.dl").read_text().replace("turns=", "turn=")
        _ = dlc.loads(wrong)["spirals"].plan
    sys.modules.pop("dlc_spirals", None)


def test_the_shipped_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    import runpy

    script = EXAMPLE.parent / "train_digits.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "run"), "3"])
    runpy.run_path(str(script), run_name="__main__")
    assert "accuracy" in capsys.readouterr().out
