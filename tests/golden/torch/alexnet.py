import torch.nn.functional as F
from torch import Tensor, nn


class AlexNet(nn.Module):
    """The one-tower form of 2014, as in torchvision, whose names it uses. Any image size from 63
    works: the pooling in front of the classifier always gives 6x6.
    """

    def __init__(
        self, size: int = 224, classes: int = 1000, hidden: int = 4096, p: float = 0.5
    ) -> None:
        super().__init__()
        if size < 63:
            raise ValueError(f"63 <= size must hold, but size is {size}")
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(p),
            nn.Linear(9216, hidden),
            nn.ReLU(),
            nn.Dropout(p),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, classes),
        )

    def forward(self, x: Tensor) -> Tensor:  # [B, 3, size, size] -> [B, classes]
        x = F.adaptive_avg_pool2d(self.features(x), 6).flatten(1)  # [B, 9216]
        return self.classifier(x)
