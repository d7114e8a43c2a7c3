"""`python -m dlc`."""

from dlc.cli import process

process()
