"""One call of a builtin: its arguments by name, read as what they must be, with messages that name them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dlc.diagnostics import Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base import habits
from dlc.elaborate.base.values import Builtin, Dtype, Tensor, show, type_name, unapplied
from dlc.elaborate.calls.arguments import Given, match_arguments
from dlc.elaborate.state.body import Body
from dlc.elaborate.tensors.operators import emit, lift
from dlc.elaborate.types.static import in_range, plain
from dlc.ops.calls import REQUIRED
from dlc.syntax import ast
from dlc.types.dims import Dim


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
        return self._integer(key, self.values[key])

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers, or one."""
        value = self.values[key]
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(self._integer(key, each) for each in items)

    def _integer(self, key: str, value: Any) -> int:
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


def builtin(name: str, spec: dict[str, Any], apply: Callable[[Call], Any]) -> Builtin:
    def expand(body: Body, node: ast.Node, args: Given) -> Any:
        return apply(Call(body, node, name, args, spec))

    shown = ", ".join(
        key if default is REQUIRED else f"{key}={show(default)}" for key, default in spec.items()
    )
    return Builtin(name, expand, f"{name}({shown})")


def check_count(call: Call, what: str, count: int, limit: int = 1_000_000) -> None:
    if count > limit:
        found = f"{count:,} elements" if limit > 10_000 else f"{count:,}"
        call.body.report.fail(problems.BUDGET, call.node.span, what=what, found=found, limit=f"{limit:,}")
