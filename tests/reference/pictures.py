"""Public networks that make pictures, or learn from them without labels, at small sizes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from . import picture_twins as twins
from .builders import Inputs, Reference, _draw, image, on_x, reference


def on_main(model: nn.Module, inputs: Inputs) -> Tensor:
    """PyTorch's example of DCGAN."""
    y: Tensor = model["main"](inputs["x"])  # type: ignore[index]
    return y if y.shape[-1] > 1 else y.flatten()


def on_both(model: nn.Module, inputs: Inputs) -> Any:
    return model(inputs["x"], inputs["y"])


def with_time(*shape: int) -> Inputs:
    return {**image(*shape), "t": torch.tensor([10, 500])}


def views() -> Inputs:
    return {"x": image(4, 3, 32, 32)["x"], "y": torch.randn(4, 3, 32, 32, generator=_draw(1))}


@reference("gan-generator")
def gan_generator() -> Reference:
    return Reference(twins.Forger(8, 16, 12), image(4, 8), on_x)


@reference("gan-discriminator")
def gan_discriminator() -> Reference:
    return Reference(twins.Detective(12, 6, 3), image(4, 12), on_x)


@reference("dcgan-generator")
def dcgan_generator() -> Reference:
    return Reference(twins.dcgan_generator(16, 4), image(3, 16, 1, 1), on_main)


@reference("dcgan-discriminator")
def dcgan_discriminator() -> Reference:
    return Reference(twins.dcgan_discriminator(4), image(3, 3, 64, 64), on_main)


@reference("vae")
def vae() -> Reference:
    inputs = {"x": torch.rand(3, 24, generator=_draw()), "noise": torch.randn(3, 6, generator=_draw(1))}
    return Reference(twins.VAE(24, 16, 6), inputs, lambda model, given: model(**given))


@reference("vqvae")
def vqvae() -> Reference:
    return Reference(twins.VQVAE(16, 8, 32, 8), image(2, 3, 16, 16), on_x)


@reference("ddpm")
def ddpm() -> Reference:
    from diffusers import UNet2DModel

    model = UNet2DModel(
        sample_size=16,
        freq_shift=1,
        flip_sin_to_cos=False,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=2,
        downsample_padding=0,
        attention_head_dim=None,
        norm_num_groups=8,
        norm_eps=1e-6,
    )
    return Reference(
        model, with_time(2, 3, 16, 16), lambda model, given: model(given["x"], given["t"]).sample
    )


@reference("dit")
def dit() -> Reference:
    inputs = with_time(2, 4, 8, 8)
    inputs = {**inputs, "t": inputs["t"].float(), "label": torch.tensor([3, 10])}
    return Reference(twins.DiT(8, 32, 2, 4, 10), inputs, lambda model, given: model(**given))


@reference("unet")
def unet() -> Reference:
    return Reference(twins.UNet([4, 4, 6, 6, 8]), image(1, 1, 188, 204), on_x)


@reference("mae")
def mae() -> Reference:
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    config = ViTMAEConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=32,
        attn_implementation="eager",
    )

    def call(model: nn.Module, inputs: Inputs) -> Any:
        output = model(**inputs)
        return output.loss, output.logits, output.mask

    inputs = {"pixel_values": image(2, 3, 32, 32)["x"], "noise": torch.rand(2, 16, generator=_draw(1))}
    return Reference(ViTMAEForPreTraining(config), inputs, call)


def resnet() -> Any:
    from torchvision.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=12)


@reference("simclr")
def simclr() -> Reference:
    return Reference(twins.SimCLR(resnet(), 12), views(), on_both)


@reference("moco-v2")
def moco_v2() -> Reference:
    return Reference(twins.MoCo(resnet, 16, 12, 24), views(), on_both)
