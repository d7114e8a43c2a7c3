"""`python`: rows that a function of a file of one's own makes. Code is run only where the user allows it."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dlc.diagnostics import did_you_mean
from dlc.runtime.data import memory
from dlc.runtime.data.promised import MEMBERS
from dlc.source import OUTSIDE, Request, Rows, SourceError, inside

FORM = 'it is written `python("file.py:function")`'


def open_rows(request: Request) -> Rows:
    """What the function gives: arrays by name, rows first, or a source's rows. Raises SourceError where code may not be run, and
    with what the function raises."""
    written = str(request.options["path"])
    file, colon, name = written.rpartition(":")
    if not colon or not file.endswith(".py") or not name.isidentifier():
        raise SourceError(f'"{written}" names no function of a file', FORM)
    if not request.allow_python:
        help = f"if you trust {file}: --allow-python, or `dlc.load(…, allow_python=True)`"
        raise SourceError(f"`python` runs code of {file}, which nobody has allowed", help)
    path = inside(request.root, request.folder, file)
    if path is None:
        raise SourceError(f"can't read {file}: {OUTSIDE}", "--root FOLDER names a folder above both")
    function = _function(path, name)
    made = _ran(path, name, lambda: function(*request.options["arguments"]))
    if isinstance(made, Mapping):
        return memory.rows_of(name, made, request.fields)
    lacking = [each for each in MEMBERS if not hasattr(made, each)]
    if lacking:
        help = "it gives arrays by the names of the fields, rows first, or what `dlc.source.Rows` describes"
        raise SourceError(f"`{name}` of {file} gives {type(made).__name__}, which is no rows", help)
    rows: Rows = made
    return rows


def _function(path: Path, name: str) -> Callable[..., Any]:
    if not path.is_file():
        raise SourceError(f"can't read {path}: there is no such file")
    spec = importlib.util.spec_from_file_location(f"dlc_data_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # so that it imports what lies beside it, as a script does
    try:
        loader = spec.loader
        _ran(path, "", lambda: loader.exec_module(module))
    finally:
        sys.path.remove(str(path.parent))
    found = getattr(module, name, None)
    if not callable(found):
        known = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        help = did_you_mean(name, known) or f"it has {', '.join(known) or 'none'}"
        raise SourceError(f"{path} has no function `{name}`", help)
    return found  # type: ignore[no-any-return]


def _ran(path: Path, name: str, code: Callable[[], Any]) -> Any:
    """Raises SourceError with what the user's code raises, and the line of it that did."""
    try:
        return code()
    except (Exception, SystemExit) as error:
        frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename == str(path)]
        line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None
        line = frames[-1].lineno if frames else line
        what = f"`{name}` of {path}" if name else str(path)
        place = f", line {line}" if line else ""
        told = str(error).partition("\n")[0]
        raise SourceError(f"{what}{place}: {type(error).__name__}: {told}") from error
