"""What a constructor or a `Config` asks of its static arguments, as lines that raise ValueError."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from dlc.emit.arguments import NO_NAMES, Argument, by_name
from dlc.emit.checks import opposite
from dlc.emit.layout import layout
from dlc.emit.python import quoted
from dlc.emit.tree import Arg, At, Expr, text, walk
from dlc.ir.nodes import Function


def required(condition: Expr, names: Mapping[str, str] = NO_NAMES, owner: str = "") -> Iterator[str]:
    """A condition that must hold. `names` says the arguments that the source calls otherwise than the spec; `owner` stands before
    them: `self.`."""
    yield from layout(f"if {text(by_name(opposite(condition), names, owner))}:", 2)
    yield from layout(f"raise ValueError({quoted(f'{text(by_name(condition, names))} must hold')})", 3)


def lengths(
    arguments: Sequence[Argument], function: Function, read: Iterable[Expr], owner: str = ""
) -> Iterator[str]:
    """Lists that the expressions `read` take apart have the length that they take them apart to."""
    parts = {node.base for expr in read for node in walk(expr) if isinstance(node, At)}
    static = dict(function.static)
    for each in arguments:
        value = static.get(each.spec)
        if not isinstance(value, tuple) or Arg(each.name) not in parts:
            continue
        nested = [len(item) if isinstance(item, tuple) else 0 for item in value]
        here = f"{owner}{each.name}"
        found, wanted = (
            (f"[len(each) for each in {here}]", nested) if any(nested) else (f"len({here})", len(value))
        )
        message = f"{each.name} must have {'lengths' if any(nested) else 'length'} {wanted}"
        yield from layout(f"if {found} != {wanted}:", 2)
        yield from layout(f"raise ValueError({quoted(message)})", 3)
