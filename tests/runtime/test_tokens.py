"""Tokenizers: characters, bytes and files, in texts and in tables; files that are trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_specs import loaded
from typer.testing import CliRunner

from dlc.cli import build
from dlc.diagnostics import SpecError
from dlc.runtime import data
from dlc.runtime.data import tokens
from dlc.runtime.data.tokens import Bytes, Characters, FromFile, of_run, pieces, trained
from dlc.runtime.training_data import open_data
from dlc.source import Request, Rows, SourceError
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType

B = Dim.symbol("B")
TEXT = "The cat saw the hat.\n\nThe hat saw the cat, and the cat sat.\n  So it goes: äöü.\n" * 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "t.txt").write_text(TEXT, encoding="utf-8")
    for kind, size in (("bpe", 280), ("wordpiece", 60)):
        content = trained([tmp_path / "t.txt"], kind, size, tokens.SPECIAL[kind])
        (tmp_path / f"{kind}.json").write_text(content, encoding="utf-8")
    return tmp_path


def opened(name: str, folder: Path, fields: Any = None, known: Any = None, **options: Any) -> Rows:
    from dlc.elaborate.checks.train_arguments import SOURCES

    chosen = {**SOURCES[name], **options}
    return data.open_rows(name, Request(chosen, fields or {}, {}, folder, folder, known or {}))


# --- files -------------------------------------------------------------------------------------------------------


def test_bpe_says_everything(folder: Path) -> None:
    """Bytes are tokens, so that nothing is unknown; what is frequent is one token."""
    found = FromFile.open(folder / "bpe.json")
    for text in (TEXT, "日本語 🎉\0", ""):
        assert found.decode(found.encode(text)) == text
    assert found.vocabulary == 280 and [token for token, _ in found.pieces(" the")] == ["Ġthe"]
    assert len(found.encode(TEXT)) < len(TEXT) / 2


def test_wordpiece_is_berts(folder: Path) -> None:
    found = FromFile.open(folder / "wordpiece.json")
    assert found.padding == 0 and found.inner.token_to_id("[MASK]") == 4
    assert [token for token, _ in found.pieces("The CAT")] == ["the", "cat"]
    assert [token for token, _ in found.pieces("猫")] == ["[UNK]"]


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_a_long_text_is_cut_where_no_token_goes_on(kind: str, folder: Path) -> None:
    found = FromFile.open(folder / f"{kind}.json")
    for length in (1, 7, 100):
        parts = [*pieces(TEXT, length)]
        assert "".join(parts) == TEXT and len(parts) > 3
        ids = [id for part in parts for id in found.inner.encode(part, add_special_tokens=False).ids]
        assert ids == found.inner.encode(TEXT, add_special_tokens=False).ids


def test_training_again_gives_the_same_file(folder: Path) -> None:
    again = trained([folder / "t.txt"], "bpe", 280, tokens.SPECIAL["bpe"])
    assert again == (folder / "bpe.json").read_text(encoding="utf-8")


def test_windows_of_a_tokenizer_file(folder: Path) -> None:
    rows = opened("text", folder, path="t.txt", length=8, tokenizer="bpe.json")
    found = rows.take(np.arange(len(rows)), None)["tokens"]
    whole = FromFile.open(folder / "bpe.json").encode(TEXT)
    assert found[0].tolist() == whole[:8].tolist() and rows.fields["tokens"].limit == 280
    again = of_run(rows.about, folder)
    assert again is not None and again.decode(found[0]) == TEXT[: len(again.decode(found[0]))]
    (folder / "bpe.json").write_text((folder / "wordpiece.json").read_text())
    with pytest.raises(SourceError, match="is another tokenizer than the one that was trained with"):
        of_run(rows.about, folder)


def test_held_out_characters_have_the_numbers_of_training(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcdefg" * 5)
    (tmp_path / "b.txt").write_text("gfgf\ngf" * 5)
    (tmp_path / "c.txt").write_text("gfgfgf" * 5)
    text = """
model Net(vocab: int = 9)(tokens: i64[B, T]) -> [B, T, vocab] { return embedding(vocab, vocab)(tokens) }
train t {
    net = Net()
    batch (tokens: i64[B, 4]) from text("a.txt", length=4, batch=2)
    evaluate from text("FILE", length=4)
    minimize cross_entropy(net(tokens[:, :-1]), tokens[:, 1:])
    optimizer = adam()
    settings { steps = 1 }
}
"""
    found = open_data(loaded(text.replace("FILE", "c.txt"), tmp_path))
    assert found.evaluation is not None
    assert next(found.evaluation.evaluation())["tokens"][0].tolist() == [6, 5, 6, 5]
    with pytest.raises(SpecError, match=r"line 1: '.n' is none of the characters that are known"):
        open_data(loaded(text.replace("FILE", "b.txt"), tmp_path))


def test_a_vocabulary_that_is_larger_than_the_models(folder: Path) -> None:
    text = """
model Net(vocab: int = 279)(tokens: i64[B, T]) -> [B, T, vocab] { return embedding(vocab, vocab)(tokens) }
train t {
    net = Net()
    batch (tokens: i64[B, 8]) from text("t.txt", length=8, tokenizer="bpe.json", batch=2)
    minimize cross_entropy(net(tokens[:, :-1]), tokens[:, 1:])
    optimizer = adam()
    settings { steps = 1 }
}
"""
    with pytest.raises(SpecError) as caught:
        open_data(loaded(text, folder))
    (found,) = caught.value.diagnostics
    assert found.message == "`tokens` goes up to 279, and the network looks it up in a table of 279"
    assert found.help == "a table of 280 would hold it; it is counted from 0"


def test_texts_of_a_table(folder: Path) -> None:
    """Cut off and filled up to the length that the field says."""
    (folder / "r.csv").write_text("review,stars\nthe cat,1\nthe hat saw the cat and the hat,3\n")
    fields = {"review": TensorType.of("i64", [B, 4]), "stars": TensorType("i64", (B,))}
    rows = opened("csv", folder, fields, path="r.csv", tokenizer="wordpiece.json")
    found = rows.take(np.arange(2), None)["review"]
    tokenizer = FromFile.open(folder / "wordpiece.json")
    assert (
        tokenizer.decode(found[0]) == "the cat [PAD] [PAD]"
        and tokenizer.decode(found[1]) == "the hat saw the"
    )
    assert rows.about["tokenizer"] == "wordpiece.json"
    found = opened("csv", folder, fields, path="r.csv", tokenizer="byte").take(np.arange(2), None)["review"]
    assert bytes(found[0].tolist()) == b"the "
    open_length = {"review": TensorType.of("i64", [B, Dim.symbol("T")])}
    with pytest.raises(SourceError, match="does not say how many tokens"):
        opened("csv", folder, open_length, path="r.csv", tokenizer="byte")


def test_of_run() -> None:
    for each in (Characters("abc"), Bytes()):
        again = of_run(json.loads(json.dumps(each.about)), Path())
        assert again == each and again is not None and again.decode(again.encode("cab")) == "cab"
    assert of_run({}, Path()) is None
    with pytest.raises(SourceError, match="line 2: 'd' is none"):
        Characters("\nabc").encode("cab\nd")


def test_without_tokenizers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(SourceError, match="a tokenizer file needs tokenizers") as caught:
        opened("text", folder, path="t.txt", length=8, tokenizer="bpe.json")
    assert caught.value.help == "install it: pip install 'dlc[data]'"


# --- the command -------------------------------------------------------------------------------------------------


def said(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(build("tokenizer"), ["tokenizer", *words])
    return done.exit_code, done.output


def test_the_command(folder: Path) -> None:
    out = str(folder / "made.json")
    code, text = said("train", str(folder / "t.txt"), "--kind", "wordpiece", "--vocab", "5000", "-o", out)
    assert code == 0 and "the text has no more (5,000 were allowed)" in text
    code, text = said("encode", out, "the hats", "--format", "json")
    assert [each["token"] for each in json.loads(text)][:2] == ["the", "hat"]
    code, text = said("train", str(folder / "t.txt"), "--special", "<a>,<b>", "--vocab", "270", "-o", out)
    assert code == 0 and FromFile.open(Path(out)).inner.token_to_id("<b>") == 1


def test_wrong_words(folder: Path) -> None:
    (folder / "empty.txt").write_text("\n")
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    out, text = str(folder / "x.json"), str(folder / "t.txt")
    for words, code, told in [
        (("train", text, "-o", str(folder / "x.txt")), 2, "--output takes the name of a .json file"),
        (("train", text, "--vocab", "256", "-o", out), 1, "bpe has at least 257 tokens"),
        (("train", "none.txt", "-o", out), 1, "there is no such file"),
        (("train", str(folder / "empty.txt"), "-o", out), 1, "is empty"),
        (("train", str(folder / "latin.txt"), "-o", out), 1, "is no UTF-8"),
        (("encode", text, "hi"), 1, "is no tokenizer file"),
        (("train", text, "--kind", "bep", "-o", out), 2, "bep"),
    ]:
        found = said(*words)
        assert found[0] == code and told in found[1], found
    assert not Path(out).exists()
