"""What each function of a program takes and gives besides inputs and outputs: parameters, state, a mode, a key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from dlc.ir.nodes import Function, Op, Program, walk
from dlc_jax.drafter import Traits, is_draw
from dlc_jax.places import Places


def traits_of(program: Program, places: Places) -> dict[str, Traits]:
    """The traits of every function, by name. A model that has buffers takes and gives a state whether it reads one or not."""
    found: dict[str, Traits] = {}
    for name, function in program.functions.items():  # callees stand before callers
        found[name] = _traits(function, places, found)
    if any(each.kind == "buffer" for each in program.parameters):
        found[program.entry] = replace(found[program.entry], state=True, updates=True)
    return found


def _traits(function: Function, places: Places, known: dict[str, Traits]) -> Traits:
    ops = list(walk(function.body))
    callees = [known[op.callee] for op in ops if op.callee]
    kinds = {kind for op in ops if op.op in ("param", "update") for kind in _kind(places, function, op)}
    conditions = [op.condition for op in ops if op.condition is not None]
    given = [term for op in ops for _, term in op.given]
    return Traits(
        params="params" in kinds or any(each.params for each in callees),
        state="state" in kinds or any(each.state for each in callees),
        updates=any(op.op == "update" and "state" in _kind(places, function, op) for op in ops)
        or any(each.updates for each in callees),
        training=any(each.holds("training") for each in (*conditions, *given))
        or any(each.training for each in callees),
        key=_key(function.body, known),
    )


def _kind(places: Places, function: Function, op: Op) -> Iterator[str]:
    found = places.find(function.name, op.text("path"))
    if found is not None and found.param is not None:
        yield "state" if found.param.kind == "buffer" else "params"


def _key(body: Iterable[Op], known: dict[str, Traits]) -> str:
    """Whether a body needs a key: "maybe" where only under a condition."""
    found = ""
    for op in body:
        here = "always" if is_draw(op) else known[op.callee].key if op.callee else ""
        for region in op.regions:
            inner = _key(region.body, known)
            here = here or ("maybe" if inner and op.condition is not None else inner)
        if here == "always":
            return here
        found = found or here
    return found
