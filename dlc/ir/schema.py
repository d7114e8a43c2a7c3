"""Programs as JSON with a published schema: what other tools embed. `from_json(to_json(program)) == program`.

What has its default is left out. Sizes are ints or texts such as "B*T". Attributes are JSON values, with two
tags: {"dim": "B*T"} for a size, {"float": "inf"} for a float that JSON has no number for, or would show as an
integer ("1.0").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr
from typing_extensions import TypeAliasType

from dlc.diagnostics import NO_SPAN, Span
from dlc.ir.nodes import Attr, Child, Function, Op, Param, Parameter, Program, Region, Value
from dlc.ir.read import parse_relation
from dlc.types.dims import Dim, parse_dim
from dlc.types.tensor import TensorType

FORMAT = "dlc-ir"
VERSION = 2  # 1 had `repeat` where this has `loop`


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DimModel(_Model):
    """A size among attributes."""

    dim: StrictStr


class FloatModel(_Model):
    """A float that is no plain JSON number: "inf", "-inf", "nan", or one without a fraction, such as
    "1.0"."""

    float: StrictStr


Scalar = StrictBool | StrictInt | StrictFloat | StrictStr | None
AttrModel = TypeAliasType("AttrModel", "Scalar | DimModel | FloatModel | list[AttrModel]")
Size = StrictInt | StrictStr
SpanModel = tuple[str, int, int, int, int]


class TypeModel(_Model):
    """A tensor type: `axes` are ints or texts such as "B*T"."""

    dtype: str = "float"
    axes: list[Size] = []


class ValueModel(_Model):
    name: str
    type: TypeModel


class AttributeModel(_Model):
    name: str
    value: AttrModel


class RegionModel(_Model):
    """The body of a `loop`. `args`: the index, if the loop has the attribute `index`; the carried values; a slice of
    each sequence. `results`: what is carried to the next turn, then what is stacked."""

    args: list[ValueModel] = []
    body: list[OpModel] = []
    results: list[str] = []


class OpModel(_Model):
    """One operation: `inputs` are value names, "" for an operand that is absent. `span` is file, line, column
    and the line and column where it ends.

    A `loop` has a region and the attributes `count` (a number or a size), `start` and `step`, and where it is more than a
    body run on carried values `sequences` and `stacked` (an axis for each), `index`, `backwards`, `shared`, `recompute`. Its inputs are
    the first carried values, then the sequences; its outputs the last carried values, then the stacked results."""

    op: str
    inputs: list[str] = []
    outputs: list[ValueModel] = []
    attrs: list[AttributeModel] = []
    callee: str = ""
    path: str = ""
    dims: dict[str, Size] = {}
    region: RegionModel | None = None
    span: SpanModel | None = None


class ParamModel(_Model):
    name: str
    type: TypeModel
    kind: str = "param"
    frozen: bool = False
    init: str = ""
    sources: list[str] = []


class ChildModel(_Model):
    path: str
    function: str
    count: int = 0
    start: int = 0
    step: int = 1


class OutputModel(_Model):
    name: str
    value: str


class FunctionModel(_Model):
    name: str
    source: str
    kind: str
    inputs: list[ValueModel] = []
    outputs: list[OutputModel] = []
    body: list[OpModel] = []
    params: list[ParamModel] = []
    children: list[ChildModel] = []
    static: list[AttributeModel] = []
    facts: list[str] = []
    entry: str = ""
    library: bool = False
    training: bool = False
    doc: str = ""
    span: SpanModel | None = None


class ParameterModel(_Model):
    path: str
    type: TypeModel
    kind: str
    frozen: bool = False
    init: str = ""
    owner: str = ""
    sources: list[str] = []


class ProgramModel(_Model):
    """A program: functions in an order in which callees stand before callers."""

    format: Literal["dlc-ir"]
    version: Annotated[
        Literal[2], Field(description="raised when an older reader would misread the document")
    ]
    entry: str
    functions: list[FunctionModel]
    parameters: list[ParameterModel] = []


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a program."""
    return ProgramModel.model_json_schema()


def to_json(program: Program) -> dict[str, Any]:
    """The program as JSON values."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "entry": program.entry,
        "functions": [_function(each) for each in program.functions.values()],
        "parameters": [_fields(each, _PARAMETER) for each in program.parameters],
    }


def from_json(data: Any) -> Program:
    """The program that JSON values hold. Raises ValueError (pydantic's ValidationError) where they hold
    none."""
    model = ProgramModel.model_validate(data)
    functions = (_read_function(each) for each in model.functions)
    parameters = tuple(
        Parameter(
            each.path,
            _read_type(each.type),
            each.kind,
            each.frozen,
            each.init,
            each.owner,
            sources=tuple(each.sources),
        )
        for each in model.parameters
    )
    return Program({each.name: each for each in functions}, model.entry, parameters)


# Writing. A table per node says how each of its fields is written; a field not in it goes as it is.

_EMPTY: tuple[Any, ...] = ("", [], {})
_Writers = Mapping[str, Callable[[Any], Any]]


def _fields(node: Any, writers: _Writers) -> dict[str, Any]:
    """The node's fields in the table, without those that are empty."""
    written = ((name, write(getattr(node, name))) for name, write in writers.items())
    return {
        name: value
        for name, value in written
        if value is not None and value is not False and value not in _EMPTY
    }


def _same(value: Any) -> Any:
    return value


def _each(write: Callable[[Any], Any]) -> Callable[[Iterable[Any]], list[Any]]:
    return lambda values: [write(value) for value in values]


def _size(dim: Dim) -> int | str:
    constant = dim.constant
    return str(dim) if constant is None else constant


def _type(type: TensorType) -> dict[str, Any]:
    return {"dtype": type.dtype, "axes": [_size(axis) for axis in type.axes]}


def _value(value: Value) -> dict[str, Any]:
    return {"name": value.name, "type": _type(value.type)}


def _attribute(attr: tuple[str, Attr]) -> dict[str, Any]:
    return {"name": attr[0], "value": _attr(attr[1])}


def _attr(value: Attr) -> Any:
    if isinstance(value, tuple):
        return [_attr(each) for each in value]
    if isinstance(value, Dim):
        return {"dim": str(value)}
    if isinstance(value, float) and (not math.isfinite(value) or value == int(value)):
        return {"float": repr(value)}
    return value


def _span(span: Span) -> list[Any] | None:
    if span == NO_SPAN:
        return None
    return [span.file, span.line, span.column, span.end_line, span.end_column]


def _region(region: Region | None) -> dict[str, Any] | None:
    if region is None:
        return None
    return {
        "args": _each(_value)(region.args),
        "body": _each(_op)(region.body),
        "results": list(region.results),
    }


def _op(op: Op) -> dict[str, Any]:
    return _fields(op, _OP)


def _function(function: Function) -> dict[str, Any]:
    return _fields(function, _FUNCTION)


_PARAM: _Writers = {
    "name": _same,
    "type": _type,
    "kind": _same,
    "frozen": _same,
    "init": _same,
    "sources": list,
}
_CHILD: _Writers = {"path": _same, "function": _same, "count": _same, "start": _same, "step": _same}
_PARAMETER: _Writers = {
    "path": _same,
    "type": _type,
    "kind": _same,
    "frozen": _same,
    "init": _same,
    "owner": _same,
    "sources": list,
}
_OP: _Writers = {
    "op": _same,
    "inputs": list,
    "outputs": _each(_value),
    "attrs": _each(_attribute),
    "callee": _same,
    "path": _same,
    "dims": lambda dims: {name: _size(dim) for name, dim in dims},
    "region": _region,
    "span": _span,
}
_FUNCTION: _Writers = {
    "name": _same,
    "source": _same,
    "kind": _same,
    "inputs": _each(_value),
    "outputs": _each(lambda output: {"name": output[0], "value": output[1]}),
    "body": _each(_op),
    "params": _each(lambda param: _fields(param, _PARAM)),
    "children": _each(lambda child: _fields(child, _CHILD)),
    "static": _each(_attribute),
    "facts": _each(str),
    "entry": _same,
    "library": _same,
    "training": _same,
    "doc": _same,
    "span": _span,
}


# Reading


def _read_size(size: int | str) -> Dim:
    return parse_dim(size) if isinstance(size, str) else Dim.of(size)


def _read_type(model: TypeModel) -> TensorType:
    return TensorType(model.dtype, tuple(map(_read_size, model.axes)))


def _read_value(model: ValueModel) -> Value:
    return Value(model.name, _read_type(model.type))


def _read_values(models: Iterable[ValueModel]) -> tuple[Value, ...]:
    return tuple(map(_read_value, models))


def _read_attr(value: Any) -> Attr:
    if isinstance(value, list):
        return tuple(map(_read_attr, value))
    if isinstance(value, DimModel):
        return parse_dim(value.dim)
    if isinstance(value, FloatModel):
        return math.nan if value.float == "nan" else float(value.float)
    return value  # type: ignore[no-any-return]


def _read_attrs(models: Iterable[AttributeModel]) -> tuple[tuple[str, Attr], ...]:
    return tuple((each.name, _read_attr(each.value)) for each in models)


def _read_region(model: RegionModel) -> Region:
    return Region(_read_values(model.args), tuple(map(_read_op, model.body)), tuple(model.results))


def _read_op(model: OpModel) -> Op:
    return Op(
        model.op,
        tuple(model.inputs),
        _read_values(model.outputs),
        _read_attrs(model.attrs),
        model.callee,
        model.path,
        tuple((name, _read_size(size)) for name, size in model.dims.items()),
        _read_region(model.region) if model.region else None,
        Span(*model.span) if model.span else NO_SPAN,
    )


def _read_param(model: ParamModel) -> Param:
    return Param(
        model.name, _read_type(model.type), model.kind, model.frozen, model.init, tuple(model.sources)
    )


def _read_function(model: FunctionModel) -> Function:
    return Function(
        name=model.name,
        source=model.source,
        kind=model.kind,
        inputs=_read_values(model.inputs),
        outputs=tuple((each.name, each.value) for each in model.outputs),
        body=tuple(map(_read_op, model.body)),
        params=tuple(map(_read_param, model.params)),
        children=tuple(Child(c.path, c.function, c.count, c.start, c.step) for c in model.children),
        static=_read_attrs(model.static),
        facts=tuple(map(parse_relation, model.facts)),
        entry=model.entry,
        library=model.library,
        training=model.training,
        doc=model.doc,
        span=Span(*model.span) if model.span else NO_SPAN,
    )
