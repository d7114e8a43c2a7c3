"""Functions that emitted files copy: each holds those that it uses, as they stand here."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def sigmoid(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def erf(x: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf, [x.dtype])(x)


def scattered(
    x: np.ndarray, index: np.ndarray, values: np.ndarray, axis: int, how: Callable[..., Any] | None
) -> np.ndarray:
    """A copy with values at the places of an axis; `how` puts them together with what is there."""
    places = list(np.indices(index.shape, sparse=True))
    places[axis] = index
    x = x.copy()
    if how is None:
        x[tuple(places)] = values
    else:
        how.at(x, tuple(places), values)
    return x


def updated(x: np.ndarray, values: np.ndarray, start: int, axis: int) -> np.ndarray:
    """A copy with values from a place of an axis on."""
    x = x.copy()
    np.moveaxis(x, axis, 0)[start : start + values.shape[axis]] = np.moveaxis(values, axis, 0)
    return x


def order(x: np.ndarray, axis: int, descending: bool) -> np.ndarray:
    """The places in order; equal elements keep theirs."""
    if not descending:
        return np.argsort(x, axis, "stable")
    return x.shape[axis] - 1 - np.flip(np.argsort(np.flip(x, axis), axis, "stable"), axis)


def top_k(x: np.ndarray, k: int, axis: int) -> tuple[np.ndarray, np.ndarray]:
    places = np.take(order(x, axis, True), np.arange(k), axis)
    return np.take_along_axis(x, places, axis), places


def windows(
    x: np.ndarray, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> np.ndarray:
    """All windows, as further axes: [B, C, *places, *kernel]."""
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    found = np.lib.stride_tricks.sliding_window_view(x, reach, tuple(range(2, x.ndim)))
    steps = [slice(None, None, each) for each in (*stride, *dilation)]
    return found[(slice(None), slice(None), *steps)]


def conv(
    x: np.ndarray, w: np.ndarray, stride: Sequence[int], padding: Any, dilation: Sequence[int], groups: int
) -> np.ndarray:
    x = np.pad(x, [(0, 0), (0, 0), *padding])
    rank = x.ndim - 2
    found = windows(x, w.shape[2:], stride, dilation)
    axes = (1, *range(2 + rank, 2 + 2 * rank)), tuple(range(1, 2 + rank))
    parts = zip(np.split(found, groups, axis=1), np.split(w, groups), strict=True)
    return np.concatenate([np.moveaxis(np.tensordot(a, b, axes), -1, 1) for a, b in parts], axis=1)


def hanging(x: np.ndarray, kernel: Sequence[int], stride: Sequence[int], padding: Any) -> list[Any]:
    """How far the last windows hang over the padding: those that begin inside of x or before it."""
    found = [(0, 0), (0, 0)]
    for n, k, s, (before, after) in zip(x.shape[2:], kernel, stride, padding, strict=True):
        last = min(-(-(before + n + after - k) // s), (before + n - 1) // s)
        found.append((0, max(0, last * s + k - before - n - after)))
    return found


def pooled(x: np.ndarray, kernel: Sequence[int], stride: Sequence[int]) -> np.ndarray:
    """The windows, with their elements along one axis behind."""
    found = windows(x, kernel, stride, [1] * len(kernel))
    return found.reshape(*found.shape[: x.ndim], -1)


def max_pool(
    x: np.ndarray, kernel: Sequence[int], stride: Sequence[int], padding: Any, ceil: bool
) -> np.ndarray:
    more = hanging(x, kernel, stride, padding) if ceil else 0
    x = np.pad(x, [(0, 0), (0, 0), *padding], constant_values=-np.inf)
    return pooled(np.pad(x, more, constant_values=-np.inf), kernel, stride).max(-1)


def avg_pool(
    x: np.ndarray, kernel: Sequence[int], stride: Sequence[int], padding: Any, ceil: bool, count_padding: bool
) -> np.ndarray:
    more = hanging(x, kernel, stride, padding) if ceil else 0
    around = [(0, 0), (0, 0), *padding]
    counted = np.pad(np.pad(np.ones_like(x), around, constant_values=count_padding), more)
    total = pooled(np.pad(np.pad(x, around), more), kernel, stride).sum(-1)
    return total / pooled(counted, kernel, stride).sum(-1)
