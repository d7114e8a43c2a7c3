"""Pictures of results, by matplotlib where it is installed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems
from dlc.writing import write

WRITTEN = 15  # classes whose numbers are written into their cells


def matrix(counts: NDArray[np.int64], names: Sequence[str], path: Path) -> None:
    """A confusion matrix as a picture, shaded by the shares of each row. Raises SpecError without matplotlib, and for another kind
    of file than it writes."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise _refused("a picture needs matplotlib", "install it: pip install 'dlc[plots]'") from None
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise _refused(f"{path} is no picture that can be written", "its name ends in .png or .jpg")
    side = min(14.0, 3.0 + 0.4 * len(names))
    figure = Figure(figsize=(side + 1.0, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    rows = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(rows, 1)
    figure.colorbar(axes.imshow(shares, cmap="Blues", vmin=0, vmax=1), label="share of the class")
    axes.set_xlabel("said")
    axes.set_ylabel("is")
    places = range(len(names))
    axes.set_xticks(places, names, rotation=90)
    axes.set_yticks(places, names)
    if len(names) <= WRITTEN:
        for i, j in np.ndindex(*counts.shape):
            colour = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, f"{counts[i, j]:,}", ha="center", va="center", color=colour, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix.lower().lstrip(".").replace("jpg", "jpeg"), dpi=120)
    write(path, buffer.getvalue())


def _refused(message: str, help: str) -> SpecError:
    return SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message, help=help)])
