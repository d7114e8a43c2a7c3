"""A summary as text: a row a module, then sums."""

from __future__ import annotations

from collections.abc import Container
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlc.analysis.summary import Summary

DEPTH = 3
"""How deep the tree goes where nothing else is asked for."""


def summary_text(summary: Summary, depth: int = DEPTH, *, quiet: bool = False) -> str:
    lines: list[str] = []
    if not quiet:
        rows = [("  " * level + name, *others) for level, name, *others in _cells(summary, depth)]
        widths = [max(map(len, column), default=0) for column in zip(*rows, strict=True)]
        for *texts, parameters in rows:
            cells = (text.ljust(width) for text, width in zip(texts, widths, strict=False))
            lines.append("  ".join((*cells, parameters.rjust(15))).rstrip())
        lines.append("")
    return "\n".join([*lines, *(f"{what:17} {value}" for what, value in _totals(summary))])


def summary_html(summary: Summary, depth: int = DEPTH) -> str:
    """The same as tables, for notebooks."""
    rows = [
        f'<tr><td style="text-align:left;padding-left:{level + 0.5}em">{escape(name)}</td><td style="text-align:left">'
        f"{escape(kind)}</td><td>{escape(output)}</td><td>{parameters}</td></tr>"
        for level, name, kind, output, parameters in _cells(summary, depth)
    ]
    totals = [
        f'<tr><td style="text-align:left">{what}</td><td>{escape(value)}</td></tr>'
        for what, value in _totals(summary)
    ]
    head = "<tr><th>module</th><th>kind</th><th>output</th><th>parameters</th></tr>"
    return f"<table>{head}{''.join(rows)}</table><table>{''.join(totals)}</table>"


def _cells(summary: Summary, depth: int) -> list[tuple[int, str, str, str, str]]:
    """Of each module down to a depth: its own depth, name, kind, outputs and parameters."""
    rows = [row for row in summary.rows if row.depth <= depth]
    paths = {row.path for row in rows if row.path}
    return [
        (
            row.depth,
            _label(row.path, paths) if row.depth else row.kind,
            row.kind if row.depth else "",
            ", ".join(row.outputs),
            f"{row.parameters:,}",
        )
        for row in rows
    ]


def _totals(summary: Summary) -> list[tuple[str, str]]:
    return [
        ("parameters", f"{summary.parameters:,}" + _frozen(summary)),
        ("parameter bytes", _size(summary.parameter_bytes)),
        ("FLOPs", _number(summary.flops)),
        ("elementwise", _number(summary.elementwise)),
        ("activation bytes", _size(summary.activation_bytes)),
        ("training bytes", f"{_size(summary.training_bytes)}   (Adam, f32)"),
    ]


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
