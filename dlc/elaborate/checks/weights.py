"""Checking a `weights` block against its model, by names alone: no file is read.

The rules are followed backwards from the model's own names, so each pattern meets the names that the rules after it expect."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from dlc.diagnostics import Diagnostic, did_you_mean
from dlc.diagnostics import meaning as problems
from dlc.diagnostics import training as weights_problems
from dlc.elaborate.base import habits
from dlc.elaborate.base.budget import HELPED
from dlc.elaborate.base.name_patterns import fill, match, near, pieces
from dlc.elaborate.base.project import Project
from dlc.elaborate.base.units import Definition, Unit
from dlc.elaborate.base.values import PresetRef
from dlc.elaborate.checks.weight_shapes import check_shapes, rule_options
from dlc.elaborate.names.lookup import named, note_item
from dlc.elaborate.programs.build import EntryPoint, build, point_of
from dlc.elaborate.programs.elaborator import Elaborator
from dlc.elaborate.reports.report import ElabError, Silent
from dlc.elaborate.state.body import Session, static_body
from dlc.records import dataclass
from dlc.syntax import ast

OPTIONS = {
    "concat": ("axis", "sizes"),
    "split": ("axis", "sizes"),
    "offset": ("by",),
    "scale": ("by",),
    "weight_norm": ("axis",),
}


@dataclass(frozen=True, slots=True)
class Mapped:
    """Names in the model's words, and what the rule made them of in the file's."""

    here: tuple[ast.Str, ...]
    there: tuple[ast.Str, ...]


def check_weights(project: Project, unit: Unit, item: ast.Weights) -> list[Diagnostic]:
    """All that is wrong with a block."""
    session = Elaborator(project)
    found = [each for rule in item.rules for each in _rule_problems(rule)]
    try:
        point = model_of(session, unit, item)
        program = build(session.project, point, item.span, report=lambda each: None)
        options, wrong = rule_options(project, unit, item, point.settings)
        found += wrong
        if program is not None and not found:
            found += _unmatched(item, [each.path for each in program.parameters])
        if program is not None and not found:
            found += check_shapes(item, options, {each.path: each.type.shape for each in program.parameters})
    except ElabError as error:
        found.append(error.diagnostic)
    except Silent:
        pass
    return found + session.diagnostics


def model_of(session: Session, unit: Unit, item: ast.Weights) -> EntryPoint:
    """The model that a block is for, at its defaults. Raises ElabError if there is none of that name."""
    body = static_body(session, unit)
    name = item.model.id if isinstance(item.model, ast.Name) else ""
    model = named(body, unit, name, item.model.span)
    note_item(body, unit, name, item.model.span)
    if not isinstance(model, Definition | PresetRef) or not _is_model(model):
        known = [
            key for key, value in unit.names.items() if _is_model(value) or isinstance(value, ast.Preset)
        ]
        help = did_you_mean(name, known) or f"models are {', '.join(known) or 'none'}"
        body.report.fail(problems.UNKNOWN_NAME, item.model.span, name=name, help=help)
    return point_of(session, model, {}, item.span)


def _is_model(value: object) -> bool:
    return isinstance(value, PresetRef) or (
        isinstance(value, Definition) and isinstance(value.node, ast.ModuleDef)
    )


# --- a rule by itself --------------------------------------------------------------------------------------------


def _rule_problems(rule: ast.WeightRule) -> Iterator[Diagnostic]:
    yield from _unknown_options(rule)
    if rule.action == "rearrange" and (wrong := _pattern_problem(rule)):
        yield weights_problems.WEIGHTS_RULE.at(rule.sources[-1].span, message=wrong)
    if rule.action in ("offset", "scale") and not rule.options:
        message = f'`{rule.action}` says by how much: `{rule.action} "{rule.sources[0].value}" by=1`'
        yield weights_problems.WEIGHTS_RULE.at(rule.span, message=message)
    if rule.action == "weight_norm" and (len(rule.sources), len(rule.targets)) != (2, 1):
        message = (
            '`weight_norm` makes one tensor of lengths and directions: `weight_norm "w_g", "w_v" -> "w"`'
        )
        yield weights_problems.WEIGHTS_RULE.at(rule.span, message=message)
        return
    if not rule.targets:
        return
    counted = (
        set()
        if rule.action != "stack"
        else set(pieces(rule.sources[0].value)) - set(pieces(rule.targets[0].value))
    )
    if rule.action == "stack" and len(counted) != 1:
        message = "`stack` counts along one named piece that its right side does not have, such as {e}"
        yield weights_problems.WEIGHTS_RULE.at(rule.sources[0].span, message=message)
        return
    for side in (rule.sources, rule.targets):
        names = [each.value for each in side]
        for place, name in enumerate(names):
            if name in names[:place]:
                message = f'"{name}" stands twice: a tensor can be one part of another only'
                yield weights_problems.WEIGHTS_RULE.at(side[place].span, message=message)
    first = set(pieces(rule.sources[0].value)) - counted
    for other in (*rule.sources[1:], *rule.targets):
        if set(pieces(other.value)) != first:
            message = f'"{other.value}" has {_count(other)}, "{rule.sources[0].value}" has {_count(rule.sources[0])}'
            help = "both sides of a rule have the same stars and {names}, so that it can be undone"
            yield weights_problems.WEIGHTS_RULE.at(other.span, message=message, help=help)


def _pattern_problem(rule: ast.WeightRule) -> str:
    """What is wrong with the einops pattern of a `rearrange` rule by itself: it moves axes, and neither drops nor makes one."""
    if len(rule.sources) != 2:
        return '`rearrange` takes names and a pattern: `rearrange "q.weight" "(h e) d -> h e d" h=8`'
    left, arrow, right = rule.sources[1].value.partition("->")
    if not arrow or "->" in right:
        return "the pattern of `rearrange` has two sides, with one `->` between them"
    sides = [re.findall(r"[A-Za-z_]\w*", side) for side in (left, right)]
    if any(side.count("(") != side.count(")") for side in (left, right)):
        return "a parenthesis of the pattern has no partner"
    for names in sides:
        if twice := next((each for each in names if names.count(each) > 1), ""):
            return f"`{twice}` stands twice on one side of the pattern"
    if lost := sorted(set(sides[0]) ^ set(sides[1])):
        return f"`{lost[0]}` stands on one side of the pattern only"
    return ""


def _count(pattern: ast.Str) -> str:
    keys = pieces(pattern.value)
    stars = sum(key.isdigit() for key in keys)
    words = [f"{stars} star" + ("" if stars == 1 else "s")] if stars or len(keys) == stars else []
    return " and ".join([*words, *(f"{{{key}}}" for key in keys if not key.isdigit())])


def _unknown_options(rule: ast.WeightRule) -> Iterator[Diagnostic]:
    known = OPTIONS.get(rule.action, ())
    if rule.action == "rearrange":
        known = tuple(re.findall(r"[A-Za-z_]\w*", rule.sources[-1].value))
    for option in rule.options:
        name = str(option.name)
        if name not in known:
            place = option.span.inside(0, len(name))
            yield problems.UNKNOWN_ARGUMENT.at(
                place, callee=rule.action, name=name, help=habits.argument(name, list(known))
            )


# --- the rules of a block ----------------------------------------------------------------------------------------


def _mapped(rule: ast.WeightRule) -> Mapped:
    """Which strings of a rule speak of the names after it, and which of the names before."""
    match rule.action:
        case "rename" | "concat" | "split" | "stack" | "weight_norm":
            return Mapped(rule.targets, rule.sources)
        case "transpose" | "offset" | "scale":
            return Mapped(rule.sources, rule.sources)
        case "rearrange" if len(rule.sources) == 2:
            return Mapped(rule.sources[:1], rule.sources[:1])
    return Mapped((), ())


def _unmatched(item: ast.Weights, paths: Sequence[str]) -> Iterator[Diagnostic]:
    """Patterns that match none of the names that the model expects of them."""
    names, told = list(paths), 0
    for rule in reversed(item.rules):
        mapped = _mapped(rule)
        unfit = [each for each in mapped.here if all(match(each.value, name) is None for name in names)]
        for pattern in unfit:
            told += 1
            help = near(pattern.value, names) if told <= HELPED else ""
            yield weights_problems.WEIGHTS_NO_MATCH.at(pattern.span, pattern=f'"{pattern.value}"', help=help)
        if rule.action == "strip" or len(unfit) < len(mapped.here):
            names = _before(rule, mapped, names)


def _before(rule: ast.WeightRule, mapped: Mapped, names: list[str]) -> list[str]:
    """The names that the rule made these of."""
    if rule.action == "strip":
        return [rule.sources[0].value + name for name in names]
    undo = _undo(mapped)
    return list(dict.fromkeys(each for name in names for each in undo(name)))


def _undo(mapped: Mapped) -> Callable[[str], list[str]]:
    def undo(name: str) -> list[str]:
        for pattern in mapped.here:
            captured = match(pattern.value, name)
            if captured is not None:
                free = {key: "0" for other in mapped.there for key in pieces(other.value)}
                return [fill(other.value, {**free, **captured}) for other in mapped.there]
        return [name]

    return undo
