"""Files of the user's, written whole or not at all.

What is written stands beside its place under a name of its own until it is complete and on the disk; then it takes the place, at once.
Full disks, kills and errors leave what was there before. The file that is replaced keeps its permissions, a link stays a link to the
file that is written, and one that may not be written is refused.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

STAGING = ".dlc-"
"""What names begin with that stand for something half written."""

Content = str | bytes | Callable[[IO[bytes]], object]
"""Text in UTF-8, bytes, or what writes them into a file."""


def write(path: str | os.PathLike[str], content: Content, *, staging: str = STAGING) -> None:
    """Write a file; its folder is there. Raises OSError, told of the file that was meant."""
    write_all({Path(path): content}, staging=staging)


def write_all(files: Mapping[Path, Content], *, staging: str = STAGING) -> None:
    """Write several files: they appear under their names only when all are complete. Raises OSError."""
    staged: list[tuple[Path, Path]] = []
    try:
        for path, content in files.items():
            _stage(path, content, staged, staging)
        for temporary, target in staged:
            os.replace(temporary, target)
    except BaseException:
        for temporary, _ in staged:
            temporary.unlink(missing_ok=True)
        raise


def _stage(path: Path, content: Content, staged: list[tuple[Path, Path]], staging: str) -> None:
    """The content in a file beside the one that it will be."""
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    try:
        mode = _mode(target)
        temporary = target.with_name(f"{staging}{os.urandom(8).hex()}{target.suffix[:20]}")
        # As `open` makes it: the process's umask holds, which can't be asked for without setting it.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        staged.append((temporary, target))
        with os.fdopen(handle, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, mode)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


def _mode(target: Path) -> int | None:
    """The permissions of a file that is there. Raises OSError where it is none, or may not be written."""
    try:
        found = os.stat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(found.st_mode) and os.access(target, os.W_OK):
        return stat.S_IMODE(found.st_mode)
    with target.open("ab"):  # which says why not
        pass
    raise OSError(22, "it is no regular file", str(target))
