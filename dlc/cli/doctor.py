"""`dlc doctor`: versions, backends, devices, what is missing."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from typing import Any

import typer

from dlc.cli.common import Format, Output, echo_json

PACKAGES = {
    "torch": ("torch",),
    "jax": ("jax", "optax"),
    "onnx": ("onnx", "onnxruntime"),
    "tvm": ("apache-tvm", "apache-tvm-ffi"),
}


def register(app: typer.Typer) -> None:
    @app.command()
    def doctor(format: Output = Format.text) -> None:
        """Show versions, backends found, devices, and the command that installs what is missing."""
        found = report()
        if format is Format.json:
            echo_json(found)
            return
        typer.echo(f"dlc {found['dlc']}, Python {found['python']}, {found['platform']}")
        for name, each in found["backends"].items():
            state = ", ".join(
                f"{package} {version}" for package, version in each["packages"].items() if version
            )
            typer.echo(f"{name:6} {'ok' if each['available'] else 'missing':8} {state or '-'}")
            if each["install"]:
                typer.echo(f"       install it: {each['install']}")
        for tool, path in found["tools"].items():
            typer.echo(f"{tool:6} {path or 'not found'}")


def report() -> dict[str, Any]:
    from dlc import __version__, backend
    from dlc.runtime.compile import missing_packages

    rows = {}
    for name in backend.names():
        missing = missing_packages(backend.find(name))
        packages = {package: _version(package) for package in PACKAGES.get(name, (name,))}
        install = f"pip install 'dlc[{name}]'" if missing else ""
        rows[name] = {"available": not missing, "packages": packages, "install": install}
    tools = {tool: shutil.which(tool) or "" for tool in ("nvcc", "nvidia-smi")}
    return {
        "dlc": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "backends": rows,
        "tools": tools,
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
