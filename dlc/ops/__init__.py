"""The primitive ops: every one defined once, in the file of its family.

`get(name)` finds an op; `define(op)` adds one from outside. A family's file is read when one of its ops is needed.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from dlc.ops.definition import OpDef

FAMILIES = (
    "elementwise",
    "reduction",
    "contraction",
    "shape",
    "indexing",
    "creation",
    "random",
    "neural",
    "gradient",
)

_defined: dict[str, OpDef] = {}
_added: set[str] = set()
_loaded = False


def _load() -> dict[str, OpDef]:
    global _loaded
    if not _loaded:  # set when all are there: another thread may ask meanwhile, and does the same once more
        for family in FAMILIES:
            for each in importlib.import_module(f"dlc.ops.{family}").OPS:
                _defined.setdefault(each.name, each)
        _loaded = True
    return _defined


def get(name: str) -> OpDef:
    """The definition of a primitive op, of this project or of a package that is installed. Raises KeyError for an unknown name."""
    if name not in _load():
        add_installed()
    return _defined[name]


def known(name: str) -> bool:
    return name in _load()


def all_ops() -> Iterator[OpDef]:
    """Every primitive op, family by family."""
    yield from _load().values()


def families() -> dict[str, str]:
    """The family of every op of this project, by name."""
    modules = {family: importlib.import_module(f"dlc.ops.{family}") for family in FAMILIES}
    return {each.name: family for family, module in modules.items() for each in module.OPS}


def define(op: OpDef) -> OpDef:
    """Add an op from outside this project. It must be defined before a spec that uses it is loaded.

    Raises ValueError if an op of that name exists, or the declaration is wrong in itself."""
    from dlc.ops.faults import fault

    if not isinstance(op, OpDef):
        raise TypeError(f"an op is what `dlc.ops.definition.op` gives, not {type(op).__name__}")
    reason = fault(op)
    if reason:
        raise ValueError(f"the op `{op.name}`: {reason}")
    if op.name in _load():
        raise ValueError(f"there is an op `{op.name}` already")
    return _add(op)


def _add(op: OpDef) -> OpDef:
    _added.add(op.name)
    _defined[op.name] = op
    return op


def add_installed() -> None:
    """Add what packages give by entry points (`dlc.ops`). A name that is taken stays what it is."""
    from dlc.ops.installed import found

    for each in found():
        if each.name not in _load():
            _add(each)


def added() -> frozenset[str]:
    """The names of the ops that `define` added."""
    return frozenset(_added)


def is_added(name: str) -> bool:
    return name in _added


def row(name: str, backend: str) -> Any:
    """How an op that `define` added is said by a backend; None where it does not tell."""
    return _defined[name].rows.get(backend) if name in _added else None
