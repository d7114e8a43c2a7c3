"""docs/library.md is what the definitions of the library say."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

from dlc import ops
from dlc.elaborate.base.project import library_index

from .pages import ROOT

TOOL = ROOT / "tools/gen_library.py"


def test_golden_page_is_up_to_date(golden: Callable[[Path, str], None]) -> None:
    spec = importlib.util.spec_from_file_location("gen_library", TOOL)
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    golden(tool.PAGE, tool.page())


def test_every_name_of_the_language_is_on_the_page() -> None:
    """Names that the language guide lists as the standard library are explained on the library's page."""
    guide = (ROOT / "docs/language.md").read_text(encoding="utf-8")
    page = (ROOT / "docs/library.md").read_text(encoding="utf-8")
    section = guide.split("## The standard library")[1].split("```")[0]
    cells = [row.split("|")[2] for row in section.splitlines() if row.startswith("| ") and "`" in row]
    names = " ".join(cell.replace("`", " ").replace(",", " ") for cell in cells).split()
    missing = [name for name in names if name != "@" and f"`{name}(" not in page]
    assert not missing


def test_every_name_of_the_library_is_in_the_guide() -> None:
    guide = set(re.findall(r"\w+", (ROOT / "docs/language.md").read_text(encoding="utf-8")))
    public = {name for name in library_index() if not name.startswith("_")}
    called = {each.name for each in ops.all_ops() if each.call is not None and each.name not in ops.added()}
    assert not (public | called) - guide, (
        "docs/language.md lacks these: put them into the table of its family"
    )
