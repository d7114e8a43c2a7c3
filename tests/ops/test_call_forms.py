"""Every op as specs call it: its form takes its declared operands, each axis counted from either end, and gives its op."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

import dlc
from dlc import ops
from dlc.elaborate.builtins import BUILTINS
from dlc.ir.nodes import Op
from dlc.ops import samples
from dlc.ops.calls import ATTRIBUTES, OPERANDS, Arg, Form
from dlc.ops.definition import OpDef, Sample
from dlc.ops.forms import call_form
from dlc.runtime.interpret import run
from dlc.types.facts import Facts

AXES = ("axis", "axes", "order", "flat")
# Where a call has other arguments than the op's attributes: what gives the sample's attributes.
SAID = {
    "pad": [
        {"axis": 1, "before": 1, "after": 2, "value": 0.5},
        {"axis": 0, "before": 0, "after": 1, "value": -1.0},
    ]
}


def forms() -> Iterator[tuple[OpDef, Form]]:
    for definition in ops.all_ops():
        form = call_form(definition)
        if form is not None:
            yield definition, form


FORMS = list(forms())


def cases() -> Iterator[Any]:
    for definition, form in FORMS:
        for i, sample in enumerate(definition.samples):
            yield pytest.param(definition, form, sample, id=f"{definition.name}-{i}")


def text(value: Any, read: str) -> str:
    """A static value as a spec writes it."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(text(each, read) for each in value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def call(
    definition: OpDef, form: Form, sample: Sample, given: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """A model that calls the op by its form, and its inputs."""
    arrays = samples.arrays(definition, sample)
    types = samples.types(arrays)
    results = definition.result_types(Facts(), types, samples.attributes(definition, sample))
    names = [f"x{i}" for i in range(len(arrays))]
    operands = [arg for arg in form.args if arg.is_operand]
    words = [f"[{', '.join(names)}]"] if definition.variadic else [
        f"{arg.name}={name}" for arg, name in zip(operands, names, strict=True)
    ]  # fmt: skip
    words += [f"{arg.name}={text(given[arg.name], arg.read)}" for arg in form.args if arg.name in given]
    inputs = ", ".join(f"{name}: {type}" for name, type in zip(names, types, strict=True))
    outputs = ", ".join(f"y{i}: {type}" for i, type in enumerate(results))
    spec = f"model M()({inputs}) -> ({outputs}) {{\n    return {definition.name}({', '.join(words)})\n}}\n"
    return spec, dict(zip(names, arrays, strict=True))


def arguments(definition: OpDef, form: Form, sample: Sample) -> dict[str, Any]:
    attributes = samples.attributes(definition, sample)
    return {arg.name: attributes[arg.target] for arg in form.args if arg.target in attributes}


def appended(spec: str, name: str) -> Op | None:
    return next((op for op in dlc.loads(spec)["M"].program.main.body if op.op == name), None)


@pytest.mark.parametrize(("definition", "form"), FORMS, ids=[each.name for each, _ in FORMS])
def test_a_form_fills_the_op(definition: OpDef, form: Form) -> None:
    """Its operands in the op's order, and every attribute, unless `attrs` says them."""
    assert all(arg.read in OPERANDS or arg.read in ATTRIBUTES for arg in form.args)
    operands = [arg.target for arg in form.args if arg.is_operand]
    assert operands == [each.name for each in definition.signature.operands]
    filled = {arg.target for arg in form.args if not arg.is_operand}
    needed = {each.name for each in definition.signature.attributes}
    assert form.attrs is not None or filled == needed
    for attribute in definition.signature.attributes:
        reads = [arg.read for arg in form.args if arg.target == attribute.name]
        assert not attribute.is_axis or reads in (["axis"], ["axes"], ["order"], ["flat"])
    assert definition.name in BUILTINS


@pytest.mark.parametrize(("definition", "form", "sample"), cases())
def test_every_op_is_callable(definition: OpDef, form: Form, sample: Sample) -> None:
    if definition.name in SAID:
        return
    spec, inputs = call(definition, form, sample, arguments(definition, form, sample))
    program = dlc.loads(spec)["M"].program
    attributes = samples.attributes(definition, sample)
    found = run(program, {}, inputs, rng=np.random.default_rng(0))
    extra = {"rng": np.random.default_rng(0)} if definition.random else {}
    expected = definition.reference(*inputs.values(), **attributes, **extra)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for value, result in zip(found.values(), expected, strict=True):
        np.testing.assert_array_equal(value, result)


@pytest.mark.parametrize("given", SAID["pad"], ids=lambda each: f"axis {each['axis']}")
def test_a_padded_axis(given: dict[str, Any]) -> None:
    axis, more = given["axis"], given["before"] + given["after"]
    sizes = [size + more * (i == axis) for i, size in enumerate((2, 3))]
    found = []
    for said in (axis, axis - 2):
        words = ", ".join(f"{key}={value}" for key, value in {**given, "axis": said}.items())
        op = appended(f"model M()(x: [2, 3]) -> {sizes} {{\n    return pad(x, {words})\n}}\n", "pad")
        assert op is not None
        found.append(op.attributes)
    assert found[0] == found[1]
    assert [str(each) for each in found[0]["before"]] == [
        str(given["before"] * (i == axis)) for i in range(2)
    ]


def test_nothing_behind_by_default() -> None:
    short, whole = (
        appended(f"model M()(x: [2, 3]) -> [2, 5] {{\n    return pad(x, {words})\n}}\n", "pad")
        for words in ("1, 2", "axis=1, before=2, after=0")
    )
    assert short is not None
    assert whole is not None
    assert short.attributes == whole.attributes


def axis_cases() -> Iterator[Any]:
    for definition, form in FORMS:
        for arg in form.args:
            if arg.read in AXES and definition.name not in SAID:
                yield pytest.param(definition, form, arg, id=f"{definition.name}-{arg.name}")


@pytest.mark.parametrize(("definition", "form", "arg"), axis_cases())
def test_axes_count_from_either_end(definition: OpDef, form: Form, arg: Arg) -> None:
    """The op gets the number from 0 on in both cases."""
    for sample in definition.samples:
        given = arguments(definition, form, sample)
        value = given[arg.name]
        arrays = samples.arrays(definition, sample)
        assert arrays[0] is not None
        rank = arrays[0].ndim
        back = tuple(each - rank for each in value) if isinstance(value, tuple | list) else value - rank
        found = [
            appended(call(definition, form, sample, {**given, arg.name: each})[0], definition.name)
            for each in (value, back)
        ]
        if found[0] is None:  # one tensor, joined with none
            continue
        assert found[1] is not None
        assert found[0].attributes[arg.target] == found[1].attributes[arg.target] == value


def test_ops_that_are_not_called_by_name_have_another_way() -> None:
    """An operator, an index, or a function of its own."""
    silent = {definition.name for definition in ops.all_ops() if call_form(definition) is None}
    operators = {
        "add", "sub", "mul", "div", "floordiv", "mod", "neg", "matmul", "slice", "size", "eq", "ne", "lt", "le", "gt", "ge",
        "logical_and", "logical_or", "logical_not",
    }  # fmt: skip
    initial = {"truncated_normal", "orthogonal"}
    assert silent == operators | initial | (silent & BUILTINS.keys())
