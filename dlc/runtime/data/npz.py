"""`npz`: an archive of NumPy arrays, one per field, with the rows as first axis."""

from __future__ import annotations

import zipfile

import numpy as np

from dlc.diagnostics import did_you_mean
from dlc.runtime.data.arrays import ArrayRows, stretch
from dlc.source import Request, SourceError


def open_rows(request: Request) -> ArrayRows:
    """The fields that the batch names. Raises SourceError for a file that can't be read (pickles never
    are)."""
    path = request.path("path")
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in request.fields:
                if name not in archive.files:
                    known = f"it has {', '.join(archive.files)}"
                    help = did_you_mean(name, archive.files) or known
                    raise SourceError(f"{path} has no array `{name}`", help)
            arrays = {name: archive[name] for name in request.fields}
    except FileNotFoundError:
        raise SourceError(f"can't read {path}: there is no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise SourceError(f"can't read {path}: {error}") from None
    for name, array in arrays.items():
        if not array.ndim:
            raise SourceError(f"`{name}` of {path} is a single value, not rows")
    return stretch(arrays, request.options["start"], request.options["stop"])
