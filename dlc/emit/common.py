"""Programs of one model at several settings, in several modes, as one program, with the spec's loops whole."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from dlc.emit.arguments import Functions, sayable
from dlc.emit.exact import exact
from dlc.emit.merge import Whole, as_it_is, merge
from dlc.emit.origins import owned
from dlc.emit.rolled import Tried, rolled
from dlc.emit.spans import bounds
from dlc.ir.nodes import Function, Parameter, Program, walk
from dlc.ir.splice import path_of, reached
from dlc.once import once
from dlc.records import dataclass, replace
from dlc.types.terms import names as names_in


def _tried(programs: Sequence[Program]) -> Tried:
    """What the static parameters of programs' entries decide in their modules, by some call at least."""
    found: dict[str, set[str]] = {}
    for program in programs:
        main = program.main
        found.setdefault(main.source, set()).update(each.name for each in main.settings)
        for function in reversed(list(program.functions.values())):  # callers stand behind callees
            own = found.get(function.source, set())
            for op in walk(function.body):
                callee = program.functions.get(op.callee)
                if callee is None:
                    continue
                given: dict[str, Any] = dict((*op.attrs, *op.known, *op.given))
                decided = {name for name, told in given.items() if names_in(told) and names_in(told) <= own}
                found.setdefault(callee.source, set()).update(decided)
    return {source: frozenset(names) for source, names in found.items()}


@once
def _rolling(tried: frozenset[tuple[str, frozenset[str]]]) -> Whole:
    return partial(_rolled, dict(tried))


def _rolled(tried: Tried, function: Function, functions: Mapping[str, Function]) -> Function:
    return function if function.library else rolled(function, functions, tried)


@dataclass(frozen=True)
class Common:
    """Programs of one model as one. `names` are those that the first one's functions have in it; `entries` are the functions by
    which the model is entered, the first one's first."""

    program: Program
    names: dict[str, str]
    entries: tuple[str, ...]

    @staticmethod
    def alone(program: Program) -> Common:
        """A program as it is."""
        return Common(program, {name: name for name in program.functions}, (program.entry,))


def merged(
    programs: Sequence[Program],
    native: Container[str] = (),
    written: Container[str] = (),
    *,
    loops: bool = True,
    begun: bool = False,
    callables: Functions | None = None,
) -> Common:
    """Programs of one model at some settings as one: its modules once each, and with `loops` the spec's loops whole. What of the
    library is `native`, `written` or `begun` is as in `merge`; `callables` are the functions that static parameters may be."""
    programs = tuple(_sayable(each, callables) for each in programs)
    first = programs[0]
    found = merge(
        programs,
        native,
        _rolling(frozenset(_tried(programs).items())) if loops else as_it_is,
        written,
        begun=begun,
    )
    names = {name: found.names[0, name] for name in first.functions}
    functions = {name: _finished(each) for name, each in found.functions.items()}
    main, *others = found.entries
    functions[main] = replace(functions[main], static=first.main.static)
    functions |= {name: _applying(functions[name], functions[main]) for name in others}
    # Initial values also of layers that a pass made, which no function refers to.
    begin = (name for name, each in functions.items() if each.kind == "init")
    used = reached(functions, (*found.entries, *begin))
    functions = {name: each for name, each in functions.items() if name in used}
    parameters = tuple(_parameters(programs, found.names))
    return Common(Program(functions, main, parameters), names, found.entries)


@once
def _finished(function: Function) -> Function:
    """A function of several settings, in terms that it knows itself, with all that it asks of them."""
    asked = dict.fromkeys((*function.requires, *bounds(function)))
    return owned(replace(exact(function), requires=tuple(asked)))


def _parameters(programs: Sequence[Program], names: Mapping[tuple[int, str], str]) -> Iterator[Parameter]:
    """Those of the first program, and what others have besides, where a part is turned on: rules say how that begins, too."""
    kinds = {each.kind for each in programs[0].parameters}
    seen: set[str] = set()
    for k, program in enumerate(programs):
        for each in program.parameters:
            if each.path not in seen and each.kind in kinds:
                seen.add(each.path)
                yield replace(each, init=names.get((k, each.init), each.init))


def _sayable(program: Program, callables: Functions | None) -> Program:
    functions = {name: sayable(each, program, callables) for name, each in program.functions.items()}
    return program.with_functions(functions)


def _applying(entry: Function, main: Function) -> Function:
    """A further way into a model, with those of the parts that both have which it applies or reads. The others may be other functions
    in its program, where no mask is made for all of them."""
    said = {path_of(op).partition(".")[0] for op in walk(entry.body)}
    own = {child.path: child.function for child in main.children}
    kept = (
        each
        for each in entry.children
        if each.path.partition(".")[0] in said or own.get(each.path) == each.function
    )
    return replace(entry, children=tuple(kept))
