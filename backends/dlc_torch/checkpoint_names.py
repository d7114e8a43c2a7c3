"""Attributes that can't have the name that checkpoints have for them: Python or nn.Module have taken it.

param scale = ones as "type"    ->    self.type_ = nn.Parameter(torch.ones(d))
                                      CheckpointNames(self, {"type_": "type"})
"""

from __future__ import annotations

from collections.abc import Mapping

from dlc.emit.body import Lines
from dlc.emit.layout import layout
from dlc.emit.python import quoted

CLASS = '''class Rename:
    """A hook that gives tensors of a state dict other names: attributes can't have those that
    Python or nn.Module have taken.
    """

    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def __call__(
        self, module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object
    ) -> None:
        for old, new in self.names.items():
            for key in [key for key in state if f"{key}.".startswith(f"{prefix}{old}.")]:
                state[prefix + new + key[len(prefix + old) :]] = state.pop(key)'''


def definition() -> Lines:
    """The class that renames, which a file has once."""
    return CLASS.splitlines()


def renaming(names: Mapping[str, str]) -> Lines:
    """The constructor's statements for attributes with other names."""
    if not names:
        return []
    saved = ", ".join(f"{quoted(attribute)}: {quoted(name)}" for attribute, name in names.items())
    loaded = ", ".join(f"{quoted(name)}: {quoted(attribute)}" for attribute, name in names.items())
    return [
        *layout(f"self.register_state_dict_post_hook(Rename({{{saved}}}))", 2),
        *layout(f"self.register_load_state_dict_pre_hook(Rename({{{loaded}}}))", 2),
    ]
