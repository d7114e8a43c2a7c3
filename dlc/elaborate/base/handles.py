"""Tensors within values: finding them, and letting them mean other IR values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlc.elaborate.base.values import GroupValue, Tensor, Turns
from dlc.ir.nodes import Value
from dlc.records import replace


def flat(value: Any) -> list[Tensor]:
    """The tensors of a value: a tensor, a group, or a tuple of them."""
    match value:
        case Tensor():
            return [value]
        case Turns(tensor):
            return [tensor]
        case GroupValue(_, members):
            return [tensor for _, each in members for tensor in flat(each)]
        case tuple() | list():
            return [tensor for each in value for tensor in flat(each)]
    return []


def holds(value: Any, names: set[str]) -> bool:
    match value:
        case Tensor():
            return value.name in names
        case Turns(tensor):
            return tensor.name in names
        case list() | tuple():
            return any(holds(each, names) for each in value)
        case GroupValue(_, members):
            return any(holds(each, names) for _, each in members)
    return False


def renamed(value: Any, names: dict[str, str]) -> Any:
    match value:
        case Tensor() if value.name in names:
            return replace(value, value=Value(names[value.name], value.type))
        case Turns(tensor) if tensor.name in names:
            return Turns(renamed(tensor, names))
        case list() if any(holds(each, set(names)) for each in value):
            return [renamed(each, names) for each in value]
        case tuple() if any(holds(each, set(names)) for each in value):
            return tuple(renamed(each, names) for each in value)
    return value


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The value with each of its tensors changed."""
    match value:
        case Tensor():
            return change(value)
        case Turns(tensor):
            return Turns(change(tensor))
        case GroupValue(definition, members):
            return GroupValue(definition, tuple((name, mapped(each, change)) for name, each in members))
        case list():
            return [mapped(each, change) for each in value]
        case tuple():
            return tuple(mapped(each, change) for each in value)
    return value


def tensors_in(value: Any) -> frozenset[str]:
    """The names of the tensors that a value is, or contains."""
    found, stack = set[str](), [value]
    while stack:
        match stack.pop():
            case Tensor() as each:
                found.add(each.name)
            case Turns(tensor):
                found.add(tensor.name)
            case list() | tuple() as each:
                stack += each
            case GroupValue(_, members):
                stack += (each for _, each in members)
    return frozenset(found)
