"""The cases of networks that see and read, and of those that fold what a language model reads in proteins."""

from __future__ import annotations

from .case import QUICK, Case

LOGITS = {"logits": "out"}

SEEING = (
    Case(
        "llava",
        "multimodal/llava_15_7b.dl",
        "Llava",
        {"size": 16, "patch": 8, "vision_layers": 3, "vision_d": 32, "vision_heads": 4}
        | {"layers": 2, "d": 24, "heads": 4, "ff": 48, "vocab": 60, "context": 16, "image_token": 50},
        "llava",
        {"tokens": "input_ids", "image": "pixel_values"},
        LOGITS,
        weights="huggingface",
        full=[("Llava_15_7B", 7_063_427_072), ("Llava_15_13B", 13_351_494_656)],
        package="transformers",
        backends=QUICK,
    ),
)
