"""What JAX's drafts have of their own: keys of random draws, buffers that functions give back, a dtype that follows the inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import ClassVar

from dlc.emit.draft import DONE, Drafter, plain_name
from dlc.emit.forms import alias, call, words
from dlc.emit.names import identifier
from dlc.emit.origins import size
from dlc.emit.statements import Assign, Target
from dlc.emit.tree import Expr, Keyword, Leaf, Make, Seq, Word, need_name, the
from dlc.ir.loops import LOOP
from dlc.ir.loops import Loop as Steps
from dlc.ir.nodes import Attr, Function, Op, walk
from dlc.records import dataclass, field
from dlc.types.dims import Dim

STATE = "state"
"""The dtype of targets that are no values but places of the state; their only axis is the place."""


@dataclass(frozen=True, slots=True)
class Key(Leaf):
    """The key of one draw of randomness, or of a call that draws: `index` numbers them within a function."""

    index: int
    plain: ClassVar[str] = "keys[0]"


@dataclass(frozen=True, slots=True)
class Held(Leaf):
    """The part of `params` or `state` (`tree`) at a path, for a call."""

    tree: str
    path: str
    plain: ClassVar[str] = 'params["x"]'


@dataclass(frozen=True, slots=True)
class Working(Leaf):
    """The dtype that is computed in: that of the inputs, or of the parameters; an argument, where none of these `tells` it."""

    tells: bool = True
    plain: ClassVar[str] = "x.dtype"

    def need(self, function: Function) -> str:
        return "" if self.tells else the("dtype")


def working_input(function: Function) -> str:
    """The first input that is of the working precision; "" if there is none."""
    found = (
        each.name
        for each in function.inputs
        if each.type.dtype == "float" and each.name not in function.optional
    )
    return next(found, "")


def stacked_name(name: str) -> str:
    """What a scan hands out, before its axis is back in its place."""
    return f"{name} steps"


def is_stacked(name: str) -> bool:
    """Whether it is the name of that."""
    return name.endswith(" steps")


@dataclass(frozen=True, slots=True)
class Traits:
    """What a function takes and gives besides its inputs and outputs. A key is needed ("always"), or only sometimes
    ("maybe": in training)."""

    params: bool = False
    state: bool = False
    updates: bool = False
    training: bool = False
    key: str = ""


def is_draw(op: Op) -> bool:
    return isinstance(op.attr("draw"), int)


@dataclass
class JaxDrafter(Drafter):
    """Drafts one function. `traits` are those of all functions."""

    traits: Mapping[str, Traits] = field(default_factory=dict)
    keys: int = 0

    def key(self) -> Key:
        self.keys += 1
        return Key(self.keys - 1)

    def wrapped(self, number: Expr, dtype: str) -> Expr:
        return call("jnp.asarray", number, *self.dtype_argument(dtype))

    def dtype_argument(self, name: str) -> tuple[Expr, ...]:
        """The dtype of a new array; JAX's own integers and booleans need none."""
        return () if self.dtype(name) in ("i64", "bool") else (self.dtype_word(name),)

    def dtype_word(self, name: str) -> Expr:
        return self._working if name == "float" else super().dtype_word(name)

    @cached_property
    def _working(self) -> Working:
        return Working(bool(working_input(self.function)) or self._has_working(self.function))

    def _has_working(self, function: Function) -> bool:
        """Whether the function is given a parameter or buffer of the working precision."""
        traits, functions = self.traits[function.name], self.program.functions
        trees = {"param": traits.params, "buffer": traits.state}
        own = (each for each in function.params if each.when is None and trees.get(each.kind))
        below = (functions[child.function] for child in function.children if child.when is None)
        return any(each.type.dtype == "float" for each in own) or any(map(self._has_working, below))

    def takes_numbers(self, row: str) -> bool:
        return True

    def literal(self, value: int | float, role: str = "value") -> Expr:
        """A number's expression. Infinities and nan have names."""
        if value != value:
            return Word("jnp.nan")
        if value in (float("inf"), float("-inf")):
            return Word("jnp.inf" if value > 0 else "-jnp.inf")
        return super().literal(value, role)

    def axes(self, value: Attr, rank: int) -> Expr:
        """One axis is no tuple, all of them are None."""
        if not isinstance(value, tuple) or len(value) == 1 != rank:
            return super().axes(value[0] if isinstance(value, tuple) else value, rank)
        return Word("None") if len(value) == rank else Seq(words([int(str(each)) for each in value]))

    def more_slots(self, op: Op) -> Mapping[str, Expr]:
        return {"key": self.key()} if is_draw(op) else {}

    # --- calls

    def call(self, op: Op) -> Expr:
        """A call of another emitted function. What it updates goes into the state."""
        callee, traits = self.program.functions[op.callee], self.traits[op.callee]
        same = _identity(callee)
        if same is not None:
            return alias(self, op, op.inputs[same])
        args: list[Expr] = [Held(tree, op.path) for tree in ("params", "state") if getattr(traits, tree)]
        args += self.passed(op, callee)
        args += self._passed(op)
        if traits.key:
            args.append(Keyword("key", self.key()))
        made = Make(op.callee, tuple(args), op)
        if not traits.updates:
            return made
        new = Target(f"{op.path} of the state", STATE, (Held("state", op.path),))
        temporary = len(op.outputs) == 1 and self.temporary(op.out.name)
        self.body.append(Assign((*map(self.target, op.outputs), new), made, temporary))
        return DONE

    def temporary(self, name: str) -> bool:
        """Reading a buffer that gets a new value is a statement only where it has to be."""
        op = self.producers.get(name)
        once = op is not None and op.op == "param" and self.uses[name] == 1
        return once or super().temporary(name)

    def _passed(self, op: Op) -> Iterator[Expr]:
        dims = dict(op.dims)
        for name in sorted(self.needs(op.callee)):
            value = self._working if name == the("dtype") else size(dims.get(name, Dim.symbol(name)))
            yield Keyword(identifier(need_name(name)), value)

    # --- loops

    def roles(self) -> dict[str, tuple[str, ...]]:
        """What a scan hands out is called as it is with its axis in its place."""
        found = super().roles()
        scans = (Steps.of(op) for op in walk(self.function.body) if op.op == LOOP and op.attr("shared"))
        outs = (each.out.name for scan in scans for each in scan.stacked)
        return {**found, **{stacked_name(out): (*found.get(out, ()), plain_name(out)) for out in outs}}


def _identity(function: Function) -> int | None:
    """Which input a function gives back unchanged, if that is all it does (dropout outside of training)."""
    names = [value.name for value in function.inputs]
    results = [value for _, value in function.outputs]
    return names.index(results[0]) if not function.body and len(results) == 1 else None
