"""The backends that are installed: found by the entry-point group `dlc.backends`, which those that ship use like others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from dlc import plugins
from dlc.backend.contract import Backend

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "dlc.backends"


class Broken(Backend):
    """Stands for an entry point that gives no backend, so that the others work and it is named where it is asked for."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason

    def absence(self, *, emitting: bool = False) -> str:
        return self.reason

    def emit(self, *args: Any, **options: Any) -> NoReturn:
        raise self.lacks(f"can't be loaded: {self.reason}")

    def load(self, *args: Any, **options: Any) -> NoReturn:
        raise self.lacks(f"can't be loaded: {self.reason}")


def find(name: str) -> Backend:
    """The backend of that name. Raises KeyError if none is installed under it."""
    for entry in plugins.entries(GROUP):
        if entry.name == name:
            return _loaded(entry)
    raise KeyError(name)


def every() -> tuple[Backend, ...]:
    """The backends that are found, in their order."""
    return tuple(sorted(map(_loaded, plugins.entries(GROUP)), key=lambda each: (each.order, each.name)))


def names() -> tuple[str, ...]:
    """Their names, in the same order."""
    return tuple(each.name for each in every())


def _loaded(entry: EntryPoint) -> Backend:
    """Whatever a package of someone else does when it is imported, the other backends work."""
    try:
        found = plugins.load(entry)
    except plugins.Unloadable as error:
        return Broken(entry.name, str(error))
    if not isinstance(found, Backend):
        return Broken(entry.name, plugins.refusal(entry, "is no `dlc.backend.Backend`"))
    if getattr(found, "name", "") != entry.name:
        return Broken(entry.name, plugins.refusal(entry, f"has a `name` that is not `{entry.name}`"))
    wrong = _misdeclared(found) if entry.dist is None or entry.dist.name != plugins.OWN else ""
    return Broken(entry.name, plugins.refusal(entry, wrong)) if wrong else found


def _misdeclared(backend: Backend) -> str:
    """What is wrong with what a backend of another package declares, as a clause; "" if nothing is."""
    from dlc.ops.gaps import Gap

    try:
        gaps = dict(backend.gaps)
    except Exception as error:
        return f"can't say its gaps ({plugins.said(error)})"
    for name, gap in gaps.items():
        if not isinstance(gap, Gap):
            return f"has no `dlc.ops.gaps.Gap` for `{name}` in its gaps, but {type(gap).__name__}"
    return ""
