"""The house is as docs/architecture.md says: imports go one way, frameworks stay in their backend, checking needs none."""

from __future__ import annotations

import ast
import json
import os
import re
import resource
import subprocess
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GPT2 = ROOT / "specs/language/gpt2.dl"

# A part may import what stands in its own row and in those above.
ROWS = (
    ("arguments", "diagnostics", "garbage", "once", "plugins", "records", "resources", "version", "writing"),
    ("syntax",),
    ("types",),
    ("ir", "ops"),
    ("source", "backend", "emit"),
    ("passes", "autodiff"),
    ("elaborate",),
    ("analysis",),
    ("spec",),
    ("runtime",),
    ("backends",),
    ("api",),
    ("cli", "__main__"),
)
RANK = {part: rank for rank, row in enumerate(ROWS) for part in row}

FRAMEWORKS = {
    "torch": "dlc_torch",
    "jax": "dlc_jax",
    "jaxlib": "dlc_jax",
    "optax": "dlc_jax",
    "onnx": "dlc_onnx",
    "onnxruntime": "dlc_onnx",
    "tvm": "dlc_tvm",
    "tvm_ffi": "dlc_tvm",
}
HEAVY = {"torch", "jax", "onnx", "onnxruntime", "tvm", "numpy"}
CPU_LIMIT = 0.3


@cache
def sources() -> tuple[Path, ...]:
    return tuple(sorted([*ROOT.glob("dlc/**/*.py"), *ROOT.glob("backends/**/*.py")]))


def part_of(path: Path) -> str:
    """The part of the house that a file belongs to; empty for `dlc/__init__.py`, which only names things."""
    words = path.relative_to(ROOT).with_suffix("").parts
    return "backends" if words[0] == "backends" else words[1].replace("__init__", "")


def imports(path: Path) -> Iterator[str]:
    """The dotted names of all that a file imports: at its top, in functions, for types alone, and by a text that names
    a module of ours, which is how `importlib` is told."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path} has an import that does not say from where"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and is_module(node.value):
            yield str(node.value).rstrip(".")


def is_module(value: object) -> bool:
    """Whether a text is the name of a module of ours, or the beginning of one: the `dlc.ops.` of `f"dlc.ops.{family}"`."""
    if not isinstance(value, str) or not re.fullmatch(r"dlc(_\w+)?(\.\w+)*\.?", value):
        return False
    words = value.rstrip(".").split(".")
    found = ROOT.joinpath(*words) if words[0] == "dlc" else ROOT.joinpath("backends", *words)
    return found.is_dir() or found.with_suffix(".py").is_file()


def target_of(name: str) -> str:
    words = name.split(".")
    if words[0] == "dlc" and len(words) > 1:
        return words[1]
    return "backends" if words[0] in FRAMEWORKS.values() else ""


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    here = part_of(path)
    if not here:
        return
    assert here in RANK, f"{here} has no row in the order of parts"
    for name in imports(path):
        assert RANK.get(target_of(name), 0) <= RANK[here], f"{here} imports {name}"


# Who imports a module under a name that it computes, and why: anyone else would hide where the arrow goes.
BY_NAME = {
    "dlc/__init__.py": "the names of the API are loaded when they are used",
    "dlc/cli/application.py": "one file a command",
    "dlc/ops/__init__.py": "one file a family of ops",
    "dlc/ops/definition.py": "NumPy is loaded when an op is computed",
}


def test_few_import_by_name() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr == "import_module")
        or (isinstance(node, ast.Name) and node.id in ("import_module", "__import__"))
    }
    assert found <= BY_NAME.keys(), found - BY_NAME.keys()


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_frameworks_stay_in_their_backend(path: Path) -> None:
    for name in imports(path):
        home = FRAMEWORKS.get(name.split(".")[0])
        assert home is None or path.relative_to(ROOT).parts[1] == home, f"{name} belongs into {home}"


def test_backends_do_not_know_each_other() -> None:
    for path in sources():
        package = path.relative_to(ROOT).parts[1]
        found = {name.split(".")[0] for name in imports(path)} & set(FRAMEWORKS.values())
        assert found <= {package}, path


# Who speaks of frameworks that users come from, and not of backends.
FOREIGN = {"dlc/syntax/foreign.py", "dlc/elaborate/base/habits.py"}


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_backend_is_known_by_name(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    if place.startswith("backends/") or place in FOREIGN:
        return
    known = {*FRAMEWORKS, *FRAMEWORKS.values()}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not (isinstance(node, ast.Constant) and node.value in known), f"{place} knows `{node.value}`"


def test_the_page_names_every_part() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    for part in {part_of(path) for path in sources()} - {"", "backends", "__main__"}:
        assert re.search(rf"\b{part}\b", page), f"docs/architecture.md does not speak of dlc/{part}"


# --- what is imported when -------------------------------------------------------------------------------------


def loaded(code: str) -> set[str]:
    """The heavy packages that are there after running some code in an interpreter of its own."""
    report = f"\nimport json, sys\nprint(json.dumps(sorted({HEAVY!r} & sys.modules.keys())))"
    done = subprocess.run([sys.executable, "-c", code + report], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def command(*words: str) -> str:
    return f"""
import sys
from dlc.cli import main
sys.argv = {["dlc", *words]!r}
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


def test_checking_imports_no_framework() -> None:
    assert loaded(command("check", str(GPT2))) == set()


SLOW_TO_LOAD = {"dataclasses", "inspect", "traceback", "typer", "pydantic", "rich", "lark"}
"""What takes longer to load than a short answer should."""


@pytest.mark.parametrize("name", ["check", "summary"])
def test_plain_questions_load_little(name: str) -> None:
    report = f"\nprint('loaded', sorted({SLOW_TO_LOAD!r} & sys.modules.keys()))"
    code = command(name, str(GPT2)) + report
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "loaded []", done.stdout + done.stderr


def test_the_api_imports_no_framework() -> None:
    assert loaded(f"import dlc\nmodel = dlc.load({str(GPT2)!r})['GPT2']\nmodel.summary(B=1, T=8)") == set()


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_emitting_source_imports_no_framework(backend: str, tmp_path: Path) -> None:
    words = ("compile", str(GPT2), "--backend", backend, "--output", str(tmp_path), "--quiet")
    assert loaded(command(*words)) <= {"numpy"}


@pytest.mark.slow
def test_checking_takes_little_time(tmp_path: Path) -> None:
    """A soft limit: past it a warning, past three times as much a failure. The first run compiles the modules."""
    taken = min(_cpu_seconds(tmp_path) for _ in range(6))
    if taken > CPU_LIMIT:
        warnings.warn(
            f"`dlc check` of GPT-2 takes {taken:.2f} s of CPU time, over {CPU_LIMIT} s", stacklevel=1
        )
    assert taken < 3 * CPU_LIMIT


def _cpu_seconds(cache: Path) -> float:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(cache), "PYTHONDONTWRITEBYTECODE": ""}
    words = [sys.executable, "-m", "dlc", "check", str(GPT2)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# --- what files say --------------------------------------------------------------------------------------------

FOLDERS = ("dlc", "backends", "grammar", "specs", "examples", "docs", "tests", "tools", "benchmarks", ".ci")
MACHINE = re.compile(r"(?<![\w.:/-])/(work|root|home|Users|opt|mnt|farm|tmp)/\w")


def texts() -> Iterator[Path]:
    # `.git` is a file, with a path in it, where the folder is a worktree.
    files = [each for each in ROOT.iterdir() if each.is_file() and each.name != ".git"]
    files += [each for folder in FOLDERS for each in (ROOT / folder).rglob("*") if each.is_file()]
    # Tools keep what they know in folders that begin with a dot.
    return (
        each
        for each in files
        if not any(part.startswith(".") for part in each.relative_to(ROOT).parent.parts[1:])
        and "__pycache__" not in each.parts
        and each.suffix not in (".npz", ".safetensors")
    )


def test_no_file_names_a_path_of_a_machine() -> None:
    for path in texts():
        found = MACHINE.search(path.read_text(encoding="utf-8", errors="replace"))
        assert found is None, f"{path.relative_to(ROOT)} names {found.group() if found else ''}…"


# --- circles -----------------------------------------------------------------------------------------------------

# Files that import each other, three or more of them, and why. Imports inside functions, under TYPE_CHECKING and by
# importlib count: what needs each other can't be read, tested or changed alone.
CIRCLES: dict[frozenset[str], str] = {}


def module_of(path: Path) -> str:
    words = path.relative_to(ROOT).with_suffix("").parts
    words = words[1:] if words[0] == "backends" else words
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


@cache
def import_graph() -> dict[str, set[str]]:
    """Which modules each module imports, wherever in the file and by whatever means."""
    known = {module_of(path): path for path in sources()}
    return {name: set(_targets(path, known)) - {name} for name, path in known.items()}


def _targets(path: Path, known: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.ImportFrom(module=str(module), names=names, level=0):
                for alias in names:
                    inner = f"{module}.{alias.name}"
                    yield from {inner if inner in known else module} & known.keys()
            case ast.Import(names=names):
                yield from {alias.name for alias in names} & known.keys()
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]):
                yield from {name} & known.keys()


def circles(graph: dict[str, set[str]]) -> Iterator[frozenset[str]]:
    """Sets of modules that reach each other (Tarjan's strongly connected components), of two and more."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[frozenset[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == index[name]:
            circle = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            found.append(frozenset(circle))

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return (each for each in found if len(each) > 1)


def test_no_circle_of_more_than_two_files() -> None:
    large = {each for each in circles(import_graph()) if len(each) > 2}
    assert large <= CIRCLES.keys(), f"new circles: {[sorted(each) for each in large - CIRCLES.keys()]}"
    assert large >= CIRCLES.keys(), (
        f"gone, take them out of the list: {[*map(sorted, CIRCLES.keys() - large)]}"
    )


# The folders of elaboration, each of which knows only those before it.
LAYERS = (
    "base",
    "reports",
    "types",
    "state",
    "tensors",
    "names",
    "calls",
    "bodies",
    "ops",
    "builtins",
    "programs",
    "checks",
)


def test_elaboration_is_layers() -> None:
    """Within a folder no two files need each other; between folders imports go down. The one way up is `Recursion`."""
    assert not [each for each in circles(import_graph()) if any(".elaborate." in name for name in each)]
    rank = {name: place for place, name in enumerate(LAYERS)}
    for name, targets in import_graph().items():
        if name.startswith("dlc.elaborate."):
            here = name.split(".")[2]
            for target in targets:
                there = target.split(".")[2] if target.startswith("dlc.elaborate.") else here
                assert rank[there] <= rank[here], f"{name} imports {target}"
