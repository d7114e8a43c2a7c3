"""The application: every command, read from its own file."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup

COMMANDS = (
    "check", "summary", "show", "compile", "run", "verify", "train", "predict", "evaluate", "runs", "tokenizer", "test", "weights", "ops", "explain", "list", "new",
    "format", "doctor",
)  # fmt: skip


class Commands(TyperGroup):
    """All commands. Those who look for a spec's settings among the options are told where they are."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            name = str(getattr(error, "option_name", "")).lstrip("-").replace("-", "_")
            if name and (place := _place(name, str(ctx.invoked_subcommand))):
                error.message = f"No such option: --{name.replace('_', '-')}: {place}"  # type: ignore[attr-defined]
                error.possibilities = []  # type: ignore[attr-defined]
            raise


def _place(name: str, command: str) -> str:
    """Where a value goes that other tools take as an option."""
    from dlc.elaborate.checks.train_arguments import SETTINGS

    if name in ("batch_size", "lr", "learning_rate", "optimizer"):
        return f"the train block says it; of a parameter that the block has, `--set {name}=…` gives another value"
    if name in SETTINGS and command in ("train", "evaluate", "compile"):
        return f"it is a setting of the train block, `--set settings.{name}=…`"
    return ""


def build(only: str = "") -> typer.Typer:
    """The application; with `only`, just that command's file is read, so that `dlc check` starts fast."""
    app = typer.Typer(
        name="dlc",
        cls=Commands,
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
