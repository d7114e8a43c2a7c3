"""The elaborator: a session whose bodies are run by this package, with the names that the language has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dlc.elaborate.base.project import Project
from dlc.elaborate.bodies.expressions import evaluate
from dlc.elaborate.bodies.statements import run_body
from dlc.elaborate.builtins import BUILTINS, defined
from dlc.elaborate.calls.initial import INITIALS
from dlc.elaborate.programs.instantiate import instantiate
from dlc.elaborate.state.body import Body, Session, Vocabulary
from dlc.elaborate.state.callee import Bound, Callee, Instantiation
from dlc.syntax import ast


class _Recursion:
    """The way back up that every session is given (see `Recursion`)."""

    def evaluate(self, body: Body, node: ast.Expr) -> Any:
        return evaluate(body, node)

    def run(self, body: Body, statements: Iterable[ast.Stmt]) -> None:
        run_body(body, statements)

    def instantiate(self, caller: Body, callee: Callee, bound: Bound, node: ast.Node) -> Instantiation:
        return instantiate(caller, callee, bound, node)


RECURSION = _Recursion()
VOCABULARY = Vocabulary(BUILTINS, INITIALS, defined)


class Elaborator(Session):
    """Elaborates definitions of a project into functions of one program, for training or for inference. A test gives `measure`,
    which answers `parameters(m)` and the like."""

    def __init__(
        self,
        project: Project,
        *,
        training: bool = False,
        measure: Callable[[Body, ast.Node, str, Any], Any] | None = None,
        traced: bool = False,
        fixed: frozenset[str] = frozenset(),
        staged: int = 0,
    ) -> None:
        super().__init__(
            project,
            VOCABULARY,
            RECURSION,
            training=training,
            measure=measure,
            traced=traced,
            fixed=fixed,
            staged=staged,
        )
