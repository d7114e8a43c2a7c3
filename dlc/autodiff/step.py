"""A training step as one program: the loss of a batch, its gradients, and what the optimizers make of these.

Two programs are joined. One computes the loss, the other takes gradients as inputs (`dlc/elaborate/programs/update.py`):

    model train(%x: [B, 4]) -> (loss: %loss)        model update(%fc.weight.grad: [3, 4], %t: i64[], %rate: []) -> ()

become

    model train(%x: [B, 4], %t: i64[], %rate: []) -> (loss: %loss) {
        … the loss, its gradient, and the update of fc.weight and of optimizer.fc.weight.exp_avg
    }

Where several batches make one step, its first part adds gradients up in buffers, and its last reads them from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from dlc.autodiff.reverse import flat_gradients, opened
from dlc.ir.builder import Builder
from dlc.ir.loops import turning
from dlc.ir.nodes import Function, Op, Param, Parameter, Program, Value
from dlc.ir.paths import gradient_name, turn_paths
from dlc.ir.splice import PATH_OPS, Draws, Names, Splice, referring
from dlc.passes.dead_code import DeadCode
from dlc.passes.lower import resolve_float
from dlc.passes.zeros import zeros
from dlc.records import dataclass, replace
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType

KEPT = "f32"
"""What `float` means for parameters and optimizers, whatever the network computes in."""
SUMS = "gradient"
WIDE = "f32"
Scale: TypeAlias = float | str | None
"""What a loss is multiplied by while gradients are taken: a number, or the buffer at a path."""
SCALE_TYPE = TensorType(WIDE, ())


@dataclass(frozen=True, slots=True)
class Step:
    """A program, and what its inputs beside the fields of a batch are called in it: those of the update by their names there, shares
    by the names of outputs; and outputs of the update."""

    program: Program
    names: Mapping[str, str]


def whole_step(
    program: Program,
    update: Program,
    trained: Sequence[str],
    loss: str,
    precision: str = KEPT,
    kept: str = KEPT,
    scale: Scale = None,
) -> Step:
    """A step on one batch: it has the program's inputs and outputs, and updates what is trained. The network computes in
    `precision`, on parameters that are `kept` in one that the optimizers compute in; gradients are those of the loss times the `scale`,
    which `update` divides them by. Raises NotDifferentiable."""
    derived, grads, shares = flat_gradients(program, trained, {loss: None if scale is None else "share"})
    if scale is not None:
        derived = _scaled(derived, shares, scale, alone=True)
    return _cleaned(_joined(narrowed(derived, precision, kept), grads, resolve_float(update, kept), kept))


def part_of_step(
    program: Program,
    trained: Sequence[str],
    outputs: Iterable[str],
    precision: str = KEPT,
    kept: str = KEPT,
    scale: Scale = None,
    update: Program | None = None,
) -> Step:
    """What a step does with each of several batches: the gradient of these outputs, each times its share, which is an input, is added
    to the sums. A `scale` that is a buffer begins as in the `update`. Raises NotDifferentiable."""
    derived, grads, shares = flat_gradients(program, trained, dict.fromkeys(outputs, "share"))
    if scale is not None:
        derived = _scaled(derived, shares, scale)
    if isinstance(scale, str) and update is not None:
        derived = _with_buffer(derived, scale, update)
    narrow = narrowed(derived, precision, kept)
    found = narrow.main.types()
    b = _appending(narrow.main)
    types = _types(narrow.parameters, trained)
    for path, type in types.items():
        grad = b.cast(Value(grads[path], found[grads[path]]), kept)
        _update(b, sum_path(path), b.add(_read(b, sum_path(path), type), grad))
    main = replace(narrow.main, body=(*narrow.main.body, *b.body))
    return _cleaned(Step(_with_sums(narrow, main, types), shares))


def rest_of_step(update: Program, trained: Sequence[str], kept: str = KEPT) -> Step:
    """What a step does after its batches: the update by the sums, which are zeros again then."""
    update = resolve_float(update, kept)
    main, types = update.main, _types(update.parameters, trained)
    b = _appending(main)
    read = {gradient_name(path): _read(b, sum_path(path), type).name for path, type in types.items()}
    sums = tuple(b.body)
    b.body = []
    for path, type in types.items():
        _update(b, sum_path(path), b.op("full", shape=type.axes, value=0.0, dtype=kept, hint="zeros"))
    inputs = tuple(each for each in main.inputs if each.name not in read)
    body = (*sums, *(op.renamed(read) for op in main.body), *b.body)
    rest = replace(main, inputs=inputs, body=body)
    names = (*(each.name for each in inputs), *(name for name, _ in main.outputs))
    return _cleaned(Step(_with_sums(update, rest, types), {name: name for name in names}))


def narrowed(program: Program, precision: str, kept: str = KEPT) -> Program:
    """The program computing in a precision on parameters that are `kept` in another; without calls, where these differ."""
    whole = resolve_float(program, kept)
    if precision == kept:
        return whole
    wide = {
        each.path: each.type.with_dtype(kept) for each in program.parameters if each.type.dtype == "float"
    }
    program = opened(program)
    main = resolve_float(program, precision).main
    body = _Narrowed(wide, Names.of(main)).body(main.body, None)
    flat = resolve_float(program, kept)
    narrow = replace(main, body=body, params=flat.main.params)
    return flat.with_functions({**flat.functions, main.name: narrow})


@dataclass(frozen=True, slots=True)
class _Narrowed:
    """Reads and updates of parameters, with casts from and to what these are kept in: the types of `wide`, by path."""

    wide: Mapping[str, TensorType]
    names: Names

    def body(self, body: Iterable[Op], loop: Op | None) -> tuple[Op, ...]:
        return tuple(each for op in body for each in self._cast(op, loop))

    def _cast(self, op: Op, loop: Op | None) -> tuple[Op, ...]:
        """The op in the body of the loop whose index is in paths."""
        if op.region is not None:
            inner = self.body(op.region.body, turning(op, loop))
            return (replace(op, region=replace(op.region, body=inner)),)
        type = self.wide.get(turn_paths(op.text("path"), loop)[0]) if op.op in PATH_OPS else None
        if type is None:
            return (op,)
        if op.op == "param":
            read = Value(self.names.fresh(op.out.name), type)
            return (replace(op, outputs=(read,)), _cast(op, (read.name,), op.out))
        new = Value(self.names.fresh(op.inputs[0]), type)
        return (_cast(op, op.inputs, new), replace(op, inputs=(new.name,)))


def _scaled(
    derived: Program, shares: Mapping[str, str], scale: float | str, *, alone: bool = False
) -> Program:
    """The program with shares times the `scale`, in f32; `alone` they are 1, and no inputs."""
    main = derived.main
    b = _appending(main)
    factor = b.const(float(scale), WIDE) if isinstance(scale, float | int) else _read(b, scale, SCALE_TYPE)
    known, seeds = {each.name: each for each in main.inputs}, {}
    for name in shares.values():
        share = known[name]
        seed = factor if alone else b.mul(b.cast(share, WIDE), factor)
        seeds[name] = b.cast(seed, share.type.dtype)
    now = {name: each.name for name, each in seeds.items()}
    inputs = tuple(each for each in main.inputs if not (alone and each.name in now))
    body = (*b.body, *(op.renamed(now) for op in main.body))
    return derived.with_functions({**derived.functions, main.name: replace(main, inputs=inputs, body=body)})


def _with_buffer(program: Program, path: str, update: Program) -> Program:
    """The program with a buffer of another, and what it begins as."""
    taken = Names(program.functions)
    (found,) = (each for each in update.parameters if each.path == path)
    init = replace(update.functions[found.init], name=taken.fresh(found.init))
    main = program.main
    param = Param(path, found.type, "buffer", init=init.name)
    functions = {each: function for each, function in program.functions.items() if each != main.name}
    functions |= {init.name: init, main.name: replace(main, params=(*main.params, param))}
    return replace(
        program, functions=functions, parameters=(*program.parameters, replace(found, init=init.name))
    )


def sum_path(path: str) -> str:
    """The buffer that gradients of the parameter at `path` are added up in."""
    return f"{SUMS}.{path}"


def _cast(op: Op, inputs: tuple[str, ...], out: Value) -> Op:
    return Op("cast", inputs, (out,), (("dtype", out.type.dtype),), span=op.span)


def _appending(main: Function) -> Builder:
    return Builder(Facts(main.facts), names=Names.of(main).fresh)


def _read(b: Builder, path: str, type: TensorType) -> Value:
    value = Value(b.fresh(path.rsplit(".", 1)[-1]), type)
    b.append(Op("param", (), (value,), (("path", path),)))
    return value


def _update(b: Builder, path: str, value: Value) -> None:
    b.append(Op("update", (value.name,), (), (("path", path),)))


def _types(parameters: Iterable[Parameter], paths: Sequence[str]) -> dict[str, TensorType]:
    known = {each.path: each.type for each in parameters}
    return {path: known[path] for path in paths}


def _cleaned(step: Step) -> Step:
    return Step(DeadCode().run(step.program), step.names)


def _joined(first: Program, grads: Mapping[str, str], update: Program, kept: str) -> Step:
    """The update behind the gradients that it takes."""
    taken = Names(first.functions)
    now = {name: taken.fresh(name) for name in update.functions}
    functions = dict(first.functions)
    for name, each in update.functions.items():
        functions[now[name]] = replace(
            referring(each, lambda called: now.get(called, called)), name=now[name]
        )
    main, last = first.main, functions.pop(now[update.entry])
    types, names = main.types(), Names.of(main)
    b = Builder(Facts(main.facts), names=names.fresh)
    values = {
        gradient_name(path): b.cast(Value(name, types[name]), kept).name for path, name in grads.items()
    }
    further = [each for each in last.inputs if each.name not in values]
    inputs = tuple(Value(names.fresh(each.name), each.type) for each in further)
    own = dict(zip((each.name for each in further), (each.name for each in inputs), strict=True))
    splice = Splice(names, Draws.of(main), {**values, **own}, {}, str)
    body = splice.body(last.body)
    called = Names(name for name, _ in main.outputs)
    given = {name: (called.fresh(name), splice.values[value]) for name, value in last.outputs}
    known = {each.name for each in main.params}
    functions[main.name] = replace(
        main,
        inputs=(*main.inputs, *inputs),
        outputs=(*main.outputs, *given.values()),
        body=(*main.body, *b.body, *body),
        params=(*main.params, *(each for each in last.params if each.name not in known)),
        children=(*main.children, *last.children),
    )
    paths = {each.path for each in first.parameters}
    states = tuple(
        replace(each, init=now.get(each.init, each.init))
        for each in update.parameters
        if each.path not in paths
    )
    # Callees stand before callers.
    functions[main.name] = functions.pop(main.name)
    told = {name: output for name, (output, _) in given.items()}
    return Step(Program(functions, main.name, (*first.parameters, *states)), {**own, **told})


def _with_sums(program: Program, main: Function, sums: Mapping[str, TensorType]) -> Program:
    """The program with this main function and buffers for sums of gradients, zeros at first."""
    functions = dict(program.functions)
    del functions[main.name]
    made, inits = zeros(program.functions, sums.values())
    functions.update(made)
    params = tuple(Param(sum_path(path), type, "buffer", init=inits[type]) for path, type in sums.items())
    functions[main.name] = replace(main, params=(*main.params, *params))
    buffers = (Parameter(each.name, each.type, each.kind, False, each.init) for each in params)
    return replace(program, functions=functions, parameters=(*program.parameters, *buffers))
