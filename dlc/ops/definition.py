"""How an op is defined: one declaration says all there is to know about it.

    op("exp(x: [*S]) -> [*S]", "Elementwise e**x.", lambda x: np.exp(x), flops="size(x)", vjp=...)

The signature is written in the language's own notation: tensors first, then static attributes with defaults. A tensor
type without a dtype means "the op's own dtype": all such operands share it, and it must be of the family that `dtypes`
names. Where a shape can't be said by a signature, `infer` says it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dlc.ops.calls import BY_SIGNATURE, Form
from dlc.records import dataclass, field
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.tensor import FLOATS, INTS, TensorType

if TYPE_CHECKING:
    from dlc.ir.nodes import Attr, Op, Value
    from dlc.ops.signature import Signature

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "float": FLOATS,
    "int": INTS,
    "number": (*FLOATS, *INTS),
    "bool": ("bool",),
    "any": (*FLOATS, *INTS, "bool"),
}


COST_FUNCTIONS = ("size", "prod", "contracted")
"""What the `flops` of an op may call (`dlc/ops/cost.py`)."""


class LazyModule:
    """A module that is imported at its first use: a check of a spec runs no NumPy."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


class OpError(Exception):
    """Operands or attributes that an op does not take: `message` says what it needs ("`matmul` needs ..."), `notes`
    are further lines, `help` a way out, `kind` the family of the diagnostic: "shape", "dtype", "value", "number" or
    "fact". `operands` are the indices of the operands at fault (all are shown with their types anyhow)."""

    def __init__(
        self, message: str, *, notes: Sequence[str] = (), help: str = "", kind: str = "shape"
    ) -> None:
        super().__init__(message)
        self.message = message
        self.notes = tuple(notes)
        self.help = help
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Sample:
    """Values worth testing an op on: `inputs` are shapes with dtypes ("f32[2, 3]") or arrays' nested lists (with
    `dtype` taken from the signature), `attrs` the attributes. `low`, `high` bound random values; `grad` false where
    the derivative does not exist at this sample (ties, integers)."""

    inputs: tuple[Any, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    low: float = -2.0
    high: float = 2.0
    grad: bool = True


Infer = Callable[[Facts, Sequence["TensorType | None"], Mapping[str, Any]], "tuple[TensorType, ...]"]
# (builder, op, gradients of the outputs, operands as values, outputs as values) -> gradients of the operands. The builder
# looks ops up, so what an op is does not know it: the rules, which stand above both, say `Builder`.
Vjp = Callable[
    [Any, "Op", "Sequence[Value | None]", "Sequence[Value]", "Sequence[Value]"],
    "Sequence[Value | None]",
]


@dataclass(frozen=True)
class OpDef:
    """An op. Build with `op`.

    `reference` is its meaning: NumPy arrays in (None for an absent operand), attributes by keyword with every Dim
    evaluated to an int; random ops get `rng`, a numpy Generator, besides. `flops` and `bytes` are texts over the
    signature's dims, `size(x)` of operand or `size()` of the result, and attributes. `dtypes` names the family of dtypes
    that its own dtype may have. `broadcast`: operands broadcast as in NumPy (the signature then reads `[*S]` for each).
    """

    signature_text: str
    doc: str
    reference: Callable[..., Any]
    infer: Infer | None = None
    flops: str = "0"
    products: bool = False
    """Whether those are products that are summed, a multiply-add counting as two: contractions and convolutions, which are
    what the field counts as FLOPs. All other work is elementwise."""
    vjp: Vjp | None = None
    samples: tuple[Sample, ...] = ()
    dtypes: str = "float"
    broadcast: bool = False
    random: bool = False
    family: str = ""
    source: str = ""
    differentiable: bool = True
    """False where the result has no derivative by nature (comparisons, argmax, arange)."""
    variadic: bool = False
    """True where the first parameter stands for any number of tensors (`concat`)."""
    call: Form | None = BY_SIGNATURE
    """How specs call it (`dlc/ops/calls.py`): by its signature where nothing is said, None where never by its name."""
    rows: Mapping[str, Any] = field(default_factory=dict)
    """For an op of another package: how a backend says it, `{"torch": "torch.sinc({x})"}`, as in the backend's own table of
    rows: a text over operands and attributes by name, or a function where its rows are functions (tvm). Those of this
    project have their rows in the backends."""

    @cached_property
    def name(self) -> str:
        return self.signature_text.split("(", 1)[0]

    @cached_property
    def signature(self) -> Signature:
        from dlc.ops.signature import Signature

        return Signature.parse(self.signature_text)

    def result_types(
        self, facts: Facts, inputs: Sequence[TensorType | None], attrs: Mapping[str, Attr]
    ) -> tuple[TensorType, ...]:
        """The types of the results. Raises OpError where the operands do not fit."""
        from dlc.ops.signature import result_types

        return result_types(self, facts, inputs, attrs)


def op(signature: str, doc: str, reference: Callable[..., Any], **facts: Any) -> OpDef:
    """Declare a primitive op; see `OpDef` for what may be said."""
    return OpDef(signature, doc, reference, **facts)


def dims(*values: int | Dim) -> tuple[Dim, ...]:
    return tuple(Dim.of(value) for value in values)
