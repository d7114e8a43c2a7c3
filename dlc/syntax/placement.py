"""Which statements may stand where. The grammar takes every statement in every block; a wrong one is
reported here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dlc.diagnostics import Diagnostic
from dlc.diagnostics.catalogue import SYNTAX
from dlc.syntax import ast

_PARTS = frozenset({"module", "entry"})
_COMPUTATIONS = frozenset({"module", "entry", "fn"})
_TRAIN = frozenset({"train"})

# Statement: its words, the blocks that it may stand in, and how these are called.
_PLACES: dict[type[ast.Stmt], tuple[str, frozenset[str], str]] = {
    ast.Return: ("return", _COMPUTATIONS, "in the body of a module, an entry or a fn"),
    ast.Entry: ("entry", frozenset({"module"}), "directly in a module's body"),
    ast.InitRule: ("init", _PARTS | _TRAIN, "in a module's body"),
    ast.Yield: ("yield", frozenset({"scan"}), "in a scan"),
    ast.BatchStmt: ("batch", _TRAIN, "in a train block"),
    ast.Evaluate: ("evaluate", _TRAIN, "in a train block"),
    ast.Optimizer: ("optimizer", frozenset({"train", "step"}), "in a train block or one of its steps"),
    ast.LoadStmt: ("load", _TRAIN, "in a train block"),
    ast.Freeze: ("freeze", _TRAIN, "in a train block"),
    ast.Settings: ("settings", _TRAIN, "in a train block"),
    ast.StepStmt: ("step", _TRAIN, "in a train block"),
    ast.Minimize: ("minimize", frozenset({"train", "step"}), "in a train block or one of its steps"),
    ast.Metric: ("metric", frozenset({"train", "step"}), "in a train block"),
    ast.Sample: ("sample", _TRAIN, "in a train block, outside of its steps"),
}
_PARAM = ("param", _PARTS | {"scan"}, "in a module's body")
_BUFFER = ("buffer", _PARTS | {"scan", "train"}, "in a module's body or a train block")
_UPDATE = ("update", _PARTS | {"scan", "train", "step"}, "in a module's body or a train block")

_Open = tuple[tuple[ast.Stmt, ...], str]


def misplaced(items: Iterable[ast.Item]) -> list[Diagnostic]:
    """A diagnostic for each statement that stands where its kind has no meaning."""
    found: list[Diagnostic] = []
    todo = [opened for item in items for opened in _body(item)]
    while todo:
        body, block = todo.pop()
        for stmt in body:
            found += _check(stmt, block)
            todo += _inner(stmt, block)
    return found


def _body(item: ast.Item) -> Iterator[_Open]:
    if isinstance(item, ast.ModuleDef):
        yield item.body, "module"
    elif isinstance(item, ast.FnDef):
        yield item.body, "fn"
    elif isinstance(item, ast.Train):
        yield item.body, "train"
    elif isinstance(item, ast.Test):
        yield item.body, "test"


def _inner(stmt: ast.Stmt, block: str) -> Iterator[_Open]:
    """The blocks inside a statement. `if` and `for` do not change what may stand in them."""
    if isinstance(stmt, ast.If):
        yield stmt.then, block
        yield stmt.otherwise, block
    elif isinstance(stmt, ast.For):
        yield stmt.body, block
    elif isinstance(stmt, ast.Entry):
        yield stmt.body, "entry"
    elif isinstance(stmt, ast.Scan):
        yield stmt.body, "scan"
    elif isinstance(stmt, ast.StepStmt):
        yield stmt.body, "step"


def _place(stmt: ast.Stmt) -> tuple[str, frozenset[str], str] | None:
    if isinstance(stmt, ast.ParamStmt):
        return _PARAM if stmt.kind == "param" else _BUFFER
    if isinstance(stmt, ast.Update):
        return _UPDATE
    return _PLACES.get(type(stmt))


def _check(stmt: ast.Stmt, block: str) -> Iterator[Diagnostic]:
    place = _place(stmt)
    if isinstance(stmt, ast.ParamStmt) and stmt.type is None and block != "train":
        yield SYNTAX.at(
            stmt.span, message=f"`{stmt.name}` needs a type", help="write `buffer NAME: [sizes] = …`"
        )
    if place is None or block in place[1]:
        return
    word, _, where = place
    help = "a scan hands out values with `yield name = …`" if word == "return" and block == "scan" else ""
    if word == "param" and block == "fn":
        help = "what has parameters is a `module`: `module Name()(x: …) -> … { }`"
    yield SYNTAX.at(stmt.span, message=f"`{word}` may stand only {where}", help=help)
