import torch
import torch.nn.functional as F
from torch import Tensor, nn


class EncoderBlock(nn.Module):
    """Norm first: each half adds to a stream that nothing else touches, which keeps deep stacks
    trainable.
    """

    def __init__(self, d: int, heads: int, mlp: int, p: float) -> None:
        super().__init__()
        self.p = p
        self.ln_1 = nn.LayerNorm(d, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(d, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(d, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(d, mlp), nn.GELU(), nn.Dropout(p), nn.Linear(mlp, d), nn.Dropout(p)
        )

    def forward(self, x: Tensor) -> Tensor:  # [B, T, d] -> [B, T, d]
        y = self.ln_1(x)
        y = self.self_attention(y, y, y, need_weights=False)[0]
        x = x + F.dropout(y, self.p, training=self.training)
        return x + self.mlp(self.ln_2(x))


class ViTEncoder(nn.Module):
    """Parts of ViT, under `encoder`."""

    def __init__(
        self, size: int, patch: int, layers: int, d: int, heads: int, mlp: int, p: float
    ) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(
            nn.init.normal_(torch.empty(1, (size // patch) ** 2 + 1, d), std=0.02)
        )
        self.layers = nn.ModuleDict(
            {f"encoder_layer_{i}": EncoderBlock(d, heads, mlp, p) for i in range(layers)}
        )
        self.ln = nn.LayerNorm(d, eps=1e-6)


class ViTHeads(nn.Module):
    """Parts of ViT, under `heads`."""

    def __init__(self, d: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(d, classes)


class ViT(nn.Module):
    """Each patch of the image becomes one token, and a learnt class token in front of them
    collects the answer. Attention has no sense of place, so each position has a vector of its
    own.
    """

    def __init__(
        self,
        size: int = 224,
        patch: int = 16,
        layers: int = 12,
        d: int = 768,
        heads: int = 12,
        mlp: int | None = None,
        classes: int = 1000,
        p: float = 0.0,
    ) -> None:
        super().__init__()
        mlp = 4 * d if mlp is None else mlp
        if size % patch != 0:
            raise ValueError(
                f"size % patch == 0 must hold, but size is {size} and patch is {patch}"
            )
        if d % heads != 0:
            raise ValueError(f"d % heads == 0 must hold, but d is {d} and heads is {heads}")
        self.p = p
        self.class_token = nn.Parameter(torch.zeros(1, 1, d))
        self.encoder = ViTEncoder(size, patch, layers, d, heads, mlp, p)
        self.conv_proj = nn.Conv2d(3, d, kernel_size=patch, stride=patch)
        self.heads = ViTHeads(d, classes)
        self.init_weights()

    def forward(self, x: Tensor) -> Tensor:  # [B, 3, size, size] -> [B, classes]
        B = x.shape[0]
        x = self.conv_proj(x).permute(0, 2, 3, 1).flatten(1, 2)  # [B, (size // patch) ** 2, d]
        x = torch.cat([self.class_token.expand(B, -1, -1), x], dim=1)
        x = F.dropout(x + self.encoder.pos_embedding, self.p, training=self.training)
        for encoder_block in self.encoder.layers.values():
            x = encoder_block(x)
        x = self.encoder.ln(x)
        return self.heads.head(x[:, 0])

    def init_weights(self) -> None:
        """Initial values that are not the layers' own."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for name, parameter in self.named_parameters():
            if name.endswith(("0.weight", "3.weight")):
                nn.init.xavier_uniform_(parameter)
            elif name.endswith("head.weight"):
                nn.init.zeros_(parameter)
            elif name.endswith(("0.bias", "3.bias")):
                nn.init.normal_(parameter, std=1e-6)
            elif name.endswith("head.bias"):
                nn.init.zeros_(parameter)
