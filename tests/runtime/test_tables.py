"""Tables as data: columns by name, classes and their numbers, and what is said of files that are wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_specs import loaded

from dlc.diagnostics import SpecError
from dlc.runtime import data
from dlc.runtime.data import columns, growing
from dlc.runtime.data.parts import number_of, part
from dlc.runtime.training_data import open_data
from dlc.source import Request, Rows, SourceError
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType

B = Dim.symbol("B")
NUMBER, CLASS, FLAG = TensorType("float", (B,)), TensorType("i64", (B,)), TensorType("bool", (B,))
FEATURES = TensorType.of("float", [B, 2])
Columns = Mapping[str, Sequence[Any]]


def csv(path: Path, table: Columns) -> Path:
    rows = [",".join(table), *(",".join(map(str, row)) for row in zip(*table.values(), strict=True))]
    path = path.with_suffix(".csv")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def jsonl(path: Path, table: Columns) -> Path:
    rows = [json.dumps(dict(zip(table, row, strict=True))) for row in zip(*table.values(), strict=True)]
    path = path.with_suffix(".jsonl")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def json_list(path: Path, table: Columns) -> Path:
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    path = path.with_suffix(".json")
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return path


def parquet(path: Path, table: Columns) -> Path:
    import pyarrow
    import pyarrow.parquet

    path = path.with_suffix(".parquet")
    pyarrow.parquet.write_table(pyarrow.table({k: list(v) for k, v in table.items()}), path, row_group_size=7)
    return path


FORMS: dict[str, tuple[str, Callable[[Path, Columns], Path]]] = {
    "csv": ("csv", csv),
    "jsonl": ("json", jsonl),
    "json": ("json", json_list),
    "parquet": ("parquet", parquet),
}
forms = pytest.mark.parametrize("form", FORMS)


def opened(name: str, path: Path, fields: Any, known: Any = None, **options: Any) -> Rows:
    from dlc.elaborate.checks.train_arguments import SOURCES

    chosen = {**SOURCES[name], "path": str(path), **options}
    return data.open_rows(name, Request(chosen, fields, {}, path.parent, known=known or {}))


def everything(rows: Rows) -> Any:
    return rows.take(np.arange(len(rows)), None)


def refused(name: str, path: Path, fields: Any, known: Any = None, **options: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        opened(name, path, fields, known, **options)
    return caught.value


# --- what is read ------------------------------------------------------------------------------------------------

TABLE: Columns = {
    "a": [0.5 * i for i in range(20)],
    "b": list(range(20)),
    "kind": ["eel" if i % 3 else "cat" for i in range(20)],
    "grade": [i % 4 for i in range(20)],
    "ok": [i % 2 == 0 for i in range(20)],
}


@forms
def test_columns_fill_fields(form: str, tmp_path: Path) -> None:
    """The same table in every form gives the same rows."""
    source, write = FORMS[form]
    fields = {"a": NUMBER, "kind": CLASS, "grade": CLASS.with_dtype("u8"), "ok": FLAG}
    rows = opened(source, write(tmp_path / "t", TABLE), fields)
    found = everything(rows)
    assert found["a"].dtype == np.float32 and found["a"].tolist() == TABLE["a"]
    assert found["kind"].dtype == np.int64 and found["kind"].tolist() == [int(i % 3 > 0) for i in range(20)]
    assert found["grade"].dtype == np.uint8 and found["grade"].tolist() == TABLE["grade"]
    assert found["ok"].tolist() == TABLE["ok"]
    assert rows.about["classes"] == {"kind": ["cat", "eel"]}
    assert {name: each.limit for name, each in rows.fields.items()} == {
        "a": None, "kind": 2, "grade": 4, "ok": None,
    }  # fmt: skip


@forms
def test_features(form: str, tmp_path: Path) -> None:
    source, write = FORMS[form]
    path = write(tmp_path / "t", {name: TABLE[name] for name in ("a", "kind", "b")})
    rows = opened(source, path, {"features": FEATURES, "kind": CLASS})
    assert everything(rows)["features"].tolist() == [
        list(each) for each in zip(TABLE["a"], TABLE["b"], strict=True)
    ]
    assert rows.about["features"] == ["a", "b"]
    assert everything(opened(source, path, {"features": FEATURES}, features=["b"]))["features"].shape == (
        20,
        1,
    )
    known = {"features": ["b", "a"]}
    assert everything(opened(source, path, {"features": FEATURES}, known))["features"][3].tolist() == [3, 1.5]


@pytest.mark.parametrize("form", ["jsonl", "json", "parquet"])
def test_lists(form: str, tmp_path: Path) -> None:
    source, write = FORMS[form]
    values = [[float(i), i + 0.5, -1.0] for i in range(9)]
    path = write(tmp_path / "t", {"x": values, "ids": [[i, 2] for i in range(9)]})
    fields = {"x": TensorType.of("float", [B, 3]), "ids": TensorType.of("i64", [B, 2])}
    found = everything(opened(source, path, fields))
    assert found["x"].dtype == np.float32 and found["x"].tolist() == values
    assert found["ids"].dtype == np.int64 and found["ids"][4].tolist() == [4, 2]
    values[7] = [1.0]
    told = refused(source, write(tmp_path / "u", {"x": values}), {"x": fields["x"]})
    assert "row 8" in str(told) and "it has the shape [1], rows before it have [3]" in str(told)


def test_csv_of_others(tmp_path: Path) -> None:
    """Without a header, with other separators, quotes over several lines, a byte-order mark, empty lines."""
    path = tmp_path / "t.csv"
    path.write_text('1.5;"a\nb"\n\n2;c\n', encoding="utf-8")
    rows = opened("csv", path, {"x": NUMBER, "y": CLASS}, columns=["x", "y"], delimiter=";")
    assert everything(rows)["x"].tolist() == [1.5, 2] and rows.about["classes"]["y"] == ["a\nb", "c"]
    path.write_text("\ufeffx\n1\n2\n", encoding="utf-8")
    assert everything(opened("csv", path, {"x": NUMBER}))["x"].tolist() == [1, 2]


def test_classes_keep_their_numbers(tmp_path: Path) -> None:
    """As they are listed, or as the training data numbers them: held-out data need not have all."""
    path = csv(tmp_path / "t", {"kind": ["eel", "cat"]})
    listed = opened("csv", path, {"kind": CLASS}, classes=["dog", "eel", "cat"])
    assert everything(listed)["kind"].tolist() == [1, 2]
    assert listed.about["classes"]["kind"] == ["dog", "eel", "cat"]
    known = {"classes": {"kind": ["ant", "cat", "eel"]}}
    assert everything(opened("csv", path, {"kind": CLASS}, known))["kind"].tolist() == [2, 1]
    told = refused("csv", path, {"kind": CLASS}, {"classes": {"kind": ["eels", "cat"]}})
    assert 'row 1 (line 2), column `kind`: "eel" is none of the classes' in str(told)
    assert told.help == "did you mean `eels`?"


def test_columns_with_odd_names(tmp_path: Path) -> None:
    """What is no word of the language is found by what it reads like; of two that do, none is meant."""
    path = csv(tmp_path / "t", {"petal length (cm)": [1, 2], "Kind": ["a", "b"], "x": [5, 6]})
    fields = {"petal_length_cm": NUMBER, "kind": CLASS, "features": FEATURES}
    found = everything(opened("csv", path, fields))
    assert found["petal_length_cm"].tolist() == [1, 2] and found["kind"].tolist() == [0, 1]
    assert found["features"].tolist() == [[5], [6]]
    twice = csv(tmp_path / "u", {"a b": [1], "a-b": [2]})
    assert "has no column `a_b`" in str(refused("csv", twice, {"a_b": NUMBER}))


def test_a_number_is_no_class(tmp_path: Path) -> None:
    """`missing=0` fills numbers, and no names of classes."""
    path = csv(tmp_path / "t", {"x": ["", 2], "y": ["a", ""], "n": [1, ""]})
    told = refused("csv", path, {"x": NUMBER, "y": CLASS}, missing=0)
    assert "row 2 (line 3), column `y`: the value is missing" in str(told) and not told.notes
    found = everything(opened("csv", path, {"x": NUMBER, "n": CLASS}, missing=-1))
    assert found["x"].tolist() == [-1, 2] and found["n"].tolist() == [1, -1]


BEYOND_F64 = 2**53 + 1


@forms
def test_whole_numbers_to_the_last_digit(form: str, tmp_path: Path) -> None:
    source, write = FORMS[form]
    numbers = [BEYOND_F64, -BEYOND_F64, 2**63 - 1, -(2**63), 7]
    found = everything(opened(source, write(tmp_path / "t", {"n": numbers}), {"n": CLASS}))
    assert found["n"].dtype == np.int64 and found["n"].tolist() == numbers


def test_whole_numbers_in_other_words(tmp_path: Path) -> None:
    path = csv(tmp_path / "t", {"n": [f"{BEYOND_F64}.0", "1.2e1", " 7", "+3"]})
    assert everything(opened("csv", path, {"n": CLASS}))["n"].tolist() == [BEYOND_F64, 12, 7, 3]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_whole_numbers_that_have_no_place(form: str, tmp_path: Path) -> None:
    source, write = FORMS[form]
    numbers: Any = np.array([1, 2**63], np.uint64) if form == "parquet" else [1, 2**63]
    told = refused(source, write(tmp_path / "t", {"n": numbers}), {"n": CLASS})
    assert "column `n`: 9223372036854775808 is no whole number that i64 holds" in str(told).replace('"', "")


def test_classes_are_of_columns_that_have_some(tmp_path: Path) -> None:
    """Beside them stand numbers, also in held-out data; a column of classes that are numbers has classes all the same."""
    path = csv(tmp_path / "t", {"k": [7, 8, 9], "grade": ["z", "y", "z"], "year": [3, 1, 1]})
    fields = {"k": CLASS, "grade": CLASS}
    rows = opened("csv", path, fields, classes=["z", "y", "x"])
    assert everything(rows)["k"].tolist() == [7, 8, 9] and everything(rows)["grade"].tolist() == [0, 1, 0]
    assert rows.about["classes"] == {"grade": ["z", "y", "x"]}
    again = everything(opened("csv", path, fields, known=rows.about, classes=["z", "y", "x"]))
    assert again["k"].tolist() == [7, 8, 9] and again["grade"].tolist() == [0, 1, 0]
    years = everything(opened("csv", path, {"year": CLASS}, classes=["1", "2", "3"]))
    assert years["year"].tolist() == [2, 0, 0]
    told = refused("csv", path, {"year": CLASS}, classes=["1", "2"])
    assert 'row 1 (line 2), column `year`: "3" is none of the classes' in str(told)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (["a", "b", "c"] * 4 + ["zebra"], "`zebra`, of its 4 classes the rarest, stands in row 13"),
        (["b", "c", "d"] * 4 + ["apple"], "`apple`, of its 4 classes the rarest, stands in row 13"),
        ([0, 1, 2] * 4 + [3], "3 stands in row 13"),
        ([0, 5, 2] * 4 + [1], "5 stands in row 2"),
    ],
)
def test_what_a_table_has_no_place_for(label: list[Any], said: str, tmp_path: Path) -> None:
    """It is told by its row in the file, also where rows are left out and shared out."""
    csv(tmp_path / "t", {"a": [1, "", *[1] * (len(label) - 2)], "a label": label})
    text = """model Net()(a: [B]) -> [B, 3] { return a[:, none] |> linear(3) }
train t {
    net = Net()
    batch (a: [B], a_label: i64[B]) from csv("t.csv", missing="drop", split=0.9, batch=4)
    minimize cross_entropy(net(a), a_label)
    optimizer = sgd(lr=0.1)
    settings { steps = 1 }
}
"""
    if said.startswith("5"):
        said = "5 stands in row 5"  # the second one lacks a value
    with pytest.raises(SpecError) as caught:
        open_data(loaded(text, tmp_path))
    notes = caught.value.diagnostics[0].notes
    assert any(each.startswith(f"{said}, column `a label`") for each in notes), notes


def test_what_is_missing(tmp_path: Path) -> None:
    path = csv(tmp_path / "t", {"x": [1, "", 3, "NA"], "y": ["a", "b", "", "a"]})
    fields = {"x": NUMBER, "y": CLASS}
    told = refused("csv", path, fields)
    assert f"{path}, row 2 (line 3), column `x`: the value is missing" in str(told)
    assert 'missing="drop"' in told.help
    assert [note.partition("t.csv, ")[2] for note in told.notes] == [
        "row 3 (line 4), column `y`: the value is missing",
        "row 4 (line 5), column `x`: the value is missing",
    ]
    dropped = everything(opened("csv", path, fields, missing="drop"))
    assert dropped["x"].tolist() == [1] and dropped["y"].tolist() == [0]
    filled = everything(opened("csv", path, {"x": NUMBER}, missing=-1))
    assert filled["x"].tolist() == [1, -1, 3, -1]
    kept = opened("csv", path, {"x": NUMBER}, missing="drop")
    assert [number_of(part(kept, 1.0, None), row) for row in range(2)] == [0, 2]
    empty = csv(tmp_path / "e", {"x": ["NA", "nan"]})
    assert "all of them lack a value" in str(refused("csv", empty, {"x": NUMBER}, missing="drop"))


def test_what_is_missing_among_whole_numbers(tmp_path: Path) -> None:
    """In the words that files have for it, also in the first row; among names of classes they are names."""
    path = csv(tmp_path / "t", {"n": ["NA", 3, "null", 5], "flag": ["yes", "NA", "no", "yes"]})
    dropped = everything(opened("csv", path, {"n": CLASS}, missing="drop"))
    assert dropped["n"].tolist() == [3, 5]
    assert everything(opened("csv", path, {"n": CLASS}, missing=-1))["n"].tolist() == [-1, 3, -1, 5]
    told = refused("csv", path, {"n": CLASS})
    assert "row 1 (line 2), column `n`: the value is missing" in str(told) and "missing=0.0" in told.help
    assert "the value is missing" in str(refused("csv", path, {"n": CLASS}, missing=0.5))
    flags = everything(opened("csv", path, {"flag": FLAG}, missing="drop"))
    assert flags["flag"].tolist() == [True, False, True]
    names = csv(tmp_path / "names", {"n": ["NA", "DE", "NA"]})
    assert opened("csv", names, {"n": CLASS}).about["classes"] == {"n": ["DE", "NA"]}


@forms
def test_numbers_that_a_type_has_no_place_for(form: str, tmp_path: Path) -> None:
    source, write = FORMS[form]
    path = write(tmp_path / "t", {"n": [1, 255, 300, -1]})
    told = refused(source, path, {"n": TensorType("u8", (B,))})
    assert "row 3" in str(told) and 'column `n`: "300" is no whole number that u8 holds' in str(told)
    assert "row 4" in told.notes[0]
    assert everything(opened(source, path, {"n": TensorType("i16", (B,))}))["n"].dtype == np.int16


@forms
def test_more_than_memory(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the limit rows lie in a file, and are the same."""
    source, write = FORMS[form]
    path = write(tmp_path / "t", TABLE)
    fields = {"a": NUMBER, "kind": CLASS}
    within = everything(opened(source, path, fields))
    monkeypatch.setattr(columns, "CHUNK", 6)
    for module in ("csv_rows", "json_rows", "parquet_rows"):
        monkeypatch.setattr(f"dlc.runtime.data.{module}.CHUNK", 6)
    monkeypatch.setattr(growing.Growing.__init__, "__defaults__", (50,))
    rows = opened(source, path, fields)
    assert isinstance(rows.arrays["kind"], np.memmap)  # type: ignore[attr-defined]
    for name, array in everything(rows).items():
        np.testing.assert_array_equal(array, within[name])


def test_no_room_for_more_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing.Growing.__init__, "__defaults__", (50,))
    full = Path("/dev/full").open("wb")  # noqa: SIM115 - the array closes it
    monkeypatch.setattr(growing.tempfile, "TemporaryFile", lambda **_: full)
    told = refused("csv", csv(tmp_path / "t", TABLE), {"a": NUMBER})
    assert "No space left on device" in str(told) and "TMPDIR" in told.help


def test_npz_is_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlc.runtime.data import npz

    monkeypatch.setattr(npz, "MAPPED", 0)
    x = np.random.default_rng(0).random((30, 4)).astype(np.float32)
    for save, is_mapped in ((np.savez, True), (np.savez_compressed, False)):
        save(tmp_path / "d.npz", first=np.arange(3), x=x)
        rows = opened("npz", tmp_path / "d.npz", {"x": FEATURES})
        array = rows.arrays["x"]  # type: ignore[attr-defined]
        assert isinstance(array, np.memmap) == is_mapped
        np.testing.assert_array_equal(everything(rows)["x"], x)


# --- what is wrong -----------------------------------------------------------------------------------------------


@forms
def test_a_bad_value_far_behind(form: str, tmp_path: Path) -> None:
    """Of every column that the batch reads, in the words of the file."""
    source, write = FORMS[form]
    x: list[Any] = [str(i) if form == "parquet" else i for i in range(10_050)]
    y: list[Any] = ["3"] * len(x) if form == "parquet" else [3] * len(x)
    x[9_999] = "12.5.1"
    y[10_001] = "seven"
    if form == "parquet":
        x = [*map(str, x)]
    told = refused(source, write(tmp_path / "t", {"x": x, "y": y}), {"x": NUMBER, "y": CLASS})
    line = {"csv": " (line 10,001)", "jsonl": " (line 10,000)"}.get(form, "")
    assert f', row 10,000{line}, column `x`: "12.5.1" is no number' in str(told)
    assert 'column `y`: "seven" is no whole number' in told.notes[0]


def test_many_bad_values_are_counted(tmp_path: Path) -> None:
    told = refused("csv", csv(tmp_path / "t", {"x": ["?"] * 50}), {"x": NUMBER})
    assert len(told.notes) == 3 and told.notes[-1] == "and 47 more"


def test_a_bad_row_is_a_diagnostic(tmp_path: Path) -> None:
    """With its code, where the spec names the source, and what to do."""
    csv(tmp_path / "t", {"x": [1, 2, "", 4], "y": [0, 1, 0, 1]})
    text = """
model Net()(x: [B]) -> [B, 2] {
    return stack([x, -x], axis=-1) |> linear(2)
}
train t {
    net = Net()
    batch (x: [B], y: i64[B]) from csv("t.csv", batch=2)
    minimize cross_entropy(net(x), y)
    optimizer = adam()
    settings { steps = 1 }
}
"""
    with pytest.raises(SpecError) as caught:
        open_data(loaded(text, tmp_path))
    (found,) = caught.value.diagnostics
    assert found.code == "E0710" and found.span.line == 7 and "row 3 (line 4), column `x`" in found.message
    assert 'missing="drop"' in found.help


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("", {}, "is empty"),
        ("x,x\n1,2\n", {}, "line 1: two columns are called `x`"),
        ("x,\n1,2\n", {}, "line 1: column 2 has no name"),
        ("y\n1\n", {}, "has no column `x`"),
        ("x\n", {}, "has no rows"),
        ("x,y\n1,2\n1\n", {}, "row 2 (line 3): it has 1 values, and there are 2 columns"),
        ('x\n1\n"2\n', {}, "line 3: unexpected end of data"),
        ("x\ninf\n", {}, '"inf" is no number'),
        ("x\n1\n", {"features": ["z"]}, "has no column `z`"),
    ],
)
def test_wrong_csv(text: str, options: Any, said: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    fields = {"features": FEATURES} if options else {"x": NUMBER}
    assert said in str(refused("csv", tmp_path / "t.csv", fields, **options))


@pytest.mark.parametrize(
    ("text", "help"),
    [
        ("x;y\n1;2\n", 'its values are parted otherwise: `delimiter=";"`'),
        ("x\ty\n1\t2\n", 'its values are parted otherwise: `delimiter="\\t"`'),
        ("1,2\n3,4\n", "it has 1, 2; where its first line is a row, not names: `columns=[…]` names them"),
        ("a,b\n1,2\n", "it has a, b"),
        ("x_,b\n1,2\n", "it has x_, b"),
    ],
)
def test_what_a_table_without_the_column_has(text: str, help: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    assert refused("csv", tmp_path / "t.csv", {"height": NUMBER}).help == help


def test_wrong_encodings_and_files(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_bytes("x\n1\nä\n".encode("latin-1"))
    assert "line 3, byte 1: this is no UTF-8" in str(refused("csv", tmp_path / "l.csv", {"x": NUMBER}))
    for source in ("csv", "json", "parquet"):
        told = str(refused(source, tmp_path / "none", {"x": NUMBER}))
        assert "none: there is no such file" in told
    (tmp_path / "p").write_bytes(b"PAR1 no more")
    assert "can't read" in str(refused("parquet", tmp_path / "p", {"x": NUMBER}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("[1, 2]", "its first row is no object"),
        ('{"x": 1}\n{"x": }\n', "line 2, column 7: Expecting value"),
        ('[{"x": 1}, {"x": 2]', "Expecting ',' delimiter"),
        ('{"x": 1}\n3\n', "row 2 (line 2): it is no object"),
        ('{"x": [1]}\n', "is no number"),
        ("[" * 100_000, "its lists are nested too deeply"),
    ],
)
def test_wrong_json(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(text, encoding="utf-8")
    assert said in str(refused("json", tmp_path / "t.json", {"x": NUMBER}))


def test_a_torn_parquet_file(tmp_path: Path) -> None:
    path = parquet(tmp_path / "t", {"x": list(range(40_000))})
    content = bytearray(path.read_bytes())
    content[1000:60_000] = b"\xff" * 59_000
    path.write_bytes(content)
    assert "can't read" in str(refused("parquet", path, {"x": NUMBER}))


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    told = refused("parquet", tmp_path / "t.parquet", {"x": NUMBER})
    assert (str(told), told.help) == ("`parquet` needs pyarrow", "install it: pip install 'dlc[data]'")
