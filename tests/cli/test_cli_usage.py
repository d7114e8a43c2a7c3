"""What commands say to wrong words: exit 2 for wrong usage, 1 for what does not fit the spec, and never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dlc.cli import build, faults

LENET = "dlc:vision/lenet5"

CASES = [
    (("new", "missing/net", "--from", "lenet5"), 1, "missing/net.dl"),
    (("new", "net", "--from", "lenet"), 2, "did you mean `lenet5`"),
    (("check", "dlc:vision/lenet"), 2, "did you mean `vision/lenet5`"),
    (("check", "missing.dl"), 1, "E0008"),
    (("check", "."), 1, "E0008"),
    (("check", LENET, "--root", "missing"), 1, "the root missing is no folder"),
    (("format", "missing.dl"), 1, "E0008"),
    (("summary", f"{LENET}:LeNet"), 1, "did you mean `LeNet5`"),
    (("summary", f"{LENET}:digits"), 2, "train block"),
    (("summary", LENET, "--dims", "Q=3"), 1, "is no dim"),
    (("summary", LENET, "--dims", "B=x"), 2, "--dims takes"),
    (("summary", LENET, "--set", "classes"), 2, "--set takes"),
    (("summary", LENET, "--set", "class=3"), 1, "E0102"),
    (("show", LENET, "--after", "dead_code"), 2, "dead-code"),
    (("run", LENET, "--backend", "torch"), 2, "`x`"),
    (("train", f"{LENET}:digits", "--epochs", "3"), 2, "`--set settings.epochs=…`"),
    (("train", f"{LENET}:digits", "--lr", "0.1"), 2, "`--set lr=…`"),
    (
        ("compile", f"{LENET}:digits", "-b", "torch", "-o", "out", "--precision", "bf16"),
        2,
        "settings.precision=…`",
    ),
    (("compile", f"{LENET}:digits", "-b", "torch", "-o", "out", "-O2"), 2, "`-O` is for models"),
    (("run", LENET, "--backend", "torch", "--input", "x=missing.npy"), 2, "missing.npy"),
    (("run", LENET, "--backend", "torch", "--random", "--device", "tpu"), 1, "torch computes on cpu, cuda"),
    (("run", LENET, "--backend", "torch", "--random", "--device", "cuda:"), 2, "cpu or cuda:1"),
    (("run", LENET, "--backend", "torch", "--random", "--dims", "B=1000000000000"), 1, "E0905"),
    (("compile", LENET, "--backend", "tensorflow", "--output", "out"), 1, "E0801"),
    (("compile", LENET, "--backend", "torch,tensorflow", "--output", "out"), 1, "E0801"),
    (
        ("compile", LENET, LENET, "--backend", "torch", "--output", "out"),
        2,
        "two of these models are called LeNet5",
    ),
    (
        ("compile", LENET, "dlc:vision/mlp", "--backend", "torch", "--output", "out", "--init"),
        2,
        "weights are those of one model",
    ),
    (("compile", LENET, "--backend", "torch", "--output", "out", "--precision", "f99"), 1, "E0901"),
    (("compile", LENET, "--backend", "torch", "--output", "taken"), 1, "taken"),
    (
        ("run", LENET, "--backend", "torch", "--random", "--output", "out.safetensors"),
        2,
        "takes the name of an npz file",
    ),
    (("train", LENET, "--backend", "onnxx", "--out", "run"), 1, "did you mean `onnx`?"),
    (("verify", f"{LENET}:digits", "--steps", "0"), 2, "--steps"),
    (("train", f"{LENET}:LeNet5", "--backend", "torch", "--out", "run"), 2, "is a model"),
    (("verify", LENET, "--backends", "tensorflow"), 1, "E0801"),
    (("weights", "inspect", "missing.npz"), 1, "E0601"),
    (("weights", "convert", LENET, "missing.npz", "--output", "out.npz", "--through", "hub"), 1, "E0605"),
    (("ops", "gelo"), 2, "did you mean `gelu`"),
    (("explain", "E9999"), 2, "there is no code"),
]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file where a folder is wanted", encoding="utf-8")


@pytest.mark.parametrize(("words", "status", "text"), CASES, ids=[" ".join(case[0]) for case in CASES])
def test_wrong_words(words: tuple[str, ...], status: int, text: str) -> None:
    done = CliRunner().invoke(build(words[0]), list(words), prog_name="dlc")
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == status, done.output
    assert text in done.output
    assert "internal error" not in done.output


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "E0905"),
        (RuntimeError("[enforce fail]\nDefaultCPUAllocator: can't allocate memory: you tried to"), "E0905"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 800 bytes."), "E0905"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "E0905"),
        (RuntimeError("bfc_arena.cc:360 Failed to allocate memory for requested buffer of size 8"), "E0905"),
        (RuntimeError("std::bad_alloc"), "E0905"),
        (ValueError("array is too big; `arr.size * arr.dtype.itemsize` is larger than the maximum"), "E0905"),
        (ValueError("Maximum allowed dimension exceeded"), "E0905"),
        (OverflowError("Python int too large to convert to C long"), "E0905"),
        (RuntimeError("the shapes differ"), "E0999"),
    ],
)
def test_what_lacks_memory_is_no_fault_of_dlc(error: Exception, code: str) -> None:
    assert faults.of_any(error).code == code


def test_diagnostics_as_json() -> None:
    Path("wrong.dl").write_text("model M()(x: [B, 4]) -> [B, 5] {\n    return x\n}\n", encoding="utf-8")
    done = CliRunner().invoke(build("check"), ["check", "wrong.dl", "--format", "json"])
    (found,) = json.loads(done.stdout)
    assert done.exit_code == 1
    assert found["code"] == "E0304"
    keys = [
        "code",
        "severity",
        "message",
        "file",
        "line",
        "column",
        "end_line",
        "end_column",
        "notes",
        "help",
        "fixes",
    ]
    assert set(keys) <= found.keys()


def test_every_command_has_help() -> None:
    for name in ("check", "summary", "weights", "list", "new", "format"):
        done = CliRunner().invoke(build(name), [name, "--help"])
        assert done.exit_code == 0
        assert "Usage" in done.output


def test_every_name_that_specs_call_has_a_page() -> None:
    """Also those that are written with several ops; `ops NAME` says how a spec calls a primitive."""
    pages = {
        "roll": "roll(x, shift, axis)",
        "sum": "called as: sum(x, axis=none",
        "repeat": "torch: decomposed",
    }
    for name, text in pages.items():
        done = CliRunner().invoke(build("ops"), ["ops", name])
        assert done.exit_code == 0 and text in done.output, done.output


def test_quiet_shows_nothing_of_a_right_spec() -> None:
    done = CliRunner().invoke(build("show"), ["show", LENET, "-q"])
    assert (done.exit_code, done.output) == (0, "")


def test_a_file_that_check_refuses_is_not_tested(tmp_path: Path) -> None:
    text = 'model M()(x: [B, 4]) -> [B, 5] {\n    return x\n}\ntest "t" {\n    require 1 == 1\n}\n'
    (tmp_path / "wrong.dl").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(build(), ["test", str(tmp_path / "wrong.dl")])
    assert result.exit_code == 1 and "E0304" in result.stderr and "ok" not in result.stdout


def test_a_folder_stands_for_the_specs_in_it() -> None:
    def said(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(build(words[0]), list(words), prog_name="dlc")
        return done.exit_code, done.output

    (Path("specs") / "below").mkdir(parents=True)
    (Path("specs") / ".hidden").mkdir()
    spec = "model M()(x: [B, 4]) -> [B, 4] {\n    return x\n}\n"
    for place in ("b.dl", "below/a.dl"):
        (Path("specs") / place).write_text(spec + 'test "t" { require parameters(M()) == 0 }\n')
    (Path("specs") / ".hidden" / "c.dl").write_text("no spec")
    (Path("specs") / "notes.txt").write_text("no spec")
    assert said("check", "specs") == (0, "2 files checked, nothing wrong\n")
    assert "2 passed, 0 failed" in said("test", "specs")[1]
    assert said("format", "--check", "specs")[1].count("would change") == 2
    assert said("format", "specs")[1].count("changed") == 2
    assert said("format", "--check", "specs") == (0, "")
    (Path("specs") / "empty").mkdir()
    assert "no .dl file is in this folder" in said("check", "specs/empty")[1]


def test_every_command_reports_what_goes_wrong() -> None:
    callbacks = [each.callback for each in build().registered_commands]
    bare = [getattr(each, "__name__", "") for each in callbacks if not hasattr(each, "__wrapped__")]
    assert bare == []
