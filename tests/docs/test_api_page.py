"""docs/api.md names all that a program meets: each public name, parameter and member of what it is given."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
import typer

import dlc
from dlc.analysis.summary import Row, Summary
from dlc.backend import Runnable
from dlc.cli import COMMANDS, build
from dlc.diagnostics import Fix, Span
from dlc.ir.nodes import Parameter, Value
from dlc.runtime.training import Interrupted, Record, Result, Watch
from dlc.runtime.verify import Difference, Report
from dlc.source import Request, Rows, SourceError

from .pages import ROOT

PAGES = {name: (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("api.md", "extending.md", "cli.md", "architecture.md")}  # fmt: skip

# What is public by its name alone: what other parts of dlc ask for.
INTERNAL: dict[type, set[str]] = {
    dlc.Spec: {"project", "unit", "point", "entered", "fail", "model"},
    dlc.Model: {"spec", "origin", "point", "overrides", "beside", "optional", "changed", "traced_program"},
    dlc.TrainBlock: {"spec", "node"},
    Parameter: {"rule", "sources", "init"},
    Span: {"to", "inside"},
}
API = (
    dlc.Spec, dlc.Model, dlc.TrainBlock, dlc.Artifact, dlc.Diagnostic, dlc.SpecError, Span, Fix, Runnable, Report, Difference, Result,
    Record, Watch, Interrupted, Summary, Row, Parameter, Value,
)  # fmt: skip


def members(kind: type) -> list[str]:
    raised = dir(KeyboardInterrupt) if issubclass(kind, BaseException) else []
    names = [*dir(kind), *(name for each in kind.__mro__ for name in inspect.get_annotations(each))]
    if issubclass(kind, BaseException):
        names += re.findall(r"self\.(\w+) =", inspect.getsource(kind))
    hidden = INTERNAL.get(kind, set())
    return [
        name
        for name in dict.fromkeys(names)
        if not name.startswith("_") and name not in hidden and name not in raised
    ]


def unnamed(names: list[str], page: str) -> list[str]:
    """Those that stand nowhere in a page as code."""
    code = re.findall(r"`[^`\n]+`", PAGES[page]) + re.findall(r"```.*?```", PAGES[page], re.DOTALL)
    said = " ".join(code)
    return [name for name in names if not re.search(rf"\b{re.escape(name)}\b", said)]


def test_each_public_name_stands_in_the_page() -> None:
    assert unnamed(dlc.__all__, "api.md") == []


@pytest.mark.parametrize("kind", API, ids=lambda each: each.__name__)
def test_each_member_stands_in_the_page(kind: type) -> None:
    assert unnamed(members(kind), "api.md") == []


@pytest.mark.parametrize("kind", [Request, Rows, SourceError], ids=lambda each: each.__name__)
def test_what_a_source_meets_stands_in_the_page(kind: type) -> None:
    assert unnamed(members(kind), "extending.md") == []


@pytest.mark.parametrize(
    "function",
    [
        dlc.load, dlc.loads, dlc.verify, dlc.train, dlc.Model.emit, dlc.Model.compile, dlc.Model.initial_weights, dlc.Model.optimized,
        Watch.start, Watch.step, Watch.evaluation, Watch.interrupted,
    ],
    ids=lambda each: each.__name__,
)  # fmt: skip
def test_each_parameter_stands_in_the_page(function: Any) -> None:
    names = [
        name for name in inspect.signature(function).parameters if name not in ("self", "block", "model")
    ]
    assert unnamed(names, "api.md") == []


def test_members_are_found() -> None:
    assert {"code", "message", "to_json"} <= {*members(dlc.Diagnostic)}
    assert {"diagnostics", "sources"} == {*members(dlc.SpecError)}
    assert unnamed(["compile", "compyle"], "api.md") == ["compyle"]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_stands_in_the_page(command: str) -> None:
    """Under its command, or among what all commands take."""
    found = typer.main.get_command(build(command)).commands[command]  # type: ignore[attr-defined]
    groups = getattr(found, "commands", {"": found})
    section = re.search(
        rf"^## `?dlc {command}`?.*?(?=^## `?dlc |\Z)", PAGES["cli.md"], re.DOTALL | re.MULTILINE
    )
    text = (section.group() if section else "") + PAGES["cli.md"].partition("\n## `dlc")[0]
    for name, each in groups.items():
        options = [
            option for parameter in each.params for option in parameter.opts if option.startswith("--")
        ]
        missing = [option for option in options if option != "--help" and option not in text]
        assert missing == [], f"dlc {command} {name}"


def test_what_files_to_touch_are_there() -> None:
    """What the pages for contributors name as files of this repository; NAME and FAMILY stand for any."""
    for page in ("architecture.md", "extending.md"):
        for path in re.findall(
            r"`((?:dlc|backends|grammar|tests|specs|tools|benchmarks|examples)/[\w./*-]+)`", PAGES[page]
        ):
            pattern = re.sub(r"\b(NAME|FAMILY|FOLDER|MODULE)\b", "*", path)
            assert list(ROOT.glob(pattern.rstrip("/"))) or list(ROOT.glob(f"{pattern}.py")), (
                f"{page} speaks of {path}"
            )


def test_each_file_of_the_table_is_there() -> None:
    table = PAGES["architecture.md"].partition("## Which files do I touch?")[2]
    words = re.findall(r"`([\w./*]+)`", table)
    places = [word for word in words if "/" in word or word.endswith((".py", ".dl", ".lark"))]
    assert len(places) >= 19
    for word in places:
        pattern = re.sub(r"NAME|FAMILY|FOLDER", "*", word)
        there = (
            list(ROOT.glob(pattern))
            or list(ROOT.glob(f"dlc/**/{pattern}"))
            or list(ROOT.glob(f"backends/*/{pattern}"))
        )
        assert there, f"{word} is not there"
