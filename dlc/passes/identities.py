"""Operations that others undo or that do nothing go away. Only what is exact, for NaN, infinities and -0.0
too.

Before:

    model Net(%x: f32[B, 4, 8]) -> (y: %y) {
        %a: f32[B, 8, 4] = permute(%x) {axes=[0, 2, 1]}
        %b: f32[B, 4, 8] = permute(%a) {axes=[0, 2, 1]}
        %one: f32[] = const() {value=1.0}
        %c: f32[B, 4, 8] = mul(%b, %one)
        %y: f32[B, 4, 8] = neg(%c)
    }

After (the pass of dead code then takes what nothing reads):

    model Net(%x: f32[B, 4, 8]) -> (y: %y) {
        %a: f32[B, 8, 4] = permute(%x) {axes=[0, 2, 1]}
        %one: f32[] = const() {value=1.0}
        %y: f32[B, 4, 8] = neg(%x)
    }

Not here: `x + 0.0` (it makes -0.0 of a float 0.0), `x - x` (NaN for infinities), `mul(mul(x, a), b)` (two
roundings become one), `stop_gradient` (the derivative of what is emitted may still be asked for).
"""

from __future__ import annotations

from collections.abc import Callable

from dlc.ir.nodes import Attr, Program
from dlc.passes.base import each_function
from dlc.passes.rewrite import Condition, Match, Rule, rewrite
from dlc.records import dataclass
from dlc.types.dims import Dim
from dlc.types.tensor import INTS

# The dtypes that hold every value of the first one.
LOSSLESS = {
    "bool": ("u8", "i8", "i16", "i32", "i64", "f16", "bf16", "f32", "f64", "float"),
    "u8": ("i16", "i32", "i64", "f16", "bf16", "f32", "f64"),
    "i8": ("i16", "i32", "i64", "f16", "bf16", "f32", "f64"),
    "i16": ("i32", "i64", "f32", "f64"),
    "i32": ("i64", "f64"),
    "f16": ("f32", "f64"),
    "bf16": ("f32", "f64"),
    "f32": ("f64",),
    "f8e4m3": ("f16", "bf16", "f32", "f64"),
    "f8e5m2": ("f16", "bf16", "f32", "f64"),
}

BROADCASTING = ("add", "sub", "mul", "div", "pow", "minimum", "maximum", "eq", "ne", "lt", "le", "gt", "ge")


def _is_int(match: Match) -> bool:
    return match.type("x").dtype in INTS


def _widens(match: Match) -> bool:
    return match["a"] in LOSSLESS.get(match.type("x").dtype, ())


def _unit_steps(match: Match) -> bool:
    return all(step == 1 for step in match.ints("c"))


def _composed(match: Match) -> Attr:
    inner = match.ints("p")
    return tuple(inner[axis] for axis in match.ints("q"))


def _in_order(match: Match) -> bool:
    return match.ints("p") == tuple(range(match.type("x").rank))


def _shifted(name: str) -> Callable[[Match], Attr]:
    """Bounds of a slice of a slice, counted from the first one's origin."""
    return lambda match: tuple(a + b for a, b in zip(_dims(match["a"]), _dims(match[name]), strict=True))


def _dims(value: Attr) -> tuple[Dim, ...]:
    assert isinstance(value, tuple)
    return tuple(Dim.of(each) for each in value if isinstance(each, int | Dim))


def _without_broadcast(op: str) -> tuple[Rule, Rule]:
    example: dict[str, Attr] = {"x": "f32[2, 3]", "y": "f32[3]", "s": (2, 3)}
    return (
        Rule(f"{op}(x, broadcast(y, shape=s))", f"{op}(x, y)", example=example),
        Rule(f"{op}(broadcast(y, shape=s), x)", f"{op}(y, x)", example=example),
    )


# What is exact of ints only: -0.0 + 0 is 0.0, and 2.5 // 1 is 2.0.
INT = Condition("x is an int", _is_int, refused={"x": "f32[2, 3]"})
WIDENS = Condition("the first cast loses nothing", _widens, refused={"a": "f16", "b": "f32"})
IN_ORDER = Condition("the axes stay in order", _in_order, refused={"x": "f32[3, 3]", "p": (1, 0)})
FORWARD = Condition("the steps are 1", _unit_steps, refused={"c": (2,), "e": (4,), "f": (1,)})

_X = {"x": "f32[2, 3]"}
_XY = {"x": "f32[2, 3]", "y": "f32[2, 3]"}
_I = {"x": "i64[2, 3]"}
_B = {"x": "bool[2, 3]"}

RULES: tuple[Rule, ...] = (
    Rule("neg(neg(x))", "x", example=_X),
    Rule("sub(x, neg(y))", "add(x, y)", example=_XY),
    Rule("add(x, neg(y))", "sub(x, y)", example=_XY),
    Rule("mul(neg(x), neg(y))", "mul(x, y)", example=_XY),
    Rule("div(neg(x), neg(y))", "div(x, y)", example=_XY),
    Rule("abs(neg(x))", "abs(x)", example=_X),
    Rule("abs(abs(x))", "abs(x)", example=_X),
    Rule("add(x, 0)", "x", (INT,), example=_I),
    Rule("add(x, -0.0)", "x", example=_X),
    Rule("sub(x, 0)", "x", example=_X),
    Rule("mul(x, 1)", "x", example=_X),
    Rule("mul(x, -1)", "neg(x)", example=_X),
    Rule("div(x, 1)", "x", example=_X),
    Rule("floordiv(x, 1)", "x", (INT,), example=_I),
    Rule("pow(x, 1)", "x", example=_X),
    Rule("minimum(x, x)", "x", example=_X),
    Rule("maximum(x, x)", "x", example=_X),
    Rule("logical_not(logical_not(x))", "x", example=_B),
    Rule("logical_not(eq(x, y))", "ne(x, y)", example=_XY),
    Rule("logical_not(ne(x, y))", "eq(x, y)", example=_XY),
    Rule(
        "eq(cast(x, dtype=d), 1)", "x", example={**_B, "d": "i64"}
    ),  # (x is of bools, as what it stands for)
    Rule("ne(cast(x, dtype=d), 0)", "x", example={**_B, "d": "i64"}),
    Rule("logical_and(x, x)", "x", example=_B),
    Rule("logical_or(x, x)", "x", example=_B),
    Rule("where(c, x, x)", "x", example={"c": "bool[2, 3]", **_X}),
    Rule("where(logical_not(c), x, y)", "where(c, y, x)", example={"c": "bool[2, 3]", **_XY}),
    Rule("cast(x, dtype=d)", "x", example={**_X, "d": "f32"}),
    Rule(
        "cast(cast(x, dtype=a), dtype=b)",
        "cast(x, dtype=b)",
        (WIDENS,),
        example={**_X, "a": "f64", "b": "f16"},
    ),
    Rule("reshape(x, shape=s)", "x", example={**_X, "s": (2, 3)}),
    Rule(
        "reshape(reshape(x, shape=a), shape=b)", "reshape(x, shape=b)", example={**_X, "a": (6,), "b": (3, 2)}
    ),
    Rule("permute(x, axes=p)", "x", (IN_ORDER,), example={**_X, "p": (0, 1)}),
    Rule(
        "permute(permute(x, axes=p), axes=q)",
        "permute(x, axes=r)",
        let={"r": _composed},
        example={"x": "f32[2, 3, 4]", "p": (1, 2, 0), "q": (0, 2, 1)},
    ),
    Rule("broadcast(x, shape=s)", "x", example={**_X, "s": (2, 3)}),
    Rule(
        "broadcast(broadcast(x, shape=a), shape=b)",
        "broadcast(x, shape=b)",
        example={"x": "f32[1, 3]", "a": (2, 3), "b": (4, 2, 3)},
    ),
    Rule(
        "slice(x, start=a, stop=b, step=c)",
        "x",
        example={**_X, "a": (0, 0), "b": (2, 3), "c": (1, 1)},
    ),
    Rule(
        "slice(slice(x, start=a, stop=b, step=c), start=d, stop=e, step=f)",
        "slice(x, start=g, stop=h, step=f)",
        (FORWARD,),
        let={"g": _shifted("d"), "h": _shifted("e")},
        example={"x": "f32[8]", "a": (1,), "b": (8,), "c": (1,), "d": (1,), "e": (6,), "f": (2,)},
    ),
    Rule("pad(x, before=a, after=b, value=v)", "x", example={**_X, "a": (0, 0), "b": (0, 0), "v": 1.0}),
    Rule("flip(flip(x, axes=a), axes=a)", "x", example={**_X, "a": (1,)}),
    Rule("concat(x)", "x", example={**_X, "axis": 0}),
    # Elementwise ops broadcast by themselves.
    *(rule for op in BROADCASTING for rule in _without_broadcast(op)),
)


@dataclass(frozen=True, slots=True)
class Identities:
    """Needs nothing; leaves what its replacements no longer read to the pass of dead code."""

    rules: tuple[Rule, ...] = RULES
    name: str = "identities"

    def run(self, program: Program) -> Program:
        return each_function(program, lambda function: rewrite(function, self.rules))
