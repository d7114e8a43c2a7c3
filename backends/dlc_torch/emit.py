"""A program as one Python file of `nn.Module` classes."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from dlc.backend import Artifact, EmitOptions
from dlc.emit.body import Lines
from dlc.emit.python import comment
from dlc.ir.nodes import Program
from dlc_torch import rows
from dlc_torch.outline import outline
from dlc_torch.source import Source
from dlc_torch.structure import method_name
from dlc_torch.variants import settled


def emit(program: Program, options: EmitOptions) -> Artifact:
    """The program as `NAME.py`; `meta` says what `load` needs besides."""
    found = settled(outline(program), options.vary, options.precision)
    program, grouping, classes = found.grouping.program, found.grouping, found.classes
    source = Source(grouping.by_function, grouping.roots, program.functions, program.entry)
    source.init_weights = found.weights if found.weights.rules else None
    source.final = _precision(program, options.precision)
    blocks = [source.write(each) for each in classes]
    content = _file(options, blocks)
    main = program.main
    meta = {
        "name": options.name,
        "class": grouping.by_function[program.entry].name,
        "is_class": grouping.by_function[program.entry].unit.is_class,
        "method": method_name(main.entry) if main.entry else "",
        "training": options.training or main.training,
        "inputs": [[value.name, _dtype(value.type.dtype, options)] for value in main.inputs],
        "outputs": [name for name, _ in main.outputs],
        "dtypes": {each.path: _dtype(each.type.dtype, options) for each in program.parameters},
        "trainable": [each.path for each in program.parameters if each.trainable],
    }
    return Artifact("torch", {f"{options.name}.py": content}, meta)


def _dtype(name: str, options: EmitOptions) -> str:
    return options.precision if name == "float" else name


# --- the file -----------------------------------------------------------------------------------------------


def _file(options: EmitOptions, blocks: Sequence[Lines]) -> str:
    body = "\n\n\n".join("\n".join(block) for block in blocks)
    lines = [f"# {comment(line)}".rstrip() for line in options.header]
    if lines:
        lines.append("")
    lines += _imports(body)
    return "\n".join(lines) + "\n\n\n" + body + "\n"


def _imports(body: str) -> Lines:
    """The imports that the code needs, in the linter's order."""
    used = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    standard = ["import math"] if "math" in used else []
    torch = ["import torch"] if "torch" in used else []
    torch += ["import torch.nn.functional as F"] if "F" in used else []
    names = [name for name in ("Tensor", "nn") if name in used]
    if names:
        torch.append(f"from torch import {', '.join(names)}")
    return [*standard, *([""] if standard and torch else []), *torch]


# --- precision ------------------------------------------------------------------------------


def _precision(program: Program, precision: str) -> Lines:
    """The end of the model's constructor where it does not compute in f32."""
    floats = [each for each in program.parameters if each.type.is_float]
    if precision == "f32" or not floats:
        return []
    lines = [f"self.to({rows.DTYPES[precision]})"]
    kept = [each for each in floats if each.type.dtype not in ("float", precision)]
    for each in kept:
        owner, _, name = each.path.rpartition(".")
        where = f'self.get_submodule("{owner}")' if owner else "self"
        table = "_parameters" if each.kind == "param" else "_buffers"
        lines.append(
            f'{where}.{table}["{name}"].data = {where}.{table}["{name}"].to({rows.DTYPES[each.type.dtype]})'
        )
    return lines
