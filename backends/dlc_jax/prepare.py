"""`prepare(params)`: tensors that passes compute once from the spec's parameters (weights with a norm
folded in)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, cast

from dlc.emit.layout import INDENT, layout
from dlc.ir.nodes import Param
from dlc_jax.loops import Parts, literal, statements

if TYPE_CHECKING:
    from dlc_jax.emit import Module

Prepared = tuple[str, str, tuple[str, ...]]
"""The tensor's name, the function that computes it, the paths of what that takes; relative to an instance."""


def prepared(module: Module) -> list[tuple[str, Param]]:
    """The prepared tensors with the paths of their instances."""
    found = module.paths.expand(module.program.entry)
    return [(prefix, param) for prefix, param in found if param.kind == "prepared"]


def prepare_function(module: Module) -> list[str]:
    """The function, or no lines where nothing is prepared."""
    items = [
        (tuple(prefix.split(".")) if prefix else (), (param.name, param.init, param.sources))
        for prefix, param in prepared(module)
    ]
    if not items:
        return []

    def say(path: Parts, body: Hashable, indent: int) -> Iterator[str]:
        name, function, sources = cast(Prepared, body)
        callee = module.callees[function]
        arguments = [f"params[{literal((*path, source))}]" for source in sources]
        arguments += [f"{key}={value}" for key, value in callee.arguments]
        call = f"{callee.name}({', '.join(arguments)})"
        yield from layout(f"params[{literal((*path, name))}] = {call}", indent)

    return [
        "def prepare(params: Params) -> Params:",
        f'{INDENT}"""The parameters, and what `apply` computes from them only once."""',
        f"{INDENT}params = dict(params)",
        *statements(items, say),
        f"{INDENT}return params",
    ]
