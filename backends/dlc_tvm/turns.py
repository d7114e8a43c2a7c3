"""The kernel of a loop, with the kernels of its turn inside.

These come scheduled and are taken over as they are: between two of them stands neither a call nor an allocation, and the virtual
machine sees one kernel, however long the loop. Sizes may be left open. A turn reads what is carried from the buffers of the
loop's results, which change only when all of a turn is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tvm_ffi
from tvm import DataType, relax, s_tir, tirx
from tvm.ir import Call, Constant, PointerType, PrimType, Range
from tvm.sym import Analyzer

from dlc_tvm.emission import substituted, variables
from dlc_tvm.kernel_sizes import sums_of, with_sums
from dlc_tvm.marks import BEGIN, END, PART, WHOLE, Mark
from dlc_tvm.schedule.loops import ceil, decoded, integer, loop, loops, product

ALIGNED = 64  # bytes, of what kernels are given
OPAQUE = 8  # TVM's kOpaque: nothing may be fused with it


class NotSaid(Exception):
    """Something in a turn that is no kernel."""


@dataclass
class Turn:
    """The kernel in the making. `begin` and `end` are the bindings of the marks, `turn` those between.

    Its buffers are over sizes of its own; `values` says what stands for a value of the turn: a buffer, or a list of what a tuple
    holds. `operands` are the values from outside and what stands for them. Where it is `parted` kernels are functions that it calls."""

    builder: Any
    begin: Any
    turn: Sequence[Any]
    end: Any
    threads: int = 0
    parted: bool = False
    operands: dict[Any, tuple[Any, Any]] = field(default_factory=dict)
    values: dict[Any, Any] = field(default_factory=dict)
    scratch: list[Any] = field(default_factory=list)
    views: dict[Any, Any] = field(default_factory=dict)
    """The buffers that are slices, with what they are slices of."""
    placed: dict[Any, Any] = field(default_factory=dict)
    """The results of kernels that stand in a stack."""
    own: dict[Any, Any] = field(default_factory=dict)
    """The kernel's variables for those of the function around it."""

    def __post_init__(self) -> None:
        begun, ended = Mark.of(self.begin.value, BEGIN), Mark.of(self.end.value, END)
        assert begun is not None
        assert ended is not None
        self.mark, (sizes, *self.given) = begun
        self.gives = ended[1][:-1]
        self.count, self.start = self._sizes(sizes.values)

    def bindings(self) -> list[Any]:
        """What stands for the loop: a call of its kernel, its results together."""
        types, name = list(self.end.var.ty.fields), f"loop{self.mark.key}"
        outs = [self._buffer(f"out{i}", each) for i, each in enumerate(types)]
        body = self._loop(outs)
        buffers = [buffer for _, buffer in self.operands.values()]
        given = {size for each in (*buffers, *outs) for size in each.ty.shape if isinstance(size, tirx.Var)}
        extra = {theirs: mine for theirs, mine in self.own.items() if mine not in given}
        root = s_tir.SBlock([], [], [], "root", body, None, self.scratch)
        sums = sums_of([axis for each in self.scratch for axis in each.ty.shape])
        parameters = [*buffers, *extra.values(), *(own for _, own in sums), *outs]
        function = with_sums(tirx.PrimFunc(parameters, s_tir.SBlockRealize([], True, root)), sums)
        attributes = {"op_pattern": OPAQUE, "tirx.noalias": True, "s_tir": True, "tirx.is_scheduled": True}
        attributes |= {WHOLE: True} if self.parted else {}
        kernel = self.builder.add_func(s_tir.renew_defs(function.with_attrs(attributes)), name)
        operands = [value for value, _ in self.operands.values()]
        theirs = {mine: theirs for theirs, mine in self.own.items()}
        sizes = [*extra, *(substituted(each, theirs) for each, _ in sums)]
        called = self.builder.normalize(relax.call_tir(kernel, [*operands, *sizes], types))
        if len(types) > 1:
            return [relax.VarBinding(self.end.var, called)]
        only = relax.DataflowVar(name, types[0])
        whole = self.builder.normalize(relax.Tuple([only]))
        return [relax.VarBinding(only, called), relax.VarBinding(self.end.var, whole)]

    # --- values

    def _sizes(self, sizes: Any) -> list[Any]:
        for variable in (each for size in sizes for each in variables(size)):
            self.own.setdefault(variable, tirx.Var(variable.name, "int64"))
        return [substituted(size, self.own) for size in sizes]

    def _buffer(self, name: str, type: Any) -> Any:
        return tirx.decl_buffer(self._sizes(type.shape), str(type.dtype), name=name, layout=None)

    def _temporary(self, name: str, type: Any) -> Any:
        self.scratch.append(self._buffer(name, type))
        return self.scratch[-1]

    def _value(self, expr: Any) -> Any:
        """What stands for a value; for one from outside, a parameter of the kernel."""
        match expr:
            case relax.Var() if expr in self.values:
                return self.values[expr]
            case relax.TupleGetItem() if expr.tuple_value in self.values:
                return self.values[expr.tuple_value][expr.index]
            case relax.Tuple():
                return [self._value(each) for each in expr.fields]
            case relax.TupleGetItem():
                return self._operand((expr.tuple_value, expr.index), expr)
            case relax.Var() | Constant():
                return self._operand(expr, expr)
        raise NotSaid(f"TVM makes no kernel of a part of it: {getattr(expr, 'op', expr)}")

    def _operand(self, key: Any, expr: Any) -> Any:
        if key not in self.operands:
            self.operands[key] = expr, self._buffer(f"x{len(self.operands)}", expr.ty)
        return self.operands[key][1]

    # --- the loop

    def _loop(self, outs: Sequence[Any]) -> Any:
        """First what is carried as it is at the start, then the turns."""
        carried = self.mark.carried
        firsts = zip((self._value(each) for each in self.given[:carried]), outs[:carried], strict=True)
        before = [self._copy(first, state) for first, state in firsts]
        turns = loop(self.count, lambda turn: self._block(outs, turn))
        return tirx.stmt_seq(*before, turns)

    def _block(self, outs: Sequence[Any], turn: Any) -> Any:
        statements = self._turn(outs, turn)
        return _opaque("turn", statements, list(self.views.values()))

    def _turn(self, outs: Sequence[Any], turn: Any) -> list[Any]:
        carried = self.mark.carried
        at = self.count - 1 - turn if self.mark.backwards else turn
        statements = self._enter(outs[:carried], at)
        self._stand_in_stacks(outs[carried:], at)
        for binding in self.turn:
            statements += self._bound(binding)
        results = [self._value(each) for each in self.gives]
        for item, stack, axis in zip(results[carried:], outs[carried:], self.mark.stacked, strict=True):
            if item not in self.views or not self.views[item].source.source.same_as(stack):
                statements.append(self._copy(item, stack, into=(axis, at)))
        return [*statements, *self._hand_on(results[:carried], outs[:carried])]

    def _enter(self, states: Sequence[Any], at: Any) -> list[Any]:
        """Let the results of the first mark stand for what a turn is given: the index, states, slices, what is captured."""
        mark, types = self.mark, list(self.begin.var.ty.fields)
        statements, values = [], []
        if mark.index:
            values.append(self._temporary("index", types[0]))
            statements.append(
                self._each((), lambda _: tirx.BufferStore(values[0], self.start + at * mark.step, []))
            )
        values += states
        sequences = self.given[mark.carried : mark.carried + len(mark.sequences)]
        for sequence, axis in zip(sequences, mark.sequences, strict=True):
            whole, type = self._value(sequence), types[len(values)]
            view = self._view(whole, axis, at, type)
            values.append(view if view is not None else self._temporary("slice", type))
            if view is None:
                statements.append(self._copy(whole, values[-1], out_of=(axis, at)))
        captured = self.given[mark.carried + len(sequences) :][: len(types) - len(values)]
        self.values[self.begin.var] = [*values, *(self._value(each) for each in captured)]
        return statements

    def _stand_in_stacks(self, stacks: Sequence[Any], at: Any) -> None:
        """Let the results of kernels that are stacked stand where they belong in the stacks."""
        kernels = {binding.var for binding in self.turn if _is_kernel(binding.value)}
        items = zip(self.gives[self.mark.carried :], stacks, self.mark.stacked, strict=True)
        for item, stack, axis in items:
            if item in kernels and item not in self.placed:
                view = self._view(stack, axis, at, item.ty)
                if view is not None:
                    self.placed[item] = view

    def _view(self, whole: Any, axis: int, at: Any, type: Any) -> Any:
        """The slice of a tensor as a buffer in its place; None where it is not in one piece, or perhaps not aligned as kernels take for granted."""
        if axis or self.threads:
            return None
        shape = self._sizes(type.shape)
        size = product(shape)
        known = Analyzer().modular_set(size * (DataType(str(type.dtype)).bits // 8))
        if int(known.base) % ALIGNED or int(known.coeff) % ALIGNED:
            return None
        offset = tirx.Var("offset", "int64")
        view = tirx.decl_buffer(
            shape, str(type.dtype), name="slice", elem_offset=offset, offset_factor=1, layout=None
        )
        one = Range.from_min_extent(at, integer(1))
        region = tirx.BufferRegion(whole, [one, *(Range.from_min_extent(integer(0), each) for each in shape)])
        self.views[view] = s_tir.MatchBufferRegion(view, region)
        return view

    def _hand_on(self, nexts: Sequence[Any], states: Sequence[Any]) -> list[Any]:
        """What is carried gets its new value; one that is another's old value is kept aside first."""
        aside, copies = [], []
        for value, state in zip(nexts, states, strict=True):
            if value.same_as(state):
                continue
            if any(value.same_as(each) for each in states):
                kept = tirx.decl_buffer(value.ty.shape, value.ty.dtype, name="kept", layout=None)
                self.scratch.append(kept)
                aside.append(self._copy(value, kept))
                value = kept
            copies.append(self._copy(value, state))
        return [*aside, *copies]

    # --- kernels

    def _bound(self, binding: Any) -> list[Any]:
        """A binding as statements; what it binds is noted."""
        value = binding.value
        if _is_kernel(value):
            return [self._kernel(binding.var, value)]
        # Else it gives another shape, which is the same, or a name to a value.
        self.values[binding.var] = self._value(value.value if isinstance(binding, relax.MatchCast) else value)
        return []

    def _kernel(self, var: Any, call: Any) -> Any:
        """The statements of a kernel, on the buffers of this one."""
        (result,) = call.ty_args
        several = isinstance(result, relax.TupleType)
        if var in self.placed:
            results = [self.placed[var]]
        else:
            types = result.fields if several else [result]
            results = [self._temporary(str(var.name), each) for each in types]
        self.values[var] = results if several else results[0]
        arguments = [*(self._argument(each) for each in call.args[1]), *results]
        kernel = s_tir.renew_defs(self.builder.get()[call.args[0]])
        table: dict[Any, Any] = dict(zip(kernel.params, arguments, strict=True))
        for parameter, argument in list(table.items()):
            if tirx.is_buffer_var(parameter):
                sizes = zip(parameter.ty.shape, argument.ty.shape, strict=True)
                table.update((mine, theirs) for mine, theirs in sizes if isinstance(mine, tirx.Var))
        if self.parted and _is_launched(kernel.body):
            return self._call(f"{call.args[0].name_hint}_part", kernel, table)
        return _apart(_with(kernel.body, table))

    def _call(self, name: str, kernel: Any, table: Mapping[Any, Any]) -> Any:
        """The call of a kernel that is a function of its own: it takes pointers, and the sizes that the kernel reads off its buffers."""
        buffers = {each: _pointer(each) for each in table if tirx.is_buffer_var(each)}
        declared = [tirx.DeclBuffer(each, data=pointer) for each, pointer in buffers.items()]
        body = tirx.stmt_seq(*declared, kernel.body, tirx.Return(tirx.IntImm("int32", 0)))
        attributes = {"tirx.noalias": True, "s_tir": True, "tirx.is_scheduled": True, PART: True}
        function = tirx.PrimFunc([buffers.get(each, each) for each in table], body, PrimType("int32"))
        callee = self.builder.add_func(function.with_attrs(attributes), name)
        given = [self._pointer_to(theirs) if mine in buffers else theirs for mine, theirs in table.items()]
        return tirx.Evaluate(Call(callee, given, ret_ty=PrimType("int32")))

    def _pointer_to(self, buffer: Any) -> Any:
        if buffer not in self.views:
            return buffer.data
        first = tirx.BufferLoad(buffer, [integer(0)] * len(buffer.ty.shape))
        return tirx.address_of(first)

    def _argument(self, expr: Any) -> Any:
        """An operand of a kernel: a tensor, or a size."""
        return self._value(expr) if isinstance(expr.ty, relax.TensorType) else self._sizes([expr])[0]

    # --- copies

    def _copy(self, source: Any, target: Any, *, out_of: Any = None, into: Any = None) -> Any:
        """Element by element. `(axis, position)` says where in a longer buffer the part lies that is read, or written."""

        def store(index: list[Any]) -> Any:
            return tirx.BufferStore(
                target, tirx.BufferLoad(source, _within(index, out_of)), _within(index, into)
            )

        return self._each(list((source if out_of is None else target).ty.shape), store)

    def _each(self, shape: Sequence[Any], body: Any) -> Any:
        """`body` at every index: in loops, or a thread for each."""
        if not self.threads:
            return loops(list(shape), body)
        total = product(shape)
        block, thread = tirx.Var("block", "int64"), tirx.Var("thread", "int64")
        index = block * self.threads + thread
        inside = tirx.IfThenElse(index < total, body(decoded(index, shape)), None)
        across = _bound_loop(thread, self.threads, "threadIdx.x", inside)
        return _bound_loop(block, ceil(total, self.threads), "blockIdx.x", across)


def _within(index: list[Any], place: tuple[int, Any] | None) -> list[Any]:
    if place is None:
        return index
    axis, position = place
    return [*index[:axis], position, *index[axis:]]


def _bound_loop(variable: Any, extent: Any, tag: str, body: Any) -> Any:
    binding = tirx.IterVar(None, tirx.Var(tag, "int64"), tirx.IterVar.ThreadIndex, tag)
    return tirx.For(variable, integer(0), integer(extent), tirx.ForKind.THREAD_BINDING, body, binding)


def _opaque(name: str, statements: Sequence[Any], views: Sequence[Any] = ()) -> Any:
    """A block of which TVM need not find out what it reads and writes, with views of parts of buffers."""
    block = s_tir.SBlock([], [], [], name, tirx.stmt_seq(*statements), match_buffers=list(views))
    return s_tir.SBlockRealize([], True, block)


def _apart(body: Any) -> Any:
    """A kernel whose result TVM does not write over an operand that is read for the last time: tiles overlap at the end of an axis, and
    the second one would read what the first has written. (TVM looks at indices alone, and not into what is marked so.)"""
    return tirx.AttrStmt(integer(0), "extern_scope", integer(0), body)


def _is_kernel(value: Any) -> bool:
    return getattr(getattr(value, "op", None), "name", "") == "relax.call_tir"


def _is_launched(body: Any) -> bool:
    """Whether all that a kernel does is done by threads. LLVM takes accesses of two buffers for accesses of two memories, and what is a part
    has buffers of its own: put into the loop's function, what it writes there would not be seen. What threads do is never put there. (Loops
    of one turn become none.)"""
    if isinstance(body, tirx.SeqStmt):
        return all(map(_is_launched, body.seq))
    if isinstance(body, s_tir.SBlockRealize):
        block = body.block
        return not block.iter_vars and block.init is None and _is_launched(block.body)
    if not isinstance(body, tirx.For) or body.kind != tirx.ForKind.PARALLEL:
        return False
    return not isinstance(body.extent, tirx.IntImm) or int(body.extent) > 1


def _pointer(buffer: Any) -> Any:
    return tirx.Var(buffer.name, PointerType(PrimType(str(buffer.ty.dtype)), "global"))


def _with(body: Any, table: Mapping[Any, Any]) -> Any:
    return tvm_ffi.structural_map(
        body, (tirx.Var, lambda variable: table.get(variable, variable)), order="post"
    )
