"""Initial values that are no known distribution: each as one expression, or as a function of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dlc.emit.body import Uses, Writer
from dlc.emit.grouping import Group, Sketch, group
from dlc.emit.tree import Call, Expr, Keyword, Num, Word, text, transform
from dlc_jax.functions import Emission, nodes
from dlc_jax.sketch import Key, Traits

if TYPE_CHECKING:
    from dlc_jax.emit import Module

NEXT_KEY = Word("next(keys)")
LONGEST = 80


@dataclass
class InitialValues:
    """`texts` are expressions by the function that they say, `functions` what some of them call."""

    module: Module
    texts: dict[str, str] = field(default_factory=dict)
    functions: list[list[str]] = field(default_factory=list)
    sketches: list[Sketch] = field(default_factory=list)

    @staticmethod
    def of(module: Module, names: Mapping[str, str]) -> InitialValues:
        """The values of functions, by name, with a hint of what each is called."""
        sketches = [module.sketch(module.program.functions[name]) for name in names]
        values = InitialValues(module, sketches=sketches)
        by_name = {sketch.function.name: sketch for sketch in sketches}
        for each in group(sketches):
            short = {name: _expression(by_name[name]) for name in each.members}
            if all(short.values()):
                values.texts.update(short)
            else:
                values.add(each, names[each.members[0]])
        return values

    def add(self, each: Group, hint: str) -> None:
        """A function for the values of a group."""
        draws = any(isinstance(node, Key) for node in nodes(each.sketch.steps))
        name = self.module.fresh(f"initial_{hint}")
        emission = Emission(each, name, Traits(params=False, key=draws, updates=False), self.module.paths)
        emission.write()
        self.functions.append(emission.lines())
        for member in each.members:
            keywords = (
                Keyword(key, Num(value)) for key, value in each.arguments(member) if key in emission.used
            )
            self.texts[member] = text(Call(Word(name), (*([NEXT_KEY] if draws else []), *keywords)))


def _expression(sketch: Sketch) -> str:
    """The whole initial value as one short expression, or ""."""
    (result,) = (value for _, value in sketch.function.outputs)
    keys = {node.index for node in nodes(sketch.steps) if isinstance(node, Key)}
    if len(keys) > 1 or any(step.inner for step in sketch.steps):
        return ""
    writer = Writer(Uses.of(sketch.steps, (result,)), frozenset(), lambda step: None, _with_next_key)
    writer.write(sketch.steps)
    (value,) = writer.results((result,))
    return "" if writer.lines or len(text(value)) > LONGEST else text(value)


def _with_next_key(expr: Expr) -> Expr:
    return transform(expr, lambda node: NEXT_KEY if isinstance(node, Key) else node)
