"""What ops say about operands that do not fit."""

from __future__ import annotations

from typing import Any

import pytest

from dlc import ops
from dlc.ops.definition import OpError
from dlc.types.dims import parse_dim
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType

FACTS = Facts()


def tensor(text: str) -> TensorType:
    """`i64[B, T // 2]`."""
    dtype, _, axes = text.rstrip("]").partition("[")
    return TensorType(dtype or "float", tuple(parse_dim(each) for each in axes.split(", ") if each))


def sizes(*texts: str) -> tuple[Any, ...]:
    return tuple(map(parse_dim, texts))


SPATIAL = {"stride": (1, 1), "padding": ((0, 0), (0, 0))}
CONV = {**SPATIAL, "dilation": (1, 1), "groups": 1}
POOL = {**SPATIAL, "kernel": (2, 2), "ceil": False}

# op, operands, attributes, kind, a part of the message, the help
WRONG: list[tuple[str, list[str], dict[str, Any], str, str, str]] = [
    (
        "add",
        ["[B, T]", "[B, N]"],
        {},
        "fact",
        "axis -1 to agree: T and N",
        "if they always are, state it: `where T == N`",
    ),
    ("add", ["[3]", "[4]"], {}, "shape", "`add` can't broadcast these: axis -1 is 3 and 4", ""),
    (
        "add",
        ["[3]", "i64[3]"],
        {},
        "dtype",
        "operands of one dtype, not float and i64",
        "convert one: `cast(x, float)`",
    ),
    ("exp", ["i64[3]"], {}, "dtype", "`exp` needs a float tensor, not i64", "convert it: `cast(x, float)`"),
    ("where", ["[3]", "[3]", "[3]"], {}, "dtype", "needs `condition` to be bool", ""),
    (
        "sum",
        ["[B, T]"],
        {"axis": (2,), "keepdims": False},
        "value",
        "no axis 2 to work on: `x` has 2 axes",
        "",
    ),
    ("sum", ["[B, T]"], {"axis": (0, 0), "keepdims": False}, "value", "axis 0 twice", ""),
    (
        "max",
        ["[B, 0]"],
        {"axis": (1,), "keepdims": False},
        "shape",
        "over axis 1 has no value: its size is 0",
        "",
    ),
    ("matmul", ["[B, T, 3]", "[B, 4, 5]"], {}, "shape", "the last but one of `b` to agree: 3 is not 4", ""),
    (
        "matmul",
        ["[B, T]", "[T]"],
        {},
        "shape",
        "needs matrices: `b` has 1 axis",
        "add an axis: `x[:, none]` or `x[none]`",
    ),
    ("einsum", ["[B, T]"], {"pattern": "ab->c"}, "value", "no operand with the axis `c`", ""),
    ("einsum", ["[B, T]"], {"pattern": "ab"}, "value", "needs a pattern such as", ""),
    ("einsum", ["[3, 4]"], {"pattern": "aa->a"}, "shape", "needs axis `a` to agree: 3 is not 4", ""),
    ("reshape", ["[B, 6]"], {"shape": sizes("B", "7")}, "shape", "number of elements: 6*B is not 7*B", ""),
    (
        "reshape",
        ["[B, T, 4]"],
        {"shape": sizes("B", "T // 2", "8")},
        "fact",
        "nothing says that 4*B*T and 8*B*(T//2) are equal",
        "state what is missing: `where T % 2 == 0`",
    ),
    (
        "permute",
        ["[B, T]"],
        {"axes": (0, 0)},
        "value",
        "each of the 2 axes of `x` once",
        "count them from 0: [0, 1] in any order",
    ),
    (
        "broadcast",
        ["[B, T]"],
        {"shape": sizes("B", "N")},
        "fact",
        "keeps axis 1, which is not of size 1: T and N",
        "if they always are, state it: `where T == N`",
    ),
    (
        "concat",
        ["[B, T]", "[N, T]"],
        {"axis": 1},
        "fact",
        "axis 0 of tensors 0 and 1 to agree",
        "if they always are, state it: `where B == N`",
    ),
    ("concat", ["[B, T]", "[B]"], {"axis": 0}, "shape", "tensors of one rank", ""),
    (
        "slice",
        ["[T]"],
        {"start": sizes("0"), "stop": sizes("64"), "step": (1,)},
        "fact",
        "`slice` 0:64 of axis 0, of size T, ends after the axis: nothing says that T is at least 64",
        "if it always is, state it: `where 64 <= T`",
    ),
    (
        "slice",
        ["[4]"],
        {"start": sizes("0"), "stop": sizes("5"), "step": (1,)},
        "shape",
        "4 is less than 5",
        "",
    ),
    (
        "pad",
        ["[4]"],
        {"before": sizes("-1"), "after": sizes("0"), "value": 0.0},
        "shape",
        "`before` to be 0 or more",
        "",
    ),
    (
        "pad",
        ["[4]"],
        {"before": (), "after": (), "value": 0.0},
        "value",
        "one `before` per axis: 1, not 0",
        "",
    ),
    (
        "top_k",
        ["[V]"],
        {"k": 50, "axis": 0},
        "fact",
        "at least k elements along axis 0",
        "if it always is, state it: `where 50 <= V`",
    ),
    (
        "take_along",
        ["[B, T]", "i64[N, 3]"],
        {"axis": 1},
        "fact",
        "axis 0 of `x` and `index`",
        "if they always are, state it: `where B == N`",
    ),
    ("cast", ["[3]"], {"dtype": "f31"}, "dtype", "`cast` can't make `f31`", ""),
    ("arange", [], {"start": 0, "stop": 4, "step": 0, "dtype": "i64"}, "value", "step other than 0", ""),
    (
        "conv",
        ["[B, 3, H, W]", "[8, 4, 1, 1]"],
        CONV,
        "shape",
        "needs kernels over 3 channels: 4 is not 3",
        "",
    ),
    (
        "conv",
        ["[B, 3, 4, 4]", "[8, 3, 5, 5]"],
        CONV,
        "shape",
        "fit into spatial axis 0: it covers 5, the axis has 4",
        "",
    ),
    (
        "conv",
        ["[B, 3, H, W]", "[8, 3, 5, 5]"],
        CONV,
        "fact",
        "it covers 5, and nothing says that the axis, of size H, is as large",
        "state it: `where 5 <= H`",
    ),
    (
        "conv",
        ["[B, 3, H, W]", "[8, 3, 3, 3]"],
        {**CONV, "groups": 2},
        "shape",
        "3 is not a multiple of 2",
        "",
    ),
    (
        "conv",
        ["[3, H]", "[8, 3, 3]"],
        CONV,
        "shape",
        "needs [batch, channels, …]",
        "add a batch axis: `x[none]`",
    ),
    (
        "max_pool",
        ["[B, 3, H, W]"],
        {**POOL, "padding": ((2, 0), (0, 0))},
        "value",
        "padding smaller than the kernel",
        "",
    ),
    ("max_pool", ["[B, 3, H, W]"], {**POOL, "stride": (0, 1)}, "value", "`stride` of 1 or more", ""),
    ("orthogonal", [], {"shape": sizes("3"), "dtype": "f32"}, "value", "2 or more axes", ""),
]


@pytest.mark.parametrize(
    ("name", "operands", "attrs", "kind", "message", "help"),
    WRONG,
    ids=[f"{row[0]}-{i}" for i, row in enumerate(WRONG)],
)
def test_message(
    name: str, operands: list[str], attrs: dict[str, Any], kind: str, message: str, help: str
) -> None:
    with pytest.raises(OpError) as caught:
        ops.get(name).result_types(FACTS, list(map(tensor, operands)), attrs)
    assert message in caught.value.message
    assert (caught.value.kind, caught.value.help) == (kind, help)


def test_facts_make_it_right() -> None:
    given = FACTS.assume_divisible(parse_dim("T"), 2)
    (type,) = ops.get("reshape").result_types(
        given, [tensor("[B, T, 4]")], {"shape": sizes("B", "T // 2", "8")}
    )
    assert str(type) == "[B, T//2, 8]"
    (type,) = ops.get("conv").result_types(
        FACTS.assume_divisible(parse_dim("H"), 2), [tensor("[B, 3, H, 8]"), tensor("[8, 3, 3, 3]")],
        {**CONV, "stride": (2, 2), "padding": ((1, 1), (1, 1))},
    )  # fmt: skip
    assert str(type) == "[B, 8, H//2, 4]"
