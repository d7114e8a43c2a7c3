"""What sources say of files that can't be read, and of packages that are missing."""

from __future__ import annotations

from pathlib import Path

from dlc.source import SourceError


def can_t_read(path: Path, error: Exception) -> SourceError:
    reason = str(error)
    if isinstance(error, OSError):
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror or reason
    return SourceError(f"can't read {path}: {reason}")


def no_utf8(path: Path) -> SourceError:
    """A file of text in another encoding: its first line that is none of UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                place = f"line {number:,}, byte {error.start + 1}"
                return SourceError(f"{path}, {place}: this is no UTF-8", "save the file as UTF-8")
    return SourceError(f"{path} is no UTF-8", "save the file as UTF-8")


def missing_package(what: str, package: str, extra: str = "data") -> SourceError:
    """What something needs is not installed: the command that does it."""
    return SourceError(f"{what} needs {package}", f"install it: pip install 'dlc[{extra}]'")
