"""Classes whose arguments are known for sure: the program is grouped together with its variants.

A variant is the same model with one static parameter changed. Where the two are the same but for numbers, a number
that differs depends on the parameter, and it must be possible to say how:

    GPT2(d=768, …)    nn.Linear(768, 2304)
    GPT2(d=1536, …)   nn.Linear(1536, 4608)      ->      nn.Linear(d, 3 * d)

A parameter that decides what is computed, or for which some number can't be said, is no argument of the emitted
class: what depends on it is written out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations

from dlc.emit.statements import Draft
from dlc.emit.tree import Arg, Call, Expr, Keyword, Word, walk
from dlc.ir.nodes import Child, Function, Op, Param, Program, Region
from dlc_torch.arguments import settle
from dlc_torch.classes import Class, Grouping
from dlc_torch.init_weights import InitWeights, changed
from dlc_torch.naming import name_classes
from dlc_torch.outline import outline
from dlc_torch.solve import Values

Names = tuple[str, ...]


@dataclass
class Settled:
    """The classes of a program with their arguments, and what its `init_weights` does."""

    grouping: Grouping
    classes: list[Class]
    weights: InitWeights
    unclear: frozenset[Names]
    """Changes with which a number changes that can't be said in terms of the model's arguments."""


Vary = Callable[[Names], Program | None]


def settled(program: Program, vary: Vary, precision: str) -> Settled:
    """The program's classes, with as many static parameters as arguments as can be."""
    choice = _Choice(program, precision, vary)
    numbers = {name: value for name, value in program.main.static if type(value) in (int, float)}
    kept = choice.alike([(name,) for name in numbers])
    # Parameters of one value may have to change together.
    left = [name for name in numbers if (name,) not in kept]
    kept += choice.alike([(a, b) for a, b in combinations(left, 2) if numbers[a] == numbers[b]])
    while True:
        found = choice.settle(kept)
        if not found.unclear:
            return found
        kept = [names for names in kept if names not in found.unclear]


@dataclass
class _Choice:
    program: Program
    precision: str
    vary: Vary
    variants: dict[Names, Program] = field(default_factory=dict)
    drafts: dict[str, Draft] = field(default_factory=dict)

    def alike(self, offered: Iterable[Names]) -> list[Names]:
        """The changes that leave the program as it is but for numbers."""
        made = {names: self.vary(names) for names in offered}
        self.variants.update(
            (names, _marked(each, _mark(names))) for names, each in made.items() if each is not None
        )
        possible = [names for names in made if names in self.variants]
        grouping = self._grouping(possible)
        grouping.run()
        main = grouping.by_function[self.program.entry]
        return [names for names in possible if grouping.by_function[self.variants[names].entry] is main]

    def settle(self, kept: Sequence[Names]) -> Settled:
        grouping = self._grouping(kept, [names for names in self.variants if names not in kept])
        classes = grouping.run()
        program = self.program
        initials = {param.init: param.name for each in program.functions.values() for param in each.params}
        initials.update((each.init, each.leaf) for each in changed(program)[0] if each.form is None)
        name_classes(classes, initials)
        settle(grouping, {_mark(names): names for names in kept})
        main = grouping.by_function[program.entry]
        programs = [program, *(self.variants[names] for names in kept)]
        weights = InitWeights.of(programs, main.statics, partial(_call, grouping))
        _take(main, weights)
        columns = [main.solution.arguments[name] for name in main.solution.own] + list(weights.unclear)
        unclear = {kept[i - 1] for values in columns for i, value in enumerate(values) if value != values[0]}
        return Settled(grouping, classes, weights, frozenset(unclear))

    def _grouping(self, kept: Iterable[Names], evidence: Sequence[Names] = ()) -> Grouping:
        variants = {_mark(names): self.variants[names] for names in (*kept, *evidence)}
        marks = frozenset(map(_mark, evidence))
        return Grouping(self.program, self.precision, variants, marks, drafts=self.drafts)


def _call(grouping: Grouping, inits: tuple[str, ...], said: Callable[[Values], Expr]) -> Expr:
    """The call of an init function; `inits` names it in the program and its variants."""
    made = grouping.by_function[inits[0]]
    alike = [grouping.by_function.get(name) is made for name in inits]
    if not all(alike):
        said(tuple(float(not each) for each in alike))  # nothing that holds for all
        inits = (inits[0],) * len(inits)
    rows = [made.values(name) for name in inits]
    arguments = (Keyword(name, said(tuple(row[name] for row in rows))) for name in rows[0])
    return Call(Word(made.name), tuple(arguments))


def _mark(names: Names) -> str:
    return f"@{','.join(names)}"


def _take(main: Class, weights: InitWeights) -> None:
    """Make what `init_weights` reads an argument of the model."""
    read = {node.name for expr in weights.reads() for node in walk(expr) if isinstance(node, Arg)}
    arguments = main.solution.arguments
    missing = {name: values for name, values in main.statics.items() if name in read - set(arguments)}
    main.solution.arguments = {**arguments, **missing}


# --- names that no other program has ------------------------------------------------------------------------


def _marked(program: Program, mark: str) -> Program:
    """The program, outlined, with names of functions that end in `mark`."""
    program = outline(program)
    functions = {f"{name}{mark}": _function(each, mark) for name, each in program.functions.items()}
    parameters = tuple(replace(each, init=_name(each.init, mark)) for each in program.parameters)
    return Program(functions, f"{program.entry}{mark}", parameters)


def _name(name: str, mark: str) -> str:
    return f"{name}{mark}" if name else ""


def _function(function: Function, mark: str) -> Function:
    def param(each: Param) -> Param:
        return replace(each, init=_name(each.init, mark))

    def child(each: Child) -> Child:
        return replace(each, function=_name(each.function, mark))

    return replace(
        function,
        name=_name(function.name, mark),
        body=tuple(_ops(function.body, mark)),
        params=tuple(map(param, function.params)),
        children=tuple(map(child, function.children)),
    )


def _ops(body: Iterable[Op], mark: str) -> Iterator[Op]:
    for op in body:
        region = op.region
        if region is not None:
            region = Region(region.args, tuple(_ops(region.body, mark)), region.results)
        yield replace(op, callee=_name(op.callee, mark), region=region)
