"""The library's layers, activations and losses at their defaults are PyTorch's: by signature, and by what they compute.

The library is walked: an item that has neither a counterpart here nor a word why it has none fails."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dlc
from dlc.elaborate.base.project import library_definition, library_index
from dlc.resources import library_path
from dlc.runtime.interpret import run
from dlc.syntax import ast

X = ("f32[2, 4, 6]",)
PAIR = ("f32[3, 5]", "f32[3, 5]")
MISSING = object()


@dataclass(frozen=True)
class Twin:
    """PyTorch's counterpart: what it is, its arguments and ours where some must be given, types of the inputs, our names of its
    parameters where they differ, and defaults that differ with a word why."""

    torch: Any
    given: tuple[Any, ...] = ()
    call: str = ""
    inputs: tuple[str, ...] = X
    names: Mapping[str, str] = field(default_factory=dict)
    differs: Mapping[str, str] = field(default_factory=dict)
    ours_only: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_layer(self) -> bool:
        return inspect.isclass(self.torch)


AXIS = {"axis": "dim"}
KERAS = {"axis": "Keras has it: test_norm_axes.py"}
FEATURES = "features are the last axis, as everywhere in the library; PyTorch's dim=1 comes from images"
GUESS = "PyTorch has no default any more: it warns and guesses"
OURS = "PyTorch asks for it"


def conv(torch: Any, rank: int) -> Twin:
    return Twin(torch, (3, 2, 3), "(2, 3)", (f"f32[2, 3{', 5' * rank}]",))


TWINS: dict[str, Twin] = {
    "relu": Twin(nn.ReLU),
    "relu6": Twin(nn.ReLU6),
    "leaky_relu": Twin(nn.LeakyReLU, names={"slope": "negative_slope"}),
    "celu": Twin(nn.CELU),
    "elu": Twin(nn.ELU),
    "selu": Twin(nn.SELU),
    "gelu": Twin(nn.GELU),
    "silu": Twin(nn.SiLU),
    "softplus": Twin(nn.Softplus),
    "mish": Twin(nn.Mish),
    "softsign": Twin(nn.Softsign),
    "log_sigmoid": Twin(nn.LogSigmoid),
    "hardsigmoid": Twin(nn.Hardsigmoid),
    "hardswish": Twin(nn.Hardswish),
    "glu": Twin(nn.GLU, names=AXIS),
    "softmax": Twin(nn.Softmax, (-1,), names=AXIS, differs={"axis": GUESS}),
    "log_softmax": Twin(nn.LogSoftmax, (-1,), names=AXIS, differs={"axis": GUESS}),
    "multihead_attention": Twin(nn.MultiheadAttention, (8, 2), "(2)", ("f32[2, 3, 8]", "f32[2, 4, 8]", "f32[2, 4, 8]")),
    "conv1d": conv(nn.Conv1d, 1),
    "conv2d": conv(nn.Conv2d, 2),
    "conv3d": conv(nn.Conv3d, 3),
    "conv_transpose1d": conv(nn.ConvTranspose1d, 1),
    "conv_transpose2d": conv(nn.ConvTranspose2d, 2),
    "conv_transpose3d": conv(nn.ConvTranspose3d, 3),
    "local_response_norm": Twin(nn.LocalResponseNorm, (5,), inputs=("f32[2, 7, 3, 3]",), differs={"size": OURS}),
    "pixel_shuffle": Twin(nn.PixelShuffle, (2,), "(2)", ("f32[1, 8, 2, 3]",), {"r": "upscale_factor"}),
    "resize": Twin(
        nn.Upsample, (None, 2), "(scale=2)", ("f32[1, 2, 2, 3]",), {"scale": "scale_factor"},
        {"align_corners": "none is PyTorch's word for false"}, {"antialias": "F.interpolate has it: test_std_resizing.py"},
    ),
    "linear": Twin(nn.Linear, (6, 3), "(3)"),
    "embedding": Twin(nn.Embedding, (7, 3), "(7, 3)", ("i64[2, 4]",), {"count": "num_embeddings", "d": "embedding_dim"}),
    "dropout": Twin(nn.Dropout),
    "cross_entropy": Twin(
        nn.CrossEntropyLoss,
        inputs=("f32[3, 5]", "i64[3]"),
        names={"ignore": "ignore_index", "smoothing": "label_smoothing"},
        differs={"ignore": "no label is ignored unless the spec says so"},
    ),
    "soft_cross_entropy": Twin(nn.CrossEntropyLoss, inputs=("f32[3, 5]", "positive f32[3, 5]")),
    "nll": Twin(nn.NLLLoss, inputs=("f32[3, 5]", "i64[3]")),
    "bce_with_logits": Twin(nn.BCEWithLogitsLoss, inputs=PAIR),
    "mse": Twin(nn.MSELoss, inputs=PAIR),
    "l1": Twin(nn.L1Loss, inputs=PAIR),
    "smooth_l1": Twin(nn.SmoothL1Loss, inputs=PAIR),
    "huber": Twin(nn.HuberLoss, inputs=PAIR),
    "kl_div": Twin(nn.KLDivLoss, inputs=("f32[3, 5]", "positive f32[3, 5]")),
    "cosine_similarity": Twin(nn.CosineSimilarity, (-1,), inputs=PAIR, names=AXIS, differs={"axis": FEATURES}),
    "batch_norm": Twin(nn.BatchNorm2d, (4,), inputs=("f32[2, 4, 3, 3]",), ours_only=KERAS),
    "layer_norm": Twin(
        nn.LayerNorm, (6,), names={"affine": "elementwise_affine"}, ours_only={"axes": "PyTorch takes the sizes, `normalized_shape`", **KERAS}
    ),
    "rms_norm": Twin(
        nn.RMSNorm, (6, 1e-6), names={"affine": "elementwise_affine"}, differs={"eps": "PyTorch's depends on the dtype; published networks say 1e-6"},
        ours_only=KERAS,
    ),
    "group_norm": Twin(
        nn.GroupNorm, (2, 4), "(2)", ("f32[2, 4, 3, 3]",), {"groups": "num_groups"}, ours_only=KERAS
    ),
    "instance_norm": Twin(nn.InstanceNorm2d, (4,), inputs=("f32[2, 4, 3, 3]",), ours_only=KERAS),
    "rnn_cell": Twin(nn.RNNCell, (4, 5), "(5)", ("f32[3, 4]", "f32[3, 5]")),
    "gru_cell": Twin(nn.GRUCell, (4, 5), "(5)", ("f32[3, 4]", "f32[3, 5]")),
    "normalize": Twin(F.normalize, (2.0, -1), names=AXIS, differs={"axis": FEATURES}),
}  # fmt: skip

PRIVATE = "begins with an underscore"
FUNCTION = "a function of tensors, not of torch.nn, whose signature Python can't see"
NOT_IN_TORCH = "PyTorch has none"
WITHOUT: dict[str, str] = {
    "attention": FUNCTION,
    "causal_mask": FUNCTION,
    "rope": NOT_IN_TORCH,
    "rope_tables": NOT_IN_TORCH,
    "apply_rope": NOT_IN_TORCH,
    "drop_path": NOT_IN_TORCH,
    "global_avg_pool": NOT_IN_TORCH,
    "contrastive": NOT_IN_TORCH,
    "straight_through": NOT_IN_TORCH,
    "scale_gradient": NOT_IN_TORCH,
    **dict.fromkeys(
        ["clamp", "square", "lerp", "mean", "logsumexp", "norm", "one_hot", "outer", "tril", "triu"], FUNCTION
    ),
    "linear_scan": NOT_IN_TORCH,
    **dict.fromkeys(["unfold", "isinf", "categorical"], "test_std_further.py"),
    **dict.fromkeys(
        ["segment_sum", "segment_mean", "segment_max", "segment_min", "segment_softmax"],
        "test_std_segments.py",
    ),
    "selective_scan": NOT_IN_TORCH,
    **dict.fromkeys(["copies", "mixture"], "of any module: test_std_mixture.py"),
    **dict.fromkeys(["spectral_norm", "weight_norm"], "of any module: test_std_reparametrization.py"),
    **dict.fromkeys(["rnn", "gru", "lstm", "lstm_cell"], "several results: test_std_recurrent.py"),
    **dict.fromkeys(
        ["sgd", "adam", "adamw", "lion", "adafactor", "muon"], "steps: test_training_optimizers.py"
    ),
    **dict.fromkeys(["affine_grid", "grid_sample"], "functions of several tensors: test_std_sampling.py"),
    **dict.fromkeys(
        [
            "random_horizontal_flip",
            "random_vertical_flip",
            "random_crop",
            "random_shift",
            "random_affine",
            "color_jitter",
            "random_grayscale",
            "gaussian_noise",
            "random_erasing",
            "cutout",
            "spec_augment",
            "token_dropout",
            "mixup",
            "cutmix",
        ],
        "torchvision's, which a test compares with: reference/test_augmentation.py",
    ),
    **dict.fromkeys(["var", "std"], "NumPy's: divided by n where PyTorch divides by n - 1"),
}


def test_every_item_has_a_counterpart_or_a_reason() -> None:
    public = {name for name in library_index() if not name.startswith("_")}
    assert TWINS.keys() | WITHOUT.keys() == public, (
        "items of dlc/std without a line in TWINS or WITHOUT above"
    )
    assert not TWINS.keys() & WITHOUT.keys()


def test_no_name_stands_for_two() -> None:
    """What begins with an underscore is known in every file of the library."""
    text = "".join(
        each.read_text(encoding="utf-8") for each in library_path().iterdir() if each.name.endswith(".dl")
    )
    names = re.findall(r"^(?:fn|module) (\w+)", text, re.MULTILINE)
    assert {name for name in names if names.count(name) > 1} == set()


def ours(name: str) -> dict[str, Any]:
    """The defaults of the item's static arguments."""
    definition = library_definition(name)
    assert definition is not None
    node = definition.node
    fields = node.static if isinstance(node, ast.ModuleDef) else node.params  # type: ignore[union-attr]
    return {str(each.name): constant(each.default) for each in fields if each.default is not None}


def constant(node: Any) -> Any:
    match node:
        case ast.Name("none"):
            return None
        case ast.Unary("-", operand):
            return -constant(operand)
    return getattr(node, "value", None)


@pytest.mark.parametrize("name", TWINS)
def test_defaults_are_pytorchs(name: str) -> None:
    twin = TWINS[name]
    theirs = {key: each.default for key, each in inspect.signature(twin.torch).parameters.items()}
    for key, value in ours(name).items():
        if key in twin.ours_only:
            continue
        other = theirs.get(twin.names.get(key, key), MISSING)
        assert other is not MISSING, f"{name}: PyTorch has no `{key}`"
        assert (value != other) == (key in twin.differs), f"{name}: `{key}` is {value}, PyTorch's {other}"


def test_nothing_is_said_to_differ_that_is_not_there() -> None:
    for name, twin in TWINS.items():
        assert {*twin.names, *twin.differs, *twin.ours_only} <= {*ours(name), *required(name)}, name


def required(name: str) -> set[str]:
    definition = library_definition(name)
    assert definition is not None
    node = definition.node
    return {str(each.name) for each in (node.static if isinstance(node, ast.ModuleDef) else node.params)}  # type: ignore[union-attr]


def value(type: str, seed: int) -> np.ndarray:
    kind, _, shape = type.removeprefix("positive ").partition("[")
    sizes = [int(each) for each in shape.rstrip("]").split(", ")]
    rng = np.random.default_rng(seed)
    if kind == "i64":
        return rng.integers(0, 5, sizes)
    found = rng.normal(size=sizes).astype(np.float32)
    return np.abs(found) if type.startswith("positive") else found


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.filterwarnings("ignore:reduction")
def test_numbers_at_the_defaults_are_pytorchs(name: str) -> None:
    twin = TWINS[name]
    arrays = {f"x{i}": value(type, i) for i, type in enumerate(twin.inputs)}
    tensors = [torch.from_numpy(each) for each in arrays.values()]
    layer = twin.torch(*twin.given).eval() if twin.is_layer and issubclass(twin.torch, nn.Module) else None
    if layer is not None and name == "multihead_attention":
        layer.batch_first = True
    wanted = layer(*tensors) if layer is not None else twin.torch(*tensors, *twin.given)
    wanted = (wanted[0] if isinstance(wanted, tuple) else wanted).detach().numpy()
    model = dlc.loads(spec(name, twin, arrays, wanted.shape))["Net"]
    state = (
        {} if layer is None else {f"layer.{key}": each.numpy() for key, each in layer.state_dict().items()}
    )
    assert {key: each.shape for key, each in model.initial_weights(0).items()} == {
        key: each.shape for key, each in state.items()
    }
    found = run(model.program, state, arrays)["y"]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def spec(name: str, twin: Twin, arrays: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> str:
    """A model of the item alone, as layer `layer` if it is a module."""
    types = [each.removeprefix("positive ").replace("f32", "") for each in twin.inputs]
    inputs = ", ".join(f"{key}: {type}" for key, type in zip(arrays, types, strict=True))
    args = ", ".join(arrays)
    definition = library_definition(name)
    assert definition is not None
    if isinstance(definition.node, ast.ModuleDef):
        body = f"    layer = {name}{twin.call or '()'} as layer\n    return layer({args})"
    else:
        more = twin.call.strip("()")
        body = f"    return {name}({args}{', ' + more if more else ''})"
    return f"model Net()({inputs}) -> y: {list(shape)} {{\n{body}\n}}\n"
