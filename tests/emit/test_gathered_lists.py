"""A list that a loop adds to and that is stacked behind it: one loop in the IR and in the source, for any number of turns, which means what
the turns mean one by one."""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import dlc
from dlc.ir.loops import LOOP, Loop
from dlc.ir.nodes import Op
from dlc.ir.verify import verify
from dlc.runtime.interpret import run
from dlc.runtime.weights import generic_weights

jax = pytest.importorskip("jax")

BLOCK = """
module Block(wide: bool)(x: [B, d]) -> [B, d] {
    if wide { return x + (x |> linear(2*d) as up |> relu |> linear(d) as down) }
    return x + (x |> linear(d) as only |> tanh)
}
"""
SPECS = {
    "what each turn gives, and a part of it": """
model M(layers: int = 4)(x: [B, 8]) -> (y: [B, 8], all: [layers, B, 8], means: [layers, 8]) {
    all, means = [], []
    for i in range(layers) as h {
        x = x |> linear(8) |> tanh
        all, means = all + [x], means + [mean(x, 0)]
    }
    return x, stack(all), stack(means)
}
""",
    "what was there before, too": """
model M(layers: int = 4)(x: [B, 8]) -> (y: [B, 8], all: [B, layers + 1, 8]) {
    states = [x]
    for i in range(layers) as h {
        x = x |> linear(8) |> tanh
        states = states + [x]
    }
    return x, stack(states, axis=1)
}
""",
    "what each turn is given": """
model M(layers: int = 4)(x: [B, 8]) -> (y: [B, 8], all: [B, 8, layers]) {
    given = []
    for i in range(layers) as h {
        given = given + [x]
        x = x |> linear(8) |> tanh
    }
    return x, stack(given, -1)
}
""",
    "several a turn": """
model M(layers: int = 4)(x: [B, 8]) -> (y: [B, 8], all: [2 * layers, B, 8]) {
    all = []
    for i in range(layers) as h {
        x = x |> linear(8) |> tanh
        all = all + [x, square(x)]
    }
    return x, stack(all)
}
""",
    "blocks that alternate": BLOCK
    + """
model M(layers: int = 6)(x: [B, 8]) -> (y: [B, 8], all: [layers, B, 8], means: [layers // 2, B])
    where layers % 2 == 0
{
    all, means = [], []
    for i in range(layers) as h {
        x = x |> Block(i % 2 == 1)
        all = all + [x]
        if i % 2 == 1 { means = means + [mean(x, -1)] }
    }
    return x, stack(all), stack(means)
}
""",
    "from some turn on": """
model M(layers: int = 6)(x: [B, 8]) -> (y: [B, 8], means: [layers - 2, 8])
    where layers >= 4
{
    means = []
    for i in range(layers) as h {
        x = x |> linear(8) as up |> tanh
        if i >= 2 {
            x = x |> layer_norm as norm
            means = means + [mean(x, 0)]
        }
    }
    return x, stack(means)
}
""",
    "two loops after one another": """
model M(layers: int = 3, more: int = 2)(x: [B, 8]) -> (y: [B, 8], means: [layers + more, 8]) {
    means = []
    for i in range(layers) as a {
        x = x |> linear(8) |> tanh
        means = means + [mean(x, 0)]
    }
    for i in range(more) as b {
        x = x |> linear(8) |> sigmoid
        means = means + [mean(x, 0)]
    }
    return x, stack(means)
}
""",
    "in a module, in layers": """
module Stage(inner: int)(x: [B, d]) -> (y: [B, d], all: [inner, B]) {
    all = []
    for j in range(inner) as blocks {
        x = x |> linear(d) as fc |> batch_norm as norm |> tanh
        all = all + [mean(x, 1)]
    }
    return x, stack(all)
}
model M(layers: int = 3, inner: int = 2)(x: [B, 8]) -> (y: [B, 8], all: [layers, inner, B]) {
    all = []
    for i in range(layers) as stages {
        x, own = x |> Stage(inner)
        all = all + [own]
    }
    return x, stack(all)
}
""",
    "perhaps no turn, with others beside": """
model M(layers: int = 5)(x: [B, 8]) -> (y: [B, 8], all: [B, 8], more: [B, 8]) {
    all, more = [x], [sin(x)]
    for i in range(layers) as h {
        x = x |> linear(8) |> tanh
        if i >= 2 { all = all + [x] }
        if i >= 2 { more = more + [x, sin(x)] }
    }
    return x, mean(stack(all), 0), mean(stack(more), 0)
}
""",
    "values that change places": """
model M(layers: int = 5)(x: [B, 8]) -> (y: [B, 8], z: [B, 8], all: [B, 8]) {
    y, all = x, [x]
    for i in range(layers) as h {
        x = x |> linear(8) |> tanh
        all = all + [x + y]
        x, y = y, x
    }
    return x, y, mean(stack(all), 0)
}
""",
    "no layers": """
model M(layers: int = 4)(x: [B, 8]) -> [layers, B, 8] {
    states = []
    for i in range(layers) {
        x = x + x ** 2 * 0.1
        states = states + [x]
    }
    return stack(states)
}
""",
}


def loops(model: dlc.api.Model) -> list[Op]:
    verify(model.program)
    return [op for op in model.program.main.body if op.op == LOOP]


@pytest.mark.parametrize("text", SPECS.values(), ids=SPECS)
def test_the_list_is_a_result_of_the_loop(text: str) -> None:
    model = dlc.loads(text)["M"]
    found = loops(model)
    assert any(Loop.of(op).stacked for op in found)


@pytest.mark.parametrize("text", SPECS.values(), ids=SPECS)
def test_it_means_the_turns_one_by_one(text: str) -> None:
    # What reads a list in another way has it element by element.
    names = [name for name in ("all", "means", "states", "given") if f"{name} + [" in text]
    head, _, result = text.rpartition("    return ")
    asked = " and ".join(f"len({name}) >= 1" for name in names)
    apart = f"{head}    require {asked}\n    return {result}"
    model, other = dlc.loads(text)["M"], dlc.loads(apart)["M"]
    assert loops(model) != loops(other)
    weights = generic_weights(model.program)
    x = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    found, expected = (run(each.program, weights, {"x": x}, precision="f64") for each in (model, other))
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def emitted(text: str, backend: str) -> ModuleType:
    (source,) = dlc.loads(text)["M"].emit(backend).files.values()
    module = ModuleType("emitted")
    sys.modules["emitted"] = module  # dataclasses look their types up there
    exec(str(source), module.__dict__)
    return module


def outputs(module: ModuleType, backend: str, layers: int, weights: Any, x: Any) -> list[Any]:
    if backend == "torch":
        if not isinstance(module.M, type):
            return [module.M(torch.from_numpy(x), layers=layers).numpy()]
        network = module.M(layers=layers).eval()
        network.load_state_dict({path: torch.from_numpy(value) for path, value in weights.items()})
        found = network(torch.from_numpy(x))
        return [each.detach().numpy() for each in (found if isinstance(found, tuple) else (found,))]
    config = module.Config(layers=layers)
    apply = jax.jit(partial(module.apply, config=config))
    if not weights:
        return [apply({}, x)]
    held = module.from_flat(weights, config)
    if isinstance(held, tuple):
        found, _ = apply(*held, x)
    else:
        found = apply(held, x)
    return list(found) if isinstance(found, tuple) else [found]


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("text", SPECS.values(), ids=SPECS)
def test_any_number_of_turns(text: str, backend: str) -> None:
    module = emitted(text, backend)
    for layers in (2, 4, 8):
        try:
            program = dlc.loads(text)["M"](layers=layers).program
        except dlc.SpecError:
            with pytest.raises(ValueError, match="must"):
                outputs(module, backend, layers, {}, None)
            continue
        x = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
        weights = generic_weights(program)
        expected = run(program, weights, {"x": x}, precision="f64").values()
        for one, other in zip(outputs(module, backend, layers, weights, x), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5, err_msg=str(layers))


@pytest.mark.parametrize(
    "name", ["what each turn gives, and a part of it", "blocks that alternate", "in a module, in layers"]
)
def test_backends_and_gradients_agree(name: str) -> None:
    report = dlc.verify(dlc.loads(SPECS[name])["M"], gradients=True)
    assert report.agree, report.text()


OTHERWISE = {
    "its length is read": "for i in range(4) as h { x = x |> linear(8); all = all + [x] }\n    y = stack(all) * len(all)",
    "an element is read": "for i in range(4) as h { x = x |> linear(8); all = all + [x] }\n    y = stack(all) + all[0]",
    "it is read in the loop": "for i in range(4) as h { x = x |> linear(8); all = all + [x]; x = x + stack(all)[0] }\n    y = stack(all)",
    "it is passed on": "for i in range(4) as h { x = x |> linear(8); all = all + [x] }\n    y = concat(all)",
    "another name means it": "for i in range(4) as h { x = x |> linear(8); all = all + [x] }\n    more = all\n    y = stack(more)",
    "`stack` is another's": "for i in range(4) as h { x = x |> linear(8); all = all + [x] }\n    stack = concat\n    y = stack(all)",
    "a loop around reads it": "for j in range(2) as g { for i in range(2) as h { x = x |> linear(8); all = all + [x] } }\n    y = stack(all)",
    "shapes grow": "for i in range(4) as h { x = x |> linear(8 + i); all = all + [x[:, :8]] }\n    y = stack(all)",
    "one that was made before": "z = tanh(x)\n    for i in range(4) as h { x = x |> linear(8); all = all + [z] }\n    y = stack(all)",
}


@pytest.mark.parametrize("body", OTHERWISE.values(), ids=OTHERWISE)
def test_a_list_that_is_read_otherwise(body: str) -> None:
    lines = body.replace("; ", "\n        ").replace("{ ", "{\n        ").replace(" }", "\n    }")
    end = "return reshape(y, [-1, B, 8]) |> sum(axis=[0, 2])"
    text = f"model M()(x: [B, 8]) -> [B] {{\n    all = []\n    {lines}\n    {end}\n}}\n"
    model = dlc.loads(text)["M"]
    assert not any(Loop.of(op).stacked for op in loops(model))
    report = dlc.verify(model, backends=("torch", "jax"))
    assert report.agree, report.text()


KEPT = {
    "in a name that there was": ("z = x", "if i == 3 { z = x }", "z", 2),
    "in a name of the loop's": ("", "if i == 3 { z = x }", "z", 2),
    "in a list": ("z = []", "if i == 3 { z = z + [x] }", "z[0]", 2),
    "of two turns, stacked": ("z = []", "if i % 4 == 3 { z = z + [x] }", "mean(stack(z), 0)", 1),
    "of the last turn": ("", "z = sin(x)", "z", 1),
    "of the last turn, which is the next one's": ("", "z = x", "z", 1),
}


@pytest.mark.parametrize(("before", "turn", "given", "count"), KEPT.values(), ids=KEPT)
def test_what_one_turn_leaves(before: str, turn: str, given: str, count: int) -> None:
    text = f"""
model M(layers: int = 8)(x: [B, 8]) -> (y: [B, 8], z: [B, 8]) {{
    {before}
    for i in range(layers) as h {{
        x = x |> linear(8) |> tanh
        {turn}
    }}
    return x, {given}
}}
"""
    model = dlc.loads(text)["M"]
    assert len(loops(model)) == count
    report = dlc.verify(model, backends=("torch", "jax"))
    assert report.agree, report.text()
