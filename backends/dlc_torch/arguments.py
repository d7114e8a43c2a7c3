"""Numbers of classes as arguments of their constructors: `settle(grouping, variants)` is all that other files ask for.

What a number is in terms of static parameters is found in `solve.py`, by comparing a class's members, those of the
program's variants (`variants.py`) among them.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

from dlc.emit.statements import Target
from dlc.emit.tree import Arg, Call, Dot, Expr, Keyword, Make, Num, Seq, Word, transform, walk, without
from dlc_torch.classes import Class, Grouping, Unit
from dlc_torch.solve import Column, Values, solve, term


def settle(grouping: Grouping, variants: Mapping[str, tuple[str, ...]]) -> None:
    """Solve the classes in order: a class's arguments are known before it is made. `variants` tells which static
    parameters each variant changes."""
    for each in grouping.order:
        _settle(each, grouping.by_function, grouping.evidence)
    main = grouping.order[-1].solution.arguments
    open_ = {"", *(mark for mark, names in variants.items() if set(names) & set(main))} - grouping.evidence
    for each in grouping.order:
        _comment(each, [i for i in range(len(each.members)) if _holds(each, i, open_)])


def _holds(made: Class, member: int, open_: Container[str]) -> bool:
    """Whether comments have to hold for a member: one that other arguments of the model make, or of the class."""
    program, arguments = made.solution.program, made.solution.arguments.values()
    own = {tuple(values[i] for values in arguments) for i in range(program)}
    return made.members[member].variant in open_ or tuple(values[member] for values in arguments) not in own


def _comment(made: Class, live: Sequence[int]) -> None:
    """Say the axes of values in terms of the arguments, as far as the members at `live` are alike."""
    arguments = {name: tuple(values[i] for i in live) for name, values in made.solution.arguments.items()}
    targets = zip(*(made.members[i].targets() for i in live), strict=True)
    made.unit = made.unit.reshaped([_axes(each, arguments, made.solution.program) for each in targets])


def _settle(made: Class, by_function: Mapping[str, Class], evidence: frozenset[str]) -> None:
    made.members = [
        unit for unit in made.members if unit.variant not in evidence or _known(unit, by_function)
    ]
    rows = [[_expanded(expr, by_function) for expr in unit.expressions()] for unit in made.members]
    while True:
        columns = list(_columns(rows))
        statics = [dict(unit.function.static) for unit in made.members]
        made.solution = solution = solve(columns, statics, len(made.instances))
        odd = {i for name in solution.own for i in _changed(solution.arguments[name], solution.program)}
        odd = {i for i in odd if made.members[i].variant in evidence}
        if not odd:
            break
        # What can't be said of parts that are evidence only says nothing.
        made.members = [unit for i, unit in enumerate(made.members) if i not in odd]
        rows = [row for i, row in enumerate(rows) if i not in odd]
    found = iter(solution.found)
    exprs = [transform(expr, lambda node: next(found) if isinstance(node, Num) else node) for expr in rows[0]]
    made.unit = made.unit.rewritten([inferred(without_numbers(expr)) for expr in exprs])


def _columns(rows: Sequence[Sequence[Expr]]) -> Iterator[Column]:
    leaves = [[node for expr in row for node in walk(expr) if isinstance(node, Num)] for row in rows]
    for nodes in zip(*leaves, strict=True):
        yield Column(nodes[0].role, tuple(node.value for node in nodes))


def _changed(values: Values, program: int) -> Iterator[int]:
    """The members of variants in which a number is another one that is the same in all of the program's own."""
    if len(set(values[:program])) == 1:
        yield from (i for i, value in enumerate(values) if value != values[0])


def _known(unit: Unit, by_function: Mapping[str, Class]) -> bool:
    """Whether all that the unit makes or calls is a member of its class."""
    made = (node.function for expr in unit.expressions() for node in walk(expr) if isinstance(node, Make))
    return all(by_function[name].has(name) for name in made)


def _expanded(expr: Expr, by_function: Mapping[str, Class]) -> Expr:
    """Instances and calls of classes of ours with the arguments that they take."""

    def change(node: Expr) -> Expr:
        if not isinstance(node, Make):
            return node
        made = by_function[node.function]
        more = tuple(
            Keyword(name, Num(value, name), _number(made.solution.default(name)))
            for name, value in made.values(node.function).items()
        )
        needs = tuple(arg for arg in node.args if isinstance(arg, Keyword))
        return Call(Word(made.name), (*node.args[: len(node.args) - len(needs)], *more, *needs))

    return transform(expr, change)


def _number(value: int | float | None) -> Num | None:
    return None if value is None else Num(value)


def without_numbers(expr: Expr) -> Expr:
    """Keyword arguments that turned out to be the default are left out."""
    return without(expr, lambda each: _same_number(each.value, each.default))


def _same_number(a: Expr, b: Expr | None) -> bool:
    return isinstance(a, Num) and isinstance(b, Num) and a.value == b.value


def inferred(expr: Expr) -> Expr:
    """In `unflatten(-1, (3, heads, 64))` the size that follows from the others becomes -1."""

    def change(node: Expr) -> Expr:
        match node:
            case Call(Dot(base, "unflatten"), (axis, Seq(items))):
                return Call(Dot(base, "unflatten"), (axis, Seq(_one_inferred(items))))
        return node

    return transform(expr, change)


def _one_inferred(items: tuple[Expr, ...]) -> tuple[Expr, ...]:
    if not any(isinstance(node, Arg) for item in items for node in walk(item)):
        return items
    open_ = [i for i, item in enumerate(items) if not isinstance(item, Arg)]
    compound = [i for i in open_ if not isinstance(items[i], Num)]
    literal = [i for i in open_ if isinstance(items[i], Num)]
    if len(compound) > 1 or not open_:
        return items
    at = compound[0] if compound else max(literal, key=lambda i: items[i].value)  # type: ignore[attr-defined]
    return (*items[:at], Word("-1"), *items[at + 1 :])


def _axes(targets: Sequence[Target], arguments: Mapping[str, Values], program: int) -> tuple[Expr, ...]:
    """The axes of a value for the comment behind it: arguments by name, `_` where members differ
    otherwise."""
    if len({len(target.axes) for target in targets}) > 1:
        return (Word("..."),)
    return tuple(
        _axis(axes, arguments, program) for axes in zip(*(target.axes for target in targets), strict=True)
    )


def _axis(axes: Sequence[Expr], arguments: Mapping[str, Values], program: int) -> Expr:
    first = axes[0]
    if all(axis == first for axis in axes):
        return first
    values = tuple(axis.value for axis in axes if isinstance(axis, Num))
    if len(values) < len(axes):
        return Word("_")
    return term(values, arguments, program) or Word("_")
