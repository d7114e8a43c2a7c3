"""Patterns of named axes: `rearrange`, `reduce`, `repeat`, `einsum`."""

from __future__ import annotations

import re
from typing import Any

from dlc.diagnostics import did_you_mean
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Builtin, Tensor, type_name
from dlc.elaborate.builtins.call import Call
from dlc.elaborate.calls.arguments import Given
from dlc.elaborate.ops import patterns
from dlc.elaborate.state.body import Body
from dlc.elaborate.types.static import plain
from dlc.ops.calls import REQUIRED
from dlc.syntax import ast
from dlc.types.dims import Dim


def _check_sizes(call: Call, args: Given, sizes: dict[str, Any]) -> None:
    """Sizes given to a pattern are whole numbers for names that occur in it."""
    text = call["pattern"]
    words = re.findall(r"[A-Za-z_]\w*", text) if isinstance(text, str) else list(sizes)
    for name, value in sizes.items():
        if name not in words:
            place = args.names.get(name, args.named[name][1])
            help = did_you_mean(name, words)
            call.body.report.fail(problems.UNKNOWN_ARGUMENT, place, callee=call.name, name=name, help=help)
        if not isinstance(plain(value), int | Dim) or isinstance(value, bool):
            place, found = args.named[name][1], type_name(value)
            call.body.report.fail(
                problems.STATIC_TYPE, place, callee=call.name, name=name, expected="an int", found=found
            )


def _pattern_op(name: str) -> Builtin:
    def expand(body: Body, node: ast.Node, args: Given) -> Any:
        names = ["x", "pattern", "how"] if name == "reduce" else ["x", "pattern"]
        own = Given(args.positional, {k: v for k, v in args.named.items() if k in names})
        call = Call(body, node, name, own, dict.fromkeys(names, REQUIRED))
        sizes = {key: value for key, (value, _) in args.named.items() if key not in names}
        _check_sizes(call, args, sizes)
        x = call.tensor("x")
        if name == "rearrange":
            return patterns.rearrange(body, node, x, call["pattern"], call.spans["pattern"], sizes)
        if name == "repeat":
            return patterns.repeat(body, node, x, call["pattern"], call.spans["pattern"], sizes)
        spans = call.spans["pattern"], call.spans["how"]
        return patterns.reduce(body, node, x, call["pattern"], call["how"], spans[0], sizes, spans[1])

    return Builtin(name, expand, f"{name}(x, pattern, …)")


def _einsum(body: Body, node: ast.Node, args: Given) -> Any:
    if not args.positional or args.named:
        body.report.fail(problems.MISSING_ARGUMENT, node.span, callee="einsum", name="pattern")
    *operands, (text, span) = args.positional
    tensors = [value for value, _ in operands]
    for value, where in operands:
        if not isinstance(value, Tensor):
            body.report.fail(
                problems.NOT_A_TENSOR,
                where,
                callee="einsum",
                name="operand",
                found=type_name(value),
                help='the pattern comes last: `einsum(a, b, "i j, j k -> i k")`',
            )
    return patterns.einsum(body, node, tensors, text, span)


BUILTINS: tuple[Builtin, ...] = (
    *(_pattern_op(name) for name in ("rearrange", "reduce", "repeat")),
    Builtin("einsum", _einsum, "einsum(a, b, pattern)"),
)
