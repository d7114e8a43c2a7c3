"""Every command as people and scripts run it, by a process of its own: its exit code, what it says and where, what it writes.

The commands are found by walking the application: one without a case for each exit code fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from haste import as_usual

from dlc.cli import build
from dlc.runtime.data.tokens import trained

NET = """
model Net(d: int = 4)(x: [B, d]) -> y: [B, 2] {
    return x |> linear(2) as fc
}

weights published for Net {
    rename "dense.**" -> "fc.**"
}

train fit {
    net = Net()
    batch (x: [B, 4], y: [B, 2]) from npz("rows.npz", batch=4)
    minimize mse(net(x), y)
    optimizer = sgd(lr=0.1)
    settings { steps = 2, log = 1 }
}

test "counts" {
    require parameters(Net()) == 10
}
""".lstrip()

HELD = NET.replace("    minimize", '    evaluate from npz("rows.npz")\n    minimize')
RUN = {
    "format": 1,
    "dlc": "0",
    "step": 2,
    "steps": 2,
    "finished": True,
    "identity": {"lr": "0.1"},
    "train": {"loss": 0.25},
}

WRONG = "model Net()(x: [B, 4]) -> [B, 5] {\n    return x\n}\n"
FAILS = NET.replace("== 10", "== 11")


@dataclass(frozen=True)
class Case:
    """The words, the exit code, a text that is said, files that are written. Results and JSON are said on stdout, what is wrong
    on stderr; but a result that is not as it should be is on stdout, with `result`. The other one says `beside`."""

    words: str
    status: int = 0
    says: str = ""
    writes: tuple[str, ...] = ()
    slow: bool = False
    result: bool = False
    beside: str = ""

    @property
    def json(self) -> bool:
        return "--format json" in self.words

    @property
    def to_stdout(self) -> bool:
        return self.status == 0 or self.json or self.result


# Wrong values of options are each option's own business: tests/cli/test_cli_usage.py.
CASES: dict[str, tuple[Case, ...]] = {
    "check": (
        Case("net.dl", says="nothing wrong"),
        Case("net.dl wrong.dl", 1, "E0304"),
        Case("wrong.dl --format json", 1, "E0304"),
        Case("", 2, "Missing argument"),
    ),
    "summary": (
        Case("net.dl:Net", says="fc"),
        Case("net.dl:Net --dims B=2 --format json", says='"parameters": 10'),
        Case("wrong.dl", 1, "E0304"),
        Case("net.dl:Net --dims B", 2, "--dims takes"),
    ),
    "show": (
        Case("net.dl:Net --stage source", says="class Net(nn.Module)"),
        Case("net.dl:Net --format json", says='"entry": "Net"'),
        Case("wrong.dl --format json", 1, "E0304"),
        Case("net.dl:Net --after nothing", 2, "identities"),
    ),
    "compile": (
        Case("net.dl:Net -b torch -o out --init --format json", says="out/net.py", writes=("out/net.py", "out/net.safetensors")),
        Case("net.dl dlc:vision/mlp -b torch,jax -o out", says="out/jax/mlp.py", writes=("out/torch/net.py", "out/jax/net.py", "out/torch/mlp.py"), slow=True),
        Case("wrong.dl -b torch -o out", 1, "E0304"),
        Case("net.dl:Net -o out", 2, "--backend"),
    ),
    "run": (
        Case("net.dl:Net -b onnx --random --dims B=2 --format json -o y.npz", says='"shape"', writes=("y.npz",)),
        Case("net.dl:Net -b torch --input x=x.npy --weights w.npz", says="y", slow=True),
        Case("wrong.dl -b onnx --random", 1, "E0304"),
        Case("net.dl:Net -b onnx", 2, "`x`"),
    ),
    "verify": (
        Case("net.dl:Net --backends torch,onnx --dims B=2", says="agree", slow=True),
        Case("net.dl:Net --backends torch,jax --dims B=2 --format json --grad", says='"agree": true', slow=True),
        Case("net.dl:Net --backends torch,onnx --dims B=2 --grad", 1, "E0806", slow=True),
        Case("net.dl:Net --backends onnx --dims B=2 --tolerance 1e-30", 1, slow=True, result=True),
        Case("wrong.dl", 1, "E0304"),
        Case("net.dl:Net --tolerance much", 2, "--tolerance"),
    ),
    "train": (
        Case(
            "net.dl:fit -b torch --out run --format json",
            says='"steps": 2',
            writes=("run/net.py", "run/net.safetensors", "run/metrics.jsonl", "run/manifest.json"),
            slow=True,
        ),
        Case(
            "net.dl:fit -b onnx --out run --quiet",
            writes=("run/net.onnx", "run/net.safetensors", "run/metrics.jsonl", "run/manifest.json"),
            slow=True,
        ),
        Case("net.dl:fit -b torch --device nowhere --out run", 1, "there is no device `nowhere`"),
        Case("net.dl:Net -b torch --out run", 2, "is a model"),
    ),
    "predict": (
        Case("net.dl --weights w.npz --input x.npy -b torch", says="x.npy, row 1: 5, 5", slow=True),
        Case("net.dl --weights w.npz --input x.npy --format json", says='"values"', slow=True),
        Case("net.dl --weights w.npz --input y.npy", 1, "there is no such file"),
        Case("net.dl --weights w.npz", 2, "--input"),
    ),
    "evaluate": (
        Case("held.dl --weights w.npz -b torch", says="fit: 8 rows  loss 16.0000", slow=True),
        Case("held.dl --weights w.npz --format json", says='"loss": 16.0', slow=True),
        Case("net.dl --weights w.npz", 1, "holds no data out"),
        Case("held.dl", 2, "--weights"),
    ),
    "runs": (
        Case("done --html page.html", says="0.25", writes=("page.html",)),
        Case("done --format json", says='"loss": 0.25'),
        Case("missing", 1, "is no folder"),
        Case("", 2, "Missing argument"),
    ),
    "tokenizer train": (
        Case("net.dl --vocab 300 -o t.json", says="t.json: 300 tokens", writes=("t.json",)),
        Case("net.dl -o t.json --format json", says='"vocabulary"', writes=("t.json",)),
        Case("missing.txt -o t.json", 1, "there is no such file"),
        Case("net.dl -o t.txt", 2, "a .json file"),
    ),
    "tokenizer encode": (
        Case("bytes.json ab", says="a"),
        Case("bytes.json ab --format json", says='"token": "a"'),
        Case("net.dl ab", 1, "is no tokenizer file"),
        Case("bytes.json", 2, "Missing argument"),
    ),
    "test": (
        Case("net.dl", says="counts"),
        Case("net.dl --format json", says='"passed": true'),
        Case("fails.dl", 1, "FAIL", result=True, beside="E0404"),
        Case("fails.dl --format json", 1, '"passed": false'),
        Case("", 2, "Missing argument"),
    ),
    "weights init": (
        Case("net.dl:Net -o made.safetensors --seed 3", says="2 tensors", writes=("made.safetensors",)),
        Case("wrong.dl -o made.npz", 1, "E0304"),
        Case("net.dl:Net", 2, "--output"),
    ),
    "weights inspect": (
        Case("w.npz", says="fc.weight"),
        Case("w.npz --format json", says='"fc.weight"'),
        Case("missing.npz", 1, "E0601"),
        Case("", 2, "Missing argument"),
    ),
    "weights convert": (
        Case("net.dl:Net published.npz -o mine.npz --through published", says="2 tensors", writes=("mine.npz",)),
        Case("net.dl:Net w.npz -o theirs.npz --through published --reverse", says="2 tensors", writes=("theirs.npz",)),
        Case("net.dl:Net missing.npz -o mine.npz --through published", 1, "E0601"),
        Case("net.dl:Net w.npz -o mine.npz", 2, "--through"),
    ),
    "ops": (
        Case("relu", says="relu", slow=True),
        Case("relu --format json", says='"relu"', slow=True),
        Case("gelo", 2, "gelu", slow=True),
    ),
    "explain": (
        Case("E0304", says="E0304"),
        Case("E0304 --format json", says='"E0304"'),
        Case("all", says="E0304  "),
        Case("all --format json", says='"E0304"'),
        Case("E9999", 2, "there is no code"),
    ),
    "list": (
        Case("--train", says="dlc:vision/lenet5:digits"),
        Case("", says="vision/lenet5"),
        Case("--format json", says='"vision/lenet5"'),
        Case("more", 2, "unexpected extra argument"),
    ),
    "new": (
        Case("mine --from vision/mlp", says="mine.dl", writes=("mine.dl",)),
        Case("missing/net --from vision/mlp", 1, "missing/net.dl"),
        Case("mine --from nothing", 2, "nothing"),
        Case("mine", says="README.md", writes=("mine/mine.dl", "mine/README.md")),
    ),
    "format": (
        Case("net.dl --check"),
        Case("crooked.dl", writes=("crooked.dl",)),
        Case("crooked.dl --check", 1, result=True),
        Case("missing.dl", 1, "E0008"),
        Case("", 2, "Missing argument"),
    ),
    "doctor": (
        Case("", says="torch"),
        Case("--format json", says='"backends"'),
        Case("more", 2, "unexpected extra argument"),
    ),
}  # fmt: skip

# What has nothing to do with a spec, data or a file has no exit code 1.
NEVER_WRONG = {"ops", "explain", "list", "doctor"}


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by the words that call it."""
    for name, each in group.commands.items():
        if hasattr(each, "commands"):
            yield from commands(each, f"{path}{name} ")
        else:
            yield f"{path}{name}", each


COMMANDS = dict(commands(typer.main.get_command(build())))


def test_every_command_has_a_case() -> None:
    assert COMMANDS.keys() == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_the_cases_of_a_command_are_complete(name: str) -> None:
    """Each exit code, JSON where the command has it, files where it writes some."""
    options = {each.name for each in COMMANDS[name].params}
    assert {each.status for each in CASES[name]} == ({0, 2} if name in NEVER_WRONG else {0, 1, 2})
    assert ("format" in options) == any(each.json for each in CASES[name])
    assert not options & {"output", "out"} or any(each.writes for each in CASES[name])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = {"x": np.ones((8, 4), np.float32), "y": np.ones((8, 2), np.float32)}
    weight, bias = np.ones((2, 4), np.float32), np.ones(2, np.float32)
    np.savez(tmp_path / "rows.npz", **rows)
    np.save(tmp_path / "x.npy", rows["x"])
    np.savez(tmp_path / "w.npz", **{"fc.weight": weight, "fc.bias": bias})
    np.savez(tmp_path / "published.npz", **{"dense.weight": weight, "dense.bias": bias})
    (tmp_path / "done").mkdir()
    (tmp_path / "done/manifest.json").write_text(json.dumps(RUN), encoding="utf-8")
    (tmp_path / "bytes.json").write_text(trained([Path(__file__)], "bpe", 257, ["<end>"]), encoding="utf-8")
    texts = {"net": NET, "held": HELD, "wrong": WRONG, "fails": FAILS, "crooked": NET.replace("    ", " ")}
    for name, text in texts.items():
        (tmp_path / f"{name}.dl").write_text(text, encoding="utf-8")
    return tmp_path


def dlc(
    folder: Path, words: str, out: Any = subprocess.PIPE, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    env = as_usual({**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200", "NO_COLOR": "1"})
    command = [sys.executable, "-m", "dlc", *words.split()]
    err = subprocess.PIPE
    return subprocess.run(
        command, cwd=folder, env=env, input=given, stdout=out, stderr=err, text=True, timeout=300
    )


def parameters() -> Iterator[Any]:
    for name, cases in CASES.items():
        for case in cases:
            words = f"{name} {case.words}".strip()
            yield pytest.param(words, case, id=words, marks=[pytest.mark.slow] if case.slow else [])


@pytest.mark.parametrize(("words", "case"), parameters())
def test_a_process(words: str, case: Case, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = dlc(folder, words)
    told = f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert done.returncode == case.status, told
    assert "Traceback" not in told and "error[E0999]" not in told
    said, other = (done.stdout, done.stderr) if case.to_stdout else (done.stderr, done.stdout)
    assert case.says in said, told
    assert case.beside in other and bool(case.beside) == bool(other), told
    if case.json:
        json.loads(done.stdout)
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    changed = {path.relative_to(folder).as_posix() for path in after if before.get(path) != after[path]}
    assert set(case.writes) <= changed
    assert case.writes or not changed, changed


def test_a_spec_from_standard_input(folder: Path) -> None:
    right, wrong = (dlc(folder, "check -", given=text) for text in (NET, WRONG))
    assert (right.returncode, right.stdout) == (0, "1 file checked, nothing wrong\n")
    assert wrong.returncode == 1 and "stdin:2:12" in wrong.stderr
    types = dlc(folder, "check - --types", given=NET)
    assert types.returncode == 0 and types.stdout == dlc(folder, "check net.dl --types").stdout
    text = subprocess.run(
        [sys.executable, "-m", "dlc", "check", "-"], input=b"# \xe9\n", capture_output=True, check=False
    )
    assert text.returncode == 1 and b"error[E0007]" in text.stderr and b"stdin:1:3" in text.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("words", ["check net.dl", "list", "summary net.dl --format json"])
def test_an_answer_that_can_not_be_written(words: str, folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = dlc(folder, words, full)
    assert done.returncode == 1
    assert done.stderr.endswith("the output can't be written: No space left on device\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_an_answer_that_can_not_be_written_on_the_way(folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = dlc(folder, "run dlc:vision/lenet5 --backend onnx --random", full)
    assert done.returncode == 1 and "the output can't be written: No space left on device\n" in done.stderr
