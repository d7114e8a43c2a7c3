"""Public networks that paint from noise, at small sizes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .builders import Inputs, Reference, _draw, image, reference


def _drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=_draw(seed))


@reference("sd15-unet")
def sd15_unet() -> Reference:
    from diffusers import UNet2DConditionModel

    model = UNet2DConditionModel(
        sample_size=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=2,
        cross_attention_dim=24,
        attention_head_dim=4,  # the number of heads
        norm_num_groups=8,
    )
    inputs = {**image(2, 4, 8, 8), "t": torch.tensor([7, 300]), "text": _drawn(1, 2, 5, 24)}
    return Reference(model, inputs, lambda model, given: model(given["x"], given["t"], given["text"]).sample)


@reference("sd15-vae")
def sd15_vae() -> Reference:
    from diffusers import AutoencoderKL

    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(16, 32),
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=16,
    )

    def call(model: nn.Module, inputs: Inputs) -> Any:
        guess = model.encode(inputs["x"]).latent_dist  # type: ignore[operator]
        return guess.mean, guess.logvar, model.decode(guess.mean).sample  # type: ignore[operator]

    return Reference(model, image(2, 3, 16, 16), call)


@reference("sd15-text")
def sd15_text() -> Reference:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=16,
        eos_token_id=59,
        attn_implementation="eager",
    )
    tokens = torch.randint(1, 58, (2, 8), generator=_draw())
    return Reference(
        CLIPTextModel(config),
        {"tokens": tokens},
        lambda model, given: model(given["tokens"]).last_hidden_state,
    )
