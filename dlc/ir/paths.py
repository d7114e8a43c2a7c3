"""What a path names: the parameter or instance of a function, also deep inside its children."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dlc.ir.index import at_turn, has_index
from dlc.ir.loops import Loop
from dlc.ir.nodes import Function, Op, Param
from dlc.ir.splice import prefixed
from dlc.once import once


def indices(loop: Op) -> tuple[int, ...]:
    """The index of every turn of a loop whose count is a number."""
    return Loop.of(loop).indices


def turn_paths(path: str, loop: Op | None) -> tuple[str, ...]:
    """The path in every turn of the loop whose index it holds (`dlc.ir.loops.turning`)."""
    if loop is None or not has_index(path):
        return (path,)
    return tuple(at_turn(path, index) for index in indices(loop))


class Paths:
    """Parameters and instances of a program's functions by path. What has been looked at is kept."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self.functions = functions
        self._children: dict[str, Mapping[str, str]] = {}
        self._params: dict[str, dict[str, Param]] = {}

    def children(self, function: str) -> Mapping[str, str]:
        """The functions of a function's own instances, by path."""
        if function not in self._children:
            self._children[function] = _instances(self.functions[function])
        return self._children[function]

    def params(self, function: str) -> Mapping[str, Param]:
        """A function's own parameters by name."""
        if function not in self._params:
            self._params[function] = {param.name: param for param in self.functions[function].params}
        return self._params[function]

    def param(self, function: str, path: str) -> Param | None:
        """The parameter at a path relative to `function`, or None."""
        for owner, rest in self.owners(function, path):
            found = self.params(owner).get(rest)
            if found is not None:
                return found
        return None

    def instance(self, function: str, path: str) -> str | None:
        """The function of the instance at a path relative to `function`, or None."""
        for owner, rest in self.owners(function, path):
            found = self.children(owner).get(rest)
            if found is not None:
                return found
        return None

    def owners(self, function: str, path: str) -> Iterator[tuple[str, str]]:
        """Every (function, rest of the path) that following children leads to. Labels may hold dots
        themselves."""
        stack = [(function, path)]
        while stack:
            owner, rest = stack.pop()
            yield owner, rest
            children = self.children(owner)
            for i, character in enumerate(rest):
                if character == "." and rest[:i] in children:
                    stack.append((children[rest[:i]], rest[i + 1 :]))

    def expand(self, function: str) -> Iterator[tuple[str, Param]]:
        """Every parameter below a function, with the path of the instance that holds it; own ones first,
        children in order."""
        for prefix, name in self.instances(function):
            for param in self.functions[name].params:
                yield prefix, param

    def instances(self, function: str) -> Iterator[tuple[str, str]]:
        """Every instance below a function with its path and the name of its function: the function itself, then children in order."""
        stack = [(function, "")]
        while stack:
            name, prefix = stack.pop()
            yield prefix, name
            children = list(self.children(name).items())
            stack += [(callee, prefixed(prefix, path)) for path, callee in reversed(children)]


@once
def _instances(function: Function) -> Mapping[str, str]:
    return {path: child.function for child in function.children for path in child.paths()}


def gradient_name(name: str) -> str:
    """What the gradient of a parameter or input is called, where it is an input or output of its own."""
    return f"{name}.grad"
