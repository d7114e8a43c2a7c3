"""Routed experts on the CPU beside what they must cost at least: python benchmarks/experts.py [THREADS]

A Mixtral-like layer (8 experts, 2 chosen) and a fine-grained one (64, 6), of gated MLPs 256 wide inside 512, on 512 positions. The
base is the same number of multiplications in PyTorch: for each expert dense matmuls over its weights with an equal part of the pairs,
which need not be sorted, taken together or put back. One pair of weights for all pairs is the floor of arithmetic, without the weights of
the other experts having to come from memory. transformers' MixtralExperts runs the same weights and routing, if it is installed. Like
it, the emitted PyTorch and JAX are called as they stand, with their own tensors; ONNX and TVM through dlc, which looks at what is given.
All candidates take turns in one process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

THREADS = sys.argv[1] if len(sys.argv) > 1 else "1"
os.environ.update(OMP_NUM_THREADS=THREADS, XLA_FLAGS=f"--xla_cpu_multi_thread_eigen={THREADS != '1'}".lower())

import numpy as np  # noqa: E402 - thread counts are read when frameworks load
from published import let_torchvision_be_imported  # noqa: E402
from timing import side_by_side, table  # noqa: E402

import dlc  # noqa: E402

Array = np.ndarray[Any, Any]

POSITIONS, D, HIDDEN = 512, 256, 512
SPEC = """
module Expert(d: int, hidden: int)(x: [N, d]) -> [N, d] {
    param gate_up_proj: [2 * hidden, d] = normal(0.02)
    param down_proj: [d, hidden] = normal(0.02)
    gate, up = split(x @ gate_up_proj.T, [hidden, hidden], axis=-1)
    return silu(gate) * up @ down_proj.T
}

model Experts(d: int, hidden: int, experts: int, k: int)(x: [N, d], choice: i64[N, k], weight: [N, k]) -> [N, d] {
    return x |> mixture(Expert(d, hidden), experts)(choice, weight) as experts
}
"""
BASE = "dense matmuls"
BACKENDS = ("torch", "jax", "onnx", "tvm")


def dense(weights: Mapping[str, Array], parts: int, pairs: int) -> Callable[[], object]:
    """The multiplications of so many pairs of a position and an expert: equal parts of them, each with the next expert's weights."""
    import torch
    from torch.nn.functional import silu

    torch.set_num_threads(int(THREADS))
    up, down = (torch.from_numpy(each) for each in weights.values())
    x = torch.randn(parts, pairs // parts, D)

    @torch.no_grad()
    def run() -> object:
        results = []
        for rows, into, out_of in zip(x, up, down, strict=False):
            gate, value = (rows @ into.T).chunk(2, dim=-1)
            results.append(silu(gate) * value @ out_of.T)
        return results

    return run


def public(weights: Mapping[str, Array], given: Mapping[str, Array]) -> dict[str, Callable[[], Array]]:
    """transformers' experts of Mixtral in the forms that it has; none where it is not installed."""
    try:
        let_torchvision_be_imported()
        from transformers import MixtralConfig
        from transformers.models.mixtral.modeling_mixtral import MixtralExperts
    except ImportError:
        return {}
    import torch

    up, down = (torch.from_numpy(each) for each in weights.values())
    inputs = [torch.from_numpy(each) for each in given.values()]

    def form(name: str) -> Callable[[], Array]:
        config = MixtralConfig(
            hidden_size=D,
            intermediate_size=HIDDEN,
            num_local_experts=len(up),
            experts_implementation=name,
        )
        layer = MixtralExperts(config)
        layer.load_state_dict({"gate_up_proj": up, "down_proj": down})

        @torch.no_grad()
        def run() -> Array:
            found: Array = layer(*inputs).numpy()
            return found

        return run

    return {f"transformers, {name}": form(name) for name in ("eager", "grouped_mm")}


def called(backend: str, runnable: Any, given: Mapping[str, Array]) -> Callable[[], object]:
    """What one candidate does a round."""
    native = runnable.native
    if backend == "torch":
        import torch

        tensors = [torch.from_numpy(each) for each in given.values()]
        return torch.no_grad()(lambda: native(*tensors).numpy())
    if backend == "jax":
        import jax

        apply = jax.jit(runnable.module.apply)
        arrays = [jax.numpy.asarray(each) for each in given.values()]
        return lambda: np.asarray(apply(native[0], *arrays))
    return lambda: next(iter(runnable(**given).values()))


def compare(experts: int, k: int) -> None:
    text = SPEC.replace("experts: int, k: int", f"experts: int = {experts}, k: int = {k}")
    text = text.replace(
        "model Experts(d: int, hidden: int,", f"model Experts(d: int = {D}, hidden: int = {HIDDEN},"
    )
    model = dlc.loads(text)["Experts"]
    weights = model.initial_weights(seed=0)
    rng = np.random.default_rng(0)
    order = np.argsort(rng.random((POSITIONS, experts)), axis=1)
    given = {
        "x": rng.normal(size=(POSITIONS, D)).astype(np.float32),
        "choice": order[:, :k].copy(),
        "weight": rng.random((POSITIONS, k), np.float32),
    }
    candidates: dict[str, Callable[[], object]] = {
        BASE: dense(weights, experts, POSITIONS * k),
        "all with one expert's weights": dense(weights, 1, POSITIONS * k),
    }
    results: dict[str, object] = {}
    for name, run in public(weights, given).items():
        candidates[name], results[name] = run, run()
    for backend in BACKENDS:
        candidates[backend] = called(backend, model.compile(backend, weights=weights), given)
        results[backend] = candidates[backend]()
    for name, result in results.items():
        np.testing.assert_allclose(result, results["torch"], rtol=1e-4, atol=1e-6, err_msg=name)
    print(f"{experts} experts, {k} chosen\n\n{table(side_by_side(candidates), BASE)}\n")


if __name__ == "__main__":
    compare(8, 2)
    compare(64, 6)
