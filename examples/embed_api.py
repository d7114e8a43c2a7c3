"""dlc inside another program: load a spec, look at it, change it, run it, and read its IR.

python examples/embed_api.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import dlc

SPEC = Path(__file__).with_name("first_spec.dl")


def main() -> None:
    # A wrong spec is an exception that carries every diagnostic.
    try:
        dlc.loads("model Bad()(x: [B, 4]) -> [B, 5] {\n    return x\n}\n", name="bad.dl")["Bad"].summary()
    except dlc.SpecError as error:
        for each in error.diagnostics:
            print(f"{each.code} in line {each.span.line}: {each.message}")

    # A model at other settings. Nothing is allocated for the summary.
    spec = dlc.load(SPEC)
    model = spec["SmallResNet"](widths=[4, 8], depth=1)
    summary = model.summary(B=1)
    print(f"{summary.parameters:,} parameters, {summary.flops:,} FLOPs")

    # Emitted source, in memory.
    artifact = model.emit("torch")
    print(artifact.files["smallresnet.py"].splitlines()[0])

    # Seeded weights and one inference: NumPy in, NumPy out.
    weights = model.initial_weights(seed=0)
    run = model.compile("torch", weights=weights)
    image = np.random.default_rng(0).standard_normal((2, 1, 28, 28), dtype=np.float32)
    print("logits", run(image=image)["logits"].shape)

    # The program as data: in Python, and as JSON that other tools read.
    convolutions = sum(
        op.op == "conv" for function in model.program.functions.values() for op in function.body
    )
    print(f"{convolutions} convolutions in {len(model.program.functions)} functions")
    text = json.dumps(model.to_json())
    print(f"{len(text):,} characters of JSON, format {json.loads(text)['format']}")

    # The same weights and inputs through a backend and through the meaning of the ops.
    print(dlc.verify(model, backends=("torch",), dims={"B": 2}).text().splitlines()[-1])


if __name__ == "__main__":
    main()
