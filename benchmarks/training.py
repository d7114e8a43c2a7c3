"""Steps of training on the CPU, by every backend, by the scripts that dlc emits, and by loops written by hand in PyTorch and in JAX:
python benchmarks/training.py [THREADS] [NAME…]

LeNet-5 on digits (batch 64, AdamW), a small GPT on characters (4 layers, 4 heads, 128 wide, 64 long, batch 12, AdamW), and an LSTM
(2 layers of 128, 64 long, batch 16). All begin with the same weights and rows and take turns in one process. What is timed are ten steps: rows are
gathered, losses, gradients and updates computed; then a loss is read (by dlc's own loop in each step). Of a script it is the emitted loop itself, stopped
between its steps. Goals: scripts in torch and jax at most 1.02 of the loop that is written by hand in the same framework, tvm at
most 1.5 of PyTorch's."""

from __future__ import annotations

import io
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from types import ModuleType
from typing import Any

THREADS = sys.argv[1] if len(sys.argv) > 1 else "1"
os.environ.update(OMP_NUM_THREADS=THREADS)

import numpy as np  # noqa: E402 - thread counts are read when frameworks load
from timing import side_by_side, table  # noqa: E402

import dlc  # noqa: E402
from dlc import backend as backends  # noqa: E402
from dlc.elaborate.programs.build import EntryPoint  # noqa: E402
from dlc.runtime.compile import emit  # noqa: E402
from dlc.runtime.scripts import write_script  # noqa: E402
from dlc.runtime.trainers import Trainers  # noqa: E402
from dlc.runtime.training_data import open_data  # noqa: E402

Rows = dict[str, np.ndarray]
RATE = 1e-3
TOGETHER = 10  # steps
BACKENDS = ("torch", "jax", "onnx", "tvm")
SPECS = {
    "LeNet-5": """
        from "dlc:vision/lenet5" import LeNet5
        train t {
            net = LeNet5()
            batch (image: [B, 1, 28, 28], label: i64[B]) from synthetic(batch=64)
            minimize cross_entropy(net(image), label)
            optimizer = adamw(lr=1e-3)
            settings { steps = 100_000 }
        }""",
    "GPT": """
        from "dlc:language/gpt2" import GPT2
        train t {
            net = GPT2(layers=4, d=128, heads=4, vocab=65, context=64)
            batch (tokens: i64[B, 64], next: i64[B, 64]) from synthetic(batch=12)
            minimize cross_entropy(net(tokens), next)
            optimizer = adamw(lr=1e-3)
            settings { steps = 100_000 }
        }""",
    "LSTM": """
        model Characters(vocab: int = 65, hidden: int = 128)(tokens: i64[B, T]) -> logits: [B, T, vocab] {
            y, h, c = tokens |> embedding(vocab, hidden) as wte |> lstm(hidden, layers=2) as lstm
            return y |> linear(vocab) as head
        }
        train t {
            net = Characters()
            batch (tokens: i64[B, 64], next: i64[B, 64]) from synthetic(batch=16)
            minimize cross_entropy(net(tokens), next)
            optimizer = adamw(lr=1e-3)
            settings { steps = 100_000 }
        }""",
}


def network_of(block: Any) -> Any:
    """The network that a block trains, as a model."""
    (network,) = block.plan.networks
    point = EntryPoint(network.definition, tuple(network.static.items()))
    return block.spec.model(network.definition.name, network.definition, point)


def batches(rows: Rows, size: int) -> Iterator[Rows]:
    """Rows in an order that is drawn for each epoch."""
    rng, count = np.random.default_rng(0), len(next(iter(rows.values())))
    while True:
        order = rng.permutation(count)
        for start in range(0, count - size + 1, size):
            index = order[start : start + size]
            yield {name: array[index] for name, array in rows.items()}


def in_torch(block: Any, rows: Rows, size: int) -> Callable[[], float]:
    """The usual loop around the emitted network."""
    import torch
    from dlc_torch.load import build
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(int(THREADS))
    net = build(emit(network_of(block), "torch")).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE)
    data = batches(rows, size)

    def steps() -> float:
        for batch in itertools.islice(data, TOGETHER):
            given, target = map(torch.from_numpy, batch.values())
            optimizer.zero_grad()
            logits = net(given)
            loss = cross_entropy(logits.flatten(0, -2), target.flatten())
            loss.backward()
            optimizer.step()
        return loss.item()

    return steps


def in_jax(block: Any, rows: Rows, size: int) -> Callable[[], float]:
    """The same in JAX: one jitted step, which takes the place of what it is given."""
    import jax
    import optax

    (source,) = (text for name, text in emit(network_of(block), "jax").files.items() if name.endswith(".py"))
    network = ModuleType("network")
    sys.modules["network"] = network
    exec(source, network.__dict__)
    params = network.init(jax.random.key(0))
    optimizer = optax.adamw(RATE, weight_decay=0.01)
    state = optimizer.init(params)
    data = batches(rows, size)

    def loss_of(params: Any, given: Any, target: Any) -> Any:
        logits = network.apply(params, given)
        rows = logits.reshape(-1, logits.shape[-1])
        return optax.softmax_cross_entropy_with_integer_labels(rows, target.reshape(-1)).mean()

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Any, state: Any, given: Any, target: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(params, given, target)
        changes, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, changes), state, loss

    def steps() -> float:
        nonlocal params, state
        for batch in itertools.islice(data, TOGETHER):
            params, state, loss = update(params, state, *batch.values())
        return float(loss)

    return steps


def in_script(block: Any, backend: str) -> Callable[[], object]:
    """The loop of the script that is emitted: it stops where a step is done."""
    import jax

    folder = Path(mkdtemp())
    write_script(block, backend, folder)
    source = (folder / "t.py").read_text(encoding="utf-8")
    stop = "        done = step + 1\n"
    assert stop in source
    script = ModuleType("script")
    script.__file__ = str(folder / "t.py")
    sys.modules["script"] = script
    exec(compile(source.replace(stop, f"        yield locals()\n{stop}"), "t.py", "exec"), script.__dict__)
    before, sys.argv = sys.argv, ["t.py", "--out", str(folder / "out")]
    loop = script.main()
    next(loop)
    sys.argv = before

    def steps() -> None:
        with redirect_stdout(io.StringIO()):
            for _ in range(TOGETHER):
                found = next(loop)
        jax.block_until_ready(found.get("outputs"))  # or XLA's threads would be in the way of what comes next

    return steps


def by_dlc(backend: str, trainers: Trainers, rows: Rows, size: int) -> Callable[[], float]:
    """The loop of `dlc train` without its rows' checks."""
    trainer = trainers.of(backends.find(backend))
    shares, count, data = {"loss": np.ones((), np.float32)}, itertools.count(), batches(rows, size)

    def steps() -> float:
        for batch in itertools.islice(data, TOGETHER):
            (outputs,) = trainer.step(next(count), [batch], shares, [RATE])
        return float(outputs["loss"])

    return steps


def main() -> None:
    for name in sys.argv[2:] or SPECS:
        block = dlc.loads(SPECS[name])["t"]
        data = open_data(block)
        epoch = list(map(data.training.training, range(len(data.training.rows) // data.training.size)))
        rows = {key: np.concatenate([each[key] for each in epoch]) for key in epoch[0]}
        trainers, size = Trainers(block, data.sizes), data.training.size
        candidates: dict[str, Callable[[], object]] = {
            "torch by hand": in_torch(block, rows, size),
            "jax by hand": in_jax(block, rows, size),
        }
        for backend in ("torch", "jax"):
            candidates[f"script in {backend}"] = in_script(block, backend)
        candidates |= {each: by_dlc(each, trainers, rows, size) for each in BACKENDS}
        timings = side_by_side(candidates, rounds=31)
        print(f"\n{name}\n\n{table(timings, 'torch by hand', processor=True)}", flush=True)


if __name__ == "__main__":
    main()
