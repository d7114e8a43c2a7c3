"""Causal attention in which queries and keys turn out to be as many, whoever calls: `attention(x, x)` in a module that would take
another memory as well. Backends have that in one piece, without a mask.

Before:

    fn attend(%q: [B, T, 8], %k: [B, U, 8], %v: [B, U, 8]) -> (y: %y)
        source attention
        library
    {
        %turned: [B, 8, U] = permute(%k) {axes=[0, 2, 1]}
        %scores: [B, T, U] = matmul(%q, %turned)
        %y: [B, T, 8] = matmul(%scores, %v)
    }
    module Attend(%x: [B, T, 8], %memory: [B, S, 8]) -> (y: %y) {
        %y: [B, T, 8] = attention(%x, %memory, %memory) {causal=true} -> attend [B=B, T=T, U=S]
    }
    model Net(%x: [B, T, 8]) -> (y: %y) {
        %y: [B, T, 8] = call(%x, %x) -> Attend [B=B, T=T, S=T]
    }

After:

    fn attend(%q: [B, T, 8], %k: [B, U, 8], %v: [B, U, 8]) -> (y: %y)
        source attention
        library
    {
        %turned: [B, 8, U] = permute(%k) {axes=[0, 2, 1]}
        %scores: [B, T, U] = matmul(%q, %turned)
        %y: [B, T, 8] = matmul(%scores, %v)
    }
    module Attend(%x: [B, T, 8], %memory: [B, S, 8]) -> (y: %y) {
        %y: [B, T, 8] = attention(%x, %memory, %memory) {causal=true, square=true} -> attend [B=B, T=T, U=S]
    }
    model Net(%x: [B, T, 8]) -> (y: %y) {
        %y: [B, T, 8] = call(%x, %x) -> Attend [B=B, T=T, S=T]
    }

The sizes keep their names: other instances of the module, which become one class with this one, have two lengths.
"""

from __future__ import annotations

from collections.abc import Mapping

from dlc.ir.nodes import Function, Op, Program, walk
from dlc.ir.splice import within
from dlc.once import once
from dlc.records import dataclass, replace
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType


@dataclass(frozen=True, slots=True)
class EqualLengths:
    """Runs after `decompose`. Marks calls of `attention`, by an attribute that a backend may read; changes nothing else."""

    name: str = "equal-lengths"

    def run(self, program: Program) -> Program:
        causal = {name for name, each in program.functions.items() if _holds_causal(each)}
        same = _equal_dims(program) if causal else {}
        marked = {name: _marked(program.functions[name], frozenset(same[name].items())) for name in causal}
        return program.with_functions({**program.functions, **marked}) if causal else program


def _equal_dims(program: Program) -> Mapping[str, Mapping[str, Dim]]:
    """For each function, its dims that all calls make equal, as one of them."""
    calls: dict[str, list[tuple[str, Op]]] = {name: [] for name in program.functions}
    for name, function in program.functions.items():
        for op in walk(function.body):
            if op.callee:
                calls[op.callee].append((name, op))
    found: dict[str, Mapping[str, Dim]] = {}
    for name in reversed(list(program.functions)):  # callers first
        given = [
            {symbol: dim.substitute(found[caller]) for symbol, dim in op.dims} for caller, op in calls[name]
        ]
        groups: dict[object, str] = {}
        dims = program.functions[name].dims if given else ()
        known = [symbol for symbol in dims if all(symbol in each for each in given)]
        found[name] = {
            symbol: Dim.symbol(groups.setdefault(tuple(each[symbol] for each in given), symbol))
            for symbol in known
        }
    return found


@once
def _marked(function: Function, equal: frozenset[tuple[str, Dim]]) -> Function:
    types, same = function.types(), dict(equal)

    def change(op: Op) -> Op:
        if _is_causal(op) and _length(types[op.inputs[0]], same) == _length(types[op.inputs[1]], same):
            return replace(op, attrs=(*op.attrs, ("square", True)))
        return within(op, change)

    return replace(function, body=tuple(map(change, function.body)))


def _length(type: TensorType, same: Mapping[str, Dim]) -> Dim:
    return type.axes[-2].substitute(same)


@once
def _holds_causal(function: Function) -> bool:
    return any(map(_is_causal, walk(function.body)))


def _is_causal(op: Op) -> bool:
    return op.op == "attention" and op.attr("causal") is True
