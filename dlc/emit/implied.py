"""What a source asks of its arguments without what other checks imply.

1 <= up <= 2; up >= 1; up <= 2                                     ->  1 <= up <= 2
all(widths[i] % groups == 0 for i in range(len(widths)));
widths[-1] % groups == 0                                           ->  all(each % groups == 0 for each in widths)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dlc.emit.tree import At, Binary, Call, Cut, Expr, Gen, Num, Seq, Unary, Word, transform, walk
from dlc.records import replace

EACH = Word("each")
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_WEAKER = {"==": ("==", "<=", ">="), "<": ("<", "<="), "<=": ("<=",), ">": (">", ">="), ">=": (">=",)}


def without_implied(conditions: Iterable[Expr]) -> list[Expr]:
    """The conditions but for those that the others imply; of two that say the same, the first."""
    left = [each for each in dict.fromkeys(map(_of_elements, conditions)) if not _is_always(each)]
    for condition in reversed(list(left)):
        others = [each for each in left if each is not condition]
        if _follows(condition, [part for each in others for part in _parts(each)]):
            left = others
    return left


def _is_always(condition: Expr) -> bool:
    """Whether a condition says nothing: `heads % heads == 0`, where two parameters of the spec are one argument."""
    match condition:
        case Binary("==", Binary("%", a, b), Num(0)):
            return a == b
        case Binary("==" | "<=" | ">=", a, b):
            return a == b
    return False


def _parts(condition: Expr) -> Iterator[Expr]:
    """What a condition says, joined by `and`."""
    match condition:
        case Binary("and", left, right):
            yield from _parts(left)
            yield from _parts(right)
        case _:
            yield condition


def _follows(condition: Expr, known: Sequence[Expr]) -> bool:
    """Whether a condition holds where all that is known does."""
    if condition in known:
        return True
    match condition:
        case Binary("and", left, right):
            return _follows(left, known) and _follows(right, known)
        case Binary("or", left, right):
            return _follows(left, known) or _follows(right, known)
        case Call(Word("all"), (Gen(element=element),)):
            return _follows(element, known)
    return any(_implies(each, condition) for each in known)


def _implies(known: Expr, condition: Expr) -> bool:
    if _is_of_all(known, condition) or _says_more(known, condition):
        return True
    one, other = _bound(known), _bound(condition)
    if one is None or other is None or one[:2] != other[:2]:
        return False
    value, bound = one[2], other[2]
    further = value > bound if one[1] == ">" else value < bound
    return further or (value == bound and (one[3] or not other[3]))


def _says_more(known: Expr, condition: Expr) -> bool:
    """Whether a comparison of the same two things says as much: `a == b` and `a < b` are `a <= b`, and `b >= a` too."""
    match known, condition:
        case Binary(operator, a, b), Binary(other, c, d):
            turned = _FLIPPED.get(operator, operator)
            return ((a, b) == (c, d) and other in _WEAKER.get(operator, ())) or (
                (b, a) == (c, d) and other in _WEAKER.get(turned, ())
            )
    return False


def _bound(condition: Expr) -> tuple[Expr, str, float, bool] | None:
    """What a comparison with a number bounds, from which side, by what, and whether that itself is left out."""
    match condition:
        case Binary(("<" | "<=" | ">" | ">=") as operator, Num(number), value):
            return value, _FLIPPED[operator][0], number, "=" not in operator
        case Binary(("<" | "<=" | ">" | ">=") as operator, value, Num(number)):
            return value, operator[0], number, "=" not in operator
    return None


def _is_of_all(known: Expr, condition: Expr) -> bool:
    """Whether a condition on an element of a list is known of all."""
    match known:
        case Call(Word("all"), (Gen(element, variable, held, None, None),)) if variable == EACH.text:
            elements = {node for node in walk(condition) if isinstance(node, At) and _held(node) == held}
            return any(_with(condition, each, EACH) == element for each in elements)
    return False


def _held(element: At) -> Expr | None:
    """The list of which something is an element by its number."""
    is_number = len(element.items) == 1 and isinstance(element.items[0], Num | Word | Unary)
    return _forwards(element.base) if is_number else None


def _forwards(held: Expr) -> Expr:
    """A list, also of one that is taken from its end."""
    match held:
        case At(base, (Cut(None, None, step),)) if step is not None and step in (Num(-1), Unary("-", Num(1))):
            return base
    return held


def _with(root: Expr, old: Expr, new: Expr) -> Expr:
    return transform(root, lambda node: new if node == old else node)


def _of_elements(condition: Expr) -> Expr:
    """A condition of all elements of a list by their numbers as one of the elements."""
    match condition:
        case Call(
            Word("all") as all_, (Gen(element, variable, Call(Word("range"), (length,)), None, None) as gen,)
        ):
            match length:
                case Call(Word("len"), (held,)):
                    number = Word(variable)
                    places = {
                        node for node in walk(element) if isinstance(node, At) and node.items == (number,)
                    }
                    if len(places) == 1 and _forwards(next(iter(places)).base) == held:
                        told = _with(element, next(iter(places)), EACH)
                        if number not in walk(told) and not isinstance(held, Seq):
                            return Call(all_, (replace(gen, element=told, variable=EACH.text, source=held),))
    return condition
