"""Buffers that a method gives new values: in place, and outside of what gradients flow through.

    old = average                                      old = self.average.clone()
    update average = 0.9*average + 0.1*mean(x, 0)  ->  with torch.no_grad():
    return x - old                                         self.average.lerp_(x.mean(dim=0), 0.1)
                                                       return x - old

The tensor stays the same one, so that copies, replicas and optimizers that hold it see its values. What else reads the buffer
reads a clone: the update would change it under its reader, and under the gradient that flows through it later. What has only been added to
something before needs none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile

from dlc.emit.draft import DONE
from dlc.emit.forms import method, parameter
from dlc.emit.statements import Store
from dlc.emit.tree import Binary, Expr, Num, Path
from dlc.ir.nodes import Op, Value, walk
from dlc.types.traced import Term
from dlc_torch.drafter import TorchDrafter

# What a sum, difference or product of a buffer and something else is in place.
_IN_PLACE: Mapping[str, str] = {"add": "add_", "sub": "sub_", "mul": "mul_", "div": "div_"}


def read(d: TorchDrafter, op: Op) -> Expr:
    """A parameter is read where it is used; a buffer that is updated where the spec reads it."""
    path = op.text("path")
    if path not in d.updated or op.out.name in _read_in_evaluation(d.function.body):
        return parameter(d, op)
    if _only_updates(d, op) or _is_done_with(d, op):
        return parameter(d, op)
    return method(Path(path, tensor=True), "clone")


def update(d: TorchDrafter, op: Op) -> Expr:
    buffer = Path(op.text("path"), tensor=True)
    if d.uses[op.inputs[0]] > 1:  # it stands for the buffer from here on
        d.better[op.inputs[0]] = f"new_{buffer.path.rpartition('.')[2]}"
    d.body.append(Store(buffer, _in_place(d, op, buffer) or method(buffer, "copy_", _value(d, op))))
    return DONE


def _value(d: TorchDrafter, op: Op) -> Expr:
    """The new value."""
    return d.tensor(_attached(d, op))


def _attached(d: TorchDrafter, op: Op) -> str:
    """The value that an update is given: that no gradient flows into it goes without saying."""
    name = op.inputs[0]
    source = d.producers.get(name)
    detached = source is not None and source.op == "stop_gradient" and d.uses[name] == 1
    return source.inputs[0] if source is not None and detached else name


def _in_place(d: TorchDrafter, op: Op, buffer: Path) -> Expr | None:
    """`buffer.add_(1)`, `buffer.lerp_(mean, 0.1)`; None for what is no step from the old value."""
    source = d.producers.get(_attached(d, op))
    if source is None or d.uses[source.out.name] != 1 or source.op not in _IN_PLACE:
        return None
    left, right = source.inputs
    if source.op == "add" and (mixed := _mixed(d, left, right, buffer)):
        return mixed
    if source.op in ("add", "mul") and _is_old(d, right, buffer):
        left, right = right, left
    if not _is_old(d, left, buffer) or d.types[right].rank > d.types[left].rank:
        return None
    same = d.dtype_of(right) == d.dtype_of(left) or right in d.host
    return method(buffer, _IN_PLACE[source.op], d.value(right)) if same else None


def _mixed(d: TorchDrafter, left: str, right: str, buffer: Path) -> Expr | None:
    """A mean of the old value and a new one, whose weights add up to one."""
    for kept, new in ((left, right), (right, left)):
        (old, share), (value, weight) = _weighted(d, kept), _weighted(d, new)
        if not share or not weight or not _is_old(d, old, buffer):
            continue
        if _are_whole(d.inline[share], d.inline[weight]) and d.dtype_of(value) == d.dtype_of(old):
            return method(buffer, "lerp_", d.tensor(value), d.inline[weight])
    return None


def _is_old(d: TorchDrafter, name: str, buffer: Path) -> bool:
    """Whether a value is the buffer's before the update."""
    op = d.producers.get(name)
    return op is not None and op.op == "param" and op.text("path") == buffer.path


def _weighted(d: TorchDrafter, name: str) -> tuple[str, str]:
    """A product's tensor and number; "" for what is none."""
    op = d.producers.get(name)
    if op is None or op.op != "mul" or d.uses[name] != 1:
        return "", ""
    a, b = op.inputs
    return (a, b) if b in d.host else (b, a) if a in d.host else ("", "")


def _are_whole(share: Expr, weight: Expr) -> bool:
    match share, weight:
        case Num(a), Num(b):
            return math.isclose(a + b, 1.0)
        case (Binary("-", Num(1), other), same) | (same, Binary("-", Num(1), other)):
            return other == same
    return False


def _read_in_evaluation(body: Iterable[Op]) -> set[str]:
    """What is read where the model does not train, and nothing is updated."""
    found: set[str] = set()
    for op in body:
        sides = ((op.region, _EVALUATION), (op.otherwise, _TRAINING))
        for region, condition in sides:
            if region is None:
                continue
            if op.condition == condition:
                found.update(each.out.name for each in walk(region.body) if each.op == "param")
            else:
                found |= _read_in_evaluation(region.body)
    return found


_TRAINING = Term("training")
_EVALUATION = Term("not", (_TRAINING,))


_NEW = frozenset(("add", "sub", "mod", "eq", "ne", "lt", "le", "gt", "ge", "neg", "update"))
"""What makes a tensor of its own of a buffer, of which gradients need nothing."""


def _is_done_with(d: TorchDrafter, op: Op) -> bool:
    """Whether all that reads a buffer has done so before the update, and neither holds it nor needs it again."""
    readers = d.readers.get(op.out.name, [])
    if len(readers) != d.uses[op.out.name] or not all(each.op in _NEW for each in readers):
        return False
    path = op.text("path")
    here = next((body for body in _blocks(d.function.body) if op.out in _made_in(body)), ())
    made = _made_in(takewhile(lambda each: not _updates(each, path), here))
    return all(
        each.op == "update" or each.out in made or _only_goes_into(d, each.out.name, path) for each in readers
    )


def _made_in(body: Iterable[Op]) -> list[Value]:
    return [out for op in body for out in op.outputs]


def _blocks(body: Sequence[Op]) -> Iterator[Sequence[Op]]:
    """A body, and those of regions in it."""
    yield body
    for op in walk(body):
        yield from (each.body for each in op.regions)


def _updates(op: Op, path: str) -> bool:
    """Whether an operation, or one inside of it, gives a buffer a new value."""
    return any(each.op == "update" and each.text("path") == path for each in walk((op,)))


def _only_updates(d: TorchDrafter, op: Op) -> bool:
    """Whether a buffer is read for nothing but its own new value."""
    return _only_goes_into(d, op.out.name, op.text("path"))


def _only_goes_into(d: TorchDrafter, value: str, path: str) -> bool:
    """Whether a value is read for nothing but the new value of a buffer."""
    waiting = [value]
    while waiting:
        name = waiting.pop()
        readers = d.readers.get(name, [])
        if len(readers) != d.uses[name]:  # it is a result as well
            return False
        for each in readers:
            if each.region is not None or (each.op == "update" and each.text("path") != path):
                return False
            waiting += [out.name for out in each.outputs]
        if any(each.op == "require" for each in readers):
            return False
    return True
