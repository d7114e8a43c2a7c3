"""Every code block of the documentation does what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import dlc
import pytest
from dlc.diagnostics import render_all

from .pages import ROOT, Block, blocks, wrapped

FolderOf = Callable[[Path], Path]


def each(found: Iterable[Block]) -> list[Any]:
    """Blocks as parameters of a test."""
    return [
        pytest.param(block, id=block.id, marks=[pytest.mark.slow] if block.slow else []) for block in found
    ]


# --- dl --------------------------------------------------------------------------------------------------------


def diagnostics(text: str, root: Path) -> tuple[dlc.Diagnostic, ...]:
    try:
        return dlc.loads(text, name="page.dl", root=root).check()
    except dlc.SpecError as error:
        return error.diagnostics


@pytest.mark.parametrize("block", each(blocks("dl")))
def test_spec(block: Block, folder_of: FolderOf) -> None:
    text = wrapped(block.text) if "fragment" in block.words else block.text
    place = folder_of(block.page)
    if name := block.option("file"):
        (place / name).write_text(text, encoding="utf-8")
    found = diagnostics(text, place)
    if "wrong" in block.words:
        expected = {word for word in block.words if re.fullmatch(r"E\d{4}", word)}
        assert expected, "a wrong block names its codes"
        assert {one.code for one in found} == expected, render_all(found, {"page.dl": text})
    else:
        assert not found, render_all(found, {"page.dl": text})


# --- python ----------------------------------------------------------------------------------------------------

_namespaces: dict[Path, dict[str, Any]] = {}


@pytest.mark.parametrize("block", each(blocks("python")))
def test_python(block: Block, folder_of: FolderOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder_of(block.page))
    namespace = _namespaces.setdefault(block.page, {"__name__": block.page.stem})
    exec(compile("\n" * block.line + block.text, str(block.page), "exec"), namespace)


# --- sh --------------------------------------------------------------------------------------------------------


def commands(block: Block) -> list[str]:
    """The commands of a block, each on one line, comments left out."""
    joined = block.text.replace("\\\n", " ")
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


def runs(block: Block) -> bool:
    """Whether a block holds nothing but commands of `dlc`: what installs or builds is not run here."""
    return all(line.startswith("dlc ") for line in commands(block))


def shortened(line: str) -> str:
    """A training of README.md with one step: there it is hours long."""
    return f"{line} --set settings.steps=1" if line.startswith("dlc train") and "settings" not in line else line


@pytest.mark.parametrize("block", each(block for block in blocks("sh") if runs(block)))
def test_commands(block: Block, folder_of: FolderOf) -> None:
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "NO_COLOR": "1",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "100",
    }
    status, printed = int(block.option("exit", "0")), ""
    lines = commands(block)
    for line in lines:
        line = shortened(line) if block.page.parent == ROOT else line
        done = subprocess.run(
            ["bash", "-c", line], cwd=folder_of(block.page), env=environment, capture_output=True, text=True
        )
        expected = status if line is lines[-1] or len(lines) == 1 else 0
        assert done.returncode == expected, f"{line}\n{done.stdout}{done.stderr}"
        printed += done.stdout + done.stderr
    if block.output is not None:
        pattern = r".*".join(re.escape(part.strip("\n")) for part in re.split(r"^…$", block.output, flags=re.MULTILINE))
        assert re.fullmatch(pattern, trimmed(printed), re.DOTALL), printed


def trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
