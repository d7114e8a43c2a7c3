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

from typing import Any

from tvm import IRModule

from dlc.backend import Artifact, EmitOptions
from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems
from dlc.emit.manifest import asked, json_text
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Attr, Function, Program
from dlc.passes.dead_code import DeadCode
from dlc.passes.guards import guarded
from dlc.passes.lower import hoist_randomness, inline, resolve_float, unroll
from dlc.passes.randomness import Draw
from dlc.runtime.inputs import index_rooms
from dlc.types.dims import Dim
from dlc_tvm.build import ToolMissing, build, parse_target
from dlc_tvm.guard import Guard
from dlc_tvm.module import Module
from dlc_tvm.rows import ROWS
from dlc_tvm.scans import reads
from dlc_tvm.schedule.nest import TVM_ERRORS
from dlc_tvm.text import digest, text
from dlc_tvm.turns import NotSaid

# What is `build`'s level at ours. Between "fused" and "laid out, weights prepared" nothing is to be gained: compiling takes
# longer without layouts, and every call would transpose weights.
BUILD_LEVELS = (0, 2, 2, 2)
PREPARE = "main_transform_params"  # TVM's name for what makes of the weights what `main` takes, where it moved work on them there


def emit(program: Program, options: EmitOptions) -> Artifact:
    """The compiled library, the Relax module as text, and what `load` needs to know, also as JSON for other programs.

    Raises SpecError for a target that is none, an operation that has no row, a loop that TVM makes no kernel of, and a tool
    that is missing."""
    target = checked_target(options.target)
    limits = index_rooms(program)
    flat, draws = flattened(guarded(program, limits, lambda op: op.op in ROWS), options.precision)
    module = Module.of(flat, prepares=not options.training)
    has_loops = any(op.op == LOOP for op in flat.main.body)
    library = _built(module.relax, target, options, Guard(flat.main, limits), has_loops=has_loops)
    meta = {
        **_meta(flat, module, draws, options, target),
        "prepare": PREPARE if PREPARE.encode() in library else None,
        **asked(flat.main, limits),
        "library": digest(library),
    }
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
        help = "targets are llvm, `llvm -mcpu=NAME`, `llvm -mtriple=MACHINE`, `llvm -opt-level=0`, cuda and `cuda -arch=sm_90`"
        raise SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message, help=help)]) from error
    return target


def _built(module: IRModule, target: str, options: EmitOptions, guard: Guard, *, has_loops: bool) -> bytes:
    try:
        return build(module, target, opt=BUILD_LEVELS[options.optimize], guard=guard)
    except ToolMissing as error:
        raise SpecError([problems.TOOLCHAIN.at(NO_SPAN, target=target, what=str(error))]) from error
    except NotSaid as error:
        raise SpecError(
            [problems.UNSUPPORTED.at(NO_SPAN, backend="tvm", op=LOOP, reason=str(error))]
        ) from error
    except TVM_ERRORS as error:
        if not has_loops:
            raise
        first = str(error).strip().splitlines()[0]
        reason = f"TVM fails to compile the kernel of one ({first})"
        raise SpecError([problems.UNSUPPORTED.at(NO_SPAN, backend="tvm", op=LOOP, reason=reason)]) from error


def flattened(program: Program, precision: str) -> tuple[Program, tuple[Draw, ...]]:
    """One function with composites that have rows, and the draws among its inputs."""
    resolved = unroll(resolve_float(program, precision), lambda loop: not loop.attr("shared"))
    drawn, draws = hoist_randomness(resolved)
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
        "sizes": list(main.given_sizes),
        "draws": [[draw.op, {key: _json(value) for key, value in draw.attrs}] for draw in draws],
        "parameters": [[path, each.type.to_json()] for path, each in module.parameters.items()],
        "outputs": [
            [name, type.to_json()] for (name, _), type in zip(main.outputs, main.output_types, strict=True)
        ],
        "fixed": fixed_outputs(main),
        "requires": module.requires,
        "updates": [[path, module.parameters[path].type.to_json()] for path in module.updates],
    }


def fixed_outputs(main: Function) -> list[str]:
    """Names of the outputs that no input changes: weights and constants may come out of the library as they are."""
    varying = {value.name for value in main.inputs}
    for op in main.body:
        if not varying.isdisjoint((*op.inputs, *(reads(Loop.of(op)) if op.op == LOOP else ()))):
            varying.update(value.name for value in op.outputs)
    return [name for name, value in main.outputs if value not in varying]


def _json(value: Attr) -> Any:
    """An attribute of a draw; sizes become texts in a list, which nothing else is."""
    if isinstance(value, tuple):
        return [str(each) for each in value]
    return str(value) if isinstance(value, Dim) else value
