"""What is emitted for the published settings, all layers and branches of them, is the spec's network: run at small widths.

Each source is written once, with the arguments that it is known to have (`FIXED` says which are none); that the source is the same text
at other settings is what emission itself checks, and benchmarks/arguments.py counts."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from published_settings import FIXED, SMALL, published

from dlc.api import Model
from dlc.backend import EmitOptions, Which
from dlc.emit.names import identifier
from dlc.ir.nodes import Program
from dlc.runtime.compile import find_backend, lower
from dlc.runtime.family import ModelFamily
from dlc.runtime.inputs import random_inputs
from dlc.runtime.interpret import run
from dlc.runtime.weights import generic_weights

Arrays = dict[str, Any]
MODELS = dict(published())
# Parts of other models here, and in JAX networks without a loop over layers, of which test_jax_arguments.py has some.
WITHIN = {"esmfold:Trunk", "alphafold2:Evoformer", "alphafold2:StructureModule"}
UNROLLED = (
    "biggan",
    "ddpm",
    "dcgan",
    "gan",
    "stable_diffusion_15:UNet",
    "stable_diffusion_15:VAE",
    "unclip:Decoder",
    "unclip:Upsampler",
    "googlenet",
    "mobilenet",
    "moco",
    "simclr",
    "alexnet",
    "lenet5",
    "mlp",
    "unet",
    "vae",
    "vgg",
)
# Those that take more than a few seconds.
SLOW = (
    "biggan",
    "ddpm",
    "stylegan2",
    "stable_diffusion_15:UNet",
    "unclip:Decoder",
    "unclip:Upsampler",
    "deepseek_v3",
    "gpt3",
    "llama4",
    "qwen2_vl",
    "alphafold2",
    "esmfold",
    "googlenet",
    "mae",
    "mobilenet",
    "moco",
    "simclr",
    "resnet",
    "sd3",
)
# At sizes that no parameter but depth decides the reference takes half a minute.
LARGE = {"stylegan2:Generator", "stylegan2:Discriminator"}
TOLERANCE = 5e-5


@dataclass(frozen=True)
class Once(ModelFamily):
    """A model at no other settings: what its source takes is known."""

    known: frozenset[str] = frozenset()

    def programs(self, fixed: frozenset[str] = frozenset()) -> tuple[Program, ...]:
        return super().programs(self.known)

    def others(self, fixed: frozenset[str], which: Which) -> Iterator[tuple[tuple[str, ...], ModelFamily]]:
        return iter(())


def fixed(name: str, backend: str) -> frozenset[str]:
    letter = backend[0].upper()
    return frozenset(each for each, letters in FIXED.get(name, {}).items() if letter in letters)


def emitted(name: str, backend: str) -> ModuleType:
    model, made = MODELS[name], find_backend(backend)

    def lowered(program: Program) -> Program:
        return lower(program, made, 1)

    family = Once(model, lowered, None, whole=backend == "torch", known=fixed(name, backend))
    (text,) = made.emit(family.program(False), EmitOptions("model", family=family)).files.values()
    module = ModuleType("emitted")
    sys.modules["emitted"] = module  # dataclasses look their types up there
    exec(str(text), module.__dict__)
    return module


@cache
def small(name: str, without: frozenset[str]) -> tuple[Model, Arrays, Arrays, Arrays]:
    """A model at small widths, with weights and inputs and what it makes of them."""
    model = MODELS[name]
    change = {key: value for key, value in SMALL.get(name, {}).items() if key not in without}
    made = model(**change) if change else model
    weights, inputs = generic_weights(made.program), random_inputs(made.program)
    whole = {key: value for key, value in inputs.items() if value.dtype.kind == "i" and value.ndim}
    inputs |= {key: value % 2 for key, value in whole.items()}  # nodes and graphs are among the first two
    assert {each.path for each in made.parameters} == {each.path for each in model.parameters}
    return made, weights, inputs, {} if name in LARGE else run(made.program, weights, inputs)


def settings(name: str, taken: set[str], backend: str) -> dict[str, Any]:
    """The small settings in Python. All static parameters but those that are known to be fixed are taken."""
    gone = fixed(name, backend)
    assert taken == {identifier(each) for each in MODELS[name].settings} - {*map(identifier, gone)}
    change = {key: value for key, value in SMALL.get(name, {}).items() if key not in gone}
    return {identifier(key): _hashable(value) for key, value in change.items()}


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def close(found: Any, expected: Arrays) -> None:
    there = [each for each in (found if isinstance(found, tuple) else (found,)) if each is not None]
    for mine, theirs in zip(there, expected.values(), strict=True):
        assert mine.shape == theirs.shape
        np.testing.assert_array_less(
            abs(np.asarray(mine) - theirs).max(initial=0), TOLERANCE * max(abs(theirs).max(initial=0), 1e-6)
        )


def models(without: tuple[str, ...] = ()) -> list[Any]:
    names = [name for name in MODELS if name not in WITHIN and not name.startswith(without or "-")]
    return [pytest.param(name, marks=pytest.mark.slow if name.startswith(SLOW) else ()) for name in names]


@pytest.mark.parametrize("name", models())
def test_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    module = emitted(name, "torch")
    kind = [
        each for each in vars(module).values() if isinstance(each, type) and each.__module__ == "emitted"
    ][-1]
    given = settings(name, set(inspect.signature(kind).parameters), "torch")
    model, weights, inputs, expected = small(name, fixed(name, "torch"))
    with torch.device("meta" if name in LARGE else "cpu"), torch.no_grad():
        network = kind(**given).eval()
        found = {path: tuple(value.shape) for path, value in network.state_dict().items()}
        assert found == {each.path: each.type.shape for each in model.parameters}
        if name not in LARGE:
            network.load_state_dict({path: torch.tensor(value) for path, value in weights.items()})
        tensors = {key: torch.tensor(value) for key, value in inputs.items()}
        sizes = {key: int(tensors.pop(key)) for key in model.program.main.given_sizes}
        alone = isinstance(network, torch.nn.Sequential)  # it has a name of its own for its input
        outputs = (
            network(*tensors.values())
            if alone
            else network(**{identifier(key): each for key, each in {**tensors, **sizes}.items()})
        )
    if name not in LARGE:
        close(outputs, expected)


@pytest.mark.parametrize("name", models(UNROLLED))
def test_jax(name: str) -> None:
    """Traced, which tells shapes; what compiles it is slow."""
    jax = pytest.importorskip("jax")
    module = emitted(name, "jax")
    fields = dataclasses.fields(module.Config) if hasattr(module, "Config") else ()
    given = settings(name, {each.name for each in fields}, "jax")
    model, weights, inputs, expected = small(name, fixed(name, "jax"))
    config = (module.Config(**given),) if fields else ()
    trees = module.from_flat(weights, *config)
    trees = trees if isinstance(trees, tuple) else (trees,)
    begun = jax.eval_shape(lambda key: module.init(key, *config), jax.random.key(0))
    shapes = jax.eval_shape(lambda tree: tree, trees)
    assert (begun if isinstance(begun, tuple) else (begun,)) == shapes
    arrays = {
        identifier(key): value for key, value in inputs.items() if key not in model.program.main.given_sizes
    }
    sizes = {identifier(key): int(inputs[key]) for key in model.program.main.given_sizes}
    named = {"config": config[0]} if config else {}
    found = jax.eval_shape(partial(module.apply, **named, **sizes), *trees, **arrays)
    found = found[0] if any(each.kind == "buffer" for each in model.parameters) else found
    there = [each for each in (found if isinstance(found, tuple) else (found,)) if each is not None]
    assert not expected or [each.shape for each in there] == [each.shape for each in expected.values()]
