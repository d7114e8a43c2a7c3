"""Every code block of the documentation does what the page says. Those of a page run in one folder, in order."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

import dlc
from dlc.cli import build
from dlc.diagnostics import render_all
from dlc.runtime.testing import run_tests

from .pages import ROOT, Block, blocks, wrapped

FolderOf = Callable[[Path], Path]


def commands(block: Block) -> list[str]:
    """The commands of a shell block, each on one line, comments left out."""
    joined = block.text.replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


def is_run(block: Block) -> bool:
    """Whether a block is run: of shell blocks, those that hold nothing but commands of `dlc`; what installs or builds
    is not."""
    if block.language == "sh":
        return all(line.startswith("dlc ") for line in commands(block))
    return block.language in ("dl", "python")


RUN = tuple(block for block in blocks() if is_run(block))
_done: set[Block] = set()


@pytest.mark.parametrize(
    "block",
    [pytest.param(block, id=block.id, marks=[pytest.mark.slow] if block.slow else []) for block in RUN],
)
def test_block(block: Block, folder_of: FolderOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder_of(block.page))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    for each in (*before(block), block):
        _done.add(each)
        {"dl": check, "python": execute, "sh": run}[each.language](each)


def before(block: Block) -> list[Block]:
    """The page's earlier blocks that no test has run yet; a fast block needs no slow one."""
    earlier = [each for each in RUN if each.page == block.page and each.line < block.line]
    return [each for each in earlier if each not in _done and (block.slow or not each.slow)]


# --- dl --------------------------------------------------------------------------------------------------------


def check(block: Block) -> None:
    text = wrapped(block.text) if "fragment" in block.words else block.text
    if name := block.option("file"):
        Path(name).write_text(text, encoding="utf-8")
    found = diagnostics(text)
    shown = render_all(found, {"page.dl": text})
    if "wrong" in block.words:
        expected = {word for word in block.words if re.fullmatch(r"[EW]\d{4}", word)}
        assert expected, "a wrong block names its codes"
        assert {each.code for each in found} == expected, shown
    else:
        assert not found, shown
        assert not failed_tests(text)


def failed_tests(text: str) -> list[str]:
    spec = dlc.loads(text, name="page.dl")
    return [each.name for each in run_tests(spec.project, spec.unit) if not each.passed]


def diagnostics(text: str) -> tuple[dlc.Diagnostic, ...]:
    try:
        return dlc.loads(text, name="page.dl").check()
    except dlc.SpecError as error:
        return error.diagnostics


# --- python ----------------------------------------------------------------------------------------------------


def execute(block: Block) -> None:
    """Run a block in the module that stands for its page; a file is written, for whoever runs it."""
    if file := block.option("file"):
        Path(file).write_text(block.text, encoding="utf-8")
        return
    name = f"page_{block.page.stem}"
    module = sys.modules.setdefault(name, ModuleType(name))
    code = compile("\n" * block.line + block.text, str(block.page), "exec", dont_inherit=True)
    exec(code, module.__dict__)


# --- sh --------------------------------------------------------------------------------------------------------


def run(block: Block) -> None:
    lines, printed = commands(block), ""
    for line in lines:
        words = shlex.split(line)[1:]
        if block.page.parent == ROOT and words[0] == "train":
            words += ["--set", "settings.steps=1"]  # a minute long as it stands there
        done = CliRunner().invoke(build(words[0]), words, prog_name="dlc")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        status = int(block.option("exit", "0")) if line is lines[-1] else 0
        assert done.exit_code == status, f"{line}\n{done.output}"
        printed += done.output
    if block.output is not None:
        assert re.fullmatch(pattern(block.output), trimmed(printed)), printed


def pattern(output: str) -> str:
    """A regular expression for what a page shows as printed."""
    lines = [re.escape(line).replace("…", "[^\n]*") for line in output.strip("\n").splitlines()]
    return "\n".join(r"[\s\S]*" if line == "[^\n]*" else line for line in lines)


def trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
