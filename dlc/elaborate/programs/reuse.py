"""Functions that another session of the project made, taken over: a body is not elaborated again that would come out the same.

Of a function that reported anything nothing is taken over: it is told at each use. A function is taken over under the name that it would
have had, after all that its body would have asked for, so that a program is the same whether parts of it were there or not."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from dlc.elaborate.base.values import GroupValue, Instance
from dlc.elaborate.state.body import Session
from dlc.elaborate.state.callee import Callee, Instantiation
from dlc.elaborate.state.kept import Initial, Kept, Record
from dlc.ir.nodes import Function
from dlc.ir.splice import referring
from dlc.records import replace


class _Clash(Exception):
    """This session has made a function of the same key for another use."""


def keep(session: Session, key: Hashable, callee: Callee, made: Instantiation, record: Record) -> None:
    """Keep what was made, if nothing in it belongs to this session alone."""
    own = any(made.function in each for each in (session.lent, session.rules, session.hosted))
    if made.broken or own or not record.whole or _has_instance((made.static_result, *callee.static.values())):
        return
    training = session.training if record.minds_mode else None
    function = session.functions.get(made.function)
    parts = tuple(record.parts.values())
    names = tuple(_named(session, part) for part in parts)
    made.kept = Kept(key, made, function, parts, names, training)
    session.project.kept[key, session.traced, session.staged, training] = made.kept


def _named(session: Session, part: Kept | Initial) -> str:
    """What a part is called here: it may come from a session where it had another name."""
    if isinstance(part, Initial):
        return session.initials[part.key]
    return session.made[part.key, session.training].function


def known(session: Session, key: Hashable) -> Iterator[Kept]:
    """What other sessions made under this key that may do for this one."""
    for training in (None, session.training):
        found = session.project.kept.get((key, session.traced, session.staged, training))
        if found is not None:
            yield found


def take(session: Session, kept: Kept) -> Instantiation | None:
    """The instantiation as one of this session; None if it has made something else in its place."""
    try:
        return _taken(session, kept)
    except _Clash:
        return None


def _taken(session: Session, kept: Kept) -> Instantiation:
    names: dict[str, str] = {}
    for name, part in zip(kept.names, kept.parts, strict=True):
        if isinstance(part, Initial):
            names[name] = _initial(session, part, names)
            continue
        found = session.made.get((part.key, session.training)) or _taken(session, part)
        if found.kept is not part:
            raise _Clash
        names[name] = found.function
    if kept.function is None:
        made = kept.made
    else:
        function = _placed(session, kept, kept.function, names)
        session.functions[function.name] = function
        made = replace(kept.made, function=function.name)
    session.made[kept.key, session.training] = made
    return made


def _initial(session: Session, part: Initial, names: Mapping[str, str]) -> str:
    name = session.initials.get(part.key)
    if name is None:
        if any(op.callee and names.get(op.callee) != op.callee for op in part.function.body):
            raise _Clash  # its key speaks of other names
        name = session.unique("init")
        session.initials[part.key] = name
        if name not in part.placed:
            part.placed[name] = _called(part.function, name, part.function.training, {})
        session.functions[name] = part.placed[name]
    return name


def _placed(session: Session, kept: Kept, function: Function, names: Mapping[str, str]) -> Function:
    """The function in this session's names, and in its mode."""
    base = function.source + (f"_{function.entry}" if function.entry else "")
    name = session.unique(base)
    key = name, session.training, tuple(names.values())
    if key not in kept.placed:
        kept.placed[key] = _called(function, name, session.training, names)
    return kept.placed[key]


def _called(function: Function, name: str, training: bool, names: Mapping[str, str]) -> Function:
    """The function by another name, with other names for what it refers to."""
    if (name, training) != (function.name, function.training):
        function = replace(function, name=name, training=training)
    if all(old == new for old, new in names.items()):
        return function
    return referring(function, lambda each: names.get(each, each))


def _has_instance(value: Any) -> bool:
    """Whether a static value holds an instance, which lives in a body."""
    if isinstance(value, list | tuple):
        return any(map(_has_instance, value))
    return isinstance(value, Instance | GroupValue)
