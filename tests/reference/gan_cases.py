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
    Case(
        "stylegan2_generator",
        "generative/stylegan2.dl",
        "Generator",
        {"blocks": 4, "noise": 16, "d": 16, "layers": 2, "width": 256, "widest": 32},
        "stylegan2-generator",
        {"z": "z"},
        {"image": "out"},
        weights="nvidia",
        full=[("Generator", 30_370_060), ("ADA", 28_794_124)],
        backends=QUICK,
    ),
    Case(
        "stylegan2_discriminator",
        "generative/stylegan2.dl",
        "Discriminator",
        {"blocks": 4, "width": 256, "widest": 32},
        "stylegan2-discriminator",
        {"image": "img"},
        {"real": "out"},
        weights="nvidia_discriminator",
        full=[("Discriminator", 29_012_513)],
        backends=QUICK,
    ),
)
