"""Reverse mode: a body is followed from its end, each op's rule turning gradients of results into those of
operands.

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

from collections.abc import Collection, Iterable, Mapping, Sequence

from dlc import ops
from dlc.diagnostics import Span
from dlc.ir.builder import Builder
from dlc.ir.loops import LOOP
from dlc.ir.nodes import Function, Op, Program, Value
from dlc.ir.paths import gradient_name
from dlc.ir.splice import Names
from dlc.records import replace
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType

# Ops without results of their own that a derivative could pass through.
_SILENT = frozenset({"update", "require", "const", "param"})


class NotDifferentiable(Exception):
    """A gradient that does not exist or that no rule gives; `span` is the place of the op at fault."""

    def __init__(self, message: str, span: Span) -> None:
        super().__init__(message)
        self.message = message
        self.span = span


def gradient(program: Program, wrt: Iterable[str] | None = None, of: str | None = None) -> Program:
    """The program with further outputs: the gradients of the output `of` (the first if None), a float scalar.

    `wrt` are paths of parameters or names of inputs; every trainable parameter if None. Each gradient, named
    by `gradient_name`, has the type of what it belongs to, zeros where `of` does not depend on it. The result
    is one function: calls are inlined and loops unrolled. Raises NotDifferentiable, KeyError for an unknown
    name."""
    names = list(wrt) if wrt is not None else _trainable(program)
    flat = _flat(program)
    main = flat.main
    loss = _loss(main, of)
    b = Builder(Facts(main.facts), names=Names.of(main).fresh)
    one = b.const(1.0, loss.type.dtype, hint="one")
    outputs = _gradients(b, flat, {loss.name: one}, names)
    derived = replace(
        main,
        body=(*main.body, *b.body),
        outputs=(*main.outputs, *((gradient_name(name), value) for name, value in outputs)),
    )
    return _without_dead_code(flat.with_functions({**flat.functions, main.name: derived}))


def pullback(program: Program) -> Program:
    """The program whose outputs are gradients, of every trainable parameter under its path: those of the sum of its float outputs,
    each times a further input of its type, named by `gradient_name`.

    What calls and loops become, and what is raised, is as in `gradient`; loops over a size need `at_sizes` first."""
    flat = _flat(program)
    main = flat.main
    b = Builder(Facts(main.facts), names=Names.of(main).fresh)
    pairs = zip(main.outputs, main.output_types, strict=True)
    floats = [(value, Value(gradient_name(name), type)) for (name, value), type in pairs if type.is_float]
    seeds: dict[str, Value] = {}
    for value, pull in floats:  # two outputs may be one value
        seeds[value] = b.add(seeds[value], pull) if value in seeds else pull
    outputs = _gradients(b, flat, seeds, _trainable(program))
    derived = replace(
        main,
        inputs=(*main.inputs, *(pull for _, pull in floats)),
        body=(*main.body, *b.body),
        outputs=tuple(outputs),
    )
    return _without_dead_code(flat.with_functions({**flat.functions, main.name: derived}))


def flat_gradients(
    program: Program, wrt: Sequence[str], of: Mapping[str, str | None]
) -> tuple[Program, dict[str, str], dict[str, str]]:
    """The program, flat, with values for the gradients of `wrt` by their paths: of the sum of the outputs in `of`. Where a hint is
    given for one, it counts times a share of its type: a further input that is called like that. Third are the names of these.

    What calls and loops become, and what is raised, is as in `gradient`. Nothing reads the gradients yet."""
    flat = _flat(program)
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
    grads = dict(_gradients(b, flat, seeds, wrt))
    inputs = (*main.inputs, *shares.values())
    derived = replace(main, inputs=inputs, body=(*main.body, *b.body))
    named = {name: share.name for name, share in shares.items()}
    return flat.with_functions({**flat.functions, main.name: derived}), grads, named


def _trainable(program: Program) -> list[str]:
    return [each.path for each in program.parameters if each.trainable]


def _flat(program: Program) -> Program:
    from dlc.passes.lower import flatten

    return _without_dead_code(flatten(program))


def _without_dead_code(program: Program) -> Program:
    from dlc.passes.dead_code import DeadCode

    return DeadCode().run(program)


def _gradients(
    b: Builder, flat: Program, seeds: Mapping[str, Value], names: Iterable[str]
) -> list[tuple[str, str]]:
    """For each parameter or input the value that holds its gradient, appended to `b`; `seeds` as in `backward`."""
    main = flat.main
    _refuse_loops(main, seeds)
    sources = {name: _sources(flat, main, name) for name in names}
    leaves = [value for values in sources.values() for value in values]
    found = dict(zip((leaf.name for leaf in leaves), backward(b, main, seeds, leaves), strict=True))
    outputs = []
    for name, values in sources.items():
        grads = [grad for leaf in values if (grad := found[leaf.name]) is not None]
        outputs.append((name, _total(b, grads, _type_of(flat, main, name)).name))
    return outputs


def _loss(main: Function, of: str | None) -> Value:
    """The value of the output to be differentiated."""
    outputs = dict(main.outputs)
    value = outputs[of] if of is not None else main.outputs[0][1]
    type = main.types()[value]
    if type.rank or not type.is_float:
        raise NotDifferentiable(f"a gradient is one of a float scalar, not of {type}", main.span)
    return Value(value, type)


def _refuse_loops(main: Function, of: Iterable[str]) -> None:
    """Raises NotDifferentiable if one of these values depends on a loop that could not be unrolled: its body may read parameters
    and values from outside, of which `backward` would see nothing."""
    needed = set(of)
    for op in reversed(main.body):
        if _is_constant(op) or not any(out.name in needed and out.type.is_float for out in op.outputs):
            continue
        if op.op == LOOP:
            raise NotDifferentiable(f"a loop of {op.attr('count')} turns has no derivative yet", op.span)
        needed.update(op.inputs)


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


def backward(
    b: Builder, function: Function, seeds: Mapping[str, Value], wrt: Sequence[Value]
) -> list[Value | None]:
    """Append to `b` the gradients of `wrt` and give them, None where one is zero.

    `seeds` are the gradients of some of the function's values. Its body must be flat: no calls, no loops.
    `b` must know the function's facts and use fresh names."""
    types = function.types()
    active = _active(function.body, {value.name for value in wrt})
    grads: dict[str, Value] = {name: seed for name, seed in seeds.items() if name in active}
    for op in reversed(function.body):
        incoming = [grads.get(value.name) for value in op.outputs]
        wanted = [name in active for name in op.inputs]
        if any(wanted) and any(grad is not None for grad in incoming):
            b.span = op.span
            for name, grad in _apply(b, op, incoming, types):
                if name in active:
                    grads[name] = b.add(grads[name], grad) if name in grads else grad
    return [grads.get(value.name) for value in wrt]


def _active(body: Iterable[Op], wrt: Collection[str]) -> set[str]:
    """The float values that depend on `wrt` in a way that has a derivative."""
    active = set(wrt)
    for op in body:
        if not _is_constant(op) and any(name in active for name in op.inputs):
            active.update(value.name for value in op.outputs if value.type.is_float)
    return active


def _is_constant(op: Op) -> bool:
    """Whether an op's results count as constants, whatever its operands are."""
    return op.op == "stop_gradient" or (ops.known(op.op) and not ops.get(op.op).differentiable)


def _apply(
    b: Builder, op: Op, incoming: Sequence[Value | None], types: Mapping[str, TensorType]
) -> list[tuple[str, Value]]:
    """The gradients that an op's rule gives to its operands, by name."""
    if op.op in _SILENT:
        return []
    if op.callee or op.region is not None or not ops.known(op.op):
        raise NotDifferentiable(f"`{op.op}` must be inlined before derivatives are taken", op.span)
    rule = ops.get(op.op).vjp
    if rule is None:
        raise NotDifferentiable(f"`{op.op}` has no derivative", op.span)
    operands = [Value(name, types[name]) for name in op.inputs]
    try:
        found = rule(b, op, incoming, operands, op.outputs)
    except Exception as error:
        error.add_note(f"in the derivative of `{op.op}`")
        raise
    return [(name, grad) for name, grad in zip(op.inputs, found, strict=True) if grad is not None]
