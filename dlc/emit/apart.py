"""Loops that the elaborator made of most turns of a spec's loop, as single turns again: for a loop of all of them.

x_0 = Block(x; inputs, d) @ h.0                            x_0 = Block(x; inputs, d) @ h.0
x_3 = loop(x_0) 3 times from 1 { Block(x; d, d) @ h.{i} }  ->  x_1 = Block(x_0; d, d) @ h.1
                                                           x_2 = Block(x_1; d, d) @ h.2
                                                           x_3 = Block(x_2; d, d) @ h.3
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dlc.ir.index import at_turn
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Child, Function, Op, walk
from dlc.ir.splice import Names
from dlc.records import replace

MANY = 64
"""Turns of a loop that are taken apart for a look at them."""


def is_mixed(run: Sequence[Op]) -> bool:
    """Whether a loop of the spec is turns by themselves and loops of turns, which can be taken apart."""
    return has_rounds(run) and any(op.op != LOOP for op in run)


def has_rounds(run: Sequence[Op]) -> bool:
    """Whether a loop of the spec has loops of turns in it, which have nothing but what they carry."""
    loops = [op for op in run if op.op == LOOP]
    return bool(loops) and all(map(_is_taken_apart, loops))


def _is_taken_apart(op: Op) -> bool:
    loop = Loop.of(op)
    if not loop.is_plain or not isinstance(loop.count, int) or loop.count > MANY:
        return False
    made = {value.name for each in loop.body for value in each.outputs}
    left = [each.next for each in loop.carried]
    plain = all(each.loops and each.region is None for each in loop.body)
    return plain and isinstance(loop.start, int) and made.issuperset(left) and len(set(left)) == len(left)


def taken_apart(function: Function, run: Sequence[Op], names: Names) -> tuple[Function, list[Op]]:
    """The function with the turns of a loop by themselves, and these."""
    ops = [each for op in run for each in (_turns(op, names) if op.op == LOOP else (op,))]
    inside = {id(op) for op in run}
    at = next(k for k, op in enumerate(function.body) if id(op) in inside)
    others = [op for op in function.body if id(op) not in inside]
    body = (*others[:at], *ops, *others[at:])
    turned = {op.path for loop in run if loop.op == LOOP for op in walk((loop,)) if op.path}
    return replace(function, body=body, children=tuple(_parts(function, turned))), ops


def _turns(op: Op, names: Names) -> Iterator[Op]:
    loop = Loop.of(op)
    count = int(loop.turns or 0)
    now = {each.arg.name: each.first for each in loop.carried}
    out = {each.next: each.out.name for each in loop.carried}
    places = list(dict.fromkeys(each.loops[0].index for each in loop.body))  # of the turns in a round
    for k in range(count):
        index = loop.indices[k]
        for each in loop.body:
            turned = each.renamed(now)
            made = [
                out[value.name] if k == count - 1 and value.name in out else names.fresh(value.name)
                for value in each.outputs
            ]
            now.update(zip((value.name for value in each.outputs), made, strict=True))
            outputs = tuple(replace(value, name=name) for value, name in zip(each.outputs, made, strict=True))
            place = replace(each.loops[0], index=index + places.index(each.loops[0].index))
            path = at_turn(each.path, index)
            yield replace(turned, outputs=outputs, path=path, loops=(place, *each.loops[1:]))
        now |= {each.arg.name: now[each.next] for each in loop.carried}


def _parts(function: Function, turned: set[str]) -> Iterator[Child]:
    for child in function.children:
        yield from child.each() if child.path in turned else (child,)
