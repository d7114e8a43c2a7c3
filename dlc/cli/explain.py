"""`dlc explain`: what an error code means."""

from __future__ import annotations

from typing import Annotated

import typer

from dlc.cli.common import Format, Output, echo_json, reports, usage
from dlc.diagnostics import Problem, suggestion


def register(app: typer.Typer) -> None:
    @app.command()
    @reports
    def explain(
        code: Annotated[
            str, typer.Argument(metavar="CODE", help="Such as E0302 or W0102; `all` lists every code.")
        ],
        format: Output = Format.text,
    ) -> None:
        """Explain the code of an error or a warning, with a wrong and a right spec."""
        from dlc.diagnostics.index import problems

        known = problems()
        if code == "all" and format is Format.json:
            echo_json([_json(each) for each in known.values()])
            return
        if code == "all":
            for each in known.values():
                typer.echo(f"{each.code}  {each.title}")
            return
        found = known.get(code.upper())
        if found is None:
            near = suggestion(code.upper(), known)
            usage(f"there is no code {code}" + (f"; did you mean {near}?" if near else ""))
        if format is Format.json:
            echo_json(_json(found))
            return
        typer.echo(page(found))


def _json(problem: Problem) -> dict[str, str]:
    keys = ("code", "title", "explanation", "wrong", "right", "severity")
    return {key: getattr(problem, key) for key in keys}


def page(problem: Problem) -> str:
    """The documentation of a problem as text."""
    parts = [f"{problem.code}: {problem.title}", "", problem.explanation]
    if problem.wrong:
        parts += ["", "Wrong:", "", *(f"    {line}" for line in problem.wrong.rstrip().splitlines())]
    if problem.right:
        parts += ["", "Right:", "", *(f"    {line}" for line in problem.right.rstrip().splitlines())]
    return "\n".join(parts)
