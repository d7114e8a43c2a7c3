"""A loop whose turns share their parameters: `lax.scan` along an axis.

def step(h, xt):
    h = cell(params["cell"], xt, h)
    return h, h

h, hs = lax.scan(step, h, x.swapaxes(0, 1))
hs = hs.swapaxes(0, 1)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from dlc.emit.draft import DONE
from dlc.emit.forms import call, layers, method, sizes, words
from dlc.emit.origins import size
from dlc.emit.statements import Assign, Loop, Stmt, Target
from dlc.emit.tree import Dot, Expr, Keyword, Ref, Seq, Word
from dlc.ir import loops
from dlc.ir.nodes import Op, walk
from dlc.records import dataclass, replace
from dlc.types.dims import Dim
from dlc_jax import methods
from dlc_jax.drafter import JaxDrafter, stacked_name, working_input

STACK = "jnp.stack"


@dataclass(frozen=True, slots=True)
class Scan(Loop):
    """`source` is the call of `lax.scan` but for the step and the first values. `results` and `outputs` are what is carried, then
    what every step hands out. `carried_state` are the trees of buffers that a step updates; a step's `variable` is its key."""

    carried_state: tuple[str, ...] = ()
    guarded: bool = False
    """Whether a step may have nothing to do: the last of `results` says if it has, and else what it hands out is 0."""


def loop(d: JaxDrafter, op: Op) -> Expr | None:
    """Layers one after another, or the steps of a scan; None for a loop that is neither."""
    if not op.attr("shared"):
        return layers(d, op, STACK, partial(_empty, d))
    d.body += steps(d, op)
    return DONE


def _empty(d: JaxDrafter, stacked: loops.Stacked) -> Expr:
    """What no layers have handed out."""
    whole = stacked.out
    return call("jnp.zeros", Seq(sizes(whole.type.axes)), d.dtype_word(d.dtype_of(whole.name)))


def steps(d: JaxDrafter, op: Op) -> list[Stmt]:
    """The scan, and behind it what it hands out with its axis back in its place."""
    loop = loops.Loop.of(op)
    source = _source(d, loop)
    made = parameters_alone(d)
    first = tuple(_carried(d, made, each.first) for each in loop.carried)
    guard, guarded = _guarded(d, loop)
    body, results = _inside(d, guarded, made)
    kept = [_kept(d, each) for each in loop.stacked]
    index = [] if loop.index is None else [loop.index]
    scan = Scan(
        count=size(Dim.of(loop.count)),
        start=0,
        step=loop.step,
        args=tuple(d.target(each.arg) for each in loop.carried),
        inputs=first,
        body=body,
        results=(*results, *guard),
        outputs=(*(d.target(each.out) for each in loop.carried), *kept),
        source=source,
        slices=tuple(map(d.target, [*index, *(each.arg for each in loop.sequences)])),
        guarded=bool(guard),
    )
    return [scan, *_in_place(d, loop, kept)]


def _inside(d: JaxDrafter, loop: loops.Loop, made: set[str]) -> tuple[tuple[Stmt, ...], tuple[Expr, ...]]:
    """One step: its statements, what it hands on, and what it hands out."""
    inside = d.drafted(loop.body)
    results = [_carried(d, made, each.next) for each in loop.carried]
    results += [d.tensor(each.item) for each in loop.stacked]
    return inside, tuple(results)


def _guarded(d: JaxDrafter, loop: loops.Loop) -> tuple[list[Expr], loops.Loop]:
    """What says whether a step is needed, and the loop without asking for it: of a loop that carries nothing and hands out one value,
    which is 0 where a slice says so. Nothing but that slice decides, so a step that is not needed need not be computed."""
    if loop.carried or len(loop.stacked) != 1 or not any(each.callee for each in loop.body):
        return [], loop
    (stacked,) = loop.stacked
    last = d.producers.get(stacked.item)
    if last is None or last.op != "where":
        return [], loop
    flag, item, other = last.inputs
    zero = d.producers.get(other)
    is_flag = any(each.arg.name == flag and not each.arg.type.rank for each in loop.sequences)
    if not is_flag or d.uses[item] != 1 or zero is None or zero.op != "const" or zero.attr("value") != 0:
        return [], loop
    body = tuple(each for each in loop.body if each is not last)
    return [d.tensor(flag)], replace(loop, body=body, stacked=(replace(stacked, item=item),))


def _in_place(d: JaxDrafter, loop: loops.Loop, kept: Sequence[Target]) -> Iterator[Assign]:
    for each, target in zip(loop.stacked, kept, strict=True):
        if target.name != each.out.name:
            whole = behind(Ref(target.name), each.axis, each.out.type.rank)
            yield Assign((d.target(each.out),), whole)


def in_front(x: Expr, axis: int, rank: int) -> Expr:
    """`x` with an axis as its first."""
    if axis == 0:
        return x
    return _swapped(x, axis, rank) or call("jnp.moveaxis", x, *words((axis if axis < rank - 1 else -1, 0)))


def behind(x: Expr, axis: int, rank: int) -> Expr:
    """`x` with its first axis in the place of another."""
    return _swapped(x, axis, rank) or call("jnp.moveaxis", x, *words((0, axis if axis < rank - 1 else -1)))


def _swapped(x: Expr, axis: int, rank: int) -> Expr | None:
    """The first two axes are as well exchanged."""
    if axis != 1:
        return None
    return Dot(x, "T") if rank == 2 else method(x, "swapaxes", *words((0, 1)))


def _source(d: JaxDrafter, loop: loops.Loop) -> Expr:
    """`lax.scan(x.swapaxes(0, 1), reverse=True)`, with `jnp.arange(T)` where the index is read, `length=T` where nothing is."""
    over = [] if loop.index is None else [_range(d, loop)]
    over += [in_front(d.tensor(each.source), each.axis, d.types[each.source].rank) for each in loop.sequences]
    xs = [Seq(tuple(over))] if len(over) > 1 else over or [Keyword("length", size(Dim.of(loop.count)))]
    reverse = [Keyword("reverse", Word("True"))] if loop.backwards else []
    return call("lax.scan", *xs, *reverse)


def _range(d: JaxDrafter, loop: loops.Loop) -> Expr:
    start = Dim.of(loop.start)
    stop = start + Dim.of(loop.count) * loop.step
    attrs = (("start", start), ("stop", stop), ("step", loop.step), ("dtype", "i64"))
    assert loop.index is not None
    return methods.arange(d, Op("arange", (), (loop.index,), attrs))


def _kept(d: JaxDrafter, stacked: loops.Stacked) -> Target:
    """What every step hands out, the steps along the first axis."""
    target = d.target(stacked.out)
    if stacked.axis == 0:
        return target
    axes = (target.axes[stacked.axis], *target.axes[: stacked.axis], *target.axes[stacked.axis + 1 :])
    return Target(stacked_name(target.name), target.dtype, axes)


# --- what is carried


def _carried(d: JaxDrafter, made: set[str], name: str) -> Expr:
    """A carried value in the dtype that all steps have: what is made of parameters alone has theirs, which may be another."""
    type, value = d.types[name], d.tensor(name)
    if name in d.host and d.dtype(type.dtype) == "i64":
        return d.inline[name]
    follows = type.dtype == "float" and not working_input(d.function)
    if name not in made or follows:
        return value
    return method(value, "astype", d.dtype_word(type.dtype))


def parameters_alone(d: JaxDrafter) -> set[str]:
    """The floats that are made of parameters and numbers, not of inputs."""
    found: set[str] = set()
    numbers: set[str] = set()
    for op in walk(d.function.body):
        read = [name for name in op.inputs if name and d.types[name].is_float and name not in numbers]
        if op.op == "const":
            numbers.add(op.out.name)
        elif op.op == "param" or (read and op.region is None and found.issuperset(read)):
            found.update(value.name for value in op.outputs if value.type.is_float)
    return found
