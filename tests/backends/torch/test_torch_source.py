"""The emitted source: golden files, the linter's and the formatter's opinion, what it imports, what hides in names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from backends.torch.cases import AWKWARD, CASES, Case, emitted, source
from dlc_torch import BACKEND

import dlc
from dlc.backend import EmitOptions

GOLDEN = (
    Case("vision/lenet5", "LeNet5", {}),
    Case("vision/alexnet", "AlexNet", {}),
    Case("vision/resnet", "ResNet50", {}),
    Case("vision/mobilenet_v2", "MobileNetV2", {}),
    Case("vision/vit", "ViT_B16", {}),
    Case("language/gpt2", "GPT2", {}),
    Case("language/llama3_8b", "Llama3_8B", {}),
    Case("language/bert", "BERT", {}, inputs=("attention_mask",)),
    Case("language/t5_small", "T5_SMALL", {}),
    Case("language/transformer", "TransformerBase", {}, inputs=("attention_mask",)),
    Case("awkward", "Stack", {}),
    Case("awkward", "UsesVae", {}),
    Case("awkward", "Tracked", {}),
    Case("awkward", "Foreign", {}),
)
# With fused layers, from -O2 on.
FUSED = tuple(case for case in CASES if case.model in ("ResNet", "BERT"))
# Of convolutions, which are folded from -O2 on, ResNet has all that these have.
PICTURES = ("AlexNet", "AlexNet2012", "VGG", "ResNet18", "MobileNetV2", "GoogLeNet")
OTHERWISE = tuple(case for case in CASES if case.model not in PICTURES)
FOLDER = Path(__file__).parents[2] / "golden" / "torch"
RUFF = [sys.executable, "-m", "ruff"]
RULES = [
    "--isolated",
    "--line-length",
    "100",
    "--select",
    "E,F,I,UP,B,C4,SIM,RUF",
    "--ignore",
    "RUF001,RUF002,RUF003",
]


@pytest.mark.parametrize("case", GOLDEN, ids=str)
def test_golden(case: Case, golden: Callable[[Path, str], None]) -> None:
    golden(FOLDER / f"{case.model.lower()}.py", source(case.emitted()))


@pytest.mark.parametrize("case", FUSED, ids=str)
def test_golden_with_fused_layers(case: Case, golden: Callable[[Path, str], None]) -> None:
    golden(FOLDER / f"{case.model.lower()}_fused.py", source(case.emitted(2)))


@pytest.mark.parametrize(("level", "cases"), [(1, CASES), (2, OTHERWISE)], ids=["1", "2"])
def test_linter_and_formatter_have_nothing_to_say(
    tmp_path: Path, level: int, cases: tuple[Case, ...]
) -> None:
    for i, case in enumerate(cases):
        (tmp_path / f"case_{i}.py").write_text(source(case.emitted(level)), encoding="utf-8")
    found = subprocess.run([*RUFF, "check", *RULES, str(tmp_path)], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
    command = [*RUFF, "format", "--isolated", "--line-length", "100", "--diff", str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@pytest.mark.slow
def test_types_are_right(tmp_path: Path) -> None:
    for i, case in enumerate(CASES):
        (tmp_path / f"case_{i}.py").write_text(source(case.emitted()), encoding="utf-8")
    (tmp_path / "mypy.ini").write_text("[mypy]\ndisallow_untyped_defs = True\n")
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "."]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    errors = [line for line in found.stdout.splitlines() if ": error: " in line]
    wrong = [line for line in errors if not _is_of_a_list(line, tmp_path)]
    assert not wrong and (errors or found.returncode == 0), "\n".join(wrong) or found.stdout


def _is_of_a_list(error: str, folder: Path) -> bool:
    """PyTorch's types take an element of a ModuleList for any Module, and the parts of that for tensors: `self.layer[0].attention`."""
    file, number, *_ = error.split(":")
    line = (folder / file).read_text(encoding="utf-8").splitlines()[int(number) - 1]
    return re.search(r"self\.\w+\[\d+\]\.\w", line) is not None


@pytest.mark.parametrize("case", CASES, ids=str)
def test_source_imports_only_torch_and_a_little_of_python(case: Case) -> None:
    tree = ast.parse(source(case.emitted()))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= {"collections.abc", "math", "typing", "torch", "torch.nn.functional"}


def test_emitting_does_not_import_torch() -> None:
    code = (
        "import sys, dlc\n"
        "from dlc.backend import EmitOptions\n"
        "from dlc_torch import BACKEND\n"
        f"BACKEND.emit(dlc.load({str(AWKWARD)!r})['Stack'].program, EmitOptions())\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_header_is_a_comment_whatever_it_says() -> None:
    program = dlc.load(AWKWARD)["Tracked"].program
    artifact = BACKEND.emit(program, EmitOptions("model", header=("spec 1234\nimport os", "dlc \x07 0.1")))
    assert source(artifact).splitlines()[:3] == ["# spec 1234 import os", "# dlc  0.1", ""]


HOSTILE = '''
module Exception(print: int, torch: int)(x: [B, print]) -> [B, torch] {
    return x |> linear(torch) as "__init__" |> linear(torch) as "state_dict"
}
# """ + __import__("os").system("false") + """
model Tensor(self: int = 3, nn: int = 4)(torch: [F, self]) -> __class__: [F, nn] {
    require F >= 2, "\\"); import os; (\\"{{0}} {nn}"
    range = torch |> Exception(self, nn) as "lambda"
    return range * 1.0
}
'''


def test_names_of_a_spec_stay_names() -> None:
    import numpy as np
    import torch

    program = dlc.loads(HOSTILE)["Tensor"].program
    artifact = emitted(program)
    weights = {each.path: np.ones(each.type.shape or (), np.float32) for each in program.parameters}
    assert set(weights) == {
        f"lambda.{layer}.{leaf}" for layer in ("__init__", "state_dict") for leaf in ("weight", "bias")
    }
    runnable = BACKEND.load(artifact, weights)
    (result,) = runnable(torch=np.ones((2, 3), np.float32)).values()
    assert result.tolist() == [[17.0] * 4] * 2
    with pytest.raises(ValueError, match=r'"\); import os; \("\{0\} 4'):
        runnable.native(torch.ones(1, 3))


DROPS = """
fn dropped(x: [B, d]) -> [B, d] {
    return relu(x) |> dropout(0.5)
}

model Bare()(x: [B, d]) -> [B, d] {
    return dropped(x)
}

model Layered()(x: [B, 64]) -> [B, 64] {
    return x |> linear(64) |> dropped
}
"""


@pytest.mark.parametrize("name", ["Bare", "Layered"])
@pytest.mark.parametrize("training", [False, True])
def test_a_function_is_told_whether_it_trains(name: str, training: bool) -> None:
    model = dlc.loads(DROPS)[name]
    artifact = model.emit("torch", training=training)
    run = BACKEND.load(artifact, model.initial_weights())
    inputs = {"x": np.ones((4, 64), dtype=np.float32)}
    (first,), (second,) = (run(**inputs).values() for _ in range(2))
    assert (first == second).all() != training
