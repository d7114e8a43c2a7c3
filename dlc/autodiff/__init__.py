"""Derivatives of programs, as programs."""

from dlc.autodiff.reverse import NotDifferentiable, backward, gradient, gradient_name, pullback

__all__ = ["NotDifferentiable", "backward", "gradient", "gradient_name", "pullback"]
