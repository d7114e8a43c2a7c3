"""Lets `import torchvision` work beside a torch without CUDA.

Import this before torchvision or transformers (which imports torchvision where it is installed). The compiled
operators of torchvision do not load into a CPU torch, yet it registers shapes for two of them when it is
imported, which fails if nobody has declared them. Declaring them is enough: the networks here use neither.
"""

from __future__ import annotations

import os
import sys

import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def declare() -> torch.library.Library | None:
    """The library that holds the declarations (it must stay alive), or None where none is needed."""
    try:
        import torchvision  # noqa: F401
    except ImportError:  # not installed: nothing to help
        return None
    except RuntimeError:
        for name in [each for each in sys.modules if each.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(name + _SCHEMA)
        return library
    return None


LIBRARY = declare()
