"""What other packages add by entry points, and which of them an error is of: a plug-in's fault is told as the plug-in's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlc.diagnostics import NO_SPAN, Diagnostic, SpecError
from dlc.diagnostics.training import PLUGIN

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints
    from types import FrameType

KINDS = {f"dlc.{kind}s": kind for kind in ("backend", "op", "source")}
OWN = "dlc"
SHOWN = 300  # characters of a message that someone else wrote


class Unloadable(Exception):
    """An entry point that can't be loaded; the message says whose it is and why."""


def entries(group: str) -> EntryPoints:
    folders = tuple(map(str, sys.path))
    return _installed(group, folders, tuple(map(_changed, folders)))


@lru_cache(maxsize=len(KINDS))
def _installed(group: str, folders: tuple[str, ...], changed: tuple[int, ...]) -> EntryPoints:
    """What is installed in these folders, which were changed last at these times. Reading it costs more than checking a spec: only when
    it is asked for, and once."""
    from importlib.metadata import entry_points

    return entry_points(group=group)


def _changed(folder: str) -> int:
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return 0


def package(entry: EntryPoint) -> str:
    """The distribution that an entry point is of, with its version: `dlc-spirals 0.1`."""
    found = entry.dist
    return f"{found.name} {found.version}" if found is not None else entry.value.partition(":")[0]


def load(entry: EntryPoint) -> Any:
    """What an entry point gives. Raises Unloadable, whatever a package of someone else does when it is imported."""
    try:
        return entry.load()
    except (Exception, SystemExit) as error:
        raise Unloadable(refusal(entry, f"can't be loaded ({_at_its_place(entry, error)})")) from error


def refusal(entry: EntryPoint, what: str) -> str:
    """What is wrong with an entry point, as a clause that says whose it is."""
    return f"`{entry.value}` of {package(entry)} {what}"


def failed(group: str, name: str, reason: str) -> SpecError:
    """The plug-in of that name does not what its kind has to do."""
    whose = next((f" of {package(each)}" for each in entries(group) if each.name == name), "")
    return SpecError([PLUGIN.at(NO_SPAN, what=f"the {KINDS[group]} `{name}`{whose}", reason=reason)])


def blamed(error: BaseException) -> Diagnostic | None:
    """An error that a plug-in raised, as a diagnostic that names it; None if there is none on its way."""
    frames = [*_frames(error)]
    for frame, line in reversed(frames):
        owners = _owners(str(frame.f_globals.get("__name__", "")))
        if not owners:
            continue
        places = [_place(frame, line)]
        if frames[-1][0] is not frame:
            places.append(f"called {_place(*frames[-1])}")
        return PLUGIN.at(
            NO_SPAN,
            what=_named(owners, getattr(frame.f_locals.get("self"), "name", "")),
            reason=said(error),
            notes=[*getattr(error, "__notes__", ()), *places],
            help="that is for the authors of the package; DLC_TRACEBACK=1 shows the way there",
        )
    return None


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """The way to an error, outermost first: a frame and the line in it. (`traceback` takes long to load.)"""
    place = error.__traceback__
    while place is not None:
        yield place.tb_frame, place.tb_lineno
        place = place.tb_next


def _named(owners: list[EntryPoint], name: str) -> str:
    """Which of the entry points of a package: the only one, or the one whose name the object that fails has."""
    entry = owners[0] if len(owners) == 1 else next((each for each in owners if each.name == name), None)
    if entry is None:
        return f"a plug-in of {package(owners[0])}"
    return f"the {KINDS[entry.group]} `{entry.name}` of {package(entry)}"


def said(error: BaseException) -> str:
    """The first line of an error, with its kind."""
    text = str(error).partition("\n")[0][:SHOWN]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _owners(module: str) -> list[EntryPoint]:
    """The entry points whose package a module is of; those that name the module itself, if some do. dlc's own are no plug-ins."""
    root = module.partition(".")[0]
    found = [
        each
        for group in KINDS
        for each in entries(group)
        if each.module.partition(".")[0] == root and (each.dist is None or each.dist.name != OWN)
    ]
    return [each for each in found if each.module == module] or found


def _at_its_place(entry: EntryPoint, error: BaseException) -> str:
    """The error, and where in the package it was raised."""
    root = entry.module.partition(".")[0]
    frames = [each for each in _frames(error) if _root(each[0]) == root]
    if not frames:
        return said(error)
    frame, line = frames[-1]
    return f"{said(error)}, at {_short(frame.f_code.co_filename)}:{line}"


def _root(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def _place(frame: FrameType, line: int) -> str:
    return f"{_short(frame.f_code.co_filename)}:{line}, in {frame.f_code.co_name}"


def _short(file: str) -> str:
    return "/".join(Path(file).parts[-2:])
