"""A program as one module of pure functions.

The module holds, in this order: the functions of `library.py` that it uses, one function per module of the
spec, `apply` and `init`. Emission imports no JAX.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

from dlc import ops
from dlc.backend import Artifact, EmitOptions
from dlc.emit.python import comment, docstring, wrapped
from dlc.emit.statements import Draft
from dlc.emit.tree import Make
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Op, Program
from dlc.ir.splice import prefixed
from dlc_jax import methods, rows
from dlc_jax.functions import Emission
from dlc_jax.init import Init
from dlc_jax.layers import LAYERS
from dlc_jax.module import Module, library
from dlc_jax.prepare import Prepare
from dlc_jax.stacking import stack_function


def is_native(op: Op) -> bool:
    """Whether an op is kept as it is: said by a row, by a function of `library.py`, or by one that is made
    from its definition."""
    if op.op == LOOP:
        return Loop.of(op).is_plain
    if op.op == "attention" and (op.attr("causal") or op.attr("window") is not None):
        return False  # of the library's, with a mask that all layers share
    composite = op.op in rows.COMPOSITES or op.op in LAYERS or op.op in rows.FUNCTIONS
    primitive = op.op == "size" or (ops.known(op.op) and (op.op in rows.ROWS or op.op in methods.SAY))
    return composite or primitive or ops.row(op.op, "jax") is not None


def emit(program: Program, options: EmitOptions) -> Artifact:
    """The program as `NAME.py`."""
    module = Module(program, options)
    *emissions, apply = module.emissions()
    init, prepare = Init(module), Prepare(module)
    stacks = {name: each.stacks for each in (*emissions, apply) for name in each.group.members}
    stack = stack_function(
        program, {name: list(dict.fromkeys(each)) for name, each in stacks.items() if each}
    )
    used = [module.callees[param.init].name for _, param in module.prepared]
    emissions = _reached(emissions, (apply.group.draft, *init.unknown.drafts), used)
    functions = [emission.lines() for emission in emissions]
    body = [
        *functions,
        *init.helpers(),
        init.lines(),
        *prepare.helpers(),
        prepare.lines(),
        *_entry(apply, stack),
    ]
    copied = _copied("\n".join(line for lines in body for line in lines))
    source = _joined(_head(module), copied, ["\n".join(lines) for lines in body if lines])
    main = program.main
    meta = {
        "entry": "apply",
        "inputs": [[value.name, value.type.to_json()] for value in main.inputs],
        "outputs": [
            [name, type.to_json()] for (name, _), type in zip(main.outputs, main.output_types, strict=True)
        ],
        "key": apply.traits.key,
        "updates": apply.traits.updates,
        "stacks": bool(stack),
        "precision": options.precision,
        "trainable": [each.path for each in program.parameters if each.trainable],
        "dtypes": dict(_dtypes(module)),
    }
    return Artifact("jax", {f"{options.name}.py": source}, meta)


def _dtypes(module: Module) -> Iterator[tuple[str, str]]:
    """The dtype of every parameter, buffer and prepared tensor, by path."""
    types = [(each.path, each.type.dtype) for each in module.program.parameters]
    types += ((prefixed(prefix, param.name), param.type.dtype) for prefix, param in module.prepared)
    return ((path, module.options.precision if dtype == "float" else dtype) for path, dtype in types)


def _entry(apply: Emission, stack: list[str]) -> list[list[str]]:
    """`apply`, or `stack`, `forward` and `apply` where there are loops over layers."""
    if not stack:
        return [apply.lines()]
    whole = apply.wrapper()
    apply.name, apply.nests, apply.doc = "forward", False, "`apply` on what `stack` gives."
    apply.write()
    return [stack, apply.lines(), whole]


def _reached(emissions: Sequence[Emission], drafts: Iterable[Draft], names: Iterable[str]) -> list[Emission]:
    """Those named, and those that `drafts` and they call, directly or not, in order."""
    wanted = {*names, *(name for draft in drafts for name in _called(draft))}
    for emission in reversed(emissions):
        if emission.name in wanted:
            wanted.update(_called(emission.group.draft))
    return [emission for emission in emissions if emission.name in wanted]


def _called(draft: Draft) -> set[str]:
    return {node.function for node in draft.nodes() if isinstance(node, Make)}


# The file


def _head(module: Module) -> list[str]:
    lines = [f"# {comment(line)}" for line in module.options.header]
    main = module.program.main
    about = _ABOUT.format("prepare(init(key))" if module.prepared else "init(key)")
    return [*lines, *docstring("\n".join((*wrapped(main.doc.strip() or main.source, 92), "", about)))]


_ABOUT = "Parameters are a flat dict, keyed by the paths of the spec: `apply({}, ...)`."


def _copied(source: str) -> list[str]:
    """The library's functions that `source` uses, and those that these use, in the library's order."""
    wanted: set[str] = set()
    stack = [source]
    while stack:
        new = (_names(stack.pop()) & library().keys()) - wanted
        wanted |= new
        stack += (library()[name] for name in new)
    return [text for name, text in library().items() if name in wanted]


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
