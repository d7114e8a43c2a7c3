"""What a model asks of its inputs' sizes, checked where it begins, and how a check is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dlc.emit.arguments import by_name
from dlc.emit.layout import INDENT, WIDTH, layout
from dlc.emit.origins import size
from dlc.emit.python import listed, quoted
from dlc.emit.sizes import readable
from dlc.emit.tree import Arg, Binary, Expr, Num, Size, Unary, Word, refs, text, transform, walk
from dlc.ir.nodes import Function, Op
from dlc.records import dataclass, replace
from dlc.types.dims import Dim
from dlc.types.facts import Relation
from dlc.types.relations import MIRRORED, OPPOSITE


@dataclass(frozen=True, slots=True)
class Check:
    """Raise ValueError with `message`, the inside of an f-string, unless `condition` holds. `shown` are what
    stands in its braces, in order."""

    condition: Expr
    message: str
    shown: tuple[Expr, ...] = ()
    whole: bool = False
    """Whether it compares integers."""


def asked(condition: Expr, op: Op, *, whole: bool = False) -> Check:
    """What a `require` of the spec asks for; of `whole` numbers, or of floats."""
    message = str(op.attr("message") or "a requirement does not hold")
    return Check(condition, message.replace("{", "{{").replace("}", "}}"), whole=whole)


def held(condition: Expr) -> Check:
    """What must hold of static arguments."""
    speaks_of = tuple(dict.fromkeys(node for node in walk(condition) if isinstance(node, Arg)))
    said = text(by_name(condition)).replace("{", "{{").replace("}", "}}")
    given = listed([f"{each.name} is {{}}" for each in speaks_of])
    return Check(condition, f"{said} must hold, but {given}", speaks_of)


WORDS = {
    "<=": "at most",
    "<": "less than",
    ">=": "at least",
    ">": "more than",
    "==": "equal to",
    "!=": "other than",
}


def checks(function: Function) -> Iterable[Check]:
    """What a model asks of its inputs' sizes, with messages such as `T must be at most {self.context}, not {T}`."""
    known = {*readable(function), *function.given_sizes}
    for fact in function.facts:
        symbols = fact.left.symbols | fact.right.symbols
        if symbols and symbols <= known and not _is_trivial(fact):
            yield _check(Binary(fact.op, size(fact.left, "limit"), size(fact.right, "limit")), str(fact))


def _check(condition: Expr, fact: str) -> Check:
    match condition:
        case Binary("==", Binary("%", Size(name) as left, right), Num(0)):
            return Check(condition, f"{name} must be a multiple of {{}}, not {{}}", (right, left))
        case Binary(operator, Size(name) as left, right):
            return Check(condition, f"{name} must be {WORDS[operator]} {{}}, not {{}}", (right, left))
        case Binary(operator, left, right) if any(isinstance(each, Arg) for each in walk(condition)):
            said = text(transform(left, lambda node: Word(node.name) if isinstance(node, Arg) else node))
            return Check(condition, f"{said} must be {WORDS[operator]} {{}}, not {{}}", (right, left))
    shown = tuple(dict.fromkeys(each for each in walk(condition) if isinstance(each, Size)))
    given = ", but " + listed([f"{each.symbol} is {{}}" for each in shown]) if shown else ""
    return Check(condition, f"{fact} must hold{given}", shown)


def _is_trivial(fact: Relation) -> bool:
    """Sizes are 1 or more anyhow."""
    low, high = (fact.left, fact.right) if fact.op in ("<=", "<") else (fact.right, fact.left)
    return (
        fact.op in ("<=", "<", ">=", ">")
        and low.constant in (0, 1)
        and high == Dim.symbol(next(iter(high.symbols), ""))
    )


# --- as source ----------------------------------------------------------------------------------------------


def check_lines(check: Check, say: Callable[[Expr], str], indent: int) -> list[str]:
    """The check as statements."""
    shown = [say(expr) for expr in check.shown]
    message = check.message.format(*(each if each.isdigit() else f"{{{each}}}" for each in shown))
    with_values = any(not each.isdigit() for each in shown)
    return [
        f"{INDENT * indent}if {say(failed(check.condition, whole=check.whole))}:",
        *raised(message, indent + 1, with_values=with_values),
    ]


def raised(message: str, indent: int, *, with_values: bool) -> list[str]:
    """The statement that raises ValueError, its message the inside of an f-string where it has values; one that is too long for a line
    goes on behind a comma: the last one if that will do, else the last that fits."""
    whole = layout(f"raise ValueError({_literal(message, with_values)})", indent)
    pieces = _pieces(message)
    if len(pieces) < 2 or max(map(len, whole)) <= WIDTH:
        return whole
    margin = INDENT * indent

    def line(part: str) -> str:
        return f"{margin}{INDENT}{_literal(part, with_values)}"

    parts = ["".join(pieces[:-1]), pieces[-1]]
    if max(len(line(each)) for each in parts) > WIDTH:
        parts = [""]
        for piece in pieces:
            if parts[-1] and len(line(parts[-1] + piece)) > WIDTH:
                parts.append("")
            parts[-1] += piece
    return [f"{margin}raise ValueError(", *map(line, parts), f"{margin})"]


def _pieces(message: str) -> list[str]:
    """A message up to each of its commas, but for those inside of braces."""
    pieces, start, depth = [], 0, 0
    for i, letter in enumerate(message):
        depth += (letter == "{") - (letter == "}")
        if depth == 0 and message.startswith(", ", i):
            pieces.append(message[start : i + 2])
            start = i + 2
    return [*pieces, message[start:]]


def _literal(message: str, with_values: bool) -> str:
    if not with_values:
        return quoted(message)
    plain = message.replace("{{", "").replace("}}", "")
    return f"f{quoted(message)}" if "{" in plain else quoted(message.replace("{{", "{").replace("}}", "}"))


def failed(condition: Expr, *, whole: bool = False) -> Expr:
    """When a condition does not hold, as it reads best: `wide and n >= 6` for `not wide or n < 6`. Of `whole` numbers also tensors have a
    comparison for that; floats may be nan."""
    match condition:
        case Binary("or", left, right):
            return Binary("and", failed(left, whole=whole), failed(right, whole=whole))
        case Binary(operator, left, right) if whole and operator in OPPOSITE:
            return Binary(OPPOSITE[operator], left, right)
    return opposite(condition)


_BY_WORDS = {"is": "is not", "is not": "is", "in": "not in", "not in": "in"}


def opposite(condition: Expr) -> Expr:
    """The negation of a condition on numbers or a bool tensor. Linters take the name of a dim for a constant,
    which is to stand on the right."""
    if isinstance(condition, Binary) and condition.operator in OPPOSITE and not list(refs(condition)):
        operator = OPPOSITE[condition.operator]
        if isinstance(condition.left, Size | Num) and not isinstance(condition.right, Num):
            return Binary(MIRRORED[operator], condition.right, condition.left)
        return Binary(operator, condition.left, condition.right)
    if isinstance(condition, Binary) and condition.operator in _BY_WORDS:
        return replace(condition, operator=_BY_WORDS[condition.operator])
    if isinstance(condition, Unary) and condition.operator == "not ":
        return condition.operand
    return Unary("not ", condition)
