"""Makes the parser's table from the grammar: `python -m dlc.syntax.generate` writes `_table.py`.

Lark reads `grammar/dl.lark` and computes the LALR(1) table; the table is stored so that parsing needs no Lark
and no table construction at run time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lark import Lark
from lark.grammar import Rule
from lark.lexer import PatternStr

from dlc.resources import grammar_path

TABLE = Path(__file__).parent / "_table.py"
STARTS = ["file", "value"]

_HEADER = '''\
"""The parser's LALR(1) table. Made from grammar/dl.lark by `python -m dlc.syntax.generate`: do not edit."""

# ruff: noqa
# fmt: off
'''


def table_text() -> str:
    """The text of `_table.py` for the grammar as it is."""
    lark = Lark(
        grammar_path().read_text(encoding="utf-8"),
        parser="lalr",
        lexer="basic",
        start=STARTS,
        maybe_placeholders=True,
    )
    return _Writer(lark).text()


def main() -> None:
    TABLE.write_text(table_text(), encoding="utf-8")


class _Writer:
    def __init__(self, lark: Lark) -> None:
        self.table = lark.parser.parser._parse_table
        self.kinds = {term.name: _kind(term) for term in lark.terminals}
        self.rules: list[Rule] = list(lark.rules)
        self.numbers = {rule: number for number, rule in enumerate(self.rules)}
        self.symbols: list[str] = []
        self.states = self._order()

    def _order(self) -> dict[Any, int]:
        """The states, numbered in the order in which a walk from the start states meets them: stable
        between runs."""
        order: dict[Any, int] = {}
        todo = [self.table.start_states[start] for start in STARTS]
        while todo:
            state = todo.pop(0)
            if state in order:
                continue
            order[state] = len(order)
            row = sorted(self.table.states[state].items())
            todo += [argument for _, (action, argument) in row if not _reduces(action)]
        return order

    def text(self) -> str:
        rows = [self._row(state) for state in self.states]
        rules = [self._rule(rule) for rule in self.rules]
        starts = {start: self.states[self.table.start_states[start]] for start in STARTS}
        parts = [
            _HEADER,
            f"STARTS = {starts!r}\n",
            _block("SYMBOLS", self.symbols),
            "# Per rule: its symbol, what makes its value, its number of symbols, `?` where a single child\n"
            "# stands for itself, and what is kept: an index, `*` before a list to splice in, `n` for none.",
            _block("RULES", rules),
            "# Per state: pairs of a symbol and what follows: a state, or -1 minus a rule.",
            _numbers("STATES", rows),
        ]
        return "\n".join(parts)

    def _symbol(self, name: str) -> int:
        if name not in self.symbols:
            self.symbols.append(name)
        return self.symbols.index(name)

    def _row(self, state: Any) -> tuple[int, ...]:
        if state in self.table.end_states.values():
            return self._symbol("$END"), 0  # shifting the end accepts
        cells = []
        for name, (action, argument) in sorted(self.table.states[state].items()):
            target = -1 - self.numbers[argument] if _reduces(action) else self.states[argument]
            cells += [self._symbol(self._kind(name)), target]
        return tuple(cells)

    def _kind(self, name: str) -> str:
        """A terminal as tokens name it; rules stand in angle brackets, as some are named like a keyword."""
        return name if name == "$END" else self.kinds.get(name, f"<{name}>")

    def _rule(self, rule: Rule) -> str:
        origin = rule.origin.name
        action = "_" if origin.startswith("_") else rule.alias or origin
        single = "?" if rule.options.expand1 and not rule.alias else "-"
        kept = " ".join(_kept(rule))
        return f"{self._symbol(self._kind(origin))} {action} {len(rule.expansion)} {single} {kept}".rstrip()


def _kind(term: Any) -> str:
    name = term.pattern.value if isinstance(term.pattern, PatternStr) else term.name.lstrip("_")
    return str(name)


def _reduces(action: Any) -> bool:
    return str(action) == "Reduce"


def _kept(rule: Rule) -> list[str]:
    """Which symbols of a rule become children, as Lark would have it."""
    empty = list(rule.options.empty_indices) or [False] * len(rule.expansion)
    symbols = iter(enumerate(rule.expansion))
    kept = []
    for is_empty in empty:
        if is_empty:
            kept.append("n")
            continue
        index, symbol = next(symbols)
        if not symbol.is_term:
            kept.append(f"*{index}" if symbol.name.startswith("_") else str(index))
        elif rule.options.keep_all_tokens or not symbol.filter_out:
            kept.append(str(index))
    return kept


def _block(name: str, lines: list[str]) -> str:
    assert not any("\\" in line or '"""' in line for line in lines)
    return f'{name} = """\\\n' + "\n".join(lines) + '"""\n'


def _numbers(name: str, rows: list[tuple[int, ...]]) -> str:
    """One constant: Python reads it from its bytecode as it is, in a tenth of the time that text takes to be cut up."""
    return f"{name} = (\n" + "".join(f"{row},\n" for row in rows) + ")\n"


if __name__ == "__main__":
    main()
