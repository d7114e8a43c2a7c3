"""`dlc doctor`: versions, backends, devices, what is missing."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from typing import TYPE_CHECKING, Any

import typer

from dlc.cli.common import Format, Output, echo_json, reports

if TYPE_CHECKING:
    from dlc.backend import Backend


EXTRAS = {
    "data": ("scikit-learn", "pyarrow", "pillow", "tokenizers"),
    "plots": ("matplotlib",),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow-skinny", "sqlalchemy", "alembic"),
}
"""What data sources, pictures of results and loggers need, by the extra of the package that brings it."""


def register(app: typer.Typer) -> None:
    @app.command()
    @reports
    def doctor(format: Output = Format.text) -> None:
        """Show versions, backends found, devices, and the command that installs what is missing."""
        found = report()
        if format is Format.json:
            echo_json(found)
            return
        typer.echo(f"dlc {found['dlc']}, Python {found['python']}, {found['platform']}")
        for name, each in found["backends"].items():
            versions = (f"{package} {version}" for package, version in each["packages"].items() if version)
            typer.echo(f"{name:6} {'ok' if each['available'] else 'missing':8} {', '.join(versions) or '-'}")
            if each["available"]:
                typer.echo(f"       {_abilities(each)}")
            else:
                typer.echo(f"       {each['reason']}")
            if each["install"]:
                typer.echo(f"       install it: {each['install']}")
        for extra, packages in found["extras"].items():
            there = [f"{package} {version}" for package, version in packages.items() if version]
            lacking = [package for package, version in packages.items() if not version]
            typer.echo(f"{extra:6} {'missing' if lacking else 'ok':8} {', '.join(there) or '-'}")
            if lacking:
                typer.echo(f"       {', '.join(lacking)} missing; install it: pip install 'dlc[{extra}]'")
        for tool, path in found["tools"].items():
            typer.echo(f"{tool:6} {path or 'not found'}")


def report() -> dict[str, Any]:
    from dlc.backend import every
    from dlc.version import __version__

    return {
        "dlc": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "backends": {each.name: _backend(each) for each in every()},
        "extras": {name: {each: _version(each) for each in packages} for name, packages in EXTRAS.items()},
        "tools": {tool: shutil.which(tool) or "" for tool in ("nvcc", "nvidia-smi")},
    }


def _backend(backend: Backend) -> dict[str, Any]:
    """What it needs and whether that is there, and what it declares to do."""
    reason = backend.absence()
    return {
        "available": not reason,
        "reason": reason,
        "packages": {package: _version(package) for package in backend.packages},
        "install": backend.installation if reason else "",
        "devices": list(backend.devices),
        "precisions": list(backend.precisions),
        "targets": list(backend.targets),
        "gradients": backend.has("gradients"),
        "trains": backend.trains,
    }


def _abilities(row: dict[str, Any]) -> str:
    parts = [f"on {', '.join(row['devices'])}", f"in {', '.join(row['precisions'])}"]
    parts += [f"for {', '.join(row['targets'])}"] if row["targets"] else []
    parts += ["gradients"] if row["gradients"] else []
    parts += ["training"] if row["trains"] else []
    return "; ".join(parts)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
