import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LeNet5(nn.Module):
    """Convolutions share their weights over the image, so a stroke is recognised wherever it
    stands; pooling lets it move a little. 28x28 digits are padded by 2, to the 32x32 of the
    paper.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)

    def forward(self, x: Tensor) -> Tensor:  # [B, 1, 28, 28] -> [B, classes]
        x = F.avg_pool2d(torch.tanh(self.conv1(x)), 2)  # [B, 6, 14, 14]
        x = F.avg_pool2d(torch.tanh(self.conv2(x)), 2).flatten(1)  # [B, 400]
        x = torch.tanh(self.fc1(x))  # [B, 120]
        return self.fc3(torch.tanh(self.fc2(x)))
