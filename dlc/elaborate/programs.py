"""A model as a whole program: its entry function, and every parameter with its path and initial value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from dlc.diagnostics import Diagnostic, Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate.calls import Given, bind_static_arguments, entries
from dlc.elaborate.depth import deep
from dlc.elaborate.elaborator import Elaborator
from dlc.elaborate.frame import ElabError, Frame, InitRuleClosure, Silent
from dlc.elaborate.functions import Bound, Callee, inner_types
from dlc.elaborate.initial import initial_function
from dlc.elaborate.name_patterns import near
from dlc.elaborate.project import Project
from dlc.elaborate.types import WrittenType, declared_dtype, written_type
from dlc.elaborate.values import Definition, GroupValue, Instance, PresetRef, Tensor
from dlc.ir.nodes import Function, Param, Parameter, Program, Value
from dlc.records import dataclass
from dlc.syntax import ast
from dlc.types.axes import AxisError, evaluate_axis, unbound_names
from dlc.types.dims import Dim
from dlc.types.tensor import TensorType

PARAMETER_LIMIT = 200_000


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """A model with its static arguments, and the entry asked for ("" for the main computation)."""

    definition: Definition
    static: tuple[tuple[str, Any], ...]
    entry: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.static)


@deep
def build(
    project: Project,
    model: Instance | PresetRef | EntryPoint,
    span: Span,
    *,
    report: Callable[[Diagnostic], None],
    training: bool = False,
    inputs: Iterable[str] = (),
) -> Program | None:
    """The program of a model at given settings; None if it is in error, which `report` was told.

    `inputs` names optional inputs that are to be there."""
    static = model.static.items() if isinstance(model, Instance) else model.static
    point = model if isinstance(model, EntryPoint) else EntryPoint(model.definition, tuple(static))
    key = ("program", point.definition, repr(point.static), point.entry, training, tuple(inputs))
    cache: dict[Any, Any] = project.__dict__.setdefault("programs", {})
    if key not in cache:
        elaborator = Elaborator(project, training=training)
        program = _build(elaborator, point, tuple(inputs))
        cache[key] = (program, tuple(elaborator.diagnostics))
    program, diagnostics = cache[key]
    for diagnostic in diagnostics:
        report(diagnostic)
    return None if any(each.severity == "error" for each in diagnostics) else program


@deep
def point_of(
    elaborator: Elaborator, model: Definition | PresetRef, overrides: Mapping[str, Any], span: Span
) -> EntryPoint:
    """A model at its defaults, or a preset at its settings, with `overrides`. Raises ElabError for a wrong setting."""
    definition = model.definition if isinstance(model, PresetRef) else model
    node = definition.node
    assert isinstance(node, ast.ModuleDef)
    frame = elaborator.static_frame(definition.unit, definition.library)
    settings = {**(dict(model.static) if isinstance(model, PresetRef) else {}), **overrides}
    given = Given(named={name: (value, span) for name, value in settings.items()})
    static = bind_static_arguments(frame, definition, node.static, given, span)
    return EntryPoint(definition, tuple(static.items()))


def _build(elaborator: Elaborator, point: EntryPoint, inputs: tuple[str, ...]) -> Program | None:
    definition = point.definition
    frame = elaborator.static_frame(definition.unit, definition.library)
    frame.env.update(point.settings)
    callee = _callee(point)
    bound = frame.guarded(lambda: _inputs(frame, callee, inputs))
    if bound is None:
        return None
    made = elaborator.instantiate(frame, callee, bound, ast.Node())
    if made.broken or not made.function:
        return None
    main = replace(elaborator.functions[made.function], kind="model")
    elaborator.functions[made.function] = main
    parameters = frame.guarded(lambda: resolve_parameters(elaborator, main.name))
    if parameters is None or any(each.severity == "error" for each in elaborator.diagnostics):
        return None
    return Program(elaborator.called(), main.name, parameters)


@deep
def elaborate_fn(elaborator: Elaborator, definition: Definition, span: Span) -> None:
    """Check an fn that nothing calls, at its defaults and on inputs of any size."""
    node = definition.node
    assert isinstance(node, ast.FnDef)
    frame = elaborator.static_frame(definition.unit, definition.library)
    fields = tuple(each for each in node.params if isinstance(each.type, ast.NamedTypeExpr))
    static = bind_static_arguments(frame, definition, fields, Given(), span)
    inputs = tuple(each for each in node.params if each not in fields)
    callee = Callee(definition, static, inputs, node.outputs, node.where, node.body)
    frame.env.update(static)
    elaborator.instantiate(frame, callee, _inputs(frame, callee, ()), ast.Node())


def _callee(point: EntryPoint) -> Callee:
    node = point.definition.node
    assert isinstance(node, ast.ModuleDef)
    header: Any = entries(point.definition)[point.entry] if point.entry else node
    return Callee(
        point.definition,
        point.settings,
        header.inputs,
        header.outputs,
        header.where,
        header.body,
        point.entry,
    )


def _inputs(frame: Frame, callee: Callee, wanted: tuple[str, ...]) -> Bound:
    """Inputs of an entry: every name that nothing gives a value is a dim of the program."""
    bound = Bound()
    static = {
        name: Dim.of(v) for name, v in callee.static.items() if isinstance(v, int) and not isinstance(v, bool)
    }
    lets = frame.elaborator.let_dims(frame.unit)

    def known(name: str) -> Dim | tuple[Dim, ...] | None:
        return static.get(name) or bound.inner.get(name) or lets(name)

    for item in callee.inputs:
        name = str(item.name)
        if item.default is not None and name not in wanted:
            bound.values[name] = None
            continue
        written = written_type(frame, frame.unit, item.type, item.span)
        if written is None:
            frame.fail(problems.BAD_TYPE, item.span, message=f"the input `{name}` of a model needs a type")
        bound.values[name] = _input(frame, bound, written, name, known, item.span)
    bound.outer = dict(bound.inner)
    bound.types = {name: [each.type for each in _tensors(value)] for name, value in bound.values.items()}
    return bound


def main_inputs(frame: Frame, callee: Callee) -> dict[str, Any]:
    """The inputs of a module's main body with symbolic sizes."""
    node = callee.definition.node
    assert isinstance(node, ast.ModuleDef)
    main = Callee(callee.definition, callee.static, node.inputs, node.outputs, node.where, node.body)
    bound = _inputs(frame, main, ())
    frame.dims.update(bound.inner)
    return bound.values


def _tensors(value: Any) -> list[Tensor]:
    from dlc.elaborate.functions import flat

    return flat(value)


def _input(frame: Frame, bound: Bound, written: WrittenType, name: str, known: Any, span: Span) -> Any:
    if written.group is not None:
        node = written.group.node
        assert isinstance(node, ast.GroupDef)
        members = [
            (str(item.name), _input(frame, bound, part, f"{name}.{item.name}", known, span))
            for item, part in zip(node.fields, written.members(frame), strict=True)
            if part is not None
        ]
        return GroupValue(written.group, tuple(members))
    axes: list[Dim] = []
    for axis in written.axes:
        axes += _input_axis(frame, bound, axis, known, span)
    return Tensor(Value(name, TensorType(declared_dtype(written, "float"), tuple(axes))))


def _input_axis(frame: Frame, bound: Bound, axis: ast.Expr, known: Any, span: Span) -> list[Dim]:
    if isinstance(axis, ast.Star):
        frame.fail(
            problems.BAD_TYPE,
            axis.span,
            message=f"`*{axis.name}` stands for any number of axes; a model's input has a fixed number",
        )
    if isinstance(axis, ast.Wildcard):
        frame.fail(problems.BAD_TYPE, axis.span, message="give this axis of a model's input a name or a size")
    for name in unbound_names(axis, known):
        bound.inner[name] = Dim.symbol(name)
        bound.names[name] = Dim.symbol(name)
    try:
        size = evaluate_axis(axis, known)
    except AxisError as error:
        where = error.node.span if error.node is not None else span
        frame.fail(problems.BAD_TYPE, where, message=error.message)
    if size.constant is not None and size.constant < 0:
        frame.fail(problems.BAD_TYPE, axis.span, message=f"a size can't be negative: {size}")
    return [size]


# --- parameters --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Ancestor:
    """A function on the way from the root to a parameter, and the path of its instance."""

    function: str
    prefix: str


def resolve_parameters(elaborator: Elaborator, root: str) -> tuple[Parameter, ...]:
    """Every parameter of the program with the initial value that holds for it: an outer path rule beats an inner one, both
    beat kind rules, of which the innermost counts; within a body the last match wins."""
    found: dict[str, Parameter] = {}
    stack: list[tuple[str, str, tuple[_Ancestor, ...]]] = [(root, "", ())]
    while stack:
        name, prefix, above = stack.pop()
        function = elaborator.functions[name]
        ancestors = (*above, _Ancestor(name, prefix))
        for param in function.params:
            path = f"{prefix}.{param.name}" if prefix else param.name
            if path not in found:
                init = _initial(elaborator, function, param, path, ancestors)
                found[path] = Parameter(path, param.type, param.kind, param.frozen, init, function.source)
        for child in reversed(function.children):
            for local in reversed(list(child.paths())):
                path = ".".join(part for part in (prefix, local) if part)
                stack.append((child.function, path, ancestors))
        if len(found) > PARAMETER_LIMIT:
            frame = elaborator.static_frame(_unit(elaborator))
            frame.fail(
                problems.BUDGET,
                elaborator.functions[root].span,
                what="the number of parameters",
                found=f"over {PARAMETER_LIMIT:,}",
                limit=f"{PARAMETER_LIMIT:,}",
            )
    _report_unused(elaborator, root)
    return tuple(found.values())


def _unit(elaborator: Elaborator) -> Any:
    return next(iter(elaborator.project.units.values()))


def _initial(
    elaborator: Elaborator, owner: Function, param: Param, path: str, ancestors: tuple[_Ancestor, ...]
) -> str:
    rule = _path_rule(elaborator, path, ancestors) or _kind_rule(elaborator, owner, param, ancestors)
    if rule is None:
        return param.init
    key = ("initial", id(rule), param.type)
    memo = rule.frame.cached
    if key not in memo:
        memo[key] = initial_function(rule.frame, rule.node.initial, param.type, rule.node.span, rule.env)
    return str(memo[key])


def _path_rule(elaborator: Elaborator, path: str, ancestors: tuple[_Ancestor, ...]) -> InitRuleClosure | None:
    for ancestor in ancestors:
        local = path[len(ancestor.prefix) + 1 :] if ancestor.prefix else path
        match: InitRuleClosure | None = None
        for rule in elaborator.rules.get(ancestor.function, ()):
            for i, selector in enumerate(rule.node.selectors):
                if selector.pattern is not None and matches(selector.pattern.value, local):
                    match = rule
                    rule.used.add(i)
        if match is not None:
            return match
    return None


def _kind_rule(
    elaborator: Elaborator, owner: Function, param: Param, ancestors: tuple[_Ancestor, ...]
) -> InitRuleClosure | None:
    for ancestor in reversed(ancestors):
        match: InitRuleClosure | None = None
        for rule in elaborator.rules.get(ancestor.function, ()):
            for i, selector in enumerate(rule.node.selectors):
                kind = selector.kind == owner.source and selector.param in (None, param.name)
                if selector.pattern is None and kind and param.kind == "param":
                    match = rule
                    rule.used.add(i)
        if match is not None:
            return match
    return None


def _report_unused(elaborator: Elaborator, root: str) -> None:
    for function, rules in elaborator.rules.items():
        for rule in rules:
            for i, selector in enumerate(rule.node.selectors):
                if i in rule.used or selector.pattern is None:
                    continue
                known = [path for path, _ in elaborator.local_paths(function)]
                text = f'"{selector.pattern.value}"'
                rule.frame.report(
                    problems.UNUSED_RULE,
                    selector.span,
                    module=elaborator.functions[function].source,
                    selector=text,
                    help=near(selector.pattern.value, known),
                )


def matches(pattern: str, path: str) -> bool:
    """Whether a path pattern fits: `*` is one part or a piece of one, `**` any number of parts."""
    return _compiled(pattern).fullmatch(path) is not None


_PATTERNS: dict[str, re.Pattern[str]] = {}


def _compiled(pattern: str) -> re.Pattern[str]:
    found = _PATTERNS.get(pattern)
    if found is None:
        parts = []
        for part in pattern.split("."):
            if part == "**":
                parts.append("**")
            else:
                parts.append(
                    "".join("[^.]*" if each == "*" else re.escape(each) for each in re.split(r"(\*)", part))
                )
        text = ""
        for i, part in enumerate(parts):
            last = i == len(parts) - 1
            if part == "**":
                text += ".*" if last else "(?:.*\\.)?"
            else:
                text += part + ("" if last else "\\.")
        found = _PATTERNS[pattern] = re.compile(text)
    return found


__all__ = ["ElabError", "EntryPoint", "Silent", "build", "inner_types", "point_of"]
