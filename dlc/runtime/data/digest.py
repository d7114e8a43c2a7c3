"""A digest of rows, by which changed data is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.source import Rows


def digest(rows: Rows) -> str:
    """Of all that the rows hold where they lie in memory (`arrays`, by name), otherwise of what they say of themselves."""
    found = hashlib.blake2b(digest_size=8)
    fields = [[name, each.dtype, list(each.shape)] for name, each in rows.fields.items()]
    found.update(json.dumps([len(rows), fields, dict(rows.about)], default=str).encode())
    arrays: Mapping[str, NDArray[Any]] = getattr(rows, "arrays", {})
    for name in sorted(arrays):
        found.update(name.encode())
        found.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)
    return found.hexdigest()
