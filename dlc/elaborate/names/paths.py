"""Paths: the names that parameters have in checkpoints, made of labels and the loops around them."""

from __future__ import annotations

import re
from typing import Any

from dlc.diagnostics import meaning as problems
from dlc.elaborate.base.trees import mentions, snake_case
from dlc.elaborate.base.values import Instance, show
from dlc.elaborate.state.body import Body
from dlc.elaborate.state.scope import LoopContext
from dlc.syntax import ast

RELABEL = "give one of the two another label: `… as NAME`"
_NOT_IN_LABELS = re.compile(r"""[\s\x00-\x1f\x7f{}*"'\\/]""")
_NAMED = {" ": "a space", "\n": "a line break", "\t": "a tab"}


def label_text(body: Body, label: ast.Label) -> str:
    """A label with its interpolations evaluated."""
    text = "".join(part if isinstance(part, str) else show_plain(body.evaluate(part)) for part in label.parts)
    if reason := _no_label(text):
        import json  # of use where something is wrong only

        help = "in a string `{i}` is the value of `i`" if "{" in text or "}" in text else ""
        body.report.tell(
            problems.BAD_LABEL,
            label.span,
            label=json.dumps(text, ensure_ascii=False),
            reason=reason,
            help=help,
        )
        turn = [loop.index for loop in body.scope.loops]  # the problem is told; what follows is checked
        return "_".join(map(str, ("label", label.span.line, label.span.column, *turn)))
    return text


def _no_label(text: str) -> str:
    """Why a text can't stand in a path; braces mark the index of a loop in the IR, stars are for patterns."""
    if not all(text.split(".")):
        return "is empty" if not text else "has an empty part"
    wrong = _NOT_IN_LABELS.search(text)
    return "" if wrong is None else f"holds {_NAMED.get(wrong.group(), f'`{wrong.group()}`')}"


def show_plain(value: Any) -> str:
    return value if isinstance(value, str) else show(value)


def instance_path(body: Body, instance: Instance) -> str:
    """The path of an instance within its function, decided when it is bound or first applied."""
    if instance.path is None:
        owner = instance.owner if instance.owner is not None else body
        now, owner.scope = owner.scope, instance.scope or owner.scope
        try:
            instance.path = _path(owner, instance)
        finally:
            owner.scope = now
    return instance.path


def _path(body: Body, instance: Instance) -> str:
    loops = list(instance.loops)
    if instance.label is not None:
        return _in_loops(body, label_text(body, instance.label), instance.label, loops)
    if instance.name:
        return _in_loops(body, instance.name, None, loops)
    inner = loops[-1] if loops else None
    if inner is not None and inner.label is not None:
        if inner.unnamed is not None and inner.unnamed is not instance:
            body.report.fail(
                problems.SECOND_UNNAMED,
                instance.span,
                label=label_text(body, inner.label),
                help="give both a label: `… as attn`, `… as mlp`",
            )
        inner.unnamed = instance
        return _in_loops(body, "", None, loops)
    base = snake_case(instance.definition.name)
    count = body.emission.unnamed.get(base, 0) + 1
    body.emission.unnamed[base] = count
    return _in_loops(body, base if count == 1 else f"{base}_{count}", None, loops)


def local_path(body: Body, name: str, label: ast.Label | None) -> str:
    """The path of a parameter declared here."""
    text = label_text(body, label) if label is not None else name
    return _in_loops(body, text, label, list(body.scope.loops))


def _in_loops(body: Body, text: str, label: ast.Label | None, loops: list[LoopContext]) -> str:
    """The label with what the loops around it add: a prefix for a labelled loop, an index behind it otherwise.

    An index is left out where a label already mentions the loop's variable: its own, that of a loop inside, or
    the instance's.
    """
    prefixes: list[str] = []
    suffixes: list[str] = []
    for depth, loop in enumerate(loops):
        labels = (label, *(each.label for each in loops[depth:]))
        covered = any(each is not None and mentions(each, loop.names) for each in labels)
        if loop.label is not None:
            prefix = label_text(body, loop.label)
            prefixes.append(prefix if covered else f"{prefix}.{loop.index}")
        elif not covered:
            suffixes.append(str(loop.index))
    return ".".join(part for part in (*prefixes, text, *suffixes) if part)
