"""Running a compiled artifact by the names of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.backend import Artifact
from dlc.diagnostics import Span, SpecError
from dlc.diagnostics import training as problems
from dlc.types.dims import Dim, parse_dim
from dlc_tvm.names import NUMPY
from dlc_tvm.runtime import Library
from dlc_tvm.runtime import load as load_library

Array = NDArray[Any]
NOWHERE = Span("", 0, 0)


class TvmRunnable:
    """A loaded library with its weights prepared. `native` is the `Library`."""

    def __init__(self, artifact: Artifact, library: Library, weights: Mapping[str, Array]) -> None:
        self.meta = artifact.meta
        self.native = library
        arrays = [
            np.asarray(weights[path]).astype(_numpy(self.meta["dtypes"][path]), copy=False)
            for path in self.meta["parameters"]
        ]
        self._weights = library.prepare(arrays)

    def __call__(self, **inputs: Any) -> dict[str, Array]:
        """Outputs by name. Raises SpecError for a missing, unknown or ill-shaped input, or a `require` that does not hold."""
        dims: dict[str, int] = {}
        draws = {name for name, _, _ in self.meta["draws"]}
        arrays = [
            self._input(name, dtype, axes, inputs, dims) for name, dtype, axes in self.meta["inputs"] if name not in draws
        ]
        unknown = set(inputs) - {name for name, _, _ in self.meta["inputs"]}
        if unknown:
            _fail(f"the model has no input `{min(unknown)}`")
        _check_facts(self.meta["facts"], dims)
        arrays += [self._draw(each, dims) for each in self.meta["draws"]]
        results = self.native.run(*arrays, weights=self._weights)
        names = self.meta["outputs"]
        for message, held in zip(self.meta["requires"], results[len(names) :], strict=True):
            if not bool(np.asarray(held)):
                raise SpecError([problems.REQUIRE_FAILED.at(NOWHERE, message=message)])
        return {name: np.asarray(result) for (name, _), result in zip(names, results, strict=False)}

    def _input(
        self, name: str, dtype: str, axes: list[str], inputs: Mapping[str, Any], dims: dict[str, int]
    ) -> Array:
        if name not in inputs:
            _fail(f"the input `{name}` is missing")
        array = np.asarray(np.from_dlpack(inputs[name]) if hasattr(inputs[name], "__dlpack__") else inputs[name])
        if array.ndim != len(axes):
            _fail(f"`{name}` must have {len(axes)} axes, not {array.ndim}")
        for text, size in zip(axes, array.shape, strict=True):
            _bind(name, text, size, dims)
        return array.astype(_numpy(NUMPY[dtype]), copy=False)

    def _draw(self, draw: Any, dims: Mapping[str, int]) -> Array:
        _, op, attrs = draw
        shape = tuple(Dim.of(parse_dim(each)).evaluate(dims) for each in attrs["shape"])
        rng = np.random.default_rng()
        if op == "randint":
            return rng.integers(attrs["low"], attrs["high"], shape)
        values = rng.random(shape) if op == "uniform" else rng.standard_normal(shape)
        return values.astype(_numpy(NUMPY[attrs.get("dtype", "f32")]))


def _bind(name: str, text: str, size: int, dims: dict[str, int]) -> None:
    """Give a dim its size from an input's axis, or check the axis against sizes that are known."""
    axis = Dim.of(parse_dim(text))
    unknown = [symbol for symbol in axis.symbols if symbol not in dims]
    if unknown:
        linear = axis.linear_in(unknown[0])
        if len(unknown) > 1 or linear is None:
            return
        factor, rest = (each.evaluate(dims) for each in linear)
        dims[unknown[0]] = (size - rest) // factor
    if axis.evaluate(dims) != size:
        _fail(f"an axis of `{name}` must be {axis.evaluate(dims)}, not {size}")


def _check_facts(facts: list[str], dims: Mapping[str, int]) -> None:
    for fact in facts:
        names = {name: value for name, value in dims.items()}
        left, op, right = _split(fact)
        try:
            a, b = (Dim.of(parse_dim(side)).evaluate(names) for side in (left, right))
        except KeyError:
            continue
        if not {"==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[op]:
            raise SpecError([problems.REQUIRE_FAILED.at(NOWHERE, message=fact)])


def _split(fact: str) -> tuple[str, str, str]:
    for op in ("==", "!=", "<=", ">=", "<", ">"):
        left, found, right = fact.partition(f" {op} ")
        if found:
            return left, op, right
    raise ValueError(f"no comparison in {fact!r}")


def _fail(message: str) -> Any:
    raise SpecError([problems.BAD_INPUT.at(NOWHERE, message=message)])


def _numpy(name: str) -> Any:
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))


def load(artifact: Artifact, weights: Mapping[str, Array], *, device: str = "cpu") -> TvmRunnable:
    """Open an artifact's library and prepare its weights."""
    name = next(each for each in artifact.files if each.endswith(".so"))
    content = artifact.files[name]
    assert isinstance(content, bytes)
    return TvmRunnable(artifact, load_library(content, device=device), weights)
