"""Errors that no command expects, as diagnostics: of files, of memory, of plug-ins, and of dlc itself."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path

from dlc.diagnostics import NO_SPAN, Diagnostic
from dlc.diagnostics.training import BAD_OPTION, INTERNAL, MEMORY

INTERNAL_HELP = "please report it together with the spec; DLC_TRACEBACK=1 shows where it comes from"
MEMORY_HELP = "take smaller sizes or settings; `dlc summary` tells the bytes that a model needs"
# How frameworks say it, each with an error of its own kind: torch, jax, onnxruntime, tvm.
NO_MEMORY = ("allocate memory", "out of memory", "resource_exhausted", "bad_alloc")
# And of sizes that no machine has room for: numpy, the writer of ONNX files, Python, torch.
NO_SUCH_SIZE = (
    "array is too big", "maximum allowed dimension", "value out of range", "too large to convert", "too big to convert",
    "storage size calculation overflowed", "multiplication overflow", "ffi.bigint",
)  # fmt: skip

OUTPUT = (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EFBIG)
"""Of what has no name: where it is printed to."""


def of_files(error: OSError) -> Diagnostic:
    from dlc import plugins

    reason = error.strerror or str(error)
    is_output = error.filename is None and error.errno in OUTPUT
    message = f"{reason}: {error.filename}" if error.filename else reason
    message = f"the output can't be written: {reason}" if is_output else message
    return plugins.blamed(error) or BAD_OPTION.at(NO_SPAN, message=message)


def of_any(error: Exception) -> Diagnostic:
    """An error as the fault of whoever can do something about it: a plug-in's as the plug-in's, else as dlc's own."""
    from dlc import plugins

    return _of_memory(error) or plugins.blamed(error) or internal(error)


def _of_memory(error: Exception) -> Diagnostic | None:
    """What asks for more memory than there is."""
    told = [f"{type(error).__name__}: {line}" for line in str(error).splitlines() or [""]]
    saying = [line for line in told if any(each in line.lower() for each in (*NO_MEMORY, *NO_SUCH_SIZE))]
    if not saying and not isinstance(error, MemoryError):
        return None
    where = getattr(error, "__notes__", ())
    return MEMORY.at(NO_SPAN, reason=(saying or told)[0][-200:], notes=where, help=MEMORY_HELP)


def internal(error: Exception) -> Diagnostic:
    """A fault of dlc's own as a diagnostic: what was raised, and where in its code."""
    frames = [
        each for each in traceback.extract_tb(error.__traceback__) if "dlc" in Path(each.filename).parts
    ]
    places = [
        f"{'/'.join(Path(each.filename).parts[-3:])}:{each.lineno}, in {each.name}" for each in frames[-1:]
    ]
    told = f"{type(error).__name__}: {error}".split("\n")[0][:200]
    return INTERNAL.at(NO_SPAN, notes=[told, *places], help=INTERNAL_HELP)
