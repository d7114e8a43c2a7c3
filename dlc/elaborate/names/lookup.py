"""What a name means: in the body, in the file, in the standard library."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from dlc import ops
from dlc.diagnostics import Span, did_you_mean
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base import habits
from dlc.elaborate.base.budget import HELPED
from dlc.elaborate.base.knowledge import item_place
from dlc.elaborate.base.project import library_definition, library_index
from dlc.elaborate.base.sources import SOURCES
from dlc.elaborate.base.trees import snake_case
from dlc.elaborate.base.units import Definition, Unit, entries
from dlc.elaborate.base.values import DTYPE_VALUES, is_callable
from dlc.elaborate.names import static
from dlc.elaborate.reports.report import Silent
from dlc.elaborate.state.body import Body, Context
from dlc.syntax import ast
from dlc.types.dims import Dim
from dlc.types.traced import Term, TracedFloat

CONSTANTS: dict[str, Any] = {"pi": TracedFloat(math.pi, Term("const", (math.pi,))), "inf": math.inf}
_MISSING = object()


def lookup(body: Body, name: str, span: Span) -> Any:
    """The value of a name. Raises ElabError with near misses for an unknown one."""
    if not body.context.library:
        note_use(body, name, span)
    found = body.scope.names.get(name, _MISSING)
    if found is _MISSING:
        found = body.scope.dims.get(name, _MISSING)
    if found is _MISSING:
        found = outer(body, name, span)
    if isinstance(found, tuple) and name in body.scope.dims and name not in body.scope.names:
        body.report.fail(
            problems.STATIC_ERROR, span, message=f"`{name}` stands for several axes; write `*{name}`"
        )
    if found is _MISSING:
        unknown(body, name, span)
    return found


def note_use(body: Body, name: str, span: Span) -> None:
    """Note where the name that is read here was bound."""
    scope = body.scope
    if name in scope.names or name in scope.dims:
        if name in scope.places:
            body.context.session.project.knowledge.used(span, scope.places[name])
    else:
        note_item(body, body.context.unit, name, span)


def note_item(body: Body, unit: Unit, name: str, span: Span) -> None:
    """Note that an item of a file is spoken of."""
    item = unit.names.get(name)
    if item is not None and not body.context.library:
        knowledge = body.context.session.project.knowledge
        knowledge.used(span, item_place(item, item.name if isinstance(item, Definition) else name))


def callable_named(body: Body, name: str, span: Span) -> Any:
    """The value of a name that is called: one that can't be called does not hide one that can."""
    found = body.scope.names.get(name, _MISSING)
    if found is not _MISSING and is_callable(found):
        if not body.context.library:
            note_use(body, name, span)
        return found
    wider = outer(body, name, span)
    if wider is not _MISSING and not is_callable(wider):
        wider = library(name, body.context)
    if wider is not _MISSING:
        note_item(body, body.context.unit, name, span)
        return wider
    return found if found is not _MISSING else lookup(body, name, span)


def outer(body: Body, name: str, span: Span) -> Any:
    """A name's meaning outside the body: in an initial value, in the file, in the library."""
    if body.context.init_shape is not None:
        initials = body.context.session.vocabulary.initials
        if name in initials:
            return initials[name]
        if name in ("fan_in", "fan_out"):
            return body.scope.names.get(name, _MISSING)
    found = named(body, body.context.unit, name, span)
    if found is not None:
        return found
    if name == "training":
        return body.context.asked_training()
    if name in CONSTANTS:
        return CONSTANTS[name]
    if name in DTYPE_VALUES:
        return DTYPE_VALUES[name]
    return library(name, body.context)


def library(name: str, context: Context) -> Any:
    """The builtin or definition of the standard library; what begins with an underscore is the library's own."""
    if name.startswith("_") and not context.library:
        return _MISSING
    vocabulary = context.session.vocabulary
    builtin = vocabulary.builtins.get(name)
    if builtin is not None:
        return builtin
    definition = library_definition(name)
    if definition is not None:
        return definition
    added = vocabulary.defined(name)
    return added if added is not None else _MISSING


def named(body: Body, unit: Unit, name: str, span: Span) -> Any:
    """What a name of a file is worth, or None."""
    item = unit.names.get(name)
    match item:
        case None:
            return None
        case Unit(path=""):
            raise Silent
        case Unit() | Definition():
            return item
        case ast.Let():
            return static.let(body.context.session, unit.own(name), item)
        case ast.Preset():
            return static.preset(body.context.session, unit.own(name), item)
    what = {"Weights": "a weights block", "Train": "a train block"}[type(item).__name__]
    body.report.fail(
        problems.STATIC_ERROR, span, message=f"`{name}` is {what}, which has no value in an expression"
    )


def unit_member(body: Body, value: Any, name: str, span: Span) -> Any:
    """`blocks.Block` where `blocks` is an imported file."""
    if not isinstance(value, Unit):
        return None
    found = named(body, value, name, span)
    if found is None:
        what = f"`{value.path}`"
        body.report.fail(
            problems.NO_ATTRIBUTE, span, what=what, name=name, help=did_you_mean(name, value.names)
        )
    note_item(body, value, name, span)
    return found


def star(body: Body, node: ast.Star) -> list[Dim]:
    """The sizes that `*S` stands for."""
    found = body.scope.names.get(node.name, body.scope.dims.get(node.name))
    if isinstance(found, list):
        return [Dim.of(each) for each in found]
    if not isinstance(found, tuple):
        body.report.fail(
            problems.UNKNOWN_NAME,
            node.span,
            name=f"*{node.name}",
            help="`*S` stands in the type of an input first",
        )
    return list(found)


def visible(body: Body) -> set[str]:
    """Every name that could have been meant."""
    vocabulary = body.context.session.vocabulary
    initials = vocabulary.initials if body.context.init_shape is not None else ()
    return {
        *body.scope.names,
        *body.scope.dims,
        *body.context.unit.names,
        *vocabulary.builtins,
        *library_index(),
        *ops.added(),
        *CONSTANTS,
        *initials,
    }


def unknown(body: Body, name: str, span: Span) -> Any:
    if name in body.scope.hidden:
        message = f"an initial value can't depend on `{name}`: it is there before any input"
        body.report.fail(problems.BAD_INITIAL, span, message=message)
    if body.context.session.findings.failures > HELPED:
        body.report.fail(problems.UNKNOWN_NAME, span, name=name)
    later = _bound_elsewhere(body.context, name, span) or _of_here(body.context, name, span)
    known = {each for each in visible(body) if not each.startswith("_")}
    help = later or habits.NAMES.get(name) or did_you_mean(name, known - {name})
    body.report.fail(problems.UNKNOWN_NAME, span, name=name, help=help)


def _bound_elsewhere(context: Context, name: str, span: Span) -> str:
    """Help where a name is read above the line that binds it, or bound only in a block that does not run."""
    for statement in context.assigning.get(name, ()):
        if statement.span.line > span.line:
            return f"`{name}` is bound further down, in line {statement.span.line}"
        if isinstance(statement, ast.For | ast.If) and statement.span.end_line < span.line:
            block = "loop" if isinstance(statement, ast.For) else "`if`"
            return f"`{name}` is bound only in the {block} in line {statement.span.line}, which does not run"
    return ""


def _of_here(context: Context, name: str, span: Span) -> str:
    """Help from where the name stands: a label that is read as a variable, a comment of another language, data."""
    if context.definition is not None and name in entries(context.definition):
        return f"an entry is called by `self.{name}(…)`"
    if "." in context.name and name in context.assigning:
        return "an entry sees parts, parameters and static values of the main body, not its tensors"
    line = context.labelled.get(name)
    if line:
        return f"`{name}` is a label, in line {line}; what is used again is bound first: `{name} = …`"
    lines = context.unit.lines
    before = lines[span.line - 1][: span.column - 1] if 0 < span.line <= len(lines) else ""
    if before.rstrip().endswith("//"):
        return "a comment begins with `#`"
    if context.kind == "train":
        if name in SOURCES:
            return f"data come by `batch (image: [B, 1, 28, 28], label: i64[B]) from {name}(…)`"
        if not any(isinstance(each, ast.BatchStmt) for each in context.statements):
            return f"the block has no data: `batch ({name}: [sizes]) from …`"
    return ""


def declared(body: Iterable[ast.Stmt]) -> set[str]:
    """Every word in a body that may name a parameter, a part or an entry."""
    found: set[str] = set()
    stack: list[Any] = [*body]
    while stack:
        each = stack.pop()
        match each:
            case ast.NameTarget(id=id) | ast.Name(id=id):
                found |= {id, snake_case(id)}
            case ast.ParamStmt(name=name) | ast.Entry(name=name):
                found.add(name)
            case ast.Label(parts=parts):
                found |= {part.split(".")[0] for part in parts if isinstance(part, str)}
        stack += ast.children(each)
    return found


def prefixed(body: Body, node: ast.Attribute) -> None:
    """Report `nn.Linear` and the like as one word."""
    base = node.value
    while isinstance(base, ast.Attribute):
        base = base.value
    if not isinstance(base, ast.Name) or base.id not in habits.PREFIXES:
        return
    if base.id in body.scope.names or base.id in body.scope.dims or base.id in body.context.unit.names:
        return
    known = {each for each in visible(body) if not each.startswith("_")}
    help = habits.PREFIXED.get(node.name) or habits.NAMES.get(node.name) or did_you_mean(node.name, known)
    help = help or habits.NAMES.get(base.id, "")
    body.report.fail(problems.UNKNOWN_NAME, node.span, name=f"{_dotted(node)}", help=help)


def _dotted(node: ast.Expr) -> str:
    return (
        f"{_dotted(node.value)}.{node.name}" if isinstance(node, ast.Attribute) else getattr(node, "id", "…")
    )
