"""Ops as the language calls them: arguments matched, axes normalised, then primitive operations appended.

What is written in the language itself (`softmax`, `gelu`, the layers) is in `dlc/std`; here is what turns sizes, axes and patterns into
the attributes of primitives."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from dlc import ops
from dlc.diagnostics import Span, did_you_mean
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base import habits
from dlc.elaborate.base.project import library_definition
from dlc.elaborate.base.values import Builtin, Dtype, GroupValue, Instance, Tensor, show, type_name, unapplied
from dlc.elaborate.calls.arguments import Given, match_arguments
from dlc.elaborate.calls.functions import call_library
from dlc.elaborate.ops import patterns
from dlc.elaborate.state.body import Body
from dlc.elaborate.tensors import archives
from dlc.elaborate.tensors.constants import as_dtype, table
from dlc.elaborate.tensors.failures import helped
from dlc.elaborate.tensors.operators import cast, constant, emit, emit_all, lift, meet
from dlc.elaborate.types.static import in_range, plain
from dlc.syntax import ast
from dlc.types.dims import Dim, dim_max, dim_min

REQUIRED: Any = object()
Expand = Callable[[Body, ast.Node, Given], Any]


class Call:
    """One call of a builtin: its arguments by name, with checks on them."""

    def __init__(self, body: Body, node: ast.Node, name: str, args: Given, spec: dict[str, Any]) -> None:
        self.body, self.node, self.name = body, node, name
        bound = match_arguments(body.report, name, list(spec), args, node.span)
        self.values: dict[str, Any] = {}
        self.spans: dict[str, Span] = {}
        for key, default in spec.items():
            value, span = bound.get(key, (default, node.span))
            if value is REQUIRED:
                body.report.fail(problems.MISSING_ARGUMENT, node.span, callee=name, name=key)
            self.values[key], self.spans[key] = plain(value), span

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def fail(self, problem: Any, key: str, **slots: Any) -> Any:
        self.body.report.fail(problem, self.spans[key], **slots)

    def tensor(self, key: str, like: Tensor | None = None) -> Tensor:
        """A tensor argument; a number or dim becomes a scalar of the dtype of `like`."""
        value = self.values[key]
        if (
            isinstance(value, int | float | Dim)
            and not isinstance(value, bool)
            and (like is not None or isinstance(value, Dim))
        ):
            value = lift(
                self.body,
                self.node,
                value,
                like.type.dtype if like is not None else self.body.context.float_dtype,
            )
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = lift(self.body, self.node, value, self.body.context.float_dtype)
        if not isinstance(value, Tensor):
            help = unapplied(value)
            self.fail(
                problems.NOT_A_TENSOR, key, callee=self.name, name=key, found=type_name(value), help=help
            )
        tensor: Tensor = value
        return tensor

    def integer(self, key: str) -> int:
        value = self.values[key]
        if not isinstance(value, int) or isinstance(value, bool):
            self._static(key, "an int", value)
        number: int = value
        return number

    def flag(self, key: str) -> bool:
        value = self.values[key]
        if not isinstance(value, bool):
            self._static(key, "a bool", value)
        flag: bool = value
        return flag

    def _static(self, key: str, expected: str, value: Any) -> Any:
        if isinstance(value, Tensor):
            what = f"`{key}` of `{self.name}`"
            self.fail(problems.NOT_STATIC, key, what=what, found=f"a tensor {value.type}")
        found = type_name(value)
        self.fail(problems.STATIC_TYPE, key, callee=self.name, name=key, expected=expected, found=found)

    def number(self, key: str) -> float:
        value = self.values[key]
        if not isinstance(value, int | float) or isinstance(value, bool):
            self._static(key, "a number", value)
        in_range(self.body.report, self.spans[key], value, "float")
        number: float = value
        return number

    def text(self, key: str) -> str:
        if not isinstance(self.values[key], str):
            self._static(key, "a string", self.values[key])
        return str(self.values[key])

    def dtype(self, key: str) -> str:
        value = self.values[key]
        if not isinstance(value, Dtype):
            self.fail(
                problems.STATIC_TYPE,
                key,
                callee=self.name,
                name=key,
                expected="a dtype",
                found=type_name(value),
                help=habits.SURPLUS.get(self.name, "") if isinstance(value, int | Dim) else "",
            )
        return self.body.context.float_dtype if value.name == "float" else str(value.name)

    def size(self, key: str) -> Dim:
        value = self.values[key]
        if not isinstance(value, int | Dim) or isinstance(value, bool):
            self._static(key, "a size", value)
        return Dim.of(value)

    def sizes(self, key: str) -> tuple[Dim, ...]:
        value = self.values[key]
        if isinstance(value, int | Dim) and not isinstance(value, bool):
            value = [value]
        if not isinstance(value, list | tuple):
            self._static(key, "a list of sizes", value)
        result = []
        for each in map(plain, value):
            if not isinstance(each, int | Dim) or isinstance(each, bool):
                self._static(key, "a list of sizes", each)
            result.append(Dim.of(each))
        return tuple(result)

    def axis(self, key: str, rank: int, value: Any = REQUIRED) -> int:
        """An axis as a number from 0 on; a negative one counts from the end."""
        value = plain(self.values[key] if value is REQUIRED else value)
        if not isinstance(value, int) or isinstance(value, bool):
            self._static(key, "an axis number", value)
        if not -rank <= value < rank:
            message = f"`{self.name}`: axis {value} of a tensor with {rank} axes"
            self.fail(problems.AXIS, key, message=message)
        return int(value) % rank

    def axes(self, key: str, rank: int) -> tuple[int, ...]:
        """A list of axes, all of them where none is given."""
        value = self.values[key]
        if value is None:
            return tuple(range(rank))
        items = value if isinstance(value, list | tuple) else [value]
        found = tuple(self.axis(key, rank, each) for each in items)
        if len(set(found)) != len(found):
            self.fail(problems.AXIS, key, message=f"`{self.name}`: an axis is given twice")
        return tuple(sorted(found))

    def emit(self, name: str, *operands: Any, **attrs: Any) -> Tensor:
        return emit(self.body, self.node, name, *operands, **attrs)


def builtin(name: str, spec: dict[str, Any], apply: Callable[[Call], Any], doc: str = "") -> Builtin:
    def expand(body: Body, node: ast.Node, args: Given) -> Any:
        return apply(Call(body, node, name, args, spec))

    shown = ", ".join(
        key if default is REQUIRED else f"{key}={show(default)}" for key, default in spec.items()
    )
    return Builtin(name, expand, f"{name}({shown})")


# --- elementwise -----------------------------------------------------------------------------------------------

_STATIC_MATH: dict[str, Callable[[float], float]] = {
    "sqrt": math.sqrt, "log": math.log, "exp": math.exp, "abs": abs, "round": round, "floor": math.floor,
    "ceil": math.ceil, "sin": math.sin, "cos": math.cos, "tan": math.tan, "tanh": math.tanh,
}  # fmt: skip


def _unary(name: str) -> Builtin:
    def body(call: Call) -> Any:
        value = call["x"]
        if isinstance(value, int | float) and not isinstance(value, bool) and name in _STATIC_MATH:
            return _static_math(call, name, value)
        if isinstance(value, Dim) and name in ("floor", "ceil", "round"):
            return value
        return call.emit(name, call.tensor("x"))

    return builtin(name, {"x": REQUIRED}, body)


def _static_math(call: Call, name: str, value: float) -> Any:
    try:
        return _STATIC_MATH[name](value)
    except (ValueError, OverflowError):
        call.body.report.fail(
            problems.STATIC_ERROR, call.node.span, message=f"{name}({show(value)}) has no value"
        )


def _round(call: Call) -> Any:
    value = call["x"]
    if isinstance(value, int | float) and math.isfinite(value):
        return round(value, call.integer("digits")) if call["digits"] is not None else round(value)
    return call.emit("round", call.tensor("x"))


def _binary(name: str, first: str = "a", second: str = "b") -> Builtin:
    def body(call: Call) -> Tensor:
        left, right = meet(call.body, call.node, name, *_pair(call, first, second))
        return call.emit(name, left, right)

    return builtin(name, {first: REQUIRED, second: REQUIRED}, body)


def _pair(call: Call, first: str, second: str, lifted: bool = True) -> tuple[Any, Any]:
    left, right = call[first], call[second]
    if lifted and not isinstance(left, Tensor) and not isinstance(right, Tensor):
        left = call.tensor(first)
    for key, value in ((first, left), (second, right)):
        if not isinstance(value, Tensor | int | float | Dim):
            call.fail(problems.NOT_A_TENSOR, key, callee=call.name, name=key, found=type_name(value))
    return left, right


def _where(call: Call) -> Tensor:
    condition = call.tensor("cond")
    left, right = _pair(call, "a", "b", lifted=False)
    if not isinstance(left, Tensor) and not isinstance(right, Tensor):
        floating = isinstance(left, float) or isinstance(right, float)
        dtype = call.body.context.float_dtype if floating else "i64"
        left = lift(call.body, call.node, left, dtype)
    left, right = meet(call.body, call.node, "where", left, right)
    return call.emit("where", condition, left, right)


def _cast(call: Call) -> Tensor:
    x = call.tensor("x")
    return cast(call.body, call.node, x, call.dtype("dtype"))


# --- reductions ------------------------------------------------------------------------------------------------


def _reduction(name: str) -> Builtin:
    def body(call: Call) -> Any:
        value = call["x"]
        if isinstance(value, list | tuple | range) and call["axis"] is None:
            return _static_reduction(call, name, value)
        if not isinstance(value, Tensor) and name in ("max", "min"):
            return _static_extremum(call, name, value)
        x = call.tensor("x")
        if name == "sum" and x.type.dtype == "bool":
            x = cast(call.body, call.node, x, "i64")
        return call.emit(name, x, axis=call.axes("axis", x.type.rank), keepdims=call.flag("keepdims"))

    return builtin(name, {"x": REQUIRED, "axis": None, "keepdims": False}, body)


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
        return math.prod(items)
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
        return (max if name == "max" else min)(items)
    if any(isinstance(each, float) for each in items):
        found = "a dim and a float"
        call.fail(problems.STATIC_TYPE, "x", callee=name, name="x", expected="sizes or numbers", found=found)
    result = Dim.of(items[0])
    for each in items[1:]:
        result = dim_max(result, Dim.of(each)) if name == "max" else dim_min(result, Dim.of(each))
    return plain(call.body.emission.facts.simplify(result))


def _arg_reduction(name: str) -> Builtin:
    def body(call: Call) -> Tensor:
        x = call.tensor("x")
        if call["axis"] is None:
            x = emit(call.body, call.node, "reshape", x, shape=(x.type.size,))
            return call.emit(name, x, axis=0, keepdims=False)
        return call.emit(name, x, axis=call.axis("axis", x.type.rank), keepdims=call.flag("keepdims"))

    return builtin(name, {"x": REQUIRED, "axis": None, "keepdims": False}, body)


def _scan_op(name: str) -> Builtin:
    def body(call: Call) -> Tensor:
        x = call.tensor("x")
        return call.emit(name, x, axis=call.axis("axis", x.type.rank))

    return builtin(name, {"x": REQUIRED, "axis": -1}, body)


# --- shape -----------------------------------------------------------------------------------------------------


def _reshape(call: Call) -> Tensor:
    x = call.tensor("x")
    raw = call["sizes"]
    if isinstance(raw, list | tuple) and any(plain(each) == -1 for each in raw):
        return call.emit("reshape", x, shape=_fill(call, x, raw))
    sizes = call.sizes("sizes")
    return helped(lambda: call.emit("reshape", x, shape=sizes), _forgotten_batch(call, x, sizes))


def _forgotten_batch(call: Call, x: Tensor, sizes: tuple[Dim, ...]) -> str:
    """Help where all that the sizes lack is the tensor's first axis."""
    first = x.type.axes[0] if x.type.axes else Dim.of(1)
    total = math.prod(sizes, start=Dim.of(1))
    if first == Dim.of(1) or call.body.emission.facts.prove_eq(total * first, x.type.size) is not True:
        return ""
    return f"with the first axis: `[{', '.join(map(str, (first, *sizes)))}]`"


def _fill(call: Call, x: Tensor, raw: Sequence[Any]) -> tuple[Dim, ...]:
    """One size of -1 is what is left, as in NumPy."""
    known = Dim.of(1)
    for each in map(plain, raw):
        if each != -1:
            known = known * each
    if sum(1 for each in raw if plain(each) == -1) > 1:
        call.fail(problems.SHAPE, "sizes", message="only one size can be -1")
    total = x.type.size
    if known == Dim.of(0) or call.body.emission.facts.prove_divisible(total, known) is not True:
        help = f"state it: `where {total} % ({known}) == 0`"
        message = f"`reshape`: {total} elements are not known to be a multiple of {known}"
        call.fail(problems.UNPROVED_SHAPE, "sizes", message=message, notes=[f"{x.name}: {x.type}"], help=help)
    rest = call.body.emission.facts.simplify(total // known)
    return tuple(rest if plain(each) == -1 else Dim.of(plain(each)) for each in raw)


def _permute(call: Call) -> Tensor:
    x = call.tensor("x")
    rank = x.type.rank
    value = call["axes"]
    if not isinstance(value, list | tuple) or len(value) != rank:
        call.fail(problems.AXIS, "axes", message=f"`permute` needs all {rank} axes of {x.type}")
    order = tuple(call.axis("axes", rank, each) for each in value)
    if len(set(order)) != rank:
        call.fail(problems.AXIS, "axes", message="`permute`: an axis is given twice")
    return call.emit("permute", x, axes=order)


def _transpose(call: Call) -> Tensor:
    x = call.tensor("x")
    a, b = call.axis("a", x.type.rank), call.axis("b", x.type.rank)
    order = list(range(x.type.rank))
    order[a], order[b] = b, a
    return call.emit("permute", x, axes=tuple(order))


def _flatten(call: Call) -> Tensor:
    x = call.tensor("x")
    if x.type.rank == 0:
        return call.emit("reshape", x, shape=(1,))
    start = call.axis("start", x.type.rank) if call["start"] != x.type.rank else x.type.rank - 1
    total = Dim.of(1)
    for axis in x.type.axes[start:]:
        total = total * axis
    return call.emit("reshape", x, shape=(*x.type.axes[:start], total))


def _squeeze(call: Call) -> Tensor:
    x = call.tensor("x")
    axes = call.axes("axis", x.type.rank) if call["axis"] is not None else tuple(
        i for i, axis in enumerate(x.type.axes) if axis.constant == 1
    )  # fmt: skip
    for axis in axes:
        if call.body.emission.facts.prove_eq(x.type.axes[axis], Dim.of(1)) is not True:
            message = f"`squeeze`: axis {axis} of {x.type} is {x.type.axes[axis]}, not 1"
            call.fail(problems.SHAPE, "axis", message=message)
    return call.emit("reshape", x, shape=tuple(a for i, a in enumerate(x.type.axes) if i not in axes))


def _broadcast(call: Call) -> Tensor:
    return call.emit("broadcast", call.tensor("x"), shape=call.sizes("sizes"))


def _tensors(call: Call, key: str = "xs") -> list[Tensor]:
    values = call[key]
    if isinstance(values, Tensor):
        help = "pass a list: `concat([a, b], axis=1)`"
        call.fail(problems.NOT_A_TENSOR, key, callee=call.name, name=key, found="one tensor", help=help)
    if not isinstance(values, list | tuple) or not values:
        call.fail(problems.NOT_A_TENSOR, key, callee=call.name, name=key, found=type_name(values))
    for value in values:
        if not isinstance(value, Tensor):
            call.fail(problems.NOT_A_TENSOR, key, callee=call.name, name=key, found=type_name(value))
    tensors = list(values)
    dtypes = {each.type.dtype for each in tensors}
    if len(dtypes) > 1 and all(each.type.is_float for each in tensors) and "float" in dtypes:
        other = next(iter(dtypes - {"float"}))
        tensors = [cast(call.body, call.node, each, other) for each in tensors]
    return tensors


def _concat(call: Call) -> Tensor:
    tensors = _tensors(call)
    axis = call.axis("axis", tensors[0].type.rank)
    if len(tensors) == 1:
        return tensors[0]
    return helped(lambda: call.emit("concat", *tensors, axis=axis), _other_axis(call, tensors, axis))


def _other_axis(call: Call, tensors: list[Tensor], axis: int) -> str:
    """Help where the tensors could be joined along another axis, the only one in which they differ."""
    first, *others = (each.type.axes for each in tensors)
    if any(len(each) != len(first) for each in others):
        return ""
    equal = call.body.emission.facts.prove_eq
    differ = [i for i, size in enumerate(first) if any(equal(size, each[i]) is not True for each in others)]
    return f"did you mean `axis={differ[0]}`?" if len(differ) == 1 and differ[0] != axis else ""


def _stack(call: Call) -> Tensor:
    tensors = _tensors(call)
    axis = call.axis("axis", tensors[0].type.rank + 1)
    rows = []
    for each in tensors:
        shape = (*each.type.axes[:axis], Dim.of(1), *each.type.axes[axis:])
        rows.append(call.emit("reshape", each, shape=shape))
    return rows[0] if len(rows) == 1 else call.emit("concat", *rows, axis=axis)


def slice_axis(call: Call, x: Tensor, axis: int, start: Dim, stop: Dim) -> Tensor:
    starts = tuple(start if i == axis else Dim.of(0) for i in range(x.type.rank))
    stops = tuple(stop if i == axis else size for i, size in enumerate(x.type.axes))
    return call.emit("slice", x, start=starts, stop=stops, step=(1,) * x.type.rank)


def _split(call: Call) -> tuple[Tensor, ...]:
    x = call.tensor("x")
    axis = call.axis("axis", x.type.rank)
    if not isinstance(call["sizes"], list | tuple):
        call.fail(
            problems.STATIC_TYPE,
            "sizes",
            callee="split",
            name="sizes",
            expected="a list of sizes",
            found=type_name(call["sizes"]),
            help="`chunk(x, n)` cuts into n equal parts",
        )
    sizes = call.sizes("sizes")
    total = Dim.of(0)
    for size in sizes:
        total = total + size
    if call.body.emission.facts.prove_eq(total, x.type.axes[axis]) is not True:
        message = f"`split`: the sizes add up to {total}, axis {axis} of {x.type} is {x.type.axes[axis]}"
        call.fail(problems.SHAPE, "sizes", message=message)
    parts, start = [], Dim.of(0)
    for size in sizes:
        parts.append(slice_axis(call, x, axis, start, start + size))
        start = start + size
    return tuple(parts)


def _chunk(call: Call) -> tuple[Tensor, ...]:
    x = call.tensor("x")
    axis, n = call.axis("axis", x.type.rank), call.integer("n")
    _check_count(call, "the number of parts", n, 10_000)
    size = x.type.axes[axis]
    if n < 1 or call.body.emission.facts.prove_divisible(size, Dim.of(n)) is not True:
        help = f"state it: `where {size} % {n} == 0`" if size.constant is None else ""
        message = f"`chunk`: axis {axis} of {x.type} does not cut into {n} equal parts"
        call.fail(problems.UNPROVED_SHAPE if help else problems.SHAPE, "n", message=message, help=help)
    width = call.body.emission.facts.simplify(size // n)
    return tuple(slice_axis(call, x, axis, width * i, width * (i + 1)) for i in range(n))


def _pad(call: Call) -> Tensor:
    x = call.tensor("x")
    axis = call.axis("axis", x.type.rank)
    zero = Dim.of(0)
    before = tuple(call.size("before") if i == axis else zero for i in range(x.type.rank))
    after = tuple(call.size("after") if i == axis else zero for i in range(x.type.rank))
    return call.emit("pad", x, before=before, after=after, value=float(call.number("value")))


def _roll(call: Call) -> Tensor:
    x = call.tensor("x")
    axis, shift = call.axis("axis", x.type.rank), call.integer("shift")
    size = x.type.axes[axis]
    cut = Dim.of(shift) % size if size.constant is not None else Dim.of(shift)
    if shift < 0 and size.constant is None:
        cut = size + shift
    if cut == Dim.of(0):
        return x
    tail = slice_axis(call, x, axis, size - cut, size)
    return call.emit("concat", tail, slice_axis(call, x, axis, Dim.of(0), size - cut), axis=axis)


def _flip(call: Call) -> Tensor:
    x = call.tensor("x")
    return call.emit("flip", x, axes=call.axes("axis", x.type.rank))


def _tile(call: Call) -> Tensor:
    x = call.tensor("x")
    counts = call.sizes("counts")
    if len(counts) != x.type.rank:
        call.fail(problems.AXIS, "counts", message=f"`tile` needs a count for each axis of {x.type}")
    split = [size for axis, count in zip(x.type.axes, counts, strict=True) for size in (Dim.of(1), axis)]
    full = [size for axis, count in zip(x.type.axes, counts, strict=True) for size in (count, axis)]
    y = call.emit("broadcast", call.emit("reshape", x, shape=tuple(split)), shape=tuple(full))
    return call.emit("reshape", y, shape=tuple(a * c for a, c in zip(x.type.axes, counts, strict=True)))


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


# --- indexing --------------------------------------------------------------------------------------------------


def _take(call: Call) -> Tensor:
    x = call.tensor("x")
    index = _index_tensor(call, "index")
    return call.emit("take", x, index, axis=call.axis("axis", x.type.rank))


def _index_tensor(call: Call, key: str) -> Tensor:
    value = call[key]
    if isinstance(value, list | tuple | int) and not isinstance(value, bool):
        return table(call.body, call.node, value, "i64", call.spans[key])
    tensor = call.tensor(key)
    if tensor.type.dtype in ("i32", "i16", "i8", "u8"):
        return cast(call.body, call.node, tensor, "i64")
    return tensor


def _along(name: str, extra: tuple[str, ...] = ()) -> Builtin:
    def body(call: Call) -> Tensor:
        x = call.tensor("x")
        index = _index_tensor(call, "index")
        values = [meet(call.body, call.node, name, x, call[key])[1] for key in extra]
        return call.emit(name, x, index, *values, axis=call.axis("axis", x.type.rank))

    spec = {"x": REQUIRED, "index": REQUIRED, **dict.fromkeys(extra, REQUIRED), "axis": REQUIRED}
    return builtin(name, spec, body)


def _update_slice(call: Call) -> Tensor:
    x, values = call.tensor("x"), call.tensor("values")
    start = call["start"]
    if not isinstance(start, Tensor):
        start = lift(call.body, call.node, plain(call.size("start")), "i64")
    return call.emit("update_slice", x, values, start, axis=call.axis("axis", x.type.rank))


def _top_k(call: Call) -> tuple[Tensor, ...]:
    x = call.tensor("x")
    axis = call.axis("axis", x.type.rank)
    return emit_all(call.body, call.node, "top_k", x, k=call.integer("k"), axis=axis)


def _argsort(call: Call) -> Tensor:
    x = call.tensor("x")
    return call.emit("argsort", x, axis=call.axis("axis", x.type.rank), descending=call.flag("descending"))


def _sort(call: Call) -> Tensor:
    x = call.tensor("x")
    return call.emit("take_along", x, _argsort(call), axis=call.axis("axis", x.type.rank))


# --- creation --------------------------------------------------------------------------------------------------


def _creation_dtype(call: Call, default: str) -> str:
    return call.dtype("dtype") if call["dtype"] is not None else default


def _arange(call: Call) -> Tensor:
    start, stop = call["start"], call["stop"]
    if stop is None:
        start, stop = 0, start
        if isinstance(stop, Tensor):
            call.fail(
                problems.NOT_STATIC, "start", what="the size of `arange`", found=f"a tensor {stop.type}"
            )
    dtype = _creation_dtype(call, "i64")
    step = call["step"]
    integers = all(isinstance(each, int | Dim) for each in (start, stop, step))
    if not integers:
        return _fractional_arange(
            call, start, stop, step, dtype if call["dtype"] is not None else call.body.context.float_dtype
        )
    result = call.emit("arange", start=Dim.of(start), stop=Dim.of(stop), step=call.integer("step"))
    return cast(call.body, call.node, result, dtype)


def _fractional_arange(call: Call, start: Any, stop: Any, step: Any, dtype: str) -> Tensor:
    for key, value in (("start", start), ("stop", stop), ("step", step)):
        if not isinstance(value, int | float):
            call.fail(
                problems.STATIC_TYPE,
                key,
                callee="arange",
                name=key,
                expected="a number",
                found=type_name(value),
            )
    if step == 0 or not math.isfinite((stop - start) / step):
        call.fail(
            problems.STATIC_ERROR, "step", message=f"`arange` can't count from {start} to {stop} by {step}"
        )
    count = max(0, math.ceil((stop - start) / step))
    _check_count(call, "this constant", count)
    values = [start + i * step for i in range(count)]
    return table(call.body, call.node, values, dtype, call.node.span)


def _linspace(call: Call) -> Tensor:
    start, stop, n = call.number("start"), call.number("stop"), call.integer("n")
    _check_count(call, "this constant", n)
    values = [start + (stop - start) * i / max(n - 1, 1) for i in range(n)]
    dtype = _creation_dtype(call, call.body.context.float_dtype)
    return table(call.body, call.node, values, dtype, call.node.span)


def _filled(name: str, value: float) -> Builtin:
    def body(call: Call) -> Tensor:
        dtype = _creation_dtype(call, call.body.context.float_dtype)
        return call.emit("full", shape=call.sizes("sizes"), value=as_dtype(value, dtype), dtype=dtype)

    return builtin(name, {"sizes": REQUIRED, "dtype": None}, body)


def _full(call: Call) -> Tensor:
    value = call["value"]
    if isinstance(value, Tensor):
        return call.emit("broadcast", value, shape=call.sizes("sizes"))
    default = (
        "bool"
        if isinstance(value, bool)
        else "i64"
        if isinstance(value, int)
        else call.body.context.float_dtype
    )
    dtype = _creation_dtype(call, default)
    return call.emit(
        "full",
        shape=call.sizes("sizes"),
        value=as_dtype(
            in_range(
                call.body.report,
                call.spans["value"],
                value if isinstance(value, bool) else call.number("value"),
                dtype,
            ),
            dtype,
        ),
        dtype=dtype,
    )


def _like(name: str) -> Builtin:
    def body(call: Call) -> Tensor:
        x = call.tensor("x")
        dtype = _creation_dtype(call, x.type.dtype)
        if name == "normal_like":
            return call.emit("normal", shape=x.type.axes, dtype=dtype)
        value = as_dtype(1.0 if name == "ones_like" else 0.0, dtype)
        return call.emit("full", shape=x.type.axes, value=value, dtype=dtype)

    return builtin(name, {"x": REQUIRED, "dtype": None}, body)


def _eye(call: Call) -> Tensor:
    n = call.size("n")
    rows = call.emit("reshape", call.emit("arange", start=Dim.of(0), stop=n), shape=(n, 1))
    columns = call.emit("arange", start=Dim.of(0), stop=n)
    same = call.emit("eq", rows, columns)
    return cast(call.body, call.node, same, _creation_dtype(call, call.body.context.float_dtype))


def _drawn(name: str) -> Builtin:
    def body(call: Call) -> Tensor:
        return call.emit(
            name, shape=call.sizes("sizes"), dtype=_creation_dtype(call, call.body.context.float_dtype)
        )

    return builtin(name, {"sizes": REQUIRED, "dtype": None}, body)


def _bernoulli(call: Call) -> Tensor:
    draw = call.emit("uniform", shape=call.sizes("sizes"), dtype="f32")
    return call.emit("lt", draw, lift(call.body, call.node, float(call.number("p")), "f32"))


def _randint(call: Call) -> Tensor:
    return call.emit("randint", shape=call.sizes("sizes"), low=call.integer("low"), high=call.integer("high"))


def _tensor_constant(call: Call) -> Tensor:
    value = call["values"]
    dtype = None if call["dtype"] is None else call.dtype("dtype")
    return table(call.body, call.node, value, dtype, call.spans["values"])


# --- neural ----------------------------------------------------------------------------------------------------


def _check_count(call: Call, what: str, count: int, limit: int = 1_000_000) -> None:
    if count > limit:
        found = f"{count:,} elements" if limit > 10_000 else f"{count:,}"
        call.body.report.fail(problems.BUDGET, call.node.span, what=what, found=found, limit=f"{limit:,}")


def _spatial(call: Call, key: str, count: int, value: Any = REQUIRED) -> tuple[int, ...]:
    """An int for every axis, or a list of one each."""
    value = plain(call[key] if value is REQUIRED else value)
    items = [value] * count if isinstance(value, int) and not isinstance(value, bool) else value
    if (
        not isinstance(items, list | tuple)
        or len(items) != count
        or not all(isinstance(i, int) for i in items)
    ):
        expected = f"an int or {count} ints"
        call.fail(problems.STATIC_TYPE, key, callee=call.name, name=key, expected=expected, found=show(value))
    if any(item < (0 if key.endswith("padding") else 1) for item in items):
        call.fail(problems.STATIC_ERROR, key, message=f"`{key}` of `{call.name}` can't be {show(value)}")
    return tuple(items)


def paddings(
    call: Call, key: str, kernel: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Padding as (before, after) per axis: an int, a list, pairs, "same" or "causal"."""
    value, count = call[key], len(kernel)
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if value == "same":
        return tuple((r // 2, r - r // 2) for r in reach)
    if value == "causal":
        return tuple((r, 0) for r in reach)
    if isinstance(value, str):
        call.fail(
            problems.STATIC_TYPE,
            key,
            callee=call.name,
            name=key,
            expected='an int, pairs, "same" or "causal"',
            found=show(value),
        )
    if isinstance(value, list | tuple) and value and all(isinstance(each, list | tuple) for each in value):
        pairs = [tuple(map(plain, each)) for each in value]
        if len(pairs) != count or any(len(pair) != 2 for pair in pairs):
            call.fail(
                problems.STATIC_TYPE,
                key,
                callee=call.name,
                name=key,
                expected=f"{count} pairs",
                found=show(value),
            )
        return tuple((int(a), int(b)) for a, b in pairs)
    return tuple((p, p) for p in _spatial(call, key, count))


def _spatial_axes(call: Call, x: Tensor, w: Tensor, form: str) -> int:
    """How many axes a convolution goes over."""
    count = x.type.rank - 2
    if count < 1 or w.type.rank != x.type.rank:
        message = f"`{call.name}` needs x [B, channels, …] and w {form} of as many axes"
        call.body.report.fail(
            problems.SHAPE, call.node.span, message=message, notes=[f"x: {x.type}", f"w: {w.type}"]
        )
    return count


def _conv(call: Call) -> Tensor:
    x, w = call.tensor("x"), call.tensor("w")
    count = _spatial_axes(call, x, w, "[out, channels // groups, …]")
    kernel = [axis.constant or 1 for axis in w.type.axes[2:]]
    dilation = _spatial(call, "dilation", count)
    return call.emit(
        "conv",
        x,
        w,
        stride=_spatial(call, "stride", count),
        padding=paddings(call, "padding", kernel, dilation),
        dilation=dilation,
        groups=call.integer("groups"),
    )


def _conv_transpose(call: Call) -> Tensor:
    x, w = call.tensor("x"), call.tensor("w")
    count = _spatial_axes(call, x, w, "[channels, out // groups, …]")
    kernel = [axis.constant or 1 for axis in w.type.axes[2:]]
    dilation = _spatial(call, "dilation", count)
    output_padding = _spatial(call, "output_padding", count)
    return call.emit(
        "conv_transpose",
        x,
        w,
        stride=_spatial(call, "stride", count),
        padding=paddings(call, "padding", kernel, dilation),
        output_padding=output_padding,
        dilation=dilation,
        groups=call.integer("groups"),
    )


def _pool(name: str) -> Builtin:
    def body(call: Call) -> Tensor:
        x = call.tensor("x")
        count = x.type.rank - 2
        if count < 1:
            call.fail(
                problems.SHAPE,
                "x",
                message=f"`{name}` needs axes after [B, C]",
                notes=[f"{x.name}: {x.type}"],
            )
        kernel = _spatial(call, "kernel", count)
        stride = kernel if call["stride"] is None else _spatial(call, "stride", count)
        padding = paddings(call, "padding", kernel, (1,) * count)
        extra = {"count_padding": call.flag("count_padding")} if name == "avg_pool" else {}
        return call.emit(
            name, x, kernel=kernel, stride=stride, padding=padding, ceil=call.flag("ceil"), **extra
        )

    spec: dict[str, Any] = {"x": REQUIRED, "kernel": REQUIRED, "stride": None, "padding": 0, "ceil": False}
    if name == "avg_pool":
        spec["count_padding"] = True
    return builtin(name, spec, body)


def _adaptive(call: Call) -> Tensor:
    """Average over as many windows an axis as asked for; window i spans floor(i*n/s) to ceil((i+1)*n/s) (PyTorch)."""
    x = call.tensor("x")
    count = x.type.rank - 2
    if count not in (1, 2, 3) or library_definition(f"_adaptive_avg_pool{count}d") is None:
        message = f"`adaptive_avg_pool` needs one or two axes after [B, C], {x.type} has {max(count, 0)}"
        call.fail(problems.SHAPE, "x", message=message)
    sizes = call["sizes"]
    sizes = [sizes] * count if isinstance(sizes, int) else sizes
    if not isinstance(sizes, list | tuple) or len(sizes) != count:
        call.fail(
            problems.AXIS,
            "sizes",
            message=f"`adaptive_avg_pool` needs a size for each axis after [B, C] of {x.type}",
        )
    return call_library(call.body, call.node, f"_adaptive_avg_pool{count}d", x, sizes=list(sizes))


def _pool_matrix(call: Call) -> Tensor:
    """[n, s]: column i averages window i."""
    n, s = call["n"], call["s"]
    if not isinstance(n, int) or not isinstance(s, int):
        help = "fix the size in the input's type"
        call.fail(
            problems.NOT_STATIC, "n", what="the size of an adaptively pooled axis", found=f"`{n}`", help=help
        )
    _check_count(call, "the constant of this op", n * s)
    rows = [[0.0] * s for _ in range(n)]
    for i in range(s):
        low, high = (i * n) // s, -((-(i + 1) * n) // s)
        for j in range(low, high):
            rows[j][i] = 1.0 / (high - low)
    return table(call.body, call.node, rows, call.body.context.float_dtype, call.node.span)


def _stop_gradient(body: Body, node: ast.Node, args: Given) -> Any:
    call = Call(body, node, "stop_gradient", args, {"x": REQUIRED})
    value = call["x"]
    if isinstance(value, GroupValue):
        members = [(key, emit(body, node, "stop_gradient", each)) for key, each in value.members]
        return GroupValue(value.definition, tuple(members))
    return call.emit("stop_gradient", call.tensor("x"))


# --- static functions ------------------------------------------------------------------------------------------


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
        call.fail(
            problems.NOT_ITERABLE, "x", found=f"a tensor {value.type}", help="name its first size in a type"
        )
    if not isinstance(value, list | tuple | str | range):
        call.fail(problems.NOT_ITERABLE, "x", found=type_name(value))
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
        return int(value)
    except (TypeError, ValueError, OverflowError):
        call.body.report.fail(
            problems.STATIC_ERROR, call.node.span, message=f"no int can be made of {show(value)}"
        )


def _float(call: Call) -> Any:
    value = call["x"]
    if isinstance(value, int | float | str):
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(value, Dim):
        return lift(call.body, call.node, value, call.body.context.float_dtype)
    call.body.report.fail(
        problems.STATIC_ERROR, call.node.span, message=f"no float can be made of {type_name(value)}"
    )


def _count(what: str) -> Builtin:
    """`parameters(m)` and the like, in `test` blocks."""

    def expand(body: Body, node: ast.Node, args: Given) -> Any:
        measure = body.context.session.measure
        if measure is None or body.context.kind != "test":
            placed = f"`{what}` measures a whole model: it stands in a `test` block"
            body.report.fail(problems.MISPLACED, node.span, what=placed)
        return measure(body, node, what, args)

    return Builtin(what, expand, f"{what}(model)")


def _close(call: Call) -> Tensor:
    """Whether two tensors agree everywhere: |a - b| <= atol + rtol * |b|."""
    a, b = meet(call.body, call.node, "close", call.tensor("a"), call["b"])
    gap = call.emit("abs", call.emit("sub", a, b))
    scale = call.emit(
        "mul", call.emit("abs", b), lift(call.body, call.node, float(call.number("rtol")), b.type.dtype)
    )
    bound = call.emit("add", scale, lift(call.body, call.node, float(call.number("atol")), b.type.dtype))
    near = call.emit("le", gap, bound)
    return call.emit("all", near, axis=tuple(range(near.type.rank)), keepdims=False)


def _not_yet(name: str) -> Builtin:
    def expand(body: Body, node: ast.Node, args: Given) -> Any:
        body.report.fail(problems.NOT_YET, node.span, what=f"`{name}`")

    return Builtin(name, expand, f"{name}(…)")


def _axes_of(call: Call) -> Any:
    """The sizes of a tensor's axes as a list (library use)."""
    return [plain(axis) for axis in call.tensor("x").type.axes]


def _at(call: Call) -> Any:
    """An int for every axis, or the entry of a list of `count` (library use). Sizes are above 0."""
    value, count = call["value"], call["count"]
    items = [*map(plain, value)] if isinstance(value, list | tuple) else [plain(value)] * count
    whole = all(isinstance(each, int | Dim) and not isinstance(each, bool) for each in items)
    if len(items) != count or not whole or any(isinstance(each, int) and each < 1 for each in items):
        arg = call.node.args[0].value if isinstance(call.node, ast.Call) else None
        name = arg.id if isinstance(arg, ast.Name) else "size"
        expected = "an int above 0" + (f", or {count} of them" if count > 1 else "")
        call.fail(
            problems.STATIC_TYPE,
            "value",
            callee=call.body.context.name,
            name=name,
            expected=expected,
            found=show(value),
        )
    return items[call["i"]]


def _joined(call: Call) -> Any:
    """The number of elements that a reduction over `axis` joins (library use)."""
    x = call.tensor("x")
    total = Dim.of(1)
    for axis in call.axes("axis", x.type.rank):
        total = total * x.type.axes[axis]
    return plain(total)


def _dtype_of(call: Call) -> Any:
    return Dtype(call.tensor("x").type.dtype)


_BUILTINS: list[Builtin] = [
    *(_unary(name) for name in (
        "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "sin", "cos", "tan", "tanh", "sigmoid", "erf", "floor", "ceil",
        "abs", "sign", "isnan", "isfinite",
    )),
    builtin("round", {"x": REQUIRED, "digits": None}, _round),
    *(_binary(name) for name in ("minimum", "maximum")),
    _binary("pow", "x", "exponent"),
    builtin("where", {"cond": REQUIRED, "a": REQUIRED, "b": REQUIRED}, _where),
    builtin("cast", {"x": REQUIRED, "dtype": REQUIRED}, _cast),
    *(_reduction(name) for name in ("sum", "max", "min", "prod", "any", "all")),
    *(_arg_reduction(name) for name in ("argmax", "argmin")),
    *(_scan_op(name) for name in ("cumsum", "cumprod")),
    builtin("reshape", {"x": REQUIRED, "sizes": REQUIRED}, _reshape),
    builtin("permute", {"x": REQUIRED, "axes": REQUIRED}, _permute),
    builtin("transpose", {"x": REQUIRED, "a": -1, "b": -2}, _transpose),
    builtin("flatten", {"x": REQUIRED, "start": 1}, _flatten),
    builtin("squeeze", {"x": REQUIRED, "axis": None}, _squeeze),
    builtin("broadcast", {"x": REQUIRED, "sizes": REQUIRED}, _broadcast),
    builtin("concat", {"xs": REQUIRED, "axis": 0}, _concat),
    builtin("stack", {"xs": REQUIRED, "axis": 0}, _stack),
    builtin("split", {"x": REQUIRED, "sizes": REQUIRED, "axis": -1}, _split),
    builtin("chunk", {"x": REQUIRED, "n": REQUIRED, "axis": -1}, _chunk),
    builtin("pad", {"x": REQUIRED, "axis": REQUIRED, "before": REQUIRED, "after": REQUIRED, "value": 0.0}, _pad),
    builtin("roll", {"x": REQUIRED, "shift": REQUIRED, "axis": REQUIRED}, _roll),
    builtin("flip", {"x": REQUIRED, "axis": REQUIRED}, _flip),
    builtin("tile", {"x": REQUIRED, "counts": REQUIRED}, _tile),
    *(_pattern_op(name) for name in ("rearrange", "reduce", "repeat")),
    Builtin("einsum", _einsum, "einsum(a, b, pattern)"),
    builtin("close", {"a": REQUIRED, "b": REQUIRED, "rtol": 1e-5, "atol": 1e-6}, _close),
    builtin("take", {"x": REQUIRED, "index": REQUIRED, "axis": 0}, _take),
    _along("take_along"),
    _along("scatter", ("values",)),
    _along("scatter_add", ("values",)),
    builtin("update_slice", {"x": REQUIRED, "values": REQUIRED, "start": REQUIRED, "axis": REQUIRED}, _update_slice),
    builtin("top_k", {"x": REQUIRED, "k": REQUIRED, "axis": -1}, _top_k),
    builtin("argsort", {"x": REQUIRED, "axis": -1, "descending": False}, _argsort),
    builtin("sort", {"x": REQUIRED, "axis": -1, "descending": False}, _sort),
    builtin("arange", {"start": REQUIRED, "stop": None, "step": 1, "dtype": None}, _arange),
    builtin("linspace", {"start": REQUIRED, "stop": REQUIRED, "n": REQUIRED, "dtype": None}, _linspace),
    _filled("zeros", 0.0),
    _filled("ones", 1.0),
    builtin("full", {"sizes": REQUIRED, "value": REQUIRED, "dtype": None}, _full),
    *(_like(name) for name in ("zeros_like", "ones_like", "normal_like")),
    builtin("eye", {"n": REQUIRED, "dtype": None}, _eye),
    *(_drawn(name) for name in ("normal", "uniform")),
    builtin("bernoulli", {"sizes": REQUIRED, "p": REQUIRED}, _bernoulli),
    builtin("randint", {"sizes": REQUIRED, "low": REQUIRED, "high": REQUIRED}, _randint),
    builtin("tensor", {"values": REQUIRED, "dtype": None}, _tensor_constant),
    builtin("conv", {"x": REQUIRED, "w": REQUIRED, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}, _conv),
    builtin(
        "conv_transpose",
        {"x": REQUIRED, "w": REQUIRED, "stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1},
        _conv_transpose,
    ),
    *(_pool(name) for name in ("max_pool", "avg_pool")),
    builtin("adaptive_avg_pool", {"x": REQUIRED, "sizes": REQUIRED}, _adaptive),
    builtin("_pool_matrix", {"n": REQUIRED, "s": REQUIRED}, _pool_matrix),
    builtin("_axes", {"x": REQUIRED}, _axes_of),
    builtin("_dtype", {"x": REQUIRED}, _dtype_of),
    builtin("_at", {"value": REQUIRED, "i": REQUIRED, "count": REQUIRED}, _at),
    builtin("_count", {"x": REQUIRED, "axis": None}, _joined),
    Builtin("stop_gradient", _stop_gradient, "stop_gradient(x)"),
    Builtin("range", _range, "range(n)"),
    _listing("enumerate", enumerate),
    _listing("zip", zip, most=16),
    _listing("reversed", lambda xs: list(xs)[::-1]),
    builtin("len", {"x": REQUIRED}, _len),
    builtin("npz", {"path": REQUIRED}, lambda call: archives.read(call.body, call["path"], call.spans["path"])),
    builtin("int", {"x": REQUIRED}, _int),
    builtin("float", {"x": REQUIRED}, _float),
    *(_count(what) for what in ("parameters", "buffers", "active", "flops")),
    *(_not_yet(name) for name in ("mixture", "rnn", "lstm", "gru", "rnn_cell", "gru_cell", "lstm_cell", "spectral_norm",
        "associative_scan", "selective_scan", "gradient", "categorical")),
]  # fmt: skip

BUILTINS: dict[str, Builtin] = {each.name: each for each in _BUILTINS}

__all__ = ["BUILTINS", "Call", "Instance", "builtin", "call_library", "constant", "ops"]
