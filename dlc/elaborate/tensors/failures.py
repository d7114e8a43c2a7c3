"""How it reads when an op refuses its operands: in the words of the line that it stands on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from dlc.diagnostics import Problem, Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.values import Tensor
from dlc.elaborate.reports.report import ElabError
from dlc.elaborate.state.body import Body, Context
from dlc.elaborate.state.scope import Scope
from dlc.ops.definition import OpError
from dlc.records import replace
from dlc.syntax import ast

T = TypeVar("T")

PROBLEMS: dict[str, Problem] = {
    "shape": problems.SHAPE, "dtype": problems.DTYPE, "fact": problems.UNPROVED_SHAPE, "value": problems.AXIS,
    "number": problems.STATIC_ERROR,
}  # fmt: skip
_SYMBOLS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "floordiv": "//", "mod": "%", "pow": "**", "matmul": "@", "neg": "-",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
    "logical_and": "and", "logical_or": "or", "logical_not": "not",
}  # fmt: skip
_WANT_BOOL = {"and", "or", "not", "where", "any", "all"}
_LONGEST = 60


def source(context: Context, span: Span, longest: int = _LONGEST) -> str:
    """The text at a place of the frame's file; nothing if it is long or goes over several lines."""
    if span.file != context.unit.path or not span.line or span.end_line not in (0, span.line):
        return ""
    line = context.unit.lines[span.line - 1]
    text = line[span.column - 1 : span.end_column - 1]
    return text if len(text) <= longest else ""


def described(context: Context, tensor: Tensor) -> str:
    """`k: [B, 4, T, 16]   (made at 18:12 by linear(64))`."""
    at, by = tensor.made_at, tensor.made_by
    if not by or not at.line or at.file != context.unit.path:
        return f"{tensor.name}: {tensor.type}"
    return f"{tensor.name}: {tensor.type}   (made at {at} by {_call_text(context, tensor) or by})"


def _call_text(context: Context, tensor: Tensor) -> str:
    text = source(context, tensor.made_at)
    return text if text.startswith(f"{tensor.made_by}(") else ""


def spelled(scope: Scope, tensor: Tensor) -> str:
    """What the text calls a tensor; an ellipsis where it has no name."""
    held = scope.names.get(tensor.name)
    return tensor.name if isinstance(held, Tensor) and held.name == tensor.name else "…"


def helped(work: Callable[[], T], help: str) -> T:
    """Do `work`; if it is in error, with this help (where there is one)."""
    try:
        return work()
    except ElabError as error:
        raise ElabError(replace(error.diagnostic, help=help or error.diagnostic.help)) from None


def op_failed(body: Body, node: ast.Node, error: OpError, operands: Sequence[Any]) -> NoReturn:
    """Report an op's refusal of its operands, each shown with its type and where it was made."""
    tensors = [each for each in operands if isinstance(each, Tensor)]
    shown = [described(body.context, each) for each in tensors if not each.name.startswith("const")]
    types = [str(each.type) for each in tensors]
    more = [
        note for note in error.notes if not any(note.partition(": ")[2].startswith(type) for type in types)
    ]
    message = _in_symbols(body.context, node, error.message)
    help = _dtype_help(body.scope, message, tensors) if error.kind == "dtype" else ""
    span = _place(body, node, tensors)
    body.report.fail(
        PROBLEMS[error.kind], span, message=message, notes=(*shown, *more), help=help or error.help
    )


def _place(body: Body, node: ast.Node, tensors: list[Tensor]) -> Span:
    """The statement's part at fault; in the library, an optional input that the user gave."""
    if body.report.origin is None:
        return node.span
    header = getattr(body.context.definition, "node", None)
    fields = getattr(header, "params", ()) or getattr(header, "inputs", ())
    optional = {str(each.name) for each in fields if each.default is not None}
    given = {each.name for each in tensors} & optional & set(body.report.origin.args)
    return body.report.origin.args[given.pop()] if len(given) == 1 else node.span


def _in_symbols(context: Context, node: ast.Node, message: str) -> str:
    """The message with the operator for the op, and its sides as they are written."""
    if not isinstance(node, ast.Binary | ast.Unary | ast.Compare):
        return message
    op, quote, rest = message.removeprefix("`").partition("`")
    if not quote or op not in _SYMBOLS:
        return message
    if isinstance(node, ast.Binary):
        for name, side in (("a", node.left), ("b", node.right)):
            text = source(context, side.span, 24)
            rest = rest.replace(f"`{name}`", f"`{text}`" if text else _side(name))
    return f"`{_SYMBOLS[op]}`{rest}"


def _side(name: str) -> str:
    return "the left side" if name == "a" else "the right side"


def _dtype_help(scope: Scope, message: str, tensors: list[Tensor]) -> str:
    """What to convert, by its name."""
    name = message.removeprefix("`").partition("`")[0]
    if name in _WANT_BOOL:
        wrong = next((each for each in tensors if each.type.dtype != "bool"), None)
        return f"compare it: `{spelled(scope, wrong)} != 0`" if wrong is not None else ""
    if name in ("+", "|") and len(tensors) == 2 and all(each.type.dtype == "bool" for each in tensors):
        return f"join them: `{spelled(scope, tensors[0])} or {spelled(scope, tensors[1])}`"
    whole = [each for each in tensors if not each.type.is_float]
    floats = [each for each in tensors if each.type.is_float]
    if len(whole) == 1 and (floats or len(tensors) == 1):
        dtype = floats[0].type.dtype if floats else "float"
        return f"convert it: `cast({spelled(scope, whole[0])}, {dtype})`"
    if len(floats) == 2:
        return f"convert one: `cast({spelled(scope, floats[0])}, {floats[1].type.dtype})`"
    return ""
