"""Rows in the order of the data: a place of a batch goes on where it stopped, and a state is carried from batch to batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from training_specs import BACKENDS, PressCtrlC, journal, loaded

import dlc
from dlc.diagnostics import SpecError
from dlc.runtime.data.arrays import ArrayRows
from dlc.runtime.data.batches import Batches
from dlc.runtime.training import Interrupted
from dlc.runtime.training_data import open_data
from dlc.runtime.weights import read_file

SPEC = """
model Net(vocab: int = 12, d: int = 4, hidden: int = 5)(tokens: i64[B, T], h: [1, B, hidden] = none, c: [1, B, hidden] = none)
    -> (logits: [B, T, vocab], h: [1, B, hidden], c: [1, B, hidden])
{
    y, h_last, c_last = tokens |> embedding(vocab, d) as table |> lstm(hidden, layers=1)(h, c) as rnn
    return y |> linear(vocab) as head, h_last, c_last
}

train t(rows: int = 3, accumulate: int = 1, steps: int = 12) {
    net = Net()
    batch (tokens: i64[B, 6]) from text("t.txt", length=6, stop=0.8, batch=rows, order="streams")
    evaluate (tokens: i64[B, 11]) from text("t.txt", length=11, start=0.8, batch=4)
    buffer h: [1, rows, 5] = zeros
    buffer c: [1, rows, 5] = zeros
    if training {
        require B == rows
        logits, h_last, c_last = net(tokens[:, :-1], h, c)
        update h = h_last
        update c = c_last
    } else {
        logits, _, _ = net(tokens[:, :-1])
    }
    minimize cross_entropy(logits, tokens[:, 1:])
    optimizer = sgd(lr=0.5)
    settings { steps = steps, accumulate = accumulate, log = 1, eval_every = 4, seed = 2 }
}
"""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    letters = np.random.default_rng(0).choice(list("abcdefghij \n"), 160)
    (tmp_path / "t.txt").write_text("".join([*"abcdefghij \n", *letters]), encoding="utf-8")
    return tmp_path


def numbers(count: int, size: int, together: int = 1) -> Batches:
    return Batches(ArrayRows({"x": np.arange(count)}), size, 0, ("x",), together=together, streams=True)


def test_a_place_goes_on_where_it_stopped() -> None:
    """Through all epochs: at the end of its stretch with that of the next place, and behind the last row with the first."""
    batches = numbers(14, 3)
    taken = np.array([batches.training(each)["x"] for each in range(3 * batches.per_epoch)])
    assert batches.per_epoch == 4 and taken[0].tolist() == [0, 4, 8]
    assert ((taken[1:] - taken[:-1]) % 12 == 1).all()
    assert sorted(taken[:4].ravel()) == [*range(12)]


def test_accumulated_batches_follow_each_other() -> None:
    batches = numbers(23, 3, together=2)
    taken = np.array([batches.training(each)["x"] for each in range(2 * batches.per_epoch)])
    assert batches.per_epoch == 6 and ((taken[1:] - taken[:-1]) % 18 == 1).all()


def test_windows_of_a_text_follow_each_other(text: Path) -> None:
    """What a window ends with the next one in its place begins with, also where an epoch begins."""
    batches = open_data(loaded(SPEC, text)).training
    windows = np.array([batches.training(each)["tokens"] for each in range(2 * batches.per_epoch)])
    joins = windows[1:, :, 0] == windows[:-1, :, -1]
    at_the_end = (np.arange(3) + np.arange(len(windows))[:, None] // batches.per_epoch) % 3 == 2
    last = np.arange(len(windows)) % batches.per_epoch == batches.per_epoch - 1
    assert joins[~(at_the_end & last[:, None])[:-1]].all()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_state_is_carried_as_by_hand(accumulate: int, text: Path, tmp_path: Path) -> None:
    """Losses are those of a loop that hands PyTorch's LSTM the state of the batch before, without a gradient; also from one
    batch to the next of the same step."""
    block = loaded(SPEC, text)(accumulate=accumulate)
    batches = open_data(block).training
    run = tmp_path / "run"
    dlc.train(block, backend="torch", out=run)
    begun = loaded(SPEC.replace("sgd(lr=0.5)", "sgd(lr=1e-30)"), text)(steps=1)
    dlc.train(begun, backend="torch", out=tmp_path / "begun")
    table, rnn, head = nn.Embedding(12, 4), nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 12)
    whole = nn.ModuleDict({"table": table, "rnn": rnn, "head": head})
    whole.load_state_dict(
        {name: torch.tensor(each) for name, each in read_file(tmp_path / "begun/net.safetensors").items()}
    )
    state: Any = None
    losses = []
    for step in range(12):
        whole.zero_grad()
        losses.append(0.0)
        for number in range(step * accumulate, (step + 1) * accumulate):
            tokens = torch.tensor(batches.training(number)["tokens"])
            y, state = rnn(table(tokens[:, :-1]), state)
            state = tuple(each.detach() for each in state)
            loss = nn.functional.cross_entropy(head(y).transpose(1, 2), tokens[:, 1:]) / accumulate
            loss.backward()
            losses[-1] += loss.item()
        with torch.no_grad():
            for each in whole.parameters():
                each -= 0.5 * each.grad
    assert [each["loss"] for each in journal(run)] == pytest.approx(losses, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_backends_agree(accumulate: int, text: Path) -> None:
    report = dlc.verify_training(loaded(SPEC, text)(accumulate=accumulate), steps=8)
    assert report.agree, str(report)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_state_is_kept_where_a_run_stops(backend: str, text: Path, tmp_path: Path) -> None:
    block = loaded(SPEC, text)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    dlc.train(block, backend=backend, out=whole)
    with pytest.raises(Interrupted):
        dlc.train(block, backend=backend, out=parts, watch=PressCtrlC(7))
    dlc.train(block, backend=backend, out=parts, resume=True)
    assert journal(whole) == journal(parts)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("batch=4)", 'batch=4, order="streams")', "rows have an order in training only"),
        ('order="streams"', 'order="streams", sample_by="tokens"', "don't follow each other"),
        ('order="streams"', 'order="stream"', "did you mean `streams`"),
        (
            'text("t.txt", length=6, stop=0.8, batch=rows, order',
            "synthetic(split=0.5, batch=rows, order",
            "`seed=none` shares them out in the order of the data",
        ),
    ],
)
def test_what_has_no_order(old: str, new: str, said: str, text: Path) -> None:
    assert old in SPEC
    with pytest.raises(SpecError, match=said):
        open_data(loaded(SPEC.replace(old, new), text))


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_whose_number_is_written(backend: str, text: Path, tmp_path: Path) -> None:
    """`B` is a number where the fields' types say one."""
    fixed = SPEC.replace("batch (tokens: i64[B, 6])", "batch (tokens: i64[rows, 6])")
    metric = "    metric rows = cast(B, float)\n    optimizer"
    outs = []
    for name, spec in (("fixed", fixed), ("open", SPEC)):
        block = loaded(spec.replace("    optimizer", metric), text)(steps=3)
        outs.append(tmp_path / name)
        dlc.train(block, backend=backend, out=outs[-1])
    assert [each["loss"] for each in journal(outs[0])] == pytest.approx(
        [each["loss"] for each in journal(outs[1])], abs=1e-6
    )
    assert journal(outs[0])[0]["metrics"] == {"rows": 3.0}
