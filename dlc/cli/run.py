"""`dlc run`: one inference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlc.cli.common import (
    Backend,
    Device,
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
    Target,
    TargetName,
    Through,
    WeightsFile,
    check_device,
    echo_json,
    load_model,
    reports,
    show_warnings,
    sizes,
    usage,
    with_arrays,
)

if TYPE_CHECKING:
    import numpy as np


def register(app: typer.Typer) -> None:
    @app.command()
    @reports
    def run(
        target: Target,
        backend: Backend,
        weights: WeightsFile = None,
        through: Through = None,
        input: Inputs = [],  # noqa: B006
        random: Annotated[
            bool, typer.Option("--random", help="Random values for inputs that are not given.")
        ] = False,
        output: Annotated[
            Path | None, typer.Option("-o", "--output", help="An npz file for the outputs.")
        ] = None,
        seed: Seed = 0,
        dims: Dims = "",
        optimize: Optimize = 1,
        precision: Precision = "f32",
        emit_target: TargetName = "",
        device: Device = "cpu",
        present: Present = "",
        set: Sets = [],  # noqa: B006
        format: Output = Format.text,
        quiet: Quiet = False,
        root: Root = None,
    ) -> None:
        """Run a model once."""
        from dlc.runtime.inputs import random_inputs

        check_device(device)
        if output is not None and (not output.name or output.suffix not in ("", ".npz")):
            usage("--output takes the name of an npz file")
        model = load_model(target, set, root, present)
        model, given = with_arrays(model, input)
        missing = [value for value in model.inputs if value.name not in given]
        if missing and not random:
            usage(f"the input `{missing[0].name}` ({missing[0].type}) is missing: give --input or --random")
        unsized = [name for name in model.program.main.given_sizes if name not in sizes(dims)]
        if unsized and not random:
            usage(f"the size `{unsized[0]}` is missing: give --dims {unsized[0]}=4 or --random")
        inputs: dict[str, Any] = {**random_inputs(model.program, sizes(dims), seed, given), **given}
        compiled = model.compile(
            backend,
            weights=weights,
            through=through,
            seed=seed,
            optimize=optimize,
            precision=precision,
            target=emit_target,
            device=device,
        )
        show_warnings([model.spec])
        results = compiled(**inputs)
        if output is not None:
            from dlc.runtime.weights import write_file

            write_file(output.with_suffix(".npz"), results)
        _print(results, format, quiet)


def _print(results: dict[str, np.ndarray], format: Format, quiet: bool) -> None:
    if format is Format.json:
        rows = {
            name: {
                "shape": list(value.shape),
                "dtype": str(value.dtype),
                "values": _values(value, 16),
            }
            for name, value in results.items()
        }
        echo_json(rows)
        return
    for name, value in results.items() if not quiet else ():
        typer.echo(f"{name}: {value.dtype}{list(value.shape)}  {_preview(value)}")


def _preview(value: np.ndarray) -> str:
    shown = ", ".join(f"{each:.4g}" if isinstance(each, float) else str(each) for each in _values(value, 6))
    return shown + (", …" if value.size > 6 else "")


def _values(value: np.ndarray, count: int) -> list[float] | list[int]:
    """The first ones, as Python's: whole numbers are told as such, however large."""
    flat = value.ravel()[:count]
    found: list[float] | list[int] = (flat if value.dtype.kind in "iub" else flat.astype(float)).tolist()
    return found
