"""Weights in a model: parameters become initializers, whose values stand in a safetensors file beside it, or in it.

ONNX's external data is a file name, an offset and a length, so that one file serves both: any reader of safetensors sees
tensors by path, any runtime of ONNX finds its initializers. It has no limit of 2 GiB, as a model of one file has.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dlc.backend import Artifact
from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics import training as problems
from dlc.ops.arrays import dtype_name, numpy_dtype
from dlc_onnx.body import tensor
from dlc_onnx.rows import DTYPES, TYPES

if TYPE_CHECKING:
    import numpy as np
    import onnx

# safetensors' codes of dtypes.
CODES: Mapping[str, str] = {
    "f64": "F64", "f32": "F32", "f16": "F16", "bf16": "BF16", "f8e4m3": "F8_E4M3", "f8e5m2": "F8_E5M2", "i64": "I64",
    "i32": "I32", "i16": "I16", "i8": "I8", "u8": "U8", "bool": "BOOL",
}  # fmt: skip
ALIGNMENT = 64
SINGLE_FILE = 2**31 - 2**20


def with_weights(
    artifact: Artifact, weights: Mapping[str, np.ndarray], *, single_file: bool = False
) -> Artifact:
    """The model with its parameters as initializers, and `NAME.safetensors` with their values; or all in a `single_file`.

    `weights` holds every parameter and buffer by its path; those that the model does not read are left out. Raises
    KeyError for a path without a value, ValueError for one of another shape, SpecError for a single file that would be
    too large. A model that has weights stays as it is."""
    name, model = parsed(artifact)
    paths = {onnx_name: path for path, onnx_name in artifact.meta["parameters"]}
    wanted = [each for each in model.graph.input if each.name in paths]
    if not wanted:
        return artifact
    arrays = {paths[each.name]: _fitting(each, paths[each.name], weights) for each in wanted}
    kept = [each for each in model.graph.input if each.name not in paths]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    if single_file:
        _check_size(sum(array.nbytes for array in arrays.values()) + model.ByteSize())
        inside = (tensor(arrays[paths[each.name]], DTYPES[_dtype(each)], each.name) for each in wanted)
        model.graph.initializer.extend(inside)
        return Artifact("onnx", {name: model.SerializeToString(deterministic=True)}, artifact.meta)
    content, places = safetensors(arrays)
    file = name.removesuffix(".onnx") + ".safetensors"
    for each in wanted:
        array = arrays[paths[each.name]]
        model.graph.initializer.append(_initializer(each.name, array, file, places[paths[each.name]]))
    model_file = {name: model.SerializeToString(deterministic=True)}
    return Artifact("onnx", {**artifact.files, **model_file, file: content}, artifact.meta)


def _check_size(size: int) -> None:
    """Protobuf's limit of a message. (Names and shapes of the weights are far below the margin.)"""
    if size >= SINGLE_FILE:
        message = f"the model with its weights would be a file of {size / 2**30:.1f} GiB; one file of ONNX holds 2 GiB"
        help = "leave out --single-file: the weights then stand in a safetensors file beside the model"
        raise SpecError([problems.BAD_OPTION.at(NO_SPAN, message=message, help=help)])


def _dtype(declared: onnx.ValueInfoProto) -> int:
    return int(declared.type.tensor_type.elem_type)


def parsed(artifact: Artifact) -> tuple[str, onnx.ModelProto]:
    """The name of the model's file, and the model."""
    import onnx

    name = next(each for each in artifact.files if each.endswith(".onnx"))
    content = artifact.files[name]
    assert isinstance(content, bytes)
    return name, onnx.load_model_from_string(content)


def _fitting(declared: onnx.ValueInfoProto, path: str, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """A parameter's value in the dtype and shape that the model declares."""
    import numpy as np

    if path not in weights:
        raise KeyError(f"no value is given for the parameter {path}")
    type = declared.type.tensor_type
    shape = tuple(axis.dim_value for axis in type.shape.dim)
    array = np.asarray(weights[path])
    if array.shape != shape:
        raise ValueError(f"the parameter {path} must be of shape {shape}, not {array.shape}")
    return np.require(array.astype(numpy_dtype(DTYPES[type.elem_type]), copy=False), requirements="C")


def safetensors(arrays: Mapping[str, np.ndarray]) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """The content of a safetensors file, and where in it each tensor stands: offset and length in bytes.

    Written here for the offsets, and because the library's NumPy writer does not know bf16."""
    header: dict[str, Any] = {}
    end = 0
    # The widest dtypes first, so that every tensor stands at a multiple of its elements' size.
    arrays = dict(sorted(arrays.items(), key=lambda item: -item[1].itemsize))
    for path, array in arrays.items():
        start, end = end, end + array.nbytes
        code = CODES[dtype_name(array.dtype)]
        header[path] = {"dtype": code, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    first = 8 + len(text)
    places = {path: (first + row["data_offsets"][0], arrays[path].nbytes) for path, row in header.items()}
    return b"".join(
        (struct.pack("<Q", len(text)), text, *(each.tobytes() for each in arrays.values()))
    ), places


def _initializer(name: str, array: np.ndarray, file: str, place: tuple[int, int]) -> onnx.TensorProto:
    """A tensor whose values stand in a file. One without elements has no place there."""
    import onnx

    dtype = dtype_name(array.dtype)
    if not array.size:
        return tensor(array, dtype, name)
    external = onnx.TensorProto.EXTERNAL
    made = onnx.TensorProto(name=name, data_type=TYPES[dtype], dims=array.shape, data_location=external)
    for key, value in (("location", file), ("offset", place[0]), ("length", place[1])):
        made.external_data.add(key=key, value=str(value))
    return made


def external_values(artifact: Artifact) -> dict[str, np.ndarray]:
    """The values of a model's initializers that stand in its files, by ONNX's names."""
    import numpy as np

    found: dict[str, np.ndarray] = {}
    for each in parsed(artifact)[1].graph.initializer:
        content = external_content(artifact, each)
        if content is not None:
            dtype = numpy_dtype(DTYPES[each.data_type])
            found[each.name] = np.frombuffer(content, dtype).reshape(tuple(each.dims))
    return found


def external_content(artifact: Artifact, initializer: onnx.TensorProto) -> memoryview | None:
    """The bytes of an initializer in the artifact's files; None if it holds them itself."""
    facts = {each.key: each.value for each in initializer.external_data}
    if not facts:
        return None
    content, start = artifact.files[facts["location"]], int(facts["offset"])
    assert isinstance(content, bytes)
    return memoryview(content)[start : start + int(facts["length"])]


def embedded(artifact: Artifact, limit: int = 1_500_000_000) -> onnx.ModelProto:
    """The model with its weights inside of it; where they are larger than `limit` bytes, it refers to their file."""
    model = parsed(artifact)[1]
    if sum(len(content) for content in artifact.files.values()) > limit:
        return model
    for initializer in model.graph.initializer:
        content = external_content(artifact, initializer)
        if content is not None:
            initializer.raw_data = bytes(content)
            initializer.ClearField("external_data")
            initializer.ClearField("data_location")
    return model
