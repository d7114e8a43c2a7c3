"""The cases of networks that paint from noise."""

from __future__ import annotations

from .case import QUICK, Case

DIFFUSION = (
    Case(
        "sd15_unet",
        "generative/stable_diffusion_15.dl",
        "UNet",
        {"channels": [16, 32], "heads": 4, "groups": 8, "text_d": 24},
        "sd15-unet",
        {"x": "x", "t": "t", "text": "text"},
        {"noise": "out"},
        full=[("UNet", 859_520_964)],
        package="diffusers",
        backends=QUICK,
    ),
    Case(
        "sd15_vae",
        "generative/stable_diffusion_15.dl",
        "VAE",
        {"channels": [16, 32], "groups": 8},
        "sd15-vae",
        {"image": "x"},
        {"mean": "0", "log_variance": "1", "reconstruction": "2"},
        full=[("VAE", 83_653_863)],
        package="diffusers",
        backends=QUICK,
    ),
    Case(
        "sd15_text",
        "generative/stable_diffusion_15.dl",
        "TextEncoder",
        {"vocab": 60, "context": 16, "layers": 2, "d": 32, "heads": 4},
        "sd15-text",
        {"tokens": "tokens"},
        {"words": "out"},
        weights="huggingface",
        full=[("TextEncoder", 123_060_480)],
        package="transformers",
    ),
)
