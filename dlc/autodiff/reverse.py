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
from dlc.ir.nodes import Function, Op, Program, Value
from dlc.ir.paths import gradient_name
from dlc.ir.splice import Names
from dlc.passes.dead_code import DeadCode
from dlc.passes.lower import flatten_calls
from dlc.records import replace
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType


def gradient(program: Program, wrt: Iterable[str] | None = None, of: str | None = None) -> Program:
    """The program with further outputs: the gradients of the output `of` (the first if None), a float scalar.

    `wrt` are paths of parameters or names of inputs; every trainable parameter if None. Each gradient, named
    by `gradient_name`, has the type of what it belongs to, zeros where `of` does not depend on it. The result
    is one function: calls are inlined, and loops over parameters of their own unrolled. Raises NotDifferentiable, KeyError for an
    unknown name."""
    names = list(wrt) if wrt is not None else _trainable(program)
    flat = _without_dead_code(opened(program))
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
    flat = _without_dead_code(opened(program))
    main = flat.main
    b = Builder(Facts(main.facts), names=Names.of(main).fresh)
    pairs = zip(main.outputs, main.output_types, strict=True)
    floats = [(value, Value(gradient_name(name), type)) for (name, value), type in pairs if type.is_float]
    seeds: dict[str, Value] = {}
    for value, pull in floats:  # two outputs may be one value
        seeds[value] = b.add(seeds[value], pull) if value in seeds else pull
    body, outputs = _gradients(b, flat, seeds, _trainable(program))
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
    """The program, flat, with values for the gradients of `wrt` by their paths: of the sum of the outputs in `of`. Where a hint is
    given for one, it counts times a share of its type: a further input that is called like that. Third are the names of these.

    What calls and loops become, and what is raised, is as in `gradient`. Nothing reads the gradients yet."""
    flat = _without_dead_code(opened(program))
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
    """One function, without calls, in which loops whose turns share their parameters read these from outside; others are unrolled."""
    flat = flatten_calls(program)
    return flat.with_functions({**flat.functions, flat.entry: shared_reads_outside(flat.main)})


def _without_dead_code(program: Program) -> Program:
    return DeadCode().run(program)


def _gradients(
    b: Builder, flat: Program, seeds: Mapping[str, Value], names: Iterable[str]
) -> tuple[tuple[Op, ...], list[tuple[str, str]]]:
    """The body that the gradients, which are appended to `b`, stand behind, and for each parameter or input the value that holds its
    gradient; `seeds` as in `backward`."""
    main = flat.main
    sources = {name: _sources(flat, main, name) for name in names}
    leaves = [value for values in sources.values() for value in values]
    body, grads_of_leaves = backward(b, main, seeds, leaves)
    found = dict(zip((leaf.name for leaf in leaves), grads_of_leaves, strict=True))
    outputs = []
    for name, values in sources.items():
        grads = [grad for leaf in values if (grad := found[leaf.name]) is not None]
        outputs.append((name, _total(b, grads, _type_of(flat, main, name)).name))
    return body, outputs


def _loss(main: Function, of: str | None) -> Value:
    """The value of the output to be differentiated."""
    outputs = dict(main.outputs)
    value = outputs[of] if of is not None else main.outputs[0][1]
    type = main.types()[value]
    if type.rank or not type.is_float:
        raise NotDifferentiable(f"a gradient is one of a float scalar, not of {type}", main.span)
    return Value(value, type)


def _sources(program: Program, main: Function, name: str) -> list[Value]:
    """The values that stand for an input or for the reads of a parameter. Raises KeyError for an unknown
    name."""
    inputs = [value for value in main.inputs if value.name == name]
    reads = [op.out for op in main.body if op.op == "param" and op.attr("path") == name]
    if not inputs and not reads:
        _type_of(program, main, name)
    return inputs or reads


def _type_of(program: Program, main: Function, name: str) -> TensorType:
    known = {each.path: each.type for each in program.parameters}
    known.update((param.name, param.type) for param in main.params)
    known.update((op.attr("path"), op.out.type) for op in main.body if op.op == "param")  # type: ignore[misc]
    known.update((value.name, value.type) for value in main.inputs)
    return known[name]


def _total(b: Builder, grads: Sequence[Value], type: TensorType) -> Value:
    if not grads:
        return b.op("full", shape=type.axes, value=0.0, dtype=type.dtype, hint="zeros")
    total = grads[0]
    for grad in grads[1:]:
        total = b.add(total, grad)
    return total
