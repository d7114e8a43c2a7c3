import torch.nn.functional as F
from torch import Tensor, nn


class Shortcut(nn.Sequential):
    """Where a block changes the shape of its input, a 1x1 convolution gives the shortcut the
    same shape.
    """

    def __init__(self, C: int, out: int, stride: int) -> None:
        super().__init__(
            nn.Conv2d(C, out, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(out)
        )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions: ResNet-18 and -34."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = (
            Shortcut(inputs, width, stride=stride) if stride != 1 or inputs != width else None
        )

    def forward(self, x: Tensor) -> Tensor:
        # [B, inputs, H, W] -> [B, width, (H - 1) // stride + 1, (W - 1) // stride + 1]
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.downsample is not None:
            x = self.downsample(x)
        return F.relu(x + y)


class Bottleneck(nn.Module):
    """Narrow, 3x3, wide again: the expensive convolution runs on a quarter of the channels."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = (
            Shortcut(inputs, 4 * width, stride=stride)
            if stride != 1 or inputs != 4 * width
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        # [B, inputs, H, W] -> [B, 4 * width, (H - 1) // stride + 1, (W - 1) // stride + 1]
        y = F.relu(self.bn1(self.conv1(x)))  # [B, width, H, W]
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
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
        depths: tuple[int, ...] = (3, 4, 6, 3),
        bottleneck: bool = True,
        widths: tuple[int, ...] = (64, 128, 256, 512),
        stem: int = 64,
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
        self.conv1 = nn.Conv2d(3, stem, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
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
        self.init_weights()

    def forward(self, x: Tensor) -> Tensor:  # [B, 3, H, W] -> [B, classes]
        x = F.relu(self.bn1(self.conv1(x)))  # [B, stem, (H + 1) // 2, (W + 1) // 2]
        x = F.max_pool2d(x, 3, stride=2, padding=1)  # [B, stem, (H + 3) // 4, (W + 3) // 4]
        for i in range(len(self.depths)):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.fc(x.mean(dim=(2, 3)))

    def init_weights(self) -> None:
        """Initial values that are not the layers' own."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
