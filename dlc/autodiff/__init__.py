"""Derivatives of programs, as programs."""

from dlc.autodiff.bodies import NotDifferentiable, backward
from dlc.autodiff.reverse import gradient, pullback
from dlc.ir.paths import gradient_name

__all__ = ["NotDifferentiable", "backward", "gradient", "gradient_name", "pullback"]
