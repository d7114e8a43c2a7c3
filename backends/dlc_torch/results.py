"""What a method returns: a tensor, or several by name.

class BERTOutput(NamedTuple):
    last_hidden_state: Tensor
    pooler_output: Tensor

Outputs that there are in training only, or with an optional input, are None elsewhere; where only one is left, it is returned
by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dlc.emit.body import Body, Lines
from dlc.emit.layout import layout
from dlc.emit.names import camel, field_name
from dlc.emit.statements import absent
from dlc.emit.tree import Expr, Ref
from dlc.ir.nodes import Function
from dlc.records import dataclass

_NUMBERED = re.compile(r"output(_\d+)?")


def has_fields(function: Function) -> bool:
    """Whether a function has several outputs, which the spec names."""
    names = [name for name, _ in function.outputs]
    fields = set(map(field_name, names))
    return len(names) > 1 and len(fields) == len(names) and not any(map(_NUMBERED.fullmatch, names))


@dataclass(frozen=True)
class Results:
    """`name` is the NamedTuple's, "" for a plain tuple; `optional` tells which of its `fields` may be None."""

    name: str
    fields: tuple[str, ...]
    optional: tuple[bool, ...]

    @staticmethod
    def of(body: Body, made: str) -> Results:
        """Those of a method or function of the class or function called `made`."""
        function = body.draft.function
        missing = absent(body.body)
        if body.extra is not None and len(body.usual) == 1:  # then all are there, or one alone
            missing -= {target.name for target in body.extra.outputs}
        optional = tuple(isinstance(each, Ref) and each.value in missing for each in body.results)
        fields = tuple(field_name(name) for name, _ in function.outputs)
        if not has_fields(function):
            return Results("", fields, optional)
        return Results(f"{camel(made)}{camel(function.entry)}Output", fields, optional)

    def definition(self) -> Lines:
        """The NamedTuple's class; none for a plain tuple."""
        if not self.name:
            return []
        lines = [f"class {self.name}(NamedTuple):"]
        for i, (field, optional) in enumerate(zip(self.fields, self.optional, strict=True)):
            default = " = None" if all(self.optional[i:]) else ""
            lines += layout(f"{field}: Tensor | None{default}" if optional else f"{field}: Tensor", 1)
        return lines

    def annotation(self, body: Body) -> str:
        """The type of what is returned."""
        whole = self._type(body.results, self.optional)
        if body.extra is None:
            return whole
        usual = self._type(body.usual, [False for _ in body.usual])
        if self.name and len(body.usual) > 1:
            return self.name
        kept = self._type(body.results, [False for _ in body.results])
        return f"{usual} | {kept}"

    def _type(self, results: Sequence[Expr], optional: Sequence[bool]) -> str:
        if self.name and len(results) > 1:
            return self.name
        each = ["Tensor | None" if absent else "Tensor" for absent in optional]
        return each[0] if len(each) == 1 else f"tuple[{', '.join(each)}]"

    def returned(self, given: Sequence[str | None]) -> str:
        """What stands behind `return`; None for a result that is not there."""
        present = [each for each in given if each is not None]
        if not self.name or len(present) < 2:
            return ", ".join(present)
        while given[-1] is None:
            given = given[:-1]
        return f"{self.name}({', '.join('None' if each is None else each for each in given)})"
