"""Instances entered into the function that owns them."""

from __future__ import annotations

from typing import NoReturn

from dlc.diagnostics import Span
from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.units import entries
from dlc.elaborate.base.values import Instance
from dlc.elaborate.names import paths
from dlc.elaborate.names.paths import RELABEL
from dlc.elaborate.state.body import Body
from dlc.ir.nodes import Child


def place(body: Body, instance: Instance, function: str) -> str:
    """Enter the instance into the function that owns it; "" where it has no parameters and so no path."""
    if instance.standing == "eval" and instance.of is not None:
        instance = instance.of
    known = function in instance.functions.values()
    instance.functions[function] = function
    if not body.context.session.has_parameters(function):
        return ""
    owner = instance.owner or body
    if owner.context.kind == "fn":
        no_parameters(owner, instance.definition.name, instance.span)
    path = paths.instance_path(body, instance)
    if not known:
        claim(owner, instance, path, function)
    owner.emission.children.setdefault(f"{path}:{function}", Child(path, function))
    return path


def claim(owner: Body, instance: Instance, path: str, function: str) -> None:
    """Note who owns the parameters at `path`, so that two parameters at one path are found out."""
    not_in_list(owner, instance.name or instance.definition.name, instance.span)
    for local, _ in owner.context.session.local_paths(function):
        full = f"{path}.{local}" if local else path
        other = owner.emission.taken.setdefault(full, instance)
        again = other.span == instance.span
        # Two branches of `if training` may declare the same parameter.
        if other is not instance and not owner.emission.dead:
            owner.report.fail(
                problems.SAME_PATH,
                instance.span,
                path=full,
                notes=[] if again else [f"the first is made at {other.span}"],
                help="let its label, or the loop's, mention the loop's variable" if again else RELABEL,
            )


def not_in_list(body: Body, part: str, span: Span) -> None:
    """An entry with static parameters of its own has no parts of its own: the model's parameters are the same whatever it is called
    with."""
    definition, name = body.context.definition, body.context.name.partition(".")[2]
    entry = entries(definition).get(name) if definition is not None and name else None
    if entry is None or entry.static is None or not _within(span, entry.span):
        return
    what = f"`{part}` has parameters, and the entry `{name}`, which has a static list, makes none of its own"
    help = f"make it in the body of `{definition}`, and use it here by its name"
    body.report.fail(problems.MISPLACED, span, what=what, help=help)


def _within(span: Span, outer: Span) -> bool:
    return span.file == outer.file and outer.line <= span.line <= span.end_line <= outer.end_line


def no_parameters(body: Body, layer: str, span: Span) -> NoReturn:
    """A part with parameters stands in an fn."""
    what = f"`{layer}` has parameters, and `{body.context.name}` is an fn, which has none"
    help = f"make it a module: `module {body.context.name}(…)(x: …) -> …`"
    body.report.fail(problems.MISPLACED, span, what=what, help=help)
