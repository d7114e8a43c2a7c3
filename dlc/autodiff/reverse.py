"""Gradients of a program as further outputs of it.

Before:

    model Net(%x: [3]) -> (loss: %loss) {
        %y: [3] = exp(%x)
        %loss: [] = sum(%y) {axis=[0], keepdims=false}
    }

After `gradient(program, ["x"])`:

    model Net(%x: [3]) -> (loss: %loss, x.grad: %mul) {
        %y: [3] = exp(%x)
        %loss: [] = sum(%y) {axis=[0], keepdims=false}
        %one: [] = const() {value=1.0}
        %broadcast: [3] = broadcast(%one) {shape=[3]}
        %mul: [3] = mul(%broadcast, %y)
    }
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dlc.autodiff.bodies import NotDifferentiable, backward, shared_reads_outside
from dlc.ir.builder import Builder
from dlc.ir.index import at_turn
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Function, Op, Program, Value, walk
from dlc.ir.paths import gradient_name, turn_paths
from dlc.ir.splice import Names
from dlc.ops.shape import part
from dlc.passes.dead_code import DeadCode
from dlc.passes.hoisting import Hoisting
from dlc.passes.lower import flatten_calls, inline, unroll_function
from dlc.records import dataclass, replace
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType


def gradient(program: Program, wrt: Iterable[str] | None = None, of: str | None = None) -> Program:
    """The program with further outputs: the gradients of the output `of` (the first if None), a float scalar.

    `wrt` are paths of parameters or names of inputs; every trainable parameter if None. Each gradient, named
    by `gradient_name`, has the type of what it belongs to, zeros where `of` does not depend on it. The result
    is one function: calls are inlined. Loops stay loops, so that what layers cost here does not grow with their number; those over parameters
    of their own are unrolled where they lie in other loops, and where not all of their turns are asked for. Raises NotDifferentiable, KeyError for an
    unknown name."""
    names = list(wrt) if wrt is not None else _trainable(program)
    flat = _differentiable(program, names)
    main = flat.main
    loss = _loss(main, of)
    b = Builder(Facts(main.facts), names=Names.of(main).fresh)
    one = b.const(1.0, loss.type.dtype, hint="one")
    body, outputs = _gradients(b, flat, {loss.name: one}, names)
    derived = replace(
        main,
        body=(*body, *b.body),
        outputs=(*main.outputs, *((gradient_name(name), value) for name, value in outputs)),
    )
    return _without_dead_code(flat.with_functions({**flat.functions, main.name: derived}))


def pullback(program: Program) -> Program:
    """The program whose outputs are gradients, of every trainable parameter under its path: those of the sum of its float outputs,
    each times a further input of its type, named by `gradient_name`.

    What calls and loops become, and what is raised, is as in `gradient`."""
    names = _trainable(program)
    flat = _differentiable(program, names)
    main = flat.main
    b = Builder(Facts(main.facts), names=Names.of(main).fresh)
    pairs = zip(main.outputs, main.output_types, strict=True)
    floats = [(value, Value(gradient_name(name), type)) for (name, value), type in pairs if type.is_float]
    seeds: dict[str, Value] = {}
    for value, pull in floats:  # two outputs may be one value
        seeds[value] = b.add(seeds[value], pull) if value in seeds else pull
    body, outputs = _gradients(b, flat, seeds, names)
    derived = replace(
        main,
        inputs=(*main.inputs, *(pull for _, pull in floats)),
        body=(*body, *b.body),
        outputs=tuple(outputs),
    )
    return _without_dead_code(flat.with_functions({**flat.functions, main.name: derived}))


def flat_gradients(
    program: Program, wrt: Sequence[str], of: Mapping[str, str | None]
) -> tuple[Program, dict[str, str], dict[str, str]]:
    """The program, without calls, with values for the gradients of `wrt` by their paths: of the sum of the outputs in `of`. Where a hint is
    given for one, it counts times a share of its type: a further input that is called like that. Third are the names of these.

    What calls and loops become, and what is raised, is as in `gradient`. Nothing reads the gradients yet."""
    flat = _differentiable(program, wrt)
    main = flat.main
    b = Builder(Facts(main.facts), names=Names.of(main).fresh)
    types, values = main.types(), dict(main.outputs)
    shares: dict[str, Value] = {}
    seeds: dict[str, Value] = {}
    for name, hint in of.items():
        value = values[name]
        if hint is None:
            pull = b.const(1.0, _loss(main, name).type.dtype, hint="one")
        else:
            pull = shares[name] = Value(b.fresh(hint), types[value])
        seeds[value] = b.add(seeds[value], pull) if value in seeds else pull
    body, found = _gradients(b, flat, seeds, wrt)
    grads = dict(found)
    inputs = (*main.inputs, *shares.values())
    derived = replace(main, inputs=inputs, body=(*body, *b.body))
    named = {name: share.name for name, share in shares.items()}
    return flat.with_functions({**flat.functions, main.name: derived}), grads, named


def _trainable(program: Program) -> list[str]:
    return [each.path for each in program.parameters if each.trainable]


def opened(program: Program) -> Program:
    """One function, without calls, in which parameters that all turns of a loop share are read outside of it. Loops over parameters of their
    own that lie in other loops are unrolled."""
    flat = inline(program, lambda op: False)
    inner = {op.outputs for outer in flat.main.body for op in walk((outer,)) if op is not outer}
    main = unroll_function(flat.main, lambda loop: not loop.attr("shared") and loop.outputs in inner)
    return flat.with_functions({**flat.functions, flat.entry: shared_reads_outside(main)})


def straight(program: Program) -> Program:
    """The same with all loops over parameters of their own unrolled."""
    flat = flatten_calls(program)
    return flat.with_functions({**flat.functions, flat.entry: shared_reads_outside(flat.main)})


def _differentiable(program: Program, names: Iterable[str]) -> Program:
    """The program as reverse mode takes it, where gradients by these parameters and inputs are asked for: layers of which some are left
    out, such as frozen ones, are written out, so that nothing is computed for those. What all turns of a loop compute alike, a mask say, stands
    before it, where no turn keeps it for the way back."""
    flat, wanted = opened(program), frozenset(names)
    parted = {op.outputs for op in flat.main.body if op.op == LOOP and _is_parted(op, wanted)}
    if parted:
        main = unroll_function(flat.main, lambda loop: loop.outputs in parted)
        flat = flat.with_functions({**flat.functions, flat.entry: main})
    return Hoisting().run(_without_dead_code(flat))


def _is_parted(loop: Op, wanted: frozenset[str]) -> bool:
    """Whether some of a loop's turns have parameters that are wanted, and others don't."""
    reads = (op for op in walk((loop,)) if op.op == "param" and not loop.attr("shared"))
    kinds = ({path in wanted for path in turn_paths(op.text("path"), loop)} for op in reads)
    return any(len(each) > 1 for each in kinds)


def _without_dead_code(program: Program) -> Program:
    return DeadCode().run(program)


def _gradients(
    b: Builder, flat: Program, seeds: Mapping[str, Value], names: Iterable[str]
) -> tuple[tuple[Op, ...], list[tuple[str, str]]]:
    """The body that the gradients, which are appended to `b`, stand behind, and for each parameter or input the value that holds its
    gradient; `seeds` as in `backward`."""
    main, reads, types = flat.main, _reads(flat.main), _types(flat)
    leaves = {each.value: None for name in names for each in _sources(main, reads, name)}
    body, grads = backward(b, main, seeds, list(leaves))
    found = dict(zip((leaf.name for leaf in leaves), grads, strict=True))
    outputs = []
    for name in names:
        pairs = ((each, found[each.value.name]) for each in _sources(main, reads, name))
        parts = [each.gradient(b, grad) for each, grad in pairs if grad is not None]
        outputs.append((name, _total(b, parts, types[name]).name))
    return body, outputs


def _loss(main: Function, of: str | None) -> Value:
    """The value of the output to be differentiated."""
    outputs = dict(main.outputs)
    value = outputs[of] if of is not None else main.outputs[0][1]
    type = main.types()[value]
    if type.rank or not type.is_float:
        raise NotDifferentiable(f"a gradient is one of a float scalar, not of {type}", main.span)
    return Value(value, type)


@dataclass(frozen=True, slots=True)
class _Read:
    """A value that stands for a parameter or an input; where it is read in a loop, in the turn at `position`."""

    value: Value
    position: int | None = None

    def gradient(self, b: Builder, found: Value) -> Value:
        """Its gradient, of what was found for the value: those of all turns, in a loop."""
        if self.position is None:
            return found
        at = part(b, found, 0, self.position, self.position + 1)
        return b.reshape(at, self.value.type.axes)


def _reads(main: Function) -> dict[str, list[_Read]]:
    """Where parameters are read, by path."""
    found: dict[str, list[_Read]] = {}
    for op in main.body:
        if op.op == "param":
            found.setdefault(op.text("path"), []).append(_Read(op.out))
        elif op.op == LOOP and not op.attr("shared"):
            loop = Loop.of(op)
            for each in (each for each in loop.body if each.op == "param"):
                for position, index in zip(loop.positions, loop.indices, strict=True):
                    path = at_turn(each.text("path"), index)
                    found.setdefault(path, []).append(_Read(each.out, position))
    return found


def _sources(main: Function, reads: Mapping[str, list[_Read]], name: str) -> list[_Read]:
    """The values that stand for an input or a parameter."""
    return [_Read(value) for value in main.inputs if value.name == name] or reads.get(name, [])


def _types(program: Program) -> dict[str, TensorType]:
    """The types of what gradients may be asked for by."""
    main = program.main
    known = {each.path: each.type for each in program.parameters}
    known.update((param.name, param.type) for param in main.params)
    known.update((op.text("path"), op.out.type) for op in main.body if op.op == "param")
    known.update((value.name, value.type) for value in main.inputs)
    return known


def _total(b: Builder, grads: Sequence[Value], type: TensorType) -> Value:
    if not grads:
        return b.op("full", shape=type.axes, value=0.0, dtype=type.dtype, hint="zeros")
    total = grads[0]
    for grad in grads[1:]:
        total = b.add(total, grad)
    return total
