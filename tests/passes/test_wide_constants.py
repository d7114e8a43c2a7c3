"""What is f32 in a program of bf16, and what stays in it: the forms of functions, the inputs of modules, loops and buffers."""

from __future__ import annotations

import numpy as np

import dlc
from dlc.ir.nodes import Op, Program, walk
from dlc.ir.verify import verify
from dlc.passes.wide_constants import with_wide_constants
from dlc.runtime.inputs import random_inputs
from dlc.runtime.interpret import run


def changed(text: str) -> Program:
    """The program behind the pass; in f32 it is the same computation, and the pass has nothing left to do."""
    model = dlc.loads(text)["Net"]
    before, weights = model.program, model.initial_weights(seed=0)
    after = verify(with_wide_constants(before))
    given = random_inputs(before, dict.fromkeys(before.main.dims, 4))
    for a, b in zip(run(before, weights, given).values(), run(after, weights, given).values(), strict=True):
        np.testing.assert_array_equal(a, b)
    again = verify(with_wide_constants(after))
    assert [len(each.body) for each in again.functions.values()] == [
        len(each.body) for each in after.functions.values()
    ]
    return after


def ops(program: Program, function: str, kind: str) -> list[Op]:
    return [op for op in walk(program.functions[function].body) if op.op == kind]


def dtypes(program: Program, function: str, kind: str) -> list[str]:
    return [op.out.type.dtype for op in ops(program, function, kind)]


def test_what_only_places_numbers_stays_as_it_is() -> None:
    text = """
    model Net()(x: [B, 4], t: i64[B]) -> [B, 4] {
        noise = normal([B, 4])
        mask = cast(t > 1, float)[:, none]
        scan i in range(3) with h = zeros([B, 4]) { h = h + x * mask + noise }
        return concat([h, ones([B, 4])], axis=1)[:, :4]
    }
    """
    model = dlc.loads(text)["Net"]
    assert with_wide_constants(model.program) == model.program


def test_a_function_has_a_form_for_what_it_is_given() -> None:
    after = changed("""
    fn doubled(x: [B, n]) -> [B, n] {
        return x * 2
    }
    model Net()(x: [B, 4], t: i64[B, 4]) -> [B, 4] {
        return doubled(x) + doubled(cast(t, float))
    }
    """)
    calls = ops(after, "Net", "call")
    assert [call.callee for call in calls] == ["doubled", "doubled_wide"]
    assert [call.out.type.dtype for call in calls] == ["float", "f32"]
    assert dtypes(after, "doubled_wide", "mul") == ["f32"] and dtypes(after, "doubled", "mul") == ["float"]


def test_a_module_takes_what_is_wide_in_all_of_its_calls() -> None:
    text = """
    module Timed()(x: [B, 4], t: [B, 4]) -> [B, 4] {
        return x + (sin(t * 0.1) |> linear(4) as fc)
    }
    model Net()(x: [B, 4], t: i64[B, 4]) -> [B, 4] {
        timed = Timed()
        y = timed(x, cast(t, float))
        return timed(y, OTHER)
    }
    """
    both = changed(text.replace("OTHER", "cast(t + 1, float)"))
    assert [each.type.dtype for each in both.functions["Timed"].inputs] == ["float", "f32"]
    assert dtypes(both, "Timed", "sin") == ["f32"]
    one = changed(text.replace("OTHER", "x"))
    assert [each.type.dtype for each in one.functions["Timed"].inputs] == ["float", "float"]
    assert dtypes(one, "Timed", "sin") == ["float"]


def test_a_layer_of_the_library_is_given_what_it_has_parameters_in() -> None:
    after = changed("""
    model Net()(t: i64[B, 4]) -> [B, 4] {
        return sin(cast(t, float) * 0.1) |> layer_norm as norm
    }
    """)
    (layer,) = ops(after, "Net", "layer_norm")
    (cast,) = (op for op in ops(after, "Net", "cast") if op.out.name == layer.inputs[0])
    assert (
        cast.attr("dtype") == "float"
        and layer.callee
        in dlc.loads("model Net()(x: [B, 4]) -> [B, 4] {\n    return x |> layer_norm as norm\n}\n")[
            "Net"
        ].program.functions
    )


def test_a_loop_carries_f32_until_it_meets_the_data() -> None:
    after = changed("""
    model Net()(x: [B, 4]) -> (y: [B, 4], total: []) {
        scan i in range(5) with total = 0.0, y = zeros([B, 4]) {
            total = total + 1.5
            y = y * 0.5 + x * total
        }
        return y, total
    }
    """)
    (loop,) = ops(after, "Net", "loop")
    assert loop.region is not None
    assert [each.type.dtype for each in loop.region.args[1:]] == ["f32", "float"]
    assert [each.dtype for each in after.main.output_types] == ["float", "float"]


def test_a_buffer_keeps_its_dtype() -> None:
    after = changed("""
    model Net()(x: [B, 4], t: i64[B]) -> [B, 4] {
        buffer seen: [] = zeros
        if training { update seen = sum(cast(t, float)) * 0.5 }
        return x * seen
    }
    """)
    assert [each.type.dtype for each in after.parameters] == ["float"]
    training = dlc.loads("""
    model Net()(x: [B, 4], t: i64[B]) -> [B, 4] {
        buffer seen: [] = zeros
        update seen = sum(cast(t, float)) * 0.5
        return x * seen
    }
    """)["Net"].training_program
    wide = verify(with_wide_constants(training))
    (update,) = ops(wide, "Net", "update")
    assert wide.main.types()[update.inputs[0]].dtype == "float"
    assert dtypes(wide, "Net", "mul")[0] == "f32"


def test_results_of_a_block_need_not_be_settled() -> None:
    text = "model Net()(t: i64[B]) -> share: [] {\n    return mean(t == 1) * 0.5\n}\n"
    program = dlc.loads(text)["Net"].program
    assert with_wide_constants(program).main.output_types[0].dtype == "float"
    assert with_wide_constants(program, settled=False).main.output_types[0].dtype == "f32"
