"""A program as one Python file of `nn.Module` classes."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from dlc.backend import Artifact, EmitOptions
from dlc.emit.layout import INDENT, layout
from dlc.emit.python import comment
from dlc.emit.tree import Call, Word, text
from dlc.ir.nodes import Param, Program
from dlc.ir.paths import Paths
from dlc.ir.splice import prefixed
from dlc_torch import initial, rows
from dlc_torch.classes import Grouping, settle
from dlc_torch.naming import name_classes
from dlc_torch.neural import native_layer
from dlc_torch.source import Lines, Source


def emit(program: Program, options: EmitOptions) -> Artifact:
    """The program as `NAME.py`; `meta` says what `load` needs besides."""
    grouping = Grouping(program, options.precision)
    classes = grouping.run()
    initials = {param.init: param.name for each in program.functions.values() for param in each.params}
    name_classes(classes, initials)
    settle(classes, grouping.by_function)
    source = Source(grouping.by_function, grouping.roots, program.functions, program.entry)
    source.init_weights = _init_weights(program)
    source.final = _precision(program, options.precision)
    blocks = [source.write(each) for each in classes]
    content = _file(options, blocks)
    main = program.main
    meta = {
        "name": options.name,
        "class": grouping.by_function[program.entry].name,
        "is_class": grouping.by_function[program.entry].unit.is_class,
        "method": main.entry,
        "training": options.training or main.training,
        "inputs": [[value.name, _dtype(value.type.dtype, options)] for value in main.inputs],
        "outputs": [name for name, _ in main.outputs],
        "dtypes": {each.path: _dtype(each.type.dtype, options) for each in program.parameters},
        "trainable": [each.path for each in program.parameters if each.trainable],
    }
    return Artifact("torch", {f"{options.name}.py": content}, meta)


def _dtype(name: str, options: EmitOptions) -> str:
    return options.precision if name == "float" else name


# --- the file --------------------------------------------------------------------------------------------------

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


# --- initial values and precision ------------------------------------------------------------------------------


def _owned(program: Program) -> Iterator[tuple[str, str, Param, str]]:
    """(path, native layer's class or "", parameter, name of its owner's function) of every parameter and buffer."""
    layers = {name: native_layer(function) for name, function in program.functions.items()}
    paths = Paths(program.functions)
    for prefix, param in paths.expand(program.entry):
        owner = program.entry if not prefix else paths.instance(program.entry, prefix) or ""
        made = layers.get(owner)
        layer = made.function.text if isinstance(made, Call) and isinstance(made.function, Word) else ""
        yield prefixed(prefix, param.name), layer, param, owner


def _init_weights(program: Program) -> Lines:
    """The method that sets initial values where they are not those that the layers begin with."""
    final = {each.path: each.init for each in program.parameters}
    changes: list[initial.Change] = []
    everything: list[tuple[str, str, str]] = []
    for path, layer, param, _ in _owned(program):
        everything.append((path, layer, param.name))
        wanted = final.get(path, param.init)
        if wanted == param.init or not wanted or param.kind == "prepared":
            continue
        form = initial.recognise(program.functions[wanted])
        own = initial.recognise(program.functions[param.init]) if param.init else None
        if not initial.close_forms(form, own):
            changes.append(initial.Change(path, layer, param.name, param.type.shape or (), form, wanted))
    # What is no distribution is set when weights are loaded, or by `dlc weights init`.
    return _method(initial.rules([each for each in changes if each.form is not None], everything))


def _method(rules: Sequence[initial.Rule]) -> Lines:
    if not rules:
        return []
    lines = [
        f"{INDENT}def init_weights(self) -> None:",
        f'{INDENT * 2}"""Initial values that are not the layers\' own."""',
    ]
    layers = [rule for rule in rules if rule.layer]
    if layers:
        lines.append(f"{INDENT * 2}for module in self.modules():")
    for kind in dict.fromkeys((rule.layer, rule.optional) for rule in layers):
        lines += _layer_rules(kind, [rule for rule in layers if (rule.layer, rule.optional) == kind])
    named = [rule for rule in rules if rule.condition]
    if named:
        lines.append(f"{INDENT * 2}for name, parameter in self.named_parameters():")
    for i, rule in enumerate(named):
        lines += _condition(f"{'elif' if i else 'if'} {rule.condition}:")
        lines += layout(text(rule.said.call(Word("parameter"))), 4)
    return lines


def _condition(line: str) -> Lines:
    """A long set of names stands a name a line."""
    if len(line) + 12 <= 100 or "{" not in line:
        return [INDENT * 3 + line]
    head, _, names = line.removesuffix("}:").partition("{")
    return [f"{INDENT * 3}{head}{{", *(f"{INDENT * 4}{name}," for name in names.split(", ")), f"{INDENT * 3}}}:"]


def _layer_rules(kind: tuple[str, bool], rules: Sequence[initial.Rule]) -> Lines:
    layer, optional = kind
    lines = [
        f"{INDENT * 3}if isinstance(module, {layer}){' and module.bias is not None' if optional else ''}:"
    ]
    for rule in rules:
        lines += layout(text(rule.said.call(Word(f"module.{rule.leaf}"))), 4)
    return lines


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
