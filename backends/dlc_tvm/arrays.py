"""NumPy arrays as tensors of TVM's runtime, and back: on a GPU, and in dtypes that DLPack does not hand over (bf16, f8)."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import tvm_ffi
from numpy.typing import NDArray

from dlc.ops.arrays import numpy_dtype
from dlc_tvm.names import TVM
from dlc_tvm.runtime import tensor

Array = NDArray[Any]

# What DLPack hands over, without a copy on a CPU.
SHARED = frozenset({"f64", "f32", "f16", "i64", "i32", "i16", "i8", "u8", "bool"})


def to_tensor(array: Array, dtype: str, device: str = "cpu") -> Any:
    """A tensor of one of the IR's dtypes, over the array's own memory where that will do."""
    with np.errstate(over="ignore"):  # what f16 has no number for is infinite
        array = array.astype(numpy_dtype(dtype), copy=False)
    if device == "cpu" and dtype in SHARED:
        return tensor(array)
    content = np.ascontiguousarray(array)
    place, type = tvm_ffi.device(f"{device}:0"), tvm_ffi.dtype(TVM[dtype])
    made = _runtime("TVMTensorAllocWithScope")(tvm_ffi.Shape(array.shape), type, place, None)
    if content.size:
        _runtime("TVMTensorCopyFromBytes")(made, _address(content), content.nbytes)
    return made


def from_tensor(value: Any, dtype: str) -> Array:
    """A result as NumPy, in one of the IR's dtypes."""
    if isinstance(value, np.ndarray):
        return value
    if dtype in SHARED and str(value.device).startswith("cpu"):
        shared: Array = np.from_dlpack(value)
        return shared
    array = np.empty(value.shape, numpy_dtype(dtype))
    if array.size:
        _runtime("TVMTensorCopyToBytes")(value, _address(array), array.nbytes)
    return array


def _runtime(name: str) -> Any:
    return tvm_ffi.get_global_func(f"runtime.{name}")


def _address(array: Array) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)
