"""`dlc ops`: every op, and which backend has it natively, by decomposition, or not."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dlc.cli.common import Format, Output, echo_json, reports, usage


def register(app: typer.Typer) -> None:
    @app.command()
    @reports
    def ops(
        name: Annotated[str, typer.Argument(help="One op; all of them without it.")] = "",
        format: Output = Format.text,
    ) -> None:
        """Show ops: signature, documentation, cost, and how each backend says them."""
        from dlc.analysis.capabilities import lacking, table
        from dlc.diagnostics import suggestion
        from dlc.ops import add_installed

        add_installed()
        rows = table()
        if name and name not in rows:
            near = suggestion(name, rows)
            usage(f"there is no op `{name}`" + (f"; did you mean `{near}`?" if near else ""))
        chosen = {name: rows[name]} if name else rows
        if format is Format.json:
            echo_json(chosen)
        elif name:
            typer.echo(_page(chosen[name], lacking()))
        else:
            typer.echo(_table(chosen))
            for backend, dtypes in lacking().items():
                typer.echo(f"{backend} has no op in {dtypes}")


def _page(row: dict[str, Any], lacking: dict[str, str]) -> str:
    lines = [row["signature"], "", row["doc"], "", f"kind: {row['kind']}"]
    lines += [f"called as: {row['call']}"] if "call" in row else []
    lines += [f"flops: {row['flops']}"] if row["flops"] else []
    lines += [f"{backend}: {how}" for backend, how in row["backends"].items()]
    return "\n".join([*lines, *(f"{backend}: no op in {dtypes}" for backend, dtypes in lacking.items())])


def _table(rows: dict[str, dict[str, Any]]) -> str:
    names = next(iter(rows.values()))["backends"].keys() if rows else ()
    width = max(map(len, rows))
    lines = ["  ".join(["op".ljust(width), "kind".ljust(9), *(each.ljust(10) for each in names)]).rstrip()]
    for name, row in rows.items():
        cells = [
            name.ljust(width),
            row["kind"].ljust(9),
            *(how.split(":")[0].ljust(10) for how in row["backends"].values()),
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
