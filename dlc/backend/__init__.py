"""The door for backends: the one contract, what is handed through it, and finding those that are installed."""

from dlc.backend.artifact import Artifact, EmitOptions, Family, Runnable, Which
from dlc.backend.contract import Ability, Backend
from dlc.backend.installed import GROUP, every, find, names
from dlc.backend.trainer import (
    Batch,
    LossScale,
    Recipe,
    Setup,
    Trainer,
    Update,
    Workspace,
    Wrapped,
    no_device,
)

__all__ = [
    "GROUP",
    "Ability",
    "Artifact",
    "Backend",
    "Batch",
    "EmitOptions",
    "Family",
    "LossScale",
    "Recipe",
    "Runnable",
    "Setup",
    "Trainer",
    "Update",
    "Which",
    "Workspace",
    "Wrapped",
    "every",
    "find",
    "names",
    "no_device",
]
