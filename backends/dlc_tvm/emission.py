"""What a row works with: the builder of the Relax function, its sizes, and kernels written as tensor expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tvm_ffi
from tvm import relax, te, tirx
from tvm.ir import Constant
from tvm.relax import op as R
from tvm.relax.expr import te_tensor
from tvm.sym import Analyzer

from dlc_tvm.sizes import Sizes

Row = Callable[..., Any]

# Dtypes that are computed in f32 and rounded once, as the reference does.
NARROW = ("float16", "bfloat16")


@dataclass
class Emission:
    """The function being built, and of the operation at hand: the name, shape and dtype of its (first) result, and its
    parameters if it is a layer."""

    builder: Any
    sizes: Sizes
    name: str = ""
    shape: list[Any] = field(default_factory=list)
    dtype: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    input: Any = None
    """Some input of the function, for kernels that must not be taken for constants."""

    def emit(self, value: Any, name: str = "") -> Any:
        """A variable for a value."""
        return value if isinstance(value, relax.Var | Constant) else self.builder.emit(value, name)

    def const(self, value: Any, dtype: str = "") -> Any:
        return relax.const(value, dtype or self.dtype)

    def cast(self, x: Any, dtype: str) -> Any:
        return x if str(x.ty.dtype) == dtype else self.emit(R.astype(x, dtype))

    def wide(self, x: Any) -> Any:
        """The operand in f32 if its own dtype is a narrow float."""
        return self.cast(x, "float32") if str(x.ty.dtype) in NARROW else x

    def broadcast(self, x: Any) -> Any:
        """The operand in the shape of the result."""
        if all_equal(list(x.ty.shape), self.shape):
            return x
        return self.emit(R.broadcast_to(x, relax.ShapeExpr(self.shape)))

    def shaped(self, x: Any, shape: list[Any]) -> Any:
        """A value whose shape is known to be this one."""
        if all_equal(list(x.ty.shape), shape):
            return x
        return self.builder.match_cast(x, relax.TensorType(shape, x.ty.dtype))

    def filled(self, value: float, dtype: str = "") -> Any:
        """One value in the shape of the result."""
        dtype = dtype or self.dtype
        if not self.shape:
            return self.const(value, dtype)

        def compute(shape: Any) -> te.Tensor:
            return te.compute(shape, lambda *_: tirx.const(value, dtype), name="full")

        return self.kernel("full", compute, sizes=(self.shape,))

    def empty(self) -> Any:
        """A result without elements. It seems to depend on an input: TVM can't store such constants."""
        if self.input is None:
            return self.filled(0)

        def compute(_: te.Tensor, shape: Any) -> te.Tensor:
            return te.compute(shape, lambda *_: tirx.const(0, self.dtype), name="empty")

        return self.kernel("empty", compute, self.input, sizes=(self.shape,))

    def kernel(
        self,
        name: str,
        compute: Callable[..., te.Tensor],
        *operands: Any,
        sizes: Sequence[Any] = (),
        attributes: Mapping[str, Any] | None = None,
    ) -> Any:
        """The result of a kernel: `compute` gets a tensor per operand, then `sizes` (sizes, or lists of them), all in
        variables of the kernel's own.

        Unlike `BlockBuilder.emit_te` it orders the sizes that no shape gives by their first use: the text is the same
        every time."""
        operands = tuple(self.emit(x) for x in operands)
        own: dict[Any, Any] = {}
        for size in _flat([*(x.ty.shape for x in operands), *sizes]):
            for variable in variables(size):
                own.setdefault(variable, tirx.Var(variable.name, "int64"))
        tensors = [te_tensor(x, own, _name(x, i)) for i, x in enumerate(operands)]
        result = compute(*tensors, *(substituted(size, own) for size in sizes))
        given = {size for tensor in (*tensors, result) for size in tensor.shape if isinstance(size, tirx.Var)}
        extra = [variable for variable in own.values() if variable not in given]
        function = te.create_prim_func([*tensors, *extra, result], "int64").without_attr("global_symbol")
        function = function.with_attrs(dict(attributes)) if attributes else function
        theirs = {mine: variable for variable, mine in own.items()}
        type = relax.TensorType(substituted(list(result.shape), theirs), result.dtype)
        arguments = [*operands, *(theirs[variable] for variable in extra)]
        return relax.call_tir(self.builder.add_func(function, name), arguments, type)


def _name(operand: Any, i: int) -> str:
    return str(operand.name) if isinstance(operand, relax.Var) else f"x{i}"


def _flat(sizes: Iterable[Any]) -> Iterable[Any]:
    for size in sizes:
        if isinstance(size, int):
            continue
        if isinstance(size, relax.ShapeExpr | list | tuple):
            yield from _flat(size)
        else:
            yield size


def variables(size: Any) -> list[Any]:
    """The variables in a size, in their order."""
    found: dict[Any, None] = {}
    tvm_ffi.structural_walk(size, (tirx.Var, lambda variable: found.setdefault(variable)))
    return list(found)


def substituted(size: Any, table: Mapping[Any, Any]) -> Any:
    """A size, or a list of them, with what stands in the table for its variables."""
    if isinstance(size, int):
        return tirx.const(size, "int64")
    if isinstance(size, list | tuple):
        return [substituted(each, table) for each in size]
    return tvm_ffi.structural_map(
        size, (tirx.Var, lambda variable: table.get(variable, variable)), order="post"
    )


def equal(a: Any, b: Any) -> bool:
    """Whether two sizes are provably equal."""
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    return bool(Analyzer().can_prove_equal(a, b))


def all_equal(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Whether two shapes are provably equal."""
    return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))


def constant(size: Any) -> int | None:
    """A size as a number, None if it is symbolic."""
    return int(size) if isinstance(size, int | tirx.IntImm) else None
