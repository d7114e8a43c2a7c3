"""Functions of the library with one set of names for the sizes of their inputs.

A function of the library that works on any axes (`x: [*S, T]`) calls them as its caller does: what `dropout` does to `[B, S, d]` and
to `[B, T, d]` is two functions of the program. Where a backend writes such functions out, they are to be one."""

from __future__ import annotations

from itertools import chain
from typing import Any

from dlc.emit.origins import renumbered
from dlc.emit.turning import terms_of
from dlc.ir.index import INDEX, factor_of, is_computed, mark
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Attr, Child, Function, Op, Program, walk
from dlc.ir.splice import callees, path_of, substitute, with_path, within
from dlc.once import Form, once
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.opaque import substituted
from dlc.types.terms import said, turned


@dataclass
class Canonical:
    """Names sizes alike in all programs that it is given: as the first function of that source and form does."""

    known: dict[Any, tuple[str, ...]] = field(default_factory=dict)

    def program(self, program: Program) -> Program:
        names = {name: self._names(function) for name, function in program.functions.items()}
        changed = {name for name, each in names.items() if each}
        functions = dict(program.functions)
        for name, function in program.functions.items():
            called = changed.intersection(callees(function))
            if called or name in changed:
                pairs = ((each, names[each]) for each in sorted(called))
                functions[name] = _renamed(function, names[name], *chain.from_iterable(pairs))
        return replace(program, functions=functions)

    def _names(self, function: Function) -> Renaming:
        """What each size of a function is called, where that is not its own name."""
        if not function.library:
            return ()
        found = self.known.setdefault(_form(function), function.dims)
        return _renaming(function, *found)


Renaming = tuple[tuple[str, str], ...]


@once
def _renaming(function: Function, *found: str) -> Renaming:
    return tuple((a, b) for a, b in zip(function.dims, found, strict=True) if a != b)


@once
def _form(function: Function) -> Form:
    """What makes two functions of the library one, if their sizes are called the same."""
    numbers = {name: Dim.symbol(f"#{i}") for i, name in enumerate(function.dims)}
    inputs = tuple(
        (value.name, tuple(str(said(axis).substitute(numbers)) for axis in value.type.axes))
        for value in function.inputs
    )

    def numbered(value: Attr) -> object:
        if isinstance(value, tuple):
            return tuple(map(numbered, value))
        return str(value.substitute(numbers)) if isinstance(value, Dim) else None

    static = tuple((name, numbered(value)) for name, value in function.static)
    return Form((function.source, inputs, static, len(numbers)))


@once
def _renamed(function: Function, own: Renaming, *others: Any) -> Function:
    """A function with other names for its own sizes, and for those of what it calls: by turns its name and its sizes'."""
    dims = {a: Dim.symbol(b) for a, b in own}
    names = {name: dict(sizes) for name, sizes in zip(others[::2], others[1::2], strict=True)}

    def called(each: Op) -> Op:
        """With the names that sizes of what it calls have now."""
        callee = names.get(each.callee, {})
        sizes = tuple((callee.get(name, name), size.substitute(dims)) for name, size in each.dims)
        return replace(within(each, called), dims=sizes) if dims or callee else within(each, called)

    if dims:
        function = replace(
            renumbered(function, lambda value: substitute(value, dims), lambda term: substituted(term, dims)),
            static=tuple((key, substitute(one, dims)) for key, one in function.static),
            decisions=tuple(
                replace(each, condition=substituted(each.condition, dims)) for each in function.decisions
            ),
        )
    return replace(function, body=tuple(map(called, function.body)))


# --- loops


def from_zero(program: Program) -> Program:
    """The program with loops over layers that all begin at 0: `h.{i}` from 5 on is `h.{i+5}`, which tells it from another loop's. Those
    whose turns read their number keep it."""
    return program.with_functions({name: _from_zero(each) for name, each in program.functions.items()})


def _from_zero(function: Function) -> Function:
    loops = [op for op in walk(function.body) if op.op == LOOP]
    parts: dict[bool, set[tuple[str, Any]]] = {True: set(), False: set()}
    for loop in loops:
        parts[reads_number(loop)] |= {
            (path_of(op), loop.attr("start")) for op in walk((loop,)) if path_of(op)
        }
    named = {path for path, _ in parts[True]}

    def is_kept(child: Child) -> bool:
        # (Some turns only may have a part: then it begins later than its loop.)
        here = child.path, child.start
        return here in parts[True] or (child.path in named and here not in parts[False])

    children = tuple(
        replace(each, path=_ahead(each.path, int(each.start)), start=0)
        if each.count and each.start and not is_kept(each)
        else each
        for each in function.children
    )
    return replace(function, body=tuple(map(_shifted, function.body)), children=children)


def reads_number(loop: Op) -> bool:
    """Whether a turn of a loop reads its number, or has parts that are called by more than that."""
    ops = list(walk((loop,)))
    return any(is_computed(path_of(op)) for op in ops) or any(
        turned(told) for op in ops for told in terms_of(op)
    )


def _ahead(path: str, by: int) -> str:
    return INDEX.sub(
        lambda found: mark(int(found[1] or 0) + by * factor_of(found[0]), factor_of(found[0])), path
    )


def _shifted(op: Op) -> Op:
    """A loop from 0 on; what stands inside of others is changed as well."""
    op = within(op, _shifted)
    start = op.attr("start") if op.op == LOOP and Loop.of(op).is_layers and not reads_number(op) else 0
    if not isinstance(start, int) or not start:
        return op
    attrs = tuple((key, 0 if key == "start" else value) for key, value in op.attrs)
    return replace(within(op, lambda each: _moved(each, start)), attrs=attrs)


def _moved(op: Op, by: int) -> Op:
    """An operation of a loop's body with its paths so far ahead; those of a loop inside have an index of their own."""
    if op.op == LOOP:
        return op
    return with_path(within(op, lambda each: _moved(each, by)), lambda path: _ahead(path, by))
