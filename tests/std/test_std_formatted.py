"""The library and the specs that ship are written as `dlc format` writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlc.syntax.format import format_file
from dlc.syntax.parser import parse

ROOT = Path(__file__).parents[2]
FILES = sorted([*(ROOT / "specs").rglob("*.dl"), *(ROOT / "dlc/std").rglob("*.dl")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_written_as_the_formatter_writes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = parse(text, path.name)
    assert found.file is not None and format_file(found.file, text) == text
