"""How each kind of argument of a call form (`dlc/ops/calls.py`) is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Tensor, show, type_name
from dlc.elaborate.builtins.call import Call
from dlc.elaborate.tensors.constants import table
from dlc.elaborate.tensors.operators import cast, lift, meet
from dlc.elaborate.types.static import plain
from dlc.ops.calls import Arg
from dlc.types.dims import Dim

# What reads an operand is given the operands before it, what reads an attribute all of them.
Operands = Sequence[Tensor | None]
ReadOperand = Callable[[Call, str, Operands], Tensor]
ReadAttribute = Callable[[Call, str, Operands], Any]


# --- operands --------------------------------------------------------------------------------------------------


def _tensor(call: Call, key: str, before: Operands) -> Tensor:
    return call.tensor(key)


def _like(call: Call, key: str, before: Operands) -> Tensor:
    return meet(call.body, call.node, call.name, before[0], call[key])[1]


def _index(call: Call, key: str, before: Operands) -> Tensor:
    value = call[key]
    if isinstance(value, list | tuple | int) and not isinstance(value, bool):
        return table(call.body, call.node, value, "i64", call.spans[key])
    tensor = call.tensor(key)
    if tensor.type.dtype in ("i32", "i16", "i8", "u8"):
        return cast(call.body, call.node, tensor, "i64")
    return tensor


def _place(call: Call, key: str, before: Operands) -> Tensor:
    value = call[key]
    if isinstance(value, Tensor):
        return value
    return lift(call.body, call.node, plain(call.size(key)), "i64")


OPERANDS: Mapping[str, ReadOperand] = {
    "tensor": _tensor, "like": _like, "index": _index, "place": _place,
}  # fmt: skip


def tensors(call: Call, key: str) -> list[Tensor]:
    values = call[key]
    if isinstance(values, Tensor):
        help = "pass a list: `concat([a, b], axis=1)`"
        call.fail(problems.NOT_A_TENSOR, key, callee=call.name, name=key, found="one tensor", help=help)
    if not isinstance(values, list | tuple) or not values:
        call.fail(problems.NOT_A_TENSOR, key, callee=call.name, name=key, found=type_name(values))
    for value in values:
        if not isinstance(value, Tensor):
            call.fail(problems.NOT_A_TENSOR, key, callee=call.name, name=key, found=type_name(value))
    tensors = list(values)
    dtypes = {each.type.dtype for each in tensors}
    if len(dtypes) > 1 and all(each.type.is_float for each in tensors) and "float" in dtypes:
        other = next(iter(dtypes - {"float"}))
        tensors = [cast(call.body, call.node, each, other) for each in tensors]
    return tensors


def paired(call: Call, args: Sequence[Arg]) -> dict[str, Tensor]:
    """The arguments that are brought to one dtype (`pair`, `choice`), by name; those that are not given are left out."""
    values = {
        arg.name: call[arg.name] for arg in args if arg.default is not None or call[arg.name] is not None
    }
    if values and not any(isinstance(each, Tensor) for each in values.values()):
        first = next(iter(values))
        values[first] = _first_number(call, first, args[0].read, list(values.values()))
    for key, value in values.items():
        if not isinstance(value, Tensor | int | float | Dim):
            call.fail(problems.NOT_A_TENSOR, key, callee=call.name, name=key, found=type_name(value))
    return _together(call, values)


def _first_number(call: Call, key: str, read: str, values: list[Any]) -> Any:
    """The tensor that the first of several numbers becomes."""
    if read == "pair":
        return call.tensor(key)
    floating = any(isinstance(each, float) for each in values)
    return lift(call.body, call.node, call[key], call.body.context.float_dtype if floating else "i64")


def _together(call: Call, values: dict[str, Any]) -> dict[str, Tensor]:
    if len(values) == 2:
        (a, left), (b, right) = values.items()
        left, right = meet(call.body, call.node, call.name, left, right)
        return {a: left, b: right}
    lead = next((each for each in values.values() if isinstance(each, Tensor)), None)
    for each in values.values():
        if lead is not None and isinstance(each, Tensor):
            lead = meet(call.body, call.node, call.name, lead, each)[0]
    return {key: meet(call.body, call.node, call.name, lead, each)[1] for key, each in values.items()}


# --- attributes ------------------------------------------------------------------------------------------------


def _rank(operands: Operands) -> int:
    return next((each.type.rank for each in operands if each is not None), 0)


def _axis(call: Call, key: str, operands: Operands) -> int:
    return call.axis(key, _rank(operands))


def _axes(call: Call, key: str, operands: Operands) -> tuple[int, ...]:
    return call.axes(key, _rank(operands))


def _order(call: Call, key: str, operands: Operands) -> tuple[int, ...]:
    rank, value = _rank(operands), call[key]
    if not isinstance(value, list | tuple) or len(value) != rank:
        shown = next((each.type for each in operands if each is not None), "")
        call.fail(problems.AXIS, key, message=f"`{call.name}` needs all {rank} axes of {shown}")
    order = tuple(call.axis(key, rank, each) for each in value)
    if len(set(order)) != rank:
        call.fail(problems.AXIS, key, message=f"`{call.name}`: an axis is given twice")
    return order


def _listed(
    expected: str, kinds: tuple[type, ...], call: Call, key: str, operands: Operands
) -> tuple[Any, ...]:
    value = call[key]
    items = [*map(plain, value)] if isinstance(value, list | tuple | range) else [None]
    if not all(isinstance(each, kinds) and not isinstance(each, bool) for each in items):
        found = show(value)
        call.fail(problems.STATIC_TYPE, key, callee=call.name, name=key, expected=expected, found=found)
    return tuple(items)


def _fill(call: Call, key: str, operands: Operands) -> tuple[Dim, ...]:
    """Sizes, one of which may be -1: what is left, as in NumPy."""
    raw, x = call[key], operands[0]
    assert x is not None
    if not isinstance(raw, list | tuple) or all(plain(each) != -1 for each in raw):
        return call.sizes(key)
    known = Dim.of(1)
    for each in map(plain, raw):
        if each != -1:
            known = known * each
    if sum(1 for each in raw if plain(each) == -1) > 1:
        call.fail(problems.SHAPE, key, message="only one size can be -1")
    total = x.type.size
    if known == Dim.of(0) or call.body.emission.facts.prove_divisible(total, known) is not True:
        help = f"state it: `where {total} % ({known}) == 0`"
        message = f"`{call.name}`: {total} elements are not known to be a multiple of {known}"
        call.fail(problems.UNPROVED_SHAPE, key, message=message, notes=[f"{x.name}: {x.type}"], help=help)
    rest = call.body.emission.facts.simplify(total // known)
    return tuple(rest if plain(each) == -1 else Dim.of(plain(each)) for each in raw)


ATTRIBUTES: Mapping[str, ReadAttribute] = {
    "axis": _axis,
    "axes": _axes,
    "order": _order,
    "flat": _axis,
    "int": lambda call, key, operands: call.integer(key),
    "float": lambda call, key, operands: call.number(key),
    "bool": lambda call, key, operands: call.flag(key),
    "str": lambda call, key, operands: call.text(key),
    "dtype": lambda call, key, operands: call.dtype(key),
    "dim": lambda call, key, operands: call.size(key),
    "sizes": lambda call, key, operands: call.sizes(key),
    "fill": _fill,
    "ints": partial(_listed, "a list of ints", (int,)),
    "floats": partial(_listed, "a list of numbers", (int, float)),
    "value": lambda call, key, operands: call[key],
}
