"""The command line: one file a command. Exit 0: fine. 1: the spec, data or a check is wrong. 2: wrong usage."""

from __future__ import annotations

import os
import sys
from typing import Any


def main() -> None:
    """The entry point of `dlc`."""
    from dlc.cli.quick import answer

    try:
        found = answer(sys.argv[1:])
        if found is not None:
            print(found, end="", flush=True)
            return
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os._exit(0)
    from dlc.cli.application import build

    only = next((each for each in sys.argv[1:] if not each.startswith("-")), "")
    build(only)()


def __getattr__(name: str) -> Any:
    if name not in ("build", "COMMANDS"):
        raise AttributeError(f"module 'dlc.cli' has no attribute {name!r}")
    from dlc.cli import application

    return getattr(application, name)
