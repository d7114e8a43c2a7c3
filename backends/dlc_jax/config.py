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
            raise ValueError("d % heads == 0 must hold")
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from dlc.emit.arguments import Argument
from dlc.emit.checks import opposite
from dlc.emit.layout import INDENT, layout
from dlc.emit.origins import expression
from dlc.emit.python import quoted
from dlc.emit.tree import Arg, At, Binary, Expr, Num, Word, text, transform, walk
from dlc.ir.nodes import Function
from dlc.types.relations import MIRRORED
from dlc.types.traced import Term

Lines = list[str]


def config(
    arguments: Sequence[Argument],
    asked: Sequence[Term],
    function: Function,
    read: Iterable[Expr],
    defaults: bool,
) -> Lines:
    """The class; `read` are the expressions that read its fields."""
    fields = [line for each in arguments for line in layout(each.signature(defaults), 1)]
    names = {each.spec: each.name for each in arguments}
    asked_once = dict.fromkeys(tuple(_check(condition, names)) for condition in asked)
    checks = [
        *_computed(arguments),
        *_lengths(arguments, function, read),
        *(line for lines in asked_once for line in lines),
    ]
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
                f"object.__setattr__(self, {quoted(each.name)}, {_said(each.computed, 'self.')})", 3
            )


def _lengths(arguments: Sequence[Argument], function: Function, read: Iterable[Expr]) -> Iterator[str]:
    """Lists that are taken apart have the length that they are taken apart to."""
    parts = {node.base for expr in read for node in walk(expr) if isinstance(node, At)}
    static = dict(function.static)
    for each in arguments:
        value = static.get(each.spec)
        if isinstance(value, tuple) and Arg(each.name) in parts:
            lengths = [len(item) if isinstance(item, tuple) else 0 for item in value]
            here = f"self.{each.name}"
            found, wanted = (
                (f"[len(each) for each in {here}]", lengths) if any(lengths) else (f"len({here})", len(value))
            )
            message = f"{each.name} must have {'lengths' if any(lengths) else 'length'} {wanted}"
            yield f"{INDENT * 2}if {found} != {wanted}:"
            yield from layout(f"raise ValueError({quoted(message)})", 3)


def _check(condition: Term, arguments: Mapping[str, str]) -> Iterator[str]:
    def plain(node: Expr) -> Expr:
        match node:
            case Arg(name):
                return Arg(arguments.get(name, name))
            case Binary(operator, Num() as left, right) if operator in MIRRORED:
                return Binary(MIRRORED[operator], right, left)  # what is asked about stands on the left
        return node

    asked = transform(expression(condition), plain)
    yield from layout(f"if {_said(opposite(asked), 'self.')}:", 2)
    yield from layout(f"raise ValueError({quoted(_said(asked, '') + ' must hold')})", 3)


def _said(expr: Expr, owner: str) -> str:
    return text(transform(expr, lambda node: Word(f"{owner}{node.name}") if isinstance(node, Arg) else node))
