"""What a backend declares to lack is refused by name, with the op's place, before anything is emitted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

import dlc
from dlc import backend as backends
from dlc import ops
from dlc.backend import Backend
from dlc.cli import build
from dlc.diagnostics import SpecError
from dlc.ops.gaps import EVERY, Gap

SPEC = "model M()(x: [B, 3]) -> [B, 3] {\n    return x |> erf |> exp\n}\n"
WHOLE = Gap("its kernel is missing")
HALF = Gap("its kernel rounds too early", frozenset({"f16", "bf16"}))


@contextmanager
def lacking(backend: Backend, gap: Gap, op: str = "erf") -> Iterator[None]:
    """A backend that lacks an op, for a while."""
    before = backend.gaps
    backend.gaps = {op: gap}
    try:
        yield
    finally:
        backend.gaps = before


@pytest.mark.parametrize("name", ["torch", "jax", "onnx", "tvm"])
def test_a_gap_is_a_diagnostic(name: str) -> None:
    model, backend = dlc.loads(SPEC)["M"], backends.find(name)
    with lacking(backend, WHOLE), pytest.raises(SpecError) as caught:
        model.emit(name)
    (found,) = caught.value.diagnostics
    assert found.code == "E0802" and found.span.line == 2
    assert found.message == f"the backend `{name}` can't do `erf`: its kernel is missing"


@pytest.mark.parametrize("name", ["torch", "jax", "onnx", "tvm"])
def test_a_gap_of_dtypes(name: str) -> None:
    model, backend = dlc.loads(SPEC)["M"], backends.find(name)
    with lacking(backend, HALF):
        assert model.emit(name).files
        with pytest.raises(SpecError) as caught:
            model.emit(name, precision="bf16")
    (found,) = caught.value.diagnostics
    assert found.message == f"the backend `{name}` can't do `erf`: not in bf16: its kernel rounds too early"


def test_the_table_shows_gaps() -> None:
    for gap, shown in (
        (WHOLE, "jax: missing: its kernel is missing"),
        (HALF, "jax: native: not in bf16, f16: its kernel rounds too early"),
    ):
        with lacking(backends.find("jax"), gap):
            assert shown in CliRunner().invoke(build(), ["ops", "erf"]).output


@pytest.mark.parametrize("name", ["torch", "jax", "onnx", "tvm"])
def test_gaps_are_of_ops_that_exist(name: str) -> None:
    declared = backends.find(name).gaps
    assert all((op == EVERY or ops.known(op)) and gap.reason for op, gap in declared.items())
    assert EVERY not in declared or declared[EVERY].dtypes


def test_initial_values_are_no_use_of_an_op() -> None:
    """dlc computes them itself: a backend without random ops runs networks with parameters."""
    model = dlc.loads("model M()(x: [B, 3]) -> [B, 2] {\n    return linear(2)(x)\n}\n")["M"]
    with lacking(backends.find("onnx"), WHOLE, "uniform"):
        assert model.emit("onnx").files
