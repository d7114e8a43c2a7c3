"""Several batches count as the one that they make together, however unlike they are: in evaluation, and in a step over accumulated
batches, its gradient included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_specs import BACKENDS, journal

import dlc
from dlc.autodiff.reverse import gradient, gradient_name, pullback
from dlc.ir.verify import verify
from dlc.passes.totals import totals
from dlc.runtime.interpret import run
from dlc.runtime.together import Added, Reckoning
from dlc.runtime.weights import initial_weights, read_file, write_file

SPEC = """
module Experts(d: int, experts: int = 3)(x: [B, T, d]) -> (y: [B, T, d], balance: []) {
    shares = x |> linear(experts) as gate |> softmax
    y = x + (shares |> linear(d) as out)
    return y, float(experts) * sum(square(mean(shares, [0, 1])))
}

model Net(d: int = 4, layers: int = 2)(x: [B, T, d]) -> (logits: [B, T, 5], balance: []) {
    total = 0.0
    for i in range(layers) as h {
        x, one = Experts(d)(x)
        total = total + one
    }
    return x |> linear(5) as last, total
}

model Normed(d: int = 4)(x: [B, T, d]) -> (logits: [B, T, 5], balance: []) {
    y = rearrange(x, "B T d -> B d T") |> batch_norm as norm
    return rearrange(y, "B d T -> B T d") |> linear(5) as last, 0.0
}

train t(batch: int = 8, accumulate: int = 1) {
    net = Net()
    batch (x: [B, T, 4], label: i64[B, T], mask: [B, T], y: [B, T, 5]) from npz("rows.npz", batch=batch)
    evaluate from npz("rows.npz", batch=5)
    logits, balance = net(x)
    best = argmax(logits, axis=-1)
    each = cross_entropy(logits, label % 5, reduction="none")
    hit = cast(best == label, float) * mask
    found = cast(one_hot(best, 5), float)
    wanted = cast(one_hot(label % 5, 5), float) * mask[..., none]
    minimize LOSS
    METRICS
    optimizer = sgd(lr=0.5)
    settings { steps = 3, log = 1, accumulate = accumulate, seed = 1 }
}
"""
LOSSES = {
    "labels that are ignored": "cross_entropy(logits, label, ignore=-100)",
    "a mean": "mean(each)",
    "a sum": "sum(each)",
    "a sum over the number of rows": "sum(each) / float(B)",
    "a mean with a mask": "sum(each * mask) / sum(mask)",
    "a mean with weights": "sum(each * (mask / sum(mask)))",
    "weights by rows": "sum(sum(-each * mask / sum(mask), 1) / float(B)) * 2.0 + sum(each[:, 0] / float(B))",
    "a guarded mean": "sum(each * mask) / maximum(sum(mask), 1.0)",
    "a mean of means": "mean(sum(each * (mask + 1.0), 1) / sum(mask + 1.0, 1))",
    "two counts": "cross_entropy(logits, label, ignore=-100) + 0.3 * sum(each * mask) / sum(mask)",
    "a penalty of weights": "mean(each) + 0.1 * sum(square(net.last.weight))",
    "an overlap": "1.0 - 2.0 * sum(softmax(logits) * y) / (sum(softmax(logits)) + sum(square(y)))",
    "a balance of experts": "mean(each) + 0.5 * balance",
    "a root": "sqrt(mean(square(logits - y)))",
    "a contraction": 'einsum(each, mask, "B T, B T ->") / sum(mask)',
    "a product of matrices": 'mean(square(rearrange(logits, "B T c -> c (B T)") @ rearrange(y, "B T c -> (B T) c")) / 100.0)',
    "by class": "mean(segment_sum(reshape(each, [B * T]), reshape(label % 5, [B * T]), 5)) / float(B)",
}
METRICS = """
    metric accuracy = mean(best == label)
    metric recall = sum(hit) / sum(mask)
    metric perplexity = exp(cross_entropy(logits, label, ignore=-100))
    metric f1 = 2.0 * sum(hit) / (sum(mask) + sum(cast(best == 1, float)))
    metric macro = mean(sum(found * wanted, [0, 1]) / maximum(sum(wanted, [0, 1]), 1.0))
    metric second = mean(cast(sum(cast(logits > take_along(logits, (label % 5)[..., none], axis=-1), i64), -1) < 2, float))
"""
PARTS = (5, 1, 2)  # unlike counts of rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("together")


@cache
def rows(count: int = 22) -> Mapping[str, np.ndarray]:
    rng = np.random.default_rng(3)
    label = rng.integers(0, 5, (count, 3))
    label[rng.random((count, 3)) < 0.5] = -100
    label[5] = -100  # a row, and below a batch, in which nothing counts
    mask = (rng.random((count, 3)) < 0.4).astype(np.float32)
    mask[5] = 0.0
    floats = (rng.normal(size=(count, 3, n)).astype(np.float32) for n in (4, 5))
    x, y = floats
    return {"x": x, "label": label, "mask": mask, "y": y}


def block(folder: Path, loss: str, metrics: str = "", **settings: Any) -> Any:
    write_file(folder / "rows.npz", rows())
    (folder / "spec.dl").write_text(SPEC.replace("LOSS", loss).replace("METRICS", metrics))
    return dlc.load(folder / "spec.dl")["t"](**settings)


def cut(batch: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    ends = np.cumsum(PARTS)
    return [
        {name: each[end - n : end] for name, each in batch.items()}
        for n, end in zip(PARTS, ends, strict=True)
    ]


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_the_meaning(loss: str, folder: Path) -> None:
    """By the interpreter: value and gradient of batches of 5, 1 and 2 rows are those of all 8."""
    program = block(folder, loss).plan.program
    parted = totals(program)
    assert not parted.single
    reckoning = Reckoning(parted)
    sums = verify(parted.sums)
    verify(parted.rest)
    weights = {path: each.astype(np.float64) for path, each in initial_weights(program, 1).items()}
    inputs = {each.name for each in program.main.inputs}
    whole = {name: each[: sum(PARTS)] for name, each in rows().items() if name in inputs}
    expected = run(gradient(program, of="loss"), weights, whole, precision="f64")

    added = Added()
    for batch in cut(whole):
        reckoning.add(added, batch, run(sums, weights, batch, precision="f64"))
    assert reckoning.numbers(added)["loss"] == pytest.approx(float(expected["loss"]), rel=1e-12)

    derived = pullback(sums)
    shares = {gradient_name(name): each for name, each in reckoning.shares(added).items()}
    pulls = {
        each.name: shares.get(each.name, np.zeros(each.type.shape or ()))
        for each in derived.main.inputs
        if each.name not in inputs
    }
    found = [run(derived, weights, {**batch, **pulls}, precision="f64") for batch in cut(whole)]
    for path in found[0]:
        gradient_ = sum(each[path] for each in found)
        np.testing.assert_allclose(
            gradient_, expected[gradient_name(path)], rtol=1e-9, atol=1e-12, err_msg=path
        )


@pytest.mark.parametrize("size", [1, 5, 22])
def test_metrics_of_unlike_batches(size: int, folder: Path) -> None:
    """Each is what its expression gives on all rows: ratios of counts are not averaged."""
    program = block(folder, LOSSES["a mean"], METRICS).plan.evaluation
    reckoning = Reckoning(totals(program))
    weights = initial_weights(program, 1)
    inputs = {each.name for each in program.main.inputs}
    whole = {name: each for name, each in rows().items() if name in inputs}
    expected = run(program, weights, whole, precision="f64")
    added = Added()
    for start in range(0, 22, size):  # of 5, the last one is smaller
        batch = {name: each[start : start + size] for name, each in whole.items()}
        reckoning.add(added, batch, run(reckoning.totals.sums, weights, batch, precision="f64"))
    found = reckoning.numbers(added)
    assert found == pytest.approx({name: float(each) for name, each in expected.items()}, rel=1e-9)


TRAINED = [("torch", each) for each in ("labels that are ignored", "a penalty of weights", "an overlap")]


@pytest.mark.parametrize(("backend", "loss"), [*TRAINED, ("jax", "labels that are ignored")])
def test_accumulated_steps_are_larger_batches(backend: str, loss: str, folder: Path, tmp_path: Path) -> None:
    """Losses, metrics, weights and what is measured on the held-out data; over 22 rows, so that the second epoch begins with the
    third step."""
    metrics = "metric recall = sum(hit) / sum(mask)"
    for name, batch, accumulate in (("whole", 8, 1), ("parts", 2, 4)):
        tried = block(folder, LOSSES[loss], metrics, batch=batch, accumulate=accumulate)
        dlc.train(tried, backend=backend, out=tmp_path / name)
    for kind in ("train", "evaluate"):
        for whole, parts in zip(
            *(journal(tmp_path / name, kind) for name in ("whole", "parts")), strict=True
        ):
            assert parts["epoch"] == whole["epoch"]
            assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-5)
            assert parts["metrics"] == pytest.approx(whole["metrics"], rel=1e-5)
    whole, parts = (read_file(tmp_path / name / "net.safetensors") for name in ("whole", "parts"))
    for path, array in whole.items():
        np.testing.assert_allclose(parts[path], array, rtol=1e-4, atol=1e-6, err_msg=path)


@pytest.mark.parametrize("backend", BACKENDS)
def test_counts_that_are_drawn(backend: str, folder: Path, tmp_path: Path) -> None:
    """As in a masked language model: how much counts is known when the backend has drawn it. So batches run twice, with the draws of
    the step, and buffers are updated once."""
    metrics = "metric counted = sum(drawn)\n    metric added = sum(each * drawn)"
    tried = block(folder, "sum(each * drawn) / sum(drawn)", metrics, batch=2, accumulate=4)
    text = (folder / "spec.dl").read_text()
    drawn = "drawn = cast(uniform([B, T]) < 0.3, float)\n    minimize"
    (folder / "spec.dl").write_text(text.replace("minimize", drawn).replace("net = Net()", "net = Normed()"))
    tried = dlc.load(folder / "spec.dl")["t"](batch=2, accumulate=4)
    dlc.train(tried, backend=backend, out=tmp_path / "run")
    for line in journal(tmp_path / "run"):
        counted, added = line["metrics"]["counted"], line["metrics"]["added"]
        assert counted == int(counted) and 0 < counted < 24
        assert line["loss"] == pytest.approx(added / counted, rel=1e-6)
    assert int(read_file(tmp_path / "run" / "net.safetensors")["norm.num_batches_tracked"]) == 12


def test_held_out_data_of_other_sizes(folder: Path, tmp_path: Path) -> None:
    """`evaluate` types its fields anew: the network is evaluated as it is for these."""
    fields = "(x: [B, 3, 4], label: i64[B, 3], mask: [B, 3], y: [B, 3, 5])"
    text = SPEC.replace("(x: [B, T, 4], label: i64[B, T], mask: [B, T], y: [B, T, 5])", fields)
    text = text.replace("LOSS", "mean(each)").replace("METRICS", "metric total = sum(each)")
    longer = {name: np.concatenate([each] * 2, axis=1) for name, each in rows().items()}
    write_file(folder / "rows.npz", rows())
    write_file(folder / "longer.npz", longer)
    (folder / "spec.dl").write_text(
        text.replace("evaluate", "evaluate " + fields.replace("3", "6")).replace(
            '"rows.npz", batch=5', '"longer.npz", batch=5'
        )
    )
    dlc.train(dlc.load(folder / "spec.dl")["t"], backend="torch", out=tmp_path / "run")
    (found,) = journal(tmp_path / "run", "evaluate")
    assert found["metrics"]["total"] == pytest.approx(found["loss"] * 22 * 6, rel=1e-6)


def test_a_loss_of_an_entry_beside_loops_of_calls(tmp_path: Path) -> None:
    """The entry is opened to part its mean; instances in the loop of what it calls stay where they are."""
    text = """
module Block(d: int)(x: [B, d]) -> [B, d] { return x + (x |> linear(d) as fc) }

model Marks(layers: int = 2, d: int = 4)(x: [B, d]) -> [B] {
    entry compare(better: [B, d], worse: [B, d]) -> (a: [B], b: [B], loss: []) {
        a, b = self(better), self(worse)
        return a, b, mean((a - b) ** 2)
    }
    for i in range(layers) as h {
        x = x |> Block(d)
    }
    return x |> linear(1) as score |> squeeze(-1)
}

train t {
    net = Marks()
    batch (x: [B, 4]) from synthetic(count=7, batch=3)
    evaluate from synthetic(count=7, batch=3)
    a, b, loss = net.compare(x, x * 0.5)
    minimize loss
    metric above = mean(a > b)
    optimizer = sgd(lr=1e-3)
    settings { steps = 1 }
}
"""
    found = []
    for backend in ("torch", "jax"):
        evaluation = dlc.train(dlc.loads(text)["t"], backend=backend, out=tmp_path / backend).evaluation
        assert evaluation is not None
        found.append([evaluation.loss, evaluation.metrics["above"]])
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_sums_of_bf16_are_wide(folder: Path, tmp_path: Path) -> None:
    """A count of more than 256 has no place in bf16."""
    many = {name: np.concatenate([each] * 99) for name, each in rows().items()}
    metrics = "metric share = mean(label > 1)"
    tried = block(folder, LOSSES["labels that are ignored"], metrics, batch=2, accumulate=4)
    write_file(folder / "rows.npz", many)
    text = (folder / "spec.dl").read_text()
    (folder / "spec.dl").write_text(text.replace("batch=5)", "batch=2000)"))
    tried = dlc.load(folder / "spec.dl")["t"](batch=600, accumulate=2).with_settings(
        precision="bf16", steps=1
    )
    dlc.train(tried, backend="torch", out=tmp_path / "run")
    (found,) = journal(tmp_path / "run", "evaluate")
    assert found["metrics"]["share"] == pytest.approx(float((many["label"] > 1).mean()), abs=1e-7)


def test_nothing_that_counts(folder: Path, tmp_path: Path) -> None:
    """A batch without a label counts nothing; held-out data without one have no mean, and the log says so in JSON's own words."""
    text = SPEC.replace("LOSS", "mean(each)").replace(
        "METRICS", "metric kept = cross_entropy(logits, label, ignore=-100)"
    )
    held = dict(rows())
    np.savez(folder / "none.npz", **{**held, "label": np.full_like(held["label"], -100)})
    (folder / "spec.dl").write_text(
        text.replace('evaluate from npz("rows.npz"', 'evaluate from npz("none.npz"')
    )
    write_file(folder / "rows.npz", rows())
    dlc.train(dlc.load(folder / "spec.dl")["t"], backend="torch", out=tmp_path / "run")
    assert journal(tmp_path / "run", "evaluate")[-1]["metrics"] == {"kept": "nan"}
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


MEASURED = """
model Net()(x: [B, 4]) -> [B, 2] {
    return x |> linear(2)
}

train fit {
    net = Net()
    batch (x: [B, 4]) from arrays(batch=SIZE)
    y = net(x)
    minimize mean(square(y))
    metric m = METRIC
    optimizer = sgd(lr=1e-9)
    settings { steps = 1 }
}
"""
APART = {
    "std(y[:, 0])": "`sqrt(mean(x * x) - mean(x) ** 2)`",
    "1.0 - mean(square(y[:, 0] - x[:, 0])) / var(x[:, 0])": "`mean(x * x) - mean(x) ** 2`",
    "1.0 - sum(square(y[:, 0] - x[:, 0])) / sum(square(x[:, 0] - mean(x[:, 0])))": "`sum(x * x) - sum(x) * mean(x)`",
    "max(y)": "",
    "mean(softmax(y, axis=0)[0])": "",
    "cast(any(y > 0.5), float)": "",
}


def measured(metric: str, size: int, folder: Path) -> float:
    rows = np.random.default_rng(2).normal(size=(37, 4)).astype(np.float32)
    block = dlc.loads(MEASURED.replace("METRIC", metric).replace("SIZE", str(size)))["fit"]
    out = folder / f"run{size}"
    result = dlc.train(block, backend="torch", out=out, data={"x": rows}, held_out={"x": rows})
    assert result.evaluation is not None
    return result.evaluation.metrics["m"]


@pytest.mark.parametrize("metric", APART)
def test_a_metric_that_batches_have_no_common_number_of(metric: str, tmp_path: Path) -> None:
    """It is right in one batch, and refused in several, with the way to write it where there is one."""
    assert np.isfinite(measured(metric, 37, tmp_path))
    with pytest.raises(dlc.SpecError) as caught:
        measured(metric, 5, tmp_path)
    (found,) = caught.value.diagnostics
    assert found.code == "E0721"
    assert APART[metric] in found.help
    assert found.help.endswith("`batch=37`")
    assert np.isfinite(measured(f"{metric}    # allow W0109", 5, tmp_path))


@pytest.mark.parametrize(
    ("whole", "parts"),
    [
        ("std(y[:, 0])", "sqrt(mean(y[:, 0] * y[:, 0]) - mean(y[:, 0]) ** 2)"),
        (
            "1.0 - sum(square(y[:, 0] - x[:, 0])) / sum(square(x[:, 0] - mean(x[:, 0])))",
            "1.0 - sum(square(y[:, 0] - x[:, 0])) / (sum(x[:, 0] * x[:, 0]) - sum(x[:, 0]) * mean(x[:, 0]))",
        ),
    ],
)
def test_what_the_help_says(whole: str, parts: str, tmp_path: Path) -> None:
    assert measured(parts, 5, tmp_path) == pytest.approx(measured(whole, 37, tmp_path), rel=1e-4)
