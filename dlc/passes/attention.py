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
        %y: [B, T, 8] = attention(%q, %k, %v, _, _) {causal=false, window=none, scale=0.5, softcap=none, sighted=false}
            -> attention [B=B, T=T, U=U]
    }
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product

from dlc.ir.builder import Builder
from dlc.ir.nodes import Attr, Function, Op, Program, Value
from dlc.passes.base import Instantiate, no_library
from dlc.passes.rewrite import Condition, Match, Rule, rewrite
from dlc.records import dataclass, field, replace
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType

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
    f"matmul(softmax({scores.format(scaled)}, axis=over), v)"
    for scores, scaled in product(_SCORES, _PRODUCTS)
)


def _same_batches(match: Match) -> bool:
    q, k, v = (match.type(name).axes[:-2] for name in "qkv")
    return q == k == v


def _turned(match: Match) -> bool:
    last = match.type("q").rank - 1
    return match.ints("p") == (*range(last - 1), last, last - 1)


def _over_keys(match: Match) -> bool:
    return match["over"] in (-1, match.type("q").rank - 1)


def _hidden(match: Match) -> bool:
    return match.number("low") == -math.inf


def _scale(match: Match) -> float | None:
    if "factor" in match.values:
        return match.number("factor")
    if "divisor" in match.values:
        divisor = match.number("divisor")
        return 1 / divisor if divisor else None
    return 1.0


def _has_scale(match: Match) -> bool:
    return _scale(match) is not None


BATCHES = Condition("the batch axes agree", _same_batches, refused={"k": "float[1, 4, 5]"})
TURNED = Condition(
    "k is transposed",
    _turned,
    refused={
        **dict.fromkeys("qkv", "float[2, 2, 2]"),
        "mask": "bool[2, 2]",
        "bias": "float[2, 2]",
        "p": (0, 1, 2),
    },
)
OVER_KEYS = Condition("the softmax is over keys", _over_keys, refused={"over": 1})
HIDDEN = Condition("a mask hides by -inf", _hidden, refused={"low": 0.0})
SCALED = Condition("the scale is a number", _has_scale, refused={"factor": "float[]", "divisor": "float[]"})

_EXAMPLE: Mapping[str, Attr] = {
    "q": "float[2, 3, 5]",
    "k": "float[2, 4, 5]",
    "v": "float[2, 4, 6]",
    "mask": "bool[3, 4]",
    "bias": "float[3, 4]",
    "factor": 0.5,
    "divisor": 2.0,
    "low": -math.inf,
    "p": (0, 2, 1),
    "over": -1,
}


def _rule(pattern: str) -> Rule:
    """Its replacement is a call, for which the pass finds the callee."""
    when = (
        BATCHES,
        TURNED,
        OVER_KEYS,
        *([HIDDEN] if "low" in pattern else []),
        *([SCALED] if "factor" in pattern or "divisor" in pattern else []),
    )
    return Rule(pattern, "attention(q, k, v, mask, bias)", when, single_use=True, example=_EXAMPLE)


RULES = tuple(map(_rule, PATTERNS))


@dataclass(frozen=True, slots=True)
class FusedAttention:
    """Needs library calls (before `decompose`), and the library where it finds its pattern: it can't call what it has
    no function of (LookupError)."""

    instantiate: Instantiate = no_library
    rules: tuple[Rule, ...] = RULES
    name: str = "fused-attention"

    def run(self, program: Program) -> Program:
        library = _Library(program, self.instantiate)
        rules = [replace(rule, replacement=partial(_attention, library)) for rule in self.rules]
        functions = {
            name: each if each.library else rewrite(each, rules) for name, each in program.functions.items()
        }
        return program.with_functions({**library.added, **functions})


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


def _attention(library: _Library, builder: Builder, match: Match) -> Value | None:
    static = {
        "causal": False, "window": None, "scale": _scale(match), "softcap": None, "sighted": False,
    }  # fmt: skip
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
