"""Emitted modules at work: NumPy (or DLPack) in and out, by name."""

from __future__ import annotations

import contextlib
import re
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dlc.backend import Artifact


@dataclass
class JaxRunnable:
    """A loaded program. `native` is the pair (params, apply): the flat dict of arrays and the compiled
    function.

    On a GPU, float32 products are computed in full precision, so that results agree with other backends;
    programs of f64 run with JAX's x64 switched on for the length of a call. Nothing global changes."""

    params: dict[str, Any]
    module: types.ModuleType
    meta: Mapping[str, Any]
    updates: dict[str, np.ndarray] = field(default_factory=dict)
    """The new values of buffers of the last call, by path."""
    _stacked: Any = None
    _compiled: dict[str, Callable[..., Any]] = field(default_factory=dict)

    @property
    def native(self) -> tuple[dict[str, Any], Callable[..., Any]]:
        return self.params, self._function("apply")

    def _function(self, name: str) -> Callable[..., Any]:
        import jax

        if name not in self._compiled:
            self._compiled[name] = jax.jit(getattr(self.module, name))
        return self._compiled[name]

    def _run(self, arguments: list[Any]) -> Any:
        """The program's results. Layers of loops are stacked at the first call."""
        if not self.meta["stacks"]:
            return self._function("apply")(self.params, *arguments)
        if self._stacked is None:
            self._stacked = self.module.stack(self.params)
        return self._function("forward")(self._stacked, *arguments)

    def __call__(self, **inputs: Any) -> dict[str, np.ndarray]:
        """The outputs by name. `key`, where no input is called so, seeds programs that draw (a JAX key, or an
        int). Raises TypeError for inputs that are missing or unknown, ValueError for those that do not fulfil
        what the program requires."""
        names = {name for name, _ in self.meta["inputs"]}
        key = None if "key" in names else inputs.pop("key", None)
        with settings(self.meta), requirements():
            return self._named(self._run(call_arguments(self.meta, inputs, key)))

    def _named(self, results: Any) -> dict[str, np.ndarray]:
        outputs = self.meta["outputs"]
        found = list(results) if isinstance(results, tuple) else [results]
        if self.meta["updates"]:
            updates = found.pop()
            self.updates = {path: np.asarray(value) for path, value in updates.items()}
        precision = self.meta["precision"]
        return {
            name: numpy_array(value, type["dtype"], precision)
            for (name, type), value in zip(outputs, found, strict=True)
        }


def load(artifact: Artifact, weights: Mapping[str, np.ndarray], device: str = "") -> JaxRunnable:
    """The emitted module with its parameters as JAX arrays, on JAX's default device or the first of a kind
    ("cpu", "gpu", "tpu"). Raises RuntimeError if there is none."""
    import jax

    place = jax.devices(_PLATFORMS.get(device, device))[0] if device else None
    with settings(artifact.meta):
        params = {
            path: jax.device_put(value, place) for path, value in arrays(artifact.meta, weights).items()
        }
    return JaxRunnable(params, module(artifact), artifact.meta)


def arrays(meta: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The parameters as JAX arrays of their declared dtypes."""
    dtypes = meta["dtypes"]
    return {path: _array(value, dtypes.get(path, ""), meta["precision"]) for path, value in weights.items()}


_PLATFORMS = {"cuda": "gpu"}


def module(artifact: Artifact) -> types.ModuleType:
    """The emitted source as a fresh module, which is not entered into `sys.modules`."""
    ((name, source),) = artifact.files.items()
    found = types.ModuleType(name.removesuffix(".py"))
    exec(compile(source, name, "exec"), found.__dict__)
    return found


@contextlib.contextmanager
def requirements() -> Iterator[None]:
    """A `require` that fails within `jit` as the ValueError that it raised."""
    import jax

    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        told = re.search(r"^ValueError: (.*)$", str(error), re.MULTILINE)
        if told is None:
            raise
        raise ValueError(told[1]) from None


@contextlib.contextmanager
def settings(meta: Mapping[str, Any]) -> Iterator[None]:
    """JAX's settings for one call: full float32 precision, and x64 for programs that need it."""
    import jax

    dtypes = {type["dtype"] for _, type in (*meta["inputs"], *meta["outputs"])} | {meta["precision"]}
    with jax.default_matmul_precision("highest"), contextlib.ExitStack() as stack:
        if "f64" in dtypes:
            stack.enter_context(_x64())
        yield


def _x64() -> Any:
    import jax

    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64

    return enable_x64()


def call_arguments(meta: Mapping[str, Any], inputs: Mapping[str, Any], key: Any) -> list[Any]:
    """What `apply` takes besides the parameters."""
    given = [_array(value, dtype, meta["precision"]) for value, dtype in _in_order(meta["inputs"], inputs)]
    return [*given, *([_key(key)] if meta["key"] else [])]


def _in_order(inputs: Any, given: Mapping[str, Any]) -> Iterator[tuple[Any, str]]:
    names = [name for name, _ in inputs]
    missing, unknown = set(names) - given.keys(), given.keys() - set(names)
    if missing or unknown:
        raise TypeError(f"inputs missing: {sorted(missing)}; unknown: {sorted(unknown)}; expected: {names}")
    return ((given[name], type["dtype"]) for name, type in inputs)


def _array(value: Any, dtype: str, precision: str) -> Any:
    """A value as a JAX array of a dtype. Integers get JAX's own width here, where it would warn otherwise."""
    import jax
    import jax.numpy as jnp

    from dlc.ops.arrays import numpy_dtype

    if not isinstance(value, np.ndarray | jax.Array) and hasattr(value, "__dlpack__"):
        value = jnp.from_dlpack(value)
    if not dtype:
        return jnp.asarray(value)
    wanted = numpy_dtype(precision if dtype == "float" else dtype)
    return jnp.asarray(value, jax.dtypes.canonicalize_dtype(wanted))


def _key(key: Any) -> Any:
    import jax

    return jax.random.key(key or 0) if key is None or isinstance(key, int) else key


def numpy_array(value: Any, dtype: str, precision: str) -> np.ndarray:
    """An output as NumPy, in the dtype that the program declares."""
    from dlc.ops.arrays import numpy_dtype

    found: np.ndarray = np.asarray(value)
    return found.astype(numpy_dtype(precision if dtype == "float" else dtype))
