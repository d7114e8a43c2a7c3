"""Functions of static values: `range`, `len`, `int`, …, and what `sum`, `max` and their likes are of lists of numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Builtin, Tensor, show, type_name
from dlc.elaborate.builtins.call import Call, builtin, check_count
from dlc.elaborate.calls.arguments import Given
from dlc.elaborate.state.body import Body
from dlc.elaborate.tensors import archives
from dlc.elaborate.tensors.operators import lift
from dlc.elaborate.types.static import in_brief, plain
from dlc.ops.calls import REQUIRED
from dlc.syntax import ast
from dlc.types.dims import Dim, dim_max, dim_min
from dlc.types.terms import called, untraced


def _reduced(name: str, call: Call) -> Any:
    """A reduction of static values; NotImplemented where the call is of a tensor."""
    value = call["x"]
    if isinstance(value, list | tuple | range) and call["axis"] is None:
        check_count(call, f"`{name}`", len(value), 100_000)
        return _static_reduction(call, name, value)
    if not isinstance(value, Tensor) and name in ("max", "min"):
        return _static_extremum(call, name, value)
    if isinstance(call["axis"], Tensor) and name in ("max", "min"):
        what, found = f"`axis` of `{name}`", f"a tensor {call['axis'].type}"
        help = f"of two tensors, element by element, it is `{name}imum(a, b)`"
        call.fail(problems.NOT_STATIC, "axis", what=what, found=found, help=help)
    return NotImplemented


def _static_reduction(call: Call, name: str, values: Any) -> Any:
    items = [plain(each) for each in values]
    if any(isinstance(each, Tensor) for each in items):
        help = "join them first: `stack(xs)`, or add them in a loop"
        call.fail(problems.NOT_A_TENSOR, "x", callee=name, name="x", found="a list of tensors", help=help)
    _check_numbers(call, name, items)
    if name == "sum":
        total: Any = 0
        for each in items:
            total = total + each
        return plain(total)
    if name in ("max", "min") and items:
        return _extremum(call, name, items)
    if name == "prod":
        bits = sum(each.bit_length() for each in items if isinstance(each, int))
        if bits > 4_096 + len(items):
            check_count(call, "this number, in bits,", bits, 4_096)
        return called("prod", math.prod(map(untraced, items)), items)
    if name in ("any", "all"):
        return (any if name == "any" else all)(items)
    call.body.report.fail(problems.STATIC_ERROR, call.node.span, message=f"`{name}` of an empty list")


def _static_extremum(call: Call, name: str, value: Any) -> Any:
    """`max(a, b)` of numbers or dims: the second number arrives as `axis`."""
    items = [value, call["axis"]] + ([call["keepdims"]] if call["keepdims"] is not False else [])
    return _extremum(call, name, [each for each in items if each is not None])


def _check_numbers(call: Call, name: str, items: list[Any]) -> None:
    for each in items:
        if not isinstance(each, int | float | Dim):
            call.fail(
                problems.STATIC_TYPE, "x", callee=name, name="x", expected="numbers", found=type_name(each)
            )


def _extremum(call: Call, name: str, items: list[Any]) -> Any:
    _check_numbers(call, name, items)
    if not items:
        call.body.report.fail(problems.STATIC_ERROR, call.node.span, message=f"`{name}` of nothing")
    if not any(isinstance(each, Dim) for each in items):
        return called(name, untraced((max if name == "max" else min)(items)), *items)
    if any(isinstance(each, float) for each in items):
        found = "a dim and a float"
        call.fail(problems.STATIC_TYPE, "x", callee=name, name="x", expected="sizes or numbers", found=found)
    result = Dim.of(items[0])
    for each in items[1:]:
        result = dim_max(result, Dim.of(each)) if name == "max" else dim_min(result, Dim.of(each))
    return plain(call.body.emission.facts.simplify(result))


def _range(body: Body, node: ast.Node, args: Given) -> Any:
    values = [plain(value) for value, _ in args.positional]
    for value, (_, span) in zip(values, args.positional, strict=True):
        if isinstance(value, Dim):
            help = "a loop over a dim is a `scan`, or the dim must be a static parameter"
            found = f"the dim `{value}`"
            body.report.fail(problems.NOT_STATIC, span, what="the length of a range", found=found, help=help)
        if not isinstance(value, int) or isinstance(value, bool):
            body.report.fail(
                problems.STATIC_TYPE,
                span,
                callee="range",
                name="n",
                expected="an int",
                found=type_name(value),
            )
    if not 1 <= len(values) <= 3:
        body.report.fail(problems.MISSING_ARGUMENT, node.span, callee="range", name="n")
    if len(values) == 3 and values[2] == 0:
        body.report.fail(problems.STATIC_ERROR, node.span, message="the step of a range can't be 0")
    result = range(*values)
    if any(abs(each) >= 2**62 for each in values):
        body.report.fail(
            problems.BUDGET, node.span, what="this range", found="numbers over 62 bits", limit="62 bits"
        )
    return result


def _listing(name: str, make: Callable[..., Any], most: int = 1) -> Builtin:
    def expand(body: Body, node: ast.Node, args: Given) -> Any:
        if not 1 <= len(args.positional) <= most or args.named:
            expected = "1 list" if most == 1 else "lists"
            found = len(args.positional) + len(args.named)
            body.report.fail(
                problems.TOO_MANY_ARGUMENTS, node.span, callee=name, expected=expected, found=found
            )
        values = [value for value, _ in args.positional]
        for value, span in args.positional:
            if not isinstance(value, list | tuple | range):
                body.report.fail(problems.NOT_ITERABLE, span, found=type_name(value))
            if len(value) > 100_000:
                body.report.fail(
                    problems.BUDGET, span, what=f"`{name}`", found=f"{len(value):,}", limit="100,000"
                )
        return list(make(*values))

    return Builtin(name, expand, f"{name}(xs)")


def _len(call: Call) -> Any:
    value = call["x"]
    if isinstance(value, Tensor):
        help = "a size is a name in a type: `x: [B, T, d]`; the number of axes is that of the type"
        message = f"a tensor {value.type} is no list"
        call.fail(problems.BAD_VALUE, "x", callee="len", message=message, help=help)
    if not isinstance(value, list | tuple | str | range):
        call.fail(problems.BAD_VALUE, "x", callee="len", message=f"{type_name(value)} is no list")
    return len(value)


def _int(call: Call) -> Any:
    value = call["x"]
    if isinstance(value, Dim):
        return value
    if isinstance(value, Tensor):
        call.fail(
            problems.NOT_STATIC, "x", what="`int`", found=f"a tensor {value.type}", help="use `cast(x, i64)`"
        )
    try:
        return called("int", int(value), value)
    except (TypeError, ValueError, OverflowError):
        call.body.report.fail(
            problems.STATIC_ERROR, call.node.span, message=f"no int can be made of {show(value)}"
        )


def _float(call: Call) -> Any:
    value = call["x"]
    if isinstance(value, int | float | str):
        try:
            return called("float", float(value), value)
        except OverflowError:
            message = f"{in_brief(int(value))} is larger than any float"
            call.body.report.fail(problems.STATIC_ERROR, call.node.span, message=message)
        except ValueError:
            pass
    if isinstance(value, Dim):
        return lift(call.body, call.node, value, call.body.context.float_dtype)
    call.body.report.fail(
        problems.STATIC_ERROR, call.node.span, message=f"no float can be made of {type_name(value)}"
    )


# Ops that are asked here first.
OF_NUMBERS: Mapping[str, Callable[[Call], Any]] = {
    name: partial(_reduced, name) for name in ("sum", "max", "min", "prod", "any", "all")
}

BUILTINS: tuple[Builtin, ...] = (
    Builtin("range", _range, "range(n)"),
    _listing("enumerate", enumerate),
    _listing("zip", zip, most=16),
    _listing("reversed", lambda xs: list(xs)[::-1]),
    builtin("len", {"x": REQUIRED}, _len),
    builtin(
        "npz", {"path": REQUIRED}, lambda call: archives.read(call.body, call["path"], call.spans["path"])
    ),
    builtin("int", {"x": REQUIRED}, _int),
    builtin("float", {"x": REQUIRED}, _float),
)
