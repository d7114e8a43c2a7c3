"""`init(key)`: the initial parameters and buffers, as the spec's initial values say them.

    params["wte.weight"] = 0.02 * jax.random.normal(next(keys), (50257, 768), jnp.float32)
    for i in range(12):
        params |= init_layer_norm(f"h.{i}.ln_1", (768,))
        params |= init_linear(next(keys), f"h.{i}.attn.c_attn", (2304, 768), std=0.02)

Layers that are initialised alike share a function; layers of equal blocks stand in a loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from dlc.emit.layout import INDENT, layout
from dlc.emit.names import identifier, snake
from dlc.emit.python import number, quoted
from dlc.ir.nodes import Parameter
from dlc_jax.distributions import Distribution, Scale, Shape, by_fan, recognise

if TYPE_CHECKING:
    from dlc_jax.emit import Module

SCALES = {"uniform": "bound", "normal": "std", "truncated_normal": "std"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A parameter: the last part of its path, its shape and dtype, and what it is drawn from (or the call of a function
    that gives it)."""

    name: str
    shape: Shape
    dtype: str
    value: Distribution | str

    @property
    def draws(self) -> bool:
        return self.value.draws if isinstance(self.value, Distribution) else "next(keys)" in self.value


@dataclass(frozen=True, slots=True)
class Layer:
    """The parameters of one instance."""

    path: tuple[str, ...]
    owner: str
    entries: tuple[Entry, ...]

    @property
    def kernel(self) -> Shape:
        """The shape that those of the other parameters follow from."""
        return max((entry.shape for entry in self.entries), key=len)

    @property
    def draws(self) -> int:
        return sum(entry.draws for entry in self.entries)


@dataclass
class Helper:
    """A function that initialises layers which differ only in shapes and scales. `scales` are those that differ."""

    name: str
    layers: list[Layer] = field(default_factory=list)

    @property
    def scales(self) -> tuple[int, ...]:
        """The entries whose scale is an argument."""
        columns = zip(*(layer.entries for layer in self.layers), strict=True)
        return tuple(i for i, column in enumerate(columns) if len({_scale(entry).value for entry in column}) > 1 and not _scale(column[0]).text)


def _scale(entry: Entry) -> Scale:
    return entry.value.scale if isinstance(entry.value, Distribution) else Scale(1.0)


def init_function(module: Module) -> tuple[list[list[str]], list[str]]:
    """The functions for layers, and `init`."""
    layers = _layers(module)
    helpers = _helpers(module, layers)
    used = {id(helper): helper for helper in helpers.values()}
    lines = list(_blocks([(layer, ()) for layer in layers], helpers, 1, 0))
    splits = sum(1 if key(layer) in helpers and layer.draws else layer.draws for layer in layers)
    head = [
        "def init(key: Array) -> Params:",
        f'{INDENT}"""Initial parameters and buffers, by path."""',
        *([f"{INDENT}keys = iter(jax.random.split(key, {splits}))"] if splits else []),
        f"{INDENT}params: Params = {{}}",
    ]
    return [_helper_lines(helper) for helper in used.values()], [*head, *lines, f"{INDENT}return params"]
