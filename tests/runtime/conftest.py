"""Threads that wait for each other make small networks slow on a busy machine. Ctrl-C works as in a terminal, also where tests run in the
background, with SIGINT ignored."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from script_specs import folder as folder

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
