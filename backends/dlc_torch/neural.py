"""Convolution, pooling and layers with parameters: as functions of `torch.nn.functional` and as native
layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

from dlc.emit.draft import Say
from dlc.emit.forms import method, sizes
from dlc.emit.origins import size
from dlc.emit.tree import At, Binary, Call, Cut, Expr, Keyword, Num, Path, Seq, Unary, Word
from dlc.ir.nodes import Function, Op, walk
from dlc.records import replace
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.terms import moved, origin_free, untraced
from dlc_torch import recurrent
from dlc_torch.drafter import TorchDrafter
from dlc_torch.shapes import padded

Pairs = tuple[tuple[int, int], ...]
ZERO = Num(0)
ONE = Num(1)


# --- windows ------------------------------------------------------------------------------------------------


def pairs(op: Op) -> Pairs:
    value = op.attr("padding")
    assert isinstance(value, tuple)
    return tuple(pair for pair in value if isinstance(pair, tuple))  # type: ignore[misc]


def even(padding: Pairs) -> bool:
    """Whether both ends get the same, which is all that PyTorch's own argument can say."""
    return all(before == after for before, after in padding)


def _own(padding: Pairs, space: Sequence[Dim], facts: Facts) -> bool:
    """Whether PyTorch can put the padding on itself: evenly, and around something. It refuses what is empty, padded or not."""
    return even(padding) and (
        not any(map(any, padding)) or all(facts.prove_ge(size, 1) is True for size in space)
    )


def _pads_itself(f: Function) -> bool:
    """The same of the convolution in a layer's definition."""
    return _own(pairs(inner(f, "conv")), f.inputs[0].type.axes[2:], Facts(f.facts))


CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")


def is_same(op: Op, callee: Function) -> bool:
    """Whether a convolution's border is as wide as its kernel asks for, of which the source does not know the size: what is as wide on both
    sides at one is not at the next. PyTorch has the spec's word for it, and pads as it does."""
    if op.op not in CONVOLUTIONS or dict(callee.static).get("padding") != "same":
        return False
    told = not origin_free((op.attr("kernel"), op.attr("dilation")))
    plain = all(each == 1 for each in inner(callee, "conv").sizes("stride")) and origin_free(
        op.attr("stride")
    )
    space = callee.inputs[0].type.axes[2:]
    return told and plain and all(Facts(callee.facts).prove_ge(each, 1) is True for each in space)


def per_axis(values: Sequence[int | Dim], role: str) -> Expr:
    """One number where all axes have the same."""
    return size(values[0], role) if len(set(values)) == 1 else Seq(tuple(size(each, role) for each in values))


def ahead(padding: Pairs) -> tuple[int, ...]:
    return tuple(before for before, _ in padding)


def geometry(op: Op, padding: Pairs) -> list[Expr]:
    """The keyword arguments that convolutions share, each left out where it says nothing."""
    found: list[tuple[str, Sequence[int | Dim], int]] = [
        ("stride", op.sizes("stride"), 1),
        ("padding", ahead(padding), 0),
        ("dilation", op.sizes("dilation"), 1),
    ]
    keywords: list[Expr] = [
        Keyword(name, per_axis(values, name), Num(default)) for name, values, default in found
    ]
    groups = op.attr("groups")
    assert isinstance(groups, int)
    return [*keywords, Keyword("groups", Num(groups, "groups"), ONE)]


def bordered(d: TorchDrafter, op: Op, padding: Sequence[tuple[int | Dim, int | Dim]], value: float) -> Expr:
    """The first operand with uneven padding put on beforehand."""
    return padded(d.tensor(op.inputs[0]), ((0, 0), (0, 0), *padding), value)


def reaching(d: TorchDrafter, op: Op) -> list[tuple[int, Dim]]:
    """Padding after which the pooling windows just fill each axis: the last one may hang over (`ceil`), or
    fall short."""
    found: list[tuple[int, Dim]] = []
    axes = zip(d.types[op.inputs[0]].axes[2:], op.out.type.axes[2:], strict=True)
    for (whole, out), kernel, stride, (before, _) in zip(
        axes, op.sizes("kernel"), op.sizes("stride"), pairs(op), strict=True
    ):
        found.append((before, (out - 1) * stride + kernel - whole - before))
    return found


def conv(d: TorchDrafter, op: Op) -> Expr:
    padding = pairs(op)
    x, weight = op.inputs
    itself = _own(padding, d.types[x].axes[2:], Facts(d.function.facts))
    first = d.tensor(x) if itself else bordered(d, op, padding, 0.0)
    own = padding if itself else tuple((0, 0) for _ in padding)
    return Call(Word(f"F.conv{len(padding)}d"), (first, d.tensor(weight), *geometry(op, own)))


def conv_transpose(d: TorchDrafter, op: Op) -> Expr:
    padding, extra = pairs(op), op.sizes("output_padding")
    x, weight = op.inputs
    keywords = geometry(op, tuple((min(pair), min(pair)) for pair in padding))
    keywords.insert(2, Keyword("output_padding", per_axis(extra, "output_padding"), ZERO))
    whole = Call(Word(f"F.conv_transpose{len(padding)}d"), (d.tensor(x), d.tensor(weight), *keywords))
    return whole if even(padding) else _cropped(whole, padding)


def _cropped(whole: Expr, padding: Pairs) -> Expr:
    """Uneven padding of a transposed convolution is cut off the result."""
    items: list[Expr] = [Cut(), Cut()]
    for before, after in padding:
        low, high = before - min(before, after), after - min(before, after)
        items.append(Cut(Num(low, "padding") if low else None, Num(-high, "padding") if high else None))
    return At(whole, tuple(items))


def max_pool(d: TorchDrafter, op: Op) -> Expr:
    kernel = op.sizes("kernel")
    function = Word(f"F.max_pool{len(kernel)}d")
    if _has_native_padding(op):
        return _pooled(d, op, function, d.tensor(op.inputs[0]), _window(op, native=True))
    x = bordered(d, op, reaching(d, op), float("-inf"))
    return _pooled(d, op, function, x, _window(op, native=False))


def _pooled(d: TorchDrafter, op: Op, function: Expr, x: Expr, rest: Sequence[Expr]) -> Expr:
    """A pool, which takes no channels at all only as no rows at all: where there may be none, channels become rows."""
    rows, channels = op.out.type.axes[:2]
    if Facts(d.function.facts).prove_ge(channels, 1) is True:
        return Call(function, (x, *rest))
    flat = method(method(x, "flatten", ZERO, ONE), "unsqueeze", ONE)
    found = method(Call(function, (flat, *rest)), "squeeze", ONE)
    return method(found, "unflatten", ZERO, Seq((size(rows), size(channels))))


def _has_native_padding(op: Op) -> bool:
    """Whether PyTorch pads so: evenly, and by no more than half a window."""
    padding, kernel = pairs(op), op.sizes("kernel")
    return even(padding) and all(
        each.constant is not None and 2 * before <= each.constant
        for (before, _), each in zip(padding, kernel, strict=True)
    )


def _window(op: Op, *, native: bool) -> list[Expr]:
    kernel, stride = op.sizes("kernel"), op.sizes("stride")
    args: list[Expr] = [per_axis(kernel, "kernel_size"), Keyword("stride", per_axis(stride, "stride"))]
    if stride == kernel:
        args.pop()
    if native:
        args.append(Keyword("padding", per_axis(ahead(pairs(op)), "padding"), ZERO))
    if native and op.attr("ceil"):
        args.append(Keyword("ceil_mode", Word("True")))
    return args


def avg_pool(d: TorchDrafter, op: Op) -> Expr:
    padding = pairs(op)
    function = Word(f"F.avg_pool{len(padding)}d")
    if _has_native_padding(op):
        uncounted = not op.attr("count_padding") and any(map(any, padding))
        more = (Keyword("count_include_pad", Word("False")),) if uncounted else ()
        return _pooled(d, op, function, d.tensor(op.inputs[0]), (*_window(op, native=True), *more))
    window = _window(op, native=False)
    border = reaching(d, op)
    mean = _pooled(d, op, function, bordered(d, op, border, 0.0), window)
    if op.attr("count_padding") and not op.attr("ceil"):
        return mean
    return Binary("/", mean, _pooled(d, op, function, _counted(d, op, border), window))


def _counted(d: TorchDrafter, op: Op, border: Sequence[tuple[int, Dim]]) -> Expr:
    """Ones where an element counts, zeros in the rest of the border: their mean is the share that counts."""
    ones: Expr = Call(Word("torch.ones_like"), (d.tensor(op.inputs[0]),))
    rest = list(border)
    if op.attr("count_padding"):
        ones = padded(ones, ((0, 0), (0, 0), *pairs(op)), 1.0)
        rest = [(0, after - known) for (_, after), (_, known) in zip(border, pairs(op), strict=True)]
    return padded(ones, ((0, 0), (0, 0), *rest), 0.0)


# --- layers -------------------------------------------------------------------------------------------------


def _axes(function: Function, name: str) -> tuple[Dim, ...]:
    return next(param.type.axes for param in function.params if param.name == name)


def _has(function: Function, name: str) -> bool:
    return any(param.name == name for param in function.params)


def _flag(name: str, value: bool, default: bool = True) -> tuple[Expr, ...]:
    return () if value == default else (Keyword(name, Word(str(value))),)


def _number(function: Function, name: str, default: float) -> Expr:
    """A static argument as a keyword, left out where it is PyTorch's default."""
    value = dict(function.static).get(name, default)
    assert isinstance(value, int | float)
    return Keyword(name, Num(value, name), Num(default))


def inner(function: Function, name: str) -> Op:
    """The operation of that name in a layer's definition, which has the attributes in their normal form."""
    return next(op for op in function.body if op.op == name)


def linear(f: Function) -> Expr:
    out, features = _axes(f, "weight")
    args = (size(features, "in_features"), size(out, "out_features"), *_flag("bias", _has(f, "bias")))
    return Call(Word("nn.Linear"), args)


def embedding(f: Function) -> Expr:
    count, d = _axes(f, "weight")
    return Call(Word("nn.Embedding"), (size(count, "num_embeddings"), size(d, "embedding_dim")))


def convolution(f: Function) -> Expr:
    op = inner(f, "conv")
    padding = pairs(op)
    out, _, *kernel = _axes(f, "weight")
    own = padding if _pads_itself(f) else tuple((0, 0) for _ in padding)
    return _layer_of(f, "Conv", out, kernel, geometry(op, own))


def _layer_of(f: Function, name: str, out: Dim, kernel: Sequence[Dim], keywords: Sequence[Expr]) -> Expr:
    """`nn.Conv2d(in_channels, out_channels, kernel_size=3, …)`."""
    channels = size(f.inputs[0].type.axes[1], "in_channels"), size(out, "out_channels")
    window = Keyword("kernel_size", per_axis(kernel, "kernel_size"))
    bias = _flag("bias", _has(f, "bias"))
    return Call(Word(f"nn.{name}{len(kernel)}d"), (*channels, window, *keywords, *bias))


def transposed_convolution(f: Function) -> Expr | None:
    op = inner(f, "conv_transpose")
    padding = pairs(op)
    if not even(padding):
        return None
    _, _, *kernel = _axes(f, "weight")
    keywords = geometry(op, padding)
    keywords.insert(
        2, Keyword("output_padding", per_axis(op.sizes("output_padding"), "output_padding"), ZERO)
    )
    return _layer_of(f, "ConvTranspose", f.output_types[0].axes[1], kernel, keywords)


def batch_norm(f: Function) -> Expr:
    (features,) = _axes(f, "running_mean")
    rank = f.inputs[0].type.rank
    name = "nn.BatchNorm1d" if rank <= 3 else f"nn.BatchNorm{rank - 2}d"
    options = (_number(f, "eps", 1e-5), _number(f, "momentum", 0.1), *_flag("affine", _has(f, "weight")))
    return Call(Word(name), (size(features, "num_features"), *options))


def layer_norm(f: Function) -> Expr:
    shape = _axes(f, "weight")
    first = size(shape[0], "dim") if len(shape) == 1 else Seq(sizes(shape, "dim"))
    return Call(Word("nn.LayerNorm"), (first, _number(f, "eps", 1e-5), *_flag("bias", _has(f, "bias"))))


def rms_norm(f: Function) -> Expr:
    (features,) = _axes(f, "weight")
    # PyTorch's own default is the dtype's machine epsilon.
    eps = dict(f.static).get("eps", 1e-6)
    assert isinstance(eps, int | float)
    return Call(Word("nn.RMSNorm"), (size(features, "dim"), Keyword("eps", Num(eps, "eps"))))


def group_norm(f: Function) -> Expr:
    (channels,) = _axes(f, "weight")
    groups = dict(f.static)["groups"]
    assert isinstance(groups, int)
    return Call(
        Word("nn.GroupNorm"), (Num(groups, "groups"), size(channels, "channels"), _number(f, "eps", 1e-5))
    )


def instance_norm(f: Function) -> Expr | None:
    """None where there may be a single element to normalise, which PyTorch refuses."""
    if not _has_several(f):
        return None
    (channels,) = _axes(f, "weight")
    name = f"nn.InstanceNorm{f.inputs[0].type.rank - 2}d"
    return Call(
        Word(name), (size(channels, "channels"), _number(f, "eps", 1e-5), *_flag("affine", True, False))
    )


def _has_several(f: Function) -> bool:
    """Whether a channel surely has more elements than one."""
    places = prod(f.inputs[0].type.axes[2:], start=Dim.of(1))
    return Facts(f.facts).prove_ge(places, 2) is True


def multihead_attention(f: Function) -> Expr | None:
    """None with a mask over more than queries and keys, which PyTorch wants in another form."""
    if any(value.name == "mask" and value.type.rank != 2 for value in f.inputs):
        return None
    heads = dict(f.static)["heads"]
    assert isinstance(heads, int)
    about = (size(_axes(f, "in_proj_weight")[1], "dim"), Num(heads, "heads"))
    options = (*_flag("bias", _has(f, "in_proj_bias")), Keyword("batch_first", Word("True")))
    return Call(Word("nn.MultiheadAttention"), (*about, *options))


def spectral_norm(f: Function) -> Expr | None:
    """`nn.utils.spectral_norm(nn.Linear(...))`; None around what PyTorch has no layer for."""
    kind = str(dict(f.static)["layer"]).partition("(")[0]
    ours = any(not op.span.file.startswith("dlc:") for op in walk(f.body))
    if kind not in REWEIGHTED or ours or (kind.startswith("conv") and not _pads_evenly(f)):
        return None
    params = tuple(
        replace(each, name="weight" if each.name == "weight_orig" else each.name) for each in f.params
    )
    options = (
        Keyword("n_power_iterations", Num(_whole(f, "iterations"), "iterations"), ONE),
        _number(f, "eps", 1e-12),
    )
    layer = LAYERS[kind](replace(f, params=params))
    return None if layer is None else Call(Word(SPECTRAL_NORM), (layer, *options))


def _pads_evenly(f: Function) -> bool:
    return all(even(pairs(op)) for op in walk(f.body) if op.op in ("conv", "conv_transpose"))


def _whole(f: Function, name: str) -> int:
    value = dict(f.static)[name]
    assert isinstance(value, int)
    return value


SPECTRAL_NORM = "nn.utils.spectral_norm"
REWEIGHTED = frozenset(
    {"linear", "embedding", *(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3))}
)

Layer = Callable[[Function], "Expr | None"]

# Layers of the standard library that PyTorch has; None from a row: not in this form.
LAYERS: Mapping[str, Layer] = {
    "linear": linear,
    "embedding": embedding,
    "conv1d": convolution,
    "conv2d": convolution,
    "conv3d": convolution,
    "conv_transpose1d": transposed_convolution,
    "conv_transpose2d": transposed_convolution,
    "conv_transpose3d": transposed_convolution,
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "group_norm": group_norm,
    "instance_norm": instance_norm,
    "multihead_attention": multihead_attention,
    "spectral_norm": spectral_norm,
    **recurrent.LAYERS,
}


def native_layer(function: Function) -> Expr | None:
    """The constructor of PyTorch's own layer; None where the layer is written out as a class of its own."""
    make = LAYERS.get(function.source)
    return make(function) if make is not None and function.library and function.params else None


def layer_call(d: TorchDrafter, op: Op) -> Expr | None:
    """A call of a native layer, or the function that a layer without parameters is; None where PyTorch has
    neither."""
    callee = d.program.functions[op.callee]
    if not callee.params:
        return parameterless(d, op)
    if not op.path or native_layer(callee) is None:
        return None
    if op.op == "multihead_attention":
        return _attended(d, op)
    if op.op in recurrent.LAYERS:
        return recurrent.call(d, op)
    first: Expr = _grouped(d, op) if op.op == "group_norm" else d.tensor(op.inputs[0])
    if op.op in CONVOLUTIONS and not (is_same(op, callee) or _pads_itself(callee)):
        # The layer's numbers speak of its own parameters: a border of `kernel - 1` is 3 here, or what the caller calls it.
        here = {**{name: untraced(each) for name, each in callee.static}, **dict(op.attrs)}
        first = bordered(d, op, moved(pairs(inner(callee, "conv")), here), 0.0)
    return Call(Path(op.path), (first,))


def _grouped(d: TorchDrafter, op: Op) -> Expr:
    """`x.permute(0, 3, 1, 2).contiguous()`: the process ends in PyTorch's derivative (2.13) of a `GroupNorm` whose channels lie innermost, where
    there is no slope by what it is of."""
    x, source = d.tensor(op.inputs[0]), d.producers.get(op.inputs[0])
    turned = source is not None and source.op == "permute" and d.types[op.inputs[0]].rank > 3
    return method(x, "contiguous") if turned else x


def _attended(d: TorchDrafter, op: Op) -> Expr:
    """PyTorch's mask is true where a key may not be seen."""
    given = d.operands(op)
    more: list[Expr] = [Keyword("need_weights", Word("False"))]
    if "mask" in given:
        more.append(Keyword("attn_mask", Unary("~", d.tensor(given["mask"]))))
    operands = (d.tensor(given[name]) for name in ("q", "k", "v"))
    return At(Call(Path(op.path), (*operands, *more)), (Word("0"),))


# Layers that are functions where they have no parameters.
FUNCTIONS = frozenset(("layer_norm", "rms_norm", "group_norm", "instance_norm"))


def parameterless(d: TorchDrafter, op: Op) -> Expr | None:
    """Normalisation without scale and shift."""
    x = d.tensor(op.inputs[0])
    eps = Keyword("eps", d.attribute(op, "eps", op.attr("eps")), None if op.op == "rms_norm" else Num(1e-5))
    shape = d.types[op.inputs[0]].axes
    axes = op.attr("axes", 1)
    assert isinstance(axes, int)
    match op.op:
        case "layer_norm" | "rms_norm":
            return Call(Word(f"F.{op.op}"), (x, Seq(sizes(shape[len(shape) - axes :], "dim")), eps))
        case "group_norm":
            return Call(Word("F.group_norm"), (x, d.attribute(op, "groups", op.attr("groups")), eps))
        case "instance_norm" if _has_several(d.program.functions[op.callee]):
            return Call(Word("F.instance_norm"), (x, eps))
    return None


def global_avg_pool(d: TorchDrafter, op: Op) -> Expr:
    rank = d.types[op.inputs[0]].rank
    dims = Seq(tuple(Word(str(axis)) for axis in range(2, rank)))
    return method(d.tensor(op.inputs[0]), "mean", Keyword("dim", dims if rank > 3 else Word("2")))


def adaptive_avg_pool(d: TorchDrafter, op: Op) -> Expr:
    out = op.out.type.axes[2:]
    shape = Seq(sizes(out, "output_size")) if len(set(out)) > 1 else sizes(out[:1], "output_size")[0]
    return Call(Word(f"F.adaptive_avg_pool{len(out)}d"), (d.tensor(op.inputs[0]), shape))


SAY: Mapping[str, Say] = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "max_pool": max_pool,
    "avg_pool": avg_pool,
    "global_avg_pool": global_avg_pool,
    "adaptive_avg_pool": adaptive_avg_pool,
    "_adaptive_avg_pool1d": adaptive_avg_pool,
    "_adaptive_avg_pool2d": adaptive_avg_pool,
    **dict.fromkeys(LAYERS, layer_call),
}
