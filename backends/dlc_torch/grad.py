"""Gradients of every parameter, to compare backends by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray

from dlc.backend import Artifact
from dlc_torch.arrays import to_numpy, to_torch
from dlc_torch.load import load, parameters_of

Array = NDArray[Any]


def gradients(
    artifact: Artifact,
    weights: Mapping[str, Array],
    inputs: Mapping[str, Any],
    cotangents: Mapping[str, Array],
) -> dict[str, Array]:
    """The gradient of sum(output * cotangent), over the outputs that have one, by each trainable parameter;
    zeros for one that nothing depends on."""
    runnable = load(artifact, weights)
    parameters = parameters_of(runnable.native) if isinstance(runnable.native, torch.nn.Module) else {}
    trainable = {path: parameters[path] for path in artifact.meta["trainable"] if path in parameters}
    for path, parameter in parameters.items():
        parameter.requires_grad_(path in trainable)
    outputs = runnable.forward(inputs)
    total = torch.zeros((), dtype=torch.float64, device=runnable.device)
    for name, cotangent in cotangents.items():
        if outputs[name].requires_grad:
            total = total + (outputs[name] * to_torch(cotangent).to(outputs[name])).sum()
    if total.requires_grad:
        total.backward()
    return {
        path: to_numpy(each.grad if each.grad is not None else torch.zeros_like(each))
        for path, each in trainable.items()
    }
