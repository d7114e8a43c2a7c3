"""How much proving has been done: rows of inequalities that were looked at, in this thread. Who has a budget takes them from it."""

from __future__ import annotations

import threading


class _Effort(threading.local):
    rows = 0


_EFFORT = _Effort()


def count(rows: int) -> None:
    _EFFORT.rows += rows


def taken() -> int:
    """The rows since this was asked last."""
    rows, _EFFORT.rows = _EFFORT.rows, 0
    return rows
