"""What is emitted, to the byte: `pytest --update-golden` writes the files anew, for review."""

from __future__ import annotations

from pathlib import Path

import pytest
from jax_programs import CASES, Case, emitted

GOLDEN = Path(__file__).parents[2] / "golden" / "jax"
GOLDENS = [
    *(
        (case, case.model.lower(), 1, False)
        for case in CASES
        if case.model in ("GPT2", "LeNet5", "ResNet", "ViT")
    ),
    *(
        (case, f"{case.model.lower()}_training", 1, True)
        for case in CASES
        if case.model in ("ResNet", "Transformer")
    ),
    *((case, f"{case.model.lower()}_prepared", 2, False) for case in CASES if case.model == "ResNet"),
]


@pytest.mark.parametrize(
    ("case", "name", "level", "training"), GOLDENS, ids=[name for _, name, *_ in GOLDENS]
)
def test_golden(case: Case, name: str, level: int, training: bool, request: pytest.FixtureRequest) -> None:
    ((_, source),) = emitted(case, level, training).files.items()
    path = GOLDEN / f"{name}.py"
    if request.config.getoption("--update-golden", default=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(source))
    assert path.exists(), f"{path} is missing: run pytest --update-golden and review it"
    assert source == path.read_text()
