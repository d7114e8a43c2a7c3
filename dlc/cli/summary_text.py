"""A summary as text: a row a module, then sums."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlc.analysis.summary import Summary

DEPTH = 3
"""How deep the tree goes where nothing else is asked for."""


def summary_text(summary: Summary, depth: int = DEPTH, *, quiet: bool = False) -> str:
    lines: list[str] = []
    if not quiet:
        rows = [row for row in summary.rows if row.depth <= depth]
        paths = {row.path for row in rows if row.path}
        names = ["  " * row.depth + (_label(row.path, paths) if row.depth else row.kind) for row in rows]
        kinds = [row.kind if row.depth else "" for row in rows]
        outputs = [", ".join(row.outputs) for row in rows]
        widths = [max(map(len, column), default=0) for column in (names, kinds, outputs)]
        for name, kind, output, row in zip(names, kinds, outputs, rows, strict=True):
            cells = (name.ljust(widths[0]), kind.ljust(widths[1]), output.ljust(widths[2]))
            lines.append("  ".join((*cells, f"{row.parameters:,}".rjust(15))).rstrip())
        lines.append("")
    lines += [
        f"parameters        {summary.parameters:,}" + _frozen(summary),
        f"parameter bytes   {_size(summary.parameter_bytes)}",
        f"FLOPs             {_number(summary.flops)}",
        f"elementwise       {_number(summary.elementwise)}",
        f"activation bytes  {_size(summary.activation_bytes)}",
        f"training bytes    {_size(summary.training_bytes)}   (Adam, f32)",
    ]
    return "\n".join(lines)


def _label(path: str, rows: Container[str]) -> str:
    """A path as seen from the row that it lies in: `h.0-11` at the top, `attn` within."""
    labels = path.split(".")
    inner = next((k for k in range(len(labels) - 1, 0, -1) if ".".join(labels[:k]) in rows), 0)
    return ".".join(labels[inner:])


def _frozen(summary: Summary) -> str:
    return f"   ({summary.trainable:,} trainable)" if summary.trainable != summary.parameters else ""


def _number(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value


def _size(value: int | str) -> str:
    if isinstance(value, str):
        return value
    size, unit = float(value), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{value:,} ({size:.1f} {unit})" if unit != "B" else f"{value:,}"
