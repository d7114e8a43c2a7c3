"""Bounds of integers: what each rule says holds for the reference's results, on every sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dlc.ops import get
from dlc.ops.bounds import ANY, RULES, Interval, Step, bounds
from dlc.ops.definition import Sample
from dlc.ops.samples import arrays, attributes, types
from dlc.types.dims import Dim
from dlc.types.facts import Facts

CASES = [(name, i) for name in RULES if not get(name).random for i in range(len(get(name).samples))]


def _interval(array: Any, *, exact: bool) -> Interval:
    if not array.size or not np.isfinite(array.astype(float)).all():
        return ANY
    low, high = np.floor(array.astype(float).min()), np.ceil(array.astype(float).max())
    return Interval(Dim.of(int(low)), Dim.of(int(high)), exact)


@pytest.mark.parametrize(("name", "number"), CASES, ids=lambda each: str(each))
def test_results_are_within(name: str, number: int) -> None:
    definition = get(name)
    sample: Sample = definition.samples[number]
    values, attrs = arrays(definition, sample), attributes(definition, sample)
    present = [each for each in values if each is not None]
    if len(present) < len(values):
        return
    with np.errstate(all="ignore"):
        found = definition.reference(*present, **attrs)
    results = found if isinstance(found, tuple) else (found,)
    operands = [each for each in types(values) if each is not None]
    outputs = definition.result_types(Facts(), operands, attrs)
    step = Step(Facts(), [_interval(each, exact=True) for each in present], operands, attrs)
    for result, interval in zip(results, bounds(name, step, outputs), strict=True):
        for element in np.asarray(result).astype(float).flat:
            if np.isfinite(element):
                assert interval.low is None or interval.low.evaluate({}) <= element
                assert interval.high is None or element <= interval.high.evaluate({})


def test_what_varies_together_is_not_exact() -> None:
    row = Interval(Dim.of(0), Dim.symbol("T") - 1, exact=True)
    (type_,) = get("arange").result_types(
        Facts(), [], {"start": 0, "stop": Dim.symbol("T"), "step": 1, "dtype": "i64"}
    )
    (found,) = bounds("sub", Step(Facts(), [row, row], [type_, type_], {}), [type_])
    assert str(found.low) == "1 - T"
    assert not found.exact
