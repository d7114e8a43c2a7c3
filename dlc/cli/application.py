"""The application: every command, read from its own file."""

from __future__ import annotations

import importlib

import typer

COMMANDS = (
    "check", "summary", "show", "compile", "run", "verify", "train", "predict", "evaluate", "runs", "tokenizer", "test", "weights", "ops", "explain", "list", "new",
    "format", "doctor",
)  # fmt: skip


def build(only: str = "") -> typer.Typer:
    """The application; with `only`, just that command's file is read, so that `dlc check` starts fast."""
    app = typer.Typer(
        name="dlc",
        help="A compiler for neural-network specifications.",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_version)
    for name in COMMANDS:
        if only in COMMANDS and name != only:
            continue
        importlib.import_module(f"dlc.cli.{_module(name)}").register(app)
    return app


def _module(name: str) -> str:
    return {"list": "specs", "new": "specs_new", "format": "formatting"}.get(name, name)


def _version(version: bool = typer.Option(False, "--version", help="Show the version and stop.")) -> None:
    if version:
        from dlc.version import __version__

        typer.echo(__version__)
        raise typer.Exit
