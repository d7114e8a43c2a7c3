"""Products of static parameters in one order in all of a file: that of the spec.

nn.Linear(d, ratio * d); nn.Linear(d * ratio, d)     ->     nn.Linear(d, ratio * d); nn.Linear(ratio * d, d)

What the source computes of sizes has its factors in the order of the alphabet, what the spec writes is said as it stands there. So where
a product comes in both orders, the other one is the spec's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dlc.emit.body import Lines

_NAME = r"((?:self\.|config\.)?)([A-Za-z_]\w*)"
# By itself, or what a sum or a quotient begins with: `a / b * c` is no product of b and c.
_PRODUCT = re.compile(rf"(?<![\w.*/%@-])(?<![*/%@] ){_NAME} \* {_NAME}(?![\w.(\[]|\*\*)")
_NUMBER = re.compile(r"\b(\w+): int\b")


def in_one_order(blocks: Sequence[Lines]) -> list[Lines]:
    """The blocks of a file with each product of two static parameters in one order."""
    lines = [line for block in blocks for line in block]
    numbers = {found[1] for line in lines for found in _NUMBER.finditer(line)}
    written = {(found[2], found[4]) for line in lines for found in _PRODUCT.finditer(line)}
    turned = {(a, b) for a, b in written if a < b and (b, a) in written and {a, b} <= numbers}

    def change(found: re.Match[str]) -> str:
        one, a, other, b = found.groups()
        return f"{other}{b} * {one}{a}" if (a, b) in turned else found[0]

    if not turned:
        return list(blocks)
    return [[_PRODUCT.sub(change, line) for line in block] for block in blocks]
