"""Random networks: modules of modules, loops, lists, copies, experts, recurrence, entries, optional inputs, integers in 32 bits, sizes that
are inputs, sizes of 0, places that are computed. Any number, from any seed:

    python tests/backends/random_networks.py --seed 0 --count 200 --backends onnx tvm

Each is run at several sizes, at other settings, in low precision, and with wrong places (`network_runs.py`). The tests run a few of a
fixed seed (`test_whole_networks.py`)."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

PARTS = (
    "h = h |> linear(d) as {n} |> relu",
    "h = h |> layer_norm as {n}",
    "h = h + (h |> linear(2 * d) as {n}a |> gelu |> linear(d) as {n}b)",
    "for i in range(k) as {n} {{ h = h |> linear(d) |> tanh }}",
    "for i in range(3) as {n} {{\n        h = h |> linear(d) |> tanh\n        if i % 2 == 0 {{ h = h |> rms_norm as norm }}\n    }}",
    "for i, w in enumerate(widths) as {n} {{ h = h + (h |> linear(w) as up |> silu |> linear(d) as down) / (i + 1) }}",
    "{n}y, {n}h = h |> gru(d) as {n}\n    h = {n}y + {n}h[0][:, none]",
    "scan {n}x in h along axis 1 with {n}s = zeros([B, d]) {{\n        {n}s = tanh(({n}x |> linear(d) as {n}) + {n}s)\n        yield {n}y = {n}s * 0.5\n    }}\n    h = h + {n}y",
    "scan {n}i in range(k) with {n}s = h {{ {n}s = {n}s + 0.1 * tanh({n}s |> linear(d) as {n}) / cast({n}i + 1, float) }}\n    h = {n}s",
    "h = stack([h, h * 0.5]) |> copies({M}, 2) as {n}\n    h = h[0] - h[1]",
    "h = h |> mixture(E(d), 3)(top_k(h |> linear(3) as {n}g, 2)[1]) as {n}",
    "h = h + (h |> {M} as {n})",
    "for i in range(k) as {n} {{ h = h |> {M} }}",
    "{n}m = {M}\n    h = {n}m(h) - {n}m(h * 0.5)",
    "h = h * cast(arange(T) // 2, float)[:, none]",
    "h = h + embedding(5, d)(arange(T) % 5)",
    "h = h - mean(h, axis=2, keepdims=true)",
    "h = cumsum(h, axis=1) * 0.25",
    "h = h |> rearrange(\"B T d -> B d T\") |> batch_norm as {n} |> rearrange(\"B d T -> B T d\")",
    "h = h |> dropout(0.1)",
    "param {n}: [d] = normal\n    h = h * {n}",
    "if k > 2 {{ h = h * 0.5 }} else {{ h = h |> linear(d, bias=false) as {n} }}",
    "h = h * p",
    "h = act(h)",
    "h = rearrange(h, \"B T (a e) -> B T (e a)\", a=2)",
    "h = concat([h, h], axis=1)[:, T:]",
    "h = flip(h, 1) + h",
)  # fmt: skip
ALWAYS = (  # what needs a T of 1 or more
    'h = h |> rearrange("B T d -> B d T") |> conv1d(d, 3, padding=1) as {n} |> rearrange("B d T -> B T d")',
    "{n}q, {n}v = h |> linear(2 * d) as {n} |> chunk(2)\n    h = h + attention({n}q, h, {n}v, causal=true)",
    "h = softmax(h @ h.T, axis=-1) @ h",
    "h = h + mean(h, axis=1, keepdims=true)",
    "h = concat([h[:, 1:], h[:, :1]], axis=1)",
    "h = h + max(h, axis=1, keepdims=true)",
    "h = h / T",
)
PLACES = (  # in the model, of its inputs
    "h = h + (cast(places, i64) + 1 |> embedding(9, d) as {n})",
    "h = h + (cast(places * 2, i64) |> embedding(10, d) as {n})",
    "h = h + take(h, cast(places[0], i64) - 1, axis=1)[:, :1]",
    "h = h + (cast(abs(places - 2), i64) |> embedding(7, d) as {n})",
    "h = h + cast(take_along(arange(6), cast(minimum(places[:, 0], 5), i64), 0), float)[:, none, none]",
    "h = h + cast(cast(places, i64) // (cast(places, i64) + 1), float)[..., none]",
)
LARGE = 100
"""A place beyond all axes."""


@dataclass(frozen=True)
class Network:
    """A spec with a model `M`, and what may be done with it."""

    seed: int
    text: str
    settings: tuple[dict[str, object], ...]
    zero: bool = False
    computed: bool = False
    entry: bool = False


class Writing:
    """Text as it is drawn."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.numbers = count(1)
        self.modules: list[str] = []
        self.zero = self.rng.random() < 0.3

    def lines(self, wanted: int, *, inside: bool) -> Iterator[str]:
        pool = PARTS if self.zero else PARTS + ALWAYS
        left = wanted
        while left:
            line = self.rng.choice(pool)
            if "{M}" in line and not self.modules:
                continue
            if inside and ("{n}i in range(k)" in line and self.rng.random() < 0.5):
                continue
            left -= 1
            module = (
                f"{self.rng.choice(self.modules)}(d{self.rng.choice(('', ', 3', ', k=k'))})"
                if self.modules
                else ""
            )
            yield line.format(n=f"n{next(self.numbers)}", M=module)

    def module(self, name: str) -> str:
        body = "".join(f"    {line}\n" for line in self.lines(self.rng.choice((1, 2, 3)), inside=True))
        fact = "    where d % 2 == 0\n"
        self.modules.append(name)
        statics = "d: int, k: int = 2, p: float = 0.5, widths: list[int] = [3, 5], act: fn = tanh"
        return f"module {name}({statics})(h: [B, T, d]) -> [B, T, d]\n{fact}{{\n{body}    return h\n}}\n"


def network(seed: int) -> Network:
    made = Writing(seed)
    rng = made.rng
    parts = [
        "module E(d: int)(x: [N, d]) -> [N, d] {\n    return x |> linear(3) as up |> gelu |> linear(d) as down\n}\n"
    ]
    parts += [made.module(name) for name in ("P", "Q", "R")[: rng.choice((1, 2, 3))]]
    lines = list(made.lines(rng.choice((2, 3, 4)), inside=False))
    places = rng.random() < 0.5
    if places:
        dtype = rng.choice(("i64", "i32"))
        pool = [each for each in PLACES if not (made.zero and "places[" in each)]
        lines.insert(rng.randint(0, len(lines)), rng.choice(pool).format(n=f"n{next(made.numbers)}"))
    masked, sized, entry = rng.random() < 0.3, rng.random() < 0.3, rng.random() < 0.4
    if masked:
        lines.insert(rng.randint(0, len(lines)), "if mask != none { h = h * mask[..., none] }")
    inputs = ["h: [B, T, d]", *([f"places: {dtype}[B, T]"] if places else [])]
    inputs += ["mask: [B, T] = none"] if masked else []
    outputs = ["y: [B, T, d]"]
    results = ["h"]
    if sized:
        inputs += ["graph: i64[B]", "G: dim"]
        outputs.append("pooled: [G, d]")
        results.append("segment_sum(sum(h, axis=1), graph, G) |> linear(d) as readout")
    if entry:
        lines.insert(0, "change = linear(d)")
        lines.append("h = h + self.refine()(h)")
        lines.insert(
            1,
            "entry refine(n: int = 2)(x: [B, T, d]) -> [B, T, d]"
            + (" where 0 <= T, 0 <= B" if made.zero else "")
            + " {\n        scan j in range(n) with y = x { y = y - 0.1 * tanh(change(y)) }\n        return y\n    }",
        )
    body = "".join(f"    {line}\n" for line in lines)
    statics = "d: int = 4, k: int = 2, p: float = 0.5, widths: list[int] = [3, 5], act: fn = relu"
    facts = "    where d % 2 == 0" + (", 0 <= T, 0 <= B" if made.zero else "") + "\n"
    given = outputs[0] if len(outputs) == 1 else f"({', '.join(outputs)})"
    parts.append(
        f"model M({statics})({', '.join(inputs)}) -> {given}\n{facts}{{\n{body}    return {', '.join(results)}\n}}\n"
    )
    settings = ({"d": 6, "k": 3}, {"widths": [2, 4, 3], "p": 0.25})
    return Network(seed, "\n".join(parts), settings, made.zero, places, entry)


def main() -> int:
    from network_runs import CHECKS, faults

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first network; the next ones follow")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--backends", nargs="+", default=["torch", "jax", "onnx", "tvm"])
    parser.add_argument("--checks", nargs="+", default=list(CHECKS), choices=CHECKS)
    parser.add_argument("--show", action="store_true", help="print every network")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    start = time.time()
    for seed in range(options.seed, options.seed + options.count):
        made = network(seed)
        if options.show:
            print(made.text)
        for fault in faults(made, options.backends, options.checks, counts):
            print(f"== seed {seed}: {fault}\n{made.text}", flush=True)
            counts["FAULT"] += 1
        counts["networks"] += 1
    print(f"{dict(counts)} in {time.time() - start:.0f} s")
    return bool(counts["FAULT"])


if __name__ == "__main__":
    sys.exit(main())
