"""Public implementations beside CPU torch."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path


def let_torchvision_be_imported() -> None:
    """For torchvision itself, and for transformers, which imports it where it is installed."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import_module("reference.shim")  # does so when it is imported
