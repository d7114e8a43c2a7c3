"""A product, a softmax and a product are attention, which backends have in one piece.

Before:

    fn softmax_1(%x: [B, T, U]) -> (y: %y)
        source softmax
        library
    {
        %top: [B, T, 1] = max(%x) {axis=[2], keepdims=true}
        %low: [B, T, U] = sub(%x, %top)
        %e: [B, T, U] = exp(%low)
        %total: [B, T, 1] = sum(%e) {axis=[2], keepdims=true}
        %y: [B, T, U] = div(%e, %total)
    }
    model Net(%q: [B, T, 8], %k: [B, U, 8], %v: [B, U, 8]) -> (y: %y) {
        %turned: [B, 8, U] = permute(%k) {axes=[0, 2, 1]}
        %products: [B, T, U] = matmul(%q, %turned)
        %scale: [] = const() {value=0.5}
        %scores: [B, T, U] = mul(%products, %scale)
        %shares: [B, T, U] = softmax(%scores) {axis=-1} -> softmax_1 [B=B, T=T, U=U]
        %y: [B, T, 8] = matmul(%shares, %v)
    }

After, with the function that the library makes of `attention` for these types, and without dead code:

    model Net(%q: [B, T, 8], %k: [B, U, 8], %v: [B, U, 8]) -> (y: %y) {
        %y: [B, T, 8] = attention(%q, %k, %v, _, _) {causal=false, window=none, scale=0.5, softcap=none}
            -> attention_1 [B=B, T=T, U=U]
    }
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product

from dlc.ir.builder import Builder
from dlc.ir.nodes import Attr, Function, Op, Program, Value
from dlc.passes.rewrite import Match, Rule, rewrite
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType

# A library composite for static arguments and types of its inputs (None where absent), as a program whose
# entry it is.
Instantiate = Callable[[str, Mapping[str, Attr], Sequence["TensorType | None"]], Program]

OPERANDS = ("q", "k", "v", "mask", "bias")

# The plain product comes last, since it matches where q is scaled too.
_PRODUCTS = (
    "mul(matmul(q, permute(k, axes=p)), factor)",
    "div(matmul(q, permute(k, axes=p)), divisor)",
    "matmul(mul(q, factor), permute(k, axes=p))",
    "matmul(div(q, divisor), permute(k, axes=p))",
    "matmul(q, permute(k, axes=p))",
)
_SCORES = ("{}", "where(mask, {}, low)", "add({}, bias)")
PATTERNS = tuple(
    f"matmul(softmax({scores.format(scaled)}), v)" for scores, scaled in product(_SCORES, _PRODUCTS)
)


@dataclass(frozen=True, slots=True)
class FusedAttention:
    """Needs library calls (before `decompose`) and the elaborator's library, or `instantiate` in its place;
    without either it does nothing."""

    instantiate: Instantiate | None = None
    name: str = "fused-attention"

    def run(self, program: Program) -> Program:
        instantiate = self.instantiate or _library()
        if instantiate is None:
            return program
        library = _Library(program, instantiate)
        rules = tuple(
            Rule(pattern, partial(_attention, library), _applies, single_use=True) for pattern in PATTERNS
        )
        functions = {
            name: each if each.library else rewrite(each, rules) for name, each in program.functions.items()
        }
        return program.with_functions({**library.added, **functions})


def _library() -> Instantiate | None:
    try:
        found: Instantiate = importlib.import_module("dlc.elaborate.library").instantiate
    except (ImportError, AttributeError):
        return None
    return found


@dataclass
class _Library:
    """Instances of library composites that a program has or is given."""

    program: Program
    instantiate: Instantiate
    added: dict[str, Function] = field(default_factory=dict)
    made: dict[object, Function] = field(default_factory=dict)

    def get(self, name: str, static: Mapping[str, Attr], types: Sequence[TensorType | None]) -> Function:
        key = (name, tuple(static.items()), tuple(types))
        if key not in self.made:
            self.made[key] = self._add(self.instantiate(name, static, types))
        return self.made[key]

    def _add(self, made: Program) -> Function:
        names: dict[str, str] = {}
        for old, function in made.functions.items():
            names[old] = self._place(replace(function, body=_calling(function.body, names)))
        return self.added[names[made.entry]]

    def _place(self, function: Function) -> str:
        """Add the function under its name, or the next one that is free."""
        number, base = 1, function.name
        while True:
            known = self.program.functions.get(function.name) or self.added.get(function.name)
            if known is None or known == function:
                self.added[function.name] = function
                return function.name
            number += 1
            function = replace(function, name=f"{base}_{number}")


def _calling(body: Sequence[Op], names: Mapping[str, str]) -> tuple[Op, ...]:
    """The ops with their callees renamed, those of regions too."""
    return tuple(
        replace(
            op,
            callee=names.get(op.callee, op.callee),
            region=op.region and replace(op.region, body=_calling(op.region.body, names)),
        )
        for op in body
    )


def _applies(match: Match) -> bool:
    """k is transposed, the softmax is over keys, the batch axes agree, a mask hides by -inf, the scale is a
    number."""
    q, k, v = (match.type(name) for name in "qkv")
    softmax = match.ops[1]
    last = q.rank - 1
    turned = (*range(last - 1), last, last - 1)
    return (
        q.axes[:-2] == k.axes[:-2] == v.axes[:-2]
        and match.ints("p") == turned
        and softmax.attr("axis", -1) in (-1, last)
        and ("low" not in match.values or match.number("low") == -math.inf)
        and _scale(match) is not None
    )


def _scale(match: Match) -> float | None:
    if "factor" in match.values:
        return match.number("factor")
    if "divisor" in match.values:
        divisor = match.number("divisor")
        return 1 / divisor if divisor else None
    return 1.0


def _attention(library: _Library, builder: Builder, match: Match) -> Value | None:
    static = {"causal": False, "window": None, "scale": _scale(match), "softcap": None}
    operands = [match.values.get(name) for name in OPERANDS]
    function = library.get("attention", static, [value.type if value else None for value in operands])
    dims = bind_dims(function, [value.type for value in operands if value], builder.facts)
    if dims is None:
        return None
    out = Value(builder.fresh("attention"), function.output_types[0].substitute(dims))
    inputs = tuple(value.name if value else "" for value in operands)
    attrs = tuple(static.items())
    op = Op(
        "attention", inputs, (out,), attrs, callee=function.name, dims=tuple(dims.items()), span=builder.span
    )
    builder.append(op)
    return out


def bind_dims(callee: Function, types: Sequence[TensorType], facts: Facts) -> dict[str, Dim] | None:
    """What a callee's dims are where its inputs have these types; None where they do not fit."""
    dims: dict[str, Dim] = {}
    for value, type in zip(callee.inputs, types, strict=True):
        for axis, size in zip(value.type.axes, type.axes, strict=True):
            for name in axis.symbols - dims.keys():
                linear = axis.substitute(dims).linear_in(name)
                if linear is not None and linear[0].constant:
                    dims[name] = facts.simplify((size - linear[1]) // linear[0])
    fits = all(
        value.type.substitute(dims) == type or _equal(value.type.substitute(dims), type, facts)
        for value, type in zip(callee.inputs, types, strict=True)
    )
    return {name: dims[name] for name in callee.dims} if fits and set(callee.dims) <= dims.keys() else None


def _equal(a: TensorType, b: TensorType, facts: Facts) -> bool:
    return a.dtype == b.dtype and all(facts.prove_eq(x, y) for x, y in zip(a.axes, b.axes, strict=True))
