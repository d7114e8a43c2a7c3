"""The cost of ops, from the texts in their definitions."""

from __future__ import annotations

from typing import Any

import pytest

from dlc import ops
from dlc.ops import samples
from dlc.ops.cost import bytes_moved, flops
from dlc.ops.definition import OpDef
from dlc.types.dims import parse_dim
from dlc.types.facts import Facts
from dlc.types.tensor import TensorType

DEFINITIONS = list(ops.all_ops())


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda each: each.name)
def test_every_text_can_be_evaluated(definition: OpDef) -> None:
    for sample in definition.samples:
        inputs = samples.types(samples.arrays(definition, sample))
        attrs = samples.attributes(definition, sample)
        results = definition.result_types(Facts(), inputs, attrs)
        cost = flops(definition, inputs, results, attrs).constant
        assert cost is not None
        assert cost >= 0


def cost_of(name: str, shapes: list[str], **attrs: Any) -> tuple[str, str]:
    definition = ops.get(name)
    inputs = [TensorType("f32", tuple(map(parse_dim, shape.split(", ")))) for shape in shapes]
    results = definition.result_types(Facts(), inputs, attrs)
    return str(flops(definition, inputs, results, attrs)), str(bytes_moved(inputs, results))


def test_symbolic_costs() -> None:
    assert cost_of("matmul", ["B, T, 8", "8, 3"]) == ("48*B*T", "44*B*T + 96")
    assert cost_of("einsum", ["B, 8", "B, 3"], pattern="bi,bj->ij")[0] == "48*B"
    assert cost_of("einsum", ["B, 8", "8, 3", "3, K"], pattern="bi,ij,jk->bk")[0] == "6*B*K + 48*B"
    assert cost_of("einsum", ["B", "8"], pattern="b,i->bi")[0] == "0", "nothing is summed"
    assert cost_of("einsum", ["B, 8, 5", "8, 3"], pattern="bix,ij->bj")[0] == "48*B", "x is summed before"
    assert cost_of("add", ["B, 8", "8"]) == ("8*B", "64*B + 32")
    space = {"stride": (1, 1), "padding": ((1, 1), (1, 1))}
    attrs = {**space, "dilation": (1, 1), "groups": 1}
    assert cost_of("conv", ["B, 3, H, 4", "8, 3, 3, 3"], **attrs)[0] == "1728*B*H"


def test_four_bit_numbers_share_a_byte() -> None:
    assert bytes_moved([TensorType.of("i4", (5,))], []).constant == 3


SIZES = {"B": 2, "i": 7, "j": 5, "k": 11, "l": 3, "o": 4}
CONTRACTIONS = (
    "Bij,Bjk,Bkl->Bil", "ij,kl,jk->il", "Bi,oij,Bj->Bo", "ij,ik,jk->k", "ij,j,i->", "ij,jk,kl,lo->io", "ii,ij->j", "i,j,k->ijk",
)  # fmt: skip


@pytest.mark.parametrize("pattern", CONTRACTIONS)
def test_contractions_are_counted_as_by_pytorch(pattern: str) -> None:
    """In the order that is written, as PyTorch contracts where it has no opt_einsum."""
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    shapes = [[SIZES[letter] for letter in term] for term in pattern.partition("->")[0].split(",")]
    types = [TensorType.of("f32", tuple(shape)) for shape in shapes]
    definition = ops.get("einsum")
    results = definition.result_types(Facts(), types, {"pattern": pattern})
    with FlopCounterMode(display=False) as counter, torch.backends.opt_einsum.flags(enabled=False):
        torch.einsum(pattern, *map(torch.zeros, shapes))
    assert flops(definition, types, results, {"pattern": pattern}).constant == counter.get_total_flops()
