"""Training with JAX: the emitted `apply` under `jax.value_and_grad`, optimizers of optax.

Parameters and what the optimizers remember stay in f32; a program of another precision gets casts of them
inside the loss. Keys are folded from the run's seed and the step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dlc.backend import Artifact, Batch, LossScale, Recipe, Setup, Update, no_device
from dlc.ops.arrays import numpy_dtype
from dlc_jax.load import module, results, settings, trees

Array = NDArray[Any]
Tree = dict[str, Any]
EVALUATION = 0xE7A1  # sets evaluation's draws apart from those of training


def make(setup: Setup) -> JaxTrainer:
    """Raises SpecError for a device that is not there, or without optax."""
    try:
        device = jax.devices(setup.device)[0]
    except RuntimeError as error:
        raise no_device(setup.device, str(error).splitlines()[0]) from None
    with jax.default_device(device):
        return JaxTrainer(setup, device)


class JaxTrainer:
    """See `dlc.backend.Trainer`."""

    def __init__(self, setup: Setup, device: Any) -> None:
        self.setup = setup
        self.device = device
        self._take(setup.weights)
        self.updates = {each.name: _Update(each, setup, self.values) for each in setup.updates}
        self.evaluation = _Program(setup.evaluation, setup)
        self._evaluate = jax.jit(self.evaluation.outputs)

    def _take(self, weights: Mapping[str, Array]) -> None:
        self.values: Tree = {path: _array(value, self.setup.dtypes[path]) for path, value in weights.items()}

    # --- steps
    # -------------------------------------------------------------------------------------------------

    def step(
        self,
        step: int,
        batches: Sequence[Batch],
        shares: Mapping[str, Array],
        rates: Sequence[float | None],
        update: str = "",
    ) -> list[Tree]:
        now = self.updates[update]
        scale = np.float32(1.0 if now.scale is None else now.scale.scale)
        weights = {name: np.asarray(each, np.float32) * scale for name, each in shares.items()}
        with jax.default_device(self.device), settings(now.program.meta):
            gradients, found = None, []
            trained, fixed = now.parted(self.values)
            for number, batch in enumerate(batches):
                inputs, key = now.program.inputs(batch), self._key(now.program, step, number)
                if not weights:
                    outputs, changed = now.outputs(trained, fixed, inputs, key)
                else:
                    (_, (outputs, changed)), new = now.gradients(trained, fixed, inputs, key, weights)
                    gradients = new if gradients is None else _sum(gradients, new)
                fixed = {**fixed, **changed}
                found.append(outputs)
            scales = [1.0 if rate is None else rate for rate in rates]
            if gradients is not None:
                trained = self._applied(now, trained, gradients, scales, step)
            self.values = {**self.values, **fixed, **trained}
            return [_arrays(each) for each in found]

    def _applied(self, now: _Update, trained: Tree, gradients: Tree, rates: list[float], step: int) -> Tree:
        """What is trained after a step along these gradients, unless one of them is not finite and the step is left out."""
        scale, t = now.scale, step + 1
        if scale is not None:
            gradients, finite = _unscaled(gradients, np.float32(scale.factor))
            scale.counted(not scale.is_dynamic or bool(finite))
            if scale.is_dynamic:
                if not finite:
                    return trained
                t = scale.t
        drawn = [{} if each.draws is None else dict(each.draws(step)) for each in now.recipes]
        with self._wide():
            trained, now.memory = now.apply(trained, gradients, now.memory, rates, t, drawn)
        return trained

    def _wide(self) -> contextlib.AbstractContextManager[None]:
        """The settings of optimizers that are emitted: some of their numbers are f64."""
        recipes = (each for update in self.setup.updates for each in update.recipes)
        written = (each.program.meta for each in recipes if each.program is not None)
        return next((settings(meta) for meta in written if meta["x64"]), contextlib.nullcontext())

    def outputs(self, step: int, number: int, batch: Batch, update: str = "") -> Tree:
        now = self.updates[update]
        with jax.default_device(self.device), settings(now.program.meta):
            inputs, key = now.program.inputs(batch), self._key(now.program, step, number)
            return _arrays(now.outputs(*now.parted(self.values), inputs, key)[0])

    def evaluate(self, number: int, batch: Batch) -> Tree:
        with jax.default_device(self.device), settings(self.setup.evaluation.meta):
            inputs, key = self.evaluation.inputs(batch), self._key(self.evaluation, EVALUATION, number)
            return _arrays(self._evaluate(self.values, {}, inputs, key)[0])

    def _key(self, program: _Program, *place: int) -> Any:
        """The key of what a program draws; None where it draws nothing."""
        if "key" not in program.meta["arguments"]:
            return None
        key = jax.random.key(self.setup.seed)
        for each in place:
            key = jax.random.fold_in(key, each)
        return key

    # --- state
    # -------------------------------------------------------------------------------------------------

    def weights(self) -> dict[str, Array]:
        return {path: _kept(self.values[path], self.setup.dtypes[path]) for path in self.setup.weights}

    def scales(self) -> dict[str, float]:
        each = ((name, update.scale) for name, update in self.updates.items() if update.recipes)
        return {name: scale.scale for name, scale in each if scale is not None and scale.is_dynamic}

    def state(self) -> dict[str, Array]:
        leaves = jax.tree_util.tree_flatten_with_path(self._memory)[0]
        found = {jax.tree_util.keystr(path): np.array(leaf) for path, leaf in leaves}
        for prefix, scale in self._scales():
            found |= {f"{prefix}{key}": each for key, each in scale.state().items()}
        return found

    def _scales(self) -> Iterator[tuple[str, LossScale]]:
        """The scales of losses, with the beginnings of their names in a checkpoint."""
        for name, update in self.updates.items():
            if update.scale is not None and update.recipes:
                yield f"{name}:loss scale/", update.scale

    @property
    def _memory(self) -> Any:
        """What all optimizers remember."""
        single = self.updates.get("")
        return single.memory if single else {name: each.memory for name, each in self.updates.items()}

    def restore(self, weights: Mapping[str, Array], state: Mapping[str, Array]) -> None:
        if weights.keys() != self.setup.weights.keys():
            raise ValueError("it holds other parameters than the networks have")
        leaves, structure = jax.tree_util.tree_flatten_with_path(self._memory)
        for prefix, scale in self._scales():
            own = {key for key in state if key.startswith(prefix)}
            scale.restore({key.removeprefix(prefix): state[key] for key in own})
            state = {key: each for key, each in state.items() if key not in own}
        if {jax.tree_util.keystr(path) for path, _ in leaves} != state.keys():
            raise ValueError("it holds the state of other optimizers")
        for path, each in leaves:
            if np.shape(state[jax.tree_util.keystr(path)]) != np.shape(each):
                raise ValueError(f"`{jax.tree_util.keystr(path)}` has another shape")
        with jax.default_device(self.device):
            self._take(weights)
            restored = [jnp.array(state[jax.tree_util.keystr(path)]) for path, _ in leaves]
        memory = jax.tree_util.tree_unflatten(structure, restored)
        for name, each in ({"": memory} if "" in self.updates else memory).items():
            self.updates[name].memory = each


class _Update:
    """One update of a turn: gradients, and what the optimizers make of them."""

    def __init__(self, update: Update, setup: Setup, values: Tree) -> None:
        from dlc_jax import optimizers

        self.recipes = update.recipes
        self.scale = None if setup.loss_scale is None else LossScale(setup.loss_scale)
        self.paths = frozenset(update.paths)
        self.clip_norm = setup.clip_norm
        self.optimizers = [
            Named(optimizers.make(each.optimizer, each.args))
            if each.program is None
            else Written(each, setup)
            for each in update.recipes
        ]
        self.memory: Any = [
            optimizer.init({path: values[path] for path in recipe.paths})
            for optimizer, recipe in zip(self.optimizers, update.recipes, strict=True)
        ]
        self.program = _Program(update.program, setup)
        self.gradients = jax.jit(jax.value_and_grad(self.program.minimised, has_aux=True))
        self.outputs = jax.jit(self.program.outputs)
        self.apply = jax.jit(self._updated, donate_argnums=(0, 2))

    def parted(self, values: Tree) -> tuple[Tree, Tree]:
        """What is trained, and the rest."""
        trained = {path: each for path, each in values.items() if path in self.paths}
        return trained, {path: each for path, each in values.items() if path not in self.paths}

    def _updated(
        self, params: Tree, gradients: Tree, memory: list[Any], rates: list[Any], t: Any, drawn: list[Tree]
    ) -> tuple[Tree, list[Any]]:
        """Parameters and memory after one step along the gradients."""
        if self.clip_norm is not None:
            gradients = _clipped(gradients, self.clip_norm)
        new, memories = dict(params), []
        for i, recipe in enumerate(self.recipes):
            own = {path: gradients[path] for path in recipe.paths}
            before = {path: params[path] for path in recipe.paths}
            updated, after = self.optimizers[i].updated(before, own, memory[i], rates[i], t, drawn[i])
            memories.append(after)
            new.update(updated)
        return new, memories


class Named:
    """An optimizer that is known by name: optax's steps, scaled by the rate."""

    def __init__(self, transformation: Any) -> None:
        self.transformation = transformation
        self.init = transformation.init

    def updated(
        self, params: Tree, gradients: Tree, memory: Any, rate: Any, t: Any, drawn: Tree
    ) -> tuple[Tree, Any]:
        """New values of parameters, and what is remembered."""
        steps, after = self.transformation.update(gradients, memory, params)
        return {path: params[path] - rate * each for path, each in steps.items()}, after


class Written:
    """An optimizer that the spec or the library writes, as emitted; what it remembers is by path."""

    def __init__(self, recipe: Recipe, setup: Setup) -> None:
        assert recipe.program is not None
        self.recipe = recipe
        self.program = _Program(recipe.program, replace(setup, parameters=()))

    def init(self, params: Tree) -> Tree:
        return {path: jnp.array(value) for path, value in self.recipe.state.items()}

    def updated(
        self, params: Tree, gradients: Tree, memory: Tree, rate: Any, t: Any, drawn: Tree
    ) -> tuple[Tree, Tree]:
        given = {"t": t, "rate": rate, **drawn}
        for i, path in enumerate(self.recipe.paths):
            given |= {f"value_{i}": params[path], f"gradient_{i}": gradients[path]}
        outputs, after = self.program.outputs({}, memory, self.program.traced(given), None)
        new = {
            path: outputs[f"value_{i}"].astype(params[path].dtype) for i, path in enumerate(self.recipe.paths)
        }
        return new, {**memory, **after}


class _Program:
    """An emitted `apply` of parameters that are trained, others, inputs, key. Optimizers see parameters as checkpoints
    have them, each layer by itself; within the loss they are the trees that `apply` takes."""

    def __init__(self, artifact: Artifact, setup: Setup) -> None:
        self.meta = artifact.meta
        self.module = module(artifact)
        self.names = [name for name, _ in artifact.meta["outputs"]]
        self.dtypes = {each.path: each.type.dtype for each in setup.parameters}
        self.kept = setup.dtypes

    def inputs(self, batch: Batch) -> list[Any]:
        precision = self.meta["precision"]
        return [_array(batch[name], _named(type["dtype"], precision)) for name, type in self.meta["inputs"]]

    def traced(self, given: Tree) -> list[Any]:
        """The inputs of values that are JAX's already."""
        precision = self.meta["precision"]
        wanted = {name: _named(type["dtype"], precision) for name, type in self.meta["inputs"]}
        return [
            jnp.asarray(given[name], jax.dtypes.canonicalize_dtype(each)) for name, each in wanted.items()
        ]

    def minimised(
        self, trained: Tree, fixed: Tree, inputs: list[Any], key: Any, shares: Tree
    ) -> tuple[Any, tuple[Tree, Tree]]:
        """The outputs that have one times their shares, added up in f32; beside it what `outputs` gives."""
        outputs, kept = self.outputs(trained, fixed, inputs, key)
        parts = [jnp.sum(outputs[name].astype(jnp.float32) * each) for name, each in shares.items()]
        return sum(parts), (outputs, kept)

    def outputs(self, trained: Tree, fixed: Tree, inputs: list[Any], key: Any) -> tuple[Tree, Tree]:
        """The outputs by name, and new values of buffers by path."""
        params = {path: self._cast(path, each) for path, each in (*trained.items(), *fixed.items())}
        named = {"key": key} if "key" in self.meta["arguments"] else {}
        held = trees(self.meta, self.module, params)
        found, state = results(self.meta, self.module.apply(*held, *inputs, **named))
        updates = self.module.to_flat(state) if state is not None and self.meta["training"] else {}
        kept = {path: each.astype({**trained, **fixed}[path].dtype) for path, each in updates.items()}
        return dict(zip(self.names, found, strict=True)), kept

    def _cast(self, path: str, value: Any) -> Any:
        return value.astype(_named(self.meta["precision"], "")) if self.dtypes.get(path) == "float" else value


def _arrays(outputs: Tree) -> Tree:
    return {name: np.asarray(value) for name, value in outputs.items()}


def _named(dtype: str, precision: str) -> Any:
    return numpy_dtype(dtype, precision)


def _array(value: Any, dtype: Any) -> Any:
    """A copy as a JAX array, integers in JAX's own width."""
    wanted = jax.dtypes.canonicalize_dtype(numpy_dtype(dtype) if isinstance(dtype, str) else dtype)
    return jnp.array(np.asarray(value).astype(wanted))


def _kept(value: Any, dtype: str) -> Array:
    return np.asarray(value).astype(numpy_dtype(dtype))


@partial(jax.jit, donate_argnums=0)
def _unscaled(gradients: Tree, factor: Any) -> tuple[Tree, Any]:
    """Gradients divided by the scale of their loss, and whether all are finite."""
    finite = [jnp.all(jnp.isfinite(each)) for each in gradients.values()]
    return {path: each * factor for path, each in gradients.items()}, jnp.all(jnp.array(finite))


@partial(jax.jit, donate_argnums=0)
def _sum(a: Tree, b: Tree) -> Tree:
    return {path: each + b[path] for path, each in a.items()}


def _clipped(gradients: Tree, limit: float) -> Tree:
    """Scaled so that the norm of all together is at most `limit`, as PyTorch does it."""
    norm = jnp.sqrt(sum(jnp.sum(jnp.square(each)) for each in gradients.values()))
    scale = jnp.minimum(limit / (norm + 1e-6), 1.0)
    return {path: each * scale for path, each in gradients.items()}
