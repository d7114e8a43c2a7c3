"""What convolutions and pooling mean: NumPy over sliding windows. Layouts are [batch, channels, *space]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from dlc.ops.definition import LazyModule

if TYPE_CHECKING:
    import numpy as np

    from dlc.ops.arrays import Array
else:
    np = LazyModule("numpy")

Ints = Sequence[int]
Pairs = Sequence[Sequence[int]]


def _border(x: Array, pairs: Pairs, value: float = 0.0) -> Array:
    """x with a border around its spatial axes."""
    if not any(map(any, pairs)):
        return x
    return np.pad(x, [(0, 0), (0, 0), *map(tuple, pairs)], constant_values=value)


def _windows(x: Array, kernel: Ints, stride: Ints, dilation: Ints) -> Array:
    """[B, c, *space] -> [B, c, *places, *kernel], a view. `space` has its border already."""
    sizes = [
        (size - d * (k - 1) - 1) // s + 1
        for size, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)
    ]
    steps = x.strides[2:]
    strides = [a * s for a, s in zip(steps, stride, strict=True)] + [
        a * d for a, d in zip(steps, dilation, strict=True)
    ]
    shape = (*x.shape[:2], *sizes, *kernel)
    return np.lib.stride_tricks.as_strided(x, shape, (*x.strides[:2], *strides), writeable=False)


def conv(x: Array, w: Array, *, stride: Ints, padding: Pairs, dilation: Ints, groups: int) -> Array:
    """One matrix product per group: windows [B * places, i/g * K] by kernels [i/g * K, o/g]."""
    rank, outs = len(stride), w.shape[0] // groups
    views = _windows(_border(x, padding), w.shape[2:], stride, dilation)
    batch, places = x.shape[0], views.shape[2 : 2 + rank]
    order = (0, *range(2, 2 + rank), 1, *range(2 + rank, 2 + 2 * rank))
    rows, columns = batch * math.prod(places), math.prod(w.shape[1:])
    parts = []
    for g in range(groups):
        taken = views[:, g * w.shape[1] : (g + 1) * w.shape[1]].transpose(order)
        kernels = w[g * outs : (g + 1) * outs].reshape(outs, columns)
        parts.append((taken.reshape(rows, columns) @ kernels.T).reshape(batch, *places, outs))
    return np.ascontiguousarray(np.moveaxis(np.concatenate(parts, axis=-1), -1, 1))


def conv_transpose(
    x: Array, w: Array, *, stride: Ints, padding: Pairs, output_padding: Ints, dilation: Ints, groups: int
) -> Array:
    """Every input element adds its kernel, scaled, at its place; then `padding` is cut off."""
    kernel, space = w.shape[2:], x.shape[2:]
    outs = w.shape[1]
    spread = zip(space, stride, kernel, dilation, output_padding, strict=True)
    full = [(n - 1) * s + d * (k - 1) + 1 + extra for n, s, k, d, extra in spread]
    result = np.zeros((x.shape[0], groups * outs, *full), x.dtype)
    for g in range(groups):
        rows = slice(g * (x.shape[1] // groups), (g + 1) * (x.shape[1] // groups))
        _scatter_kernel(result[:, g * outs : (g + 1) * outs], x[:, rows], w[rows], stride, dilation)
    cut = [slice(before, size - after) for (before, after), size in zip(padding, full, strict=True)]
    return np.ascontiguousarray(result[(slice(None), slice(None), *cut)])


def _scatter_kernel(result: Array, x: Array, w: Array, stride: Ints, dilation: Ints) -> None:
    for place in product(*map(range, w.shape[2:])):
        starts = [p * d for p, d in zip(place, dilation, strict=True)]
        ends = [a + (n - 1) * s + 1 for a, n, s in zip(starts, x.shape[2:], stride, strict=True)]
        where: Any = (slice(None), slice(None), *map(slice, starts, ends, stride))
        at: Any = (slice(None), slice(None), *place)
        tap = np.tensordot(x, w[at], axes=([1], [0]))
        result[where] += np.moveaxis(tap, -1, 1)


def pooled_size(size: int, kernel: int, stride: int, before: int, after: int, ceil: bool) -> int:
    """The number of windows along an axis. With `ceil` the last may hang over the end, but it must start
    inside the input or the border before it (PyTorch's rule)."""
    room = size + before + after - kernel
    if not ceil:
        return room // stride + 1
    return min(-(-room // stride) + 1, (size + before - 1) // stride + 1)


def _overhang(
    x: Array, kernel: Ints, stride: Ints, padding: Pairs, ceil: bool
) -> tuple[list[int], list[list[int]]]:
    """The number of windows along each spatial axis, and the border that they need."""
    axes = list(zip(x.shape[2:], kernel, stride, padding, strict=True))
    sizes = [pooled_size(n, k, s, a, b, ceil) for n, k, s, (a, b) in axes]
    borders = [
        [a, max(0, (count - 1) * s + k - n - a)] for count, (n, k, s, (a, _)) in zip(sizes, axes, strict=True)
    ]
    return sizes, borders


def _pool_windows(x: Array, kernel: Ints, stride: Ints, padding: Pairs, ceil: bool, value: float) -> Array:
    """[B, c, *places, *kernel], with `value` outside of x."""
    sizes, borders = _overhang(x, kernel, stride, padding, ceil)
    views = _windows(_border(x, borders, value), kernel, stride, [1] * len(kernel))
    return views[(slice(None), slice(None), *map(slice, sizes))]


def max_pool(x: Array, *, kernel: Ints, stride: Ints, padding: Pairs, ceil: bool) -> Array:
    views = _pool_windows(x, kernel, stride, padding, ceil, -np.inf)
    result: Array = views.max(axis=tuple(range(x.ndim, views.ndim)))
    return result


def avg_pool(
    x: Array, *, kernel: Ints, stride: Ints, padding: Pairs, ceil: bool, count_padding: bool
) -> Array:
    views = _pool_windows(x, kernel, stride, padding, ceil, 0.0)
    total = views.sum(axis=tuple(range(x.ndim, views.ndim)))
    sizes, _ = _overhang(x, kernel, stride, padding, ceil)
    counts = np.ones((), np.float64)
    for n, k, s, (a, b), count in zip(x.shape[2:], kernel, stride, padding, sizes, strict=True):
        begin = np.arange(count) * s - a
        low, high = (-a, n + b) if count_padding else (0, n)
        inside = np.minimum(begin + k, high) - np.maximum(begin, low)
        counts = np.multiply.outer(counts, inside)
    result: Array = (total / counts).astype(x.dtype)
    return result
