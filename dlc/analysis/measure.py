"""Counts of a program: parameters, FLOPs. Nothing is allocated; sizes that are not given stay symbolic."""

from __future__ import annotations

from collections.abc import Mapping

from dlc.diagnostics import NO_SPAN, SpecError, did_you_mean
from dlc.diagnostics import training as problems
from dlc.ir.loops import Loop
from dlc.ir.nodes import Function, Op, Program
from dlc.ir.routing import ROUTED, choices, expert_call, share
from dlc.ir.splice import prefixed
from dlc.ops import get
from dlc.ops.cost import flops as flops_of_op
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType


def count(program: Program, kind: str = "param", *, trainable: bool = False) -> int:
    """The number of elements of all parameters (or buffers); tied ones count once, since a path names one tensor."""
    return sum(
        each.type.size.constant or 0
        for each in program.parameters
        if each.kind == kind and (each.trainable or not trainable)
    )


def check_dims(program: Program, sizes: Mapping[str, int]) -> None:
    """Raises SpecError for a name that is no dim of the program's inputs."""
    known = program.main.dims
    for name in sizes:
        if name not in known:
            message = f"`{name}` is no dim of the model's inputs; these are: {', '.join(known) or 'none'}"
            help = did_you_mean(name, known)
            raise SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message, help=help)])


def active(program: Program) -> int:
    """Parameters used for one position: of experts as many as are chosen for it, all others."""
    shares = {name: share(program.functions[name]) for name in program.reachable()}
    total = count(program)
    if not any(shares.values()):
        return total
    sizes = {each.path: each.type.size.constant or 0 for each in program.parameters if each.kind == "param"}
    stack, seen = [(program.entry, "")], set[str]()
    while stack:
        name, prefix = stack.pop()
        for local, (used, experts) in shares.get(name, {}).items():
            path = prefixed(prefix, local)
            if path not in seen:
                seen.add(path)
                total -= sizes.get(path, 0) // experts * (experts - used)
        for child in program.functions[name].children:
            stack += ((child.function, prefixed(prefix, path)) for path in child.paths())
    return total


def flops(program: Program, sizes: Mapping[str, int] | None = None) -> Dim:
    """Floating-point operations of one run, in the dims that `sizes` does not give."""
    memo: dict[str, Dim] = {}
    for name in program.reachable():
        memo[name] = _function_flops(program.functions[name], memo, program.functions)
    return memo[program.entry].substitute(dict(sizes or {}))


def _function_flops(function: Function, memo: Mapping[str, Dim], functions: Mapping[str, Function]) -> Dim:
    types = function.types()
    total = Dim.of(0)
    stack = [(op, Dim.of(1)) for op in function.body]
    while stack:
        op, times = stack.pop()
        if op.region is not None:
            inner = times * turns(op)
            stack += [(each, inner) for each in op.region.body]
        elif op.op == ROUTED:
            one = memo[expert_call(functions[op.callee]).callee]
            total = total + times * choices(op, types) * one.substitute(
                {name: Dim.of(1) for name in one.symbols}
            )
        elif op.callee:
            total = total + times * memo[op.callee].substitute(dict(op.dims))
        else:
            total = total + times * _op_flops(op, types)
    return total


def turns(loop: Op) -> Dim:
    """How often a loop runs its body."""
    return Dim.of(Loop.of(loop).count)


_STRUCTURAL = frozenset({"param", "const", "update", "require"})


def _op_flops(op: Op, types: Mapping[str, TensorType]) -> Dim:
    if op.op in _STRUCTURAL:
        return Dim.of(0)
    inputs = [types[name] if name else None for name in op.inputs]
    return flops_of_op(get(op.op), inputs, [value.type for value in op.outputs], op.attributes)
