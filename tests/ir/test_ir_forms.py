"""Text and JSON forms: what they look like, and that they read back to the same program."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

import dlc
from dlc.diagnostics import Span
from dlc.ir.nodes import Child, Function, Op, Param, Parameter, Program, Region, Value
from dlc.ir.schema import from_json, json_schema, to_json
from dlc.ir.text import IRSyntaxError, parse_program, print_op, print_program
from dlc.types.dims import Dim, dim_max
from dlc.types.facts import Relation
from dlc.types.tensor import TensorType
from ir.programs import EXAMPLES, programs

B, T = Dim.symbol("B"), Dim.symbol("T")


def round_trips(program: Program) -> None:
    assert parse_program(print_program(program)) == program
    assert from_json(json.loads(json.dumps(to_json(program)))) == program


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_read_back(name: str) -> None:
    round_trips(EXAMPLES[name])


@examples(40)
@given(programs())
def test_generated_programs_read_back(program: Program) -> None:
    round_trips(program)


def everything() -> Program:
    """A program that uses every field of every node, with odd names."""
    x = Value("x", TensorType.of("i64", (B, dim_max(T, 3), (T + 1) // 2)))
    odd = Value("1 odd", TensorType("float", ()))
    region = Region((Value("h", odd.type),), (Op("neg", ("h",), (Value("n", odd.type),)),), ("n",))
    values = (
        math.inf,
        -math.inf,
        1.0,
        -0.0,
        1e-30,
        5e300,
        True,
        None,
        'a "b"\n',
        B * T + 1,
        3,
        -4,
        ((), (1, (2.5,))),
    )
    body = (
        Op(
            "op", ("x", "", "x"), (odd,), (("values", values), ("nan", math.nan), ("name", Dim.symbol("nan")))
        ),
        Op(
            "loop",
            ("1 odd",),
            (Value("r", odd.type),),
            (("count", 2), ("start", -1), ("step", 0)),
            region=region,
        ),
        Op("call", (), (), callee="F G", path="h.{i}.a-b", dims=(("T", T * 2), ("B", Dim.of(1)))),
        Op("update", ("r",), (), (("path", "état"),)),
    )
    function = Function(
        name="F G",
        source="F",
        kind="model",
        inputs=(x,),
        outputs=(("y", "r"), ("z", "1 odd")),
        body=body,
        params=(
            Param("état", odd.type, "buffer", frozen=True, init="zeros"),
            Param("p", odd.type, "prepared", init="make", sources=("état", "h.0.a-b.w")),
        ),
        children=(Child("h.{i}.a-b", "F G", 3, 1, 0), Child("c", "F G")),
        static=(("d", 64), ("sizes", (1, 2.0))),
        facts=(Relation(B % 2, "==", Dim.of(0)), Relation(T, "<=", B * 2)),
        entry="encode",
        library=True,
        training=True,
    )
    parameters = (
        Parameter("c.état", odd.type, "buffer", True, "zeros", "batch_norm"),
        Parameter("w", odd.type, "param", False, ""),
    )
    return Program({"F G": function}, "F G", parameters)


def test_every_field_reads_back() -> None:
    round_trips(everything())


def test_numbers_keep_their_kind() -> None:
    program = everything()
    for again in (parse_program(print_program(program)), from_json(to_json(program))):
        values = again.main.body[0].attr("values")
        assert list(map(type, values)) == list(map(type, program.main.body[0].attr("values")))
        assert math.copysign(1, values[3]) == -1


attrs = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
)


@examples(100)
@given(attrs)
def test_any_attribute_reads_back(value: object) -> None:
    function = Function("F", "F", "fn", (), (), (Op("op", (), (), (("a", value),)),))  # type: ignore[arg-type]
    program = Program({"F": function}, "F")
    round_trips(program)
    assert repr(from_json(to_json(program)).main.body) == repr(function.body)


def test_pi_is_a_number_like_any_other() -> None:
    """It is a traced one in every program, as emitted source says `math.pi`."""
    text = "model Net()(x: [B, 3]) -> [B, 3] {\n    return x * (pi / 180) + pi\n}\n"
    again = parse_program(print_program(dlc.loads(text)["Net"].program))
    assert [op.attr("value") for op in again.main.body if op.op == "const"] == [math.pi / 180, math.pi]


def test_spans_and_documentation_are_kept_in_json() -> None:
    span = Span("a.dl", 3, 5, 3, 9)
    function = Function(
        "F", "F", "fn", (), (), (Op("op", (), (), span=span),), doc="What it does.", span=span
    )
    again = from_json(to_json(Program({"F": function}, "F")))
    assert (again.main.doc, again.main.span, again.main.body[0].span) == ("What it does.", span, span)


def test_an_op_reads_like_the_language() -> None:
    out = Value("x", TensorType.of("float", (B, T, 64)))
    op = Op("linear", ("h",), (out,), (("out", 64), ("bias", True)), "linear_2", "c_fc", (("B", B),))
    assert print_op(op) == "%x: [B, T, 64] = linear(%h) {out=64, bias=true} @ c_fc -> linear_2 [B=B]"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("entry", "a name is missing"),
        ("entry F\nfn F(%x: [B) -> () {\n}\n", "line 2: a type is missing"),
        ("entry F\nfn F() -> () {\n    %a: q[] = f()\n}\n", "line 3: a type is missing"),
        ("entry F\nfn F() -> () {\n    f() {a=[1}\n}\n", "line 3: `]` is missing"),
        ("entry F\nfn F() -> () {\n    f()\n", "a name is missing"),
        ("entry F\nfn F() -> ()\n    where B\n{\n}\n", "a comparison of sizes is missing"),
    ],
)
def test_broken_text_says_what_is_missing(text: str, problem: str) -> None:
    with pytest.raises(IRSyntaxError, match=problem):
        parse_program(text)


def test_the_schema_refuses_what_it_does_not_know() -> None:
    data = to_json(EXAMPLES["nested"])
    assert json_schema()["properties"]["version"]["const"] == data["version"] == 2
    with pytest.raises(ValueError, match="version"):
        from_json({**data, "version": 1})
    with pytest.raises(ValueError, match="extra"):
        from_json({**data, "extra": 1})
