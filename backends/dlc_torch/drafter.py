"""What PyTorch's drafts have of their own: devices, training mode, instances, functions that are layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar

from dlc.emit.arguments import given
from dlc.emit.draft import Drafter
from dlc.emit.names import identifier
from dlc.emit.origins import size
from dlc.emit.own import Own
from dlc.emit.sizes import readable
from dlc.emit.statements import Draft, If, Stmt
from dlc.emit.tree import (
    Arg,
    Call,
    Dot,
    Expr,
    Flag,
    Keyword,
    Leaf,
    Make,
    Path,
    Ref,
    Word,
    need_name,
    the,
    transform,
)
from dlc.ir.nodes import Attr, Function, Op
from dlc.ir.splice import prefixed
from dlc.records import dataclass, replace
from dlc.types.dims import Dim
from dlc.types.traced import Term
from dlc_torch import rows
from dlc_torch.structure import method_name


class Device(Leaf):
    """The device that the function's inputs are on."""

    plain: ClassVar[str] = "x.device"

    def need(self, function: Function) -> str:
        return "" if function.inputs else the("device")


class Training(Leaf):
    """Whether the module is in training mode."""

    plain: ClassVar[str] = "self.training"

    def need(self, function: Function) -> str:
        return the("training")


# The static arguments that PyTorch's functions can say, where they can't say all; what is missing counts as
# the first.
COVERED: Mapping[str, Mapping[str, tuple[Attr, ...]]] = {
    "gelu": {"approximate": ("none", "tanh")},
    "attention": {"softcap": (None,)},
}

# What PyTorch does not compute in 16 bits everywhere.
HALF_MISSING = frozenset({"local_response_norm"})


def covered(op: Op) -> bool:
    """Whether PyTorch's function covers the op's static arguments."""
    if op.op == "lerp" and all(
        term.op == "const" for _, term in op.given
    ):  # from a half on it goes back from `b`, which of infinities is nan
        return abs(float(str(op.attr("weight", 0.0)))) < 0.5
    allowed = COVERED.get(op.op)
    return allowed is None or all(op.attr(name, values[0]) in values for name, values in allowed.items())


def stateful(function: Function) -> bool:
    """Whether instances have parameters or buffers: a class then, else a plain function."""
    return function.kind in ("module", "model") and bool(function.params or function.children)


@dataclass(frozen=True, slots=True)
class Instance(Expr):
    """A new instance of the class of an IR function, or the call of a function, as an operation says it."""

    function: str
    op: Op | None = None


_PART = "part "


def part_of(need: str) -> str:
    """The part that a function without parts of its own is passed (`lent.py`); "" if the need is another one."""
    return need.removeprefix(_PART) if need.startswith(_PART) else ""


def _mode(node: Expr) -> Expr:
    return Training() if node == Flag("training") else node


@dataclass
class TorchDrafter(Drafter):
    """Drafts a method of a class, or a plain function. `own` tells what a method takes of an entry's own list."""

    own: Callable[[str], Own] = lambda name: Own()

    def wrapped(self, number: Expr, dtype: str) -> Expr:
        return self.create("torch.tensor", (number,), dtype)

    def create(self, function: str, args: Sequence[Expr], dtype: str, natural: str = "") -> Expr:
        """A call that makes a tensor of `dtype` on the inputs' device; `natural` is the dtype that it has by
        itself."""
        keywords: list[Expr] = []
        if dtype != natural:
            keywords.append(Keyword("dtype", Word(rows.DTYPES[dtype])))
        if self.function.kind not in ("init", "prepare"):
            keywords.append(Keyword("device", Device()))
        return Call(Word(function), (*args, *keywords))

    def covers(self, op: Op) -> bool:
        half = self.precision in ("bf16", "f16") and op.op in HALF_MISSING
        return bool(op.callee) and covered(op) and not half

    def call(self, op: Op) -> Expr:
        """A call of another emitted function: an instance, a further entry of one, or a plain function."""
        callee = self.program.functions[op.callee]
        args = self.passed(op, callee)
        if not stateful(callee):
            return Make(op.callee, (*args, *self._passed(op)), op)
        instance: Expr = Path(op.path) if op.path else Word("self")
        args = (*args, *self._own(op, callee), *self._sizes(op, callee))
        return Call(Dot(instance, method_name(callee.entry)) if callee.entry else instance, args)

    def passes(self, op: Op) -> bool:
        return bool(op.callee) and not stateful(self.program.functions[op.callee])

    def choice(self, op: Op, condition: Term) -> If:
        made = super().choice(op, condition)
        return replace(made, condition=transform(made.condition, _mode))

    def _sizes(self, op: Op, callee: Function) -> Iterable[Expr]:
        """Sizes that an instance can't read from its inputs: static arguments that are dims of the caller."""
        unread = set(callee.dims).difference(readable(callee))
        dims = dict(op.dims)
        for name in sorted(self.needs(op.callee) & unread) if unread else ():
            yield Keyword(identifier(name), size(dims[name]))

    def _own(self, op: Op, callee: Function) -> Iterable[Expr]:
        """The static arguments that a call gives to an entry's own list."""
        for argument in self.own(op.callee).arguments:
            value = given(argument, callee, op)
            if value is not None:
                yield Keyword(argument.name, value, argument.default)

    def _passed(self, op: Op) -> Iterable[Expr]:
        special: Mapping[str, Expr] = {the("device"): Device(), the("training"): Training()}
        dims = dict(op.dims)
        for name in sorted(self.needs(op.callee)):
            if part := part_of(name):
                yield Keyword(identifier(part), Path(prefixed(op.path, part)))
                continue
            if name == the("device") and self.function.kind == "init":
                continue
            value = special[name] if name in special else size(dims.get(name, Dim.symbol(name)))
            yield Keyword(identifier(need_name(name)), value)

    def _needs(self, body: Iterable[Stmt], results: tuple[Expr, ...]) -> frozenset[str]:
        needs = super()._needs(body, results)
        if self.function.kind != "fn":
            return needs
        draft = Draft(self.function, (), tuple(body), results)
        paths = (node.path for node in draft.nodes() if isinstance(node, Path))
        return needs | {f"{_PART}{path.partition('.')[0]}" for path in paths}

    def layer(self, expr: Expr) -> Expr | None:
        """The operation as a layer, for `nn.Sequential`: an instance, or a function of one tensor that is a
        layer too."""
        if not isinstance(expr, Call) or not expr.args or not isinstance(expr.args[0], Ref):
            return None
        if isinstance(expr.function, Path):
            return expr.function if len(expr.args) == 1 else None
        if isinstance(expr.function, Arg):  # a function that is given: as an argument, what makes the layer
            return Call(expr.function)
        name = rows.MODULES.get(expr.function.text) if isinstance(expr.function, Word) else None
        rest = tuple(
            arg for arg in expr.args[1:] if not (isinstance(arg, Keyword) and isinstance(arg.value, Training))
        )
        return Call(Word(name), rest) if name else None
