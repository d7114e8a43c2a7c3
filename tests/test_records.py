"""Dataclasses of `dlc.records` do what the standard ones do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from dlc.diagnostics import Span
from dlc.ir.nodes import Op, Param, Value
from dlc.records import dataclass
from dlc.syntax import ast
from dlc.types.tensor import TensorType

PARAM = Param("weight", TensorType.of("f32", (4,)), frozen=True)


@dataclass
class Changing:
    count: int = 0
    found: list[int] = dataclasses.field(default_factory=list)


def test_it_compares_prints_and_copies() -> None:
    again = Param("weight", TensorType.of("f32", (4,)), "param", frozen=True)
    assert again == PARAM and hash(PARAM) == hash(again) and dataclasses.replace(PARAM, name="bias") != PARAM
    assert repr(Value("x", PARAM.type)) == f"Value(name='x', type={PARAM.type!r})"
    assert copy.deepcopy(PARAM) == pickle.loads(pickle.dumps(PARAM)) == PARAM
    assert ast.Int(3, span=Span("a", 1, 1)) == ast.Int(3)


def test_what_is_frozen_stays() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PARAM.name = "other"  # type: ignore[misc]


def test_what_can_change_has_values_of_its_own_and_no_hash() -> None:
    first, second = Changing(), Changing(1)
    first.found.append(1)
    assert second.found == [] and first != second
    with pytest.raises(TypeError):
        hash(first)


@pytest.mark.parametrize(
    ("given", "named"), [((), {}), (("x", ()), {}), (("x", (), ()), {"op": "y"}), (("x", (), ()), {"no": 1})]
)
def test_wrong_arguments_are_refused(given: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Op(*given, **named)


def test_attributes_are_read_by_their_kind() -> None:
    op = Op("permute", ("x",), (), (("axes", (1, 0)), ("path", "a.b"), ("axis", 2)))
    assert (op.integers("axes"), op.text("path"), op.integer("axis")) == ((1, 0), "a.b", 2)
    with pytest.raises(TypeError, match="attribute `axes` of `permute` must be an integer"):
        op.integer("axes")
