"""Arguments of calls: evaluated, matched to parameters by position and by name, static ones checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from dlc.diagnostics import Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base import habits
from dlc.elaborate.base.budget import FREE_PARAMETERS
from dlc.elaborate.base.trees import field_places, static_fields
from dlc.elaborate.base.units import Definition, entries, own_statics
from dlc.elaborate.base.values import Instance, Poison
from dlc.elaborate.names.origins import argued
from dlc.elaborate.reports.report import ElabError, Report, Silent
from dlc.elaborate.state.body import Body, header_body
from dlc.elaborate.types.static import check_static
from dlc.records import dataclass, field, replace
from dlc.syntax import ast


@dataclass(slots=True)
class Given:
    """Evaluated arguments: (value, span) by position and by name. `rest` is true for `f(...)`."""

    positional: list[tuple[Any, Span]] = field(default_factory=list)
    named: dict[str, tuple[Any, Span]] = field(default_factory=dict)
    rest: bool = False
    names: dict[str, Span] = field(default_factory=dict)  # where the name of an argument stands
    terms: dict[Span, Any] = field(default_factory=dict)  # what an argument is in terms of static parameters

    def values(self) -> Iterable[tuple[Any, Span]]:
        return [*self.positional, *self.named.values()]


def given(body: Body, callee: str, args: Iterable[ast.Arg]) -> Given:

    result = Given()
    broken = False
    for arg in args:
        if isinstance(arg.value, ast.Ellipsis_) and arg.name is None:
            result.rest = True
            continue
        if arg.name is not None:
            if arg.name in result.names:
                body.report.fail(problems.GIVEN_TWICE, arg.span, name=arg.name, callee=callee)
            result.names[arg.name] = arg.span.inside(0, len(arg.name))
        value = body.report.guarded(partial(_boxed, body, arg.value))
        if body.context.session.traced:
            result.terms[arg.value.span] = argued(body, arg.value, None if value is None else value[0])
        if value is None:
            broken = True
            continue
        if arg.name is None:
            result.positional.append((value[0], arg.value.span))
        else:
            result.named[arg.name] = (value[0], arg.value.span)
    if broken:
        raise Silent
    return result


def _boxed(body: Body, node: ast.Expr) -> tuple[Any]:
    """A value in a tuple, so that `none` differs from what failed."""
    return (body.evaluate(node),)


def bind_static_arguments(
    body: Body,
    definition: Definition,
    fields: tuple[ast.Field, ...],
    args: Given,
    span: Span,
    *,
    callee: str = "",
    around: Mapping[str, Any] | None = None,
    beside: tuple[str, ...] = (),
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Static arguments by parameter name, in declared order, defaults evaluated; and the terms of those that were given.

    Of an entry, `callee` is its name, and `around` the static arguments of its module, which defaults may read; `beside` are
    parameters that can be given together with these."""
    callee = callee or definition.name
    parameters = [str(each.name) for each in fields]
    body.context.session.spend(max(0, len(parameters) - FREE_PARAMETERS), span, body.report)
    _known_names(body.report, callee, [*parameters, *beside], args, partial(_elsewhere, definition))
    bound = match_arguments(body.report, callee, parameters, args, span)
    note_names(body, definition, fields, args)
    inner = header_body(body, definition, span, {})
    if around:
        inner.bind_header(around, static_fields(definition.node))
    static: dict[str, Any] = {}
    terms: dict[str, Any] = {}
    later = [str(each.name) for each in fields]
    for item in fields:
        name = later.pop(0)
        if name in bound:
            value, where = bound[name]
            terms[name] = args.terms.get(where)
        elif args.rest and name in body.scope.names:
            value, where = body.scope.names[name], span
            terms[name] = body.scope.origins.get(name)
        elif item.default is not None:
            value, where = _default(inner, callee, item, later), item.span
            if isinstance(value, Instance):
                value = replace(value, is_default=True)
        else:
            help = (
                ""
                if args.rest or name not in body.scope.names
                else "pass it, or write `...` to take it from here"
            )
            note = [f"{callee}({', '.join(parameters)})"]
            body.report.fail(problems.MISSING_ARGUMENT, span, callee=callee, name=name, help=help, notes=note)
        if isinstance(value, Poison):
            raise Silent
        static[name] = check_static(body.report, callee, item, value, where)
        inner.bind(name, static[name], item)
    return static, {name: each for name, each in terms.items() if each is not None}


def note_names(body: Body, definition: Definition, fields: Iterable[ast.Field], args: Given) -> None:
    """The name of an argument speaks of the parameter that it is for."""
    if definition.library or not args.names:
        return
    places = field_places(fields)
    for name, span in args.names.items():
        if name in places:
            body.context.session.project.knowledge.used(span, places[name])


def _default(inner: Body, callee: str, item: ast.Field, later: list[str]) -> Any:
    assert item.default is not None
    running = inner.context.session.project.defaults
    if item in running:
        cycle = f"the default of `{item.name}` of `{callee}`"
        inner.report.fail(problems.LET_CYCLE, item.default.span, name=item.name, cycle=cycle)
    running.append(item)
    try:
        return inner.evaluate(item.default)
    except ElabError as error:
        told = error.diagnostic
        name = next((each for each in (str(item.name), *later) if f"`{each}`" in told.message), "")
        if told.code != problems.UNKNOWN_NAME.code or not name:
            raise
        help = "a default may use the parameters before it" + (
            f"; `{name}` stands behind it" if later else ""
        )
        raise ElabError(replace(told, help=help, fixes=())) from None
    finally:
        running.pop()


def match_arguments(
    report: Report,
    callee: str,
    parameters: list[str],
    args: Given,
    span: Span,
    elsewhere: Callable[[str], str] = lambda name: "",
) -> dict[str, tuple[Any, Span]]:
    """Arguments by parameter name; unknown, doubled and surplus ones are errors. `elsewhere` tells where one of that name belongs."""
    if len(args.positional) > len(parameters):
        expected = f"{len(parameters)} argument" + ("" if len(parameters) == 1 else "s")
        extra = args.positional[len(parameters)][1]
        report.fail(
            problems.TOO_MANY_ARGUMENTS,
            extra,
            callee=callee,
            expected=expected if parameters else "no arguments",
            found=len(args.positional),
            notes=[f"{callee}({', '.join(parameters)})"],
            help=habits.SURPLUS.get(callee, ""),
        )
    bound = dict(zip(parameters, args.positional, strict=False))
    _known_names(report, callee, parameters, args, elsewhere)
    for name, value in args.named.items():
        if name in bound:
            note = [f"{callee}({', '.join(parameters)})"]
            help = habits.TWICE.get(callee, "")
            report.fail(
                problems.GIVEN_TWICE,
                args.names.get(name, value[1]),
                callee=callee,
                name=name,
                notes=note,
                help=help,
            )
        bound[name] = value
    return bound


def _elsewhere(definition: Definition, name: str) -> str:
    """Which of a module's lists has a parameter of that name: its own, that of its inputs, or that of an entry."""
    if any(each.name == name for each in static_fields(definition.node)):
        return f"`{name}` is a parameter of `{definition.name}` itself: `{definition.name}({name}=…)`"
    for entry in entries(definition):
        if any(each.name == name for each in own_statics(definition, entry)):
            return f"`{name}` is a parameter of the entry `{entry}`: `{definition.name}.{entry}`"
    inputs = definition.node.inputs if isinstance(definition.node, ast.ModuleDef) else ()
    if any(each.name == name for each in inputs):
        given = str(name) if inputs[0].name == name else f"…, {name}=…"
        return f"`{name}` is an input: it is given in a second call, `{definition.name}(…)({given})`"
    return ""


def _known_names(
    report: Report,
    callee: str,
    parameters: list[str],
    args: Given,
    elsewhere: Callable[[str], str] = lambda name: "",
) -> None:
    """Report every argument whose name the callee does not have; `elsewhere` tells who has one of that name."""
    wrong = [name for name in args.named if name not in parameters]
    for name in wrong:
        help = (
            elsewhere(name)
            or habits.argument(name, parameters)
            or (f"`{callee}` takes no arguments" if not parameters else "")
        )
        note = [f"{callee}({', '.join(parameters)})"]
        place = args.names.get(name, args.named[name][1])
        report.tell(problems.UNKNOWN_ARGUMENT, place, callee=callee, name=name, help=help, notes=note)
    if wrong:
        raise Silent
