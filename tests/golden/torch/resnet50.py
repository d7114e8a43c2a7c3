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
        if len(depths) != 4:
            raise ValueError(f"depths must have length 4, not {len(depths)}")
        if len(widths) != 4:
            raise ValueError(f"widths must have length 4, not {len(widths)}")
        if any(each < 1 for each in depths):
            raise ValueError(f"each of depths must be at least 1, but depths is {depths}")
        self.conv1 = nn.Conv2d(3, stem, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = nn.ModuleList(
            [
                (
                    Bottleneck(stem, widths[0], stride=1)
                    if bottleneck
                    else BasicBlock(stem, widths[0], stride=1)
                ),
                *(
                    (
                        Bottleneck(4 * widths[0], widths[0], stride=1)
                        if bottleneck
                        else BasicBlock(widths[0], widths[0], stride=1)
                    )
                    for _ in range(depths[0] - 1)
                ),
            ]
        )
        self.layer2 = nn.ModuleList(
            [
                (
                    Bottleneck(4 * widths[0], widths[1], stride=2)
                    if bottleneck
                    else BasicBlock(widths[0], widths[1], stride=2)
                ),
                *(
                    (
                        Bottleneck(4 * widths[1], widths[1], stride=1)
                        if bottleneck
                        else BasicBlock(widths[1], widths[1], stride=1)
                    )
                    for _ in range(depths[1] - 1)
                ),
            ]
        )
        self.layer3 = nn.ModuleList(
            [
                (
                    Bottleneck(4 * widths[1], widths[2], stride=2)
                    if bottleneck
                    else BasicBlock(widths[1], widths[2], stride=2)
                ),
                *(
                    (
                        Bottleneck(4 * widths[2], widths[2], stride=1)
                        if bottleneck
                        else BasicBlock(widths[2], widths[2], stride=1)
                    )
                    for _ in range(depths[2] - 1)
                ),
            ]
        )
        self.layer4 = nn.ModuleList(
            [
                (
                    Bottleneck(4 * widths[2], widths[3], stride=2)
                    if bottleneck
                    else BasicBlock(widths[2], widths[3], stride=2)
                ),
                *(
                    (
                        Bottleneck(4 * widths[3], widths[3], stride=1)
                        if bottleneck
                        else BasicBlock(widths[3], widths[3], stride=1)
                    )
                    for _ in range(depths[3] - 1)
                ),
            ]
        )
        self.fc = nn.Linear(4 * widths[3] if bottleneck else widths[3], classes)
        self.init_weights()

    def forward(self, x: Tensor) -> Tensor:  # [B, 3, H, W] -> [B, classes]
        x = F.relu(self.bn1(self.conv1(x)))  # [B, stem, (H + 1) // 2, (W + 1) // 2]
        x = F.max_pool2d(x, 3, stride=2, padding=1)  # [B, stem, (H + 3) // 4, (W + 3) // 4]
        for layer in self.layer1:
            x = layer(x)
        for layer in self.layer2:
            x = layer(x)
        for layer in self.layer3:
            x = layer(x)
        for layer in self.layer4:
            x = layer(x)
        return self.fc(x.mean(dim=(2, 3)))

    def init_weights(self) -> None:
        """Initial values that are not the layers' own."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
