"""Which backend says which op natively, by decomposition, or not at all: the table of `dlc ops` and of the docs."""

from __future__ import annotations

from typing import Any

from dlc import backend as backends
from dlc import ops
from dlc.backend import Backend
from dlc.backend.installed import Broken
from dlc.elaborate.base.project import library_definition, library_index
from dlc.elaborate.builtins import BUILTINS
from dlc.ir.nodes import Op
from dlc.ops.gaps import EVERY
from dlc.syntax import ast

# Names that no op has, or that mean more than the op of that name.
CALLED = {
    "adaptive_avg_pool": "Averages over as many windows an axis after [B, C] as `sizes` says.",
    "arange": "0 to before `start`, or `start` to before `stop`, as i64; of floats, `float`.",
    "bernoulli": "True with probability p.",
    "chunk": "n equal parts along an axis.",
    "einsum": 'The sum of products that a pattern says: `"B i k, B k j -> B i j"`.',
    "eye": "A matrix with ones on its diagonal.",
    "flatten": "All axes from `start` on as one.",
    "gradient": "The derivative of a float scalar by a float tensor that it is computed of, or by each of several in a list or tuple.",
    "linspace": "n numbers from `start` to `stop`, both among them.",
    "normal": "Standard normal numbers.",
    "normal_like": "Standard normal numbers in the shape of x.",
    "ones": "Ones.",
    "ones_like": "Ones in the shape of x.",
    "pad": "`before` and `after` elements more along one axis.",
    "rearrange": 'Another order of axes, joined and cut by a pattern: `"B T (h e) -> B h T e"`.',
    "reduce": 'Takes axes away: `reduce(x, "B T d -> B d", "mean")`; also sum, max, min, prod.',
    "repeat": 'New axes: `repeat(x, "B d -> B n d", n=4)`.',
    "reshape": "The same elements in another shape; one size may be -1: what is left.",
    "roll": "What leaves at one end of an axis enters at the other; along several axes with a list of shifts.",
    "sort": "Sorted along an axis.",
    "split": "Parts of the given sizes along an axis.",
    "squeeze": "Without the axes of size 1, or the given ones.",
    "stack": "Equal tensors along a new axis.",
    "tensor": "A constant of nested lists.",
    "tile": "Repeated as often along each axis as `counts` says.",
    "transpose": "Two axes swapped; `x.T` for the last two.",
    "uniform": "Uniform numbers from 0 to 1.",
    "zeros": "Zeros.",
    "zeros_like": "Zeros in the shape of x.",
}


def table() -> dict[str, dict[str, Any]]:
    """Per op: signature, documentation, kind ("primitive", "fn", "layer", or "call" for what specs write with several
    primitives), family (the file that defines it; empty for an op from outside and for calls), cost, how each backend says
    it, and `call`, how specs call a primitive where that is another signature."""
    rows: dict[str, dict[str, Any]] = {}
    found = tuple(each for each in backends.every() if not isinstance(each, Broken))
    families = ops.families()
    for op in ops.all_ops():
        family = families.get(op.name, "")
        rows[op.name] = _row(found, op.name, op.signature_text, op.doc, "primitive", family, op.flops)
    for name, (file, _, _) in library_index().items():
        definition = library_definition(name)
        if definition is None or name.startswith("_"):
            continue
        node = definition.node
        kind = "layer" if isinstance(node, ast.ModuleDef) else "fn"
        family = file.removesuffix(".dl")
        rows[name] = _row(found, name, header(definition.unit.text, node), node.doc, kind, family, "")
    for name, builtin in BUILTINS.items():
        if name not in rows and name in CALLED:
            rows[name] = _row(found, name, builtin.signature, CALLED[name], "call", "", "")
        elif name in rows and rows[name]["kind"] == "primitive" and builtin.signature:
            rows[name]["call"] = builtin.signature
    return dict(sorted(rows.items()))


def lacking() -> dict[str, str]:
    """Per backend that lacks dtypes in all ops: which, and why."""
    found = {each.name: each.gaps.get(EVERY) for each in backends.every()}
    return {name: gap.text() for name, gap in found.items() if gap is not None}


def header(text: str, node: ast.Item) -> str:
    """The header of a definition of the library, as written, on one line."""
    lines = text.split("\n")[node.span.line - 1 :]
    words = " ".join(" ".join(lines[:8]).split())
    return words.split(" {", 1)[0].split(" where ", 1)[0]


def _row(
    found: tuple[Backend, ...], name: str, signature: str, doc: str, kind: str, family: str, flops: str
) -> dict[str, Any]:
    how = {each.name: _how(each, name, kind) for each in found}
    return {
        "signature": signature, "doc": doc, "kind": kind, "family": family, "flops": flops, "backends": how,
    }  # fmt: skip


def _how(backend: Backend, name: str, kind: str) -> str:
    """`native`, `decomposed` or `missing`; behind a colon what is missing and why, where the backend declares it."""
    gap = backend.gaps.get(name)
    if gap is not None and gap.dtypes is None:
        return f"missing: {gap.reason}"
    native = backend.is_native(Op(name, (), (), path="part" if kind == "layer" else ""))
    how = "native" if native else "missing" if kind == "primitive" else "decomposed"
    return f"{how}: not in {gap.text()}" if gap is not None else how
