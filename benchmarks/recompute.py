"""What computing layers again on the way back saves and costs: python benchmarks/recompute.py [--backends torch jax onnx tvm]

Peak memory and processor time of a few steps of a Transformer of 12 layers (batch 8, 256 tokens, width 128), each run in a process of its own, with
`recompute = none` and `"blocks"` in turn."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SPEC = """
module Layer(heads: int)(x: [B, T, d]) -> [B, T, d]
    where d % heads == 0
{
    q, k, v = x |> layer_norm as ln_1 |> linear(3*d) as qkv |> rearrange("B T (n h e) -> n B h T e", n=3, h=heads)
    weights = softmax(einsum(q, k, "B h T e, B h S e -> B h T S") / sqrt(d // heads))
    y = einsum(weights, v, "B h T S, B h S e -> B h T e") |> rearrange("B h T e -> B T (h e)") |> linear(d) as proj
    x = x + y
    return x + (x |> layer_norm as ln_2 |> linear(4*d) as up |> gelu |> linear(d) as down)
}

model Tower(layers: int = 12, d: int = 128, heads: int = 8, vocab: int = 256)(tokens: i64[B, T]) -> logits: [B, T, vocab]
    where d % heads == 0
{
    x = embedding(vocab, d)(tokens)
    for i in range(layers) as h { x = x |> Layer(heads) }
    return x |> linear(vocab) as head
}

train deep {
    net = Tower()
    batch (tokens: i64[B, 256], target: i64[B, 256]) from synthetic(batch=8, count=64)
    minimize cross_entropy(net(tokens), target)
    optimizer = sgd(lr=1e-3)
    settings { steps = 4, log = 1 }
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", nargs="*", default=["torch", "jax", "onnx", "tvm"])
    options = parser.parse_args()
    print(
        "| backend | kept MB | computed again MB | ratio | processor time, ratio |\n| --- | --- | --- | --- | --- |"
    )
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "deep.dl"
        spec.write_text(SPEC, encoding="utf-8")
        for backend in options.backends:
            (kept, slow), (again, fast) = (_run(spec, backend, how) for how in ("none", "blocks"))
            print(f"| {backend} | {kept} | {again} | {again / kept:.2f} | {fast / slow:.2f} |", flush=True)


def _run(spec: Path, backend: str, how: str) -> tuple[int, float]:
    """Peak memory in MB, and seconds of the processor."""
    out = spec.parent / f"{backend}_{how}"
    command = [sys.executable, "-m", "dlc", "train", f"{spec}:deep", "--backend", backend, "--out", str(out)]
    with subprocess.Popen(
        [*command, "--set", f"settings.recompute={how}", "--quiet"], stdout=subprocess.DEVNULL
    ) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{backend}: exit code {process.returncode}")
    return used.ru_maxrss // 1024, used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
