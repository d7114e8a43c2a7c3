"""`dlc show`: what a stage of the compiler produced."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from dlc.cli.common import (
    AllowPython,
    Backend,
    Format,
    Optimize,
    Output,
    Precision,
    Present,
    Quiet,
    Root,
    Sets,
    Target,
    TargetName,
    echo_json,
    load_model,
    reports,
    settings,
    split_target,
    train_block,
    usage,
)

if TYPE_CHECKING:
    from dlc.ir.nodes import Program
    from dlc.spec import TrainBlock


class Stage(StrEnum):
    """A stage of the compiler."""

    ast = "ast"
    ir = "ir"
    optimized = "optimized"
    step = "step"
    source = "source"


def register(app: typer.Typer) -> None:
    @app.command()
    @reports
    def show(
        target: Target,
        stage: Annotated[Stage, typer.Option("--stage", help="What to show.")] = Stage.ir,
        backend: Backend = "",
        optimize: Optimize = 1,
        after: Annotated[str, typer.Option("--after", metavar="PASS", help="The program after a pass.")] = "",
        before: Annotated[
            str, typer.Option("--before", metavar="PASS", help="The program before a pass.")
        ] = "",
        precision: Precision = "f32",
        emit_target: TargetName = "",
        training: Annotated[bool, typer.Option("--training", help="In training mode.")] = False,
        verify_ir: Annotated[
            bool, typer.Option("--verify-ir", help="Check the IR after every pass.")
        ] = False,
        present: Present = "",
        allow_python: AllowPython = False,
        set: Sets = [],  # noqa: B006 - typer copies defaults
        format: Output = Format.text,
        quiet: Quiet = False,
        root: Root = None,
    ) -> None:
        """Show a spec as a tree, as IR, as optimized IR, or as a backend's source; a train block as IR, as its step, or as a script."""
        if stage is Stage.ast:
            _show_tree(target)
            return
        block = train_block([target], root, allow_python)
        if block is not None:
            _show_training(block(**settings(set)), stage, backend, format)
            return
        if stage is Stage.step:
            usage("a step is one of a train block: name one, FILE:BLOCK")
        model = load_model(target, set, root, present)
        if quiet and model.program:
            return
        if stage is Stage.source:
            artifact = model.emit(
                backend or _first_backend(),
                optimize=optimize,
                precision=precision,
                target=emit_target,
                training=training,
            )
            for name, content in artifact.files.items():
                if isinstance(content, str):
                    typer.echo(content if len(artifact.files) == 1 else f"# --- {name}\n{content}")
            return
        from dlc.ir.text import print_program
        from dlc.spec import optimized

        program = model.training_program if training else model.program
        seen: list[tuple[str, Program]] = [("", program)]
        if stage is Stage.optimized or after or before:
            final = optimized(
                program, optimize, verify=verify_ir, after=lambda name, made: seen.append((name, made))
            )
            program = final if not (after or before) else _pick(seen, after, before)
        if format is Format.json:
            from dlc.ir.schema import to_json

            echo_json(to_json(program))
            return
        typer.echo(print_program(program))


def _show_training(block: TrainBlock, stage: Stage, backend: str, format: Format) -> None:
    """A train block: what it computes of a batch; with the derivative and the update, at the sizes of its batches; or as a script."""
    from dlc.ir.schema import to_json
    from dlc.ir.text import print_program

    if stage is Stage.optimized:
        usage("of a train block `ir`, `step` and `source` can be shown")
    if stage is Stage.source:
        from dlc.runtime.compile import find_backend
        from dlc.runtime.scripts import script

        texts = script(block, find_backend(backend or _first_backend())).files.values()
        typer.echo("\n".join(text for text in texts if isinstance(text, str)))
        return
    programs = {"": block.plan.program} if stage is Stage.ir else _steps(block)
    if format is Format.json:
        found = {name: to_json(each) for name, each in programs.items()}
        echo_json(found[""] if stage is Stage.ir else found)
        return
    parts = ((f"# {name}\n" if name else "") + print_program(each) for name, each in programs.items())
    typer.echo("\n".join(parts))


def _steps(block: TrainBlock) -> dict[str, Program]:
    from dlc.runtime.trainers import Trainers
    from dlc.runtime.training_data import open_data

    return Trainers(block, open_data(block).sizes).programs()


def _first_backend() -> str:
    """The backend whose source is shown where none is named; without any the word stands in the diagnostic."""
    from dlc.backend import names

    return next(iter(names()), "any")


def _pick(seen: list[tuple[str, Program]], after: str, before: str) -> Program:
    names = [name for name, _ in seen]
    wanted = after or before
    if wanted not in names:
        usage(f"no pass `{wanted}` ran; these did: {', '.join(filter(None, names))}")
    return seen[names.index(wanted) - (1 if before else 0)][1]


def _show_tree(target: str) -> None:
    from dlc.diagnostics import SpecError
    from dlc.syntax.parser import parse
    from dlc.syntax.source import read_source

    file, _ = split_target(target)
    text = read_source(file)
    result = parse(text, file)
    if result.diagnostics:
        raise SpecError(result.diagnostics, {file: text})
    typer.echo(tree_text(result.file))


def tree_text(node: object, indent: int = 0) -> str:
    """A syntax tree as indented lines."""
    from dlc.syntax import ast

    pad = "    " * indent
    if isinstance(node, ast.Node):
        simple: list[tuple[str, object]] = []
        nested: list[tuple[str, object]] = []
        for name in node.__dataclass_fields__:
            value = getattr(node, name)
            if name in ("span", "name_span", "name_spans", "comments", "doc") or value in ((), None):
                continue
            (nested if isinstance(value, ast.Node | tuple) else simple).append((name, value))
        head = f"{pad}{type(node).__name__}" + "".join(f" {name}={value!r}" for name, value in simple)
        return "\n".join(
            [head, *(f"{pad}  {name}:\n{tree_text(value, indent + 1)}" for name, value in nested)]
        )
    if isinstance(node, tuple):
        return "\n".join(tree_text(each, indent) for each in node)
    return f"{pad}{node!r}"
