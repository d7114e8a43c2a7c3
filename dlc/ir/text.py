"""Programs as text, and back: `parse_program(print_program(p)) == p`.

    entry Net

    parameter fc.weight: [64, 32] = uniform_1 of linear

    model Net(%x: [B, T, 32]) -> (y: %y)
        where T <= 128
        child fc: linear_1
    {
        %y: [B, T, 64] = linear(%x) {out=64, bias=true} @ fc -> linear_1 [B=B, T=T]
    }

`@` gives the instance's path, `->` the callee, the last brackets its dims. `_` stands for an absent operand.
A `loop` is followed by its region, `do (%index: i64[], %carried: type, %slice: type) { … yield %next, %item }`, of which the
index, what is carried, slices and items are there where the loop has such. Documentation stands in comments; spans are
left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from dlc.ir.nodes import Attr, Child, Function, Op, Param, Parameter, Program, Region, Value
from dlc.ir.read import BARE_NAME, BARE_PATH, WORDS, IRSyntaxError, parse_program
from dlc.types.dims import Dim
from dlc.types.traced import TracedFloat, TracedInt

__all__ = ["IRSyntaxError", "parse_program", "print_function", "print_op", "print_program"]

_INDENT = "    "


def print_program(program: Program) -> str:
    """The whole program, callees before callers."""
    parts = [f"entry {_name(program.entry)}\n"]
    if program.parameters:
        parts.append("".join(f"{_parameter(each)}\n" for each in program.parameters))
    parts += map(print_function, program.functions.values())
    return "\n".join(parts)


def print_function(function: Function) -> str:
    """One function: its header, what it holds, its body."""
    lines = [f"# {line}".rstrip() for line in function.doc.splitlines()]
    inputs = ", ".join(map(_typed, function.inputs))
    outputs = ", ".join(f"{_name(name)}: {_value(value)}" for name, value in function.outputs)
    lines.append(f"{function.kind} {_name(function.name)}({inputs}) -> ({outputs})")
    header = [_INDENT + line for line in _header(function)]
    if header:
        lines += [*header, "{"]
    else:
        lines[-1] += " {"
    lines += _body(function.body, _INDENT)
    return "\n".join([*lines, "}"]) + "\n"


def print_op(op: Op) -> str:
    """One operation, without its region."""
    left = ", ".join(map(_typed, op.outputs))
    text = f"{left} = " if left else ""
    text += f"{_name(op.op)}({', '.join(_value(name) if name else '_' for name in op.inputs)})"
    if op.attrs:
        text += f" {{{_attrs(op.attrs)}}}"
    if op.path:
        text += f" @ {_path(op.path)}"
    if op.callee:
        text += f" -> {_name(op.callee)}"
    if op.dims:
        text += f" [{', '.join(f'{name}={dim}' for name, dim in op.dims)}]"
    return text


def _header(function: Function) -> Iterator[str]:
    if function.source != function.name:
        yield f"source {_name(function.source)}"
    if function.static:
        yield f"static {{{_attrs(function.static)}}}"
    if function.entry:
        yield f"way {_name(function.entry)}"
    yield from (flag for flag in ("library", "training") if getattr(function, flag))
    yield from (f"where {fact}" for fact in function.facts)
    yield from map(_param, function.params)
    yield from map(_child, function.children)


def _param(param: Param) -> str:
    text = f"{'frozen ' if param.frozen else ''}{param.kind} {_path(param.name)}: {param.type}"
    if param.init:
        text += f" = {_name(param.init)}"
    if param.sources:
        text += f"({', '.join(map(_path, param.sources))})"
    return text


def _child(child: Child) -> str:
    text = f"child {_path(child.path)}: {_name(child.function)}"
    if child.count or (child.start, child.step) != (0, 1):
        text += f" times {child.count} from {child.start} by {child.step}"
    return text


def _parameter(parameter: Parameter) -> str:
    frozen = "frozen " if parameter.frozen else ""
    kind = "parameter" if parameter.kind == "param" else parameter.kind
    text = f"{frozen}{kind} {_path(parameter.path)}: {parameter.type}"
    if parameter.init:
        text += f" = {_name(parameter.init)}"
    if parameter.sources:
        text += f"({', '.join(map(_path, parameter.sources))})"
    return f"{text} of {_name(parameter.owner)}" if parameter.owner else text


def _body(body: Iterable[Op], indent: str) -> Iterator[str]:
    for op in body:
        if op.region is None:
            yield indent + print_op(op)
        else:
            yield f"{indent}{print_op(op)} {_region_head(op.region)}"
            yield from _body(op.region.body, indent + _INDENT)
            if op.region.results:
                yield f"{indent}{_INDENT}yield {', '.join(map(_value, op.region.results))}"
            yield indent + "}"


def _region_head(region: Region) -> str:
    return f"do ({', '.join(map(_typed, region.args))}) {{"


def _typed(value: Value) -> str:
    return f"{_value(value.name)}: {value.type}"


def _value(name: str) -> str:
    return "%" + _name(name)


def _name(name: str) -> str:
    return _bare(BARE_NAME, name)


def _path(path: str) -> str:
    return _bare(BARE_PATH, path)


def _bare(pattern: re.Pattern[str], text: str) -> str:
    return text if pattern.fullmatch(text) else json.dumps(text)


def _attrs(attrs: tuple[tuple[str, Attr], ...]) -> str:
    return ", ".join(f"{_name(key)}={_attr(value)}" for key, value in attrs)


def _attr(value: Attr) -> str:
    return _WRITERS[type(value)](value)


def _dim(dim: Dim) -> str:
    text = str(dim)
    return f"({text})" if text in WORDS else text


_WRITERS: Mapping[type, Callable[[Any], str]] = {
    bool: lambda value: str(value).lower(),
    int: str,
    float: repr,
    TracedInt: lambda value: str(int(value)),
    TracedFloat: lambda value: repr(float(value)),  # `pi` is one in every program
    str: json.dumps,
    type(None): lambda value: "none",
    Dim: _dim,
    tuple: lambda items: f"[{', '.join(map(_attr, items))}]",
}
