"""What a name means: in the body, in the file, in the standard library."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from dlc import ops
from dlc.diagnostics import Span, did_you_mean
from dlc.diagnostics import meaning as problems
from dlc.elaborate import habits
from dlc.elaborate.frame import Frame, Silent
from dlc.elaborate.project import Unit, library_definition, library_index
from dlc.elaborate.values import DTYPE_VALUES, Definition, is_callable
from dlc.syntax import ast
from dlc.types.dims import Dim

CONSTANTS: dict[str, Any] = {"pi": math.pi, "inf": math.inf}
_MISSING = object()
HELPED = 100  # problems of one program; past them near misses are not looked for any more


def lookup(frame: Frame, name: str, span: Span) -> Any:
    """The value of a name. Raises ElabError with near misses for an unknown one."""
    found = frame.env.get(name, _MISSING)
    if found is _MISSING:
        found = frame.dims.get(name, _MISSING)
    if found is _MISSING:
        found = outer(frame, name, span)
    if isinstance(found, tuple) and name in frame.dims and name not in frame.env:
        frame.fail(problems.STATIC_ERROR, span, message=f"`{name}` stands for several axes; write `*{name}`")
    if found is _MISSING:
        unknown(frame, name, span)
    return found


def callable_named(frame: Frame, name: str, span: Span) -> Any:
    """The value of a name that is called: one that can't be called does not hide one that can."""
    found = frame.env.get(name, _MISSING)
    if found is not _MISSING and is_callable(found):
        return found
    wider = outer(frame, name, span)
    if wider is not _MISSING and not is_callable(wider):
        wider = library(name, frame)
    if wider is not _MISSING:
        return wider
    return found if found is not _MISSING else lookup(frame, name, span)


def outer(frame: Frame, name: str, span: Span) -> Any:
    """A name's meaning outside the body: in an initial value, in the file, in the library."""
    if frame.init_shape is not None:
        from dlc.elaborate.initial import INITIALS

        if name in INITIALS:
            return INITIALS[name]
        if name in ("fan_in", "fan_out"):
            return frame.env.get(name, _MISSING)
    found = named(frame, frame.unit, name, span)
    if found is not None:
        return found
    if name == "training":
        return frame.training
    if name in CONSTANTS:
        return CONSTANTS[name]
    if name in DTYPE_VALUES:
        return DTYPE_VALUES[name]
    return library(name, frame)


def library(name: str, frame: Frame) -> Any:
    """The builtin or definition of the standard library; what begins with an underscore is the library's own."""
    from dlc.elaborate.builtins import BUILTINS

    if name.startswith("_") and not frame.library:
        return _MISSING
    builtin = BUILTINS.get(name)
    if builtin is not None:
        return builtin
    definition = library_definition(name)
    if definition is not None:
        return definition
    from dlc.elaborate.defined import defined

    added = defined(name)
    return added if added is not None else _MISSING


def named(frame: Frame, unit: Unit, name: str, span: Span) -> Any:
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
            return frame.elaborator.let(unit.own(name), item)
        case ast.Preset():
            return frame.elaborator.preset(unit.own(name), item)
    what = {"Weights": "a weights block", "Train": "a train block"}[type(item).__name__]
    frame.fail(
        problems.STATIC_ERROR, span, message=f"`{name}` is {what}, which has no value in an expression"
    )


def unit_member(frame: Frame, value: Any, name: str, span: Span) -> Any:
    """`blocks.Block` where `blocks` is an imported file."""
    if not isinstance(value, Unit):
        return None
    found = named(frame, value, name, span)
    if found is None:
        what = f"`{value.path}`"
        frame.fail(problems.NO_ATTRIBUTE, span, what=what, name=name, help=did_you_mean(name, value.names))
    return found


def star(frame: Frame, node: ast.Star) -> list[Dim]:
    """The sizes that `*S` stands for."""
    found = frame.env.get(node.name, frame.dims.get(node.name))
    if isinstance(found, list):
        return [Dim.of(each) for each in found]
    if not isinstance(found, tuple):
        frame.fail(
            problems.UNKNOWN_NAME,
            node.span,
            name=f"*{node.name}",
            help="`*S` stands in the type of an input first",
        )
    return list(found)


def visible(frame: Frame) -> set[str]:
    """Every name that could have been meant."""
    from dlc.elaborate.builtins import BUILTINS
    from dlc.elaborate.initial import INITIALS

    initials = INITIALS if frame.init_shape is not None else ()
    return {
        *frame.env,
        *frame.dims,
        *frame.unit.names,
        *BUILTINS,
        *library_index(),
        *ops.added(),
        *CONSTANTS,
        *initials,
    }


def unknown(frame: Frame, name: str, span: Span) -> Any:
    if name in frame.cached.get("hidden", ()):
        message = f"an initial value can't depend on `{name}`: it is there before any input"
        frame.fail(problems.BAD_INITIAL, span, message=message)
    if frame.elaborator.failures > HELPED:
        frame.fail(problems.UNKNOWN_NAME, span, name=name)
    later = _bound_elsewhere(frame, name, span) or _of_here(frame, name, span)
    known = {each for each in visible(frame) if not each.startswith("_")}
    help = later or habits.NAMES.get(name) or did_you_mean(name, known - {name})
    frame.fail(problems.UNKNOWN_NAME, span, name=name, help=help)


def _bound_elsewhere(frame: Frame, name: str, span: Span) -> str:
    """Help where a name is read above the line that binds it, or bound only in a block that does not run."""
    from dlc.elaborate.statements import assigned

    body = frame.definition.node.body if frame.definition is not None else ()
    for statement in body:
        if name not in assigned(statement):
            continue
        if statement.span.line > span.line:
            return f"`{name}` is bound further down, in line {statement.span.line}"
        if isinstance(statement, ast.For | ast.If) and statement.span.end_line < span.line:
            block = "loop" if isinstance(statement, ast.For) else "`if`"
            return f"`{name}` is bound only in the {block} in line {statement.span.line}, which does not run"
    return ""


def _of_here(frame: Frame, name: str, span: Span) -> str:
    """Help from where the name stands: a label that is read as a variable, a comment of another language, data."""
    from dlc.elaborate.statements import assigned
    from dlc.elaborate.train_arguments import SOURCES

    body = frame.definition.node.body if frame.definition is not None else ()
    if "." in frame.name and any(name in assigned(each) for each in body):
        return "an entry sees parts, parameters and static values of the main body, not its tensors"
    line = _label_line(body, name)
    if line:
        return f"`{name}` is a label, in line {line}; what is used again is bound first: `{name} = …`"
    lines = frame.unit.text.split("\n")
    before = lines[span.line - 1][: span.column - 1] if 0 < span.line <= len(lines) else ""
    if before.rstrip().endswith("//"):
        return "a comment begins with `#`"
    if frame.kind == "train":
        if name in SOURCES:
            return f"data come by `batch (image: [B, 1, 28, 28], label: i64[B]) from {name}(…)`"
        if not any(isinstance(each, ast.BatchStmt) for each in body):
            return f"the block has no data: `batch ({name}: [sizes]) from …`"
    return ""


def _label_line(body: Iterable[ast.Stmt], name: str) -> int:
    """The line in which a label of that name stands; 0 where none does."""
    stack: list[Any] = [*body]
    while stack:
        each = stack.pop()
        if isinstance(each, ast.Label) and each.parts == (name,):
            return each.span.line
        stack += ast.children(each)
    return 0


def declared(body: Iterable[ast.Stmt]) -> set[str]:
    """Every word in a body that may name a parameter, a part or an entry."""
    from dlc.elaborate.calls import snake_case

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


def prefixed(frame: Frame, node: ast.Attribute) -> None:
    """Report `nn.Linear` and the like as one word."""
    base = node.value
    while isinstance(base, ast.Attribute):
        base = base.value
    if not isinstance(base, ast.Name) or base.id not in habits.PREFIXES:
        return
    if base.id in frame.env or base.id in frame.dims or base.id in frame.unit.names:
        return
    known = {each for each in visible(frame) if not each.startswith("_")}
    help = habits.PREFIXED.get(node.name) or habits.NAMES.get(node.name) or did_you_mean(node.name, known)
    help = help or habits.NAMES.get(base.id, "")
    frame.fail(problems.UNKNOWN_NAME, node.span, name=f"{_dotted(node)}", help=help)


def _dotted(node: ast.Expr) -> str:
    return (
        f"{_dotted(node.value)}.{node.name}" if isinstance(node, ast.Attribute) else getattr(node, "id", "…")
    )


def is_op(name: str) -> bool:
    from dlc.elaborate.builtins import BUILTINS

    return name in BUILTINS or name in library_index()


def near(name: str, known: Iterable[str]) -> str:
    return did_you_mean(name, known)
