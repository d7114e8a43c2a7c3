"""What depends on constants alone is computed now, with the ops' NumPy references.

Before:

    model Net(%x: f32[B, 4]) -> (y: %y) {
        %two: f32[] = const() {value=2.0}
        %three: f32[] = const() {value=3.0}
        %six: f32[] = mul(%two, %three)
        %y: f32[B, 4] = mul(%x, %six)
    }

After (the pass of dead code then takes what nothing reads):

    model Net(%x: f32[B, 4]) -> (y: %y) {
        %two: f32[] = const() {value=2.0}
        %three: f32[] = const() {value=3.0}
        %six: f32[] = const() {value=6.0}
        %y: f32[B, 4] = mul(%x, %six)
    }
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dlc import ops
from dlc.ir.drawing import is_random
from dlc.ir.nodes import Attr, Function, Op, Program, Region
from dlc.ops.arrays import numpy_dtype
from dlc.ops.definition import LazyModule
from dlc.passes.base import each_function
from dlc.records import dataclass, replace
from dlc.types.dims import Dim
from dlc.types.terms import origin_free

if TYPE_CHECKING:
    import numpy as np

    from dlc.ops.arrays import Array
else:
    np = LazyModule("numpy")

# Ops that say in a word what as a constant would be a list.
TERSE = frozenset({"arange", "full", "broadcast"})

# What is computed on the way to a small result may be larger than it.
WORKING_SIZE = 65_536


@dataclass(frozen=True, slots=True)
class Constants:
    """`limit` is the number of elements up to which a result becomes a constant: more would be lists of
    numbers in emitted code. Values of dtype `float` are computed in f64, since the working precision is
    chosen later."""

    limit: int = 16
    name: str = "constants"

    def run(self, program: Program) -> Program:
        return each_function(program, lambda function: self._function(function))

    def _function(self, function: Function) -> Function:
        body = tuple(self._body(function.body, {}))
        return function if body == function.body else replace(function, body=body)

    def _body(self, body: Iterable[Op], known: dict[str, Array]) -> Iterator[Op]:
        for op in body:
            if op.region is not None:
                inner = tuple(self._body(op.region.body, known))
                yield replace(op, region=Region(op.region.args, inner, op.region.results))
                continue
            results = evaluate(op, known) if _is_settled(op) else ()
            known.update((value.name, array) for value, array in zip(op.outputs, results, strict=False))
            if results and op.op != "const" and all(self._fits(op, array) for array in results):
                yield from _constants(op, results)
            else:
                yield op

    def _fits(self, op: Op, array: Array) -> bool:
        return array.size <= (1 if op.op in TERSE else self.limit)


def _is_settled(op: Op) -> bool:
    """Whether nothing in it comes from static parameters, as far as these are remembered: there, source is written that takes others."""
    return all(origin_free(value) for _, value in op.attrs)


def _constants(op: Op, results: tuple[Array, ...]) -> Iterator[Op]:
    for value, array in zip(op.outputs, results, strict=True):
        yield Op("const", (), (value,), (("value", as_attr(array)),), span=op.span)


def evaluate(op: Op, known: Mapping[str, Array]) -> tuple[Array, ...]:
    """The results of an op on known operands; empty where they can't be, or are not worth being, computed
    now."""
    if not all(name in known for name in op.inputs) or any(
        not _small(value.type.size) for value in op.outputs
    ):
        return ()
    if op.op == "const":
        return (constant_array(op),)
    if not op.outputs or not all(may(op) for may in CONDITIONS.values()):
        return ()
    attrs = {key: _plain(key, value) for key, value in op.attrs}
    if _UNKNOWN in attrs.values():
        return ()
    try:
        with np.errstate(all="raise", under="ignore"):
            results = ops.get(op.op).reference(*(known[name] for name in op.inputs), **attrs)
    except (ArithmeticError, ValueError, IndexError):
        return ()
    arrays = results if isinstance(results, tuple) else (results,)
    return tuple(_typed(array, value.type.dtype) for array, value in zip(arrays, op.outputs, strict=True))


def constant_array(op: Op) -> Array:
    """The value of a `const`."""
    shape = op.out.type.shape or ()
    return np.asarray(op.attr("value"), numpy_dtype(op.out.type.dtype, "f64")).reshape(shape)


def as_attr(array: Array) -> Attr:
    """An array as nested tuples of Python numbers."""
    wide = array.astype(np.float64) if array.dtype.kind not in "biuf" else array
    return _tuples(wide.tolist())


def _tuples(value: Any) -> Attr:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _typed(array: Any, dtype: str) -> Array:
    return np.asarray(array, numpy_dtype(dtype, "f64"))


def _small(size: Dim) -> bool:
    return size.constant is not None and size.constant <= WORKING_SIZE


# What can be computed now. The tests have a program for each that it alone refuses.
CONDITIONS: dict[str, Callable[[Op], bool]] = {
    "primitive": lambda op: not op.callee and ops.known(op.op),
    "fixed": lambda op: not is_random(op),
}

_UNKNOWN = object()


def _plain(key: str, value: Attr) -> Any:
    """An attribute as references take it: sizes as ints, `float` as f64; `_UNKNOWN` for a size that is a
    symbol."""
    if key == "dtype" and value == "float":
        return "f64"
    if isinstance(value, Dim):
        return _UNKNOWN if value.constant is None else value.constant
    if isinstance(value, tuple):
        items = tuple(_plain("", each) for each in value)
        return _UNKNOWN if _UNKNOWN in items else items
    return value
