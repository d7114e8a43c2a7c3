"""A plug-in's own fault is told as the plug-in's: its name, its package, what it raised and where; never as a fault of dlc."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

import dlc
from dlc import ops
from dlc.cli import build
from dlc.ops import installed
from dlc.ops.definition import op
from dlc.ops.faults import fault

PACKAGE = """
import numpy as np
from dlc.backend import Artifact, Backend
from dlc.source import Field

def fails(*args, **more):
    raise KeyError("weird")

class Net(Backend):
    def __init__(self, name, **methods):
        self.name = name
        vars(self).update(methods)
    def emit(self, program, options):
        return Artifact(self.name, {"a.txt": "hi"})
    def load(self, artifact, weights, device="cpu"):
        return lambda **inputs: {"output": np.zeros((2, 4), np.float32)}

emits, loads = Net("emits", emit=fails), Net("loads", load=fails)
nothing, dead = Net("nothing", emit=lambda *given: None), Net("dead", load=lambda *given: None)
runs, other = Net("runs", load=lambda *given: fails), Net("other", load=lambda *given: dict)
unsure = Net("unsure", is_native=fails)
misnamed, gapped = Net("named"), Net("gapped", gaps={"sin": "no sine"})
filed = Net("filed", emit=lambda *given: Artifact("filed", {"a.txt": 3}))
shaped = Net("shaped", load=lambda *given: lambda **inputs: {"output": np.zeros((2, 5), np.float32)})
ranked = Net("ranked", load=lambda *given: lambda **inputs: {"output": np.zeros(4, np.float32)})

class Rows:
    fields, about = {"x": Field("f32", (4,)), "y": Field("f32", (4,))}, {}
    def __len__(self):
        return 8
    def take(self, index, epoch):
        return {"x": np.zeros((len(index), 4), np.float32)}

class Source:
    options = {}
    def __init__(self, open):
        self.open = open

shut, short, empty, no_source = Source(fails), Source(lambda given: Rows()), Source(lambda given: 3), 7
"""
OPS = """
from dlc.ops.definition import op

def fails(*args, **more):
    raise KeyError("weird")

OPS = [
    op("good_op(x: [*S]) -> [*S]", "x.", lambda x: x, vjp=fails, rows={"torch": "{x}"}),
    op("bad_types(x: [*S]) -> [*S]", "x.", lambda x: x, infer=fails, rows={"torch": "{x}"}),
    op("bad_meaning(x: [*S]) -> [*S]", "x.", fails, rows={"torch": "{x}"}),
    op("bad_row(x: [*S]) -> [*S]", "x.", lambda x: x, rows={"torch": "torch.nowhere({x})"}),
    op("bad_shape(x: [*S]) -> [*S]", "x.", lambda x: x.sum(), rows={"torch": "{x}"}),
    op("bad_sizes(x: [*S]) -> [*S]", "x.", lambda x: x, rows={"torch": "{x}.sum()"}),
    op("bad_slope(x: [*S]) -> [*S]", "x.", lambda x: x, vjp=lambda b, op, dy, x, y: [b.sum(dy[0], [0])], rows={"torch": "{x}"}),
    op("no_slopes(x: [*S]) -> [*S]", "x.", lambda x: x, vjp=lambda b, op, dy, x, y: [], rows={"torch": "{x}"}),
    op("one_slope(x: [*S]) -> [*S]", "x.", lambda x: x, vjp=lambda b, op, dy, x, y: dy[0], rows={"torch": "{x}"}),
    op("bad_kinds(x: [*S]) -> [*S]", "x.", lambda x: x, rows={"torch": fails, "jax": fails, "onnx": fails, "tvm": "x"}),
    op("bad_flops(x: [*S]) -> [*S]", "x.", lambda x: x, flops="sizes(x)"),
]
"""
ENTRIES = """[dlc.backends]
{backends}
missing = faulty.nowhere:X
[dlc.sources]
{sources}
[dlc.ops]
ops = faulty_ops:OPS
"""
BACKENDS = (
    "emits",
    "loads",
    "nothing",
    "dead",
    "runs",
    "other",
    "misnamed",
    "gapped",
    "unsure",
    "filed",
    "shaped",
    "ranked",
)
SOURCES = ("shut", "short", "empty", "no_source")


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("faulty")
    (folder / "faulty.py").write_text(PACKAGE)
    (folder / "faulty_ops.py").write_text(OPS)
    info = folder / "faulty_things-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty-things\nVersion: 0.3\n")
    lists = {
        key: "\n".join(f"{name} = faulty:{name}" for name in names)
        for key, names in (("backends", BACKENDS), ("sources", SOURCES))
    }
    (info / "entry_points.txt").write_text(ENTRIES.format(**lists))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        installed.found.cache_clear()
        with pytest.warns(
            installed.PluginWarning, match=r"faulty-things 0\.3 declares `bad_flops`: .*`sizes`"
        ):
            ops.add_installed()
        yield folder
    installed.found.cache_clear()
    for name in [*ops.added()]:
        if ops.get(name).reference.__module__ in ("faulty_ops", "faulty"):
            ops._added.discard(name)
            ops._defined.pop(name)
    for name in ("faulty", "faulty_ops"):
        sys.modules.pop(name, None)


def said(folder: Path, spec: str, *words: str) -> str:
    (folder / "spec.dl").write_text(spec)
    command = [words[0], str(folder / "spec.dl"), *words[1:]]
    result = CliRunner().invoke(build(words[0]), command)
    assert result.exit_code == 1 and "E0999" not in result.stderr, result.stderr
    return result.output


MODEL = "model M()(x: [B, 4]) -> [B, 4] {\n    return x + 1\n}\n"
LOADED = "is not available: `faulty"
RAISED = "fails: KeyError: 'weird'"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("emits", RAISED), ("loads", RAISED), ("runs", RAISED), ("nothing", "`emit` gives no Artifact, but NoneType"),
        ("dead", "`load` gives nothing that can be called"), ("other", "no array under the name of the output `output`"),
        ("missing", "faulty.nowhere:X` of faulty-things 0.3 can't be loaded (ModuleNotFoundError"),
        ("gapped", "has no `dlc.ops.gaps.Gap` for `sin` in its gaps, but str"),
        ("filed", "`emit` gives the file `a.txt` as int, and not as text or bytes"),
        ("shaped", "the output `output` is of shape [2, 5], where the program says [B, 4]"),
        ("ranked", "the output `output` is of shape [4], where the program says [B, 4]"),
        ("misnamed", "of faulty-things 0.3 has a `name` that is not `misnamed`"),
    ],
)  # fmt: skip
def test_backends(name: str, told: str, package: Path) -> None:
    found = said(package, MODEL, "run", "--backend", name, "--random", "--dims", "B=2")
    assert told in found and "faulty-things 0.3" in found
    if told is RAISED:
        assert "error[E0904]" in found and "faulty.py:7, in fails" in found


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("shut", RAISED), ("empty", "`open` gives int, which has no `fields`"), ("short", "`take` gives `y` as NoneType"),
        ("no_source", "faulty:no_source` of faulty-things 0.3 is no source: it has no `options` and no `open`"),
    ],
)  # fmt: skip
def test_sources(name: str, told: str, package: Path) -> None:
    block = (
        f"train t {{\n    net = M()\n    batch (x: [B, 4], y: [B, 4]) from {name}(batch=8)\n"
        "    minimize mse(net(x) * w, y)\n    optimizer = sgd(lr=0.1)\n    settings { steps = 1 }\n}\n"
    ).replace(" * w", "")
    spec = "model M()(x: [B, 4]) -> [B, 4] {\n    return x |> linear(4) as fc\n}\n" + block
    found = said(package, spec, "train", "--backend", "torch", "--out", str(package / name))
    assert told in found and "faulty-things 0.3" in found


@pytest.mark.parametrize(
    ("name", "command", "told"),
    [
        ("bad_types", ("check",), RAISED),
        ("bad_meaning", ("verify", "--backends", "torch"), RAISED),
        ("good_op", ("verify", "--backends", "torch", "--grad"), RAISED),
        ("bad_sizes", ("run", "--backend", "torch", "--random"), "the row for torch of `bad_sizes` fails: the output `output` is of shape [], where the program says [B, 4]"),
        ("bad_shape", ("verify", "--backends", "torch"), "the op `bad_shape` fails: its reference gives [], where its signature says [2, 4]"),
        ("bad_slope", ("verify", "--backends", "torch", "--grad"), "fails: gradient 0 of its derivative is [4], the operand [2, 4]"),
        ("no_slopes", ("verify", "--backends", "torch", "--grad"), "fails: its derivative gives 0 of 1 gradients"),
        ("one_slope", ("verify", "--backends", "torch", "--grad"), "fails: its derivative gives no list of gradients, but Value"),
        ("bad_row", ("run", "--backend", "torch", "--random"), "the row for torch of `bad_row`, of another package,"),
    ],
)  # fmt: skip
def test_ops(name: str, command: tuple[str, ...], told: str, package: Path) -> None:
    spec = MODEL.replace("x + 1", f"{name}(x |> linear(4) as fc)")
    found = said(package, spec, *command, *([] if command == ("check",) else ["--dims", "B=2"]))
    assert told in found and "error[E0904]" in found
    if told is RAISED:
        assert name in found and "faulty_ops.py:5, in fails" in found


def test_the_table_of_ops(package: Path) -> None:
    result = CliRunner().invoke(build("ops"), ["ops", "sin"])
    assert result.exit_code == 1 and RAISED in result.stderr, result.output
    assert "error[E0904]: a plug-in of faulty-things 0.3 fails" in result.stderr


def test_rows_of_the_wrong_kind(package: Path) -> None:
    spec = MODEL.replace("x + 1", "bad_kinds(x)")
    found = said(package, spec, "verify", "--backends", "torch,jax,onnx", "--dims", "B=2")
    for name in ("torch", "jax", "onnx"):
        assert f"the backend `{name}` can't do `bad_kinds`: its row is no text" in found
    assert "M: torch, jax, onnx can't be compared (tolerance" in found
    found = said(package, spec, "verify", "--backends", "tvm", "--dims", "B=2")
    assert "the backend `tvm` can't do `bad_kinds`: its row is no function" in found


def test_the_api_raises_what_the_plug_in_raised(package: Path) -> None:
    with pytest.raises(KeyError, match="weird"):
        dlc.loads(MODEL)["M"].compile("emits")
    with pytest.raises(dlc.SpecError, match=r"the backend `dead` of faulty-things 0\.3 fails: `load`"):
        dlc.loads(MODEL)["M"].compile("dead")


@pytest.mark.parametrize(
    ("signature", "facts", "told"),
    [
        ("wrong_op(x: [*S] -> [*S]", {}, "bad op signature"),
        ("wrong_op(x: [*S]) -> [*S]", {"flops": "size(x"}, r"flops speak of `size\(x`"),
        ("wrong_op(x: [*S]) -> [*S]", {"flops": "S * n"}, "flops speak of `n`"),
        ("wrong_op(x: [*S]) -> [*S]", {"dtypes": "floats"}, "its dtypes are float, int"),
        ("wrong_op(x: [*S]) -> [*S]", {"vjp": 3}, "its vjp is no function"),
        ("wrong_op(x: [*S]) -> [*S]", {"rows": {"jax": "{y}"}}, r"its row for jax speaks of `\{y\}`"),
        ("exp(x: [*S]) -> [*S]", {}, "there is an op `exp` already"),
    ],
)
def test_wrong_declarations_are_refused_when_they_are_made(
    signature: str, facts: dict[str, object], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        ops.define(op(signature, "x.", lambda x: x, **facts))


def test_own_ops_are_declared_rightly() -> None:
    assert [each.name for each in ops.all_ops() if fault(each)] == []


def test_threads_find_the_ops_of_packages(package: Path) -> None:
    """Whoever comes second sees all that the first has read, or reads it as well."""
    for name in [*ops.added()]:
        if name.startswith("bad_") or name == "good_op":
            ops._added.discard(name)
            ops._defined.pop(name)
    installed.found.cache_clear()
    text = MODEL.replace("x + 1", "good_op(x)")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: dlc.loads(text).check(), range(16)))
    assert found == [()] * 16
