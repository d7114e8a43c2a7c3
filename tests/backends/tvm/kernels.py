"""Small functions for the tests of schedules: an expression each, many to a library, since compiling is what costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from dlc_tvm.build import build, cpu_kernels, parse_target
from dlc_tvm.runtime import Library, load
from dlc_tvm.schedule import RULE
from numpy.typing import NDArray
from tvm import relax, tirx

Array = NDArray[Any]
Shape = tuple[int | str, ...]  # a string is a size that is left open


class Emitter:
    """`e.add(x, y)` emits `relax.op.add`; `e.nn.relu(x)` likewise."""

    def __init__(self, builder: Any, namespace: Any = relax.op) -> None:
        self.builder, self.namespace = builder, namespace

    def __getattr__(self, name: str) -> Any:
        member = getattr(self.namespace, name)
        if name in ("nn", "image"):
            return Emitter(self.builder, member)
        return lambda *args, **kwargs: self.builder.emit(member(*args, **kwargs))

    def const(self, value: float, dtype: str = "float32") -> Any:
        return relax.const(value, dtype)

    def first(self, value: Any) -> Any:
        return self.builder.emit(relax.TupleGetItem(value, 0))


@dataclass(frozen=True)
class Case:
    """`body(emitter, *inputs, *weights)`, to be run at each of `sizes`."""

    name: str
    body: Callable[..., Any]
    inputs: Sequence[Shape]
    weights: Sequence[Shape] = ()
    sizes: Sequence[Mapping[str, int]] = ({},)
    tolerance: float = 2e-5
    dtypes: Sequence[str] = ()

    def dtype(self, position: int) -> str:
        return self.dtypes[position] if position < len(self.dtypes) else "float32"

    def arrays(self, sizes: Mapping[str, int]) -> list[Array]:
        shapes = [
            [sizes[d] if isinstance(d, str) else d for d in shape] for shape in (*self.inputs, *self.weights)
        ]
        return [_sample(shape, self.dtype(i), seed=i) for i, shape in enumerate(shapes)]


def _sample(shape: Sequence[int], dtype: str, *, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2 if dtype == "bool" else 5, shape).astype(dtype)


def module(cases: Sequence[Case]) -> Any:
    """One function for each case, named after it."""
    builder = relax.BlockBuilder()
    for case in cases:
        names: dict[str, Any] = {}
        variables = [
            _variable(case, i, shape, names) for i, shape in enumerate((*case.inputs, *case.weights))
        ]
        attributes = {"num_input": len(case.inputs)} if case.weights else {}
        with builder.function(case.name, variables, attrs=attributes):
            with builder.dataflow():
                result = builder.emit_output(case.body(Emitter(builder), *variables))
            builder.emit_func_output(result)
    return builder.finalize()


def _variable(case: Case, position: int, shape: Shape, names: dict[str, Any]) -> Any:
    dims = [names.setdefault(d, tirx.Var(d, "int64")) if isinstance(d, str) else d for d in shape]
    return relax.Var(f"x{position}", relax.TensorType(dims, case.dtype(position)))


def kernels(cases: Sequence[Case], *, opt: int = 2) -> dict[str, Any]:
    """The scheduled kernels of some cases, by name."""
    target = parse_target("llvm")
    with target:
        found = cpu_kernels(module(cases), target, opt=opt).functions_items()
    return {var.name_hint: func for var, func in found if isinstance(func, tirx.PrimFunc)}


def rules(case: Case, *, opt: int = 2) -> set[str]:
    """The schedule rules that took the kernels of a case; "none" among them where no rule did."""
    return {str(f.attrs[RULE]) if RULE in f.attrs else "none" for f in kernels([case], opt=opt).values()}


def call(library: Library, case: Case, arrays: Sequence[Array]) -> list[Array]:
    count = len(case.inputs)
    weights = library.prepare(arrays[count:], case.name) if case.weights else ()
    return library.run(*arrays[:count], weights=weights, function=case.name)


def check(cases: Sequence[Case], expected: Library, *, opt: int) -> None:
    """What is compiled at `opt` computes the same as `expected`, case by case and size by size."""
    library = load(build(module(cases), opt=opt), threads=2)
    for case in cases:
        for sizes in case.sizes:
            arrays = case.arrays(sizes)
            pairs = zip(call(library, case, arrays), call(expected, case, arrays), strict=True)
            for actual, wanted in pairs:
                _compare(actual, wanted, case.tolerance, f"{case.name} at {dict(sizes)}")


def _compare(actual: Array, expected: Array, tolerance: float, where: str) -> None:
    assert actual.shape == expected.shape, where
    assert actual.dtype == expected.dtype, where
    finite = expected[np.isfinite(expected)].astype(np.float64)
    scale = max(1.0, float(np.abs(finite).max(initial=0)))
    np.testing.assert_allclose(
        actual.astype(np.float64), expected.astype(np.float64), tolerance, tolerance * scale, err_msg=where
    )
