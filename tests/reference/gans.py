"""Generators and discriminators whose public code no package ships: what it made of small weights and inputs."""

from __future__ import annotations

from .builders import reference
from .golden import Golden


@reference("biggan-generator")
def biggan_generator() -> Golden:
    """ajbrock/BigGAN-PyTorch at 32x32, with attention at 16."""
    return Golden("biggan-generator")


@reference("biggan-discriminator")
def biggan_discriminator() -> Golden:
    """The same, of the generator's pictures."""
    return Golden("biggan-discriminator")


@reference("stylegan2-generator")
def stylegan2_generator() -> Golden:
    """NVlabs/stylegan2-ada-pytorch at 32x32, with the stored noise."""
    return Golden("stylegan2-generator")


@reference("stylegan2-discriminator")
def stylegan2_discriminator() -> Golden:
    """The same code's, of four pictures in one group."""
    return Golden("stylegan2-discriminator")
