"""What the commands share: targets `FILE:NAME`, settings, sizes, and how problems are shown."""

from __future__ import annotations

import functools
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from dlc.cli import faults, quick
from dlc.diagnostics import Diagnostic, Span, SpecError, render

if TYPE_CHECKING:
    import numpy as np

    from dlc import spec as values
    from dlc.api import Model, Spec, TrainBlock


class Format(StrEnum):
    """How results are printed."""

    text = "text"
    json = "json"


Target = Annotated[
    str, typer.Argument(metavar="FILE[:NAME]", help="A spec, and a model, preset or train block in it.")
]
Sets = Annotated[list[str], typer.Option("--set", metavar="NAME=VALUE", help="Set a static parameter.")]
Dims = Annotated[str, typer.Option("--dims", metavar="B=4,T=128", help="Sizes of dynamic axes.")]
Present = Annotated[
    str, typer.Option("--with", metavar="mask,h", help="Optional inputs of the model that are to be there.")
]
Inputs = Annotated[
    list[str], typer.Option("--input", metavar="NAME=FILE.npy", help="The values of an input.")
]
Output = Annotated[Format, typer.Option("--format", help="text for people, json for tools.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print only what is wrong.")]
Root = Annotated[Path | None, typer.Option("--root", help="The folder that imports may not leave.")]
AllowPython = Annotated[
    bool,
    typer.Option("--allow-python", help="Run the functions that a train block names as its data."),
]
Optimize = Annotated[int, typer.Option("-O", min=0, max=3, help="Optimization level.")]
Precision = Annotated[str, typer.Option("--precision", help="What `float` means: f32, bf16, f16, f64.")]
TargetName = Annotated[
    str, typer.Option("--target", help="What a backend that compiles compiles for; `dlc doctor` lists it.")
]
WeightsFile = Annotated[Path | None, typer.Option("--weights", help="A safetensors or npz file.")]
Through = Annotated[
    str | None, typer.Option("--through", help="The `weights` block that maps the file's names.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of initial weights and random inputs.")]
Device = Annotated[str, typer.Option("--device", help="A kind of device and its number: cpu, cuda, cuda:1.")]
Backend = Annotated[str, typer.Option("--backend", "-b", help="Its name; `dlc doctor` lists them.")]


def usage(message: str) -> NoReturn:
    """Wrong usage: exit 2."""
    typer.echo(f"dlc: {message}", err=True)
    raise typer.Exit(2)


def reports(command: Callable[..., Any]) -> Callable[..., Any]:
    """Show a SpecError's diagnostics (as JSON where `--format json` asks for it) and exit 1."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            if quick.exhausted:
                raise quick.exhausted.pop()
            return command(*args, **kwargs)
        except SpecError as error:
            show(error.diagnostics, error.sources, kwargs.get("format", Format.text))
            raise typer.Exit(1) from None
        except (typer.Exit, typer.Abort):
            raise
        except BrokenPipeError:
            os._exit(0)
        except OSError as error:
            show([faults.of_files(error)], {}, kwargs.get("format", Format.text))
            raise typer.Exit(1) from None
        except KeyboardInterrupt as error:
            raise typer.Exit(128 + getattr(error, "signal", 2)) from None
        except Exception as error:
            if os.environ.get("DLC_TRACEBACK"):
                raise
            show([faults.of_any(error)], {}, kwargs.get("format", Format.text))
            raise typer.Exit(1) from None

    return wrapped


def show(diagnostics: Iterable[Diagnostic], sources: Mapping[str, str], format: Format) -> None:
    """Print diagnostics: text on stderr, JSON on stdout."""
    found = list(diagnostics)
    if format is Format.json:
        echo_json([each.to_json() for each in found])
        return
    for each in found:
        typer.echo(_coloured(render(each, _with_files(sources, each.span))), err=True)


def show_warnings(specs: Iterable[values.Spec], *blocks: TrainBlock) -> None:
    """The warnings of what a command has used of files, each once: on stderr, beside what it prints."""
    from dlc.spec import all_sources

    told: set[tuple[str, Span]] = set()
    for spec in specs:
        found = [each for each in spec.warnings(*blocks) if (each.code, each.span) not in told]
        told.update((each.code, each.span) for each in found)
        show(found, all_sources(spec.project), Format.text)


def _with_files(sources: Mapping[str, str], span: Span) -> Mapping[str, str]:
    """The texts that are known, and the file that a span points into if it can be read."""
    if span.file in sources or not span.line or not Path(span.file).is_file():
        return sources
    return {**sources, span.file: Path(span.file).read_text(encoding="utf-8", errors="replace")}


def _coloured(text: str) -> str:
    if not sys.stderr.isatty() or os.environ.get("NO_COLOR"):
        return text
    head, _, rest = text.partition("\n")
    colour = typer.colors.YELLOW if head.startswith("warning") else typer.colors.RED
    return typer.style(head, fg=colour, bold=True) + ("\n" + rest if rest else "")


def echo_json(value: Any) -> None:
    typer.echo(json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    """With "nan", "inf" and "-inf" as texts: JSON has no such numbers."""
    match value:
        case float():
            return value if math.isfinite(value) else str(value)
        case dict():
            return {key: _finite(each) for key, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
    return value


# --- targets ---------------------------------------------------------------------------------------------------


def split_target(text: str) -> tuple[str, str]:
    """`FILE:NAME` -> (file, name); the name is empty where none is given. `dlc:…` names a spec that ships with dlc."""
    prefix = "dlc:" if text.startswith("dlc:") else ""
    file, _, name = text.removeprefix(prefix).partition(":")
    return (str(shipped_spec(file.removesuffix(".dl"))) if prefix else file), name


def shipped_spec(name: str) -> Path:
    """The file of a spec that ships with dlc: `language/gpt2`, or its last part alone."""
    from dlc.diagnostics import suggestion
    from dlc.resources import specs_path

    base = specs_path()
    known = {file.relative_to(base).with_suffix("").as_posix(): file for file in sorted(base.rglob("*.dl"))}
    short = {each.rsplit("/", 1)[-1]: file for each, file in known.items()}
    found = known.get(name) or short.get(name)
    if found is None:
        near = suggestion(name, [*known, *short])
        usage(f"there is no spec `{name}`" + (f"; did you mean `{near}`?" if near else "; see `dlc list`"))
    return found


def load_spec(target: str, root: Path | None, allow_python: bool = False) -> tuple[Spec, str]:
    from dlc.api import load

    file, name = split_target(target)
    return load(file, root=root, allow_python=allow_python), name


def load_model(target: str, sets: list[str], root: Path | None, present: str = "") -> Model:
    """The model or preset that a target names, with settings and the optional inputs that are `present`; without a name the file's only
    model, or its first."""
    from dlc.api import Model

    spec, name = load_spec(target, root)
    found = spec[name or default_model(spec)]
    if not isinstance(found, Model):
        usage(f"`{name}` is a train block; this command takes a model or preset")
    found = found(**settings(sets)) if sets else found
    names = [name.strip() for name in present.split(",") if name.strip()]
    return found.with_inputs(*names) if names else found


def with_arrays(model: Model, given: list[str]) -> tuple[Model, dict[str, np.ndarray]]:
    """What `--input` gives, and the model with those optional inputs that are among it."""
    from dlc.diagnostics import did_you_mean

    arrays = _arrays(given)
    optional = [name for name in arrays if name.partition(".")[0] in model.optional_inputs]
    model = model.with_inputs(*optional) if optional else model
    known = model.program.main.input_names
    for name in arrays:
        if name not in known:
            help = did_you_mean(name, known) or f"inputs are {', '.join(known)}"
            usage(f"there is no input `{name}`: {help}")
    return model, arrays


def _arrays(given: list[str]) -> dict[str, np.ndarray]:
    import numpy as np

    arrays: dict[str, np.ndarray] = {}
    for each in given:
        name, equals, file = each.partition("=")
        if not equals:
            usage(f"--input takes NAME=FILE.npy, not {each!r}")
        try:
            array = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError, MemoryError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no .npy file of numbers"
            usage(f"can't read {file}: {reason}")
        if not isinstance(array, np.ndarray):
            usage(f"can't read {file}: it holds several arrays; --input takes a .npy file")
        arrays[name] = array
    return arrays


def default_model(spec: Spec) -> str:
    if not spec.models:
        usage(f"{spec.unit.path} has no model")
    return spec.models[0]


def load_train(target: str, sets: list[str], root: Path | None, allow_python: bool = False) -> TrainBlock:
    """The train block that a target names; without a name the file's only one, or its first."""
    from dlc.api import TrainBlock

    spec, name = load_spec(target, root, allow_python)
    if not name and not spec.trains:
        usage(f"{spec.unit.path} has no train block")
    found = spec[name or spec.trains[0]]
    if not isinstance(found, TrainBlock):
        usage(f"`{name}` is a model; this command takes a train block")
    return found(**settings(sets)) if sets else found


def load_trained(
    target: str,
    sets: list[str],
    root: Path | None,
    weights: Path,
    *,
    allow_python: bool = False,
) -> TrainBlock:
    """The train block of a run, at the settings that it had but for those that are given."""
    from dlc.runtime.run_folder import manifest_of

    manifest = manifest_of(weights if weights.is_dir() else weights.parent) or {}
    file, name = split_target(target)
    before, spec = manifest.get("set"), manifest.get("spec")
    name = name or (str(spec.get("train", "")) if isinstance(spec, dict) else "")
    held = [f"{key}={value}" for key, value in before.items()] if isinstance(before, dict) else []
    return load_train(f"{file}:{name}" if name else file, [*held, *sets], root, allow_python)


def settings(sets: list[str]) -> dict[str, Any]:
    """`layers=6` and `settings.steps=100` as values; a value is written as in the language."""
    return dict(_setting(each) for each in sets)


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        usage(f"--set takes NAME=VALUE, not {text!r}")
    return name.strip(), static_value(value.strip())


def static_value(text: str) -> Any:
    """A static value written in the language; a word that is none counts as a string."""
    from dlc.elaborate.base.project import Project
    from dlc.elaborate.programs.elaborator import Elaborator
    from dlc.elaborate.reports.report import ElabError, Silent
    from dlc.elaborate.state.body import static_body
    from dlc.syntax import ast
    from dlc.syntax.parser import parse

    result = parse(f"let value = {text}\n", "--set")
    if not result.diagnostics and result.file.items and isinstance(result.file.items[0], ast.Let):
        project = Project(Path.cwd())
        unit = project.loads("", "--set")
        try:
            return static_body(Elaborator(project), unit).evaluate(result.file.items[0].value)
        except (ElabError, Silent):
            pass
    return text


def check_device(text: str) -> None:
    """`cpu`, `cuda`, `cuda:1`: whether it is there, the backend says."""
    if re.fullmatch(r"[a-z]+(:\d+)?", text) is None:
        usage(f"--device takes a kind of device, such as cpu or cuda:1, not {text!r}")


def sizes(text: str) -> dict[str, int]:
    """`B=4,T=128` as numbers."""
    result: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if not value.strip().isdigit():
            usage(f"--dims takes NAME=SIZE, not {part!r}")
        result[name.strip()] = int(value)
    return result


def train_block(targets: list[str], root: Path | None, allow_python: bool = False) -> TrainBlock | None:
    """The train block that is asked for, if one is."""
    if len(targets) != 1 or ":" not in targets[0]:
        return None
    spec, name = load_spec(targets[0], root, allow_python)
    found: TrainBlock | None = spec[name] if name in spec.trains else None
    return found
