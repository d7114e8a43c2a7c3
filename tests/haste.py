"""Compilers in haste: of a program that runs once or twice, compiling is what takes time, and how well XLA and LLVM optimise is not
what most tests are about. Those of special values, schedules and files let TVM's LLVM do all that it does for users, processes of
the command line also XLA."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"

# A sixth of the usual time, most of it saved by not using the newer emitters of fusions.
XLA = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)

# A target of the tvm backend, two thirds of the usual time.
TVM = "llvm -opt-level=0"


def hasten_xla() -> None:
    """Before JAX is loaded. A flag that XLA does not know ends the process: only the version that is tested with has them."""
    installed = {each.version for each in metadata.distributions(name="jaxlib")}
    if installed and f"jaxlib=={installed.pop()}" in CONSTRAINTS.read_text(encoding="utf-8").split():
        os.environ.setdefault("XLA_FLAGS", " ".join(XLA))


def as_usual(environment: dict[str, str]) -> dict[str, str]:
    """The environment of a process that compiles as users' do."""
    return {name: value for name, value in environment.items() if name != "XLA_FLAGS"}
