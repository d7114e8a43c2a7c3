"""Arrays in and out: NumPy, also with the dtypes of ml_dtypes, and anything with DLPack."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray

# Dtypes that NumPy knows only through ml_dtypes: what has the same bits, and PyTorch's name.
_BITS: dict[str, tuple[Any, Any, torch.dtype]] = {
    "bfloat16": (ml_dtypes.bfloat16, np.int16, torch.bfloat16),
    "float8_e4m3fn": (ml_dtypes.float8_e4m3fn, np.uint8, torch.float8_e4m3fn),
    "float8_e5m2": (ml_dtypes.float8_e5m2, np.uint8, torch.float8_e5m2),
}


def dtype(name: str) -> torch.dtype:
    """PyTorch's dtype of that name in the IR."""
    from dlc_torch.rows import DTYPES

    found = getattr(torch, DTYPES[name].removeprefix("torch."))
    assert isinstance(found, torch.dtype)
    return found


def to_torch(array: Any) -> torch.Tensor:
    """A tensor with the array's values; memory is not shared with NumPy arrays."""
    if isinstance(array, torch.Tensor):
        return array
    if hasattr(array, "__dlpack__") and not isinstance(array, np.ndarray | np.generic):
        return torch.from_dlpack(array)
    array = np.ascontiguousarray(array).reshape(np.shape(array))
    if array.dtype.name in _BITS:
        _, bits, name = _BITS[array.dtype.name]
        return torch.tensor(array.view(bits)).view(name)
    return torch.tensor(array)


def to_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    tensor = tensor.detach().cpu().contiguous()
    for kind, bits, name in _BITS.values():
        if tensor.dtype == name:
            plain = tensor.view(torch.int16 if bits is np.int16 else torch.uint8)
            result: NDArray[Any] = plain.numpy().view(kind)
            return result
    found: NDArray[Any] = tensor.numpy()
    return found
