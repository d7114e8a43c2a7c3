"""What a run starts with: weights (initial, or of a checkpoint that the block loads), optimizers by
parameter, and the emitted code of its programs and networks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.backend import Artifact, Backend, EmitOptions
from dlc.diagnostics import NO_SPAN, SpecError, did_you_mean
from dlc.diagnostics import training as problems
from dlc.elaborate.base.name_patterns import matches
from dlc.elaborate.base.values import Instance, show
from dlc.elaborate.checks.plan import Load, Named, Network, OptimizerRule, TrainPlan, TrainStep
from dlc.elaborate.checks.train_arguments import DEFAULT_SETTINGS, without_idle
from dlc.elaborate.programs.build import EntryPoint
from dlc.elaborate.programs.update import update_program
from dlc.ir.nodes import Parameter
from dlc.ir.text import print_program
from dlc.runtime.compile import emitted, header, lower
from dlc.runtime.family import ModelFamily
from dlc.runtime.training_data import Data
from dlc.runtime.weight_map import WeightMap
from dlc.runtime.weights import fill, initial_weights, read_file
from dlc.source import OUTSIDE, inside
from dlc.spec import Model, TrainBlock, all_sources

Array = NDArray[Any]


# --- weights
# ---------------------------------------------------------------------------------------------------


def starting_weights(block: TrainBlock) -> dict[str, Array]:
    """Seeded initial values, and what the block's `load` statements take from files. Copies of networks begin as these do, but for what
    is loaded for themselves. Raises SpecError with every name that is not filled or not used."""
    plan = block.plan
    weights = initial_weights(plan.program, plan.settings["seed"])
    prefixes = tuple(f"{each.path}." for each in plan.copies)
    own = [each for each in plan.loads if f"{each.prefix}.".startswith(prefixes)]
    for load in (each for each in plan.loads if each not in own):
        weights.update(_loaded(block, load, plan.program.parameters))
    for copy in plan.copies:
        below = f"{copy.path}."
        for path in [each for each in weights if each.startswith(below)]:
            source = f"{copy.of}.{path[len(below) :]}"
            if source in weights:
                weights[path] = np.array(weights[source])
    for load in own:
        weights.update(_loaded(block, load, plan.program.parameters))
    return weights


def _loaded(block: TrainBlock, load: Load, parameters: tuple[Parameter, ...]) -> dict[str, Array]:
    """Raises SpecError, at the statement where what is wrong has no place of its own."""
    try:
        return _read(block, load, parameters)
    except SpecError as error:
        found = [each if each.span.line else replace(each, span=load.span) for each in error.diagnostics]
        raise SpecError(found, all_sources(block.spec.project)) from None


def _read(block: TrainBlock, load: Load, parameters: tuple[Parameter, ...]) -> dict[str, Array]:
    below = f"{load.prefix}."
    local = {each.path[len(below) :]: each for each in parameters if each.path.startswith(below)}
    place = inside(block.root, block.folder, load.path)
    if place is None:
        raise SpecError([problems.WEIGHTS_FILE.at(NO_SPAN, path=load.path, reason=OUTSIDE)])
    tensors = read_file(place)
    if load.weights is not None:
        tensors = _map(block, load.weights, load.prefix).forward(tensors)

    def is_out(name: str) -> bool:
        return any(matches(each, name) or matches(each, below + name) for each in load.excluded)

    _check_patterns(load, [*local, *tensors, *(below + name for name in (*local, *tensors))])
    wanted = [replace(each, path=name) for name, each in local.items() if not is_out(name)]
    found = fill(wanted, {name: each for name, each in tensors.items() if not is_out(name)})
    return {below + name: each for name, each in found.items()}


def _map(block: TrainBlock, name: str, prefix: str) -> WeightMap:
    """A `weights` block for what lies at `prefix`, at the settings that it has there: those of a network, as the block binds it."""
    static = next((each.static for each in block.plan.networks if each.path == prefix), None)
    return WeightMap.at(block.spec, name, static)


def _check_patterns(load: Load, names: list[str]) -> None:
    for pattern in load.excluded:
        if not any(matches(pattern, name) for name in names):
            help = did_you_mean(pattern, names)
            raise SpecError([problems.WEIGHTS_NO_MATCH.at(NO_SPAN, pattern=f'"{pattern}"', help=help)])


# --- networks
# --------------------------------------------------------------------------------------------------


def networks(plan: TrainPlan) -> tuple[Network, ...]:
    """The networks of the block, each once, also where two variables name it."""
    seen: dict[str, Network] = {}
    for network in plan.networks:
        seen.setdefault(network.path, network)
    return tuple(seen.values())


def split(
    plan: TrainPlan, weights: Mapping[str, Array]
) -> tuple[dict[str, dict[str, Array]], dict[str, Array]]:
    """Weights by network, under the spec's own paths, and those of the block itself."""
    by_network: dict[str, dict[str, Array]] = {}
    rest = dict(weights)
    for network in networks(plan):
        below = f"{network.path}."
        own = [path for path in rest if path.startswith(below)]
        by_network[network.name] = {path[len(below) :]: rest.pop(path) for path in own}
    return by_network, rest


def joined(
    plan: TrainPlan, by_network: Mapping[str, Mapping[str, Array]], rest: Mapping[str, Array]
) -> dict[str, Array]:
    """The inverse of `split`."""
    prefixes = {network.name: network.path for network in networks(plan)}
    found = {
        f"{prefixes[name]}.{path}": array
        for name, tensors in by_network.items()
        for path, array in tensors.items()
        if name in prefixes
    }
    return {**found, **rest}


def code(block: TrainBlock, backend: Backend) -> dict[str, Artifact]:
    """The code of each network, by network. Parts of the standard library that the block uses by themselves have none, nor have
    modules that are no network without it: whose sizes follow from the batch."""
    return dict(_code(block, backend))


def _code(block: TrainBlock, backend: Backend) -> Iterator[tuple[str, Artifact]]:
    for network in networks(block.plan):
        if network.definition.library or any(isinstance(each, Instance) for each in network.static.values()):
            continue
        model = _model(block, network)
        try:
            program = model.program
        except SpecError:  # nothing is wrong with the block, which was elaborated as a whole
            continue
        lowered = partial(lower, backend=backend, precision="f32")
        family = ModelFamily(model, lowered, whole=backend.joins_entries) if backend.parametric else None
        options = EmitOptions(name=network.name, header=header(model), family=family)
        yield network.name, emitted(lowered(program), backend, options)


def _model(block: TrainBlock, network: Network) -> Model:
    point = EntryPoint(network.definition, tuple(network.static.items()))
    return block.spec.model(network.definition.name, network.definition, point)


# --- identity
# --------------------------------------------------------------------------------------------------

# Settings that may change when a run is continued: they say how long and how often, or what is kept, not what is computed.
FREE_SETTINGS = frozenset(
    {"steps", "epochs", "log", "eval_every", "checkpoint_every", "best", "patience", "recompute"}
)


def program_digest(block: TrainBlock) -> str:
    """Of what the block computes of a batch: its networks, its loss and its metrics."""
    return hashlib.sha256(print_program(block.plan.program).encode()).hexdigest()[:16]


def identity(block: TrainBlock, backend: Backend, data: Data) -> dict[str, Any]:
    """What must be the same for a run to be continued exactly; JSON values. Settings stand in it as the spec writes
    them, `program`, `trained` and the digests of the data for what no setting says."""
    plan = block.plan
    rules = [(step, *each) for step in plan.steps for each in plan.rules(step)]
    trained = hashlib.sha256(json.dumps([paths for _, _, paths in rules]).encode()).hexdigest()[:16]
    held = {key: value for key, value in plan.settings.items() if key not in FREE_SETTINGS}
    if held["draws"] == DEFAULT_SETTINGS["draws"]:
        del held["draws"]  # as in runs of before there was a choice
    del held["loss_scale"]
    if plan.loss_scale is not None:
        held["loss_scale"] = plan.loss_scale
    return {
        "backend": backend.name,
        **{each.name: _settings(each) for each in networks(plan)},
        **{_place(step, rule): _arguments(rule.optimizer, "optimizer") for step, rule, _ in rules},
        **{
            f"step {each.name}": {"every": f"{each.every}", "repeat": f"{each.turns}"}
            for each in plan.steps
            if each.name
        },
        "source": _arguments(without_idle(data.source), "name"),
        **held,
        **_written_rules(block),
        **({"accumulated": "as one batch"} if plan.settings["accumulate"] > 1 else {}),
        "program": program_digest(block),
        "trained": trained,
        **data.digests,
    }


def _settings(network: Network) -> dict[str, str]:
    return {"model": network.definition.name, **{key: show(value) for key, value in network.static.items()}}


def _written_rules(block: TrainBlock) -> dict[str, str]:
    """A digest of the optimizers that the spec writes itself."""
    plan, texts = block.plan, []
    for step in plan.steps:
        rules = [each for each in plan.update_rules(step) if each.definition is not None]
        if rules:
            program, _ = update_program(block.spec.project, plan.program.parameters, rules)
            texts.append(print_program(program))
    if not texts:
        return {}
    text = "".join(texts)
    return {"own optimizers": hashlib.sha256(text.encode()).hexdigest()[:16]}


def _place(step: TrainStep, rule: OptimizerRule) -> str:
    """A rule as the block writes it."""
    if step.name and not rule.selectors:
        return f"optimizer of {step.name}"
    if not rule.selectors:
        return "optimizer"
    words = (
        f'"{what}"' if how == "path" else f"{what}.{of}" if of else f"{what}"
        for how, what, of in rule.selectors
    )
    return f"optimizer {', '.join(words)}{f' of {step.name}' if step.name else ''}"


def _arguments(chosen: Named, kind: str) -> dict[str, str]:
    return {kind: chosen.name, **{key: _written(value) for key, value in chosen.args.items()}}


def _written(value: Any) -> str:
    """A value, or a choice by name, as the spec writes it."""
    if not isinstance(value, Named):
        return json.dumps(value, default=str)
    said = f"{value.name}({', '.join(f'{key}={_written(each)}' for key, each in value.args.items())})"
    return f"{said}, whose text is {value.digest}" if value.digest else said
