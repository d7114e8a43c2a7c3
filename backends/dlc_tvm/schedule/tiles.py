"""The loop nest that contractions and column reductions share: a tile of outputs kept in registers.

    for m, n, k: c[m, n] += f(m, n, k)
    for m, n: out[m, n] = epilogue(c[m, n])
    =>
    parallel over tiles [n0, m0]:  tile[8, 48] = 0
                                   for k: tile[m1, n1] += f(m0 + m1, n0 + n1, k)    # m1 unrolled, n1 in vectors
                                   out[m0 + m1, n0 + n1] = epilogue(tile[m1, n1])

Columns are the outer loop: whatever all rows of a strip of columns share (a panel of weights) then stays in cache.

There is one piece of code for all tiles, whole or not. Along an axis of known size the last tile overlaps the one
before it, and computes the same values again. Where the number of rows is known at run time only, the last tile reads
the last row several times and stores it once; columns beyond the last are computed from whatever a padded panel holds,
and not stored. (A second copy of the nest for what is left over would double the code, which LLVM takes long over.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir import TensorLoad
from tvm.s_tir.dlight.analysis import SBlockInfo

from dlc_tvm.schedule.elementwise import inline, spread
from dlc_tvm.schedule.loops import ceil, decoded, integer, loop, loops, product, start
from dlc_tvm.schedule.nest import (
    Kernel,
    NotApplicable,
    constant,
    in_step,
    loads,
    reduction_blocks,
    same,
    variables,
)

SHORT_LOOP = 4  # an innermost reduction this short (the colours of an image) is unrolled


@dataclass(frozen=True)
class Tiling:
    """Which of the output's axes, by position, the tile's rows and its columns run along, and its size.

    Several row axes count as one, as if the output had been flattened over them. `lanes` is the width of a vector,
    `panel` the load that is copied into panels first, as it can't be read in whole vectors where it is.
    """

    row: list[int]
    column: int
    rows: int
    vectors: int
    lanes: int
    panel: Any = None

    @property
    def columns(self) -> int:
        return self.vectors * self.lanes


def only_reduction(kernel: Kernel) -> SBlockInfo:
    """The one block that reduces; its axes must be all outputs, then all reductions."""
    reductions = reduction_blocks(kernel)
    if len(reductions) != 1:
        raise NotApplicable("not exactly one reduction")
    kinds = reductions[0].dom_kind()
    if kinds.strip("S").strip("R") or not kinds.startswith("S"):
        raise NotApplicable(f"axes in the order {kinds}")
    # Lanes run along the last output axis: of length 1 it fills none.
    if constant(reductions[0].dom()[kinds.count("S") - 1]) == 1:
        raise NotApplicable("a single output")
    if not isinstance(kernel.stmt(reductions[0]).body, tirx.BufferStore):
        raise NotApplicable("several results, as argmax has")
    return reductions[0]


def output_axes(kernel: Kernel, main: SBlockInfo) -> list[Any]:
    return [axis.var for axis in kernel.stmt(main).iter_vars if axis.iter_type == tirx.IterVar.DataPar]


def even(size: int, most: int) -> int:
    """The tile height for `size` rows: a divisor if there is a good one, or else tiles of nearly equal height."""
    divisors = [d for d in range(most, most // 2, -1) if size % d == 0]
    return divisors[0] if divisors else -(-size // -(-size // most))


def tile(kernel: Kernel, main: SBlockInfo, tiling: Tiling, *, inlines: Callable[[SBlockInfo], bool]) -> None:
    """Schedule the whole kernel: producers (inlined where `inlines` says so), the reduction, the epilogue."""
    last = _surround(kernel, main, inlines)
    nest = _Nest(kernel, main, last, tiling)
    replaced = {str(kernel.stmt(block).name_hint) for block in (main, last)}
    kernel.result = _with_nest(kernel.sch.mod["main"], replaced, nest.product, *nest.build())


def _surround(kernel: Kernel, main: SBlockInfo, inlines: Callable[[SBlockInfo], bool]) -> SBlockInfo:
    """Deal with the blocks before and after the reduction; returns the one that stores the output."""
    before = _producers(kernel, main)
    others = [b for b in kernel.blocks if b is not main]
    for block in [b for b in others if b.name in before]:
        # What is inlined is computed again at each read: the rule says for which producers that is cheap. All else is computed
        # first, in loops of its own.
        if not inlines(block) or inline(kernel, [block]):
            spread(kernel, block)
    after = [b for b in others if b.name not in before]
    if not after:
        return main
    if inline(kernel, after[:-1]):
        raise NotApplicable("the epilogue is too large to join the reduction")
    _check_epilogue(kernel, main, after[-1])
    return after[-1]


def _producers(kernel: Kernel, main: SBlockInfo) -> set[str]:
    """The names of the blocks that `main` depends on."""
    found: set[str] = set()
    pending = [main.block_rv]
    while pending:
        for producer in kernel.sch.get_producers(pending.pop()):
            name = kernel.sch.get(producer).name_hint
            if name not in found:
                found.add(name)
                pending.append(producer)
    return found


def _check_epilogue(kernel: Kernel, main: SBlockInfo, last: SBlockInfo) -> None:
    """The epilogue must go over the same rows in step, and over no more columns."""
    product, stmt = kernel.stmt(main).writes[0].source, kernel.stmt(last)
    axes = [axis.var for axis in stmt.iter_vars]
    mine = [size for size, kind in zip(main.dom(), main.dom_kind(), strict=True) if kind == "S"]
    if len(axes) != len(mine) or not same(last.dom()[:-1], mine[:-1]):
        raise NotApplicable("the epilogue has another shape")
    # The epilogue runs on one tile, while that is in registers: an element of another tile may not be there yet.
    reads = [load for load in loads(stmt.body) if load.source.same_as(product)]
    if not reads or not all(in_step(product.shape, load.indices, axes) for load in reads):
        raise NotApplicable("the epilogue reads the reduction out of step")


def _with_nest(func: Any, replaced: set[str], product: Any, nest: Any, panels: Sequence[Any]) -> Any:
    """The kernel with `nest` in the place of the blocks named in `replaced`, and room for `panels` for `product`."""
    root = func.body.block
    stmts = list(root.body.seq) if isinstance(root.body, tirx.SeqStmt) else [root.body]
    # The product's own buffer goes: the tile takes its place, and the whole of it is never in memory.
    kept = [stmt for stmt in stmts if not _block_names(stmt) & replaced]
    rooms = [*(buffer for buffer in root.alloc_buffers if not buffer.same_as(product)), *panels]
    block = s_tir.SBlock([], [], [], root.name_hint, tirx.stmt_seq(*kept, *nest), None, rooms)
    return func.with_body(s_tir.SBlockRealize([], True, block))


def _block_names(stmt: Any) -> set[str]:
    names: set[str] = set()
    tvm_ffi.structural_walk(stmt, (s_tir.SBlock, lambda block: names.add(str(block.name_hint))))
    return names


class _Nest:
    """The nest of one kernel, in the making."""

    def __init__(self, kernel: Kernel, main: SBlockInfo, last: SBlockInfo, tiling: Tiling) -> None:
        self.tiling = tiling
        self.main = kernel.stmt(main)
        self.last = self.main if last is main else kernel.stmt(last)
        if not isinstance(self.main.body, tirx.BufferStore):
            raise NotApplicable("a single output")  # several stores, as argmax has
        count = main.dom_kind().count("S")
        self.axes = [axis.var for axis in self.main.iter_vars[:count]]
        self.depth = list(self.main.iter_vars[count:])
        self.sizes = [integer(size) for size in main.dom()[:count]]
        self.columns = self.sizes[tiling.column]
        self.stored = integer(last.dom()[count - 1])  # the last panel may hold more columns than there are
        self.rows = product([self.sizes[i] for i in tiling.row])
        self.open_rows = constant(self.rows) is None
        self.others = [i for i in range(count) if i not in tiling.row and i != tiling.column]
        self.product = self.main.writes[0].source
        self.tile = tirx.decl_buffer(
            (tiling.rows * tiling.columns,), self.product.dtype, "tile", scope="local"
        )
        self.indices = [
            tirx.decl_buffer((tiling.rows,), "int64", "row") for _ in tiling.row if self.open_rows
        ]
        self.value = self.main.body.value
        self.panels: Any = None

    def build(self) -> tuple[list[Any], list[Any]]:
        """The statements in the place of the kernel's reduction and epilogue, and the buffers shared by all tiles."""
        before = [self._copy_panels(self.tiling.panel)] if self.tiling.panel is not None else []
        counts = [self.sizes[i] for i in self.others]
        counts += [ceil(self.columns, self.tiling.columns), ceil(self.rows, self.tiling.rows)]

        def at(chunk: Any) -> Any:
            first = decoded(chunk, counts[:shared])
            return loops(counts[shared:], lambda rest: self._tile([*first, *rest]))

        # Without rows a tile is little work, of the size of the divisions that find its place: neighbours share them.
        shared = len(self.others) - 1 if not self.tiling.row and len(self.others) > 1 else len(counts)
        nest = loop(product(counts[:shared]), at, tirx.ForKind.PARALLEL)
        return [*before, nest], [self.panels] if before else []

    def _tile(self, indices: Sequence[Any]) -> Any:
        *others, column, row = indices
        width = constant(self.columns)
        # Only with a known size can the last tile begin earlier: with an unknown one there may be fewer columns than a tile has.
        # Computing an element twice is harmless here, since a tile starts from the initial value and not from the output.
        overlaps = width is not None and width % self.tiling.columns
        first_column = start(column, self.tiling.columns, self.columns if overlaps else None)
        first_row = start(row, self.tiling.rows, None if self.open_rows else self.rows)
        at = {self.axes[i]: value for i, value in zip(self.others, others, strict=True)}
        block = s_tir.SBlock(
            [], [], [], "tile",
            tirx.stmt_seq(
                *self._row_indices(first_row),
                self._each(lambda i, lane: self._store(i, lane, self.main.init.value)),
                self._sum(at, first_row, first_column),
                self._epilogue(at, first_row, first_column),
            ),
            None, [self.tile, *self.indices],
        )  # fmt: skip
        return s_tir.SBlockRealize([], True, block)

    def _row_indices(self, first: Any) -> list[Any]:
        """Where each row of a tile is, found once for all of the sum: the tile's rows beyond the last repeat it."""
        if not self.open_rows:
            return []

        def row(i: Any) -> Any:
            # Clamped, so that reading is always inside the input, with no condition in the innermost loop.
            values = decoded(tirx.min(first + i, self.rows - 1), [self.sizes[at] for at in self.tiling.row])
            return tirx.stmt_seq(
                *(tirx.BufferStore(b, v, [i]) for b, v in zip(self.indices, values, strict=True))
            )

        return [loop(self.tiling.rows, row)]

    def _rows(self, row: Any, first: Any) -> list[Any]:
        """The place of a tile's row along each of the row axes."""
        return [index[row] for index in self.indices] or [first + row for _ in self.tiling.row]

    def _each(self, body: Callable[[Any, Any], Any]) -> Any:
        """All of a tile, unrolled but for the lanes: `body` gets the row and the column."""

        def row(i: Any) -> Any:
            return loop(
                self.tiling.vectors, lambda v: self._lanes(lambda c: body(i, c), v), tirx.ForKind.UNROLLED
            )

        return loop(self.tiling.rows, row, tirx.ForKind.UNROLLED)

    def _lanes(self, body: Callable[[Any], Any], vector: Any) -> Any:
        lanes = self.tiling.lanes
        return loop(lanes, lambda lane: body(vector * lanes + lane), tirx.ForKind.VECTORIZED)

    def _vectors(self, body: Callable[[Any], Any], first: Any, bound: Any) -> Any:
        """A row of a tile in vectors; one that goes beyond the bound, if there is one, lane by lane."""
        lanes = self.tiling.lanes

        def vector(v: Any) -> Any:
            whole = self._lanes(body, v)
            if bound is None:
                return whole
            # The whole vector has a branch of its own: a condition on each lane would make all of them scalar code.
            last = loop(
                lanes, lambda i: tirx.IfThenElse(first + v * lanes + i < bound, body(v * lanes + i), None)
            )
            return tirx.IfThenElse(first + v * lanes + lanes <= bound, whole, last)

        return loop(self.tiling.vectors, vector)

    def _place(self, row: Any, column: Any) -> list[Any]:
        return [row * self.tiling.columns + column]

    def _store(self, row: Any, column: Any, value: Any) -> Any:
        return tirx.BufferStore(self.tile, value, self._place(row, column))

    def _sum(self, at: dict[Any, Any], first_row: Any, first_column: Any) -> Any:
        sizes = [axis.dom.extent for axis in self.depth]
        short = constant(sizes[-1]) is not None and constant(sizes[-1]) <= SHORT_LOOP  # type: ignore[operator]
        kinds = [tirx.ForKind.SERIAL] * (len(sizes) - 1)
        kinds += [tirx.ForKind.UNROLLED if short else tirx.ForKind.SERIAL]

        def step(depth: list[Any]) -> Any:
            inner = at | {axis.var: value for axis, value in zip(self.depth, depth, strict=True)}
            return self._each(lambda row, column: self._add(inner, row, column, first_row, first_column))

        return loops(sizes, step, kinds)

    def _add(self, at: dict[Any, Any], row: Any, column: Any, first_row: Any, first_column: Any) -> Any:
        values = self._rows(row, first_row)
        rows = {self.axes[i]: value for i, value in zip(self.tiling.row, values, strict=True)}
        at = at | rows | {self.axes[self.tiling.column]: first_column + column}
        return self._store(row, column, self._filled(self.value, at, row, column))

    def _filled(self, value: Any, at: dict[Any, Any], row: Any, column: Any) -> Any:
        """An expression with the tile in the place of the product, and values in the place of axes."""

        def load(each: Any) -> Any:
            return self.tile[self._place(row, column)] if each.source.same_as(self.product) else each

        value = tvm_ffi.structural_map(value, (TensorLoad, load))
        return tvm_ffi.structural_map(value, (tirx.Var, lambda var: at.get(var, var)))

    def _epilogue(self, at: dict[Any, Any], first_row: Any, first_column: Any) -> Any:
        """Loops here aren't unrolled: LLVM keeps the tile in registers all the same, and has less to do."""
        axes = [axis.var for axis in self.last.iter_vars] if self.last is not self.main else self.axes
        known = {axes[self.axes.index(axis)]: value for axis, value in at.items()}
        own = self.last is not self.main
        value = self.last.body.value if own else self.product[list(self.main.body.indices)]

        def store(row: Any, column: Any) -> Any:
            values = self._rows(row, first_row)
            rows = {axes[i]: each for i, each in zip(self.tiling.row, values, strict=True)}
            place = known | rows | {axes[self.tiling.column]: first_column + column}
            indices = [self._filled(i, place, row, column) for i in self.last.body.indices]
            done = tirx.BufferStore(self.last.body.buffer, self._filled(value, place, row, column), indices)
            return done

        def line(row: Any) -> Any:
            stores = self._vectors(lambda c: store(row, c), first_column, self._bound())
            return tirx.IfThenElse(first_row + row < self.rows, stores, None) if self.open_rows else stores

        return loop(self.tiling.rows, line)

    def _bound(self) -> Any:
        """How many columns there are, if tiles go beyond; those that overlap don't."""
        width, stored = constant(self.columns), constant(self.stored)
        whole = stored is not None and stored % self.tiling.columns == 0
        return None if whole or (width is not None and width == stored) else self.stored

    def _copy_panels(self, load: Any) -> Any:
        """panels[*batch, n / 48, *k, n % 48] = load[*batch, *k, n]; what is beyond the last column stays unset."""
        used, width = variables(load.indices), self.tiling.columns
        batch = [i for i in self.others if self.axes[i] in used]
        depth = [axis for axis in self.depth if axis.var in used]
        outer, inner = [self.sizes[i] for i in batch], [integer(axis.dom.extent) for axis in depth]
        count, column = ceil(self.columns, width), self.axes[self.tiling.column]
        self.panels = tirx.decl_buffer((*outer, count, *inner, width), load.source.dtype, "panels")
        names = [*(self.axes[i] for i in batch), *(axis.var for axis in depth)]

        def place(values: Sequence[Any], panel: Any, n: Any) -> Any:
            return [*values[: len(batch)], panel, *values[len(batch) :], n]

        def replaced(each: Any) -> Any:
            here = each.source.same_as(load.source) and tvm_ffi.structural_equal(each, load, True)
            at = tirx.floordiv(column, integer(width)), tirx.floormod(column, integer(width))
            return self.panels[place(names, *at)] if here else each

        def store(values: Sequence[Any], panel: Any, inner: Any) -> Any:
            at = dict(zip(names, values, strict=True)) | {column: panel * width + inner}
            indices = [
                tvm_ffi.structural_map(i, (tirx.Var, lambda var: at.get(var, var))) for i in load.indices
            ]
            return tirx.BufferStore(self.panels, load.source[indices], place(values, panel, inner))

        def line(chunk: Any) -> Any:
            values = decoded(chunk, [*outer, *inner])
            return loop(
                count,
                lambda panel: self._vectors(lambda c: store(values, panel, c), panel * width, self.columns),
            )

        self.value = tvm_ffi.structural_map(self.value, (TensorLoad, replaced))
        return loop(product([*outer, *inner]), line, tirx.ForKind.PARALLEL)
