import torch.nn.functional as F
from torch import Tensor, nn


class Shortcut(nn.Sequential):
    """Where a block changes the shape of its input, a 1x1 convolution gives the shortcut the
    same shape.
    """

    def __init__(self, in_channels: int, out: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out, kernel_size=1, stride=stride, bias=False),
            nn.BatchNorm2d(out),
        )


class BottleneckWithDownsample(nn.Module):
    """Narrow, 3x3, wide again: the expensive convolution runs on a quarter of the channels."""

    def __init__(self, inputs: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = Shortcut(inputs, 4 * width, stride=stride)

    def forward(self, x: Tensor) -> Tensor:  # [B, inputs, H, W] -> [B, 4 * width, _, _]
        y = F.relu(self.bn1(self.conv1(x)))  # [B, width, H, W]
        y = F.relu(self.bn2(self.conv2(y)))  # [B, width, _, _]
        y = self.bn3(self.conv3(y))  # [B, 4 * width, _, _]
        x = self.downsample(x)
        return F.relu(x + y)


class Bottleneck(nn.Module):
    """Narrow, 3x3, wide again: the expensive convolution runs on a quarter of the channels."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, inputs, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(inputs)

    def forward(self, x: Tensor) -> Tensor:  # [B, inputs, H, W] -> [B, inputs, H, W]
        y = F.relu(self.bn1(self.conv1(x)))  # [B, width, H, W]
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))  # [B, inputs, H, W]
        return F.relu(x + y)


class ResNet(nn.Module):
    def __init__(self, stem: int = 64, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = nn.Sequential(
            BottleneckWithDownsample(stem, 64), *(Bottleneck(256, 64) for _ in range(2))
        )
        self.layer2 = nn.Sequential(
            BottleneckWithDownsample(256, 128, stride=2), *(Bottleneck(512, 128) for _ in range(3))
        )
        self.layer3 = nn.Sequential(
            BottleneckWithDownsample(512, 256, stride=2), *(Bottleneck(1024, 256) for _ in range(5))
        )
        self.layer4 = nn.Sequential(
            BottleneckWithDownsample(1024, 512, stride=2),
            *(Bottleneck(2048, 512) for _ in range(2)),
        )
        self.fc = nn.Linear(2048, classes)
        self.init_weights()

    def forward(self, x: Tensor) -> Tensor:  # [B, 3, H, W] -> [B, classes]
        x = F.relu(self.bn1(self.conv1(x)))  # [B, stem, (H + 1) // 2, (W + 1) // 2]
        x = F.max_pool2d(x, 3, stride=2, padding=1)  # [B, stem, (H + 3) // 4, (W + 3) // 4]
        x = self.layer1(x)  # [B, 256, (H + 3) // 4, (W + 3) // 4]
        x = self.layer2(x)  # [B, 512, (H + 7) // 8, (W + 7) // 8]
        x = self.layer3(x)  # [B, 1024, (H + 15) // 16, (W + 15) // 16]
        return self.fc(self.layer4(x).mean(dim=(2, 3)))

    def init_weights(self) -> None:
        """Initial values that are not the layers' own."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
