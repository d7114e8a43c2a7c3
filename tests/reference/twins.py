"""Plain torch networks for what no package ships. Parameter names are those of the specs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LeNet5(nn.Module):
    """The 61,706 parameters of the form that is taught: padded input, plain average pooling, dense C3."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        for conv in (self.conv1, self.conv2):
            x = F.avg_pool2d(conv(x).tanh(), 2)
        x = x.flatten(1)
        for fc in (self.fc1, self.fc2):
            x = fc(x).tanh()
        return self.fc3(x)


class Gain(nn.Module):
    """An S layer of LeCun et al. 1998: sum over 2x2, one coefficient and one bias per map."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((maps,), 0.25))
        self.bias = nn.Parameter(torch.zeros(maps))

    def forward(self, x: Tensor) -> Tensor:
        maps = len(self.weight)
        kernel = self.weight[:, None, None, None].expand(maps, 1, 2, 2)
        return F.conv2d(x, kernel, self.bias, stride=2, groups=maps)


class LeNet5Of1998(nn.Module):
    """Section II.B of the paper. C3 is a dense convolution whose kernel has zeros where table I has gaps."""

    SEEN = ("012", "123", "234", "345", "045", "015", "0123", "1234", "2345", "0345", "0145", "0125", "0134")
    SEEN += ("1245", "0235", "012345")

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.s2 = nn.Conv2d(1, 6, 5), Gain(6)
        self.c3, self.s4 = nn.ModuleList(nn.Conv2d(len(seen), 1, 5) for seen in self.SEEN), Gain(16)
        self.c5, self.f6 = nn.Conv2d(16, 120, 5), nn.Linear(120, 84)
        codes = torch.randn(10, 84, generator=torch.Generator().manual_seed(7)).sign()
        self.register_buffer("rbf", codes)

    def table_convolution(self, x: Tensor) -> Tensor:
        kernel = x.new_zeros(16, 6, 5, 5)
        for out, (seen, conv) in enumerate(zip(self.SEEN, self.c3, strict=True)):
            kernel[out, [int(each) for each in seen]] = conv.weight[0]
        return F.conv2d(x, kernel, torch.cat([conv.bias for conv in self.c3]))

    def forward(self, x: Tensor) -> Tensor:
        steps = (self.c1, self.s2, self.table_convolution, self.s4, self.c5, nn.Flatten(), self.f6)
        for step in steps:
            x = step(x)
            if not isinstance(step, nn.Flatten):
                x = 1.7159 * torch.tanh(2 * x / 3)
        return torch.cdist(x, self.rbf, compute_mode="donot_use_mm_for_euclid_dist") ** 2


def respond(x: Tensor) -> Tensor:
    """Local response normalisation at Caffe's settings."""
    return F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1.0)


class AlexNetOf2012(nn.Module):
    """Caffe's bvlc_alexnet, at any widths."""

    def __init__(self, widths: tuple[int, ...], hidden: int, classes: int) -> None:
        super().__init__()
        a, b, c, d, e = widths
        self.conv1 = nn.Conv2d(3, a, 11, stride=4)
        self.conv2 = nn.Conv2d(a, b, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(b, c, 3, padding=1)
        self.conv4 = nn.Conv2d(c, d, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(d, e, 3, padding=1, groups=2)
        self.fc6, self.fc7 = nn.Linear(36 * e, hidden), nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(respond(self.conv1(x).relu()), 3, 2)
        x = F.max_pool2d(respond(self.conv2(x).relu()), 3, 2)
        x = self.conv4(self.conv3(x).relu()).relu()
        x = F.max_pool2d(self.conv5(x).relu(), 3, 2).flatten(1)
        return self.fc8(self.fc7(self.fc6(x).relu()).relu())


class Inception(nn.Module):
    """A block of table 1: 1x1, 3x3 after a reduction, 5x5 after a reduction, 1x1 after pooling."""

    def __init__(self, inputs: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        one, reduce3, three, reduce5, five, pooled = sizes
        self.b1 = nn.Conv2d(inputs, one, 1)
        self.b3r, self.b3 = nn.Conv2d(inputs, reduce3, 1), nn.Conv2d(reduce3, three, 3, padding="same")
        self.b5r, self.b5 = nn.Conv2d(inputs, reduce5, 1), nn.Conv2d(reduce5, five, 5, padding="same")
        self.bp = nn.Conv2d(inputs, pooled, 1)
        self.outputs = one + three + five + pooled

    def forward(self, x: Tensor) -> Tensor:
        branches = (
            self.b1(x),
            self.b3(self.b3r(x).relu()),
            self.b5(self.b5r(x).relu()),
            self.bp(F.max_pool2d(x, 3, stride=1, padding=1)),
        )
        return torch.cat(branches, dim=1).relu()


class Auxiliary(nn.Module):
    """A classifier in the middle of the network."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 128, 1)
        self.fc1, self.fc2 = nn.Linear(2048, 1024), nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.avg_pool2d(x, 5, stride=3)).relu()
        return self.fc2(self.fc1(x.flatten(1)).relu())


TABLE = {
    "i3a": (64, 96, 128, 16, 32, 32),
    "i3b": (128, 128, 192, 32, 96, 64),
    "i4a": (192, 96, 208, 16, 48, 64),
    "i4b": (160, 112, 224, 24, 64, 64),
    "i4c": (128, 128, 256, 24, 64, 64),
    "i4d": (112, 144, 288, 32, 64, 64),
    "i4e": (256, 160, 320, 32, 128, 128),
    "i5a": (256, 160, 320, 32, 128, 128),
    "i5b": (384, 192, 384, 48, 128, 128),
}


class GoogLeNetOf2014(nn.Module):
    """Caffe's bvlc_googlenet without dropout."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
        self.conv2r, self.conv2 = nn.Conv2d(64, 64, 1), nn.Conv2d(64, 192, 3, padding=1)
        channels = 192
        for name, sizes in TABLE.items():
            block = Inception(channels, sizes)
            self.add_module(name, block)
            channels = block.outputs
        self.aux1, self.aux2 = Auxiliary(512, classes), Auxiliary(528, classes)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        def pool(x: Tensor) -> Tensor:
            return F.max_pool2d(x, 3, 2, ceil_mode=True)

        x = respond(pool(self.conv1(x).relu()))
        x = pool(respond(self.conv2(self.conv2r(x).relu()).relu()))
        taps = {}
        for name in TABLE:
            x = taps[name] = self.get_submodule(name)(x)
            if name in ("i3b", "i4e"):
                x = pool(x)
        return self.fc(x.mean((2, 3))), self.aux1(taps["i4a"]), self.aux2(taps["i4d"])


class RecurrentLM(nn.Module):
    """The recurrent networks of PyTorch's word language model example, batch first, without dropout."""

    def __init__(self, kind: str, vocab: int, d: int, hidden: int, layers: int, **options: str) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Embedding(vocab, d), nn.Linear(hidden, vocab)
        self.rnn = getattr(nn, kind)(d, hidden, layers, batch_first=True, **options)

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        y, last = self.rnn(self.encoder(tokens))
        return self.decoder(y), *(last if isinstance(last, tuple) else (last,))


class ZarembaCell(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.gates = nn.Linear(2 * hidden, 4 * hidden)
        self.hidden = hidden

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(len(x), self.hidden)
        states = []
        for xt in x.unbind(1):
            i, j, f, o = self.gates(torch.cat([xt, h], -1)).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * j.tanh()
            h = o.sigmoid() * c.tanh()
            states.append(h)
        return torch.stack(states, 1)


class Zaremba(nn.Module):
    """Zaremba et al. (2014): one matrix and one bias for each layer; gates in the order of TensorFlow's cell."""

    def __init__(self, vocab: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedding, self.softmax = nn.Embedding(vocab, hidden), nn.Linear(hidden, vocab)
        self.cells = nn.ModuleList(ZarembaCell(hidden) for _ in range(layers))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for cell in self.cells:
            x = cell(x)
        return self.softmax(x)


class SequenceToSequence(nn.Module):
    """Sutskever et al. (2014)."""

    def __init__(self, source: int, target: int, d: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.es, self.et = nn.Embedding(source, d), nn.Embedding(target, d)
        self.enc = nn.LSTM(d, hidden, layers, batch_first=True)
        self.dec = nn.LSTM(d, hidden, layers, batch_first=True)
        self.out = nn.Linear(hidden, target)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        _, states = self.enc(self.es(source.flip(1)))
        return self.out(self.dec(self.et(target), states)[0])


class TutorialEncoder(nn.Module):
    def __init__(self, vocab: int, d: int, hidden: int) -> None:
        super().__init__()
        self.embedding, self.fc = nn.Embedding(vocab, d), nn.Linear(2 * hidden, hidden)
        self.rnn = nn.GRU(d, hidden, bidirectional=True)

    def forward(self, source: Tensor) -> tuple[Tensor, Tensor]:
        memory, last = self.rnn(self.embedding(source))
        return memory, self.fc(torch.cat((last[-2], last[-1]), 1)).tanh()


class TutorialAttention(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.attn, self.v = nn.Linear(3 * hidden, hidden), nn.Linear(hidden, 1, bias=False)

    def forward(self, state: Tensor, memory: Tensor) -> Tensor:
        both = torch.cat((state[None].expand(len(memory), -1, -1), memory), -1)
        return self.v(self.attn(both).tanh()).squeeze(-1).T.softmax(-1)


class TutorialDecoder(nn.Module):
    def __init__(self, vocab: int, d: int, hidden: int) -> None:
        super().__init__()
        self.embedding, self.attention = nn.Embedding(vocab, d), TutorialAttention(hidden)
        self.rnn, self.fc_out = nn.GRU(2 * hidden + d, hidden), nn.Linear(3 * hidden + d, vocab)

    def forward(self, word: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        said = self.embedding(word)
        seen = self.attention(state, memory)
        context = torch.einsum("bs,sbm->bm", seen, memory)
        _, last = self.rnn(torch.cat((said, context), -1)[None], state[None])
        return self.fc_out(torch.cat((last[0], context, said), -1)), last[0], seen


class Tutorial(nn.Module):
    """Trevett's tutorial 3 after Bahdanau et al. (2014): time first, every word of the target given, without dropout."""

    def __init__(self, source: int, target: int, d: int, hidden: int) -> None:
        super().__init__()
        self.encoder = TutorialEncoder(source, d, hidden)
        self.decoder = TutorialDecoder(target, d, hidden)

    def forward(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        memory, state = self.encoder(source.T)
        logits, alignment = [], []
        for word in target.T:
            scores, state, seen = self.decoder(word, state, memory)
            logits.append(scores)
            alignment.append(seen)
        return torch.stack(logits, 1), torch.stack(alignment, 1)
