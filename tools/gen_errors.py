"""Writes docs/errors.md: every problem that dlc reports, with a wrong spec, what is said about it, and a right one.

python tools/gen_errors.py            writes the page
python tools/gen_errors.py --check    exits with 1 if the page is not what would be written
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from dlc.diagnostics import Problem, SpecError, render_all
from dlc.diagnostics.index import problems
from dlc.elaborate.base.project import Project
from dlc.elaborate.checks.file import check_unit

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "errors.md"
INTRODUCTION = """\
# Errors

Every problem that dlc reports has a code; `dlc explain CODE` shows what stands here about it. This page is written by
`tools/gen_errors.py` from the declarations in `dlc/diagnostics/`: each wrong spec below is checked to have its problem
and each right one to have none.
"""
FAMILIES = {
    "E00": "Files and syntax",
    "E01": "Names and calls",
    "E02": "Static values",
    "E03": "Types and shapes",
    "E04": "Facts",
    "E05": "Parameters, paths, loops",
    "E06": "Weights",
    "E07": "Training and data",
    "E08": "Backends",
    "E09": "Use",
    "W": "Warnings",
}


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, *_contents()]
    for family, title in FAMILIES.items():
        parts.append(f"\n## {title}\n")
        parts += ["\n".join(_section(each)) for each in _members(family)]
    return "\n".join(parts)


def _members(family: str) -> list[Problem]:
    return [each for code, each in problems().items() if code.startswith(family)]


def _contents() -> Iterator[str]:
    for family, title in FAMILIES.items():
        codes = ", ".join(f"[{each.code}](#{each.code.lower()})" for each in _members(family))
        yield f"- {title}: {codes}"


def _section(problem: Problem) -> Iterator[str]:
    yield f'\n### <a id="{problem.code.lower()}"></a>{problem.code}: {problem.title}\n'
    yield problem.explanation
    if problem.wrong:
        yield f"\n```dl wrong {problem.code}\n{problem.wrong.rstrip()}\n```\n"
        yield f"```text\n{said(problem.wrong)}\n```\n"
        yield f"Right:\n\n```dl\n{problem.right.rstrip()}\n```"


def said(text: str) -> str:
    """What `dlc check` prints about a spec."""
    project = Project(ROOT)
    try:
        found = check_unit(project, project.loads(text, "spec.dl"))
    except SpecError as error:
        found = error.diagnostics
    return "\n".join(line.rstrip() for line in render_all(found, {"spec.dl": text}).splitlines())


def main() -> int:
    text = page()
    if "--check" in sys.argv[1:]:
        current = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
        return int(text != current)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
