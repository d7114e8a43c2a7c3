"""The command line: one file a command. Exit 0: fine. 1: the spec, data or a check is wrong. 2: wrong usage."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import Any


def main() -> None:
    """The entry point of `dlc`."""
    if nothing_wrong(sys.argv[1:]):
        return
    from dlc.cli.application import build

    only = next((each for each in sys.argv[1:] if not each.startswith("-")), "")
    build(only)()


def nothing_wrong(arguments: Sequence[str]) -> bool:
    """Whether this is a plain `check FILE… [-q]` of files that are right; then that is said.

    The common case of an editor or a hook does not wait for the command line's own libraries, which take longer to load than
    the check takes. Anything else is left to the command."""
    quiet = [each for each in arguments[1:] if each in ("-q", "--quiet")]
    files = [each for each in arguments[1:] if each not in quiet]
    if not files or arguments[0] != "check" or any(each.startswith(("-", "dlc:")) for each in files):
        return False
    gc.disable()  # a check makes many small values, keeps them all, and ends
    try:
        if not all(map(_is_right, files)):
            return False
    except Exception:  # whatever it is, the command will meet it again and report it
        return False
    finally:
        gc.enable()
    if not quiet:
        print(f"{len(files)} file{'s' if len(files) > 1 else ''} checked, nothing wrong")
    return True


def _is_right(file: str) -> bool:
    from dlc.elaborate.base.project import Project
    from dlc.elaborate.checks.file import check_unit

    project = Project(None)
    return not check_unit(project, project.load(file.partition(":")[0]))


def __getattr__(name: str) -> Any:
    if name not in ("build", "COMMANDS"):
        raise AttributeError(f"module 'dlc.cli' has no attribute {name!r}")
    from dlc.cli import application

    return getattr(application, name)
