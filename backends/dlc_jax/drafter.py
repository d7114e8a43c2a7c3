"""What JAX's drafts have of their own: keys of random draws, and buffers as values that a function gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from dlc.emit.draft import DONE, Drafter
from dlc.emit.forms import alias, call, words
from dlc.emit.statements import Assign, Store, Target
from dlc.emit.tree import Binary, Expr, Keyword, Leaf, Make, Path, Ref, Seq, Text, Word
from dlc.ir.index import without_index
from dlc.ir.nodes import Attr, Function, Op, walk


@dataclass(frozen=True, slots=True)
class Key(Leaf):
    """The key of one draw of randomness, or of a call that draws: `index` numbers them within a function."""

    index: int
    plain: ClassVar[str] = "keys[0]"


@dataclass(frozen=True, slots=True)
class Traits:
    """What a call of a function has to give and gets: parameters, a key, buffers' new values."""

    params: bool
    key: bool
    updates: bool

    @staticmethod
    def of(function: Function, known: Mapping[str, Traits]) -> Traits:
        ops = list(walk(function.body))
        callees = [known[op.callee] for op in ops if op.callee in known]
        updates = any(op.op == "update" for op in ops)
        return Traits(
            params=updates or any(op.op == "param" for op in ops) or any(each.params for each in callees),
            key=any(map(is_draw, ops)) or any(each.key for each in callees),
            updates=updates or any(each.updates for each in callees),
        )


def is_draw(op: Op) -> bool:
    return isinstance(op.attr("draw"), int)


@dataclass(frozen=True, slots=True)
class Callee:
    """How an emitted function is called: its name and the keyword arguments that this member of its group
    needs."""

    name: str
    traits: Traits
    arguments: tuple[tuple[str, int | float], ...] = ()


@dataclass
class JaxDrafter(Drafter):
    """Drafts one function. `callees` are the functions emitted before it; `stored` the new values of buffers,
    which are results as well."""

    callees: Mapping[str, Callee] = field(default_factory=dict)
    keys: int = 0
    buffers: dict[str, Expr] = field(default_factory=dict)
    """Buffers, and instances with buffers, that have been updated, with what they are now."""
    stored: list[Expr] = field(default_factory=list)
    updates: dict[str, str] = field(default_factory=dict)
    """Values that are an instance's new buffers, with what they are called."""

    def key(self) -> Key:
        self.keys += 1
        return Key(self.keys - 1)

    def results(self) -> tuple[Expr, ...]:
        return (*super().results(), *self.stored)

    def roles(self) -> dict[str, tuple[str, ...]]:
        return {**super().roles(), **{value: (name,) for value, name in self.updates.items()}}

    def wrapped(self, number: Expr, dtype: str) -> Expr:
        return call("jnp.asarray", number, *self.dtype_argument(dtype))

    def dtype_argument(self, name: str) -> tuple[Expr, ...]:
        """The dtype of a new array; JAX's own integers and booleans need none."""
        return () if self.dtype(name) in ("i64", "bool") else (self.dtype_word(name),)

    def takes_numbers(self, operands: Mapping[str, str]) -> bool:
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

    def call(self, op: Op) -> Expr:
        """A call of another emitted function."""
        callee = self.callees[op.callee]
        same = _identity(self.program.functions[op.callee])
        if same is not None:
            return alias(self, op, op.inputs[same])
        arguments: list[Expr] = [self.tensor(name) for name in op.inputs if name]
        if callee.traits.params:
            arguments.insert(0, self.instance(op.path))
        if callee.traits.key:
            arguments.append(self.key())
        arguments += (Keyword(name, self.literal(value, name)) for name, value in callee.arguments)
        made = Make(callee.name, tuple(arguments))
        if not callee.traits.updates:
            return made
        new = Target(f"{op.out.name} updates", "", ())
        self.updates[new.name] = _variable(op.path)
        temporary = len(op.outputs) == 1 and self.temporary(op.out.name)
        self.body.append(Assign((*map(self.target, op.outputs), new), made, temporary))
        self.store(op.path, Ref(new.name))
        return DONE

    def instance(self, path: str) -> Expr:
        """The parameters of an instance; one whose buffers were updated before comes with their new values."""
        if path not in self.buffers:
            return Path(path)
        old, new = (call("flatten", each) for each in (Path(path), self.buffers[path]))
        return call("nest", Binary("|", old, new))

    def store(self, path: str, value: Expr) -> None:
        """Note the new value of a buffer, or of an instance's buffers."""
        self.buffers[path] = value
        self.stored.append(value)
        self.body.append(Store(Text(path), value))


def _identity(function: Function) -> int | None:
    """Which input a function gives back unchanged, if that is all it does (dropout outside of training)."""
    names = [value.name for value in function.inputs]
    results = [value for _, value in function.outputs]
    return names.index(results[0]) if not function.body and len(results) == 1 else None


def _variable(path: str) -> str:
    """A name for the new buffers of an instance."""
    name = without_index(path).replace(".", "_").strip("_")
    return f"new_{name}" if not name or name[0].isdigit() else name
