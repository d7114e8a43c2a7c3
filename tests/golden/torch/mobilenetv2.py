from torch import Tensor, nn


class ConvNormRelu(nn.Sequential):
    def __init__(self, C: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        if kernel % 2 != 1:
            raise ValueError("kernel % 2 == 1 must hold")
        super().__init__(
            nn.Conv2d(
                C,
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


class InvertedResidual(nn.Module):
    """Wide inside, narrow outside: a 1x1 convolution expands, a depthwise 3x3 filters each
    channel by itself, and a 1x1 projects back. No activation after the projection, as it
    would lose what a narrow layer can't spare.
    """

    def __init__(self, inputs: int, out: int, expand: int, stride: int) -> None:
        super().__init__()
        if expand != 1:
            raise ValueError("expand == 1 must hold")
        if stride == 1 and inputs == out:
            raise ValueError("not (stride == 1 and inputs == out) must hold")
        self.conv = nn.Sequential(
            ConvNormRelu(inputs, expand * inputs, kernel=3, stride=stride, groups=expand * inputs),
            nn.Conv2d(expand * inputs, out, kernel_size=1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        # [B, inputs, H, W] -> [B, out, (H - 1) // stride + 1, (W - 1) // stride + 1]
        return self.conv(x)


class InvertedResidualWithConv3(nn.Module):
    """Wide inside, narrow outside: a 1x1 convolution expands, a depthwise 3x3 filters each
    channel by itself, and a 1x1 projects back. No activation after the projection, as it
    would lose what a narrow layer can't spare.
    """

    def __init__(self, inputs: int, out: int, expand: int, stride: int) -> None:
        super().__init__()
        if expand == 1:
            raise ValueError("expand != 1 must hold")
        self.inputs = inputs
        self.out = out
        self.stride = stride
        self.conv = nn.Sequential(
            ConvNormRelu(inputs, expand * inputs, kernel=1),
            ConvNormRelu(
                expand * inputs, expand * inputs, kernel=3, stride=stride, groups=expand * inputs
            ),
            nn.Conv2d(expand * inputs, out, kernel_size=1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        # [B, inputs, H, W] -> [B, out, (H - 1) // stride + 1, (W - 1) // stride + 1]
        y = self.conv(x)
        if self.stride == 1 and self.inputs == self.out:
            y = x + y
        return y


class MobileNetV2(nn.Module):
    """`width` thins or widens all layers alike."""

    def __init__(self, classes: int = 1000, p: float = 0.2) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvNormRelu(3, 32, kernel=3, stride=2),
            InvertedResidual(32, 16, expand=1, stride=1),
            InvertedResidualWithConv3(16, 24, expand=6, stride=2),
            InvertedResidualWithConv3(24, 24, expand=6, stride=1),
            InvertedResidualWithConv3(24, 32, expand=6, stride=2),
            *(InvertedResidualWithConv3(32, 32, expand=6, stride=1) for _ in range(2)),
            InvertedResidualWithConv3(32, 64, expand=6, stride=2),
            *(InvertedResidualWithConv3(64, 64, expand=6, stride=1) for _ in range(3)),
            InvertedResidualWithConv3(64, 96, expand=6, stride=1),
            *(InvertedResidualWithConv3(96, 96, expand=6, stride=1) for _ in range(2)),
            InvertedResidualWithConv3(96, 160, expand=6, stride=2),
            *(InvertedResidualWithConv3(160, 160, expand=6, stride=1) for _ in range(2)),
            InvertedResidualWithConv3(160, 320, expand=6, stride=1),
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
