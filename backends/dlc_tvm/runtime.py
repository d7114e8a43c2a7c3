"""Running a compiled library with TVM's runtime alone: neither the compiler nor the `tvm` package is imported.

library = load("model.so", threads=2)
weights = library.prepare(arrays)            # once: packs and folds what `build` moved out of the way
outputs = library.run(image, weights=weights)
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import tvm_ffi
from numpy.lib.stride_tricks import as_strided

ALIGNMENT = 64  # bytes: compiled kernels take it for granted and crash without it
CPU, CUDA = 1, 2  # DLPack's device types
POOLED = 2  # the virtual machine's allocator that keeps freed memory for the next call
SHARE_ALL_CORES = -3  # the thread pool's mode that binds no thread to a core
PREPARE = "_transform_params"

_threads = threading.local()


def load(library: str | Path | bytes, *, threads: int | None = None, device: str = "cpu") -> Library:
    """Open a library that `build` made. `threads` defaults to what TVM_NUM_THREADS or OMP_NUM_THREADS say, or else to
    the processors that this process may use."""
    _load_runtime(device)
    if isinstance(library, bytes):
        with NamedTemporaryFile(suffix=".so") as file:
            file.write(library)
            file.flush()
            return Library(tvm_ffi.load_module(file.name), threads=threads, device=device)
    return Library(tvm_ffi.load_module(str(library)), threads=threads, device=device)


def _load_runtime(device: str) -> None:
    """TVM's runtime library, found beside the `tvm` package without importing it."""
    spec = importlib.util.find_spec("tvm")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("TVM's runtime isn't installed: pip install 'dlc[tvm]'")
    names = ["tvm_runtime", "tvm_runtime_extra", *(["tvm_runtime_cuda"] if device == "cuda" else [])]
    for name in names:
        ctypes.CDLL(str(Path(spec.origin).parent / "lib" / f"lib{name}.so"), ctypes.RTLD_GLOBAL)


class Library:
    """A loaded library: its functions take NumPy arrays, or any DLPack tensors without copying them.

    Threads may share it. `threads` are those that one call uses."""

    def __init__(self, module: Any, *, threads: int | None, device: str) -> None:
        self._module = module  # keeps the code in memory while machines run it
        self._device = device
        self._machine = self._made()
        self._idle = [self._machine]
        self.threads = threads if threads is not None else _default_threads()

    def _made(self) -> Any:
        """A virtual machine over the library's code. Its frames are those of one call: each call at work has one to itself."""
        machine = self._module["vm_load_executable"]()
        devices = [(CUDA, 0), (CPU, 0)] if self._device == "cuda" else [(CPU, 0)]
        machine["vm_initialization"](*(v for kind, index in devices for v in (kind, index, POOLED)))
        return machine

    def inputs(self, function: str = "main") -> list[str]:
        """The parameters of a function, by name and in order; prepared weights are among them."""
        count = self._machine["get_function_arity"](function)
        return [str(self._machine["get_function_param_name"](function, i)) for i in range(count)]

    def prepares(self, function: str = "main") -> str | None:
        """The function that turns the spec's weights into those `function` takes, if there is one."""
        for name in (function + PREPARE, PREPARE.lstrip("_")):
            if self._has(name):
                return name
        return None

    def prepare(self, weights: Sequence[Any], function: str = "main") -> list[Any]:
        """The weights as `function` takes them; run this once, not per call."""
        tensors = [self._tensor(value) for value in weights]
        name = self.prepares(function)
        return tensors if name is None else list(self._call(name, [tensors]))

    def run(
        self,
        *inputs: Any,
        sizes: Sequence[int] = (),
        weights: Sequence[Any] = (),
        function: str = "main",
    ) -> list[Any]:
        """The outputs of `function`: NumPy arrays if all inputs are, or else DLPack tensors. `sizes` are those that are inputs
        of their own."""
        tensors = [self._tensor(value) for value in inputs]
        given = [tvm_ffi.Shape((size,)) for size in sizes]
        result = self._call(function, [*tensors, *given, *weights])
        outputs = [result] if hasattr(result, "__dlpack__") else list(result)
        return (
            [self._array(x) for x in outputs] if all(isinstance(x, np.ndarray) for x in inputs) else outputs
        )

    def _has(self, name: str) -> bool:
        try:
            self._machine["get_function_arity"](name)
        except (RuntimeError, ValueError):
            return False
        return True

    def _call(self, name: str, arguments: Sequence[Any]) -> Any:
        _use_threads(self.threads)
        try:
            machine = self._idle.pop()
        except IndexError:
            machine = self._made()
        result = machine[name](*arguments)
        self._idle.append(machine)  # not one that failed: what it was at is left as it was
        return result

    def _tensor(self, value: Any) -> Any:
        if self._device == "cpu":
            return tensor(value)
        return value if isinstance(value, tvm_ffi.Tensor) else tvm_ffi.from_dlpack(value)

    def _array(self, value: Any) -> np.ndarray[Any, Any]:
        return np.from_dlpack(value)


def tensor(value: Any) -> Any:
    """A CPU tensor over the memory of `value`, or of a copy where it isn't aligned or not in one piece."""
    if not isinstance(value, np.ndarray) and hasattr(value, "__dlpack__"):
        shared = value if isinstance(value, tvm_ffi.Tensor) else tvm_ffi.from_dlpack(value)
        if shared.is_contiguous() and shared.data_ptr() % ALIGNMENT == 0:
            return shared
        value = np.from_dlpack(value)
    return tvm_ffi.from_dlpack(_aligned(np.asarray(value)))


def _aligned(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if array.size == 0:  # NumPy gives empty arrays no strides, and kernels check them
        strides = np.cumprod([array.itemsize, *array.shape[:0:-1]])[::-1]
        return as_strided(
            np.empty(1, array.dtype), array.shape, [int(step) for step in strides[-array.ndim :]]
        )
    if array.flags.c_contiguous and array.flags.writeable and array.ctypes.data % ALIGNMENT == 0:
        return array
    room = np.empty(array.nbytes + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _default_threads() -> int:
    for name in ("TVM_NUM_THREADS", "OMP_NUM_THREADS"):
        wanted = os.environ.get(name, "")
        if wanted.isdecimal() and int(wanted) > 0:
            return int(wanted)
    return len(_cores())


def _use_threads(count: int) -> None:
    """Have kernels called from this thread use `count` threads, on any of this process's cores.

    TVM keeps a thread pool per calling thread, as large as the first setting allows, and by default halves the
    number of cores (taking them for hyper-threads) and binds each thread to one. So the first setting here names
    all cores, and the number of threads in use follows. The environment isn't touched.
    """
    if getattr(_threads, "count", None) == count:
        return
    cores = [str(core) for core in _cores()]
    tvm_ffi.get_global_func("runtime.config_threadpool")(SHARE_ALL_CORES, min(count, len(cores)), cores)
    _threads.count = count
