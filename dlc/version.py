"""The version: what emitted files and checkpoints say they were made by."""

__version__ = "0.1.0"
