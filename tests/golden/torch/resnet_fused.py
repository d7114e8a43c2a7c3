from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FoldNorms:
    """A hook of `load_state_dict`: where the public network has a batch norm behind a layer, this
    one has it in the layer's weight and bias, which is the same in inference. A state dict with
    this file's own names loads as it is.
    """

    def __init__(
        self, norms: dict[str, str], eps: float = 1e-5, affine: bool = True, bias: bool = False
    ) -> None:
        self.norms = norms
        self.eps = eps
        self.affine = affine
        self.bias = bias  # whether the public layers have one

    def __call__(
        self,
        module: nn.Module,
        state: dict[str, Tensor],
        prefix: str,
        metadata: dict[str, Any],
        strict: bool,
        missing: list[str],
        *_: object,
    ) -> None:
        own = module.state_dict(prefix=prefix)
        for layer, norm in self.norms.items():
            keys = [f"{prefix}{layer}.weight", f"{prefix}{layer}.bias"]
            names = ["running_mean", "running_var", *(["weight", "bias"] if self.affine else [])]
            public = [f"{prefix}{norm}.{name}" for name in names]
            if all(key in state for key in keys) and not any(key in state for key in public):
                continue
            state.pop(f"{prefix}{norm}.num_batches_tracked", None)
            needed = [*keys[: 2 if self.bias else 1], *public]
            missing += [key for key in needed if key not in state]
            if all(key in state for key in needed):
                folded = self.fold(*(state[key] for key in needed))
            else:
                folded = own[keys[0]], own[keys[1]]
            for key in public:
                state.pop(key, None)
            state.update(zip(keys, folded, strict=True))

    def fold(self, weight: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(weight.dtype, torch.float32)
        bias, *norm = others if self.bias else (torch.zeros(()), *others)
        mean, var, *more = (each.to(wide) for each in norm)
        gamma, beta = more if self.affine else (torch.ones(()), torch.zeros(()))
        scale = gamma * torch.rsqrt(var + self.eps)
        folded = weight.to(wide) * scale.view(-1, *[1] * (weight.ndim - 1))
        return folded.to(weight.dtype), (beta + (bias - mean) * scale).to(weight.dtype)


class Shortcut(nn.Sequential):
    """Where a block changes the shape of its input, a 1x1 convolution gives the shortcut the
    same shape.
    """

    def __init__(self, C: int, out: int, stride: int) -> None:
        super().__init__(nn.Conv2d(C, out, kernel_size=1, stride=stride))
        self.register_load_state_dict_pre_hook(FoldNorms({"0": "1"}))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions: ResNet-18 and -34."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, kernel_size=3, stride=stride, padding=1)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1)
        self.downsample = (
            Shortcut(inputs, width, stride=stride) if stride != 1 or inputs != width else None
        )
        self.register_load_state_dict_pre_hook(FoldNorms({"conv1": "bn1", "conv2": "bn2"}))

    def forward(self, x: Tensor) -> Tensor:
        # [B, inputs, H, W] -> [B, width, (H - 1) // stride + 1, (W - 1) // stride + 1]
        y = self.conv2(F.relu(self.conv1(x)))
        if self.downsample is not None:
            x = self.downsample(x)
        return F.relu(x + y)


class Bottleneck(nn.Module):
    """Narrow, 3x3, wide again: the expensive convolution runs on a quarter of the channels."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, kernel_size=1)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1)
        self.conv3 = nn.Conv2d(width, 4 * width, kernel_size=1)
        self.downsample = (
            Shortcut(inputs, 4 * width, stride=stride)
            if stride != 1 or inputs != 4 * width
            else None
        )
        self.register_load_state_dict_pre_hook(
            FoldNorms({"conv1": "bn1", "conv2": "bn2", "conv3": "bn3"})
        )

    def forward(self, x: Tensor) -> Tensor:
        # [B, inputs, H, W] -> [B, 4 * width, (H - 1) // stride + 1, (W - 1) // stride + 1]
        y = F.relu(self.conv1(x))  # [B, width, H, W]
        y = self.conv3(F.relu(self.conv2(y)))
        if self.downsample is not None:
            x = self.downsample(x)
        return F.relu(x + y)


class Layer(nn.ModuleList):
    """A stage of ResNet, under `layer{…}`."""

    def __init__(self, depth: int, s: int, bottleneck: bool, channels: int, width: int) -> None:
        if depth < 1:
            raise ValueError(f"depth >= 1 must hold, but depth is {depth}")
        super().__init__(
            (
                Bottleneck(
                    channels if i == 0 else 4 * width, width, stride=2 if s > 0 and i == 0 else 1
                )
                if bottleneck
                else BasicBlock(
                    channels if i == 0 else width, width, stride=2 if s > 0 and i == 0 else 1
                )
            )
            for i in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        # [B, channels, H, W]
        # -> [B, _, (H - 1) // (2 if s > 0 else 1) + 1, (W - 1) // (2 if s > 0 else 1) + 1]
        for part in self:
            x = part(x)
        return x


class ResNet(nn.Module):
    def __init__(
        self,
        depths: tuple[int, ...] = (2, 3),
        bottleneck: bool = True,
        widths: tuple[int, ...] = (16, 32),
        stem: int = 8,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        if bottleneck and len(depths) < 1:
            raise ValueError(
                "not bottleneck or len(depths) >= 1 must hold, "
                f"but bottleneck is {bottleneck} and depths is {depths}"
            )
        if len(widths) < len(depths):
            raise ValueError(
                "len(widths) >= len(depths) must hold, "
                f"but widths is {widths} and depths is {depths}"
            )
        self.depths = depths
        self.conv1 = nn.Conv2d(3, stem, kernel_size=7, stride=2, padding=3)
        for s in range(len(depths)):
            self.add_module(
                f"layer{s + 1}",
                Layer(
                    depths[s],
                    s,
                    bottleneck=bottleneck,
                    channels=stem if s == 0 else 4 * widths[s - 1] if bottleneck else widths[s - 1],
                    width=widths[s],
                ),
            )
        self.fc = nn.Linear(
            4 * widths[len(depths) - 1] if bottleneck else (stem, *widths)[len(depths)], classes
        )
        self.register_load_state_dict_pre_hook(FoldNorms({"conv1": "bn1"}))
        self.init_weights()
        self.eval()

    def forward(self, x: Tensor) -> Tensor:  # [B, 3, H, W] -> [B, classes]
        x = F.relu(self.conv1(x))  # [B, stem, (H + 1) // 2, (W + 1) // 2]
        x = F.max_pool2d(x, 3, stride=2, padding=1)  # [B, stem, (H + 3) // 4, (W + 3) // 4]
        for i in range(len(self.depths)):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.fc(x.mean(dim=(2, 3)))

    def train(self, mode: bool = True) -> Self:
        """With its batch norms folded into other layers, the network is for inference only."""
        if mode:
            raise RuntimeError("batch norms are folded into other layers: train what -O1 emits")
        return super().train(mode)

    def init_weights(self) -> None:
        """Initial values that are not the layers' own."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)
