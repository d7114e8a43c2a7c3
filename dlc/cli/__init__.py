"""The command line: one file a command. Exit 0: fine. 1: the spec, data or a check is wrong. 2: wrong usage."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any


def process() -> None:
    """The entry point of `dlc`: `main` in a process that ends with it."""
    main()
    os._exit(
        0
    )  # a plain answer is out; to take apart what was made for it takes a tenth of the time of making it


def main() -> None:
    """Does what the arguments of the process ask for."""
    warnings.formatwarning = _warning
    try:
        _answer(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os._exit(0)
    except OSError as error:
        if error.filename is not None:
            raise
        print(f"dlc: the output can't be written: {error.strerror}", file=sys.stderr)
        os._exit(1)


def _warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning for people: of what place in dlc's code it comes is of no use to them."""
    return f"warning: {message}\n"


def _answer(arguments: Sequence[str]) -> None:
    from dlc.cli.quick import answer

    found = answer(arguments)
    if found is not None:
        print(found, end="", flush=True)
        return
    from dlc.cli.application import build

    build(next((each for each in arguments if not each.startswith("-")), ""))()


def __getattr__(name: str) -> Any:
    if name not in ("build", "COMMANDS"):
        raise AttributeError(f"module 'dlc.cli' has no attribute {name!r}")
    from dlc.cli import application

    return getattr(application, name)
