"""Damaged specs: `dlc check` says what is wrong with them, and never fails itself or points into the library."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from properties import seeds

from dlc.diagnostics import Diagnostic, SpecError, render
from dlc.elaborate.base.project import Project
from dlc.elaborate.checks.file import check_unit
from dlc.elaborate.reports.origin import LIBRARY

from .mutations import mutated

pytestmark = pytest.mark.draws

ROOT = Path(__file__).resolve().parents[2]
CORPUS = sorted((ROOT / "tests" / "errors").rglob("*.dl"))
SPECS = sorted((ROOT / "specs").rglob("*.dl"))
LIBRARY_FILES = sorted((ROOT / "dlc" / "std").glob("*.dl"))


def _check(text: str, folder: Path) -> tuple[Project, tuple[Diagnostic, ...]]:
    project = Project(folder)
    try:
        return project, check_unit(project, project.loads(text, "damaged.dl"))
    except SpecError as error:
        return project, error.diagnostics


def _survives(path: Path, seed: int) -> None:
    text = mutated(path.read_text(encoding="utf-8"), seed * 1009 + zlib.crc32(path.name.encode()) % 1000)
    project, found = _check(text, path.parent)
    for each in found:
        assert not each.span.file.startswith(LIBRARY), each
        assert each.code != "E0999"
        render(each, project.sources)
        each.to_json()


@pytest.mark.parametrize("path", [*CORPUS, *LIBRARY_FILES], ids=lambda path: path.stem)
def test_small_specs(path: Path) -> None:
    for seed in seeds(4):
        _survives(path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_published_specs(path: Path) -> None:
    for seed in seeds(4):
        _survives(path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_small_specs_at_length(path: Path) -> None:
    for seed in seeds(16, start=4):
        _survives(path, seed)


HUGE = {
    "a long expression": "let N = " + "1 + " * 20_000 + "1\n",
    "a long pipe": "model M()(x: [B, 4]) -> [B, 4] {\n    return x" + " |> relu" * 2_000 + "\n}\n",
    "deep calls": "model M()(x: [B, 4]) -> [B, 4] {\n    return " + "relu(" * 150 + "x" + ")" * 150 + "\n}\n",
    "deep blocks": "model M()(x: [B, 4]) -> [B, 4] {\n"
    + "if true {\n" * 150
    + "x = relu(x)\n"
    + "}\n" * 150
    + "return x\n}\n",
    "a big number": "let N = " + "9" * 5_000 + "\n",
    "a doubling list": "model M()(x: [B, 4]) -> [B, 4] {\n    a = [1]\n    for i in range(60) { a = [a, a] }\n    return x\n}\n",
    "a doubling string": 'let A = "a" * 90_000\nlet B = A + A\n',
    "a power of sizes": "model M()(x: [B, T, U, V]) -> [B, _] {\n    return reshape(x, [(B + T + U + V) ** 60])\n}\n",
    "a power in a type": "model M()(x: [(B + T + U + V) ** 60, B, T, U, V]) -> _ {\n    return x\n}\n",
    "many names": 'model M()(x: [B]) -> _ {\n    return einsum(x, "B -> '
    + " ".join(f"n{i}" for i in range(99))
    + '")\n}\n',
    "a huge range": "model M()(x: [B]) -> [B] {\n    for i in range(10**40) { x = relu(x) }\n    return x\n}\n",
    "different turns": 'model M()(x: [B, 4]) -> _ {\n    for i in range(99_999) { x = x |> linear(4) as "l{i * i}" }\n'
    "    return x\n}\n",
    "turns without effect": "model M()(x: [B, 4]) -> _ {\n    for i in range(99_999) { }\n    return x\n}\n",
    "nested modules": "".join(
        f"module M{i}()(x: [B]) -> [B] {{\n    return x |> M{i + 1}\n}}\n" for i in range(90)
    )
    + "module M90()(x: [B]) -> [B] {\n    return x\n}\nmodel N()(x: [B]) -> [B] {\n    return x |> M0\n}\n",
    "a model that measures itself": "model M()(x: [B]) -> [B] {\n    require parameters(M()) == 0\n    return x\n}\n",
    "presets of each other": "preset A = B()\npreset B = A()\nlet C = D\nlet D = C\n",
    "a huge constant": "model M()(x: [B, 3, 900_000, 900_000]) -> _ {\n    return adaptive_avg_pool(x, 800_000)\n}\n",
    "a huge table": "let A = linspace(0.0, 1.0, 10**12)\nlet C = arange(0.0, 1e18, 0.5)\n",
    "many parts": "model M()(x: [B, 10**12]) -> _ {\n    return chunk(x, 10**12)\n}\n",
    "many facts": "model M()(x: [B, T]) -> [B, T]\n    where "
    + ", ".join(f"(B + {i}) % {i + 2} == 0" for i in range(60))
    + "\n{\n    return reshape(x, [B // 7 * 7, T])\n}\n",
}


@pytest.mark.parametrize(
    "text",
    [pytest.param(text, id=id, marks=pytest.mark.slow if "turns" in id else ()) for id, text in HUGE.items()],
)
def test_huge(text: str, tmp_path: Path) -> None:
    _check(text, tmp_path)
