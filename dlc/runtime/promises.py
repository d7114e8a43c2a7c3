"""What a backend gives, held to its contract: what one of another package breaks is told as its fault (E0904)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from dlc import ops, plugins
from dlc.backend import GROUP, Artifact, Runnable
from dlc.diagnostics import Span, SpecError
from dlc.diagnostics.training import PLUGIN
from dlc.ir.nodes import Program, walk
from dlc.ops import installed
from dlc.runtime.interpret import CheckFailed
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType


@contextmanager
def rows_told(backend: str, program: Program) -> Iterator[None]:
    """What goes wrong while a backend says or runs a program with ops of other packages: their rows are at fault, most likely."""
    try:
        yield
    except (SpecError, CheckFailed):
        raise
    except Exception as error:
        used = _used(program, {each.name for each in installed.found()} & ops.added())
        if not used or plugins.blamed(error) is not None:
            raise
        raise _of_rows(backend, used, ", of another package,", plugins.said(error)) from error


def _used(program: Program, names: Collection[str]) -> dict[str, Span]:
    """The ops of these names that a program has, each with a place."""
    return {op.op: op.span for each in program.functions.values() for op in walk(each.body) if op.op in names}


def _of_rows(backend: str, used: Mapping[str, Span], whose: str, reason: str) -> SpecError:
    what = f"the row for {backend} of {' or '.join(f'`{name}`' for name in used)}{whose}"
    return SpecError([PLUGIN.at(next(iter(used.values())), what=what, reason=reason)])


def artifact_of(backend: str, given: object) -> Artifact:
    """What `emit` gave."""
    if not isinstance(given, Artifact):
        _fail(backend, f"`emit` gives no Artifact, but {type(given).__name__}")
    for name, content in given.files.items():
        if not isinstance(content, str | bytes):
            _fail(
                backend,
                f"`emit` gives the file `{name}` as {type(content).__name__}, and not as text or bytes",
            )
    return given


def runnable_of(backend: str, given: Runnable) -> Runnable:
    """What `load` gave."""
    if not callable(given):
        _fail(backend, f"`load` gives nothing that can be called, but {type(given).__name__}")
    return given


def arrays_of(backend: str, given: object, names: Iterable[str], what: str) -> dict[str, NDArray[Any]]:
    """What it computed: an array under each of these names."""
    found: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    for name in names:
        if not isinstance(found.get(name), np.ndarray | np.generic):
            _fail(backend, f"it gives no array under the name of the {what} `{name}`")
    return dict(found)


def check_shapes(
    backend: str, program: Program, types: Mapping[str, TensorType], found: Mapping[str, NDArray[Any]]
) -> None:
    """Outputs, of these `types`, have as many axes as the program says, and the sizes of them that it knows; else a row of an op that is not dlc's
    own is at fault, or the backend."""
    for name, wanted in types.items():
        sizes, axes = found[name].shape, [Dim.of(each).constant for each in wanted.axes]
        if len(sizes) == len(axes) and all(b in (None, a) for a, b in zip(sizes, axes, strict=True)):
            continue
        reason = f"the output `{name}` is of shape {list(sizes)}, where the program says {wanted}"
        used = _used(program, ops.added())
        if used:
            raise _of_rows(backend, used, "", reason)
        _fail(backend, reason)


def _fail(backend: str, reason: str) -> NoReturn:
    raise plugins.failed(GROUP, backend, reason)
