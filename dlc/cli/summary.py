"""`dlc summary`: module tree, parameters, FLOPs, bytes."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Annotated

import typer

from dlc.cli.common import (
    Dims,
    Format,
    Output,
    Present,
    Quiet,
    Root,
    Sets,
    Target,
    echo_json,
    load_model,
    reports,
    sizes,
)

if TYPE_CHECKING:
    from dlc.analysis.summary import Summary


def register(app: typer.Typer) -> None:
    @app.command()
    @reports
    def summary(
        target: Target,
        present: Present = "",
        set: Sets = [],  # noqa: B006 - typer copies defaults
        dims: Dims = "",
        depth: Annotated[int, typer.Option("--depth", help="How deep the tree goes.")] = 3,
        format: Output = Format.text,
        quiet: Quiet = False,
        root: Root = None,
    ) -> None:
        """Show a model's tree with output shapes, parameters, FLOPs and bytes. Nothing is allocated."""
        model = load_model(target, set, root, present)
        found = model.summary(**sizes(dims))
        if format is Format.json:
            echo_json(found.to_json())
            return
        typer.echo(_text(found, depth, quiet))


def _text(summary: Summary, depth: int, quiet: bool) -> str:
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
