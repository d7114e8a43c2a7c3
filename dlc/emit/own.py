"""The static parameters of an entry's own list: arguments of the method or function that the entry becomes, beside its tensors.

def sample(self, z: Tensor, steps: int = 50) -> Tensor:
    if steps <= 0:
        raise ValueError(f"steps > 0 must hold, but steps is {steps}")
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

from dlc.emit.arguments import Argument, arguments, by_name, reads
from dlc.emit.asked import Taken, lengths, required, taken_apart
from dlc.emit.body import Lines, with_words
from dlc.emit.layout import layout
from dlc.emit.origins import expression
from dlc.emit.requirements import asked_of
from dlc.emit.tree import Expr, text
from dlc.ir.nodes import Function
from dlc.records import dataclass, replace
from dlc.types.terms import names
from dlc.types.traced import Term


@dataclass(frozen=True)
class Own:
    """The arguments, and what the spec asks of them."""

    arguments: tuple[Argument, ...] = ()
    asked: tuple[Expr, ...] = ()
    lists: tuple[Taken, ...] = ()
    """Those that the body takes apart."""

    @staticmethod
    def of(
        function: Function,
        reserved: Container[str],
        *,
        main: bool = False,
        defaults: bool = True,
        asked: Sequence[Term] | None = None,
        read: Iterable[str] | None = None,
    ) -> Own:
        """Those of an entry, whose defaults are its settings where it is the `main` function. `asked` is what the spec asks, where
        that is more than what the function itself says; `read` are the static parameters that the source reads, where it says
        the entry for some calls only: at those that it does not read it is none for others."""
        found = arguments(function, (), reserved, main=main, defaults=defaults, own=True)
        own = {each.spec for each in found}
        if not own:
            return Own()
        every = dict.fromkeys(asked_of(function) if asked is None else asked)
        conditions = [each for each in every if names(each) & own]
        if read is not None:
            told = set(read).union(*map(names, conditions))
            found = tuple(each for each in found if each.spec in told)
        return Own(found, tuple(map(expression, conditions)))

    def expressions(self) -> Iterator[Expr]:
        yield from (each.computed for each in self.arguments if each.computed is not None)
        yield from self.asked

    def rewritten(self, change: Callable[[Expr], Expr]) -> Own:
        computed = (
            replace(each, computed=None if each.computed is None else change(each.computed))
            for each in self.arguments
        )
        return replace(self, arguments=tuple(computed), asked=tuple(map(change, self.asked)))

    def apart(self, function: Function, body: Iterable[Expr]) -> Own:
        """With the lists that the function's body takes apart."""
        return replace(self, lists=tuple(taken_apart(self.arguments, function, body)))

    def signature(self, defaults: bool = True) -> list[str]:
        """The arguments as they stand behind the tensors."""
        return [each.signature(defaults) for each in self.arguments]

    def lines(self, indent: int, words: Mapping[str, str]) -> Lines:
        """The beginning of the body: defaults that are computed, and what is asked. `words` tell how the model's static parameters are
        read."""
        lines = list(lengths(self.lists, indent=indent))
        left, late = list(self.asked), {each.name for each in self.arguments if each.computed is not None}

        def checked(conditions: Iterable[Expr]) -> Lines:
            return [line for each in conditions for line in required(each, words=words, indent=indent)]

        for each in self.arguments:
            if each.computed is None:
                continue
            ready = [condition for condition in left if not late & set(reads([condition]))]
            lines += checked(ready)  # before anything is computed of what they speak of
            left = [condition for condition in left if condition not in ready]
            value = text(by_name(with_words(each.computed, words)))
            lines += layout(f"{each.name} = {value} if {each.name} is None else {each.name}", indent)
            late.remove(each.name)
        return [*lines, *checked(left)]
