"""`python -m dlc`."""

from dlc.cli import main

main()
