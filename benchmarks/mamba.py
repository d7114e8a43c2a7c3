"""Mamba-130m forward over 512 tokens on the CPU, by spec and by transformers: python benchmarks/mamba.py [LAYERS] [THREADS]

transformers runs its path without kernels of CUDA, which is what a CPU has. The published 24 layers unless other are asked for; all
candidates have the same weights and take turns in one process. The goals: PyTorch takes no longer than transformers, JAX and TVM at most
1.5 times as long as the fastest."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LAYERS, THREADS = [*sys.argv[1:], *["24", "1"][len(sys.argv) - 1 :]]
XLA = f"--xla_cpu_multi_thread_eigen={THREADS != '1'}".lower()
os.environ.update(OMP_NUM_THREADS=THREADS, HF_HUB_OFFLINE="1", XLA_FLAGS=XLA)

import numpy as np  # noqa: E402 - thread counts are read when frameworks load
from published import let_torchvision_be_imported  # noqa: E402
from timing import side_by_side, table  # noqa: E402

import dlc  # noqa: E402

Array = np.ndarray[Any, Any]

SPEC = Path(__file__).parents[1] / "specs/language/mamba.dl"
TOKENS = 512
BASE = "transformers"


def public(layers: int, weights: Mapping[str, Array], tokens: Array) -> Callable[[], Array]:
    """transformers' Mamba with these weights."""
    import torch

    let_torchvision_be_imported()
    from transformers import MambaConfig, MambaForCausalLM

    torch.set_num_threads(int(THREADS))
    model = MambaForCausalLM(MambaConfig(num_hidden_layers=layers, use_cache=False)).eval()
    found = {name: torch.from_numpy(each) for name, each in weights.items()}
    missing, unexpected = model.load_state_dict(found, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])
    given = torch.from_numpy(tokens)

    @torch.no_grad()
    def run() -> Array:
        result: Array = model(given).logits.numpy()
        return result

    return run


def main() -> None:
    model = dlc.load(SPEC)["Mamba"](layers=int(LAYERS))
    weights = model.initial_weights(seed=0)
    tokens = np.random.default_rng(0).integers(0, 50_280, (1, TOKENS))
    runs = {BASE: public(int(LAYERS), weights, tokens)}
    for name in ("torch", "jax", "onnx", "tvm"):
        compiled = model.compile(name, weights=weights, optimize=2)
        runs[name] = lambda compiled=compiled: compiled(tokens=tokens)["logits"]
    expected, *others = (run() for run in runs.values())
    for each in others:
        np.testing.assert_allclose(each, expected, atol=1e-4 * float(np.abs(expected).max()))
    timings = side_by_side(runs, rounds=7, warmup=1)
    print(f"\nMamba, {LAYERS} layers, {TOKENS} tokens, {THREADS} thread(s)\n\n{table(timings, BASE)}")


if __name__ == "__main__":
    main()
