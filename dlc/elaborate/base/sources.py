"""Data sources of this project: their options, and the fields of those whose data are known without looking."""

from __future__ import annotations

from typing import Any

# What every source takes beside its own options. `split` keeps a share of the rows, in an order that `seed` shuffles; by the field
# `sample_by` rows are drawn in training, which takes them in an `order`.
SHUFFLED, STREAMS = ORDERS = ("shuffled", "streams")
COMMON: dict[str, Any] = {"batch": 64, "split": None, "seed": 0, "sample_by": None, "order": SHUFFLED}
_TABLE: dict[str, Any] = {
    "path": None,
    "features": None,
    "classes": None,
    "missing": "error",
    "tokenizer": None,
}
_OWN: dict[str, dict[str, Any]] = {
    "digits": {"split": "train"},
    "idx": {"images": None, "labels": None, "start": 0, "stop": None},
    "npz": {"path": None, "start": 0, "stop": None},
    "csv": {**_TABLE, "columns": None, "delimiter": ","},
    "parquet": _TABLE,
    "json": _TABLE,
    "images": {"path": None, "size": None, "fit": "crop", "classes": None},
    "text": {"path": None, "tokenizer": "char", "length": None, "batch": 64, "start": 0.0, "stop": 1.0},
    "synthetic": {"count": 1024, "seed": 0, "high": 2},
    "python": {"path": None, "arguments": ()},
    "arrays": {},
}
SOURCES: dict[str, dict[str, Any]] = {
    name: {**own, **{key: default for key, default in COMMON.items() if key not in own}}
    for name, own in _OWN.items()
}
REST = "rest"
"""What `evaluate from rest()` is called: the rows that the batch's `split` leaves."""
# Fields of the sources whose data are known without looking: dtype and axes (None where a file decides).
FIELDS: dict[str, dict[str, tuple[str, tuple[int | None, ...]]]] = {
    "digits": {"image": ("f32", (1, 28, 28)), "label": ("i64", ())},
    "idx": {"image": ("f32", (1, None, None)), "label": ("i64", ())},
    "images": {"image": ("f32", (None, None, None)), "label": ("i64", ())},
    "text": {"tokens": ("i64", (None,))},
}
