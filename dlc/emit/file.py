"""An emitted file as a whole: the imports that it needs, functions that it copies from a file of the backend, and the module that it
becomes when it runs."""

from __future__ import annotations

import ast
import itertools
import linecache
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from dlc.once import once
from dlc.records import dataclass


@once
def names_in(source: str) -> frozenset[str]:
    """The names that source reads or sets."""
    return frozenset(node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name))


def imports(
    used: Collection[str],
    standard: Mapping[str, Sequence[str]],
    own: Sequence[str],
    modules: Sequence[str] = ("math",),
) -> list[str]:
    """The imports, in the linter's order: `modules` and names of `standard` modules as far as they are used, then the backend's own."""
    lines = [f"import {module}" for module in modules if module in used]
    for module, known in standard.items():
        found = sorted(name for name in known if name in used)
        lines += [f"from {module} import {', '.join(found)}"] if found else []
    return [*lines, *([""] if lines and own else []), *own]


@dataclass
class Library:
    """The functions of a file, as text: emitted files copy those that they use."""

    path: Path

    @cached_property
    def functions(self) -> Mapping[str, str]:
        text = self.path.read_text(encoding="utf-8")
        lines = text.splitlines()
        found = (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef))
        return {node.name: "\n".join(lines[_first_line(node) - 1 : node.end_lineno]) for node in found}

    def copied(self, source: str, own: Collection[str] = ()) -> Iterator[list[str]]:
        """The functions that source uses and those that these use, in the library's order. The file has its `own` of some names."""
        wanted: set[str] = set()
        stack = [source]
        while stack:
            new = (names_in(stack.pop()) & self.functions.keys()) - wanted.union(own)
            wanted |= new
            stack += (self.functions[name] for name in new)
        yield from (text.splitlines() for name, text in self.functions.items() if name in wanted)


def _first_line(node: ast.FunctionDef) -> int:
    return min([node.lineno, *(each.lineno for each in node.decorator_list)])


_numbers = itertools.count()


def loaded(file: str, source: str) -> types.ModuleType:
    """The file as a fresh module, which is entered nowhere. Tracebacks show its lines."""
    filename = f"<dlc {next(_numbers)}: {file}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    module = types.ModuleType(file.removesuffix(".py"))
    exec(compile(source, filename, "exec", dont_inherit=True), module.__dict__)
    return module
