"""The static parameters of a model as a frozen dataclass, and what the spec asks of them.

@dataclass(frozen=True)
class Config:
    layers: int = 12
    d: int = 768
    ff: int | None = None

    def __post_init__(self) -> None:
        if self.ff is None:
            object.__setattr__(self, "ff", 4 * self.d)
        if self.d % self.heads != 0:
            raise ValueError(f"d % heads == 0 must hold, but d is {self.d} and heads is {self.heads}")
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from dlc.emit.arguments import Argument, by_name
from dlc.emit.asked import Lengths, asked_lines, at_least, lengths, taken_apart
from dlc.emit.layout import INDENT, layout
from dlc.emit.origins import expression
from dlc.emit.python import quoted
from dlc.emit.tree import Arg, Binary, Expr, Num, text, transform
from dlc.ir.nodes import Function
from dlc.types.relations import MIRRORED
from dlc.types.traced import Term

Lines = list[str]


def config(
    arguments: Sequence[Argument],
    requirements: Sequence[Term],
    function: Function,
    read: Iterable[Expr],
    defaults: bool,
    known: Lengths,
) -> Lines:
    """The class; `read` are the expressions that read its fields, `known` the lists that
    may be of any length."""
    fields = [line for each in arguments for line in layout(each.signature(defaults), 1)]
    names = {each.spec: each.name for each in arguments}
    lists = list(taken_apart(arguments, function, read))
    asked_once = dict.fromkeys(
        asked_lines((_plain(each, names) for each in requirements), lists, owner="self.")
    )
    long = list(lengths(known.of(lists, True), "self."))
    long += at_least(known.at_least(lists, True), "self.")
    # A list's length is asked once.
    further = (line for lines in asked_once if lines[0] not in long for line in lines)
    checks = [*_computed(arguments), *long, *further]
    init = ["", f"{INDENT}def __post_init__(self) -> None:", *checks] if checks else []
    return [
        "@dataclass(frozen=True)",
        "class Config:",
        f'{INDENT}"""The static parameters."""',
        "",
        *fields,
        *init,
    ]


def _computed(arguments: Sequence[Argument]) -> Iterator[str]:
    for each in arguments:
        if each.computed is not None:
            yield f"{INDENT * 2}if self.{each.name} is None:"
            yield from layout(
                f"object.__setattr__(self, {quoted(each.name)}, {text(by_name(each.computed, owner='self.'))})",
                3,
            )


def _plain(condition: Term, arguments: Mapping[str, str]) -> Expr:
    def plain(node: Expr) -> Expr:
        match node:
            case Arg(name):
                return Arg(arguments.get(name, name))
            case Binary(operator, Num() as left, right) if operator in MIRRORED:
                return Binary(MIRRORED[operator], right, left)  # what is asked about stands on the left
        return node

    return transform(expression(condition), plain)
