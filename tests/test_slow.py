"""The list of slow tests names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

LINES = [
    line
    for line in Path(__file__).with_name("slow.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]


def test_each_line_is_a_test() -> None:
    root = Path(__file__).parents[1]
    for line in LINES:
        file, _, name = line.partition("::")
        function = name.partition("[")[0]
        assert re.search(rf"^def {function}\(", (root / file).read_text(encoding="utf-8"), re.MULTILINE), line
    assert sorted(set(LINES)) == LINES
