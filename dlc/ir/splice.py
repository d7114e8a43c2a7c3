"""Copying operations from one body into another: fresh names, substituted dims, prefixed paths, own draws."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping

from dlc.ir.nodes import Attr, Function, Op, Region, Value, walk
from dlc.once import once
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.opaque import substituted
from dlc.types.terms import moved

# Ops whose attribute `path` names a parameter or buffer.
PATH_OPS = frozenset({"param", "update"})

_NUMBERED = re.compile(r"(.*?)_([0-9]+)$")


class Names:
    """Value names of one function. `fresh("e")` gives `e`, then `e_2`, `e_3`, …; a copy of `e_2` is numbered
    on from `e` as well, so that names stay short however often a body is copied."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._last: dict[str, int] = {}

    @staticmethod
    def of(function: Function) -> Names:
        return Names(defined_names(function))

    def release(self, names: Iterable[str]) -> None:
        """Names that nothing bears any more."""
        self._taken.difference_update(names)

    def fresh(self, hint: str) -> str:
        if hint not in self._taken:
            self._taken.add(hint)
            return hint
        match = _NUMBERED.match(hint)
        base = match[1] if match and match[1] else hint
        number = self._last.get(base, 1) + 1
        while f"{base}_{number}" in self._taken:
            number += 1
        self._last[base] = number
        name = f"{base}_{number}"
        self._taken.add(name)
        return name


class Draws:
    """Identities of one function's draws of randomness; a copy of a draw is another draw."""

    def __init__(self, taken: Iterable[int] = ()) -> None:
        self._taken = set(taken)
        self._next = max(self._taken, default=0) + 1

    @staticmethod
    def of(function: Function) -> Draws:
        return Draws(draw for op in walk(function.body) if isinstance(draw := op.attr("draw"), int))

    def fresh(self, draw: int) -> int:
        if draw in self._taken:
            draw, self._next = self._next, self._next + 1
        self._taken.add(draw)
        self._next = max(self._next, draw + 1)
        return draw


def defined_names(function: Function) -> Iterable[str]:
    """Every value name that the function defines, regions included."""
    for value in function.inputs:
        yield value.name
    for op in walk(function.body):
        for value in (*op.outputs, *(op.region.args if op.region else ())):
            yield value.name


def prefixed(prefix: str, path: str) -> str:
    """`path` as seen from the function that holds the instance `prefix`."""
    return f"{prefix}.{path}" if prefix and path else prefix or path


def substitute(value: Attr, dims: Mapping[str, Attr], statics: Mapping[str, Attr] = {}) -> Attr:
    """An attribute with the dims in it replaced, and with `statics` in its origins."""
    if isinstance(value, Dim):
        return value.substitute(dims)
    if isinstance(value, tuple):
        return tuple(substitute(each, dims, statics) for each in value)
    moved_: Attr = moved(value, statics)
    return moved_


def statics_of(op: Op) -> dict[str, Attr]:
    """What the callee's static parameters and known sizes are at a call, for origins: elements of lists one by one."""
    found: dict[str, Attr] = {}
    stack = [*op.attrs, *op.known]
    while stack:
        name, value = stack.pop()
        found[name] = value
        if isinstance(value, tuple):
            stack += ((f"{name}[{i}]", each) for i, each in enumerate(value))
    return found


def dims_of(op: Op) -> dict[str, Attr]:
    """The callee's symbols in terms of the caller's: dims, and what origins speak of."""
    return {**statics_of(op), **dict(op.dims)}


def with_path(op: Op, rename: Callable[[str], str], stateful: Container[str] = ()) -> Op:
    """The op with its path rewritten: the instance of a call, or the parameter that it reads or updates. Its
    region, if any, is left alone. A call without a path keeps none, unless its callee is in `stateful`: then
    the callee's parameters are the caller's own."""
    if op.op in PATH_OPS:
        return replace(op, attrs=tuple((k, rename(str(v)) if k == "path" else v) for k, v in op.attrs))
    if op.callee and (op.path or op.callee in stateful):
        return replace(op, path=rename(op.path))
    return op


def within(op: Op, change: Callable[[Op], Op]) -> Op:
    """The op with each operation directly inside its bodies changed."""
    if op.region is None:
        return op
    region, otherwise = (
        each and Region(each.args, tuple(map(change, each.body)), each.results)
        for each in (op.region, op.otherwise)
    )
    return replace(op, region=region, otherwise=otherwise)


def with_values(op: Op, names: Mapping[str, str]) -> Op:
    """The op with all its values renamed: operands, results, and those of its bodies."""

    def value(each: Value) -> Value:
        return Value(names.get(each.name, each.name), each.type)

    def region(each: Region | None) -> Region | None:
        if each is None:
            return None
        body = tuple(with_values(inner, names) for inner in each.body)
        return Region(
            tuple(map(value, each.args)), body, tuple(names.get(name, name) for name in each.results)
        )

    inputs = tuple(names.get(name, name) for name in op.inputs)
    outputs = tuple(map(value, op.outputs))
    return replace(
        op, inputs=inputs, outputs=outputs, region=region(op.region), otherwise=region(op.otherwise)
    )


def referring(function: Function, now: Callable[[str], str]) -> Function:
    """The function with other names for the functions that it calls, holds instances of, and takes initial values from."""

    def op(each: Op) -> Op:
        return within(replace(each, callee=now(each.callee)) if each.callee else each, op)

    return replace(
        function,
        body=tuple(map(op, function.body)),
        children=tuple(replace(each, function=now(each.function)) for each in function.children),
        params=tuple(replace(each, init=now(each.init)) for each in function.params),
    )


def path_of(op: Op) -> str:
    """The path that the op speaks of, "" where it speaks of none."""
    return op.text("path") if op.op in PATH_OPS else op.path


def stems(path: str) -> Iterable[str]:
    """The paths that a path lies below: of `block.0.up` these are `block` and `block.0`."""
    return (path[: found.start()] for found in re.finditer(r"\.", path))


def has_paths(body: Iterable[Op]) -> bool:
    return any(path_of(op) for op in walk(body))


@dataclass(frozen=True, slots=True)
class Splice:
    """One copy of a body into the function that owns `names` and `draws`.

    `values` maps names of the body to names of the function; what the body defines is added as it is copied.
    `dims` substitutes the body's dims, `path` rewrites its paths (`stateful`: see `with_path`)."""

    names: Names
    draws: Draws
    values: dict[str, str]
    dims: Mapping[str, Attr]
    path: Callable[[str], str]
    stateful: Container[str] = ()
    statics: Mapping[str, Attr] = field(default_factory=dict)

    def body(self, body: Iterable[Op]) -> list[Op]:
        return [self.op(op) for op in body]

    def op(self, op: Op) -> Op:
        inputs = tuple(self.values.get(name, name) for name in op.inputs)
        outputs = tuple(map(self._value, op.outputs))
        return with_path(
            replace(
                op,
                inputs=inputs,
                outputs=outputs,
                attrs=self._attrs(op),
                dims=tuple((name, dim.substitute(self.dims)) for name, dim in op.dims),
                known=tuple((name, dim.substitute(self.dims)) for name, dim in op.known),
                given=tuple((name, substituted(term, self.statics)) for name, term in op.given),
                region=self._region(op.region) if op.region else None,
            ),
            self.path,
            self.stateful,
        )

    def _value(self, value: Value) -> Value:
        name = self.values.get(value.name)
        if name is None:
            name = self.values[value.name] = self.names.fresh(value.name)
        return Value(name, value.type.substitute(self.dims))

    def _attrs(self, op: Op) -> tuple[tuple[str, Attr], ...]:
        attrs = tuple((key, substitute(value, self.dims, self.statics)) for key, value in op.attrs)
        if isinstance(op.attr("draw"), int):
            attrs = tuple(
                (k, self.draws.fresh(v) if k == "draw" and isinstance(v, int) else v) for k, v in attrs
            )
        return attrs

    def _region(self, region: Region) -> Region:
        args = tuple(map(self._value, region.args))
        body = tuple(self.body(region.body))
        return Region(args, body, tuple(self.values.get(name, name) for name in region.results))


# --- what functions refer to --------------------------------------------------------------------------------


@once
def callees(function: Function) -> tuple[str, ...]:
    """Names of the functions that a function calls, each once."""
    return tuple(dict.fromkeys(op.callee for op in walk(function.body) if op.callee))


@once
def references(function: Function) -> tuple[str, ...]:
    """Names of the functions that a function refers to, each once: called, instances', and those of its parameters' values."""
    instances = (child.function for child in function.children)
    values = (param.init for param in function.params)
    return tuple(dict.fromkeys(name for name in (*callees(function), *instances, *values) if name))


def reached(functions: Mapping[str, Function], roots: Iterable[str]) -> set[str]:
    """The functions that these refer to, themselves included."""
    left, found = list(roots), set[str]()
    while left:
        name = left.pop()
        if name not in found and name in functions:
            found.add(name)
            left += references(functions[name])
    return found
