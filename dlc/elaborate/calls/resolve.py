"""Every parameter of a program with the initial value that holds for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.budget import HELPED
from dlc.elaborate.base.name_patterns import matches, near
from dlc.elaborate.calls.initial import initial_function, plain_initial
from dlc.elaborate.calls.initial_copies import stacked_initial
from dlc.elaborate.reports.report import Report
from dlc.elaborate.state.body import InitRule, Session
from dlc.elaborate.state.emission import TakenOver
from dlc.ir.nodes import Function, Param, Parameter
from dlc.ir.splice import prefixed
from dlc.records import dataclass


@dataclass(slots=True)
class _Ancestor:
    """A function with `init` rules on the way from the root to a parameter, and the path of its instance."""

    rules: list[InitRule]
    prefix: str
    hosted: bool = False
    """Whether its body was put into another one."""


def resolve_parameters(session: Session, root: str) -> tuple[Parameter, ...]:
    """Every parameter of the program with the initial value that holds for it, and a report on rules for none."""
    found = inner_parameters(session, root)
    _report_unused(session, root)
    return found


def inner_parameters(session: Session, root: str) -> tuple[Parameter, ...]:
    """Every parameter below a function with its initial value: an outer path rule beats an inner one, both beat kind rules, of
    which the innermost counts; within a body the last match wins."""
    found: dict[str, Parameter] = {}
    values = _Values(session)
    stack: list[tuple[str, str, tuple[_Ancestor, ...]]] = [(root, "", ())]
    while stack:
        name, prefix, above = stack.pop()
        function = session.functions[name]
        rules = session.rules.get(name)
        ancestors = (*above, _Ancestor(rules, prefix)) if rules else above
        hosted = session.hosted.get(name, ())
        for param in function.params:
            path = prefixed(prefix, param.name)
            over = (*ancestors, *_hosts(hosted, param.name, prefix)) if hosted else ancestors
            if path in found:  # where an entry calls `self`, whose rules are spelled right all the same
                _path_rule(path, over)
            else:
                init, rule = values.initial(function, param, path, over) if over else (param.init, "")
                kind, frozen = param.kind, param.frozen
                owner = values.source(function, param).kind
                of = param.sources if init == param.init else ()
                sources = tuple([prefixed(prefix, each) for each in of])
                found[path] = Parameter(path, param.type, kind, frozen, init, owner, rule, sources)
        for child in reversed(function.children):
            for local in reversed(list(child.paths())):
                over = (*ancestors, *_hosts(hosted, local, prefix)) if hosted else ancestors
                stack.append((child.function, prefixed(prefix, local), over))
    session.spend(
        len(found),
        session.functions[root].span,
        Report(session.findings, session.vocabulary),
    )
    return tuple(found.values())


def _hosts(hosted: Iterable[tuple[str, list[InitRule]]], local: str, prefix: str) -> Iterator[_Ancestor]:
    """The bodies that were put into a function, outermost first, whose own parts a path in the function is one of."""
    for own, rules in sorted(hosted, key=lambda each: len(each[0])):
        if local == own or local.startswith(f"{own}."):
            yield _Ancestor(rules, prefixed(prefix, own), hosted=True)


class _Values:
    """The initial values of one search. What is the same for a parameter at every place of its function is found once."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._sources: dict[tuple[str, str], TakenOver] = dict(session.taken_over)
        self._by_kind: dict[tuple[Any, ...], str] = {}

    def initial(
        self, owner: Function, param: Param, path: str, ancestors: tuple[_Ancestor, ...]
    ) -> tuple[str, str]:
        """The function of a parameter's initial value, and the pattern of the rule that gives it. What rules for kinds give is the
        same at every place below the same modules."""
        rule, pattern = _path_rule(path, ancestors)
        if rule is not None:
            return self._made(owner, param, rule, ancestors), pattern
        key = (owner.name, param.name, *[(id(each.rules), each.hosted) for each in ancestors])
        found = self._by_kind.get(key)
        if found is None:
            source = self.source(owner, param)
            kind = _kind_rule(source.kind, source.name, param.kind, ancestors)
            found = param.init if kind is None else self._made(owner, param, kind, ancestors)
            self._by_kind[key] = found
        return found, ""

    def source(self, owner: Function, param: Param) -> TakenOver:
        """The kind of the part that a parameter belongs to (`linear`) and its name there; of copies, in the module that is copied."""
        found = self._sources.get((owner.name, param.name))
        if found is None:
            found = TakenOver(owner.source, param.name, is_stacked=False)
            self._sources[owner.name, param.name] = found
        return found

    def _made(self, owner: Function, param: Param, rule: InitRule, ancestors: tuple[_Ancestor, ...]) -> str:
        """The function of the initial value that a rule gives a parameter. Of stacked copies it sees one."""
        source = self.source(owner, param)
        one = param.type.with_axes(param.type.axes[1:]) if source.is_stacked else param.type
        if one not in rule.made:
            scope = rule.scope.changed(dims=rule.body.scope.dims)
            rule.made[one] = initial_function(rule.body, rule.node.initial, one, rule.node.span, scope)
        made = rule.made[one]
        if any(each.hosted and rule in each.rules for each in ancestors):
            made = plain_initial(self.session, made)
        return stacked_initial(self.session, made, param.type.axes[0]) if source.is_stacked else made


def _path_rule(path: str, ancestors: tuple[_Ancestor, ...]) -> tuple[InitRule | None, str]:
    """The rule of the outermost module that has one. Those inside match as well, though they are overruled: they are spelled right."""
    found: tuple[InitRule | None, str] = None, ""
    for ancestor in ancestors:
        match, pattern = _matching(path[len(ancestor.prefix) + 1 :] if ancestor.prefix else path, ancestor)
        if match is not None and found[0] is None:
            found = match, f"**.{pattern}" if ancestor.prefix else pattern
    return found


def _matching(local: str, ancestor: _Ancestor) -> tuple[InitRule | None, str]:
    """The last rule of one module that matches a path below it."""
    match: tuple[InitRule | None, str] = None, ""
    for rule in ancestor.rules:
        for i, selector in enumerate(rule.node.selectors):
            if selector.pattern is not None and matches(selector.pattern.value, local):
                match = rule, selector.pattern.value
                rule.used.add(i)
    return match


def _kind_rule(owner: str, name: str, of: str, ancestors: tuple[_Ancestor, ...]) -> InitRule | None:
    for ancestor in reversed(ancestors):
        match: InitRule | None = None
        for rule in ancestor.rules:
            for i, selector in enumerate(rule.node.selectors):
                kind = selector.kind == owner and selector.param in (None, name)
                if selector.pattern is None and kind and of == "param":
                    match = rule
                    rule.used.add(i)
        if match is not None:
            return match
    return None


def _report_unused(session: Session, root: str) -> None:
    # A module and its entries have the rules in common, and what one of them finds is there.
    used = {
        id(rule.node.selectors[i]) for rules in session.rules.values() for rule in rules for i in rule.used
    }
    for function, rules in session.rules.items():
        for rule in rules:
            for selector in rule.node.selectors:
                if id(selector) in used or selector.pattern is None:
                    continue
                known = [path for path, _ in session.local_paths(function)]
                text = f'"{selector.pattern.value}"'
                many = session.findings.failures > HELPED
                rule.body.report.tell(
                    problems.UNUSED_RULE,
                    selector.span,
                    module=session.functions[function].source,
                    selector=text,
                    help="" if many else near(selector.pattern.value, known),
                )
