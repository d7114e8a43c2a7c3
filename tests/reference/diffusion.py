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


@reference("sd3")
def sd3() -> Reference:
    from diffusers import SD3Transformer2DModel

    model = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=24,
        caption_projection_dim=32,
        pooled_projection_dim=20,
        out_channels=4,
        pos_embed_max_size=7,
        qk_norm="rms_norm",
    )
    inputs = {
        "hidden_states": _drawn(0, 2, 4, 8, 6),
        "encoder_hidden_states": _drawn(1, 2, 5, 24),
        "pooled_projections": _drawn(2, 2, 20),
        "timestep": torch.tensor([100.0, 700.0]),
    }
    return Reference(model, inputs, lambda model, given: model(**given).sample)


@reference("karlo-prior")
def karlo_prior() -> Reference:
    from diffusers import PriorTransformer

    model = PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        embedding_dim=12,
        num_embeddings=5,
        additional_embeddings=4,
    )
    inputs = {
        "hidden_states": _drawn(0, 2, 12),
        "timestep": torch.tensor([3, 9]),
        "proj_embedding": _drawn(1, 2, 12),
        "encoder_hidden_states": _drawn(2, 2, 5, 12),
        "attention_mask": torch.tensor([[True] * 5, [True] * 3 + [False] * 2]),
    }
    return Reference(model, inputs, lambda model, given: model(**given).predicted_image_embedding)


@reference("karlo-context")
def karlo_context() -> Reference:
    from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel

    model = UnCLIPTextProjModel(
        clip_extra_context_tokens=3, clip_embeddings_dim=12, time_embed_dim=20, cross_attention_dim=16
    )
    inputs = {"point": _drawn(0, 2, 12), "sentence": _drawn(1, 2, 12), "words": _drawn(2, 2, 5, 12)}

    def call(model: nn.Module, given: Inputs) -> Any:
        return model(
            image_embeddings=given["point"],
            prompt_embeds=given["sentence"],
            text_encoder_hidden_states=given["words"],
            do_classifier_free_guidance=False,
        )

    return Reference(model, inputs, call)


@reference("karlo-decoder")
def karlo_decoder() -> Reference:
    from diffusers import UNet2DConditionModel

    model = UNet2DConditionModel(
        sample_size=8,
        layers_per_block=3,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        block_out_channels=(16, 32),
        in_channels=3,
        out_channels=6,
        cross_attention_dim=24,
        class_embed_type="identity",
        attention_head_dim=8,
        resnet_time_scale_shift="scale_shift",
        norm_num_groups=8,
    )
    inputs = {**image(2, 3, 8, 8), "t": torch.tensor([7, 300])}
    inputs |= {"context": _drawn(1, 2, 5, 24), "told": _drawn(2, 2, 64)}

    def call(model: nn.Module, given: Inputs) -> Any:
        return model(given["x"], given["t"], given["context"], class_labels=given["told"]).sample

    return Reference(model, inputs, call)


@reference("karlo-upsampler")
def karlo_upsampler() -> Reference:
    from diffusers import UNet2DModel

    model = UNet2DModel(
        sample_size=8,
        layers_per_block=3,
        down_block_types=("ResnetDownsampleBlock2D",) * 2,
        up_block_types=("ResnetUpsampleBlock2D",) * 2,
        block_out_channels=(16, 32),
        in_channels=6,
        out_channels=3,
        add_attention=False,
        norm_num_groups=8,
    )
    inputs = {**image(2, 3, 8, 8), "coarse": _drawn(1, 2, 3, 8, 8), "t": torch.tensor([7, 300])}
    return Reference(
        model,
        inputs,
        lambda model, given: model(torch.cat([given["x"], given["coarse"]], 1), given["t"]).sample,
    )
