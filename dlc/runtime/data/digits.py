"""`digits`: the 1,797 handwritten digits that scikit-learn ships (UCI, Alpaydin and Kaynak 1998).

They are 8x8 pixels of 0 to 16; here they are resized to the 28x28 of MNIST, so that networks for it fit, and
standardised by the training images' mean and deviation. `split` is a fixed, shuffled 80 to 20 by its names,
"train" and "test"; as a number it is a share of all of them, as of other sources."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.runtime.data.arrays import ArrayRows
from dlc.source import Request, SourceError

Array = NDArray[Any]
SIDE = 28
TRAINED = 1437  # of 1,797: four fifths
PARTS = {"train": slice(None, TRAINED), "test": slice(TRAINED, None)}


def open_rows(request: Request) -> ArrayRows:
    """image: f32[_, 1, 28, 28], label: i64[_]. Raises SourceError without scikit-learn."""
    images, labels = _digits()
    part = PARTS.get(str(request.options["split"]), slice(None))
    about = {"image": {"size": [SIDE, SIDE], **_scale()}}
    return ArrayRows({"image": images[part], "label": labels[part]}, about)


def _scale() -> dict[str, float]:
    """What is taken from pixels of 0 to 1, and what they are divided by then."""
    _, _, mean, deviation = _read()
    return {"mean": mean, "deviation": deviation}


def _digits() -> tuple[Array, Array]:
    """All images and labels, shuffled, standardised."""
    return _read()[:2]


@cache
def _read() -> tuple[Array, Array, float, float]:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        help = "install it: pip install 'dlc[data]'"
        raise SourceError("the source `digits` needs scikit-learn", help) from None
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images = resized(found.images[order] / 16.0, SIDE)[:, None]
    mean, deviation = images[:TRAINED].mean(), images[:TRAINED].std()
    standard = ((images - mean) / deviation).astype(np.float32)
    labels = found.target[order].astype(np.int64)
    for array in (standard, labels):
        array.setflags(write=False)
    return standard, labels, float(mean), float(deviation)


def resized(images: Array, side: int) -> Array:
    """[n, h, w] to [n, side, side], bilinear, pixel centres at half-integers (torch's
    `align_corners=False`)."""
    rows = _weights(images.shape[1], side)
    columns = _weights(images.shape[2], side)
    result: Array = rows @ images @ columns.T
    return result


def _weights(old: int, new: int) -> Array:
    """[new, old]: how much of each old pixel a new one holds."""
    at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = np.floor(at).astype(np.int64)
    share = at - low
    weights = np.zeros((new, old))
    weights[np.arange(new), low] += 1 - share
    weights[np.arange(new), np.minimum(low + 1, old - 1)] += share
    return weights
