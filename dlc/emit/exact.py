"""Sizes without divisions that leave nothing, where a function asks that they do so.

where d % heads == 0:        heads * (d // heads)    ->  d
where H % 8 == 0:            8 * ((H + 7) // 8)      ->  H
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dlc.emit.origins import renumbered
from dlc.ir.nodes import Function
from dlc.types.dims import Atom, Dim, Monomial
from dlc.types.terms import as_dim, said
from dlc.types.traced import Term, TracedInt

Multiples = dict[Dim, list[Dim]]
"""For each divisor, what it divides without a rest."""


def exact(function: Function) -> Function:
    """The function with its sizes as they are where what it asks for holds."""
    known: Multiples = {}
    for dividend, divisor in (*_of_sizes(function), *_of_terms(function.requires)):
        known.setdefault(divisor, []).append(dividend)
    if not known:
        return function

    def number(value: Any) -> Any:
        if isinstance(value, TracedInt):
            origin = simplified(value.origin, known)
            return TracedInt(int(value), origin) if origin.constant is None else int(value)
        if not isinstance(value, Dim):
            return value
        if value.origin is None:
            return simplified(value, known)
        return Dim(value.terms).said(simplified(value.origin, known))

    def term(told: Term) -> Term:
        size = as_dim(told)
        made = size if size is None else simplified(size, known)
        return told if made is None or made == size else Term("dim", (made,))

    return renumbered(function, number, term, number)


def _of_sizes(function: Function) -> Iterator[tuple[Dim, Dim]]:
    for fact in function.facts:
        for one, other in ((fact.left, fact.right), (fact.right, fact.left)):
            if fact.op == "==" and other.constant == 0:
                yield from _remainder(one)
                yield from _remainder(said(one))


def _of_terms(terms: tuple[Term, ...]) -> Iterator[tuple[Dim, Dim]]:
    for each in terms:
        if each.op == "and":
            yield from _of_terms(each.args)
        elif each.op == "==":
            sides = [as_dim(side) for side in each.args]
            if None not in sides and sides[1] == 0:
                yield from _remainder(sides[0])


def _remainder(size: Dim | None) -> Iterator[tuple[Dim, Dim]]:
    """What is divided by what, of a size that is a remainder."""
    atoms = size.atoms() if size is not None else []
    if (
        len(atoms) == 1
        and isinstance(atoms[0], Atom)
        and atoms[0].op == "%"
        and size == Dim({((atoms[0], 1),): 1})
    ):
        dividend, divisor = atoms[0].args
        yield dividend, divisor


def simplified(size: Dim, known: Multiples) -> Dim:
    """A size without the divisions that leave nothing, as far as they are multiplied by what they divide by."""
    size = size.replace(lambda atom: _atom(atom, known))
    for _ in range(8):  # each time one product less
        found = next(_whole(size, known), None)
        if found is None:
            break
        size = found
    return size


def _atom(atom: Any, known: Multiples) -> Dim | None:
    """`H // 8` for `(H + 7) // 8`, and what stands in other terms."""
    if not isinstance(atom, Atom):
        return None
    inner = atom.rebuilt(lambda arg: simplified(arg, known))
    if inner is not None:
        return simplified(inner, known) if inner != Dim({((atom, 1),): 1}) else None
    if atom.op == "//":
        dividend, divisor = atom.args
        step = divisor.constant
        for multiple in known.get(divisor, ()) if step else ():
            rest = (dividend - multiple).constant
            if rest and step:
                return multiple // divisor + rest // step
    return None


def _whole(size: Dim, known: Multiples) -> Iterator[Dim]:
    """The size with one product of a quotient and its divisor as the dividend."""
    for monomial, coefficient in size.terms.items():
        for atom, _ in monomial:
            if not isinstance(atom, Atom) or atom.op != "//" or len(atom.args[1].terms) != 1:
                continue
            dividend, divisor = atom.args
            ((factors, number),) = divisor.terms.items()
            if not any(dividend == each for each in known.get(divisor, ())) or coefficient % number:
                continue
            left = dict(monomial)
            left[atom] -= 1
            for factor, power in factors:
                left[factor] = left.get(factor, 0) - power
            if min(left.values()) < 0:
                continue
            rest = Dim({_left(left, monomial): coefficient // number})
            yield size - Dim({monomial: coefficient}) + rest * dividend


def _left(powers: dict[Any, int], order: Monomial) -> Monomial:
    """The factors that are left, in the order that they had."""
    return tuple((factor, powers[factor]) for factor, _ in order if powers[factor])
