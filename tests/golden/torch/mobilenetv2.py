from torch import Tensor, nn


def divisible(channels: float) -> int:
    """Channels are multiples of 8, and by rounding lose no more than a tenth."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near if near >= 0.9 * channels else near + 8


class ConvNormRelu(nn.Sequential):
    def __init__(self, C: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        if kernel % 2 != 1:
            raise ValueError(f"kernel % 2 == 1 must hold, but kernel is {kernel}")
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
            raise ValueError(f"expand == 1 must hold, but expand is {expand}")
        if stride == 1 and inputs == out:
            raise ValueError(
                f"not (stride == 1 and inputs == out) must hold, but stride is {stride}, "
                f"inputs is {inputs} and out is {out}"
            )
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
            raise ValueError(f"expand != 1 must hold, but expand is {expand}")
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

    def __init__(self, width: float = 1.0, classes: int = 1000, p: float = 0.2) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvNormRelu(3, divisible(32 * width), kernel=3, stride=2),
            InvertedResidual(divisible(32 * width), divisible(16 * width), expand=1, stride=1),
            InvertedResidualWithConv3(
                divisible(16 * width), divisible(24 * width), expand=6, stride=2
            ),
            InvertedResidualWithConv3(
                divisible(24 * width), divisible(24 * width), expand=6, stride=1
            ),
            InvertedResidualWithConv3(
                divisible(24 * width), divisible(32 * width), expand=6, stride=2
            ),
            *(
                InvertedResidualWithConv3(
                    divisible(32 * width), divisible(32 * width), expand=6, stride=1
                )
                for _ in range(2)
            ),
            InvertedResidualWithConv3(
                divisible(32 * width), divisible(64 * width), expand=6, stride=2
            ),
            *(
                InvertedResidualWithConv3(
                    divisible(64 * width), divisible(64 * width), expand=6, stride=1
                )
                for _ in range(3)
            ),
            InvertedResidualWithConv3(
                divisible(64 * width), divisible(96 * width), expand=6, stride=1
            ),
            *(
                InvertedResidualWithConv3(
                    divisible(96 * width), divisible(96 * width), expand=6, stride=1
                )
                for _ in range(2)
            ),
            InvertedResidualWithConv3(
                divisible(96 * width), divisible(160 * width), expand=6, stride=2
            ),
            *(
                InvertedResidualWithConv3(
                    divisible(160 * width), divisible(160 * width), expand=6, stride=1
                )
                for _ in range(2)
            ),
            InvertedResidualWithConv3(
                divisible(160 * width), divisible(320 * width), expand=6, stride=1
            ),
            ConvNormRelu(divisible(320 * width), divisible(1280 * max(1.0, width)), kernel=1),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(p), nn.Linear(divisible(1280 * max(1.0, width)), classes)
        )
        self.init_weights()

    def forward(self, x: Tensor) -> Tensor:  # [B, 3, H, W] -> [B, classes]
        x = self.features(x).mean(dim=(2, 3))  # [B, divisible(1280 * max(1.0, width))]
        return self.classifier(x)

    def init_weights(self) -> None:
        """Initial values that are not the layers' own."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)
