"""References and derivatives against PyTorch's own, ties and awkward windows included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dlc import ops
from dlc.autodiff import gradient, gradient_name
from dlc.ops import samples
from dlc.ops.definition import OpDef, Sample
from dlc.runtime.interpret import run

torch = pytest.importorskip("torch")
F = torch.nn.functional


def flat_pairs(padding: Any) -> list[int]:
    """[[a, b], [c, d]] as `F.pad` wants it: [c, d, a, b]."""
    return [size for pair in reversed(padding) for size in pair]


def symmetric(padding: Any) -> list[int]:
    return [before for before, _ in padding]


def conv(x: Any, w: Any, *, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    function = [F.conv1d, F.conv2d, F.conv3d][x.ndim - 3]
    return function(F.pad(x, flat_pairs(padding)), w, None, stride, 0, dilation, groups)


def conv_transpose(
    x: Any, w: Any, *, padding: Any, output_padding: Any, stride: Any, dilation: Any, groups: int
) -> Any:
    function = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][x.ndim - 3]
    return function(x, w, None, stride, symmetric(padding), output_padding, groups, dilation)


def max_pool(x: Any, *, kernel: Any, stride: Any, padding: Any, ceil: bool) -> Any:
    function = [F.max_pool1d, F.max_pool2d, F.max_pool3d][x.ndim - 3]
    if ceil:
        return function(x, kernel, stride, symmetric(padding), ceil_mode=True)
    return function(F.pad(x, flat_pairs(padding), value=-torch.inf), kernel, stride)


def avg_pool(x: Any, *, kernel: Any, stride: Any, padding: Any, ceil: bool, count_padding: bool) -> Any:
    function = [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d][x.ndim - 3]
    return function(x, kernel, stride, symmetric(padding), ceil, count_padding)


def repeated(function: Callable[..., Any]) -> Callable[..., Any]:
    """A reduction that PyTorch has for one axis only."""

    def call(x: Any, *, axis: Any, keepdims: bool) -> Any:
        for each in sorted(axis, reverse=True):
            x = function(x, each, keepdims)
        return x

    return call


def top_k(x: Any, *, k: int, axis: int) -> Any:
    order = torch.argsort(x, dim=axis, descending=True, stable=True).narrow(axis, 0, k)
    return torch.gather(x, axis, order), order


TORCH: dict[str, Callable[..., Any]] = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "max_pool": max_pool,
    "avg_pool": avg_pool,
    "sum": lambda x, axis, keepdims: torch.sum(x, axis, keepdims) if axis else x,
    "max": lambda x, axis, keepdims: torch.amax(x, axis, keepdims) if axis else x,
    "min": lambda x, axis, keepdims: torch.amin(x, axis, keepdims) if axis else x,
    "prod": repeated(torch.prod),
    "any": repeated(torch.any),
    "all": repeated(torch.all),
    "cumsum": lambda x, axis: torch.cumsum(x, axis),
    "cumprod": lambda x, axis: torch.cumprod(x, axis),
    "argsort": lambda x, axis, descending: torch.argsort(x, dim=axis, descending=descending, stable=True),
    "top_k": top_k,
    "take_along": lambda x, index, axis: torch.gather(x, axis, index),
    "scatter": lambda x, index, values, axis: torch.scatter(x, axis, index, values),
    "scatter_add": lambda x, index, values, axis: torch.scatter_add(x, axis, index, values),
    "scatter_max": lambda x, index, values, axis: torch.scatter_reduce(x, axis, index, values, "amax"),
    "einsum": lambda *xs, pattern: torch.einsum(pattern, *xs),
    "matmul": torch.matmul,
    "floordiv": torch.floor_divide,
    "mod": torch.remainder,
    "pow": torch.pow,
    "minimum": torch.minimum,
    "maximum": torch.maximum,
    "where": torch.where,
    **{
        name: getattr(torch, name)
        for name in ("exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "sin", "cos", "tan", "atan")
    },
    **{
        name: getattr(torch, name)
        for name in ("tanh", "sigmoid", "erf", "floor", "ceil", "round", "abs", "sign")
    },
    **{name: getattr(torch, name) for name in ("add", "sub", "mul", "div", "neg", "isnan", "isfinite")},
    **{name: getattr(torch, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
}
# Where PyTorch has no derivative or another one where none exists (`pow` of negatives, `abs` of nan).
UNLIKE = {"pow", "floordiv", "abs"}


def has_pytorch(definition: OpDef, sample: Sample) -> bool:
    """Whether PyTorch has the op in this form: it knows neither uneven padding, where it is no `F.pad`, nor pools whose
    padding is more than half of the kernel."""
    attrs = samples.attributes(definition, sample)
    padding: Any = attrs.get("padding", ())
    uneven = any(before != after for before, after in padding)
    if definition.name == "avg_pool":
        kernel: Any = attrs["kernel"]
        return not uneven and all(2 * pair[0] <= k for pair, k in zip(padding, kernel, strict=True))
    return not uneven or definition.name == "conv" or (definition.name == "max_pool" and not attrs["ceil"])


def has_gradient(definition: OpDef, sample: Sample) -> bool:
    floats = any(samples.is_float(each) for each in samples.arrays(definition, sample, floats="f64"))
    return floats and definition.differentiable and definition.name not in UNLIKE


PAIRS = [
    (f"{name}-{i}", ops.get(name), sample)
    for name in TORCH
    for i, sample in enumerate(ops.get(name).samples)
    if has_pytorch(ops.get(name), sample)
]
CASES = [pytest.param(definition, sample, id=name) for name, definition, sample in PAIRS]
GRADIENTS = [
    pytest.param(definition, sample, id=name)
    for name, definition, sample in PAIRS
    if has_gradient(definition, sample)
]


@pytest.mark.parametrize(("definition", "sample"), CASES)
def test_value(definition: OpDef, sample: Sample) -> None:
    arrays, attrs = samples.arrays(definition, sample, floats="f64"), samples.attributes(definition, sample)
    expected = TORCH[definition.name](*map(torch.tensor, arrays), **attrs)
    found = definition.reference(*arrays, **attrs)
    pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-9, atol=1e-12)
        assert ours.shape == tuple(theirs.shape)


@pytest.mark.parametrize(("definition", "sample"), GRADIENTS)
def test_gradient(definition: OpDef, sample: Sample) -> None:
    arrays, attrs = samples.arrays(definition, sample, floats="f64"), samples.attributes(definition, sample)
    wrt = [f"x{i}" for i, each in enumerate(arrays) if samples.is_float(each)]
    tensors = [torch.tensor(each, requires_grad=each.dtype.kind == "f") for each in arrays]
    result = TORCH[definition.name](*tensors, **attrs)
    result = result[0] if isinstance(result, tuple) else result
    weight = np.random.default_rng(0).uniform(0.5, 1.5, tuple(result.shape))
    (result * torch.from_numpy(np.asarray(weight))).sum().backward()
    program = samples.loss_program(definition, sample, floats="f64")
    inputs = {f"x{i}": each for i, each in enumerate(arrays)}
    found = run(gradient(program, wrt), {}, {**inputs, "c0": weight})
    for name in wrt:
        theirs = tensors[int(name[1:])].grad
        expected = np.zeros(inputs[name].shape) if theirs is None else theirs.numpy()
        np.testing.assert_allclose(found[gradient_name(name)], expected, rtol=1e-9, atol=1e-12, err_msg=name)
