"""Ops that a row can't say, other than those on shapes (`shapes.py`) and windows (`neural.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from dlc import ops
from dlc.emit.draft import DONE, Dialect, Say
from dlc.emit.forms import (
    alias,
    between,
    call,
    counted_from_end,
    layers,
    method,
    of_truths,
    reduced,
    require,
    sizes,
    told,
    unit_matrix,
    whole_rows,
)
from dlc.emit.names import unique
from dlc.emit.origins import expression, size
from dlc.emit.rows import HOST
from dlc.emit.statements import Assign
from dlc.emit.tree import (
    Binary,
    Call,
    Dot,
    Expr,
    Keyword,
    Num,
    Path,
    Ref,
    Seq,
    Text,
    Unary,
    Word,
    template,
    text,
)
from dlc.ir.loops import LOOP
from dlc.ir.loops import Loop as LoopOp
from dlc.ir.nodes import Op, Value
from dlc.ir.routing import ROUTED
from dlc.types.dims import Dim
from dlc.types.facts import Facts
from dlc.types.tensor import INTS, TensorType
from dlc.types.terms import is_always, names
from dlc_torch import buffers, neural, rows, shapes
from dlc_torch.drafter import Device, TorchDrafter, Training, covered
from dlc_torch.routing import routed
from dlc_torch.steps import TorchSteps
from dlc_torch.working import LIKE, WIDE

# --- structure ----------------------------------------------------------------------------------------------


def const(d: TorchDrafter, op: Op) -> Expr:
    """Nested numbers; single ones are written where they are used."""
    dtype = d.dtype_of(op.out.name)
    told = dict(op.given).get("value")
    natural = {"f32": "f32", "i64": "i64", "bool": "bool"}.get(dtype, "")
    if op.out.type.is_empty:  # a nested list of nothing has neither a shape nor a dtype
        return d.create("torch.zeros", sizes(op.out.type.axes), dtype, "f32")
    if told is None:
        return d.create("torch.tensor", (d.constant(op.attr("value"), dtype),), dtype, natural)
    # (Of an expression nobody knows whether it gives floats at all settings.)
    return d.create("torch.tensor", (expression(told),), dtype, "" if natural == "f32" else natural)


def loop(d: TorchDrafter, op: Op) -> Expr | None:
    steps = TorchSteps(d, LoopOp.of(op))
    if not op.attr("shared"):
        return layers(d, op, "torch.stack", steps.empty)
    d.body += steps.statements()
    return DONE


# --- elementwise --------------------------------------------------------------------------------------------


def cast(d: TorchDrafter, op: Op) -> Expr:
    (name,) = op.inputs
    source, to = d.dtype_of(name), d.dtype_of(op.out.name)
    if source == to:
        return alias(d, op, name)
    if (n := unit_matrix(d, name)) is not None:
        return d.create("torch.eye", (size(n),), to, "f32")
    x = d.tensor(name)
    if to in rows.CASTS:
        return template(rows.CASTS[to], {"x": x})
    return method(x, "to", Word(rows.DTYPES[to]))


def like(d: TorchDrafter, op: Op) -> Expr:
    """A value in the dtype of another, or of a layer's weights."""
    name, *others = op.inputs
    lead = d.tensor(others[0]) if others else Path(f"{op.path}.weight", tensor=True)
    if (n := unit_matrix(d, name)) is not None:
        return call("torch.eye", size(n), Keyword("dtype", Dot(lead, "dtype")), Keyword("device", Device()))
    if d.types[name].is_float and not d.temporary(name):
        d.better[op.out.name] = name
    return method(d.tensor(name), "to", Dot(lead, "dtype"))


def wide(d: TorchDrafter, op: Op) -> Expr:
    return method(d.tensor(op.inputs[0]), "float")


def add(d: TorchDrafter, op: Op) -> Expr | None:
    """`F.linear(x, weight, bias)` and `F.conv2d(x, weight, bias)` where that is what a sum is."""
    for a, b in (op.inputs, op.inputs[::-1]):
        source = d.producers.get(a)
        if source is None or d.uses[a] != 1:
            continue
        if source.op == "matmul" and (weight := _transposed(d, source.inputs[1])) and _is_vector(d, b):
            return Call(Word("F.linear"), (d.tensor(source.inputs[0]), d.tensor(weight), d.tensor(b)))
        bias = _channels(d, b)
        if source.op == "conv" and bias:
            whole = neural.conv(d, source)
            assert isinstance(whole, Call)
            return Call(whole.function, (*whole.args[:2], d.tensor(bias), *whole.args[2:]))
    return None


def _transposed(d: TorchDrafter, name: str) -> str:
    """The parameter that a value is the transpose of."""
    op = d.producers.get(name)
    if op is None or op.op != "permute" or d.types[name].rank != 2:
        return ""
    source = d.producers.get(op.inputs[0])
    return op.inputs[0] if source is not None and source.op == "param" else ""


def _is_vector(d: TorchDrafter, name: str) -> bool:
    op = d.producers.get(name)
    return d.types[name].rank == 1 and op is not None and op.op == "param"


def _channels(d: TorchDrafter, name: str) -> str:
    """The vector that a value of shape [c, 1, 1] is made of."""
    op = d.producers.get(name)
    if op is None or op.op != "reshape" or not _is_vector(d, op.inputs[0]):
        return ""
    return op.inputs[0] if d.types[name].axes[0] == d.types[op.inputs[0]].axes[0] else ""


def extremum(d: TorchDrafter, op: Op) -> Expr:
    """`torch.maximum` takes no Python number; `clamp` does, but it hands on the whole gradient where both are equal, not a half."""
    a, b = op.inputs
    if (found := between(d, op)) is not None:
        return method(d.tensor(found[0]), "clamp", *map(d.value, found[1:]))
    if a in d.host or b in d.host:
        bound, x = (a, b) if a in d.host else (b, a)
        if op.out.type.is_float:
            number = method(d.tensor(x), "new_tensor", d.value(bound))
            return Call(Word(f"torch.{op.op}"), (d.tensor(x), number))
        return method(d.tensor(x), "clamp", Keyword("min" if op.op == "maximum" else "max", d.value(bound)))
    return Call(Word(f"torch.{op.op}"), (d.value(a), d.value(b)))


def quotient(d: TorchDrafter, op: Op) -> Expr | None:
    """PyTorch refuses to derive `//`, whose derivative is 0."""
    if not op.out.type.is_float:
        return None
    a, b = (d.value(name) if name in d.host else method(d.tensor(name), "detach") for name in op.inputs)
    return Binary("//", a, b)


def sign(d: TorchDrafter, op: Op) -> Expr:
    """PyTorch's sign of nan is 0."""
    x = d.tensor(op.inputs[0])
    found = method(x, "sign")
    return Call(Word("torch.where"), (method(x, "isnan"), x, found)) if op.out.type.is_float else found


def where(d: TorchDrafter, op: Op) -> Expr:
    condition, a, b = op.inputs
    both = a in d.host and b in d.host
    chosen = Call(Word("torch.where"), (d.tensor(condition), d.value(a), d.tensor(b) if both else d.value(b)))
    return chosen


def power(d: TorchDrafter, op: Op) -> Expr:
    """`x**2`: a whole exponent needs no point, unless it is a static parameter's."""
    a, b = map(d.value, op.inputs)
    if all(name in d.host for name in op.inputs):  # what Python is not to compute
        a = d.tensor(op.inputs[0])
    if isinstance(b, Num) and isinstance(b.value, float) and b.value.is_integer() and not names(b.value):
        b = Num(int(b.value), b.role) if abs(b.value) < 100 else b
    if abs(_number(b)) in _ROOTS and op.inputs[0] not in d.host:
        return call("torch.pow", a, method(a, "new_tensor", b))
    return Binary("**", a, b)


def _number(x: Expr) -> float:
    """The number that is written, or a difference of two, as a derivative's exponent is; else 0."""
    if isinstance(x, Binary) and x.operator == "-":
        return _number(x.left) - _number(x.right)
    return float(x.value) if isinstance(x, Num) and not names(x.value) else 0.0


# Numbers as exponents of which PyTorch makes roots, in the derivative too; they are others of -inf and -0.0.
_ROOTS = (0.5, 1.5)


def clamp(d: TorchDrafter, op: Op) -> Expr | None:
    if len(op.inputs) != 1:
        return None
    x = d.tensor(op.inputs[0])
    given = ((key, op.attr(key)) for key in ("min", "max"))
    bounds = {key: d.attribute(op, key, value) for key, value in given if value is not None}
    if op.out.type.is_float and any(map(shapes.overflows, bounds.values())):
        bounds = {key: method(x, "new_tensor", value) for key, value in bounds.items()}
    if len(bounds) == 2:
        return method(x, "clamp", *bounds.values())
    return method(x, "clamp", *(Keyword(key, value) for key, value in bounds.items()))


# --- reductions ---------------------------------------------------------------------------------------------

REDUCTIONS: Mapping[str, str] = {
    "sum": "sum", "max": "amax", "min": "amin", "any": "any", "all": "all", "mean": "mean", "var": "var",
    "std": "std", "logsumexp": "logsumexp", "norm": "norm",
}  # fmt: skip


def reduction(d: TorchDrafter, op: Op) -> Expr | None:
    """`x.sum(dim=(1, 2))`, and without `dim` over everything."""
    if len(op.inputs) != 1:
        return None
    (name,) = op.inputs
    rank = d.types[name].rank
    axes = reduced(op, rank)
    if not axes:
        return alias(d, op, name) if op.op in ("sum", "max", "min", "mean") else None
    (name,) = of_truths(d, op).inputs
    keywords: list[Expr] = []
    keepdims = bool(op.attr("keepdims"))
    if len(axes) < rank or keepdims or op.op == "logsumexp":
        keywords.append(
            Keyword("dim", d.axis(axes[0], rank) if len(axes) == 1 else d.axes(tuple(axes), rank))
        )
    if op.op in ("var", "std"):
        keywords.append(Keyword("correction", d.attribute(op, "correction", op.attr("correction", 0))))
    if keepdims:
        keywords.append(Keyword("keepdim", Word("True")))
    if op.op == "sum":
        keywords.extend(own_dtype(d, name))
    x = d.tensor(name)
    if op.op == "mean" and d.dtype_of(name) == "bool":
        x = method(x, "float")
    if op.op == "norm" and len(axes) > 2:  # `x.norm` takes two at most
        return Call(Word("torch.linalg.vector_norm"), (x, *keywords))
    return method(x, REDUCTIONS[op.op], *keywords)


def own_dtype(d: TorchDrafter, name: str) -> tuple[Expr, ...]:
    """The keyword that keeps a total in the dtype of its elements: PyTorch's own is i64 for all integers."""
    dtype = d.dtype_of(name)
    return (Keyword("dtype", Word(rows.DTYPES[dtype])),) if dtype in INTS and dtype != "i64" else ()


def prod(d: TorchDrafter, op: Op) -> Expr:
    (name,) = op.inputs
    rank = d.types[name].rank
    axes, keepdims = reduced(op, rank), bool(op.attr("keepdims"))
    if not axes:
        return alias(d, op, name)
    if len(axes) == rank and not keepdims:
        return method(d.tensor(name), "prod", *own_dtype(d, name))
    x = d.tensor(name)
    for axis in sorted(axes, reverse=True):  # one axis at a time, the last first
        along = (Keyword("dim", Word(str(axis))), Keyword("keepdim", Word(str(keepdims))))
        x = d.without_defaults(method(x, "prod", *along, *own_dtype(d, name)))
    return x


def running(d: TorchDrafter, op: Op) -> Expr:
    (name,) = op.inputs
    axis = d.axis(op.integer("axis"), d.types[name].rank)
    return method(d.tensor(name), op.op, Keyword("dim", axis), *own_dtype(d, name))


def flip(d: TorchDrafter, op: Op) -> Expr:
    axes = op.attr("axes")
    assert isinstance(axes, tuple)
    rank = d.types[op.inputs[0]].rank
    if not axes:
        return alias(d, op, op.inputs[0])
    return method(d.tensor(op.inputs[0]), "flip", *(d.axis(int(str(axis)), rank) for axis in axes))


def einsum(d: TorchDrafter, op: Op) -> Expr:
    """Of integers PyTorch adds up in i64, where it adds up before it multiplies."""
    found = Call(Word("torch.einsum"), (Text(op.text("pattern")), *map(d.tensor, op.inputs)))
    dtype = d.dtype_of(op.out.name)
    return method(found, "to", d.dtype_word(dtype)) if dtype in INTS and dtype != "i64" else found


def scattered(d: TorchDrafter, op: Op) -> Expr | None:
    """`x.index_add(0, index, values)` where the index tells where whole rows go."""
    index = whole_rows(d, op)
    if not index:
        return None
    x, _, values = map(d.tensor, op.inputs)
    axis = d.axis(op.integer("axis"), op.out.type.rank)
    return method(x, "index_add" if op.op == "scatter_add" else "index_copy", axis, d.tensor(index), values)


# --- random -------------------------------------------------------------------------------------------------


def drawn(function: str) -> Say:
    """A draw of floats in the shape of the result."""

    def say(d: TorchDrafter, op: Op) -> Expr:
        shape = sizes(op.out.type.axes) or (Seq(()),)
        return d.create(function, shape, d.dtype_of(op.out.name), "f32")

    return say


def randint(d: TorchDrafter, op: Op) -> Expr:
    low, high = (size(op.attr(name)) for name in ("low", "high"))  # type: ignore[arg-type]
    return d.create("torch.randint", (low, high, Seq(sizes(op.out.type.axes))), "i64", "i64")


def truncated_normal(d: TorchDrafter, op: Op) -> Expr:
    low, high = (d.attribute(op, name, op.attr(name)) for name in ("low", "high"))
    empty = d.create("torch.empty", sizes(op.out.type.axes), d.dtype_of(op.out.name), "f32")
    return Call(Word("nn.init.trunc_normal_"), (empty, Keyword("a", low), Keyword("b", high)))


def orthogonal(d: TorchDrafter, op: Op) -> Expr:
    """PyTorch decomposes no matrix of 16 bits: it is made in f32."""
    dtype = d.dtype_of(op.out.name)
    is_narrow = dtype in rows.NARROW
    empty = d.create("torch.empty", sizes(op.out.type.axes), "f32" if is_narrow else dtype, "f32")
    made = Call(Word("nn.init.orthogonal_"), (empty,))
    return method(made, "to", Word(rows.DTYPES[dtype])) if is_narrow else made


# --- composites ---------------------------------------------------------------------------------------------


def dropout(d: TorchDrafter, op: Op) -> Expr:
    p = d.attribute(op, "p", op.attr("p"))
    return Call(Word("F.dropout"), (d.tensor(op.inputs[0]), p, Keyword("training", Training())))


def drop_path(d: TorchDrafter, op: Op) -> Expr:
    """Dropout of whole rows: of a one for each row, which their residual branch is multiplied with."""
    count, *rest = op.out.type.axes
    p = d.attribute(op, "p", op.attr("p", 0.0))
    shape = (count, *(Dim.of(1) for _ in rest))
    ones = method(d.tensor(op.inputs[0]), "new_ones", *sizes(shape))
    kept = Call(Word("F.dropout"), (ones, p, Keyword("training", Training())))
    x = d.tensor(op.inputs[0])
    return x if is_always(op.attr("p", 0.0), 0.0) else Binary("*", x, kept)


# PyTorch leaves out what is labelled -100 unless it is told another label; where the spec leaves out none, one that is none.
NO_LABEL = Word(rows.NO_LABEL)


def classified(d: TorchDrafter, op: Op) -> Expr | None:
    """`F.cross_entropy` and `F.nll_loss` want the classes on axis 1: with more than one axis before, those
    are flattened."""
    given = d.operands(op)
    first, target = given["logits" if op.op == "cross_entropy" else "logs"], given["target"]
    rank = d.types[first].rank
    if rank > 2 and op.attr("reduction") == "none":
        return None
    operands = [d.tensor(first), d.tensor(target)]
    if rank > 2:
        operands = [method(operands[0], "flatten", Word("0"), Word("-2")), method(operands[1], "flatten")]
    keywords: list[Expr] = []
    if given.get("weight"):
        keywords.append(Keyword("weight", d.tensor(given["weight"])))
    if op.attr("ignore") is not None:
        keywords.append(Keyword("ignore_index", d.attribute(op, "ignore", op.attr("ignore"))))
    else:
        keywords.append(Keyword("ignore_index", NO_LABEL))
    if not is_always(op.attr("smoothing", 0.0), 0.0):
        keywords.append(Keyword("label_smoothing", d.attribute(op, "smoothing", op.attr("smoothing"))))
    keywords.append(Keyword("reduction", Text(str(op.attr("reduction", "mean")))))
    function = "F.cross_entropy" if op.op == "cross_entropy" else "F.nll_loss"
    return d.without_defaults(Call(Word(function), (*operands, *keywords)))


def shared(d: TorchDrafter, op: Op) -> Expr | None:
    """`F.cross_entropy` takes shares of classes too, with these on axis 1."""
    operands, rank = [d.tensor(name) for name in op.inputs], d.types[op.inputs[0]].rank
    if rank > 2:
        if op.attr("reduction") == "none":
            return None
        operands = [method(each, "flatten", Word("0"), Word("-2")) for each in operands]
    how = Keyword("reduction", Text(str(op.attr("reduction", "mean"))))
    return d.without_defaults(Call(Word("F.cross_entropy"), (*operands, how)))


def divergence(d: TorchDrafter, op: Op) -> Expr | None:
    """`F.kl_div`, whose own mean PyTorch warns of: it is one over elements, not over rows."""
    given = d.operands(op)
    operands = d.tensor(given["logs"]), d.tensor(given["target"])
    each = Call(Word("F.kl_div"), (*operands, Keyword("reduction", Text("none"))))
    how = str(op.attr("reduction", "mean"))
    return each if how == "none" else method(each, how)


def norm(d: TorchDrafter, op: Op) -> Expr | None:
    """`x.norm(dim=-1)`, the 2-norm, and others by name."""
    found = reduction(d, op)
    order = op.attr("p", 2.0)
    if not isinstance(found, Call) or is_always(order, 2.0):
        return found
    return Call(found.function, (Keyword("p", d.attribute(op, "p", order)), *found.args))


def attention(d: TorchDrafter, op: Op) -> Expr | None:
    """PyTorch's fused attention. It knows no softcap, and counts a causal query's place from the start."""
    given = d.operands(op)
    q, k, v = (d.types[given[name]] for name in ("q", "k", "v"))
    # Heads of two names may only happen to be as many here.
    named_apart = told(q.axes[-3:-2]) != told(k.axes[-3:-2])
    grouped = q.rank > 2 and (q.axes[:-2] != k.axes[:-2] or named_apart)
    if not covered(op) or (grouped and (q.axes[:-3] != k.axes[:-3] or k.axes[:-2] != v.axes[:-2])):
        return None
    keywords: list[Expr] = []
    if op.attr("causal") and (op.attr("square") or q.axes[-2] == k.axes[-2]):
        keywords.append(Keyword("is_causal", Word("True")))
    elif op.attr("causal") or given.keys() & {"mask", "bias"}:
        keywords.append(Keyword("attn_mask", _mask(d, op, given, q, k)))
    if op.attr("scale") is not None:
        keywords.append(Keyword("scale", d.attribute(op, "scale", op.attr("scale"))))
    if grouped:
        keywords.append(Keyword("enable_gqa", Word("True")))
    operands = (d.tensor(given[name]) for name in ("q", "k", "v"))
    return Call(Word("F.scaled_dot_product_attention"), (*operands, *keywords))


def _mask(d: TorchDrafter, op: Op, given: Mapping[str, str], q: TensorType, k: TensorType) -> Expr:
    """All that hides keys, as the one mask that PyTorch takes."""
    if op.attr("causal"):
        own = Value(unique("causal", {*d.types, *d.better}), TensorType("bool", (q.axes[-2], k.axes[-2])))
        d.body.append(Assign((d.target(own),), _counted(d, q.axes[-2], k.axes[-2])))
        d.better[own.name] = "mask"
        return Ref(own.name)
    if "bias" not in given:
        return d.tensor(given["mask"])
    bias = d.tensor(given["bias"])
    if "mask" not in given:
        return bias
    return method(bias, "masked_fill", Unary("~", d.tensor(given["mask"])), Num(float("-inf")))


def _counted(d: TorchDrafter, queries: Dim, keys: Dim) -> Expr:
    """Which keys a query sees, counted from the end: `torch.ones(T, U, dtype=torch.bool).tril(U - T)`."""
    ones = d.create("torch.ones", sizes((queries, keys)), "bool")
    behind = keys - queries
    return method(ones, "tril", *((size(behind),) if behind.constant != 0 else ()))


def unfold(d: TorchDrafter, op: Op) -> Expr:
    defaults = {"dilation": 1, "padding": 0, "stride": 1}
    given = [name for name, default in defaults.items() if not is_always(op.attr(name, default), default)]
    keywords = (Keyword(name, d.attribute(op, name, op.attr(name))) for name in given)
    return Call(
        Word("F.unfold"), (d.tensor(op.inputs[0]), d.attribute(op, "kernel", op.attr("kernel")), *keywords)
    )


def affine_grid(d: TorchDrafter, op: Op) -> Expr | None:
    """`F.affine_grid(theta, (B, 1, h, w), align_corners=False)`: it asks for the number of channels, and does not read it. It
    refuses a batch of no rows."""
    rows, h, w, _ = op.out.type.axes
    if not Facts(d.function.facts).prove_ge(rows, 1):
        return None
    shape = Seq((size(rows), Word("1"), size(h), size(w)))
    aligned = Keyword("align_corners", d.attribute(op, "align_corners", op.attr("align_corners")))
    return Call(Word("F.affine_grid"), (d.tensor(op.inputs[0]), shape, aligned))


def segment_sum(d: TorchDrafter, op: Op) -> Expr:
    """`x.new_zeros(n, d).index_add(0, ids, x)`."""
    x, ids = map(d.tensor, op.inputs)
    return method(method(x, "new_zeros", *sizes(op.out.type.axes)), "index_add", Word("0"), ids, x)


def resize(d: TorchDrafter, op: Op) -> Expr:
    """`F.interpolate(x, scale_factor=2)`, with what differs from its defaults. With `antialias` it knows no 16 bits."""
    keywords: list[Expr] = []
    for name, key in (("scale", "scale_factor"), ("size", "size")):
        if op.attr(name) is not None:
            keywords.append(Keyword(key, d.attribute(op, name, op.attr(name))))
    if op.attr("mode") != "nearest":
        keywords.append(Keyword("mode", Text(op.text("mode"))))
    keywords += (Keyword(key, Word("True")) for key in ("align_corners", "antialias") if op.attr(key))
    x, dtype = d.tensor(op.inputs[0]), d.dtype_of(op.inputs[0])
    if dtype not in ("bf16", "f16") or not op.attr("antialias"):
        return Call(Word("F.interpolate"), (x, *keywords))
    wide = Call(Word("F.interpolate"), (method(x, "float"), *keywords))
    return template(rows.CASTS[dtype], {"x": wide})


def is_interpolated(op: Op) -> bool:
    """Whether F.interpolate does it: in mode "nearest" a scale that leaves an axis as long as it is makes copies or not, as the
    layout in memory is."""
    scale = op.attr("scale")
    scales = scale if isinstance(scale, tuple) else (scale,)
    small = any(isinstance(each, float) and 1.0 < each < 1.5 for each in scales)
    return not (small and op.text("mode").startswith("nearest"))


# Composites that are kept as functions of their own where PyTorch has none: written out they would hide what
# they do.
KEPT = frozenset(
    {
        *rows.AUGMENTATIONS,
        "rope_tables",
        "apply_rope",
        "attention",
        "local_response_norm",
        "pixel_shuffle",
        "selective_scan",
        "_rnn_along",
        "_gru_along",
        "_lstm_along",
        "_gru_step",
        "_lstm_step",
    }
)


def is_native(op: Op) -> bool:
    """Whether an op is kept as it is: said natively, or as a class or function of the emitted file."""
    if op.op == LOOP:
        return LoopOp.of(op).is_layers or LoopOp.of(op).shared
    if op.op == "attention":
        return _is_attention(op)
    if op.op == "resize":
        return is_interpolated(op)
    if (
        op.path
        or op.op in KEPT
        or op.op in rows.ROWS
        or op.op == "size"
        or ops.row(op.op, "torch") is not None
    ):
        return True
    said = op.op in SAY or op.op in rows.COMPOSITES
    return said and (op.op not in neural.LAYERS or op.op in neural.FUNCTIONS) and covered(op)


def _is_attention(op: Op) -> bool:
    """PyTorch hides later keys by itself where nothing else is hidden; else the library makes a mask of both, once."""
    hidden = op.attr("causal") or op.attr("window") is not None
    alone = op.attr("window") is None and not any(op.inputs[3:]) and covered(op)
    return alone or not hidden


def causal_mask(d: TorchDrafter, op: Op) -> Expr | None:
    """`torch.ones(T, U, dtype=torch.bool).tril(U - T).triu(U - T + 1 - window)`, where positions are counted from the end."""
    queries, keys = op.out.type.axes
    if not counted_from_end(d, op):
        return None
    seen = _counted(d, queries, keys)
    window = op.attr("window")
    if not isinstance(window, int):
        return seen
    below = Value(f"{op.out.name}_below", op.out.type)
    d.body.append(Assign((d.target(below),), seen, temporary=True))
    return method(Ref(below.name), "triu", size(keys - queries + (1 - window), "index"))


SAY: Mapping[str, Say] = {
    **shapes.SAY,
    **neural.SAY,
    **dict.fromkeys(REDUCTIONS, reduction),
    "param": buffers.read,
    "const": const,
    "update": buffers.update,
    "require": require,
    LOOP: loop,
    ROUTED: routed,
    "add": add,
    "cast": cast,
    LIKE: like,
    WIDE: wide,
    "floordiv": quotient,
    "minimum": extremum,
    "maximum": extremum,
    "where": where,
    "sign": sign,
    "pow": power,
    "clamp": clamp,
    "prod": prod,
    "cumsum": running,
    "cumprod": running,
    "flip": flip,
    "einsum": einsum,
    "scatter": scattered,
    "scatter_add": scattered,
    "normal": drawn("torch.randn"),
    "uniform": drawn("torch.rand"),
    "randint": randint,
    "truncated_normal": truncated_normal,
    "orthogonal": orthogonal,
    "dropout": dropout,
    "drop_path": drop_path,
    "attention": attention,
    "resize": resize,
    "affine_grid": affine_grid,
    "segment_sum": segment_sum,
    "unfold": unfold,
    "causal_mask": causal_mask,
    "norm": norm,
    "cross_entropy": classified,
    "nll": classified,
    "soft_cross_entropy": shared,
    "kl_div": divergence,
}

DIALECT = Dialect(
    name="torch",
    rows=rows.ROWS,
    host=HOST,
    composites=rows.COMPOSITES,
    forms=SAY,
    dtypes=rows.DTYPES,
    defaults=rows.DEFAULTS,
    reserved=rows.RESERVED,
    is_layer=lambda expr: isinstance(expr, Call) and text(expr.function).startswith("self."),
    generated=frozenset((*rows.LAYERS, "eye", "rope")),
    draws_in_order=True,
)
