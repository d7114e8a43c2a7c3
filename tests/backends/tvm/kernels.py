"""Small modules for the tests: one expression over inputs (and weights), compiled and run on given sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dlc_tvm.build import build
from dlc_tvm.runtime import Library, load
from tvm import relax, tirx

Dim = int | str
Spec = tuple[Dim, ...] | tuple[tuple[Dim, ...], str]


class Emitter:
    """`e.add(x, y)` emits `relax.op.add`; `e.nn.relu(x)` likewise."""

    def __init__(self, builder: Any, namespace: Any = relax.op) -> None:
        self._builder = builder
        self._namespace = namespace

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._namespace, name)
        if name in ("nn", "image"):
            return Emitter(self._builder, member)
        return lambda *args, **kwargs: self._builder.emit(member(*args, **kwargs))

    def const(self, value: float, dtype: str = "float32") -> Any:
        return relax.const(value, dtype)

    def te(self, compute: Callable[..., Any], *args: Any) -> Any:
        return self._builder.emit_te(compute, *args)


def module(body: Callable[..., Any], specs: Sequence[Spec], weights: Sequence[Spec] = ()) -> Any:
    """`main(*inputs, *weights) = body(emitter, *inputs, *weights)`; a string among the sizes is a symbolic one."""
    names: dict[str, Any] = {}
    builder = relax.BlockBuilder()
    variables = [_variable(f"x{i}", spec, names) for i, spec in enumerate((*specs, *weights))]
    with builder.function("main", variables):
        with builder.dataflow():
            result = builder.emit_output(body(Emitter(builder), *variables))
        builder.emit_func_output(result)
    built = builder.finalize()
    if weights:
        built["main"] = built["main"].with_attr("num_input", len(specs))
    return built


def _variable(name: str, spec: Spec, names: dict[str, Any]) -> Any:
    shape, dtype = _split(spec)
    sizes = [names.setdefault(d, tirx.Var(d, "int64")) if isinstance(d, str) else d for d in shape]
    return relax.Var(name, relax.TensorType(sizes, dtype))


def _split(spec: Spec) -> tuple[tuple[Dim, ...], str]:
    if spec and isinstance(spec[0], tuple):
        return spec[0], str(spec[1])
    return spec, "float32"  # type: ignore[return-value]


def sample(spec: Spec, sizes: dict[str, int], seed: int) -> np.ndarray[Any, Any]:
    shape, dtype = _split(spec)
    concrete = [sizes[d] if isinstance(d, str) else d for d in shape]
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "iub":
        return rng.integers(0, 2 if dtype == "bool" else 5, concrete).astype(dtype)
    return rng.standard_normal(concrete).astype(dtype)


class Compiled:
    """A module, built at one optimization level."""

    def __init__(self, mod: Any, *, opt: int) -> None:
        self.library: Library = load(build(mod, opt=opt), threads=2)

    def __call__(self, inputs: Sequence[Any], weights: Sequence[Any] = ()) -> list[np.ndarray[Any, Any]]:
        return self.library.run(*inputs, weights=self.library.prepare(weights) if weights else ())


def check(
    body: Callable[..., Any],
    specs: Sequence[Spec],
    *,
    weights: Sequence[Spec] = (),
    sizes: Sequence[dict[str, int]] = ({},),
    tolerance: float = 2e-5,
    opt: int = 2,
) -> None:
    """The optimized module agrees with the plain one (opt 0) at all `sizes`."""
    plain = Compiled(module(body, specs, weights), opt=0)
    fast = Compiled(module(body, specs, weights), opt=opt)
    for size in sizes:
        inputs = [sample(spec, size, i) for i, spec in enumerate(specs)]
        held = [sample(spec, size, 100 + i) for i, spec in enumerate(weights)]
        for expected, actual in zip(plain(inputs, held), fast(inputs, held), strict=True):
            assert actual.shape == expected.shape
            scale = max(1.0, float(np.abs(expected[np.isfinite(expected)]).max(initial=0)))
            np.testing.assert_allclose(
                actual, expected, rtol=tolerance, atol=tolerance * scale, err_msg=str(size)
            )
