"""Reads the text of a spec from a file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dlc.diagnostics import Span, SpecError, did_you_mean
from dlc.diagnostics.catalogue import NO_FILE, NOT_UTF8, TOO_LONG
from dlc.syntax.scanner import CHARACTER_LIMIT


def read_source(path: str | Path) -> str:
    """The text of the file at `path`, without byte-order mark, its lines ended by `\\n` alone."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(4 * CHARACTER_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        help = _near(Path(path)) if isinstance(error, FileNotFoundError) else ""
        raise SpecError([NO_FILE.at(Span(str(path), 0, 0), path=path, reason=reason, help=help)]) from None
    if len(data) > 4 * CHARACTER_LIMIT:
        limit = f"{CHARACTER_LIMIT:,} characters"
        raise SpecError([TOO_LONG.at(Span(str(path), 0, 0), what=str(path), limit=limit)])
    return decode(data, str(path))


def specs_in(paths: Iterable[str]) -> list[str]:
    """The files that `paths` name, of a folder all specs in it and in the folders below it, by their names. Raises SpecError
    for a folder without one."""
    found: list[str] = []
    for path in paths:
        if not Path(path).is_dir():
            found.append(path)
            continue
        inside = (each for each in Path(path).rglob("*.dl") if each.is_file())
        specs = sorted(str(each) for each in inside if not _is_hidden(each.relative_to(path)))
        if not specs:
            raise SpecError([NO_FILE.at(Span(path, 0, 0), path=path, reason="no .dl file is in this folder")])
        found += specs
    return found


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _near(path: Path) -> str:
    """Help with a file of a similar name in the same folder."""
    return did_you_mean(str(path), map(str, path.parent.glob("*.dl")))


def decode(data: bytes, file: str) -> str:
    """`data` as text; bytes that are no UTF-8 are a SpecError at the place of the first of them."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError([NOT_UTF8.at(_place(data, error.start, file), reason=_reason(data, error))]) from None
    return text.replace("\r\n", "\n")


def _place(data: bytes, offset: int, file: str) -> Span:
    before = data[:offset].decode("utf-8", "replace").removeprefix("\ufeff")
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    return Span(file, line, column, line, column + 1)


def _reason(data: bytes, error: UnicodeDecodeError) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it looks like UTF-16"
    return f"byte 0x{data[error.start]:02x} at offset {error.start}"
