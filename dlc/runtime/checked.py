"""Inputs, and a runnable that checks them before the backend sees them, so that every backend refuses the same ones alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from dlc import arguments
from dlc.analysis.measure import check_sizes
from dlc.backend import Runnable
from dlc.diagnostics import NO_SPAN, Problem, SpecError, did_you_mean
from dlc.diagnostics import training as problems
from dlc.ir.nodes import Program, Value, walk
from dlc.ops.arrays import a_byte_each, numpy_dtype
from dlc.passes.stored import BYTE, SMALL
from dlc.runtime import promises
from dlc.runtime.indices import IndexCheck
from dlc.runtime.inputs import index_limits
from dlc.runtime.interpret import CheckFailed, InputError, bind_dims
from dlc.types.tensor import RANGES, TensorType


class InputCheck:
    """What a program takes, before it runs.

    Raises SpecError: E0902 for inputs that do not fit, E0710 for indices computed of them that are outside their axis, E0804 for a
    fact that does not hold for them."""

    def __init__(self, program: Program, check_indices: IndexCheck, left_out: Sequence[str] = ()) -> None:
        self.program = program
        self._check_indices = check_indices
        self._left_out = left_out

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs as every framework takes them."""
        given = {name: _native(name, value) for name, value in inputs.items()}
        self._check_names(given, self.program.main.input_names)
        wanted = self.program.main.inputs
        arrays = [_seen(value.name, given[value.name]) for value in wanted]
        for value, array in zip(wanted, arrays, strict=True):
            _check_dtype(value, array)
        try:
            dims = bind_dims(self.program.main, arrays, given)
        except InputError as error:
            _fail(problems.BAD_INPUT, str(error))
        check_sizes(self.program, dims)
        for value, array in zip(wanted, arrays, strict=True):
            self._check_range(value, array)
        self._check_indices(given)
        return given

    def _check_names(self, inputs: Mapping[str, Any], wanted: Sequence[str]) -> None:
        for name in wanted:
            if name not in inputs:
                _fail(problems.BAD_INPUT, f"the input `{name}` is missing; inputs are {', '.join(wanted)}")
        for name in inputs:
            if name == "key" and name not in wanted:
                self._check_key(inputs[name])
            elif name not in wanted:
                help = did_you_mean(name, wanted) or f"inputs are {', '.join(wanted)}"
                if name in self._left_out:
                    help = f'it is optional: compile `model.with_inputs("{name}")`, a model that takes it'
                _fail(problems.BAD_INPUT, f"there is no input `{name}`", help)

    def _check_key(self, key: Any) -> None:
        if not self._draws:
            _fail(problems.BAD_INPUT, "`key` seeds what is drawn, and the model draws nothing")
        if isinstance(key, int | float | str | bytes | None):
            arguments.natural("key", key)

    @cached_property
    def _draws(self) -> bool:
        functions = map(self.program.functions.__getitem__, self.program.reachable())
        return any(op.attr("draw") is not None for each in functions for op in walk(each.body))

    @cached_property
    def _limits(self) -> dict[str, int]:
        """For integer inputs that index tables as they are given, the size of the smallest table."""
        return index_limits(self.program, exact=True)

    def _check_range(self, value: Value, array: Any) -> None:
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu" or not array.size:
            return
        limit = self._limits.get(value.name)
        if limit is None or (array.min() >= 0 and array.max() < limit):
            return
        wrong = array.min() if array.min() < 0 else array.max()
        _fail(problems.BAD_INPUT, f"`{value.name}` holds {wrong}; it indexes a table, from 0 to {limit - 1}")


class Checked:
    """A backend's runnable of a program. Anything but a call goes straight to it.

    Calls raise SpecError: E0902 for inputs that do not fit, E0710 for indices computed of them that are outside
    their axis, E0804 for a fact or `require` that does not hold for them."""

    def __init__(
        self,
        runnable: Runnable,
        program: Program,
        check_indices: IndexCheck,
        backend: str = "",
        left_out: Sequence[str] = (),
    ) -> None:
        self.runnable = runnable
        self.program = program
        self._fitting = InputCheck(program, check_indices, left_out)
        self._backend = backend

    def __repr__(self) -> str:
        main = self.program.main
        given, gives = ", ".join(main.input_names), ", ".join(name for name, _ in main.outputs)
        return f"<Runnable of {main.source}{f' on {self._backend}' if self._backend else ''}: {given} -> {gives}>"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.runnable, name)

    @property
    def native(self) -> Any:
        return self.runnable.native

    def __call__(self, /, *values: Any, **inputs: Any) -> dict[str, NDArray[Any]]:
        if values:
            named = ", ".join(f"{name}=…" for name in self.program.main.input_names)
            raise TypeError(f"inputs are given by name: {named}")
        inputs = self._fitting(inputs)
        with promises.rows_told(self._backend, self.program):
            outputs = self._computed(inputs)
        found = promises.arrays_of(self._backend, outputs, self._types, "output")
        promises.check_shapes(self._backend, self.program, self._types, found)
        return {
            name: each.astype(self._small[name]) if name in self._small else each
            for name, each in found.items()
        }

    @cached_property
    def _small(self) -> dict[str, np.dtype[Any]]:
        """The outputs that backends keep a byte to a number, and NumPy's dtype of them."""
        return {name: numpy_dtype(type.dtype) for name, type in self._types.items() if type.dtype == SMALL}

    @cached_property
    def _types(self) -> dict[str, TensorType]:
        """Of the outputs; that looks at the whole program."""
        main = self.program.main
        return dict(zip((name for name, _ in main.outputs), main.output_types, strict=True))

    def _computed(self, inputs: Mapping[str, Any]) -> object:
        try:
            return self.runnable(**inputs)
        except CheckFailed as error:
            _fail(problems.REQUIRE_FAILED, str(error))
        except InputError as error:
            _fail(problems.BAD_INPUT, str(error))
        except ValueError as error:  # what emitted source raises
            if str(error) not in self._messages:
                raise
            _fail(problems.REQUIRE_FAILED, str(error))

    @cached_property
    def _messages(self) -> frozenset[str]:
        """What the program says where data does not meet a `require`."""
        return required(self.program)


def required(program: Program) -> frozenset[str]:
    """The messages of a program's `require`s."""
    functions = program.functions.values()
    return frozenset(op.text("message") for each in functions for op in walk(each.body) if op.op == "require")


def _seen(name: str, given: Any) -> Any:
    """What can be checked of an input: an array, or a framework's own tensor, by its shape and dtype."""
    if isinstance(given, np.ndarray) or (hasattr(given, "shape") and hasattr(given, "ndim")):
        return given
    try:
        return np.asarray(given)
    except ValueError as error:
        _fail(problems.BAD_INPUT, f"`{name}` is no array: {error}")


def _native(name: str, given: Any) -> Any:
    """An array as all frameworks take it: a file may have another order of bytes, a computation wider floats than any of them."""
    if not isinstance(given, np.ndarray):
        return given.detach() if getattr(given, "requires_grad", False) is True else given
    if isinstance(given, np.ma.MaskedArray):
        if np.ma.is_masked(given):
            help = "fill it: `array.filled(0)`; a mask is an input of its own"
            _fail(problems.BAD_INPUT, f"`{name}` has masked elements, which no framework knows", help)
        given = given.data
    if given.dtype == np.longdouble:
        return given.astype(np.float64)
    return a_byte_each(given) if given.dtype.isnative else given.astype(given.dtype.newbyteorder("="))


def _check_foreign(value: Value, tensor: Any) -> None:
    """A framework's own tensor: a kind of number that a cast would cut off is told as an array's is."""
    name = str(getattr(tensor, "dtype", "")).rpartition(".")[2]
    dtype = numpy_dtype(value.type.dtype)
    try:
        fits = np.can_cast(np.dtype(name), dtype, "same_kind")
    except TypeError:  # bf16 and the like
        fits = dtype.kind in "fV" or not name.startswith(("bfloat", "float"))
    if name and not fits and dtype.kind != "V":
        _fail(problems.BAD_INPUT, f"`{value.name}` must be {value.type}, not {name}")
    if dtype.kind in "iu" and 0 not in tuple(tensor.shape) and hasattr(tensor, "max"):
        _check_ends(value, tensor)


def _check_dtype(value: Value, array: Any) -> None:
    if not isinstance(array, np.ndarray):
        _check_foreign(value, array)
        return
    dtype = numpy_dtype(BYTE if value.type.dtype == SMALL else value.type.dtype)
    narrow = dtype.kind == "V" or (
        array.dtype.kind == "V" and array.dtype.type is not np.void
    )  # bf16 and the like
    if array.dtype != dtype and not narrow and not np.can_cast(array.dtype, dtype, "same_kind"):
        _fail(problems.BAD_INPUT, f"`{value.name}` must be {value.type}, not {array.dtype}")
    if dtype.kind in "iu" and array.dtype.kind in "iu" and array.size:
        _check_ends(value, array)


def _check_ends(value: Value, array: Any) -> None:
    low, end = RANGES[value.type.dtype]
    for each in (array.min(), array.max()):
        if not low <= int(each) < end:
            reason = f"{value.type.dtype} goes from {low} to {end - 1}"
            _fail(problems.BAD_INPUT, f"`{value.name}` holds {int(each)}, and {reason}")


def _fail(problem: Problem, message: str, help: str = "") -> NoReturn:
    raise SpecError([problem.at(NO_SPAN, message=message, help=help)])
