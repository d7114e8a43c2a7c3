"""Derivatives of programs, as programs."""

from dlc.autodiff.reverse import NotDifferentiable, backward, gradient, pullback
from dlc.ir.paths import gradient_name

__all__ = ["NotDifferentiable", "backward", "gradient", "gradient_name", "pullback"]
