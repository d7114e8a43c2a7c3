"""The constructors of a class's parts, in the words of the body that makes them.

self.conv = nn.Conv2d(C, out, kernel_size=k, padding="same")        self.block = Block(d, heads)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from dlc.emit.arguments import Argument, given
from dlc.emit.origins import expression, forgotten, numbered
from dlc.emit.sums import tidied
from dlc.emit.tree import Arg, Call, Expr, Keyword, Text, Word, transform
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Child, Function, Op
from dlc.records import dataclass, replace
from dlc.types.terms import rooted
from dlc.types.traced import Term
from dlc_torch.drafter import Instance
from dlc_torch.neural import is_same, native_layer
from dlc_torch.structure import turns_of


@dataclass
class Making:
    """How the functions of a class make their parts: each call tells with which static arguments."""

    known: Mapping[str, Function]
    moved: Mapping[tuple[str, str], Op]
    """The calls of parts that are lent, by the function that lends and the path."""
    functions: Sequence[Function]

    def child(self, child: Child) -> Expr:
        return self._made(child.function, self._call(child))

    def _call(self, child: Child) -> Op | None:
        turns = child.turns if child.count else None
        calls = [
            (op, own)
            for each in self.functions
            for op, own in _placed(each.body)
            if op.path == child.path and op.callee
        ]
        there = [op for op, own in calls if own == turns or turns is None]
        # A part that not all turns have is called in one that does.
        there = there or [op for op, own in calls if own and turns and {*turns_of(turns)} <= {*turns_of(own)}]
        moved = (self.moved.get((each.name, child.path)) for each in self.functions)
        there += [op for op in (*moved, child.call) if op is not None]
        same = [op for op in there if op.callee == child.function]
        return next(iter(same or there), None)

    def _made(self, name: str, op: Op | None) -> Expr:
        """The constructor of an instance; its arguments are filled in when those of its class are known."""
        function = self.known[name]
        native = native_layer(function)
        if native is None:
            return Instance(name, op)
        if op is None:  # made by an entry that is not emitted: what its sizes are is not told
            return native_layer(forgotten(function)) or native
        return _here(numbered(native_layer(_open(function)) or native), function, op)


def _open(function: Function) -> Function:
    """A layer of the library with static numbers that are parameters of its own: calls with other ones share the function."""
    own = {setting.name for setting in function.settings}
    static = ((name, rooted(name, value) if name in own else value) for name, value in function.static)
    return replace(function, static=tuple(static))


def _here(native: Expr, function: Function, op: Op) -> Expr:
    """A layer's constructor in the terms of the body that makes it: the layer's static parameters and sizes are what the
    call says they are."""
    known = {setting.name for setting in function.settings} | {name for name, _ in function.sizes}
    by_name: dict[str, Expr | None] = {}

    def change(node: Expr) -> Expr:
        match node:
            case Arg(name) if name in known:
                if name not in by_name:
                    by_name[name] = given(Argument(name, name, "int"), function, op)
                found = by_name[name]
                return node if found is None else found
            case Keyword(name, Word("True" | "False"), default) if name in known:
                return Keyword(name, _flag(name, op, node.value), default)
            case Keyword(name, Text(), default) if name in known:
                return Keyword(name, _flag(name, op, node.value), default)
        return node

    changed_ = _as_wide_as_asked(tidied(transform(native, change)), function, op)
    if isinstance(changed_, Call) and (term := dict(op.given).get("bias")) is not None and term.op != "const":
        missing = not any(isinstance(arg, Keyword) and arg.name == "bias" for arg in changed_.args)
        if missing and "bias" in known:
            changed_ = Call(
                changed_.function, (*changed_.args, Keyword("bias", _flag("bias", op, Word("True"))))
            )
    return changed_


def _as_wide_as_asked(layer: Expr, function: Function, op: Op) -> Expr:
    """A convolution whose border is as wide as a kernel of any size asks for."""
    if not isinstance(layer, Call) or not is_same(op, function):
        return layer
    same = Keyword("padding", Text("same"))
    kept = [each for each in layer.args if not (isinstance(each, Keyword) and each.name == "padding")]
    at = next(k for k, each in enumerate(kept) if isinstance(each, Keyword) and each.name == "kernel_size")
    return replace(layer, args=(*kept[: at + 1], same, *kept[at + 1 :]))


def _placed(
    body: Iterable[Op], turns: tuple[int, int, int] | None = None
) -> Iterator[tuple[Op, tuple[int, int, int] | None]]:
    """Every operation with the (count, start, step) of the loop over layers around it."""
    for op in body:
        yield op, turns
        inside = turns
        if op.op == LOOP and (loop := Loop.of(op)).is_layers:
            inside = _turns(loop)
        for region in op.regions:
            yield from _placed(region.body, inside)


def _turns(loop: Loop) -> tuple[int, int, int] | None:
    known = isinstance(loop.count, int) and isinstance(loop.start, int)
    return (loop.count, loop.start, loop.step) if known else None  # type: ignore[return-value]


def _flag(name: str, op: Op, value: Expr) -> Expr:
    term = dict(op.given).get(name)
    open_ = term is not None and term.op != "const" and not term.holds("turn")
    return expression(term) if open_ and isinstance(term, Term) else value
