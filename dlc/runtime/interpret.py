"""The meaning of a program: its ops' NumPy references, executed one after another.

`float` is computed as the given precision. Dtypes that NumPy does not compute in (bf16, f16, f8, i4) are
computed in a wider one and rounded after every op."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc import ops
from dlc.diagnostics import Span
from dlc.ir.index import at_turn
from dlc.ir.loops import INDEX_TYPE, LOOP, Loop, Stacked, positions
from dlc.ir.nodes import Attr, Function, Op, Program
from dlc.ir.splice import prefixed
from dlc.ops.arrays import numpy_dtype
from dlc.passes.wide_constants import in_precision
from dlc.runtime.random_rounding import rounded
from dlc.types.dim_solve import bind
from dlc.types.dims import Dim
from dlc.types.facts import unmet
from dlc.types.tensor import COMPUTED_IN, TensorType

Array = NDArray[Any]

# What is computed in another dtype, and in which.
_WIDER = {numpy_dtype(narrow): numpy_dtype(wide) for narrow, wide in COMPUTED_IN.items()}


INSIDE = "inside"
"""An op of programs that are made to check indices (`dlc/runtime/indices.py`) alone: input 0 holds places of an axis, which are from 0 to
`room - 1` of an axis of `size`. `of` is what `writes` or reads there."""


DIVISOR = "divisor"
"""The same of divisions: input 0 holds integers that are not 0, or not negative where they are exponents, unless nothing is divided:
the result has `axes`."""


class CheckFailed(Exception):
    """A `require` or a `where` that the data does not meet."""


class Outside(Exception):
    """An index that is outside its axis, or a divisor that is 0, found before what reads, writes or divides."""

    def __init__(self, message: str, span: Span) -> None:
        super().__init__(message)
        self.span = span


class InputError(ValueError):
    """Inputs that are missing, unknown, or not of their types."""


def run(
    program: Program,
    weights: Mapping[str, Array],
    inputs: Mapping[str, Any],
    *,
    rng: np.random.Generator | None = None,
    precision: str = "f32",
    updates: dict[str, Array] | None = None,
    rounding: np.random.Generator | None = None,
) -> dict[str, Array]:
    """The outputs of the program's entry function, by name.

    `weights` holds every parameter and buffer by its path. New values of buffers go into `updates`, where one
    is given, and reads after an update see it. With `rounding`, ops compute in f64 and their results are rounded at random. Raises InputError, CheckFailed (with the message of the
    `require`), and KeyError for a path without a value."""
    program = in_precision(program, precision)
    main = program.main
    machine = Machine(
        program,
        weights,
        rng or np.random.default_rng(0),
        precision,
        {} if updates is None else updates,
        rounding,
    )
    arrays = _entry_inputs(main, inputs, precision)
    dims = bind_dims(main, arrays, inputs)
    _check_facts(main, dims)
    with np.errstate(all="ignore"):  # what is infinite or no number is a result like any other
        return _named(main, machine.call(main, "", arrays, dims))


def run_function(
    program: Program,
    name: str,
    inputs: Mapping[str, Any] | None = None,
    *,
    rng: np.random.Generator | None = None,
    precision: str = "f32",
) -> dict[str, Array]:
    """The outputs of one function without parameters, such as one of kind "init" or "prepare"."""
    function = program.functions[name]
    machine = Machine(program, {}, rng or np.random.default_rng(0), precision, {})
    arrays = _entry_inputs(function, inputs or {}, precision)
    dims = bind_dims(function, arrays)
    with np.errstate(all="ignore"):
        return _named(function, machine.call(function, "", arrays, dims))


def _named(function: Function, results: Sequence[Array]) -> dict[str, Array]:
    return dict(zip((name for name, _ in function.outputs), results, strict=True))


# --- the way in ---------------------------------------------------------------------------------------------


def _entry_inputs(function: Function, inputs: Mapping[str, Any], precision: str) -> list[Array]:
    names = function.input_names
    missing, unknown = set(names) - set(inputs), set(inputs) - set(names)
    if missing or unknown:
        wrong = [
            *(f"{name} is missing" for name in sorted(missing)),
            *(f"{name} is unknown" for name in sorted(unknown)),
        ]
        raise InputError(f"inputs of {function.source}: {', '.join(wrong)}")
    return [
        _as_type(np.asarray(inputs[value.name]), value.type, precision, value.name)
        for value in function.inputs
    ]


def _as_type(array: Array, type: TensorType, precision: str, name: str) -> Array:
    dtype = numpy_dtype(type.dtype, precision)
    low_precision = dtype in _WIDER or array.dtype in _WIDER
    if array.dtype != dtype and not low_precision and not np.can_cast(array.dtype, dtype, "same_kind"):
        raise InputError(f"{name} must be {type}, not {array.dtype}")
    return array.astype(dtype, copy=False)


def bind_dims(
    function: Function, arrays: Sequence[Array], given: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, int]:
    """The function's dims, from the shapes of its inputs; those that no input carries are `given`. Raises InputError where a
    shape does not fit."""
    dims = {name: given_size(name, given[name]) for name in function.given_sizes if name in given}
    for value, array in zip(function.inputs, arrays, strict=True):
        if array.ndim != value.type.rank:
            axes = f"it has {array.ndim} axes, not {value.type.rank}"
            raise InputError(f"`{value.name}` must be {value.type}, not {list(array.shape)}: {axes}")
        for axis, size in zip(value.type.axes, array.shape, strict=True):
            bind(axis, size, dims)
    for value, array in zip(function.inputs, arrays, strict=True):
        for i, (axis, size) in enumerate(zip(value.type.axes, array.shape, strict=True)):
            wanted = _size_at(axis, dims)
            if wanted != size:
                known = ", ".join(f"{name} = {dims[name]}" for name in sorted(axis.symbols))
                told = f" ({known})" if known else ""
                wrong = f"divides by 0{told}" if wanted is None else f"is {size}, not {wanted}{told}"
                raise InputError(
                    f"`{value.name}` must be {value.type}, not {list(array.shape)}: axis {i} {wrong}"
                )
    return dims


def _size_at(axis: Dim, dims: Mapping[str, int]) -> int | None:
    """None where it divides by 0."""
    try:
        return axis.evaluate(dims)
    except ZeroDivisionError:
        return None


def given_size(name: str, value: Any) -> int:
    """A size that is an input of its own: an integer. Raises InputError for anything else."""
    array = np.asarray(value)
    if array.ndim or array.dtype.kind not in "iu" or array < 0:
        raise InputError(f"`{name}` is a size: a whole number, not {value!r}")
    return int(array)


def _check_facts(function: Function, dims: Mapping[str, int]) -> None:
    broken = unmet(function.facts, dims)
    if broken is not None:
        sizes = ", ".join(f"{name} = {dims[name]}" for name in sorted(broken.symbols))
        raise CheckFailed(f"{function.source} needs {broken}, and {sizes}")


# --- execution ----------------------------------------------------------------------------------------------


@dataclass
class _Frame:
    """One call in progress: values by name, sizes by dim, and the path of the instance."""

    prefix: str
    dims: Mapping[str, int]
    values: dict[str, Array]
    index: int | None = None

    def path(self, local: str) -> str:
        """The full path of one relative to the function, the index of the loop put in."""
        local = local if self.index is None else at_turn(local, self.index)
        return prefixed(self.prefix, local)


@dataclass
class Machine:
    program: Program
    weights: Mapping[str, Array]
    rng: np.random.Generator
    precision: str
    updates: dict[str, Array]
    rounding: np.random.Generator | None = None

    def call(
        self, function: Function, prefix: str, arrays: Sequence[Array], dims: Mapping[str, int]
    ) -> list[Array]:
        names = (value.name for value in function.inputs)
        frame = _Frame(prefix, dims, dict(zip(names, arrays, strict=True)))
        self.execute(function.body, frame)
        return [frame.values[value] for _, value in function.outputs]

    def execute(self, body: Iterable[Op], frame: _Frame) -> None:
        for op in body:
            operands = [frame.values[name] if name else None for name in op.inputs]
            step = _CALL if op.callee else _STRUCTURAL.get(op.op, Machine._primitive)
            try:
                results = step(self, op, operands, frame)
            except Exception as error:
                error.add_note(
                    f"in `{op.op}` at {op.span.file}:{op.span}" if op.span.line else f"in `{op.op}`"
                )
                raise
            for value, result in zip(op.outputs, results, strict=True):
                frame.values[value.name] = self._typed(result, value.type)

    def _typed(self, result: Array, type: TensorType) -> Array:
        dtype = numpy_dtype(type.dtype, self.precision)
        array = np.asarray(result)
        if self.rounding is not None and type.is_float and array.dtype == np.float64 != dtype:
            return rounded(array, dtype, self.rounding)
        return array.astype(dtype, copy=False)

    def _primitive(self, op: Op, operands: list[Array | None], frame: _Frame) -> Sequence[Array]:
        definition = ops.get(op.op)
        attrs = {name: self._static(name, value, frame) for name, value in op.attrs if name != "draw"}
        if definition.random:
            attrs["rng"] = self.rng
        computable = _computable if self.rounding is None else _wide
        result = definition.reference(*map(computable, operands), **attrs)
        results = result if isinstance(result, tuple) else (result,)
        if ops.is_added(op.op):
            from dlc.ops.faults import check_results

            wanted = [tuple(axis.evaluate(frame.dims) for axis in each.type.axes) for each in op.outputs]
            check_results(op, [np.shape(each) for each in results], wanted)
        return results

    def _static(self, name: str, value: Attr, frame: _Frame) -> Any:
        """An attribute's value with its dims as ints, and `float` as the precision."""
        if name == "dtype" and value == "float":
            return self.precision
        return evaluated(value, frame.dims)

    def _param(self, op: Op, operands: list[Array | None], frame: _Frame) -> Sequence[Array]:
        path = frame.path(op.text("path"))
        if path in self.updates:
            return (self.updates[path],)
        if path not in self.weights:
            raise KeyError(f"no value is given for the parameter {path}")
        array, type = self.weights[path], op.out.type
        expected = tuple(axis.evaluate(frame.dims) for axis in type.axes)
        if tuple(array.shape) != expected:
            raise InputError(f"the parameter {path} must be of shape {expected}, not {tuple(array.shape)}")
        return (np.asarray(array),)

    def _const(self, op: Op, operands: list[Array | None], frame: _Frame) -> Sequence[Array]:
        type = op.out.type
        shape = tuple(axis.evaluate(frame.dims) for axis in type.axes)
        return (np.array(op.attr("value"), numpy_dtype(type.dtype, self.precision)).reshape(shape),)

    def _update(self, op: Op, operands: list[Array | None], frame: _Frame) -> Sequence[Array]:
        (value,) = operands
        assert value is not None
        self.updates[frame.path(op.text("path"))] = value
        return ()

    def _require(self, op: Op, operands: list[Array | None], frame: _Frame) -> Sequence[Array]:
        if not np.all(operands[0]):
            raise CheckFailed(op.text("message"))
        return ()

    def _inside(self, op: Op, operands: list[Array | None], frame: _Frame) -> Sequence[Array]:
        (index,) = operands
        places = int(evaluated(op.attr("room"), frame.dims))
        if index is not None and index.size and (index.min() < 0 or index.max() >= places):
            wrong = index.min() if index.min() < 0 else index.max()
            verb, size = "writes" if op.attr("writes") else "reads", evaluated(op.attr("size"), frame.dims)
            valid = f"indices are 0 to {places - 1}" if places > 0 else "it has no place for any"
            raise Outside(
                f"`{op.text('of')}` {verb} at index {wrong} of an axis of size {size}: {valid}", op.span
            )
        return ()

    def _divisor(self, op: Op, operands: list[Array | None], frame: _Frame) -> Sequence[Array]:
        (divisor,) = operands
        power = op.text("sign") == "**"
        wrong = divisor is not None and bool(np.any(divisor < 0) if power else not np.all(divisor))
        if wrong and all(evaluated(op.attr("axes"), frame.dims)):
            what = "raises integers to a negative power" if power else "divides integers by 0"
            raise Outside(f"`{op.text('of')}` {what}", op.span)
        return ()

    def _loop(self, op: Op, operands: list[Array | None], frame: _Frame) -> Sequence[Array]:
        loop = Loop.of(op)
        arrays = [each for each in operands if each is not None]
        carried, sequences = arrays[: len(loop.carried)], arrays[len(loop.carried) :]
        count, start = int(evaluated(loop.count, frame.dims)), int(evaluated(loop.start, frame.dims))
        order = positions(count, backwards=loop.backwards)
        inner = _Frame(frame.prefix, frame.dims, dict(frame.values), frame.index)
        turns: list[list[Array]] = []
        for position in order:
            index = start + loop.step * position
            inner.index = frame.index if loop.shared else index
            counter = [] if loop.index is None else [np.asarray(index, numpy_dtype(INDEX_TYPE.dtype))]
            slices = (
                _at(array, each.axis, position) for array, each in zip(sequences, loop.sequences, strict=True)
            )
            args = (value.name for value in loop.region.args)
            inner.values.update(zip(args, (*counter, *carried, *slices), strict=True))
            self.execute(loop.body, inner)
            carried = [inner.values[each.next] for each in loop.carried]
            turns.append([inner.values[each.item] for each in loop.stacked])
        if loop.backwards:
            turns.reverse()
        stacked = (
            self._stacked([turn[i] for turn in turns], each, frame) for i, each in enumerate(loop.stacked)
        )
        return [*carried, *stacked]

    def _stacked(self, items: list[Array], stacked: Stacked, frame: _Frame) -> Array:
        """The items of all turns; of no turns, nothing in the shape that they would have had."""
        if items:
            return np.stack(items, stacked.axis)
        shape = tuple(axis.evaluate(frame.dims) for axis in stacked.out.type.axes)
        return np.zeros(shape, numpy_dtype(stacked.out.type.dtype, self.precision))

    def _call(self, op: Op, operands: list[Array | None], frame: _Frame) -> Sequence[Array]:
        callee = self.program.functions[op.callee]
        arrays = [each for each in operands if each is not None]
        dims = {name: dim.evaluate(frame.dims) for name, dim in op.dims}
        prefix = frame.path(op.path) if op.path else frame.prefix
        return self.call(callee, prefix, arrays, dims)


_Step = Callable[[Machine, Op, "list[Array | None]", _Frame], Sequence[Array]]
_CALL: _Step = Machine._call
_STRUCTURAL: Mapping[str, _Step] = {
    "param": Machine._param,
    "const": Machine._const,
    "update": Machine._update,
    "require": Machine._require,
    INSIDE: Machine._inside,
    DIVISOR: Machine._divisor,
    LOOP: Machine._loop,
}


def _at(array: Array, axis: int, position: int) -> Array:
    """One slice of an array, without the axis."""
    return array[(slice(None),) * axis + (position,)]


def _computable(array: Array | None) -> Array | None:
    """The array in a dtype that NumPy computes in."""
    if array is None or array.dtype not in _WIDER:
        return array
    return array.astype(_WIDER[array.dtype])


def _wide(array: Array | None) -> Array | None:
    """The same with floats in f64."""
    array = _computable(array)
    return array.astype(np.float64) if array is not None and array.dtype.kind == "f" else array


def evaluated(value: Attr, dims: Mapping[str, int]) -> Any:
    """An attribute with its sizes as numbers."""
    if isinstance(value, tuple):
        return tuple(evaluated(each, dims) for each in value)
    return value.evaluate(dims) if isinstance(value, Dim) else value
