"""Ops of other packages: the entry-point group `dlc.ops`, whose entries give an `OpDef` or several.

What is installed is read when a spec names an op that is not of this project: reading it costs more than checking a spec.
"""

from __future__ import annotations

import warnings

from dlc.ops.definition import OpDef

GROUP = "dlc.ops"

_read = False


def found() -> tuple[OpDef, ...]:
    """The ops of all entries, at the first call; none later. An entry that can't be loaded is told by a warning, as its package's
    fault, and the others count."""
    global _read
    if _read:
        return ()
    _read = True
    from importlib.metadata import entry_points

    ops: list[OpDef] = []
    for entry in entry_points(group=GROUP):
        try:
            given = entry.load()
            made = (given,) if isinstance(given, OpDef) else tuple(given)
        except Exception as error:
            _told(f"`{entry.value}` can't be loaded ({type(error).__name__}: {error})")
            continue
        if not all(isinstance(each, OpDef) for each in made):
            _told(f"`{entry.value}` is no op of `dlc.ops.definition.op`, nor several")
            continue
        ops += made
    return tuple(ops)


def _told(reason: str) -> None:
    warnings.warn(f"the ops of a plug-in are left out: {reason}", stacklevel=2)
