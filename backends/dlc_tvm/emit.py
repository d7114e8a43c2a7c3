"""IR -> Relax -> a shared library.

The program is flattened, but for the composites of the library that have a row. Keeping the spec's modules as Relax functions
would pay nothing here: TVM fuses within a function only, `layout` moves work on weights out of `main` only, and memory is planned
function by function, so every call would cost what flattening gains. Nor does it save compile time, since kernels are shared: the
layers of a model that are alike call the same ones, and each is scheduled and compiled once.

Parameters are inputs of `main` behind the data, in the order of `meta["parameters"]`; what depends on them alone is moved into a
function that runs once, when weights are loaded (`dlc_tvm.layout`, at -O2). Draws of randomness are inputs too, the results of
`require`s and the new values of buffers are outputs behind the model's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tvm import IRModule, relax

from dlc.backend import Artifact, EmitOptions
from dlc.diagnostics import SpecError
from dlc.diagnostics import training as problems
from dlc.ir.nodes import NO_SPAN, Attr, Function, Op, Program, Value
from dlc.ir.splice import prefixed
from dlc.ops.arrays import numpy_dtype
from dlc.passes.dead_code import DeadCode
from dlc.passes.lower import hoist_randomness, inline, resolve_float, unroll
from dlc.passes.randomness import Draw
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType
from dlc_tvm.build import ToolMissing, build, parse_target
from dlc_tvm.emission import Emission, all_equal
from dlc_tvm.names import TVM
from dlc_tvm.rows import ROWS
from dlc_tvm.sizes import Sizes
from dlc_tvm.text import identifier, json_text, text

MOST_OPTIMIZED = 2


def emit(program: Program, options: EmitOptions) -> Artifact:
    """The compiled library, the Relax module as text, and what `load` needs to know, also as JSON for other programs. Raises
    SpecError for a target that is none, an operation that has no row, and a tool that is missing."""
    target = checked_target(options.target)
    flat, draws = flattened(program, options.precision)
    module = Module.of(flat)
    library = _built(module.relax, target, options)
    meta = _meta(flat, module, draws, options, target)
    files: dict[str, str | bytes] = {
        f"{options.name}.so": library,
        f"{options.name}.relax": text(module.relax, options.header),
        f"{options.name}.json": json_text(meta),
    }
    return Artifact("tvm", files, meta)


def checked_target(name: str) -> str:
    """The target to build for. Raises SpecError if TVM knows none of that name."""
    target = name or "llvm"
    try:
        parse_target(target)
    except Exception as error:  # what TVM raises for a bad option depends on the option
        reason = str(error).strip().splitlines()[-1]
        message = f"there is no target `{target}`: {reason}"
        help = "targets are llvm, `llvm -mcpu=NAME`, cuda and `cuda -arch=sm_90`"
        raise SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message, help=help)]) from error
    return target


def _built(module: IRModule, target: str, options: EmitOptions) -> bytes:
    try:
        return build(module, target, opt=min(options.optimize, MOST_OPTIMIZED))
    except ToolMissing as error:
        raise SpecError([problems.TOOLCHAIN.at(NO_SPAN, target=target, what=str(error))]) from error


def flattened(program: Program, precision: str) -> tuple[Program, tuple[Draw, ...]]:
    """One function with composites that have rows, and the draws among its inputs."""
    drawn, draws = hoist_randomness(unroll(resolve_float(program, precision)))
    return DeadCode().run(inline(drawn, lambda op: op.op in ROWS)), draws


def _meta(
    flat: Program, module: Module, draws: tuple[Draw, ...], options: EmitOptions, target: str
) -> dict[str, Any]:
    main = flat.main
    drawn = {draw.input.name for draw in draws}
    return {
        "name": options.name,
        "source": main.source,
        "target": target,
        "precision": options.precision,
        "inputs": [[each.name, each.type.to_json()] for each in main.inputs if each.name not in drawn],
        "draws": [[draw.op, {key: _json(value) for key, value in draw.attrs}] for draw in draws],
        "parameters": [[path, each.type.to_json()] for path, each in module.parameters.items()],
        "outputs": [
            [name, type.to_json()] for (name, _), type in zip(main.outputs, main.output_types, strict=True)
        ],
        "requires": module.requires,
        "updates": list(module.updates),
        "facts": [[str(fact.left), fact.op, str(fact.right)] for fact in main.facts],
    }


def _json(value: Attr) -> Any:
    """An attribute of a draw; sizes become texts in a list, which nothing else is."""
    if isinstance(value, tuple):
        return [str(each) for each in value]
    return str(value) if isinstance(value, Dim) else value


@dataclass
class Module:
    """A flat function as a Relax module, with its parameters by path in the order of `main`'s own."""

    program: Program
    parameters: dict[str, Value] = field(default_factory=dict)
    requires: list[str] = field(default_factory=list)
    updates: dict[str, Any] = field(default_factory=dict)
    relax: IRModule = None

    @staticmethod
    def of(program: Program) -> Module:
        module = Module(program)
        module._find_parameters()
        module._build()
        return module

    def _find_parameters(self) -> None:
        for op in self.program.main.body:
            if op.op == "param":
                path = str(op.attr("path"))
                self.parameters.setdefault(path, Value(path, op.out.type))
            for local, type in self._layer_params(op):
                path = prefixed(op.path, local)
                self.parameters.setdefault(path, Value(path, type))

    def _layer_params(self, op: Op) -> Iterator[tuple[str, TensorType]]:
        if op.callee:
            yield from ((param.name, param.type) for param in self.program.functions[op.callee].params)

    def _build(self) -> None:
        main = self.program.main
        sizes = Sizes(main)
        self.emission = Emission(relax.BlockBuilder(), sizes)
        builder = self.emission.builder
        inputs = {each.name: _variable(each, sizes) for each in main.inputs}
        self.read = {path: _variable(each, sizes) for path, each in self.parameters.items()}
        self.values: dict[str, Any] = {}
        attrs = {"num_input": len(inputs)}
        self.emission.input = next(iter(inputs.values()), None)
        with builder.function("main", [*inputs.values(), *self.read.values()], attrs=attrs):
            sizes.solve(builder)
            for each in main.inputs:
                self.values[each.name] = self._cast(inputs[each.name], each)
            with builder.dataflow():
                results = self._body(main)
                outputs = builder.emit_output(relax.Tuple(results))
            builder.emit_func_output(outputs)
        self.relax = builder.finalize()

    def _body(self, main: Function) -> list[Any]:
        self.checked: list[Any] = []
        for op in main.body:
            STRUCTURE.get(op.op, Module._row)(self, op)
        return [*(self.values[name] for _, name in main.outputs), *self.checked, *self.updates.values()]

    def _param(self, op: Op) -> None:
        self.values[op.out.name] = self.read[str(op.attr("path"))]

    def _require(self, op: Op) -> None:
        self.requires.append(str(op.attr("message")))
        self.checked.append(self.values[op.inputs[0]])

    def _update(self, op: Op) -> None:
        """Later reads see the new value."""
        path = str(op.attr("path"))
        self.updates[path] = self.read[path] = self.values[op.inputs[0]]

    def _const(self, op: Op) -> None:
        type = op.out.type
        array = np.asarray(op.attr("value"), numpy_dtype(type.dtype)).reshape(self._shape(type))
        self.values[op.out.name] = relax.const(array, TVM[type.dtype])

    def _shape(self, type: TensorType) -> list[Any]:
        return self.emission.sizes.all(type.axes)

    def _row(self, op: Op) -> None:
        if op.op not in ROWS:
            raise SpecError(
                [problems.UNSUPPORTED.at(op.span, backend="tvm", op=op.op, reason="it has no row")]
            )
        emission, first = self.emission, op.outputs[0]
        emission.shape, emission.dtype = self._shape(first.type), TVM[first.type.dtype]
        emission.params = {local: self.read[prefixed(op.path, local)] for local, _ in self._layer_params(op)}
        operands = [self.values[name] for name in op.inputs if name]
        results = (
            emission.empty() if 0 in emission.shape else ROWS[op.op](emission, *operands, **op.attributes)
        )
        results = results if isinstance(results, tuple) else (results,)
        for out, result in zip(op.outputs, results, strict=True):
            self.values[out.name] = self._cast(emission.emit(result, identifier(out.name)), out)

    def _cast(self, value: Any, out: Value) -> Any:
        """The value with the shape that the IR proved for it, where TVM did not find that itself."""
        shape = self._shape(out.type)
        known = value.ty.shape
        if known is not None and all_equal(list(known), shape):
            return value
        return self.emission.builder.match_cast(value, self.emission.sizes.type(out), identifier(out.name))


STRUCTURE = {
    "param": Module._param,
    "const": Module._const,
    "require": Module._require,
    "update": Module._update,
}


def _variable(value: Value, sizes: Sizes) -> Any:
    return relax.Var(identifier(value.name), sizes.input_type(value))
