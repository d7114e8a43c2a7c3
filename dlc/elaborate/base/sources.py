"""Data sources of this project: their options, and the fields of those whose data are known without looking."""

from __future__ import annotations

from typing import Any

SOURCES: dict[str, dict[str, Any]] = {
    "digits": {"split": "train", "batch": 64},
    "idx": {"images": None, "labels": None, "start": 0, "stop": None, "batch": 64},
    "npz": {"path": None, "start": 0, "stop": None, "batch": 64},
    "text": {"path": None, "tokenizer": "char", "length": None, "batch": 64, "start": 0.0, "stop": 1.0},
    "synthetic": {"count": 1024, "seed": 0, "batch": 64},
    "arrays": {"batch": 64},
}
# Fields of the sources whose data are known without looking: dtype and axes (None where a file decides).
FIELDS: dict[str, dict[str, tuple[str, tuple[int | None, ...]]]] = {
    "digits": {"image": ("f32", (1, 28, 28)), "label": ("i64", ())},
    "idx": {"image": ("f32", (1, None, None)), "label": ("i64", ())},
    "text": {"tokens": ("i64", (None,))},
}
LATER_SOURCES = ("csv", "parquet", "images")
