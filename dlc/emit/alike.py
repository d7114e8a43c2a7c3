"""When functions and operations of several instantiations are the same: all but the names of values and numbers with one origin."""

from __future__ import annotations

from typing import Any

from dlc.diagnostics import Span
from dlc.ir.loops import LOOP
from dlc.ir.nodes import BY, Function, Op
from dlc.once import Form, once
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType
from dlc.types.terms import origin_of, said, term, untraced
from dlc.types.traced import Term


@once
def function_key(function: Function) -> Form:
    """What makes two functions the same: all but the names of values and numbers with one origin."""
    names = {value.name: i for i, value in enumerate(function.inputs)}
    inputs = tuple((value.type.dtype, value.type.rank, said_axes(value.type)) for value in function.inputs)
    body = tuple(op_key(op, names) for op in function.body)
    outputs = tuple((name, names.get(value)) for name, value in function.outputs)
    params = tuple(
        (each.name, each.kind, each.frozen, each.init, each.sources, said_axes(each.type))
        for each in function.params
    )
    children = tuple(
        (each.path, each.function, origin_key(each.count), each.start, each.step)
        for each in function.children
    )
    # A static argument that is a size where one call is, and a number at another, is passed in two ways.
    sizes = tuple(name for name, value in function.static if _is_size(value))
    return Form((function.source, function.entry, sizes, inputs, body, outputs, params, children))


def _is_size(value: Any) -> bool:
    return isinstance(value, Dim) or (isinstance(value, tuple) and any(map(_is_size, value)))


def said_axes(type: TensorType) -> tuple[Dim, ...]:
    return tuple(said(axis) for axis in type.axes)


def origin_key(value: Any) -> Any:
    """An attribute as its expression: two numbers of one origin are one."""
    if isinstance(value, tuple):
        return tuple(origin_key(each) for each in value)
    if isinstance(value, Dim):
        return said(value)
    found = origin_of(value)
    return (type(value).__name__, value) if found is None else found


def op_key(op: Op, names: dict[str, Any]) -> Any:
    inputs = tuple(names.get(name, name) for name in op.inputs)
    outputs = tuple((value.type.dtype, value.type.rank) for value in op.outputs)
    regions = []
    for region in (op.region, op.otherwise):
        if region is not None:
            names.update((value.name, f"%{len(names)}") for value in region.args)
            inner = tuple(op_key(each, names) for each in region.body)
            regions.append((len(region.args), inner, tuple(names.get(name, name) for name in region.results)))
    for value in op.outputs:
        names[value.name] = f"%{len(names)}"
    return (*signature(op), inputs, outputs, tuple(regions))


def signature(op: Op) -> Any:
    """What an operation does, whatever to. An instance's own static arguments count as they are written."""
    by = dict(op.given).get(BY)
    if by is not None:  # whatever function is given
        return BY, op.span, by
    attrs = tuple((key, _attribute(op, key, value)) for key, value in op.attrs if key != "draw")
    by_term = _told_parts(op) or any(is_left_out(op, key) for key in LEFT_OUT)
    own = op.op == "call"  # what a layer of the library calls its sizes depends on how they look here
    sizes = tuple((name, said(size)) for name, size in op.known) if own else ()
    # (Its other sizes are those of its operands.)
    return op.op, op.span, op.op if by_term else op.callee, op.path, attrs, sizes, op.condition


def place_of(op: Op) -> Span:
    """Where an operation stands in the spec; a loop where the spec's does, whichever of its turns it has."""
    first = op.region.body[0] if op.op == LOOP and op.region is not None and op.region.body else None
    return first.loops[0].loop if first is not None and first.loops else op.span


def _told_parts(op: Op) -> bool:
    """Whether a layer of the library has a part or not by an expression of the spec: it is one layer then, whatever it has."""
    bias = dict(op.given).get("bias")
    return op.op != "call" and bool(op.path) and bias is not None and bias.op != "const"


def _attribute(op: Op, key: str, value: Any) -> Any:
    if is_left_out(op, key):
        return key  # whether it is none or a number
    written = as_written(op, key, value) if op.op in ("call", "const") or op.path else origin_key(value)
    # The variable of a loop that is taken apart is written out: what it is in this turn may be another thing elsewhere.
    return (written, _plainly(value)) if _turns(written) else written


def _turns(key: Any) -> bool:
    if isinstance(key, tuple):
        return any(map(_turns, key))
    return isinstance(key, Term) and key.holds("turn")


def _plainly(value: Any) -> Any:
    return tuple(map(_plainly, value)) if isinstance(value, tuple) else untraced(value)


LEFT_OUT = frozenset(("scale",))
"""Attributes that Python's functions take as None too, where the spec leaves them out."""


def is_left_out(op: Op, key: str) -> bool:
    return key in LEFT_OUT and op.op != "call" and dict(op.given).get(key) == Term("param", (key,))


def as_term(op: Op, key: str, value: Any) -> Term:
    """A static argument of a call, as the spec writes it there or as the value that it has."""
    given = dict(op.given).get(key)
    return term(value) if given is None else given


def as_written(op: Op, key: str, value: Any) -> Any:
    """A static argument of a call as the spec writes it there, where that is an expression."""
    given = dict(op.given).get(key)
    return given if given is not None and given.op != "const" else origin_key(value)
