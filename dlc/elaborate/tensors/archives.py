"""`npz("table.npz")`: constants from a file of NumPy arrays, as tensors of a body."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

from dlc.diagnostics import Span, did_you_mean
from dlc.diagnostics import meaning as problems
from dlc.diagnostics.catalogue import NO_FILE
from dlc.elaborate.base.values import Archive, Tensor
from dlc.elaborate.state.body import Body
from dlc.elaborate.tensors.constants import table
from dlc.syntax import ast

LIMIT = 100_000
"""Elements of one constant: it is written out in what backends emit. Larger tables are parameters or buffers."""
_KINDS = {"f": "float", "V": "float", "i": "i64", "u": "i64", "b": "bool"}


def read(body: Body, written: Any, span: Span) -> Archive:
    """The archive at a path relative to the spec, inside the project's root. Pickles are never read."""
    from dlc.ops.npz import NpzFile

    if not isinstance(written, str):
        body.report.fail(
            problems.STATIC_ERROR, span, message='`npz` takes a path, such as `npz("table.npz")`'
        )
    root = body.context.session.project.root or Path.cwd()
    place = (Path(body.context.unit.path).parent / written).resolve()
    if not place.is_relative_to(root.resolve()):
        body.report.fail(
            NO_FILE, span, path=written, reason="it lies outside the project's root (see --root)"
        )
    try:
        return Archive(written, NpzFile(place))
    except FileNotFoundError:
        reason = "there is no such file"
    except (OSError, ValueError):
        reason = "it is no npz file, as `numpy.savez` writes it (pickled objects are never read)"
    body.report.fail(NO_FILE, span, path=written, reason=reason)


def constant(body: Body, node: ast.Expr, archive: Archive, name: Any, span: Span) -> Tensor:
    """An array of the archive as a constant: numbers with a point are `float`, whole ones i64."""
    if not isinstance(name, str) or name not in archive.arrays:
        known = list(archive.arrays)
        help = did_you_mean(str(name), known) or f"it has {', '.join(known) or 'none'}"
        body.report.fail(problems.NO_ATTRIBUTE, span, what=f'the file "{archive.path}"', name=name, help=help)
    if body.context.kind == "static":
        message = f'`{name}` of "{archive.path}" is a tensor, which only a body can use'
        body.report.fail(
            problems.STATIC_ERROR,
            span,
            message=message,
            help="name the file with `let`, and the array where it is used",
        )
    size = prod(archive.arrays.shapes[name])
    if size > LIMIT:
        found, limit = f"{size:,} elements", f"{LIMIT:,}"
        body.report.fail(problems.BUDGET, span, what="this constant", found=found, limit=limit)
    try:
        array = archive.arrays[name]
    except ValueError as error:
        message = f'`{name}` of "{archive.path}" is no constant: {error}'
        body.report.fail(problems.STATIC_ERROR, span, message=message)
    dtype = _KINDS[array.dtype.kind]
    hint = name if name.isidentifier() else "table"
    return table(
        body, node, array.tolist(), body.context.float_dtype if dtype == "float" else dtype, span, hint
    )
