"""A module whose parts lie at the path of another instance has no place of its own in a checkpoint: it becomes a function that
takes the parts.

    bias = RelativeBias(heads)(x) as block.0.attention    ->    bias = relative_bias(x, table=self.block[0].attention.table)
    x = Block(d)(x, bias) as block.{i}                          (and the constructor puts `table` into that attention)
"""

from __future__ import annotations

from collections.abc import Iterator

from dlc.emit.names import snake, unique
from dlc.ir.nodes import Child, Function, Op, Param, Program, walk
from dlc.ir.paths import Paths
from dlc.ir.splice import Draws, Names, Splice, dims_of, prefixed, statics_of, within
from dlc.records import dataclass, field, replace


@dataclass(frozen=True)
class Lent:
    """What a function takes of its caller: instances and parameters, by the first label of their paths."""

    children: tuple[Child, ...]
    params: tuple[Param, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        paths = (*(each.path for each in self.children), *(each.name for each in self.params))
        return tuple(dict.fromkeys(path.partition(".")[0] for path in paths))


@dataclass
class Lending:
    """The program with such modules as functions. `lent` tells what each takes, `calls` for a part of a function at a path the
    operation that says its arguments, which stands in another body."""

    program: Program
    lent: dict[str, Lent] = field(default_factory=dict)
    calls: dict[tuple[str, str], Op] = field(default_factory=dict)

    @staticmethod
    def of(program: Program) -> Lending:
        made = Lending(program)
        paths = Paths(program.functions)
        for function in program.functions.values():
            for child in list(_doubled(program, function, paths)):
                made._lend(function.name, child)
        return made

    def _lend(self, owner: str, child: Child) -> None:
        """Put a function in the place of the instance `child`."""
        functions = dict(self.program.functions)
        module, function = functions[child.function], functions[owner]
        name = unique(f"{module.name}_lent", functions)
        functions[name] = replace(
            module, name=name, source=snake(module.source), kind="fn", children=(), params=()
        )
        self.lent[name] = Lent(module.children, module.params)
        parts = [replace(each, path=prefixed(child.path, each.path)) for each in module.children]
        params = [replace(each, name=prefixed(child.path, each.name)) for each in module.params]
        call = next(op for op in walk(function.body) if op.path == child.path and op.callee == module.name)
        self.calls.update(_moved(owner, module, call))
        functions[owner] = replace(
            function,
            children=(*(each for each in function.children if each != child), *parts),
            params=(*function.params, *params),
            body=tuple(_redirected(op, child, name) for op in function.body),
        )
        order = {each: functions[each] for each in functions if each not in (owner, name)}
        at = list(functions).index(owner)
        before = dict(list(order.items())[:at])
        self.program = self.program.with_functions(
            {**before, name: functions[name], owner: functions[owner], **order}
        )


def _doubled(program: Program, function: Function, paths: Paths) -> Iterator[Child]:
    """The instances at whose very path another one of the function has a part, or is."""
    for i, child in enumerate(function.children):
        if child.count or child.when is not None:
            continue
        source = program.functions[child.function].source
        for j, other in enumerate(function.children):
            there = [_part(other, child.path, paths)] if j != i else []
            # Entries of one module share an instance.
            if any(name and program.functions[name].source != source for name in there) and (
                j < i or other.path != child.path
            ):
                yield child
                break


def _part(other: Child, path: str, paths: Paths) -> str:
    """The function of the part that an instance has at a path, or of itself."""
    for own in other.paths() if other.when is None else ():
        if own == path:
            return other.function
        if path.startswith(f"{own}."):
            return paths.instance(other.function, path[len(own) + 1 :]) or ""
    return ""


def _moved(owner: str, module: Function, call: Op) -> Iterator[tuple[tuple[str, str], Op]]:
    """The operations that say the module's parts, in the caller's terms."""
    copy = Splice(Names(), Draws(), {}, dims_of(call), lambda path: path, statics=statics_of(call))
    for op in walk(module.body):
        if op.callee and op.path:
            yield (owner, prefixed(call.path, op.path)), copy.op(op)


def _redirected(op: Op, child: Child, name: str) -> Op:
    """The call of the instance as one of the function."""
    if op.callee == child.function and op.path == child.path:
        return replace(op, callee=name)
    return within(op, lambda each: _redirected(each, child, name))
