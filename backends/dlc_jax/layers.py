"""Composites and windowed ops as calls of a function of `library.py`, in the cases that it covers.

Each method may decline with None: a composite is then a function made from its definition, an op its general
form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from dlc.emit.arguments import Argument, given
from dlc.emit.draft import Dialect, Say
from dlc.emit.origins import numbered
from dlc.emit.rows import HOST
from dlc.emit.tree import Arg, At, Call, Expr, Flag, Keyword, Num, Path, Seq, Text, Word, text, transform
from dlc.ir.loops import LOOP
from dlc.ir.nodes import Attr, Function, Op, walk
from dlc.types.terms import names
from dlc_jax import methods, rows, steps
from dlc_jax.drafter import JaxDrafter


def layer(**defaults: float) -> Callable[[JaxDrafter, Op], Expr]:
    """`name(params["path"], x, attribute=value)`, where an attribute has not its default."""

    def say(d: JaxDrafter, op: Op) -> Expr:
        keywords = (
            Keyword(name, d.attribute(op, name, op.attr(name)), Num(value))
            for name, value in defaults.items()
        )
        args = (Path(op.path), *(d.tensor(name) for name in op.inputs if name))
        return Call(Word(op.op), (*args, *keywords))

    return say


def when(condition: Callable[[Op], bool], say: Callable[[JaxDrafter, Op], Expr | None]) -> Say:
    return lambda d, op: say(d, op) if condition(op) else None


def embedding(d: JaxDrafter, op: Op) -> Expr:
    (tokens,) = op.inputs
    return At(Path(f"{op.path}.weight", tensor=True), (d.value(tokens),))


def conv(d: JaxDrafter, op: Op) -> Expr | None:
    """Convolutions whose attributes are the same along both axes."""
    callee = d.program.functions[op.callee]
    found = [each for each in walk(callee.body) if each.op == "conv"]
    inner = {each.op for each in walk(callee.body)}
    if len(found) != 1 or not inner <= {"conv", "param", "reshape", "add"}:
        return None
    uniform = {name: same(found[0].attr(name)) for name in ("stride", "padding", "dilation")}
    if None in uniform.values():
        return None
    values = {**uniform, "groups": found[0].attr("groups")}
    keywords = [here(each, callee, op) for each in _geometry(d, op, values)]
    name = "grouped_conv" if _in_groups(keywords) else op.op
    return Call(Word(name), (Path(op.path), d.tensor(op.inputs[0]), *keywords))


def here(expr: Expr, function: Function, op: Op) -> Expr:
    """An expression of a layer in the words of what calls it."""

    def change(node: Expr) -> Expr:
        found = given(Argument(node.name, node.name, "int"), function, op) if isinstance(node, Arg) else None
        return node if found is None else found

    return transform(numbered(expr), change)


def _geometry(d: JaxDrafter, op: Op, values: Mapping[str, Attr]) -> Iterator[Expr]:
    for name, value in values.items():
        yield Keyword(name, d.attribute(op, name, value), Num(_CONV[name], name))


def _in_groups(keywords: Sequence[Expr]) -> bool:
    """Whether there may be more than one group: a setting may say so, too."""
    return any(
        isinstance(each, Keyword) and each.name == "groups" and text(numbered(each.value)) != "1"
        for each in keywords
    )


_CONV = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1}


def convolution(d: JaxDrafter, op: Op) -> Expr:
    """`convolve2d` or, in groups, `grouped_convolve` where attributes are the same along all axes, else what they call."""
    rank = d.types[op.inputs[0]].rank - 2
    uniform = {name: same(op.attr(name)) for name in ("stride", "padding", "dilation")}
    geometry = [*_geometry(d, op, {**uniform, "groups": op.attr("groups")})]
    if (rank == 2 or _in_groups(geometry)) and None not in uniform.values():
        name = "grouped_convolve" if _in_groups(geometry) else "convolve2d"
        return Call(Word(name), (*map(d.tensor, op.inputs), *geometry))
    axes = Seq(tuple(Text(f"{a}{b}{'DHW'[-rank:]}") for a, b in ("NC", "OI", "NC")))
    x, w = map(d.tensor, op.inputs)
    ones = Seq((Num(1, "dilation"),) * rank)
    keywords = (
        Keyword("rhs_dilation", d.attribute(op, "dilation", op.attr("dilation")), ones),
        Keyword("dimension_numbers", axes),
        Keyword("feature_group_count", d.attribute(op, "groups", op.attr("groups")), Num(1, "groups")),
    )
    stride, padding = (d.attribute(op, name, op.attr(name)) for name in ("stride", "padding"))
    return Call(Word("lax.conv_general_dilated"), (x, w, stride, padding, *keywords))


def transposed(d: JaxDrafter, op: Op) -> Expr:
    """`conv_transpose` where attributes are the same along all axes, else the general form."""
    uniform = {name: same(op.attr(name)) for name in ("stride", "padding", "output_padding", "dilation")}
    if None in uniform.values():
        return d.row(rows.ROWS[op.op], op)
    geometry = _geometry(d, op, {**uniform, "groups": op.attr("groups")})
    return Call(Word("conv_transpose"), (*map(d.tensor, op.inputs), *geometry))


def resize(d: JaxDrafter, op: Op) -> Expr:
    """`upsample_nearest` where all axes become so many times as long, by a power of 2: then there is no rounding in where a new element
    comes from, and the derivative of repeating is a sum, where that of reading at places is a scatter."""
    by = same(op.attr("scale"))
    if op.attr("mode") == "nearest" and by is not None and by > 0 and by & (by - 1) == 0 and not names(by):
        return Call(Word("upsample_nearest"), (d.tensor(op.inputs[0]), Num(by)))
    return methods.resize(d, op)


def same(value: Attr) -> int | None:
    """The number that all of nested tuples of numbers are, or None."""
    stack, found = [value], set()
    while stack:
        each = stack.pop()
        if isinstance(each, tuple):
            stack += each
        else:
            found.add(each)
    only = found.pop() if len(found) == 1 else None
    return only if isinstance(only, int) else None


def pool(d: JaxDrafter, op: Op) -> Expr:
    """Pooling of square windows over two axes, else the general form."""
    values = {name: same(op.attr(name)) for name in ("kernel", "stride", "padding")}
    plain = d.types[op.inputs[0]].rank == 4 and not op.attr("ceil") and None not in values.values()
    if not plain or (op.attr("count_padding") is False and values["padding"]):
        return d.row(rows.ROWS[op.op], op)
    stride = Keyword("stride", d.attribute(op, "stride", values["stride"]))
    padding = Keyword("padding", d.attribute(op, "padding", values["padding"]), Num(0, "padding"))
    return Call(
        Word(f"{op.op}2d"),
        (d.tensor(op.inputs[0]), d.attribute(op, "kernel", values["kernel"]), stride, padding),
    )


def gelu(d: JaxDrafter, op: Op) -> Expr | None:
    """JAX's gelu has the exact form and the one with tanh."""
    approximate = op.attr("approximate")
    if approximate not in ("none", "tanh"):
        return None
    x = d.tensor(op.inputs[0])
    # The form with tanh is JAX's default.
    return Call(
        Word("jax.nn.gelu"), (x,) if approximate == "tanh" else (x, Keyword("approximate", Word("False")))
    )


def dropout(d: JaxDrafter, op: Op) -> Expr | None:
    """In a program of one mode, what it is there: nothing, or a draw."""
    traits = d.traits[op.callee]
    if not traits.key:
        return None
    p = Keyword("p", d.attribute(op, "p", op.attr("p")), Num(0.5, "p"))
    mode = Keyword("training", Flag("training") if traits.training else Word("True"))
    return Call(Word("dropout"), (d.tensor(op.inputs[0]), p, mode, Keyword("key", d.key())))


def safe_sqrt(d: JaxDrafter, op: Op) -> Expr:
    return Call(Word("safe_sqrt"), (d.tensor(op.inputs[0]),))


LAYERS: Mapping[str, Say] = {
    "dropout": dropout,
    "linear": layer(),
    "embedding": embedding,
    "layer_norm": when(lambda op: op.attr("affine") is True and op.attr("axes") == 1, layer(eps=1e-5)),
    "rms_norm": when(lambda op: op.attr("affine") is True, layer(eps=1e-6)),
    "conv1d": conv,
    "conv2d": conv,
    "gelu": gelu,
    "clamp": methods.clamp,
    "_safe_sqrt": safe_sqrt,
    "conv": convolution,
    "conv_transpose": transposed,
    "resize": resize,
    "max_pool": pool,
    "avg_pool": pool,
}

DIALECT = Dialect(
    name="jax",
    rows=rows.ROWS,
    host=HOST,
    composites=rows.COMPOSITES,
    forms={**methods.SAY, LOOP: steps.loop, **LAYERS},
    dtypes=rows.DTYPES,
    defaults=rows.DEFAULTS,
    reserved=rows.RESERVED,
    is_layer=lambda expr: isinstance(expr, Call) and isinstance(next(iter(expr.args), None), At),
    generated=rows.FUNCTIONS | rows.PLAIN | LAYERS.keys() | {"eye"},
)
