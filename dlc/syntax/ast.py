"""The syntax tree of a `.dl` file.

Nodes are immutable and carry the span of the text they came from. Spans do not take part in equality, so
`parse(format(x)) == parse(x)` can be tested. Nothing here knows names, types or shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, dataclass_transform

from dlc.diagnostics import NO_SPAN, Span
from dlc.records import dataclass, field, fields

Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Node:
    """Base of every node: `span` says where the text stands. Two nodes are equal if their fields are, spans aside."""

    span: Span = field(default=NO_SPAN, compare=False, repr=False)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash((type(self), self._compared()))

    def __repr__(self) -> str:
        shown = [f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _compared(self) -> tuple[Any, ...]:
        return tuple(getattr(self, each.name) for each in fields(self) if each.compare)


def children(tree: object, *but: str) -> Sequence[Any]:
    """What stands directly below a node, spans and the fields named aside; the elements of a tuple. For walks with a stack."""
    if isinstance(tree, Node):
        return [
            getattr(tree, each.name) for each in fields(tree) if each.name != "span" and each.name not in but
        ]
    return tree if isinstance(tree, tuple) else ()


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def node(cls: type[Kind]) -> type[Kind]:
    """Make a class a node. Comparing and printing are the base's: code made for each of seventy classes would cost a third of
    the time that a check takes to start."""
    return dataclass(frozen=True, slots=True, eq=False, repr=False)(cls)


# --- expressions -------------------------------------------------------------------------------------------


@node
class Expr(Node):
    """Base of every expression."""


@node
class Int(Expr):
    value: int


@node
class Float(Expr):
    """`text` keeps how the number was written (`6e-4`)."""

    value: float
    text: str


@node
class Bool(Expr):
    value: bool


@node
class NoneLit(Expr):
    """`none`."""


@node
class Str(Expr):
    """A string literal. `raw` is the text between the quotes as written (escapes unresolved); `value` has
    escapes resolved; `parts` is the value split at `{expr}` interpolations (text and Expr), used in labels
    and messages only."""

    value: str
    raw: str
    parts: tuple[str | Expr, ...] = field(default=(), compare=False)


@node
class Name(Expr):
    id: str


@node
class Ellipsis_(Expr):
    """`...` as a call argument or an index."""


@node
class Wildcard(Expr):
    """`_` as an axis or a binding target."""


@node
class Star(Expr):
    """`*S` in a list of sizes."""

    name: str


@node
class ListExpr(Expr):
    items: tuple[Expr, ...]


@node
class ListComp(Expr):
    """`[element for target in iterable if condition]`."""

    element: Expr
    target: Target
    iterable: Expr
    condition: Expr | None


@node
class TupleExpr(Expr):
    """`a, b` or `(a, b)`; `()` is the empty one."""

    items: tuple[Expr, ...]


@node
class Unary(Expr):
    """`op` is `-`, `+` or `not`."""

    op: str
    operand: Expr


@node
class Binary(Expr):
    """`op` is one of `** * / // % @ + - and or`."""

    op: str
    left: Expr
    right: Expr


@node
class Compare(Expr):
    """`a < b <= c`: `ops` has one fewer element than `operands`; each is one of `== != < <= > >= in`, `not
    in`."""

    operands: tuple[Expr, ...]
    ops: tuple[str, ...]


@node
class Conditional(Expr):
    """`then if condition else otherwise`."""

    condition: Expr
    then: Expr
    otherwise: Expr


@node
class Arg(Node):
    """An argument of a call: positional if `name` is None. `Block(...)` has a positional Arg whose value
    is Ellipsis_."""

    value: Expr
    name: str | None = None


@node
class Call(Expr):
    callee: Expr
    args: tuple[Arg, ...]


@node
class Slice(Expr):
    """`start:stop:step` inside an index."""

    start: Expr | None
    stop: Expr | None
    step: Expr | None


@node
class Index(Expr):
    value: Expr
    items: tuple[Expr, ...]


@node
class Attribute(Expr):
    value: Expr
    name: str
    name_span: Span = field(default=NO_SPAN, compare=False, repr=False)


@node
class Pipe(Expr):
    """`value |> stage`. `stage` is a Name, Attribute, Call or Index, possibly wrapped in Labeled."""

    value: Expr
    stage: Expr


@node
class Label(Node):
    """A path label: a bare dotted one, or a string whose `{expr}` interpolate. A bare label has one text
    part."""

    parts: tuple[str | Expr, ...]
    quoted: bool = False


@node
class Labeled(Expr):
    """`value as label`."""

    value: Expr
    label: Label


# --- binding targets ---------------------------------------------------------------------------------------


@node
class Target(Node):
    """Base of what stands left of `=` or after `for`."""


@node
class NameTarget(Target):
    """A name; `_` binds nothing. `type` is given in `y: [B, d] = expr`. Names may not be dotted."""

    id: str
    type: TypeExpr | None = None


@node
class TupleTarget(Target):
    items: tuple[Target, ...]


# --- types -------------------------------------------------------------------------------------------------


@node
class TypeExpr(Node):
    """Base of every type."""


@node
class TensorTypeExpr(TypeExpr):
    """`f32[B, 3]`; `dtype` is None where none was written. Axes: Int, Name, arithmetic, Wildcard, Star,
    Call(min/max)."""

    dtype: str | None
    axes: tuple[Expr, ...]


@node
class NamedTypeExpr(TypeExpr):
    """`int`, `module`, `list[int]`, `tuple[int, int]`: `args` are the bracketed types, if any.

    `Frame[B, N]` cannot be told from a dtype by the grammar; a name followed by brackets that is not a dtype
    and not `list`/`tuple` is a GroupTypeExpr."""

    name: str
    args: tuple[TypeExpr, ...] = ()


@node
class GroupTypeExpr(TypeExpr):
    """`Frame[B, N]`."""

    name: str
    axes: tuple[Expr, ...]


@node
class Field(Node):
    """A named type, with a default where the language allows one: a static parameter, a tensor input, an
    output, a member of a group. `type` is None for an untyped `fn` parameter; `name` is None for an anonymous
    output."""

    name: str | None
    type: TypeExpr | None
    default: Expr | None = None


# --- statements --------------------------------------------------------------------------------------------


@node
class Stmt(Node):
    """Base of every statement."""


@node
class Assign(Stmt):
    """`target = value`."""

    target: Target
    value: Expr


@node
class ExprStmt(Stmt):
    """An expression alone: reported later as having no effect."""

    value: Expr


@node
class Return(Stmt):
    value: Expr


@node
class If(Stmt):
    """`else if` is an If alone in `otherwise`."""

    condition: Expr
    then: tuple[Stmt, ...]
    otherwise: tuple[Stmt, ...]


@node
class For(Stmt):
    target: Target
    iterable: Expr
    label: Label | None
    body: tuple[Stmt, ...]


@node
class ParamStmt(Stmt):
    """`param NAME: type = initial`, with `frozen` and `as label` where written. `kind` is `param` or
    `buffer`. In a train block a buffer's type may be None."""

    kind: str
    name: str
    type: TypeExpr | None
    initial: Expr | None
    frozen: bool = False
    label: Label | None = None


@node
class Update(Stmt):
    """`update NAME = expr`; `target` is a Name or, in a train block, an Attribute."""

    target: Expr
    value: Expr


@node
class InitSelector(Node):
    """`linear.weight` (kind rule: `kind="linear"`, `param="weight"`) or `"h.*.weight"` (`pattern`)."""

    kind: str | None
    param: str | None
    pattern: Str | None


@node
class InitRule(Stmt):
    """`init a.weight, "pattern" = expr`."""

    selectors: tuple[InitSelector, ...]
    initial: Expr


@node
class Require(Stmt):
    """`require condition, "message"`."""

    condition: Expr
    message: Str | None


@node
class Entry(Stmt):
    """`entry NAME(static)(inputs) -> outputs where … { body }` in a module's body. `static` is None where there is no such
    list."""

    name: str
    static: tuple[Field, ...] | None
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    where: tuple[Expr, ...]
    body: tuple[Stmt, ...]
    doc: str = field(default="", compare=False)


@node
class ScanSource(Node):
    """`targets in sequences` of a scan."""

    targets: tuple[Target, ...]
    sequences: tuple[Expr, ...]


@node
class Along(Node):
    """The axis that a scan reads: `along T` by its name, `along axis 1` `by_number`."""

    axis: Expr
    by_number: bool = False


@node
class Scan(Stmt):
    """`scan xt in x along T backwards with h = … { … }`. `along` is None where the header does not say it."""

    source: ScanSource
    along: Along | None
    backwards: bool
    carried: tuple[Assign, ...]
    body: tuple[Stmt, ...]


@node
class Yield(Stmt):
    """`yield NAME = expr` in a scan."""

    target: Target
    value: Expr


# --- items -------------------------------------------------------------------------------------------------


@node
class Item(Node):
    """Base of what may stand at the top of a file. `doc` is the comment block directly above."""

    doc: str = field(default="", compare=False, kw_only=True)


@node
class ImportModule(Item):
    """`import "path" as name`."""

    path: Str
    name: str


@node
class ImportFrom(Item):
    """`from "path" import A, B as C`: pairs of (name there, name here)."""

    path: Str
    names: tuple[tuple[str, str], ...]
    name_spans: tuple[Span, ...] = field(default=(), compare=False, repr=False)


@node
class Let(Item):
    name: str
    value: Expr


@node
class GroupDef(Item):
    """`type Frame[*S] = (rotation: …, translation: …)`."""

    name: str
    axes: tuple[Expr, ...]
    fields: tuple[Field, ...]


@node
class FnDef(Item):
    name: str
    params: tuple[Field, ...]
    outputs: tuple[Field, ...]
    where: tuple[Expr, ...]
    body: tuple[Stmt, ...]
    name_span: Span = field(default=NO_SPAN, compare=False, repr=False)


@node
class ModuleDef(Item):
    """A `module`, or a `model` where `is_model`."""

    name: str
    static: tuple[Field, ...]
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    where: tuple[Expr, ...]
    body: tuple[Stmt, ...]
    is_model: bool = False
    name_span: Span = field(default=NO_SPAN, compare=False, repr=False)


@node
class Preset(Item):
    name: str
    value: Expr
    name_span: Span = field(default=NO_SPAN, compare=False, repr=False)


@node
class WeightRule(Node):
    """One statement of a `weights` block.

    `action` is `strip rename transpose ignore concat split stack rearrange offset scale weight_norm`; `sources` and `targets` are the
    strings left and right of `->`; for `rearrange` the pattern is the second source. `options` are the
    `name=value` arguments."""

    action: str
    sources: tuple[Str, ...]
    targets: tuple[Str, ...] = ()
    options: tuple[Arg, ...] = ()


@node
class Weights(Item):
    name: str
    model: Expr
    rules: tuple[WeightRule, ...]
    name_span: Span = field(default=NO_SPAN, compare=False, repr=False)


@node
class BatchStmt(Stmt):
    """`batch (fields) from source(…)`."""

    fields: tuple[Field, ...]
    source: Expr


@node
class Minimize(Stmt):
    value: Expr


@node
class Metric(Stmt):
    name: str
    value: Expr


@node
class Sample(Stmt):
    name: str
    value: Expr


@node
class Evaluate(Stmt):
    """`evaluate from …` (no fields) or `evaluate (…) from …`."""

    fields: tuple[Field, ...]
    source: Expr


@node
class Optimizer(Stmt):
    """`optimizer = …`, or for some parameters with selectors: `layer_norm`, `linear.bias`, `"pattern"`."""

    selectors: tuple[InitSelector, ...]
    value: Expr


@node
class LoadStmt(Stmt):
    """`load TARGET from "file" with MAP except "pattern", …`."""

    target: Expr
    path: Expr
    weights: str | None
    excluded: tuple[Str, ...]


@node
class Freeze(Stmt):
    patterns: tuple[Str, ...]


@node
class Settings(Stmt):
    items: tuple[Arg, ...]


@node
class StepStmt(Stmt):
    """`step NAME updates A, B with optimizer every n repeat m { … }`."""

    name: str
    updates: tuple[Expr, ...]
    optimizer: Expr
    every: Expr | None
    repeat: Expr | None
    body: tuple[Stmt, ...]


@node
class Train(Item):
    name: str
    static: tuple[Field, ...]
    body: tuple[Stmt, ...]
    name_span: Span = field(default=NO_SPAN, compare=False, repr=False)


@node
class Test(Item):
    """`test "name" { … }`."""

    name: Str
    body: tuple[Stmt, ...]


@node
class File(Node):
    """A whole file. `comments` are kept for the formatter: (line, text, whether alone on its line)."""

    items: tuple[Item, ...]
    comments: tuple[tuple[int, str, bool], ...] = field(default=(), compare=False)
