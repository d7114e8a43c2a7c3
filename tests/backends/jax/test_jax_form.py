"""The form of emitted JAX: a config, parameters and state apart, modes and keys as arguments, a dtype that follows the parameters."""

from __future__ import annotations

import dataclasses
from functools import cache, partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from dlc_jax import BACKEND
from dlc_jax.load import module
from jax_programs import inputs_of
from small_settings import CASES
from test_jax_arguments import SPECS

import dlc
from dlc.backend import EmitOptions
from dlc.runtime.compile import lower
from dlc.runtime.interpret import run

jax = pytest.importorskip("jax")
jnp = jax.numpy

SPEC = """
module Block(d: int, p: float)(x: [B, d], scale: [d] = none) -> [B, d] {
    y = x |> linear(d) as fc |> batch_norm as bn |> relu |> dropout(p)
    if scale != none { y = y * scale }
    return x + y
}

model Net(d: int = 6, layers: int = 3, wide: int = 2*d, p: float = 0.5)(x: [B, d], scale: [d] = none)
    -> (y: [B, d], loss: [])
    where d % 2 == 0
{
    init "h.*.fc.weight" = normal(1 / sqrt(layers))
    for i in range(layers) as h { x = Block(d, p)(x, scale) }
    x = x |> linear(wide) as up |> tanh |> linear(d) as down
    for i in range(2) as tail { x = x |> layer_norm as norm |> linear(d, bias=false) as out }
    return x, mean(x * x)
}
"""


@cache
def net() -> ModuleType:
    return module(dlc.loads(SPEC)["Net"].emit("jax"))


def made(**settings: Any) -> tuple[Any, Any, Any]:
    """A config, parameters and state."""
    config = net().Config(**settings)
    return config, *net().init(jax.random.key(0), config)


def test_the_config_is_the_specs_parameters() -> None:
    config = net().Config
    assert [each.name for each in dataclasses.fields(config)] == ["d", "layers", "wide", "p"]
    assert config(d=8).wide == 16 and config(d=8, wide=5).wide == 5
    with pytest.raises(ValueError, match="d % 2 == 0 must hold, but d is 3"):
        config(d=3)


def test_layers_are_stacked_and_checkpoints_have_them_one_by_one() -> None:
    config, params, state = made(layers=5)
    assert params["h"]["fc"]["weight"].shape == (5, 6, 6)
    assert state["h"]["bn"]["running_mean"].shape == (5, 6)
    flat = {**net().to_flat(params), **net().to_flat(state)}
    program = dlc.loads(SPEC)["Net"](layers=5).program
    assert {path: value.shape for path, value in flat.items()} == {
        each.path: each.type.shape for each in program.parameters
    }
    back = net().from_flat(flat, config)
    jax.tree.map(np.testing.assert_array_equal, back, (params, state))


def test_an_init_rule_speaks_of_the_model_at_its_config() -> None:
    _, params, _ = made(d=200, layers=16)
    assert float(jnp.std(params["h"]["fc"]["weight"])) == pytest.approx(0.25, rel=0.05)


def test_state_is_apart_from_what_is_trained() -> None:
    optax = pytest.importorskip("optax")
    config, params, state = made()
    x = jax.random.normal(jax.random.key(1), (16, 6))

    def loss(params: Any, state: Any) -> Any:
        outputs, new = net().apply(params, state, x, config=config, training=True, key=jax.random.key(2))
        return outputs.loss, new

    gradients, new = jax.grad(loss, has_aux=True)(params, state)
    assert jax.tree.structure(gradients) == jax.tree.structure(params)
    optimizer = optax.sgd(0.1)
    steps, _ = optimizer.update(gradients, optimizer.init(params))
    assert all(map(np.all, jax.tree.leaves(jax.tree.map(jnp.isfinite, optax.apply_updates(params, steps)))))
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert int(new["h"]["bn"]["num_batches_tracked"][0]) == 1
    assert int(state["h"]["bn"]["num_batches_tracked"][0]) == 0
    assert not np.allclose(new["h"]["bn"]["running_mean"], state["h"]["bn"]["running_mean"])


def test_modes_and_optional_inputs_are_arguments() -> None:
    config, params, state = made()
    apply = jax.jit(partial(net().apply, config=config), static_argnames=("training",))
    x, scale = jax.random.normal(jax.random.key(9), (4, 6)), 2.0 * jnp.ones(6)
    first, same = apply(params, state, x)
    jax.tree.map(np.testing.assert_array_equal, same, state)
    assert not np.allclose(first.y, apply(params, state, x, scale)[0].y)
    one, again, other = (
        apply(params, state, x, training=True, key=jax.random.key(key))[0].y for key in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    with pytest.raises(ValueError, match="needs a key"):
        apply(params, state, x, training=True)


def test_layers_draw_apart() -> None:
    """Every layer of a scan has a key of its own."""

    from dlc_jax.checkpoints import LIBRARY

    scope: dict[str, Any] = {"jax": jax, "Array": jax.Array}
    exec(LIBRARY.functions["layer_keys"], scope)
    keys = scope["layer_keys"](jax.random.key(0), 3)
    draws = jax.vmap(lambda key: jax.random.normal(key))(keys)
    assert len(set(map(float, draws))) == 3
    assert scope["layer_keys"](None, 3) is None


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("file", "name", "settings", "dims", "optional"), CASES, ids=lambda each: str(each)[:30]
)
def test_a_model_computes_in_the_dtype_of_its_parameters(
    file: str,
    name: str,
    settings: dict[str, Any],
    dims: dict[str, int],
    optional: tuple[str, ...],
    training: bool,
) -> None:
    model = dlc.load(SPECS / f"{file}.dl")[name](**settings).with_inputs(*optional)
    program = lower(model.training_program if training else model.program, BACKEND)
    artifact = BACKEND.emit(program, EmitOptions())
    emitted = module(artifact)

    def half(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16 if leaf.dtype == np.float32 else leaf.dtype)

    trees = jax.eval_shape(lambda key: emitted.init(key, dtype=jnp.bfloat16), jax.random.key(0))
    trees = trees if isinstance(trees, tuple) else (trees,)
    given = [half(value) for value in inputs_of(program, dims).values()]
    named = {"key": jax.random.key(0)} if "key" in artifact.meta["arguments"] else {}
    made = jax.eval_shape(lambda *args: emitted.apply(*args, **named), *trees, *given)
    floats = {leaf.dtype for leaf in jax.tree.leaves(made) if jnp.issubdtype(leaf.dtype, jnp.floating)}
    assert floats == {np.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_parameters_decide_the_dtype(dtype: str) -> None:
    params, state = net().init(jax.random.key(0), dtype=dtype)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(params)} == {dtype}
    x = jnp.ones((4, 6), dtype)
    outputs, new = net().apply(params, state, x, training=True, key=jax.random.key(1))
    assert {str(each.dtype) for each in outputs} == {dtype}
    assert [leaf.dtype for leaf in jax.tree.leaves(new)] == [leaf.dtype for leaf in jax.tree.leaves(state)]


ALTERNATING = """
module Part(d: int, eps: float)(x: [B, d]) -> [B, d] { return x |> batch_norm(eps=eps) as bn }

model M(d: int = 4)(x: [B, d]) -> [B, d] {
    for i in range(4) as h { x = x |> Part(d, 1e-1 if i % 2 == 0 else 1e-5) }
    return x
}
"""


@pytest.mark.parametrize("d", [4, 6])
def test_layers_that_differ_and_have_a_state(d: int) -> None:
    source = module(dlc.loads(ALTERNATING)["M"].emit("jax"))
    model = dlc.loads(ALTERNATING)["M"](d=d)
    config = source.Config(d=d)
    weights = {path: each + 0.25 for path, each in model.initial_weights(seed=0).items()}
    params, state = source.from_flat(weights, config)
    x = np.linspace(-2, 2, 3 * d, dtype=np.float32).reshape(3, d)
    found, _ = source.apply(params, state, x, config=config)
    np.testing.assert_allclose(found, run(model.program, weights, {"x": x})["output"], rtol=1e-5)


CHOICES = """
model M(n: int = 2)(x: [B, 3], more: [L, B, 3] = none) -> [B, 3] {
    if more != none {
        require L <= n, "too many"
        scale = sum(more, axis=0) * cast(L, float)
    }
    x = x |> linear(3) as fc
    if more != none { x = x * scale }
    return tanh(x)
}
"""


def test_an_absent_input_is_not_read_and_what_it_gives_goes_from_choice_to_choice() -> None:
    model = dlc.loads(CHOICES)["M"]
    source = module(model.emit("jax"))
    weights = model.initial_weights(seed=0)
    rng = np.random.default_rng(0)
    x, more = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(2, 4, 3)).astype(np.float32)
    params = source.from_flat(weights)
    for given, program in (({}, model.program), ({"more": more}, model.with_inputs("more").program)):
        expected = run(program, weights, {"x": x, **given})["output"]
        np.testing.assert_allclose(source.apply(params, x, **given), expected, rtol=1e-5, atol=1e-6)


SELF = """
model M(layers: int = 2, d: int = 3)(x: [B, d]) -> [B, d] {
    entry twice(x: [B, d]) -> [B, d] { return self(self(x)) }
    for i in range(layers) as h { x = x |> linear(d) as fc |> tanh }
    return x
}
"""


def test_an_entry_that_calls_the_model_itself_has_its_layers() -> None:
    spec = dlc.loads(SELF)
    weights = spec["M"].initial_weights()
    x = np.ones((2, 3), np.float32)
    once = spec["M"].compile("jax", weights=weights)
    twice = spec["M.twice"].compile("jax", weights=weights)
    (expected,) = once(x=next(iter(once(x=x).values()))).values()
    np.testing.assert_allclose(next(iter(twice(x=x).values())), expected, rtol=1e-6)


def test_frozen_parameters_get_no_gradient() -> None:
    text = """
model M(d: int = 4)(x: [B, d]) -> [B, d] {
    param table: [d] = ones frozen
    return (x |> linear(d) as fc) + table * x
}
"""
    found = module(dlc.loads(text)["M"].emit("jax"))
    params = found.init(jax.random.key(0))
    gradients = jax.grad(lambda params: found.apply(params, jnp.ones((2, 4))).sum())(params)
    assert not gradients["table"].any()
    assert gradients["fc"]["weight"].any()
