"""A program as an ONNX model: the entry function is the graph; all others stand in it, or are functions of the model.

Parameters are inputs of the graph under their paths, behind the data; `weights.with_weights` gives them values. Draws of
randomness are inputs too (`normal`, `uniform_2`, …): ONNX's own generators take neither a seed per run nor a
distribution but two. `require`s and new values of buffers are outputs behind the model's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dlc.backend import Artifact, EmitOptions
from dlc.emit.manifest import asked, json_text
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Attr, Op, Program
from dlc.passes.guards import guarded
from dlc.passes.lower import hoist_randomness, resolve_float, unroll
from dlc.passes.randomness import Draw
from dlc.runtime.inputs import index_rooms
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType
from dlc.version import __version__
from dlc_onnx import rows
from dlc_onnx.functions import Emission, FunctionWriter, known, value_info
from dlc_onnx.picks import with_picks

if TYPE_CHECKING:
    import onnx


def is_native(op: Op) -> bool:
    """Every composite of the library stays: as nodes of ONNX, or as a function of the model; but for attention with a window,
    which ONNX has not, and whose mask all layers share."""
    if op.op == LOOP:
        return Loop.of(op).shared
    if op.op == "attention" and op.attr("window") is not None:
        return False
    return bool(op.callee) or known(op.op)


def emit(program: Program, options: EmitOptions) -> Artifact:
    """The program as `NAME.onnx`, with what it asks of its inputs beside it as JSON, for readers that don't give out what the file
    says of itself. Raises SpecError for an op that ONNX lacks."""
    limits = index_rooms(program)
    program = guarded(resolve_float(program, options.precision), limits, lambda op: known(op.op))
    program, draws = hoist_randomness(unroll(program, lambda op: not op.attr("shared")))
    program = with_picks(program)
    # A GPU computes in bf16 itself.
    wider = {k: v for k, v in rows.WIDER.items() if not (k == "bf16" and options.target == "cuda")}
    emission = Emission(program, wider, inline=not options.functions)
    writer = FunctionWriter(emission, program.main)
    writer.write()
    emission.name_functions(writer.body.nodes)
    meta = _meta(program, writer, draws, options) | asked(program.main, limits)
    model = _model(writer, emission, options, meta)
    content = model.SerializeToString(deterministic=True)
    return Artifact("onnx", {f"{options.name}.onnx": content, f"{options.name}.json": json_text(meta)}, meta)


def _model(
    writer: FunctionWriter, emission: Emission, options: EmitOptions, meta: Mapping[str, Any]
) -> onnx.ModelProto:
    from onnx import helper

    graph = helper.make_graph(
        writer.body.nodes,
        options.name,
        _graph_inputs(writer),
        _graph_outputs(writer),
        doc_string=writer.function.doc,
        value_info=writer.value_infos()[len(writer.inputs) + len(writer.given) :],
    )
    opsets = [helper.make_opsetid("", rows.OPSET)]
    if emission.protos:
        opsets.append(helper.make_opsetid(rows.DOMAIN, 1))
    model: onnx.ModelProto = helper.make_model(
        graph,
        functions=list(emission.protos.values()),
        opset_imports=opsets,
        producer_name="dlc",
        producer_version=__version__,
        doc_string="\n".join(options.header),
        ir_version=rows.IR_VERSION,
    )
    helper.set_model_props(model, {"dlc": json.dumps(meta)})
    _complete_shapes(model)
    return model


def _complete_shapes(model: onnx.ModelProto) -> None:
    """Types of the values between nodes that say one op together: as ONNX infers them, where it knows all dims."""
    from onnx import shape_inference

    graph = model.graph
    known = {each.name for each in (*graph.value_info, *graph.input, *graph.output)}
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph.value_info
    graph.value_info.extend(each for each in inferred if each.name not in known and _is_complete(each))


def _is_complete(info: onnx.ValueInfoProto) -> bool:
    type = info.type.tensor_type
    axes = type.shape.dim
    return type.HasField("shape") and all(
        each.HasField("dim_value") or (each.dim_param and not each.dim_param.startswith("unk__"))
        for each in axes
    )


def _graph_inputs(writer: FunctionWriter) -> list[onnx.ValueInfoProto]:
    data = [value_info(writer.inputs[each.name], each.type) for each in writer.function.inputs]
    data += [value_info(name, TensorType("i64", ())) for name in writer.given.values()]
    return data + [value_info(name, writer.parameter_type(path)) for path, name in writer.params.items()]


def _graph_outputs(writer: FunctionWriter) -> list[onnx.ValueInfoProto]:
    types = writer.function.output_types
    results = [value_info(name, type) for name, type in zip(writer.outputs, types, strict=True)]
    checks = [value_info(name, TensorType("bool", ())) for name in writer.requires.values()]
    updates = [value_info(name, writer.parameter_type(path)) for path, name in writer.updated.items()]
    return results + checks + updates


def _meta(
    program: Program, writer: FunctionWriter, draws: tuple[Draw, ...], options: EmitOptions
) -> dict[str, Any]:
    """All that running the model needs besides: names, types and facts, as JSON."""
    main = program.main
    drawn = {draw.input.name for draw in draws}
    outputs = zip(main.outputs, writer.outputs, main.output_types, strict=True)
    return {
        "source": main.source,
        "precision": options.precision,
        "inputs": [
            [each.name, writer.inputs[each.name], each.type.to_json()]
            for each in main.inputs
            if each.name not in drawn
        ],
        "sizes": [[name, value] for name, value in writer.given.items()],
        "draws": [[writer.inputs[d.input.name], d.op, {k: _json(v) for k, v in d.attrs}] for d in draws],
        "outputs": [[name, value, type.to_json()] for (name, _), value, type in outputs],
        "parameters": [[path, name] for path, name in writer.params.items()],
        "requires": [[message, name] for message, name in writer.requires.items()],
        "updates": [[path, name] for path, name in writer.updated.items()],
        **({"recompute": True} if options.recompute else {}),
    }


def _json(value: Attr) -> Any:
    """An attribute of a draw; sizes become texts in a list, which nothing else is."""
    if isinstance(value, tuple):
        return [str(each) for each in value]
    return str(value) if isinstance(value, Dim) else value
