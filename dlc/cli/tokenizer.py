"""`dlc tokenizer`: tokenizer files for `text(…, tokenizer="tokenizer.json")`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from dlc.cli.common import Format, Output, Quiet, echo_json, reports, usage
from dlc.diagnostics import NO_SPAN, SpecError
from dlc.diagnostics.training import DATA


class Kind(StrEnum):
    """How a text is cut up."""

    bpe = "bpe"
    wordpiece = "wordpiece"


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Tokenizer files: trained on texts, and tried.", no_args_is_help=True)
    app.add_typer(group, name="tokenizer")

    @group.command()
    @reports
    def train(
        files: Annotated[list[Path], typer.Argument(metavar="FILE.txt…", help="The texts.")],
        output: Annotated[Path, typer.Option("-o", "--output", help="The tokenizer file, a .json.")],
        kind: Annotated[
            Kind, typer.Option("--kind", help="bpe as GPT-2's (on bytes), wordpiece as BERT's (lower case).")
        ] = Kind.bpe,
        vocab: Annotated[int, typer.Option("--vocab", min=1, help="Tokens in all, at most.")] = 8000,
        special: Annotated[
            str | None, typer.Option("--special", metavar="A,B", help="Tokens besides those of the text.")
        ] = None,
        format: Output = Format.text,
        quiet: Quiet = False,
    ) -> None:
        """Train a tokenizer on texts: what is frequent becomes one token."""
        from dlc.runtime.data.tokens import SPECIAL, FromFile, trained
        from dlc.source import SourceError
        from dlc.writing import write

        if output.suffix != ".json":
            usage("--output takes the name of a .json file, by which sources know it")
        extra = SPECIAL[kind] if special is None else [*filter(None, special.split(","))]
        try:
            content = trained(files, kind, vocab, extra)
            write(output, content)
            found = FromFile.open(output)
        except SourceError as error:
            _refused(error)
        if format is Format.json:
            echo_json({"file": str(output), "kind": str(kind), "vocabulary": found.vocabulary})
        elif not quiet:
            short = "" if found.vocabulary == vocab else f": the text has no more ({vocab:,} were allowed)"
            typer.echo(f"{output}: {found.vocabulary:,} tokens{short}")

    @group.command()
    @reports
    def encode(
        file: Annotated[Path, typer.Argument(metavar="TOKENIZER.json", help="A tokenizer file.")],
        text: Annotated[str, typer.Argument(help="What is cut up.")],
        format: Output = Format.text,
    ) -> None:
        """Show the tokens of a text."""
        from dlc.runtime.data.tokens import FromFile
        from dlc.source import SourceError

        try:
            found = FromFile.open(file).pieces(text)
        except SourceError as error:
            _refused(error)
        if format is Format.json:
            echo_json([{"token": token, "id": id} for token, id in found])
            return
        for token, id in found:
            typer.echo(f"{id:>7}  {token}")


def _refused(error: Exception) -> NoReturn:
    help, notes = getattr(error, "help", ""), getattr(error, "notes", ())
    raise SpecError([DATA.at(NO_SPAN, message=str(error), help=help, notes=notes)]) from None
