"""What a model asks of its inputs' sizes, checked where it begins."""

from __future__ import annotations

from collections.abc import Iterable

from dlc.emit.sizes import readable
from dlc.emit.tree import Binary, Expr, Num, Size, size
from dlc.ir.nodes import Function
from dlc.types.dims import Dim
from dlc.types.facts import Relation
from dlc_torch.statements import Check

_WORDS = {
    "<=": "at most",
    "<": "less than",
    ">=": "at least",
    ">": "more than",
    "==": "equal to",
    "!=": "other than",
}


def checks(function: Function) -> Iterable[Check]:
    """What a model asks of its inputs' sizes, with messages such as `T must be at most {self.context}, not {T}`."""
    known = set(readable(function))
    for fact in function.facts:
        symbols = fact.left.symbols | fact.right.symbols
        if symbols and symbols <= known and not _is_trivial(fact):
            yield _check(Binary(fact.op, size(fact.left, "limit"), size(fact.right, "limit")), str(fact))


def _check(condition: Expr, fact: str) -> Check:
    match condition:
        case Binary("==", Binary("%", Size(name) as left, right), Num(0)):
            return Check(condition, f"{name} must be a multiple of {{}}, not {{}}", (right, left))
        case Binary(operator, Size(name) as left, right):
            return Check(condition, f"{name} must be {_WORDS[operator]} {{}}, not {{}}", (right, left))
    return Check(condition, f"{fact} must hold")


def _is_trivial(fact: Relation) -> bool:
    """Sizes are 1 or more anyhow."""
    low, high = (fact.left, fact.right) if fact.op in ("<=", "<") else (fact.right, fact.left)
    return (
        fact.op in ("<=", "<", ">=", ">")
        and low.constant in (0, 1)
        and high == Dim.symbol(next(iter(high.symbols), ""))
    )
