"""`dlc verify`: all backends on the same weights and inputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlc.cli import faults
from dlc.cli.common import (
    AllowPython,
    Dims,
    Format,
    Inputs,
    Optimize,
    Output,
    Precision,
    Present,
    Quiet,
    Root,
    Seed,
    Sets,
    Through,
    WeightsFile,
    echo_json,
    load_model,
    load_spec,
    reports,
    settings,
    show,
    sizes,
    train_block,
    usage,
    with_arrays,
)
from dlc.diagnostics import SpecError

if TYPE_CHECKING:
    from dlc.api import Model
    from dlc.runtime.verify import Report
    from dlc.runtime.verify_training import TrainingReport
    from dlc.spec import TrainBlock

Targets = Annotated[
    list[str],
    typer.Argument(metavar="FILE[:NAME]…", help="Specs, and a model or preset in each."),
]


def register(app: typer.Typer) -> None:
    @app.command()
    @reports
    def verify(
        targets: Targets,
        backends: Annotated[
            str, typer.Option("--backends", "-b", metavar="a,b", help="By default all installed.")
        ] = "",
        grad: Annotated[
            bool, typer.Option("--grad", help="Compare the gradients of every parameter too.")
        ] = False,
        small: Annotated[
            bool, typer.Option("--small", help="Every model of a file, each at its smallest settings.")
        ] = False,
        tolerance: Annotated[
            float | None,
            typer.Option("--tolerance", help="Largest relative difference; by default 1e-5 of f32."),
        ] = None,
        expect: Annotated[
            Path | None, typer.Option("--expect", help="An npz or safetensors file of the published outputs.")
        ] = None,
        steps: Annotated[
            int, typer.Option("--steps", help="Of a train block: how many steps are compared.", min=1)
        ] = 20,
        precision: Precision = "f32",
        weights: WeightsFile = None,
        through: Through = None,
        input: Inputs = [],  # noqa: B006
        seed: Seed = 0,
        dims: Dims = "",
        optimize: Optimize = 1,
        present: Present = "",
        allow_python: AllowPython = False,
        set: Sets = [],  # noqa: B006 - typer copies defaults
        format: Output = Format.text,
        quiet: Quiet = False,
        root: Root = None,
    ) -> None:
        """Run every backend on the same weights and inputs and compare. Exit 1 past the tolerance."""
        from dlc.runtime.verify import verify as compare

        block = None if small else train_block(targets, root, allow_python)
        if block is not None:
            _training(block, set, tuple(filter(None, backends.split(","))), steps, tolerance, format, quiet)
            return
        several = small or len(targets) > 1
        if several and (weights or input or dims or present or expect):
            usage(
                "--weights, --input, --expect, --dims and --with are of one model: name it, without --small"
            )

        def report(model: Model) -> Report:
            model, given = with_arrays(model, input)
            return compare(
                model,
                inputs=given,
                backends=tuple(filter(None, backends.split(","))) or None,
                gradients=grad,
                tolerance=tolerance,
                weights=weights,
                through=through,
                seed=seed,
                dims=sizes(dims),
                optimize=optimize,
                precision=precision,
                expect=expect,
            )

        def models(target: str) -> Sequence[Model]:
            if small:
                return _small(target, set, root)
            return [load_model(target, set, root, present)]

        if several:
            _all(_outcomes(targets, models, report), format, quiet=quiet)
        else:
            _one(report(models(targets[0])[0]), format, quiet=quiet)


def _training(
    block: TrainBlock,
    sets: list[str],
    backends: Sequence[str],
    steps: int,
    tolerance: float | None,
    format: Format,
    quiet: bool,
) -> None:
    from dlc.runtime.verify_training import verify_training

    report = verify_training(
        block(**settings(sets)), steps=steps, backends=backends or None, tolerance=tolerance
    )
    _one(report, format, quiet=quiet)


def _small(target: str, sets: list[str], root: Path | None) -> Sequence[Model]:
    from dlc.runtime.smallest import smallest

    spec, name = load_spec(target, root)
    if name in spec.trains:
        usage(f"`{name}` is a train block; this command takes a model or preset")
    given = settings(sets)
    found: Sequence[Any] = smallest(spec, name)  # the API's models, as they are of the API's spec
    return [model(**given) if given else model for model in found]


def _one(report: Report | TrainingReport, format: Format, *, quiet: bool) -> None:
    if format is Format.json:
        echo_json(report.to_json())
    elif not quiet or not report.agree:
        typer.echo(report.text())
    if not report.agree:
        raise typer.Exit(1)


def _outcomes(
    targets: Iterable[str],
    models: Callable[[str], Sequence[Model]],
    report: Callable[[Model], Report],
) -> Iterator[tuple[str, Report | SpecError]]:
    """One after another, what was found of each model; one that can't be compared does not keep the others from it."""
    for target in targets:
        try:
            found = models(target)
        except SpecError as error:
            yield target, error
            continue
        for model in found:
            try:
                yield target, report(model)
            except SpecError as error:
                yield target, error
            except Exception as error:
                if os.environ.get("DLC_TRACEBACK"):
                    raise
                yield target, SpecError([faults.of_any(error)])


def _all(outcomes: Iterator[tuple[str, Report | SpecError]], format: Format, *, quiet: bool) -> None:
    rows: list[dict[str, Any]] = []
    for target, found in outcomes:
        if isinstance(found, SpecError):
            rows.append(
                {"target": target, "agree": False, "diagnostics": [d.to_json() for d in found.diagnostics]}
            )
        else:
            rows.append({"target": target, **found.to_json()})
        if format is Format.text and not (quiet and rows[-1]["agree"]):
            typer.echo(target)
            _tell(found, format)
    agreed = sum(row["agree"] for row in rows)
    if format is Format.json:
        echo_json(rows)
    elif not quiet:
        typer.echo(f"{agreed} of {len(rows)} agree")
    if agreed < len(rows):
        raise typer.Exit(1)


def _tell(found: Report | SpecError, format: Format) -> None:
    if isinstance(found, SpecError):
        show(found.diagnostics, found.sources, format)
    else:
        typer.echo(found.text())
