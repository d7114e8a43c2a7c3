"""What is emitted, and what is said where something does not fit: targets, tools, inputs, facts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import dlc
from dlc.backend import EmitOptions
from dlc.diagnostics import SpecError
from dlc.ir.nodes import Program
from dlc.runtime.compile import write_artifact
from dlc.runtime.interpret import run

pytest.importorskip("tvm")

from dlc_tvm import BACKEND, build, runtime
from dlc_tvm.schedule.machine import Machine, machine_of

NET = """
model Net(d: int = 8)(x: [B, T, d], scale: [] = none) -> (y: [B, T, d], top: [B])
    where T <= 6
{
    y = x |> linear(d) as fc |> gelu |> layer_norm as ln
    total = sum(y * y, [1, 2])
    require all(total > 0.0), "the rows must not be zero"
    return y, total
}
"""
IMAGES = """
model Net()(x: [B, 2, H, W]) -> y: [B, 4, H, W]
    where H % 4 == 0, W % 4 == 0, H >= 4, W >= 4
{
    half = x |> conv2d(3, 2, stride=2) as down
    quarter = half |> max_pool(2) |> conv2d(3, 3, padding=1) as mid
    up = quarter |> conv_transpose2d(2, 4, stride=4) as up
    return concat([x, up], axis=1) * 2.0
}
"""
MATRIX = """
model Net()(x: [2*n + 1, m]) -> y: [n, m] {
    return x[1:n + 1] + x[n + 1:]
}
"""


def emitted(text: str = NET, **options: Any) -> Any:
    return BACKEND.emit(dlc.loads(text)["Net"].program, EmitOptions(**{"name": "net", **options}))


def loaded(text: str, **options: Any) -> tuple[Any, Program, dict[str, np.ndarray]]:
    model: Any = dlc.loads(text)["Net"]
    weights = model.initial_weights(0)
    return model.compile("tvm", weights=weights, **options), model.program, weights


def weights_of(text: str) -> dict[str, np.ndarray]:
    model: Any = dlc.loads(text)["Net"]
    return model.initial_weights(0)  # type: ignore[no-any-return]


def code_of(error: pytest.ExceptionInfo[SpecError]) -> str:
    return error.value.diagnostics[0].code


def test_files() -> None:
    artifact = emitted(header=("made from net.dl",))
    assert set(artifact.files) == {"net.so", "net.relax", "net.json"}
    assert artifact.files["net.relax"].startswith("# made from net.dl\n")
    assert json.loads(artifact.files["net.json"]) == json.loads(json.dumps(artifact.meta))
    assert artifact.meta["parameters"][0][0] == "fc.weight"


def test_the_text_is_readable_and_has_the_names_of_the_spec() -> None:
    lines = emitted().files["net.relax"].splitlines()
    assert '        fc_weight: R.Tensor((8, 8), dtype="float32"),' in lines
    assert any(line.strip().startswith("total: R.Tensor((B,)") for line in lines)


def test_compiling_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """TVM's own kernel for it carries a mark that its code generator does not know."""
    text = "model Net()(x: [N, 5], t: i64[N]) -> _ {\n    return scatter_add(zeros([4, 5]), t[:, none], x, axis=0)\n}\n"
    net = dlc.loads(text)["Net"].compile("tvm")
    found = net(x=np.ones((3, 5), np.float32), t=np.array([0, 2, 2]))["output"]
    assert found[:, 0].tolist() == [1.0, 0.0, 2.0, 0.0]
    assert capfd.readouterr().err == ""


EMIT = """
import hashlib, sys
import dlc
from dlc.backend import EmitOptions
from dlc_tvm import BACKEND, build, runtime
for text in sys.argv[1:]:
    files = BACKEND.emit(dlc.loads(text)["Net"].program, EmitOptions(optimize=2)).files
    for name in sorted(files):
        content = files[name]
        print(hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest())
"""


def test_files_are_the_same_every_time() -> None:
    found = [
        subprocess.run(
            [sys.executable, "-c", EMIT, NET, MATRIX], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert found[0] == found[1]


def test_sizes_that_facts_make_multiples() -> None:
    """`2 * (H // 2)` is H, so what is made smaller and larger again fits what it came from."""
    runnable, program, weights = loaded(IMAGES, optimize=1)
    for shape in ((1, 2, 8, 12), (2, 2, 16, 4)):
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        np.testing.assert_allclose(
            runnable(x=x)["y"], run(program, weights, {"x": x})["y"], rtol=1e-5, atol=1e-6
        )
    with pytest.raises(SpecError) as error:
        runnable(x=np.zeros((1, 2, 8, 10), np.float32))
    assert code_of(error) == "E0804"


def test_a_dim_that_an_axis_is_linear_in() -> None:
    runnable, program, weights = loaded(MATRIX, optimize=0)
    for n in (1, 4):
        x = np.random.default_rng(0).standard_normal((2 * n + 1, 3)).astype(np.float32)
        np.testing.assert_allclose(runnable(x=x)["y"], run(program, weights, {"x": x})["y"])


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_inputs_are_checked(precision: str) -> None:
    silent: Any = BACKEND.load(emitted(optimize=0, precision=precision), weights_of(NET))
    x = np.zeros((2, 3, 8), np.float32)
    wrong: list[dict[str, Any]] = [
        {},
        {"x": x, "z": x},
        {"x": x[0]},
        {"x": x[:, :, :5]},
        {"x": x.astype(complex)},
    ]
    for inputs in [*wrong, {"x": "text"}, {"x": None}, {"x": [[[1], [2, 3]]]}, {"x": Unreadable()}]:
        with pytest.raises(SpecError) as error:
            silent(**inputs)
        assert code_of(error) == "E0902"


class Unreadable:
    """As a tensor that wants a gradient."""

    def __dlpack__(self, **_: Any) -> Any:
        raise BufferError("can't export")

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def test_keys_are_checked() -> None:
    silent: Any = BACKEND.load(
        emitted("model Net()(x: [B]) -> y: [B] {\n    return x + normal([B])\n}\n", optimize=0), {}
    )
    x = np.zeros(3, np.float32)
    np.testing.assert_array_equal(silent(x=x, key=3)["y"], silent(x=x, key=np.random.default_rng(3))["y"])
    for key in ("a", -1, 0.5):
        with pytest.raises(SpecError, match="`key`") as error:
            silent(x=x, key=key)
        assert code_of(error) == "E0902"


def test_a_damaged_library() -> None:
    """Opening a library that was cut off would end the process."""
    artifact = emitted(optimize=0)
    for content in (b"", artifact.files["net.so"][:5000], emitted(optimize=1).files["net.so"]):
        with pytest.raises(SpecError, match=r"net\.so") as error:
            BACKEND.load(replace(artifact, files={"net.so": content}), weights_of(NET))
        assert code_of(error) == "E0902"


LOAD = """
import json, sys
import numpy as np
from pathlib import Path
from dlc.backend import Artifact
from dlc.runtime.weights import read_file
from dlc_tvm import BACKEND

files = {"net.so": Path("net.so").read_bytes()}
artifact = Artifact("tvm", files, json.loads(Path("net.json").read_text()))
found = BACKEND.load(artifact, read_file("net.safetensors"))(x=np.ones((2, 3, 8), np.float32))
np.savez("found.npz", **found)
assert "tvm" not in sys.modules
assert "libtvm_compiler" not in Path("/proc/self/maps").read_text()
"""


def test_another_process_needs_the_runtime_alone(tmp_path: Path) -> None:
    model: Any = dlc.loads(NET)["Net"]
    write_artifact(model, "tvm", tmp_path, seed=0)
    subprocess.run(
        [sys.executable, "-c", LOAD], cwd=tmp_path, check=True, env={**os.environ, "TVM_USE_RUNTIME_LIB": "1"}
    )
    expected = run(model.program, weights_of(NET), {"x": np.ones((2, 3, 8), np.float32)})
    with np.load(tmp_path / "found.npz") as found:
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)


def test_facts_and_requires_are_checked() -> None:
    artifact, weights = emitted(optimize=0), weights_of(NET)
    runnable: Any = BACKEND.load(artifact, weights)
    assert set(runnable(x=np.ones((2, 6, 8), np.float32))) == {"y", "top"}
    with pytest.raises(SpecError, match="7 <= 6") as error:
        runnable(x=np.ones((2, 7, 8), np.float32))
    assert code_of(error) == "E0804"
    silent: Any = BACKEND.load(artifact, {path: np.zeros_like(value) for path, value in weights.items()})
    with pytest.raises(SpecError, match="the rows must not be zero"):
        silent(x=np.ones((2, 6, 8), np.float32))


GUARDED = """
model Net()(x: [2*n + 1, m], i: i32[m]) -> y: [m, m] where n % 2 == 0, (n + 3) // m <= 3 {
    return take(x[:3], i, axis=0)
}
"""


def test_the_library_checks_by_itself() -> None:
    """Whoever calls it without dlc. A size that facts divide by may be 0: no processor stops at that."""
    artifact = emitted(GUARDED, optimize=0)
    assert artifact.meta["limits"] == {"i": 3}
    assert artifact.meta["dims"] == {"n": "(x.shape[0] - 1) // 2", "m": "x.shape[1]"}
    assert artifact.meta["prepare"] is None
    library = runtime.load(artifact.files["net.so"])
    x, i = np.arange(10, dtype=np.float32).reshape(5, 2), np.array([2, 0], np.int32)
    np.testing.assert_array_equal(library.run(x, i)[0], x[i])
    wrong = [
        ((x, i + 1), "i must be from 0 to 2"),
        ((x, i - 1), "i must be from 0 to 2"),
        ((x.repeat(3, 0), i), r"n % 2 == 0 must hold"),
        ((x.repeat(5, 0), i), r"\(n \+ 3\)//m <= 3 must hold"),
        ((x[:, :0], i[:0]), "m != 0 must hold"),
        ((x[:4], i), "must hold|[Ss]hape"),
    ]
    for given, message in wrong:
        with pytest.raises((ValueError, RuntimeError), match=message):
            library.run(*(np.ascontiguousarray(each) for each in given))


def test_weights_are_checked() -> None:
    artifact = emitted(optimize=0)
    _, _, weights = loaded(NET, optimize=0)
    with pytest.raises(SpecError, match=r"fc\.bias"):
        BACKEND.load(artifact, {path: value for path, value in weights.items() if path != "fc.bias"})
    with pytest.raises(SpecError, match=r"fc\.bias"):
        BACKEND.load(artifact, {**weights, "fc.bias": np.zeros(9, np.float32)})


def test_an_input_handed_through_is_a_copy() -> None:
    runnable, _, _ = loaded(
        "model Net()(x: [B]) -> (a: [B], b: [B], c: []) {\n    return x, x + 0.0, 1.5\n}\n", optimize=1
    )
    x = np.ones(3, np.float32)
    found = runnable(x=x)
    found["a"][0] = 7.0
    assert x[0] == 1.0
    assert found["c"] == 1.5


def test_any_memory_will_do() -> None:
    """Kernels need aligned memory, in one piece: what is given otherwise is copied."""
    runnable, program, weights = loaded(NET, optimize=1)
    whole = np.random.default_rng(0).standard_normal((9, 5, 2, 3)).astype(np.float32)
    x = np.moveaxis(whole[1:], 0, 3)[:, :, 1]
    np.testing.assert_allclose(
        runnable(x=x.transpose(1, 0, 2))["y"],
        run(program, weights, {"x": x.transpose(1, 0, 2)})["y"],
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    "target",
    ["gpu", "llvm -mcpu", "cuda -arch", "cuda -arch=pascal", "llvm -nonsense=3", "llvm -mcpu=pentium9"],
)
def test_targets_that_are_none(target: str) -> None:
    with pytest.raises(SpecError, match="there is no target") as error:
        emitted(target=target)
    assert code_of(error) == "E0901"


def test_devices_that_are_none() -> None:
    with pytest.raises(SpecError, match="tpu"):
        BACKEND.load(emitted(optimize=0), {}, device="tpu")


def test_a_missing_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.cc, "get_cc", lambda: None)
    with pytest.raises(SpecError, match="install") as error:
        emitted()
    assert code_of(error) == "E0803"


def test_no_room_to_compile_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it can't write an object file, LLVM ends the process."""
    monkeypatch.setattr(build.shutil, "disk_usage", lambda _: SimpleNamespace(free=5 << 20))
    with pytest.raises(SpecError, match=r"5 left: TMPDIR=") as error:
        emitted()
    assert code_of(error) == "E0803"


def test_another_machine_has_another_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a target for another machine nothing is taken from this one: neither its processor nor its linker."""
    arm = build.parse_target("llvm -mtriple=aarch64-linux-gnu")
    assert "mcpu" not in arm.attrs
    assert machine_of(arm) == Machine(vector_bytes=16, registers=32)
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    with pytest.raises(SpecError, match=r"install aarch64-linux-gnu-g\+\+") as error:
        emitted(target="llvm -mtriple=aarch64-linux-gnu -mcpu=cortex-a72")
    assert code_of(error) == "E0803"
    monkeypatch.setattr(build.shutil, "which", {"aarch64-linux-gnu-gcc": "found"}.get)
    for triple in ("aarch64-linux-gnu", "aarch64-unknown-linux-gnu"):
        link: Any = build.linker(build.parse_target(f"llvm -mtriple={triple}"))
        assert link.get_target_triple() == triple


def test_what_tvm_fails_at_is_compiled_plainly(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise build.InternalError("no")

    monkeypatch.setattr(build, "own_sizes", fails)
    runnable, program, weights = loaded(NET, optimize=1)
    assert "it will run slowly" in caplog.text
    x = np.random.default_rng(0).standard_normal((2, 3, 8)).astype(np.float32)
    np.testing.assert_allclose(runnable(x=x)["y"], run(program, weights, {"x": x})["y"], rtol=1e-5, atol=1e-5)


def test_training_programs_return_the_new_values_of_buffers() -> None:
    text = "model Net()(x: [B, 3, H, W]) -> y: [B, 3, H, W] {\n    return x |> batch_norm as bn\n}\n"
    model: Any = dlc.loads(text)["Net"]
    weights = model.initial_weights(0)
    artifact = BACKEND.emit(model.training_program, EmitOptions(optimize=1, training=True))
    runnable: Any = BACKEND.load(artifact, weights)
    x = np.random.default_rng(0).standard_normal((4, 3, 5, 5)).astype(np.float32)
    updates: dict[str, np.ndarray] = {}
    expected = run(model.training_program, weights, {"x": x}, updates=updates)
    np.testing.assert_allclose(runnable(x=x)["y"], expected["y"], rtol=1e-4, atol=1e-5)
    assert runnable.updates.keys() == updates.keys()
    for path, value in updates.items():
        np.testing.assert_allclose(runnable.updates[path], value, rtol=1e-5, atol=1e-6)


COMPILE = [sys.executable, "-m", "dlc", "compile", "net.dl", "-b", "tvm", "-o", "out", "--target"]


@pytest.mark.parametrize("optimize", [0, 1])
def test_cuda_compiles_without_a_gpu(optimize: int, tmp_path: Path) -> None:
    """The library on disk carries its kernels as source, which nvcc, where there is one, makes machine code of."""
    (tmp_path / "net.dl").write_text(NET)
    written = subprocess.run(
        [*COMPILE, "cuda", f"-O{optimize}"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert written.stdout.split() == ["out/net.so", "out/net.relax", "out/net.json"]
    source = build.cuda_source(tmp_path / "out" / "net.so")
    kernels = set(re.findall(r"__global__ void (?:__launch_bounds__\(\d+\) )?(\w+)\(", source))
    assert {
        name for name in kernels if "matmul" in name and ("gelu" in name or "erf" in name or not optimize)
    }
    if shutil.which("nvcc") is None:
        with pytest.raises(build.ToolMissing, match="install the CUDA toolkit"):
            build.compile_cubin(source)
        return
    cubin = build.compile_cubin(source)
    assert cubin.startswith(b"\x7fELF")
    assert all(kernel.encode() in cubin for kernel in kernels)


def test_a_missing_nvcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(build.ToolMissing, match="install the CUDA toolkit"):
        build.compile_cubin("")


def test_a_library_for_a_processor_has_no_cuda_source() -> None:
    with pytest.raises(ValueError, match="no CUDA source"):
        build.cuda_source(emitted(optimize=0).files["net.so"])
