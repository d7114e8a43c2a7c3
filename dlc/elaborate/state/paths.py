"""The parameters below a function of the IR, by their paths."""

from __future__ import annotations

from collections.abc import Mapping

from dlc.ir.nodes import Function, Param


def local_paths(
    functions: Mapping[str, Function], name: str, memo: dict[str, list[tuple[str, Param]]]
) -> list[tuple[str, Param]]:
    """(path relative to the function, parameter) for every parameter of a function and its children."""
    found = memo.get(name)
    if found is not None:
        return found
    function = functions[name]
    paths: dict[str, Param] = {param.name: param for param in function.params}
    for child in function.children:
        below = local_paths(functions, child.function, memo)
        for prefix in child.paths():
            for local, param in below:
                paths.setdefault(f"{prefix}.{local}" if prefix else local, param)
    memo[name] = list(paths.items())
    return memo[name]
