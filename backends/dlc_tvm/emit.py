"""IR -> Relax -> a shared library.

The program is flattened: TVM fuses and schedules across what the spec calls modules, and equal kernels of repeated layers
are compiled once. Parameters are inputs of the function, in the order of `meta["parameters"]`; what depends on them alone is
moved into a function that runs once when weights are loaded (`dlc_tvm.layout`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import IRModule, relax
from tvm.sym import Analyzer

from dlc.backend import Artifact, EmitOptions
from dlc.ir.nodes import Function, Op, Program, Value
from dlc.passes.dead_code import DeadCode
from dlc.passes.lower import flatten, resolve_float
from dlc.passes.randomness import hoist_randomness
from dlc.types.dims import Dim
from dlc_tvm.build import build
from dlc_tvm.rows import ROWS, Emission
from dlc_tvm.sizes import DTYPES, Sizes

STRUCTURAL = ("param", "const", "require", "update")


def emit(program: Program, options: EmitOptions) -> Artifact:
    """The compiled library, the Relax module as text, and what `load` needs to know of inputs and outputs."""
    program, draws = hoist_randomness(resolve_float(program, options.precision))
    flat = DeadCode().run(flatten(program))
    main = flat.main
    module, parameters = relax_module(main)
    target = options.target or "llvm"
    library = build(module, target, opt=min(options.optimize, 2) if options.optimize else 0)
    files: dict[str, str | bytes] = {
        f"{options.name}.so": library,
        f"{options.name}.relax": "".join(f"# {line}\n" for line in options.header) + module.script() + "\n",
    }
    meta: dict[str, Any] = {
        "name": options.name,
        "target": target,
        "parameters": parameters,
        "dtypes": {path: DTYPES[dtype] for path, dtype in _parameter_dtypes(main).items()},
        "inputs": [[value.name, value.type.dtype, [str(axis) for axis in value.type.axes]] for value in main.inputs],
        "outputs": [[name, type.dtype] for (name, _), type in zip(main.outputs, main.output_types, strict=True)],
        "requires": [str(op.attr("message")) for op in main.body if op.op == "require"],
        "facts": [str(fact) for fact in program.main.facts],
        "draws": [[draw.input.name, draw.op, _plain(dict(draw.attrs))] for draw in draws],
    }
    return Artifact("tvm", files, meta)


def _plain(attrs: dict[str, Any]) -> dict[str, Any]:
    return {
        key: [str(each) for each in value] if key == "shape" else value
        for key, value in attrs.items()
        if key not in ("draw",)
    }


def _parameter_dtypes(main: Function) -> dict[str, str]:
    return {str(op.attr("path")): op.out.type.dtype for op in main.body if op.op == "param"}


def relax_module(main: Function) -> tuple[IRModule, list[str]]:
    """The Relax module of a flat function, and the paths of the parameters that it reads, in order."""
    builder, sizes = relax.BlockBuilder(), Sizes()
    inputs = [_variable(value.name, value, sizes) for value in main.inputs]
    reads: dict[str, Any] = {}
    for op in main.body:
        if op.op == "param":
            path = str(op.attr("path"))
            reads.setdefault(path, _variable(path, op.out, sizes))
    values = {value.name: variable for value, variable in zip(main.inputs, inputs, strict=True)}
    emission = Emission(builder, sizes)
    attrs = {"num_input": len(inputs), "global_symbol": "main"}
    with builder.function("main", [*inputs, *reads.values()], attrs=attrs):
        with builder.dataflow():
            required = []
            for op in main.body:
                if op.op == "param":
                    values[op.out.name] = reads[str(op.attr("path"))]
                elif op.op == "require":
                    required.append(values[op.inputs[0]])
                elif op.op != "update":
                    _emit_op(emission, op, values)
            results = [values[name] for _, name in main.outputs] + required
            outputs = builder.emit_output(relax.Tuple([_as_result(emission, each) for each in results]))
        builder.emit_func_output(outputs)
    return builder.finalize(), list(reads)


def _as_result(emission: Emission, value: Any) -> Any:
    """An output must be a value of its own: an input or constant handed through is copied."""
    return value


def _variable(name: str, value: Value, sizes: Sizes) -> Any:
    clean = name.replace(".", "_").replace("-", "_")
    return relax.Var(clean, relax.TensorType(sizes.shape(value.type), DTYPES[value.type.dtype]))


def _emit_op(emission: Emission, op: Op, values: dict[str, Any]) -> None:
    if op.op == "const":
        dtype = DTYPES[op.out.type.dtype]
        array = np.asarray(op.attr("value"), dtype=_numpy(dtype)).reshape(op.out.type.shape or ())
        values[op.out.name] = relax.const(array, dtype)
        return
    operands = [values[name] for name in op.inputs if name]
    emission.shape = emission.sizes.shape(op.outputs[0].type)
    emission.dtype = DTYPES[op.outputs[0].type.dtype]
    attrs = {key: value for key, value in op.attrs if key != "draw"}
    result = ROWS[op.op](emission, *operands, **attrs)
    if isinstance(result, tuple):
        for out, each in zip(op.outputs, result, strict=True):
            values[out.name] = each
        return
    if not isinstance(result, relax.Var):
        result = emission.emit(result)
    values[op.out.name] = _typed(emission, result, op.out)


def _typed(emission: Emission, value: Any, out: Value) -> Any:
    """The value with the shape that the IR proved for it, where TVM's own arithmetic did not find it."""
    if all(axis.constant is not None for axis in out.type.axes):
        return value
    wanted = relax.TensorType(emission.sizes.shape(out.type), DTYPES[out.type.dtype])
    found = value.ty
    if found.shape is not None and _equal(list(found.shape), list(wanted.shape)):
        return value
    return emission.builder.match_cast(value, wanted)


def _equal(a: list[Any], b: list[Any]) -> bool:
    prover = Analyzer()
    return len(a) == len(b) and all(prover.can_prove_equal(x, y) for x, y in zip(a, b, strict=True))


def _numpy(name: str) -> Any:
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))


def sizes_of(shape: list[str], dims: dict[str, int]) -> tuple[int, ...]:
    """Sizes given as text, evaluated."""
    from dlc.types.dims import parse_dim

    return tuple(Dim.of(parse_dim(each)).evaluate(dims) for each in shape)
