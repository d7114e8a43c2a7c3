"""How a spec calls an op: its call form, which stands beside the op's declaration as data.

    op("cumsum(x: [*S], axis: axis) -> [*S]", …, call=form(Arg("x"), Arg("axis", "axis", -1)))

An op without a form is called by its signature. One that specs never call by its name (it has an operator, or is written
with others) says `call=None`. The elaborator applies forms; a form itself knows types, sizes and facts, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlc.records import dataclass
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType

REQUIRED: Any = object()
Types = Sequence[TensorType]
Read = Mapping[str, Any]

# What an argument can be read as. Operands:
OPERANDS: Mapping[str, str] = {
    "tensor": "a tensor; a number or size becomes a float scalar",
    "tensors": "a list of tensors, the operands of an op that takes any number",
    "pair": "tensors and numbers that are brought to one dtype, all arguments of this kind together",
    "choice": "the same; where all are numbers, whole ones stay whole",
    "like": "a tensor, or a number of the first operand's dtype",
    "index": "i64: a tensor of integers, an int, or a list of them",
    "place": "i64[]: a tensor, or a size",
}
# Attributes:
ATTRIBUTES: Mapping[str, str] = {
    "axis": "an axis of the first operand, counted from 0 or from the end; the op gets it from 0 on",
    "axes": "one axis or a list of axes; `none` is all; the op gets them sorted",
    "order": "every axis once, in any order",
    "flat": "an axis; without one the operand is flattened, and the op gets none",
    "int": "an int",
    "float": "a number",
    "bool": "true or false",
    "str": "a string",
    "dtype": "a dtype; without one `float`",
    "dim": "a size",
    "sizes": "a size, or a list of sizes",
    "fill": "sizes, one of which may be -1: what is left of the first operand",
    "ints": "a list of ints",
    "floats": "a list of numbers",
    "spatial": "an int, or one for each axis after [B, C]",
    "padding": 'before and after each axis after [B, C]: an int, a list, pairs, "same" or "causal"',
    "value": "any static value, as it is",
}


@dataclass(frozen=True, slots=True)
class Arg:
    """An argument of a call. `read` is one of OPERANDS or ATTRIBUTES; `fills` is the operand's or attribute's own name,
    where the call has another. One whose default is `None` stays None when it isn't given."""

    name: str
    read: str = "tensor"
    default: Any = REQUIRED
    fills: str = ""

    @property
    def target(self) -> str:
        return self.fills or self.name

    @property
    def is_operand(self) -> bool:
        return self.read in OPERANDS


@dataclass(frozen=True, slots=True)
class Form:
    """How an op is called. All but `args` is for the few that need it.

    `attrs` gives the op's attributes, where they are more than the arguments under their names, from the operands' types
    and what was read. `same` tells where a call is just its first operand, `help` what may be meant where the op refuses its
    operands (empty for nothing). `number` computes the op on a Python number in the first operand's place (it gets all
    arguments; NotImplemented: not this one); `whole`: a size is its own result. `bools` is the dtype that a bool operand is
    counted in. `along`: the operands broadcast as in `np.take_along_axis`, across all axes but that one. `kernel` says what w of a
    convolution looks like, for its messages. `members`: of a group of tensors, each one is meant."""

    args: tuple[Arg, ...]
    attrs: Callable[[Types, Read], Mapping[str, Any]] | None = None
    same: Callable[[Types, Read], bool] | None = None
    help: Callable[[Facts, Types, Read], str] | None = None
    number: Callable[..., Any] | None = None
    whole: bool = False
    bools: str = ""
    along: str = ""
    kernel: str = ""
    members: bool = False


def form(*args: Arg, **more: Any) -> Form:
    return Form(args, **more)


X = Arg("x")
UNARY = form(X)
PAIR = form(Arg("a", "pair"), Arg("b", "pair"))
BY_SIGNATURE = Form(())
