"""dlc: a compiler for neural-network specifications."""

__version__ = "0.1.0"
