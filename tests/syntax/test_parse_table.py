"""The stored table is that of the grammar, the grammar has no conflicts, and starting up is quick."""

from __future__ import annotations

import logging
import subprocess
import sys

import lark
import pytest

from dlc.resources import grammar_path, specs_path
from dlc.syntax import _table
from dlc.syntax.builder import TreeBuilder
from dlc.syntax.generate import STARTS, TABLE, table_text
from dlc.syntax.lalr import rule


def test_the_stored_table_is_up_to_date() -> None:
    assert table_text() == TABLE.read_text(encoding="utf-8"), "run `python -m dlc.syntax.generate`"


def test_the_grammar_has_no_conflicts(caplog: pytest.LogCaptureFixture) -> None:
    lark.logger.setLevel(logging.DEBUG)
    with caplog.at_level(logging.DEBUG, logger=lark.logger.name):
        lark.Lark(grammar_path().read_text(), parser="lalr", lexer="basic", start=STARTS, debug=True)
    assert not [each for each in caplog.messages if "conflict" in each.lower()]


def test_every_rule_has_its_builder() -> None:
    rules = [rule(number) for number in range(len(_table.RULES.split("\n")))]
    actions = {each.action for each in rules if not each.single} - {"_"}
    built = {name.removeprefix("on_") for name in dir(TreeBuilder) if name.startswith("on_")}
    assert actions == built


def test_the_resources_are_found() -> None:
    assert grammar_path().is_file()
    assert specs_path().name == "specs"


def test_parsing_needs_no_lark() -> None:
    code = "import sys, dlc.syntax.parser as p; p.parse('let x = 1', 't'); sys.exit('lark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
