"""Reading a kernel before scheduling it: its blocks, their axes, who uses which; and the few moves all rules share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tvm_ffi
from tvm import s_tir, sym, tirx
from tvm.error import InternalError
from tvm.ir import Call, TensorLoad
from tvm.s_tir.dlight.analysis import SBlockInfo, normalize_prim_func
from tvm.s_tir.schedule import ScheduleError

from dlc_tvm.schedule.machine import Machine

_realize = tvm_ffi.get_global_func("s_tir.schedule.GetSBlockRealize")
log = logging.getLogger(__name__)


class NotApplicable(Exception):
    """A rule doesn't fit this kernel; the next rule is asked."""


# What TVM raises when a step would change the meaning of a kernel, or meets one that it can't handle.
TVM_ERRORS = (ScheduleError, InternalError, TypeError, ValueError)


@dataclass
class Kernel:
    """A schedule in the making: the schedule, its blocks in order, and the processor it is for.

    `result` is the finished kernel, where a rule writes it itself instead of by moves of the schedule.
    """

    sch: Any
    blocks: list[SBlockInfo]
    machine: Machine
    result: Any = None

    @staticmethod
    def of(func: Any, machine: Machine) -> Kernel:
        sch = s_tir.Schedule(func)
        blocks = normalize_prim_func(sch)
        if not blocks:
            raise NotApplicable("no blocks, or none that can be read")
        return Kernel(sch, blocks, machine)

    def replace(self, other: Kernel) -> None:
        """Go on with another version of the same kernel."""
        self.sch, self.blocks = other.sch, other.blocks

    def stmt(self, block: SBlockInfo) -> Any:
        return self.sch.get(block.block_rv)

    def lanes(self, block: SBlockInfo) -> int:
        """How many elements of what `block` writes fill a vector."""
        return self.machine.lanes(self.stmt(block).writes[0].source.dtype)


Rule = Callable[[Kernel], None]
COMPARISONS = (tirx.LT, tirx.LE, tirx.GT, tirx.GE, tirx.EQ, tirx.NE)


def constant(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, tirx.IntImm)) else None


def extent(sch: Any, loop: Any) -> int | None:
    return constant(sch.get(loop).extent)


def same(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Whether two shapes or index lists are provably equal."""
    analyzer = sym.Analyzer()
    return len(a) == len(b) and all(analyzer.can_prove_equal(x, y) for x, y in zip(a, b, strict=True))


def divides(factor: int, size: Any) -> bool:
    """Whether `size` is provably a multiple of `factor`."""
    return bool(sym.Analyzer().can_prove_equal(tirx.floormod(size, factor), 0))


def in_step(shape: Sequence[Any], indices: Sequence[Any], axes: Sequence[Any]) -> bool:
    """Whether a buffer of `shape` is indexed by `axes` in order; dimensions of size 1 have no axis."""
    return same([i for i, size in zip(indices, shape, strict=True) if constant(size) != 1], axes)


def variables(expressions: Sequence[Any]) -> set[Any]:
    """The variables in some index expressions."""
    found: set[Any] = set()
    for expression in expressions:
        tvm_ffi.structural_walk(expression, (tirx.Var, found.add))
    return found


def quotients(expression: Any) -> list[Any]:
    """The divisions and remainders in an index expression."""
    found: list[Any] = []
    tvm_ffi.structural_walk(expression, (tirx.FloorDiv, found.append))
    tvm_ffi.structural_walk(expression, (tirx.FloorMod, found.append))
    return found


def loads(expression: Any) -> list[Any]:
    """The buffer loads in an expression or statement, outer before inner."""
    found: list[Any] = []
    tvm_ffi.structural_walk(expression, (TensorLoad, found.append), order="pre")
    return found


def parts_safely(loop: Any) -> bool:
    """Whether TVM's loop partitioning (0.27) may be asked to cut a loop where conditions inside of it change.

    It takes what a condition loads from a tensor, as in `i - start[0] >= 0`, for a constant of the loop, and, depending on the order of
    its own sets, drops the guard. And it trusts that a loop's part in which all conditions hold is not empty: of `i >= m` and `i < m + 2`
    it drops the first behind that part, which in steps of 16 begins before `m`, and reads what is not there."""
    conditions = _conditions(loop)
    if any(loads(each) and _has_index(each) for each in conditions):
        return False
    axes = _driven(loop)
    return not any(
        _begins_openly(part, axis) for each in conditions for part in _parts(each) for axis in axes
    )


def _conditions(stmt: Any) -> list[Any]:
    """What a statement chooses values by."""
    found: list[Any] = []
    tvm_ffi.structural_walk(stmt, (tirx.Select, lambda each: found.append(each.condition)))
    tvm_ffi.structural_walk(stmt, (Call, lambda each: found.extend(each.args[:1] if _chooses(each) else ())))
    return found


def _driven(loop: Any) -> list[Any]:
    """The loop's variable, and the axes of blocks inside that it moves along."""
    found = [loop.loop_var]

    def look(realize: Any) -> None:
        pairs = zip(realize.block.iter_vars, realize.iter_values, strict=True)
        found.extend(axis.var for axis, value in pairs if loop.loop_var in variables([value]))

    tvm_ffi.structural_walk(loop, (s_tir.SBlockRealize, look))
    return found


def _parts(condition: Any) -> list[Any]:
    """The comparisons in a condition, turned round where it is denied."""
    found: list[Any] = []
    plain = sym.Analyzer().simplify(condition)
    for kind in COMPARISONS:
        tvm_ffi.structural_walk(plain, (kind, found.append))
    return found


def _begins_openly(comparison: Any, axis: Any) -> bool:
    """Whether a comparison holds from a place on along `axis` that hangs on something else than numbers."""
    inside = variables([comparison])
    if axis not in inside or len(inside) == 1:
        return False
    a, b = comparison.a, comparison.b
    room = a - b if isinstance(comparison, (tirx.GE, tirx.GT)) else b - a
    ahead = tvm_ffi.structural_map(room, (tirx.Var, lambda var: var + 1 if var.same_as(axis) else var))
    step = constant(sym.Analyzer().simplify(ahead - room))
    return step is None or step > 0 or isinstance(comparison, (tirx.EQ, tirx.NE))


def _chooses(call: Any) -> bool:
    return getattr(call.op, "name", "").endswith("if_then_else")


def _has_index(expression: Any) -> bool:
    """Whether a variable stands in an expression outside of what it reads from tensors."""
    if isinstance(expression, TensorLoad):
        return False
    if isinstance(expression, tirx.Var):
        return True
    parts = [getattr(expression, name, None) for name in ("a", "b", "value")]
    return any(_has_index(each) for each in (*parts, *getattr(expression, "args", ())) if each is not None)


def contiguous(block: Any, position: int, among: Sequence[Any] | None = None) -> bool:
    """Whether neighbours along one axis of a block read neighbours in memory, or the same element.

    Asked of all loads in the block, or of those in `among`; no if none of them depends on the axis.
    """
    axis = block.iter_vars[position].var
    reads = [load.indices for load in among or loads(block.body) if axis in variables(load.indices)]
    steps = [sym.Analyzer().simplify(indices[-1] - axis) for indices in reads]
    return bool(reads) and all(
        axis not in variables([*indices[:-1], step]) for indices, step in zip(reads, steps, strict=True)
    )


def calls(stmt: Any) -> bool:
    """Whether a statement calls a function: what `exp` costs, in lanes or not, isn't worth paying twice."""
    found: list[Any] = []
    tvm_ffi.structural_walk(stmt, (Call, found.append))
    return bool(found)


def nodes(stmt: Any) -> int:
    """The size of a statement, as a measure of the code that inlining it makes."""
    count = 0

    def tick(_: Any) -> None:
        nonlocal count
        count += 1

    tvm_ffi.structural_walk(stmt, (tirx.Expr, tick))
    return count


def loops_by_kind(sch: Any, block: Any) -> list[tuple[Any, bool]]:
    """The loops around a block, and of each, whether it drives a reduction."""
    realize = _realize(sch, block)
    iters = zip(sch.get(block).iter_vars, realize.iter_values, strict=True)
    summed = variables([value for axis, value in iters if axis.iter_type == tirx.IterVar.CommReduce])
    return [(loop, sch.get(loop).loop_var in summed) for loop in sch.get_loops(block)]


def fuse(sch: Any, loops: Sequence[Any]) -> Any:
    return sch.fuse(*loops) if len(loops) > 1 else loops[0]


def reduction_blocks(kernel: Kernel) -> list[SBlockInfo]:
    return [block for block in kernel.blocks if not block.is_injective()]
