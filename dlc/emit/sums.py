"""Arithmetic on whole numbers as one would write it, where an expression was put together of several.

(1 * k + 1 + 1 + 1) // 2 - 1 - 1    ->    (k - 1) // 2
"""

from __future__ import annotations

from dlc.emit.tree import Binary, Expr, Num, Word, transform
from dlc.types.terms import origin_free


def tidied(expr: Expr) -> Expr:
    """The expression with its constants added up, and without factors of 1."""
    return transform(expr, _tidied)


def _tidied(node: Expr) -> Expr:
    match node:
        case Binary("//" | "*" as operator, one, other) if (
            (a := _number(one)) is not None and (b := _number(other)) is not None and (b or operator == "*")
        ):
            return Num(a * b if operator == "*" else a // b)
        case Binary("*", one, other) if _number(one) == 1:
            return other
        case Binary("*" | "//", one, other) if _number(other) == 1:
            return one
        case Binary("+" | "-"):
            return _added(node)
    return node


def _number(expr: Expr) -> int | None:
    """The whole number that an expression is; None for one that is told by static parameters."""
    match expr:
        case Num(int() as value) if not isinstance(value, bool) and origin_free(value):
            return int(value)
        case Word(text) if text.removeprefix("-").isdecimal():
            return int(text)
    return None


def _added(expr: Expr) -> Expr:
    """A sum with one constant, behind the rest. What is taken off a quotient is taken off before."""
    parts: list[tuple[str, Expr]] = []
    constants: list[int] = []
    node, sign = expr, "+"
    while isinstance(node, Binary) and node.operator in ("+", "-"):
        parts.append((node.operator, node.right))
        node = node.left
    parts.append((sign, node))
    kept: list[tuple[str, Expr]] = []
    for operator, part in reversed(parts):
        number = _number(part)
        if number is None:
            kept.append((operator, part))
        else:
            constants.append(number if operator == "+" else -number)
    total = sum(constants)
    if len(kept) == 1 and kept[0][0] == "+" and total:
        match kept[0][1]:
            case Binary("//", dividend, by) if (divisor := _number(by)) and divisor > 0:
                return Binary("//", _added(Binary("+", dividend, Num(divisor * total))), by)
    if not kept:
        return Num(total)
    if (len(constants) < 2 and 0 not in constants) or kept[0][0] != "+":
        return expr
    made = kept[0][1]
    for operator, part in kept[1:]:
        made = Binary(operator, made, part)
    return made if not total else Binary("+" if total > 0 else "-", made, Num(abs(total)))
