"""Examples changed at random: each function against a NumPy program with the same draws, row by row; what is drawn; nothing of it
outside of training; and errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import changed_rows as rows
import numpy as np
import pytest
from properties import seeds

import dlc
from dlc import ops
from dlc.elaborate.base.project import library_definition, library_index
from dlc.ir.nodes import Program
from dlc.ops.arrays import numpy_dtype
from dlc.passes.lower import hoist_randomness
from dlc.passes.randomness import Draw
from dlc.runtime.interpret import run

Array = np.ndarray
IMAGES = "x: [B, C, H, W]"
COLOURS = "x: [B, 3, H, W]"
SIZES = {"B": 7, "C": 2, "H": 5, "W": 4, "T": 8, "F": 6, "n": 3}
SMALL = dict.fromkeys(SIZES, 1)


CASES: dict[str, tuple[str, Callable[..., Any]]] = {
    "random_horizontal_flip(x, 0.3)": (IMAGES, lambda x, d: rows.flipped(x, d, 2, 0.3)),
    "random_vertical_flip(x)": (IMAGES, lambda x, d: rows.flipped(x, d, 1, 0.5)),
    "random_crop(x, padding=2)": (IMAGES, lambda x, d: rows.cropped(x, d, None, 2, 0.0)),
    "random_crop(x, padding=1, fill=0.5)": (IMAGES, lambda x, d: rows.cropped(x, d, None, 1, 0.5)),
    "random_crop(x, 3)": ("x: [B, C, 5, 4]", lambda x, d: rows.cropped(x, d, 3, 0, 0.0)),
    "random_crop(x, 6, padding=2)": ("x: [B, C, 5, 4]", lambda x, d: rows.cropped(x, d, 6, 2, 0.0)),
    "random_shift(x, 2)": (IMAGES, lambda x, d: rows.shifted(x, d, 2)),
    "random_shift(x)": (IMAGES, lambda x, d: rows.shifted(x, d, 4)),
    "random_affine(x, 30)": (IMAGES, lambda x, d: rows.affine(x, d, 30, (0, 0), (1, 1), 0, 0)),
    "random_affine(x, 170, translate=(0.3, 0.4), scale=(0.5, 1.5), shear=20, fill=0.7)": (
        IMAGES, lambda x, d: rows.affine(x, d, 170, (0.3, 0.4), (0.5, 1.5), 20, 0.7),
    ),
    "color_jitter(x, 0.4, 1.5, 0.7, 0.5)": (COLOURS, lambda x, d: rows.jittered(x, d, 0.4, 1.5, 0.7, 0.5)),
    "random_grayscale(x, p=0.6)": (COLOURS, lambda x, d: rows.grayed(x, d, 0.6)),
    "gaussian_noise(x)": (IMAGES, lambda x, d: rows.noisy(x, d, 0.0, 0.1, True)),
    "gaussian_noise(x, mean=0.2, sigma=2, clip=false)": (IMAGES, lambda x, d: rows.noisy(x, d, 0.2, 2.0, False)),
    "random_erasing(x)": (IMAGES, lambda x, d: rows.erased(x, d, 0.5, (0.02, 0.33), (0.3, 3.3), 0.0)),
    "random_erasing(x, p=1, scale=(0.5, 1), ratio=(1, 8), value=0.3)": (
        IMAGES, lambda x, d: rows.erased(x, d, 1.0, (0.5, 1.0), (1, 8), 0.3),
    ),
    "cutout(x, 3)": (IMAGES, lambda x, d: rows.cut_out(x, d, 3, 0.0)),
    "cutout(x, 4, fill=0.5)": (IMAGES, lambda x, d: rows.cut_out(x, d, 4, 0.5)),
    "spec_augment(x, time=3, frequency=2)": ("x: [B, T, F]", lambda x, d: rows.masked(x, d, 3, 2, 2, 2, 1.0, 0.0)),
    "spec_augment(x, times=3, bands=0, p=0.4, fill=-1)": ("x: [B, T, F]", lambda x, d: rows.masked(x, d, 100, 27, 3, 0, 0.4, -1)),
    "token_dropout(x, 9, p=0.4)": ("x: i64[B, T]", lambda x, d: rows.dropped(x, d, 9, 0.4)),
    "mixup(x, t)": (f"{IMAGES}, t: i64[B, n]", lambda x, t, d: rows.mixed_rows(x, t, d, 1.0)),
    "mixup(x, t, alpha=0.3)": (f"{IMAGES}, t: i64[B, n]", lambda x, t, d: rows.mixed_rows(x, t, d, 0.3)),
    "mixup(x, t, alpha=4)": ("x: [B, n], t: [B]", lambda x, t, d: rows.mixed_rows(x, t, d, 4.0)),
    "cutmix(x, t)": (f"{IMAGES}, t: [B, n]", lambda x, t, d: rows.cut_and_mixed(x, t, d, 1.0)),
    "cutmix(x, t, alpha=0.5)": (f"{IMAGES}, t: i64[B, n]", lambda x, t, d: rows.cut_and_mixed(x, t, d, 0.5)),
}  # fmt: skip


def model(call: str, inputs: str) -> dlc.Model:
    made: dlc.Model = dlc.loads(f"model Net()({inputs}) -> _ {{\n    return {call}\n}}\n")["Net"]
    return made


def size(axis: Any, sizes: Mapping[str, int]) -> int:
    return sizes.get(str(axis), 0) or int(str(axis))


def values(program: Program, sizes: Mapping[str, int], seed: int) -> dict[str, Array]:
    """Inputs between 0 and 1; whole ones from 0 to 4."""
    rng = np.random.default_rng(seed)
    found = {}
    for each in program.main.inputs:
        shape = [size(axis, sizes) for axis in each.type.axes]
        whole = each.type.dtype == "i64"
        dtype = numpy_dtype("f32" if each.type.dtype == "float" else each.type.dtype)
        found[each.name] = rng.integers(0, 5, shape) if whole else rng.random(shape).astype(dtype)
    return found


def drawn(draw: Draw, sizes: Mapping[str, int], place: list[int]) -> Array:
    attrs = {
        **dict(draw.attrs),
        "shape": [size(axis, sizes) for axis in draw.input.type.axes],
        "dtype": "f32",
    }
    found: Array = ops.get(draw.op).reference(**attrs, rng=np.random.default_rng(place))
    return found


def changed(
    found: dlc.Model, sizes: Mapping[str, int], seed: int
) -> tuple[list[Array], list[Array], list[Array]]:
    """A batch, what was drawn for it, and what became of it."""
    given = values(found.training_program, sizes, seed)
    program, draws = hoist_randomness(found.training_program)
    made = {draw.input.name: drawn(draw, sizes, [seed, number]) for number, draw in enumerate(draws)}
    return [*given.values()], [*made.values()], [*run(program, {}, {**given, **made}).values()]


@pytest.mark.parametrize("call", CASES)
def test_rows_are_those_of_numpy(call: str) -> None:
    inputs, program = CASES[call]
    found = model(call, inputs)
    sizes = [SIZES, SMALL] if ", 6, " not in call and "5, 4" not in inputs else [SIZES]
    for each in sizes:
        for seed in seeds(4):
            given, draws, results = changed(found, each, seed)
            wanted = program(*given, iter(draws))
            pairs = zip(results, wanted if isinstance(wanted, tuple) else (wanted,), strict=True)
            for result, other in pairs:
                np.testing.assert_allclose(
                    result, other, rtol=1e-4, atol=2e-5, err_msg=f"{call}, seed {seed}"
                )


@pytest.mark.parametrize("call", CASES)
def test_nothing_is_drawn_outside_of_training(call: str) -> None:
    found = model(call, CASES[call][0])
    assert hoist_randomness(found.program)[1] == ()
    given = values(found.program, SIZES, 0)
    results = run(found.program, {}, given).values()
    for result, before in zip(results, given.values(), strict=True):
        if call == "random_crop(x, 3)":
            before = before[:, :, 1:4, 0:3]
        elif call == "random_crop(x, 6, padding=2)":
            before = np.pad(before, ((0, 0), (0, 0), (2, 2), (2, 2)))[:, :, 1:7, 1:7]
        np.testing.assert_array_equal(result, before)


def test_every_function_has_a_case() -> None:
    public = (name for name in library_index() if not name.startswith("_"))
    defined = {name for name in public if "augmentation" in str(library_definition(name).unit.path)}  # type: ignore[union-attr]
    assert {call.partition("(")[0] for call in CASES} == defined


@pytest.mark.parametrize("alpha", [0.05, 0.4, 1.0, 3.0])
def test_shares_are_of_beta(alpha: float) -> None:
    """Mean and variance of Beta(alpha, alpha), as far as 20,000 rows tell, and no share outside of 0 to 1."""
    count = 20_000
    found = model(f"mixup(x, t, alpha={alpha})", "x: [B], t: [B]")
    program, draws = hoist_randomness(found.training_program)
    made = {draw.input.name: drawn(draw, {"B": count}, [1, number]) for number, draw in enumerate(draws)}
    marks = np.arange(count) % 2
    kept = next(
        iter(
            run(program, {}, {"x": marks.astype(np.float32), "t": marks.astype(np.float32), **made}).values()
        )
    )
    shares = np.where(marks == 1, kept, 1.0 - kept)
    assert np.isfinite(shares).all() and shares.min() >= 0.0 and shares.max() <= 1.0
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(shares.mean() - 0.5) < 6 * np.sqrt(variance / count)
    assert abs(shares.var() - variance) < 6 * 0.25 / np.sqrt(count)


@pytest.mark.parametrize("dtype", ["bf16", "f64"])
@pytest.mark.parametrize("call", [each for each in CASES if "T]" not in CASES[each][0]])
def test_precisions(call: str, dtype: str) -> None:
    """Inputs of a dtype of their own: results have it, and what is drawn is the same."""
    inputs, program = CASES[call]
    found = model(call, inputs.replace("x: [", f"x: {dtype}["))
    given, draws, results = changed(found, SIZES, 0)
    wanted = program(*given, iter(draws))
    pairs = zip(results, wanted if isinstance(wanted, tuple) else (wanted,), strict=True)
    for result, other in pairs:
        assert result.dtype == given[0].dtype
        bound = 2**-6 if dtype == "bf16" else 2e-5
        np.testing.assert_allclose(
            result.astype(np.float64), other.astype(np.float64), rtol=bound, atol=bound
        )


def test_places_in_bf16() -> None:
    """They are counted in f32: an image may be wider than bf16 counts."""
    found = model("random_shift(random_affine(random_crop(x, padding=1), 0), 0)", "x: bf16[B, 1, 1, 600]")
    program, draws = hoist_randomness(found.training_program)
    made = {draw.input.name: np.full([1] * len(draw.input.type.axes), 0.5, np.float32) for draw in draws}
    x = np.arange(600, dtype=np.float32)[None, None, None]
    y = next(iter(run(program, {}, {"x": x, **made}).values()))
    np.testing.assert_allclose(y.astype(np.float32), x, rtol=2**-8)


REFUSED = {
    "random_horizontal_flip(x, 1.5)": "0.0 <= p <= 1.0",
    "random_vertical_flip(x, -0.1)": "0.0 <= p <= 1.0",
    "random_crop(x, 0)": "a part has a size above 0, not 0",
    "random_crop(x, 12, padding=1)": "the part is larger than the image with its border",
    "random_crop(x, padding=-1)": "padding >= 0",
    "random_shift(x, -2)": "by >= 0",
    "random_affine(x, -5)": "degrees >= 0.0",
    "random_affine(x, 5, translate=(0.1, 2.0))": "0.0 <= translate[1] <= 1.0",
    "random_affine(x, 5, scale=(2.0, 1.0))": "0.0 < scale[0] <= scale[1]",
    "random_affine(x, 5, scale=(0.0, 1.0))": "0.0 < scale[0] <= scale[1]",
    "random_affine(x, 5, shear=90)": "0.0 <= shear < 90.0",
    "color_jitter(x, hue=0.6)": "0.0 <= hue <= 0.5",
    "color_jitter(x, brightness=-1)": "brightness >= 0.0",
    "color_jitter(x[:, :2], saturation=0.5)": "three channels",
    "random_grayscale(x[:, :1])": "3",
    "gaussian_noise(x, sigma=-0.1)": "sigma >= 0.0",
    "random_erasing(x, scale=(0.5, 0.1))": "0.0 <= scale[0] <= scale[1] <= 1.0",
    "random_erasing(x, ratio=(0.0, 1.0))": "0.0 < ratio[0] <= ratio[1]",
    "cutout(x, 0)": "size >= 1",
    "spec_augment(x[:, 0], time=-1)": "time >= 0",
    "spec_augment(x, time=5)": "[B, T, F]",
    "mixup(x, x, alpha=0)": "alpha > 0.0",
    "cutmix(x, x, alpha=-1.0)": "alpha > 0.0",
}


@pytest.mark.parametrize("call", REFUSED)
def test_refused(call: str) -> None:
    found = model(call, "x: [B, 3, 8, 9]").spec.check()
    assert len(found) == 1, found
    assert REFUSED[call] in found[0].message, found[0]
