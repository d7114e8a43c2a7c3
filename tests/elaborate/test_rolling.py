"""Turns of a loop that repeat become one `repeat`, whatever their period, and paths stay those of the spec."""

from __future__ import annotations

import numpy as np
import pytest
from emit.other_settings import compiled

import dlc
from dlc.elaborate.programs import instantiate
from dlc.ir.nodes import Function
from dlc.ir.verify import verify
from dlc.runtime.interpret import run
from elaborate.test_lists_of_parts import outputs_of

TEXT = """
module Block(d: int, wide: bool)(x: [B, d]) -> [B, d] {{
    if wide {{
        return x + (x |> linear(2*d) as up |> relu |> linear(d) as down)
    }}
    return x + (x |> linear(d) as only |> tanh)
}}

model M(d: int = 4)(x: [B, d]) -> [B, d] {{
    for i in range({count}) as {label} {{
        x = x |> {part}
    }}
    return x
}}
"""
ALTERNATING = "Block(d, i % 2 == 1)"
PLAIN = "linear(d)"


def model(count: int, label: str, part: str) -> dlc.api.Model:
    return dlc.loads(TEXT.format(count=count, label=label, part=part))["M"]


def repeats(function: Function) -> list[tuple[int, int, int]]:
    """Count, step and length of the body of every repeat."""
    return [
        (int(str(op.attr("count"))), int(str(op.attr("step"))), len(op.region.body))
        for op in function.body
        if op.region is not None
    ]


def labels(model: dlc.api.Model) -> list[str]:
    return list(dict.fromkeys(each.path.rpartition(".")[0].split(".only")[0] for each in model.parameters))


def test_alternating_blocks_are_one_repeat_of_two() -> None:
    found = model(6, "h", ALTERNATING)
    verify(found.program)
    assert repeats(found.program.main) == [(3, 2, 2)]
    paths = [each.path for each in found.parameters if each.path.endswith("bias")]
    assert sorted(paths) == sorted(
        [f"h.{i}.only.bias" for i in (0, 2, 4)]
        + [f"h.{i}.{name}.bias" for i in (1, 3, 5) for name in ("up", "down")]
    )


def test_an_odd_turn_stays_behind() -> None:
    found = model(5, "h", ALTERNATING)
    assert repeats(found.program.main) == [(2, 2, 2)]
    assert found.program.main.body[-1].path == "h.4"


@pytest.mark.parametrize(
    ("label", "names", "rolled"),
    [
        ('"b{i}"', ["b0", "b1", "b2", "b3"], [(4, 1, 1)]),
        ('"b{i+1}"', ["b1", "b2", "b3", "b4"], [(4, 1, 1)]),
        ('"b{i*i}"', ["b0", "b1", "b4", "b9"], [(2, 1, 1)]),
        ('"b{3 - i}"', ["b3", "b2", "b1", "b0"], []),
        ('"b{2*i}"', ["b0", "b2", "b4", "b6"], []),
    ],
)
def test_labels_that_compute_keep_their_values(label: str, names: list[str], rolled: list[object]) -> None:
    found = model(4, label, PLAIN)
    verify(found.program)
    assert labels(found) == names
    assert repeats(found.program.main) == rolled


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
@pytest.mark.parametrize("optimize", [0, 1, 2])
@pytest.mark.parametrize(
    ("count", "label", "part"),
    [
        (6, "h", ALTERNATING),
        (7, '"b{i+1}"', ALTERNATING),
        (4, '"b{i*i}"', PLAIN),
        (9, "h", "Block(d, i % 3 == 2)"),
    ],
)
def test_backends_follow(backend: str, optimize: int, count: int, label: str, part: str) -> None:
    found = model(count, label, part)
    weights = found.initial_weights(0)
    given = {"x": np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)}
    (expected,) = run(found.program, weights, given).values()
    (result,) = found.compile(backend, weights=weights, optimize=optimize)(**given).values()
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_torch_makes_one_list_of_alternating_blocks() -> None:
    source = "".join(map(str, model(6, "h", ALTERNATING).emit("torch").files.values()))
    assert "nn.ModuleList(Block(d, i % 2 == 1) for i in range(6))" in source
    assert "for block in self.h:" in source


OWN_VARIABLES = """
model Plain(d: int = 4)(x: [B, d]) -> [B, d] {
    for i in range(5) as h {
        y = x |> linear(d) as a |> relu
        z = y |> linear(d) as b
        x = x + z
    }
    return x
}

model Alternating(d: int = 4)(x: [B, d]) -> [B, d] {
    for i in range(8) as h {
        y = x |> linear(d) as a
        z = relu(y) if i % 2 == 0 else tanh(y)
        x = x + z
    }
    return x
}

model ReadBehind(d: int = 4)(x: [B, d]) -> [B, d] {
    y = x
    for j in range(4) as b {
        y = x |> linear(d)
        x = tanh(x + y)
    }
    return x + y
}

model ReadByTheNextRound(d: int = 4)(x: [B, d]) -> [B, d] {
    for i in range(3) as a {
        if i > 0 {
            x = x + y
        }
        for j in range(3) as "b{j}" {
            y = x |> linear(d)
            x = tanh(x + y)
        }
    }
    return x
}

model Swapped(d: int = 4)(x: [B, d]) -> [B, d] {
    a = x
    b = x |> linear(d) as c
    for j in range(4) as h {
        t = a |> linear(d)
        a, b = b, tanh(t)
    }
    return a - b
}

model ReadByALaterTurn(d: int = 4)(x: [B, d]) -> [B, d] {
    for j in range(6) as h {
        if j == 4 {
            x = x + t
        }
        t = x |> linear(d)
        x = x + tanh(t)
    }
    return x
}
"""


@pytest.mark.parametrize(
    "name", ["Plain", "Alternating", "ReadBehind", "ReadByTheNextRound", "Swapped", "ReadByALaterTurn"]
)
def test_a_body_with_variables_of_its_own(name: str) -> None:
    found = dlc.loads(OWN_VARIABLES)[name]
    verify(found.program)
    weights = found.initial_weights(0)
    given = {"x": np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)}
    (expected,) = run(found.program, weights, given).values()
    for backend in ("torch", "jax"):
        (result,) = found.compile(backend, weights=weights)(**given).values()
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"), [("Plain", [(5, 1)]), ("Alternating", [(4, 2)]), ("Swapped", [(4, 1)])]
)
def test_its_first_turn_is_like_the_others(name: str, expected: list[tuple[int, int]]) -> None:
    assert [each[:2] for each in repeats(dlc.loads(OWN_VARIABLES)[name].program.main)] == expected


def elaborated(text: str, **settings: int) -> int:
    """How many instantiations the turns of a loop ask for."""
    asked: list[str] = []
    work = instantiate.instantiate

    def noted(caller: object, callee: object, bound: object, node: object) -> object:
        asked.append(callee.name)  # type: ignore[attr-defined]
        return work(caller, callee, bound, node)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dlc.elaborate.programs.elaborator.instantiate", noted)
        assert dlc.loads(text)["M"](**settings).program
    return asked.count("Block")


GROWING = """
module Block(d: int, wide: bool)(x: [B, d]) -> [B, d] {{
    return x + (x |> linear(2 * d if wide else d) as up |> relu |> linear(d) as down)
}}

model M(layers: int = 8, dense: int = 2, d: int = 4)(x: [B, d]) -> [B, d] {{
    for i in range(layers) as h {{
        x = x |> Block(d, {asked})
    }}
    return x
}}
"""


@pytest.mark.parametrize(
    ("asked", "turns"),
    [("i < dense", 4), ("i % 2 == 0", 4), ("true", 2), ("i % 4 == 3", 8), ("i // 2 < dense", 6)],
)
def test_turns_that_repeat_are_not_elaborated(asked: str, turns: int) -> None:
    """What a turn finds out of the variable tells whether it is like the one before: cost does not grow with the count."""
    text = GROWING.format(asked=asked)
    assert elaborated(text, layers=48) == turns
    assert elaborated(text, layers=480) == turns


@pytest.mark.parametrize(
    "value",
    [
        "sum([j for j in range(i)])",  # another name of the comprehension's than outside
        "sum([i for i in range(3)])",
        "[2, 2, 2, 5][i]",
        "2 if i < last else 5",
        "i // 3",
    ],
)
def test_what_is_foretold_is_what_comes(value: str) -> None:
    """The last turn differs from those before it in some of these."""
    found = dlc.loads(
        f"""
        model M(last: int = 3)(x: [B, 2]) -> [B, 2] {{
            j = 0
            for i in range(4) {{ x = x * ({value}) + 1 }}
            return x + j
        }}
        """
    )["M"]
    expected = np.ones((1, 2))
    for i in range(4):
        expected = expected * eval(value, {"last": 3, "i": i}) + 1
    (made,) = run(found.program, {}, {"x": np.ones((1, 2), np.float32)}, precision="f64").values()
    np.testing.assert_allclose(made, expected)


def test_a_run_begins_where_it_can_first() -> None:
    """The second turn finds another `out` than the third, which it does not read: it is of the run all the same."""
    found = dlc.loads(
        """
        model M(depth: int = 7)(x: [B, 4]) -> [B, 4] {
            for i in range(depth) as h {
                out = 8 if i == 0 else 4
                x = x |> linear(out) as up |> linear(4) as down
            }
            return x
        }
        """
    )["M"]
    assert repeats(found.program.main) == [(6, 1, 2)]


ONE_LAYER = """
module Layer()(x: [B, d]) -> [B, d] {
    return x + (x |> linear(d) |> tanh)
}
model M(n: int = 3)(x: [B, 4]) -> [B, 4] {
    layer = Layer()
    norms = [layer_norm() for _ in range(n)]
    for norm in norms { x = layer(norm(x)) }
    return layer(x)
}
"""


def test_one_layer_again_and_again_beside_others() -> None:
    """ALBERT's: the first turn, which places the layer, is like the others."""
    program = dlc.loads(ONE_LAYER)["M"].program
    loop, _ = program.main.body
    assert (loop.op, loop.attr("count"), loop.attr("start")) == ("loop", 3, 0)
    assert [each.path for each in program.main.children] == ["norms.{i}", "layer"]
    assert [each.path for each in program.parameters][-2:] == ["layer.linear.weight", "layer.linear.bias"]


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_one_layer_at_other_counts(backend: str) -> None:
    spec = dlc.loads(ONE_LAYER.replace("    return layer(x)", "    return x"))["M"]
    module = compiled(spec, backend)
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    for n in (1, 5):
        weights = spec(n=n).initial_weights()
        (expected,) = run(spec(n=n).program, weights, {"x": x}, precision="f64").values()
        found = outputs_of(backend, module, {"n": n}, weights, x)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="n >= 1 must hold"):
        outputs_of(backend, module, {"n": 0}, {}, x)
