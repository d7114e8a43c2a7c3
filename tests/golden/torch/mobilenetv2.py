from torch import Tensor, nn


class ConvNormRelu(nn.Sequential):
    def __init__(
        self, in_channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(
                in_channels,
                out,
                kernel_size=kernel,
                stride=stride,
                padding=kernel // 2,
                groups=groups,
                bias=False,
            ),
            nn.BatchNorm2d(out),
            nn.ReLU6(),
        )


class InvertedResidualExpand1(nn.Module):
    """Wide inside, narrow outside: a 1x1 convolution expands, a depthwise 3x3 filters each
    channel by itself, and a 1x1 projects back. No activation after the projection, as it
    would lose what a narrow layer can't spare.
    """

    def __init__(self, inputs: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            ConvNormRelu(inputs, inputs, kernel=3, groups=inputs),
            nn.Conv2d(inputs, out, kernel_size=1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:  # [B, inputs, H, W] -> [B, out, H, W]
        return self.conv(x)


class InvertedResidual(nn.Module):
    """Wide inside, narrow outside: a 1x1 convolution expands, a depthwise 3x3 filters each
    channel by itself, and a 1x1 projects back. No activation after the projection, as it
    would lose what a narrow layer can't spare.
    """

    def __init__(self, inputs: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            ConvNormRelu(inputs, 6 * inputs, kernel=1),
            ConvNormRelu(6 * inputs, 6 * inputs, kernel=3, stride=stride, groups=6 * inputs),
            nn.Conv2d(6 * inputs, out, kernel_size=1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:  # [B, inputs, H, W] -> [B, out, _, _]
        return self.conv(x)


class InvertedResidualWithSkip(nn.Module):
    """Wide inside, narrow outside: a 1x1 convolution expands, a depthwise 3x3 filters each
    channel by itself, and a 1x1 projects back. No activation after the projection, as it
    would lose what a narrow layer can't spare.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            ConvNormRelu(inputs, 6 * inputs, kernel=1),
            ConvNormRelu(6 * inputs, 6 * inputs, kernel=3, groups=6 * inputs),
            nn.Conv2d(6 * inputs, inputs, kernel_size=1, bias=False),
            nn.BatchNorm2d(inputs),
        )

    def forward(self, x: Tensor) -> Tensor:  # [B, inputs, H, W] -> [B, inputs, H, W]
        y = self.conv(x)
        return x + y


class MobileNetV2(nn.Module):
    """`width` thins or widens all layers alike."""

    def __init__(self, classes: int = 1000, p: float = 0.2) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvNormRelu(3, 32, kernel=3, stride=2),
            InvertedResidualExpand1(32, 16),
            InvertedResidual(16, 24, stride=2),
            InvertedResidualWithSkip(24),
            InvertedResidual(24, 32, stride=2),
            *(InvertedResidualWithSkip(32) for _ in range(2)),
            InvertedResidual(32, 64, stride=2),
            *(InvertedResidualWithSkip(64) for _ in range(3)),
            InvertedResidual(64, 96),
            *(InvertedResidualWithSkip(96) for _ in range(2)),
            InvertedResidual(96, 160, stride=2),
            *(InvertedResidualWithSkip(160) for _ in range(2)),
            InvertedResidual(160, 320),
            ConvNormRelu(320, 1280, kernel=1),
        )
        self.classifier = nn.Sequential(nn.Dropout(p), nn.Linear(1280, classes))
        self.init_weights()

    def forward(self, x: Tensor) -> Tensor:  # [B, 3, H, W] -> [B, classes]
        x = self.features(x).mean(dim=(2, 3))  # [B, 1280]
        return self.classifier(x)

    def init_weights(self) -> None:
        """Initial values that are not the layers' own."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)
