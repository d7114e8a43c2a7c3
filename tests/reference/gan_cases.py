"""The cases of generators and discriminators that play at a large scale."""

from __future__ import annotations

from .case import QUICK, Case

GANS = (
    Case(
        "biggan_generator",
        "generative/biggan_128.dl",
        "Generator",
        {"width": 8, "factors": [4, 4, 4, 4], "attend": [1], "noise": 60, "shared": 16, "classes": 10},
        "biggan-generator",
        {"z": "z", "label": "y"},
        {"image": "out"},
        weights="published",
        full=[("Generator", 70_433_988)],
        backends=QUICK,
    ),
    Case(
        "biggan_discriminator",
        "generative/biggan_128.dl",
        "Discriminator",
        {
            "width": 8,
            "factors": [4, 4, 4, 4],
            "smaller": 2,
            "attend": [0, 1, 2, 3],
            "size": 32,
            "classes": 10,
        },
        "biggan-discriminator",
        {"image": "x", "label": "y"},
        {"real": "out"},
        full=[("Discriminator", 87_982_370)],
        backends=QUICK,
    ),
)
