"""`npz`: an archive of NumPy arrays, one per field, with the rows as first axis."""

from __future__ import annotations

from dlc.diagnostics import did_you_mean
from dlc.ops.npz import NpzFile
from dlc.runtime.data.arrays import ArrayRows, stretch
from dlc.source import Request, SourceError


def open_rows(request: Request) -> ArrayRows:
    """The fields that the batch names. Raises SourceError for a file that can't be read (pickles never
    are)."""
    path = request.path("path")
    try:
        archive = NpzFile(path)
        for name in request.fields:
            if name not in archive:
                known = f"it has {', '.join(archive)}"
                raise SourceError(f"{path} has no array `{name}`", did_you_mean(name, archive) or known)
        arrays = {name: archive[name] for name in request.fields}
    except FileNotFoundError:
        raise SourceError(f"can't read {path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise SourceError(f"can't read {path}: {error}") from None
    for name, array in arrays.items():
        if not array.ndim:
            raise SourceError(f"`{name}` of {path} is a single value, not rows")
    return stretch(arrays, request.options["start"], request.options["stop"])
