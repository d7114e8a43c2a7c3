"""Sizes as the language writes them: `to_text` and its inverse, `parse`."""

from __future__ import annotations

import re
from collections.abc import Callable

from dlc.types.dims import ONE, Atom, Dim, Monomial, apply_op, lone_atom, sole_atom

_TOKEN = re.compile(r"\s*(?:(\d[\d_]*)|([A-Za-z_][A-Za-z0-9_']*)|(\*\*|//|[-+*%(),]))")
_NESTING = 100


def to_text(dim: Dim) -> str:
    if len(dim.terms) == 1:  # most are a number or a name
        ((monomial, coefficient),) = dim.terms.items()
        if coefficient > 0:
            return _term(monomial, coefficient, alone=True)
    terms = _naturally(dim).ordered() if _has_quotient(dim) else dim.ordered()
    if not terms:
        return "0"
    first = next((term for term in terms if term[1] > 0), terms[0])
    rest = [term for term in terms if term is not first]
    text = ("-" if first[1] < 0 else "") + _term(first[0], abs(first[1]), alone=first[1] > 0)
    for monomial, coefficient in rest:
        text += (" + " if coefficient > 0 else " - ") + _term(monomial, abs(coefficient), alone=True)
    return text


def _has_quotient(dim: Dim) -> bool:
    return dim.terms.get(ONE, 0) < 0 and any(isinstance(a, Atom) and a.op == "//" for a in dim.atoms())


def _naturally(dim: Dim) -> Dim:
    """`(H + 1)//2 - 1` as `(H - 1)//2`: for printing only, since it is no normal form."""
    for monomial, coefficient in dim.ordered():
        atom = lone_atom(monomial) if coefficient == 1 else None
        if isinstance(atom, Atom) and atom.op == "//" and _takes_constant(atom):
            number, divisor = atom.args
            constant = dim.terms[ONE]
            moved = Atom("//", (number + constant * divisor, divisor))
            return dim - constant - Dim({monomial: 1}) + Dim({((moved, 1),): 1})
    return dim


def _takes_constant(atom: Atom) -> bool:
    return atom.args[1].is_constant and atom.args[0].terms.get(ONE, 0) > 0


def _term(monomial: Monomial, coefficient: int, *, alone: bool) -> str:
    if not monomial:
        return str(coefficient)
    atom = lone_atom(monomial) if coefficient == 1 and alone else None
    if atom is not None:
        return _atom(atom)
    factors = [_group(a) + (f"**{e}" if e > 1 else "") for a, e in monomial]
    return "*".join(factors if coefficient == 1 else [str(coefficient), *factors])


def _group(atom: str | Atom) -> str:
    text = _atom(atom)
    return f"({text})" if isinstance(atom, Atom) and atom.op in ("//", "%") else text


def _atom(atom: str | Atom) -> str:
    if isinstance(atom, str):
        return atom
    if atom.op in ("min", "max"):
        return f"{atom.op}({', '.join(map(to_text, atom.args))})"
    operator = "//" if atom.op == "//" else " % "
    return operator.join(_operand(arg) for arg in atom.args)


def _operand(dim: Dim) -> str:
    atom = sole_atom(dim)
    simple = isinstance(atom, str) or (isinstance(atom, Atom) and atom.op in ("min", "max"))
    constant = dim.constant
    return to_text(dim) if simple or (constant is not None and constant >= 0) else f"({to_text(dim)})"


# Parsing: precedence climbing over a list of tokens


def parse(text: str) -> Dim:
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.at = 0
        self.depth = 0

    def whole(self) -> Dim:
        result = self.sum()
        if self.peek():
            raise self.error(f"{self.peek()!r} is not expected")
        return result

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, *wanted: str) -> str:
        token = self.peek()
        if not token or (wanted and token not in wanted):
            return ""
        self.at += 1
        return token

    def expect(self, token: str) -> None:
        if not self.take(token):
            raise self.error(f"{token!r} is missing")

    def error(self, problem: str) -> ValueError:
        return ValueError(f"not a size: {self.text!r}: {problem}")

    def sum(self) -> Dim:
        result = self.product()
        while operator := self.take("+", "-"):
            right = self.product()
            result = result + right if operator == "+" else result - right
        return result

    def product(self) -> Dim:
        result = self.negation()
        while operator := self.take("*", "//", "%"):
            result = _PRODUCTS[operator](result, self.negation())
        return result

    def negation(self) -> Dim:
        minus = 0
        while self.take("-"):
            minus += 1
        value = self.power()
        return -value if minus % 2 else value

    def power(self) -> Dim:
        base = self.primary()
        if not self.take("**"):
            return base
        exponent = self.negation().constant
        if exponent is None:
            raise self.error("an exponent is a number")
        return base**exponent

    def primary(self) -> Dim:
        token = self.take()
        if token[:1].isdigit():
            return Dim.of(int(token))
        if token in ("min", "max") and self.peek() == "(":
            self.expect("(")
            return apply_op(token, self.arguments())
        if token == "(":
            return self.nested(self.sum)
        if not token or not (token[0].isalpha() or token[0] == "_"):
            raise self.error("a name, a number or '(' is missing")
        return Dim.symbol(token)

    def arguments(self) -> list[Dim]:
        found: list[Dim] = []

        def all_of_them() -> Dim:
            found.append(self.sum())
            while self.take(",") and self.peek() != ")":
                found.append(self.sum())
            return found[0]

        self.nested(all_of_them)
        return found

    def nested(self, inside: Callable[[], Dim]) -> Dim:
        self.depth += 1
        if self.depth > _NESTING:
            raise self.error("too many brackets")
        result = inside()
        self.expect(")")
        self.depth -= 1
        return result


_PRODUCTS: dict[str, Callable[[Dim, Dim], Dim]] = {
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
}


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"not a size: {text!r}: {text[at:].strip()[:1]!r} is not expected")
        tokens.append(match.group().strip())
        at = match.end()
    return tokens
