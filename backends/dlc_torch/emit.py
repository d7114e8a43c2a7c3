"""A program as one Python file of `nn.Module` classes."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from dlc.backend import Artifact, EmitOptions
from dlc.emit import helpers as helping
from dlc.emit.body import Lines
from dlc.emit.python import comment
from dlc.emit.rolled import merged
from dlc.emit.settled import settled
from dlc.ir.nodes import Program
from dlc_torch import rows
from dlc_torch.classes import Grouping, settle
from dlc_torch.init_weights import InitWeights, changed
from dlc_torch.naming import name_classes
from dlc_torch.outline import outline
from dlc_torch.source import Source
from dlc_torch.structure import method_name


def emit(program: Program, options: EmitOptions) -> Artifact:
    """The program as `NAME.py`; `meta` says what `load` needs besides."""

    def write(programs: Sequence[Program], defaults: bool) -> Written:
        return Written.of(programs, program, options, defaults)

    family = options.family
    written = (
        settled(family, write, lambda each: each.text) if family is not None else write((program,), True)
    )
    grouping, content = written.grouping, written.text
    main = program.main
    program_entry = grouping.program.entry
    meta = {
        "name": options.name,
        "class": grouping.by_function[program_entry].name,
        "is_class": grouping.by_function[program_entry].is_class,
        "method": method_name(main.entry) if main.entry else "",
        "training": options.training or main.training,
        "inputs": [[value.name, _dtype(value.type.dtype, options)] for value in main.inputs],
        "outputs": [name for name, _ in main.outputs],
        "dtypes": {each.path: _dtype(each.type.dtype, options) for each in program.parameters},
        "trainable": [each.path for each in program.parameters if each.trainable],
    }
    return Artifact("torch", {f"{options.name}.py": content}, meta)


@dataclass
class Written:
    """The source of a program, of which there may be several forms: in training, with optional inputs."""

    grouping: Grouping
    text: str

    @staticmethod
    def of(family: Sequence[Program], program: Program, options: EmitOptions, defaults: bool) -> Written:
        # A program whose numbers have no expressions can't be said for other settings: every instantiation stands for itself.
        common, names = (
            merged(family, rows.COMPOSITES)
            if options.family
            else (program, {name: name for name in program.functions})
        )
        whole = outline(common)
        weights = InitWeights.of(family, names)
        copied = {names[each.init]: each.leaf for each in changed(family[0])[0] if each.form is None}
        grouping = Grouping(whole, options.precision, tuple(copied))
        classes = grouping.run()
        initials = {param.init: param.name for each in whole.functions.values() for param in each.params}
        name_classes(classes, {**initials, **copied})
        weights = settle(grouping, weights, defaults)
        said = [expr for each in classes for expr in (*each.expressions(), *each.asked())]
        helpers = list(helping.helpers([*said, *weights.reads()]))
        source = Source(grouping.by_function, grouping.roots, whole.functions, whole.entry, defaults=defaults)
        source.init_weights = weights if weights.rules else None
        source.final = _precision(program, options.precision)
        source.helpers = frozenset(each.name for each in helpers)
        blocks = [*map(helping.lines, helpers), *(source.write(each) for each in classes)]
        return Written(grouping, _file(options, blocks))


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
