"""The data of a train block: its sources opened, their types checked against the block's, problems shown
there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlc.diagnostics import NO_SPAN, Diagnostic, Span, SpecError, did_you_mean
from dlc.diagnostics import training as problems
from dlc.elaborate.base.sources import COMMON, REST, STREAMS
from dlc.elaborate.checks.batches import apart
from dlc.elaborate.checks.doubts import not_allowed
from dlc.elaborate.checks.plan import Named
from dlc.elaborate.checks.single_values import single_values
from dlc.elaborate.checks.train_arguments import is_split
from dlc.ir.nodes import Program
from dlc.runtime import data
from dlc.runtime.data import check, memory
from dlc.runtime.data.batches import Batches
from dlc.runtime.data.columns import FEATURES
from dlc.runtime.data.digest import digest
from dlc.runtime.data.memory import Given
from dlc.runtime.data.parts import chances, part
from dlc.runtime.indices import IndexCheck
from dlc.runtime.inputs import index_limits
from dlc.source import Request, Rows, SourceError
from dlc.spec import TrainBlock, all_sources
from dlc.syntax import ast
from dlc.types.tensor import TensorType


@dataclass(frozen=True)
class Data:
    """Batches to train on and, where there is held-out data, to evaluate on."""

    training: Batches
    evaluation: Batches | None
    sizes: Mapping[str, int]  # of the dims of the batch's fields, in training
    source: Named  # what is trained on
    is_given: bool  # whether any of it was handed over in Python

    @property
    def about(self) -> Mapping[str, Any]:
        """What the sources say of themselves, such as a tokenizer's characters."""
        return self.training.rows.about

    @property
    def digests(self) -> dict[str, str]:
        """Of all rows, by what they are for: a run is continued on the data that it began with."""
        found = {"data": digest(self.training.rows)}
        return found if self.evaluation is None else {**found, "held-out data": digest(self.evaluation.rows)}


def open_data(
    block: TrainBlock,
    data: Given | None = None,
    held_out: Given | None = None,
    *,
    evaluating: bool = True,
) -> Data:
    """What the block's sources give, or what is given in their place; only what is trained on where nothing is to be evaluated. Raises
    SpecError for data that can't be opened or does not fit the types of the batch."""
    plan = block.plan
    source = _source(plan.source, data)
    opening = _Opening(block, source, plan.fields, plan.program, ast.BatchStmt, "data", data)
    opened = opening.open()
    sizes = check.sizes(opened.rows.fields, plan.fields, opened.size)
    single = [*single_values(plan.program, sizes, plan.name)]
    if single:
        raise SpecError(single, all_sources(block.spec.project))
    is_given = data is not None or held_out is not None
    if not evaluating or (plan.evaluate is None and held_out is None):
        return Data(opened, None, sizes, source, is_given)
    fields, held = plan.evaluate_fields or plan.fields, _source(plan.evaluate or plan.source, held_out)
    about = opened.rows.about
    evaluation = _Opening(block, held, fields, plan.evaluation, ast.Evaluate, "held_out", held_out, about)
    if held.name == REST:
        evaluation = replace(evaluation, rest_of=opening)
    return Data(opened, _of_all_rows(block, evaluation.open()), sizes, source, is_given)


def open_held_out(block: TrainBlock, known: Mapping[str, Any], held_out: Given | None = None) -> Batches:
    """The held-out data alone, of a block that has some or what is given in their place; `known` is what the data that were trained
    on said of themselves. Raises SpecError."""
    plan = block.plan
    source = _source(plan.evaluate or plan.source, held_out)
    fields, held = plan.evaluate_fields or plan.fields, as_trained(source, plan.source, known)
    opening = _Opening(block, held, fields, plan.evaluation, ast.Evaluate, "held_out", held_out, known)
    if held.name == REST:
        source = as_trained(plan.source, plan.source, known)
        trained = _Opening(block, source, plan.fields, plan.program, ast.BatchStmt, "data", None, known)
        opening = replace(opening, rest_of=trained)
    return _of_all_rows(block, opening.open())


def as_trained(source: Named, trained: Named, known: Mapping[str, Any]) -> Named:
    """A source whose columns stand side by side in the order that a run knows, wherever the spec that is asked now says what it says of
    the training data: it may have been changed since."""
    if FEATURES not in known or source.args.get(FEATURES) != trained.args.get(FEATURES):
        return source
    return (
        Named(source.name, {**source.args, FEATURES: known[FEATURES]}) if FEATURES in source.args else source
    )


def check_measured(block: TrainBlock, held: Batches, loss: float) -> None:
    """Raises SpecError where a loss of held-out data is no number since a row of them holds none."""
    broken = None if math.isfinite(loss) else held.held_out_not_finite()
    if broken is None:
        return
    message = (
        f"the loss of the held-out data is {loss}: `{broken[0]}` holds nan or infinity in row {broken[1]:,}"
    )
    span = next((each.source.span for each in block.node.body if isinstance(each, ast.Evaluate)), NO_SPAN)
    help = "leave such rows out, or put a number there"
    raise SpecError([problems.DATA.at(span, message=message, help=help)], all_sources(block.spec.project))


def _of_all_rows(block: TrainBlock, held: Batches) -> Batches:
    """The held-out data, if the block's metrics are numbers of all of it."""
    rows = len(held.rows)
    if rows > held.size:
        project = block.spec.project
        found = [
            problems.METRIC_APART.at(
                each.span,
                message=each.message,
                notes=each.notes,
                help=f"{each.help + '; or ' if each.help else ''}evaluate the {rows:,} rows in one batch: `batch={rows}`",
                chain=each.chain,
            )
            for each in not_allowed(apart(block.plan, block.node), project.units.values())
        ]
        if found:
            raise SpecError(found, all_sources(project))
    return held


def _source(named: Named, given: Given | None) -> Named:
    """What data is read from. What is given keeps the size of batches and the share that the block says."""
    if given is None:
        return named
    kept = {"batch": named.args["batch"], **_taking(named)}
    if is_split(named.args.get("split")):
        kept |= {"split": named.args["split"], "seed": named.args.get("seed", 0)}
    return Named(memory.NAME, kept)


def _taking(named: Named) -> dict[str, Any]:
    """Which rows training takes, and in which order."""
    return {key: named.args.get(key, COMMON[key]) for key in ("sample_by", "order")}


@dataclass(frozen=True)
class _Opening:
    """One `from source(…)` of a block, or what is given in its place under the name `argument`."""

    block: TrainBlock
    source: Named
    fields: Mapping[str, TensorType]
    program: Program
    statement: type[ast.BatchStmt] | type[ast.Evaluate]
    argument: str
    given: Given | None
    known: Mapping[str, Any] = field(default_factory=dict)
    rest_of: _Opening | None = None
    """Whose rows are shared out, where these are what is left of them."""

    def open(self) -> Batches:
        try:
            rows = self._rows()
            fields = rows.fields
            in_streams = self._in_streams()
            drawn = self._chances(rows)
        except SourceError as error:
            raise self._error([self._problem(self._span(), error)]) from None
        held = index_limits(self.program, every=True)
        size = int(self.source.args["batch"])
        if self.statement is ast.BatchStmt and len(rows) < size:
            few = f"`{self._name}` has {len(rows):,} rows, fewer than one batch of {size:,}"
            raise self._error([self._problem(self._span(), SourceError(few, "make it smaller: `batch=…`"))])
        found = {
            name: self._problem(self._span(name), wrong, notes)
            for count in self._sizes(rows, size)
            for name, wrong, notes in check.problems(self._name, rows, fields, self.fields, held, count)
        }
        if found:
            raise self._error(list(found.values()))
        indices = IndexCheck(self.program, sources=all_sources(self.block.spec.project))
        settings = self.block.plan.settings
        names = tuple(self.fields)
        return Batches(
            rows,
            size,
            int(settings["seed"]),
            names,
            indices,
            int(settings["accumulate"]),
            self._refused,
            drawn,
            in_streams,
        )

    def _refused(self, error: SourceError) -> SpecError:
        """Rows that can't be read, told where the source is named."""
        return self._error([self._problem(self._span(), error)])

    @property
    def _name(self) -> str:
        """What messages call the data."""
        return self.source.name if self.given is None else self.argument

    def _rows(self) -> Rows:
        """The rows that are wanted. Raises SourceError."""
        if self.rest_of is not None:
            return self.rest_of.shared(rest=True)
        return self.shared()

    def _chances(self, rows: Rows) -> NDArray[np.float64] | None:
        """How likely rows are drawn, where they are not all taken. Raises SourceError."""
        by = self.source.args.get("sample_by")
        if by is None:
            return None
        if self.statement is ast.Evaluate:
            raise SourceError(
                "rows are drawn in training only: all held-out ones count", "leave out `sample_by`"
            )
        if by not in rows.fields:
            known = [*rows.fields]
            raise SourceError(
                f"rows can't be drawn by `{by}`: there is no such field",
                did_you_mean(by, known) or f"it has {', '.join(known)}",
            )
        return chances(rows, by)

    def _in_streams(self) -> bool:
        """Whether rows follow each other from batch to batch. Raises SourceError."""
        if _taking(self.source)["order"] != STREAMS:
            return False
        if self.statement is ast.Evaluate:
            help = "leave out `order`"
            raise SourceError(
                "rows have an order in training only: held-out ones are taken as they stand", help
            )
        if self.source.args.get("sample_by") is not None:
            raise SourceError(
                "rows that are drawn (`sample_by`) don't follow each other", "leave out one of the two"
            )
        split, seed = self.source.args.get("split"), self.source.args.get("seed", 0)
        if is_split(split) and seed is not None and not hasattr(self.whole, "share"):
            help = "`seed=none` shares them out in the order of the data"
            raise SourceError("rows that are shuffled to be shared out don't follow each other", help)
        return True

    def shared(self, *, rest: bool = False) -> Rows:
        """The share of all rows that the source says, or the rest. Raises SourceError."""
        split = self.source.args.get("split")
        if not is_split(split):
            return self.whole
        seed = self.source.args.get("seed", 0)
        return part(self.whole, split, seed if seed is None or isinstance(seed, int) else 0, rest=rest)

    @cached_property
    def whole(self) -> Rows:
        """All rows. Raises SourceError."""
        if self.given is not None:
            return memory.rows_of(self.argument, self.given, self.fields)
        return data.open_rows(self.source.name, self._request(index_limits(self.program)))

    def _sizes(self, rows: Rows, size: int) -> list[int]:
        """The batch sizes that will occur: in evaluation the last one may be smaller."""
        if self.statement is ast.BatchStmt:
            return [size]
        sizes = {min(size, len(rows)), len(rows) % size} - {0}
        return sorted(sizes)

    def _request(self, limits: Mapping[str, int]) -> Request:
        block = self.block
        allowed = block.spec.project.allow_python
        return Request(self.source.args, self.fields, limits, block.folder, block.root, self.known, allowed)

    def _span(self, field: str = "") -> Span:
        """Where the field is declared, else where the source is named."""
        for statement in self.block.node.body:
            if isinstance(statement, self.statement):
                spans = {str(each.name): each.span for each in statement.fields}
                return spans.get(field.partition(".")[0], statement.source.span)
        return self.block.node.span

    def _problem(self, span: Span, error: SourceError, notes: tuple[str, ...] = ()) -> Diagnostic:
        told = (*notes, *error.notes)
        return problems.DATA.at(span, message=str(error), help=error.help, notes=told)

    def _error(self, found: list[Diagnostic]) -> SpecError:
        return SpecError(found, all_sources(self.block.spec.project))
