"""Static values of files, `let` and `preset`, and sizes by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.budget import CHAIN_LIMIT
from dlc.elaborate.base.depth import deep
from dlc.elaborate.base.knowledge import item_place
from dlc.elaborate.base.units import Definition, Unit
from dlc.elaborate.base.values import POISON, Instance, Poison, PresetRef, type_name
from dlc.elaborate.reports.report import Silent
from dlc.elaborate.state.body import Body, Session, static_body
from dlc.syntax import ast
from dlc.types.dims import Dim


@deep
def let(session: Session, unit: Unit, item: ast.Let) -> Any:
    """The value of a `let`, computed once. Raises Silent for one that is in error, which was told."""
    key = (id(unit), item.name)
    if key not in session.lets:
        session.lets[key] = POISON
        body = static_body(session, unit)
        with _evaluating(session, item, body):
            session.lets[key] = body.report.guarded(lambda: body.evaluate(item.value), POISON)
        session.project.knowledge.valued(item_place(item, item.name), session.lets[key])
    _check_cycle(session, unit, item)
    _needed(session, item)
    value = session.lets[key]
    if isinstance(value, Poison):
        raise Silent
    return value


def let_dims(session: Session, unit: Unit) -> Callable[[str], Dim | tuple[Dim, ...] | None]:
    """What a name in a type of this file means besides parameters and dims: an int given by `let`."""

    def find(name: str) -> Dim | None:
        item = unit.names.get(name)
        if not isinstance(item, ast.Let):
            return None
        value = let(session, unit.own(name), item)
        return Dim.of(value) if isinstance(value, int) and not isinstance(value, bool) else None

    return find


@deep
def preset(session: Session, unit: Unit, item: ast.Preset) -> PresetRef:
    """A preset: its model, and the settings that it gives."""
    key = (id(unit), item.name)
    if key not in session.presets:
        body = static_body(session, unit)
        _check_cycle(session, unit, item)
        with _evaluating(session, item, body):
            session.presets[key] = _settled(body, item, body.evaluate(item.value))
    _needed(session, item)
    found: PresetRef = session.presets[key]
    return found


def _settled(body: Body, item: ast.Preset, value: Any) -> PresetRef:
    if isinstance(value, PresetRef):
        return PresetRef(value.definition, value.static, item.name)
    if not isinstance(value, Instance):
        what = value.name if isinstance(value, Definition) else "Model"
        message = f"the preset `{item.name}` needs a model at given settings, not {type_name(value)}"
        help = f"write `preset {item.name} = {what}(…)`"
        body.report.fail(problems.BAD_PRESET, item.value.span, message=message, help=help)
    return PresetRef(value.definition, tuple(value.static.items()), item.name)


@contextmanager
def _evaluating(session: Session, item: ast.Let | ast.Preset, body: Body) -> Iterator[None]:
    """While the value of `item` is computed, so that one that needs itself is found out, and a chain that is too long: each
    link is calls inside calls. How long it is does not depend on which of them is asked for first."""
    session.evaluating.append(item)
    session.chains[id(item)] = 1
    try:
        if len(session.evaluating) > CHAIN_LIMIT:
            _too_long(session, item, body)
        yield
        if session.chains[id(item)] > CHAIN_LIMIT:
            _too_long(session, item, body)
    finally:
        session.evaluating.pop()


def _too_long(session: Session, item: ast.Let | ast.Preset, body: Body) -> NoReturn:
    what = "a chain of `let`s and presets that need one another"
    session.exhausted((what, f"over {CHAIN_LIMIT}", str(CHAIN_LIMIT)), item.value.span, body.report)


def _needed(session: Session, item: ast.Let | ast.Preset) -> None:
    """Note that what is computed now needs this one."""
    if session.evaluating:
        own = id(session.evaluating[-1])
        session.chains[own] = max(session.chains[own], session.chains[id(item)] + 1)


def _check_cycle(session: Session, unit: Unit, item: ast.Let | ast.Preset) -> None:
    start = next((i for i, each in enumerate(session.evaluating) if each is item), None)
    if start is None:
        return
    cycle = session.evaluating[start:]
    top = min(range(len(cycle)), key=lambda i: (cycle[i].span.file, cycle[i].span.line))
    cycle = [*cycle[top:], *cycle[: top + 1]]
    names = " -> ".join(each.name for each in cycle)
    report = static_body(session, unit).report
    report.fail(problems.LET_CYCLE, cycle[0].value.span, name=cycle[0].name, cycle=names)


def size_of(body: Body, name: str) -> Dim | tuple[Dim, ...] | None:
    """What a name in a type of the body stands for: a static int, a dim, or a `let` of the file."""
    value = body.scope.names.get(name)
    if isinstance(value, int | Dim) and not isinstance(value, bool):
        return Dim.of(value)
    found: Dim | tuple[Dim, ...] | None = body.scope.dims.get(name)
    return found if found is not None else let_dims(body.context.session, body.context.unit)(name)
