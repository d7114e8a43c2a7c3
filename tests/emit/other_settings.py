"""What emitted PyTorch and JAX give at other settings than they were emitted for, beside what the spec gives."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache, partial
from types import ModuleType
from typing import Any

import jax
import numpy as np
import torch

import dlc
from dlc.ir.nodes import Program
from dlc.runtime.interpret import run


@cache
def source(text: str, backend: str) -> str:
    """The source of the model `M` of a spec: made once for all tests that look at it."""
    (found,) = dlc.loads(text)["M"].emit(backend).files.values()
    return str(found)


def compiled(model: Any, backend: str) -> ModuleType:
    """The source of a model, as a module."""
    (found,) = model.emit(backend).files.values()
    return executed(str(found))


def executed(text: str) -> ModuleType:
    module = ModuleType("emitted")
    sys.modules["emitted"] = module  # dataclasses look their types up there
    exec(text, module.__dict__)
    return module


def torch_outputs(module: ModuleType, change: dict[str, Any], weights: Any, x: Any) -> Any:
    network = module.M(**change).eval()
    network.load_state_dict({path: torch.from_numpy(value) for path, value in weights.items()})
    return network(torch.from_numpy(x)).detach().numpy()


def jax_outputs(module: ModuleType, change: dict[str, Any], weights: Any, x: Any) -> Any:
    config, held = _made(module, change, weights)
    found = jax.jit(partial(module.apply, config=config))(*held, x)
    return found[0] if len(held) > 1 else found


OUTPUTS = {"torch": torch_outputs, "jax": jax_outputs}


def torch_results(module: ModuleType, change: dict[str, Any], weights: Any, x: Any) -> Any:
    """The output, and the gradient of the sum of its squares by the input and the weights."""
    network = module.M(**change).eval()
    network.load_state_dict({path: torch.tensor(value) for path, value in weights.items()})
    given = torch.from_numpy(x).requires_grad_()
    found = network(given)
    found.square().sum().backward()
    by_path = {path: each.grad.numpy() for path, each in network.named_parameters()}
    return found.detach().numpy(), given.grad.numpy(), by_path


def jax_results(module: ModuleType, change: dict[str, Any], weights: Any, x: Any) -> Any:
    config, (params, *state) = _made(module, change, weights)

    def loss(params: Any, x: Any) -> Any:
        found = module.apply(params, *state, x, config=config)
        found = found[0] if isinstance(found, tuple) else found
        return (found**2).sum(), found

    (by_params, by_x), found = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, x)
    return found, by_x, module.to_flat(by_params)


RESULTS = {"torch": torch_results, "jax": jax_results}


def _made(module: ModuleType, change: Mapping[str, Any], weights: Any) -> tuple[Any, tuple[Any, ...]]:
    """The settings, and the trees of these weights, of which the source must want the same."""
    config = module.Config(**{name: _tuples(value) for name, value in change.items()})
    made = jax.eval_shape(lambda key: module.init(key, config), jax.random.key(0))
    flat = [jax.eval_shape(module.to_flat, tree) for tree in (made if isinstance(made, tuple) else (made,))]
    shapes = {path: value.shape for tree in flat for path, value in tree.items()}
    assert shapes == {path: value.shape for path, value in weights.items()}
    held = module.from_flat(weights, config)
    return config, held if isinstance(held, tuple) else (held,)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def slope(program: Program, weights: Any, x: Any, path: str, ahead: Any, step: float = 1e-6) -> float:
    """How fast the sum of squares of what a spec's program gives rises that way: of a parameter, or of the input."""
    wide = {key: value.astype(np.float64) for key, value in weights.items()}
    losses = []
    for by in (step * ahead, -step * ahead):
        given = {**wide, path: wide[path] + by} if path else wide
        here = x.astype(np.float64) + (0 if path else by)
        (out,) = run(program, given, {"x": here}, precision="f64").values()
        losses.append((out.astype(np.float64) ** 2).sum())
    found: float = (losses[0] - losses[1]) / (2 * step)
    return found
