"""Optimizers by the names that specs give them: PyTorch's own, and three that it lacks or says otherwise.

The learning rate stands in `param_groups`, where the training loop sets it before every step. Defaults of the others are said
once, in `dlc.elaborate.train_arguments`: what comes here has them in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

Args = Mapping[str, Any]


class OneByOne(torch.optim.Optimizer):  # type: ignore[misc]
    """An optimizer that looks at one parameter at a time, and as a rule remembers a momentum of it."""

    def __init__(self, params: Iterable[Tensor], **settings: Any) -> None:
        super().__init__(params, {"lr": None, **settings})

    def step(self, closure: Any = None) -> None:
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    self.state[parameter] = self.state[parameter] or self.begun(parameter)
                    self.update(parameter, parameter.grad, self.state[parameter], group)

    def begun(self, parameter: Tensor) -> dict[str, Tensor]:
        return {"momentum": torch.zeros_like(parameter)}

    def update(self, parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: Args) -> None:
        raise NotImplementedError


class Lion(OneByOne):
    """The sign of a momentum (Chen et al., "Symbolic discovery of optimization algorithms", 2023,
    algorithm 2); weight decay is decoupled."""

    def update(self, parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: Args) -> None:
        (early, late), momentum = group["betas"], state["momentum"]
        update = (momentum * early + gradient * (1 - early)).sign()
        parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=group["lr"])
        momentum.mul_(late).add_(gradient, alpha=1 - late)


class Adafactor(OneByOne):
    """Second moments of matrices as the product of a row and a column (Shazeer and Stern, "Adafactor", 2018,
    algorithm 5 without momentum). Without a rate it takes the paper's relative step, min(0.01, 1/sqrt(t))
    of the parameter's own size. Factored are the last two axes."""

    def begun(self, parameter: Tensor) -> dict[str, Tensor]:
        return _second_moments(parameter)

    def update(self, parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: Args) -> None:
        state["step"] += 1
        update = _factored(gradient, state, group)
        update /= (_rms(update) / group["clip"]).clamp(min=1)
        rate = _relative_rate(parameter, state["step"]) if group["relative"] else group["lr"]
        parameter.sub_(rate * (update + group["weight_decay"] * parameter))


def _second_moments(parameter: Tensor) -> dict[str, Tensor]:
    counter = torch.zeros((), device=parameter.device)
    if parameter.ndim < 2:
        return {"step": counter, "moment": torch.zeros_like(parameter)}
    row, column = parameter.sum(-1), parameter.sum(-2)
    return {"step": counter, "row": torch.zeros_like(row), "column": torch.zeros_like(column)}


def _factored(gradient: Tensor, state: dict[str, Tensor], group: Args) -> Tensor:
    """The gradient over the root of its second moment."""
    keep = 1 - state["step"] ** -group["decay"]
    square = gradient * gradient + group["eps"]
    if "moment" in state:
        state["moment"].mul_(keep).add_(square * (1 - keep))
        return gradient * state["moment"].rsqrt()
    row, column = state["row"], state["column"]
    row.mul_(keep).add_(square.mean(-1) * (1 - keep))
    column.mul_(keep).add_(square.mean(-2) * (1 - keep))
    share = row / row.mean(-1, keepdim=True)
    return gradient * share.rsqrt().unsqueeze(-1) * column.rsqrt().unsqueeze(-2)


def _relative_rate(parameter: Tensor, step: Tensor) -> Tensor:
    return _rms(parameter).clamp(min=1e-3) * step.rsqrt().clamp(max=1e-2)


def _rms(tensor: Tensor) -> Tensor:
    return tensor.square().mean().sqrt()


class Muon(OneByOne):
    """Momentum made orthogonal by a Newton-Schulz iteration (Jordan et al., "Muon: an optimizer for hidden
    layers", 2024), for matrices and, flattened to matrices, kernels of convolutions; weight decay is
    decoupled."""

    def update(self, parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: Args) -> None:
        mass, momentum = group["momentum"], state["momentum"]
        momentum.mul_(mass).add_(gradient, alpha=1 - mass)
        direction = gradient * (1 - mass) + momentum * mass if group["nesterov"] else momentum
        update = orthogonal(direction.flatten(1), group["steps"]).view_as(parameter)
        parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=group["lr"])


def orthogonal(matrix: Tensor, steps: int) -> Tensor:
    """About U V^T of the matrix's U S V^T, larger where it has more rows than columns."""
    rows, columns = matrix.shape
    x = matrix.T if rows > columns else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.T if rows > columns else x) * max(1.0, rows / columns) ** 0.5


OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "lion": Lion,
    "adafactor": Adafactor,
    "muon": Muon,
}


def make(name: str, args: Args, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """The optimizer of that name over the parameters; its rate is still to be set."""
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in args.items()}
    return OPTIMIZERS[name](list(parameters), **settings)
