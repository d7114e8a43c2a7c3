"""Kernels in sizes of their own: what they look like, and that they compute the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dlc
from dlc.runtime.interpret import run

pytest.importorskip("tvm")

import tvm_ffi
from dlc_tvm.build import cpu_kernels, parse_target
from dlc_tvm.emission import equal
from dlc_tvm.emit import flattened
from dlc_tvm.kernel_sizes import QUOTIENTS, _canonical, sums_of, with_own_sizes, with_sums
from dlc_tvm.module import Module
from tvm import te, tirx
from tvm.sym import Analyzer
from tvm.te import create_prim_func

IMAGES = """
model Net()(x: [B, 4, H, W]) -> (y: [B, 8, (H - 1) // 4 + 1, (W - 1) // 4 + 1], z: [B, ((H - 1) // 2 + 1) * ((W - 1) // 2 + 1)])
    where H >= 1, W >= 1
{
    half = x |> conv2d(8, 3, stride=2, padding=1) as down |> relu
    first = half + (half |> conv2d(8, 3, padding=1) as one |> relu)
    second = first + (first |> conv2d(8, 3, padding=1) as two |> relu)
    return second |> max_pool(3, stride=2, padding=1), reshape(sum(second, 1), [B, -1])
}
"""


def model_of(text: str) -> Any:
    return dlc.loads(text)["Net"]


def kernels(text: str) -> dict[str, Any]:
    flat, _ = flattened(model_of(text).program, "f32")
    module = cpu_kernels(Module.of(flat).relax, parse_target("llvm"), opt=2)
    return {
        var.name_hint: function
        for var, function in module.functions_items()
        if isinstance(function, tirx.PrimFunc)
    }


def quotients(kernel: Any) -> list[Any]:
    found: list[Any] = []
    for parameter in kernel.params:
        for size in parameter.ty.shape if tirx.is_buffer_var(parameter) else ():
            tvm_ffi.structural_walk(size, (QUOTIENTS, found.append))
    return found


def test_sizes_are_plain() -> None:
    """Neither quotients nor what they are computed from remain, so that tiles need no guards against them."""
    found = {name: kernel for name, kernel in kernels(IMAGES).items() if "conv2d" in name}
    assert not any(quotients(kernel) for kernel in found.values())
    assert all(tirx.is_buffer_var(parameter) for kernel in found.values() for parameter in kernel.params)
    assert all("T.where(T.int64(0) <=" not in kernel.script() for kernel in found.values())


def test_equal_kernels_are_one() -> None:
    """The two convolutions between images of one size are the same kernel."""
    assert len([name for name in kernels(IMAGES) if "conv2d" in name]) == 2


def test_results() -> None:
    model = model_of(IMAGES)
    weights = model.initial_weights(0)
    runnable = model.compile("tvm", weights=weights, optimize=1)
    for shape in ((1, 4, 1, 1), (2, 4, 9, 14), (1, 4, 32, 7)):
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        expected = run(model.program, weights, {"x": x}, precision="f64")
        for name, value in runnable(x=x).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5)


def test_one_quotient_however_it_is_written() -> None:
    """A stride writes `(H - 1) // 2 + 1`, a pattern `(H + 1) // 2`: taken for two sizes, the positions of a reshape between them are a
    chain of remainders that took LLVM a minute and a half."""
    h = tirx.Var("H", "int64")
    for c in range(-5, 9):
        for d in (1, 2, 3, 8):
            found = _canonical((h + c) // d + 1)
            for value in range(9):
                given = Analyzer().simplify(
                    tvm_ffi.structural_map(found, (tirx.Var, lambda _: tirx.const(value, "int64")))  # noqa: B023
                )
                assert int(given) == (value + c) // d + 1
    assert equal(_canonical((h - 1) // 2 + 1), _canonical((h + 1) // 2))
    text = (
        "model M()(x: [B, 3, H, W]) -> _ {\n"
        "    y = x |> conv2d(8, 3, stride=2, padding=1)\n"
        '    return y |> rearrange("B (two c) h w -> B (c two) h w", two=2)\n}'
    )
    model = dlc.loads(text)["M"]
    for sizes in ({"H": 7, "W": 4}, {"H": 1, "W": 2}):
        assert dlc.verify(model, backends=("tvm",), dims={"B": 2, **sizes}).agree


def test_the_order_of_sizes_is_that_of_their_use() -> None:
    """TVM hands a kernel the sizes that no buffer has in the order of their addresses, another one in each process: kernels that
    differ in nothing else are one."""

    def kernel(*, turned: bool) -> Any:
        n, a, b = (tirx.Var(name, "int64") for name in ("n", "a", "b"))
        x = te.placeholder((n,), name="x")
        y = te.compute((n,), lambda i: x[tirx.floormod(i * b + a, n)], name="y")
        return create_prim_func([x, *((b, a) if turned else (a, b)), y], "int64")

    (first, kept), (other, swapped) = (with_own_sizes(kernel(turned=each)) for each in (False, True))
    assert sorted((kept, swapped)) == [[0, 1, 2, 3], [0, 2, 1, 3]]
    assert tvm_ffi.structural_equal(first, other, map_free_vars=True)


def test_a_size_is_a_multiple_of_a_sum() -> None:
    """However the product is ordered, of which TVM knows nothing."""
    a, b, s, t = (tirx.Var(name, "int64") for name in ("a", "b", "s", "t"))
    ((total, variable),) = sums_of([a * s * b + a * b * t, t + s, a * (t + s)])
    assert equal(total, t + s)
    assert str(with_sums(tirx.Evaluate(a * s * b + a * b * t), [(total, variable)])).count("+") == 0
    assert len(sums_of([t + s, t + s + 1, a * t + b * s])) == 3
