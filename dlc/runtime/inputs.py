"""Random inputs for a program: values that its facts and types allow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.analysis.measure import check_dims, check_sizes
from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems
from dlc.emit.sizes import readable
from dlc.ir.indices import INDEXED, room
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Function, Program, Value, walk
from dlc.ops.arrays import numpy_dtype
from dlc.records import dataclass, field
from dlc.runtime.interpret import given_size
from dlc.types.dims import Dim, dim_min
from dlc.types.facts import unmet

Array = NDArray[Any]
LARGEST = 64
INTEGERS = ("i64", "i32", "i16", "i8", "u8", "i4")


def choose_sizes(program: Program, given: Mapping[str, int] | None = None) -> dict[str, int]:
    """A small size for every dim of the inputs that is not given, such that the program's facts hold.

    Raises SpecError if no small sizes fulfil the facts."""
    main = program.main
    sizes = dict(given or {})
    unknown = [name for name in main.dims if name not in sizes]
    check_dims(program, sizes)
    check_sizes(program, sizes)
    preferred = {name: 2 + i * 3 for i, name in enumerate(unknown)}
    order = [*range(5, LARGEST), 4, 3, 2, 1, 128, 224, 256, 512, *range(LARGEST, 512)]
    for name in unknown:
        options = [preferred[name], *order]
        sizes[name] = next((n for n in options if unmet(main.facts, {**sizes, name: n}) is None), -1)
    if any(size < 0 for size in sizes.values()):
        facts = ", ".join(map(str, main.facts))
        message = f"no small sizes fulfil {facts}; give them with --dims"
        raise SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message)])
    return sizes


def random_inputs(
    program: Program,
    sizes: Mapping[str, int] | None = None,
    seed: int = 0,
    given: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Seeded values for every input that is not given: normal numbers, true for bools, and integers below the tables that they
    index; small numbers for sizes that are inputs."""
    known = {**(sizes or {}), **_given_sizes(program.main, given or {})}
    for value in program.main.inputs:
        if given and value.name in given:
            for axis, size in zip(value.type.axes, given[value.name].shape, strict=False):
                if len(axis.symbols) == 1 and axis == Dim.symbol(name := next(iter(axis.symbols))):
                    if (asked := (sizes or {}).get(name, size)) != size:
                        message = f"{name} is to be {asked}, and is {size} by the input `{value.name}`"
                        raise SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message)])
                    known.setdefault(name, size)
    full = choose_sizes(program, known)
    limits = index_limits(program)
    rng = np.random.default_rng(seed)
    values = {
        value.name: _random(rng, value, full, limits.get(value.name, 2))
        for value in program.main.inputs
        if not given or value.name not in given
    }
    wanted = (name for name in program.main.given_sizes if name not in (given or {}))
    return {**values, **{name: np.asarray(full[name]) for name in wanted}}


def _given_sizes(main: Function, given: Mapping[str, Any]) -> dict[str, int]:
    return {name: given_size(name, given[name]) for name in main.given_sizes if name in given}


def _random(rng: np.random.Generator, value: Value, sizes: Mapping[str, int], limit: int) -> Array:
    shape = tuple(axis.evaluate(sizes) for axis in value.type.axes)
    if value.type.dtype == "bool":
        mask = rng.random(shape) < 0.8
        if mask.ndim:
            mask[..., :1] = True  # a row without any true element has no softmax
        return mask
    if value.type.dtype in INTEGERS:
        return rng.integers(0, max(limit, 1), shape).astype(numpy_dtype(value.type.dtype))
    dtype = np.dtype(np.float32) if value.type.dtype == "float" else numpy_dtype(value.type.dtype)
    return rng.standard_normal(shape).astype(dtype)


def index_limits(program: Program, *, every: bool = False, exact: bool = False) -> dict[str, int]:
    """For integer inputs that index a table, the size of the smallest such table; with `every` only where each element of the
    input is a place in one, not one that may stand for nothing, such as a label that is ignored; with `exact` where it is
    one by `take`."""
    passing = _PASSING - {"where"} if exact or every else _PASSING
    found = _rooms(program, passing, frozenset({"take"}) if exact else frozenset(INDEXED))
    return {
        name: rooms[0].constant for name, rooms in found.items() if rooms and rooms[0].constant is not None
    }


def index_rooms(program: Program) -> dict[str, Dim]:
    """For integer inputs of which each element is a place of an axis, how many places that has, in sizes of the program's inputs."""
    main = program.main
    known = {*readable(main), *main.given_sizes}
    found = _rooms(program, _PASSING - {"where"}, frozenset(INDEXED))
    told = {name: [each for each in rooms if each.symbols <= known] for name, rooms in found.items()}
    return {name: reduce(dim_min, rooms) for name, rooms in told.items() if rooms}


# Ops through which an index passes unchanged, up to a bound.
_PASSING = frozenset({"reshape", "permute", "broadcast", "slice", "cast", "concat", "where", "flip", "pad"})

_Rooms = dict[str, list[Dim]]


@dataclass
class _Places:
    """Of a function: for inputs that are places, the sizes of what they are places in, a number first; and for each of its results
    the inputs that it holds elements of."""

    inputs: tuple[str, ...]
    rooms: _Rooms = field(default_factory=dict)
    held: list[set[str]] = field(default_factory=list)


def _rooms(program: Program, passing: frozenset[str], reading: frozenset[str]) -> _Rooms:
    memo: dict[str, _Places] = {}
    for name in program.reachable():
        memo[name] = _places(program.functions[name], memo, passing, reading)
    return memo[program.entry].rooms


def _places(
    function: Function, memo: Mapping[str, _Places], passing: frozenset[str], reading: frozenset[str]
) -> _Places:
    types = function.types()
    origins: dict[str, set[str]] = {value.name: {value.name} for value in function.inputs}
    found = _Places(tuple(value.name for value in function.inputs))

    def held(names: Iterable[str]) -> set[str]:
        return set().union(*(origins.get(name, set()) for name in names))

    def note(name: str, *sizes: Dim) -> None:
        for origin in held([name]):
            found.rooms[origin] = _merged((*found.rooms.get(origin, ()), *sizes))

    for op in walk(function.body):
        if op.op in passing:
            origins.update((value.name, held(op.inputs)) for value in op.outputs)
        elif op.op in reading:
            note(op.inputs[INDEXED[op.op]], room(op, [types[name] for name in op.inputs]))
        elif op.op == LOOP:
            origins.update((each.arg.name, held([each.source])) for each in Loop.of(op).sequences)
        elif op.callee:
            inner, dims = memo[op.callee], dict(op.dims)
            given = dict(zip(inner.inputs, filter(None, op.inputs), strict=True))
            for name, sizes in inner.rooms.items():
                note(given[name], *(each.substitute(dims) for each in sizes if each.symbols <= dims.keys()))
            for value, names in zip(op.outputs, inner.held, strict=True):
                origins[value.name] = held(given[name] for name in names)
    found.held = [held([name]) for _, name in function.outputs]
    return found


def _merged(sizes: Iterable[Dim]) -> list[Dim]:
    """Each size once, of the numbers among them the smallest, which comes first."""
    each = dict.fromkeys(sizes)
    numbers = [size.constant for size in each if size.constant is not None]
    smallest = [Dim.of(min(numbers))] if numbers else []
    return [*smallest, *(size for size in each if size.constant is None)]
