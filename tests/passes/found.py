"""The passes, their rules and their conditions, found by walking `dlc.passes`: a new file is tested without a word here."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import dlc.passes
from dlc.elaborate.programs.library import instantiate
from dlc.passes.base import Pass
from dlc.passes.pipeline import LEVELS, LOWERED, O1, passes
from dlc.passes.rewrite import Rule

MODULES: dict[str, ModuleType] = {
    each.name: importlib.import_module(f"dlc.passes.{each.name}")
    for each in pkgutil.iter_modules(dlc.passes.__path__)
}


def is_pass(found: object) -> bool:
    return (
        inspect.isclass(found)
        and hasattr(found, "run")
        and "name" in getattr(found, "__dataclass_fields__", {})
    )


def own_classes(module: ModuleType) -> Iterator[type]:
    return (
        each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == module.__name__
    )


# Each pass as the pipeline has it, given the library; one that stands in no level as it is made.
_PLACED: dict[type, Pass] = {
    type(each): each for level in range(len(LEVELS)) for each in passes(level, instantiate)
}
PASSES: dict[str, Pass] = {
    name: _PLACED.get(each) or each()
    for name, module in MODULES.items()
    for each in own_classes(module)
    if is_pass(each)
}
EXACT = {type(each) for each in (*O1, *LOWERED)}


def with_rules(each: Pass, *rules: Rule) -> Pass:
    """The pass with these rules alone."""
    changed: Any = each
    return replace(changed, rules=rules)  # type: ignore[no-any-return]


def rules() -> Iterator[tuple[Pass, Rule]]:
    """Every rule, with the pass that it belongs to."""
    for each in PASSES.values():
        for rule in getattr(each, "rules", ()):
            yield each, rule


def tables(module: ModuleType) -> Iterator[tuple[str, dict[str, Callable[..., object]]]]:
    """A module's tables of conditions, `CONDITIONS` and `ALIKE`."""
    for name in ("CONDITIONS", "ALIKE"):
        if name in vars(module):
            yield name, vars(module)[name]
