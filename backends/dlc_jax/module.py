"""What a program's parts share while they are written: drafts, groups, names of functions, the library."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path as FilePath

from dlc.backend import EmitOptions
from dlc.emit.names import snake, unique
from dlc.emit.statements import Draft
from dlc.ir.nodes import Function, Param, Program, walk
from dlc.ir.paths import Paths
from dlc_jax import rows
from dlc_jax.distributions import Distribution, distribution
from dlc_jax.drafter import Callee, JaxDrafter, Traits
from dlc_jax.functions import Emission
from dlc_jax.grouping import Group, group
from dlc_jax.layers import DIALECT


@dataclass
class Module:
    """The functions of one program: how each is drafted, grouped, named and called."""

    program: Program
    options: EmitOptions
    callees: dict[str, Callee] = field(default_factory=dict)
    documented: set[tuple[str, str]] = field(default_factory=set)

    @cached_property
    def initial(self) -> Mapping[str, Distribution | None]:
        """What the functions of initial values draw from, where that is a known distribution."""
        functions = self.program.functions
        return {each.init: distribution(functions[each.init]) for each in self.program.parameters}

    @cached_property
    def prepared(self) -> list[tuple[str, Param]]:
        """The prepared tensors with the paths of their instances."""
        found = self.paths.expand(self.program.entry)
        return [(prefix, param) for prefix, param in found if param.kind == "prepared"]

    @cached_property
    def paths(self) -> Paths:
        return Paths(self.program.functions)

    def emissions(self) -> list[Emission]:
        """All functions that the entry and initial values may need, callees first, the entry last."""
        roots = [name for name, distribution in self.initial.items() if distribution is None]
        found: list[Emission] = []
        for functions in _levels(self.program, roots, [param.init for _, param in self.prepared]):
            found += map(self._emission, group(map(self.draft, functions)))
        return found

    def draft(self, function: Function) -> Draft:
        about = self.program, function, DIALECT, self.options.precision
        return JaxDrafter(*about, callees=self.callees).draft()

    def _emission(self, group: Group) -> Emission:
        function = group.draft.function
        entry = function.name == self.program.entry
        known = {name: callee.traits for name, callee in self.callees.items()}
        traits = Traits.of(function, known)
        name = "apply" if entry else self.fresh(_name(group))
        emission = Emission(group, name, traits, self.paths, entry, self._doc(function))
        emission.write()
        for member in group.members:
            self.callees[member] = Callee(name, traits, group.arguments(member))
        return emission

    def _doc(self, function: Function) -> str:
        """The spec's documentation; its first sentence where it is the library's, or has been given
        before."""
        first = (function.source, function.doc) not in self.documented and not function.library
        self.documented.add((function.source, function.doc))
        return function.doc if first else _SENTENCE.split(" ".join(function.doc.split()), maxsplit=1)[0]

    def fresh(self, name: str) -> str:
        taken = {callee.name for callee in self.callees.values()}
        return unique(
            name, taken | {*rows.RESERVED, "apply", "forward", "init", "prepare", "stack", *library()}
        )


_SENTENCE = re.compile(r"(?<=[a-z0-9)][.]) ")


def _levels(program: Program, roots: Sequence[str], more: Sequence[str]) -> Iterator[list[Function]]:
    """The functions that the entry and `roots` call, and `more`, callees first; those of one source
    together, after all that they call; the entry last."""
    height: dict[str, int] = {}
    starts = [*roots, program.entry]
    for name in (name for root in (*starts, *more) for name in replace(program, entry=root).reachable()):
        below = (height[op.callee] for op in walk(program.functions[name].body) if op.callee)
        height[name] = 1 + max(below, default=0)
    sources: dict[tuple[str, int], list[Function]] = {}
    for name, level in height.items():
        if name not in starts:
            sources.setdefault((program.functions[name].source, level), []).append(program.functions[name])
    yield from (sources[key] for key in sorted(sources, key=lambda key: key[1]))
    yield [program.main]


def _name(group: Group) -> str:
    function = group.draft.function
    name = snake(function.source.strip("_"))
    return ALIASES.get(name, name) if function.library else name


# Names of the library that modules of a spec like to have.
ALIASES = {"attention": "dot_product_attention"}


# The library


@cache
def library() -> Mapping[str, str]:
    """The functions of `library.py`, by name, as text."""
    text = FilePath(__file__).with_name("library.py").read_text()
    lines = text.splitlines()
    functions = (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef))
    return {node.name: "\n".join(lines[node.lineno - 1 : node.end_lineno]) for node in functions}
