"""dtypes as NumPy knows them, for references and the interpreter."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from dlc.ops.definition import LazyModule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]
else:
    np = LazyModule("numpy")

_NUMPY = {
    "f64": "float64", "f32": "float32", "f16": "float16",
    "i64": "int64", "i32": "int32", "i16": "int16", "i8": "int8", "u8": "uint8", "bool": "bool",
}  # fmt: skip
_ML_DTYPES = {"bf16": "bfloat16", "f8e4m3": "float8_e4m3fn", "f8e5m2": "float8_e5m2", "i4": "int4"}


@cache
def numpy_dtype(dtype: str, precision: str = "f32") -> np.dtype[Any]:
    """NumPy's dtype for one of ours; `float` is `precision`. Raises KeyError for an unknown name."""
    name = precision if dtype == "float" else dtype
    if name in _ML_DTYPES:
        import ml_dtypes

        wide: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _ML_DTYPES[name]))
        return wide
    return np.dtype(_NUMPY[name])


def a_byte_each(array: Array) -> Array:
    """Numbers of i4 as everything but NumPy's references holds them, files and backends: as i8. Others are as they are."""
    return array.astype(np.int8) if array.dtype.name == _ML_DTYPES["i4"] else array


def dtype_name(dtype: np.dtype[Any]) -> str:
    """Our name of a NumPy dtype. Raises KeyError if it has none."""
    names = {numpy: ours for table in (_NUMPY, _ML_DTYPES) for ours, numpy in table.items()}
    return names[dtype.name]
