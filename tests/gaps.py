"""Where a backend declares a gap, a test of that op or dtype must fail: a gap that is none any more is found."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from dlc.backend import Backend
from dlc.diagnostics import SpecError
from dlc.ir.nodes import Program
from dlc.ops.gaps import refuse_gaps


def declared(backend: Backend, program: Program) -> bool:
    """Whether a program needs what a backend declares to lack."""
    try:
        refuse_gaps(backend.name, backend.gaps, program)
    except SpecError:
        return True
    return False


def failing_at_gaps(backend: Backend, program: Program) -> AbstractContextManager[Any]:
    """What is done here must fail, if the program needs what the backend lacks. How it fails is the framework's business."""
    return pytest.raises(Exception) if declared(backend, program) else nullcontext()
