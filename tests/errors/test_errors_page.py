"""docs/errors.md is what the declarations of the problems say."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "tools" / "gen_errors.py"


def test_page_is_up_to_date(golden: Callable[[Path, str], None]) -> None:
    spec = importlib.util.spec_from_file_location("gen_errors", TOOL)
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    golden(tool.PAGE, tool.page())
