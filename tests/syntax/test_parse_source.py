"""Reading files, and text as files have it: byte-order marks, CRLF, odd characters."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlc.diagnostics import SpecError
from dlc.syntax.parser import parse
from dlc.syntax.source import read_source


def test_a_file_is_read_without_mark_and_carriage_returns(tmp_path: Path) -> None:
    path = tmp_path / "a.dl"
    path.write_bytes('\ufefflet x = "é"\r\nlet y = 3\r\n'.encode())
    assert read_source(path) == 'let x = "é"\nlet y = 3\n'


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.dl"
    path.write_bytes(b"let x = 3\nlet y\xff = 3\n")
    with pytest.raises(SpecError) as caught:
        read_source(path)
    (found,) = caught.value.diagnostics
    assert (found.code, str(found.span)) == ("E0007", "2:6")


def test_utf16_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.dl"
    path.write_bytes("let x = 3\n".encode("utf-16"))
    with pytest.raises(SpecError, match="UTF-16"):
        read_source(path)


@pytest.mark.parametrize("name", ["missing.dl", ".", "a\0b", "x" * 5000])
def test_a_file_that_can_not_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_source(str(tmp_path / name) if "\0" not in name else name)
    assert [each.code for each in caught.value.diagnostics] == ["E0008"]


def test_text_with_mark_and_carriage_returns_parses() -> None:
    result = parse("\ufefflet x = 3  # c\r\n\r\nfn f(x) -> y {\r\n    y = x\r\n    return y\r\n}\r\n", "t")
    assert not result.diagnostics
    assert result.file.comments == ((1, "# c", False),)
    assert str(result.file.items[0].span) == "1:1"


def test_an_empty_text_is_an_empty_file() -> None:
    for text in ("", "\n", "# only a comment", "\ufeff", "\t \r\n"):
        result = parse(text, "t")
        assert not result.diagnostics
        assert result.file.items == ()
