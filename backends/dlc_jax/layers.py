"""Composites and windowed ops as calls of a function of `library.py`, in the cases that it covers.

Each method may decline with None: a composite is then a function made from its definition, an op its general
form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dlc.emit.tree import At, Call, Expr, Keyword, Make, Num, Path, Seq, Text, Word
from dlc.ir.nodes import Attr, Op, walk
from dlc_jax import rows
from dlc_jax.methods import clamp
from dlc_jax.sketch import Say, Sketcher, number


def layer(**defaults: float) -> Callable[[Sketcher, Op], Expr]:
    """`name(params["path"], x, attribute=value)`, where an attribute has not its default."""

    def say(s: Sketcher, op: Op) -> Expr:
        keywords = (
            Keyword(name, number(op.attr(name), name), Num(value)) for name, value in defaults.items()
        )
        return Make(op.op, (Path(op.path), *(s.array(name) for name in op.inputs if name), *keywords))

    return say


def when(condition: Callable[[Op], bool], say: Callable[[Sketcher, Op], Expr | None]) -> Say:
    return lambda s, op: say(s, op) if condition(op) else None


def embedding(s: Sketcher, op: Op) -> Expr:
    (tokens,) = op.inputs
    return At(Path(f"{op.path}.weight", tensor=True), (s.value(tokens),))


def conv(s: Sketcher, op: Op) -> Expr | None:
    """Convolutions whose attributes are the same along both axes."""
    found = [each for each in walk(s.program.functions[op.callee].body) if each.op == "conv"]
    inner = {each.op for each in walk(s.program.functions[op.callee].body)}
    if len(found) != 1 or not inner <= {"conv", "param", "reshape", "add"}:
        return None
    uniform = {name: same(found[0].attr(name)) for name in ("stride", "padding", "dilation")}
    if None in uniform.values():
        return None
    values = {**uniform, "groups": found[0].attr("groups")}
    keywords = (Keyword(name, number(value, name), Num(_CONV[name], name)) for name, value in values.items())
    return Make(op.op, (Path(op.path), s.array(op.inputs[0]), *keywords))


_CONV = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}


def convolution(s: Sketcher, op: Op) -> Expr:
    """`convolve2d` where attributes are the same along both axes, else what it calls."""
    rank = s.types[op.inputs[0]].rank - 2
    uniform = {name: same(op.attr(name)) for name in ("stride", "padding", "dilation")}
    if rank == 2 and None not in uniform.values():
        values = {**uniform, "groups": op.attr("groups")}
        given = (Keyword(name, number(value, name), Num(_CONV[name], name)) for name, value in values.items())
        return Make("convolve2d", (*map(s.array, op.inputs), *given))
    names = Seq(tuple(Text(f"{a}{b}{'DHW'[-rank:]}") for a, b in ("NC", "OI", "NC")))
    x, w = map(s.array, op.inputs)
    ones = Seq((Num(1, "dilation"),) * rank)
    keywords = (
        Keyword("rhs_dilation", s.attribute(op, "dilation", op.attr("dilation")), ones),
        Keyword("dimension_numbers", names),
        Keyword("feature_group_count", number(op.attr("groups"), "groups"), Num(1, "groups")),
    )
    stride, padding = (s.attribute(op, name, op.attr(name)) for name in ("stride", "padding"))
    return Call(Word("lax.conv_general_dilated"), (x, w, stride, padding, *keywords))


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


def pool(s: Sketcher, op: Op) -> Expr:
    """Pooling of square windows over two axes, else the general form."""
    values = {name: same(op.attr(name)) for name in ("kernel", "stride", "padding")}
    plain = s.types[op.inputs[0]].rank == 4 and not op.attr("ceil") and None not in values.values()
    if not plain or (op.attr("count_padding") is False and values["padding"]):
        return s.row(rows.ROWS[op.op], op)
    stride = Keyword("stride", number(values["stride"], "stride"))
    padding = Keyword("padding", number(values["padding"], "padding"), Num(0, "padding"))
    return Make(f"{op.op}2d", (s.array(op.inputs[0]), number(values["kernel"], "kernel"), stride, padding))


def gelu(s: Sketcher, op: Op) -> Expr | None:
    """JAX's gelu has the exact form and the one with tanh."""
    approximate = op.attr("approximate")
    if approximate not in ("none", "tanh"):
        return None
    x = s.array(op.inputs[0])
    # The form with tanh is JAX's default.
    return Call(
        Word("jax.nn.gelu"), (x,) if approximate == "tanh" else (x, Keyword("approximate", Word("False")))
    )


LAYERS: Mapping[str, Say] = {
    "linear": layer(),
    "embedding": embedding,
    "layer_norm": when(lambda op: op.attr("affine") is True and op.attr("axes") == 1, layer(eps=1e-5)),
    "rms_norm": when(lambda op: op.attr("affine") is True, layer(eps=1e-6)),
    "conv1d": conv,
    "conv2d": conv,
    "gelu": gelu,
    "clamp": clamp,
    "conv": convolution,
    "max_pool": pool,
    "avg_pool": pool,
}
