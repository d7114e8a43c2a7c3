"""What the documentation says in passing: links lead somewhere, and what there is, is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from dlc.cli import COMMANDS, build
from dlc.elaborate.checks.train_arguments import OPTIMIZERS, SCHEDULES, SETTINGS, SOURCES
from dlc.passes.pipeline import LEVELS, LOWERED, TRAINING

from .pages import PAGES, ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    text = prose(page)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)"', text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{link} leads nowhere"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link}: {target.name} has no such heading"


def read(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_every_command_and_option_is_described() -> None:
    page = read("cli.md")
    for name in COMMANDS:
        assert f"`{name}" in page, name
    stack, words = [typer.main.get_command(build())], set()
    while stack:
        command = stack.pop()
        stack += getattr(command, "commands", {}).values()
        words |= {option for each in command.params for option in each.opts if option.startswith("-")}
    missing = {word for word in words if not re.search(rf"[\s`]{word}\b", page)}
    assert not missing


@pytest.mark.parametrize(
    ("what", "arguments"),
    [("optimizers", OPTIMIZERS), ("schedules", SCHEDULES), ("sources", SOURCES)],
    ids=["optimizers", "schedules", "sources"],
)
def test_training_is_described(what: str, arguments: dict[str, dict[str, object]]) -> None:
    """Every name has a row in its section of the language guide, with every argument and its default."""
    section = read("language.md").split(f"### {what.capitalize()}")[1].split("\n### ")[0]
    for name, options in arguments.items():
        row = next(line for line in section.splitlines() if line.startswith(f"| `{name}`"))
        for option, default in options.items():
            shown = f"`{option}=" if default is not None else f"`{option}"
            assert option == "batch" or shown in row, f"{name}: {option}"
            if isinstance(default, int | float) and not isinstance(default, bool) and option != "batch":
                written = re.search(rf"`{option}=([^`]+)`", row)
                assert written is not None and float(written.group(1)) == default, f"{name}: {option}"


def test_settings_are_described() -> None:
    section = read("language.md").split("### Settings")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == set(SETTINGS)


def test_passes_are_described() -> None:
    page = read("architecture.md")
    missing = {
        each.name for level in (*LEVELS, LOWERED, TRAINING) for each in level if f"`{each.name}`" not in page
    }
    assert not missing, "the table of passes in docs/architecture.md lacks these"
