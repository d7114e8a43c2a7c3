"""What a library asks of its inputs, as a function that `main` calls first.

    check(tokens: [B, T], T):
        assert T <= 64, "T <= 64 must hold"
        for i < B, j < T: assert 0 <= tokens[i, j] < 256, "tokens must be from 0 to 255"

Ranks, dtypes and sizes that must agree are checked by TVM itself. It can't know the spec's facts, nor which axes integers are places
of: beyond those, kernels would make finite numbers of whatever memory holds there, or write there. Whoever calls the library, in
whatever language, gets a ValueError instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tvm import IRModule, relax, tirx
from tvm.ir import StringImm
from tvm.ir.transform import Pass, module_pass

from dlc.emit.sizes import Source, readable
from dlc.ir.nodes import Function, Value
from dlc.types.dim_solve import slope_and_rest
from dlc.types.dims import Atom, Dim
from dlc.types.facts import Relation, all_facts
from dlc_tvm.names import TVM
from dlc_tvm.schedule.loops import loops
from dlc_tvm.sizes import Sizes

COMPARISONS = {"==": tirx.EQ, "!=": tirx.NE, "<": tirx.LT, "<=": tirx.LE, ">": tirx.GT, ">=": tirx.GE}
NOTHING = relax.TupleType([])


@dataclass(frozen=True)
class Guard:
    """What the entry asks for: its facts, and by the names of integer inputs, how many places the axis has that they index."""

    entry: Function
    limits: Mapping[str, Dim]

    def before(self, *, reads: bool) -> Pass:
        """The pass that has `main` call its checks, in a module whose kernels are called by name already. Without `reads` these
        are of sizes alone: the host can't read a GPU's memory."""

        def run(mod: IRModule, _: Any) -> IRModule:
            return self._guarded(mod, self.limits if reads else {})

        return module_pass(run, opt_level=0, name="dlc.Guard")

    def _guarded(self, mod: IRModule, limits: Mapping[str, Dim]) -> IRModule:
        read = {each.name: _tensor(each) for each in self.entry.inputs if each.name in limits}
        checks = [*self._facts(), *(self._within(tensor, limits[name]) for name, tensor in read.items())]
        if not checks:
            return mod
        builder = relax.BlockBuilder(mod)
        check = tirx.PrimFunc([*read.values(), *self._axes.values()], tirx.stmt_seq(*checks))
        name = builder.add_func(check.with_attrs({"tirx.noalias": True, "tirx.is_host_func": True}), "check")
        main, entry = mod.get_global_var("main"), mod["main"]
        given = dict(zip(self.entry.input_names, entry.params, strict=False))
        called = relax.Call(
            name, [*(given[each] for each in read), *self._sizes_of(entry.params)], None, [NOTHING]
        )
        first = relax.BindingBlock([relax.VarBinding(relax.Var("checked", NOTHING), called)])
        body = relax.SeqExpr([first, *entry.body.blocks], entry.body.body)
        builder.update_func(
            main, relax.Function(entry.params, body, entry.ret_ty, entry.is_pure, entry.attrs)
        )
        return builder.get()

    # --- sizes

    @cached_property
    def _sources(self) -> Mapping[str, Source]:
        return readable(self.entry)

    @cached_property
    def _asked(self) -> tuple[Relation, ...]:
        return all_facts(self.entry.facts, self.entry.dims)

    @cached_property
    def _axes(self) -> dict[str, Any]:
        """For each dim of the facts and limits, the axis of an input that it is read from, or the size itself, where that is an input."""
        wanted = {name for fact in self._asked for name in fact.symbols}
        wanted |= {name for room in self.limits.values() for name in room.symbols}
        return {
            name: tirx.Var(name, "int64")
            for name in self.entry.dims
            if name in wanted and (name in self._sources or name in self.entry.given_sizes)
        }

    def _sizes_of(self, parameters: Any) -> Iterator[Any]:
        """What stands for `_axes` in `main`."""
        given = dict(zip(self.entry.given_sizes, parameters[len(self.entry.inputs) :], strict=False))
        for name in self._axes:
            if name in given:
                yield given[name].ty.values[0]
            else:
                source = self._sources[name]
                yield parameters[source.input].ty.shape[source.axis]

    def _solved(self, name: str) -> Any:
        """A dim, from its axis."""
        if name in self.entry.given_sizes:
            return self._axes[name]
        factor, rest = slope_and_rest(self._sources[name].size, name)
        return tirx.floordiv(self._axes[name] - rest, tirx.const(factor, "int64"))

    @cached_property
    def _sizes(self) -> Sizes:
        return Sizes(self.entry, _symbols={name: self._solved(name) for name in self._axes})

    def _facts(self) -> Iterator[Any]:
        sizes = self._sizes
        for fact in self._asked:
            if fact.symbols and fact.symbols <= self._axes.keys():
                for divisor in (*_divisors(fact.left), *_divisors(fact.right)):
                    yield _asserted(sizes.one(divisor) != 0, f"{divisor} != 0 must hold")
                yield _asserted(_compared(sizes, fact), f"{fact} must hold")

    def _within(self, tensor: Any, room: Dim) -> Any:
        message = f"{tensor.name} must be from 0 to {room - 1}: it indexes {'an axis' if room.symbols else 'a table'}"
        limit = self._sizes.one(room)

        def body(index: list[Any]) -> Any:
            element = tirx.BufferLoad(tensor, index).astype("int64")
            return _asserted(tirx.all(element >= 0, element < limit), message)

        return loops(list(tensor.ty.shape), body)


def _divisors(size: Dim) -> Iterator[Dim]:
    """The sizes that something is divided by in one: where they are 0, a processor would end the process."""
    for atom in size.atoms():
        if isinstance(atom, Atom):
            for each in atom.args:
                yield from _divisors(each)
            if atom.op in ("//", "%") and atom.args[1].constant is None:
                yield atom.args[1]


def _compared(sizes: Sizes, fact: Relation) -> Any:
    left, right = (
        tirx.const(each, "int64") if isinstance(each, int) else each
        for each in (sizes.one(fact.left), sizes.one(fact.right))
    )
    return COMPARISONS[fact.op](left, right)


# --- values


def _tensor(value: Value) -> Any:
    """A parameter of the check for an input: of any sizes, which TVM has seen to."""
    shape = [tirx.Var(f"n{i}", "int64") for i in range(value.type.rank)]
    return tirx.decl_buffer(shape, TVM[value.type.dtype], name=value.name, layout=None)


def _asserted(condition: Any, message: str) -> Any:
    # TVM's constructor names its first two arguments the other way round.
    return tirx.AssertStmt(condition, StringImm("ValueError"), [StringImm(message)])
