"""Dataclasses of `dlc.records` do what the standard ones do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from dlc.diagnostics import Span
from dlc.ir.nodes import Op, Param, Value
from dlc.records import OFTEN, dataclass, field, replace
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


def test_standard_dataclasses_go_on_from_it() -> None:
    @dataclasses.dataclass(frozen=True)
    class Named(Param):
        title: str = ""

    made = Named("weight", PARAM.type, title="W")
    assert (made.name, made.title, made.kind) == ("weight", "W", PARAM.kind)
    assert [each.name for each in dataclasses.fields(made)][-1] == "title"
    assert replace(made, title="V").title == dataclasses.replace(made, title="V").title == "V"


def test_what_is_made_often_is_made_the_same_way() -> None:
    @dataclass(frozen=True)
    class Often:
        name: str
        found: list[int] = field(default_factory=list)
        kind: str = field(default="a", kw_only=True)

    made = [Often("x", kind="b") for _ in range(3 * OFTEN)]
    assert len({id(each.found) for each in made}) == len(made) and set(map(repr, made)) == {repr(made[0])}
    for wrong in ((), ("x", [], "b")):
        with pytest.raises(TypeError):
            Often(*wrong)  # type: ignore[call-arg,misc]


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
