"""Which numbers of a class are arguments of its constructor, and what they are called.

The members of a class are its instantiations: the same but for numbers. Each number is a column with one
value per member. A number that differs between members becomes an argument: a static parameter of the spec's
module where the values coincide, a simple term of them (`4 * d`, `d // heads`), or else an argument named
after what it is (`in_features`). A number that is the same everywhere may still stand for a static parameter;
there it takes more than a coincidence of values to be believed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dlc.emit.names import identifier, unique
from dlc.emit.tree import Binary, Call, Expr, Num, Word, walk
from dlc.ir.nodes import Attr

Value = int | float


@dataclass(frozen=True, slots=True)
class Arg(Expr):
    """An argument of the constructor: `d` there, `self.d` in methods."""

    name: str


@dataclass(frozen=True, slots=True)
class Column:
    role: str
    values: tuple[Value, ...]

    @property
    def varies(self) -> bool:
        return len(set(self.values)) > 1


@dataclass
class Solution:
    """Expressions for the columns, and the arguments with their values by member."""

    found: list[Expr]
    arguments: dict[str, tuple[Value, ...]]

    def default(self, name: str) -> Value | None:
        """The value that an argument may be left out for: what PyTorch takes where nothing is said."""
        natural = NATURAL.get(name)
        return natural if natural in self.arguments.get(name, ()) else None


# What arguments of these names are where nothing is said.
NATURAL: Mapping[str, Value] = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}

# Roles that name a size of a layer, for which an equal static parameter is believed.
SIZES = frozenset(
    [
        "in_features",
        "out_features",
        "in_channels",
        "out_channels",
        "num_features",
        "num_embeddings",
        "embedding_dim",
        "dim",
        "channels",
        "size",
        "part",
        "count",
        "heads",
        "output_size",
    ]
)
# Roles whose numbers are mostly small and equal a static parameter by chance.
WEAK = frozenset(
    [
        "kernel_size",
        "stride",
        "padding",
        "output_padding",
        "dilation",
        "index",
        "eps",
        "value",
        "k",
        "slope",
        "step",
        "momentum",
        "correction",
        "low",
        "high",
        "min",
        "max",
        "scale",
    ]
)
# Static parameters that a role is believed to mean first, by name.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "count": ("layers", "depth", "n_layers", "num_layers", "blocks", "n", "steps"),
    "num_embeddings": ("vocab", "vocab_size", "context"),
    "embedding_dim": ("d", "dim", "d_model", "hidden"),
    "kernel_size": ("kernel", "kernel_size", "k", "patch", "patch_size"),
    "stride": ("stride", "patch", "patch_size"),
    "p": ("p", "dropout", "drop", "rate"),
    "part": ("heads", "kv_heads", "groups"),
    "dim": ("d", "dim"),
    "limit": ("context", "max_length", "max_len", "block_size", "length"),
}
# Numbers below are too common for an equal static parameter to mean anything, by how the number would be made
# of it.
LEAST_EQUAL, LEAST_FACTOR = 4, 16
COMMON = frozenset({-1.0, 0.0, 0.1, 0.5, 1.0, 2.0, 3.0, 4.0, 10.0, 1e-5, 1e-6, float("inf"), -float("inf")})
FACTORS = (2, 3, 4, 6, 8)


def solve(
    columns: Sequence[Column], statics: Sequence[Mapping[str, Attr]], spatial: Sequence[int] = ()
) -> Solution:
    """`statics` are the members' static arguments; `spatial` are sizes of images, which channels may equal by
    chance."""
    return _Solver(statics, frozenset(spatial)).run(columns)


RESERVED = frozenset({"self", "torch", "nn", "math", "F", "Tensor"})


def argument(name: str) -> str:
    """A name for an argument that hides nothing the constructor reads."""
    name = identifier(name)
    return f"{name}_" if name in RESERVED else name


@dataclass
class _Solver:
    members: Sequence[Mapping[str, Attr]]
    spatial: frozenset[int]
    known: dict[str, tuple[Value, ...]] = field(default_factory=dict)
    own: dict[str, tuple[Value, ...]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    mixed: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in self.members[0] if self.members else ():
            values = tuple(member.get(name) for member in self.members)
            if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
                self.known[argument(name)] = values  # type: ignore[assignment]

    def run(self, columns: Sequence[Column]) -> Solution:
        found: dict[int, Expr] = {}
        self.mixed = self._mixed(columns)
        self.used.clear()
        for i, column in enumerate(columns):
            expr = self._from_statics(column) if column.varies else self._believed(column)
            if expr is not None:
                found[i] = expr
        for i, column in enumerate(columns):
            if i not in found and (again := self._again(column)) is not None:
                found[i] = again
        for i, column in sorted(enumerate(columns), key=lambda each: each[1].role == "padding"):
            if i not in found and column.varies:
                found[i] = self._half(column) or self._own(column)
        for i, column in enumerate(columns):
            found.setdefault(i, Num(column.values[0], column.role))
        names = [name for name in self.known if name in self.used]
        first = [name for name in self.own if name.startswith(("in_", "num_"))]
        order = [*first, *names, *(name for name in self.own if name not in first)]
        values = {**self.known, **self.own}
        order.sort(key=lambda name: name in NATURAL and NATURAL[name] in values[name])
        return Solution([found[i] for i in range(len(columns))], {name: values[name] for name in order})

    # --- numbers that differ between members ----------------------------------------------------------------

    def _from_statics(self, column: Column) -> Expr | None:
        varying = {name: values for name, values in self.known.items() if len(set(values)) > 1}
        names = sorted(varying, key=lambda name: name != column.role)
        for name in names:
            if varying[name] == column.values:
                return self._use(name)
        return self._term(column.values, varying)

    def _term(self, values: tuple[Value, ...], among: Mapping[str, tuple[Value, ...]]) -> Expr | None:
        """`4 * d`, `d // 2`, `d // heads`, `heads * e`."""
        if not all(isinstance(value, int) and value > 0 for value in values):
            return None
        positive = {
            name: known
            for name, known in among.items()
            if all(isinstance(each, int) and each > 0 for each in known)
        }
        for name, known in positive.items():
            if factor := _ratio(values, known):
                return Binary("*", Num(factor), self._use(name))
        for name, known in positive.items():
            if factor := _ratio(known, values):
                return Binary("//", self._use(name), Num(factor))
        everything = {
            name: known for name, known in {**self.known, **self.own}.items() if name not in positive
        } | positive
        for operator, a, b in _pairs(values, everything):
            if a in positive or b in positive:
                return Binary(operator, self._use(a), self._use(b))
        return None

    def _half(self, column: Column) -> Expr | None:
        """`kernel // 2`: padding that keeps the size of an image."""
        if column.role != "padding":
            return None
        for name, known in {**self.known, **self.own}.items():
            if name.startswith("kernel") and tuple(int(each) // 2 for each in known) == column.values:
                return Binary("//", self._use(name), Num(2))
        return None

    def _own(self, column: Column) -> Expr:
        """An argument of its own, shared with other columns of the same values or a multiple of them."""
        for name, values in self.own.items():
            if values == column.values:
                return Arg(name)
        found = self._term(column.values, self.own)
        if found is not None:
            return found
        name = unique(argument(column.role), {*self.known, *self.own})
        self.own[name] = column.values
        return Arg(name)

    def _use(self, name: str) -> Expr:
        if name in self.known:
            self.used.add(name)
        return Arg(name)

    # --- numbers that are the same in all members -----------------------------------------------------------

    def _believed(self, column: Column) -> Expr | None:
        """A static parameter that the number most likely stands for."""
        value = column.values[0]
        same = [name for name, values in self.known.items() if set(values) == {value}]
        named = [name for name in (column.role, *SYNONYMS.get(column.role, ())) if name in same]
        if column.role == "limit" and not named:  # what a spec states of sizes, it mostly states in numbers
            return None
        if named and not (value in (0, 1) and (column.role in WEAK or column.role in NATURAL)):
            return self._use(named[0])
        if isinstance(value, float):
            rare = value not in COMMON and len(same) == 1 and not self._ambiguous(value)
            return self._use(same[0]) if rare else self._root(value)
        if column.role in WEAK:
            return None
        least = LEAST_EQUAL if column.role in SIZES and column.role != "size" else LEAST_FACTOR
        if value >= least and len(same) == 1 and not self._ambiguous(value):
            return self._use(same[0])
        if value >= 2 * LEAST_FACTOR and not same and column.role not in self.mixed:
            return self._believed_term(value)
        return None

    def _mixed(self, columns: Sequence[Column]) -> frozenset[str]:
        """Roles whose numbers are terms of a parameter here and there only: a chain of 416, 448, 480, 512 is no
        `6 * stem`."""
        numbers: dict[str, set[int]] = {}
        for column in columns:
            value = column.values[0]
            if not column.varies and isinstance(value, int) and value >= 2 * LEAST_FACTOR:
                numbers.setdefault(column.role, set()).add(value)
        held = {value for values in self.known.values() for value in values}
        others = {role: {n for n in values if n not in held} for role, values in numbers.items()}
        return frozenset(
            role
            for role, values in others.items()
            if sum(self._believed_term(value) is None for value in values) > len(values) / 2
        )

    def _root(self, value: float) -> Expr | None:
        """`math.sqrt(d)`, for a number that nobody would have written."""
        if len(repr(value)) < 10:
            return None
        for name, values in self.known.items():
            if len(set(values)) == 1 and isinstance(values[0], int) and values[0] > 4:
                root = Call(Word("math.sqrt"), (Arg(name),))
                if value == math.sqrt(values[0]):
                    self._use(name)
                    return root
                if value == 1 / math.sqrt(values[0]):
                    self._use(name)
                    return Binary("/", Num(1), root)
        return None

    def _again(self, column: Column) -> Expr | None:
        """A parameter that is believed elsewhere, for a number that would have been too small to tell."""
        value = column.values[0]
        least = LEAST_FACTOR if column.role.startswith("size") else LEAST_EQUAL
        if column.varies or column.role in (*WEAK, "limit") or not isinstance(value, int) or value < least:
            return None
        same = [name for name, values in self.known.items() if set(values) == {value}]
        sure = len(same) == 1 and same[0] in self.used and not self._ambiguous(value)
        return self._use(same[0]) if sure else None

    def _believed_term(self, value: int) -> Expr | None:
        sure = {
            name: int(values[0])
            for name, values in self.known.items()
            if len(set(values)) == 1 and isinstance(values[0], int) and not self._ambiguous(int(values[0]))
        }
        found = _idioms(value, sure) or list(_multiples(value, sure))
        if len(found) != 1:
            return None
        for node in walk(found[0]):
            if isinstance(node, Arg):
                self._use(node.name)
        return found[0]

    def _ambiguous(self, value: Value) -> bool:
        """Whether the number may stand for something else: it is in a list of sizes, in two parameters, or is
        the size of an image."""
        if value in self.spatial:
            return True
        holders = [name for name, values in self.members[0].items() if value in _numbers(values)]
        return len(holders) > 1


# What models of language call the width of their vectors, and the numbers of their heads.
WIDTHS = ("d", "dim", "d_model", "hidden", "width")
HEADS, KEY_HEADS = ("heads", "n_heads", "num_heads"), ("kv_heads", "n_kv_heads", "num_kv_heads")
# Parameters that count parts: a size is no multiple of them.
COUNTS = frozenset({*HEADS, *KEY_HEADS, *SYNONYMS["count"], "classes", "vocab", "context"})


def _idioms(value: int, sure: Mapping[str, int]) -> list[Expr]:
    """The size of a head, and of all heads of keys."""
    for d in (name for name in WIDTHS if name in sure):
        for heads in (name for name in HEADS if name in sure and sure[d] % sure[name] == 0):
            size = Binary("//", Arg(d), Arg(heads))
            if sure[d] // sure[heads] == value:
                return [size]
            keys = [
                name for name in KEY_HEADS if name in sure and sure[d] // sure[heads] * sure[name] == value
            ]
            if keys:
                return [Binary("*", size, Arg(keys[0]))]
    return []


def _multiples(value: int, sure: Mapping[str, int]) -> Iterator[Expr]:
    """`4 * d`, `e // 2`."""
    for name, known in sure.items():
        if known < LEAST_FACTOR or name in COUNTS:
            continue
        if any(factor * known == value for factor in FACTORS):
            yield Binary("*", Num(value // known), Arg(name))
        elif known == 2 * value:
            yield Binary("//", Arg(name), Num(2))


def _ratio(a: Sequence[Value], b: Sequence[Value]) -> int:
    """The whole number above 1 that every a is of its b; 0 if there is none."""
    factors = {int(x) // int(y) if int(x) % int(y) == 0 else 0 for x, y in zip(a, b, strict=True)}
    only = factors.pop() if len(factors) == 1 else 0
    return only if only > 1 else 0


def _pairs(values: Sequence[Value], among: Mapping[str, tuple[Value, ...]]) -> Iterator[tuple[str, str, str]]:
    whole = {
        name: known
        for name, known in among.items()
        if all(isinstance(each, int) and each > 1 for each in known)
    }
    for a, first in whole.items():
        for b, second in whole.items():
            rows = list(zip(values, first, second, strict=True))
            if a != b and all(int(x) % int(y) == 0 and int(x) // int(y) == value for value, x, y in rows):
                yield "//", a, b
            if a < b and all(int(x) * int(y) == value for value, x, y in rows):
                yield "*", a, b


def _numbers(value: Attr) -> Iterator[Value]:
    stack: list[Attr] = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, tuple):
            stack.extend(each)
        elif isinstance(each, int | float) and not isinstance(each, bool):
            yield each
