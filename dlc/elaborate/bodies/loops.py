"""`for`: turns that do the same become one `loop`.

A turn is elaborated into operations of its own. Two turns are the same if their operations are, up to the names of
values, the values carried from turn to turn, and the index in the paths. A loop is elaborated turn by turn until its turns repeat:
what a body finds out of its variable (nothing, `i < dense`, `i % 2 == 0`) is the same again in all that follow, and two rounds did the
same. Then cost does not grow with the count. Runs of equal turns are rolled up afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.budget import READ_STEPS
from dlc.elaborate.base.trees import bound, labels, mentioned, readings
from dlc.elaborate.base.values import frozen, is_plain
from dlc.elaborate.bodies.expressions import bind_static, counted_on, iterate, turn_index
from dlc.elaborate.bodies.gathering import gathered
from dlc.elaborate.bodies.rolling import LONGEST_ROUND, Rest, append, plan_of, roll_up
from dlc.elaborate.bodies.turns import Loop, Run, Turn, fixpoint, one_turn, read_later_of, same
from dlc.elaborate.names.origins import walk_of
from dlc.elaborate.reports.report import ElabError, Silent
from dlc.elaborate.state.body import Body
from dlc.syntax import ast

TURN_LIMIT = 100_000
UNROLL_LIMIT = 10_000  # turns that are elaborated, because each may differ


def run_for(body: Body, node: ast.For) -> None:
    items = body.evaluate(node.iterable)
    before = body.scope.names
    if isinstance(items, range | list | tuple) and len(items) > TURN_LIMIT:
        body.report.fail(
            problems.BUDGET,
            node.iterable.span,
            what="this loop",
            found=f"{len(items):,} turns",
            limit=f"{TURN_LIMIT:,}",
        )
    iterate(body.report, items, node.iterable)
    if not items:
        return
    later, gathers = read_later_of(body.context, node), gathered(body, node)
    loop = Loop(node, items, before, later, walk_of(body, node), gathers)
    turns, rest = _unroll(body, loop)
    if loop.walk is not None and not loop.walk.is_named:
        body.scope = body.scope.without(loop.walk.index)
    for turn in turns:  # what comes behind the loop counts on
        counted_on(body, turn.unnamed)
    if len(items) == 1 or body.emission.has_returned:
        for turn in turns:
            append(body.emission, turn)
        return
    roll_up(body, loop, turns, rest)


def _unroll(body: Body, loop: Loop) -> tuple[list[Turn], Rest]:
    """The turns, and how many more follow: the one place where loops are unrolled.

    A turn can differ from the one before only by its variable, by what it finds, and by the index in its paths. So where a turn reads
    the same out of the variable (labels aside), and two rounds that follow each other did the same to a state that both left
    as it was, all later ones will, and need not be elaborated."""
    items = loop.items
    since = _since(body, loop)
    turns: list[Turn] = []
    for k, item in enumerate(items):
        turns.append(one_turn(body, loop, item, turn_index(items, k)))
        if body.emission.has_returned:
            return turns, Rest()
        if k >= UNROLL_LIMIT and len(items) > 1:
            what, found = "what this loop unrolls to", f"{len(items):,} turns"
            limit = f"{UNROLL_LIMIT:,} that differ"
            body.report.fail(problems.BUDGET, loop.node.iterable.span, what=what, found=found, limit=limit)
        for rest in _rests(len(items), k + 1):
            if since(rest.period) <= k + 1 - rest.period and _repeats(turns, rest):
                return turns, rest
    return turns, Rest()


def _rests(total: int, done: int) -> Iterator[Rest]:
    """How a loop may go on after so many turns. A round of several turns is looked for at its beginning only."""
    if 2 <= done < total:
        yield Rest(1, total - done)
    if done % 2 == 0 and 2 < done <= 2 * LONGEST_ROUND and total > done and (total - done) % (done // 2) == 0:
        yield Rest(done // 2, (total - done) // (done // 2))


def _repeats(turns: list[Turn], rest: Rest) -> bool:
    """Whether the last two rounds did the same, to a state that both left as it was."""
    period, done = rest.period, len(turns)
    last = range(done - 2 * period, done - period)
    return (
        all(same(turns[k], turns[k + period]) for k in last)
        and all(map(fixpoint, turns[-2 * period :]))
        and plan_of(turns, Run(done - 2 * period, period, 2)) is not None
    )


def _since(body: Body, loop: Loop) -> Callable[[int], int]:
    """The turn from which on each reads out of the loop's variable what the one a round before did, by the length of a round: behind
    the last one where turns can't be foretold."""
    if loop.is_needed or not isinstance(loop.items, range) or not _affine(loop):
        return lambda period: len(loop.items)
    scope, own = body.scope, bound(loop.node.body) - loop.names
    known = {name for name, value in scope.names.items() if name not in own and is_plain(value)}
    asked = readings(loop.node.body, loop.names, known)
    if not asked:  # every turn reads the same: nothing
        return lambda period: period

    @cache
    def read(k: int) -> Any:
        before, body.scope = body.scope, scope
        body.context.session.spend(READ_STEPS, loop.node.span, body.report)
        try:
            bind_static(body, loop.node.target, loop.items[k])
            return tuple(frozen(body.evaluate(each)) for each in asked)
        except (ElabError, Silent):
            return k  # (told when the turn comes)
        finally:
            body.scope = before

    @cache
    def since(period: int) -> int:
        k = len(loop.items)
        while k > period and read(k - 1) == read(k - 1 - period):
            k -= 1
        return k

    return since


def _affine(loop: Loop) -> bool:
    """Whether labels go on as the first turns begin: true unless one computes with the variable (`as block_{i // 2}`), where two
    turns say nothing of the third."""
    written = [each for each in (loop.node.label, *labels(loop.node.body)) if each is not None]
    parts = [part for label in written for part in label.parts if not isinstance(part, str)]
    return not any(mentioned(part, loop.names) and not isinstance(part, ast.Name) for part in parts)
