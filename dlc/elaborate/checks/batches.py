"""Batches that are to count as one, and don't: those of an accumulated step, and those of the held-out data."""

from __future__ import annotations

from collections.abc import Iterator

from dlc.diagnostics import Diagnostic, Span
from dlc.diagnostics import warnings as problems
from dlc.elaborate.checks.plan import TrainPlan
from dlc.ir.mixing import mixing
from dlc.ir.needed import live, only
from dlc.ir.nodes import Op, Program
from dlc.passes.totals import batch_sizes, totals
from dlc.records import dataclass
from dlc.syntax import ast

Found = Iterator[Diagnostic]
_SUMS = "`sum` and `mean` over rows, and what is computed of these, add up"


def not_one_batch(plan: TrainPlan, item: ast.Train) -> Found:
    """At the setting that accumulates batches, and at what is measured on held-out data."""
    count, size = plan.settings["accumulate"], plan.source.args["batch"]
    if count > 1:
        doubt = _Doubt.of(plan.program, "loss")
        what = f"{count:,} batches of {size} are no batch of {count * size:,}"
        yield from doubt.told(
            plan, setting_span(item, "accumulate"), what, f"`batch={count * size}` takes as many rows at once"
        )
    if plan.evaluate is not None and not _is_row_by_row(plan):
        yield from _held_out(plan, item)


def _is_row_by_row(plan: TrainPlan) -> bool:
    """Whether a batch is written as one row, such as a whole graph: numbers are those of a row then, and their mean is one over rows."""
    fields = (plan.evaluate_fields or plan.fields).values()
    return all(type.rank and type.axes[0].constant == 1 for type in fields)


def apart(plan: TrainPlan, item: ast.Train) -> Found:
    """The metrics that several batches have no common number of, though they have one of the loss; as warnings, which a file may allow."""
    loss = _Doubt.of(plan.evaluation, "loss").op
    for name, span in _measured(item) if not _is_row_by_row(plan) else ():
        doubt = _Doubt.of(plan.evaluation, name)
        if name != "loss" and doubt.op is not None and doubt.op is not loss:
            what = f"`{name}` of several batches is no number of all their rows"
            yield from doubt.told(plan, span, what, _OF_SUMS.get(doubt.op.op, ""))


_OF_SUMS = {
    "var": "of sums over rows it is `mean(x * x) - mean(x) ** 2`",
    "std": "of sums over rows it is `sqrt(mean(x * x) - mean(x) ** 2)`",
    "sub": "of sums over rows `sum((x - mean(x)) ** 2)` is `sum(x * x) - sum(x) * mean(x)`",
}


def _held_out(plan: TrainPlan, item: ast.Train) -> Found:
    """What one operation stands in the way of is told once, at the first number that it concerns."""
    places: dict[tuple[str, Span], list[tuple[str, Span, _Doubt]]] = {}
    for name, span in _measured(item):
        doubt = _Doubt.of(plan.evaluation, name)
        if doubt.op is not None:
            places.setdefault((doubt.op.op, doubt.op.span), []).append((name, span, doubt))
    for found in places.values():
        names = ["the held-out loss" if name == "loss" else f"`{name}`" for name, _, _ in found]
        _, span, doubt = found[0]
        verb = "is" if len(names) == 1 else "are"
        *most, last = names
        listed = f"{', '.join(most)} and {last}" if most else last
        yield from doubt.told(plan, span, f"{listed} {verb} computed batch by batch", _SUMS)


@dataclass(frozen=True, slots=True)
class _Doubt:
    """What stands in the way of batches that count as one, for a number that is computed of them."""

    single: Op | None  # what is no sum over rows
    mixed: Op | None  # what goes over all rows of a batch
    sized: bool  # whether the batch's size has a name

    @staticmethod
    def of(program: Program, output: str) -> _Doubt:
        parted, sizes = totals(program), batch_sizes(program.main)
        rest = parted.rest.main
        needed = live(only(rest, [value for name, value in rest.outputs if name == output]))
        sums = (name for name, _ in parted.sums.main.outputs if name in needed)
        mixes = any(mixing(parted.sums, sizes, name) for name in sums)
        mixed = mixing(program, sizes, output) if mixes else None  # as the spec calls it
        return _Doubt(parted.single.get(output), mixed, bool(sizes))

    @property
    def op(self) -> Op | None:
        return self.mixed or self.single

    def told(self, plan: TrainPlan, span: Span, what: str, help: str) -> Found:
        op = self.op
        if op is None:
            return
        if not self.sized:
            why, help = (
                "the batch's size has no name, which tells rows from other axes",
                "name it: `image: [B, 1, 28, 28]`",
            )
        else:
            why = "goes over all rows of a batch" if self.mixed else "over a batch is no sum over its rows"
            why = f"`{op.op}` {why}"
        notes = (f"at {op.span.file}:{op.span.line}:{op.span.column}",) if op.span.line else ()
        chain = (f"train {plan.name}",)
        yield problems.NOT_ONE_BATCH.at(span, message=f"{what}: {why}", help=help, notes=notes, chain=chain)


def setting_span(item: ast.Train, name: str) -> Span:
    """Where a block sets something; its name, where it does not."""
    items = (each for part in item.body if isinstance(part, ast.Settings) for each in part.items)
    return next((each.span for each in items if str(each.name) == name), item.name_span)


def _measured(item: ast.Train) -> Iterator[tuple[str, Span]]:
    for each in item.body:
        if isinstance(each, ast.Minimize):
            yield "loss", each.span
        elif isinstance(each, ast.Metric):
            yield str(each.name), each.span
