"""Every parameter of a program with the initial value that holds for it."""

from __future__ import annotations

from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.name_patterns import matches, near
from dlc.elaborate.calls.initial import initial_function
from dlc.elaborate.state.body import InitRule, Session, static_body
from dlc.ir.nodes import Function, Param, Parameter
from dlc.records import dataclass


@dataclass(slots=True)
class _Ancestor:
    """A function with `init` rules on the way from the root to a parameter, and the path of its instance."""

    rules: list[InitRule]
    prefix: str


def resolve_parameters(session: Session, root: str) -> tuple[Parameter, ...]:
    """Every parameter of the program with the initial value that holds for it: an outer path rule beats an inner one, both
    beat kind rules, of which the innermost counts; within a body the last match wins."""
    found: dict[str, Parameter] = {}
    stack: list[tuple[str, str, tuple[_Ancestor, ...]]] = [(root, "", ())]
    while stack:
        name, prefix, above = stack.pop()
        function = session.functions[name]
        rules = session.rules.get(name)
        ancestors = (*above, _Ancestor(rules, prefix)) if rules else above
        for param in function.params:
            path = f"{prefix}.{param.name}" if prefix else param.name
            if path not in found:
                init, rule = _initial(function, param, path, ancestors) if ancestors else (param.init, "")
                kind, frozen = param.kind, param.frozen
                found[path] = Parameter(path, param.type, kind, frozen, init, function.source, rule)
        for child in reversed(function.children):
            for local in reversed(list(child.paths())):
                path = ".".join(part for part in (prefix, local) if part)
                stack.append((child.function, path, ancestors))
        if len(found) > PARAMETER_LIMIT:
            body = static_body(session, _unit(session))
            body.report.fail(
                problems.BUDGET,
                session.functions[root].span,
                what="the number of parameters",
                found=f"over {PARAMETER_LIMIT:,}",
                limit=f"{PARAMETER_LIMIT:,}",
            )
    _report_unused(session, root)
    return tuple(found.values())


def _unit(session: Session) -> Any:
    return next(iter(session.project.units.values()))


def _initial(owner: Function, param: Param, path: str, ancestors: tuple[_Ancestor, ...]) -> tuple[str, str]:
    """The function of a parameter's initial value, and the pattern of the rule that gives it."""
    rule, pattern = _path_rule(path, ancestors)
    rule = rule or _kind_rule(owner, param, ancestors)
    if rule is None:
        return param.init, ""
    if param.type not in rule.made:
        scope = rule.scope.changed(dims=rule.body.scope.dims)
        rule.made[param.type] = initial_function(
            rule.body, rule.node.initial, param.type, rule.node.span, scope
        )
    return rule.made[param.type], pattern


def _path_rule(path: str, ancestors: tuple[_Ancestor, ...]) -> tuple[InitRule | None, str]:
    for ancestor in ancestors:
        local = path[len(ancestor.prefix) + 1 :] if ancestor.prefix else path
        match: InitRule | None = None
        pattern = ""
        for rule in ancestor.rules:
            for i, selector in enumerate(rule.node.selectors):
                if selector.pattern is not None and matches(selector.pattern.value, local):
                    match, pattern = rule, selector.pattern.value
                    rule.used.add(i)
        if match is not None:
            return match, f"**.{pattern}" if ancestor.prefix else pattern
    return None, ""


def _kind_rule(owner: Function, param: Param, ancestors: tuple[_Ancestor, ...]) -> InitRule | None:
    for ancestor in reversed(ancestors):
        match: InitRule | None = None
        for rule in ancestor.rules:
            for i, selector in enumerate(rule.node.selectors):
                kind = selector.kind == owner.source and selector.param in (None, param.name)
                if selector.pattern is None and kind and param.kind == "param":
                    match = rule
                    rule.used.add(i)
        if match is not None:
            return match
    return None


def _report_unused(session: Session, root: str) -> None:
    for function, rules in session.rules.items():
        for rule in rules:
            for i, selector in enumerate(rule.node.selectors):
                if i in rule.used or selector.pattern is None:
                    continue
                known = [path for path, _ in session.local_paths(function)]
                text = f'"{selector.pattern.value}"'
                rule.body.report.tell(
                    problems.UNUSED_RULE,
                    selector.span,
                    module=session.functions[function].source,
                    selector=text,
                    help=near(selector.pattern.value, known),
                )


PARAMETER_LIMIT = 200_000
