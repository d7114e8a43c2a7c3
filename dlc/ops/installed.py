"""Ops of other packages: the entry-point group `dlc.ops`, whose entries give an `OpDef` or several.

What is installed is read when a spec names an op that is not of this project: reading it costs more than checking a spec.
"""

from __future__ import annotations

import warnings
from functools import cache

from dlc import plugins
from dlc.ops.definition import OpDef
from dlc.ops.faults import fault

GROUP = "dlc.ops"


class PluginWarning(UserWarning):
    """Ops of another package that are left out, and why."""


@cache
def found() -> tuple[OpDef, ...]:
    """The ops of all entries, read once. An entry that can't be loaded is told by a warning, as its package's fault, and the
    others count."""
    ops: list[OpDef] = []
    for entry in plugins.entries(GROUP):
        try:
            given = plugins.load(entry)
        except plugins.Unloadable as error:
            _told(str(error))
            continue
        made = given if isinstance(given, list | tuple) else (given,)
        if not all(isinstance(each, OpDef) for each in made):
            _told(plugins.refusal(entry, "is no op of `dlc.ops.definition.op`, nor several"))
            continue
        faults = {each.name: fault(each) for each in made}
        for name, reason in faults.items():
            if reason:
                _told(plugins.refusal(entry, f"declares `{name}`: {reason}"))
        ops += [each for each in made if not faults[each.name]]
    return tuple(ops)


def _told(reason: str) -> None:
    warnings.warn(f"ops of a plug-in are left out: {reason}", PluginWarning, stacklevel=3)
