"""dlc: a compiler for neural-network specifications.

    spec = dlc.load("gpt2.dl")
    model = spec["GPT2"](layers=2, d=64, heads=2)
    run = model.compile("jax", seed=0)
    run(tokens=tokens)["logits"]

Names are loaded when they are used: checking a spec imports no framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlc.version import __version__ as __version__

if TYPE_CHECKING:
    from dlc.api import Model, Spec, TrainBlock, load, loads
    from dlc.backend import Artifact
    from dlc.diagnostics import Diagnostic, SpecError
    from dlc.runtime.evaluate import evaluate
    from dlc.runtime.predict import predict
    from dlc.runtime.training import train
    from dlc.runtime.verify import verify
    from dlc.runtime.verify_training import verify_training

_PLACES = {
    "load": "dlc.api",
    "loads": "dlc.api",
    "Spec": "dlc.api",
    "Model": "dlc.api",
    "TrainBlock": "dlc.api",
    "Artifact": "dlc.backend",
    "Diagnostic": "dlc.diagnostics",
    "SpecError": "dlc.diagnostics",
    "train": "dlc.runtime.training",
    "predict": "dlc.runtime.predict",
    "evaluate": "dlc.runtime.evaluate",
    "verify": "dlc.runtime.verify",
    "verify_training": "dlc.runtime.verify_training",
}

__all__ = [
    "Artifact",
    "Diagnostic",
    "Model",
    "Spec",
    "SpecError",
    "TrainBlock",
    "evaluate",
    "load",
    "loads",
    "predict",
    "train",
    "verify",
    "verify_training",
]


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'dlc' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(place), name)
