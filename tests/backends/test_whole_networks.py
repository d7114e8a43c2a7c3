"""What random networks found: modules of modules, loops in loops, copies, and classes made with other arguments than they were
emitted for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dlc
from dlc.runtime.inputs import random_inputs
from dlc.runtime.interpret import run

torch = pytest.importorskip("torch")

SPECS = {
    # What all copies compute alike was made an input of theirs that the library did not pass.
    "copies of a module with a table": """
module P(d: int)(x: [B, T, d]) -> [B, T, d] {
    return (x |> linear(d) as f) * cast(arange(T) // 2, float)[:, none]
}
model M(d: int = 4)(x: [B, T, d]) -> [B, T, d] {
    y = stack([x, x * 0.5]) |> copies(P(d), 2) as m
    return y[1]
}
""",
    # The inner loop had nothing to go over.
    "loops without parts in loops with some": """
module N(d: int)(x: [B, T, d]) -> [B, T, d] { return tanh(x) * 2.0 }
model M(d: int = 4, layers: int = 2)(x: [B, T, d]) -> [B, T, d] {
    for i in range(layers) as l {
        x = x |> layer_norm as norm
        for k in range(3) { x = N(d)(x) }
    }
    return x
}
""",
    # The inner loop's variable was read where its turns were written out.
    "a loop over a list in a loop over numbers": """
model M(d: int = 4, layers: int = 2, widths: list[int] = [2, 2, 2])(x: [B, T, d]) -> [B, T, d] {
    for i in range(layers) as l {
        for w in widths as m { x = x |> linear(w) as up |> relu |> linear(d) as down }
    }
    return x
}
""",
    # `d` is no argument, as the copies decide: the entry read it all the same.
    "an entry beside what is written out": """
module P(d: int)(x: [B, T, d]) -> [B, T, d] {
    return x |> rearrange("B T d -> B d T") |> conv1d(d, 3, padding=1) as c |> rearrange("B d T -> B T d")
}
model M(d: int = 4)(x: [B, T, d]) -> [B, T, d] {
    change = linear(d)
    entry refine(n: int = 2)(x: [B, T, d]) -> [B, T, d] {
        scan j in range(n) with y = x { y = y - 0.1 * tanh(change(y)) }
        return y
    }
    y = stack([x, x * 0.5]) |> copies(P(d), 2) as m
    return y[0] + self.refine()(y[1])
}
""",
    # A plain function was given what makes a layer, as a class is.
    "functions that a module without parts is given": """
module P(d: int, act: fn = tanh)(x: [B, T, d]) -> [B, T, d] { return act(x) * 2.0 }
model M(d: int = 4, act: fn = relu)(x: [B, T, d]) -> [B, T, d] {
    x = x |> linear(d) as f |> act
    return x |> P(d, act) |> P(d) |> P(d, gelu)
}
""",
    # onnxruntime lost a factor of a product while it put another into it.
    "factors of factors": """
module P(d: int)(x: [B, T, d]) -> [B, T, d] {
    x = x * 0.5
    for i in range(2) as l { x = x |> linear(d) |> tanh }
    return x
}
model M(d: int = 4)(x: [B, T, d]) -> [B, T, d] {
    part = P(d)
    return part(x) - part(x * 0.5)
}
""",
    # A line too long for the types of all that a turn takes.
    "copies of many parameters": """
module P(d: int)(x: [B, T, d]) -> [B, T, d] {
    for i in range(4) as l { x = x |> linear(d) as up |> relu |> linear(d) as down }
    return x
}
model M(d: int = 4)(x: [B, T, d]) -> [B, T, d] {
    y = stack([x, x * 0.5]) |> copies(P(d), 2) as m
    return y[0] + y[1]
}
""",
}


@pytest.mark.parametrize("backend", ["torch", "jax", "onnx"])
@pytest.mark.parametrize("name", SPECS)
def test_all_backends_agree(name: str, backend: str) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    model = dlc.loads(SPECS[name])["M"]
    weights, given = model.initial_weights(0), random_inputs(model.program, {"B": 2, "T": 3})
    expected = run(model.program, weights, given)["output"]
    found = model.compile(backend, weights=weights)(**given)["output"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def emitted(text: str) -> Any:
    """The class `M` of emitted PyTorch."""
    (source,) = map(str, dlc.loads(text)["M"].emit("torch").files.values())
    exec(source, scope := {"__name__": "emitted"})
    return scope["M"]


def test_an_entry_is_one_method() -> None:
    (source,) = map(
        str, dlc.loads(SPECS["an entry beside what is written out"])["M"].emit("torch").files.values()
    )
    assert source.count("def refine") == 1


def test_functions_are_given_as_such() -> None:
    network = emitted(SPECS["functions that a module without parts is given"])(act=torch.nn.SiLU)
    x = torch.ones(2, 3, 4)
    silu = torch.nn.functional.silu
    expected = torch.nn.functional.gelu(torch.tanh(silu(silu(network.f(x))) * 2.0) * 2.0) * 2.0
    torch.testing.assert_close(network(x), expected)


def test_lists_in_loops_are_arguments() -> None:
    model = dlc.loads(SPECS["a loop over a list in a loop over numbers"])["M"]
    settings = {"d": 3, "layers": 3, "widths": [5, 2, 4]}
    state = emitted(SPECS["a loop over a list in a loop over numbers"])(**settings).state_dict()
    assert {path: tuple(value.shape) for path, value in state.items()} == {
        each.path: each.type.shape for each in model(**settings).parameters
    }


REFUSED = {
    # What a plain function decides is asked by the class that calls it.
    "d % 2 == 0 must hold, but d is 5": (
        """
module Half(d: int)(x: [B, d]) -> [B, d] {
    if d % 2 == 0 { x = x * 0.5 }
    return x
}
model M(d: int = 4)(x: [B, d]) -> [B, d] { return x |> linear(d) as f |> Half(d) }
""",
        {"d": 5},
    ),
    # `k` is no argument of the class: it is what it is.
    "d % 4 == 0 must hold, but d is 6": (
        """
model M(d: int = 4, k: float = 2)(x: [B, d]) -> [B, d] {
    if k != none and d % 4 == 0 { x = x |> linear(d) as f }
    return x |> linear(d) as g
}
""",
        {"d": 6},
    ),
    # Only a class that holds parts takes the list apart.
    "widths must have length 1, not 3": (
        """
model M(d: int = 4, widths: list[int] = [3])(x: [B, d]) -> [B, d] {
    for i, w in enumerate(widths) as l { x = x + (x |> linear(w) as up |> linear(d) as down) / (i + 1) }
    return x
}
""",
        {"widths": (5, 2, 2)},
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_arguments_that_make_another_network_are_refused(message: str) -> None:
    text, arguments = REFUSED[message]
    kind = emitted(text)
    kind()
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


def test_what_is_computed_in_f64_goes_on_in_the_modules_precision() -> None:
    text = """
fn halved(x: [*S]) -> [*S] { return x * 0.5 }
model M(d: int = 4)(x: [B, d]) -> [B, d] {
    x = x |> linear(d) as f
    for i in range(3) { x = halved(cast(cast(x, f64) * 0.5, float)) }
    return x
}
"""
    module = emitted(text)().to(torch.bfloat16)
    assert module(torch.ones(2, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


OPTIONAL = """
module Scaled(k: float)(x: [*S]) -> [*S]
    where k > 0.0
{
    return x * k
}
model M(d: int = 4, k: float = none, p: float = none)(x: [B, d]) -> [B, d] {
    x = x |> linear(d) as f
    if k != none { x = x |> Scaled(k) }
    if p != none { x = x |> dropout(p) }
    return x
}
"""


def test_what_a_part_asks_is_asked_where_there_is_one() -> None:
    """A `Config` of emitted JAX compared `None` with 0, and its dropout left nothing of what it was given."""
    jax = pytest.importorskip("jax")
    from dlc_jax.load import module

    kind, source = emitted(OPTIONAL), module(dlc.loads(OPTIONAL)["M"].emit("jax"))
    for made in (kind, source.Config):
        made()
        made(k=0.5)
        with pytest.raises(ValueError, match=r"k is None or k > 0\.0 must hold, but k is -1\.0"):
            made(k=-1.0)
    config = source.Config(p=0.5)
    params = source.init(jax.random.key(0), config)
    x = np.ones((8, 4), np.float32)
    dropped, whole = (
        source.apply(params, x, config=config, training=True, key=jax.random.key(1)),
        source.apply(params, x),
    )
    ratio = np.asarray(dropped) / np.asarray(whole)
    assert sorted({round(float(each), 3) for each in ratio.flat}) == [0.0, 2.0]


def test_the_gradient_of_a_maximum_of_what_is_rounded() -> None:
    """XLA, in haste, found no element that is the maximum."""
    pytest.importorskip("jax")
    text = """
model M(d: int = 4)(x: [B, T, d], i: i64[B, T]) -> [B, T, d] {
    x = x + (i |> embedding(7, d) as e)
    x = x |> rearrange("B T d -> B d T") |> batch_norm as n |> rearrange("B d T -> B T d")
    return x + max(x, axis=1, keepdims=true)
}
"""
    report = dlc.verify(dlc.loads(text)["M"], backends=("jax",), gradients=True)
    assert report.agree, str(report)


def test_a_float_before_a_size_knows_where_it_came_from() -> None:
    """`0.5 * d` was a plain number, `d * 0.5` was not: so `d` was no argument."""
    text = """
fn waves(t: [B], d: int) -> [B, d // 2] {
    return t[:, none] * exp(arange(d // 2, dtype=float) * (-log(10_000.0) / (d // 2)))
}
model M(d: int = 4)(x: [B, d]) -> [B, d // 2] {
    x = x |> linear(d) as f
    return waves(x[:, 0], d) * (0.5 * d) - 2.0 ** d
}
"""
    x = np.ones((2, 6), np.float32)
    wide = dlc.loads(text)["M"](d=6)
    weights = wide.initial_weights(0)
    network = emitted(text)(d=6)
    network.load_state_dict({path: torch.from_numpy(value) for path, value in weights.items()})
    expected = run(wide.program, weights, {"x": x})["output"]
    np.testing.assert_allclose(network(torch.from_numpy(x)).detach(), expected, rtol=1e-4)
