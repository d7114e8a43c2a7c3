"""Train LeNet-5 on handwritten digits with PyTorch, then run the trained network with JAX.

python examples/train_digits.py [OUT] [EPOCHS]"""

import sys
from pathlib import Path

import numpy as np

import dlc

out = sys.argv[1] if len(sys.argv) > 1 else "runs/digits"
epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 20

spec = dlc.load(Path(__file__).parents[1] / "specs" / "vision" / "lenet5.dl")
result = dlc.train(spec["digits"].with_settings(epochs=epochs), backend="torch", out=out)
print(result.text())

run = spec["LeNet5"].compile("jax", weights=result.weights["net"])
scores = run(x=np.zeros((1, 1, 28, 28), np.float32))["logits"]
print("scores of an empty image:", np.round(scores[0], 2))
