"""Emitted JAX is right at other settings too: at another `Config` it is the model of the spec at these settings."""

from __future__ import annotations

import dataclasses
import inspect
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from dlc_jax.grad import ONCE
from dlc_jax.load import module
from jax_programs import inputs_of, weights_of
from loop_specs import EVERY, STREAMS
from small_settings import others, params

import dlc
from dlc.api import Model
from dlc.emit.names import identifier
from dlc.runtime.interpret import run

jax = pytest.importorskip("jax")

SPECS = Path(__file__).parents[3] / "specs"


def flat(emitted: ModuleType, trees: Any) -> dict[str, Any]:
    """Parameters and state by path."""
    found = trees if isinstance(trees, tuple) else (trees,)
    return {path: value for tree in found for path, value in emitted.to_flat(tree).items()}


def prepared(emitted: ModuleType, trees: tuple[Any, ...], given: tuple[Any, ...]) -> tuple[Any, ...]:
    """What `apply` takes, where the file says that weights have to be prepared."""
    if not hasattr(emitted, "prepare"):
        return trees
    taken = inspect.signature(emitted.prepare).parameters
    config = {"config": given[0]} if "config" in taken else {}
    return (emitted.prepare(*trees[: 1 + ("state" in taken)], **config), *trees[1:])


def check(emitted: ModuleType, model: Model, config: Any, dims: dict[str, int]) -> None:
    """The emitted functions at a config are the model: names and shapes of parameters, outputs."""
    program = model.program
    given = () if config is None else (config,)
    made = jax.eval_shape(lambda key: flat(emitted, emitted.init(key, *given)), jax.random.key(0))
    shapes = {each.path: each.type.shape for each in program.parameters}
    assert {path: value.shape for path, value in made.items()} == shapes
    weights, inputs = weights_of(program), inputs_of(program, dims)
    trees = emitted.from_flat(weights, *given)
    back = flat(emitted, trees)
    assert back.keys() == weights.keys()
    trees = trees if isinstance(trees, tuple) else (trees,)
    trees = prepared(emitted, trees, given)
    small = {name: value % 2 for name, value in inputs.items() if "mask" in name or "type" in name}
    inputs |= small | {
        each.name: inputs[each.name] > 0 for each in program.main.inputs if each.type.dtype == "bool"
    }
    named = {identifier(name): value for name, value in inputs.items()}
    settings = {} if config is None else {"config": config}
    with jax.default_matmul_precision("highest"):
        lowered = jax.jit(partial(emitted.apply, **settings)).lower(*trees, **named)
        found = lowered.compile(ONCE)(*trees, **named)
    found = found[0] if any(each.kind == "buffer" for each in program.parameters) else found
    expected = run(program, weights, inputs).values()
    there = [each for each in (found if isinstance(found, tuple) else (found,)) if each is not None]
    for mine, theirs in zip(there, expected, strict=True):
        difference = abs(np.asarray(mine) - theirs).max() / max(abs(theirs).max(), 1e-6)
        assert difference < 5e-4, (config, difference)


NAMES = ("file", "name", "settings", "dims", "optional")
Settings = dict[str, Any]


@pytest.mark.parametrize(NAMES, params())
def test_another_config_is_the_model_at_other_settings(
    file: str, name: str, settings: Settings, dims: dict[str, int], optional: tuple[str, ...]
) -> None:
    model = dlc.load(SPECS / f"{file}.dl")[name](**settings).with_inputs(*optional)
    at_other_settings(model, 1, dims)


@pytest.mark.parametrize(NAMES, params(frozenset({"GPT2"})))
def test_from_level_2_on_too(
    file: str, name: str, settings: Settings, dims: dict[str, int], optional: tuple[str, ...]
) -> None:
    """What passes have fitted to one mode, on weights that the file prepares by itself."""
    model = dlc.load(SPECS / f"{file}.dl")[name](**settings).with_inputs(*optional)
    at_other_settings(model, 2, dims)


def at_other_settings(model: Model, level: int, dims: dict[str, int]) -> None:
    emitted = module(model.emit("jax", optimize=level))
    if not hasattr(emitted, "Config"):
        check(emitted, model, None, dims)
        return
    fields = {each.name: each.name.removesuffix("_") for each in dataclasses.fields(emitted.Config)}
    check(emitted, model, emitted.CONFIG, dims)
    for change in others(model, list(fields.values())):
        config = emitted.Config(**{field: change[spec] for field, spec in fields.items() if spec in change})
        check(emitted, model(**change), config, dims)


WINDOWS = """
model M(d: int = 4, k: int = 2)(x: [B, 3, 6, 6], v: [B, 2, 4, 4, 4]) -> (a: _, b: _, c: _, e: _, f: _, g: _, h: _) {
    a = x |> conv_transpose2d(d, 4, stride=2, padding=1) as a
    b = x |> conv_transpose2d(d, [2, 3], stride=[1, 2], padding=[1, 0], output_padding=[0, 1]) as b
    c = x |> conv_transpose2d(3 * d, 3, groups=3, bias=false, dilation=2) as c
    e = v |> conv3d(d, 2, stride=2) as e
    f = v |> conv3d(d, [1, 2, 3], padding=[0, 1, 1], stride=[1, 2, 1]) as f
    g = v |> conv3d(d, 3, padding="same", dilation=2) as g
    h = v |> conv3d(d, k, padding=[[0, 1], [1, 0], [0, 0]], groups=2) as h
    return a, b, c, e, f, g, h
}
"""


def test_layers_that_take_a_number_for_all_axes_or_one_for_each() -> None:
    model = dlc.loads(WINDOWS)["M"]
    emitted = module(model.emit("jax"))
    text = next(iter(model.emit("jax").files.values()))
    assert 'conv_transpose2d(params["c"], x, groups=3, dilation=2)' in text
    for change in ({}, {"d": 6}, {"k": 1}):
        check(emitted, model(**change), emitted.Config(**change), {"B": 2})


RULES = """
model M(d: int = 64, n: int = 48)(x: [B, 3, 8, 8]) -> (a: [B, d], b: [B, n], c: [B, d, 7, 7]) {
    init linear.weight = uniform(-0.02, 0.02)
    init "b.bias" = uniform(-3.0, 3.0)
    init conv2d.weight = uniform(-1, 1) * sqrt(9.0 / (d + n))
    x_2 = reshape(x, [B, 192])
    return x_2 |> linear(d) as a, x_2 |> linear(n) as b, x |> conv2d(d, 2) as c
}
"""


def test_initial_values_are_those_of_the_rules() -> None:
    """What a rule says of one parameter of a layer does not touch the other's own."""
    model = dlc.loads(RULES)["M"]
    emitted = module(model.emit("jax"))
    for change in ({}, {"d": 160}):
        found = emitted.to_flat(emitted.init(jax.random.key(0), emitted.Config(**change)))
        expected = model(**change).initial_weights(0)
        for path, value in expected.items():
            assert abs(np.abs(found[path]).max() / np.abs(value).max() - 1) < 0.1, (path, change)


CHANCE = """
model M(d: int = 8, wide: int = 2 * d, groups: int = 1, a: int = 4, b: int = 4)(x: [B, T, d]) -> (y: _, p: _, q: _)
    where d % groups == 0
{
    y = x |> rearrange("B T (groups e) -> B groups T e", groups=groups) |> rms_norm(affine=false)
    p, q = x |> linear(a + b) as parts |> split([a, b], axis=-1)
    return tril(y @ y.T), p * wide, q |> linear(wide) as out
}
"""


def test_one_group_and_parts_of_one_width_are_so_by_chance() -> None:
    model = dlc.loads(CHANCE)["M"]
    emitted = module(model.emit("jax"))
    for change in ({"groups": 2}, {"d": 12, "a": 3, "wide": 5}):
        check(emitted, model(**change), emitted.Config(**change), {"B": 2, "T": 3})


SIDES = """
module Layer(wide: bool, d: int)(x: [B, d]) -> [B, d] {
    if wide { x = x |> linear(2 * d, bias=false) as mlp |> linear(d) as out } else { x = x |> layer_norm as mlp }
    return x
}

model M(layers: int = 3, narrow: int = 1, d: int = 4)(x: [B, d]) -> [B, d] {
    for i in range(layers) as h { x = x |> Layer(i >= narrow, d) }
    return x
}
"""


def test_the_sides_of_a_choice_have_parts_of_one_name() -> None:
    model = dlc.loads(SIDES)["M"]
    emitted = module(model.emit("jax"))
    check(emitted, model(d=6), emitted.Config(d=6), {"B": 2})


def test_layers_of_other_parts_by_their_number_stand_by_themselves() -> None:
    model = dlc.loads(STREAMS)["M"]
    emitted = module(model.emit("jax"))
    for change in ({"layers": 1}, {"layers": 3, "d": 3}):
        check(emitted, model(**change), emitted.Config(**change), {"B": 2, "T": 3, "S": 2})


def test_every_so_manieth_layer_is_another() -> None:
    model = dlc.loads(EVERY)["M"]
    emitted = module(model.emit("jax"))
    check(emitted, model(layers=5, every=2), emitted.Config(layers=5, every=2), {"B": 2})


GROUPED = """
model M(d: int = 8, heads: int = 4, groups: int = heads)(x: [B, T, d]) -> [B, T, d]
    where d % heads == 0, heads % groups == 0
{
    q = x |> linear(d) as q |> rearrange("B T (heads e) -> B heads T e", heads=heads)
    k = x |> linear(groups * (d // heads)) as k |> rearrange("B T (groups e) -> B groups T e", groups=groups)
    return attention(q, k, k) |> rearrange("B heads T e -> B T (heads e)")
}
"""


@pytest.mark.parametrize("groups", [4, 2])
def test_as_many_groups_as_heads_or_fewer(groups: int) -> None:
    """What was decided on two numbers that are equal, or are not, is decided anew where they are given."""
    model = dlc.loads(GROUPED)["M"](groups=groups)
    emitted = module(model.emit("jax"))
    assert "if heads != kv_heads:" in next(iter(model.emit("jax").files.values()))
    for change in ({"groups": 4}, {"groups": 2}, {"groups": 1}):
        check(emitted, model(**change), emitted.Config(**change), {"B": 2, "T": 3})


DROPPING = """
model M(turns: int = 3, p: float = 0.25)(x: [B, d]) -> (y: _, z: _) {
    for i in range(turns) as layers { x = x |> dropout(p) }
    scan i in range(turns) with y = x { y = y + 1.0 |> dropout(p) }
    return x, y
}
"""


def test_loops_that_go_over_keys_alone_run_without_a_key() -> None:
    model = dlc.loads(DROPPING)["M"]
    emitted = module(model.emit("jax"))
    x = np.ones((2, 3), np.float32)
    y, z = emitted.apply({}, x, config=emitted.Config(turns=2))
    assert (np.asarray(y) == 1).all() and (np.asarray(z) == 3).all()
    y, _ = emitted.apply({}, x, training=True, key=jax.random.key(0))
    assert not (np.asarray(y) == 1).any()
