"""Sizes that are quotients of others become sizes of a kernel's own, and kernels that are then equal become one.

    kernel(x: [B, (H - 1) // 8 + 1], y: [B, (H - 1) // 8 + 1], H)      =>      kernel(x: [B, n], y: [B, n])
        for i < B * ((H - 1) // 8 + 1): …                                         for i < B * n: …

A kernel need not know where its sizes come from. TVM can prove little about quotients: it would guard each element of a tile
by what it could not prove, give up vectors for that, and take five times as long over it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tvm_ffi
from tvm import IRModule, relax, tirx
from tvm.sym import Analyzer

from dlc_tvm.emission import equal
from dlc_tvm.layout import relax_functions
from dlc_tvm.schedule.loops import product

QUOTIENTS = (tirx.FloorDiv, tirx.FloorMod, tirx.Min, tirx.Max)
SUMS = (tirx.Add, tirx.Sub)
ARITHMETIC = (*SUMS, tirx.Mul, *QUOTIENTS)


def own_sizes(mod: IRModule) -> IRModule:
    """The module with the kernels that `relax.call_tir` calls in sizes of their own."""
    builder = relax.BlockBuilder()  # gives equal functions one name
    kernels = {
        var: _Kernel.of(builder, var, function)
        for var, function in mod.functions_items()
        if isinstance(function, tirx.PrimFunc)
    }
    callers = {var: _Calls(mod, kernels).visit_expr(function) for var, function in relax_functions(mod)}
    functions = dict(builder.get().functions_items())
    return IRModule({**functions, **callers}, attrs=mod.attrs, global_infos=mod.global_infos)


@dataclass
class _Kernel:
    """A kernel in sizes of its own, and the positions of the parameters that it keeps."""

    var: Any
    keeps: list[int]

    @staticmethod
    def of(builder: Any, var: Any, function: Any) -> _Kernel:
        renamed, keeps = with_own_sizes(function)
        return _Kernel(builder.add_func(renamed, var.name_hint), keeps)


def with_own_sizes(kernel: Any) -> tuple[Any, list[int]]:
    """The kernel in sizes of its own, and the positions of the parameters that it keeps, in its order."""
    own = _own(kernel.params)
    renamed = tvm_ffi.structural_map(kernel, (ARITHMETIC, _Renaming(own)), order="pre") if own else kernel
    keeps = _in_order_of_use(renamed)
    if keeps == list(range(len(kernel.params))):
        return renamed, keeps
    params = [renamed.params[i] for i in keeps]
    return tirx.PrimFunc(params, renamed.body, renamed.ret_type, renamed.attrs), keeps


def _in_order_of_use(kernel: Any) -> list[int]:
    """The positions of the parameters that a kernel needs, sizes among them in the order of their first use: TVM hands them over in
    that of their addresses, and kernels that differ in it only would be two."""
    shapes = [size for parameter in kernel.params for axis in _shape(parameter) for size in _variables(axis)]
    rank = {variable: i for i, variable in enumerate(dict.fromkeys([*shapes, *_variables(kernel.body)]))}
    buffers = [tirx.is_buffer_var(parameter) for parameter in kernel.params]
    sizes = [i for i, parameter in enumerate(kernel.params) if not buffers[i] and parameter in rank]
    sizes.sort(key=lambda i: rank[kernel.params[i]])
    first = next((i for i, is_buffer in enumerate(buffers) if not is_buffer), len(buffers))
    inputs, results = (
        [i for i in range(first) if buffers[i]],
        [i for i in range(first, len(buffers)) if buffers[i]],
    )
    return [*inputs, *sizes, *results]


def sums_of(sizes: Iterable[Any]) -> list[tuple[Any, Any]]:
    """A variable for every size that is a sum of others, and no multiple of such a one. Of what is kept from one kernel to the next TVM
    asks how much of it is read, and loses its way where a position is divided by a sum: it makes the memory as large as says the
    index of a loop further inside."""
    found: list[tuple[Any, Any]] = []
    for size in sorted(sizes, key=lambda size: len(list(_nodes(size)))):
        if isinstance(size, SUMS) and not _has_quotient(size) and _standing_for(size, found) is None:
            found.append((size, tirx.Var(f"n{len(found)}", "int64")))
    return found


def with_sums(function: Any, sums: Sequence[tuple[Any, Any]]) -> Any:
    """A kernel with a variable in place of every such sum, however it is ordered."""
    if not sums:
        return function

    def change(part: Any) -> Any:
        variable = _standing_for(part, sums)
        return part if variable is None else variable

    return tvm_ffi.structural_map(function, (SUMS, change), order="pre")


def _standing_for(size: Any, sums: Sequence[tuple[Any, Any]]) -> Any:
    """The variable of the sum that a size is, if it is one; times the rest, if it is a multiple of one."""
    same = next((variable for total, variable in sums if equal(total, size)), None)
    if same is not None:
        return same
    return next((variable * rest for total, variable in sums for rest in _shares(size, total)), None)


def _shares(size: Any, total: Any) -> Iterator[Any]:
    """What a sum is to be multiplied with to give a size, a product: of `B*E*R + B*S*R` and `S + E` it is B*R. (Products in another
    order are not equal to TVM.)"""
    terms, wanted = [_factors(term) for term in _terms(size)], [_factors(term) for term in _terms(total)]
    if len(terms) != len(wanted):
        return
    for share in (term - wanted[0] for term in terms if wanted[0] <= term):
        if Counter(_frozen(each + share) for each in wanted) == Counter(map(_frozen, terms)):
            yield product(list(share.elements()))


def _terms(size: Any) -> list[Any]:
    return [*_terms(size.a), *_terms(size.b)] if isinstance(size, tirx.Add) else [size]


def _factors(term: Any) -> Counter[Any]:
    """The factors of a product, each with its power."""
    if isinstance(term, tirx.Mul):
        return _factors(term.a) + _factors(term.b)
    return Counter([int(term) if isinstance(term, tirx.IntImm) else term])


def _frozen(factors: Counter[Any]) -> frozenset[Any]:
    return frozenset(factors.items())


def _own(params: Any) -> dict[Any, Any]:
    """What stands for the terms of sizes with quotients: of `(H - 1) // 8 + 1`, the first axis of that size, less 1. The shortest
    come first: where `H // 8` is a size, `H // 8 * 32` is 32 of those."""
    found: dict[Any, Any] = {}
    sizes = [_simplified(_canonical(axis)) for parameter in params for axis in _shape(parameter)]
    for size in sorted(sizes, key=lambda size: len(list(_nodes(size)))):
        term, rest = _parts(size)
        if _has_quotient(_Renaming(found)(term)):
            variable = tirx.Var(f"n{len(found)}", "int64")
            found[tvm_ffi.StructuralKey(term)] = variable - rest
    return found


def _parts(size: Any) -> tuple[Any, int]:
    """`q + 1` as q and 1."""
    if isinstance(size, tirx.Add) and isinstance(size.b, tirx.IntImm):
        return size.a, int(size.b)
    if isinstance(size, tirx.Sub) and isinstance(size.b, tirx.IntImm):
        return size.a, -int(size.b)
    return size, 0


def _canonical(size: Any) -> Any:
    """A size with one form for each quotient: `(H - 1) // 2 + 1` is `(H + 1) // 2`, which TVM leaves as both are written, so that
    the two sides of a reshape would be sizes that have nothing to do with each other."""
    return tvm_ffi.structural_map(size, (tirx.FloorDiv, _quotient), order="post")


def _quotient(part: Any) -> Any:
    base, rest = _parts(part.a)
    if not isinstance(part.b, tirx.IntImm) or int(part.b) <= 0 or 0 <= rest < int(part.b):
        return part
    whole, left = divmod(rest, int(part.b))
    return tirx.floordiv(base + left if left else base, part.b) + whole


@dataclass
class _Renaming:
    """Of a size, however it is written: the same with the terms in `own` replaced."""

    own: Mapping[Any, Any]

    def __call__(self, size: Any) -> Any:
        if not _has_quotient(size):
            return size
        whole = _canonical(size)
        renamed = self._renamed(whole)
        simple = _canonical(_simplified(renamed))
        again = self._renamed(simple)
        return size if renamed.same_as(whole) and again.same_as(simple) else _simplified(again)

    def _renamed(self, size: Any) -> Any:
        return tvm_ffi.structural_map(
            size, (ARITHMETIC, lambda part: self.own.get(tvm_ffi.StructuralKey(part), part)), order="pre"
        )


@relax.expr_functor.mutator
class _Calls(relax.PyExprMutator):  # type: ignore[misc]
    """Calls each kernel that is kept, with the operands that it keeps."""

    def __init__(self, mod: IRModule, kernels: Mapping[Any, _Kernel]) -> None:
        super().__init__(mod)
        self.kernels = kernels

    def visit_call_(self, call: Any) -> Any:
        if getattr(call.op, "name", "") != "relax.call_tir":
            return super().visit_call_(call)
        kernel, operands = self.kernels[call.args[0]], call.args[1]
        kept = relax.Tuple([operands[i] for i in kernel.keeps if i < len(operands)])
        (result,) = call.ty_args
        results = list(result.fields) if isinstance(result, relax.TupleType) else [result]
        return relax.call_tir(kernel.var, kept, results)


def _shape(parameter: Any) -> list[Any]:
    return list(parameter.ty.shape) if tirx.is_buffer_var(parameter) else []


def _simplified(size: Any) -> Any:
    return Analyzer().simplify(size)


def _has_quotient(size: Any) -> bool:
    return any(isinstance(part, QUOTIENTS) for part in _nodes(size))


def _nodes(expression: Any) -> Iterator[Any]:
    found: list[Any] = []
    tvm_ffi.structural_walk(expression, (tirx.Expr, found.append))
    yield from found


def _variables(expression: Any) -> list[Any]:
    return [node for node in _nodes(expression) if isinstance(node, tirx.Var)]
