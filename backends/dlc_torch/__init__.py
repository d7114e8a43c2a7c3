"""The PyTorch backend: plain `nn.Module` classes that import only torch.

From a program to a file:
  rows, shapes, neural, methods   how each op is said: tables, and functions for what a row can't say
  draft, statements, checks       a function of the IR as statements over expression trees
  fold                            chains of layers as `nn.Sequential`s
  structure, holders, reach       what paths are: attributes, lists, small classes; how methods reach them
  foreign, lent, loops            parts inside other parts, at their very path, and in loops
  buffers, results                updates in place; what methods return
  classes, making, naming         functions that share instances as one class; its parts' constructors
  conditions                      what a constructor asks of its arguments
  fused, standing                 layers that stand for others: how they are filled, how they begin
  initial, init_weights           initial values
  write, bodies, source, emit     what is nested, what gets a variable, lines, classes, the file
and from a file to something that runs: arrays, load, grad, train.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dlc.backend import Artifact, Backend, EmitOptions, Runnable, Setup, Trainer
from dlc.ir.nodes import Op, Program
from dlc_torch.rows import GAPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dlc.backend.script import Script


class TorchBackend(Backend):
    """See `dlc.backend.Backend`. Emitting does not import torch; loading does."""

    name = "torch"
    requires = ("torch",)
    install = "pip install 'dlc[torch]'"
    order = 0
    devices = ("cpu", "cuda", "mps")
    precisions = ("f32", "bf16", "f16", "f64")
    parametric = True
    joins_entries = True
    fuses_layers = True
    scales_losses = True
    optimizers = frozenset({"sgd", "adam", "adamw"})
    script_optimizers = optimizers
    # F.interpolate, F.unfold and F.grid_sample refuse what is empty.
    filled = frozenset({"grid_sample", "group_norm", "resize", "unfold"})
    gaps = GAPS

    def is_native(self, op: Op) -> bool:
        """Whether the op is said by PyTorch's own name for it, or is kept as a class or function of its own
        because it would not read well written out."""
        from dlc_torch.methods import is_native

        return is_native(op)

    def emit(self, program: Program, options: EmitOptions) -> Artifact:
        from dlc_torch.emit import emit

        return emit(program, options)

    def script(self, script: Script) -> Artifact:
        from dlc_torch.script import written

        return written(script)

    def load(self, artifact: Artifact, weights: Mapping[str, NDArray[Any]], device: str = "cpu") -> Runnable:
        from dlc_torch.load import load

        return load(artifact, weights, device)

    def gradients(
        self,
        artifact: Artifact,
        weights: Mapping[str, NDArray[Any]],
        inputs: Mapping[str, Any],
        cotangents: Mapping[str, NDArray[Any]],
    ) -> dict[str, NDArray[Any]]:
        from dlc_torch.grad import gradients

        return gradients(artifact, weights, inputs, cotangents)

    def trainer(self, setup: Setup) -> Trainer:
        from dlc_torch.train import make

        return make(setup)


BACKEND = TorchBackend()
