"""Counts of a program: parameters, work. Nothing is allocated; sizes that are not given stay symbolic."""

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
from dlc.passes.dead_code import DeadCode
from dlc.records import dataclass
from dlc.types.dims import Dim
from dlc.types.facts import unmet
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


def check_sizes(program: Program, sizes: Mapping[str, int]) -> None:
    """Raises SpecError (E0804) for sizes that the program's facts don't allow, alike wherever sizes come from."""
    broken = unmet(program.main.facts, sizes)
    if broken is None:
        return
    given = ", ".join(f"{name} = {size}" for name, size in sorted(sizes.items()))
    stated = broken in program.main.facts
    help = "" if stated else f"a size that may be 0 is stated: `where 0 <= {broken.left}`"
    raise SpecError([problems.REQUIRE_FAILED.at(NO_SPAN, message=f"{broken} (with {given})", help=help)])


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
    """The FLOPs of one run as the field counts them: products of contractions and convolutions, a multiply-add as two, in
    the dims that `sizes` does not give."""
    return work(program, sizes).products


def work(program: Program, sizes: Mapping[str, int] | None = None) -> Work:
    """What one run does, in the dims that `sizes` does not give. What no result needs is not done."""
    live = DeadCode().run(program)
    memo: dict[str, Work] = {}
    for name in live.reachable():
        memo[name] = _of_function(live.functions[name], memo, live.functions)
    return memo[live.entry].substitute(dict(sizes or {}))


@dataclass(frozen=True, slots=True)
class Work:
    """`products` are those of contractions and convolutions, a multiply-add as two; `elementwise` is one for each element of
    all other operations."""

    products: Dim
    elementwise: Dim

    @staticmethod
    def of(op: Op, types: Mapping[str, TensorType]) -> Work:
        if op.op in _STRUCTURAL:
            return NO_WORK
        definition = get(op.op)
        inputs = [types[name] if name else None for name in op.inputs]
        found = flops_of_op(definition, inputs, [value.type for value in op.outputs], op.attributes)
        return Work(found, NONE) if definition.products else Work(NONE, found)

    def __add__(self, other: Work) -> Work:
        return Work(self.products + other.products, self.elementwise + other.elementwise)

    def __mul__(self, times: Dim) -> Work:
        return Work(self.products * times, self.elementwise * times)

    def substitute(self, sizes: Mapping[str, Dim | int]) -> Work:
        return Work(self.products.substitute(dict(sizes)), self.elementwise.substitute(dict(sizes)))

    def for_one(self) -> Work:
        """With all sizes 1."""
        symbols = {*self.products.symbols, *self.elementwise.symbols}
        return self.substitute(dict.fromkeys(symbols, 1))


NONE = Dim.of(0)
NO_WORK = Work(NONE, NONE)
_STRUCTURAL = frozenset({"param", "const", "update", "require"})
_WEIGHTED_SUMS = frozenset({"_adaptive_avg_pool1d", "_adaptive_avg_pool2d", "resize"})
"""Library functions that say sums over windows as products with a table of the windows' weights: no contractions."""


def _of_function(function: Function, memo: Mapping[str, Work], functions: Mapping[str, Function]) -> Work:
    types = function.types()
    total = NO_WORK
    stack = [(op, Dim.of(1)) for op in function.body]
    while stack:
        op, times = stack.pop()
        if op.region is not None:
            inner = times * turns(op)
            stack += [(each, inner) for each in op.region.body]
        elif op.op == ROUTED:
            total += memo[expert_call(functions[op.callee]).callee].for_one() * (times * choices(op, types))
        elif op.callee:
            total += memo[op.callee].substitute(dict(op.dims)) * times
        else:
            total += Work.of(op, types) * times
    if function.library and function.source in _WEIGHTED_SUMS:
        return Work(NONE, total.products + total.elementwise)
    return total


def turns(loop: Op) -> Dim:
    """How often a loop runs its body."""
    return Dim.of(Loop.of(loop).count)
