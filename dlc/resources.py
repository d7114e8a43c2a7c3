"""Where the files that come with dlc lie: inside the installed package, or beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _find(name: str) -> Path:
    inside = _PACKAGE / name
    return inside if inside.exists() else _PACKAGE.parent / name


def grammar_path() -> Path:
    """The grammar of the language, `dl.lark`."""
    return _find("grammar") / "dl.lark"


def specs_path() -> Path:
    """The folder of the specs that come with dlc."""
    return _find("specs")


def library_path() -> Path:
    """The folder of the standard library. A plain path: `importlib.resources` takes longer to import than the library to read."""
    return _PACKAGE / "std"


def projects_path() -> Path:
    """The folder of the specs that projects start with."""
    return _PACKAGE / "projects"
