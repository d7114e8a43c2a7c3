"""What is legal and almost surely a mistake, found in programs that are right otherwise.

Each rule reads one operation of the spec's own text and where its operands come from. A rule that would fire on a network that is meant
as it stands is no rule: what is in doubt passes. A comment `# allow W0101` turns one off."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from dlc.diagnostics import Diagnostic, Problem, Span, did_you_mean
from dlc.diagnostics import warnings as problems
from dlc.elaborate.base.units import Unit
from dlc.elaborate.checks.batches import setting_span
from dlc.elaborate.checks.plan import TrainPlan
from dlc.elaborate.checks.reading import Place, Values, places, reached
from dlc.ir.nodes import Program
from dlc.syntax import ast
from dlc.types.dims import Dim

Found = Iterator[Diagnostic]
_IMAGE_CHANNELS = (1, 3)
_SMALLEST_IMAGE = 16
_OWN_SOURCES = {"digits", "idx", "npz", "text"}  # a source of another package may give other rows each time
_CAST = frozenset({"cast"})


def doubts(programs: Iterable[Program]) -> Found:
    """The warnings of programs. Raises nothing."""
    for program in programs:
        for place in places(program):
            rule = _RULES.get(place.op.op)
            if rule is not None:
                yield from rule(place)


# --- losses ----------------------------------------------------------------------------------------------------

_CUT = dict.fromkeys(("relu", "relu6"), "leave the scores of the last layer as they are")
_SUM_TO_ONE = dict.fromkeys(
    ("softmax", "sigmoid"), "leave it out here: the loss computes it itself, and stably"
)
_SCORES = "scores as the last layer gives them"
_LOGS = "logarithms of probabilities"
_WRONG_FOR: dict[str, tuple[str, dict[str, str]]] = {
    "cross_entropy": (_SCORES, _SUM_TO_ONE | _CUT),
    "bce_with_logits": (_SCORES, _SUM_TO_ONE | _CUT),
    "nll": (
        _LOGS,
        {
            "softmax": "write `log_softmax`",
            "sigmoid": "write `log_sigmoid`",
            "linear": "write `cross_entropy`, which takes scores",
        },
    ),
    "kl_div": (_LOGS, {"softmax": "write `log_softmax`", "linear": "take `log_softmax` of the scores first"}),
}


def _loss(place: Place) -> Found:
    taker = place.op.op
    wanted, wrong = _WRONG_FOR[taker]
    giver = place.source(place.op.inputs[0])
    if giver is not None and giver.op.op in wrong:
        yield place.told(
            problems.WRONG_SCORES, help=wrong[giver.op.op], taker=taker, wanted=wanted, giver=giver.op.op
        )
    elif giver is not None and giver.op.op == "dropout" and giver.op.attr("p") != 0:
        yield place.told(problems.DROPPED_RESULT, help="put it before the last layer", taker=taker)
    elif taker == "cross_entropy":
        yield from _own_labels(place)


def _softmax(place: Place) -> Found:
    """A softmax of what is one already, along the same axis."""
    made = place.source(place.op.inputs[0], _CAST)
    if made is not None and made.op.op == "softmax" and made.op.attr("axis") == place.op.attr("axis"):
        yield place.told(
            problems.WRONG_SCORES,
            help="one of the two is too many",
            taker=place.op.op,
            wanted=_SCORES,
            giver=made.op.op,
        )


def _own_labels(place: Place) -> Found:
    """Labels that are the very tokens that a causal network reads."""
    label = _laid_out(place.values, place.op.inputs[1])
    logits = place.values.made.get(_laid_out(place.values, place.op.inputs[0]))
    if label in place.values.made or logits is None or logits.op != "call" or label not in logits.inputs:
        return
    if any(
        op.op == "attention" and op.attr("causal") is True for op in reached(place.functions, logits.callee)
    ):
        help = f"shift them: `{logits.path or 'net'}({label}[:, :-1])` and `{label}[:, 1:]`"
        yield place.told(problems.OWN_LABELS, help=help, name=label)


def _laid_out(values: Values, name: str) -> str:
    """The value that another one only lays out otherwise."""
    while (op := values.made.get(name)) is not None and op.op in ("reshape", "cast"):
        name = op.inputs[0]
    return name


# --- shapes ----------------------------------------------------------------------------------------------------


def _comparison(place: Place) -> Found:
    """`[B]` beside `[B, 1]`, reduced to one number: neither side is an axis that was made on purpose."""
    a, b = place.operand(0), place.operand(1)
    if a is None or b is None or not _is_reduced(place, place.op.out.name):
        return
    row, column = sorted((a, b), key=lambda each: each.type.rank)
    (*_, size), wide = (Dim.of(1), *row.type.axes), column.type.axes
    if row.type.rank != 1 or wide != (size, Dim.of(1)) or size.constant == 1:
        return
    made = place.source(column.name, _CAST)
    if made is not None and (made.op.attr("keepdims") is True or _adds_axis(made)):
        return
    yield place.told(
        problems.COMPARES_ALL,
        help=f"take the column: `…[:, 0]` of the one that is `{column.type}`",
        a=str(a.type),
        b=str(b.type),
        result=str(place.op.out.type),
    )


def _adds_axis(made: Place) -> bool:
    source = made.operand(0) if made.op.op in ("reshape", "take", "broadcast") else None
    return source is not None and source.type.rank < made.op.out.type.rank


def _is_reduced(place: Place, name: str) -> bool:
    """Whether a value becomes one number, through what is done to each element."""
    while len(readers := place.values.readers.get(name, [])) == 1:
        op = readers[0]
        if op.op in ("mean", "sum"):
            return op.out.type.rank == 0
        if op.op not in ("cast", "square", "abs", "logical_not", "pow"):
            return False
        name = op.out.name
    return False


def _reshape(place: Place) -> Found:
    source = place.operand(0)
    if source is None:
        return
    made = place.source(source.name, _CAST)
    if made is not None and made.op.op in ("pad", "concat"):
        return  # the shift of relative positions: an axis that is one longer lets each row begin one place further
    before, after = _wide(source.type.axes), _wide(place.op.out.type.axes)
    if not all(map(_is_plain, (*before, *after))):
        return  # whether `H//2 * 2` is `H` stands in facts
    axis = _mixed(before, after)
    if axis is None:
        return
    moves = sorted(map(str, before)) == sorted(map(str, after))
    help = (
        "`permute` or `rearrange` moves axes"
        if moves
        else 'split and move with `rearrange(x, "B T (heads e) -> B heads T e", heads=…)`, in the names of your axes'
    )
    yield place.told(
        problems.MIXED_AXES, help=help, before=str(source.type), after=str(place.op.out.type), axis=axis
    )


def _is_plain(axis: Dim) -> bool:
    return all(isinstance(atom, str) for atom in axis.atoms())


def _wide(axes: Iterable[Dim]) -> list[Dim]:
    return [each for each in axes if each.constant != 1]


def _mixed(before: list[Dim], after: list[Dim]) -> Dim | None:
    """An axis that stands alone on both sides, with another number of elements behind it."""
    if len(before) == len(after) and before != after and sorted(map(str, before)) == sorted(map(str, after)):
        return next(a for a, b in zip(before, after, strict=True) if a != b)
    split = _heads(before, after) or _heads(after, before)
    if split is not None:
        return split
    for axis in before:
        alone = axis.constant is None and len(axis.symbols) == 1 and str(axis).isidentifier()
        if (
            alone
            and before.count(axis) == after.count(axis) == 1
            and _behind(before, axis) != _behind(after, axis)
        ):
            return axis
    return None


def _behind(axes: list[Dim], axis: Dim) -> Dim:
    result = Dim.of(1)
    for each in axes[axes.index(axis) + 1 :]:
        result = result * each
    return result


def _heads(joined: list[Dim], parted: list[Dim]) -> Dim | None:
    """`n` where one side is `…, n, h * e` and the other `…, h, n, e`."""
    if len(parted) != len(joined) + 1 or len(joined) < 2:
        return None
    *first, n, whole = joined
    *rest, h, same, e = parted
    return n if first == rest and n == same != h and h * e == whole else None


def _convolution(place: Place) -> Found:
    yield from _channels_in(place)
    image = place.operand(0)
    if image is None or image.type.rank != 4:
        return
    _, rows, columns, channels = (each.constant for each in image.type.axes)
    if rows is None or rows != columns or channels not in _IMAGE_CHANNELS or int(rows) < _SMALLEST_IMAGE:
        return
    if place.op.attr("groups", 1) == 1:
        help = "bring the channels forward: `permute(image, [0, 3, 1, 2])`"
        yield place.told(problems.CHANNELS_LAST, help=help, taker=place.op.op, type=str(image.type))


def _channels_in(place: Place) -> Found:
    """As many channels as come in, and a kernel and a stride that nobody pairs: `conv2d(3, 16, 3)`."""
    image, op = place.operand(0), place.op
    out, kernel, stride = (op.attr(name) for name in ("out", "kernel", "stride"))
    if (
        image is None
        or not (isinstance(kernel, int) and isinstance(stride, int))
        or op.attr("groups", 1) != 1
    ):
        return
    if out != image.type.axes[1] or kernel < 6 or stride < 3 or kernel in (stride, 2 * stride):
        return
    help = f"leave the first number out: `{op.op}({kernel}, {stride})`"
    yield place.told(problems.CHANNELS_IN, help=help, taker=op.op, out=out, kernel=kernel, stride=stride)


# --- attention -------------------------------------------------------------------------------------------------


def _attention(place: Place) -> Found:
    query = place.operand(0)
    size = query.type.axes[-1].constant if query is not None else None
    if size is None or int(size) < 2 or place.op.attr("scale") is not None:
        return
    for name, what in zip(place.op.inputs[:2], ("queries", "keys"), strict=True):
        made = place.source(name, frozenset({"reshape", "permute", "cast"}))
        if made is not None and _divides(made, math.sqrt(int(size))):
            help = "leave that out, or pass `scale=1.0`"
            yield place.told(problems.SCALED_TWICE, help=help, size=size, what=what)
            return


def _divides(made: Place, root: float) -> bool:
    """Whether this is a division by the root, however it is written."""
    numbers = [made.number(name) for name in made.op.inputs]
    if made.op.op == "div":
        return numbers[1] is not None and math.isclose(numbers[1], root, rel_tol=1e-6)
    return made.op.op == "mul" and any(
        each is not None and math.isclose(each * root, 1, rel_tol=1e-6) for each in numbers
    )


_RULES: Mapping[str, Callable[[Place], Found]] = {
    **dict.fromkeys(_WRONG_FOR, _loss),
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
    **dict.fromkeys(("eq", "ne", "sub"), _comparison),
    "reshape": _reshape,
    "conv2d": _convolution,
    **dict.fromkeys(("conv1d", "conv3d"), _channels_in),
    "attention": _attention,
}


# --- train blocks ----------------------------------------------------------------------------------------------


def seen_data(plan: TrainPlan, item: ast.Train) -> Found:
    """Held-out data that are the rows that are trained on."""
    held = plan.evaluate
    if held is None or held.name not in _OWN_SOURCES or held.name != plan.source.name:
        return
    if _rows(held.args) == _rows(plan.source.args):
        span = next(each.span for each in item.body if isinstance(each, ast.Evaluate))
        yield problems.SEEN_DATA.at(
            span, help='such as `evaluate from digits(split="test")`', chain=(f"train {plan.name}",)
        )


_ERRORS = re.compile(
    r"(?:^|_)(?:loss|errors?|err|rmse|mse|mae|mape|nll|bpc|bpd|perplexity|ppl|kl|fid|cer|wer|eer|distance|deviation|cost|regret)(?:_|$)"
)


def highest_error(plan: TrainPlan, item: ast.Train) -> Found:
    """The best weights by the highest of what has the name of an error."""
    name = str(plan.settings["best"] or "")
    if plan.best is None or not plan.best[1] or " " in name or not _ERRORS.search(name.lower()):
        return
    yield problems.HIGHEST_ERROR.at(
        setting_span(item, "best"),
        name=name,
        help=f'`best = "min {name}"` keeps the lowest',
        chain=(f"train {plan.name}",),
    )


def _rows(args: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in args.items() if name != "batch"}


# --- what a file allows ----------------------------------------------------------------------------------------

_ALLOW = re.compile(r"#\s*allow\s+(\w\d+(?:\s*,\s*\w\d+)*)")


def not_allowed(found: Iterable[Diagnostic], units: Iterable[Unit]) -> Found:
    """The warnings but for those that a comment on one of their lines turns off, or one that stands alone above them."""
    allowed = {unit.path: _allowed(unit) for unit in units}
    for each in found:
        first, last = each.span.line, max(each.span.line, each.span.end_line)
        here = allowed.get(each.span.file, {})
        if not any(each.code in here.get(line, ()) for line in range(first, last + 1)):
            yield each


def _allowed(unit: Unit) -> dict[int, set[str]]:
    """The codes that comments allow, by line; a comment alone on its line speaks of the next one too."""
    lines: dict[int, set[str]] = {}
    for line, text, alone in unit.file.comments:
        match = _ALLOW.match(text)
        codes = set(re.findall(r"\w+", match.group(1))) if match else set()
        codes |= lines.get(line, set()) if alone else set()
        for each in (line, line + 1) if alone else (line,):
            lines.setdefault(each, set()).update(codes)
    return lines


def unknown_allowances(unit: Unit) -> Found:
    """Comments that allow what is no warning."""
    known = {each.code for each in vars(problems).values() if isinstance(each, Problem)}
    for line, text, _ in unit.file.comments:
        match = _ALLOW.match(text)
        for word in re.finditer(r"\w+", match.group(1)) if match else ():
            if word.group() not in known:
                column = unit.lines[line - 1].rfind(word.group()) + 1
                span = Span(unit.path, line, column, line, column + len(word.group()))
                help = did_you_mean(word.group(), known)
                yield problems.UNKNOWN_WARNING.at(span, code=word.group(), help=help)
