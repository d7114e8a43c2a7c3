"""Initial values that are no known distribution: each as one expression, or as a function of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from dlc.emit.nesting import Nesting
from dlc.emit.statements import Draft
from dlc.emit.tree import Call, Expr, Keyword, Num, Word, refs, text, transform, without
from dlc_jax.drafter import Key, Traits
from dlc_jax.functions import Emission
from dlc_jax.grouping import Group, group
from dlc_jax.layers import DIALECT
from dlc_jax.module import Module
from dlc_jax.settling import is_default

NEXT_KEY = Word("next(keys)")
LONGEST = 80


@dataclass
class InitialValues:
    """`texts` are expressions by the function that they say, `functions` what some of them call."""

    module: Module
    texts: dict[str, str] = field(default_factory=dict)
    functions: list[list[str]] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)

    @staticmethod
    def of(module: Module, names: Mapping[str, str]) -> InitialValues:
        """The values of functions, by name, with a hint of what each is called."""
        drafts = [module.draft(module.program.functions[name]) for name in names]
        values = InitialValues(module, drafts=drafts)
        by_name = {draft.function.name: draft for draft in drafts}
        for each in group(drafts):
            short = {name: _expression(by_name[name]) for name in each.members}
            if all(short.values()):
                values.texts.update(short)
            else:
                values.add(each, names[each.members[0]])
        return values

    def add(self, each: Group, hint: str) -> None:
        """A function for the values of a group."""
        draws = any(isinstance(node, Key) for node in each.draft.nodes())
        name = self.module.fresh(f"initial_{hint}")
        emission = Emission(each, name, Traits(params=False, key=draws, updates=False), self.module.paths)
        emission.write()
        self.functions.append(emission.lines())
        for member in each.members:
            keywords = (Keyword(key, Num(value)) for key, value in each.arguments(member))
            self.texts[member] = text(Call(Word(name), (*([NEXT_KEY] if draws else []), *keywords)))


def _expression(draft: Draft) -> str:
    """The whole initial value as one short expression, or ""."""
    reads = Counter(name for expr in draft.expressions() for name in refs(expr))
    body, (value,) = Nesting(reads, DIALECT.is_layer).block(draft.body, draft.results, 1)
    keys = [node for node in draft.nodes() if isinstance(node, Key)]
    if body or len(keys) > 1:
        return ""
    whole = text(without(transform(value, _with_next_key), is_default))
    return "" if len(whole) > LONGEST else whole


def _with_next_key(node: Expr) -> Expr:
    return NEXT_KEY if isinstance(node, Key) else node
