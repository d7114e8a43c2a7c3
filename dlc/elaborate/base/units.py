"""Files of a spec as the elaborator knows them, and what they define."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from dlc.elaborate.base.remarks import remarks
from dlc.ir.nodes import Remark
from dlc.records import dataclass, field
from dlc.syntax import ast


@dataclass(eq=False)
class Unit:
    """A parsed file: its tree and what its names stand for. `names` holds imported names too."""

    path: str
    text: str
    file: ast.File
    library: bool = False
    names: dict[str, Item | Unit] = field(default_factory=dict)
    owners: dict[str, Unit] = field(default_factory=dict)
    stages: dict[Any, Definition] = field(default_factory=dict)
    """Modules that turns of loops are for emission (`bodies/stages.py`), by their statements and headers."""

    @cached_property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    @cached_property
    def remarks(self) -> tuple[Remark, ...]:
        """What its comments say inside of bodies."""
        return remarks(self.file, self.path)

    def own(self, name: str) -> Unit:
        """The unit in which a name visible here is defined."""
        return self.owners.get(name, self)


@dataclass(frozen=True, eq=False)
class Definition:
    """A named item of a file (`module`, `model`, `fn`, `type`), known by identity. `library` for the standard ones."""

    name: str
    node: ast.ModuleDef | ast.FnDef | ast.GroupDef
    unit: Unit
    library: bool = False

    def __repr__(self) -> str:
        return self.name


Item = Definition | ast.Let | ast.Preset | ast.Weights | ast.Train


def main_statements(definition: Definition) -> tuple[ast.Stmt, ...]:
    """The body of a module or fn."""
    return () if isinstance(definition.node, ast.GroupDef) else definition.node.body


def own_statics(definition: Definition, entry: str) -> tuple[ast.Field, ...]:
    """The static parameters of an entry's own list, which come to the module's; none of the main computation ("")."""
    return (entries(definition)[entry].static or ()) if entry else ()


def entries(definition: Definition) -> dict[str, ast.Entry]:
    """The further ways into a module."""
    body = definition.node.body if isinstance(definition.node, ast.ModuleDef) else ()
    return {item.name: item for item in body if isinstance(item, ast.Entry)}
