"""Import this before a public implementation: torchvision, which transformers imports, then does so beside CPU torch."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from reference import shim  # noqa: F401 - importing it is what it does
