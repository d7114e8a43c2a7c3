"""A program as one module of pure functions.

The module holds, in this order: the functions of `library.py` that it uses, one function per module of the
spec, `apply` and `init`. Emission imports no JAX.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path as FilePath

from dlc import ops
from dlc.backend import Artifact, EmitOptions
from dlc.emit.grouping import Group, Sketch, group
from dlc.emit.names import snake, unique
from dlc.emit.python import comment, docstring, wrapped
from dlc.emit.tree import Make
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Function, Op, Program, walk
from dlc.ir.paths import Paths
from dlc.ir.splice import prefixed
from dlc_jax import rows
from dlc_jax.distributions import Distribution, recognise
from dlc_jax.functions import RESERVED, Emission, nodes
from dlc_jax.init import Init
from dlc_jax.layers import LAYERS
from dlc_jax.methods import SAY
from dlc_jax.prepare import Prepare, prepared
from dlc_jax.sketch import Callee, Sketcher, Traits
from dlc_jax.slices import partition
from dlc_jax.stacking import stack_function

METHODS = {**SAY, **LAYERS}


def is_native(op: Op) -> bool:
    """Whether an op is kept as it is: said by a row, by a function of `library.py`, or by one that is made
    from its definition."""
    if op.op == LOOP:
        return Loop.of(op).is_plain
    composite = op.op in rows.COMPOSITES or op.op in LAYERS or op.op in rows.FUNCTIONS
    primitive = op.op == "size" or (ops.known(op.op) and (op.op in rows.ROWS or op.op in SAY))
    return composite or primitive or ops.row(op.op, "jax") is not None


def emit(program: Program, options: EmitOptions) -> Artifact:
    """The program as `NAME.py`."""
    module = Module(program, options)
    source = module.source()
    main = program.main
    meta = {
        "entry": "apply",
        "inputs": [[value.name, value.type.to_json()] for value in main.inputs],
        "outputs": [
            [name, type.to_json()] for (name, _), type in zip(main.outputs, main.output_types, strict=True)
        ],
        "key": module.traits.key,
        "updates": module.traits.updates,
        "stacks": module.stacks,
        "precision": options.precision,
        "trainable": [each.path for each in program.parameters if each.trainable],
        "dtypes": dict(_dtypes(module)),
    }
    return Artifact("jax", {f"{options.name}.py": source}, meta)


def _dtypes(module: Module) -> Iterator[tuple[str, str]]:
    """The dtype of every parameter, buffer and prepared tensor, by path."""
    types = [(each.path, each.type.dtype) for each in module.program.parameters]
    types += ((prefixed(prefix, param.name), param.type.dtype) for prefix, param in prepared(module))
    return ((path, module.options.precision if dtype == "float" else dtype) for path, dtype in types)


@dataclass
class Module:
    """The source of one program."""

    program: Program
    options: EmitOptions
    callees: dict[str, Callee] = field(default_factory=dict)
    documented: set[tuple[str, str]] = field(default_factory=set)
    traits: Traits = field(init=False)
    stacks: bool = False

    def source(self) -> str:
        *emissions, apply = self._emissions()
        self.traits = apply.traits
        init = Init(self)
        used = [self.callees[param.init].name for _, param in prepared(self)]
        emissions = self._reached(emissions, (apply.group.sketch, *init.unknown.sketches), used)
        functions = [emission.lines() for emission in emissions]
        prepare = Prepare(self)
        body = [
            *functions,
            *init.helpers(),
            init.lines(),
            *prepare.helpers(),
            prepare.lines(),
            *self._entry(apply, emissions),
        ]
        library = _copied("\n".join(line for lines in body for line in lines))
        return _joined(self._head(bool(used)), library, ["\n".join(lines) for lines in body if lines])

    # Functions

    def _entry(self, apply: Emission, emissions: Sequence[Emission]) -> list[list[str]]:
        """`apply`, or `stack`, `forward` and `apply` where there are loops over layers."""
        stack = stack_function(self.program, [*emissions, apply])
        self.stacks = bool(stack)
        if not stack:
            return [apply.lines()]
        whole = apply.wrapper()
        apply.name, apply.nests, apply.doc = "forward", False, "`apply` on what `stack` gives."
        apply.write()
        return [stack, apply.lines(), whole]

    @cached_property
    def initial(self) -> Mapping[str, Distribution | None]:
        """What the functions of initial values draw from, where that is a known distribution."""
        functions = self.program.functions
        return {each.init: recognise(functions[each.init]) for each in self.program.parameters}

    @cached_property
    def paths(self) -> Paths:
        return Paths(self.program.functions)

    def _emissions(self) -> list[Emission]:
        """All functions that the entry and initial values may need, callees first, the entry last."""
        roots = [name for name, distribution in self.initial.items() if distribution is None]
        found: list[Emission] = []
        for functions in _levels(self.program, roots, [param.init for _, param in prepared(self)]):
            found += map(self._emission, group(map(self.sketch, functions)))
        return found

    def sketch(self, function: Function) -> Sketch:
        return Sketcher(
            self.program, function, self.callees, METHODS, partition, self.options.precision
        ).sketch()

    def _emission(self, group: Group) -> Emission:
        function = group.sketch.function
        entry = function.name == self.program.entry
        known = {name: callee.traits for name, callee in self.callees.items()}
        traits = Traits.of(function, known)
        name = "apply" if entry else self.fresh(_name(group))
        emission = Emission(group, name, traits, self.paths, entry, self._doc(function))
        emission.write()
        for member in group.members:
            arguments = [(key, value) for key, value in group.arguments(member) if key in emission.used]
            self.callees[member] = Callee(name, traits, tuple(arguments))
        return emission

    def _doc(self, function: Function) -> str:
        """The spec's documentation; its first sentence where it is the library's, or has been given
        before."""
        first = (function.source, function.doc) not in self.documented and not function.library
        self.documented.add((function.source, function.doc))
        return function.doc if first else _SENTENCE.split(" ".join(function.doc.split()), maxsplit=1)[0]

    def fresh(self, name: str) -> str:
        taken = {callee.name for callee in self.callees.values()}
        return unique(name, taken | {*RESERVED, "apply", "forward", "init", "prepare", "stack", *_library()})

    def _reached(
        self, emissions: Sequence[Emission], sketches: Iterable[Sketch], names: Iterable[str]
    ) -> list[Emission]:
        """Those named, and those that `sketches` and they call, directly or not, in order."""
        wanted = {*names, *(name for sketch in sketches for name in _called(sketch))}
        for emission in reversed(emissions):
            if emission.name in wanted:
                wanted.update(_called(emission.group.sketch))
        return [emission for emission in emissions if emission.name in wanted]

    # Head

    def _head(self, prepares: bool) -> list[str]:
        lines = [f"# {comment(line)}" for line in self.options.header]
        doc = self.program.main.doc.strip() or self.program.main.source
        about = "\n".join(
            (*wrapped(doc, 92), "", _ABOUT.format("prepare(init(key))" if prepares else "init(key)"))
        )
        return [*lines, *docstring(about)]


_SENTENCE = re.compile(r"(?<=[a-z0-9)][.]) ")
_ABOUT = "Parameters are a flat dict, keyed by the paths of the spec: `apply({}, ...)`."


def _called(sketch: Sketch) -> set[str]:
    return {node.function for node in nodes(sketch.steps) if isinstance(node, Make)}


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
    function = group.sketch.function
    name = snake(function.source.strip("_"))
    return ALIASES.get(name, name) if function.library else name


# Names of the library that modules of a spec like to have.
ALIASES = {"attention": "dot_product_attention"}


# The library


@cache
def _library() -> Mapping[str, str]:
    """The functions of `library.py`, by name, as text."""
    text = FilePath(__file__).with_name("library.py").read_text()
    lines = text.splitlines()
    functions = (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef))
    return {node.name: "\n".join(lines[node.lineno - 1 : node.end_lineno]) for node in functions}


def _copied(source: str) -> list[str]:
    """The library's functions that `source` uses, and those that these use, in the library's order."""
    wanted: set[str] = set()
    stack = [source]
    while stack:
        new = (_names(stack.pop()) & _library().keys()) - wanted
        wanted |= new
        stack += (_library()[name] for name in new)
    return [text for name, text in _library().items() if name in wanted]


def _names(source: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}


def _joined(head: Iterable[str], library: Sequence[str], functions: Sequence[str]) -> str:
    body = "\n\n\n".join((*library, *functions))
    used = _names(body)
    params = ["Params = dict[str, Any]"] if "Params" in used else []
    return (
        "\n".join((*head, "", *_imports(used | ({"Any"} if params else set())), ""))
        + "\n"
        + "\n\n\n".join((*params, body))
        + "\n"
    )


def _imports(used: set[str]) -> list[str]:
    typed = sorted(used & {"Iterable", "Sequence"})
    standard = [
        *(["import math"] if "math" in used else []),
        *([f"from collections.abc import {', '.join(typed)}"] if typed else []),
        *(["from typing import Any"] if "Any" in used else []),
    ]
    names = sorted(used & {"Array", "lax"})
    own = [
        *(["import jax"] if "jax" in used else []),
        *(["import jax.numpy as jnp"] if "jnp" in used else []),
        *([f"from jax import {', '.join(names)}"] if names else []),
    ]
    return [*standard, *([""] if standard and own else []), *own]
