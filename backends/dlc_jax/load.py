"""Emitted modules at work: NumPy (or DLPack) in and out, by name."""

from __future__ import annotations

import contextlib
import logging
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from dlc.backend import Artifact
from dlc.emit.file import loaded
from dlc.emit.names import field_names, identifier
from dlc_jax.integers import is_large, is_long


@dataclass
class JaxRunnable:
    """A loaded program. `native` is (params, apply), or (params, state, apply) where it has buffers: the trees that the emitted
    functions take, and the compiled function.

    On a GPU, float32 products are computed in full precision, so that results agree with other backends; programs of f64, and
    those whose integers may be beyond 32 bits, run with JAX's x64 switched on for the length of a call. Nothing global changes."""

    trees: tuple[Any, ...]
    module: types.ModuleType
    meta: Mapping[str, Any]
    updates: dict[str, np.ndarray] = field(default_factory=dict)
    """The values of buffers after the last call, by path."""

    @cached_property
    def apply(self) -> Callable[..., Any]:
        import jax

        known = [each for each in ("config", "training") if each in self.meta["arguments"]]
        known += map(identifier, self.meta["sizes"])
        compiled: Callable[..., Any] = jax.jit(self.module.apply, static_argnames=known)
        return compiled

    @property
    def native(self) -> tuple[Any, ...]:
        return (*self.trees, self.apply)

    def __call__(self, /, **inputs: Any) -> dict[str, np.ndarray]:
        """The outputs by name. `key`, where no input is called so, seeds programs that draw (a JAX key, or an
        int). Raises TypeError for inputs that are missing or unknown, ValueError for those that do not fulfil
        what the program requires."""
        names = {name for name, _ in self.meta["inputs"]}
        key = None if "key" in names else inputs.pop("key", None)
        large = is_large(inputs.values()) or (self.meta["x64_if_long"] and is_long(inputs.values()))
        with settings(self.meta, large=large), requirements():
            given, named = call_arguments(self.meta, inputs, key)
            outputs, state = results(self.meta, self.apply(*self.trees, *given, **named))
            if state is not None:
                flat = self.module.to_flat(state)
                self.updates = {path: np.asarray(value) for path, value in flat.items()}
            return self._named(outputs)

    def _named(self, found: Sequence[Any]) -> dict[str, np.ndarray]:
        precision = self.meta["precision"]
        return {
            name: numpy_array(value, type["dtype"], precision)
            for (name, type), value in zip(self.meta["outputs"], found, strict=True)
        }


def results(meta: Mapping[str, Any], found: Any) -> tuple[Sequence[Any], Any]:
    """The outputs in order, and the new state; None for a program without buffers."""
    outputs, state = found if meta["state"] else (found, None)
    if hasattr(outputs, "_asdict"):
        return [getattr(outputs, name) for name in field_names(name for name, _ in meta["outputs"])], state
    return (outputs,), state


def trees(meta: Mapping[str, Any], module: types.ModuleType, flat: Mapping[str, Any]) -> tuple[Any, ...]:
    """The parameters, and the state if there is one, as `apply` takes them."""
    if not hasattr(module, "from_flat"):  # without parameters
        return ({},)
    found = module.from_flat(flat)
    params, *state = found if meta["state"] else (found,)
    if meta["prepare"]:
        params = module.prepare(params, *(state if "state" in meta["prepare"] else ()))
    return params, *state


def load(artifact: Artifact, weights: Mapping[str, np.ndarray], device: str = "") -> JaxRunnable:
    """The emitted module with its parameters as JAX arrays, on JAX's default device or the first of a kind
    ("cpu", "gpu", "tpu"). Raises RuntimeError if there is none."""
    import jax

    place = jax.devices(_PLATFORMS.get(device, device))[0] if device else None
    emitted = module(artifact)
    meta = {**artifact.meta, "x64": artifact.meta["x64"] or is_large(weights.values())}
    with settings(meta):
        held = _rounded(meta, emitted, weights)
        return JaxRunnable(jax.device_put(held, place), emitted, meta)


def _rounded(
    meta: Mapping[str, Any], emitted: types.ModuleType, weights: Mapping[str, np.ndarray]
) -> tuple[Any, ...]:
    """The trees in the program's precision; what is prepared of weights is rounded once, behind that."""
    if not meta["prepare"] or meta["precision"] not in ("bf16", "f16"):
        return trees(meta, emitted, arrays(meta, weights))
    dtypes = {path: "f32" if dtype == meta["precision"] else dtype for path, dtype in meta["dtypes"].items()}
    wide, *_ = trees(meta, emitted, arrays({**meta, "dtypes": dtypes}, weights))
    public, *state = trees({**meta, "prepare": ()}, emitted, arrays(meta, weights))
    return _filled_up(public, wide, meta["precision"]), *state


def _filled_up(public: Mapping[str, Any], wide: Mapping[str, Any], precision: str) -> dict[str, Any]:
    """A tree of the form of `wide`, whose leaves are `public` where that has them."""
    return {
        name: _filled_up(public.get(name, {}), value, precision)
        if isinstance(value, dict)
        else public[name]
        if name in public
        else _array(value, "float", precision)
        for name, value in wide.items()
    }


def arrays(meta: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The parameters as JAX arrays of their declared dtypes."""
    dtypes = meta["dtypes"]
    return {path: _array(value, dtypes.get(path, ""), meta["precision"]) for path, value in weights.items()}


_PLATFORMS = {"cuda": "gpu"}


def module(artifact: Artifact) -> types.ModuleType:
    """The emitted source as a fresh module."""
    ((name, source),) = artifact.files.items()
    assert isinstance(source, str)
    return loaded(name, source)


@contextlib.contextmanager
def requirements() -> Iterator[None]:
    """A `require` that fails within `jit` as the ValueError that it raised, which JAX would log with its traceback besides."""
    import jax

    log, unlogged = logging.getLogger("jax._src.debugging"), _Unlogged()
    log.addFilter(unlogged)
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        told = re.search(r"^ValueError: (.*)$", str(error), re.MULTILINE)
        if told is None:
            raise
        raise ValueError(told[1]) from None
    finally:
        log.removeFilter(unlogged)


class _Unlogged(logging.Filter):
    """One for each call, as threads may be at work at once."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and record.exc_info[0] is ValueError)


@contextlib.contextmanager
def settings(meta: Mapping[str, Any], *, large: bool = False) -> Iterator[None]:
    """JAX's settings for one call: full float32 precision, and x64 for programs that need it, and for inputs with `large` integers."""
    import jax

    dtypes = {type["dtype"] for _, type in (*meta["inputs"], *meta["outputs"])} | {meta["precision"]}
    with jax.default_matmul_precision("highest"), contextlib.ExitStack() as stack:
        if "f64" in dtypes or large or meta["x64"]:
            stack.enter_context(_x64())
        yield


def _x64() -> Any:
    import jax

    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64

    return enable_x64()


def call_arguments(
    meta: Mapping[str, Any], inputs: Mapping[str, Any], key: Any
) -> tuple[list[Any], dict[str, Any]]:
    """What `apply` takes besides the parameters and the state: by place, and by name."""
    sizes = {identifier(name): int(inputs[name]) for name in meta["sizes"] if name in inputs}
    tensors = {name: value for name, value in inputs.items() if name not in meta["sizes"]}
    arrays = {
        name: _array(value, dtype, meta["precision"])
        for name, value, dtype in _in_order(meta["inputs"], tensors)
    }
    given = [arrays.get(name) for name in meta["given"]]
    named: dict[str, Any] = {"training": True} if meta["training"] and "training" in meta["arguments"] else {}
    named |= sizes
    if "key" in meta["arguments"]:
        named["key"] = _key(key)
    return given, named


def _in_order(inputs: Any, given: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    names = [name for name, _ in inputs]
    missing, unknown = set(names) - given.keys(), given.keys() - set(names)
    if missing or unknown:
        raise TypeError(f"inputs missing: {sorted(missing)}; unknown: {sorted(unknown)}; expected: {names}")
    return ((name, given[name], type["dtype"]) for name, type in inputs)


def _array(value: Any, dtype: str, precision: str) -> Any:
    """A value as a JAX array of a dtype. Integers get JAX's own width here, where it would warn otherwise."""
    import jax
    import jax.numpy as jnp

    from dlc.ops.arrays import numpy_dtype

    if not isinstance(value, np.ndarray | jax.Array) and hasattr(value, "__dlpack__"):
        value = _shared(value)
    if not dtype:
        return jnp.asarray(value)
    wanted = numpy_dtype(precision if dtype == "float" else dtype)
    with np.errstate(over="ignore"):  # what f16 has no number for is infinite, on every backend
        return jnp.asarray(value, jax.dtypes.canonicalize_dtype(wanted))


def _shared(value: Any) -> Any:
    """Another framework's tensor; where JAX does not take its strides, a copy."""
    import jax.numpy as jnp

    try:
        return jnp.from_dlpack(value)
    except RuntimeError:
        return np.array(np.from_dlpack(value))


def _key(key: Any) -> Any:
    import jax

    return jax.random.key(key or 0) if key is None or isinstance(key, int) else key


def numpy_array(value: Any, dtype: str, precision: str) -> np.ndarray:
    """An output as NumPy, in the dtype that the program declares."""
    from dlc.ops.arrays import numpy_dtype

    found: np.ndarray = np.asarray(value)
    return found.astype(numpy_dtype(precision if dtype == "float" else dtype))
