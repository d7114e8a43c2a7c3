"""The spec's functions of static values as functions of the source.

fn divisible(v: float) -> int { … }    ->    def divisible(v: float) -> int: …
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dlc.emit.arguments import python_type
from dlc.emit.layout import INDENT, WIDTH, layout
from dlc.emit.names import identifier
from dlc.emit.origins import expression
from dlc.emit.python import docstring, wrapped
from dlc.emit.tree import Expr, Helped, text, walk
from dlc.types.traced import Helper

Lines = list[str]


def helpers(exprs: Iterable[Expr]) -> Iterator[Helper]:
    """The helpers that expressions call, each behind those that it calls itself."""
    done: dict[Helper, None] = {}
    for node in (node for expr in exprs for node in walk(expr)):
        if isinstance(node, Helped) and node.helper not in done:
            steps = [told for _, told in node.helper.steps]
            for each in helpers(map(expression, (*steps, node.helper.result))):
                if each not in done:
                    done[each] = None
                    yield each
            done[node.helper] = None
            yield node.helper


def lines(helper: Helper) -> Lines:
    """It as a `def`."""
    params = (
        f"{identifier(name)}: {python_type(kind)}" if python_type(kind) else identifier(name)
        for name, kind in zip(helper.params, helper.types, strict=True)
    )
    result = python_type(helper.kind)
    made = layout(f"def {helper.name}({', '.join(params)}){f' -> {result}' if result else ''}:", 0)
    made += docstring("\n".join(wrapped(helper.doc, WIDTH - 10)), len(INDENT)) if helper.doc else []
    for name, told in helper.steps:
        made += layout(f"{identifier(name)} = {text(expression(told))}", 1)
    return [*made, *layout(f"return {text(expression(helper.result))}", 1)]
