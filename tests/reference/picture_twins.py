"""Plain torch networks of pictures that no package ships, written from the papers or after the public code that is named. Parameter names
are those of the specs, or of that code."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Forger(nn.Module):
    """The generator of Goodfellow et al. (2014)."""

    def __init__(self, noise: int, hidden: int, pixels: int) -> None:
        super().__init__()
        self.h0, self.h1, self.y = (
            nn.Linear(noise, hidden),
            nn.Linear(hidden, hidden),
            nn.Linear(hidden, pixels),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.y(self.h1(self.h0(z).relu()).relu()).sigmoid()


class Maxout(nn.Module):
    def __init__(self, inputs: int, units: int, pieces: int) -> None:
        super().__init__()
        self.linear, self.shape = nn.Linear(inputs, units * pieces), (units, pieces)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).view(-1, *self.shape).amax(-1)


class Detective(nn.Module):
    """Its discriminator, before the sigmoid."""

    def __init__(self, pixels: int, units: int, pieces: int) -> None:
        super().__init__()
        self.h0, self.h1, self.y = (
            Maxout(pixels, units, pieces),
            Maxout(units, units, pieces),
            nn.Linear(units, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.y(self.h1(self.h0(image)))[:, 0]


def dcgan_generator(noise: int, width: int) -> nn.Module:
    """That of PyTorch's example."""
    sizes = [noise, 8 * width, 4 * width, 2 * width, width]
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        stride, padding = (2, 1) if i else (1, 0)
        layers += [nn.ConvTranspose2d(a, b, 4, stride, padding, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    layers += [nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False), nn.Tanh()]
    return nn.ModuleDict({"main": nn.Sequential(*layers)})


def dcgan_discriminator(width: int) -> nn.Module:
    """That of PyTorch's example, before the sigmoid."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    for a, b in ((width, 2 * width), (2 * width, 4 * width), (4 * width, 8 * width)):
        layers += [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]
    return nn.ModuleDict({"main": nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, bias=False))})


class VAE(nn.Module):
    """PyTorch's example, with the noise as an input."""

    def __init__(self, pixels: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = (
            nn.Linear(pixels, hidden),
            nn.Linear(hidden, latent),
            nn.Linear(hidden, latent),
        )
        self.fc3, self.fc4 = nn.Linear(latent, hidden), nn.Linear(hidden, pixels)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        h = self.fc1(x).relu()
        mean, log_variance = self.fc21(h), self.fc22(h)
        z = mean + noise * torch.exp(0.5 * log_variance)
        image = self.fc4(self.fc3(z).relu()).sigmoid()
        surprise = F.binary_cross_entropy(image, x, reduction="sum")
        divergence = -0.5 * torch.sum(1 + log_variance - mean**2 - log_variance.exp())
        return image, mean, log_variance, surprise + divergence


class Residual(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.conv3 = nn.Conv2d(width, hidden, 3, padding=1, bias=False)
        self.conv1 = nn.Conv2d(hidden, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.relu()  # in place in the public code, so that the sum is on it
        return x + self.conv1(self.conv3(x).relu())


def residuals(width: int, hidden: int) -> nn.ModuleList:
    return nn.ModuleList(Residual(width, hidden) for _ in range(2))


class VQVAE(nn.Module):
    """DeepMind's example (the port of zalandoresearch), without moving averages."""

    def __init__(self, width: int, hidden: int, count: int, d: int) -> None:
        super().__init__()
        encoder = {
            "conv1": nn.Conv2d(3, width // 2, 4, 2, 1),
            "conv2": nn.Conv2d(width // 2, width, 4, 2, 1),
            "conv3": nn.Conv2d(width, width, 3, padding=1),
            "residual": residuals(width, hidden),
            "out": nn.Conv2d(width, d, 1),
        }
        decoder = {
            "conv": nn.Conv2d(d, width, 3, padding=1),
            "residual": residuals(width, hidden),
            "up1": nn.ConvTranspose2d(width, width // 2, 4, 2, 1),
            "up2": nn.ConvTranspose2d(width // 2, 3, 4, 2, 1),
        }
        self.encoder, self.decoder = nn.ModuleDict(encoder), nn.ModuleDict(decoder)
        self.codebook = nn.Parameter(torch.randn(count, d))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        part = self.encoder
        z = part["conv3"](part["conv2"](part["conv1"](image).relu()).relu())
        for each in part["residual"]:
            z = each(z)
        z = part["out"](z.relu()).permute(0, 2, 3, 1)
        index = torch.cdist(z.flatten(0, 2), self.codebook).argmin(1)
        q = self.codebook[index].view(z.shape)
        loss = F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(q.detach(), z)
        part, y = self.decoder, (z + (q - z).detach()).permute(0, 3, 1, 2)
        y = part["conv"](y)
        for each in part["residual"]:
            y = each(y)
        return part["up2"](part["up1"](y.relu()).relu()), loss, index.view(z.shape[:3])


class Attention(nn.Module):
    """timm's."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(d, 3 * d), nn.Linear(d, d), heads

    def forward(self, x: Tensor) -> Tensor:
        B, T, d = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        return self.proj((seen @ v).transpose(1, 2).reshape(B, T, d))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None]


class DiTBlock(nn.Module):
    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(d, heads)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(d, 4 * d), "fc2": nn.Linear(4 * d, d)})
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(d, 6 * d))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        told = self.adaLN_modulation(c).chunk(6, 1)
        x = x + told[2][:, None] * self.attn(modulate(x, *told[:2]))
        y = F.gelu(self.mlp["fc1"](modulate(x, *told[3:5])), approximate="tanh")
        return x + told[5][:, None] * self.mlp["fc2"](y)


def sines(places: Tensor, d: int) -> Tensor:
    angle = places.double()[:, None] * 10000 ** (-torch.arange(d // 2, dtype=torch.float64) / (d / 2))
    return torch.cat([angle.sin(), angle.cos()], 1)


class DiT(nn.Module):
    """After facebookresearch/DiT, models.py."""

    def __init__(self, size: int, d: int, layers: int, heads: int, classes: int) -> None:
        super().__init__()
        side = size // 2
        row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        table = torch.cat([sines(column.flatten(), d // 2), sines(row.flatten(), d // 2)], 1).float()
        self.pos_embed = nn.Parameter(table[None], requires_grad=False)
        self.x_embedder = nn.ModuleDict({"proj": nn.Conv2d(4, d, 2, 2)})
        mlp = nn.Sequential(nn.Linear(256, d), nn.SiLU(), nn.Linear(d, d))
        self.t_embedder = nn.ModuleDict({"mlp": mlp})
        self.y_embedder = nn.ModuleDict({"embedding_table": nn.Embedding(classes + 1, d)})
        self.blocks = nn.ModuleList(DiTBlock(d, heads) for _ in range(layers))
        last: dict[str, Any] = {"linear": nn.Linear(d, 32)}
        last["adaLN_modulation"] = nn.Sequential(nn.SiLU(), nn.Linear(d, 2 * d))
        self.final_layer = nn.ModuleDict(last)

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        side = x.shape[-1] // 2
        y = self.x_embedder["proj"](x).flatten(2).transpose(1, 2) + self.pos_embed
        angle = t[:, None] * torch.exp(-torch.arange(128, dtype=t.dtype) / 128 * torch.log(t.new_tensor(1e4)))
        c = self.t_embedder["mlp"](torch.cat([angle.cos(), angle.sin()], 1))
        c = c + self.y_embedder["embedding_table"](label)
        for block in self.blocks:
            y = block(y, c)
        y = modulate(y, *self.final_layer["adaLN_modulation"](c).chunk(2, 1))
        y = self.final_layer["linear"](y).view(-1, side, side, 2, 2, 8)
        return torch.einsum("nhwpqc->nchpwq", y).reshape(len(x), 8, 2 * side, 2 * side)


class Double(nn.Module):
    def __init__(self, inputs: int, out: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(inputs, out, 3), nn.Conv2d(out, out, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x).relu()).relu()


class UNet(nn.Module):
    """Figure 1 of Ronneberger et al. (2015)."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(Double(a, b) for a, b in ((1, widths[0]), *pairs[:-1]))
        self.bottom = Double(*pairs[-1])
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in reversed(pairs))
        self.up = nn.ModuleList(Double(2 * a, a) for a, _ in reversed(pairs))
        self.out = nn.Conv2d(widths[0], 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen = []
        for block in self.down:
            seen.append(block(x))
            x = F.max_pool2d(seen[-1], 2)
        x = self.bottom(x)
        for enlarge, block in zip(self.enlarge, self.up, strict=True):
            x, skip = enlarge(x), seen.pop()
            cut = (skip.shape[-1] - x.shape[-1]) // 2
            x = block(torch.cat([skip[:, :, cut:-cut, cut:-cut], x], 1))
        return self.out(x)


class SimCLR(nn.Module):
    """Chen et al. (2020) on a public ResNet."""

    def __init__(self, resnet: Any, d: int) -> None:
        super().__init__()
        width = resnet.fc.in_features
        resnet.fc = nn.Identity()
        self.f, self.g = resnet, nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, d))

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        z = F.normalize(self.g(self.f(torch.cat([first, second]))), dim=1)
        likeness = (z @ z.T / 0.1).masked_fill(torch.eye(len(z), dtype=torch.bool), float("-inf"))
        return z, F.cross_entropy(likeness, torch.arange(len(z)).roll(len(first)))


class MoCo(nn.Module):
    """After facebookresearch/moco, builder.py, on one device: without the shuffling, and before the encoder of the keys moves."""

    def __init__(self, make: Any, hidden: int, d: int, length: int) -> None:
        super().__init__()
        self.encoder_q, self.encoder_k = make(), make()
        for each in (self.encoder_q, self.encoder_k):
            each.fc = nn.Sequential(nn.Linear(each.fc.in_features, hidden), nn.ReLU(), nn.Linear(hidden, d))
        self.register_buffer("queue", F.normalize(torch.randn(d, length), dim=0))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        q, k = F.normalize(self.encoder_q(query), dim=1), F.normalize(self.encoder_k(key), dim=1).detach()
        return torch.cat([(q * k).sum(1, keepdim=True), q @ self.queue], 1) / 0.2
